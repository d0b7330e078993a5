/* broker/base/reserve.h — a memory reserve for libraries that do not check malloc().  jansson
 * (2.14) drops the bytes that it cannot store, then reads and writes past its buffers for a quote
 * that is not there; cjose (0.6.2) checks no allocation at all.  So they never get NULL: when
 * memory is short they work in the reserve, and the caller discards the result.  One thread in a
 * process, one such call at a time. */
#ifndef KB_BASE_RESERVE_H
#define KB_BASE_RESERVE_H
#include <stdbool.h>
#include <stddef.h>

/* Before a call of such a library.  Nothing that an earlier call made in the reserve may still be
 * in use: see reserve_was_used(). */
void reserve_begin(void);
/* malloc, realloc and free for the library.  Never NULL: when the reserve is used up too, the
 * process aborts (its client gets a 503). */
void *reserve_malloc(size_t size);
void *reserve_realloc(void *p, size_t size);
void reserve_free(void *p);
/* Memory was short since reserve_begin(): free the result and return KB_E_NOMEM. */
bool reserve_was_used(void);

#endif
