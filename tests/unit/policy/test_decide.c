/* tests/unit/policy/test_decide.c — the one decision: its order, its codes, the debug floor, and
 * that only a whole success makes a grant. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>

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
	ASSERT_ERR(
		KB_OK,
		rules_compile(span_str(mint_text(
				      "{\"version\":\"1.0.0\",\"anyOf\":[{\"authority\":\"" MINT_ISS
				      "/\",\"allOf\":[%s]}]}",
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
	w->c = (struct release_case){.issuer = &w->issuer,
				     .keys = w->keys,
				     .key_name = span_str("disk"),
				     .key_version = span_str("0123"),
				     .now_s = MINT_NOW + 10};
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
	assert_non_null(strstr(w->text, "✓ time          issued 2026-09-21T14:13:20Z, expires "
					"2026-09-21T22:13:20Z, judged at 2026-09-21T14:13:30Z\n"));
	assert_non_null(strstr(w->text, "\nRELEASE\n"));
	ASSERT_ERR(KB_OK, decide(&w->c, NULL, &g));
	assert_true(span_eq_cstr(grant_key_name(g), "disk"));
	assert_true(span_eq_cstr(grant_key_version(g), "0123"));
	assert_true(span_eq_cstr(grant_kek(g)->kid, "HCLTransferKey"));
	assert_int_equal(grant_expires(g), MINT_NOW + 28800);
	assert_int_equal(EVP_PKEY_eq(grant_kek(g)->evp, mint_rsa(1)), 1);
	assert_int_equal(grant_kek(g)->kind, KEK_RSA);
	ASSERT_ERR(KB_OK,
		   json_load_strict(span_str(mint_jwk(mint_rsa(1), "k", "")), 4096, &jwk, NULL));
	ASSERT_ERR(KB_OK, pubkey_from_jwk(jwk, PUBKEY_WRAP, &kek));
	ASSERT_ERR(KB_OK, pubkey_thumbprint(kek, print));
	assert_memory_equal(grant_kek(g)->thumbprint, print, 32);
	grant_free(g);
	grant_free(NULL);
	g = mint_grant(mint_rsa(1), "name", "version");
	assert_true(span_eq_cstr(grant_key_name(g), "name"));
	grant_free(g);
}

/* Single use remembers a token until the second in which it has surely expired. */
static void test_a42_grant_of_a_token_with_fractions(void **state)
{
	struct world *w = *state;
	struct grant *g = NULL;

	set_claims(
		w,
		mint_text("{\"exp\":%d.25,\"iat\":%d.75,\"iss\":\"" MINT_ISS
			  "\",\"x-ms-attestation-type\":\"sevsnpvm\",\"x-ms-runtime\":{\"keys\":["
			  "%s]}}",
			  MINT_NOW + 100, MINT_NOW,
			  mint_jwk(mint_rsa(1), "k", ",\"key_ops\":[\"encrypt\"]")));
	ASSERT_ERR(KB_OK, run(w));
	ASSERT_ERR(KB_OK, decide(&w->c, NULL, &g));
	assert_int_equal(grant_issued(g), MINT_NOW);
	assert_int_equal(grant_expires(g), MINT_NOW + 101);
	grant_free(g);
}

static void test_f04_clock_never_set(void **state)
{
	struct world *w = *state;

	w->c.now_s = KB_EPOCH_MIN_S - 1;
	ASSERT_ERR(KB_E_CLOCK_UNSET, run(w));
	assert_non_null(strstr(w->text, "✗ time          20"));
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
	set_claims(w, "{\"iss\":\"" MINT_ISS "\",\"x-ms-attestation-type\":[]}");
	ASSERT_ERR(KB_E_TOKEN_TYPE, run(w));
	assert_non_null(strstr(w->text, "✗ signature     x-ms-attestation-type is []\n"));
	assert_null(strstr(w->text, "signed by"));
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
	assert_non_null(strstr(w->text, "✗ time          `exp` is \"never\"\n"));
	set_claims(w,
		   "{\"iss\":\"" MINT_ISS
		   "\",\"tee\":\"sgx\",\"exp\":9223372036854775807,\"iat\":9223372036854775807}");
	ASSERT_ERR(KB_E_NOT_YET, run(w));
}

static void test_decide_audience_and_nonce(void **state)
{
	struct world *w = *state;
	static char ours[] = "https://broker.test";

	ASSERT_ERR(KB_OK, run(w));
	assert_non_null(
		strstr(w->text, "✓ audience      any\n✓ nonce         left to the policy\n"));
	w->issuer.audience = ours;
	ASSERT_ERR(KB_E_AUDIENCE, run(w));
	assert_non_null(strstr(w->text, "✗ audience      the token's is absent; "
					"\"https://broker.test\" is wanted\n"));
	set_claims(w, mint_claims(mint_rsa(1), ",\"aud\":[\"a\",7]"));
	ASSERT_ERR(KB_E_AUDIENCE, run(w));
	assert_non_null(strstr(w->text, "the token's is [\"a\",7]; "));
	set_claims(w,
		   mint_claims(mint_rsa(1), ",\"aud\":\"https://broker.test\",\"nonce\":\"n1\""));
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

/* What a client writes into iss and kid is shown cut, and a time that no calendar has is shown as
 * one. */
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
				"{\"iss\":\"" MINT_ISS "\",\"x-ms-attestation-type\":\"a\",\"iat\":"
				"1790000000,\"exp\":9223372036854775807}"));
	ASSERT_ERR(KB_E_LIFETIME, run(w));
	assert_non_null(strstr(w->text, "✗ time          issued 2026-09-21T14:13:20Z, expires "
					"0000-00-00T00:00:00Z, judged"));
	/* In microseconds this is 2^64 and a little: cut, it would be shown as 1970. */
	set_token(w, mint_token(mint_rsa(0), "RS256", "k",
				"{\"iss\":\"" MINT_ISS "\",\"x-ms-attestation-type\":\"a\",\"iat\":"
				"1790000000,\"exp\":18446744073710}"));
	ASSERT_ERR(KB_E_LIFETIME, run(w));
	assert_non_null(strstr(w->text, "✗ time          issued 2026-09-21T14:13:20Z, expires "
					"0000-00-00T00:00:00Z, judged"));
}

static void test_e03_decide_policy(void **state)
{
	struct world *w = *state;

	w->c.policy = NULL;
	ASSERT_ERR(KB_E_NO_POLICY, run(w));
	set_policy(w, "{\"claim\":\"x-ms-attestation-type\",\"equals\":\"tdxvm\"}");
	ASSERT_ERR(KB_E_POLICY, run(w));
	assert_non_null(
		strstr(w->text,
		       "✗ x-ms-attestation-type equals \"tdxvm\"   the token says \"sevsnpvm\"\n"));
	set_policy(w, sevsnp);
	ASSERT_ERR(KB_OK, run(w));
}

/* A token with these members besides those that every token has. */
static void set_debug(struct world *w, const char *members)
{
	set_claims(w, mint_text("{\"exp\":%d,\"iat\":%d,\"iss\":\"" MINT_ISS
				"\",\"x-ms-attestation-type\":\"sevsnpvm\",\"secureboot\":true,%s,"
				"\"x-ms-runtime\":{\"keys\":[%s]}}",
				MINT_NOW + 100, MINT_NOW, members,
				mint_jwk(mint_rsa(1), "kek", ",\"use\":\"enc\"")));
}

#define SAYS_FALSE                                                                                 \
	"false \"false\" 0 \"0\"",                                                                 \
		"true \"true\" 1 \"1\" 2 0.5 null {} [] \"\" \"False\" \"no\" [false]"
#define SAYS_TRUE "true \"true\" 1 \"1\"", "false \"false\" 0 2 null {} [] \"\" \"True\" [true]"
#define SAYS_DISABLED                                                                              \
	"\"disabled\" \"disabled-since-boot\" \"disabled-permanently\" "                           \
	"\"disabled-fully-and-permanently\"",                                                      \
		"\"enabled\" false true 0 1 \"\" \"disabled-\" \"Disabled\" null {}"
#define SAYS_FLAGS                                                                                 \
	"\"0500000000000000\" \"0100000000000000\" \"c4000000000000fF\" \"1d00000000000000\" "     \
	"\"9909afAF00000000\"",                                                                    \
		"\"0700000000000000\" \"0200000000000000\" \"0600000000000000\" "                  \
		"\"fF00000000000000\" \"\" \"05\" \"050000000000000g\" "                           \
		"\"g500000000000000\" \"05000000/0000000\" \"05000000@0000000\" "                  \
		"\"05000000:0000000\" \"05000000`0000000\" \"05000000G0000000\" "                  \
		"\"05000000000000000\" 0 false null {}"

/* Every row of the table of debug.c, at every level: each harmless value passes a policy without a
 * condition on it, each other one is refused and named. */
static void test_a38_debug_evidence(void **state)
{
	struct world *w = *state;
	static const struct {
		const char *before, *after, *path; /* the members round the value */
		const char *harmless, *harmful;    /* values, space-separated */
	} rows[] = {
		{"\"x-ms-sevsnpvm-is-debuggable\":", "", "x-ms-sevsnpvm-is-debuggable", SAYS_FALSE},
		{"\"x-ms-isolation-tee\":{\"x-ms-sevsnpvm-is-debuggable\":", "}",
		 "x-ms-isolation-tee.x-ms-sevsnpvm-is-debuggable", SAYS_FALSE},
		{"\"x-ms-sgx-is-debuggable\":", "", "x-ms-sgx-is-debuggable", SAYS_FALSE},
		{"\"x-ms-isolation-tee\":{\"x-ms-sgx-is-debuggable\":", "}",
		 "x-ms-isolation-tee.x-ms-sgx-is-debuggable", SAYS_FALSE},
		{"\"is-debuggable\":", "", "is-debuggable", SAYS_FALSE},
		{"\"x-ms-isolation-tee\":{\"is-debuggable\":", "}",
		 "x-ms-isolation-tee.is-debuggable", SAYS_FALSE},
		{"\"tdx_td_attributes_debug\":", "", "tdx_td_attributes_debug", SAYS_FALSE},
		{"\"x-ms-isolation-tee\":{\"tdx_td_attributes_debug\":", "}",
		 "x-ms-isolation-tee.tdx_td_attributes_debug", SAYS_FALSE},
		{"\"dbgstat\":", "", "dbgstat", SAYS_DISABLED},
		{"\"x-ms-isolation-tee\":{\"dbgstat\":", "}", "x-ms-isolation-tee.dbgstat",
		 SAYS_DISABLED},
		{"\"x-ms-azurevm-kerneldebug-enabled\":", "", "x-ms-azurevm-kerneldebug-enabled",
		 SAYS_FALSE},
		{"\"x-ms-azurevm-bootdebug-enabled\":", "", "x-ms-azurevm-bootdebug-enabled",
		 SAYS_FALSE},
		{"\"x-ms-azurevm-hypervisordebug-enabled\":", "",
		 "x-ms-azurevm-hypervisordebug-enabled", SAYS_FALSE},
		{"\"x-ms-isolation-tee\":{\"x-ms-azurevm-hypervisordebug-enabled\":", "}",
		 "x-ms-isolation-tee.x-ms-azurevm-hypervisordebug-enabled", SAYS_FALSE},
		{"\"x-ms-azurevm-debuggersdisabled\":", "", "x-ms-azurevm-debuggersdisabled",
		 SAYS_TRUE},
		{"\"bootDebuggingDisabled\":", "", "bootDebuggingDisabled", SAYS_TRUE},
		{"\"x-ms-isolation-tee\":{\"x-ms-azurevm-kerneldebug-enabled\":", "}",
		 "x-ms-isolation-tee.x-ms-azurevm-kerneldebug-enabled", SAYS_FALSE},
		{"\"x-ms-isolation-tee\":{\"x-ms-azurevm-bootdebug-enabled\":", "}",
		 "x-ms-isolation-tee.x-ms-azurevm-bootdebug-enabled", SAYS_FALSE},
		{"\"x-ms-isolation-tee\":{\"x-ms-azurevm-debuggersdisabled\":", "}",
		 "x-ms-isolation-tee.x-ms-azurevm-debuggersdisabled", SAYS_TRUE},
		{"\"x-ms-isolation-tee\":{\"bootDebuggingDisabled\":", "}",
		 "x-ms-isolation-tee.bootDebuggingDisabled", SAYS_TRUE},
		{"\"x-ms-isolation-tee\":{\"tdx_is_debuggable\":", "}",
		 "x-ms-isolation-tee.tdx_is_debuggable", SAYS_FALSE},
		{"\"tdx_is_debuggable\":", "", "tdx_is_debuggable", SAYS_FALSE},
		{"\"tdx\":{\"tdx_is_debuggable\":", "}", "tdx.tdx_is_debuggable", SAYS_FALSE},
		{"\"tdx\":{\"tdx_td_attributes_debug\":", "}", "tdx.tdx_td_attributes_debug",
		 SAYS_FALSE},
		{"\"tdx\":{\"dbgstat\":", "}", "tdx.dbgstat", SAYS_DISABLED},
		{"\"sgx_is_debuggable\":", "", "sgx_is_debuggable", SAYS_FALSE},
		{"\"sgx\":{\"sgx_is_debuggable\":", "}", "sgx.sgx_is_debuggable", SAYS_FALSE},
		{"\"sevsnp_is_debuggable\":", "", "sevsnp_is_debuggable", SAYS_FALSE},
		{"\"sevsnp\":{\"sevsnp_is_debuggable\":", "}", "sevsnp.sevsnp_is_debuggable",
		 SAYS_FALSE},
		{"\"nvgpu\":{\"dbgstat\":", "}", "nvgpu.dbgstat", SAYS_DISABLED},
#define EAR(submodule)                                                                             \
	"\"submods\":{\"first\":7,\"second\":{}," submodule                                        \
	":{\"ear.veraison.annotated-evidence\":{"
#define EAR_PATH "submods.cpu0.ear.veraison.annotated-evidence."
		{EAR("\"cpu0\"") "\"snp\":{\"policy_debug_allowed\":", "}}}}",
		 EAR_PATH "snp.policy_debug_allowed", SAYS_FALSE},
		{EAR("\"cpu0\"") "\"az-snp-vtpm\":{\"policy_debug_allowed\":", "}}}}",
		 EAR_PATH "az-snp-vtpm.policy_debug_allowed", SAYS_FALSE},
		{EAR("\"cpu0\"") "\"azsnpvtpm\":{\"policy_debug_allowed\":", "}}}}",
		 EAR_PATH "azsnpvtpm.policy_debug_allowed", SAYS_FALSE},
		{EAR("\"cpu0\"") "\"tdx\":{\"td_attributes\":{\"debug\":", "}}}}}",
		 EAR_PATH "tdx.td_attributes.debug", SAYS_FALSE},
		{EAR("\"cpu0\"") "\"az-tdx-vtpm\":{\"td_attributes\":{\"debug\":", "}}}}}",
		 EAR_PATH "az-tdx-vtpm.td_attributes.debug", SAYS_FALSE},
		{EAR("\"cpu0\"") "\"aztdxvtpm\":{\"td_attributes\":{\"debug\":", "}}}}}",
		 EAR_PATH "aztdxvtpm.td_attributes.debug", SAYS_FALSE},
		{EAR("\"cpu0\"") "\"sgx\":{\"body\":{\"attributes.flags\":", "}}}}}",
		 EAR_PATH "sgx.body.attributes.flags", SAYS_FLAGS},
		/* a name with control characters, one that is too long, one with a dot, the sign
		 * for "every" */
		{EAR("\"a \\u007f\\u001b[1m\xc3\xa9~\"") "\"snp\":{\"policy_debug_allowed\":",
		 "}}}}",
		 "submods.a???[1m??~.ear.veraison.annotated-evidence.snp.policy_debug_allowed",
		 SAYS_FALSE},
		{EAR("\"0123456789012345678901234567890123456789\"") "\"az-tdx-vtpm\":{\"td_"
								     "attributes\":{\"debug\":",
		 "}}}}}",
		 "submods.0123456789012345678901234567890123456789.ear.veraison.annotated-evidence."
		 "az-tdx-"
		 "vtpm.td_attributes.debug",
		 SAYS_FALSE},
		{EAR("\"*\"") "\"snp\":{\"policy_debug_allowed\":", "}}}}",
		 "submods.*.ear.veraison.annotated-evidence.snp.policy_debug_allowed", SAYS_FALSE},
		{"\"tcb-status\":{\"snp\":{\"policy_debug_allowed\":", "}}",
		 "tcb-status.snp.policy_debug_allowed", SAYS_FALSE},
		{"\"tcb-status\":{\"az-snp-vtpm\":{\"policy_debug_allowed\":", "}}",
		 "tcb-status.az-snp-vtpm.policy_debug_allowed", SAYS_FALSE},
		{"\"tcb-status\":{\"azsnpvtpm\":{\"policy_debug_allowed\":", "}}",
		 "tcb-status.azsnpvtpm.policy_debug_allowed", SAYS_FALSE},
		{"\"tcb-status\":{\"tdx\":{\"td_attributes\":{\"debug\":", "}}}",
		 "tcb-status.tdx.td_attributes.debug", SAYS_FALSE},
		{"\"tcb-status\":{\"az-tdx-vtpm\":{\"td_attributes\":{\"debug\":", "}}}",
		 "tcb-status.az-tdx-vtpm.td_attributes.debug", SAYS_FALSE},
		{"\"tcb-status\":{\"aztdxvtpm\":{\"td_attributes\":{\"debug\":", "}}}",
		 "tcb-status.aztdxvtpm.td_attributes.debug", SAYS_FALSE},
		{"\"tcb-status\":{\"sgx\":{\"body\":{\"attributes.flags\":", "}}}",
		 "tcb-status.sgx.body.attributes.flags", SAYS_FLAGS},
		{"\"tcb-status\":{\"snp.policy_debug_allowed\":", "}",
		 "tcb-status.snp.policy_debug_allowed", SAYS_FALSE},
		{"\"tcb-status\":{\"az-snp-vtpm.policy_debug_allowed\":", "}",
		 "tcb-status.az-snp-vtpm.policy_debug_allowed", SAYS_FALSE},
		{"\"tcb-status\":{\"azsnpvtpm.policy_debug_allowed\":", "}",
		 "tcb-status.azsnpvtpm.policy_debug_allowed", SAYS_FALSE},
		{"\"tcb-status\":{\"tdx.td_attributes.debug\":", "}",
		 "tcb-status.tdx.td_attributes.debug", SAYS_FALSE},
		{"\"tcb-status\":{\"az-tdx-vtpm.td_attributes.debug\":", "}",
		 "tcb-status.az-tdx-vtpm.td_attributes.debug", SAYS_FALSE},
		{"\"tcb-status\":{\"aztdxvtpm.td_attributes.debug\":", "}",
		 "tcb-status.aztdxvtpm.td_attributes.debug", SAYS_FALSE},
		{"\"tcb-status\":{\"sgx.body.attributes.flags\":", "}",
		 "tcb-status.sgx.body.attributes.flags", SAYS_FLAGS},
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		for (unsigned harmful = 0; harmful < 2; harmful++) {
			char *list = mint_text("%s", harmful ? rows[i].harmful : rows[i].harmless),
			     *rest = NULL;
			for (char *v = strtok_r(list, " ", &rest); v != NULL;
			     v = strtok_r(NULL, " ", &rest)) {
				set_debug(w, mint_text("%s%s%s", rows[i].before, v, rows[i].after));
				enum kb_err err = run(w);
				if (err != (harmful ? KB_E_DEBUG_EVIDENCE : KB_OK))
					fail_msg("%s %s: %s", rows[i].path, v, kb_err_name(err));
				if (harmful &&
				    strstr(w->text, mint_text("policy        holds, but %s is ",
							      rows[i].path)) == NULL)
					fail_msg("%s %s: %s", rows[i].path, v, w->text);
			}
		}
	}
}

/* Only the places of the table are looked at: the same name elsewhere is some other claim. */
static void test_decide_other_places_are_no_debug_claims(void **state)
{
	struct world *w = *state;

	set_debug(w, "\"x-ms-policy\":{\"is-debuggable\":true},\"debug\":true,\"sevsnp\":{\"tdx_is_"
		     "debuggable\":true},\"sgx\":true,\"tdx\":[],"
		     "\"submods\":{\"ear.veraison.annotated-evidence\":{\"snp\":{\"policy_debug_"
		     "allowed\":true}},"
		     "\"cpu0\":[\"DIGEST\",[\"SHA-256\",\"AAAA\"]]},"
		     "\"*\":{\"ear.veraison.annotated-evidence\":{\"snp\":{\"policy_debug_"
		     "allowed\":true}}}");
	ASSERT_ERR(KB_OK, run(w));
	set_debug(w, "\"submods\":[{},1,[[]]],\"x-ms-isolation-tee\":null,\"sevsnp\":[1,[\"a\"]]");
	ASSERT_ERR(KB_OK, run(w));
}

/* Two authorities: `ours` for the token's issuer and `other` for another one. */
static void set_authorities(struct world *w, const char *ours, const char *other)
{
	rules_free(w->policy);
	ASSERT_ERR(
		KB_OK,
		rules_compile(span_str(mint_text(
				      "{\"version\":\"1.0.0\",\"anyOf\":[{\"authority\":\"" MINT_ISS
				      "\",%s},"
				      "{\"authority\":\"https://other.test\",%s}]}",
				      ours, other)),
			      &w->policy, NULL));
	w->c.policy = w->policy;
}

#define DEBUG_ALLOWED "{\"claim\":\"x-ms-sevsnpvm-is-debuggable\",\"equals\":true}"
#define SECUREBOOT    "{\"claim\":\"secureboot\",\"equals\":true}"

static void test_a38_another_authority_does_not_allow_debugging(void **state)
{
	struct world *w = *state;

	set_debug(w, "\"x-ms-sevsnpvm-is-debuggable\":true");
	set_authorities(w, "\"allOf\":[" SECUREBOOT "]", "\"allOf\":[" DEBUG_ALLOWED "]");
	ASSERT_ERR(KB_E_DEBUG_EVIDENCE, run(w));
	set_authorities(w, "\"allOf\":[" DEBUG_ALLOWED "]", "\"allOf\":[" SECUREBOOT "]");
	ASSERT_ERR(KB_OK, run(w));
	/* the issuer is named twice, and once without a condition on it */
	set_authorities(w,
			"\"allOf\":[" DEBUG_ALLOWED "]},{\"authority\":\"" MINT_ISS
			"/\",\"allOf\":[" SECUREBOOT "]",
			"\"allOf\":[" SECUREBOOT "]");
	ASSERT_ERR(KB_E_DEBUG_EVIDENCE, run(w));
}

/* Which conditions allow it, one policy a line, for a token whose claim at the top is true. */
static void test_a38_only_a_needed_condition_allows_debugging(void **state)
{
	struct world *w = *state;
	static const struct {
		const char *conditions; /* of an allOf */
		enum kb_err want;
	} cases[] = {
		{DEBUG_ALLOWED, KB_OK},
		{SECUREBOOT "," DEBUG_ALLOWED, KB_OK},
		{"{\"claim\":\"x-ms-sevsnpvm-is-debuggable\",\"exists\":true}", KB_OK},
		{"{\"claim\":\"x-ms-sevsnpvm-is-debuggable\",\"notEquals\":false}", KB_OK},
		{"{\"anyOf\":[" DEBUG_ALLOWED "]}", KB_OK},
		{"{\"anyOf\":[" DEBUG_ALLOWED
		 ",{\"claim\":\"x-ms-sevsnpvm-is-debuggable\",\"equals\":false}]}",
		 KB_OK},
		{"{\"anyOf\":[{\"allOf\":[" SECUREBOOT "," DEBUG_ALLOWED
		 "]},{\"claim\":\"secureboot\",\"equals\":false}]}",
		 KB_OK},
		{"{\"anyOf\":[" SECUREBOOT "," DEBUG_ALLOWED "]}",
		 KB_E_DEBUG_EVIDENCE}, /* holds without it */
		{"{\"anyOf\":[" DEBUG_ALLOWED "," SECUREBOOT "]}", KB_E_DEBUG_EVIDENCE},
		{"{\"anyOf\":[" SECUREBOOT
		 ",{\"claim\":\"x-ms-sevsnpvm-is-debuggable\",\"equals\":false}]}",
		 KB_E_DEBUG_EVIDENCE}, /* fails */
		{SECUREBOOT ",{\"anyOf\":[" SECUREBOOT ",{\"allOf\":[" DEBUG_ALLOWED "]}]}",
		 KB_E_DEBUG_EVIDENCE},
		/* another claim with the same value: one `true` in memory, two places */
		{SECUREBOOT, KB_E_DEBUG_EVIDENCE},
		{"{\"claim\":\"x-ms-isolation-tee.x-ms-sevsnpvm-is-debuggable\",\"equals\":true}",
		 KB_E_DEBUG_EVIDENCE}, /* another level */
		{"{\"claim\":\"x-ms-isolation-tee.x-ms-sevsnpvm-is-debuggable\",\"exists\":true}",
		 KB_E_DEBUG_EVIDENCE},
		{"{\"claim\":\"copy.x-ms-sevsnpvm-is-debuggable\",\"equals\":true}",
		 KB_E_DEBUG_EVIDENCE},
		{"{\"claim\":\"x-ms-sevsnpvm-is-debuggable.x\",\"exists\":false}",
		 KB_E_DEBUG_EVIDENCE}, /* reads nothing */
		{"{\"claim\":\"is-debuggable\",\"exists\":false}", KB_E_DEBUG_EVIDENCE},
		{"{\"claim\":\"x-ms-sevsnpvm-is-debuggable\",\"equals\":false}", KB_E_POLICY},
	};

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		bool is_other_level = strstr(cases[i].conditions, "x-ms-isolation-tee") != NULL;
		set_policy(w, cases[i].conditions);
		set_debug(w, mint_text("\"x-ms-sevsnpvm-is-debuggable\":true,\"copy\":{\"x-ms-"
				       "sevsnpvm-is-debuggable\":true}%s",
				       is_other_level ? ",\"x-ms-isolation-tee\":{\"x-ms-sevsnpvm-"
							"is-debuggable\":true}"
						      : ""));
		enum kb_err err = run(w);
		if (err != cases[i].want)
			fail_msg("%s: %s", cases[i].conditions, kb_err_name(err));
	}
}

/* The level counts: a condition that reads nothing, or the other level, says nothing of a claim
 * that is nested. */
static void test_a38_debugging_is_allowed_per_level(void **state)
{
	struct world *w = *state;
	static const char nested[] = "{\"claim\":\"x-ms-isolation-tee.x-ms-sevsnpvm-is-"
				     "debuggable\",\"equals\":\"true\"}";

	set_debug(w, "\"x-ms-isolation-tee\":{\"x-ms-sevsnpvm-is-debuggable\":true}");
	set_policy(w, "{\"claim\":\"x-ms-sevsnpvm-is-debuggable\",\"exists\":false}");
	ASSERT_ERR(KB_E_DEBUG_EVIDENCE, run(w));
	set_policy(w, nested);
	ASSERT_ERR(KB_OK, run(w));
	set_debug(w, "\"x-ms-sevsnpvm-is-debuggable\":true,\"x-ms-isolation-tee\":{\"x-ms-sevsnpvm-"
		     "is-debuggable\":true}");
	ASSERT_ERR(KB_E_DEBUG_EVIDENCE, run(w));
	set_policy(w, mint_text("%s," DEBUG_ALLOWED, nested));
	ASSERT_ERR(KB_OK, run(w));
	set_debug(w, "\"x-ms-sevsnpvm-is-debuggable\":false,\"x-ms-isolation-tee\":{\"x-ms-"
		     "sevsnpvm-is-debuggable\":true}");
	set_policy(w, "{\"claim\":\"x-ms-sevsnpvm-is-debuggable\",\"equals\":false}");
	ASSERT_ERR(KB_E_DEBUG_EVIDENCE, run(w));
}

/* Two facts need two conditions; two names of one fact need one, on a name that says
 * "debuggable". */
static void test_a38_twins_of_a_debug_claim(void **state)
{
	struct world *w = *state;
	static const char sgx[] = "{\"claim\":\"x-ms-sgx-is-debuggable\",\"equals\":true}";

	set_policy(w, sgx);
	set_debug(w, "\"x-ms-sgx-is-debuggable\":true,\"is-debuggable\":true");
	ASSERT_ERR(KB_OK, run(w));
	set_debug(w, "\"x-ms-sgx-is-debuggable\":true,\"x-ms-isolation-tee\":{\"is-debuggable\":"
		     "true}"); /* beside it, no deeper */
	ASSERT_ERR(KB_E_DEBUG_EVIDENCE, run(w));
	/* not the one that was meant */
	set_debug(w, "\"x-ms-sgx-is-debuggable\":true,\"x-ms-sevsnpvm-is-debuggable\":true");
	ASSERT_ERR(KB_E_DEBUG_EVIDENCE, run(w));
	set_policy(w, mint_text("%s," DEBUG_ALLOWED, sgx));
	ASSERT_ERR(KB_OK, run(w));
	set_policy(w, "{\"claim\":\"dbgstat\",\"equals\":\"enabled\"}");
	set_debug(w, "\"dbgstat\":\"enabled\",\"tdx_td_attributes_debug\":true,\"tdx_is_"
		     "debuggable\":true");
	ASSERT_ERR(KB_OK, run(w));
	set_policy(w, "{\"claim\":\"tdx.tdx_is_debuggable\",\"equals\":true}");
	set_debug(w, "\"tdx\":{\"dbgstat\":\"enabled\",\"tdx_td_attributes_debug\":true,\"tdx_is_"
		     "debuggable\":true}");
	ASSERT_ERR(KB_OK, run(w));
	/* either twin suffices, so that neither alone is needed; without both the policy does not
	 * hold */
	set_policy(w, mint_text("{\"anyOf\":[%s,{\"claim\":\"is-debuggable\",\"equals\":true}]}",
				sgx));
	set_debug(w, "\"x-ms-sgx-is-debuggable\":true,\"is-debuggable\":true");
	ASSERT_ERR(KB_OK, run(w));
	/* evidence that contradicts itself: who demands that the one name is false does not allow
	 * the other */
	set_policy(w, "{\"claim\":\"is-debuggable\",\"equals\":false}");
	set_debug(w, "\"x-ms-sgx-is-debuggable\":true,\"is-debuggable\":false");
	ASSERT_ERR(KB_E_DEBUG_EVIDENCE, run(w));
	set_policy(w, "{\"claim\":\"dbgstat\",\"equals\":\"disabled\"}");
	set_debug(w, "\"dbgstat\":\"disabled\",\"tdx_td_attributes_debug\":true");
	ASSERT_ERR(KB_E_DEBUG_EVIDENCE, run(w));
	set_policy(w, "{\"claim\":\"x-ms-azurevm-kerneldebug-enabled\",\"equals\":true}");
	set_debug(w, "\"x-ms-azurevm-kerneldebug-enabled\":true,\"x-ms-azurevm-debuggersdisabled\":"
		     "false");
	ASSERT_ERR(KB_E_DEBUG_EVIDENCE, run(w));
	set_policy(w, "{\"claim\":\"x-ms-azurevm-kerneldebug-enabled\",\"equals\":true},{\"claim\":"
		      "\"x-ms-azurevm-debuggersdisabled\",\"equals\":false}");
	ASSERT_ERR(KB_OK, run(w));
}

/* However the names of a place are joined: it is found, and the path of the note names it. */
static void test_a38_a40_debug_claims_in_every_spelling(void **state)
{
	struct world *w = *state;
	static const struct {
		const char *path, *members;
	} cases[] = {
		{"submods.cpu0.ear.veraison.annotated-evidence.snp.policy_debug_allowed",
		 "\"submods\":{\"cpu0\":{\"ear.veraison.annotated-evidence\":{\"snp\":{"
		 "\"policy_debug_allowed\":true}}}}"},
		{"submods.cpu0.ear.veraison.annotated-evidence.snp.policy_debug_allowed",
		 "\"submods\":{\"cpu0\":{\"ear\":{\"veraison\":{\"annotated-evidence\":{\"snp\":{"
		 "\"policy_debug_allowed\":true}}}}}}"},
		{"submods.cpu0.ear.veraison.annotated-evidence.snp.policy_debug_allowed",
		 "\"submods\":{\"cpu0\":{\"ear.veraison.annotated-evidence.snp.policy_debug_"
		 "allowed\":"
		 "true}}"},
		{"submods.cpu0.ear.veraison.annotated-evidence.snp.policy_debug_allowed",
		 "\"submods\":{\"cpu0.ear\":{\"veraison.annotated-evidence\":{\"snp\":{\"policy_"
		 "debug_allowed\":true}}}}"},
		{"submods.a.b.ear.veraison.annotated-evidence.snp.policy_debug_allowed",
		 "\"submods\":{\"a.b.ear.veraison.annotated-evidence\":{\"snp.policy_debug_"
		 "allowed\":"
		 "true}}"},
		{"submods.c.ear.veraison.annotated-evidence.snp.policy_debug_allowed",
		 "\"submods.c\":{\"ear.veraison.annotated-evidence\":{\"snp\":{\"policy_debug_"
		 "allowed\":true}}}"},
		{"submods.c.ear.veraison.annotated-evidence.tdx.td_attributes.debug",
		 "\"submods.c.ear.veraison\":{\"annotated-evidence.tdx\":{\"td_attributes\":{"
		 "\"debug\":true}}}"},
		{"x-ms-isolation-tee.x-ms-sevsnpvm-is-debuggable",
		 "\"x-ms-isolation-tee.x-ms-sevsnpvm-is-debuggable\":true"},
		{"tdx.tdx_is_debuggable", "\"tdx.tdx_is_debuggable\":true"},
		{"tcb-status.snp.policy_debug_allowed",
		 "\"tcb-status\":{\"snp\":{\"policy_debug_allowed\":true}}"},
		{"tcb-status.snp.policy_debug_allowed",
		 "\"tcb-status.snp\":{\"policy_debug_allowed\":true}"},
		{"tcb-status.tdx.td_attributes.debug",
		 "\"tcb-status\":{\"tdx.td_attributes\":{\"debug\":true}}"},
	};

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		set_policy(w, SECUREBOOT);
		set_debug(w, cases[i].members);
		if (run(w) != KB_E_DEBUG_EVIDENCE)
			fail_msg("%s is not found", cases[i].members);
		if (strstr(w->text, mint_text("holds, but %s is true, and it needs no condition",
					      cases[i].path)) == NULL)
			fail_msg("%s: %s", cases[i].path, w->text);
		set_policy(w, mint_text("{\"claim\":\"%s\",\"equals\":true}", cases[i].path));
		if (run(w) != KB_OK)
			fail_msg("%s cannot be allowed: %s", cases[i].path, w->text);
	}
	/* all in one name */
	set_debug(w, "\"submods.c.ear.veraison.annotated-evidence.snp.policy_debug_allowed\":true");
	set_policy(w, SECUREBOOT);
	ASSERT_ERR(KB_E_DEBUG_EVIDENCE, run(w));
	set_policy(w, "{\"claim\":\"submods.c.ear.veraison.annotated-evidence.snp.policy_debug_"
		      "allowed\",\"equals\":true}");
	ASSERT_ERR(KB_OK, run(w));
	/* a pointer names one place */
	set_policy(w, "{\"claim\":\"/submods/cpu0/ear.veraison.annotated-evidence/snp/"
		      "policy_debug_allowed\",\"equals\":true}");
	set_debug(w, cases[0].members);
	ASSERT_ERR(KB_OK, run(w));
	/* two places that agree */
	set_policy(w, "{\"claim\":\"tcb-status.snp.policy_debug_allowed\",\"equals\":1}");
	set_debug(w, "\"tcb-status\":{\"snp\":{\"policy_debug_allowed\":1},\"snp.policy_debug_"
		     "allowed\":1}");
	ASSERT_ERR(KB_OK, run(w));
	/* and two that do not: whoever demands the harmless one */
	set_debug(w, "\"tcb-status\":{\"snp\":{\"policy_debug_allowed\":1},\"snp.policy_debug_"
		     "allowed\":0}");
	ASSERT_ERR(KB_E_POLICY, run(w));
	set_policy(w, "{\"claim\":\"/tcb-status/snp/policy_debug_allowed\",\"equals\":0}");
	set_debug(w, "\"tcb-status\":{\"snp\":{\"policy_debug_allowed\":0},\"snp.policy_debug_"
		     "allowed\":1}");
	ASSERT_ERR(KB_E_DEBUG_EVIDENCE, run(w));
	assert_non_null(strstr(w->text, "is there more than once, with different values, one of "
					"which is 1\n"));
}

/* In an array it is there, but no condition names it. */
static void test_a40_debug_claims_in_arrays(void **state)
{
	struct world *w = *state;
	static const char snp[] = "{\"ear.veraison.annotated-evidence\":{\"snp\":{\"policy_debug_"
				  "allowed\":true}}}";
	char *places[] = {
		mint_text("\"x-ms-isolation-tee\":[{\"x-ms-sevsnpvm-is-debuggable\":true}]"),
		mint_text("\"x-ms-isolation-tee\":[[[{\"x-ms-sevsnpvm-is-debuggable\":true}]]]"),
		mint_text("\"nvgpu\":[{\"dbgstat\":\"enabled\"}]"),
		mint_text("\"submods\":[%s]", snp),
		mint_text("\"submods\":[1,%s]", snp),
		mint_text("\"submods\":[[%s]]", snp),
		mint_text("\"submods\":{\"cpu0\":[%s]}", snp),
	};

	set_policy(w, SECUREBOOT);
	for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
		set_debug(w, places[i]);
		if (run(w) != KB_E_DEBUG_EVIDENCE)
			fail_msg("%s is not found", places[i]);
		assert_non_null(strstr(w->text, "no policy allows "));
	}
}

/* Each part of a token costs an evaluation of the policy: there is an end to that. */
static void test_a40_parts_that_can_be_debugged_are_bounded(void **state)
{
	struct world *w = *state;
	static const char evidence[] = "{\"ear.veraison.annotated-evidence\":{\"snp\":{\"policy_"
				       "debug_allowed\":true}}}";
	for (unsigned n = KB_MAX_DEBUG_PARTS; n <= KB_MAX_DEBUG_PARTS + 1; n++) {
		char *submods = mint_text("%s", ""), *conditions = mint_text("%s", "");
		for (unsigned i = 0; i < n; i++) {
			submods =
				mint_text("%s%s\"g%u\":%s", submods, i > 0 ? "," : "", i, evidence);
			conditions =
				mint_text("%s%s{\"claim\":\"submods.g%u.ear.veraison.annotated-"
					  "evidence.snp.policy_debug_allowed\",\"equals\":true}",
					  conditions, i > 0 ? "," : "", i);
		}
		set_policy(w, conditions);
		set_debug(w, mint_text("\"submods\":{%s}", submods));
		ASSERT_ERR(n == KB_MAX_DEBUG_PARTS ? KB_OK : KB_E_DEBUG_EVIDENCE, run(w));
	}
}

static void test_a38_the_last_of_many_submodules(void **state)
{
	struct world *w = *state;

	/* the last of many submodules, where all others are harmless */
	char *submods = mint_text("\"cpu0\":{}");
	for (unsigned i = 1; i < 100; i++)
		submods = mint_text("%s,\"gpu%u\":{\"ear.veraison.annotated-evidence\":{\"tdx\":{"
				    "\"td_attributes\":{\"debug\":%s}}}}",
				    submods, i, i == 99 ? "true" : "false");
	set_policy(w, SECUREBOOT);
	set_debug(w, mint_text("\"submods\":{%s}", submods));
	ASSERT_ERR(KB_E_DEBUG_EVIDENCE, run(w));
	assert_non_null(strstr(w->text, "holds, but submods.gpu99.ear."));
}

/* The explanation is of the real evaluation, and its note says which claim it was and what would
 * allow it. */
static void test_decide_explains_the_debug_floor(void **state)
{
	struct world *w = *state;
	static const struct {
		const char *value, *shown, *condition;
	} values[] = {
		{"true", "true", "\"equals\":\"true\""},
		{"\"enabled\"", "enabled", "\"equals\":\"enabled\""},
		{"2.5", "2.5", "\"equals\":\"2.5\""},
		{"null", "null", "\"exists\":true"},
		{"{}", "an object", "\"exists\":true"},
		{"[1]", "an array", "\"exists\":true"},
		{"\"\"", "another text", "\"exists\":true"},
		{"\"a\\\"b\"", "another text", "\"exists\":true"},
		{"\"\\u001b[2J\"", "another text", "\"exists\":true"},
		{"\"012345678901234567890123456789012345678\"",
		 "012345678901234567890123456789012345678",
		 "\"equals\":\"012345678901234567890123456789012345678\""},
		{"\"0123456789012345678901234567890123456789\"", "another text", "\"exists\":true"},
		{"1e300", "1e300", "\"equals\":\"1e300\""},
		{"1e1000000", "another number", "\"exists\":true"},
	};

	for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
		static const char path[] =
			"x-ms-isolation-tee.x-ms-azurevm-hypervisordebug-enabled";
		set_policy(w, SECUREBOOT);
		set_debug(w, mint_text("\"x-ms-isolation-tee\":{\"x-ms-azurevm-hypervisordebug-"
				       "enabled\":%s}",
				       values[i].value));
		ASSERT_ERR(KB_E_DEBUG_EVIDENCE, run(w));
		char *condition = mint_text("{\"claim\":\"%s\",%s}", path, values[i].condition);
		char *note =
			mint_text("✗ policy        holds, but %s is %s, and it needs no condition "
				  "that reads this; to allow it, add to an allOf %s\n",
				  path, values[i].shown, condition);
		if (strstr(w->text, note) == NULL)
			fail_msg("%s\nis not in\n%s", note, w->text);
		set_policy(w, condition); /* what is proposed does it */
		ASSERT_ERR(KB_OK, run(w));
		assert_non_null(strstr(w->text, "✓ policy\n"));
	}
	set_policy(w, "{\"anyOf\":[" SECUREBOOT "," DEBUG_ALLOWED "]}");
	set_debug(w, "\"x-ms-sevsnpvm-is-debuggable\":true");
	ASSERT_ERR(KB_E_DEBUG_EVIDENCE, run(w));
	assert_non_null(strstr(w->text, "✓ policy: any of\n"
					"    ✓ " MINT_ISS "/: all of\n"
					"        ✓ any of\n"
					"            ✓ secureboot equals true\n"
					"            ✓ x-ms-sevsnpvm-is-debuggable equals true\n"
					"\nREFUSE DEBUG_EVIDENCE: the guest can be debugged"));
}

/* A submodule's name is from outside: its control characters are gone before the note is shown in
 * whatever form. */
static void test_decide_debug_note_is_printable(void **state)
{
	struct world *w = *state;
	KB_AUTO(buf) struct buf json;

	set_debug(w, EAR("\"a\\u007f\\u001f \"") "\"snp\":{\"policy_debug_allowed\":true}}}}");
	ASSERT_ERR(KB_E_DEBUG_EVIDENCE, run(w));
	buf_init(&json, 64 * 1024);
	explain_json(w->ex, &json);
	buf_add(&json, "", 1);
	ASSERT_ERR(KB_OK, buf_ok(&json));
	assert_non_null(strstr((const char *)json.p, "holds, but submods.a???.ear.veraison."));
	/* a name of 97 characters is cut, and then it is no path */
	char *name = mint_text("%097d", 0);
	set_debug(w, mint_text("\"submods\":{\"%s\":{\"ear.veraison.annotated-evidence\":{\"snp\":{"
			       "\"policy_debug_allowed\":true}}}}",
			       name));
	ASSERT_ERR(KB_E_DEBUG_EVIDENCE, run(w));
	assert_null(strstr(w->text, name));
	assert_non_null(strstr(w->text, "no path with dots names this claim"));
}

/* Real guests of Azure pass a policy without a condition on debugging, and no longer once one of
 * their claims says otherwise. */
static void test_a38_real_guests_are_not_debuggable(void **state)
{
	struct world *w = *state;
	static const char *const files[] = {
		"tests/vectors/maa/cvm-guest-aks-token-with-client-payload.json",
		"tests/vectors/maa/cvm-guest-sampleAttestationToken.json"};
	static const char *const flags[] = {
		"x-ms-azurevm-kerneldebug-enabled", "x-ms-azurevm-bootdebug-enabled",
		"x-ms-azurevm-hypervisordebug-enabled", "x-ms-azurevm-debuggersdisabled"};

	set_policy(w, "{\"claim\":\"x-ms-isolation-tee.x-ms-compliance-status\",\"equals\":\"azure-"
		      "compliant-cvm\"}," SECUREBOOT);
	for (size_t f = 0; f < 2; f++) {
		struct span text = mint_file(files[f]);
		json_t *claims = json_loadb((const char *)text.p, text.len, 0, NULL);
		assert_non_null(claims);
		json_object_set_new(claims, "iss", json_string(MINT_ISS));
		json_object_set_new(claims, "iat", json_integer(MINT_NOW));
		json_object_set_new(claims, "nbf", json_integer(MINT_NOW));
		json_object_set_new(claims, "exp", json_integer(MINT_NOW + 28800));
		set_claims(w, mint_keep(json_dumps(claims, 0)));
		ASSERT_ERR(KB_OK, run(w));
		for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
			json_t *said = json_object_get(claims, flags[i]);
			assert_true(json_is_boolean(said)); /* each real guest says each of them */
			json_object_set_new(claims, flags[i], json_boolean(!json_is_true(said)));
			set_claims(w, mint_keep(json_dumps(claims, 0)));
			ASSERT_ERR(KB_E_DEBUG_EVIDENCE, run(w));
			json_object_set_new(claims, flags[i], json_boolean(i == 3));
		}
		for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
			/* another system's token without them says nothing of a debugger */
			json_object_del(claims, flags[i]);
		set_claims(w, mint_keep(json_dumps(claims, 0)));
		ASSERT_ERR(KB_OK, run(w));
		json_decref(claims);
	}
}

static void test_a27_wrapping_key(void **state)
{
	struct world *w = *state;
	static const char frame[] = "{\"exp\":%d,\"iat\":%d,\"iss\":\"" MINT_ISS
				    "\",\"x-ms-attestation-type\":\"sevsnpvm\"%s}";

	set_claims(w, mint_text(frame, MINT_NOW + 100, MINT_NOW, ""));
	ASSERT_ERR(KB_E_KEY_BINDING, run(w));
	assert_non_null(strstr(w->text, "✗ wrapping key  /x-ms-runtime/keys is absent\n"));
	set_claims(w, mint_text(frame, MINT_NOW + 100, MINT_NOW,
				mint_text(",\"x-ms-runtime\":{\"keys\":[%s]}",
					  mint_jwk(mint_rsa(1), "kek",
						   ",\"use\":\"enc\",\"d\":\"AQ\""))));
	ASSERT_ERR(KB_E_KEY_PRIVATE, run(w));
}

static void test_decide_checks_in_order(void **state)
{
	struct world *w = *state;
	static char ours[] = "https://broker.test";

	/* Everything is wrong at once; correcting it one by one shows the next. */
	w->c.now_s = 1;
	w->c.issuer = NULL;
	w->c.keys = NULL;
	w->c.policy = NULL;
	w->issuer.audience = ours;
	w->issuer.nonce = NONCE_REQUEST;
	set_token(w, mint_token(mint_rsa(2), "RS256", "k",
				"{\"iss\":\"" MINT_ISS "\",\"tee\":\"sgx\"}"));
	ASSERT_ERR(KB_E_CLOCK_UNSET, run(w));
	w->c.now_s = MINT_NOW;
	ASSERT_ERR(KB_E_ISSUER, run(w));
	w->c.issuer = &w->issuer;
	ASSERT_ERR(KB_E_ISSUER_UNAVAILABLE, run(w));
	w->c.keys = w->keys;
	ASSERT_ERR(KB_E_TOKEN_SIGNATURE, run(w));
	set_claims(w, "{\"iss\":\"" MINT_ISS "\",\"tee\":\"sgx\"}");
	ASSERT_ERR(KB_E_CLAIM_MISSING, run(w));
	set_claims(w, mint_text("{\"iss\":\"" MINT_ISS
				"\",\"tee\":\"sgx\",\"is-debuggable\":true,\"iat\":%d,\"exp\":%d}",
				MINT_NOW, MINT_NOW + 10));
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

/* `explain --at` judges at any time, all of it, and makes no grant. */
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
	ASSERT_ERR(KB_OK,
		   jwks_parse(mint_file("tests/vectors/maa/sgx-2022.certs.json"), &w->keys, NULL));
	w->c.keys = w->keys;
	w->issuer.issuer = iss;
	set_token(w, mint_text("%.*s", (int)len, (const char *)file.p));
	rules_free(w->policy);
	w->policy = NULL;
	ASSERT_ERR(KB_OK,
		   rules_compile(span_str("{\"version\":\"1.0.0\",\"anyOf\":[{\"authority\":"
					  "\"https://cplarryoattestationaad.wus.attest.azure.net/"
					  "\",\"allOf\":["
					  "{\"claim\":\"x-ms-sgx-mrsigner\",\"equals\":"
					  "\"4aea5f9a0ed04b11f889aadfe6a1d376213a29a95a85ce7337ae6f"
					  "7fece6610c\"},"
					  "{\"claim\":\"x-ms-sgx-svn\",\"greater\":0},{\"claim\":"
					  "\"x-ms-sgx-product-id\",\"equals\":\"1\"},"
					  "{\"claim\":\"x-ms-sgx-is-debuggable\",\"equals\":true},{"
					  "\"claim\":\"x-ms-policy.svn\",\"lessOrEquals\":1}]}]}"),
				 &w->policy, NULL));
	w->c.policy = w->policy;
	w->c.is_rehearsal = true;
	/* Everything holds but the key: this enclave bound a signing key, so nothing can be wrapped
	 * to it. */
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
		T(test_a42_grant_of_a_token_with_fractions),
		T(test_f04_clock_never_set),
		T(test_decide_issuer),
		T(test_decide_signature),
		T(test_decide_time),
		T(test_decide_audience_and_nonce),
		T(test_decide_shows_long_texts_cut),
		T(test_e03_decide_policy),
		T(test_a38_debug_evidence),
		T(test_decide_other_places_are_no_debug_claims),
		T(test_a38_another_authority_does_not_allow_debugging),
		T(test_a38_only_a_needed_condition_allows_debugging),
		T(test_a38_debugging_is_allowed_per_level),
		T(test_a38_twins_of_a_debug_claim),
		T(test_a38_a40_debug_claims_in_every_spelling),
		T(test_a40_debug_claims_in_arrays),
		T(test_a40_parts_that_can_be_debugged_are_bounded),
		T(test_a38_the_last_of_many_submodules),
		T(test_decide_explains_the_debug_floor),
		T(test_decide_debug_note_is_printable),
		T(test_a38_real_guests_are_not_debuggable),
		T(test_a27_wrapping_key),
		T(test_decide_checks_in_order),
		T(test_decide_incomplete_case_is_a_bug),
		T(test_decide_rehearsal_makes_no_grant),
		T(test_decide_real_token_at_its_own_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
