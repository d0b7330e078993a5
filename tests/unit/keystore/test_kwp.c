/* tests/unit/keystore/test_kwp.c — RFC 5649 against OpenSSL's own cipher and Wycheproof's vectors,
 * and every way in which a blob can be wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dlfcn.h>
#include <jansson.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/secret.h"
#include "keystore/kwp.h"

static const uint8_t kek[32] = {1, 2, 3, 4, 5, 6, 7, 8, 9};

/* libcrypto's calls, made to go wrong: these stand before the library's own. */
static struct {
	unsigned fetches, blocks,
		fail_block; /* fail_block: which block from now on goes wrong; 0: none */
	int result, n; /* … answering this, and claiming so many bytes, though the block is done */
	bool no_padding_call;
	unsigned exposed; /* blocks that were read or written outside of locked memory */
} crypto;

EVP_CIPHER *EVP_CIPHER_fetch(OSSL_LIB_CTX *ctx, const char *name, const char *properties)
{
	EVP_CIPHER *(*real)(OSSL_LIB_CTX *, const char *, const char *) =
		dlsym(RTLD_NEXT, "EVP_CIPHER_fetch");

	crypto.fetches++;
	return real(ctx, name, properties);
}

int EVP_CIPHER_CTX_set_padding(EVP_CIPHER_CTX *c, int pad)
{
	int (*real)(EVP_CIPHER_CTX *, int) = dlsym(RTLD_NEXT, "EVP_CIPHER_CTX_set_padding");

	return crypto.no_padding_call ? 0 : real(c, pad);
}

int EVP_CipherUpdate(EVP_CIPHER_CTX *c, unsigned char *out, int *n, const unsigned char *in,
		     int len)
{
	int (*real)(EVP_CIPHER_CTX *, unsigned char *, int *, const unsigned char *, int) =
		dlsym(RTLD_NEXT, "EVP_CipherUpdate");
	int result = real(c, out, n, in, len);

	crypto.exposed += CRYPTO_secure_allocated(in) != 1 || CRYPTO_secure_allocated(out) != 1;
	if (++crypto.blocks != crypto.fail_block)
		return result;
	*n = crypto.n;
	return crypto.result;
}

static size_t unhex(const char *text, uint8_t *out, size_t cap)
{
	size_t n = strlen(text) / 2;

	assert_true(n <= cap);
	for (size_t i = 0; i < n; i++) {
		unsigned byte;
		assert_int_equal(sscanf(text + 2 * i, "%2x", &byte), 1);
		out[i] = (uint8_t)byte;
	}
	return n;
}

static size_t openssl_wrap(const uint8_t *plain, size_t len, uint8_t *out)
{
	EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
	int n = 0, end = 0;

	EVP_CIPHER_CTX_set_flags(c, EVP_CIPHER_CTX_FLAG_WRAP_ALLOW);
	assert_int_equal(EVP_EncryptInit_ex(c, EVP_aes_256_wrap_pad(), NULL, kek, NULL), 1);
	assert_int_equal(EVP_EncryptUpdate(c, out, &n, plain, (int)len), 1);
	assert_int_equal(EVP_EncryptFinal_ex(c, out + n, &end), 1);
	EVP_CIPHER_CTX_free(c);
	return (size_t)(n + end);
}

static void test_kwp_equals_openssl(void **state)
{
	uint8_t plain[1300], want[1320], back[1320];
	size_t len;

	(void)state;
	assert_int_equal(RAND_bytes(plain, sizeof plain), 1);
	for (size_t n = 1; n <= sizeof plain; n += n < 80 ? 1 : 61) {
		KB_AUTO(buf) struct buf b;
		buf_init(&b, 4096);
		buf_add_str(&b, "before");
		assert_int_equal(kwp_wrap(kek, span_of(plain, n), &b), KB_OK);
		assert_int_equal(b.len, 6 + kwp_wrapped_len(n));
		assert_int_equal(openssl_wrap(plain, n, want), kwp_wrapped_len(n));
		assert_memory_equal(b.p, "before", 6);
		assert_memory_equal(b.p + 6, want, kwp_wrapped_len(n));
		assert_int_equal(
			kwp_unwrap(kek, span_of(b.p + 6, b.len - 6), back, sizeof back, &len),
			KB_OK);
		assert_int_equal(len, n);
		assert_memory_equal(back, plain, n);
	}
}

static void test_kwp_length(void **state)
{
	(void)state;
	assert_int_equal(kwp_wrapped_len(0), 16);
	assert_int_equal(kwp_wrapped_len(1), 16);
	assert_int_equal(kwp_wrapped_len(8), 16);
	assert_int_equal(kwp_wrapped_len(9), 24);
	assert_int_equal(kwp_wrapped_len(32), 40);
	assert_int_equal(kwp_wrapped_len(1217), 1232);
}

static void test_kwp_limits(void **state)
{
	static uint8_t plain[KB_MAX_SECRET * 10];
	static uint8_t back[KB_MAX_SECRET];
	size_t len;

	(void)state;
	KB_AUTO(buf) struct buf b;
	buf_init(&b, sizeof plain);
	assert_int_equal(kwp_wrap(kek, span_of(plain, 0), &b), KB_E_WRAP);
	assert_int_equal(kwp_wrap(kek, span_of(plain, KB_MAX_SECRET + 1), &b), KB_E_WRAP);
	assert_int_equal(kwp_wrap(kek, span_of(plain, sizeof plain), &b), KB_E_WRAP);
	assert_int_equal(b.len, 0);
	assert_int_equal(kwp_wrap(kek, span_of(plain, KB_MAX_SECRET), &b), KB_OK);
	assert_int_equal(kwp_unwrap(kek, buf_span(&b), back, sizeof back, &len), KB_OK);
	assert_int_equal(len, KB_MAX_SECRET);
	/* one block too many, and no room for what might come out */
	assert_int_equal(
		kwp_unwrap(kek, span_of(plain, KB_MAX_SECRET + 16), plain, sizeof plain, &len),
		KB_E_WRAP);
	assert_int_equal(kwp_unwrap(kek, buf_span(&b), back, sizeof back - 1, &len), KB_E_WRAP);
	KB_AUTO(buf) struct buf small;
	buf_init(&small, 39);
	assert_int_equal(kwp_wrap(kek, span_of(plain, 32), &small), KB_E_NOMEM);
}

static void test_kwp_refuses_lengths(void **state)
{
	uint8_t in[64] = {0}, out[64];
	size_t len = 7;

	(void)state;
	for (size_t n = 0; n < sizeof in; n++)
		if (n < 16 || n % 8 != 0)
			assert_int_equal(kwp_unwrap(kek, span_of(in, n), out, sizeof out, &len),
					 KB_E_WRAP);
	assert_int_equal(len, 0);
	/* what is right up to a stray byte behind it, and what is right but too long for any
	 * secret */
	static uint8_t whole[KB_MAX_SECRET + 8], sealed[KB_MAX_SECRET + 24];
	for (size_t n = openssl_wrap(whole, 24, sealed) + 1; n % 8 != 0; n++)
		assert_int_equal(kwp_unwrap(kek, span_of(sealed, n), out, sizeof out, &len),
				 KB_E_WRAP);
	assert_int_equal(kwp_unwrap(kek, span_of(sealed, openssl_wrap(whole, sizeof whole, sealed)),
				    whole, sizeof whole, &len),
			 KB_E_WRAP);
}

/* Any bit: the integrity check of the whole. */
static void test_kwp_refuses_flipped_bits(void **state)
{
	uint8_t back[64], zero[64] = {0};
	size_t len;

	(void)state;
	for (size_t n = 5; n <= 21; n += 16) {
		KB_AUTO(buf) struct buf b;
		buf_init(&b, 64);
		assert_int_equal(kwp_wrap(kek, span_of("twenty-one bytes here", n), &b), KB_OK);
		for (size_t bit = 0; bit < b.len * 8; bit++) {
			b.p[bit / 8] ^= (uint8_t)(1 << bit % 8);
			memset(back, 0, sizeof back);
			assert_int_equal(kwp_unwrap(kek, buf_span(&b), back, sizeof back, &len),
					 KB_E_WRAP);
			assert_int_equal(len, 0);
			assert_memory_equal(back, zero, sizeof back); /* nothing of it is left */
			b.p[bit / 8] ^= (uint8_t)(1 << bit % 8);
		}
	}
}

/* The rules of §3, one by one, under the right key: wrap by hand what kwp_wrap() would never
 * make. */
static void forge(const uint8_t header[static 8], const uint8_t *plain, size_t halves, uint8_t *out)
{
	EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
	uint8_t b[16];
	int n;

	assert_int_equal(EVP_EncryptInit_ex(c, EVP_aes_256_ecb(), NULL, kek, NULL), 1);
	EVP_CIPHER_CTX_set_padding(c, 0);
	memcpy(out, header, 8);
	memcpy(out + 8, plain, halves * 8);
	if (halves == 1)
		assert_int_equal(EVP_EncryptUpdate(c, out, &n, out, 16), 1);
	for (size_t j = 0; j < 6 && halves > 1; j++)
		for (size_t i = 1; i <= halves; i++) {
			memcpy(b, out, 8);
			memcpy(b + 8, out + 8 * i, 8);
			assert_int_equal(EVP_EncryptUpdate(c, b, &n, b, 16), 1);
			b[7] ^= (uint8_t)(halves * j + i);
			memcpy(out, b, 8);
			memcpy(out + 8 * i, b + 8, 8);
		}
	EVP_CIPHER_CTX_free(c);
}

static void test_kwp_refuses_forged_headers(void **state)
{
	static const struct {
		uint8_t header[8];
		size_t halves;
		uint8_t tail; /* the last byte of the plaintext */
		bool good;
	} cases[] = {
		{{0xa6, 0x59, 0x59, 0xa6, 0, 0, 0, 24}, 3, 1, true},
		{{0xa6, 0x59, 0x59, 0xa6, 0, 0, 0, 17}, 3, 0, true},
		{{0xa6, 0x59, 0x59, 0xa6, 0, 0, 0, 8}, 1, 1, true},
		{{0xa6, 0x59, 0x59, 0xa6, 0, 0, 0, 1}, 1, 0, true},
		{{0xa6, 0x59, 0x59, 0xa6, 0, 0, 0, 0}, 1, 0, false}, /* nothing */
		{{0xa6, 0x59, 0x59, 0xa6, 0, 0, 0, 9}, 1, 0, false}, /* longer than what is there */
		{{0xa6, 0x59, 0x59, 0xa6, 0, 0, 0, 16}, 3, 0, false}, /* a half too many */
		{{0xa6, 0x59, 0x59, 0xa6, 0, 0, 0, 25}, 3, 0, false},
		{{0xa6, 0x59, 0x59, 0xa6, 0xff, 0xff, 0xff, 0xff}, 3, 0, false},
		{{0xa6, 0x59, 0x59, 0xa6, 0x80, 0, 0, 24}, 3, 0, false},
		{{0xa6, 0x59, 0x59, 0xa6, 0, 0, 0, 23}, 3, 1, false}, /* padding that is not zero */
		{{0xa6, 0x59, 0x59, 0xa7, 0, 0, 0, 24}, 3, 0, false},
		{{0xa6, 0xa6, 0xa6, 0xa6, 0xa6, 0xa6, 0xa6, 0xa6}, 3, 0, false}, /* RFC 3394's */
	};
	uint8_t plain[24], sealed[32], back[24];
	size_t len;

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		memset(plain, 0, sizeof plain);
		plain[8 * cases[i].halves - 1] = cases[i].tail;
		forge(cases[i].header, plain, cases[i].halves, sealed);
		enum kb_err err = kwp_unwrap(kek, span_of(sealed, 8 + 8 * cases[i].halves), back,
					     sizeof back, &len);
		assert_int_equal(err, cases[i].good ? KB_OK : KB_E_WRAP);
	}
}

/* A block that OpenSSL did not encrypt, whichever it is and however that is reported: no blob, no
 * key, and nothing of it left. */
static void test_kwp_cipher_fails(void **state)
{
	static const struct {
		int result, n;
	} ways[] = {{0, 16}, {1, 8}, {-1, 16}};
	uint8_t plain[24], zero[24] = {0}, sealed[32], out[40];
	size_t len;

	(void)state;
	memset(plain, 'p', sizeof plain);
	for (size_t halves = 1; halves <= 3; halves += 2)
		for (size_t w = 0; w < sizeof ways / sizeof *ways; w++)
			for (unsigned at = 1; at <= (halves == 1 ? 1 : 6 * halves); at++) {
				size_t n = openssl_wrap(plain, halves * 8, sealed);
				KB_AUTO(buf) struct buf b;
				buf_init(&b, sizeof out);
				crypto.result = ways[w].result, crypto.n = ways[w].n;
				crypto.blocks = 0, crypto.fail_block = at;
				assert_int_equal(kwp_wrap(kek, span_of(plain, halves * 8), &b),
						 KB_E_NOMEM);
				assert_int_equal(crypto.blocks,
						 at); /* nothing is done with what went wrong */
				assert_int_equal(b.len, 0);
				assert_null(b.p);
				crypto.blocks = 0;
				assert_int_equal(kwp_unwrap(kek, span_of(sealed, n), plain,
							    sizeof plain, &len),
						 KB_E_WRAP);
				assert_int_equal(crypto.blocks, at);
				crypto.fail_block = 0;
				assert_int_equal(len, 0);
				assert_memory_equal(plain, zero, halves * 8);
				memset(plain, 'p', sizeof plain);
			}
	KB_AUTO(buf) struct buf b;
	buf_init(&b, sizeof out);
	crypto.no_padding_call = true;
	assert_int_equal(kwp_wrap(kek, span_of(plain, sizeof plain), &b), KB_E_NOMEM);
	assert_int_equal(kwp_unwrap(kek, span_of(sealed, sizeof sealed), plain, sizeof plain, &len),
			 KB_E_NOMEM);
	crypto.no_padding_call = false;
}

/* Key bytes are only in locked memory: also the one block that is worked on, and also before the
 * output is encrypted. */
static void test_c21_kwp_plaintext_is_only_in_secrets(void **state)
{
	(void)state;
	for (size_t n = 1; n <= 33; n += 8) {
		size_t len;
		KB_AUTO(secret) struct secret *plain = NULL, *back = secret_new(40);
		KB_AUTO(buf) struct buf b;
		buf_init(&b, 256);
		assert_non_null(back);
		assert_int_equal(secret_random(n, &plain), KB_OK);
		crypto.exposed = crypto.blocks = 0;
		assert_int_equal(kwp_wrap(kek, secret_span(plain), &b), KB_OK);
		assert_int_equal(kwp_unwrap(kek, buf_span(&b), secret_bytes(back), 40, &len),
				 KB_OK);
		assert_true(crypto.blocks >= 2);
		assert_int_equal(crypto.exposed, 0);
		secret_trim(back, len);
		assert_true(secret_equal(back, plain));
	}
}

/* No locked memory, no blob and no key. */
static void test_kwp_without_locked_memory(void **state)
{
	struct secret *full[64] = {NULL};
	uint8_t plain[8], sealed[16];
	size_t n = 0, len;
	KB_AUTO(buf) struct buf b;

	(void)state;
	buf_init(&b, 256);
	openssl_wrap((const uint8_t *)"12345678", 8, sealed);
	for (size_t size = KB_MAX_SECRET; size >= 8; size /= 2)
		while (n < 64 && (full[n] = secret_new(size)) != NULL)
			n++;
	assert_true(n < 64);
	assert_int_equal(kwp_wrap(kek, span_of("12345678", 8), &b), KB_E_NOMEM);
	assert_int_equal(kwp_unwrap(kek, span_of(sealed, 16), plain, 8, &len), KB_E_NOMEM);
	assert_int_equal(b.len, 0);
	while (n > 0)
		secret_free(full[--n]);
}

static int locked_memory(void **state)
{
	(void)state;
	return secret_arena_init() == KB_OK ? 0 : -1;
}

/* Fetching costs more than wrapping: not at each call. */
static void test_kwp_fetches_its_cipher_once(void **state)
{
	KB_AUTO(buf) struct buf b;

	(void)state;
	buf_init(&b, 256);
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(kwp_wrap(kek, span_of("secret", 6), &b), KB_OK);
		if (i == 0)
			crypto.fetches = 0;
	}
	assert_int_equal(crypto.fetches, 0);
}

/* Nothing is read or written past the caller's bytes: they end where a page without rights
 * begins. */
static void test_kwp_stays_in_its_bytes(void **state)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE), len;
	uint8_t *p = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
			  0),
		sealed[48];

	(void)state;
	assert_true(p != MAP_FAILED);
	assert_int_equal(mprotect(p + page, page, PROT_NONE), 0);
	for (size_t n = 1; n <= 32; n++) {
		size_t padded = (n + 7) / 8 * 8;
		size_t sealed_len = openssl_wrap(
			(const uint8_t *)"a secret of thirty-two bytes ...", n, sealed);
		assert_int_equal(kwp_unwrap(kek, span_of(sealed, sealed_len), p + page - padded,
					    padded, &len),
				 KB_OK);
		assert_int_equal(len, n);
	}
	munmap(p, 2 * page);
}

static void test_a33_wycheproof_aes_kwp(void **state)
{
	json_t *doc = json_load_file("tests/vectors/wycheproof/aes_kwp.json",
				     JSON_REJECT_DUPLICATES, NULL),
	       *group, *t;
	unsigned valid = 0, invalid = 0;
	size_t g, i, len;

	(void)state;
	assert_non_null(doc);
	json_array_foreach(json_object_get(doc, "testGroups"), g, group)
	{
		if (json_integer_value(json_object_get(group, "keySize")) != 256)
			continue;
		json_array_foreach(json_object_get(group, "tests"), i, t)
		{
			uint8_t key[32], msg[4096], ct[4096], back[4096];
			assert_int_equal(unhex(json_string_value(json_object_get(t, "key")), key,
					       sizeof key),
					 32);
			size_t msg_len = unhex(json_string_value(json_object_get(t, "msg")), msg,
					       sizeof msg);
			size_t ct_len =
				unhex(json_string_value(json_object_get(t, "ct")), ct, sizeof ct);
			const char *result = json_string_value(json_object_get(t, "result"));
			enum kb_err err =
				kwp_unwrap(key, span_of(ct, ct_len), back, sizeof back, &len);
			if (strcmp(result, "invalid") == 0) {
				assert_int_equal(err, KB_E_WRAP);
				invalid++;
				continue;
			}
			assert_int_equal(err, KB_OK);
			assert_int_equal(len, msg_len);
			assert_memory_equal(back, msg, len);
			KB_AUTO(buf) struct buf b;
			buf_init(&b, 8192);
			assert_int_equal(kwp_wrap(key, span_of(msg, msg_len), &b), KB_OK);
			assert_int_equal(b.len, ct_len);
			assert_memory_equal(b.p, ct, ct_len);
			valid++;
		}
	}
	json_decref(doc);
	assert_int_equal(valid, 25);
	assert_int_equal(invalid, 69);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_kwp_equals_openssl),
		cmocka_unit_test(test_kwp_length),
		cmocka_unit_test(test_kwp_limits),
		cmocka_unit_test(test_kwp_refuses_lengths),
		cmocka_unit_test(test_kwp_refuses_flipped_bits),
		cmocka_unit_test(test_kwp_refuses_forged_headers),
		cmocka_unit_test(test_kwp_cipher_fails),
		cmocka_unit_test(test_c21_kwp_plaintext_is_only_in_secrets),
		cmocka_unit_test(test_kwp_without_locked_memory),
		cmocka_unit_test(test_kwp_fetches_its_cipher_once),
		cmocka_unit_test(test_kwp_stays_in_its_bytes),
		cmocka_unit_test(test_a33_wycheproof_aes_kwp),
	};

	return cmocka_run_group_tests(tests, locked_memory, NULL);
}
