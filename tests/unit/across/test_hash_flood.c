/* tests/unit/across/test_hash_flood.c — tables whose keys clients and issuers choose stay quick
 * with chosen keys, and a document costs no more than in proportion to its bytes. Times are
 * compared with the same table's times for random keys: the best of several runs, because machines
 * are busy. */
#include <netinet/in.h>
#include <openssl/rand.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "base/json.h"
#include "base/limits.h"
#include "gateway/sources.h"
#include "ledger/replay.h"

enum { N = 16384, RUNS = 7 };
#define WORST 4.0 /* times as slow as random keys: colliding ones would be a thousand times */

static double cpu_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

/* The n-th key of a pattern; pattern 0 is random. */
enum { PATTERNS = 6 };
static uint64_t pattern(unsigned which, uint64_t n)
{
	uint64_t r = 0;

	switch (which) {
	case 0:
		assert_int_equal(RAND_bytes((unsigned char *)&r, sizeof r), 1);
		return r;
	case 1:
		return n; /* one after the other */
	case 2:
		return n << 16;
	case 3:
		return n << 32;
	case 4:
		return n << 50;
	default:
		return n | n << 32; /* halves that cancel each other out */
	}
}

/* ---- sources ---- */

static double peers_us(unsigned which)
{
	static struct source *entered[N];
	struct sources *p = sources_new(N, 4, 1, 1);
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
	unsigned n = 0;

	assert_non_null(p);
	double from = cpu_us();
	for (uint64_t i = 0; i < N; i++) {
		uint64_t key = pattern(which, i + 1);
		for (unsigned b = 0; b < 8; b++)
			in6.sin6_addr.s6_addr[b] = (uint8_t)(key >> (56 - 8 * b));
		in6.sin6_addr.s6_addr[0] |= 0x20; /* no mapped IPv4 address */
		if (sources_enter(p, (const struct sockaddr *)&in6, &entered[n]) == KB_OK)
			n++;
	}
	for (unsigned i = 0; i < n; i++)
		sources_leave(p, entered[i]);
	double us = cpu_us() - from;
	sources_free(p);
	return us;
}

/* ---- used tokens ---- */

static double replay_us(unsigned which)
{
	struct replay *r = replay_new(N);

	assert_non_null(r);
	double from = cpu_us();
	for (uint64_t i = 0; i < N; i++) {
		uint8_t key[32] = {0};
		uint64_t head = pattern(which, i + 1);
		memcpy(key, &head, sizeof head);
		memcpy(key + 8, &i, sizeof i);
		assert_int_equal(replay_use(r, key, 1000, 5000), KB_OK);
	}
	double us = cpu_us() - from;
	replay_free(r);
	return us;
}

/* ---- members of a JSON object ---- */

static double json_us(unsigned which)
{
	static char text[KB_MAX_BODY];
	size_t len = (size_t)sprintf(text, "{");
	struct json_t *j;

	for (uint64_t i = 0; i < 4096; i++)
		len += (size_t)sprintf(text + len, "%s\"%016llx%x\":1", i == 0 ? "" : ",",
				       (unsigned long long)pattern(which, i + 1), (unsigned)i);
	len += (size_t)sprintf(text + len, "}");
	double from = cpu_us();
	assert_int_equal(json_load_strict(span_of(text, len), sizeof text, &j, NULL), KB_OK);
	double us = cpu_us() - from;
	json_free(j);
	return us;
}

static void stays_flat(double (*run)(unsigned), const char *what)
{
	double best[PATTERNS];

	for (unsigned which = 0; which < PATTERNS; which++) {
		best[which] = 1e18;
		for (unsigned i = 0; i < RUNS; i++) {
			double us = run(which);
			best[which] = us < best[which] ? us : best[which];
		}
		if (best[which] > WORST * best[0])
			fail_msg("%s: pattern %u takes %.0f us, random keys %.0f", what, which,
				 best[which], best[0]);
	}
}

static void test_g05_sources_that_were_chosen(void **state)
{
	(void)state;
	stays_flat(peers_us, "peers");
}

static void test_g05_tokens_that_were_chosen(void **state)
{
	(void)state;
	stays_flat(replay_us, "replay");
}

static void test_g05_members_that_were_chosen(void **state)
{
	(void)state;
	stays_flat(json_us, "JSON");
}

/* ---- values ---- */

static enum kb_err load_values(size_t values, const char *value)
{
	size_t cap = values * (strlen(value) + 1) + 8, len = 0;
	char *text = malloc(cap);
	struct json_t *j = NULL;

	assert_non_null(text);
	text[len++] = '[';
	for (size_t i = 0; i + 2 < values; i++) /* the array itself and the text count one each */
		len += (size_t)sprintf(text + len, "%s%s", i == 0 ? "" : ",", value);
	text[len++] = ']';
	enum kb_err err = json_load_strict(span_of(text, len), 4 * 1024 * 1024, &j, NULL);
	json_free(j);
	free(text);
	return err;
}

static void test_g04_number_of_json_values(void **state)
{
	(void)state;
	assert_int_equal(load_values(KB_MAX_JSON_VALUES, "1"), KB_OK);
	assert_int_equal(load_values(KB_MAX_JSON_VALUES + 1, "1"),
			 KB_OK); /* n values have n - 1 commas */
	assert_int_equal(load_values(KB_MAX_JSON_VALUES + 2, "1"), KB_E_JSON_SIZE);
	assert_int_equal(load_values((size_t)10 * KB_MAX_JSON_VALUES, "1"), KB_E_JSON_SIZE);
	assert_int_equal(load_values(KB_MAX_JSON_VALUES / 2, "\",,,,,[[[[{{{{\""),
			 KB_OK); /* what is in strings is no value */
	assert_int_equal(load_values(KB_MAX_JSON_VALUES, "{}"), KB_E_JSON_SIZE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_g05_sources_that_were_chosen),
		cmocka_unit_test(test_g05_tokens_that_were_chosen),
		cmocka_unit_test(test_g05_members_that_were_chosen),
		cmocka_unit_test(test_g04_number_of_json_values),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
