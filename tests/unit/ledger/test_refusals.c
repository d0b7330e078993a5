/* tests/unit/ledger/test_refusals.c — refusals that strangers repeat cost the disk a bounded number
 * of bytes, and every one of them is counted. */
#include "ledger/refusals.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { RECORD = 2300, SUM_LINE = 400, WINDOW_MS = KB_REFUSAL_WINDOW_S * 1000 };

static struct refusals refusals;
static int64_t now_ms;

struct written { /* in one window */
	uint64_t whole, sums, summed, bytes;
};

static int fresh(void **state)
{
	(void)state;
	refusals =
		(struct refusals){.most_whole = KB_REFUSAL_WHOLE, .most_bytes = KB_REFUSAL_BYTES};
	now_ms = 1000000;
	return 0;
}

static bool refuse(const char *peer, enum kb_err code, bool is_low, struct written *w)
{
	bool is_whole = refusals_is_whole(&refusals, now_ms, code, span_str(peer), RECORD, is_low);

	w->whole += is_whole;
	w->bytes += is_whole ? RECORD : 0;
	return is_whole;
}

static void take_sums(struct written *w)
{
	struct refusals_sum sum;
	size_t at = 0;

	while (refusals_next(&refusals, &at, &sum)) {
		w->sums++;
		w->summed += sum.more;
	}
	w->bytes += w->sums * SUM_LINE;
	refusals_drop(&refusals, at, w->sums * SUM_LINE);
	refusals_done(&refusals, now_ms);
}

static bool has_sum(const char *peer, enum kb_err code, uint64_t more)
{
	struct refusals_sum sum;

	for (size_t at = 0; refusals_next(&refusals, &at, &sum);)
		if (strcmp(sum.peer, peer) == 0 && sum.code == code)
			return sum.more == more;
	return false;
}

/* The first of each source and code are whole, so that an operator sees the failing condition. */
static void test_g09_first_refusals_are_whole(void **state)
{
	struct written w = {0};

	(void)state;
	for (unsigned i = 0; i < KB_REFUSAL_WHOLE; i++) {
		assert_true(refuse("192.0.2.7", KB_E_POLICY, false, &w));
		assert_true(refuse("192.0.2.7", KB_E_EXPIRED, false, &w));
		assert_true(refuse("192.0.2.8", KB_E_POLICY, false, &w));
	}
	assert_false(has_sum("192.0.2.7", KB_E_POLICY, 0));
	for (unsigned i = 0; i < 10 * KB_REFUSAL_WHOLE; i++)
		assert_false(refuse("192.0.2.7", KB_E_POLICY, false, &w));
	assert_true(has_sum("192.0.2.7", KB_E_POLICY, 10 * KB_REFUSAL_WHOLE));
	assert_false(has_sum("192.0.2.7", KB_E_EXPIRED, 1));
	assert_true(refusals_due_ms(&refusals, now_ms + WINDOW_MS - 1) == 1);
	now_ms += WINDOW_MS;
	assert_true(refusals_due_ms(&refusals, now_ms) == 0);
	take_sums(&w);
	assert_int_equal(w.sums, 1);
	assert_true(refusals_due_ms(&refusals, now_ms) < 0);
	assert_true(refuse("192.0.2.7", KB_E_POLICY, false, &w));
}

static void test_g09_sources(void **state)
{
	struct written w = {0};

	(void)state;
	/* One /64 is one source, an IPv4 client of a dual-stack socket the same as on IPv4, and
	 * what is no address is counted without one. */
	for (unsigned i = 0; i < 2 * KB_REFUSAL_WHOLE; i++) {
		char peer[40];
		snprintf(peer, sizeof peer, "2001:db8:0:1::%x", i + 1);
		(void)refuse(peer, KB_E_POLICY, false, &w);
		(void)refuse(i % 2 == 0 ? "192.0.2.9" : "::ffff:192.0.2.9", KB_E_POLICY, false, &w);
		(void)refuse("local", KB_E_POLICY, false, &w);
		(void)refuse("", KB_E_POLICY, false, &w);
	}
	assert_true(has_sum("2001:db8:0:1::/64", KB_E_POLICY, KB_REFUSAL_WHOLE));
	assert_true(has_sum("192.0.2.9", KB_E_POLICY, KB_REFUSAL_WHOLE));
	assert_true(has_sum("others", KB_E_POLICY, 4 * KB_REFUSAL_WHOLE));
}

/* `sources` of them, each with `each` refusals a minute, for an hour of a fast clock. */
static void flood(unsigned sources, unsigned each, bool is_low, uint64_t most_bytes)
{
	static const enum kb_err codes[] = {KB_E_POLICY, KB_E_EXPIRED, KB_E_KEY_NOT_FOUND};

	for (unsigned minute = 0; minute < 60; minute++) {
		struct written w = {0};
		uint64_t refused = 0;
		for (unsigned i = 0; i < each; i++)
			for (unsigned s = 0; s < sources; s++) {
				char peer[40];
				snprintf(peer, sizeof peer,
					 s % 2 == 0 ? "10.%u.%u.1" : "fd00:%x:%x::1", s >> 8,
					 s & 0xff);
				(void)refuse(peer, codes[(i + s) % 3], is_low, &w);
				refused++;
			}
		now_ms += WINDOW_MS;
		assert_true(refusals_due_ms(&refusals, now_ms) == 0);
		take_sums(&w);
		assert_true(w.whole + w.summed == refused);
		assert_true(w.sums <= KB_REFUSAL_SUMS + KB_ERR_COUNT);
		if (w.bytes > most_bytes)
			fail_msg("%u sources: %llu bytes in a minute", sources,
				 (unsigned long long)w.bytes);
		assert_true(is_low || w.whole > 0);
	}
}

static void test_g09_flood_writes_a_bounded_number_of_bytes(void **state)
{
	(void)state;
	flood(1, 10000, false, 100 * 1000);
	flood(1000, 100, false, KB_REFUSAL_BYTES);
	flood(KB_REFUSAL_SUMS, 3, false, KB_REFUSAL_BYTES);
	flood(KB_REFUSAL_SUMS + 1, 3, false, KB_REFUSAL_BYTES);
	flood(10 * KB_REFUSAL_SUMS, 3, false, KB_REFUSAL_BYTES);
}

/* On a disk that is nearly full none is whole, and there are few sums. */
static void test_g10_flood_on_a_full_disk_is_only_counted(void **state)
{
	struct written w = {0};

	(void)state;
	assert_false(refuse("192.0.2.7", KB_E_POLICY, true, &w));
	assert_true(has_sum("192.0.2.7", KB_E_POLICY, 1));
	now_ms += WINDOW_MS;
	take_sums(&w);
	flood(1000, 10, true, (KB_REFUSAL_SUMS_LOW + 3) * SUM_LINE);
}

/* Sums that could not be written are there the next time, and taking them early (rotation, end)
 * gives nobody a second allowance. */
static void test_g09_sums_are_lost_by_nothing(void **state)
{
	struct written w = {0}, none = {0};

	(void)state;
	for (unsigned i = 0; i < 3 * KB_REFUSAL_WHOLE; i++)
		(void)refuse("192.0.2.7", KB_E_POLICY, false, &w);
	assert_true(has_sum("192.0.2.7", KB_E_POLICY, 2 * KB_REFUSAL_WHOLE));
	now_ms += 1000;
	assert_true(has_sum("192.0.2.7", KB_E_POLICY, 2 * KB_REFUSAL_WHOLE));
	take_sums(&w);
	assert_int_equal(w.summed, 2 * KB_REFUSAL_WHOLE);
	take_sums(&none);
	assert_int_equal(none.sums, 0);
	assert_true(refusals_due_ms(&refusals, now_ms) == WINDOW_MS - 1000);
	assert_false(refuse("192.0.2.7", KB_E_POLICY, false, &w));
	refusals_count(&refusals, now_ms, KB_E_REPLAY_FULL, span_str("192.0.2.7"), false);
	assert_true(has_sum("192.0.2.7", KB_E_REPLAY_FULL, 1));
}

int main(void)
{
#define T(f) cmocka_unit_test_setup(f, fresh)
	const struct CMUnitTest tests[] = {
		T(test_g09_first_refusals_are_whole),
		T(test_g09_sources),
		T(test_g09_flood_writes_a_bounded_number_of_bytes),
		T(test_g10_flood_on_a_full_disk_is_only_counted),
		T(test_g09_sums_are_lost_by_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
