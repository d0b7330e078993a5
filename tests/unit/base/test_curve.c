/* tests/unit/base/test_curve.c — curves, thumbprints and public keys from their numbers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>

#include "base/b64url.h"
#include "base/evp.h"
#include "base/limits.h"
#include "base/thumbprint.h"

static const enum kb_crv all[] = {KB_CRV_P256, KB_CRV_P384, KB_CRV_P521};

static void test_curve_by_every_name(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
		const struct curve *c = curve_of(all[i]);
		assert_non_null(c);
		assert_ptr_equal(curve_by_name(span_str(c->name)), c);
		assert_ptr_equal(curve_by_group(c->group), c);
		assert_ptr_equal(curve_by_oid(span_of(c->oid, c->oid_len)), c);
		assert_string_equal(crv_name(all[i]), c->name);
	}
}

static void test_curve_of_others_is_none(void **state)
{
	(void)state;
	assert_null(curve_of(KB_CRV_NONE));
	assert_null(curve_by_name(span_str("secp256k1")));
	assert_null(curve_by_name(span_str("p-256")));
	assert_null(curve_by_group("secp256k1"));
	assert_null(curve_by_oid(span_of("\x06\x05\x2b\x81\x04\x00\x0a", 7)));
	assert_null(curve_by_oid(span_of(NULL, 0)));
	assert_string_equal(crv_name(KB_CRV_NONE), "");
}

/* RFC 7638 section 3.1 */
static void test_thumbprint_of_the_rfc(void **state)
{
	static const char n_text[] =
		"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6"
		"tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5"
		"v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD0"
		"8qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU"
		"8awapJzKnqDKgw";
	uint8_t out[32];
	KB_AUTO(buf) struct buf n, text;
	buf_init(&n, 512);
	buf_init(&text, 64);

	(void)state;
	assert_int_equal(b64url_decode(span_str(n_text), &n), KB_OK);
	assert_int_equal(thumbprint_rsa(buf_span(&n), span_of("\1\0\1", 3), out), KB_OK);
	b64url_encode(&text, span_of(out, sizeof out));
	assert_true(span_eq_cstr(buf_span(&text), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"));
}

/* {"crv":"P-256","kty":"EC","x":"AQ","y":"Ag"}, as SHA-256 of it */
static void test_thumbprint_ec_members(void **state)
{
	static const char text[] = "{\"crv\":\"P-256\",\"kty\":\"EC\",\"x\":\"AQ\",\"y\":\"Ag\"}";
	uint8_t out[32], want[32];

	(void)state;
	assert_int_equal(EVP_Digest(text, sizeof text - 1, want, NULL, EVP_sha256(), NULL), 1);
	assert_int_equal(
		thumbprint_ec(curve_of(KB_CRV_P256), span_of("\1", 1), span_of("\2", 1), out),
		KB_OK);
	assert_memory_equal(out, want, 32);
}

static void test_evp_rsa_from_numbers(void **state)
{
	EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)2048), *made = NULL;
	static uint8_t n[10 * KB_RSA_MAX_BITS / 8] = {0x80}, e[10 * 8] = {1};
	static const size_t too_long[] = {KB_RSA_MAX_BITS / 8 + 1, sizeof n};
	BIGNUM *bn = NULL;

	(void)state;
	assert_int_equal(EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_N, &bn), 1);
	int len = BN_bn2bin(bn, n);
	BN_free(bn);
	assert_int_equal(evp_rsa_public(span_of(n, (size_t)len), span_of("\1\0\1", 3), &made),
			 KB_OK);
	assert_int_equal(EVP_PKEY_eq(key, made), 1);
	EVP_PKEY_free(made);
	EVP_PKEY_free(key);
	n[0] = 0x80;
	assert_int_equal(evp_rsa_public(span_of(n, KB_RSA_MAX_BITS / 8), span_of(e, 8), &made),
			 KB_OK);
	assert_int_equal(EVP_PKEY_get_bits(made), KB_RSA_MAX_BITS);
	EVP_PKEY_free(made);
	for (size_t i = 0; i < 2; i++) {
		assert_int_equal(evp_rsa_public(span_of(n, too_long[i]), span_of("\3", 1), &made),
				 KB_E_KEY_FORMAT);
		assert_null(made);
		assert_int_equal(
			evp_rsa_public(span_of(n, 256), span_of(e, i == 0 ? 9 : sizeof e), &made),
			KB_E_KEY_FORMAT);
	}
	assert_int_equal(evp_rsa_public(span_of(NULL, 0), span_of("\3", 1), &made),
			 KB_E_KEY_FORMAT);
	assert_int_equal(evp_rsa_public(span_of(n, 256), span_of(NULL, 0), &made), KB_E_KEY_FORMAT);
}

static void test_evp_ec_from_point(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
		const struct curve *c = curve_of(all[i]);
		EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "EC", c->name), *made = NULL;
		uint8_t point[1 + 2 * CURVE_MAX_BYTES];
		size_t len;
		assert_int_equal(EVP_PKEY_get_octet_string_param(key, OSSL_PKEY_PARAM_PUB_KEY,
								 point, sizeof point, &len),
				 1);
		assert_int_equal(len, 1 + 2 * c->bytes);
		assert_int_equal(evp_ec_public(c, span_of(point, len), &made), KB_OK);
		assert_int_equal(EVP_PKEY_eq(key, made), 1);
		EVP_PKEY_free(made);
		EVP_PKEY_free(key);
		point[len - 1] ^= 1;
		assert_int_equal(evp_ec_public(c, span_of(point, len), &made), KB_E_KEY_FORMAT);
		assert_null(made);
		assert_int_equal(evp_ec_public(c, span_of(point, len - 1), &made), KB_E_KEY_FORMAT);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_curve_by_every_name),
		cmocka_unit_test(test_curve_of_others_is_none),
		cmocka_unit_test(test_thumbprint_of_the_rfc),
		cmocka_unit_test(test_thumbprint_ec_members),
		cmocka_unit_test(test_evp_rsa_from_numbers),
		cmocka_unit_test(test_evp_ec_from_point),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
