/* tests/unit/base/test_terminal.c — no character on which a terminal acts comes out of any of the
 * writers of strangers' text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka needs the above first */
#include <cmocka.h>

#include <stdio.h>
#include <unistd.h>

#include "base/json.h"
#include "base/log.h"
#include "base/terminal.h"

/* First and last of each range, and their neighbours outside. */
static const struct {
	uint32_t c;
	bool is_active;
	const char *utf8, *escape;
} row[] = {
	{0x01, true, "\x01", "\\u0001"},
	{0x0a, true, "\n", "\\u000a"},
	{0x1b, true, "\x1b", "\\u001b"},
	{0x1f, true, "\x1f", "\\u001f"},
	{0x20, false, " ", NULL},
	{0x7e, false, "~", NULL},
	{0x7f, true, "\x7f", "\\u007f"},
	{0x80, true, "\xc2\x80", "\\u0080"},
	{0x9b, true, "\xc2\x9b", "\\u009b"},
	{0x9f, true, "\xc2\x9f", "\\u009f"},
	{0xa0, false, "\xc2\xa0", NULL},
	{0xad, true, "\xc2\xad", "\\u00ad"},
	{0xe9, false, "é", NULL},
	{0x61b, false, "\xd8\x9b", NULL},
	{0x61c, true, "\xd8\x9c", "\\u061c"},
	{0x61d, false, "\xd8\x9d", NULL},
	{0x200a, false, "\xe2\x80\x8a", NULL},
	{0x200b, true, "\xe2\x80\x8b", "\\u200b"},
	{0x200e, true, "\xe2\x80\x8e", "\\u200e"},
	{0x200f, true, "\xe2\x80\x8f", "\\u200f"},
	{0x2010, false, "\xe2\x80\x90", NULL},
	{0x2027, false, "\xe2\x80\xa7", NULL},
	{0x2028, true, "\xe2\x80\xa8", "\\u2028"},
	{0x202a, true, "\xe2\x80\xaa", "\\u202a"},
	{0x202e, true, "\xe2\x80\xae", "\\u202e"},
	{0x202f, false, "\xe2\x80\xaf", NULL},
	{0x2066, true, "\xe2\x81\xa6", "\\u2066"},
	{0x2069, true, "\xe2\x81\xa9", "\\u2069"},
	{0x2070, false, "\xe2\x81\xb0", NULL},
	{0x2713, false, "✓", NULL},
	{0xfeff, true, "\xef\xbb\xbf", "\\ufeff"},
	{0x1f511, false, "🔑", NULL},
	{0xe0041, true, "\xf3\xa0\x81\x81", "\\udb40\\udc41"},
	{0xe0080, false, "\xf3\xa0\x82\x80", NULL},
};
enum { ROWS = sizeof row / sizeof row[0] };

/* Bytes that are no UTF-8: lone, overlong, surrogates, beyond U+10FFFF, cut. */
static const char *const broken[] = {
	"\x80",         "\x9b",         "\xc0\x9b",         "\xc1\xbf",         "\xe0\x82\x9b",
	"\xed\xa0\x80", "\xed\xbf\xbf", "\xf0\x80\x82\x9b", "\xf4\x90\x80\x80", "\xff",
	"\xe2\x80"};

static void test_d18_text_table(void **state)
{
	(void)state;
	for (size_t i = 0; i < ROWS; i++) {
		KB_AUTO(buf) struct buf b;
		uint32_t c = 0;
		buf_init(&b, 64);
		assert_int_equal(utf8_read((const uint8_t *)row[i].utf8, strlen(row[i].utf8), &c),
				 strlen(row[i].utf8));
		assert_int_equal(c, row[i].c);
		assert_int_equal(terminal_is_active(c), row[i].is_active);
		terminal_add(&b, span_str(row[i].utf8), false);
		assert_true(
			span_eq_cstr(buf_span(&b), row[i].is_active ? row[i].escape : row[i].utf8));
	}
	for (size_t i = 0; i < sizeof broken / sizeof broken[0]; i++) {
		KB_AUTO(buf) struct buf b;
		uint32_t c;
		buf_init(&b, 64);
		assert_int_equal(utf8_read((const uint8_t *)broken[i], strlen(broken[i]), &c), 0);
		terminal_add(&b, span_str(broken[i]), true);
		assert_int_equal(b.len, 6 * strlen(broken[i]));
		assert_memory_equal(b.p, "\\ufffd", 6);
	}
}

static void test_d18_text_keeps_lines_that_are_ours(void **state)
{
	KB_AUTO(buf) struct buf b;

	(void)state;
	buf_init(&b, 64);
	terminal_add(&b, span_str("a\nb\r\tc\x7f"), true);
	assert_true(span_eq_cstr(buf_span(&b), "a\nb\\u000d\\u0009c\\u007f"));
	buf_reset(&b);
	terminal_add(&b, span_of("a\0b", 3), true);
	assert_true(span_eq_cstr(buf_span(&b), "a\\u0000b"));
	buf_reset(&b);
	terminal_add(&b, span_of(NULL, 0), true);
	assert_int_equal(b.len, 0);
}

/* What a token, the ledger and every log line are written with; the value is the same. */
static void test_d18_text_in_json(void **state)
{
	(void)state;
	for (size_t i = 0; i < ROWS; i++) {
		KB_AUTO(buf) struct buf b;
		KB_AUTO(json) struct json_t *doc = NULL;
		struct span value;
		buf_init(&b, 256);
		buf_add_str(&b, "{");
		json_add_member(&b, "a", span_str(row[i].utf8));
		buf_add_str(&b, "}");
		if (row[i].is_active)
			assert_non_null(memmem(b.p, b.len, row[i].escape, strlen(row[i].escape)));
		assert_int_equal(json_load_strict(buf_span(&b), 256, &doc, NULL), KB_OK);
		assert_int_equal(json_get_str(doc, "a", 64, &value), KB_OK);
		assert_true(span_eq_cstr(value, row[i].utf8));
	}
}

static void test_d18_text_in_the_log(void **state)
{
	char line[KB_MAX_LOG_LINE] = "";
	int ends[2];

	(void)state;
	assert_int_equal(pipe(ends), 0);
	int before = dup(STDERR_FILENO);
	dup2(ends[1], STDERR_FILENO);
	log_event(LOG_ERROR, "x", "a",
		  "\xc2\x9b"
		  "31m\xe2\x80\xae\xe2\x81\xa6\xd8\x9c\x7f",
		  NULL);
	dup2(before, STDERR_FILENO);
	close(before);
	close(ends[1]);
	assert_true(read(ends[0], line, sizeof line - 1) > 0);
	close(ends[0]);
	assert_non_null(strstr(line, "\"a\":\"\\u009b31m\\u202e\\u2066\\u061c\\u007f\""));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_d18_text_table),
		cmocka_unit_test(test_d18_text_keeps_lines_that_are_ours),
		cmocka_unit_test(test_d18_text_in_json),
		cmocka_unit_test(test_d18_text_in_the_log),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
