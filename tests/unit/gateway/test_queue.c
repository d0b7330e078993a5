/* tests/unit/gateway/test_queue.c — which item waits, is next, is removed. */
#include "gateway/queue.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

static struct queue q;
static struct queue_source a, b, c;
static struct queue_item item[32];

static int fresh(void **state)
{
	static const struct queue_source no_lane;
	static const struct queue_item no_item;

	(void)state;
	a = b = c = no_lane;
	for (size_t i = 0; i < 32; i++)
		item[i] = no_item;
	queue_init(&q, 6);
	return 0;
}

static void push(struct queue_source *source, int i)
{
	struct queue_item *evicted;

	assert_true(queue_push(&q, source, &item[i], &evicted));
	assert_null(evicted);
}

static void take(int i)
{
	assert_ptr_equal(queue_first(&q), &item[i]);
	queue_take(&q, &item[i]);
	assert_null(item[i].source);
}

static void test_g06_fifo_within_a_source(void **state)
{
	(void)state;
	assert_null(queue_first(&q));
	for (int i = 0; i < 5; i++)
		push(&a, i);
	for (int i = 0; i < 5; i++)
		take(i);
	assert_null(queue_first(&q));
	assert_int_equal(q.n, 0);
}

static void test_b11_sources_take_turns(void **state)
{
	(void)state;
	push(&a, 0);
	push(&a, 1);
	push(&a, 2);
	push(&b, 10);
	push(&b, 11);
	push(&c, 20);
	take(0);
	take(10);
	take(20);
	take(1);
	take(11);
	take(2);
	assert_null(queue_first(&q));
}

static void test_queue_first_does_not_change_turns(void **state)
{
	(void)state;
	push(&a, 0);
	push(&b, 10);
	assert_ptr_equal(queue_first(&q), &item[0]);
	assert_ptr_equal(queue_first(&q), &item[0]);
	take(0);
	take(10);
}

static void test_g06_full_for_a_single_source(void **state)
{
	struct queue_item *evicted;

	(void)state;
	for (int i = 0; i < 6; i++)
		push(&a, i);
	assert_false(queue_push(&q, &a, &item[6], &evicted));
	assert_null(evicted);
	assert_null(item[6].source);
	assert_int_equal(q.n, 6);
	take(0);
	push(&a, 6);
}

static void test_b11_full_by_one_source_makes_room_for_another(void **state)
{
	struct queue_item *evicted;

	(void)state;
	for (int i = 0; i < 6; i++)
		push(&a, i);
	assert_true(queue_push(&q, &b, &item[10], &evicted));
	assert_ptr_equal(evicted, &item[5]); /* the newest of the longest */
	assert_null(item[5].source);
	assert_true(queue_push(&q, &b, &item[11], &evicted));
	assert_ptr_equal(evicted, &item[4]);
	assert_true(queue_push(&q, &b, &item[12], &evicted));
	assert_ptr_equal(evicted, &item[3]);
	assert_false(queue_push(&q, &b, &item[13],
				&evicted)); /* three each: none has more than its fair share */
	assert_null(evicted);
	assert_int_equal(q.n, 6);
}

/* A difference of one evicts nothing, else two sources would evict each other for ever. */
static void test_g06_no_eviction_for_a_difference_of_one(void **state)
{
	struct queue_item *evicted;

	(void)state;
	queue_init(&q, 5);
	for (int i = 0; i < 3; i++)
		push(&a, i);
	push(&b, 10);
	push(&b, 11);
	assert_false(queue_push(&q, &b, &item[12], &evicted));
	assert_null(evicted);
	assert_int_equal(a.n, 3);
}

static void test_queue_drop_from_anywhere(void **state)
{
	(void)state;
	push(&a, 0);
	push(&a, 1);
	push(&b, 10);
	queue_drop(&q, &item[0]);
	queue_drop(&q, &item[0]); /* not in the queue: nothing */
	take(1);
	queue_drop(&q, &item[10]);
	assert_null(queue_first(&q));
	assert_true(q.n == 0 && a.n == 0 && b.n == 0);
	push(&b, 10); /* a source can come back */
	take(10);
}

static void test_queue_of_nothing_refuses(void **state)
{
	struct queue_item *evicted;

	(void)state;
	queue_init(&q, 0);
	assert_false(queue_push(&q, &a, &item[0], &evicted));
	assert_null(evicted);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_g06_fifo_within_a_source, fresh),
		cmocka_unit_test_setup(test_b11_sources_take_turns, fresh),
		cmocka_unit_test_setup(test_queue_first_does_not_change_turns, fresh),
		cmocka_unit_test_setup(test_g06_full_for_a_single_source, fresh),
		cmocka_unit_test_setup(test_b11_full_by_one_source_makes_room_for_another, fresh),
		cmocka_unit_test_setup(test_g06_no_eviction_for_a_difference_of_one, fresh),
		cmocka_unit_test_setup(test_queue_drop_from_anywhere, fresh),
		cmocka_unit_test_setup(test_queue_of_nothing_refuses, fresh),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
