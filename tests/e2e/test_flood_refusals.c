/* tests/e2e/test_flood_refusals.c — refused calls, again and again, from many addresses: they cost
 * a bounded number of bytes, every one is counted, no release waits or is lost among them.  A
 * source that fails too often is blocked for a while; an answer that was lost is given again. */
#include "base/limits.h"
#include "tests/e2e/flood.h"

enum { SOURCES = 1000, EACH = 8, FIRST = 1000 /* 127.0.3.232 */ };

/* A key that nobody gets: the record of a refusal names the condition that failed. */
static int setup(void **state)
{
	flood_setup(state);
	char *policy = policy_guest(in.issuer_url);
	GOOD(instance_import(&in, "denied", NULL, flood_secret, sizeof flood_secret, policy));
	free(policy);
	return 0;
}

/* Another configuration, and a new start. */
static void configure(const char *member, json_t *value)
{
	json_t *config = instance_json(&in, "keybroker.json");
	json_object_del(config, "refusals"); /* the usual ones */
	json_object_del(config, "limits");
	json_object_del(config, "penalties");
	if (member != NULL)
		json_object_set_new(config, member, value);
	GOOD(instance_json_write(&in, "keybroker.json", config));
}

static void restart_with(const char *member, json_t *value)
{
	configure(member, value);
	if (in.broker > 0)
		assert_int_equal(broker_stop(&in, SIGTERM, 40000), 0);
	flood_begin();
}

/* The ledger's process stays, and takes up what is new. */
static void reload_with(const char *member, json_t *value)
{
	char *out = NULL;

	configure(member, value);
	if (CTL(&in, &out, "reload") != 0)
		GOOD(wrong("reload: %s", out));
	free(out);
}

static void single_use(bool is_on, const char *grace)
{
	json_t *issuer = instance_json(&in, "issuers.d/issuer.json");
	json_object_set_new(issuer, "single_use", json_boolean(is_on));
	json_object_set_new(issuer, "single_use_grace",
			    grace == NULL ? json_integer(0) : json_string(grace));
	GOOD(instance_json_write(&in, "issuers.d/issuer.json", issuer));
	char *out = NULL;
	if (CTL(&in, &out, "reload") != 0)
		GOOD(wrong("reload: %.300s", out));
	free(out);
}

/* `n` refused calls on one connection from a source; the status of the last one, 0: closed. */
static int ask_denied(unsigned source, unsigned n)
{
	struct place at = in.at;
	struct ask a = {.name = "denied", .token = token};
	struct reply r;
	struct link *l = NULL;
	int status = 0;
	at.from = source;
	const char *why = link_open(&at, &l);
	for (unsigned i = 0; why == NULL && i < n; i++) {
		why = guest_ask(l, &a, &r);
		status = why == NULL ? r.status : 0;
		if (why == NULL && r.will_close)
			n = i;
		if (why == NULL)
			reply_free(&r);
	}
	link_close(l);
	return status;
}

/* What "more" of the ledger's sums of a code adds up to. */
static unsigned summed(const char *code)
{
	char part[96];
	unsigned n = 0;
	snprintf(part, sizeof part,
		 "\"event\":\"refusals\",\"outcome\":\"refused\",\"code\":\"%s\"", code);
	char *text = ledger_text(&in);
	for (const char *at = text; (at = strstr(at, part)) != NULL; at++)
		n += (unsigned)strtoul(strstr(at, "\"more\":") + 7, NULL, 10);
	free(text);
	return n;
}

static void wait_summed(const char *code, unsigned want)
{
	kill(in.broker, SIGUSR1); /* sums are taken at rotation, too */
	for (unsigned long long end = now_ms() + 10000; summed(code) < want && now_ms() < end;)
		sleep_ms(50);
	assert_int_equal(summed(code), want);
}

static unsigned denied_whole(void)
{
	return ledger_count(&in, "\"code\":\"POLICY\",\"request\"");
}

static void test_g09_flood_from_1000_sources(void **state)
{
	(void)state;
	char *out = NULL;
	restart_with(NULL, NULL);
	double before = metric(&in, "keybroker_ledger_bytes_total");
	unsigned released = ledger_count(&in, "\"outcome\":\"released\"");
	unsigned long long from = now_ms();
	for (unsigned i = 0; i < SOURCES; i++) {
		assert_int_equal(ask_denied(FIRST + i, EACH), 403);
		if (i == SOURCES / 2)
			served_within(7, 10000);
	}
	double minutes = 1 + (double)((now_ms() - from) / 60000);
	unsigned whole = denied_whole();
	assert_true(whole > KB_REFUSAL_WHOLE);
	wait_summed("POLICY", SOURCES * EACH - whole);
	assert_true(ledger_count(&in, "\"outcome\":\"released\"") > released);
	double bytes = metric(&in, "keybroker_ledger_bytes_total") - before;
	if (bytes > 1000000 * minutes)
		GOOD(wrong("%.0f bytes in %.0f minutes", bytes, minutes));
	assert_int_equal((int)metric(&in, "keybroker_ledger_refusals_summed_total"),
			 SOURCES * EACH - (int)whole);
	char label[128];
	snprintf(label, sizeof label,
		 "keybroker_refusals_total{key=\"denied\",issuer=\"issuer\",code=\"POLICY\"}");
	assert_int_equal((int)metric(&in, label), SOURCES * EACH);
	assert_int_equal(CTL(&in, &out, "ledger", "verify"), 0);
	free(out);
	assert_int_equal(CTL(&in, &out, "ledger", "show", "--code", "POLICY", "--lines", "3"), 0);
	if (strstr(out, "refusals  refused  POLICY  ") == NULL ||
	    strstr(out, " more  from 127.0.") == NULL || strstr(out, " in ") == NULL)
		GOOD(wrong("ledger show: %s", out));
	free(out);
	assert_int_equal(
		CTL(&in, &out, "ledger", "show", "--code", "POLICY", "--lines", "1", "--json"), 0);
	assert_non_null(strstr(out, "\"more\":"));
	free(out);
}

/* Less free space than the reserve: refusals are only counted, a release is recorded whole. */
static void test_g10_reserve_is_kept_for_releases(void **state)
{
	(void)state;
	unsigned whole = denied_whole(), sums = summed("POLICY");
	reload_with("limits", json_pack("{s:I}", "ledger_reserve", (json_int_t)1 << 40));
	unsigned released = ledger_count(&in, "\"outcome\":\"released\"");
	assert_int_equal(ask_denied(7, EACH), 403);
	served_within(7, 10000);
	assert_true(ledger_count(&in, "\"outcome\":\"released\"") > released);
	assert_int_equal(denied_whole(), whole);
	wait_metric("keybroker_ledger_low", 1, 1000);
	/* The usual reserve again, and more for refusals than the flood of before has used up. */
	reload_with("refusals", json_pack("{s:i,s:i}", "per_source", 1000, "bytes", 1 << 30));
	assert_int_equal(ask_denied(8, 1), 403);
	assert_int_equal(denied_whole(), whole + 1);
	assert_int_equal((int)metric(&in, "keybroker_ledger_low"), 0);
	wait_summed("POLICY", sums + EACH);
	restart_with(NULL, NULL);
}

/* The answer of a single-use release is lost; the guest asks again with the same token. */
static void test_g12_lost_answer(void **state)
{
	(void)state;
	char *once = NULL;
	single_use(true, "60s");
	sleep_ms(1100); /* the token must be of after the ledger's beginning */
	GOOD(guest_attest(&in.issuer_at, evidence_platform(kek), &once));
	struct place at = in.at;
	struct ask a = {.name = KEY_NAME, .token = once};
	struct link *l;
	struct released got;
	struct expect want = good.want;
	unsigned repeats = ledger_count(&in, ",\"repeat\":true");
	double counted = metric(&in, "keybroker_ledger_repeats_total");
	for (unsigned i = 0; i < 2; i++) {
		GOOD(link_open(&at, &l));
		GOOD(guest_release(l, &a, &want, &got));
		released_free(&got);
		link_close(l);
	}
	assert_int_equal(ledger_count(&in, ",\"repeat\":true"), repeats + 1);
	assert_int_equal((int)(metric(&in, "keybroker_ledger_repeats_total") - counted), 1);
	/* The ledger process knows the first use again after it was killed. */
	pid_t ledger = broker_process(&in, "--process ledger", 0);
	kill(ledger, SIGKILL);
	GOOD(broker_wait_ready(&in, READY_MS));
	struct reply r;
	int status = 503;
	for (unsigned long long end = now_ms() + 20000; status == 503 && now_ms() < end;
	     sleep_ms(50)) {
		GOOD(link_open(&at, &l));
		GOOD(guest_ask(l, &a, &r));
		status = r.status;
		reply_free(&r);
		link_close(l);
	}
	assert_int_equal(status, 200);
	single_use(true, "1s");
	sleep_ms(1100);
	REFUSED(&a, 403, "Forbidden", "REPLAY");
	free(once);
	single_use(false, NULL);
}

/* Three failures block a source: its next connection is closed, another source is served, and it is
 * served again when the penalty has passed. */
static void test_g13_source_that_fails_is_blocked(void **state)
{
	(void)state;
	restart_with("penalties", json_pack("{s:s, s:s, s:s, s:[]}", "failure", "2s", "threshold",
					    "5s", "longest", "6s", "exempt"));
	assert_int_equal(ask_denied(200, 3), 403);
	assert_int_equal(ask_denied(200, 1), 0);
	assert_true(refused_as("PENALTY") >= 1);
	served_within(201, 10000);
	unsigned long long end = now_ms() + 15000;
	while (ask_denied(200, 1) == 0 && now_ms() < end)
		sleep_ms(200);
	assert_true(now_ms() < end);
	/* On a connection that is open, too: 503, then the end. */
	assert_int_equal(ask_denied(202, 20), 503);
	/* One that was released to shares its address with one that fails. */
	served_within(203, 10000);
	assert_int_equal(ask_denied(203, 20), 403);
	restart_with(NULL, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_g09_flood_from_1000_sources),
		cmocka_unit_test(test_g10_reserve_is_kept_for_releases),
		cmocka_unit_test(test_g12_lost_answer),
		cmocka_unit_test(test_g13_source_that_fails_is_blocked),
	};
	return cmocka_run_group_tests(tests, setup, flood_teardown);
}
