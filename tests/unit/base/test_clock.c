/* tests/unit/base/test_clock.c — the two clocks, and times as text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <time.h>

#include "base/clock.h"
#include "base/limits.h"

static void test_clock_reads(void **state)
{
	(void)state;
	assert_true(clock_wall_s() - (int64_t)time(NULL) <= 1 &&
		    (int64_t)time(NULL) - clock_wall_s() <= 1);
	assert_true(clock_wall_us() / 1000000 - clock_wall_s() <= 1);
	int64_t a = clock_mono_us(), ms = clock_mono_ms();
	struct timespec pause = {.tv_nsec = 2000000};
	nanosleep(&pause, NULL);
	assert_true(clock_mono_us() - a >= 2000);
	assert_true(clock_mono_ms() > ms);
}

static void test_f04_clock_never_set(void **state)
{
	(void)state;
	assert_false(clock_is_set(0));
	assert_false(clock_is_set(-1));
	assert_false(clock_is_set(KB_EPOCH_MIN_S - 1));
	assert_true(clock_is_set(KB_EPOCH_MIN_S));
}

static void test_f05_clock_beyond_2038(void **state)
{
	char text[KB_TIME_TEXT];
	int64_t s = 0;

	(void)state;
	for (int64_t at = INT64_C(2147483646); at <= INT64_C(2147483649); at++) { /* 2³¹ */
		clock_text(at * 1000000, text);
		memcpy(text + 19, "Z", 2);
		assert_int_equal(clock_parse(text, &s), KB_OK);
		assert_true(s == at);
	}
	clock_text(INT64_C(4294967296) * 1000000, text); /* 2³² */
	assert_string_equal(text, "2106-02-07T06:28:16.000000Z");
	assert_true(clock_is_set(INT64_C(4294967296)));
}

static void test_clock_text(void **state)
{
	static const struct {
		int64_t us;
		const char *text;
	} cases[] = {
		{0, "1970-01-01T00:00:00.000000Z"},
		{1, "1970-01-01T00:00:00.000001Z"},
		{1795281011123456, "2026-11-21T17:10:11.123456Z"},
		{4294967296000000, "2106-02-07T06:28:16.000000Z"}, /* past 32 bits */
		{253402300799999999, "9999-12-31T23:59:59.999999Z"},
		{253402300800000000, "0000-00-00T00:00:00.000000Z"}, /* year 10000 does not fit */
		{-1, "0000-00-00T00:00:00.000000Z"},
		{INT64_MAX, "0000-00-00T00:00:00.000000Z"},
	};
	char out[KB_TIME_TEXT];

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		clock_text(cases[i].us, out);
		assert_string_equal(out, cases[i].text);
	}
}

static void test_clock_parse(void **state)
{
	static const char *const bad[] = {"",
					  "x",
					  "-1",
					  "12x",
					  "2026-11-21",
					  "2026-11-21T17:10:11",
					  "2026-11-21T17:10:11Zx",
					  "2026-13-21T17:10:11Z",
					  "2026-11-21T17:10:11+01:00",
					  "1969-12-31T23:59:59Z",
					  "253402300800",
					  "9223372036854775807",
					  "9223372036854775808",
					  "99999999999999999999"};
	int64_t s;

	(void)state;
	assert_int_equal(clock_parse("0", &s), KB_OK);
	assert_int_equal(s, 0);
	assert_int_equal(clock_parse("4294967296", &s), KB_OK);
	assert_int_equal(s, 4294967296);
	assert_int_equal(clock_parse("2026-11-21T17:10:11Z", &s), KB_OK);
	assert_int_equal(s, 1795281011);
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		assert_int_equal(clock_parse(bad[i], &s), KB_E_CONFIG);
}

/* Nothing that passes overflows a sum with another of them, or microseconds. */
static void test_d15_clock_times_at_the_ends(void **state)
{
	static const struct {
		int64_t s;
		bool is_time;
		const char *text;
	} row[] = {
		{INT64_MIN, false, "0000-00-00T00:00:00.000000Z"},
		{-1, false, "0000-00-00T00:00:00.000000Z"},
		{0, true, "1970-01-01T00:00:00.000000Z"},
		{KB_TIME_MAX_S, true, "9999-12-31T23:59:59.000000Z"},
		{KB_TIME_MAX_S + 1, false, "0000-00-00T00:00:00.000000Z"},
		{KB_TIME_MAX_S * 10, false, "0000-00-00T00:00:00.000000Z"},
		{INT64_MAX / 1000000 + 1, false, "0000-00-00T00:00:00.000000Z"},
		{INT64_MAX, false, "0000-00-00T00:00:00.000000Z"},
	};
	char out[KB_TIME_TEXT], digits[24];
	int64_t s;

	(void)state;
	for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
		assert_int_equal(clock_is_time(row[i].s), row[i].is_time);
		clock_text_s(row[i].s, out);
		assert_string_equal(out, row[i].text);
		snprintf(digits, sizeof digits, "%lld", (long long)row[i].s);
		assert_int_equal(clock_parse(digits, &s), row[i].is_time ? KB_OK : KB_E_CONFIG);
	}
}

static void test_clock_parse_span(void **state)
{
	static const struct {
		const char *text;
		int64_t s;
	} good[] = {{"0s", 0},     {"60s", 60},   {"5m", 300},
		    {"8h", 28800}, {"1d", 86400}, {"9999999d", 9999999 * INT64_C(86400)}};
	static const char *const bad[] = {"",     "s",  "60", "60 s",      "-1s",
					  "1.5h", "1w", "1S", "99999999d", "s60"};
	int64_t s;

	(void)state;
	for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
		assert_int_equal(clock_parse_span(span_str(good[i].text), &s), KB_OK);
		assert_int_equal(s, good[i].s);
	}
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		assert_int_equal(clock_parse_span(span_str(bad[i]), &s), KB_E_CONFIG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_clock_reads),
		cmocka_unit_test(test_f04_clock_never_set),
		cmocka_unit_test(test_f05_clock_beyond_2038),
		cmocka_unit_test(test_clock_text),
		cmocka_unit_test(test_clock_parse),
		cmocka_unit_test(test_d15_clock_times_at_the_ends),
		cmocka_unit_test(test_clock_parse_span),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
