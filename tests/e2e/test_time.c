/* tests/e2e/test_time.c — the wall clock jumps, goes back, was never set, lies beyond 2038:
 * timeouts are not affected, tokens are, and what was used stays used. The clock is the
 * shim's: an offset that all processes see at once. */
#include "tests/fault/storage_test.h"

#include <sys/socket.h>

enum { HOUR = 3600, DAY = 24 * HOUR };

static void move_clock(int64_t seconds)
{
	atomic_store(&shim->wall_us, seconds * 1000000);
}

static int64_t real_s(void)
{
	struct timespec t;
	clock_gettime(CLOCK_REALTIME, &t);
	return t.tv_sec;
}

/* /readyz must say so within `ms`: the part about the clock. */
static void clock_is_said(const char *part, unsigned ms)
{
	char *body = NULL;
	for (unsigned long long end = now_ms() + ms; now_ms() < end; sleep_ms(30)) {
		free(body);
		(void)metrics_get(&in, "/readyz", &body);
		if (body != NULL && strstr(body, part) != NULL)
			break;
	}
	if (body == NULL || strstr(body, part) == NULL)
		GOOD(wrong("/readyz does not say %s: %.300s", part, body == NULL ? "" : body));
	free(body);
}

static unsigned log_count(const char *part)
{
	size_t len;
	unsigned n = 0;
	char *log = slurp(in.log, &len);
	for (char *at = log; (at = strstr(at, part)) != NULL; at++)
		n++;
	free(log);
	return n;
}

/* A jump that must be seen as one. */
static void jump(int64_t seconds)
{
	unsigned before = log_count("\"event\":\"clock.step\"");
	move_clock(seconds);
	for (unsigned long long end = now_ms() + 5000;
	     log_count("\"event\":\"clock.step\"") == before && now_ms() < end;)
		sleep_ms(20);
	assert_int_equal(log_count("\"event\":\"clock.step\""), before + 1);
}

static void refused(const char *audit_name)
{
	REFUSED(&good.ask, 403, "Forbidden", audit_name);
}

/* A jump: it is logged once, /readyz is 503 until the clock has been stable, judgement goes by the
 * new time at once. */
static void test_f01_jumps_are_seen_and_tokens_judged_by_the_new_time(void **state)
{
	(void)state;
	jump(HOUR);
	clock_is_said("\"clock\":{\"ready\":false,\"reason\":\"CLOCK_STEP\"}", 3000);
	released(); /* a token is good for 8 hours */
	jump(-240); /* further back the issuer's keys are of a time that is to come */
	refused("NOT_YET");
	jump(-HOUR);
	REFUSED(&good.ask, 503, "ServiceUnavailable", "ISSUER_UNAVAILABLE");
	jump(9 * HOUR);
	refused("EXPIRED");
	jump(-real_s()); /* 1970 */
	clock_is_said("CLOCK_STEP", 3000);
	REFUSED(&good.ask, 503, "ServiceUnavailable", "CLOCK_UNSET");
	jump(INT64_C(4291747200) - real_s()); /* 2106: the issuer's keys are stale, too */
	REFUSED(&good.ask, 503, "ServiceUnavailable", "ISSUER_UNAVAILABLE");
	jump(0);
	unsigned long long from = now_ms();
	clock_is_said("CLOCK_STEP", 3000);
	released();
	GOOD(broker_wait_ready(&in, 90000));
	assert_true(now_ms() - from >= 9000); /* 503 until it has been stable */
	GOOD(invariants_hold(&in));
}

/* When the peer closed it, in ms since `from`; 0: it has not. */
static unsigned long long closed_after(struct link *l, unsigned long long from)
{
	char bytes[256];
	ssize_t n = recv(link_socket(l), bytes, sizeof bytes, MSG_DONTWAIT);
	return n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR) ? now_ms() - from : 0;
}

/* Connections are closed at their deadline by the monotonic clock: a jump forth does not hasten it,
 * a jump back does not delay it; one that is idle but within its time stays. */
static void test_f01_deadlines_do_not_notice(void **state)
{
	(void)state;
	static const char head[] = "POST /keys/key/release?api-version=7.4 HTTP/1.1\r\nHost: x\r\n";
	struct link *slow[2] = {NULL, NULL}, *idle = NULL;
	unsigned long long from[2], took[2] = {0, 0};
	struct reply r = {0};
	GOOD(link_open(&in.at, &idle));
	GOOD(guest_ask(idle, &good.ask, &r)); /* before its first request it would have 10 s */
	reply_free(&r);
	for (unsigned i = 0; i < 2; i++) {
		GOOD(link_open(&in.at, &slow[i]));
		GOOD(link_send(slow[i], head, sizeof head - 1));
		from[i] = now_ms();
		sleep_ms(500);
		move_clock(i == 0 ? 30 * DAY
				  : -30 * DAY); /* the second one began while the clock was ahead */
	}
	while ((took[0] == 0 || took[1] == 0) && now_ms() - from[0] < 20000) {
		for (unsigned i = 0; i < 2; i++)
			took[i] = took[i] != 0 ? took[i] : closed_after(slow[i], from[i]);
		sleep_ms(20);
	}
	for (unsigned i = 0; i < 2; i++)
		if (took[i] < 9500 || took[i] > 14000)
			GOOD(wrong("closed after %llu ms", took[i]));
	move_clock(0);
	GOOD(guest_ask(idle, &good.ask, &r)); /* 10 s of its 60 */
	/* Keys that were fetched while the clock was ahead are none now, until they are fetched
	 * again. */
	for (unsigned long long end = now_ms() + 10000; r.status == 503 && now_ms() < end;) {
		reply_free(&r);
		sleep_ms(50);
		GOOD(guest_ask(idle, &good.ask, &r));
	}
	assert_int_equal(r.status, 200);
	reply_free(&r);
	link_close(idle);
	link_close(slow[0]);
	link_close(slow[1]);
	GOOD(invariants_hold(&in));
}

/* Slewing, a leap second, a step within the skew: no request is refused for it, and it is no
 * step. */
static void test_f03_small_steps_are_none(void **state)
{
	(void)state;
	GOOD(broker_wait_ready(&in, 90000)); /* after the steps of the test before */
	unsigned before = log_count("\"event\":\"clock.step\"");
	for (int64_t by = -50; by <= 50; by += 25) { /* seconds; the skew is 60 */
		move_clock(by);
		released();
		clock_is_said("\"clock\":{\"ready\":true}", 1000);
	}
	for (unsigned i = 0; i < 40; i++) { /* 500 ms in steps of 50 ms, forth and back */
		atomic_store(&shim->wall_us, (int64_t)(i < 20 ? i : 40 - i) * 50000);
		released();
	}
	move_clock(0);
	assert_int_equal(log_count("\"event\":\"clock.step\""), before);
	GOOD(invariants_hold(&in));
}

/* ---- single use: last, as the issuer's configuration changes ---- */

static void change_issuer(const char *member, json_t *value)
{
	json_t *issuer = instance_json(&in, "issuers.d/issuer.json");
	char *out = NULL;
	json_object_set_new(issuer, member, value);
	GOOD(instance_json_write(&in, "issuers.d/issuer.json", issuer));
	if (CTL(&in, &out, "reload") != 0)
		GOOD(wrong("reload: %.300s", out));
	free(out);
}

static const char *ask_with(const char *with, int *status)
{
	struct link *l = NULL;
	struct reply r = {0};
	struct ask a = good.ask;
	a.token = with;
	const char *why = link_open(&in.at, &l);
	if (why == NULL)
		why = guest_ask(l, &a, &r);
	*status = why == NULL ? r.status : 0;
	reply_free(&r);
	link_close(l);
	return why;
}

/* A used token stays used when the clock goes past its end and comes back, the ledger's process
 * starting anew in between; and a bogus time far ahead does not make every later token a used
 * one. */
static void test_f02_used_token_stays_used_when_the_clock_comes_back(void **state)
{
	(void)state;
	char *used = NULL, *fresh = NULL;
	int status;
	change_issuer("single_use", json_true());
	GOOD(guest_attest(&in.issuer_at, evidence_platform(kek), &used));
	GOOD(guest_attest(&in.issuer_at, evidence_platform(kek), &fresh));
	struct ask again = {.name = "key", .token = used};
	GOOD(ask_with(used, &status));
	assert_int_equal(status, 200);
	REFUSED(&again, 403, "Forbidden", "REPLAY");
	for (unsigned i = 0; i < 3; i++) {
		move_clock(i == 2 ? INT64_C(4291747200) - real_s() : 2 * DAY);
		if (i > 0) {
			/* the first line of a segment carries the greatest time seen */
			signal_broker(SIGUSR1);
			pid_t ledger = broker_process(&in, "--process ledger", 0);
			sleep_ms(200);
			kill(ledger, SIGKILL);
			for (unsigned long long end = now_ms() + 10000; now_ms() < end;
			     sleep_ms(20)) {
				pid_t now = broker_process(&in, "--process ledger", 0);
				if (now > 0 && now != ledger)
					break;
			}
		}
		(void)ask_with(used, &status);
		assert_int_not_equal(status, 200);
		move_clock(0);
		status = 503; /* the set that was fetched meanwhile is of a time that is to come */
		for (unsigned long long end = now_ms() + 20000;
		     status != 403 && status != 200 && now_ms() < end; sleep_ms(50))
			(void)ask_with(used, &status);
		REFUSED(&again, 403, "Forbidden", "REPLAY");
	}
	char *later = NULL;
	sleep_ms(1100);
	GOOD(guest_attest(&in.issuer_at, evidence_platform(kek), &later));
	GOOD(ask_with(later, &status));
	if (status != 200)
		GOOD(wrong("a fresh token is refused after a bogus time: %d", status));
	free(later);
	free(used);
	free(fresh);
	change_issuer("single_use", json_false());
	GOOD(invariants_hold(&in));
}

/* ---- F4, F5: started with such a clock ---- */

static void started_at(int64_t wall_s)
{
	assert_int_equal(broker_stop(&in, SIGTERM, 40000), 0);
	move_clock(wall_s - real_s());
	GOOD(shim_start_unready(&in));
	for (unsigned long long end = now_ms() + 20000;
	     metrics_get(&in, "/readyz", NULL) == 0 && now_ms() < end;)
		sleep_ms(30);
}

static void test_f04_clock_never_set_releases_nothing(void **state)
{
	(void)state;
	started_at(86400 * 365); /* 1971: no battery */
	clock_is_said("\"clock\":{\"ready\":false,\"reason\":\"CLOCK_UNSET\"}", 20000);
	int status = 0;
	for (unsigned long long end = now_ms() + 20000; status != 503 && now_ms() < end;
	     sleep_ms(50))
		(void)ask_with(token, &status);
	REFUSED(&good.ask, 503, "ServiceUnavailable", "CLOCK_UNSET");
	move_clock(0); /* time is there: service without a restart */
	wait_released(30000);
	assert_int_equal(broker_stop(&in, SIGTERM, 40000), 0);
	GOOD(shim_start(&in));
	GOOD(invariants_begin(&in, &good));
	GOOD(invariants_hold(&in));
}

/* In 2045 everything is as today, seconds beyond 32 bits and all: certificates that are good then,
 * a token of then. */
static void test_f05_beyond_2038(void **state)
{
	(void)state;
	started_at(INT64_C(2366841600)); /* 2045 */
	int status = 0;
	for (unsigned long long end = now_ms() + 20000;
	     status != 403 && status != 503 && now_ms() < end; sleep_ms(50))
		(void)ask_with(token, &status);
	sleep_ms(500);
	char *text = ledger_text(&in);
	assert_non_null(strstr(text, "\"time\":\"2045-01-"));
	free(text);
	char *out = NULL;
	if (CTL(&in, &out, "ledger", "verify") != 0)
		GOOD(wrong("%.200s", out));
	free(out);
	assert_int_equal(broker_stop(&in, SIGTERM, 40000), 0);
	move_clock(0);
	GOOD(shim_start(&in));
	GOOD(invariants_begin(&in, &good));
	GOOD(invariants_hold(&in));
}

#define T(f) cmocka_unit_test_teardown(f, after_each)
int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_f03_small_steps_are_none),
		T(test_f01_jumps_are_seen_and_tokens_judged_by_the_new_time),
		T(test_f01_deadlines_do_not_notice),
		T(test_f04_clock_never_set_releases_nothing),
		T(test_f05_beyond_2038),
		T(test_f02_used_token_stays_used_when_the_clock_comes_back),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
