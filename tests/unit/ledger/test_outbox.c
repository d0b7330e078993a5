/* tests/unit/ledger/test_outbox.c — responses before a gateway that does not read: bounded, in
 * order, and never a wait. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka needs the above first */
#include <cmocka.h>

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ledger/outbox.h"

enum { FRAME = 10000 };
static uint8_t frame[FRAME];
static int ends[2];

static int set_up(void **state)
{
	(void)state;
	return socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends);
}

static int tear_down(void **state)
{
	(void)state;
	close(ends[0]);
	if (ends[1] >= 0)
		close(ends[1]);
	return 0;
}

static bool put(struct outbox *o, uint32_t n)
{
	memcpy(frame, &n, sizeof n);
	return outbox_put(o, ends[0], span_of(frame, sizeof frame));
}

static uint32_t take(void)
{
	uint32_t n;

	assert_int_equal(recv(ends[1], frame, sizeof frame, MSG_DONTWAIT), FRAME);
	memcpy(&n, frame, sizeof n);
	return n;
}

static void test_outbox_is_bounded_and_in_order(void **state)
{
	struct outbox o = {.sent = 0};
	uint32_t n = 0, in_box = 0, next = 0;

	(void)state;
	while (put(&o, n)) {
		n++;
		in_box += !outbox_is_empty(&o);
	}
	assert_int_equal(in_box, KB_LEDGER_OUTBOX / (FRAME + 4));
	assert_false(put(&o, 777)); /* and this one is lost, not one of those that wait */
	/* a slow reader: one at a time, with new ones behind */
	for (; next < 5; next++) {
		assert_int_equal(take(), next);
		assert_int_equal(outbox_flush(&o, ends[0]), 0);
		assert_true(put(&o, n++));
		assert_false(put(&o, 777));
	}
	while (next < n) {
		assert_int_equal(take(), next++);
		assert_int_equal(outbox_flush(&o, ends[0]), 0);
	}
	assert_true(outbox_is_empty(&o));
	assert_true(put(&o, n));
	assert_int_equal(take(), n);
	outbox_free(&o);
}

static void test_outbox_of_a_gateway_that_ended(void **state)
{
	struct outbox o = {.sent = 0};
	size_t waiting = 0;

	(void)state;
	for (uint32_t n = 0; waiting < 3; n++) {
		assert_true(put(&o, n));
		waiting += !outbox_is_empty(&o);
	}
	close(ends[1]);
	ends[1] = -1;
	assert_int_equal(outbox_flush(&o, ends[0]), 3);
	assert_true(outbox_is_empty(&o));
	assert_false(put(&o, 1));
	outbox_free(&o);
}

#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_outbox_is_bounded_and_in_order),
		T(test_outbox_of_a_gateway_that_ended),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
