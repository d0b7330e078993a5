/* tests/unit/keystore/test_scheme.c — each row of the table of wrapping schemes: what it seals it
 * opens, and nothing else. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>

#include "base/limits.h"
#include "base/secret.h"
#include "keystore/kwp.h"
#include "keystore/scheme.h"
#include "keystore/scheme_rsa_aes.h"

static EVP_PKEY *rsa, *other;

static struct unwrapping_key private_half(EVP_PKEY *key)
{
	return (struct unwrapping_key){.kind = KEK_RSA,
				       .bytes = (size_t)EVP_PKEY_get_size(key),
				       .holder = key,
				       .oaep_open = rsa_oaep_open};
}

static struct secret *sealed(const struct wrap_scheme *s, size_t len, struct buf *blob)
{
	const struct wrapping_key to = {.kind = KEK_RSA, .evp = rsa};
	struct secret *plain = NULL;

	assert_int_equal(secret_random(len, &plain), KB_OK);
	buf_init(blob, 2 * KB_MAX_SECRET);
	buf_add_str(blob, "before");
	assert_int_equal(scheme_accepts(s, &to), KB_OK);
	assert_int_equal(s->seal(s, &to, secret_span(plain), blob), KB_OK);
	assert_memory_equal(blob->p, "before", 6);
	memmove(blob->p, blob->p + 6, blob->len -= 6);
	return plain;
}

/* The blob alone. */
static void seal_some(const struct wrap_scheme *s, size_t len, struct buf *blob)
{
	secret_free(sealed(s, len, blob));
}

static void test_scheme_opens_what_it_sealed(void **state)
{
	const struct unwrapping_key own = private_half(rsa);

	(void)state;
	for (size_t row = 0; row < WRAP_SCHEMES; row++)
		for (size_t len = 1; len <= KB_MAX_SECRET; len = len < 64 ? len + 1 : len * 2) {
			struct span key, payload;
			KB_AUTO(buf) struct buf blob;
			KB_AUTO(secret) struct secret *plain = sealed(&schemes[row], len, &blob);
			KB_AUTO(secret) struct secret *opened = NULL;
			assert_int_equal(blob.len, schemes[row].size(own.bytes, len));
			assert_true(schemes[row].split(own.bytes, buf_span(&blob), &key, &payload));
			assert_int_equal(key.len, own.bytes);
			assert_true(key.len + payload.len <= blob.len);
			assert_int_equal(
				schemes[row].open(&schemes[row], &own, buf_span(&blob), &opened),
				KB_OK);
			assert_true(secret_equal(plain, opened));
		}
}

static enum kb_err opens(size_t row, const struct unwrapping_key *kek, struct span blob)
{
	struct secret *out = NULL;
	enum kb_err err = schemes[row].open(&schemes[row], kek, blob, &out);

	if (err != KB_OK)
		assert_null(out);
	secret_free(out);
	return err;
}

static void test_scheme_refuses_other_blobs(void **state)
{
	struct unwrapping_key own = private_half(rsa), wrong = private_half(other);

	(void)state;
	for (size_t row = 0; row < WRAP_SCHEMES; row++) {
		KB_AUTO(buf) struct buf blob;
		seal_some(&schemes[row], 20, &blob);
		for (size_t with = 0; with < WRAP_SCHEMES; with++)
			assert_int_equal(opens(with, &own, buf_span(&blob)),
					 with == row ? KB_OK : KB_E_WRAP);
		assert_int_equal(opens(row, &wrong, buf_span(&blob)), KB_E_WRAP);
		for (size_t len = 0; len < blob.len; len++)
			assert_int_equal(opens(row, &own, span_of(blob.p, len)), KB_E_WRAP);
		for (size_t at = 0; at < blob.len; at += 17) {
			blob.p[at] ^= 1;
			assert_int_equal(opens(row, &own, buf_span(&blob)), KB_E_WRAP);
			blob.p[at] ^= 1;
		}
	}
}

/* Longer than any secret of ours: refused before memory is asked for. */
static void test_scheme_refuses_long_blobs(void **state)
{
	static uint8_t blob[2 * KB_MAX_SECRET];
	const struct unwrapping_key own = private_half(rsa);

	(void)state;
	assert_int_equal(opens(0, &own, span_of(blob, own.bytes + KB_MAX_SECRET + 16)), KB_E_WRAP);
	assert_int_equal(opens(0, &own, span_of(blob, sizeof blob)), KB_E_WRAP);
	KB_AUTO(buf) struct buf good;
	seal_some(&schemes[0], KB_MAX_SECRET, &good);
	assert_int_equal(opens(0, &own, buf_span(&good)), KB_OK);
	buf_add(&good, blob, 8);
	assert_int_equal(opens(0, &own, buf_span(&good)), KB_E_WRAP);
}

static void test_scheme_split_lengths(void **state)
{
	static uint8_t blob[512];
	struct span key, payload;

	(void)state;
	for (size_t row = 0; row < WRAP_SCHEMES; row++)
		for (size_t len = 0; len <= sizeof blob; len++) {
			bool fits = len >= 256 + 16 && len % 8 == 0;
			assert_int_equal(
				schemes[row].split(256, span_of(blob, len), &key, &payload), fits);
		}
}

/* What does not decrypt is not read, however long it came out. */
static void test_scheme_oaep_refuses_other_ciphertext(void **state)
{
	struct secret *out = NULL;
	KB_AUTO(buf) struct buf blob;

	(void)state;
	seal_some(&schemes[0], 20, &blob);
	struct span key = span_of(blob.p, (size_t)EVP_PKEY_get_size(rsa));
	assert_int_equal(rsa_oaep_open(rsa, OAEP_SHA1, key, &out), KB_OK);
	assert_int_equal(secret_len(out), RSA_AES_KEY_BYTES);
	secret_free(out);
	assert_int_equal(rsa_oaep_open(rsa, OAEP_SHA256, key, &out), KB_E_WRAP);
	assert_null(out);
	blob.p[20] ^= 1;
	assert_int_equal(rsa_oaep_open(rsa, OAEP_SHA1, key, &out), KB_E_WRAP);
	assert_null(out);
}

/* The arena of secrets is full, but for one place of an AES key in the last case. */
static void test_scheme_without_room_for_secrets(void **state)
{
	static struct secret *fill[KB_SECRET_ARENA / 64];
	const struct unwrapping_key own = private_half(rsa);
	const struct wrapping_key to = {.kind = KEK_RSA, .evp = rsa};
	struct secret *out = NULL;
	size_t n = 0;
	KB_AUTO(buf) struct buf blob, again;

	(void)state;
	seal_some(&schemes[0], KB_MAX_SECRET, &blob);
	buf_init(&again, 4096);
	for (size_t size = KB_MAX_SECRET; size > 0; size /= 2)
		while ((fill[n] = secret_new(size)) != NULL)
			n++;
	assert_int_equal(schemes[0].seal(&schemes[0], &to, span_str("k"), &again), KB_E_NOMEM);
	assert_int_equal(again.len, 0);
	assert_int_equal(rsa_oaep_open(rsa, OAEP_SHA1, span_of(blob.p, own.bytes), &out),
			 KB_E_NOMEM);
	assert_null(out);
	assert_int_equal(opens(0, &own, buf_span(&blob)), KB_E_NOMEM);
	while (n > 0)
		secret_free(fill[--n]);
	for (size_t size = KB_MAX_SECRET; size >= own.bytes; size /= 2)
		while ((fill[n] = secret_new(size)) != NULL)
			n++;
	secret_free(fill[--n]);
	assert_int_equal(opens(0, &own, buf_span(&blob)), KB_E_NOMEM);
	while (n > 0)
		secret_free(fill[--n]);
	assert_int_equal(opens(0, &own, buf_span(&blob)), KB_OK);
}

/* An AES key of another length is another layout. */
static void test_scheme_refuses_short_aes_key(void **state)
{
	const struct unwrapping_key own = private_half(rsa);
	const struct wrapping_key to = {.kind = KEK_RSA, .evp = rsa};
	uint8_t aes[32] = {1};
	size_t len = own.bytes;
	KB_AUTO(buf) struct buf blob;
	buf_init(&blob, 4096);

	(void)state;
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, to.evp, NULL);
	assert_int_equal(EVP_PKEY_encrypt_init(ctx), 1);
	assert_int_equal(EVP_PKEY_CTX_ctrl_str(ctx, "rsa_padding_mode", "oaep"), 1);
	assert_int_equal(EVP_PKEY_encrypt(ctx, buf_reserve(&blob, len), &len, aes, 16), 1);
	EVP_PKEY_CTX_free(ctx);
	assert_int_equal(kwp_wrap(aes, span_str("secret"), &blob), KB_OK);
	assert_int_equal(opens(0, &own, buf_span(&blob)), KB_E_WRAP);
}

static void test_scheme_asks_for_its_kind_of_key(void **state)
{
	const struct wrapping_key none = {.kind = KEK_NONE, .evp = rsa};
	struct unwrapping_key own = private_half(rsa);
	uint8_t blob[512] = {0};

	(void)state;
	own.kind = KEK_NONE;
	for (size_t row = 0; row < WRAP_SCHEMES; row++) {
		assert_int_equal(scheme_accepts(&schemes[row], &none), KB_E_KEY_TYPE);
		assert_int_equal(opens(row, &own, span_of(blob, sizeof blob)), KB_E_KEY_TYPE);
	}
}

static void test_scheme_find_by_name(void **state)
{
	static const char *const others[] = {"", "RSA_AES_KEY_WRAP_512", "RSA_AES_KEY_WRAP_25",
					     "rsa_aes_key_wrap_256"};

	(void)state;
	for (size_t row = 0; row < WRAP_SCHEMES; row++)
		assert_ptr_equal(scheme_find(span_str(schemes[row].name)), &schemes[row]);
	for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
		assert_null(scheme_find(span_str(others[i])));
}

/* Some number of that size: what is looked at is the size. */
static EVP_PKEY *rsa_of(const char *type, int bits)
{
	EVP_PKEY *key = NULL;
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
	OSSL_PARAM_BLD *numbers = OSSL_PARAM_BLD_new();
	BIGNUM *n = BN_new(), *e = BN_new();

	assert_int_equal(BN_set_bit(n, bits - 1) & BN_set_bit(n, 0) & BN_set_word(e, 65537), 1);
	assert_int_equal(OSSL_PARAM_BLD_push_BN(numbers, OSSL_PKEY_PARAM_RSA_N, n) &
				 OSSL_PARAM_BLD_push_BN(numbers, OSSL_PKEY_PARAM_RSA_E, e),
			 1);
	OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(numbers);
	assert_int_equal(EVP_PKEY_fromdata_init(ctx), 1);
	assert_int_equal(EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params), 1);
	assert_int_equal(EVP_PKEY_get_bits(key), bits);
	OSSL_PARAM_free(params);
	OSSL_PARAM_BLD_free(numbers);
	EVP_PKEY_CTX_free(ctx);
	BN_free(n);
	BN_free(e);
	return key;
}

static enum kb_err accepts(EVP_PKEY *key)
{
	const struct wrapping_key kek = {.kind = KEK_RSA, .evp = key};
	enum kb_err err = scheme_accepts(&schemes[0], &kek);

	EVP_PKEY_free(key);
	return err;
}

static void test_scheme_accepts_rsa_within_limits(void **state)
{
	(void)state;
	assert_int_equal(accepts(rsa_of("RSA", KB_RSA_MIN_BITS)), KB_OK);
	assert_int_equal(accepts(rsa_of("RSA", KB_RSA_MAX_BITS)), KB_OK);
	assert_int_equal(accepts(rsa_of("RSA", KB_RSA_MIN_BITS - 1)), KB_E_WRAP);
	assert_int_equal(accepts(rsa_of("RSA", KB_RSA_MAX_BITS + 1)), KB_E_WRAP);
	assert_int_equal(accepts(rsa_of("RSA", 2 * KB_RSA_MAX_BITS)), KB_E_WRAP);
	assert_int_equal(accepts(NULL), KB_E_WRAP);
	assert_int_equal(accepts(rsa_of("RSA-PSS", KB_RSA_MIN_BITS)), KB_E_WRAP);
}

/* A row without a kind of key takes none at all. */
static void test_scheme_without_a_kind_accepts_nothing(void **state)
{
	const struct wrap_scheme row = {.kek = KEK_NONE};
	const struct wrapping_key none = {.kind = KEK_NONE}, good = {.kind = KEK_RSA, .evp = rsa};

	(void)state;
	assert_int_equal(scheme_accepts(&row, &none), KB_E_KEY_TYPE);
	assert_int_equal(scheme_accepts(&row, &good), KB_E_KEY_TYPE);
}

/* RSA of 512 bits has no room for an AES key in OAEP. */
static void test_scheme_seal_to_a_small_key(void **state)
{
	const struct wrapping_key to = {.kind = KEK_RSA, .evp = rsa_of("RSA", 512)};

	(void)state;
	for (size_t row = 0; row < WRAP_SCHEMES; row++) {
		KB_AUTO(buf) struct buf blob;
		buf_init(&blob, 4096);
		buf_add_str(&blob, "before");
		assert_int_equal(schemes[row].seal(&schemes[row], &to, span_str("k"), &blob),
				 KB_E_WRAP);
		assert_true(span_eq_cstr(buf_span(&blob), "before"));
	}
	EVP_PKEY_free(to.evp);
}

static void test_scheme_seal_without_room(void **state)
{
	const struct wrapping_key to = {.kind = KEK_RSA, .evp = rsa};

	(void)state;
	for (size_t room = 0; room < 256 + 32; room += 8) {
		KB_AUTO(buf) struct buf blob;
		buf_init(&blob, room);
		assert_int_equal(schemes[1].seal(&schemes[1], &to,
						 span_of("0123456789abcdefghijklmn", 24), &blob),
				 KB_E_NOMEM);
		assert_int_equal(blob.len, 0);
	}
}

static int setup(void **state)
{
	(void)state;
	rsa = EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)2048);
	other = EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)2048);
	return rsa != NULL && other != NULL && secret_arena_init() == KB_OK ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	EVP_PKEY_free(rsa);
	EVP_PKEY_free(other);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_scheme_opens_what_it_sealed),
		cmocka_unit_test(test_scheme_refuses_other_blobs),
		cmocka_unit_test(test_scheme_refuses_long_blobs),
		cmocka_unit_test(test_scheme_split_lengths),
		cmocka_unit_test(test_scheme_oaep_refuses_other_ciphertext),
		cmocka_unit_test(test_scheme_without_room_for_secrets),
		cmocka_unit_test(test_scheme_seal_to_a_small_key),
		cmocka_unit_test(test_scheme_refuses_short_aes_key),
		cmocka_unit_test(test_scheme_asks_for_its_kind_of_key),
		cmocka_unit_test(test_scheme_find_by_name),
		cmocka_unit_test(test_scheme_accepts_rsa_within_limits),
		cmocka_unit_test(test_scheme_without_a_kind_accepts_nothing),
		cmocka_unit_test(test_scheme_seal_without_room),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
