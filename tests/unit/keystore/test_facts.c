/* tests/unit/keystore/test_facts.c — measures again what the code relies on in libraries. A failure
 * after an upgrade does not mean that the product is wrong: it names the check of ours whose reason
 * has changed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cjose/cjose.h>
#include <cmocka.h>
#include <jansson.h>
#include <p11-kit/p11-kit.h>
#include <p11-kit/pkcs11.h>
#include <p11-kit/pkcs11x.h>

#include "base/secret.h"
#include "keystore/kwp.h"
#include "tests/unit/mint.h"
#include "tests/unit/softhsm.h"

/* ---- jansson: why base/json has a gate before it and a watch on its memory ---- */

static json_t *parse(const char *text)
{
	return json_loads(text, JSON_REJECT_DUPLICATES, NULL);
}

static void test_j08_jansson_nests_deeper_than_any_token(void **state)
{
	char text[2048];

	(void)state;
	memset(text, '[', 1000);
	memset(text + 1000, ']', 1000);
	text[2000] = '\0';
	json_t *j = parse(text);
	assert_non_null(j); /* so the depth is ours to bound */
	json_decref(j);
}

static void test_j08_jansson_numbers(void **state)
{
	json_t *j = parse("[1e10,10,9223372036854775807]");

	(void)state;
	assert_true(json_is_real(json_array_get(j, 0)) && json_is_integer(json_array_get(j, 1)));
	assert_true(json_integer_value(json_array_get(j, 2)) == INT64_MAX);
	json_decref(j);
	assert_null(parse("[9223372036854775808]"));
}

static void test_j08_jansson_refuses_duplicates_however_spelt(void **state)
{
	(void)state;
	assert_null(parse("{\"iss\":1,\"iss\":2}"));
	assert_null(parse("{\"iss\":1,\"\\u0069ss\":2}"));
	assert_null(parse("{\"a\":[{\"b\":{\"c\":1,\"c\":1}}]}"));
}

static void test_j08_jansson_text(void **state)
{
	(void)state;
	assert_null(parse("\xef\xbb\xbf{}"));
	assert_null(parse("{\"a\":\"\\ud800\"}"));
	assert_null(parse("{\"a\":\"\\u0000\"}")); /* without JSON_ALLOW_NUL */
	assert_null(parse("{\"a\":\"\xc0\x80\"}"));
	assert_null(parse("{} {}"));
	assert_null(parse("{/**/}"));
}

static int refuse_one,
	asked; /* the allocation that is refused, alone: memory was short for a moment */

static void *scarce(size_t size)
{
	return ++asked == refuse_one ? NULL : malloc(size);
}

/* A string that loses bytes without an error: for this json_load_strict() watches every
 * allocation. */
static void test_j08_jansson_drops_bytes_without_memory(void **state)
{
	char text[600] = "[\"";
	size_t lost = 0;

	(void)state;
	memset(text + 2, 'x', 500);
	memcpy(text + 502, "\"]", 3);
	json_set_alloc_funcs(scarce, free);
	for (refuse_one = 1; refuse_one < 64; refuse_one++) {
		asked = 0;
		json_t *j = parse(text);
		lost += j != NULL && json_string_length(json_array_get(j, 0)) != 500;
		json_decref(j);
	}
	json_set_alloc_funcs(malloc, free);
	assert_true(lost > 0);
}

/* ---- cjose: why policy/jws decides before it ---- */

static cjose_jwk_t *cjose_public(EVP_PKEY *key)
{
	const char *text = mint_jwk(key, "k", "");
	cjose_jwk_t *k = cjose_jwk_import(text, strlen(text), NULL);

	assert_non_null(k);
	return k;
}

static bool cjose_takes(const char *compact, EVP_PKEY *key)
{
	cjose_jwk_t *k = cjose_public(key);
	cjose_jws_t *jws = cjose_jws_import(compact, strlen(compact), NULL);
	bool is_right = jws != NULL && cjose_jws_verify(jws, k, NULL);

	cjose_jws_release(jws);
	cjose_jwk_release(k);
	return is_right;
}

#define CLAIMS "{\"iss\":\"" MINT_ISS "\"}"

static void test_j08_cjose_verifies(void **state)
{
	(void)state;
	assert_true(cjose_takes(mint_token(mint_rsa(0), "RS256", "k", CLAIMS), mint_rsa(0)));
	assert_true(
		cjose_takes(mint_token(mint_ec("P-256"), "ES256", "k", CLAIMS), mint_ec("P-256")));
	assert_false(cjose_takes(mint_token(mint_rsa(0), "RS256", "k", CLAIMS), mint_rsa(1)));
	assert_false(cjose_takes(mint_jws(NULL, "", "{\"alg\":\"none\"}", span_str(CLAIMS)),
				 mint_rsa(0)));
}

static void test_j08_cjose_takes_unknown_crit(void **state)
{
	const char *header = "{\"alg\":\"RS256\",\"crit\":[\"unheard-of\"],\"unheard-of\":1}";

	(void)state;
	assert_true(
		cjose_takes(mint_jws(mint_rsa(0), "RS256", header, span_str(CLAIMS)), mint_rsa(0)));
}

static void test_j08_cjose_takes_padding_and_what_follows(void **state)
{
	const char *good = mint_token(mint_rsa(0), "RS256", "k", CLAIMS);

	(void)state;
	assert_true(cjose_takes(mint_text("%s==", good), mint_rsa(0)));
}

static void test_j08_cjose_takes_es256_of_another_curve(void **state)
{
	size_t len = 0;
	const char *header = "{\"alg\":\"ES256\",\"kid\":\"k\"}";
	char *input = mint_text("%s.%s", mint_b64(header, strlen(header)),
				mint_b64(CLAIMS, strlen(CLAIMS)));
	uint8_t *sig = mint_sign(mint_ec("P-384"), "ES256", span_str(input), &len);

	(void)state;
	assert_int_equal(len, 96);
	assert_true(cjose_takes(mint_text("%s.%s", input, mint_b64(sig, len)), mint_ec("P-384")));
}

/* ---- OpenSSL: what policy/pubkey and keystore/kwp leave to it ---- */

static void test_j08_openssl_refuses_points_off_the_curve(void **state)
{
	uint8_t point[65] = {4};
	char group[] = "prime256v1";
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, group, 0),
		OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, point, sizeof point),
		OSSL_PARAM_construct_end()};
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
	EVP_PKEY *key = NULL;

	(void)state;
	point[40] = 1;
	assert_true(EVP_PKEY_fromdata_init(ctx) == 1 &&
		    EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params) != 1);
	EVP_PKEY_free(key);
	EVP_PKEY_CTX_free(ctx);
}

static void test_j08_openssl_wraps_as_we_do(void **state)
{
	static const uint8_t kek[32] = {7}, plain[1218] = {1, 2, 3};
	uint8_t theirs[1218 + 16];
	EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
	int n = 0, last = 0;
	KB_AUTO(buf) struct buf ours;

	(void)state;
	buf_init(&ours, sizeof theirs);
	EVP_CIPHER_CTX_set_flags(c, EVP_CIPHER_CTX_FLAG_WRAP_ALLOW);
	assert_int_equal(EVP_EncryptInit_ex(c, EVP_aes_256_wrap_pad(), NULL, kek, NULL), 1);
	assert_int_equal(EVP_EncryptUpdate(c, theirs, &n, plain, sizeof plain), 1);
	assert_int_equal(EVP_EncryptFinal_ex(c, theirs + n, &last), 1);
	EVP_CIPHER_CTX_free(c);
	assert_int_equal(secret_arena_init(), KB_OK);
	assert_int_equal(kwp_wrap(kek, span_of(plain, sizeof plain), &ours), KB_OK);
	assert_true(span_eq(buf_span(&ours), span_of(theirs, (size_t)(n + last))));
}

/* ---- SoftHSM: why the worker wraps itself ---- */

static CK_OBJECT_HANDLE create(CK_FUNCTION_LIST *p11, CK_SESSION_HANDLE s, CK_KEY_TYPE type,
			       const uint8_t *bytes, size_t len)
{
	CK_OBJECT_CLASS class = CKO_SECRET_KEY;
	CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
	uint8_t value[64];
	CK_OBJECT_HANDLE h = 0;

	memcpy(value, bytes, len);
	CK_ATTRIBUTE attrs[] = {
		{CKA_CLASS, &class, sizeof class},   {CKA_KEY_TYPE, &type, sizeof type},
		{CKA_TOKEN, &no, sizeof no},         {CKA_WRAP, &yes, sizeof yes},
		{CKA_EXTRACTABLE, &yes, sizeof yes}, {CKA_VALUE, value, len}};
	assert_int_equal(p11->C_CreateObject(s, attrs, sizeof attrs / sizeof *attrs, &h), CKR_OK);
	return h;
}

static void test_j08_softhsm_pads_before_it_wraps(void **state)
{
	static const uint8_t kek[32] = {9}, secret[20] = {1,  2,  3,  4,  5,  6,  7,  8,  9,  10,
							  11, 12, 13, 14, 15, 16, 17, 18, 19, 20};
	struct softhsm h;
	CK_SLOT_ID slots[8];
	CK_ULONG n = 8;
	CK_SESSION_HANDLE s;
	uint8_t wrapped[64], back[64];
	CK_ULONG wrapped_len = sizeof wrapped;
	size_t len = 0;

	(void)state;
	assert_true(softhsm_start(&h));
	CK_FUNCTION_LIST *p11 = p11_kit_module_load(SOFTHSM_MODULE, 0);
	assert_non_null(p11);
	assert_int_equal(p11_kit_module_initialize(p11), CKR_OK);
	assert_int_equal(p11->C_GetSlotList(CK_TRUE, slots, &n), CKR_OK);
	assert_int_equal(
		p11->C_OpenSession(slots[0], CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL, &s),
		CKR_OK);
	char pin[] = SOFTHSM_PIN;
	assert_int_equal(p11->C_Login(s, CKU_USER, (CK_UTF8CHAR *)pin, strlen(pin)), CKR_OK);
	CK_OBJECT_HANDLE outer = create(p11, s, CKK_AES, kek, sizeof kek),
			 inner = create(p11, s, CKK_GENERIC_SECRET, secret, sizeof secret);
	CK_MECHANISM kwp = {CKM_AES_KEY_WRAP_PAD, NULL, 0};
	assert_int_equal(p11->C_WrapKey(s, &kwp, outer, inner, wrapped, &wrapped_len), CKR_OK);
	assert_int_equal(kwp_unwrap(kek, span_of(wrapped, wrapped_len), back, sizeof back, &len),
			 KB_OK);
	assert_memory_equal(back, secret, sizeof secret);
	/* 20 would be right: then the module may wrap (keystore/self_test), and this test goes */
	assert_int_equal(len, 24);
	assert_int_equal(p11->C_CloseSession(s), CKR_OK);
	assert_int_equal(p11_kit_module_finalize(p11), CKR_OK);
	p11_kit_module_release(p11);
	softhsm_stop(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_j08_jansson_nests_deeper_than_any_token),
		cmocka_unit_test(test_j08_jansson_numbers),
		cmocka_unit_test(test_j08_jansson_refuses_duplicates_however_spelt),
		cmocka_unit_test(test_j08_jansson_text),
		cmocka_unit_test(test_j08_jansson_drops_bytes_without_memory),
		cmocka_unit_test(test_j08_cjose_verifies),
		cmocka_unit_test(test_j08_cjose_takes_unknown_crit),
		cmocka_unit_test(test_j08_cjose_takes_padding_and_what_follows),
		cmocka_unit_test(test_j08_cjose_takes_es256_of_another_curve),
		cmocka_unit_test(test_j08_openssl_refuses_points_off_the_curve),
		cmocka_unit_test(test_j08_openssl_wraps_as_we_do),
		cmocka_unit_test(test_j08_softhsm_pads_before_it_wraps),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
