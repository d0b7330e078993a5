/* tests/unit/base/test_json.c — the strict reader, the fast scanner, the line locator, the
 * writer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>

#include "base/json.h"
#include "base/limits.h"
#include "tests/unit/mint.h"

#define ASSERT_ERR(want, call) assert_string_equal(kb_err_name(call), kb_err_name(want))

static enum kb_err load(const char *text, size_t len)
{
	struct json_t *j = NULL;
	enum kb_err err = json_load_strict(span_of(text, len), 4 * 1024 * 1024, &j, NULL);

	assert_true((j != NULL) == (err == KB_OK));
	json_free(j);
	return err;
}

static struct json_t *good(const char *text)
{
	struct json_t *j = NULL;

	ASSERT_ERR(KB_OK, json_load_strict(span_str(text), KB_MAX_CONFIG, &j, NULL));
	return j;
}

static void test_a11_duplicate_members(void **state)
{
	static const char *const bad[] = {
		"{\"iss\":1,\"iss\":2}",
		"{\"iss\":1,\"\\u0069ss\":2}",
		"{\"a\":{\"b\":1,\"b\":1}}",
		"[{\"a\":[{\"b\":1,\"\\u0062\":1}]}]",
	};

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		ASSERT_ERR(KB_E_JSON_DUPLICATE, load(bad[i], strlen(bad[i])));
	ASSERT_ERR(KB_OK, load("{\"a\":{\"b\":1},\"b\":1}", 19));
}

static void test_a12_depth(void **state)
{
	static const size_t depths[] = {KB_MAX_JSON_DEPTH + 1, 10 * KB_MAX_JSON_DEPTH, 2048, 100000,
					1024 * 1024};

	(void)state;
	char *text = malloc(1024 * 1024 + 64);
	assert_non_null(text);
	memset(text, '[', KB_MAX_JSON_DEPTH);
	memset(text + KB_MAX_JSON_DEPTH, ']', KB_MAX_JSON_DEPTH);
	ASSERT_ERR(KB_OK, load(text, 2 * KB_MAX_JSON_DEPTH));
	memset(text, '[', 1024 * 1024);
	for (size_t i = 0; i < sizeof depths / sizeof *depths; i++) {
		int64_t from = mint_cpu_us();
		ASSERT_ERR(KB_E_JSON_DEPTH, load(text, depths[i]));
		assert_true(mint_cpu_us() - from < 5000);
	}
	free(text);
	ASSERT_ERR(KB_OK, load("[\"[[[[[[[[[[[[[[[[[[[[[[[[\\\"[[[[[[[[[\"]",
			       39)); /* brackets in a string are none */
}

static void test_a13_syntax(void **state)
{
#define BAD(s)                                                                                     \
	{                                                                                          \
		s, sizeof s - 1                                                                    \
	}
	static const struct {
		const char *text;
		size_t len;
	} bad[] = {
		BAD(""),
		BAD(" "),
		BAD("{}\0"),
		BAD("{\"a\0\":1}"),
		BAD("{\"a\":1\0}"),
		BAD("{\"a\":1.5\0,\"b\":2}"),
		BAD("{\"a\":true\0}"),
		BAD("[null\0]"),
		BAD("[1,\0 2]"),
		BAD("{\"a\":\"\0\"}"),
		BAD("{\"a\":\"\\u0000\"}"),
		BAD("{\"\\u0000\":1}"),
		BAD("{\"a\":\"\\ud800\"}"),
		BAD("{\"a\":\"\\udc00\\ud800\"}"),
		BAD("{\"a\":\"\xc0\x80\"}"),     /* overlong */
		BAD("{\"a\":\"\xe0\x80\xaf\"}"), /* overlong */
		BAD("{\"a\":\"\xed\xa0\x80\"}"), /* a surrogate */
		BAD("{\"a\":\"\xf5\x80\x80\x80\"}"),
		BAD("{\"a\":1.5,\"b\":\"\\u0000\"}"), /* no document has the mark of a kept number
						       */
		BAD("{\"a\":\"\\u00001.5\",\"b\":1.5}"),
		BAD("{1.5:2}"),
		BAD("[1.5\"a\"]"),
		BAD("[1.5 2]"),
		BAD("[true1.5]"),
		BAD("[1.5e]"),
		BAD("[1.]"),
		BAD("[01.5]"),
		BAD("[+1.5]"),
		BAD("[1.5.5]"),
		BAD("1.5"),
		BAD("{\"a\":NaN}"),
		BAD("{\"a\":Infinity}"),
		BAD("{\"a\":-}"),
		BAD("{\"a\":01}"),
		BAD("{\"a\":.5}"),
		BAD("{}x"),
		BAD("{}{}"),
		BAD("{}//"),
		BAD("/**/{}"),
		BAD("{\"a\":1,}"),
		BAD("[1,]"),
		BAD("{'a':1}"),
		BAD("{a:1}"),
		BAD("{\"a\":\"\n\"}"),
		BAD("1"), /* a document is an object or an array */
		BAD("\"a\""),
		BAD("null"),
	};
#undef BAD

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		ASSERT_ERR(KB_E_JSON_SYNTAX, load(bad[i].text, bad[i].len));
	ASSERT_ERR(KB_OK, load("\r\n\t {\"a\":\"\\ud83d\\ude00\"} ", 25));
}

/* Every number is read, and is what it was: RFC 8259 section 6 sets no limit. */
static void test_a41_numbers_keep_their_text(void **state)
{
	static const char *const texts[] = {
		"0",
		"-0",
		"9223372036854775807",
		"-9223372036854775808",
		"9223372036854775808",
		"-9223372036854775809",
		"18446744073709551615",
		"1e999",
		"-1E+400",
		"0.1",
		"1.0",
		"0.1000000000000000055511151231257827021181583404541015625",
		"99999999999999999999999999999999999999999999999999999999999999999999999999999999"};
	char text[512], storage[JSON_INT_TEXT];
	struct span number, s;
	int64_t n;

	(void)state;
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
		KB_AUTO(buf) struct buf b;
		buf_init(&b, 512);
		snprintf(text, sizeof text, "{\"a\":%s,\"b\":[\"x\",%s],\"c\":\"%s\"}", texts[i],
			 texts[i], texts[i]);
		KB_AUTO(json) struct json_t *j = good(text);
		bool is_small = i < 4;
		assert_true(json_as_number(json_member(j, "a"), storage, &number));
		if (i != 1) /* -0 is 0 */
			assert_true(span_eq_cstr(number, texts[i]));
		ASSERT_ERR(is_small ? KB_OK : KB_E_JSON_TYPE, json_get_int(j, "a", &n));
		ASSERT_ERR(KB_E_JSON_TYPE, json_get_str(j, "a", 256, &s));
		ASSERT_ERR(KB_OK, json_get_str(j, "c", 256, &s));
		assert_true(span_eq_cstr(s, texts[i]));
		assert_false(json_as_number(json_member(j, "c"), storage, &number));
		json_write(&b, j);
		if (i != 1)
			assert_true(span_eq_cstr(buf_span(&b), text));
	}
	KB_AUTO(json) struct json_t *j = good("{\"\\\\u0000\":[1.5,\"\\\"\\\\u0000\"]}");
	KB_AUTO(buf) struct buf b;
	buf_init(&b, 256);
	json_write(&b, j);
	assert_true(span_eq_cstr(buf_span(&b), "{\"\\\\u0000\":[1.5,\"\\\"\\\\u0000\"]}"));
}

static void test_a43_encodings(void **state)
{
	static const struct {
		const char *text;
		size_t len;
	} wide[] = {{"\xff\xfe{\0}\0", 6},
		    {"\xfe\xff\0{\0}", 6},
		    {"{\0}\0", 4},
		    {"\0{\0}", 4},
		    {"\xff\xfe\0\0{\0\0\0}\0\0\0", 12},
		    {"\0\0\xfe\xff\0\0\0{\0\0\0}", 12},
		    {"\0\0\0{\0\0\0}", 8},
		    {"{\0\0\0}\0\0\0", 8}};
	struct json_t *j = NULL;
	unsigned line = 0;

	(void)state;
	ASSERT_ERR(KB_OK, load("\xef\xbb\xbf{}", 5));
	ASSERT_ERR(KB_E_JSON_SYNTAX, load("\xef\xbb\xbf\xef\xbb\xbf{}", 8)); /* one of them */
	ASSERT_ERR(KB_E_JSON_SYNTAX, load("{\xef\xbb\xbf}", 5));
	ASSERT_ERR(KB_E_JSON_SYNTAX, load("\xef\xbb\xbf", 3));
	ASSERT_ERR(KB_E_JSON_SYNTAX, load("\xef\xbb{}", 4));
	for (size_t i = 0; i < sizeof wide / sizeof *wide; i++)
		ASSERT_ERR(KB_E_ENCODING, load(wide[i].text, wide[i].len));
	ASSERT_ERR(KB_E_JSON_SYNTAX,
		   json_load_strict(span_str("\xef\xbb\xbf{\n\"a\":x}"), 100, &j, &line));
	assert_int_equal(line, 2);
}

static void test_json_size(void **state)
{
	struct json_t *j = NULL;

	(void)state;
	ASSERT_ERR(KB_OK, json_load_strict(span_str("[  ]"), 4, &j, NULL));
	json_free(j);
	ASSERT_ERR(KB_E_JSON_SIZE, json_load_strict(span_str("[   ]"), 4, &j, NULL));
	assert_null(j);
}

static void test_json_names_the_line_of_a_fault(void **state)
{
	struct json_t *j = NULL;
	unsigned line = 0;

	(void)state;
	ASSERT_ERR(KB_E_JSON_SYNTAX,
		   json_load_strict(span_str("{\n\n  \"a\": x\n}"), 100, &j, &line));
	assert_int_equal(line, 3);
}

static void test_json_getters_say_what_is_wrong(void **state)
{
	KB_AUTO(json)
	struct json_t *j = good("{\"s\":\"text\",\"e\":\"\",\"i\":-5,\"r\":1e3,\"b\":true,\"o\":{},"
				"\"l\":[1],\"z\":null}");
	const struct json_t *child;
	struct span s;
	int64_t n;
	bool b;

	(void)state;
	ASSERT_ERR(KB_OK, json_get_str(j, "s", 4, &s));
	assert_true(span_eq_cstr(s, "text"));
	ASSERT_ERR(KB_E_JSON_LENGTH, json_get_str(j, "s", 3, &s));
	ASSERT_ERR(KB_E_JSON_LENGTH, json_get_str(j, "e", 3, &s));
	ASSERT_ERR(KB_E_JSON_MISSING, json_get_str(j, "x", 3, &s));
	ASSERT_ERR(KB_E_JSON_TYPE, json_get_str(j, "i", 3, &s));
	ASSERT_ERR(KB_E_JSON_TYPE, json_get_str(j, "z", 3, &s));
	ASSERT_ERR(KB_OK, json_get_int(j, "i", &n));
	assert_int_equal(n, -5);
	ASSERT_ERR(KB_E_JSON_TYPE, json_get_int(j, "r", &n));
	ASSERT_ERR(KB_E_JSON_MISSING, json_get_int(j, "x", &n));
	ASSERT_ERR(KB_OK, json_get_bool(j, "b", &b));
	assert_true(b);
	ASSERT_ERR(KB_E_JSON_TYPE, json_get_bool(j, "s", &b));
	ASSERT_ERR(KB_E_JSON_MISSING, json_get_bool(j, "x", &b));
	ASSERT_ERR(KB_OK, json_get_obj(j, "o", &child));
	ASSERT_ERR(KB_E_JSON_TYPE, json_get_obj(j, "l", &child));
	ASSERT_ERR(KB_E_JSON_MISSING, json_get_obj(j, "x", &child));
	ASSERT_ERR(KB_OK, json_get_arr(j, "l", &child));
	assert_int_equal(json_len(child), 1);
	assert_null(json_at(child, 1));
	ASSERT_ERR(KB_E_JSON_TYPE, json_get_arr(j, "o", &child));
	ASSERT_ERR(KB_E_JSON_MISSING, json_get_arr(j, "x", &child));
	ASSERT_ERR(KB_E_JSON_MISSING, json_as_str(NULL, 3, &s));
	assert_true(json_has(j, "z") && json_has_null(j, "z") && !json_has(j, "x") &&
		    !json_has_null(j, "x"));
}

static void test_json_only_names_the_unknown_member(void **state)
{
	KB_AUTO(json) struct json_t *j = good("{\"a\":1,\"b\":2}");
	static const char *const both[] = {"a", "b", "c", NULL}, *const one[] = {"a", NULL};
	const char *unknown = NULL;

	(void)state;
	ASSERT_ERR(KB_OK, json_only(j, both, &unknown));
	ASSERT_ERR(KB_E_JSON_UNKNOWN, json_only(j, one, &unknown));
	assert_string_equal(unknown, "b");
	ASSERT_ERR(KB_E_JSON_UNKNOWN, json_only(j, one, NULL));
}

static void test_json_line_follows_a_path(void **state)
{
	struct span t = span_str(
		"{\n \"a\": 1,\n \"l\": [\n  {\"x\": \"}\"},\n  {\n   \"y\": [1,\n2]}\n ]\n}\n");

	(void)state;
	assert_int_equal(json_line(t, ""), 1);
	assert_int_equal(json_line(t, "a"), 2);
	assert_int_equal(json_line(t, "l"), 3);
	assert_int_equal(json_line(t, "l[0].x"), 4);
	assert_int_equal(json_line(t, "l[1]"), 5);
	assert_int_equal(json_line(t, "l[1].y"), 6);
	assert_int_equal(json_line(t, "l[1].y[1]"), 7);
}

static void test_json_writes_only_what_parses(void **state)
{
	KB_AUTO(buf) struct buf b;

	(void)state;
	buf_init(&b, 4096);
	buf_add_str(&b, "{");
	json_add_member(&b, "a\"b", span_of("\x00\x1f\"\\\x7f\xc3\xa9\xff\xed\xa0\x80", 11));
	json_add_int(&b, "n", INT64_MIN);
	json_add_bool(&b, "t", true);
	json_add_b64url(&b, "u", span_of("\xfb\xff", 2));
	json_add_name(&b, "l");
	buf_add_str(&b, "[]}");
	ASSERT_ERR(KB_OK, buf_ok(&b));
	assert_true(span_eq_cstr(
		buf_span(&b),
		"{\"a\\\"b\":\"\\ufffd\\u001f\\\"\\\\\\u007f\xc3\xa9\\ufffd\\ufffd\\ufffd\\ufffd\","
		"\"n\":-9223372036854775808,\"t\":true,\"u\":\"-_8\",\"l\":[]}"));
}

static void test_json_write_round_trips(void **state)
{
	static const char text[] = "{\"b\":[1,true,null,\"x\"],\"a\":{\"z\":-1}}";
	KB_AUTO(json) struct json_t *j = good(text);
	KB_AUTO(buf) struct buf b;

	(void)state;
	buf_init(&b, 4096);
	json_write(&b, j);
	assert_true(span_eq_cstr(buf_span(&b), text));
	buf_reset(&b);
	json_write_pretty(&b, j);
	assert_int_equal(b.p[b.len - 1], '\n');
}

static size_t scan(const char *text, struct json_pair *pairs)
{
	return json_scan_plain(span_str(text), pairs, 3);
}

static void test_scan_plain_reads_flat_strings(void **state)
{
	struct json_pair p[3];

	(void)state;
	assert_int_equal(scan(" { \"a\" : \"x.y-z_9\" ,\r\n\t\"\":\"\" } ", p), 2);
	assert_true(span_eq_cstr(p[0].name, "a"));
	assert_true(span_eq_cstr(p[0].value, "x.y-z_9"));
	assert_int_equal(p[1].name.len, 0);
	assert_int_equal(p[1].value.len, 0);
	assert_int_equal(scan("{\"a\":\"1\",\"b\":\"2\",\"c\":\"3\"}", p), 3);
}

static void test_scan_plain_leaves_all_else_to_the_parser(void **state)
{
	static const char *const other[] = {"",
					    " ",
					    "[]",
					    "{}",
					    "{",
					    "{\"",
					    "{\"a",
					    "{\"a\"",
					    "{\"a\":",
					    "{\"a\":\"",
					    "{\"a\":\"1\"",
					    "{\"a\":\"1\",",
					    "{\"a\":\"1\",}",
					    "{\"a\":1}",
					    "{\"a\":null}",
					    "{\"a\":{}}",
					    "{\"a\":\"\\n\"}",
					    "{\"\\u0061\":\"1\"}",
					    "{\"a\":\"\xc3\xa9\"}",
					    "{\"a\":\"\x7f\"}",
					    "{\"a\":\"\n\"}",
					    "{\"a\":\"1\",\"a\":\"2\"}",
					    "{\"a\" \"1\"}",
					    "{\"a\":\"1\"} x",
					    "{\"a\":\"1\"}}",
					    "{,\"a\":\"1\"}",
					    "\xef\xbb\xbf{\"a\":\"1\"}",
					    "{a:\"1\"}",
					    "{\"a\":\"1\",\"b\":\"2\",\"c\":\"3\",\"d\":\"4\"}"};
	struct json_pair p[3];

	(void)state;
	for (size_t i = 0; i < sizeof other / sizeof *other; i++)
		if (scan(other[i], p) != 0)
			fail_msg("%s is taken", other[i]);
	assert_int_equal(json_scan_plain(span_of("{\"a\":\"\0\"}", 9), p, 3), 0);
	assert_int_equal(json_scan_plain(span_of("{\"a\":\"1\"}\0", 10), p, 3), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_scan_plain_reads_flat_strings),
		cmocka_unit_test(test_scan_plain_leaves_all_else_to_the_parser),
		cmocka_unit_test(test_a11_duplicate_members),
		cmocka_unit_test(test_a12_depth),
		cmocka_unit_test(test_a13_syntax),
		cmocka_unit_test(test_a41_numbers_keep_their_text),
		cmocka_unit_test(test_a43_encodings),
		cmocka_unit_test(test_json_size),
		cmocka_unit_test(test_json_names_the_line_of_a_fault),
		cmocka_unit_test(test_json_getters_say_what_is_wrong),
		cmocka_unit_test(test_json_only_names_the_unknown_member),
		cmocka_unit_test(test_json_line_follows_a_path),
		cmocka_unit_test(test_json_writes_only_what_parses),
		cmocka_unit_test(test_json_write_round_trips),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
