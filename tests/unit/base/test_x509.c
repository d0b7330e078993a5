/* tests/unit/base/test_x509.c — the certificate chain of a new instance, and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <openssl/bio.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "base/limits.h"
#include "base/secret.h"
#include "base/x509.h"

enum { NOW = 1795000000 };

struct made {
	EVP_PKEY *root_key, *issuing_key, *leaf_key;
	X509 *root, *issuing, *leaf;
};

static const char *const names[] = {"localhost", "127.0.0.1", "::1", "*.skr.example"};

static int setup(void **state)
{
	static struct made m;
	struct x509_template t = {
		.kind = X509_ROOT, .common_name = "root", .days = 3650, .now_s = NOW};

	assert_int_equal(secret_arena_init(), KB_OK);
	assert_int_equal(x509_p256_new(&m.root_key), KB_OK);
	assert_int_equal(x509_p256_new(&m.issuing_key), KB_OK);
	assert_int_equal(x509_rsa_new(&m.leaf_key), KB_OK);
	assert_int_equal(x509_issue(&t, m.root_key, NULL, m.root_key, &m.root), KB_OK);
	t.kind = X509_ISSUING;
	t.common_name = "issuing";
	assert_int_equal(x509_issue(&t, m.issuing_key, m.root, m.root_key, &m.issuing), KB_OK);
	t = (struct x509_template){X509_LEAF, "localhost", names, 4, 9999, NOW};
	assert_int_equal(x509_issue(&t, m.leaf_key, m.issuing, m.issuing_key, &m.leaf), KB_OK);
	*state = &m;
	return 0;
}

static int teardown(void **state)
{
	struct made *m = *state;

	EVP_PKEY_free(m->root_key);
	EVP_PKEY_free(m->issuing_key);
	EVP_PKEY_free(m->leaf_key);
	X509_free(m->root);
	X509_free(m->issuing);
	X509_free(m->leaf);
	return 0;
}

static void chain_pem(struct made *m, struct buf *out)
{
	buf_init(out, KB_MAX_CONFIG);
	x509_pem(out, m->leaf);
	x509_pem(out, m->issuing);
	x509_pem(out, m->root);
	assert_int_equal(buf_ok(out), KB_OK);
}

static int verify(struct made *m, const char *host, bool with_issuing)
{
	X509_STORE *store = X509_STORE_new();
	STACK_OF(X509) *between = sk_X509_new_null();
	X509_STORE_CTX *ctx = X509_STORE_CTX_new();

	X509_STORE_add_cert(store, m->root);
	if (with_issuing)
		sk_X509_push(between, m->issuing);
	X509_STORE_CTX_init(ctx, store, m->leaf, between);
	X509_VERIFY_PARAM_set_time(X509_STORE_CTX_get0_param(ctx), NOW);
	X509_VERIFY_PARAM_set_flags(X509_STORE_CTX_get0_param(ctx), X509_V_FLAG_X509_STRICT);
	X509_VERIFY_PARAM_set1_host(X509_STORE_CTX_get0_param(ctx), host, 0);
	X509_STORE_CTX_set_purpose(ctx, X509_PURPOSE_SSL_SERVER);
	int rc = X509_verify_cert(ctx) == 1 ? X509_V_OK : X509_STORE_CTX_get_error(ctx);
	X509_STORE_CTX_free(ctx);
	sk_X509_free(between);
	X509_STORE_free(store);
	return rc;
}

static void test_x509_chain_verifies(void **state)
{
	struct made *m = *state;

	assert_int_equal(verify(m, "localhost", true), X509_V_OK);
	assert_int_equal(verify(m, "a.skr.example", true), X509_V_OK);
	assert_int_equal(verify(m, "other.example", true), X509_V_ERR_HOSTNAME_MISMATCH);
	assert_int_equal(verify(m, "localhost", false),
			 X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY);
	assert_int_equal(X509_check_ip_asc(m->leaf, "127.0.0.1", 0), 1);
	assert_int_equal(X509_check_ip_asc(m->leaf, "::1", 0), 1);
	assert_int_equal(X509_check_ip_asc(m->leaf, "10.0.0.1", 0), 0);
	assert_int_equal(EVP_PKEY_get_bits(X509_get0_pubkey(m->leaf)), 2048);
}

static void test_x509_leaf_is_a_server_and_nothing_else(void **state)
{
	struct made *m = *state;

	assert_int_equal(X509_check_ca(m->leaf), 0);
	assert_int_equal(X509_check_purpose(m->leaf, X509_PURPOSE_SSL_SERVER, 0), 1);
	assert_int_equal(X509_check_purpose(m->leaf, X509_PURPOSE_SSL_CLIENT, 0), 0);
	assert_int_equal(x509_signer_usage((X509 *[]){m->leaf, m->issuing, m->root}, 3),
			 X509_USAGE_ABSENT);
	assert_int_equal(X509_get_pathlen(m->issuing), 0);
	assert_int_equal(X509_get_pathlen(m->root), 1);
}

static void add_usage(X509 *cert, const char *value)
{
	X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, NULL, NID_ext_key_usage, value);

	assert_non_null(e);
	assert_int_equal(X509_add_ext(cert, e, -1), 1);
	X509_EXTENSION_free(e);
}

/* What init makes, and what foreign clients must be able to verify. */
static void test_b21_x509_signer_usage(void **state)
{
	struct made *m = *state;
	struct x509_template t = {X509_SIGNER, "localhost", names, 4, 9999, NOW};
	KB_AUTO(x509_cert) X509 *signer = NULL;
	KB_AUTO(x509_cert) X509 *bare = X509_new();

	assert_int_equal(x509_issue(&t, m->leaf_key, m->issuing, m->issuing_key, &signer), KB_OK);
	assert_int_equal(x509_signer_usage((X509 *[]){signer, m->issuing, m->root}, 3),
			 X509_USAGE_GOOD);
	assert_true(x509_may_sign(signer));
	assert_false(x509_may_sign(m->issuing));
	assert_int_equal(X509_check_purpose(signer, X509_PURPOSE_SSL_SERVER, 0), 1);
	assert_int_equal(X509_check_purpose(signer, X509_PURPOSE_SSL_CLIENT, 0), 0);
	assert_int_equal(x509_signer_usage(NULL, 0), X509_USAGE_ABSENT);
	/* Without any usage a leaf has no role, and a CA no limit. */
	assert_int_equal(x509_signer_usage(&bare, 1), X509_USAGE_ABSENT);
	assert_int_equal(x509_signer_usage((X509 *[]){signer, bare}, 2), X509_USAGE_GOOD);
	add_usage(bare, "anyExtendedKeyUsage");
	assert_int_equal(x509_signer_usage(&bare, 1), X509_USAGE_ABSENT);
	assert_int_equal(x509_signer_usage((X509 *[]){signer, bare}, 2), X509_USAGE_GOOD);
	/* Twice the extension: no reading is the right one (RFC 5280 section 4.2). */
	add_usage(bare, X509_SIGNER_USAGE);
	assert_int_equal(x509_signer_usage(&bare, 1), X509_USAGE_BROKEN);
	assert_int_equal(x509_signer_usage((X509 *[]){signer, bare}, 2), X509_USAGE_BROKEN);
	assert_int_equal(x509_signer_usage((X509 *[]){signer, m->leaf}, 2), X509_USAGE_EXCLUDED);
}

/* A gateway's key may be named as RSASSA-PSS, the signer's as rsaEncryption. */
static void test_b21_x509_same_key(void **state)
{
	struct made *m = *state;
	KB_AUTO(x509_key) EVP_PKEY *other = EVP_RSA_gen(2048);
	KB_AUTO(x509_key) EVP_PKEY *curve = EVP_EC_gen("P-256");
	KB_AUTO(x509_key) EVP_PKEY *pss = NULL;
	OSSL_PARAM *numbers = NULL;
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "RSA-PSS", NULL);

	assert_int_equal(EVP_PKEY_todata(m->leaf_key, EVP_PKEY_PUBLIC_KEY, &numbers), 1);
	assert_int_equal(EVP_PKEY_fromdata_init(ctx), 1);
	assert_int_equal(EVP_PKEY_fromdata(ctx, &pss, EVP_PKEY_PUBLIC_KEY, numbers), 1);
	OSSL_PARAM_free(numbers);
	EVP_PKEY_CTX_free(ctx);
	assert_int_equal(EVP_PKEY_get_base_id(pss), EVP_PKEY_RSA_PSS);
	assert_true(x509_same_key(m->leaf_key, m->leaf_key));
	assert_true(x509_same_key(m->leaf_key, pss));
	assert_true(x509_same_key(curve, curve));
	assert_false(x509_same_key(m->leaf_key, other));
	assert_false(x509_same_key(pss, other));
	assert_false(x509_same_key(m->leaf_key, curve));
	assert_false(x509_same_key(curve, m->issuing_key));
	assert_true(x509_same_key(NULL, curve));
	assert_true(x509_same_key(curve, NULL));
}

static void test_x509_pins(void **state)
{
	static const char *const bad[] = {
		"",
		"sha256//",
		"sha256/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
		"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
		"sha256//AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==", /* 31 bytes */
		"sha256//AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", /* 33 */
		"sha256//AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",  /* no padding */
		"sha256//AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA= ",
	};
	struct made *m = *state;
	uint8_t pin[X509_PIN_BYTES], back[X509_PIN_BYTES];
	char text[X509_PIN_TEXT];

	assert_int_equal(x509_pin(m->leaf, pin), KB_OK);
	assert_int_equal(x509_pin_text(m->leaf, text), KB_OK);
	assert_int_equal(x509_pin_parse(span_str(text), back), KB_OK);
	assert_memory_equal(pin, back, sizeof pin);
	assert_int_equal(x509_pin(m->issuing, back), KB_OK);
	assert_memory_not_equal(pin, back, sizeof pin);
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		assert_int_equal(x509_pin_parse(span_str(bad[i]), back), KB_E_B64);
}

static void test_x509_leaf_never_outlives_its_issuer(void **state)
{
	struct made *m = *state;

	assert_int_equal(
		ASN1_TIME_compare(X509_get0_notAfter(m->leaf), X509_get0_notAfter(m->issuing)), 0);
}

static void test_x509_serials_differ(void **state)
{
	struct made *m = *state;

	assert_int_not_equal(ASN1_INTEGER_cmp(X509_get0_serialNumber(m->leaf),
					      X509_get0_serialNumber(m->issuing)),
			     0);
	assert_int_equal(ASN1_STRING_length(X509_get0_serialNumber(m->leaf)), 16);
}

static void assert_refused(struct made *m, const char *cn, const char *const *list, size_t n)
{
	struct x509_template t = {X509_LEAF, cn, list, n, 1, NOW};
	X509 *cert = m->leaf;

	assert_int_equal(x509_issue(&t, m->leaf_key, m->issuing, m->issuing_key, &cert),
			 KB_E_CONFIG);
	assert_null(cert);
}

static void test_x509_refuses_bad_names(void **state)
{
	struct made *m = *state;
	static const char *const bad[] = {
		"",    ".", "a..b", "-a",  "a-",  "a-.b", "a_b",         "a,DNS:evil.example",
		"a:b", "*", "*.",   "a.*", "a b", "a.",   "256.0.0.1.:", "é",
	};
	const char *many[X509_MAX_NAMES * 10];
	char label64[65], long_name[260];

	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		assert_refused(m, "x", &bad[i], 1);
	assert_refused(m, "x", NULL, 0);
	for (size_t i = 0; i < X509_MAX_NAMES * 10; i++)
		many[i] = "a";
	assert_refused(m, "x", many, X509_MAX_NAMES + 1);
	assert_refused(m, "x", many, X509_MAX_NAMES * 10);
	memset(label64, 'a', 64);
	label64[64] = '\0';
	const char *one = label64;
	assert_refused(m, "x", &one, 1);
	for (size_t i = 0; i < sizeof long_name - 1; i++)
		long_name[i] = i % 2 == 0 ? 'a' : '.';
	long_name[254] = '\0'; /* 254 bytes, ends in '.', 253 would be the most */
	one = long_name;
	assert_refused(m, "x", &one, 1);
	assert_refused(m, "", names, 1);
	char cn65[66];
	memset(cn65, 'c', 65);
	cn65[65] = '\0';
	assert_refused(m, cn65, names, 1);
}

static void test_x509_takes_most_names_and_longest_common_name(void **state)
{
	struct made *m = *state;
	const char *many[X509_MAX_NAMES];
	char cn64[65];

	for (size_t i = 0; i < X509_MAX_NAMES; i++)
		many[i] = "a";
	memset(cn64, 'c', 64);
	cn64[64] = '\0';
	struct x509_template t = {X509_LEAF, cn64, many, X509_MAX_NAMES, 1, NOW};
	KB_AUTO(x509_cert) X509 *cert = NULL;
	assert_int_equal(x509_issue(&t, m->leaf_key, m->issuing, m->issuing_key, &cert), KB_OK);
}

static void test_x509_kind_zero_is_a_bug(void **state)
{
	struct made *m = *state;
	struct x509_template t = {.common_name = "x", .days = 1, .now_s = NOW};
	X509 *cert = NULL;

	assert_int_equal(x509_issue(&t, m->leaf_key, m->issuing, m->issuing_key, &cert), KB_E_BUG);
}

/* The public half alone: a certificate in memory still holds the whole key it was made with. */
static EVP_PKEY *public_half(EVP_PKEY *key)
{
	uint8_t *der = NULL;
	int len = i2d_PUBKEY(key, &der);
	const uint8_t *at = der;
	EVP_PKEY *half = d2i_PUBKEY(NULL, &at, len);

	assert_non_null(half);
	OPENSSL_free(der);
	return half;
}

static void test_x509_public_key_signs_nothing(void **state)
{
	struct made *m = *state;
	struct x509_template t = {X509_LEAF, "x", names, 1, 1, NOW};
	KB_AUTO(x509_key) EVP_PKEY *public_only = public_half(m->leaf_key);
	X509 *cert = NULL;

	assert_int_equal(x509_issue(&t, m->leaf_key, m->issuing, public_only, &cert), KB_E_SYS);
	assert_null(cert);
}

static void test_x509_key_pem_reads_back(void **state)
{
	struct made *m = *state;
	KB_AUTO(secret) struct secret *pem = NULL;

	assert_int_equal(x509_key_pem(m->issuing_key, &pem), KB_OK);
	BIO *bio = BIO_new_mem_buf(secret_span(pem).p, (int)secret_len(pem));
	EVP_PKEY *back = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);
	assert_non_null(back);
	assert_int_equal(EVP_PKEY_eq(back, m->issuing_key), 1);
	EVP_PKEY_free(back);
	BIO_free(bio);
}

static void test_x509_key_pem_needs_a_private_key(void **state)
{
	struct made *m = *state;
	KB_AUTO(x509_key) EVP_PKEY *public_only = public_half(m->leaf_key);
	struct secret *pem = NULL;

	assert_int_equal(x509_key_pem(public_only, &pem), KB_E_SYS);
	assert_null(pem);
}

static void test_x509_chain_read_tells_leaf_and_earliest_end(void **state)
{
	struct made *m = *state;
	KB_AUTO(buf) struct buf pem, der;
	uint8_t *want = NULL;
	int64_t expires;

	chain_pem(m, &pem);
	buf_init(&der, KB_MAX_CONFIG);
	assert_int_equal(x509_chain_read(buf_span(&pem), &der, &expires), KB_OK);
	assert_int_equal(expires, NOW + 3650LL * 86400);
	int len = i2d_X509(m->leaf, &want);
	assert_int_equal((size_t)len, der.len);
	assert_memory_equal(want, der.p, der.len);
	OPENSSL_free(want);
}

static void test_x509_chain_read_refuses_broken_text(void **state)
{
	struct made *m = *state;
	KB_AUTO(buf) struct buf pem, der;
	int64_t expires;

	chain_pem(m, &pem);
	buf_init(&der, KB_MAX_CONFIG);
	assert_int_equal(x509_chain_read(span_of("", 0), &der, &expires), KB_E_KEY_FORMAT);
	assert_int_equal(x509_chain_read(span_str("nothing here\n"), &der, &expires),
			 KB_E_KEY_FORMAT);
	assert_int_equal(x509_chain_read(span_sub(buf_span(&pem), 0, pem.len - 40), &der, &expires),
			 KB_E_KEY_FORMAT);
	KB_AUTO(buf) struct buf nine;
	buf_init(&nine, KB_MAX_CONFIG);
	for (unsigned i = 0; i < X509_MAX_CHAIN; i++)
		x509_pem(&nine, m->root);
	buf_reset(&der);
	assert_int_equal(x509_chain_read(buf_span(&nine), &der, &expires), KB_OK);
	x509_pem(&nine, m->root);
	assert_int_equal(x509_chain_read(buf_span(&nine), &der, &expires), KB_E_KEY_FORMAT);
	nine.max = KB_MAX_CONFIG + 1;
	assert_non_null(buf_reserve(&nine, KB_MAX_CONFIG + 1 - nine.len));
	assert_int_equal(x509_chain_read(buf_span(&nine), &der, &expires), KB_E_KEY_FORMAT);
}

static void test_x509_chain_check_wants_leaf_to_root(void **state)
{
	struct made *m = *state;
	KB_AUTO(buf) struct buf pem, wrong;

	chain_pem(m, &pem);
	assert_int_equal(x509_chain_check(buf_span(&pem)), KB_OK);
	buf_init(&wrong, KB_MAX_CONFIG);
	x509_pem(&wrong, m->leaf);
	x509_pem(&wrong, m->root);
	assert_int_equal(x509_chain_check(buf_span(&wrong)),
			 KB_E_KEY_FORMAT); /* a link is missing */
	buf_reset(&wrong);
	x509_pem(&wrong, m->leaf);
	x509_pem(&wrong, m->issuing);
	assert_int_equal(x509_chain_check(buf_span(&wrong)),
			 KB_E_KEY_FORMAT); /* the root is missing */
	assert_int_equal(x509_chain_check(span_of(NULL, 0)), KB_E_KEY_FORMAT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_x509_chain_verifies),
		cmocka_unit_test(test_x509_leaf_is_a_server_and_nothing_else),
		cmocka_unit_test(test_b21_x509_signer_usage),
		cmocka_unit_test(test_b21_x509_same_key),
		cmocka_unit_test(test_x509_pins),
		cmocka_unit_test(test_x509_leaf_never_outlives_its_issuer),
		cmocka_unit_test(test_x509_serials_differ),
		cmocka_unit_test(test_x509_refuses_bad_names),
		cmocka_unit_test(test_x509_takes_most_names_and_longest_common_name),
		cmocka_unit_test(test_x509_kind_zero_is_a_bug),
		cmocka_unit_test(test_x509_public_key_signs_nothing),
		cmocka_unit_test(test_x509_key_pem_reads_back),
		cmocka_unit_test(test_x509_key_pem_needs_a_private_key),
		cmocka_unit_test(test_x509_chain_read_tells_leaf_and_earliest_end),
		cmocka_unit_test(test_x509_chain_read_refuses_broken_text),
		cmocka_unit_test(test_x509_chain_check_wants_leaf_to_root),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
