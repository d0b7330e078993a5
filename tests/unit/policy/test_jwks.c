/* tests/unit/policy/test_jwks.c — key sets of issuers: real, weak and hostile ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "policy/pubkey.h"
#include "tests/unit/mint.h"

#define ASSERT_ERR(want, call) assert_string_equal(kb_err_name(call), kb_err_name(want))

/* The set's code; *report filled, the set freed again. */
static enum kb_err parse(const char *text, struct jwks_report *report)
{
	struct jwks *s = NULL;
	enum kb_err err = jwks_parse(span_str(text), &s, report);

	assert_true((s != NULL) == (err == KB_OK));
	if (s != NULL)
		assert_int_equal(jwks_count(s), report->kept);
	jwks_free(s);
	return err;
}

static const char *good(const char *kid)
{
	return mint_jwk(mint_ec("P-256"), kid, "");
}

static void test_jwks_loads_a_real_set(void **state)
{
	struct jwks_report r;
	struct jwks *s = NULL;

	(void)state;
	ASSERT_ERR(KB_OK, jwks_parse(mint_file("tests/vectors/maa/sgx-2022.certs.json"), &s, &r));
	assert_int_equal(r.kept, 3);
	assert_int_equal(r.dropped, 1);
	const struct jwk *k =
		jwks_find(s, span_str("rPtBGRWTlPmzs5u35L0QRD9WdymeKPRxteTeTlwN0Ec="));
	assert_non_null(k);
	assert_int_equal(pubkey_kind(jwk_pubkey(k)), PUBKEY_RSA);
	assert_int_equal(pubkey_bits(jwk_pubkey(k)), 2048);
	assert_true(jwk_allows(k, KB_RS256) && jwk_allows(k, KB_PS512));
	assert_true(span_eq_cstr(jwk_kid(k), "rPtBGRWTlPmzs5u35L0QRD9WdymeKPRxteTeTlwN0Ec="));
	assert_null(jwks_find(s, span_str("rPtBGRWTlPmzs5u35L0QRD9WdymeKPRxteTeTlwN0Ec")));
	assert_null(jwks_find(s, span_of(NULL, 0)));
	jwks_free(s);
}

static void test_a22_real_set_with_weak_keys(void **state)
{
	struct jwks_report r;
	struct jwks *s = NULL;

	(void)state;
	ASSERT_ERR(KB_OK, jwks_parse(mint_file("tests/vectors/maa/certs-2020.json"), &s, &r));
	assert_int_equal(r.kept, 4);
	assert_int_equal(r.dropped, 1);
	ASSERT_ERR(KB_E_KEY_SIZE, r.first_drop); /* RSA-1024 */
	jwks_free(s);
}

/* An issuer whose server was taken over: as many keys as a set may hold, each the most expensive to
 * check, a prime.  Every vault worker reads the set at a release of that issuer; none may be
 * blocked by it. */
static void test_a22_the_dearest_set_takes_no_time(void **state)
{
	BIGNUM *p = BN_get_rfc3526_prime_4096(NULL);
	uint8_t bytes[512];
	char *keys = mint_text("%s", "");
	struct jwks_report r;
	struct jwks *s = NULL;

	(void)state;
	assert_true(p != NULL && BN_bn2bin(p, bytes) == sizeof bytes);
	for (unsigned i = 0; i < KB_MAX_JWKS_KEYS; i++)
		keys = mint_text("%s%s{\"kty\":\"RSA\",\"kid\":\"%u\",\"n\":\"%s\",\"e\":\"AQAB\"}",
				 keys, i > 0 ? "," : "", i, mint_b64(bytes, sizeof bytes));
	int64_t from = mint_cpu_us();
	ASSERT_ERR(KB_OK, jwks_parse(span_str(mint_text("{\"keys\":[%s]}", keys)), &s, &r));
	assert_true(mint_cpu_us() - from < 100000);
	assert_int_equal(r.kept, KB_MAX_JWKS_KEYS);
	assert_int_equal(r.dropped, 0);
	jwks_free(s);
	BN_free(p);
}

static void test_jwks_rejects_what_is_no_set(void **state)
{
	static const char *const bad[] = {"[]", "{}", "{\"keys\":{}}", "{\"keys\":null}"};
	struct jwks_report r;

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		ASSERT_ERR(KB_E_JWKS_FORMAT, parse(bad[i], &r));
	ASSERT_ERR(KB_E_JSON_SYNTAX, parse("<html>200 OK</html>", &r));
	ASSERT_ERR(KB_E_JSON_SYNTAX, parse("", &r));
	ASSERT_ERR(KB_E_JSON_DUPLICATE, parse("{\"keys\":[],\"keys\":[]}", &r));
	ASSERT_ERR(KB_E_JWKS_EMPTY, parse("{\"keys\":[]}", &r));
	r = (struct jwks_report){
		.kept = 77,
		.dropped = 77,
		.n_drops = 1,
		.first_drop = KB_E_BUG}; /* a report never says what an earlier set was like */
	ASSERT_ERR(KB_E_JWKS_FORMAT, parse("{}", &r));
	assert_true(r.kept == 0 && r.dropped == 0 && r.first_drop == KB_OK && r.n_drops == 0);
}

static void test_jwks_size(void **state)
{
	char *text = mint_keep(calloc(1, KB_MAX_JWKS + 2));
	struct jwks_report r;

	(void)state;
	char *set = mint_text("{\"keys\":[%s]}", good("a"));
	memset(text, ' ', KB_MAX_JWKS + 1);
	memcpy(text, set, strlen(set));
	ASSERT_ERR(KB_E_JSON_SIZE, parse(text, &r));
	text[KB_MAX_JWKS] = '\0';
	ASSERT_ERR(KB_OK, parse(text, &r));
}

static char *set_of(unsigned n)
{
	char *list = mint_text("%s", good("0"));

	for (unsigned i = 1; i < n; i++)
		list = mint_text("%s,%s", list, good(mint_text("%u", i)));
	return mint_text("{\"keys\":[%s]}", list);
}

static void test_jwks_count(void **state)
{
	struct jwks_report r;

	(void)state;
	ASSERT_ERR(KB_OK, parse(set_of(KB_MAX_JWKS_KEYS), &r));
	assert_int_equal(r.kept, KB_MAX_JWKS_KEYS);
	ASSERT_ERR(KB_E_JWKS_COUNT, parse(set_of(KB_MAX_JWKS_KEYS + 1), &r));
	ASSERT_ERR(KB_E_JWKS_COUNT, parse(set_of(10 * KB_MAX_JWKS_KEYS), &r));
}

/* The set, its report, and of which kids there is a key. */
static struct jwks *set_with(const char *keys, struct jwks_report *report)
{
	struct jwks *s = NULL;

	ASSERT_ERR(KB_OK, jwks_parse(span_str(mint_text("{\"keys\":[%s]}", keys)), &s, report));
	return s;
}

static const char *report_of(const struct jwks_report *report)
{
	struct buf text;

	buf_init(&text, JWKS_REPORT_BYTES);
	jwks_report_text(report, &text);
	buf_add(&text, "", 1);
	ASSERT_ERR(KB_OK, buf_ok(&text));
	return mint_keep(text.p);
}

/* Different usable keys of one kid are ambiguous: that kid is unusable, and nothing else is. */
static void test_a08_a44_kids_that_are_there_twice(void **state)
{
	const char *rsa = mint_jwk(mint_rsa(0), "a", ""), *other = good("b");
	struct jwks_report r;
	struct jwks *s;

	(void)state;
	s = set_with(mint_text("%s,%s,%s", good("a"), rsa, other), &r);
	assert_null(jwks_find(s, span_str("a")));
	assert_non_null(jwks_find(s, span_str("b")));
	assert_true(r.kept == 1 && r.dropped == 2 && r.repeated == 0);
	ASSERT_ERR(KB_E_JWKS_DUPLICATE, r.first_drop);
	assert_string_equal(report_of(&r),
			    "JWKS_DUPLICATE_KID of \"a\", JWKS_DUPLICATE_KID of \"a\"");
	jwks_free(s);
	/* a third does not become the one that is left, in whatever order */
	s = set_with(mint_text("%s,%s,%s,%s,%s", good("a"), rsa, other, good("a"), rsa), &r);
	assert_null(jwks_find(s, span_str("a")));
	assert_true(r.kept == 1 && r.dropped == 2 && r.repeated == 2);
	jwks_free(s);
	s = set_with(mint_text("%s,%s,%s,%s", mint_jwk(mint_rsa(1), "a", ""), rsa, other,
			       mint_jwk(mint_ec("P-384"), "a", "")),
		     &r);
	assert_null(jwks_find(s, span_str("a")));
	assert_true(r.kept == 1 && r.dropped == 3);
	jwks_free(s);
	/* an entry twice is one key */
	s = set_with(mint_text("%s,%s", rsa, rsa), &r);
	assert_non_null(jwks_find(s, span_str("a")));
	assert_true(r.kept == 1 && r.dropped == 0 && r.repeated == 1);
	jwks_free(s);
	/* a twin that is not usable is no twin */
	static const char *const twins[] = {
		"{\"kty\":\"OKP\",\"kid\":\"a\"}", "{\"kid\":\"a\"}",
		"{\"kty\":\"RSA\",\"kid\":\"a\",\"n\":\"AQAB\",\"e\":\"AQAB\"}"};
	for (size_t i = 0; i < 2 * sizeof twins / sizeof *twins; i++) {
		const char *twin = twins[i / 2];
		s = set_with(i % 2 ? mint_text("%s,%s", twin, rsa) : mint_text("%s,%s", rsa, twin),
			     &r);
		assert_non_null(jwks_find(s, span_str("a")));
		assert_true(r.kept == 1 && r.dropped == 1);
		jwks_free(s);
	}
	s = set_with(mint_text("%s,%s", mint_jwk(mint_rsa(1), "a", ",\"use\":\"enc\""), rsa), &r);
	assert_int_equal(pubkey_bits(jwk_pubkey(jwks_find(s, span_str("a")))), 2048);
	jwks_free(s);
	/* one key for two algorithms */
	s = set_with(mint_text("%s,%s", mint_jwk(mint_rsa(0), "a", ",\"alg\":\"RS256\""),
			       mint_jwk(mint_rsa(0), "a", ",\"alg\":\"PS256\"")),
		     &r);
	const struct jwk *k = jwks_find(s, span_str("a"));
	assert_true(jwk_allows(k, KB_RS256) && jwk_allows(k, KB_PS256) && !jwk_allows(k, KB_RS512));
	jwks_free(s);
	ASSERT_ERR(KB_E_JWKS_EMPTY, parse(mint_text("{\"keys\":[%s,%s]}", good("a"), rsa), &r));
	ASSERT_ERR(KB_OK, parse(mint_text("{\"keys\":[%s,%s]}", good("a"), good("b")), &r));
}

/* What is no key does not spoil the others.  Each has its reason, up to a bound. */
static void test_a44_reasons_of_dropped_entries(void **state)
{
	struct jwks_report r;

	(void)state;
	jwks_free(set_with(
		mint_text("1,[],null,{},%s,{\"kty\":\"OKP\",\"kid\":\"e\\u001b\"}", good("a")),
		&r));
	assert_true(r.kept == 1 && r.dropped == 5 && r.n_drops == 5);
	assert_string_equal(report_of(&r), "KEY_FORMAT of entry 1, KEY_FORMAT of entry 2, "
					   "KEY_FORMAT of entry 3, KEY_FORMAT of entry 4, "
					   "KEY_TYPE of \"e\\u001b\"");
	char *many = mint_text("%s", good("a")), *longest = mint_keep(calloc(1, 2000));
	memset(longest, 'k', 1999);
	for (unsigned i = 0; i < KB_MAX_JWKS_DROPS + 3; i++)
		many = mint_text("%s,{\"kty\":\"OKP\",\"kid\":\"%s\"}", many, longest);
	jwks_free(set_with(many, &r));
	assert_true(r.dropped == KB_MAX_JWKS_DROPS + 3 && r.n_drops == KB_MAX_JWKS_DROPS);
	assert_non_null(strstr(report_of(&r), "k\" and 3 more"));
	assert_true(strlen(report_of(&r)) < 1000);
}

static void test_jwks_drops_foreign_and_unnamed_keys(void **state)
{
	struct jwks_report r;

	(void)state;
	ASSERT_ERR(KB_OK, parse(mint_text("{\"keys\":[{\"kty\":\"OKP\",\"kid\":\"ed\",\"crv\":"
					  "\"Ed25519\",\"x\":\"AA\"},%s]}",
					  good("a")),
				&r));
	assert_int_equal(r.kept, 1);
	assert_int_equal(r.dropped, 1);
	ASSERT_ERR(KB_E_KEY_TYPE, r.first_drop);
	char *unnamed = mint_text("{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"%s\",\"y\":\"%s\"}",
				  mint_number(mint_ec("P-256"), "qx", 32),
				  mint_number(mint_ec("P-256"), "qy", 32));
	ASSERT_ERR(
		KB_OK,
		parse(mint_text("{\"keys\":[%s,{\"kty\":\"OKP\"},%s]}", unnamed, good("a")), &r));
	assert_int_equal(r.dropped, 2);
	ASSERT_ERR(KB_E_KID_MISSING, r.first_drop);
	ASSERT_ERR(KB_E_JWKS_EMPTY, parse(mint_text("{\"keys\":[%s]}", unnamed), &r));
	assert_int_equal(r.dropped, 1);
	ASSERT_ERR(KB_OK,
		   parse(mint_text("{\"keys\":[%s,%s]}",
				   mint_jwk(mint_rsa(0), "e", ",\"use\":\"enc\""), good("a")),
			 &r));
	ASSERT_ERR(KB_E_KEY_USE, r.first_drop);
}

static void test_h04_private_key_poisons_the_set(void **state)
{
	struct jwks_report r;

	(void)state;
	ASSERT_ERR(KB_E_KEY_PRIVATE, parse(mint_text("{\"keys\":[%s,%s]}", good("a"),
						     mint_jwk(mint_rsa(0), "b", ",\"d\":\"AQ\"")),
					   &r));
	ASSERT_ERR(KB_E_KEY_PRIVATE,
		   parse(mint_text("{\"keys\":[{\"kty\":\"oct\",\"kid\":\"h\",\"k\":\"AQ\"},%s]}",
				   good("a")),
			 &r));
}

static void test_jwks_keeps_the_keys_algorithm(void **state)
{
	struct jwks *s = NULL;

	(void)state;
	ASSERT_ERR(KB_OK, jwks_parse(span_str(mint_text("{\"keys\":[%s]}",
							mint_jwk(mint_ec("P-384"), "a",
								 ",\"alg\":\"ES384\""))),
				     &s, NULL));
	assert_true(jwk_allows(jwks_find(s, span_str("a")), KB_ES384));
	assert_false(jwk_allows(jwks_find(s, span_str("a")), KB_ES256));
	assert_int_equal(pubkey_kind(jwk_pubkey(jwks_find(s, span_str("a")))), PUBKEY_P384);
	jwks_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_jwks_loads_a_real_set),
		cmocka_unit_test(test_a22_real_set_with_weak_keys),
		cmocka_unit_test(test_a22_the_dearest_set_takes_no_time),
		cmocka_unit_test(test_jwks_rejects_what_is_no_set),
		cmocka_unit_test(test_jwks_size),
		cmocka_unit_test(test_jwks_count),
		cmocka_unit_test(test_a08_a44_kids_that_are_there_twice),
		cmocka_unit_test(test_a44_reasons_of_dropped_entries),
		cmocka_unit_test(test_jwks_drops_foreign_and_unnamed_keys),
		cmocka_unit_test(test_h04_private_key_poisons_the_set),
		cmocka_unit_test(test_jwks_keeps_the_keys_algorithm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
