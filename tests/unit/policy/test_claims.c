/* tests/unit/policy/test_claims.c — times, audience, nonce and the wrapping key in the evidence. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/json.h"
#include "policy/claims.h"
#include "policy/pubkey.h"
#include "tests/unit/mint.h"

#define ASSERT_ERR(want, call) assert_string_equal(kb_err_name(call), kb_err_name(want))
#define NOW                    MINT_NOW

static struct json_t *claims_of(const char *text)
{
	struct json_t *j = NULL;

	ASSERT_ERR(KB_OK, json_load_strict(span_str(text), KB_MAX_TOKEN, &j, NULL));
	return j;
}

/* ---- times ---- */

static enum kb_err check_time(const char *text)
{
	KB_AUTO(json) struct json_t *j = claims_of(text);
	struct issuer_rules issuer = mint_issuer(); /* skew 60 s, age 8 h, lifetime 24 h */

	const char *claim = NULL;
	enum kb_err err = claims_check_time(j, &issuer, NOW, &claim);
	assert_non_null(claim);
	return err;
}

static enum kb_err check_times(int64_t exp, int64_t nbf, int64_t iat)
{
	return check_time(mint_text("{\"exp\":%lld,\"nbf\":%lld,\"iat\":%lld}", (long long)exp,
				    (long long)nbf, (long long)iat));
}

static void test_a14_types_of_times(void **state)
{
	static const char *const bad[] = {
		"\"1790000000\"", "-0.5", "-1790000000.0",       "-1", "true", "null",
		"[1790000000]",   "{}",   "-9223372036854775808"};

	(void)state;
	ASSERT_ERR(KB_OK, check_times(NOW + 100, NOW, NOW));
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		ASSERT_ERR(KB_E_CLAIM_TYPE,
			   check_time(mint_text("{\"exp\":%s,\"iat\":%d}", bad[i], NOW)));
		ASSERT_ERR(KB_E_CLAIM_TYPE,
			   check_time(mint_text("{\"exp\":%d,\"iat\":%s}", NOW + 100, bad[i])));
		ASSERT_ERR(KB_E_CLAIM_TYPE,
			   check_time(mint_text("{\"exp\":%d,\"iat\":%d,\"nbf\":%s}", NOW + 100,
						NOW, bad[i])));
	}
	ASSERT_ERR(KB_E_LIFETIME, check_times(INT64_MAX, NOW, NOW));
	ASSERT_ERR(KB_E_NOT_YET, check_times(INT64_MAX, NOW, INT64_MAX));
	ASSERT_ERR(KB_E_NOT_YET, check_times(INT64_MAX, INT64_MAX, NOW));
	ASSERT_ERR(KB_E_EXPIRED, check_times(0, 0, 0));
}

/* RFC 7519 section 2: a NumericDate is any number of seconds. */
static void test_a42_fractions_and_extremes_of_times(void **state)
{
	static const struct {
		const char *exp, *iat;
		enum kb_err want;
	} cases[] = {
		{"1790000100.0", "1790000000.0", KB_OK},
		{"1.7900001e9", "179e7", KB_OK},
		{"1790000100.75", "1789999999.25", KB_OK},
		/* NOW is 1790000000, the skew 60: not one nanosecond is rounded */
		{"1789999940.0", "1789999000", KB_OK},
		{"1789999939.999999999", "1789999000", KB_E_EXPIRED},
		{"1790000100", "1790000060.0", KB_OK},
		{"1790000100", "1790000060.000000001", KB_E_NOT_YET},
		/* age 8 h, lifetime 24 h */
		{"1790000001", "1789971200.0", KB_OK},
		{"1790000001", "1789971199.9", KB_E_TOO_OLD},
		{"1790086400.5", "1790000000.5", KB_OK},
		{"1790086400.500000001", "1790000000.5", KB_E_LIFETIME},
		{"1790000000.5", "1790000000.5", KB_E_LIFETIME},
		{"1790000000.6", "1790000000.5", KB_OK},
		{"0", "0", KB_E_EXPIRED},
		{"0.0", "0e5", KB_E_EXPIRED},
		{"9223372036854775808", "1790000000", KB_E_LIFETIME},
		{"18446744073709551615", "1790000000", KB_E_LIFETIME},
		{"1e300", "1790000000", KB_E_LIFETIME},
		{"1e300", "1e300", KB_E_NOT_YET},
		{"1790000100", "1e30", KB_E_NOT_YET},
		{"1e-300", "1e-300", KB_E_EXPIRED},
		{"1e9999999", "1790000000", KB_E_CLAIM_TYPE},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		enum kb_err err = check_time(
			mint_text("{\"exp\":%s,\"iat\":%s}", cases[i].exp, cases[i].iat));
		if (err != cases[i].want)
			fail_msg("exp %s, iat %s: %s", cases[i].exp, cases[i].iat,
				 kb_err_name(err));
	}
	ASSERT_ERR(KB_E_NOT_YET, check_time(mint_text("{\"exp\":%d,\"iat\":%d,\"nbf\":%d.1}",
						      NOW + 100, NOW, NOW + 60)));
	/* our own clock, as --at may set it */
	static const int64_t clocks[] = {INT64_MIN, INT64_MAX, -1, 0};
	for (size_t i = 0; i < sizeof clocks / sizeof *clocks; i++) {
		KB_AUTO(json)
		struct json_t *j = claims_of(mint_text("{\"exp\":%d,\"iat\":%d}", NOW + 1, NOW));
		struct issuer_rules issuer = mint_issuer();
		const char *claim;
		ASSERT_ERR(i == 1 ? KB_E_EXPIRED : KB_E_NOT_YET,
			   claims_check_time(j, &issuer, clocks[i], &claim));
	}
}

static void test_a15_expiry(void **state)
{
	(void)state;
	ASSERT_ERR(KB_OK, check_times(NOW, NOW - 100, NOW - 100));
	ASSERT_ERR(KB_OK, check_times(NOW - 60, NOW - 100, NOW - 100)); /* exactly at the edge */
	ASSERT_ERR(KB_E_EXPIRED, check_times(NOW - 61, NOW - 100, NOW - 100));
	ASSERT_ERR(KB_E_CLAIM_MISSING, check_time(mint_text("{\"iat\":%d}", NOW)));
	ASSERT_ERR(KB_E_CLAIM_MISSING, check_time(mint_text("{\"exp\":%d}", NOW + 100)));
	ASSERT_ERR(KB_E_CLAIM_MISSING, check_time("{}"));
	ASSERT_ERR(KB_OK, check_time(mint_text("{\"exp\":%d,\"iat\":%d}", NOW + 100,
					       NOW))); /* nbf may be absent */
}

static void test_a16_future_age_and_lifetime(void **state)
{
	(void)state;
	ASSERT_ERR(KB_OK, check_times(NOW + 100, NOW + 60, NOW + 60));
	ASSERT_ERR(KB_E_NOT_YET, check_times(NOW + 100, NOW + 61, NOW));
	ASSERT_ERR(KB_E_NOT_YET, check_times(NOW + 100, NOW, NOW + 61));
	ASSERT_ERR(KB_OK, check_times(NOW + 100, NOW - 28800, NOW - 28800));
	ASSERT_ERR(KB_E_TOO_OLD, check_times(NOW + 100, NOW - 28801, NOW - 28801));
	ASSERT_ERR(KB_OK, check_times(NOW + 86400, NOW, NOW));
	ASSERT_ERR(KB_E_LIFETIME, check_times(NOW + 86401, NOW, NOW));
	ASSERT_ERR(KB_E_LIFETIME, check_times(NOW, NOW, NOW)); /* no time at all */
	ASSERT_ERR(KB_E_LIFETIME,
		   check_times(NOW - 10, NOW, NOW)); /* less than that, within the skew */
}

static void test_time_bounds_of_zero_deny(void **state)
{
	KB_AUTO(json)
	struct json_t *j = claims_of(mint_text("{\"exp\":%d,\"iat\":%d}", NOW + 10, NOW - 1));
	struct issuer_rules zero = {0};
	const char *claim;

	(void)state;
	ASSERT_ERR(KB_E_TOO_OLD, claims_check_time(j, &zero, NOW, &claim));
	zero.max_age_s = 10;
	ASSERT_ERR(KB_E_LIFETIME, claims_check_time(j, &zero, NOW, &claim));
}

/* ---- audience ---- */

static enum kb_err check_audience(const char *members)
{
	static char ours[] = "https://broker.test";
	KB_AUTO(json) struct json_t *j = claims_of(mint_text("{%s}", members));
	struct issuer_rules issuer = {.audience = ours};

	return claims_check_audience(j, &issuer);
}

static void test_a19_audience(void **state)
{
	static const char *const bad[] = {
		"",
		"\"aud\":null",
		"\"aud\":1",
		"\"aud\":\"\"",
		"\"aud\":{}",
		"\"aud\":[]",
		"\"aud\":\"https://other.test\"",
		"\"aud\":\"https://broker.tes\"",
		"\"aud\":\"https://broker.test/\"",
		"\"aud\":\"https://broker.test.evil\"",
		"\"aud\":\"https://Broker.test\"",
		"\"aud\":[\"https://other.test\"]",
		"\"aud\":[[\"https://broker.test\"]]",
		"\"aud\":[\"https://broker.test\",1]",
		"\"aud\":[\"https://broker.test\",\"\"]",
	};

	(void)state;
	ASSERT_ERR(KB_OK, check_audience("\"aud\":\"https://broker.test\""));
	ASSERT_ERR(KB_OK, check_audience("\"aud\":[\"https://broker.test\"]"));
	ASSERT_ERR(KB_OK,
		   check_audience("\"aud\":[\"https://other.test\",\"https://broker.test\"]"));
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		ASSERT_ERR(KB_E_AUDIENCE, check_audience(bad[i]));
}

static void test_audience_limits(void **state)
{
	char *list = mint_text("\"https://broker.test\""),
	     *long_one = mint_keep(calloc(1, KB_MAX_AUD + 2));

	(void)state;
	for (unsigned i = 1; i < KB_MAX_AUD_COUNT; i++)
		list = mint_text("%s,\"a\"", list);
	ASSERT_ERR(KB_OK, check_audience(mint_text("\"aud\":[%s]", list)));
	ASSERT_ERR(KB_E_AUDIENCE, check_audience(mint_text("\"aud\":[%s,\"a\"]", list)));
	memset(long_one, 'a', KB_MAX_AUD + 1);
	ASSERT_ERR(KB_E_AUDIENCE,
		   check_audience(mint_text("\"aud\":[\"https://broker.test\",\"%s\"]", long_one)));
	long_one[KB_MAX_AUD] = '\0';
	ASSERT_ERR(KB_OK,
		   check_audience(mint_text("\"aud\":[\"https://broker.test\",\"%s\"]", long_one)));
}

static void test_audience_not_configured(void **state)
{
	KB_AUTO(json) struct json_t *j = claims_of("{\"aud\":7}");
	struct issuer_rules issuer = {0};

	(void)state;
	ASSERT_ERR(KB_OK, claims_check_audience(j, &issuer));
}

/* ---- nonce ---- */

static enum kb_err check_nonce(const char *members, const char *expected)
{
	KB_AUTO(json) struct json_t *j = claims_of(mint_text("{%s}", members));
	struct issuer_rules issuer = {.nonce = NONCE_REQUEST};

	enum kb_err err = claims_check_nonce(j, &issuer, span_str(expected));
	issuer.nonce = NONCE_BROKER;
	ASSERT_ERR(err, claims_check_nonce(j, &issuer, span_str(expected)));
	issuer.nonce = NONCE_IGNORED;
	ASSERT_ERR(KB_OK, claims_check_nonce(j, &issuer, span_str(expected)));
	return err;
}

static void test_a18_nonce(void **state)
{
	static const char *const bad[] = {
		"",
		"\"nonce\":\"1235\"",
		"\"nonce\":\"12345\"",
		"\"nonce\":\"123\"",
		"\"nonce\":\"\"",
		"\"nonce\":1234",
		"\"nonce\":null",
		"\"x-ms-runtime\":{}",
		"\"x-ms-runtime\":[]",
		"\"x-ms-runtime\":{\"client-payload\":[]}",
		"\"x-ms-runtime\":{\"client-payload\":{}}",
		"\"x-ms-runtime\":{\"client-payload\":{\"nonce\":1234}}",
		"\"x-ms-runtime\":{\"client-payload\":{\"nonce\":\"1234\"}}", /* not in base64 */
		"\"x-ms-runtime\":{\"client-payload\":{\"nonce\":\"MTIzN!==\"}}", /* not base64 */
		"\"x-ms-runtime\":{\"client-payload\":{\"nonce\":\"MTIzNQ==\"}}",
		"\"x-ms-isolation-tee\":{\"x-ms-runtime\":{\"client-payload\":{\"nonce\":\"MTIzNA=="
		"\"}}}",
		"\"nonce\":\"other\",\"x-ms-runtime\":{\"client-payload\":{\"nonce\":\"MTIzNA==\"}"
		"}", /* the top level counts first */
	};

	(void)state;
	ASSERT_ERR(KB_OK, check_nonce("\"nonce\":\"1234\"", "1234"));
	ASSERT_ERR(KB_OK,
		   check_nonce("\"x-ms-runtime\":{\"client-payload\":{\"nonce\":\"MTIzNA==\"}}",
			       "1234"));
	ASSERT_ERR(KB_OK,
		   check_nonce("\"x-ms-runtime\":{\"client-payload\":{\"nonce\":\"MTIzNA\"}}",
			       "1234"));
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		ASSERT_ERR(KB_E_NONCE, check_nonce(bad[i], "1234"));
	static const char *const none[] = {
		"{}", "{\"nonce\":7}", "{\"nonce\":\"\"}",
		"{\"x-ms-runtime\":{\"client-payload\":{\"nonce\":\"!\"}}}"};
	for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
		KB_AUTO(json) struct json_t *j = claims_of(none[i]);
		KB_AUTO(buf) struct buf nonce;
		buf_init(&nonce, 64);
		ASSERT_ERR(KB_E_NONCE, claims_nonce(j, &nonce));
	}
	ASSERT_ERR(KB_E_NONCE, check_nonce("\"nonce\":\"1234\"", ""));
	ASSERT_ERR(KB_E_NONCE, check_nonce("\"nonce\":\"\"", ""));
	ASSERT_ERR(KB_E_NONCE, check_nonce("", ""));
}

static void test_nonce_limits(void **state)
{
	char *nonce = mint_keep(calloc(1, KB_MAX_NONCE + 4));
	KB_AUTO(buf) struct buf b;

	(void)state;
	memset(nonce, 'n', KB_MAX_NONCE + 1);
	ASSERT_ERR(KB_E_NONCE, check_nonce(mint_text("\"nonce\":\"%s\"", nonce), nonce));
	buf_init(&b, 4096);
	b64_encode(&b, span_of(nonce, KB_MAX_NONCE + 3));
	ASSERT_ERR(
		KB_E_NONCE,
		check_nonce(mint_text("\"x-ms-runtime\":{\"client-payload\":{\"nonce\":\"%.*s\"}}",
				      (int)b.len, (char *)b.p),
			    nonce));
	nonce[KB_MAX_NONCE] = '\0';
	ASSERT_ERR(KB_OK, check_nonce(mint_text("\"nonce\":\"%s\"", nonce), nonce));
	buf_reset(&b);
	b64_encode(&b, span_str(nonce));
	ASSERT_ERR(
		KB_OK,
		check_nonce(mint_text("\"x-ms-runtime\":{\"client-payload\":{\"nonce\":\"%.*s\"}}",
				      (int)b.len, (char *)b.p),
			    nonce));
}

static void test_nonce_of_a_real_guest_token(void **state)
{
	KB_AUTO(json)
	struct json_t *j =
		claims_of((const char *)mint_file(
				  "tests/vectors/maa/cvm-guest-aks-token-with-client-payload.json")
				  .p);
	KB_AUTO(buf) struct buf nonce;

	(void)state;
	buf_init(&nonce, 64);
	ASSERT_ERR(KB_OK, claims_nonce(j, &nonce));
	assert_true(span_eq_cstr(buf_span(&nonce), "1234"));
}

/* ---- the wrapping key ---- */

/* The kid that is chosen among `keys` (the array's text), or the refusal's name. */
static const char *choose(const char *keys)
{
	KB_AUTO(json)
	struct json_t *j = claims_of(mint_text("{\"x-ms-runtime\":{\"keys\":%s}}", keys));
	KB_AUTO(pubkey) struct pubkey *k = NULL;
	const struct issuer_rules issuer = mint_issuer();

	enum kb_err err = claims_wrapping_key(j, &issuer, &k);
	assert_true((k != NULL) == (err == KB_OK));
	return err != KB_OK
		       ? kb_err_name(err)
		       : mint_text("%.*s", (int)pubkey_kid(k).len, (const char *)pubkey_kid(k).p);
}

static const char *rsa(const char *kid, const char *more)
{
	return mint_jwk(mint_rsa(1), kid, more);
}

static void test_wrapping_key_is_the_first_that_fits(void **state)
{
	const char *ec = mint_jwk(mint_ec("P-256"), "ec", ",\"use\":\"enc\"");

	(void)state;
	assert_string_equal(choose(mint_text("[%s]", rsa("a", ",\"use\":\"enc\""))), "a");
	assert_string_equal(
		choose(mint_text("[%s]", rsa("a", ",\"key_ops\":[\"decrypt\",\"encrypt\"]"))), "a");
	assert_string_equal(choose(mint_text("[%s,%s]", rsa("a", ",\"use\":\"enc\""),
					     rsa("b", ",\"use\":\"enc\""))),
			    "a");
	assert_string_equal(choose(mint_text("[%s,%s,%s]", rsa("sign", ",\"key_ops\":[\"sign\"]"),
					     ec, rsa("b", ",\"use\":\"enc\""))),
			    "b");
	assert_string_equal(choose(mint_text("[1,[],null,{},%s]", rsa("b", ",\"use\":\"enc\""))),
			    "b");
	assert_string_equal(
		choose(mint_text("[%s,%s]", rsa("plain", ""), rsa("b", ",\"use\":\"enc\""))), "b");
	/* One that is meant for signing is passed over, it is not a bad first one. */
	assert_string_equal(choose(mint_text("[%s,%s]", rsa("sig", ",\"use\":\"sig\""),
					     rsa("b", ",\"use\":\"enc\""))),
			    "b");
	assert_string_equal(choose(mint_text("[%s,%s]", rsa("one", ",\"use\":1"),
					     rsa("b", ",\"use\":\"enc\""))),
			    "b");
	assert_string_equal(choose(mint_text("[%s,%s]", rsa("no", ",\"key_ops\":[1,\"sign\"]"),
					     rsa("b", ",\"use\":\"enc\""))),
			    "b");
	/* wrapKey alone is not documented to be enough. */
	assert_string_equal(choose(mint_text("[%s]", rsa("a", ",\"key_ops\":[\"wrapKey\"]"))),
			    "KEY_BINDING");
}

static void test_wrapping_key_is_never_a_later_one(void **state)
{
	const char *good = rsa("good", ",\"use\":\"enc\"");

	(void)state;
	assert_string_equal(choose(mint_text("[{\"kty\":\"RSA\",\"use\":\"enc\"},%s]", good)),
			    "KEY_BINDING"); /* no kid */
	assert_string_equal(
		choose(mint_text("[{\"kty\":\"RSA\",\"use\":\"enc\",\"kid\":\"x\"},%s]", good)),
		"KEY_FORMAT");
	assert_string_equal(
		choose(mint_text("[{\"kty\":\"RSA\",\"use\":\"enc\",\"kid\":1},%s]", good)),
		"KEY_FORMAT");
	assert_string_equal(
		choose(mint_text("[%s,%s]", rsa("x", ",\"use\":\"sig\",\"key_ops\":[\"encrypt\"]"),
				 good)),
		"KEY_USE");
	assert_string_equal(choose(mint_text("[{\"kty\":\"RSA\",\"use\":\"enc\",\"kid\":\"x\","
					     "\"n\":\"AQAB\",\"e\":\"AQAB\"},%s]",
					     good)),
			    "KEY_SIZE");
}

static void test_a25_wrapping_key_with_private_part(void **state)
{
	(void)state;
	assert_string_equal(choose(mint_text("[%s]", rsa("a", ",\"use\":\"enc\",\"d\":\"AQAB\""))),
			    "KEY_PRIVATE");
	assert_string_equal(choose(mint_text("[%s]", rsa("a", ",\"use\":\"enc\",\"p\":\"AQAB\""))),
			    "KEY_PRIVATE");
}

static void test_a27_wrapping_key_not_bound(void **state)
{
	static const char *const bad[] = {"{}", "{\"x-ms-runtime\":1}", "{\"x-ms-runtime\":{}}",
					  "{\"x-ms-runtime\":{\"keys\":{}}}",
					  "{\"x-ms-runtime\":{\"keys\":[]}}"};
	const struct issuer_rules issuer = mint_issuer();
	struct pubkey *k = NULL;

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		KB_AUTO(json) struct json_t *j = claims_of(bad[i]);
		ASSERT_ERR(KB_E_KEY_BINDING, claims_wrapping_key(j, &issuer, &k));
		assert_null(k);
	}
	/* A key elsewhere in the token is not the guest's: the hypervisor's, or whatever a claim
	 * was made to hold. */
	const char *set = mint_text("{\"keys\":[%s]}", rsa("a", ",\"use\":\"enc\""));
	const char *const elsewhere[] = {
		mint_text("{\"x-ms-isolation-tee\":{\"x-ms-runtime\":%s}}", set),
		mint_text("{\"keys\":[%s]}", rsa("a", ",\"use\":\"enc\"")),
		mint_text("{\"x-ms-runtime\":{\"jwk\":%s}}", rsa("a", ",\"use\":\"enc\"")),
		mint_text("{\"x-ms-runtime\":{\"x-ms-runtime\":%s}}", set),
		mint_text("{\"X-ms-runtime\":%s}", set),
	};
	for (size_t i = 0; i < sizeof elsewhere / sizeof *elsewhere; i++) {
		KB_AUTO(json) struct json_t *j = claims_of(elsewhere[i]);
		ASSERT_ERR(KB_E_KEY_BINDING, claims_wrapping_key(j, &issuer, &k));
	}
}

/* Where the keys are is the issuer's configuration.  The default place counts no more then, and
 * no place at all gives no key. */
static void test_wrapping_key_place_is_configured(void **state)
{
	static char place[] = "/evidence/a~1b", object[] = "/evidence", bad[] = "evidence";
	struct issuer_rules issuer = mint_issuer();
	const char *key = rsa("a", ",\"use\":\"enc\"");
	KB_AUTO(json)
	struct json_t *there = claims_of(mint_text("{\"evidence\":{\"a/b\":[%s]}}", key));
	KB_AUTO(json)
	struct json_t *elsewhere = claims_of(mint_text("{\"x-ms-runtime\":{\"keys\":[%s]}}", key));
	KB_AUTO(pubkey) struct pubkey *k = NULL;
	struct pubkey *none = NULL;

	(void)state;
	ASSERT_ERR(KB_E_KEY_BINDING, claims_wrapping_key(there, &issuer, &none));
	issuer.wrapping_key = place;
	ASSERT_ERR(KB_OK, claims_wrapping_key(there, &issuer, &k));
	assert_true(span_eq_cstr(pubkey_kid(k), "a"));
	ASSERT_ERR(KB_E_KEY_BINDING, claims_wrapping_key(elsewhere, &issuer, &none));
	issuer.wrapping_key = object;
	ASSERT_ERR(KB_E_KEY_BINDING, claims_wrapping_key(there, &issuer, &none));
	issuer.wrapping_key = bad;
	ASSERT_ERR(KB_E_KEY_BINDING, claims_wrapping_key(there, &issuer, &none));
	issuer.wrapping_key = NULL;
	ASSERT_ERR(KB_E_KEY_BINDING, claims_wrapping_key(elsewhere, &issuer, &none));
	assert_null(none);
}

static void test_wrapping_key_limit(void **state)
{
	char *list = mint_text("{}");

	(void)state;
	for (unsigned i = 2; i < KB_MAX_RUNTIME_KEYS; i++)
		list = mint_text("%s,{}", list);
	assert_string_equal(choose(mint_text("[%s,%s]", list, rsa("a", ",\"use\":\"enc\""))), "a");
	assert_string_equal(choose(mint_text("[%s,{},%s]", list, rsa("a", ",\"use\":\"enc\""))),
			    "KEY_BINDING");
	assert_string_equal(choose(mint_text("[%s,%s,{}]", list, rsa("a", ",\"use\":\"enc\""))),
			    "KEY_BINDING");
}

static void test_wrapping_key_of_real_guest_tokens(void **state)
{
	static const char *const files[] = {
		"tests/vectors/maa/cvm-guest-aks-token-with-client-payload.json",
		"tests/vectors/maa/cvm-guest-sampleAttestationToken.json"};
	const struct issuer_rules issuer = mint_issuer();

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		KB_AUTO(json) struct json_t *j = claims_of((const char *)mint_file(files[i]).p);
		KB_AUTO(pubkey) struct pubkey *k = NULL;
		ASSERT_ERR(KB_OK, claims_wrapping_key(j, &issuer, &k));
		assert_true(span_eq_cstr(pubkey_kid(k), "TpmEphemeralEncryptionKey"));
		assert_int_equal(pubkey_bits(k), 2048);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a14_types_of_times),
		cmocka_unit_test(test_a42_fractions_and_extremes_of_times),
		cmocka_unit_test(test_a15_expiry),
		cmocka_unit_test(test_a16_future_age_and_lifetime),
		cmocka_unit_test(test_time_bounds_of_zero_deny),
		cmocka_unit_test(test_a19_audience),
		cmocka_unit_test(test_audience_limits),
		cmocka_unit_test(test_audience_not_configured),
		cmocka_unit_test(test_a18_nonce),
		cmocka_unit_test(test_nonce_limits),
		cmocka_unit_test(test_nonce_of_a_real_guest_token),
		cmocka_unit_test(test_wrapping_key_is_the_first_that_fits),
		cmocka_unit_test(test_wrapping_key_is_never_a_later_one),
		cmocka_unit_test(test_a25_wrapping_key_with_private_part),
		cmocka_unit_test(test_a27_wrapping_key_not_bound),
		cmocka_unit_test(test_wrapping_key_place_is_configured),
		cmocka_unit_test(test_wrapping_key_limit),
		cmocka_unit_test(test_wrapping_key_of_real_guest_tokens),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
