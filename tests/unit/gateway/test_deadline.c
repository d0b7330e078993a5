/* tests/unit/gateway/test_deadline.c — deadlines fire at their time, not before, and in order. */
#include "gateway/deadline.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static const int64_t after_ms[] = {10, 1000};
static struct deadlines d;
static struct deadline a, b, c;

static int fresh(void **state)
{
	(void)state;
	deadlines_init(&d, after_ms, 2);
	return 0;
}

static void test_b01_due_at_its_time(void **state)
{
	(void)state;
	deadline_start(&d, &a, 0, 100);
	assert_null(deadline_due(&d, 0, 109));
	assert_ptr_equal(deadline_due(&d, 0, 110), &a);
	assert_null(deadline_due(&d, 1, INT64_MAX));
	deadline_stop(&d, &a);
	assert_null(deadline_due(&d, 0, INT64_MAX));
}

static void test_deadlines_come_in_order(void **state)
{
	(void)state;
	deadline_start(&d, &a, 0, 100);
	deadline_start(&d, &b, 0, 101);
	deadline_start(&d, &c, 0, 102);
	deadline_stop(&d, &b);
	assert_ptr_equal(deadline_due(&d, 0, 1000), &a);
	assert_ptr_equal(deadline_due(&d, 0, 1000), &a); /* asking changes nothing */
	deadline_stop(&d, &a);
	assert_ptr_equal(deadline_due(&d, 0, 1000), &c);
}

static void test_deadline_changes_kind(void **state)
{
	(void)state;
	deadline_start(&d, &a, 0, 100);
	deadline_change(&d, &a, 1, 105);
	assert_null(deadline_due(&d, 0, INT64_MAX));
	assert_null(deadline_due(&d, 1, 1104));
	assert_ptr_equal(deadline_due(&d, 1, 1105), &a);
	assert_int_equal(a.kind, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_b01_due_at_its_time, fresh),
		cmocka_unit_test_setup(test_deadlines_come_in_order, fresh),
		cmocka_unit_test_setup(test_deadline_changes_kind, fresh),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
