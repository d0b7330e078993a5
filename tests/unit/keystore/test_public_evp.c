/* tests/unit/keystore/test_public_evp.c — the HSM's public key as OpenSSL's is the same key. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka needs the above first */
#include <cmocka.h>

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>

#include "base/x509.h"
#include "keystore/public_evp.h"

static EVP_PKEY *public_half(EVP_PKEY *key)
{
	struct hsm_public pub = {.kty = KB_KTY_RSA};
	BIGNUM *n = NULL, *e = NULL;
	EVP_PKEY *half = NULL;

	assert_int_equal(EVP_PKEY_get_bn_param(key, "n", &n), 1);
	assert_int_equal(EVP_PKEY_get_bn_param(key, "e", &e), 1);
	pub.n_len = (size_t)BN_bn2bin(n, pub.n);
	pub.e_len = (size_t)BN_bn2bin(e, pub.e);
	BN_free(n);
	BN_free(e);
	assert_int_equal(hsm_public_evp(&pub, &half), KB_OK);
	return half;
}

static void test_hsm_public_evp_is_the_same_key(void **state)
{
	KB_AUTO(x509_key) EVP_PKEY *key = NULL;
	KB_AUTO(x509_key) EVP_PKEY *back = NULL;

	(void)state;
	assert_int_equal(x509_rsa_new(&key), KB_OK);
	back = public_half(key);

	assert_int_equal(EVP_PKEY_eq(back, key), 1);
}

static void test_hsm_public_evp_refuses_other_types_and_no_numbers(void **state)
{
	(void)state;
	struct hsm_public pub = {.kty = KB_KTY_EC};
	EVP_PKEY *key = NULL;

	assert_int_equal(hsm_public_evp(&pub, &key), KB_E_KEY_TYPE);
	pub.kty = KB_KTY_RSA;
	assert_int_equal(hsm_public_evp(&pub, &key), KB_E_KEY_FORMAT);
	assert_null(key);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hsm_public_evp_is_the_same_key),
		cmocka_unit_test(test_hsm_public_evp_refuses_other_types_and_no_numbers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
