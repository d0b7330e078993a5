/* broker/base/secret.c — secrets are in OpenSSL's secure heap: locked, between guard pages, not in
 * core files, cleansed when freed. */
#include "base/secret.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/text.h"

struct secret {
	size_t cap, len;
	uint8_t bytes[];
};

enum kb_err secret_arena_init(void)
{
	if (CRYPTO_secure_malloc_initialized() == 1)
		return KB_OK;
	/* 2 would mean: reserved, but not locked or not guarded. */
	return CRYPTO_secure_malloc_init(KB_SECRET_ARENA, 64) == 1 ? KB_OK : KB_E_SYS;
}

struct secret *secret_new(size_t cap)
{
	if (cap == 0 || cap > KB_MAX_SECRET || CRYPTO_secure_malloc_initialized() != 1)
		return NULL;
	struct secret *s = OPENSSL_secure_zalloc(sizeof *s + cap);
	if (s == NULL)
		return NULL;
	if (CRYPTO_secure_allocated(s) != 1) { /* OpenSSL fell back to the ordinary heap */
		OPENSSL_clear_free(s, sizeof *s + cap);
		return NULL;
	}
	s->cap = s->len = cap;
	return s;
}

void secret_free(struct secret *s)
{
	if (s != NULL)
		OPENSSL_secure_clear_free(s, sizeof *s + s->cap);
}

uint8_t *secret_bytes(struct secret *s)
{
	return s->bytes;
}

struct span secret_span(const struct secret *s)
{
	return span_of(s->bytes, s->len);
}

size_t secret_len(const struct secret *s)
{
	return s->len;
}

void secret_trim(struct secret *s, size_t len)
{
	if (len > s->len)
		KB_BUG();
	OPENSSL_cleanse(s->bytes + len, s->len - len);
	s->len = len;
}

bool secret_equal_span(const struct secret *a, struct span b)
{
	return a->len == b.len && CRYPTO_memcmp(a->bytes, b.p, b.len) == 0;
}

bool secret_equal(const struct secret *a, const struct secret *b)
{
	return secret_equal_span(a, secret_span(b));
}

enum kb_err secret_read_fd(int fd, struct secret **out)
{
	*out = NULL;
	KB_AUTO(secret) struct secret *s = secret_new(KB_MAX_SECRET);
	if (s == NULL)
		return KB_E_NOMEM;
	size_t n = 0;
	for (;;) {
		if (n == KB_MAX_SECRET)
			return KB_E_FILE_SIZE;
		/* pread(): workers share the descriptor and with it the offset.  A pipe has
		 * none. */
		ssize_t got = pread(fd, s->bytes + n, KB_MAX_SECRET - n, (off_t)n);
		if (got < 0 && errno == ESPIPE)
			got = read(fd, s->bytes + n, KB_MAX_SECRET - n);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return KB_E_FILE;
		if (got == 0)
			break;
		n += (size_t)got;
	}
	if (n > 0 && s->bytes[n - 1] == '\n')
		n--;
	if (n > 0 && s->bytes[n - 1] == '\r')
		n--;
	struct span text = span_of(s->bytes, n);
	enum kb_err err = text_begin(&text);
	if (err != KB_OK)
		return err;
	if (text.len == 0)
		return KB_E_FILE_SIZE;
	struct secret *exact = secret_new(text.len); /* unused bytes must not fill the arena */
	if (exact == NULL)
		return KB_E_NOMEM;
	memcpy(exact->bytes, text.p, text.len);
	*out = exact;
	return KB_OK;
}

enum kb_err secret_random(size_t len, struct secret **out)
{
	*out = NULL;
	struct secret *s = secret_new(len);
	if (s == NULL)
		return KB_E_NOMEM;
	if (RAND_priv_bytes(s->bytes, (int)len) != 1) {
		secret_free(s);
		return KB_E_SYS;
	}
	*out = s;
	return KB_OK;
}
