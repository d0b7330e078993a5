/* tests/e2e/test_gateways.c — several gateways: each has sockets of its own to the workers and from
 * the ledger, and what happens to one does not concern the others. */
#include "tests/e2e/check.h"

#include <unistd.h>

#include "tests/e2e/invariants.h"

enum { GATEWAYS = 3 };

static EVP_PKEY *kek;
static const uint8_t secret[32] = "gateways: thirty-two secret byte";
static struct good good;

static int setup(void **state)
{
	(void)state;
	static char kid[44];
	char *token;
	signal(SIGPIPE, SIG_IGN);
	GOOD(instance_make(&in));
	char *policy = policy_container(in.issuer_url);
	GOOD(instance_import(&in, "key", NULL, secret, sizeof secret, policy));
	free(policy);
	json_t *config = instance_json(&in, "keybroker.json"),
	       *limits = json_object_get(config, "limits");
	if (limits == NULL) {
		limits = json_object();
		json_object_set_new(config, "limits", limits);
	}
	json_object_set_new(limits, "gateways", json_integer(GATEWAYS));
	GOOD(instance_json_write(&in, "keybroker.json", config));
	kek = guest_key(2048);
	GOOD(guest_attest(&in.issuer_at, evidence_container(kek, HOST_DATA), &token));
	good = (struct good){.ask = {.name = "key", .token = token},
			     .want = {.root = in.root,
				      .host = "localhost",
				      .base_url = in.base_url,
				      .kek = kek,
				      .kek_kid = evidence_thumbprint(kek, kid)},
			     .plain = secret,
			     .plain_len = sizeof secret};
	GOOD(broker_start(&in));
	GOOD(invariants_begin(&in, &good));
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	if (in.broker > 0)
		assert_int_equal(broker_stop(&in, SIGTERM, 40000), 0);
	GOOD(broker_log_clean(&in));
	free((char *)(uintptr_t)good.ask.token);
	EVP_PKEY_free(kek);
	instance_free(&in);
	return 0;
}

static void is_released(void)
{
	struct link *l;
	struct reply r = {0};

	GOOD(link_open(&in.at, &l));
	GOOD(guest_ask(l, &good.ask, &r));
	link_close(l);
	if (r.status != 200)
		GOOD(wrong("status %d: %.300s", r.status, r.body));
	reply_free(&r);
}

static void find_gateways(pid_t pid[GATEWAYS])
{
	for (unsigned i = 0; i < GATEWAYS; i++)
		assert_int_not_equal(pid[i] = broker_process(&in, "--process gateway", i), 0);
}

/* Through each of them alone: the others are stopped. */
static void through_each(void)
{
	pid_t pid[GATEWAYS];

	find_gateways(pid);
	for (unsigned only = 0; only < GATEWAYS; only++) {
		for (unsigned i = 0; i < GATEWAYS; i++)
			kill(pid[i], i == only ? SIGCONT : SIGSTOP);
		for (unsigned n = 0; n < 5; n++)
			is_released();
	}
	for (unsigned i = 0; i < GATEWAYS; i++)
		kill(pid[i], SIGCONT);
}

static void test_i14_every_gateway_is_served(void **state)
{
	(void)state;
	through_each();
	GOOD(invariants_hold(&in));
}

/* The one that is started in its place has the same sockets. */
static void test_i14_i07_gateway_that_ended_is_replaced(void **state)
{
	pid_t pid[GATEWAYS], now[GATEWAYS];

	(void)state;
	for (unsigned which = 0; which < GATEWAYS; which++) {
		find_gateways(pid);
		kill(pid[which], SIGKILL);
		for (unsigned long long end = now_ms() + 10000; now_ms() < end; sleep_ms(20)) {
			unsigned n = 0;
			while (n < GATEWAYS &&
			       (now[n] = broker_process(&in, "--process gateway", n)) != 0)
				n++;
			bool is_gone = true;
			for (unsigned i = 0; i < n; i++)
				is_gone = is_gone && now[i] != pid[which];
			if (n == GATEWAYS && is_gone)
				break;
		}
		for (unsigned long long end = now_ms() + 10000;
		     metric(&in, "keybroker_process_up{process=\"gateway\"}") < GATEWAYS &&
		     now_ms() < end;)
			sleep_ms(20);
		through_each();
	}
	GOOD(invariants_hold(&in));
}

/* Nobody asks it anything, and it says nothing wrong: that it does nothing is seen. */
static void test_i17_hung_gateway_is_replaced(void **state)
{
	pid_t pid[GATEWAYS];

	(void)state;
	find_gateways(pid);
	kill(pid[1], SIGSTOP);
	bool is_there = true;
	for (unsigned long long end = now_ms() + 40000; is_there && now_ms() < end; sleep_ms(100)) {
		is_there = false;
		for (unsigned i = 0; i < GATEWAYS; i++)
			is_there |= broker_process(&in, "--process gateway", i) == pid[1];
	}
	assert_false(is_there);
	for (unsigned long long end = now_ms() + 10000;
	     metric(&in, "keybroker_process_up{process=\"gateway\"}") < GATEWAYS && now_ms() < end;)
		sleep_ms(20);
	assert_true(metric(&in, "keybroker_killed_hung_total") >= 1);
	through_each();
	GOOD(invariants_hold(&in));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_i14_every_gateway_is_served),
		cmocka_unit_test(test_i14_i07_gateway_that_ended_is_replaced),
		cmocka_unit_test(test_i17_hung_gateway_is_replaced),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
