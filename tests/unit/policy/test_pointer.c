/* tests/unit/policy/test_pointer.c — places in the claims (RFC 6901). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/json.h"
#include "base/limits.h"
#include "policy/pointer.h"

static void test_pointer_forms(void **state)
{
	static const struct {
		const char *text;
		bool is_ok;
	} cases[] = {{"/a", true},       {"/x-ms-runtime/keys", true},
		     {"/a~1b/~0", true}, {"/a b/\"", true},
		     {"", false},        {"a", false},
		     {"/", false},       {"//a", false},
		     {"/a/", false},     {"/a//b", false},
		     {"/~", false},      {"/a~2", false},
		     {"/~/a", false},    {"ab", false},
		     {"a/b", false}};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
		assert_int_equal(pointer_ok(span_str(cases[i].text)), cases[i].is_ok);
	assert_false(pointer_ok(span_of("/a~0", 3))); /* what follows is no part of it */
	assert_false(pointer_ok(span_of("/a", 0)));
}

static void test_pointer_limits(void **state)
{
	char text[10 * KB_MAX_CLAIM_PATH + 1];

	(void)state;
	memset(text, 'a', sizeof text);
	text[0] = '/';
	assert_true(pointer_ok(span_of(text, KB_MAX_CLAIM_PATH)));
	assert_false(pointer_ok(span_of(text, KB_MAX_CLAIM_PATH + 1)));
	assert_false(pointer_ok(span_of(text, 10 * KB_MAX_CLAIM_PATH)));
	for (size_t i = 0; i < sizeof text; i += 2)
		text[i] = '/';
	assert_true(pointer_ok(span_of(text, 2 * KB_MAX_CLAIM_PARTS)));
	assert_false(pointer_ok(span_of(text, 2 * (KB_MAX_CLAIM_PARTS + 1))));
	assert_false(pointer_ok(span_of(text, 20 * KB_MAX_CLAIM_PARTS)));
}

static void test_pointer_walks(void **state)
{
	KB_AUTO(json) struct json_t *doc = NULL;
	static const char text[] = "{\"a\":{\"b/c\":{\"~\":1}},\"l\":[{\"a\":1}],\"0\":2}";
	static const char *const nothing[] = {"/b",
					      "/a/c",
					      "/a/b~1c/~0/x",
					      "/l/1",
					      "/l/00",
					      "/l/-",
					      "/l/0/a/b",
					      "/l/4294967296",
					      "/l/99999999999999999999",
					      "/l/a",
					      "",
					      "/~",
					      "a"};

	(void)state;
	assert_int_equal(json_load_strict(span_str(text), sizeof text, &doc, NULL), KB_OK);
	assert_int_equal(json_integer_value(pointer_find(doc, span_str("/a/b~1c/~0"))), 1);
	assert_int_equal(json_integer_value(pointer_find(doc, span_str("/0"))), 2);
	assert_int_equal(json_integer_value(pointer_find(doc, span_str("/l/0/a"))), 1);
	assert_true(json_is_array(pointer_find(doc, span_str("/l"))));
	for (size_t i = 0; i < sizeof nothing / sizeof nothing[0]; i++)
		assert_null(pointer_find(doc, span_str(nothing[i])));
	assert_null(pointer_find(NULL, span_str("/a")));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pointer_forms),
		cmocka_unit_test(test_pointer_limits),
		cmocka_unit_test(test_pointer_walks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
