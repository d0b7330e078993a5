/* tests/unit/base/test_hex.c — hexadecimal text: one form out, the same form in. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
/* cmocka needs the above first */
#include <cmocka.h>

#include "base/hex.h"

static void test_digit_values(void **state)
{
	(void)state;
	static const char digits[] = "0123456789abcdef";

	for (int i = 0; i < 16; i++)
		assert_int_equal(hex_digit((uint8_t)digits[i]), i);
	assert_int_equal(hex_digit('A'), 10);
	assert_int_equal(hex_digit('F'), 15);
	for (unsigned c = 0; c < 256; c++)
		if (c == 0 || strchr("0123456789abcdefABCDEF", (int)c) == NULL)
			assert_int_equal(hex_digit((uint8_t)c), -1);
}

static void test_put_writes_lower_case_and_no_end(void **state)
{
	(void)state;
	char text[7] = "xxxxxx";

	assert_ptr_equal(hex_put(text, span_of("\x0f\xa9", 2)), text + 4);
	assert_memory_equal(text, "0fa9xx", 6);
}

static void test_encode_and_decode(void **state)
{
	(void)state;
	uint8_t all[256], back[256];
	KB_AUTO(buf) struct buf text;

	buf_init(&text, 512);
	for (unsigned i = 0; i < sizeof all; i++)
		all[i] = (uint8_t)i;
	hex_encode(&text, span_of(all, sizeof all));
	assert_int_equal(buf_ok(&text), KB_OK);
	assert_int_equal(text.len, 512);
	assert_true(hex_decode(buf_span(&text), back, sizeof back));
	assert_memory_equal(all, back, sizeof all);
	hex_encode(&text, span_of(all, 1));
	assert_int_equal(buf_ok(&text), KB_E_NOMEM);
}

static void test_decode_takes_one_form_only(void **state)
{
	(void)state;
	static const char *const bad[] = {"",     "0a1",  "0a1b2", "0A1b", "0a1g",
					  " a1b", "0a1 ", "0x1b",  "0a/b", "0a:b"};
	uint8_t out[2];

	assert_true(hex_decode(span_str("0a1b"), out, 2));
	assert_memory_equal(out, "\x0a\x1b", 2);
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		assert_false(hex_decode(span_str(bad[i]), out, 2));
	assert_true(hex_decode(span_str(""), out, 0));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_digit_values),
		cmocka_unit_test(test_put_writes_lower_case_and_no_end),
		cmocka_unit_test(test_encode_and_decode),
		cmocka_unit_test(test_decode_takes_one_form_only),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
