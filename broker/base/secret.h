/* broker/base/secret.h — memory for key bytes and PINs, which are nowhere else: locked, not in core
 * files, wiped when freed.  No printf, no ==, no copy. */
#ifndef KB_BASE_SECRET_H
#define KB_BASE_SECRET_H
#include "base/bytes.h"

struct secret; /* opaque: fixed capacity, a current length ≤ capacity */

/* Reserve the locked arena (KB_SECRET_ARENA bytes), once per process, after the last fork. KB_E_SYS
 * when memory cannot be locked. */
KB_MUST_CHECK enum kb_err secret_arena_init(void);

/* A secret of `cap` bytes, 1 … KB_MAX_SECRET, length = cap, all zero.  NULL when the arena is full
 * or not initialised. */
struct secret *secret_new(size_t cap);
void secret_free(struct secret *s); /* wipes; NULL is fine */
static inline void secret_cleanup(struct secret **s)
{
	secret_free(*s);
}
/* Writable, secret_len() bytes; borrowed. */
uint8_t *secret_bytes(struct secret *s);
struct span secret_span(const struct secret *s); /* the same, to read */
size_t secret_len(const struct secret *s);
void secret_trim(struct secret *s, size_t len); /* shorter only; the cut tail is wiped */
/* Constant time for equal lengths. */
bool secret_equal(const struct secret *a, const struct secret *b);
bool secret_equal_span(const struct secret *a, struct span b);
/* The whole of a file (from its start, whatever the offset) or pipe, at most KB_MAX_SECRET, one
 * trailing LF or CRLF removed, and a byte order mark at its start.  KB_E_ENCODING: UTF-16.  The
 * descriptor stays open. */
KB_MUST_CHECK enum kb_err secret_read_fd(int fd, struct secret **out);
/* `len` random bytes from the operating system's generator. */
KB_MUST_CHECK enum kb_err secret_random(size_t len, struct secret **out);

#endif
