/* tests/security/alone-timing.c — how long a refusal takes must not say which condition of the
 * policy failed.  Measured on the wire, the kinds in alternation, medians compared: a busy machine
 * slows all of them. */
#include "tests/e2e/check.h"
#include "tests/e2e/invariants.h"

#include <math.h>
#include <stdlib.h>

enum { CONDITIONS = 60, ROUNDS = 700, ATTEMPTS = 3 };

static EVP_PKEY *kek;
static char *good_token, *fails[2]; /* at the first condition, at the last one */
static struct good good;
static const uint8_t secret[32] = "canary-of-the-timing-test-51c09";

/* CONDITIONS claims c0 … that must each be "yes". */
static char *long_policy(void)
{
	json_t *all = json_array();
	char name[16];
	for (unsigned i = 0; i < CONDITIONS; i++) {
		snprintf(name, sizeof name, "c%u", i);
		json_array_append_new(all, json_pack("{s:s,s:s}", "claim", name, "equals", "yes"));
	}
	json_t *p = json_pack("{s:s,s:[{s:s,s:o}]}", "version", "1.0.0", "anyOf", "authority",
			      in.issuer_url, "allOf", all);
	char *text = json_dumps(p, 0);
	json_decref(p);
	return text;
}

/* A token whose claims say "yes" but for those from `from` to before `to`, which say "not": as long
 * as the other. */
static const char *make_token(unsigned from, unsigned to, char **token)
{
	json_t *attest = evidence_platform(kek);
	char name[16];
	for (unsigned i = 0; i < CONDITIONS; i++) {
		snprintf(name, sizeof name, "c%u", i);
		evidence_set(attest, name, json_string(i >= from && i < to ? "not" : "yes"));
	}
	return guest_attest(&in.issuer_at, attest, token);
}

static int setup(void **state)
{
	(void)state;
	signal(SIGPIPE, SIG_IGN);
	GOOD(instance_make(&in));
	char *policy = long_policy();
	GOOD(instance_import(&in, "key", NULL, secret, sizeof secret, policy));
	free(policy);
	kek = guest_key(2048);
	GOOD(make_token(0, 0, &good_token));
	GOOD(make_token(0, 1, &fails[0]));
	GOOD(make_token(CONDITIONS - 1, CONDITIONS, &fails[1]));
	good = (struct good){
		.ask = {.name = "key", .token = good_token},
		.want = {.root = in.root,
			 .host = "localhost",
			 .base_url = in.base_url,
			 .kek = kek,
			 .kek_kid = KID_PLATFORM},
		.plain = secret,
		.plain_len = sizeof secret,
	};
	GOOD(broker_start(&in));
	GOOD(invariants_begin(&in, &good));
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	EVP_PKEY_free(kek);
	free(good_token);
	for (unsigned i = 0; i < 2; i++)
		free(fails[i]);
	assert_int_equal(broker_stop(&in, SIGTERM, 40000), 0);
	GOOD(broker_log_clean(&in));
	instance_free(&in);
	return 0;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return x < y ? -1 : x > y;
}

static double now_us(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

/* The medians of two tokens' alternating calls; answers 403, or 200 where the token is the good
 * one. */
static double measure(struct link *l, const char *one, const char *other)
{
	const char *const tokens[2] = {one, other};
	double median[2];
	static double took[2][ROUNDS];
	for (unsigned i = 0; i < 2 * ROUNDS; i++) {
		unsigned kind = (i + i / 2) % 2; /* 0 1 1 0: neither has the better place */
		struct ask a = {.name = "key", .token = tokens[kind]};
		struct reply r;
		double from = now_us();
		GOOD(guest_ask(l, &a, &r));
		took[kind][i / 2] = now_us() - from;
		assert_int_equal(r.status, tokens[kind] == good_token ? 200 : 403);
		reply_free(&r);
	}
	for (unsigned kind = 0; kind < 2; kind++) {
		qsort(took[kind], ROUNDS, sizeof took[kind][0], compare);
		median[kind] = took[kind][ROUNDS / 2];
	}
	double difference =
		fabs(median[0] - median[1]) / (median[0] < median[1] ? median[0] : median[1]);
	print_message("%.1f us and %.1f us, difference %.2f %%\n", median[0], median[1],
		      difference * 100);
	return difference;
}

static void test_i09_refusal_takes_the_same_time_whatever_failed(void **state)
{
	(void)state;
	struct link *l;
	double difference = 1;
	GOOD(link_open(&in.at, &l));
	for (unsigned i = 0; i < ATTEMPTS && difference > 0.05; i++)
		difference = measure(l, fails[0], fails[1]);
	/* The control: a release, which makes a signature more, is seen to differ. */
	assert_true(measure(l, fails[0], good_token) > 0.05);
	link_close(l);
	assert_true(difference <= 0.05);
	GOOD(invariants_hold(&in));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_i09_refusal_takes_the_same_time_whatever_failed)};
	return cmocka_run_group_tests(tests, setup, teardown);
}
