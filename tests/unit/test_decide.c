/* tests/unit/test_decide.c — the one decision: its order, its codes, the debug floor, and that only a whole success makes a grant. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/json.h"
#include "policy/explain.h"
#include "policy/pubkey.h"
#include "tests/unit/mint.h"

#define ASSERT_ERR(want, call) assert_string_equal(kb_err_name(call), kb_err_name(want))

/* A case that is released; each test spoils one thing. */
struct world {
	struct issuer_rules issuer;
	struct jwks *keys;
	struct token *token;
	struct rules *policy;
	struct release_case c;
	struct explain *ex;
	char *text; /* the last explanation */
};

static const char sevsnp[] = "{\"claim\":\"x-ms-attestation-type\",\"equals\":\"sevsnpvm\"}";

static void set_policy(struct world *w, const char *conditions)
{
	rules_free(w->policy);
	ASSERT_ERR(KB_OK, rules_compile(span_str(mint_text("{\"version\":\"1.0.0\",\"anyOf\":[{\"authority\":\"" MINT_ISS "/\",\"allOf\":[%s]}]}",
							   conditions)),
					&w->policy, NULL));
	w->c.policy = w->policy;
}

static void set_token(struct world *w, const char *compact)
{
	token_free(w->token);
	ASSERT_ERR(KB_OK, token_open(span_str(compact), &w->token));
	w->c.token = w->token;
}

static void set_claims(struct world *w, const char *claims)
{
	set_token(w, mint_token(mint_rsa(0), "RS256", "k", claims));
}

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof *w);

	w->issuer = mint_issuer();
	w->keys = mint_jwks(mint_rsa(0), "k");
	w->ex = explain_new();
	w->c = (struct release_case){
		.issuer = &w->issuer, .keys = w->keys, .key_name = span_str("disk"), .key_version = span_str("0123"), .now_s = MINT_NOW + 10};
	set_policy(w, sevsnp);
	set_claims(w, mint_claims(mint_rsa(1), ""));
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	token_free(w->token);
	rules_free(w->policy);
	jwks_free(w->keys);
	explain_free(w->ex);
	free(w);
	return 0;
}

/* Decide with and without explanation: the same, and a grant exactly on KB_OK. */
static enum kb_err run(struct world *w)
{
	struct grant *a = NULL, *b = NULL;
	struct buf text;

	explain_reset(w->ex);
	enum kb_err err = decide(&w->c, w->ex, &a);
	ASSERT_ERR(err, decide(&w->c, NULL, &b));
	assert_true((a != NULL) == (err == KB_OK) && (b != NULL) == (err == KB_OK));
	grant_free(a);
	grant_free(b);
	buf_init(&text, 1024 * 1024);
	explain_text(w->ex, &text);
	buf_add(&text, "", 1);
	w->text = mint_keep(text.p);
	return err;
}

static void test_decide_grants(void **state)
{
	struct world *w = *state;
	struct grant *g = NULL;
	KB_AUTO(json) struct json_t *jwk = NULL;
	KB_AUTO(pubkey) struct pubkey *kek = NULL;
	uint8_t print[32];

	ASSERT_ERR(KB_OK, run(w));
	assert_non_null(strstr(w->text, "✓ wrapping key  RSA-2048, kid HCLTransferKey\n"));
	assert_non_null(
		strstr(w->text, "✓ time          issued 2026-09-21T14:13:20Z, expires 2026-09-21T22:13:20Z, judged at 2026-09-21T14:13:30Z\n"));
	assert_non_null(strstr(w->text, "\nRELEASE\n"));
	ASSERT_ERR(KB_OK, decide(&w->c, NULL, &g));
	assert_true(span_eq_cstr(grant_key_name(g), "disk"));
	assert_true(span_eq_cstr(grant_key_version(g), "0123"));
	assert_true(span_eq_cstr(grant_kek_kid(g), "HCLTransferKey"));
	assert_int_equal(grant_expires(g), MINT_NOW + 28800);
	assert_int_equal(EVP_PKEY_eq(grant_kek(g), mint_rsa(1)), 1);
	ASSERT_ERR(KB_OK, json_load_strict(span_str(mint_jwk(mint_rsa(1), "k", "")), 4096, &jwk, NULL));
	ASSERT_ERR(KB_OK, pubkey_from_jwk(jwk, PUBKEY_WRAP, &kek));
	ASSERT_ERR(KB_OK, pubkey_thumbprint(kek, print));
	assert_memory_equal(grant_kek_thumbprint(g), print, 32);
	grant_free(g);
	grant_free(NULL);
	g = mint_grant(mint_rsa(1), "name", "version");
	assert_true(span_eq_cstr(grant_key_name(g), "name"));
	grant_free(g);
}

static void test_f04_clock_never_set(void **state)
{
	struct world *w = *state;

	w->c.now_s = KB_EPOCH_MIN_S - 1;
	ASSERT_ERR(KB_E_CLOCK_UNSET, run(w));
	w->c.now_s = 0;
	ASSERT_ERR(KB_E_CLOCK_UNSET, run(w));
	w->c.now_s = KB_EPOCH_MIN_S;
	ASSERT_ERR(KB_E_NOT_YET, run(w));
}

static void test_decide_issuer(void **state)
{
	struct world *w = *state;
	static char other[] = "https://other.test";

	w->c.issuer = NULL;
	ASSERT_ERR(KB_E_ISSUER, run(w));
	assert_non_null(strstr(w->text, "✗ issuer        " MINT_ISS "\n"));
	w->c.issuer = &w->issuer;
	w->c.keys = NULL;
	ASSERT_ERR(KB_E_ISSUER_UNAVAILABLE, run(w));
	assert_non_null(strstr(w->text, "✗ issuer        " MINT_ISS "\n– signature\n"));
	w->c.keys = w->keys;
	w->issuer.issuer = other;
	ASSERT_ERR(KB_E_ISSUER, run(w));
}

static void test_decide_signature(void **state)
{
	struct world *w = *state;

	set_token(w, mint_token(mint_rsa(2), "RS256", "k", mint_claims(mint_rsa(1), "")));
	ASSERT_ERR(KB_E_TOKEN_SIGNATURE, run(w));
	assert_non_null(strstr(w->text, "✗ signature     RS256, kid k\n– time\n"));
	set_token(w, mint_token(mint_rsa(0), "RS256", "other", mint_claims(mint_rsa(1), "")));
	ASSERT_ERR(KB_E_KID_UNKNOWN, run(w));
	set_token(w, mint_token(mint_rsa(0), "PS256", "k", mint_claims(mint_rsa(1), "")));
	ASSERT_ERR(KB_E_TOKEN_ALG, run(w));
}

static void test_decide_time(void **state)
{
	struct world *w = *state;

	w->c.now_s = MINT_NOW + 28800 + 60;
	w->issuer.max_age_s = 100000;
	ASSERT_ERR(KB_OK, run(w));
	w->c.now_s++;
	ASSERT_ERR(KB_E_EXPIRED, run(w));
	assert_non_null(strstr(w->text, "\nREFUSE EXPIRED: "));
	w->c.now_s = MINT_NOW + 10;
	set_claims(w, "{\"iss\":\"" MINT_ISS "\",\"tee\":\"sgx\",\"exp\":\"never\"}");
	ASSERT_ERR(KB_E_CLAIM_TYPE, run(w));
	assert_non_null(strstr(w->text, "issued 0000-00-00T00:00:00Z, expires 0000-00-00T00:00:00Z"));
	set_claims(w, "{\"iss\":\"" MINT_ISS "\",\"tee\":\"sgx\",\"exp\":9223372036854775807,\"iat\":9223372036854775807}");
	ASSERT_ERR(KB_E_NOT_YET, run(w));
}

static void test_decide_audience_and_nonce(void **state)
{
	struct world *w = *state;
	static char ours[] = "https://broker.test";

	ASSERT_ERR(KB_OK, run(w));
	assert_non_null(strstr(w->text, "✓ audience      any\n✓ nonce         left to the policy\n"));
	w->issuer.audience = ours;
	ASSERT_ERR(KB_E_AUDIENCE, run(w));
	assert_non_null(strstr(w->text, "✗ audience      https://broker.test\n"));
	set_claims(w, mint_claims(mint_rsa(1), ",\"aud\":\"https://broker.test\",\"nonce\":\"n1\""));
	ASSERT_ERR(KB_OK, run(w));
	w->issuer.nonce = NONCE_REQUEST;
	ASSERT_ERR(KB_E_NONCE, run(w));
	w->c.nonce = span_str("n2");
	ASSERT_ERR(KB_E_NONCE, run(w));
	w->c.nonce = span_str("n1");
	ASSERT_ERR(KB_OK, run(w));
	w->issuer.nonce = NONCE_BROKER;
	ASSERT_ERR(KB_OK, run(w));
	assert_non_null(strstr(w->text, "✓ audience      https://broker.test\n✓ nonce\n"));
}

/* What a stranger writes into iss and kid is shown cut, and a time that no calendar has is shown as one. */
static void test_decide_shows_long_texts_cut(void **state)
{
	struct world *w = *state;
	char kid[KB_MAX_KID + 1];

	memset(kid, 'k', KB_MAX_KID);
	kid[KB_MAX_KID] = '\0';
	set_token(w, mint_token(mint_rsa(0), "RS256", kid, mint_claims(mint_rsa(1), "")));
	ASSERT_ERR(KB_E_KID_UNKNOWN, run(w));
	assert_non_null(strstr(w->text, mint_text("✗ signature     RS256, kid %.*s", 140, kid)));
	set_token(w, mint_token(mint_rsa(0), "RS256", "k",
				"{\"iss\":\"" MINT_ISS "\",\"x-ms-attestation-type\":\"a\",\"iat\":1790000000,\"exp\":9223372036854775807}"));
	ASSERT_ERR(KB_E_LIFETIME, run(w));
	assert_non_null(strstr(w->text, "✗ time          issued 2026-09-21T14:13:20Z, expires 0000-00-00T00:00:00Z, judged"));
	/* In microseconds this is 2^64 and a little: cut, it would be shown as 1970. */
	set_token(w, mint_token(mint_rsa(0), "RS256", "k",
				"{\"iss\":\"" MINT_ISS "\",\"x-ms-attestation-type\":\"a\",\"iat\":1790000000,\"exp\":18446744073710}"));
	ASSERT_ERR(KB_E_LIFETIME, run(w));
	assert_non_null(strstr(w->text, "✗ time          issued 2026-09-21T14:13:20Z, expires 0000-00-00T00:00:00Z, judged"));
}

static void test_e03_decide_policy(void **state)
{
	struct world *w = *state;

	w->c.policy = NULL;
	ASSERT_ERR(KB_E_NO_POLICY, run(w));
	set_policy(w, "{\"claim\":\"x-ms-attestation-type\",\"equals\":\"tdxvm\"}");
	ASSERT_ERR(KB_E_POLICY, run(w));
	assert_non_null(strstr(w->text, "✗ x-ms-attestation-type equals \"tdxvm\"   the token says \"sevsnpvm\"\n"));
	set_policy(w, sevsnp);
	ASSERT_ERR(KB_OK, run(w));
}

/* Claims of a token at `level`: "" or the hardware's, nested. */
static void set_debug(struct world *w, const char *claim, bool is_nested)
{
	set_claims(w, mint_text("{\"exp\":%d,\"iat\":%d,\"iss\":\"" MINT_ISS "\",\"x-ms-attestation-type\":\"sevsnpvm\",%s%s%s,"
				"\"x-ms-runtime\":{\"keys\":[%s]}}",
				MINT_NOW + 100, MINT_NOW, is_nested ? "\"x-ms-isolation-tee\":{" : "", claim, is_nested ? "}" : "",
				mint_jwk(mint_rsa(1), "kek", ",\"use\":\"enc\"")));
}

static void test_a38_debug_evidence(void **state)
{
	struct world *w = *state;
	static const struct {
		const char *name, *harmless, *harmful; /* values, space-separated */
	} claims[] = {
		{"x-ms-sevsnpvm-is-debuggable", "false \"false\" 0 \"0\"", "true \"true\" 1 null {} [] \"\" \"False\" [false]"},
		{"x-ms-sgx-is-debuggable", "false \"false\" 0", "true \"true\" 1 null"},
		{"is-debuggable", "false", "true null"},
		{"tdx_td_attributes_debug", "false 0 \"0\"", "true 1 null"},
		{"dbgstat", "\"disabled\" \"disabled-since-boot\" \"disabled-permanently\" \"disabled-fully-and-permanently\"",
		 "\"enabled\" false 0 \"\" \"disabled-\" null"},
	};

	for (size_t i = 0; i < sizeof claims / sizeof *claims; i++) {
		for (unsigned nested = 0; nested < 2; nested++) {
			for (unsigned harmful = 0; harmful < 2; harmful++) {
				char *list = mint_text("%s", harmful ? claims[i].harmful : claims[i].harmless), *rest = NULL;
				for (char *v = strtok_r(list, " ", &rest); v != NULL; v = strtok_r(NULL, " ", &rest)) {
					set_debug(w, mint_text("\"%s\":%s", claims[i].name, v), nested == 1);
					ASSERT_ERR(harmful ? KB_E_DEBUG_EVIDENCE : KB_OK, run(w));
					if (harmful)
						assert_non_null(strstr(w->text, mint_text("says nothing of %s,", claims[i].name)));
				}
			}
		}
	}
}

static void test_a38_policy_that_speaks_of_debugging(void **state)
{
	struct world *w = *state;

	set_policy(w, "{\"claim\":\"x-ms-sgx-is-debuggable\",\"equals\":true}");
	set_debug(w, "\"x-ms-sgx-is-debuggable\":true,\"is-debuggable\":true", false); /* the twin of older tokens */
	ASSERT_ERR(KB_OK, run(w));
	set_debug(w, "\"x-ms-sgx-is-debuggable\":true,\"x-ms-sevsnpvm-is-debuggable\":true", false); /* not the one that was meant */
	ASSERT_ERR(KB_E_DEBUG_EVIDENCE, run(w));
	set_policy(w, "{\"claim\":\"x-ms-isolation-tee.x-ms-sevsnpvm-is-debuggable\",\"equals\":\"true\"}");
	set_debug(w, "\"x-ms-sevsnpvm-is-debuggable\":true", true);
	ASSERT_ERR(KB_OK, run(w));
	set_policy(w, "{\"claim\":\"dbgstat\",\"equals\":\"enabled\"}");
	set_debug(w, "\"dbgstat\":\"enabled\",\"tdx_td_attributes_debug\":true", false);
	ASSERT_ERR(KB_OK, run(w));
	set_policy(w, "{\"claim\":\"x-ms-sevsnpvm-is-debuggable\",\"equals\":false}");
	set_debug(w, "\"x-ms-sevsnpvm-is-debuggable\":true", false);
	ASSERT_ERR(KB_E_POLICY, run(w));
}

static void test_a27_wrapping_key(void **state)
{
	struct world *w = *state;
	static const char frame[] = "{\"exp\":%d,\"iat\":%d,\"iss\":\"" MINT_ISS "\",\"x-ms-attestation-type\":\"sevsnpvm\"%s}";

	set_claims(w, mint_text(frame, MINT_NOW + 100, MINT_NOW, ""));
	ASSERT_ERR(KB_E_KEY_BINDING, run(w));
	assert_non_null(strstr(w->text, "✗ wrapping key\n"));
	set_claims(w, mint_text(frame, MINT_NOW + 100, MINT_NOW,
				mint_text(",\"x-ms-runtime\":{\"keys\":[%s]}", mint_jwk(mint_rsa(1), "kek", ",\"use\":\"enc\",\"d\":\"AQ\""))));
	ASSERT_ERR(KB_E_KEY_PRIVATE, run(w));
}

static void test_decide_checks_in_order(void **state)
{
	struct world *w = *state;
	static char ours[] = "https://broker.test";

	/* Everything is wrong at once; mending it one by one shows the next. */
	w->c.now_s = 1;
	w->c.issuer = NULL;
	w->c.keys = NULL;
	w->c.policy = NULL;
	w->issuer.audience = ours;
	w->issuer.nonce = NONCE_REQUEST;
	set_token(w, mint_token(mint_rsa(2), "RS256", "k", "{\"iss\":\"" MINT_ISS "\",\"tee\":\"sgx\"}"));
	ASSERT_ERR(KB_E_CLOCK_UNSET, run(w));
	w->c.now_s = MINT_NOW;
	ASSERT_ERR(KB_E_ISSUER, run(w));
	w->c.issuer = &w->issuer;
	ASSERT_ERR(KB_E_ISSUER_UNAVAILABLE, run(w));
	w->c.keys = w->keys;
	ASSERT_ERR(KB_E_TOKEN_SIGNATURE, run(w));
	set_claims(w, "{\"iss\":\"" MINT_ISS "\",\"tee\":\"sgx\"}");
	ASSERT_ERR(KB_E_CLAIM_MISSING, run(w));
	set_claims(w, mint_text("{\"iss\":\"" MINT_ISS "\",\"tee\":\"sgx\",\"is-debuggable\":true,\"iat\":%d,\"exp\":%d}", MINT_NOW, MINT_NOW + 10));
	ASSERT_ERR(KB_E_AUDIENCE, run(w));
	w->issuer.audience = NULL;
	ASSERT_ERR(KB_E_NONCE, run(w));
	w->issuer.nonce = NONCE_IGNORED;
	ASSERT_ERR(KB_E_NO_POLICY, run(w));
	set_policy(w, sevsnp);
	ASSERT_ERR(KB_E_POLICY, run(w));
	set_policy(w, "{\"claim\":\"tee\",\"equals\":\"sgx\"}");
	ASSERT_ERR(KB_E_DEBUG_EVIDENCE, run(w));
	set_policy(w, "{\"claim\":\"is-debuggable\",\"equals\":true}");
	ASSERT_ERR(KB_E_KEY_BINDING, run(w));
}

static void test_decide_incomplete_case_is_a_bug(void **state)
{
	struct world *w = *state;

	w->c.key_version = span_of(NULL, 0);
	ASSERT_ERR(KB_E_BUG, run(w));
	w->c.key_version = span_str("1");
	w->c.key_name = span_of(NULL, 0);
	ASSERT_ERR(KB_E_BUG, run(w));
	w->c.key_name = span_str("disk");
	w->c.token = NULL;
	ASSERT_ERR(KB_E_BUG, run(w));
}

/* A rehearsal judges at any time, all of it, and makes no grant. */
static void test_decide_rehearsal_makes_no_grant(void **state)
{
	struct world *w = *state;
	struct grant *g = NULL;

	w->c.is_rehearsal = true;
	ASSERT_ERR(KB_OK, decide(&w->c, w->ex, &g));
	assert_null(g);
	w->c.now_s = 1000;
	ASSERT_ERR(KB_E_NOT_YET, decide(&w->c, w->ex, &g));
	assert_null(g);
	w->c.now_s = INT64_MAX / 2;
	ASSERT_ERR(KB_E_EXPIRED, decide(&w->c, w->ex, &g));
}

static void test_decide_real_token_at_its_own_time(void **state)
{
	static char iss[] = "https://cplarryoattestationaad.wus.attest.azure.net";
	struct world *w = *state;
	struct grant *g = NULL;
	struct span file = mint_file("tests/vectors/maa/sgx-2022.jwt");
	size_t len = file.len - (file.p[file.len - 1] == '\n');

	jwks_free(w->keys);
	ASSERT_ERR(KB_OK, jwks_parse(mint_file("tests/vectors/maa/sgx-2022.certs.json"), &w->keys, NULL));
	w->c.keys = w->keys;
	w->issuer.issuer = iss;
	set_token(w, mint_text("%.*s", (int)len, (const char *)file.p));
	rules_free(w->policy);
	w->policy = NULL;
	ASSERT_ERR(
		KB_OK,
		rules_compile(
			span_str("{\"version\":\"1.0.0\",\"anyOf\":[{\"authority\":\"https://cplarryoattestationaad.wus.attest.azure.net/"
				 "\",\"allOf\":["
				 "{\"claim\":\"x-ms-sgx-mrsigner\",\"equals\":\"4aea5f9a0ed04b11f889aadfe6a1d376213a29a95a85ce7337ae6f7fece6610c\"},"
				 "{\"claim\":\"x-ms-sgx-svn\",\"greater\":0},{\"claim\":\"x-ms-sgx-product-id\",\"equals\":\"1\"},"
				 "{\"claim\":\"x-ms-sgx-is-debuggable\",\"equals\":true},{\"claim\":\"x-ms-policy.svn\",\"lessOrEquals\":1}]}]}"),
			&w->policy, NULL));
	w->c.policy = w->policy;
	w->c.is_rehearsal = true;
	/* Everything holds but the key: this enclave bound a signing key, so nothing can be wrapped to it. */
	w->c.now_s = 1646077971;
	ASSERT_ERR(KB_E_KEY_BINDING, decide(&w->c, w->ex, &g));
	w->c.now_s = 1646106771 + 60;
	w->issuer.max_age_s = 86400;
	ASSERT_ERR(KB_E_KEY_BINDING, decide(&w->c, w->ex, &g));
	w->c.now_s++;
	ASSERT_ERR(KB_E_EXPIRED, decide(&w->c, w->ex, &g));
	w->c.now_s = 1646077971 - 61;
	ASSERT_ERR(KB_E_NOT_YET, decide(&w->c, w->ex, &g));
	w->c.is_rehearsal = false;
	ASSERT_ERR(KB_E_CLOCK_UNSET, decide(&w->c, w->ex, &g));
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_decide_grants),
		T(test_f04_clock_never_set),
		T(test_decide_issuer),
		T(test_decide_signature),
		T(test_decide_time),
		T(test_decide_audience_and_nonce),
		T(test_decide_shows_long_texts_cut),
		T(test_e03_decide_policy),
		T(test_a38_debug_evidence),
		T(test_a38_policy_that_speaks_of_debugging),
		T(test_a27_wrapping_key),
		T(test_decide_checks_in_order),
		T(test_decide_incomplete_case_is_a_bug),
		T(test_decide_rehearsal_makes_no_grant),
		T(test_decide_real_token_at_its_own_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
