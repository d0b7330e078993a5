/* broker/base/bytes.h — borrowed bytes (span) and owned, bounded, growing bytes (buf). */
#ifndef KB_BASE_BYTES_H
#define KB_BASE_BYTES_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/err.h"

/* Borrowed bytes: the owner is elsewhere.  Not NUL-terminated. */
struct span {
	const uint8_t *p;
	size_t len;
};

static inline struct span span_of(const void *p, size_t len)
{
	return (struct span){(const uint8_t *)p, len};
}
/* Of our own strings, never of bytes from the wire. */
static inline struct span span_str(const char *s)
{
	return (struct span){(const uint8_t *)s, s == NULL ? 0 : strlen(s)};
}
/* Not constant time: never for secrets. */
static inline bool span_eq(struct span a, struct span b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.p, b.p, a.len) == 0);
}
static inline bool span_eq_cstr(struct span a, const char *s)
{
	return span_eq(a, span_str(s));
}
/* Index of the first `c` at or after `from`, or s.len when there is none. */
size_t span_find(struct span s, size_t from, uint8_t c);
/* Clamped, never out of bounds. */
static inline struct span span_sub(struct span s, size_t from, size_t len)
{
	if (from > s.len)
		from = s.len;
	if (len > s.len - from)
		len = s.len - from;
	return span_of(from > 0 ? s.p + from : s.p, len); /* NULL + 0 is undefined */
}
/* A NUL-terminated copy (malloc; caller frees), NULL on no memory or when the bytes hold a NUL. */
char *span_dup(struct span s);

/* Owned bytes that grow up to `max`.  After a failed append every later one fails, so a sequence of
 * appends is checked once, with buf_ok(). */
struct buf {
	uint8_t *p;
	size_t len, cap, max;
	bool failed;
};

void buf_init(struct buf *b, size_t max_bytes);
void buf_free(struct buf *b);  /* NULL and a zeroed struct are fine; not for secrets */
void buf_reset(struct buf *b); /* empty again, memory kept */
void buf_add(struct buf *b, const void *p, size_t len);
/* Append `len` uninitialised bytes and return where they begin; NULL when that fails, or when `len`
 * is 0 and the buffer has no memory yet. */
uint8_t *buf_reserve(struct buf *b, size_t len);
void buf_add_str(struct buf *b, const char *s);
void buf_add_span(struct buf *b, struct span s);
/* At most 511 bytes of text. */
void buf_addf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* KB_OK, or KB_E_NOMEM when an append failed. */
KB_MUST_CHECK enum kb_err buf_ok(const struct buf *b);
static inline struct span buf_span(const struct buf *b)
{
	return span_of(b->p, b->len);
}

/* KB_AUTO(buf) struct buf b; — freed when it leaves scope.  A type `x` offers x_cleanup(). */
#define KB_AUTO(x) __attribute__((cleanup(x##_cleanup)))
static inline void buf_cleanup(struct buf *b)
{
	buf_free(b);
}
void cstr_cleanup(char **s); /* KB_AUTO(cstr) char *s = NULL; */

#endif
