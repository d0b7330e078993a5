/* tests/unit/gateway/test_penalties.c — a source that fails too often is blocked for a bounded
 * time; one that fails now and then, one that gets its keys and an exempt one never are. */
#include "gateway/penalties.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/limits.h"
#include "config/config.h"

enum { SOURCES = 64 };

static struct source_network exempt[2];
static struct penalty_config config;
static struct penalties *p;
static int64_t now;

static struct source_address at(const char *text)
{
	struct source_address a;

	assert_true(source_address_parse(span_str(text), &a));
	return a;
}

static int make(void **state)
{
	(void)state;
	now = 1000000;
	config = (struct penalty_config){.failure_s = KB_PENALTY_FAILURE_S,
					 .threshold_s = KB_PENALTY_THRESHOLD_S,
					 .longest_s = KB_PENALTY_LONGEST_S,
					 .exempt = exempt};
	p = penalties_new(&config, SOURCES);
	return p == NULL ? -1 : 0;
}

static int unmake(void **state)
{
	(void)state;
	penalties_free(p);
	return 0;
}

static bool fails(const char *text)
{
	struct source_address a = at(text);

	return penalties_fail(p, &a, now);
}

static int64_t blocked(const char *text)
{
	struct source_address a = at(text);

	return penalties_blocked_ms(p, &a, now);
}

static void released(const char *text)
{
	struct source_address a = at(text);

	penalties_release(p, &a, now);
}

static void block(const char *text)
{
	for (unsigned i = 1; i < KB_PENALTY_THRESHOLD_S; i++)
		assert_false(fails(text));
	assert_true(blocked(text) == 0);
	assert_true(fails(text));
	assert_true(blocked(text) == KB_PENALTY_THRESHOLD_S * 1000);
}

static void test_g13_penalty_of_a_flood(void **state)
{
	(void)state;
	block("192.0.2.7");
	assert_true(blocked("::ffff:192.0.2.7") > 0);
	assert_true(blocked("192.0.2.8") == 0);
	/* What was under way may add to it, up to the longest. */
	for (unsigned i = 0; i < 10000; i++)
		assert_false(fails("192.0.2.7"));
	assert_true(blocked("192.0.2.7") == KB_PENALTY_LONGEST_S * 1000);
	now += KB_PENALTY_LONGEST_S * 1000 - 1;
	assert_true(blocked("192.0.2.7") == 1);
	now++;
	assert_true(blocked("192.0.2.7") == 0);
	/* And from the beginning again. */
	block("192.0.2.7");
}

static void test_g13_penalty_of_a_network(void **state)
{
	(void)state;
	block("2001:db8::1");
	assert_true(blocked("2001:db8::ffff:1") > 0);
	assert_true(blocked("2001:db8:0:1::1") == 0);
}

/* One failure a second for an hour: a guest that tries again and again. */
static void test_g13_penalty_of_a_slow_loop(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 3600; i++) {
		assert_false(fails("192.0.2.7"));
		now += KB_PENALTY_FAILURE_S * 1000;
	}
}

/* Many guests behind one address: those that are released protect it, for a bounded time. */
static void test_g13_penalty_and_nat(void **state)
{
	(void)state;
	block("192.0.2.7");
	released("192.0.2.7");
	assert_true(blocked("192.0.2.7") == 0);
	for (unsigned i = 0; i < 10 * KB_PENALTY_THRESHOLD_S; i++)
		assert_false(fails("192.0.2.7"));
	now += KB_PENALTY_TRUST_S * 1000 - 1;
	assert_false(fails("192.0.2.7"));
	assert_true(blocked("192.0.2.7") == 0);
	now++;
	for (unsigned i = 1; i < KB_PENALTY_THRESHOLD_S; i++)
		assert_false(fails("192.0.2.7"));
	assert_true(fails("192.0.2.7"));
}

static void test_g13_penalty_exempt_and_off(void **state)
{
	struct source_address none = {0};

	(void)state;
	assert_true(source_network_parse(span_str("10.0.0.0/8"), &exempt[0]));
	assert_true(source_network_parse(span_str("2001:db8::/32"), &exempt[1]));
	config.n_exempt = 2;
	penalties_free(p);
	p = penalties_new(&config, SOURCES);
	for (unsigned i = 0; i < 2 * KB_PENALTY_THRESHOLD_S; i++) {
		assert_false(fails("10.1.2.3"));
		assert_false(fails("2001:db8:7::1"));
		assert_false(penalties_fail(p, &none, now)); /* not an IP socket */
	}
	assert_true(blocked("10.1.2.3") == 0 && blocked("2001:db8:7::1") == 0);
	block("192.0.2.7");
	config.is_off = true;
	penalties_free(p);
	p = penalties_new(&config, SOURCES);
	for (unsigned i = 0; i < 2 * KB_PENALTY_THRESHOLD_S; i++)
		assert_false(fails("192.0.2.7"));
	assert_true(blocked("192.0.2.7") == 0);
}

/* More sources than the table has places: it stays right for those it still knows, never blocks one
 * that did nothing, and needs no more memory. */
static void test_g13_penalty_of_many_sources(void **state)
{
	unsigned n = 0;

	(void)state;
	for (unsigned i = 0; i < 100 * SOURCES; i++) {
		char text[32];
		snprintf(text, sizeof text, "10.%u.%u.1", i >> 8, i & 0xff);
		for (unsigned k = 0; k < KB_PENALTY_THRESHOLD_S; k++)
			(void)fails(text);
		assert_true(blocked(text) > 0);
	}
	for (unsigned i = 0; i < 100 * SOURCES; i++) {
		char text[32];
		snprintf(text, sizeof text, "10.%u.%u.1", i >> 8, i & 0xff);
		n += blocked(text) > 0;
		snprintf(text, sizeof text, "11.%u.%u.1", i >> 8, i & 0xff);
		assert_true(blocked(text) == 0);
	}
	assert_true(n > 0 && n <= SOURCES);
	assert_null(penalties_new(&config, 1));
	penalties_free(NULL);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, make, unmake)
	const struct CMUnitTest tests[] = {
		T(test_g13_penalty_of_a_flood),     T(test_g13_penalty_of_a_network),
		T(test_g13_penalty_of_a_slow_loop), T(test_g13_penalty_and_nat),
		T(test_g13_penalty_exempt_and_off), T(test_g13_penalty_of_many_sources),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
