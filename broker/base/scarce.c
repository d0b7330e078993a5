/* base/scarce.c — a reserve for libraries that do not survive a failed allocation.  Decides nothing
 * but that a result made in need is no result. Must never hand out bytes twice between two
 * scarce_begin(). */
#include "base/scarce.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/limits.h"

enum { ALIGN = 16 };

/* Pages that are never touched cost nothing. */
static struct {
	_Alignas(ALIGN) uint8_t bytes[KB_SCARCE];
	size_t used;
} reserve;

void scarce_begin(void)
{
	reserve.used = 0;
}

bool scarce_was_used(void)
{
	return reserve.used > 0;
}

static bool is_reserve(const void *p)
{
	return (uintptr_t)p >= (uintptr_t)reserve.bytes &&
	       (uintptr_t)p < (uintptr_t)reserve.bytes + sizeof reserve.bytes;
}

/* The size stands before the block, so that it can be moved. */
static void *take(size_t size)
{
	if (size > sizeof reserve.bytes - reserve.used - ALIGN ||
	    sizeof reserve.bytes - reserve.used < ALIGN)
		KB_BUG();
	uint8_t *p = reserve.bytes + reserve.used;
	memcpy(p, &size, sizeof size);
	size_t padded = (size + ALIGN - 1) / ALIGN * ALIGN;
	size_t left = sizeof reserve.bytes - reserve.used - ALIGN;
	reserve.used += ALIGN + (padded < left ? padded : left);
	return p + ALIGN;
}

void *scarce_malloc(size_t size)
{
	void *p = malloc(size);

	return p != NULL ? p : take(size);
}

void *scarce_realloc(void *p, size_t size)
{
	size_t old;

	if (p == NULL)
		return scarce_malloc(size);
	if (!is_reserve(p)) {
		void *grown = realloc(p, size);
		if (grown != NULL)
			return grown;
		/* The old block is as large as nobody knows: its owner has no memory, so what it
		 * held is thrown away with the rest. */
		free(p);
		grown = take(size);
		memset(grown, 0, size);
		return grown;
	}
	memcpy(&old, (uint8_t *)p - ALIGN, sizeof old);
	void *grown = take(size);
	memset(grown, 0, size);
	memcpy(grown, p, old < size ? old : size);
	return grown;
}

void scarce_free(void *p)
{
	if (!is_reserve(p))
		free(p);
}
