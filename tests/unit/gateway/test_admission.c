/* tests/unit/gateway/test_admission.c — which handshake starts next. */
#include "gateway/admission.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

enum { ACTIVE = 8, ENTRIES = 64 };

static struct admission a;
static struct admission_source noisy, quiet, third, many[ENTRIES];
static struct admission_entry e[ENTRIES], q[ENTRIES];

static int fresh(void **state)
{
	(void)state;
	noisy = quiet = third = (struct admission_source){0};
	for (int i = 0; i < ENTRIES; i++) {
		e[i] = q[i] = (struct admission_entry){0};
		many[i] = (struct admission_source){0};
	}
	admission_init(&a, ACTIVE);
	return 0;
}

static void next_is(struct admission_entry *want)
{
	assert_ptr_equal(admission_next(&a), want);
}

static void test_b11_none_waits(void **state)
{
	(void)state;
	next_is(NULL);
	assert_false(admission_leave(&a, &e[0])); /* it never waited */
	assert_int_equal(a.sources, 0);
}

static void test_b11_admitted_in_order_up_to_the_limit(void **state)
{
	(void)state;
	for (int i = 0; i < ACTIVE + 3; i++)
		admission_wait(&a, &noisy, &e[i]);
	for (int i = 0; i < ACTIVE; i++)
		next_is(&e[i]);
	next_is(NULL); /* alone, its share is max_active, and it has that */
	assert_int_equal(a.active, ACTIVE);
	assert_true(admission_leave(&a, &e[3]));
	next_is(&e[ACTIVE]);
	next_is(NULL);
}

static void test_b11_sources_are_admitted_round_robin(void **state)
{
	(void)state;
	for (int i = 0; i < 4; i++)
		admission_wait(&a, &noisy, &e[i]);
	admission_wait(&a, &quiet, &q[0]);
	admission_wait(&a, &quiet, &q[1]);
	next_is(&e[0]);
	next_is(&q[0]);
	next_is(&e[1]);
	next_is(&q[1]);
	next_is(&e[2]);
}

/* The noisy source has all max_active.  Another source is admitted up to its fair share all the
 * same; the noisy one waits. */
static void test_b11_new_source_has_its_share_above_the_limit(void **state)
{
	(void)state;
	for (int i = 0; i < 20; i++)
		admission_wait(&a, &noisy, &e[i]);
	for (int i = 0; i < ACTIVE; i++)
		next_is(&e[i]);
	for (int i = 0; i < ACTIVE; i++)
		admission_wait(&a, &quiet, &q[i]);
	for (int i = 0; i < ACTIVE / 2; i++)
		next_is(&q[i]);
	next_is(NULL);
	for (int i = 0; i < ACTIVE / 2; i++)
		assert_true(admission_leave(&a, &e[i])); /* those above max_active */
	next_is(NULL);
	assert_true(admission_leave(&a, &q[0]));
	next_is(&e[ACTIVE]);     /* below the limit: the noisy source is next */
	next_is(&q[ACTIVE / 2]); /* and the quiet one is below its share again */
	next_is(NULL);
}

/* More sources than max_active: the fair share is 0, so the limit is hard and the order is that of
 * arrival. */
static void test_b11_many_sources_are_served_in_order(void **state)
{
	(void)state;
	for (int i = 0; i < ENTRIES; i++)
		admission_wait(&a, &many[i], &e[i]);
	assert_int_equal(a.sources, ENTRIES);
	for (int i = 0; i < ACTIVE; i++)
		next_is(&e[i]);
	for (int i = ACTIVE; i < ENTRIES; i++) {
		next_is(NULL);
		assert_true(admission_leave(&a, &e[i - ACTIVE]));
		next_is(&e[i]);
	}
	for (int i = ENTRIES - ACTIVE; i < ENTRIES; i++)
		assert_false(admission_leave(&a, &e[i]));
	assert_int_equal(a.sources, 0);
	assert_int_equal(a.active, 0);
}

static void test_b11_entered_twice_counts_once(void **state)
{
	(void)state;
	admission_enter(&a, &noisy, &e[0]);
	admission_enter(&a, &noisy, &e[0]);
	assert_int_equal(a.active, 1);
	admission_wait(&a, &quiet, &q[0]);
	assert_int_equal(a.sources, 2);
	(void)admission_leave(&a, &q[0]); /* gone while it waited */
	assert_int_equal(a.sources, 1);
	assert_int_equal(a.waiting.n, 0);
	(void)admission_leave(&a, &e[0]);
	(void)admission_leave(&a, &e[0]);
	assert_int_equal(a.active, 0);
	assert_int_equal(a.sources, 0);
}

static void test_b10_the_newest_of_the_longest_is_shed(void **state)
{
	(void)state;
	assert_null(admission_shed(&a, &quiet));
	admission_wait(&a, &noisy, &e[0]);
	admission_wait(&a, &third, &q[10]);
	assert_null(admission_shed(&a, &quiet)); /* one each: none has too many */
	admission_wait(&a, &noisy, &e[1]);
	admission_wait(&a, &noisy, &e[2]);
	assert_ptr_equal(admission_shed(&a, &quiet), &e[2]);
	assert_ptr_equal(admission_shed(&a, &third), &e[2]);
	assert_null(admission_shed(&a, &noisy)); /* its own new connection would be the newest */
	(void)admission_leave(&a, &e[2]);
	assert_ptr_equal(admission_shed(&a, &quiet), &e[1]);
	assert_null(admission_shed(&a, &third)); /* 2 and 2 afterwards would not be fairer */
}

/* Any order of waiting, starting and leaving: the counts match the entries, and none starts beyond
 * max_active and shares. */
static void test_b11_counts_after_anything(void **state)
{
	(void)state;
	srand(7);
	for (int step = 0; step < 200000; step++) {
		int i = rand() % ENTRIES;
		struct admission_source *source = &many[i % 5];
		if (e[i].source != NULL) {
			(void)admission_leave(&a, &e[i]);
		} else if (rand() % 4 == 0) {
			admission_enter(&a, source, &e[i]);
		} else {
			admission_wait(&a, source, &e[i]);
		}
		if (rand() % 2 == 0) {
			bool was_full = a.active >= ACTIVE;
			unsigned share = a.sources == 0 ? 0 : ACTIVE / a.sources;
			const struct admission_entry *begun = admission_next(&a);
			assert_true(begun == NULL || !was_full || begun->source->active <= share);
			assert_true(begun != NULL || was_full || a.waiting.n == 0);
		}
		unsigned active = 0, sources = 0;
		size_t waiting = 0, queued = 0;
		for (int k = 0; k < ENTRIES; k++) {
			active += e[k].is_active;
			waiting += e[k].item.source != NULL;
			assert_false(e[k].is_active && e[k].item.source != NULL);
		}
		for (int k = 0; k < 5; k++) {
			sources += many[k].active > 0 || many[k].waiting.n > 0;
			queued += many[k].waiting.n > 0;
		}
		assert_true(active == a.active && waiting == a.waiting.n && sources == a.sources &&
			    queued == a.waiting.n_sources);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_b11_none_waits, fresh),
		cmocka_unit_test_setup(test_b11_admitted_in_order_up_to_the_limit, fresh),
		cmocka_unit_test_setup(test_b11_sources_are_admitted_round_robin, fresh),
		cmocka_unit_test_setup(test_b11_new_source_has_its_share_above_the_limit, fresh),
		cmocka_unit_test_setup(test_b11_many_sources_are_served_in_order, fresh),
		cmocka_unit_test_setup(test_b11_entered_twice_counts_once, fresh),
		cmocka_unit_test_setup(test_b10_the_newest_of_the_longest_is_shed, fresh),
		cmocka_unit_test_setup(test_b11_counts_after_anything, fresh),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
