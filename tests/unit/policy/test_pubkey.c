/* tests/unit/policy/test_pubkey.c — public keys from outside: weak, of another kind, private, or
 * for another use. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <openssl/param_build.h>
#include <openssl/params.h>
#include <openssl/x509.h>

#include "base/json.h"
#include "policy/pubkey.h"
#include "policy/wrapping_key.h"
#include "tests/unit/mint.h"

#define ASSERT_ERR(want, call) assert_string_equal(kb_err_name(call), kb_err_name(want))

static enum kb_err import(const char *jwk, enum pubkey_use use)
{
	KB_AUTO(json) struct json_t *j = NULL;
	struct pubkey *k = NULL;

	ASSERT_ERR(KB_OK, json_load_strict(span_str(jwk), KB_MAX_CONFIG, &j, NULL));
	enum kb_err err = pubkey_from_jwk(j, use, &k);
	assert_true((k != NULL) == (err == KB_OK));
	pubkey_free(k);
	return err;
}

static enum kb_err import_both(const char *jwk)
{
	enum kb_err err = import(jwk, PUBKEY_VERIFY);

	ASSERT_ERR(err, import(jwk, PUBKEY_WRAP));
	return err;
}

static char *rsa_jwk(const BIGNUM *n, const char *e)
{
	uint8_t bytes[4096];
	int len = BN_bn2bin(n, bytes);

	return mint_text("{\"kty\":\"RSA\",\"n\":\"%s\",\"e\":\"%s\"}",
			 mint_b64(bytes, (size_t)len), e);
}

static BIGNUM *modulus(void)
{
	BIGNUM *n = NULL;

	assert_int_equal(EVP_PKEY_get_bn_param(mint_rsa(0), OSSL_PKEY_PARAM_RSA_N, &n), 1);
	return n;
}

/* A number of that size that passes for a modulus (odd, composite, no small factor), as JWK: making
 * real keys of 4096 bits takes seconds. */
static char *plausible_jwk(int bits, const char *e)
{
	BIGNUM *n = BN_new();
	char *jwk;

	do {
		assert_int_equal(BN_rand(n, bits, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ODD), 1);
		jwk = rsa_jwk(n, e);
	} while (import(jwk, PUBKEY_VERIFY) != KB_OK);
	BN_free(n);
	return jwk;
}

static void test_pubkey_accepts_good_keys(void **state)
{
	static const struct {
		const char *curve;
		enum pubkey_kind kind;
		unsigned bits;
	} ec[] = {{"P-256", PUBKEY_P256, 256},
		  {"P-384", PUBKEY_P384, 384},
		  {"P-521", PUBKEY_P521, 521}};

	(void)state;
	ASSERT_ERR(KB_OK, import_both(mint_jwk(mint_rsa(0), "k", "")));
	ASSERT_ERR(KB_OK, import(plausible_jwk(3072, "Aw"), PUBKEY_WRAP));
	for (size_t i = 0; i < 3; i++) {
		KB_AUTO(json) struct json_t *j = NULL;
		KB_AUTO(pubkey) struct pubkey *k = NULL;
		ASSERT_ERR(KB_OK,
			   json_load_strict(span_str(mint_jwk(mint_ec(ec[i].curve), "kid!", "")),
					    4096, &j, NULL));
		ASSERT_ERR(KB_OK, pubkey_from_jwk(j, PUBKEY_VERIFY, &k));
		assert_int_equal(pubkey_kind(k), ec[i].kind);
		assert_int_equal(pubkey_bits(k), ec[i].bits);
		assert_true(span_eq_cstr(pubkey_kid(k), "kid!"));
		assert_int_equal(EVP_PKEY_eq(pubkey_evp(k), mint_ec(ec[i].curve)), 1);
		ASSERT_ERR(KB_E_KEY_TYPE,
			   import(mint_jwk(mint_ec(ec[i].curve), "k", ""), PUBKEY_WRAP));
	}
}

static void test_pubkey_import_for_wrapping_is_quick(void **state)
{
	KB_AUTO(json) struct json_t *j = NULL;
	int64_t best = INT64_MAX;

	(void)state;
	ASSERT_ERR(KB_OK, json_load_strict(span_str(mint_jwk(mint_rsa(1), "k",
							     ",\"key_ops\":[\"encrypt\"]")),
					   4096, &j, NULL));
	for (unsigned i = 0; i < 50; i++) {
		KB_AUTO(pubkey) struct pubkey *k = NULL;
		int64_t from = mint_cpu_us();
		ASSERT_ERR(KB_OK, pubkey_from_jwk(j, PUBKEY_WRAP, &k));
		best = mint_cpu_us() - from < best ? mint_cpu_us() - from : best;
	}
	assert_true(best < 400); /* 7 µs measured; ten times that under a sanitizer */
}

static void test_a22_rsa_size(void **state)
{
	static const int bits[] = {512, 1024, 2047, 4097, 8192, 16384};
	BIGNUM *n = BN_new();

	(void)state;
	for (size_t i = 0; i < sizeof bits / sizeof *bits; i++) {
		assert_int_equal(BN_rand(n, bits[i], BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ODD), 1);
		int64_t from = mint_cpu_us();
		ASSERT_ERR(KB_E_KEY_SIZE, import(rsa_jwk(n, "AQAB"), PUBKEY_VERIFY));
		assert_true(mint_cpu_us() - from < 10000);
		ASSERT_ERR(KB_E_KEY_SIZE, import(rsa_jwk(n, "AQAB"), PUBKEY_WRAP));
	}
	BN_free(n);
}

static void test_a22_rsa_exponent(void **state)
{
	static const char *const bad[] = {
		"AQ",     "Ag",      "BA",          "AQAA",
		"_____g", "AQAAAAE", "AQAAAAAAAAAB"}; /* 1 2 4 65536 2³²−2 2³²+1 */
	BIGNUM *n = modulus();

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		ASSERT_ERR(KB_E_KEY_EXPONENT, import_both(rsa_jwk(n, bad[i])));
	ASSERT_ERR(KB_OK, import_both(rsa_jwk(n, "Aw")));
	ASSERT_ERR(KB_OK, import_both(rsa_jwk(n, "_____w")));         /* 2³²−1: 32 bits */
	ASSERT_ERR(KB_E_KEY_EXPONENT, import_both(rsa_jwk(n, "AA"))); /* zero */
	BN_free(n);
}

/* RFC 7518 section 6.3.1.1 warns of writers that prepend a zero.  It is the same key, with the same
 * thumbprint. */
static void test_a45_rsa_numbers_with_leading_zeros(void **state)
{
	uint8_t wide[2 * KB_RSA_MAX_BITS / 8 + 1] = {0}, e[300] = {0}, plain[32], padded[32];
	BIGNUM *n = modulus();
	size_t len = (size_t)BN_num_bytes(n);

	(void)state;
	assert_true(BN_bn2bin(n, wide + sizeof wide - len) > 0);
	memcpy(e + sizeof e - 3, "\1\0\1", 3);
	const char *want = rsa_jwk(n, "AQAB");
	for (size_t zeros = 0; zeros <= sizeof wide - len; zeros++) {
		if (zeros > 2 && zeros < sizeof wide - len - 2)
			continue;
		const char *jwk =
			mint_text("{\"kty\":\"RSA\",\"n\":\"%s\",\"e\":\"%s\"}",
				  mint_b64(wide + sizeof wide - len - zeros, len + zeros),
				  mint_b64(e + sizeof e - 3 - zeros % 297, 3 + zeros % 297));
		if (zeros == sizeof wide - len) { /* longer than what is decoded */
			ASSERT_ERR(KB_E_KEY_SIZE, import_both(jwk));
			continue;
		}
		for (unsigned use = PUBKEY_VERIFY; use <= PUBKEY_WRAP; use++) {
			KB_AUTO(json) struct json_t *a = NULL;
			KB_AUTO(json) struct json_t *b = NULL;
			KB_AUTO(pubkey) struct pubkey *x = NULL;
			KB_AUTO(pubkey) struct pubkey *y = NULL;
			ASSERT_ERR(KB_OK, json_load_strict(span_str(want), 8192, &a, NULL));
			ASSERT_ERR(KB_OK, json_load_strict(span_str(jwk), 8192, &b, NULL));
			ASSERT_ERR(KB_OK, pubkey_from_jwk(a, use, &x));
			ASSERT_ERR(KB_OK, pubkey_from_jwk(b, use, &y));
			assert_true(pubkey_equal(x, y));
			ASSERT_ERR(KB_OK, pubkey_thumbprint(x, plain));
			ASSERT_ERR(KB_OK, pubkey_thumbprint(y, padded));
			assert_memory_equal(plain, padded, 32);
		}
	}
	/* zeros do not make a long exponent short, nor a short modulus long */
	ASSERT_ERR(KB_E_KEY_EXPONENT, import_both(rsa_jwk(n, "AAABAAAAAQ")));
	ASSERT_ERR(KB_E_KEY_SIZE,
		   import_both(mint_text("{\"kty\":\"RSA\",\"n\":\"%s\",\"e\":\"AQAB\"}",
					 mint_b64(wide + sizeof wide - 128 - 256, 256 + 64))));
	BN_free(n);
}

static void test_a22_rsa_modulus_even_or_with_small_factor(void **state)
{
	static const unsigned factors[] = {2, 3, 5, 17, 167};
	BIGNUM *n = BN_new(), *p = BN_new(), *f = BN_new();
	BN_CTX *ctx = BN_CTX_new();

	(void)state;
	for (size_t i = 0; i < sizeof factors / sizeof *factors; i++) {
		assert_int_equal(BN_set_word(f, factors[i]), 1);
		assert_int_equal(BN_rand(p, 2048, BN_RAND_TOP_TWO, BN_RAND_BOTTOM_ODD), 1);
		assert_int_equal(BN_mul(n, p, f, ctx), 1);
		ASSERT_ERR(KB_E_KEY_WEAK, import_both(rsa_jwk(n, "AQAB")));
	}
	/* Larger factors are found for issuers only. */
	assert_int_equal(BN_set_word(f, 751), 1);
	do
		assert_int_equal(BN_rand(p, 2048, BN_RAND_TOP_TWO, BN_RAND_BOTTOM_ODD) &
					 BN_mul(n, p, f, ctx),
				 1);
	while (import(rsa_jwk(n, "AQAB"), PUBKEY_WRAP) != KB_OK);
	ASSERT_ERR(KB_E_KEY_WEAK, import(rsa_jwk(n, "AQAB"), PUBKEY_VERIFY));
	BN_free(n);
	BN_free(p);
	BN_free(f);
	BN_CTX_free(ctx);
}

/* The same prime drawn twice is seen at once; a guest that has such a key harms itself. */
static void test_a22_rsa_modulus_a_square(void **state)
{
	BIGNUM *n = BN_new(), *p = BN_new();
	BN_CTX *ctx = BN_CTX_new();

	(void)state;
	do
		assert_int_equal(BN_generate_prime_ex(p, 1024, 0, NULL, NULL, NULL), 1);
	while (BN_sqr(n, p, ctx) != 1 || BN_num_bits(n) != 2048);
	ASSERT_ERR(KB_E_KEY_WEAK, import(rsa_jwk(n, "AQAB"), PUBKEY_VERIFY));
	ASSERT_ERR(KB_OK, import(rsa_jwk(n, "AQAB"), PUBKEY_WRAP));
	BN_free(n);
	BN_free(p);
	BN_CTX_free(ctx);
}

static enum kb_err validate(const char *jwk)
{
	KB_AUTO(json) struct json_t *j = NULL;
	KB_AUTO(pubkey) struct pubkey *k = NULL;

	ASSERT_ERR(KB_OK, json_load_strict(span_str(jwk), KB_MAX_CONFIG, &j, NULL));
	ASSERT_ERR(KB_OK, pubkey_from_jwk(j, PUBKEY_VERIFY, &k));
	return pubkey_validate(k);
}

/* What only the full validation sees: a modulus with one prime in it.  Whoever reads it can
 * sign. */
static void test_a22_rsa_modulus_of_one_prime(void **state)
{
	BIGNUM *n = BN_new(), *p = BN_new(), *three = BN_new();
	BN_CTX *ctx = BN_CTX_new();

	(void)state;
	assert_non_null(BN_get_rfc3526_prime_2048(p));
	ASSERT_ERR(KB_E_KEY_WEAK, validate(rsa_jwk(p, "AQAB")));
	do
		assert_int_equal(BN_generate_prime_ex(p, 700, 0, NULL, NULL, NULL) &
					 BN_set_word(three, 3),
				 1);
	while (BN_exp(n, p, three, ctx) != 1);
	ASSERT_ERR(KB_E_KEY_WEAK, validate(rsa_jwk(n, "AQAB")));
	ASSERT_ERR(KB_OK, validate(mint_jwk(mint_rsa(0), "k", "")));
	ASSERT_ERR(KB_OK, validate(mint_jwk(mint_ec("P-521"), "k", "")));
	BN_free(n);
	BN_free(p);
	BN_free(three);
	BN_CTX_free(ctx);
}

static void test_a22_checking_a_key_takes_no_time(void **state)
{
	const char *jwk = plausible_jwk(4096, "AQAB");
	int64_t best = INT64_MAX;

	(void)state;
	for (unsigned i = 0; i < 5; i++) {
		int64_t from = mint_cpu_us();
		ASSERT_ERR(KB_OK, import(jwk, PUBKEY_VERIFY));
		best = mint_cpu_us() - from < best ? mint_cpu_us() - from : best;
	}
	assert_true(best < 10000);
}

/* A modulus whose residues are powers of 65537 for every prime of the fingerprint, as the broken
 * library made them; and the real one of Wycheproof, which is refused in test_jws.c. */
static void test_a23_roca(void **state)
{
	BIGNUM *m = BN_new(), *n = BN_new(), *k = BN_new(), *e = BN_new();
	BN_CTX *ctx = BN_CTX_new();
	static const unsigned short primes[] = {2,   3,   5,   7,   11,  13,  17,  19,  23,  29,
						31,  37,  41,  43,  47,  53,  59,  61,  67,  71,
						73,  79,  83,  89,  97,  101, 103, 107, 109, 113,
						127, 131, 137, 139, 149, 151, 157, 163, 167};

	(void)state;
	assert_int_equal(BN_one(m) & BN_set_word(e, 65537), 1);
	for (size_t i = 0; i < sizeof primes / sizeof *primes; i++)
		assert_int_equal(BN_mul_word(m, primes[i]), 1);
	do { /* n = k·M + (65537^a mod M) */
		assert_int_equal(BN_set_word(k, 123457), 1);
		assert_int_equal(BN_mod_exp(n, e, k, m, ctx), 1);
		assert_int_equal(
			BN_rand(k, 2048 - BN_num_bits(m), BN_RAND_TOP_TWO, BN_RAND_BOTTOM_ANY), 1);
		assert_int_equal(BN_mul(k, k, m, ctx) & BN_add(n, n, k), 1);
	} while (BN_num_bits(n) != 2048);
	ASSERT_ERR(KB_E_KEY_WEAK, import_both(rsa_jwk(n, "AQAB")));
	BN_free(m);
	BN_free(n);
	BN_free(k);
	BN_free(e);
	BN_CTX_free(ctx);
}

static enum kb_err import_ec(const char *crv, const uint8_t *x, size_t x_len, const uint8_t *y,
			     size_t y_len)
{
	return import(mint_text("{\"kty\":\"EC\",\"crv\":\"%s\",\"x\":\"%s\",\"y\":\"%s\"}", crv,
				mint_b64(x, x_len), mint_b64(y, y_len)),
		      PUBKEY_VERIFY);
}

static void test_a24_ec_points(void **state)
{
	uint8_t x[70] = {0}, y[70] = {0}, p[32], bad[70];
	BIGNUM *bx = NULL, *by = NULL;

	(void)state;
	assert_int_equal(EVP_PKEY_get_bn_param(mint_ec("P-256"), "qx", &bx) &
				 EVP_PKEY_get_bn_param(mint_ec("P-256"), "qy", &by),
			 1);
	assert_int_equal(BN_bn2binpad(bx, x, 32) + BN_bn2binpad(by, y, 32), 64);
	BN_free(bx);
	BN_free(by);
	ASSERT_ERR(KB_OK, import_ec("P-256", x, 32, y, 32));
	memcpy(bad, y, 32);
	bad[31] ^= 1;
	ASSERT_ERR(KB_E_KEY_CURVE, import_ec("P-256", x, 32, bad, 32)); /* off the curve */
	memset(bad, 0, 32);
	ASSERT_ERR(KB_E_KEY_CURVE,
		   import_ec("P-256", bad, 32, bad, 32)); /* some write infinity so */
	memset(p, 0xff, 32);
	ASSERT_ERR(KB_E_KEY_CURVE, import_ec("P-256", p, 32, y, 32)); /* x ≥ p */
	ASSERT_ERR(KB_E_KEY_CURVE, import_ec("P-256", x, 31, y, 32));
	ASSERT_ERR(KB_E_KEY_CURVE, import_ec("P-256", x, 32, y, 33));
	ASSERT_ERR(KB_E_KEY_CURVE, import_ec("P-256", x, 32, y, 64));
	ASSERT_ERR(KB_E_KEY_CURVE, import_ec("P-384", x, 32, y, 32)); /* another curve's width */
	ASSERT_ERR(KB_E_KEY_CURVE, import_ec("P-384", x, 48, y, 48));
	ASSERT_ERR(KB_E_KEY_CURVE, import_ec("P-192", x, 24, y, 24));
	ASSERT_ERR(KB_E_KEY_CURVE, import_ec("secp256k1", x, 32, y, 32));
	ASSERT_ERR(KB_E_KEY_CURVE, import_ec("P-256K", x, 32, y, 32));
	ASSERT_ERR(KB_E_KEY_FORMAT, import("{\"kty\":\"EC\"}", PUBKEY_VERIFY));
	ASSERT_ERR(KB_E_KEY_FORMAT, import("{\"kty\":\"EC\",\"crv\":\"P-256\"}", PUBKEY_VERIFY));
}

/* A coordinate that ends in a zero byte, without it: read into a buffer of zeros it would be the
 * point again. */
static char *certificate_by(EVP_PKEY *key, EVP_PKEY *signer, size_t extra);

/* One coordinate in 256 begins with a zero byte: it must be read at full width from a certificate,
 * and cut short it is no key. */
static void test_a24_ec_coordinates_with_a_leading_zero(void **state)
{
	(void)state;
	for (unsigned which = 0; which < 2; which++) {
		const char *name = which == 0 ? OSSL_PKEY_PARAM_EC_PUB_X : OSSL_PKEY_PARAM_EC_PUB_Y;
		EVP_PKEY *key = NULL;
		BIGNUM *b = NULL;
		do {
			EVP_PKEY_free(key);
			BN_free(b);
			b = NULL;
			key = EVP_EC_gen("P-256");
			assert_int_equal(EVP_PKEY_get_bn_param(key, name, &b), 1);
		} while (BN_num_bytes(b) != 31);
		BN_free(b);
		char *x = mint_number(key, OSSL_PKEY_PARAM_EC_PUB_X, which == 0 ? 31 : 32),
		     *y = mint_number(key, OSSL_PKEY_PARAM_EC_PUB_Y, which == 1 ? 31 : 32);
		const char *x5c = certificate_by(key, mint_rsa(0), 0);
		ASSERT_ERR(KB_OK, import(mint_text("{\"kty\":\"EC\",\"x5c\":[\"%s\"]}", x5c),
					 PUBKEY_VERIFY));
		ASSERT_ERR(KB_OK, import(mint_jwk(key, "k", mint_text(",\"x5c\":[\"%s\"]", x5c)),
					 PUBKEY_VERIFY));
		ASSERT_ERR(KB_E_KEY_CURVE, import(mint_text("{\"kty\":\"EC\",\"crv\":\"P-256\","
							    "\"x\":\"%s\",\"y\":\"%s\"}",
							    x, y),
						  PUBKEY_VERIFY));
		EVP_PKEY_free(key);
	}
}

static void test_a24_ec_coordinate_cut_short(void **state)
{
	uint8_t x[32], y[32];
	bool is_found = false;

	(void)state;
	for (unsigned i = 0; i < 20000 && !is_found; i++) {
		EVP_PKEY *key = EVP_EC_gen("P-256");
		BIGNUM *bx = NULL, *by = NULL;
		assert_int_equal(EVP_PKEY_get_bn_param(key, "qx", &bx) &
					 EVP_PKEY_get_bn_param(key, "qy", &by),
				 1);
		assert_int_equal(BN_bn2binpad(bx, x, 32) + BN_bn2binpad(by, y, 32), 64);
		is_found = x[31] == 0;
		BN_free(bx);
		BN_free(by);
		EVP_PKEY_free(key);
	}
	assert_true(is_found);
	ASSERT_ERR(KB_OK, import_ec("P-256", x, 32, y, 32));
	ASSERT_ERR(KB_E_KEY_CURVE, import_ec("P-256", x, 31, y, 32));
}

static void test_a25_private_members(void **state)
{
	static const char *const members[] = {"d", "p", "q", "dp", "dq", "qi", "oth", "k"};

	(void)state;
	for (size_t i = 0; i < sizeof members / sizeof *members; i++) {
		ASSERT_ERR(KB_E_KEY_PRIVATE,
			   import_both(mint_jwk(mint_rsa(0), "k",
						mint_text(",\"%s\":\"AQ\"", members[i]))));
		ASSERT_ERR(KB_E_KEY_PRIVATE,
			   import_both(mint_jwk(mint_rsa(0), "k",
						mint_text(",\"%s\":null", members[i]))));
	}
	ASSERT_ERR(KB_E_KEY_PRIVATE, import_both(mint_jwk(mint_ec("P-256"), "k", ",\"d\":\"AQ\"")));
}

static void test_a26_use_and_key_ops(void **state)
{
	static const struct {
		const char *more;
		enum kb_err wrap, verify;
	} cases[] = {
		{",\"use\":\"enc\"", KB_OK, KB_E_KEY_USE},
		{",\"use\":\"sig\"", KB_E_KEY_USE, KB_OK},
		{",\"use\":\"ENC\"", KB_E_KEY_USE, KB_E_KEY_USE},
		{",\"use\":1", KB_E_KEY_FORMAT, KB_E_KEY_FORMAT},
		{",\"use\":\"\"", KB_E_KEY_FORMAT, KB_E_KEY_FORMAT},
		{",\"key_ops\":[\"encrypt\"]", KB_OK, KB_E_KEY_USE},
		{",\"key_ops\":[\"sign\",\"wrapKey\"]", KB_OK, KB_E_KEY_USE},
		{",\"key_ops\":[\"verify\"]", KB_E_KEY_USE, KB_OK},
		{",\"key_ops\":[\"verify\",\"sign\"]", KB_E_KEY_USE,
		 KB_OK}, /* wherever in the list it stands */
		{",\"key_ops\":[\"encrypt\",\"decrypt\"]", KB_OK, KB_E_KEY_USE},
		{",\"key_ops\":[\"sign\"]", KB_E_KEY_USE, KB_E_KEY_USE},
		{",\"key_ops\":[]", KB_E_KEY_USE, KB_E_KEY_USE},
		{",\"key_ops\":\"encrypt\"", KB_E_KEY_FORMAT, KB_E_KEY_FORMAT},
		{",\"key_ops\":[1]", KB_E_KEY_FORMAT, KB_E_KEY_FORMAT},
		{",\"use\":\"sig\",\"key_ops\":[\"encrypt\"]", KB_E_KEY_USE, KB_E_KEY_USE},
		{",\"alg\":\"RSA-OAEP-256\"", KB_OK, KB_E_KEY_USE},
		{",\"alg\":\"RSA-OAEP\"", KB_OK, KB_E_KEY_USE},
		{",\"alg\":\"RSA1_5\"", KB_E_KEY_USE, KB_E_KEY_USE},
		{",\"alg\":\"RS256\"", KB_E_KEY_USE, KB_OK},
		{",\"alg\":\"ES256\"", KB_E_KEY_USE, KB_E_KEY_USE},
		{",\"alg\":\"HS256\"", KB_E_KEY_USE, KB_E_KEY_USE},
		{",\"alg\":1", KB_E_KEY_FORMAT, KB_E_KEY_FORMAT},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		ASSERT_ERR(cases[i].wrap,
			   import(mint_jwk(mint_rsa(0), "k", cases[i].more), PUBKEY_WRAP));
		ASSERT_ERR(cases[i].verify,
			   import(mint_jwk(mint_rsa(0), "k", cases[i].more), PUBKEY_VERIFY));
	}
	ASSERT_ERR(KB_E_KEY_USE,
		   import(mint_jwk(mint_ec("P-256"), "k", ",\"alg\":\"ES384\""), PUBKEY_VERIFY));
}

static void test_pubkey_rejects_malformed_jwk(void **state)
{
	static const char *const bad[] = {
		"[]",
		"{}",
		"{\"kty\":1}",
		"{\"kty\":\"RSA\"}",
		"{\"kty\":\"RSA\",\"n\":\"AQ\"}",
		"{\"kty\":\"RSA\",\"e\":\"AQAB\"}",
		"{\"kty\":\"RSA\",\"n\":\"\",\"e\":\"AQAB\"}",
		"{\"kty\":\"RSA\",\"n\":\"A\",\"e\":\"AQAB\"}",
		"{\"kty\":\"RSA\",\"n\":\"AQ==\",\"e\":\"AQAB\"}",
		"{\"kty\":\"RSA\",\"n\":\"+/+/\",\"e\":\"AQAB\"}",
		"{\"kty\":\"RSA\",\"n\":65537,\"e\":\"AQAB\"}",
		"{\"kty\":\"RSA\",\"kid\":1,\"n\":\"AQAB\",\"e\":\"AQAB\"}",
		"{\"kty\":\"RSA\",\"kid\":\"\",\"n\":\"AQAB\",\"e\":\"AQAB\"}",
	};
	static const char *const foreign[] = {"{\"kty\":\"oct\"}", "{\"kty\":\"OKP\"}",
					      "{\"kty\":\"rsa\"}", "{\"kty\":\"AKP\"}"};
	char *kid = mint_keep(calloc(1, KB_MAX_KID + 2));

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		ASSERT_ERR(KB_E_KEY_FORMAT, import_both(bad[i]));
	for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++)
		ASSERT_ERR(KB_E_KEY_TYPE, import_both(foreign[i]));
	memset(kid, 'k', KB_MAX_KID + 1);
	ASSERT_ERR(KB_E_KEY_FORMAT, import_both(mint_jwk(mint_rsa(0), kid, "")));
	kid[KB_MAX_KID] = '\0';
	ASSERT_ERR(KB_OK, import_both(mint_jwk(mint_rsa(0), kid, "")));
}

/* ---- x5c ---- */

/* A self-signed certificate in standard base64; `extra` bytes of trash behind the DER. */
static char *certificate_by(EVP_PKEY *key, EVP_PKEY *signer, size_t extra)
{
	X509 *x = X509_new();
	uint8_t *der = NULL;
	struct buf b;

	assert_int_equal(X509_set_pubkey(x, key), 1);
	assert_non_null(X509_gmtime_adj(X509_getm_notBefore(x), 0));
	assert_non_null(X509_gmtime_adj(X509_getm_notAfter(x), 1000));
	assert_true(X509_sign(x, signer, EVP_sha256()) > 0);
	int len = i2d_X509(x, &der);
	assert_true(len > 0);
	uint8_t *padded = mint_keep(calloc(1, (size_t)len + extra));
	memcpy(padded, der, (size_t)len);
	OPENSSL_free(der);
	X509_free(x);
	buf_init(&b, 16384);
	b64_encode(&b, span_of(padded, (size_t)len + extra));
	buf_add(&b, "", 1);
	return mint_keep(b.p);
}

static char *certificate(EVP_PKEY *key, size_t extra)
{
	return certificate_by(key, key, extra);
}

/* Of an RSA key with a random modulus of that many bytes. */
static char *certificate_of_size(size_t bytes)
{
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
	EVP_PKEY *key = NULL;
	uint8_t native_n[577], e[] = {3};
	BIGNUM *n = BN_new();

	assert_int_equal(BN_rand(n, (int)bytes * 8, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ODD), 1);
	assert_int_equal(BN_bn2nativepad(n, native_n, (int)bytes), (int)bytes);
	BN_free(n);
	OSSL_PARAM params[] = {OSSL_PARAM_construct_BN(OSSL_PKEY_PARAM_RSA_N, native_n, bytes),
			       OSSL_PARAM_construct_BN(OSSL_PKEY_PARAM_RSA_E, e, 1),
			       OSSL_PARAM_construct_end()};
	assert_int_equal(EVP_PKEY_fromdata_init(ctx) == 1 &&
				 EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params) == 1,
			 1);
	char *text = certificate_by(key, mint_rsa(0), 0);
	EVP_PKEY_free(key);
	EVP_PKEY_CTX_free(ctx);
	return text;
}

/* The y of the other point that has the same x. */
static char *negated_y(EVP_PKEY *p384)
{
	EC_GROUP *group = EC_GROUP_new_by_curve_name(NID_secp384r1);
	BIGNUM *p = BN_new(), *y = NULL;
	uint8_t bytes[48];

	assert_true(EC_GROUP_get_curve(group, p, NULL, NULL, NULL) == 1 &&
		    EVP_PKEY_get_bn_param(p384, OSSL_PKEY_PARAM_EC_PUB_Y, &y) == 1);
	assert_true(BN_sub(y, p, y) == 1 && BN_bn2binpad(y, bytes, sizeof bytes) == sizeof bytes);
	BN_free(p);
	BN_free(y);
	EC_GROUP_free(group);
	return mint_b64(bytes, sizeof bytes);
}

static void test_pubkey_from_x5c(void **state)
{
	char *rsa = certificate(mint_rsa(0), 0), *ec = certificate(mint_ec("P-384"), 0);

	(void)state;
	ASSERT_ERR(KB_OK, import_both(mint_text("{\"kty\":\"RSA\",\"x5c\":[\"%s\"]}", rsa)));
	ASSERT_ERR(KB_OK, import(mint_text("{\"kty\":\"EC\",\"x5c\":[\"%s\",\"whatever\"]}", ec),
				 PUBKEY_VERIFY));
	ASSERT_ERR(KB_OK,
		   import_both(mint_jwk(mint_rsa(0), "k", mint_text(",\"x5c\":[\"%s\"]", rsa))));
	ASSERT_ERR(KB_OK,
		   import(mint_jwk(mint_ec("P-384"), "k", mint_text(",\"x5c\":[\"%s\"]", ec)),
			  PUBKEY_VERIFY));
	/* Half a key beside a certificate is no key. */
	char *n = mint_number(mint_rsa(0), OSSL_PKEY_PARAM_RSA_N, 0),
	     *x = mint_number(mint_ec("P-384"), OSSL_PKEY_PARAM_EC_PUB_X, 48),
	     *y = mint_number(mint_ec("P-384"), OSSL_PKEY_PARAM_EC_PUB_Y, 48);
	ASSERT_ERR(
		KB_E_KEY_FORMAT,
		import_both(mint_text("{\"kty\":\"RSA\",\"e\":\"AQAB\",\"x5c\":[\"%s\"]}", rsa)));
	ASSERT_ERR(
		KB_E_KEY_FORMAT,
		import_both(mint_text("{\"kty\":\"RSA\",\"n\":\"%s\",\"x5c\":[\"%s\"]}", n, rsa)));
	ASSERT_ERR(KB_E_KEY_FORMAT,
		   import(mint_text("{\"kty\":\"EC\",\"crv\":\"P-384\",\"x5c\":[\"%s\"]}", ec),
			  PUBKEY_VERIFY));
	ASSERT_ERR(KB_E_KEY_FORMAT,
		   import(mint_text("{\"kty\":\"EC\",\"x\":\"%s\",\"x5c\":[\"%s\"]}", x, ec),
			  PUBKEY_VERIFY));
	ASSERT_ERR(KB_E_KEY_FORMAT,
		   import(mint_text("{\"kty\":\"EC\",\"y\":\"%s\",\"x5c\":[\"%s\"]}", y, ec),
			  PUBKEY_VERIFY));
	/* They must agree in every number, and be what kty says. */
	ASSERT_ERR(
		KB_E_KEY_FORMAT,
		import_both(mint_text(
			"{\"kty\":\"RSA\",\"n\":\"%s\",\"e\":\"Aw\",\"x5c\":[\"%s\"]}", n, rsa)));
	ASSERT_ERR(KB_E_KEY_FORMAT, import(mint_text("{\"kty\":\"EC\",\"crv\":\"P-384\",\"x\":\"%"
						     "s\",\"y\":\"%s\",\"x5c\":[\"%s\"]}",
						     x, negated_y(mint_ec("P-384")), ec),
					   PUBKEY_VERIFY));
	ASSERT_ERR(KB_E_KEY_FORMAT,
		   import_both(mint_jwk(mint_rsa(2), "k", mint_text(",\"x5c\":[\"%s\"]", rsa))));
	ASSERT_ERR(KB_E_KEY_FORMAT,
		   import(mint_jwk(mint_ec("P-256"), "k", mint_text(",\"x5c\":[\"%s\"]", ec)),
			  PUBKEY_VERIFY));
	ASSERT_ERR(KB_E_KEY_TYPE, import_both(mint_text("{\"kty\":\"RSA\",\"x5c\":[\"%s\"]}", ec)));
	ASSERT_ERR(KB_E_KEY_TYPE,
		   import(mint_text("{\"kty\":\"EC\",\"x5c\":[\"%s\"]}", rsa), PUBKEY_VERIFY));
}

static void test_pubkey_rejects_bad_x5c(void **state)
{
	const char *rsa = certificate(mint_rsa(0), 0);
	char *list = mint_text("\"%s\"", rsa);

	(void)state;
	const char *const bad[] = {
		"[]",      "{}",         "null",
		"[1]",     "[\"\"]",     "[\"AAAA\"]",
		"[\"!\"]", "[\"-_-_\"]", mint_text("[\"%s\"]", certificate(mint_rsa(0), 1)),
	};
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		ASSERT_ERR(KB_E_KEY_FORMAT,
			   import_both(mint_text("{\"kty\":\"RSA\",\"x5c\":%s}", bad[i])));
	for (unsigned i = 1; i < KB_MAX_X5C; i++)
		list = mint_text("%s,\"%s\"", list, rsa);
	ASSERT_ERR(KB_OK, import_both(mint_text("{\"kty\":\"RSA\",\"x5c\":[%s]}", list)));
	ASSERT_ERR(KB_E_KEY_FORMAT,
		   import_both(mint_text("{\"kty\":\"RSA\",\"x5c\":[%s,\"%s\"]}", list, rsa)));
	ASSERT_ERR(KB_E_KEY_CURVE, import(mint_text("{\"kty\":\"EC\",\"x5c\":[\"%s\"]}",
						    certificate(mint_ec("secp256k1"), 0)),
					  PUBKEY_VERIFY));
	ASSERT_ERR(KB_E_KEY_SIZE, import_both(mint_text("{\"kty\":\"RSA\",\"x5c\":[\"%s\"]}",
							certificate_of_size(577))));
}

static void test_pubkey_from_x5c_at_the_size_limit(void **state)
{
	enum kb_err err;

	(void)state;
	do /* a random number has a small factor as often as not */
		err = import(
			mint_text("{\"kty\":\"RSA\",\"x5c\":[\"%s\"]}", certificate_of_size(512)),
			PUBKEY_WRAP);
	while (err == KB_E_KEY_WEAK);
	ASSERT_ERR(KB_OK, err);
	ASSERT_ERR(KB_E_KEY_SIZE,
		   import(mint_text("{\"kty\":\"RSA\",\"x5c\":[\"%s\"]}", certificate_of_size(513)),
			  PUBKEY_WRAP));
}

/* A modulus with a public exponent of more than KB_RSA_MAX_E_BITS, which no key generator makes by
 * itself. */
static EVP_PKEY *rsa_with_exponent(const BIGNUM *e)
{
	BIGNUM *n = modulus();
	uint8_t n_bytes[512], e_bytes[512];
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_BN(OSSL_PKEY_PARAM_RSA_N, n_bytes, (size_t)BN_num_bytes(n)),
		OSSL_PARAM_construct_BN(OSSL_PKEY_PARAM_RSA_E, e_bytes, (size_t)BN_num_bytes(e)),
		OSSL_PARAM_construct_end()};
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
	EVP_PKEY *key = NULL;

	assert_true(BN_bn2nativepad(n, n_bytes, BN_num_bytes(n)) > 0 &&
		    BN_bn2nativepad(e, e_bytes, BN_num_bytes(e)) > 0);
	assert_int_equal(EVP_PKEY_fromdata_init(ctx), 1);
	assert_int_equal(EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params), 1);
	EVP_PKEY_CTX_free(ctx);
	BN_free(n);
	return key;
}

static void test_a22_x5c_with_a_long_exponent(void **state)
{
	BIGNUM *e = BN_new();

	(void)state;
	assert_true(BN_one(e) == 1 && BN_lshift(e, e, KB_RSA_MAX_E_BITS) == 1 &&
		    BN_add_word(e, 1) == 1);
	EVP_PKEY *key = rsa_with_exponent(e);
	ASSERT_ERR(KB_E_KEY_EXPONENT, import_both(mint_text("{\"kty\":\"RSA\",\"x5c\":[\"%s\"]}",
							    certificate_by(key, mint_rsa(0), 0))));
	EVP_PKEY_free(key);
	BN_free(e);
}

/* P-256 by its numbers instead of by its name, as OpenSSL writes it; `by` is how many times the
 * real generator is taken for the generator. */
static EVP_PKEY *explicit_p256(unsigned by)
{
	EC_GROUP *group = EC_GROUP_new_by_curve_name(NID_X9_62_prime256v1);
	EC_POINT *generator = EC_POINT_new(group);
	BIGNUM *p = BN_new(), *a = BN_new(), *b = BN_new(), *times = BN_new();
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
	OSSL_PARAM_BLD *bld = OSSL_PARAM_BLD_new();
	EVP_PKEY *key = NULL;
	uint8_t point[65];

	assert_true(BN_set_word(times, by) == 1 &&
		    EC_POINT_mul(group, generator, times, NULL, NULL, NULL) == 1);
	assert_int_equal(EC_GROUP_get_curve(group, p, a, b, NULL), 1);
	assert_int_equal(EC_POINT_point2oct(group, generator, POINT_CONVERSION_UNCOMPRESSED, point,
					    sizeof point, NULL),
			 sizeof point);
	assert_true(OSSL_PARAM_BLD_push_utf8_string(bld, OSSL_PKEY_PARAM_EC_FIELD_TYPE,
						    "prime-field", 0) == 1 &&
		    OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_EC_P, p) == 1 &&
		    OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_EC_A, a) == 1 &&
		    OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_EC_B, b) == 1 &&
		    OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_EC_ORDER,
					   EC_GROUP_get0_order(group)) == 1 &&
		    OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_EC_COFACTOR, BN_value_one()) == 1 &&
		    OSSL_PARAM_BLD_push_octet_string(bld, OSSL_PKEY_PARAM_EC_GENERATOR, point,
						     sizeof point) == 1 &&
		    OSSL_PARAM_BLD_push_octet_string(bld, OSSL_PKEY_PARAM_PUB_KEY, point,
						     sizeof point) == 1);
	OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(bld);
	assert_true(EVP_PKEY_fromdata_init(ctx) == 1 &&
		    EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params) == 1);
	OSSL_PARAM_free(params);
	OSSL_PARAM_BLD_free(bld);
	EVP_PKEY_CTX_free(ctx);
	BN_free(p);
	BN_free(a);
	BN_free(b);
	BN_free(times);
	EC_POINT_free(generator);
	EC_GROUP_free(group);
	return key;
}

/* Another generator makes another key of the same public point: CVE-2020-0601.  Parameters that are
 * the curve's own are that curve. */
static void test_a24_x5c_with_explicit_parameters(void **state)
{
	(void)state;
	for (unsigned by = 1; by <= 2; by++) {
		EVP_PKEY *key = explicit_p256(by);
		const char *jwk = mint_text("{\"kty\":\"EC\",\"x5c\":[\"%s\"]}",
					    certificate_by(key, mint_rsa(0), 0));
		ASSERT_ERR(by == 1 ? KB_OK : KB_E_KEY_CURVE, import(jwk, PUBKEY_VERIFY));
		EVP_PKEY_free(key);
	}
}

/* The key's algorithm is unknown: its OID is changed in the certificate. */
static void test_pubkey_rejects_x5c_of_an_unknown_algorithm(void **state)
{
	static const uint8_t oid[] = {0x06, 0x09, 0x2a, 0x86, 0x48, 0x86,
				      0xf7, 0x0d, 0x01, 0x01, 0x01}; /* rsaEncryption */
	KB_AUTO(buf) struct buf der, text;

	(void)state;
	buf_init(&der, 16384);
	buf_init(&text, 16384);
	ASSERT_ERR(KB_OK, b64_decode(span_str(certificate(mint_rsa(0), 0)), &der));
	uint8_t *at = memmem(der.p, der.len, oid, sizeof oid);
	assert_non_null(at);
	at[sizeof oid - 1] = 0x7f;
	b64_encode(&text, buf_span(&der));
	ASSERT_ERR(KB_E_KEY_FORMAT, import_both(mint_text("{\"kty\":\"RSA\",\"x5c\":[\"%.*s\"]}",
							  (int)text.len, (const char *)text.p)));
}

static void test_pubkey_rejects_other_certificates(void **state)
{
	EVP_PKEY *pss = NULL;
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "RSA-PSS", NULL);

	(void)state;
	assert_int_equal(EVP_PKEY_keygen_init(ctx) == 1 &&
				 EVP_PKEY_CTX_set_rsa_keygen_bits(ctx, 2048) == 1 &&
				 EVP_PKEY_generate(ctx, &pss) == 1,
			 1);
	ASSERT_ERR(KB_E_KEY_TYPE, import_both(mint_text("{\"kty\":\"RSA\",\"x5c\":[\"%s\"]}",
							certificate(pss, 0))));
	EVP_PKEY_free(pss);
	EVP_PKEY_CTX_free(ctx);
}

/* ---- RFC 7638 ---- */

static void test_pubkey_thumbprint_rfc7638(void **state)
{
	static const char jwk[] =
		"{\"kty\":\"RSA\",\"n\":"
		"\"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1"
		"L6tSoc_BJECP"
		"ebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-"
		"65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9"
		"c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-"
		"bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-"
		"kEgU8awapJzKnqDKgw\",\"e\":\"AQAB\",\"alg\":\"RS256\",\"kid\":\"2011-04-29\"}";
	KB_AUTO(json) struct json_t *j = NULL;
	KB_AUTO(pubkey) struct pubkey *k = NULL;
	uint8_t print[32];

	(void)state;
	ASSERT_ERR(KB_OK, json_load_strict(span_str(jwk), sizeof jwk, &j, NULL));
	ASSERT_ERR(KB_OK, pubkey_from_jwk(j, PUBKEY_VERIFY, &k));
	ASSERT_ERR(KB_OK, pubkey_thumbprint(k, print));
	assert_string_equal(mint_b64(print, 32),
			    "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"); /* RFC 7638 §3.1 */
}

static void test_pubkey_thumbprint_of_ec(void **state)
{
	KB_AUTO(json) struct json_t *j = NULL;
	KB_AUTO(pubkey) struct pubkey *k = NULL;
	uint8_t print[32], want[32];

	(void)state;
	char *text = mint_text("{\"crv\":\"P-521\",\"kty\":\"EC\",\"x\":\"%s\",\"y\":\"%s\"}",
			       mint_number(mint_ec("P-521"), "qx", 66),
			       mint_number(mint_ec("P-521"), "qy", 66));
	ASSERT_ERR(KB_OK,
		   json_load_strict(span_str(mint_jwk(mint_ec("P-521"), "k", "")), 4096, &j, NULL));
	ASSERT_ERR(KB_OK, pubkey_from_jwk(j, PUBKEY_VERIFY, &k));
	ASSERT_ERR(KB_OK, pubkey_thumbprint(k, print));
	assert_int_equal(EVP_Digest(text, strlen(text), want, NULL, EVP_sha256(), NULL), 1);
	assert_memory_equal(print, want, 32);
}

static void test_pubkey_wraps_with_rsa_alone(void **state)
{
	struct wrapping_key out;

	(void)state;
	for (unsigned is_rsa = 0; is_rsa < 2; is_rsa++) {
		KB_AUTO(json) struct json_t *j = NULL;
		KB_AUTO(pubkey) struct pubkey *k = NULL;
		uint8_t print[32];
		EVP_PKEY *key = is_rsa ? mint_rsa(0) : mint_ec("P-256");
		ASSERT_ERR(KB_OK,
			   json_load_strict(span_str(mint_jwk(key, "k", "")), 4096, &j, NULL));
		ASSERT_ERR(KB_OK, pubkey_from_jwk(j, PUBKEY_VERIFY, &k));
		memset(&out, 0xa5, sizeof out);
		ASSERT_ERR(is_rsa ? KB_OK : KB_E_KEY_TYPE, pubkey_wrapping(k, &out));
		assert_int_equal(out.kind, is_rsa ? KEK_RSA : KEK_NONE);
		assert_ptr_equal(out.evp, is_rsa ? pubkey_evp(k) : NULL);
		if (!is_rsa)
			continue;
		assert_true(span_eq_cstr(out.kid, "k"));
		ASSERT_ERR(KB_OK, pubkey_thumbprint(k, print));
		assert_memory_equal(out.thumbprint, print, 32);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pubkey_accepts_good_keys),
		cmocka_unit_test(test_pubkey_import_for_wrapping_is_quick),
		cmocka_unit_test(test_a22_rsa_size),
		cmocka_unit_test(test_a22_rsa_exponent),
		cmocka_unit_test(test_a45_rsa_numbers_with_leading_zeros),
		cmocka_unit_test(test_a22_rsa_modulus_even_or_with_small_factor),
		cmocka_unit_test(test_a22_rsa_modulus_a_square),
		cmocka_unit_test(test_a22_rsa_modulus_of_one_prime),
		cmocka_unit_test(test_a22_checking_a_key_takes_no_time),
		cmocka_unit_test(test_a23_roca),
		cmocka_unit_test(test_a24_ec_points),
		cmocka_unit_test(test_a24_ec_coordinate_cut_short),
		cmocka_unit_test(test_a24_ec_coordinates_with_a_leading_zero),
		cmocka_unit_test(test_a25_private_members),
		cmocka_unit_test(test_a26_use_and_key_ops),
		cmocka_unit_test(test_pubkey_rejects_malformed_jwk),
		cmocka_unit_test(test_pubkey_from_x5c),
		cmocka_unit_test(test_pubkey_rejects_bad_x5c),
		cmocka_unit_test(test_pubkey_from_x5c_at_the_size_limit),
		cmocka_unit_test(test_a22_x5c_with_a_long_exponent),
		cmocka_unit_test(test_a24_x5c_with_explicit_parameters),
		cmocka_unit_test(test_pubkey_rejects_x5c_of_an_unknown_algorithm),
		cmocka_unit_test(test_pubkey_rejects_other_certificates),
		cmocka_unit_test(test_pubkey_thumbprint_rfc7638),
		cmocka_unit_test(test_pubkey_thumbprint_of_ec),
		cmocka_unit_test(test_pubkey_wraps_with_rsa_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
