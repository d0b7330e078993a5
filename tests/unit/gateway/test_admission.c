/* tests/unit/gateway/test_admission.c — whose handshake begins next (SECURITY B11, B12). */
#include "gateway/admission.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

enum { SEATS = 8, GUESTS = 64 };

static struct admission d;
static struct admission_source noisy, quiet, third, many[GUESTS];
static struct admission_entry g[GUESTS], q[GUESTS];

static int fresh(void **state)
{
	(void)state;
	noisy = quiet = third = (struct admission_source){0};
	for (int i = 0; i < GUESTS; i++) {
		g[i] = q[i] = (struct admission_entry){0};
		many[i] = (struct admission_source){0};
	}
	admission_init(&d, SEATS);
	return 0;
}

static void next_is(struct admission_entry *want)
{
	assert_ptr_equal(admission_next(&d), want);
}

static void test_b11_nobody_waits(void **state)
{
	(void)state;
	next_is(NULL);
	assert_false(admission_leave(&d, &g[0])); /* who never was here */
	assert_int_equal(d.sources, 0);
}

static void test_b11_begun_up_to_the_seats_in_order(void **state)
{
	(void)state;
	for (int i = 0; i < SEATS + 3; i++)
		admission_wait(&d, &noisy, &g[i]);
	for (int i = 0; i < SEATS; i++)
		next_is(&g[i]);
	next_is(NULL); /* alone, its share is all max_active, and it has them */
	assert_int_equal(d.active, SEATS);
	assert_true(admission_leave(&d, &g[3]));
	next_is(&g[SEATS]);
	next_is(NULL);
}

static void test_b11_sources_begin_in_turn(void **state)
{
	(void)state;
	for (int i = 0; i < 4; i++)
		admission_wait(&d, &noisy, &g[i]);
	admission_wait(&d, &quiet, &q[0]);
	admission_wait(&d, &quiet, &q[1]);
	next_is(&g[0]);
	next_is(&q[0]);
	next_is(&g[1]);
	next_is(&q[1]);
	next_is(&g[2]);
}

/* All max_active are the noisy source's: a newcomer of another does not wait for one, up to his
 * share; the noisy one does. */
static void test_b11_newcomer_has_his_share_of_full_seats(void **state)
{
	(void)state;
	for (int i = 0; i < 20; i++)
		admission_wait(&d, &noisy, &g[i]);
	for (int i = 0; i < SEATS; i++)
		next_is(&g[i]);
	for (int i = 0; i < SEATS; i++)
		admission_wait(&d, &quiet, &q[i]);
	for (int i = 0; i < SEATS / 2; i++)
		next_is(&q[i]);
	next_is(NULL);
	for (int i = 0; i < SEATS / 2; i++)
		assert_true(admission_leave(&d, &g[i])); /* the places that were too many */
	next_is(NULL);
	assert_true(admission_leave(&d, &q[0]));
	next_is(&g[SEATS]);     /* a free seat: it is the noisy source's turn */
	next_is(&q[SEATS / 2]); /* and the quiet one has less than its share again */
	next_is(NULL);
}

/* More sources than max_active: nobody has a right to more max_active than there are; who came
 * first begins first. */
static void test_b11_a_crowd_of_sources_is_served_in_order(void **state)
{
	(void)state;
	for (int i = 0; i < GUESTS; i++)
		admission_wait(&d, &many[i], &g[i]);
	assert_int_equal(d.sources, GUESTS);
	for (int i = 0; i < SEATS; i++)
		next_is(&g[i]);
	for (int i = SEATS; i < GUESTS; i++) {
		next_is(NULL);
		assert_true(admission_leave(&d, &g[i - SEATS]));
		next_is(&g[i]);
	}
	for (int i = GUESTS - SEATS; i < GUESTS; i++)
		assert_false(admission_leave(&d, &g[i]));
	assert_int_equal(d.sources, 0);
	assert_int_equal(d.active, 0);
}

static void test_b11_entered_twice_counts_once(void **state)
{
	(void)state;
	admission_enter(&d, &noisy, &g[0]);
	admission_enter(&d, &noisy, &g[0]);
	assert_int_equal(d.active, 1);
	admission_wait(&d, &quiet, &q[0]);
	assert_int_equal(d.sources, 2);
	(void)admission_leave(&d, &q[0]); /* gone while it waited */
	assert_int_equal(d.sources, 1);
	assert_int_equal(d.waiting.n, 0);
	(void)admission_leave(&d, &g[0]);
	(void)admission_leave(&d, &g[0]);
	assert_int_equal(d.active, 0);
	assert_int_equal(d.sources, 0);
}

static void test_b10_the_newest_of_the_longest_is_shed(void **state)
{
	(void)state;
	assert_null(admission_shed(&d, &quiet));
	admission_wait(&d, &noisy, &g[0]);
	admission_wait(&d, &third, &q[10]);
	assert_null(admission_shed(&d, &quiet)); /* one each: nobody has too many */
	admission_wait(&d, &noisy, &g[1]);
	admission_wait(&d, &noisy, &g[2]);
	assert_ptr_equal(admission_shed(&d, &quiet), &g[2]);
	assert_ptr_equal(admission_shed(&d, &third), &g[2]);
	assert_null(admission_shed(&d, &noisy)); /* its own newcomer would be the newest */
	(void)admission_leave(&d, &g[2]);
	assert_ptr_equal(admission_shed(&d, &quiet), &g[1]);
	assert_null(
		admission_shed(&d, &third)); /* 2 and then 2: a difference of one is no reason */
}

/* Any order of coming, beginning and leaving: the counts are those of the guests, and nobody is
 * begun beyond max_active and shares. */
static void test_b11_counts_after_anything(void **state)
{
	(void)state;
	srand(7);
	for (int step = 0; step < 200000; step++) {
		int i = rand() % GUESTS;
		struct admission_source *source = &many[i % 5];
		if (g[i].source != NULL) {
			(void)admission_leave(&d, &g[i]);
		} else if (rand() % 4 == 0) {
			admission_enter(&d, source, &g[i]);
		} else {
			admission_wait(&d, source, &g[i]);
		}
		if (rand() % 2 == 0) {
			bool was_full = d.active >= SEATS;
			unsigned share = d.sources == 0 ? 0 : SEATS / d.sources;
			const struct admission_entry *begun = admission_next(&d);
			assert_true(begun == NULL || !was_full || begun->source->active <= share);
			assert_true(begun != NULL || was_full || d.waiting.n == 0);
		}
		unsigned active = 0, sources = 0;
		size_t waiting = 0, lanes = 0;
		for (int k = 0; k < GUESTS; k++) {
			active += g[k].is_active;
			waiting += g[k].item.source != NULL;
			assert_false(g[k].is_active && g[k].item.source != NULL);
		}
		for (int k = 0; k < 5; k++) {
			sources += many[k].active > 0 || many[k].waiting.n > 0;
			lanes += many[k].waiting.n > 0;
		}
		assert_true(active == d.active && waiting == d.waiting.n && sources == d.sources &&
			    lanes == d.waiting.n_sources);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_b11_nobody_waits, fresh),
		cmocka_unit_test_setup(test_b11_begun_up_to_the_seats_in_order, fresh),
		cmocka_unit_test_setup(test_b11_sources_begin_in_turn, fresh),
		cmocka_unit_test_setup(test_b11_newcomer_has_his_share_of_full_seats, fresh),
		cmocka_unit_test_setup(test_b11_a_crowd_of_sources_is_served_in_order, fresh),
		cmocka_unit_test_setup(test_b11_entered_twice_counts_once, fresh),
		cmocka_unit_test_setup(test_b10_the_newest_of_the_longest_is_shed, fresh),
		cmocka_unit_test_setup(test_b11_counts_after_anything, fresh),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
