/* tests/unit/process/test_stats.c — histograms, issuers and outcomes of the shared statistics. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>

#include "process/stats.h"

static struct outcomes stats;

static int set_up(void **state)
{
	(void)state;
	memset(&stats, 0, sizeof stats);
	return 0;
}

static void test_stats_histogram_buckets(void **state)
{
	static const struct {
		int64_t us;
		size_t bucket;
	} row[] = {{-1, 0}, {0, 0},        {32, 0},       {33, 1},        {64, 1},
		   {65, 2}, {8388608, 18}, {8388609, 19}, {INT64_MAX, 19}};

	(void)state;
	for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
		struct histogram h = {0};
		histogram_add(&h, row[i].us);
		assert_int_equal(atomic_load(&h.count[row[i].bucket]), 1);
		assert_int_equal(atomic_load(&h.n), 1);
	}
}

/* Noise of a captured process spoils no sum. */
static void test_i13_stats_noise_is_not_added(void **state)
{
	struct process_stats from, to;

	(void)state;
	memset(&to, 0, sizeof to);
	memset(&from, 0xff, sizeof from);
	stats_retire(&to, &from);
	histogram_sum(&to.total, &from.total);
	for (enum counter c = 0; c < COUNTER_COUNT; c++)
		assert_int_equal(atomic_load(&to.counter[c]), 0);
	assert_int_equal(atomic_load(&to.total.n), 0);
	atomic_store(&from.counter[COUNT_RECORDS], (UINT64_C(1) << 53) - 1);
	assert_true(stats_read(&from.counter[COUNT_RECORDS]) == (UINT64_C(1) << 53) - 1);
	atomic_store(&from.counter[COUNT_RECORDS], UINT64_C(1) << 53);
	assert_int_equal(stats_read(&from.counter[COUNT_RECORDS]), 0);
}

static void test_stats_too_many_outcomes_are_counted(void **state)
{
	char name[32];

	(void)state;
	for (int i = 0; i < 2 * STATS_OUTCOMES; i++) {
		snprintf(name, sizeof name, "key-%d", i);
		stats_outcome(&stats, KB_OK, span_str(name), span_str("maa"));
	}
	assert_true(atomic_load(&stats.lost) >= STATS_OUTCOMES);
}

static uint64_t outcomes_of(enum kb_err code)
{
	uint64_t n = 0;

	for (size_t i = 0; i < STATS_OUTCOMES; i++)
		if (atomic_load(&stats.outcome[i].used) == ENTRY_USED &&
		    stats.outcome[i].code == (uint16_t)code)
			n += atomic_load(&stats.outcome[i].n);
	return n;
}

/* A stranger has every key refused with many codes.  Each refusal is counted by its code, and
 * releases have places of their own. */
static void test_g14_stats_refusals_take_no_place_of_a_release(void **state)
{
	char name[32];

	(void)state;
	for (unsigned i = 0; i < 4 * STATS_OUTCOMES; i++) {
		snprintf(name, sizeof name, "key-%u", i / 4);
		stats_outcome(&stats, (enum kb_err)(KB_E_KEY_NOT_FOUND + i % 4), span_str(name),
			      span_of(NULL, 0));
	}
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(outcomes_of((enum kb_err)(KB_E_KEY_NOT_FOUND + i)),
				 STATS_OUTCOMES);
	assert_true(atomic_load(&stats.outcomes_lost) > 0);
	const uint64_t lost = atomic_load(&stats.outcomes_lost);
	for (unsigned i = 0; i < 100; i++) {
		snprintf(name, sizeof name, "disk-%u", i);
		stats_outcome(&stats, KB_OK, span_str(name), span_str("maa"));
		stats_outcome(&stats, (enum kb_err)i, span_of(NULL, 0), span_of(NULL, 0));
	}
	assert_true(atomic_load(&stats.outcomes_lost) == lost);
	assert_int_equal(outcomes_of(KB_OK), 101);
}

#define T(f) cmocka_unit_test_setup(f, set_up)
int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_stats_histogram_buckets),
		T(test_i13_stats_noise_is_not_added),
		T(test_stats_too_many_outcomes_are_counted),
		T(test_g14_stats_refusals_take_no_place_of_a_release),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
