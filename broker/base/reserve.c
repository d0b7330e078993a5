/* broker/base/reserve.c — hands out the reserve when malloc() fails.  Decides only that a result
 * made without memory is no result.  Never hands out the same bytes twice between two
 * reserve_begin(). */
#include "base/reserve.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/limits.h"

enum { ALIGN = 16 };

/* In .bss: pages that are never written take no memory. */
static struct {
	_Alignas(ALIGN) uint8_t bytes[KB_RESERVE];
	size_t used;
} reserve;

void reserve_begin(void)
{
	reserve.used = 0;
}

bool reserve_was_used(void)
{
	return reserve.used > 0;
}

static bool is_reserve(const void *p)
{
	return (uintptr_t)p >= (uintptr_t)reserve.bytes &&
	       (uintptr_t)p < (uintptr_t)reserve.bytes + sizeof reserve.bytes;
}

/* The size is stored before the block, for reserve_realloc(). */
static void *allocate(size_t size)
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

void *reserve_malloc(size_t size)
{
	void *p = malloc(size);

	return p != NULL ? p : allocate(size);
}

void *reserve_realloc(void *p, size_t size)
{
	size_t old;

	if (p == NULL)
		return reserve_malloc(size);
	if (!is_reserve(p)) {
		void *grown = realloc(p, size);
		if (grown != NULL)
			return grown;
		/* The size of the old block is unknown, so its bytes cannot be copied.  They are
		 * not needed: the whole result will be discarded. */
		free(p);
		grown = allocate(size);
		memset(grown, 0, size);
		return grown;
	}
	memcpy(&old, (uint8_t *)p - ALIGN, sizeof old);
	void *grown = allocate(size);
	memset(grown, 0, size);
	memcpy(grown, p, old < size ? old : size);
	return grown;
}

void reserve_free(void *p)
{
	if (!is_reserve(p))
		free(p);
}
