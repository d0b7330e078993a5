/* tests/unit/policy/test_scalar.c — which scalars are equal, and which are less than others. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>

#include "base/json.h"
#include "policy/scalar.h"

/* "=" equal, "<", ">" ordered so, "!" equal to nothing, "x" unequal and without order, "o" one
 * number, whatever the text.  Both sides are JSON. */
static void compare(const char *a, const char *b, char want)
{
	char text[512];
	struct json_t *j = NULL;
	int order = 2;

	assert_true(snprintf(text, sizeof text, "[%s,%s]", a, b) < (int)sizeof text);
	if (json_load_strict(span_str(text), sizeof text, &j, NULL) != KB_OK)
		fail_msg("%s", text);
	struct scalar x = scalar_of(json_at(j, 0)), y = scalar_of(json_at(j, 1));
	bool is_equal = scalar_equal(&x, &y), is_ordered = scalar_order(&x, &y, &order);
	bool ok = want == '='   ? is_equal
		  : want == '<' ? !is_equal && is_ordered && order == -1
		  : want == '>' ? !is_equal && is_ordered && order == 1
		  : want == 'o' ? is_ordered && order == 0
		  : want == '0' ? !is_equal && is_ordered && order == 0
				: !is_equal && !is_ordered;
	if (!ok)
		fail_msg("%s %c %s: equal %d, ordered %d, order %d", a, want, b, is_equal,
			 is_ordered, order);
	assert_int_equal(is_equal, scalar_equal(&y, &x));
	json_free(j);
}

static void test_a36_equal_by_canonical_text(void **state)
{
	(void)state;
	compare("true", "\"true\"", '=');
	compare("false", "\"false\"", '=');
	compare("true", "\"True\"", 'x');
	compare("true", "1", 'x');
	compare("false", "0", 'x');
	compare("0", "\"0\"", '=');
	compare("1", "1.0", '=');
	compare("1", "\"1\"", '=');
	compare("1", "\"1.0\"", '0'); /* a string is its own text, but as a number it is one */
	compare("1", "\"01\"", 'x');
	compare("1", "\" 1\"", 'x');
	compare("-0", "0", '=');
	compare("-0.0", "0", '=');
	compare("1e3", "1000", '=');
	compare("0.1", "\"0.1\"", '=');
	compare("0.1", "0.10", '=');
	compare("\"\"", "\"\"", '=');
	compare("\"a\"", "\"A\"", 'x');
	compare("\"\\u00e9\"", "\"e\\u0301\"", 'x'); /* A30: composed and decomposed */
	compare("\"a\"", "\"a\\u200b\"", 'x');
}

static void test_a36_integers_exactly(void **state)
{
	(void)state;
	compare("9007199254740993", "9007199254740992", '>');
	compare("9007199254740993", "9007199254740993", '=');
	compare("9007199254740993", "\"9007199254740992\"", '>');
	compare("9223372036854775807", "9223372036854775806", '>');
	compare("-9223372036854775808", "-9223372036854775807", '<');
	compare("9223372036854775807", "\"9223372036854775808\"", '<');
	compare("9007199254740993", "9007199254740992.0", '>');
	compare("9007199254740992.0", "9007199254740992", '=');
	compare("1e300", "1e300", '=');
	compare("9007199254740991.0", "9007199254740991", '=');
	compare("9223372036854775807", "0.5", '>');
	compare("-9223372036854775808", "-4503599627370495.5", '<');
}

/* Numbers that a double or a 64-bit integer would round: one number is equal to itself, however it
 * is written, and to no other. */
static void test_a41_numbers_exactly(void **state)
{
	(void)state;
	compare("1", "1e0", '=');
	compare("1", "10e-1", '=');
	compare("1", "0.1E1", '=');
	compare("1", "1.000", '=');
	compare("100", "1e2", '=');
	compare("-0e5", "0", '=');
	compare("0e999999999", "0", '=');
	compare("18446744073709551615", "18446744073709551615", '=');
	compare("18446744073709551615", "18446744073709551616", '<');
	compare("18446744073709551615", "\"18446744073709551615\"", '=');
	compare("18446744073709551615", "1.8446744073709551615e19", '=');
	compare("-18446744073709551615", "-18446744073709551616", '>');
	compare("9223372036854775808", "9223372036854775807", '>');
	/* one double, two numbers */
	compare("0.1", "0.1000000000000000055511151231257827", '<');
	compare("1e400", "1e401", '<');
	compare("1e400", "10e399", '=');
	compare("-1e400", "5", '<');
	compare("1e400", "5", '>');
	compare("1e-400", "0", '>');
	compare("1e-400", "1e-401", '>');
	compare("12e10", "120000000000", '=');
	compare("12e60", "12e61", '<');
	compare("0.00000000000000000000000000000000000000000000000012", "12e-50", '=');
	compare("1e40", "\"10000000000000000000000000000000000000000\"", 'o');
	/* as long as a number that is compared may be, and longer */
	compare("9999999999999999999999999999999999999999999999999999999999999999",
		"9999999999999999999999999999999999999999999999999999999999999998", '>');
	compare("10000000000000000000000000000000000000000000000000000000000000000",
		"10000000000000000000000000000000000000000000000000000000000000000", '!');
	compare("1e1000000", "1e1000000", '!');
	compare("1e0000001", "10", '=');
}

static void test_scalar_order(void **state)
{
	(void)state;
	compare("1", "2", '<');
	compare("10", "\"9\"", '>');
	compare("\"10\"", "\"9\"", '>');
	compare("1.5", "1", '>');
	compare("1", "1.5", '<');
	compare("-1.5", "\"-1.25\"", '<');
	compare("0.1", "0.2", '<');
	compare("\"1e2\"", "100", '0');
	compare("\"1.5e1\"", "15", '0');
	compare("\"1E+2\"", "99", '>');
	compare("\"15e-1\"", "2", '<');
	compare("\"0\"", "-1", '>');
	compare("\"-0\"", "1", '<');
	compare("\"0.5\"", "0", '>');
	compare("\"1.50\"", "1.5", '0'); /* another text, the same number */
	compare("0.30000000000000004", "\"0.30000000000000004\"",
		'='); /* one that needs seventeen digits */
}

static void test_scalar_strings_that_are_no_numbers(void **state)
{
	static const char *const bad[] = {
		"\"\"",
		"\"-\"",
		"\"+1\"",
		"\" 1\"",
		"\"1 \"",
		"\"0x10\"",
		"\"010\"",
		"\"inf\"",
		"\"nan\"",
		"\"1.\"",
		"\".5\"",
		"\"1e\"",
		"\"1e+\"",
		"\"1.2.3\"",
		"\"1,5\"",
		"\"one\"",
		"\"true\"",
		"\"1e9999999\"",
		"\"1-\"",
		"\"-a\"",
		"\"111111111111111111111111111111111111111111111111111111111111111111111111\""};

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		compare(bad[i], "1", 'x');
		compare("1", bad[i], 'x');
	}
}

static void test_scalar_none_equals_nothing(void **state)
{
	static const char *const none[] = {"null", "{}", "[]", "[1]", "{\"a\":1}"};

	(void)state;
	for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
		compare(none[i], none[i], '!');
		compare(none[i], "\"null\"", '!');
		compare(none[i], "\"\"", '!');
	}
	struct scalar absent = scalar_of(NULL);
	assert_false(scalar_equal(&absent, &absent));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a36_equal_by_canonical_text),
		cmocka_unit_test(test_a36_integers_exactly),
		cmocka_unit_test(test_a41_numbers_exactly),
		cmocka_unit_test(test_scalar_order),
		cmocka_unit_test(test_scalar_strings_that_are_no_numbers),
		cmocka_unit_test(test_scalar_none_equals_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
