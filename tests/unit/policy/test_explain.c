/* tests/unit/policy/test_explain.c — the explanation shows what was enforced, is readable, and lets
 * no claim write to a terminal. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/json.h"
#include "policy/explain.h"
#include "tests/unit/mint.h"

#define ASSERT_ERR(want, call) assert_string_equal(kb_err_name(call), kb_err_name(want))
#define ISS                    "https://issuer.test"

struct case_ {
	struct explain *ex;
	struct rules *rules;
	struct json_t *claims;
};

static struct case_ evaluate(const char *policy, const char *claims)
{
	struct case_ c = {.ex = explain_new()};

	assert_non_null(c.ex);
	ASSERT_ERR(KB_OK, rules_compile(span_str(policy), &c.rules, NULL));
	ASSERT_ERR(KB_OK, json_load_strict(span_str(claims), KB_MAX_TOKEN, &c.claims, NULL));
	explain_step(c.ex, STEP_POLICY, rules_evaluate(c.rules, span_str(ISS), c.claims, c.ex),
		     NULL);
	return c;
}

static void finish(struct case_ *c)
{
	explain_free(c->ex);
	rules_free(c->rules);
	json_free(c->claims);
}

static char *rendered(const struct explain *ex,
		      void (*render)(const struct explain *, struct buf *))
{
	struct buf b;

	buf_init(&b, 1024 * 1024);
	render(ex, &b);
	buf_add(&b, "", 1);
	ASSERT_ERR(KB_OK, buf_ok(&b));
	return mint_keep(b.p);
}

static const char policy[] =
	"{\"version\":\"1.0.0\",\"anyOf\":[{\"authority\":\"https://other.test/"
	"\",\"allOf\":[{\"claim\":\"x\",\"equals\":1}]},"
	"{\"authority\":\"" ISS
	"/\",\"allOf\":[{\"claim\":\"x-ms-compliance-status\",\"equals\":\"azure-compliant-cvm\"},"
	"{\"anyOf\":[{\"claim\":\"x-ms-attestation-type\",\"equals\":\"tdxvm\"},{\"claim\":\"x-ms-"
	"attestation-type\",\"equals\":\"sevsnpvm\"}]},"
	"{\"claim\":\"svn\",\"greaterOrEquals\":3},{\"claim\":\"debug\",\"equals\":false}]}]}";

static void test_explain_text(void **state)
{
	struct case_ c = evaluate(
		policy,
		"{\"x-ms-attestation-type\":\"sgx\",\"svn\":2,\"debug\":false,"
		"\"x-ms-isolation-tee\":{\"x-ms-compliance-status\":\"azure-compliant-cvm\"}}");

	(void)state;
	explain_step(c.ex, STEP_FORMAT, KB_OK, NULL);
	explain_step(c.ex, STEP_ISSUER, KB_OK, ISS);
	explain_step(c.ex, STEP_SIGNATURE, KB_OK, "RS256, kid k");
	explain_step(c.ex, STEP_TIME, KB_OK, NULL);
	explain_step(c.ex, STEP_AUDIENCE, KB_OK, NULL);
	explain_step(c.ex, STEP_NONCE, KB_OK, NULL);
	assert_string_equal(
		rendered(c.ex, explain_text),
		"✓ format\n"
		"✓ issuer        https://issuer.test\n"
		"✓ signature     RS256, kid k\n"
		"✓ time\n"
		"✓ audience\n"
		"✓ nonce\n"
		"✗ policy\n"
		"– wrapping key\n"
		"\n"
		"✗ policy: any of\n"
		"    – https://other.test/ is another issuer\n"
		"    ✗ https://issuer.test/: all of\n"
		"        ✗ x-ms-compliance-status equals \"azure-compliant-cvm\"   not in the "
		"token at this level; "
		"x-ms-isolation-tee.x-ms-compliance-status is \"azure-compliant-cvm\"\n"
		"        ✗ any of\n"
		"            ✗ x-ms-attestation-type equals \"tdxvm\"   the token says \"sgx\"\n"
		"            ✗ x-ms-attestation-type equals \"sevsnpvm\"   the token says \"sgx\"\n"
		"        ✗ svn greaterOrEquals 3   the token says 2\n"
		"        ✓ debug equals false\n"
		"\n"
		"REFUSE POLICY: every ✗ line above that stands under ✗ lines only must become ✓\n");
	finish(&c);
}

static void test_explain_failings(void **state)
{
	struct case_ c = evaluate(
		policy, "{\"x-ms-attestation-type\":\"sevsnpvm\",\"svn\":{},\"debug\":true}");

	(void)state;
	/* The anyOf holds, so its failing half is no reason. */
	assert_string_equal(rendered(c.ex, explain_failings),
			    "[{\"claim\":\"x-ms-compliance-status\",\"op\":\"equals\",\"expected\":"
			    "\"azure-compliant-cvm\"},"
			    "{\"claim\":\"svn\",\"op\":\"greaterOrEquals\",\"expected\":\"3\","
			    "\"actual\":\"(an object)\"},"
			    "{\"claim\":\"debug\",\"op\":\"equals\",\"expected\":\"false\","
			    "\"actual\":\"true\"}]");
	finish(&c);
}

static void test_explain_failings_are_none(void **state)
{
	struct case_ good = evaluate(policy, "{\"x-ms-attestation-type\":\"sevsnpvm\",\"x-ms-"
					     "compliance-status\":\"azure-compliant-cvm\","
					     "\"svn\":3,\"debug\":false}");
	struct case_ foreign = evaluate("{\"version\":\"1\",\"anyOf\":[{\"authority\":\"https://"
					"a\",\"allOf\":[{\"claim\":\"c\",\"equals\":1}]}]}",
					"{}");
	struct explain *empty = explain_new();

	(void)state;
	assert_string_equal(rendered(good.ex, explain_failings), "[]");
	assert_string_equal(rendered(foreign.ex, explain_failings), "[]");
	assert_string_equal(rendered(empty, explain_failings), "[]");
	explain_reset(good.ex);
	assert_string_equal(rendered(good.ex, explain_failings), "[]");
	explain_free(empty);
	finish(&good);
	finish(&foreign);
}

/* An authority is written with and without its slash: one fails, the other holds, and so does the
 * policy. */
static void test_explain_failings_of_a_release_are_none(void **state)
{
	struct case_ c =
		evaluate("{\"version\":\"1\",\"anyOf\":[{\"authority\":\"" ISS
			 "\",\"allOf\":[{\"claim\":\"c\",\"equals\":1}]},{\"authority\":\"" ISS
			 "/\",\"allOf\":[{\"claim\":\"c\",\"equals\":2}]}]}",
			 "{\"c\":2}");

	(void)state;
	assert_string_equal(rendered(c.ex, explain_failings), "[]");
	finish(&c);
}

/* The ledger's buffer is full: nothing is written before its first byte. */
static void test_explain_failings_without_room(void **state)
{
	struct case_ c = evaluate(policy, "{}");
	struct buf b;

	(void)state;
	buf_init(&b, 0);
	explain_failings(c.ex, &b);
	ASSERT_ERR(KB_E_NOMEM, buf_ok(&b));
	assert_int_equal(b.len, 0);
	buf_free(&b);
	finish(&c);
}

/* Values of an earlier evaluation are not shown beside conditions that this one did not look at. */
static void test_explain_of_another_issuer_shows_no_value(void **state)
{
	struct case_ c = evaluate(policy, "{\"svn\":2,\"debug\":true}");

	(void)state;
	assert_non_null(strstr(rendered(c.ex, explain_json), "\"actual\":\"2\""));
	explain_step(c.ex, STEP_POLICY,
		     rules_evaluate(c.rules, span_str("https://third.test"), c.claims, c.ex), NULL);
	assert_null(strstr(rendered(c.ex, explain_json), "\"actual\""));
	finish(&c);
}

static void test_explain_lists_three_other_issuers(void **state)
{
#define OTHER(n) "{\"authority\":\"https://" n ".test\",\"allOf\":[{\"claim\":\"c\",\"equals\":1}]}"
	struct case_ three = evaluate(
		"{\"version\":\"1\",\"anyOf\":[" OTHER("a") "," OTHER("b") "," OTHER("c") "]}",
		"{}");
	struct case_ four = evaluate("{\"version\":\"1\",\"anyOf\":[" OTHER("a") "," OTHER(
					     "b") "," OTHER("c") "," OTHER("d") "]}",
				     "{}");

	(void)state;
	assert_non_null(strstr(rendered(three.ex, explain_text),
			       "✗ policy: any of\n"
			       "    – https://a.test is another issuer\n"
			       "    – https://b.test is another issuer\n"
			       "    – https://c.test is another issuer\n\n"));
	assert_non_null(strstr(rendered(four.ex, explain_text),
			       "✗ policy: any of\n"
			       "    – 4 authorities are other issuers\n\n"));
	finish(&three);
	finish(&four);
}

static void test_explain_failings_limits(void **state)
{
	char *list = mint_text("{\"claim\":\"c0\",\"equals\":1}"),
	     *longest = mint_keep(calloc(1, 1001));

	(void)state;
	for (unsigned i = 1; i < 2 * KB_MAX_FAILINGS; i++)
		list = mint_text("%s,{\"claim\":\"c%u\",\"equals\":1}", list, i);
	memset(longest, 'v', 1000);
	struct case_ many = evaluate(mint_text("{\"version\":\"1\",\"anyOf\":[{\"authority\":\"" ISS
					       "\",\"allOf\":[%s]}]}",
					       list),
				     mint_text("{\"c0\":\"%s\"}", longest));
	char *text = rendered(many.ex, explain_failings);
	assert_null(strstr(text, mint_text("c%u", KB_MAX_FAILINGS)));
	assert_non_null(strstr(text, mint_text("c%u", KB_MAX_FAILINGS - 1)));
	finish(&many);
	struct case_ wide =
		evaluate(mint_text("{\"version\":\"1\",\"anyOf\":[{\"authority\":\"" ISS
				   "\",\"anyOf\":[{\"claim\":\"c0\",\"equals\":\"w%s\"}]}]}",
				   longest),
			 mint_text("{\"c0\":\"%s\"}", longest));
	longest[128] = '\0';
	assert_non_null(strstr(text, mint_text("\"actual\":\"%s\"}", longest)));
	assert_non_null(strstr(
		rendered(wide.ex, explain_text),
		mint_text("equals \"w%.127s\"…   the token says \"%s\"…\n", longest, longest)));
	finish(&wide);
	struct case_ exact =
		evaluate(mint_text("{\"version\":\"1\",\"anyOf\":[{\"authority\":\"" ISS
				   "\",\"anyOf\":[{\"claim\":\"c0\",\"equals\":\"w%.127s\"}]}]}",
				   longest),
			 mint_text("{\"c0\":\"%s\"}", longest));
	assert_non_null(strstr(
		rendered(exact.ex, explain_text),
		mint_text("equals \"w%.127s\"   the token says \"%s\"\n", longest, longest)));
	finish(&exact);
}

static void test_explain_json_parses_and_tells_the_same(void **state)
{
	struct case_ c =
		evaluate(policy, "{\"x-ms-attestation-type\":\"sgx\",\"svn\":2,\"debug\":false}");
	KB_AUTO(json) struct json_t *j = NULL;
	const struct json_t *node;
	struct span text;

	(void)state;
	explain_step(c.ex, STEP_ISSUER, KB_OK, "a \"note\"");
	char *json = rendered(c.ex, explain_json);
	ASSERT_ERR(KB_OK, json_load_strict(span_str(json), 1024 * 1024, &j, NULL));
	ASSERT_ERR(KB_OK, json_get_str(j, "decision", 10, &text));
	assert_true(span_eq_cstr(text, "refuse"));
	ASSERT_ERR(KB_OK, json_get_str(j, "code", 10, &text));
	assert_true(span_eq_cstr(text, "POLICY"));
	ASSERT_ERR(KB_OK, json_get_arr(j, "steps", &node));
	assert_int_equal(json_len(node), STEP_COUNT);
	assert_non_null(strstr(
		json, "\"policy\":{\"outcome\":\"fails\",\"anyOf\":[{\"outcome\":\"not looked "
		      "at\",\"authority\":\"https://other.test/\","
		      "\"allOf\":[{\"outcome\":\"not looked "
		      "at\",\"claim\":\"x\",\"op\":\"equals\",\"expected\":\"1\"}]},"
		      "{\"outcome\":\"fails\",\"authority\":\"https://issuer.test/\",\"allOf\":["
		      "{\"outcome\":\"fails\",\"claim\":\"x-ms-compliance-status\",\"op\":"
		      "\"equals\",\"expected\":\"azure-compliant-cvm\"},"
		      "{\"outcome\":\"fails\",\"anyOf\":[{\"outcome\":\"fails\",\"claim\":\"x-ms-"
		      "attestation-type\",\"op\":\"equals\","
		      "\"expected\":\"tdxvm\",\"actual\":\"sgx\"},"));
	assert_non_null(strstr(json, "{\"outcome\":\"holds\",\"claim\":\"debug\",\"op\":\"equals\","
				     "\"expected\":\"false\",\"actual\":\"false\"}]}]}}"));
	finish(&c);
}

static void test_explain_json_before_the_policy(void **state)
{
	struct explain *ex = explain_new();
	KB_AUTO(json) struct json_t *j = NULL;

	(void)state;
	explain_step(ex, STEP_FORMAT, KB_OK, NULL);
	explain_step(ex, STEP_ISSUER, KB_E_ISSUER, ISS);
	char *json = rendered(ex, explain_json);
	ASSERT_ERR(KB_OK, json_load_strict(span_str(json), 4096, &j, NULL));
	assert_false(json_has(j, "policy"));
	assert_non_null(strstr(json, "\"outcome\":\"ISSUER\",\"note\":\"" ISS "\"}"));
	assert_non_null(
		strstr(json, "\"outcome\":\"OK\"}")); /* what nothing was said of has no note */
	assert_non_null(strstr(json, "{\"step\":\"signature\",\"outcome\":\"not looked at\"}"));
	char *text = rendered(ex, explain_text);
	assert_non_null(strstr(text, "\nREFUSE ISSUER: "));
	assert_non_null(strstr(text, "– signature\n"));
	explain_free(ex);
}

/* Nothing judged is no release. */
static void test_explain_of_nothing_is_a_refusal(void **state)
{
	struct explain *ex = explain_new();

	(void)state;
	assert_non_null(strstr(rendered(ex, explain_text), "\nREFUSE BUG: "));
	assert_non_null(
		strstr(rendered(ex, explain_json), "{\"decision\":\"refuse\",\"code\":\"BUG\""));
	explain_step(ex, STEP_WRAPPING_KEY, KB_OK, NULL);
	assert_non_null(strstr(rendered(ex, explain_text), "\nRELEASE\n"));
	assert_non_null(
		strstr(rendered(ex, explain_json), "{\"decision\":\"release\",\"code\":\"OK\""));
	explain_reset(ex);
	assert_non_null(strstr(rendered(ex, explain_text), "\nREFUSE BUG: "));
	explain_free(ex);
	explain_free(NULL);
	explain_step(NULL, STEP_TIME, KB_OK, NULL);
}

static void test_explain_no_authority_for_the_issuer(void **state)
{
	struct case_ c = evaluate(
		(const char *)mint_file("tests/vectors/policies/cvm-default-skr-policy.json").p,
		"{}");

	(void)state;
	char *text = rendered(c.ex, explain_text);
	assert_non_null(strstr(text, "✗ policy: any of\n    – 60 authorities are other issuers\n"));
	assert_non_null(strstr(text, "\nREFUSE POLICY: the policy has no authority "
				     "https://issuer.test, which issued this token\n"));
	finish(&c);
}

static void test_explain_claims_of_the_wrong_level(void **state)
{
	struct case_ c =
		evaluate("{\"version\":\"1\",\"anyOf\":[{\"authority\":\"" ISS "\",\"allOf\":["
			 "{\"claim\":\"x-ms-isolation-tee.x-ms-compliance-status\",\"equals\":"
			 "\"azure-compliant-cvm\"},"
			 "{\"claim\":\"x-ms-isolation-tee.nothing\",\"equals\":1},{\"claim\":"
			 "\"nothing\",\"exists\":true}]}]}",
			 "{\"x-ms-compliance-status\":\"azure-compliant-cvm\"}");

	(void)state;
	char *text = rendered(c.ex, explain_text);
	assert_non_null(strstr(text, "not in the token at this level; x-ms-compliance-status is "
				     "\"azure-compliant-cvm\"\n"));
	assert_non_null(strstr(text, "x-ms-isolation-tee.nothing equals 1   not in the token\n"));
	assert_non_null(strstr(text, "✗ nothing exists true   not in the token\n"));
	finish(&c);
}

/* Only a path through x-ms-isolation-tee is looked for without it. */
static void test_explain_guesses_no_other_level(void **state)
{
	struct case_ c =
		evaluate("{\"version\":\"1\",\"anyOf\":[{\"authority\":\"" ISS "\",\"allOf\":["
			 "{\"claim\":\"x-ms-isolation-tea.c\",\"equals\":1},"
			 "{\"claim\":\"x-ms-isolation-tee-c\",\"equals\":1},"
			 "{\"claim\":\"x-ms-isolation-tee\",\"equals\":1}]}]}",
			 "{\"c\":1}");

	(void)state;
	char *text = rendered(c.ex, explain_text);
	assert_non_null(strstr(text, "x-ms-isolation-tea.c equals 1   not in the token\n"));
	assert_non_null(strstr(text, "x-ms-isolation-tee-c equals 1   not in the token\n"));
	assert_non_null(strstr(text, "x-ms-isolation-tee equals 1   not in the token\n"));
	finish(&c);
}

static void test_explain_kinds_of_values(void **state)
{
	struct case_ c = evaluate("{\"version\":\"1\",\"anyOf\":[{\"authority\":\"" ISS
				  "\",\"anyOf\":[{\"claim\":\"o\",\"equals\":1},"
				  "{\"claim\":\"l\",\"equals\":1.5},{\"claim\":\"z\",\"equals\":"
				  "\"1\"},{\"claim\":\"r\",\"equals\":true}]}]}",
				  "{\"o\":{},\"l\":[1],\"z\":null,\"r\":1e1000000}");

	(void)state;
	char *text = rendered(c.ex, explain_text);
	assert_non_null(strstr(text, "o equals 1   the token says (an object)\n"));
	assert_non_null(strstr(text, "l equals 1.5   the token says (an array)\n"));
	assert_non_null(strstr(text, "z equals \"1\"   the token says (null)\n"));
	assert_non_null(
		strstr(text, "r equals true   the token says (a number too large to compare)\n"));
	finish(&c);
}

/* A condition that cannot be read for certain fails, and all three forms say why. */
static void test_a39_explain_shows_readings_that_differ(void **state)
{
	struct case_ c = evaluate(
		"{\"version\":\"1\",\"anyOf\":[{\"authority\":\"" ISS
		"\",\"anyOf\":[{\"claim\":\"a.b\",\"exists\":false},{\"claim\":\"l.b\",\"exists\":"
		"false},{\"claim\":\"n\",\"equals\":0}]}]}",
		"{\"a\":{\"b\":1},\"a.b\":2,\"l\":[{\"b\":1}],\"n\":18446744073709551615}");

	(void)state;
	char *text = rendered(c.ex, explain_text);
	assert_non_null(strstr(text, "✗ a.b exists false   the token says (different values at the "
				     "places that this path names)\n"));
	assert_non_null(strstr(text, "✗ l.b exists false   the token says (an array on the way, in "
				     "which names find nothing)\n"));
	assert_non_null(strstr(text, "✗ n equals 0   the token says 18446744073709551615\n"));
	assert_non_null(strstr(rendered(c.ex, explain_failings),
			       "\"actual\":\"(different values at the places"));
	assert_non_null(strstr(rendered(c.ex, explain_json),
			       "\"actual\":\"(different values at the places"));
	finish(&c);
}

static void test_b17_values_cannot_write_to_a_terminal(void **state)
{
	struct case_ c = evaluate(
		"{\"version\":\"1\",\"anyOf\":[{\"authority\":\"" ISS
		"\",\"anyOf\":[{\"claim\":\"a\\u001b[2Jb\\u007f\",\"equals\":\"\\u001b[31m\"}]}]}",
		"{\"a\\u001b[2Jb\\u007f\":\"\\u001b]0;x\\u0007\\r\\n\\u007f\"}");

	(void)state;
	explain_step(c.ex, STEP_ISSUER, KB_OK, "\x1b[31mnote\n");
	char *text = rendered(c.ex, explain_text);
	assert_null(strchr(text, '\x1b'));
	assert_null(strchr(text, '\a'));
	assert_null(strchr(text, '\r'));
	assert_null(strchr(text, '\x7f'));
	assert_non_null(strstr(text, "✓ issuer        \\u001b[31mnote\\u000a\n"));
	assert_null(strchr(rendered(c.ex, explain_failings), '\x1b'));
	assert_null(strchr(rendered(c.ex, explain_json), '\x1b'));
	finish(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_explain_text),
		cmocka_unit_test(test_explain_failings),
		cmocka_unit_test(test_explain_failings_are_none),
		cmocka_unit_test(test_explain_failings_of_a_release_are_none),
		cmocka_unit_test(test_explain_failings_without_room),
		cmocka_unit_test(test_explain_of_another_issuer_shows_no_value),
		cmocka_unit_test(test_explain_lists_three_other_issuers),
		cmocka_unit_test(test_explain_failings_limits),
		cmocka_unit_test(test_explain_json_parses_and_tells_the_same),
		cmocka_unit_test(test_explain_json_before_the_policy),
		cmocka_unit_test(test_explain_of_nothing_is_a_refusal),
		cmocka_unit_test(test_explain_no_authority_for_the_issuer),
		cmocka_unit_test(test_explain_claims_of_the_wrong_level),
		cmocka_unit_test(test_explain_guesses_no_other_level),
		cmocka_unit_test(test_explain_kinds_of_values),
		cmocka_unit_test(test_a39_explain_shows_readings_that_differ),
		cmocka_unit_test(test_b17_values_cannot_write_to_a_terminal),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
