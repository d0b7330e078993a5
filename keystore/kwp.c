/* keystore/kwp.c — RFC 5649 over AES-256-ECB.  Decides whether a wrapped blob is exactly what the
 * RFC allows; other implementations accept more.  Plaintext, whole or a block of it, is only in
 * struct secret. OpenSSL's cipher context holds the AES key schedule for one call and wipes it. */
#include "keystore/kwp.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "base/limits.h"
#include "base/secret.h"

enum { HALF = 8, BLOCK = 16, STEPS = 6, MAX_WRAPPED = KB_MAX_SECRET + HALF };

static const uint8_t aiv[4] = {0xa6, 0x59, 0x59, 0xa6}; /* RFC 5649 §3 */

_Static_assert(KB_MAX_SECRET % HALF == 0, "the largest secret is wrapped without padding");

size_t kwp_wrapped_len(size_t len)
{
	size_t padded = (len + HALF - 1) / HALF * HALF;

	return padded < HALF ? BLOCK : padded + HALF;
}

/* Fetch the cipher once per process: a fetch costs more than wrapping 32 bytes. */
static EVP_CIPHER_CTX *cipher_new(const uint8_t kek[static 32], bool is_wrap)
{
	static EVP_CIPHER *ecb;

	if (ecb == NULL && (ecb = EVP_CIPHER_fetch(NULL, "AES-256-ECB", NULL)) == NULL)
		return NULL;
	EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
	if (c == NULL || EVP_CipherInit_ex2(c, ecb, kek, NULL, is_wrap, NULL) != 1 ||
	    EVP_CIPHER_CTX_set_padding(c, 0) != 1) {
		EVP_CIPHER_CTX_free(c);
		return NULL;
	}
	return c;
}

static bool block(EVP_CIPHER_CTX *c, uint8_t b[static BLOCK])
{
	int n = 0;

	return EVP_CipherUpdate(c, b, &n, b, BLOCK) == 1 && n == BLOCK;
}

static void xor_step(uint8_t a[static HALF], size_t t)
{
	for (unsigned i = 0; i < HALF; i++)
		a[HALF - 1 - i] ^= (uint8_t)((uint64_t)t >> (8 * i));
}

/* RFC 3394 §2.2.1: `b` begins with A on entry and on return, `r` is R[1] … R[n], in place. */
static bool wrap_blocks(EVP_CIPHER_CTX *c, uint8_t b[static BLOCK], uint8_t *r, size_t n)
{
	bool good = true;

	for (size_t j = 0; j < STEPS && good; j++)
		for (size_t i = 1; i <= n && good; i++) {
			memcpy(b + HALF, r + (i - 1) * HALF, HALF);
			good = block(c, b);
			xor_step(b, n * j + i);
			memcpy(r + (i - 1) * HALF, b + HALF, HALF);
		}
	return good;
}

/* RFC 3394 §2.2.2, likewise. */
static bool unwrap_blocks(EVP_CIPHER_CTX *c, uint8_t b[static BLOCK], uint8_t *r, size_t n)
{
	bool good = true;

	for (size_t j = STEPS; j-- > 0 && good;)
		for (size_t i = n; i >= 1 && good; i--) {
			xor_step(b, n * j + i);
			memcpy(b + HALF, r + (i - 1) * HALF, HALF);
			good = block(c, b);
			memcpy(r + (i - 1) * HALF, b + HALF, HALF);
		}
	return good;
}

enum kb_err kwp_wrap(const uint8_t kek[static 32], struct span plain, struct buf *wrapped)
{
	if (plain.len == 0 || plain.len > KB_MAX_SECRET)
		return KB_E_WRAP;
	size_t len = kwp_wrapped_len(plain.len), n = len / HALF - 1;
	KB_AUTO(secret) struct secret *work = secret_new(BLOCK);
	KB_AUTO(secret) struct secret *rest = secret_new(n * HALF);
	if (work == NULL || rest == NULL)
		return KB_E_NOMEM;
	uint8_t *b = secret_bytes(work), *r = secret_bytes(rest); /* new secrets are all zero */
	memcpy(b, aiv, sizeof aiv);
	for (unsigned i = 0; i < 4; i++)
		b[4 + i] = (uint8_t)(plain.len >> (8 * (3 - i)));
	memcpy(r, plain.p, plain.len);
	EVP_CIPHER_CTX *c = cipher_new(kek, true);
	bool good = c != NULL;
	if (good && n == 1) { /* §4.1: one block is plain ECB */
		memcpy(b + HALF, r, HALF);
		good = block(c, b);
		memcpy(r, b + HALF, HALF);
	} else if (good) {
		good = wrap_blocks(c, b, r, n);
	}
	EVP_CIPHER_CTX_free(c);
	uint8_t *out = good ? buf_reserve(wrapped, len) : NULL;
	if (out == NULL)
		return KB_E_NOMEM;
	memcpy(out, b, HALF);
	memcpy(out + HALF, r, n * HALF);
	return KB_OK;
}

/* §3, without a branch on what was decrypted: the alternative IV, a length that needs all n halves,
 * zeros behind it.  All ones when good. */
static uint32_t header_check(const uint8_t a[static HALF], const uint8_t *plain, size_t n,
			     uint32_t *len)
{
	uint32_t mli = (uint32_t)a[4] << 24 | (uint32_t)a[5] << 16 | (uint32_t)a[6] << 8 | a[7];
	uint64_t most = (uint64_t)n * HALF,
		 pad = most - mli; /* 0 … 7 when good; huge when mli is too long */
	uint32_t bad = (uint32_t)CRYPTO_memcmp(a, aiv, sizeof aiv);

	bad |= (uint32_t)(pad >> 3) | (uint32_t)(pad >> 35);
	for (unsigned i = 0; i < HALF;
	     i++) { /* the last half's byte i is padding when i ≥ 8 − pad */
		uint32_t is_pad = 0 - (uint32_t)((uint32_t)(HALF - 1 - i) < (uint32_t)(pad & 7));
		bad |= is_pad & plain[most - HALF + i];
	}
	*len = mli;
	return 0 - (uint32_t)(bad == 0);
}

enum kb_err kwp_unwrap(const uint8_t kek[static 32], struct span wrapped, uint8_t *plain,
		       size_t cap, size_t *plain_len)
{
	uint32_t len;

	*plain_len = 0;
	if (wrapped.len < BLOCK || wrapped.len > MAX_WRAPPED || wrapped.len % HALF != 0 ||
	    cap < wrapped.len - HALF)
		return KB_E_WRAP;
	size_t n = wrapped.len / HALF - 1;
	KB_AUTO(secret) struct secret *work = secret_new(BLOCK);
	if (work == NULL)
		return KB_E_NOMEM;
	EVP_CIPHER_CTX *c = cipher_new(kek, false);
	if (c == NULL)
		return KB_E_NOMEM;
	uint8_t *b = secret_bytes(work);
	memcpy(b, wrapped.p, BLOCK);
	memcpy(plain, wrapped.p + HALF, n * HALF);
	bool good = n == 1 ? block(c, b) : unwrap_blocks(c, b, plain, n);
	EVP_CIPHER_CTX_free(c);
	if (n == 1)
		memcpy(plain, b + HALF, HALF);
	uint32_t mask = header_check(b, plain, n, &len);
	if (!good || mask == 0) {
		OPENSSL_cleanse(plain, n * HALF);
		return KB_E_WRAP;
	}
	*plain_len = len;
	return KB_OK;
}
