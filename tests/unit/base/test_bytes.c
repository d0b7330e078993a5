/* tests/unit/base/test_bytes.c — spans stay within their bytes, buffers within their bound. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>

#include "base/bytes.h"

static void test_span_sub_is_clamped(void **state)
{
	struct span s = span_str("abcdef");

	(void)state;
	assert_true(span_eq_cstr(span_sub(s, 1, 3), "bcd"));
	assert_true(span_eq_cstr(span_sub(s, 4, 100), "ef"));
	assert_int_equal(span_sub(s, 6, 1).len, 0);
	assert_int_equal(span_sub(s, 100, 1).len, 0);
	assert_int_equal(span_sub(s, 1, SIZE_MAX).len, 5);
	assert_int_equal(span_sub(s, SIZE_MAX, SIZE_MAX).len, 0);
}

static void test_span_find(void **state)
{
	struct span s = span_str("a.b.c");

	(void)state;
	assert_int_equal(span_find(s, 0, '.'), 1);
	assert_int_equal(span_find(s, 2, '.'), 3);
	assert_int_equal(span_find(s, 4, '.'), 5);
	assert_int_equal(span_find(s, 99, '.'), 5);
	assert_int_equal(span_find(span_of(NULL, 0), 0, '.'), 0);
}

static void test_span_equal(void **state)
{
	(void)state;
	assert_true(span_eq(span_of(NULL, 0), span_str("")));
	assert_true(span_eq(span_str(NULL), span_str("")));
	assert_false(span_eq(span_str("a"), span_str("ab")));
	assert_false(span_eq_cstr(span_of("a\0b", 3), "a"));
}

static void test_span_dup(void **state)
{
	(void)state;
	KB_AUTO(cstr) char *copy = span_dup(span_str("text"));
	assert_string_equal(copy, "text");
	assert_null(span_dup(span_of("a\0b", 3))); /* a C string would end early */
	KB_AUTO(cstr) char *empty = span_dup(span_of(NULL, 0));
	assert_string_equal(empty, "");
}

/* N, N + 1, 10·N bytes.  After a failure every append fails, until a reset. */
static void test_buf_bound(void **state)
{
	uint8_t block[1000] = {0};

	(void)state;
	KB_AUTO(buf) struct buf b;
	buf_init(&b, 100);
	buf_add(&b, block, 100);
	assert_int_equal(buf_ok(&b), KB_OK);
	assert_int_equal(b.len, 100);
	buf_add(&b, block, 1);
	assert_int_equal(buf_ok(&b), KB_E_NOMEM);
	assert_int_equal(b.len, 100);
	buf_reset(&b);
	assert_int_equal(buf_ok(&b), KB_OK);
	buf_add(&b, block, 1000);
	assert_int_equal(buf_ok(&b), KB_E_NOMEM);
	assert_int_equal(b.len, 0);
	buf_add_str(&b, "x"); /* would fit, but an append failed before */
	assert_int_equal(b.len, 0);
	buf_reset(&b);
	buf_add_str(&b, "x");
	assert_null(buf_reserve(&b, SIZE_MAX)); /* the addition would overflow */
	assert_int_equal(buf_ok(&b), KB_E_NOMEM);
}

static void test_buf_grows(void **state)
{
	(void)state;
	KB_AUTO(buf) struct buf b;
	buf_init(&b, 100000);
	for (unsigned i = 0; i < 100000; i++) {
		uint8_t c = (uint8_t)i;
		buf_add(&b, &c, 1);
	}
	assert_int_equal(buf_ok(&b), KB_OK);
	assert_true(b.cap <= b.max);
	for (unsigned i = 0; i < 100000; i++)
		assert_int_equal(b.p[i], (uint8_t)i);
}

static void test_buf_text(void **state)
{
	char big[513];

	(void)state;
	KB_AUTO(buf) struct buf b;
	buf_init(&b, 4096);
	buf_addf(&b, "%d-%s", 7, "x");
	buf_add_span(&b, span_str("!"));
	buf_add(&b, NULL, 0);
	assert_true(span_eq_cstr(buf_span(&b), "7-x!"));
	memset(big, 'a', 512);
	big[512] = '\0';
	buf_addf(&b, "%s", big); /* 512 bytes of text are one too many */
	assert_int_equal(buf_ok(&b), KB_E_NOMEM);
	buf_reset(&b);
	buf_addf(&b, "%s", big + 1);
	assert_int_equal(buf_ok(&b), KB_OK);
	assert_int_equal(b.len, 511);
}

static void test_buf_free_is_harmless(void **state)
{
	struct buf zero = {0};

	(void)state;
	buf_free(NULL);
	buf_free(&zero);
	buf_add_str(&zero, "x"); /* no bound was ever set: nothing fits */
	assert_int_equal(buf_ok(&zero), KB_E_NOMEM);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_span_sub_is_clamped),
		cmocka_unit_test(test_span_find),
		cmocka_unit_test(test_span_equal),
		cmocka_unit_test(test_span_dup),
		cmocka_unit_test(test_buf_bound),
		cmocka_unit_test(test_buf_grows),
		cmocka_unit_test(test_buf_text),
		cmocka_unit_test(test_buf_free_is_harmless),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
