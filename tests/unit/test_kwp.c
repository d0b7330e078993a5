/* RFC 5649 against OpenSSL's own cipher and Wycheproof's vectors, and every way a blob can be wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

#include "base/limits.h"
#include "keystore/kwp.h"

static const uint8_t kek[32] = {1, 2, 3, 4, 5, 6, 7, 8, 9};

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
		assert_int_equal(kwp_unwrap(kek, span_of(b.p + 6, b.len - 6), back, sizeof back, &len), KB_OK);
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
	assert_int_equal(kwp_unwrap(kek, span_of(plain, KB_MAX_SECRET + 16), plain, sizeof plain, &len), KB_E_WRAP);
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
			assert_int_equal(kwp_unwrap(kek, span_of(in, n), out, sizeof out, &len), KB_E_WRAP);
	assert_int_equal(len, 0);
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
			assert_int_equal(kwp_unwrap(kek, buf_span(&b), back, sizeof back, &len), KB_E_WRAP);
			assert_int_equal(len, 0);
			assert_memory_equal(back, zero, sizeof back); /* nothing of it is left */
			b.p[bit / 8] ^= (uint8_t)(1 << bit % 8);
		}
	}
}

/* The rules of §3, one by one, under the right key: wrap by hand what kwp_wrap() would never make. */
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
		{{0xa6, 0x59, 0x59, 0xa6, 0, 0, 0, 0}, 1, 0, false},  /* nothing */
		{{0xa6, 0x59, 0x59, 0xa6, 0, 0, 0, 9}, 1, 0, false},  /* longer than what is there */
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
		enum kb_err err = kwp_unwrap(kek, span_of(sealed, 8 + 8 * cases[i].halves), back, sizeof back, &len);
		assert_int_equal(err, cases[i].good ? KB_OK : KB_E_WRAP);
	}
}

static void test_a33_wycheproof_aes_kwp(void **state)
{
	json_t *doc = json_load_file("tests/vectors/wycheproof/aes_kwp.json", JSON_REJECT_DUPLICATES, NULL), *group, *t;
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
			assert_int_equal(unhex(json_string_value(json_object_get(t, "key")), key, sizeof key), 32);
			size_t msg_len = unhex(json_string_value(json_object_get(t, "msg")), msg, sizeof msg);
			size_t ct_len = unhex(json_string_value(json_object_get(t, "ct")), ct, sizeof ct);
			const char *result = json_string_value(json_object_get(t, "result"));
			enum kb_err err = kwp_unwrap(key, span_of(ct, ct_len), back, sizeof back, &len);
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
		cmocka_unit_test(test_a33_wycheproof_aes_kwp),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
