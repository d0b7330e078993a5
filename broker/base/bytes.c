/* broker/base/bytes.c — spans and bounded buffers.  Sizes are added with overflow checks; no buffer
 * grows past its `max`. */
#include "base/bytes.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

size_t span_find(struct span s, size_t from, uint8_t c)
{
	const uint8_t *hit = from < s.len ? memchr(s.p + from, c, s.len - from) : NULL;

	return hit == NULL ? s.len : (size_t)(hit - s.p);
}

char *span_dup(struct span s)
{
	if (s.len > 0 && memchr(s.p, 0, s.len) != NULL)
		return NULL;
	char *copy = malloc(s.len + 1);
	if (copy == NULL)
		return NULL;
	if (s.len > 0)
		memcpy(copy, s.p, s.len);
	copy[s.len] = '\0';
	return copy;
}

void cstr_cleanup(char **s)
{
	free(*s);
}

void buf_init(struct buf *b, size_t max_bytes)
{
	*b = (struct buf){.max = max_bytes};
}

void buf_free(struct buf *b)
{
	if (b == NULL)
		return;
	free(b->p);
	*b = (struct buf){0};
}

void buf_reset(struct buf *b)
{
	b->len = 0;
	b->failed = false;
}

uint8_t *buf_reserve(struct buf *b, size_t len)
{
	size_t need;

	if (b->failed)
		return NULL;
	if (__builtin_add_overflow(b->len, len, &need) || need > b->max) {
		b->failed = true;
		return NULL;
	}
	if (need > b->cap) {
		size_t cap = b->cap < 256 ? 256 : b->cap;
		while (cap < need)
			cap *= 2;
		if (cap > b->max)
			cap = b->max;
		uint8_t *p = realloc(b->p, cap);
		if (p == NULL) {
			b->failed = true;
			return NULL;
		}
		b->p = p;
		b->cap = cap;
	}
	uint8_t *at = b->p == NULL ? NULL : b->p + b->len; /* NULL + 0 is undefined (C11 6.5.6) */
	b->len = need;
	return at;
}

void buf_add(struct buf *b, const void *p, size_t len)
{
	if (len == 0)
		return;
	uint8_t *at = buf_reserve(b, len);
	if (at != NULL)
		memcpy(at, p, len);
}

void buf_add_str(struct buf *b, const char *s)
{
	buf_add(b, s, strlen(s));
}

void buf_add_span(struct buf *b, struct span s)
{
	buf_add(b, s.p, s.len);
}

void buf_addf(struct buf *b, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	int n = vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	if (n < 0 || (size_t)n >= sizeof text) {
		b->failed = true;
		return;
	}
	buf_add(b, text, (size_t)n);
}

enum kb_err buf_ok(const struct buf *b)
{
	return b->failed ? KB_E_NOMEM : KB_OK;
}
