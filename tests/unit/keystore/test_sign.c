/* tests/unit/keystore/test_sign.c — RS256 in the HSM: what OpenSSL verifies, and what is
 * refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/digest.h"
#include "keystore/sign.h"
#include "tests/unit/p11_fault.h"
#include "tests/unit/rsa_key.h"
#include "tests/unit/softhsm.h"

static struct softhsm hsm;
static struct keystore *ks;
static const struct hsm_key *signer, *ec, *release;
static EVP_PKEY *pair; /* the signer's, as OpenSSL has it */

static struct secret *pkcs8(EVP_PKEY *key)
{
	PKCS8_PRIV_KEY_INFO *info = EVP_PKEY2PKCS8(key);
	struct secret *s = secret_new((size_t)i2d_PKCS8_PRIV_KEY_INFO(info, NULL));
	unsigned char *at = secret_bytes(s);

	assert_int_equal(i2d_PKCS8_PRIV_KEY_INFO(info, &at), secret_len(s));
	PKCS8_PRIV_KEY_INFO_free(info);
	return s;
}

static int setup(void **state)
{
	struct keystore_template t = {
		.label = "release-signer", .kty = KB_KTY_RSA, .is_signer = true};
	struct keystore_template ec_t = {.label = "ec", .kty = KB_KTY_EC, .crv = KB_CRV_P256};
	struct keystore_template release_t = {.label = "release", .kty = KB_KTY_RSA, .size = 2048};
	char *uri;

	(void)state;
	if (!softhsm_start(&hsm) || softhsm_open(&ks) != KB_OK)
		return -1;
	pair = rsa_key(2048);
	struct secret *plain = pkcs8(pair);
	if (keystore_import(ks, &t, plain, &uri) != KB_OK ||
	    keystore_find(ks, uri, KB_KTY_RSA, false, NULL, &signer) != KB_OK)
		return -1;
	free(uri);
	secret_free(plain);
	if (keystore_generate(ks, &ec_t, &uri) != KB_OK ||
	    keystore_find(ks, uri, KB_KTY_EC, false, NULL, &ec) != KB_OK)
		return -1;
	free(uri);
	if (keystore_generate(ks, &release_t, &uri) != KB_OK ||
	    keystore_find(ks, uri, KB_KTY_RSA, false, NULL, &release) != KB_OK)
		return -1;
	free(uri);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	keystore_close(ks);
	EVP_PKEY_free(pair);
	softhsm_stop(&hsm);
	return 0;
}

static int faults_on(void **state)
{
	(void)state;
	fault_install(ks);
	return 0;
}

static int faults_off(void **state)
{
	(void)state;
	fault_remove(ks);
	return keystore_alive(ks) == KB_OK ? 0 : -1;
}

static const uint8_t digest[32] = {
	0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea, 0x41, 0x41, 0x40,
	0xde, 0x5d, 0xae, 0x22, 0x23, 0xb0, 0x03, 0x61, 0xa3, 0x96, 0x17,
	0x7a, 0x9c, 0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00, 0x15, 0xad}; /* "abc" */

static void assert_signed(struct span sig)
{
	EVP_MD_CTX *md = EVP_MD_CTX_new();

	assert_int_equal(EVP_DigestVerifyInit_ex(md, NULL, "SHA256", NULL, NULL, pair, NULL), 1);
	assert_int_equal(EVP_DigestVerify(md, sig.p, sig.len, (const uint8_t *)"abc", 3), 1);
	EVP_MD_CTX_free(md);
}

static void test_sign_is_rs256(void **state)
{
	KB_AUTO(buf) struct buf b;
	buf_init(&b, 1024);

	(void)state;
	buf_add_str(&b, "before");
	assert_int_equal(keystore_sign(ks, signer, digest, &b), KB_OK);
	assert_int_equal(b.len, 6 + 256);
	assert_signed(span_sub(buf_span(&b), 6, 256));
}

static void test_sign_refuses(void **state)
{
	KB_AUTO(buf) struct buf b;

	(void)state;
	buf_init(&b, 1024);
	assert_int_equal(keystore_sign(ks, ec, digest, &b), KB_E_HSM_KEY_ATTR);
	assert_int_equal(keystore_sign(ks, release, digest, &b),
			 KB_E_HSM_KEY_ATTR); /* a key for release signs nothing */
	assert_int_equal(b.len, 0);
	buf_free(&b);
	buf_init(&b, 255);
	assert_int_equal(keystore_sign(ks, signer, digest, &b), KB_E_NOMEM);
}

/* The signature that a key is derived from is a secret: in locked memory only. */
static bool is_out_locked;
static CK_RV watched_sign(CK_SESSION_HANDLE s, CK_BYTE_PTR data, CK_ULONG data_len, CK_BYTE_PTR out,
			  CK_ULONG_PTR n)
{
	is_out_locked = CRYPTO_secure_allocated(out) == 1;
	return p11_fault.real->C_Sign(s, data, data_len, out, n);
}

static void test_c21_derived_key_is_only_in_secrets(void **state)
{
	uint8_t text_digest[32], want[32];
	KB_AUTO(secret) struct secret *key = NULL, *none = NULL;
	KB_AUTO(buf) struct buf b;
	buf_init(&b, 1024);

	(void)state;
	digest_sha256(span_str("abc"), text_digest);
	assert_memory_equal(text_digest, digest, 32);
	assert_int_equal(keystore_sign(ks, signer, text_digest, &b), KB_OK);
	digest_sha256(buf_span(&b), want);
	p11_fault.list.C_Sign = watched_sign;
	assert_int_equal(keystore_derive(ks, signer, span_str("abc"), &key), KB_OK);
	assert_true(is_out_locked);
	assert_true(secret_equal_span(key, span_of(want, sizeof want)));
	assert_int_equal(keystore_derive(ks, ec, span_str("abc"), &none), KB_E_HSM_KEY_ATTR);
	assert_int_equal(keystore_derive(ks, release, span_str("abc"), &none), KB_E_HSM_KEY_ATTR);
	assert_null(none);
}

static void test_c01_sign_matrix(void **state)
{
	static const enum fault_call calls[] = {FAULT_C_SignInit, FAULT_C_Sign};

	(void)state;
	for (size_t c = 0; c < 2; c++)
		for (CK_RV rv = 1; rv <= 0x200; rv++) {
			KB_AUTO(buf) struct buf b;
			buf_init(&b, 1024);
			if (strcmp(ckr_name(rv), "CKR_?") == 0)
				continue;
			fault_next(calls[c], rv, 1);
			enum kb_err want = ckr_err(rv);
			/* also when the signature begun is still open and stands in the way of a
			 * search */
			if (want == KB_E_HSM_SESSION || want == KB_E_HSM_HANDLE)
				want = KB_OK;
			assert_int_equal(keystore_sign(ks, signer, digest, &b), want);
			assert_int_equal(b.len, want == KB_OK ? 256 : 0);
			buf_reset(&b);
			assert_int_equal(keystore_sign(ks, signer, digest, &b),
					 KB_OK); /* whatever was left open is cleared */
			assert_signed(buf_span(&b));
		}
}

static CK_ULONG lie;
static CK_RV lying_sign(CK_SESSION_HANDLE s, CK_BYTE_PTR in, CK_ULONG in_len, CK_BYTE_PTR out,
			CK_ULONG_PTR n)
{
	CK_RV rv = p11_fault.real->C_Sign(s, in, in_len, out, n);

	*n = lie;
	return rv;
}

static void test_c09_sign_length_lie(void **state)
{
	static const CK_ULONG lies[] = {0, 255, 257, 1 << 20};
	KB_AUTO(buf) struct buf b;
	buf_init(&b, 1024);

	(void)state;
	p11_fault.list.C_Sign = lying_sign;
	for (size_t i = 0; i < 4; i++) {
		lie = lies[i];
		assert_int_equal(keystore_sign(ks, signer, digest, &b), KB_E_HSM_OUTPUT);
	}
	assert_int_equal(b.len, 0);
}

static CK_RV flipping_sign(CK_SESSION_HANDLE s, CK_BYTE_PTR in, CK_ULONG in_len, CK_BYTE_PTR out,
			   CK_ULONG_PTR n)
{
	CK_RV rv = p11_fault.real->C_Sign(s, in, in_len, out, n);

	out[lie % 256] ^= 1;
	return rv;
}

/* A fault in one half of an RSA-CRT computation, seen outside, is the private key: what does not
 * verify never leaves. */
static void test_c09_signature_that_is_wrong(void **state)
{
	(void)state;
	for (lie = 0; lie < 256; lie += 51) {
		KB_AUTO(buf) struct buf b;
		buf_init(&b, 1024);
		p11_fault.list.C_Sign = flipping_sign;
		assert_int_equal(keystore_sign(ks, signer, digest, &b), KB_E_HSM_OUTPUT);
		assert_int_equal(b.len, 0);
		p11_fault.list.C_Sign = p11_fault.real->C_Sign;
		assert_int_equal(keystore_sign(ks, signer, digest, &b), KB_OK);
	}
}

static void test_c12_sign_in_a_child(void **state)
{
	int status;

	(void)state;
	pid_t child = fork();
	if (child == 0) {
		struct buf b;
		buf_init(&b, 1024);
		_exit(keystore_sign(ks, signer, digest, &b) == KB_E_BUG ? 0 : 1);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

/* ---- is this the key of the certificate? ---- */

static size_t certificate(EVP_PKEY *key, uint8_t *out)
{
	X509 *x = X509_new();
	unsigned char *at = out;

	assert_int_equal(X509_set_version(x, 2), 1);
	ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
	X509_gmtime_adj(X509_getm_notBefore(x), 0);
	X509_gmtime_adj(X509_getm_notAfter(x), 3600);
	assert_int_equal(X509_set_pubkey(x, key), 1);
	assert_true(X509_sign(x, key, EVP_sha256()) > 0);
	int len = i2d_X509(x, &at);
	X509_free(x);
	assert_true(len > 0);
	return (size_t)len;
}

static void test_prove_signer(void **state)
{
	uint8_t der[4096];
	EVP_PKEY *other = rsa_key(2048), *p256 = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");

	(void)state;
	size_t len = certificate(pair, der);
	assert_int_equal(keystore_prove_signer(ks, signer, span_of(der, len)), KB_OK);
	assert_int_equal(keystore_prove_signer(ks, ec, span_of(der, len)), KB_E_HSM_KEY_ATTR);
	assert_int_equal(keystore_prove_signer(ks, signer, span_of(der, len + 1)),
			 KB_E_HSM_KEY_ATTR); /* something behind it */
	assert_int_equal(keystore_prove_signer(ks, signer, span_of(der, len - 1)),
			 KB_E_HSM_KEY_ATTR);
	assert_int_equal(keystore_prove_signer(ks, signer, span_of(der, 0)), KB_E_HSM_KEY_ATTR);
	len = certificate(other, der);
	assert_int_equal(keystore_prove_signer(ks, signer, span_of(der, len)), KB_E_HSM_KEY_ATTR);
	len = certificate(p256, der);
	assert_int_equal(keystore_prove_signer(ks, signer, span_of(der, len)), KB_E_HSM_KEY_ATTR);
	EVP_PKEY_free(other);
	EVP_PKEY_free(p256);
}

#define WITH_FAULTS(t) cmocka_unit_test_setup_teardown(t, faults_on, faults_off)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sign_is_rs256),
		cmocka_unit_test(test_sign_refuses),
		WITH_FAULTS(test_c21_derived_key_is_only_in_secrets),
		WITH_FAULTS(test_c01_sign_matrix),
		WITH_FAULTS(test_c09_sign_length_lie),
		WITH_FAULTS(test_c09_signature_that_is_wrong),
		cmocka_unit_test(test_c12_sign_in_a_child),
		cmocka_unit_test(test_prove_signer),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
