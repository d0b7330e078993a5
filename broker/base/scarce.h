/* base/scarce.h — memory for libraries that follow a NULL or lose bytes when malloc() gives
 * nothing: they are never given NULL.  jansson (2.14) drops the bytes that it cannot store, and
 * then reads and writes past its buffers for a quote that is not there; cjose (0.6.2) looks at no
 * result at all.  When memory is short they work in a reserve, and what comes of it is thrown away.
 * One thread a process; no two of these at a time. */
#ifndef KB_BASE_SCARCE_H
#define KB_BASE_SCARCE_H
#include <stdbool.h>
#include <stddef.h>

/* Before a call of such a library.  Nothing that an earlier one made in the reserve may be alive:
 * see scarce_was_used(). */
void scarce_begin(void);
/* malloc, realloc and free for the library.  Never NULL: when the reserve is used up, too, the
 * process ends (its client gets a 503). */
void *scarce_malloc(size_t size);
void *scarce_realloc(void *p, size_t size);
void scarce_free(void *p);
/* Since scarce_begin() memory was short: release what was made, it is to be KB_E_NOMEM. */
bool scarce_was_used(void);

#endif
