/* tests/unit/policy/test_rules.c — release policies: what compiles, what each operator means, and
 * that absence never satisfies. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/json.h"
#include "policy/reading.h"
#include "tests/unit/mint.h"

#define ASSERT_ERR(want, call) assert_string_equal(kb_err_name(call), kb_err_name(want))
#define ISS                    "https://issuer.test"

/* ---- compile ---- */

static enum kb_err compile(const char *text, struct policy_fault *fault)
{
	struct rules *r = NULL;
	enum kb_err err = rules_compile(span_str(text), &r, fault);

	assert_true((r != NULL) == (err == KB_OK));
	rules_free(r);
	r = NULL;
	ASSERT_ERR(err, rules_compile(span_str(text), &r, NULL)); /* the fault is optional */
	rules_free(r);
	return err;
}

/* A whole policy round the conditions of one authority. */
static char *policy(const char *conditions)
{
	return mint_text("{\"version\":\"1.0.0\",\"anyOf\":[{\"authority\":\"" ISS
			 "\",\"allOf\":[%s]}]}",
			 conditions);
}

static void test_rules_compile_every_known_policy(void **state)
{
	static const char *const names[] = {"cvm-default-skr-policy", "legacy-condition-value",
					    "sgx-mrsigner-minsvn", "sidecar-aci",
					    "trusted-launch-example"};

	(void)state;
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		struct span text = mint_file(mint_text("tests/vectors/policies/%s.json", names[i]));
		struct policy_fault fault;
		struct rules *r = NULL;
		uint8_t digest[32], want[32];
		ASSERT_ERR(KB_OK, rules_compile(text, &r, &fault));
		assert_true(span_eq(rules_source(r), text));
		assert_int_equal(EVP_Digest(text.p, text.len, want, NULL, EVP_sha256(), NULL), 1);
		rules_digest(r, digest);
		assert_memory_equal(digest, want, 32);
		rules_free(r);
	}
}

static void test_a34_malformed_policies(void **state)
{
	static const char *const bad[] = {
		"[]",
		"{}",
		"{\"version\":\"1.0.0\"}",
		"{\"anyOf\":[{\"authority\":\"a\",\"allOf\":[{\"claim\":\"c\",\"equals\":1}"
		"]}]}", /* no version */
		"{\"version\":1,\"anyOf\":[{\"authority\":\"a\",\"allOf\":[{\"claim\":"
		"\"c\",\"equals\":1}]}]}",
		"{\"version\":\"1.0.0\",\"anyOf\":[]}",
		"{\"version\":\"1.0.0\",\"allOf\":[]}",
		"{\"version\":\"1.0.0\",\"anyOf\":{}}",
		"{\"version\":\"1.0.0\",\"anyOf\":null}",
		"{\"version\":\"1.0.0\",\"anyOf\":[1]}",
		"{\"version\":\"1.0.0\",\"anyOf\":[{}]}",
		"{\"version\":\"1.0.0\",\"oneOf\":[{}]}",
		/* a condition without authority */
		"{\"version\":\"1.0.0\",\"anyOf\":[{\"claim\":\"c\",\"equals\":1}]}",
		"{\"version\":\"1.0.0\",\"anyOf\":[{\"anyOf\":[{\"authority\":\"a\","
		"\"allOf\":[{\"claim\":\"c\",\"equals\":1}]}]}]}",
		"{\"version\":\"1.0.0\",\"anyOf\":[{\"authority\":\"a\"}]}",
		"{\"version\":\"1.0.0\",\"anyOf\":[{\"authority\":\"a\",\"allOf\":[]}]}",
		"{\"version\":\"1.0.0\",\"anyOf\":[{\"authority\":\"a\",\"anyOf\":[]}]}",
		"{\"version\":\"1.0.0\",\"anyOf\":[{\"authority\":\"\",\"allOf\":[{"
		"\"claim\":\"c\",\"equals\":1}]}]}",
		"{\"version\":\"1.0.0\",\"anyOf\":[{\"authority\":7,\"allOf\":[{\"claim\":"
		"\"c\",\"equals\":1}]}]}",
		"{\"version\":\"1.0.0\",\"anyOf\":[{\"authority\":\"a\",\"x\":1,\"allOf\":["
		"{\"claim\":\"c\",\"equals\":1}]}]}",
		("{\"version\":\"1\",\"anyOf\":[{\"authority\":\"a\",\"allOf\":[{\"claim\":"
		 "\"c\",\"equals\":1}],"
		 "\"anyOf\":[{\"claim\":\"c\",\"less\":1}]}]}"),
		"{\"version\":\"1.0.0\",\"allOf\":[{\"authority\":\"a\",\"allOf\":[{"
		"\"claim\":\"c\",\"equals\":1}]}],\"anyOf\":[]}",
		"{\"version\":\"1.0.0\",\"x\":0,\"anyOf\":[{\"authority\":\"a\",\"allOf\":["
		"{\"claim\":\"c\",\"equals\":1}]}]}",
	};

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		struct policy_fault fault = {0};
		if (compile(bad[i], &fault) != KB_E_POLICY_FORMAT)
			fail_msg("%s", bad[i]);
		assert_int_equal(fault.line, 1);
		assert_true(strlen(fault.text) > 10);
	}
}

static void test_a34_malformed_conditions(void **state)
{
	static const char *const bad[] = {
		"1",
		"[]",
		"null",
		"\"claim\"",
		"{}",
		"{\"claim\":\"c\"}",
		"{\"claim\":\"\",\"equals\":1}",
		"{\"claim\":1,\"equals\":1}",
		"{\"claim\":null,\"equals\":1}",
		"{\"equals\":1}",
		"{\"claim\":\"c\",\"in\":[1]}",
		"{\"claim\":\"c\",\"Equals\":1}",
		"{\"claim\":\"c\",\"equals \":1}",
		"{\"claim\":\"c\",\"equals\":1,\"less\":2}",
		"{\"claim\":\"c\",\"equals\":1,\"note\":2}",
		"{\"claim\":\"c\",\"equals\":null}",
		"{\"claim\":\"c\",\"equals\":[]}",
		"{\"claim\":\"c\",\"equals\":{}}",
		"{\"claim\":\"c\",\"equals\":1e1000000}",
		"{\"claim\":\"c\",\"exists\":1}",
		"{\"claim\":\"c\",\"exists\":\"yes\"}",
		"{\"claim\":\"c\",\"exists\":\"\"}",
		"{\"claim\":\"c\",\"less\":\"x\"}",
		"{\"claim\":\"c\",\"lessOrEquals\":true}",
		"{\"claim\":\"c\",\"greater\":\"\"}",
		"{\"claim\":\"c\",\"greaterOrEquals\":\"1 \"}",
		"{\"claim\":\".c\",\"equals\":1}",
		"{\"claim\":\"c.\",\"equals\":1}",
		"{\"claim\":\"a..c\",\"equals\":1}",
		"{\"claim\":\".\",\"equals\":1}",
		"{\"claim\":\"c\",\"anyOf\":[{\"claim\":\"c\",\"equals\":1}]}",
		"{\"claim\":\"c\",\"condition\":\"equals\"}",
		"{\"claim\":\"c\",\"condition\":\"in\",\"value\":1}",
		"{\"claim\":\"c\",\"condition\":1,\"value\":1}",
		"{\"claim\":\"c\",\"value\":1}",
		"{\"claim\":\"c\",\"condition\":\"equals\",\"value\":1,\"equals\":1}",
		"{\"claim\":\"c\",\"condition\":\"equals\",\"value\":null}",
		"{\"claim\":\"c\",\"condition\":\"exists\",\"value\":7}",
		"{\"anyOf\":[]}",
		"{\"allOf\":[]}",
		"{\"anyOf\":1}",
		("{\"anyOf\":[{\"claim\":\"c\",\"equals\":1}],"
		 "\"allOf\":[{\"claim\":\"c\",\"equals\":1}]}"),
		"{\"not\":[{\"claim\":\"c\",\"equals\":1}]}",
		/* no authority inside an authority */
		"{\"authority\":\"a\",\"allOf\":[{\"claim\":\"c\",\"equals\":1}]}",
		"{\"anyOf\":[{\"allOf\":[{\"anyOf\":[{}]}]}]}",
	};

	(void)state;
	ASSERT_ERR(KB_OK, compile(policy("{\"claim\":\"c\",\"equals\":1}"), NULL));
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		if (compile(policy(bad[i]), NULL) != KB_E_POLICY_FORMAT)
			fail_msg("%s", bad[i]);
}

static void test_rules_report_json_faults(void **state)
{
	struct policy_fault fault;

	(void)state;
	ASSERT_ERR(KB_E_JSON_SYNTAX, compile("{\n\"version\": \"1.0.0\",\n}", &fault));
	assert_int_equal(fault.line, 3);
	assert_string_equal(fault.text, "this is not JSON");
	ASSERT_ERR(KB_E_JSON_DUPLICATE, compile("{\"version\":\"1\",\"version\":\"2\"}", &fault));
	assert_string_equal(fault.text, "a member occurs twice in one object");
	char *big = mint_keep(calloc(1, KB_MAX_POLICY + 2));
	memset(big, ' ', KB_MAX_POLICY + 1);
	const char *small = policy("{\"claim\":\"c\",\"equals\":1}");
	memcpy(big, small, strlen(small));
	ASSERT_ERR(KB_E_JSON_SIZE, compile(big, &fault));
	assert_string_equal(fault.text, "the policy is larger than 64 KiB");
	big[KB_MAX_POLICY] = '\0';
	fault.line = 77;
	ASSERT_ERR(KB_OK, compile(big, &fault));
	assert_true(fault.line == 1 && fault.text[0] == '\0');
}

static void test_rules_name_the_line_of_a_fault(void **state)
{
	static const char text[] = "{\n"
				   "  \"version\": \"1.0.0\",\n"
				   "  \"anyOf\": [\n"
				   "    {\n"
				   "      \"authority\": \"https://a/\",\n"
				   "      \"allOf\": [\n"
				   "        {\"claim\": \"x\", \"equals\": 1},\n"
				   "        {\"anyOf\": [\n"
				   "          {\"claim\": \"y\", \"equals\": 1},\n"
				   "          {\"claim\": \"y\",\n"
				   "           \"equal\": 1}\n"
				   "        ]}\n"
				   "      ]\n"
				   "    }\n"
				   "  ]\n"
				   "}\n";
	struct policy_fault fault;

	(void)state;
	ASSERT_ERR(KB_E_POLICY_FORMAT, compile(text, &fault));
	assert_int_equal(fault.line, 11);
	assert_non_null(strstr(fault.text, "\"equal\""));
	/* A name from outside is searched for only up to the length of a claim path. */
	char name[KB_MAX_CLAIM_PATH + 2];
	for (unsigned extra = 0; extra < 2; extra++) {
		memset(name, 'n', sizeof name);
		name[KB_MAX_CLAIM_PATH + extra] = '\0';
		ASSERT_ERR(
			KB_E_POLICY_FORMAT,
			compile(policy(mint_text("\n{\"claim\":\"c\",\n\"%s\":1}", name)), &fault));
		assert_int_equal(fault.line, extra == 0 ? 3 : 2);
	}
	/* A member that is there is named by its own line, one that is missing by the line of the
	 * object that lacks it. */
	ASSERT_ERR(KB_E_POLICY_FORMAT, compile("{\"anyOf\":[],\n\"version\": 1}", &fault));
	assert_int_equal(fault.line, 2);
	ASSERT_ERR(KB_E_POLICY_FORMAT, compile("\n{\"anyOf\":\n[]}", &fault));
	assert_int_equal(fault.line, 2);
	ASSERT_ERR(KB_E_POLICY_FORMAT, compile("{\"version\":\"1\",\n\"allOf\": 7}", &fault));
	assert_int_equal(fault.line, 2);
	ASSERT_ERR(KB_E_POLICY_FORMAT, compile("\n{\"version\":\n\"1\"}", &fault));
	assert_int_equal(fault.line, 2);
	ASSERT_ERR(KB_E_POLICY_FORMAT,
		   compile("{\"version\":\"1\",\"anyOf\":[\n{\"allOf\":[1],\n\"authority\": 7}]}",
			   &fault));
	assert_int_equal(fault.line, 3);
	ASSERT_ERR(KB_E_POLICY_FORMAT,
		   compile("{\"version\":\"1\",\"anyOf\":[\n{\"allOf\":\n[1]}]}", &fault));
	assert_int_equal(fault.line, 2);
}

static void test_rules_faults_say_what_is_wrong(void **state)
{
	static const struct {
		const char *conditions, *says;
	} cases[] = {
		{"7", "an entry of allOf must be an object"},
		{"{\"claim\":\"c\"}", "the condition has no operator"},
		{"{\"claim\":7,\"equals\":1}", "\"claim\" must be a claim's name"},
		{"{\"claim\":\"c\",\"condition\":\"equals\"}", "\"value\" is missing"},
		{"{\"claim\":\"c\",\"in\":1}", "unknown operator \"in\": use equals, "},
		{"{\"claim\":\"c\",\"less\":1,\"less \":1}", "more than one operator"},
		{"{\"claim\":\"c\",\"equals\":null}",
		 "the value must be a string, true, false or a number"},
		{"{\"claim\":\"c\",\"exists\":1}", "\"exists\" takes true or false"},
		{"{\"claim\":\"c\",\"greater\":\"x\"}",
		 "\"greater\" compares numbers, and its value is none"},
		{"{\"claim\":\"a..b\",\"equals\":1}", "a name in the claim path is empty"},
		{"{\"allOf\":[]}", "allOf is empty: it needs at least one entry"},
		{"{}", "anyOf or allOf is missing or is no array"},
		{"{\"anyOf\":7}", "anyOf or allOf is missing or is no array"},
		{"{\"anyOf\":[7],\"allOf\":[7]}", "both anyOf and allOf"},
		{"{\"nor\":[7]}", "unknown member \"nor\""},
	};
	struct policy_fault fault;

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		ASSERT_ERR(KB_E_POLICY_FORMAT, compile(policy(cases[i].conditions), &fault));
		if (strstr(fault.text, cases[i].says) == NULL)
			fail_msg("%s: %s", cases[i].conditions, fault.text);
	}
	ASSERT_ERR(KB_E_POLICY_FORMAT, compile("[]", &fault));
	assert_string_equal(fault.text, "a policy is a JSON object");
	ASSERT_ERR(KB_E_POLICY_FORMAT, compile("{\"anyOf\":[]}", &fault));
	assert_string_equal(fault.text, "\"version\" is missing or no string: write \"1.0.0\"");
}

/* `n` levels of anyOf inside the authority's group. */
static char *nested(unsigned n)
{
	char *inner = mint_text("{\"claim\":\"c\",\"equals\":1}");

	while (n-- > 0)
		inner = mint_text("{\"anyOf\":[%s]}", inner);
	return policy(inner);
}

static void test_a34_depth(void **state)
{
	struct policy_fault fault;

	(void)state;
	ASSERT_ERR(KB_OK, compile(nested(5), &fault)); /* 15 levels of brackets */
	ASSERT_ERR(KB_E_JSON_DEPTH, compile(nested(6), &fault));
	ASSERT_ERR(KB_E_JSON_DEPTH, compile(nested(17), &fault));
	assert_string_equal(fault.text, "nested too deep: at most 16 levels of { and [");
}

static char *conditions(unsigned n)
{
	char *list = mint_keep(calloc(n + 1, 32));
	size_t at = 0;

	for (unsigned i = 0; i < n; i++)
		at += (size_t)sprintf(list + at, "%s{\"claim\":\"c\",\"equals\":1}",
				      i > 0 ? "," : "");
	return list;
}

static void test_a34_too_many_conditions(void **state)
{
	struct policy_fault fault;

	(void)state;
	ASSERT_ERR(KB_OK, compile(policy(conditions(KB_MAX_POLICY_NODES - 1)),
				  &fault)); /* and one authority */
	ASSERT_ERR(KB_E_POLICY_LIMIT, compile(policy(conditions(KB_MAX_POLICY_NODES)), &fault));
	ASSERT_ERR(KB_E_POLICY_LIMIT, compile(policy(conditions(KB_MAX_POLICY_NODES + 1)), &fault));
	ASSERT_ERR(KB_E_POLICY_LIMIT, compile(policy(conditions(2500)), &fault));
	/* Groups count as well. */
	char *groups = mint_text("{\"anyOf\":[%s]}", conditions(1));
	ASSERT_ERR(KB_E_POLICY_LIMIT,
		   compile(policy(mint_text("%s,%s", conditions(KB_MAX_POLICY_NODES - 2), groups)),
			   &fault));
	ASSERT_ERR(KB_OK,
		   compile(policy(mint_text("%s,%s", conditions(KB_MAX_POLICY_NODES - 3), groups)),
			   &fault));
	groups = mint_text("{\"anyOf\":[%s]}", groups);
	ASSERT_ERR(KB_E_POLICY_LIMIT,
		   compile(policy(mint_text("%s,%s", conditions(KB_MAX_POLICY_NODES - 1), groups)),
			   &fault));
}

static void test_rules_limits_of_text(void **state)
{
	char *text = mint_keep(calloc(1, 4096));
	struct policy_fault fault;

	(void)state;
	memset(text, 'x', KB_MAX_POLICY_VALUE + 1);
	ASSERT_ERR(KB_E_POLICY_LIMIT,
		   compile(policy(mint_text("{\"claim\":\"c\",\"equals\":\"%s\"}", text)), &fault));
	text[KB_MAX_POLICY_VALUE] = '\0';
	ASSERT_ERR(KB_OK,
		   compile(policy(mint_text("{\"claim\":\"c\",\"equals\":\"%s\"}", text)), &fault));
	text[KB_MAX_CLAIM_PATH + 1] = '\0';
	ASSERT_ERR(KB_E_POLICY_LIMIT,
		   compile(policy(mint_text("{\"claim\":\"%s\",\"equals\":1}", text)), &fault));
	ASSERT_ERR(KB_E_POLICY_FORMAT,
		   compile(policy(mint_text("{\"claim\":\"c\",\"%s\":1}", text)),
			   &fault)); /* and as an operator's name */
	text[KB_MAX_CLAIM_PATH] = '\0';
	ASSERT_ERR(KB_OK,
		   compile(policy(mint_text("{\"claim\":\"%s\",\"equals\":1}", text)), &fault));
	memset(text, 'x', KB_MAX_ISS + 1);
	text[KB_MAX_ISS + 1] = '\0';
	static const char frame[] = "{\"version\":\"1\",\"anyOf\":[{\"authority\":\"%s\",\"anyOf\":"
				    "[{\"claim\":\"c\",\"equals\":1}]}]}";
	ASSERT_ERR(KB_E_POLICY_LIMIT, compile(mint_text(frame, text), &fault));
	text[KB_MAX_ISS] = '\0';
	ASSERT_ERR(KB_OK, compile(mint_text(frame, text), &fault));
	char *path = mint_text("p");
	for (unsigned i = 1; i < KB_MAX_CLAIM_PARTS; i++)
		path = mint_text("%s.p", path);
	ASSERT_ERR(KB_OK,
		   compile(policy(mint_text("{\"claim\":\"%s\",\"equals\":1}", path)), &fault));
	ASSERT_ERR(KB_E_POLICY_LIMIT,
		   compile(policy(mint_text("{\"claim\":\"%s.p\",\"equals\":1}", path)), &fault));
}

/* ---- evaluate ---- */

static bool holds_for(const char *iss, const char *text, const char *claims)
{
	KB_AUTO(json) struct json_t *j = NULL;
	KB_AUTO(rules) struct rules *r = NULL;
	struct policy_fault fault;

	if (rules_compile(span_str(text), &r, &fault) != KB_OK)
		fail_msg("%s: %s", text, fault.text);
	ASSERT_ERR(KB_OK, json_load_strict(span_str(claims), KB_MAX_TOKEN, &j, NULL));
	enum kb_err err = rules_evaluate(r, span_str(iss), j, NULL);
	assert_true(err == KB_OK || err == KB_E_POLICY);
	return err == KB_OK;
}

/* Does one condition hold of the claims? */
static bool holds(const char *condition, const char *claims)
{
	return holds_for(ISS, policy(condition), claims);
}

static void test_rules_operators(void **state)
{
	static const struct {
		const char *op, *value, *yes, *no; /* claim values, space-separated */
	} cases[] = {
		{"equals", "5", "5 5.0 \"5\"", "4 6 \"5.0\" \"05\" true"},
		{"equals", "\"5\"", "5 \"5\"", "4 \"6\""},
		{"equals", "true", "true \"true\"", "false \"True\" 1"},
		{"equals", "\"false\"", "false \"false\"", "true 0 \"\""},
		{"equals", "\"\"", "\"\"", "\"x\" 0 false"},
		{"notEquals", "5", "4 \"x\" true \"05\"", "5 \"5\" 5.0"},
		{"notEquals", "\"x\"", "\"X\" \"\" 5", "\"x\""},
		{"less", "5", "4 4.9 -1 \"4\"", "5 6 \"5\" \"x\" true"},
		{"lessOrEquals", "5", "5 4 5.0 \"5\"", "6 5.1 \"x\""},
		{"greater", "5", "6 5.1 \"6\"", "5 4 \"5\" \"x\" true"},
		{"greaterOrEquals", "\"5\"", "5 6 \"5\"", "4 4.9 \"x\" \"\""},
		{"greaterOrEquals", "9007199254740993", "9007199254740993 9007199254740994",
		 "9007199254740992"},
		{"equals", "9007199254740993", "9007199254740993",
		 "9007199254740992 9007199254740994"},
		{"exists", "true", "1 \"\" false null {} []", ""},
		{"exists", "\"true\"", "1 null", ""},
		{"exists", "false", "", "1 \"\" false null {} []"},
		{"exists", "\"false\"", "", "1 null"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		for (unsigned side = 0; side < 2; side++) {
			char *list = mint_text("%s", side == 0 ? cases[i].yes : cases[i].no),
			     *rest = NULL;
			for (char *v = strtok_r(list, " ", &rest); v != NULL;
			     v = strtok_r(NULL, " ", &rest)) {
				const char *claims = mint_text("{\"c\":%s}", v);
				bool want = side == 0;
				if (holds(mint_text("{\"claim\":\"c\",\"%s\":%s}", cases[i].op,
						    cases[i].value),
					  claims) != want ||
				    holds(mint_text("{\"claim\":\"c\",\"condition\":\"%s\","
						    "\"value\":%s}",
						    cases[i].op, cases[i].value),
					  claims) != want)
					fail_msg("%s %s of %s", cases[i].op, cases[i].value, v);
			}
		}
	}
}

static void test_a35_absence_satisfies_nothing(void **state)
{
	static const char *const ops[] = {"\"equals\":\"\"",  "\"equals\":\"null\"",
					  "\"equals\":false", "\"equals\":0",
					  "\"notEquals\":1",  "\"notEquals\":\"x\"",
					  "\"less\":1",       "\"lessOrEquals\":0",
					  "\"greater\":-1",   "\"greaterOrEquals\":0",
					  "\"exists\":true"};
	static const char *const claims[] = {
		"{}",         "{\"d\":1}",   "{\"C\":1}",        "{\"c\":null}",
		"{\"c\":{}}", "{\"c\":[1]}", "{\"c\":{\"c\":1}}"};

	(void)state;
	for (size_t i = 0; i < sizeof ops / sizeof *ops; i++) {
		bool is_exists = strstr(ops[i], "exists") != NULL;
		for (size_t j = 0; j < (is_exists ? 3 : sizeof claims / sizeof *claims); j++)
			if (holds(mint_text("{\"claim\":\"c\",%s}", ops[i]), claims[j]))
				fail_msg("%s of %s", ops[i], claims[j]);
	}
	for (size_t j = 0; j < 3; j++)
		assert_true(holds("{\"claim\":\"c\",\"exists\":false}", claims[j]));
	for (size_t j = 3; j < sizeof claims / sizeof *claims; j++)
		assert_false(holds("{\"claim\":\"c\",\"exists\":false}", claims[j]));
}

static void test_rules_claim_paths(void **state)
{
	static const char claims[] = "{\"a\":{\"b\":{\"c\":1}},\"l\":[{\"b\":1}],\"s\":\"a\",\"a."
				     "b\":2,\"x-y_z\":{\"\xc3\xa9\":3}}";

	(void)state;
	assert_true(holds("{\"claim\":\"a.b.c\",\"equals\":1}", claims));
	assert_true(holds("{\"claim\":\"x-y_z.\xc3\xa9\",\"equals\":3}", claims));
	assert_false(holds("{\"claim\":\"a.b.c.d\",\"exists\":true}", claims));
	assert_false(holds("{\"claim\":\"a.c\",\"exists\":true}", claims));
	assert_false(holds("{\"claim\":\"l.b\",\"exists\":true}", claims));
	assert_false(holds("{\"claim\":\"l.0.b\",\"exists\":true}", claims));
	assert_false(holds("{\"claim\":\"l[0].b\",\"exists\":true}", claims));
	assert_false(holds("{\"claim\":\"s.a\",\"exists\":true}", claims));
}

/* Every operator, with what a path with dots may find.  Two values that differ satisfy nothing,
 * neither that they are there nor that they are absent. */
static void test_a39_paths_that_can_be_read_in_several_ways(void **state)
{
	static const char *const ops[] = {"\"exists\":true",    "\"exists\":false",
					  "\"equals\":1",       "\"notEquals\":1",
					  "\"less\":5",         "\"greater\":0",
					  "\"lessOrEquals\":1", "\"greaterOrEquals\":1"};
	static const struct {
		const char *claims, *hold; /* one character an operator */
	} cases[] = {
		/* one reading */
		{"{\"a\":{\"b\":{\"c\":1}}}", "y-y-yyyy"},
		{"{\"a.b.c\":1}", "y-y-yyyy"},
		{"{\"a.b\":{\"c\":1}}", "y-y-yyyy"},
		{"{\"a\":{\"b.c\":1}}", "y-y-yyyy"},
		{"{\"a\":{\"b\":{\"c\":2}}}", "y--yyy-y"},
		/* two that agree: 1, 1.0 and "1" are one value */
		{"{\"a\":{\"b\":{\"c\":1}},\"a.b\":{\"c\":1.0}}", "y-y-yyyy"},
		{"{\"a\":{\"b\":{\"c\":1},\"b.c\":\"1\"}}", "y-y-yyyy"},
		{"{\"a\":{\"b\":{\"c\":{}}},\"a.b.c\":{}}", "y-------"},
		/* two that do not */
		{"{\"a\":{\"b\":{\"c\":1}},\"a.b.c\":2}", "--------"},
		{"{\"a\":{\"b.c\":1},\"a.b\":{\"c\":3}}", "--------"},
		{"{\"a\":{\"b\":{\"c\":1}},\"a.b.c\":null}", "--------"},
		{"{\"a\":{\"b\":{\"c\":1}},\"a.b.c\":{}}", "--------"},
		{"{\"a\":{\"b\":{\"c\":1}},\"a.b.c\":\"1.0\"}", "--------"},
		{"{\"a\":{\"b\":{\"c\":true}},\"a.b.c\":false}", "--------"},
		/* none */
		{"{\"a\":{\"b\":1},\"a.b\":{\"d\":1},\"b.c\":1}", "-y------"},
		{"{\"a\":\"b.c\",\"a.b\":null}", "-y------"},
		/* an array may hold it, unless it has no object */
		{"{\"a\":[{\"b\":{\"c\":1}}]}", "--------"},
		{"{\"a\":{\"b\":[[[{\"c\":1}]]]}}", "--------"},
		{"{\"a\":[{}],\"a.b.c\":1}", "--------"},
		{"{\"a\":[1,\"b\",[[null]],[]]}", "-y------"},
		{"{\"a\":{\"b\":{\"c\":[{}]}}}", "y-------"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		for (size_t o = 0; o < sizeof ops / sizeof *ops; o++)
			if (holds(mint_text("{\"claim\":\"a.b.c\",%s}", ops[o]), cases[i].claims) !=
			    (cases[i].hold[o] == 'y'))
				fail_msg("%s: %s", cases[i].claims, ops[o]);
	/* absent as it is written, but there */
	assert_false(holds("{\"claim\":\"x-ms-policy.debug.enabled\",\"exists\":false}",
			   "{\"x-ms-policy\":{\"debug.enabled\":true}}"));
}

/* A hostile guest chooses claims: the search has a bound, beyond which nothing holds. */
static void test_a39_the_search_for_a_path_is_bounded(void **state)
{
	char *path = mint_text("a"), *wide = mint_text("%s", ""), *tree = mint_text("{}");
	(void)state;
	for (unsigned i = 1; i < KB_MAX_CLAIM_PARTS; i++)
		path = mint_text("%s.a", path);
	/* every way of dividing the path leads somewhere: "a":T,"a.a":T,… */
	for (unsigned depth = 0; depth < 7; depth++) {
		wide = mint_text("\"a\":%s", tree);
		wide = mint_text("%s,\"a.a\":%s", wide, tree);
		tree = mint_text("{%s}", wide);
	}
	int64_t from = mint_cpu_us();
	assert_false(holds(mint_text("{\"claim\":\"%s\",\"exists\":false}", path), tree));
	assert_false(holds(mint_text("{\"claim\":\"%s\",\"exists\":true}", path), tree));
	assert_true(mint_cpu_us() - from < 100000);
	/* more places than are compared */
	char *names[] = {"a.b.c.d.e", "b.c.d.e", "c.d.e", "d.e", "e"};
	char *same = mint_text("{\"e\":1}");
	for (int i = 3; i >= 0; i--) {
		char *members = mint_text("\"%s\":1,\"%.1s\":%s", names[i], names[i], same);
		for (int end = i + 1; end < 4; end++)
			members = mint_text("%s,\"%.*s\":{\"%s\":1}", members, 2 * (end - i) + 1,
					    names[i], names[end + 1]);
		same = mint_text("{%s}", members);
	}
	assert_false(holds("{\"claim\":\"a.b.c.d.e\",\"equals\":1}", same));
	assert_false(holds("{\"claim\":\"a.b.c.d.e\",\"exists\":false}", same));
}

static void test_a39_json_pointers(void **state)
{
	static const char claims[] =
		"{\"a\":{\"b\":1,\"x/y\":2,\"x~y\":3},\"a.b\":4,\"/a/b\":5,\"l\":[{\"b\":6},7],"
		"\"0\":8}";
	struct policy_fault fault;

	(void)state;
	assert_true(holds("{\"claim\":\"/a/b\",\"equals\":1}", claims));
	assert_true(holds("{\"claim\":\"/a/x~1y\",\"equals\":2}", claims));
	assert_true(holds("{\"claim\":\"/a/x~0y\",\"equals\":3}", claims));
	assert_true(holds("{\"claim\":\"/a.b\",\"equals\":4}", claims)); /* that one name */
	assert_true(holds("{\"claim\":\"/~1a~1b\",\"equals\":5}", claims));
	assert_true(holds("{\"claim\":\"/l/0/b\",\"equals\":6}", claims));
	assert_true(holds("{\"claim\":\"/l/1\",\"equals\":7}", claims));
	assert_true(holds("{\"claim\":\"/0\",\"equals\":8}", claims));
	assert_true(holds("{\"claim\":\"/a/c\",\"exists\":false}", claims));
	assert_true(holds("{\"claim\":\"/l/2\",\"exists\":false}", claims));
	assert_false(holds("{\"claim\":\"/l/b\",\"exists\":false}", claims));
	assert_false(holds("{\"claim\":\"/l/b\",\"exists\":true}", claims));
	assert_false(holds("{\"claim\":\"/l/-\",\"exists\":false}", claims));
	static const char *const bad[] = {"/", "//a", "/a/", "/a~", "/a~2/b"};
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		ASSERT_ERR(KB_E_POLICY_FORMAT,
			   compile(policy(mint_text("{\"claim\":\"%s\",\"exists\":false}", bad[i])),
				   &fault));
	char *deep = mint_text("/p");
	for (unsigned i = 1; i < KB_MAX_CLAIM_PARTS; i++)
		deep = mint_text("%s/p", deep);
	ASSERT_ERR(KB_OK,
		   compile(policy(mint_text("{\"claim\":\"%s\",\"equals\":1}", deep)), &fault));
	ASSERT_ERR(KB_E_POLICY_LIMIT,
		   compile(policy(mint_text("{\"claim\":\"%s/p\",\"equals\":1}", deep)), &fault));
}

static void count_warning(void *ctx, const char *text)
{
	assert_non_null(strstr(text, "matches") != NULL ? text : strstr(text, "never match"));
	++*(unsigned *)ctx;
}

static void test_rules_warn_of_paths_that_find_nothing(void **state)
{
	static const struct {
		const char *path;
		bool is_odd;
	} cases[] = {{"/exp/x", true},
		     {"/iss/a/b", true},
		     {"kid", true},
		     {"/alg", true},
		     {"header.alg", true},
		     {"payload.iss", true},
		     {"$.iss", true},
		     {"/claims/x", true},
		     {"exp", false},
		     {"exp.x", false},
		     {"/exp", false},
		     {"x-ms-ver", false},
		     {"payload", false},
		     {"a.kid", false},
		     {"x-ms-runtime.keys", false},
		     {"/x-ms-runtime/keys/0/kid", false}};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct rules *r = NULL;
		unsigned n = 0;
		ASSERT_ERR(
			KB_OK,
			rules_compile(span_str(policy(mint_text("{\"claim\":\"%s\",\"equals\":1}",
								cases[i].path))),
				      &r, NULL));
		rules_warn(r, count_warning, &n);
		if (n != cases[i].is_odd)
			fail_msg("%s", cases[i].path);
		rules_free(r);
	}
}

/* An unread number spoils nothing, and a condition that reads one compares it exactly. */
static void test_a41_conditions_on_large_numbers(void **state)
{
	static const char claims[] = "{\"n\":18446744073709551615,\"r\":0.1,\"huge\":1e400,"
				     "\"long\":1000000000000000000000000000000000000000000000000000"
				     "0000000000000,\"ok\":true}";

	(void)state;
	assert_true(holds("{\"claim\":\"ok\",\"equals\":true}", claims));
	assert_true(holds("{\"claim\":\"n\",\"equals\":18446744073709551615}", claims));
	assert_true(holds("{\"claim\":\"n\",\"equals\":\"18446744073709551615\"}", claims));
	assert_false(holds("{\"claim\":\"n\",\"equals\":18446744073709551614}", claims));
	assert_false(holds("{\"claim\":\"n\",\"equals\":18446744073709551616}", claims));
	assert_true(holds("{\"claim\":\"n\",\"greater\":18446744073709551614}", claims));
	assert_true(holds("{\"claim\":\"r\",\"equals\":0.10}", claims));
	assert_true(holds("{\"claim\":\"r\",\"notEquals\":0.1000000000000000055}", claims));
	assert_true(holds("{\"claim\":\"huge\",\"greater\":1e399}", claims));
	assert_true(holds("{\"claim\":\"long\",\"exists\":true}", claims));
	assert_false(holds("{\"claim\":\"long\",\"equals\":1}", claims));
	assert_false(holds("{\"claim\":\"long\",\"notEquals\":1}", claims));
	assert_false(holds("{\"claim\":\"long\",\"greater\":1}", claims));
	assert_false(holds("{\"claim\":\"long\",\"less\":1}", claims));
}

static void test_a30_confusable_names_and_values(void **state)
{
	(void)state;
	assert_false(holds("{\"claim\":\"status\",\"equals\":\"ok\"}",
			   "{\"st\\u0430tus\":\"ok\"}")); /* Cyrillic a */
	assert_false(holds("{\"claim\":\"status\",\"equals\":\"ok\"}",
			   "{\"status\\u200b\":\"ok\"}")); /* zero width */
	assert_false(holds("{\"claim\":\"\\u00e9\",\"equals\":\"ok\"}",
			   "{\"e\\u0301\":\"ok\"}")); /* composed, decomposed */
	assert_false(holds("{\"claim\":\"status\",\"equals\":\"ok\"}",
			   "{\"status\":\"o\\u212a\"}")); /* Kelvin sign */
	assert_false(
		holds("{\"claim\":\"status\",\"equals\":\"ok\"}", "{\"status\":\"ok\\u200d\"}"));
	assert_true(holds("{\"claim\":\"\\u00e9\",\"equals\":\"\\u00e9\"}",
			  "{\"\xc3\xa9\":\"\xc3\xa9\"}"));
}

static void test_rules_groups(void **state)
{
#define T "{\"claim\":\"c\",\"equals\":1}"
#define F "{\"claim\":\"c\",\"equals\":2}"
	static const struct {
		const char *conditions;
		bool want;
	} cases[] = {
		{T, true},
		{F, false},
		{T "," T, true},
		{T "," F, false},
		{F "," T, false},
		{"{\"anyOf\":[" F "," T "]}", true},
		{"{\"anyOf\":[" F "," F "]}", false},
		{"{\"allOf\":[" T "," F "]}", false},
		{"{\"anyOf\":[" F "," T "]},{\"allOf\":[" T "]}", true},
		{"{\"anyOf\":[" F "," T "]},{\"allOf\":[" T "," F "]}", false},
		{"{\"anyOf\":[{\"allOf\":[" T "," F "]},{\"allOf\":[" T "," T "]}]}", true},
		{"{\"anyOf\":[{\"allOf\":[" T "," F "]},{\"allOf\":[" F "," T "]}]}", false},
		{"{\"allOf\":[{\"anyOf\":[" T "," F "]},{\"anyOf\":[" F "," T "]}]}", true},
		{"{\"anyOf\":[{\"allOf\":[{\"anyOf\":[" F "," T "]}," T "]}," F "]}", true},
		{"{\"anyOf\":[{\"allOf\":[{\"anyOf\":[" F "," F "]}," T "]}," F "]}", false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		if (holds(cases[i].conditions, "{\"c\":1}") != cases[i].want)
			fail_msg("%s", cases[i].conditions);
}

static char *authority(const char *iss, const char *conditions)
{
	return mint_text("{\"authority\":\"%s\",\"anyOf\":[%s]}", iss, conditions);
}

static void test_rules_several_authorities(void **state)
{
	char *any = mint_text("{\"version\":\"1\",\"anyOf\":[%s,%s,%s]}", authority("https://a", F),
			      authority("https://b", T), authority("https://a", T));
	char *all = mint_text("{\"version\":\"1\",\"allOf\":[%s,%s]}", authority("https://a", T),
			      authority("https://b", T));
	char *all_a = mint_text("{\"version\":\"1\",\"allOf\":[%s,%s]}", authority("https://a", T),
				authority("https://a/", T));
	char *all_f = mint_text("{\"version\":\"1\",\"allOf\":[%s,%s]}", authority("https://a", T),
				authority("https://a/", F));

	char *one = mint_text("{\"version\":\"1\",\"allOf\":[%s]}", authority("https://a", T));

	(void)state;
	assert_true(holds_for("https://a", one, "{\"c\":1}"));
	assert_false(holds_for("https://a", one, "{\"c\":2}"));
	assert_true(holds_for("https://a", any, "{\"c\":1}"));
	assert_true(holds_for("https://b", any, "{\"c\":1}"));
	assert_false(holds_for("https://c", any, "{\"c\":1}"));
	assert_true(holds_for("https://a", any, "{\"c\":2}"));
	assert_false(holds_for("https://b", any, "{\"c\":2}"));
	assert_false(holds_for("https://a", all, "{\"c\":1}")); /* one token has one issuer */
	assert_true(holds_for("https://a", all_a, "{\"c\":1}"));
	assert_false(holds_for("https://a", all_f, "{\"c\":1}"));
#undef T
#undef F
}

static void test_rules_authority_and_iss(void **state)
{
	static const struct {
		const char *authority, *iss;
		bool want;
	} cases[] = {
		{"https://a.test", "https://a.test", true},
		{"https://a.test/", "https://a.test", true},
		{"https://a.test", "https://a.test/", true},
		{"https://A.Test", "https://a.test", true},
		{"https://AZ.test", "https://az.test", true},
		{"https://a[.test", "https://a{.test", false},
		{"https://a@b.test", "https://a`b.test", false},
		{"HTTPS://a.test", "https://a.test", true},
		{"https://a.test/Path", "https://A.test/Path/", true},
		{"https://a.test/Path", "https://a.test/path", false},
		{"https://a.test//", "https://a.test", false},
		{"https://a.test", "https://a.test.evil", false},
		{"https://a.test", "https://a.tes", false},
		{"https://a.test", "http://a.test", false},
		{"https://a.test", "https://a.test:443", false},
		{"https://a.test", "https://user@a.test", false},
		{"https://a.test", "", false},
		{"issuer", "issuer", true},
		{"issuer", "Issuer", false}, /* no URL: no part without case */
		{"/", "", true},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		char *text =
			mint_text("{\"version\":\"1\",\"anyOf\":[%s]}",
				  authority(cases[i].authority, "{\"claim\":\"c\",\"equals\":1}"));
		struct rules *r = NULL;
		if (holds_for(cases[i].iss, text, "{\"c\":1}") != cases[i].want)
			fail_msg("%s and %s", cases[i].authority, cases[i].iss);
		ASSERT_ERR(KB_OK, rules_compile(span_str(text), &r, NULL));
		assert_int_equal(rules_name_authority(r, span_str(cases[i].iss)), cases[i].want);
		rules_free(r);
	}
}

static bool holds_without(const char *condition, const struct json_t *claims,
			  const struct claim_set *unread)
{
	struct rules *r = NULL;

	ASSERT_ERR(KB_OK, rules_compile(span_str(policy(condition)), &r, NULL));
	ASSERT_ERR(KB_OK, rules_evaluate(r, span_str(ISS), claims, NULL));
	bool holds = rules_hold_without(r, span_str(ISS), claims, unread);
	rules_free(r);
	return holds;
}

/* A member is identified by object and name: their values are one `true` in memory. */
static void test_rules_hold_without_a_claim(void **state)
{
	static const char top[] = "{\"claim\":\"x\",\"equals\":true}",
			  deep[] = "{\"claim\":\"a.x\",\"equals\":true}";
	KB_AUTO(json) struct json_t *claims = NULL;
	const struct json_t *a = NULL;

	(void)state;
	ASSERT_ERR(KB_OK, json_load_strict(span_str("{\"x\":true,\"y\":true,\"z\":true,\"a\":{"
						    "\"x\":true,\"xx\":true}}"),
					   4096, &claims, NULL));
	ASSERT_ERR(KB_OK, json_get_obj(claims, "a", &a));
	const struct claim_place top_places[] = {{claims, span_str("y")}, {claims, span_str("x")}},
				 a_places[] = {{a, span_str("y")}, {a, span_str("x")}};
	const struct claim_set at_top = {top_places, 2}, in_a = {a_places, 2}, y = {top_places, 1},
			       none = {top_places, 0};
	assert_false(holds_without(top, claims, &at_top));
	assert_true(holds_without(top, claims, &in_a));
	assert_true(holds_without(top, claims, &y));
	assert_true(holds_without(top, claims, &none));
	assert_true(holds_without(deep, claims, &at_top));
	assert_false(holds_without(deep, claims, &in_a));
	assert_true(holds_without("{\"claim\":\"z\",\"equals\":true}", claims, &at_top));
	assert_true(holds_without("{\"claim\":\"a.xx\",\"equals\":true}", claims, &in_a));
	assert_true(holds_without("{\"claim\":\"a\",\"exists\":true}", claims, &in_a));
	assert_true(holds_without(mint_text("{\"anyOf\":[%s,%s]}", top, deep), claims, &at_top));
	assert_false(holds_without(mint_text("{\"allOf\":[%s,%s]}", top, deep), claims, &at_top));
	assert_false(
		holds_without(mint_text("{\"anyOf\":[%s,{\"claim\":\"y\",\"equals\":true}]}", top),
			      claims, &at_top));
}

static void test_rules_real_token_claims(void **state)
{
	const char *guest =
		(const char *)mint_file(
			"tests/vectors/maa/cvm-guest-aks-token-with-client-payload.json")
			.p;
	const char *default_policy =
		(const char *)mint_file("tests/vectors/policies/cvm-default-skr-policy.json").p;
	static const char platform[] = "{\"x-ms-attestation-type\":\"sevsnpvm\",\"x-ms-compliance-"
				       "status\":\"azure-compliant-cvm\"}";

	(void)state;
	assert_true(
		holds_for("https://sharedeus2.eus2.attest.azure.net", default_policy, platform));
	assert_true(holds_for("https://sharedweu.weu.attest.azure.net", default_policy,
			      "{\"x-ms-attestation-type\":\"tdxvm\","
			      "\"x-ms-compliance-status\":\"azure-compliant-cvm\"}"));
	assert_false(holds_for("https://sharedeus2.eus2.attest.azure.net", default_policy,
			       guest)); /* its claims are one level down */
	assert_false(holds_for("https://other.attest.azure.net", default_policy, platform));
	assert_true(
		holds_for("https://sharedeus2.eus2.attest.azure.net",
			  "{\"version\":\"1.0.0\",\"anyOf\":[{\"authority\":\"https://"
			  "sharedeus2.eus2.attest.azure.net/\",\"allOf\":["
			  "{\"claim\":\"x-ms-isolation-tee.x-ms-compliance-status\",\"equals\":"
			  "\"azure-compliant-cvm\"},"
			  "{\"claim\":\"x-ms-isolation-tee.x-ms-sevsnpvm-is-debuggable\","
			  "\"equals\":\"false\"},"
			  "{\"claim\":\"x-ms-isolation-tee.x-ms-sevsnpvm-vmpl\",\"equals\":\"0\"},"
			  "{\"claim\":\"x-ms-isolation-tee.x-ms-sevsnpvm-microcode-svn\","
			  "\"greaterOrEquals\":93},"
			  "{\"claim\":\"secureboot\",\"equals\":true}]}]}",
			  guest));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rules_compile_every_known_policy),
		cmocka_unit_test(test_a34_malformed_policies),
		cmocka_unit_test(test_a34_malformed_conditions),
		cmocka_unit_test(test_rules_report_json_faults),
		cmocka_unit_test(test_rules_name_the_line_of_a_fault),
		cmocka_unit_test(test_rules_faults_say_what_is_wrong),
		cmocka_unit_test(test_a34_depth),
		cmocka_unit_test(test_a34_too_many_conditions),
		cmocka_unit_test(test_rules_limits_of_text),
		cmocka_unit_test(test_rules_operators),
		cmocka_unit_test(test_a35_absence_satisfies_nothing),
		cmocka_unit_test(test_rules_claim_paths),
		cmocka_unit_test(test_a39_paths_that_can_be_read_in_several_ways),
		cmocka_unit_test(test_a39_the_search_for_a_path_is_bounded),
		cmocka_unit_test(test_a39_json_pointers),
		cmocka_unit_test(test_rules_warn_of_paths_that_find_nothing),
		cmocka_unit_test(test_a41_conditions_on_large_numbers),
		cmocka_unit_test(test_a30_confusable_names_and_values),
		cmocka_unit_test(test_rules_groups),
		cmocka_unit_test(test_rules_several_authorities),
		cmocka_unit_test(test_rules_authority_and_iss),
		cmocka_unit_test(test_rules_hold_without_a_claim),
		cmocka_unit_test(test_rules_real_token_claims),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
