/* tests/unit/process/test_stats.c — histograms, issuers and outcomes of the shared statistics. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>

#include "process/stats.h"

static struct stats stats;

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

static void test_stats_issuers(void **state)
{
	struct issuer_stats *a = stats_issuer(&stats, "a", "o"),
			    *b = stats_issuer(&stats, "b", "o");

	(void)state;
	assert_non_null(a);
	assert_ptr_not_equal(a, b);
	assert_ptr_equal(stats_issuer(&stats, "a", "o"), a);
	atomic_store(&a->keys, 7);
	stats_keep_issuers(&stats, &b, 1);
	assert_ptr_equal(stats_issuer(&stats, "b", "o"), b);
	assert_ptr_equal(stats_issuer(&stats, "c", "o"),
			 a); /* its entry is free again, and clean */
	assert_int_equal(atomic_load(&a->keys), 0);
}

/* The name of another issuer now: its figures begin anew. */
static void test_stats_issuer_of_another_origin(void **state)
{
	struct issuer_stats *a = stats_issuer(&stats, "maa", "a"), *b;

	(void)state;
	atomic_store(&a->fetched_s, 1);
	atomic_store(&a->keys, 7);
	stats_keep_issuers(&stats, &a, 1);
	b = stats_issuer(&stats, "maa", "b");
	assert_ptr_not_equal(a, b);
	assert_ptr_equal(stats_issuer(&stats, "maa", "a"), a);
	assert_true(b->fetched_s == 0 && b->stale_at_s == 0 && b->attempt_s == 0 && b->keys == 0);
	assert_true(issuer_is_shown(a) && !issuer_is_shown(b));
	stats_keep_issuers(&stats, &b, 1);
	assert_true(issuer_is_shown(b) && !issuer_is_shown(a));
}

static void test_stats_issuers_are_bounded(void **state)
{
	char name[200];

	(void)state;
	memset(name, 'x', sizeof name - 1);
	name[sizeof name - 1] = '\0';
	assert_non_null(stats_issuer(&stats, name, "o"));
	assert_ptr_equal(stats_issuer(&stats, name, "o"), &stats.issuer[0]);
	for (int i = 1; i < STATS_ISSUERS; i++) {
		snprintf(name, sizeof name, "issuer-%d", i);
		assert_non_null(stats_issuer(&stats, name, "o"));
	}
	assert_null(stats_issuer(&stats, "one too many", "o"));
}

static void test_stats_issuer_half_made_is_passed_over(void **state)
{
	(void)state;
	atomic_store(&stats.issuer[0].used, ENTRY_CLAIMED); /* the process that claimed it ended */
	assert_ptr_equal(stats_issuer(&stats, "a", "o"), &stats.issuer[1]);
}

static void test_stats_too_many_outcomes_are_counted(void **state)
{
	char name[32];

	(void)state;
	for (int i = 0; i < 2 * STATS_OUTCOMES; i++) {
		snprintf(name, sizeof name, "key-%d", i);
		stats_outcome(&stats, KB_OK, span_str(name), span_str("maa"));
	}
	assert_true(atomic_load(&stats.outcomes_lost) >= STATS_OUTCOMES);
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
		T(test_stats_issuers),
		T(test_stats_issuer_of_another_origin),
		T(test_stats_issuers_are_bounded),
		T(test_stats_issuer_half_made_is_passed_over),
		T(test_stats_too_many_outcomes_are_counted),
		T(test_g14_stats_refusals_take_no_place_of_a_release),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
