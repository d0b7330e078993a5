/* broker/gateway/memory.c — decides what is left in memory that libevent gives up: nothing.
 * A request with its bearer token is in more places than the input that we see: libevent copies it
 * when it makes a head contiguous or moves a chain, and drops what a closed connection had sent.
 * Wiping where we know of a copy would miss those that we do not know of. */
#include "gateway/memory.h"

#include <event2/event.h>
#include <malloc.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

void memory_free(void *p)
{
	/* All that was usable, not what was asked for: realloc() may have left more. */
	if (p != NULL)
		OPENSSL_cleanse(p, malloc_usable_size(p));
	free(p);
}

/* realloc() that wipes what it moves from. */
void *memory_move(void *p, size_t size)
{
	size_t had = p == NULL ? 0 : malloc_usable_size(p);
	void *moved = malloc(size);

	if (moved == NULL)
		return NULL; /* as realloc(): the old block stays */
	if (had > 0)
		memcpy(moved, p, had < size ? had : size);
	memory_free(p);
	return moved;
}

void memory_wipe_events(void)
{
	event_set_mem_functions(malloc, memory_move, memory_free);
}
