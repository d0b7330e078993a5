/* tests/security/test_hsm_long.c — section C at length: every code from every call, a minute with a
 * wrong PIN, hangs in every phase of a worker's life, ten thousand wraps. */
#include <sys/wait.h>

#include "tests/fault/hsm_stand.h"

enum { WORKERS = 2 };

static int setup(void **state)
{
	(void)state;
	stand_start(WORKERS);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	stand_stop();
	return 0;
}

static int well_again(void **state)
{
	(void)state;
	fake_clear();
	if (in.broker == 0)
		GOOD(broker_start(&in));
	GOOD(broker_wait_ready(&in, READY_MS));
	workers_are_up(WORKERS);
	GOOD(invariants_hold(&in));
	return 0;
}

/* PKCS#11 v2.40 §5.1, every value, and what it means to a release that gets it from C_WrapKey;
 * NULL: it is tried again and succeeds.  Written from the standard, not from the product's
 * table. */
static const struct {
	CK_RV rv;
	const char *code;
} all[] = {
	{0x01, "HSM"},
	{0x02, "HSM_MEMORY"},
	{0x03, "HSM_TOKEN"},
	{0x05, "HSM_DEVICE"},
	{0x06, "HSM_DEVICE"},
	{0x07, "HSM"},
	{0x08, "HSM"},
	{0x09, "HSM_MODULE"},
	{0x0a, "HSM_MODULE"},
	{0x10, "HSM_KEY_ATTR"},
	{0x11, "HSM_KEY_ATTR"},
	{0x12, "HSM_KEY_ATTR"},
	{0x13, "HSM_KEY_ATTR"},
	{0x1b, "HSM_KEY_ATTR"},
	{0x20, "HSM"},
	{0x21, "HSM"},
	{0x30, "HSM_DEVICE"},
	{0x31, "HSM_MEMORY"},
	{0x32, "HSM_DEVICE"},
	{0x40, "HSM"},
	{0x41, "HSM"},
	{0x50, "HSM"},
	{0x51, "HSM"},
	{0x54, "HSM_MECHANISM"},
	{0x60, NULL},
	{0x62, "HSM_KEY_ATTR"},
	{0x63, "HSM_KEY_ATTR"},
	{0x64, "HSM"},
	{0x65, NULL},
	{0x66, "HSM"},
	{0x67, "HSM_KEY_ATTR"},
	{0x68, "HSM_KEY_ATTR"},
	{0x69, "HSM_KEY_ATTR"},
	{0x6a, "HSM_KEY_ATTR"},
	{0x70, "HSM_MECHANISM"},
	{0x71, "HSM_MECHANISM"},
	{0x82, NULL},
	{0x90, NULL},
	{0x91, NULL},
	{0xa0, "HSM_PIN"},
	{0xa1, "HSM_PIN"},
	{0xa2, "HSM_PIN"},
	{0xa3, "HSM_PIN"},
	{0xa4, "HSM_PIN"},
	{0xb0, NULL},
	{0xb1, "HSM_MEMORY"},
	{0xb3, NULL},
	{0xb4, "HSM"},
	{0xb5, "HSM"},
	{0xb6, "HSM"},
	{0xb7, "HSM"},
	{0xb8, "HSM"},
	{0xc0, "HSM"},
	{0xc1, "HSM"},
	{0xd0, "HSM_KEY_ATTR"},
	{0xd1, "HSM_KEY_ATTR"},
	{0xe0, "HSM_TOKEN"},
	{0xe1, "HSM_TOKEN"},
	{0xe2, "HSM"},
	{0xf0, NULL},
	{0xf1, "HSM_KEY_ATTR"},
	{0xf2, "HSM_KEY_ATTR"},
	{0x100, "HSM"},
	{0x101, NULL},
	{0x102, "HSM_TOKEN"} /* SoftHSM, of a token it cannot read now */,
	{0x103, "HSM_PIN"},
	{0x104, "HSM"},
	{0x105, "HSM"},
	{0x110, "HSM_OUTPUT"},
	{0x112, "HSM_OUTPUT"},
	{0x113, NULL},
	{0x114, "HSM_KEY_ATTR"},
	{0x115, "HSM_KEY_ATTR"},
	{0x120, "HSM"},
	{0x121, "HSM"},
	{0x130, "HSM_KEY_ATTR"},
	{0x140, "HSM_MECHANISM"},
	{0x150, "HSM_OUTPUT"},
	{0x160, "HSM"},
	{0x170, "HSM_KEY_ATTR"},
	{0x180, "HSM"},
	{0x190, "HSM_MODULE"},
	{0x191, "HSM_MODULE"},
	{0x1a0, "HSM_MODULE"},
	{0x1a1, "HSM_MODULE"},
	{0x1b0, "HSM_PIN"},
	{0x1b1, "HSM_PIN"},
	{0x1b5, "HSM"},
	{0x1b6, "HSM_DEVICE"},
	{0x1b7, "HSM_MODULE"},
	{0x1b8, "HSM_PIN"},
	{0x1b9, "HSM_KEY_ATTR"},
	{0x200, "HSM"},
	{0x80000001, "HSM"},
};
enum { CODES = sizeof all / sizeof all[0] };

/* One code from one call of a session's reopening.  Three faults in a row, and a worker proves its
 * HSM between two requests: then it is the proof that meets the session's loss, and the step is
 * done again. */
static void reopening_fails(unsigned call, CK_RV rv)
{
	uint64_t hits = 0;
	for (unsigned attempt = 0; attempt < 3 && hits == 0; attempt++) {
		fake_rule(0, call, 0, 1,
			  call == FAKE_C_CloseSession || call == FAKE_C_DestroyObject ? FAKE_AFTER
										      : FAKE_RETURN,
			  rv);
		fake_rule(1, FAKE_C_WrapKey, 0, 1, FAKE_RETURN, CKR_SESSION_HANDLE_INVALID);
		struct outcome o = ask_key("rsa");
		hits = fake_hits(0);
		fake_clear();
		bool is_clean = (o.status == 200 && o.why[0] == '\0') || is_hsm_refusal(&o);
		if (!is_clean || o.records != 1)
			GOOD(wrong("reopening, call %u, 0x%lx: status %d, code %s, %u records %s",
				   call, rv, o.status, o.code, o.records, o.why));
		GOOD(ask_within("rsa", 10000));
	}
	if (hits == 0)
		GOOD(wrong("reopening, call %u, 0x%lx: not met", call, rv));
}

static void test_c01_every_code_from_every_call(void **state)
{
	(void)state;
	static const unsigned steady[] = {FAKE_C_WrapKey, FAKE_C_SignInit, FAKE_C_Sign};
	static const unsigned reopening[] = {FAKE_C_CloseSession,     FAKE_C_OpenSession,
					     FAKE_C_GetSessionInfo,   FAKE_C_FindObjectsInit,
					     FAKE_C_FindObjects,      FAKE_C_GetTokenInfo,
					     FAKE_C_FindObjectsFinal, FAKE_C_GetAttributeValue,
					     FAKE_C_CreateObject,     FAKE_C_DestroyObject};
	unsigned tried = 0;
	for (size_t i = 0; i < CODES; i++) {
		for (size_t c = 0; c < 3; c++, tried++) {
			fake_next(steady[c], 1, FAKE_RETURN, all[i].rv);
			struct outcome o = ask_key("key");
			for (unsigned attempt = 0; attempt < 3 && o.status == 200 &&
						   all[i].code != NULL && o.why[0] == '\0';
			     attempt++) {
				fake_next(steady[c], 1, FAKE_RETURN,
					  all[i].rv); /* a worker's proof of its HSM has met it */
				o = ask_key("key");
			}
			fake_clear();
			const char *code = all[i].code;
			/* the signer is no key that was asked for: no key at all can be released */
			if (code != NULL && c > 0 && status_of(code) == 403)
				code = "HSM_SIGNER";
			bool as_expected = code == NULL ? o.status == 200 && o.why[0] == '\0'
							: o.status == status_of(code) &&
								  strcmp(o.code, code) == 0;
			if (!as_expected || o.records != 1)
				GOOD(wrong("call %u, 0x%lx: status %d, code %s, %u records %s; "
					   "expected %s",
					   steady[c], all[i].rv, o.status, o.code, o.records, o.why,
					   code == NULL ? "a release" : code));
			GOOD(ask_within("key", 10000));
		}
		for (size_t c = 0; c < sizeof reopening / sizeof reopening[0]; c++, tried++)
			reopening_fails(reopening[c], all[i].rv);
		workers_are_up(WORKERS); /* one that starts among the next ones would take them */
	}
	print_message("%u faults\n", tried);
}

static void test_c04_one_login_in_a_minute(void **state)
{
	(void)state;
	char *out = NULL;
	assert_int_equal(broker_stop(&in, SIGTERM, 40000), 0);
	fake_next(FAKE_C_Login, FOR_EVER, FAKE_RETURN, CKR_PIN_INCORRECT);
	uint64_t before = fake_calls(FAKE_C_Login);
	GOOD(broker_start_unready(&in));
	sleep_ms(60000);
	assert_int_equal(fake_calls(FAKE_C_Login), before + 1);
	assert_int_equal(metrics_get(&in, "/readyz", NULL), 503);
	fake_clear();
	assert_int_equal(CTL(&in, &out, "reload"), 0);
	free(out);
}

/* A worker that is started again hangs in a call of its start: it is killed like one in a request,
 * and the next one is tried. */
static void test_c06_hung_at_the_start(void **state)
{
	(void)state;
	static const unsigned calls[] = {FAKE_C_Initialize, FAKE_C_GetSlotList, FAKE_C_Login,
					 FAKE_C_UnwrapKey, FAKE_C_SignInit};
	for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) {
		double killed = metric(&in, "keybroker_killed_hung_total");
		fake_next(calls[i], 1, FAKE_HANG, 0);
		assert_int_equal(kill(broker_process(&in, "vault", 0), SIGKILL), 0);
		unsigned long long from = now_ms();
		while (metric(&in, "keybroker_killed_hung_total") < killed + 1 &&
		       now_ms() - from < 20000) {
			/* the other worker serves; it may be the one that meets C_SignInit */
			struct outcome o = ask_key("key");
			if (o.status != 200 && calls[i] != FAKE_C_SignInit)
				GOOD(wrong("call %u: status %d %s %s", calls[i], o.status, o.code,
					   o.why));
			sleep_ms(100);
		}
		if (now_ms() - from > 10000)
			GOOD(wrong("call %u: killed after %llu ms", calls[i], now_ms() - from));
		workers_are_up(WORKERS);
		fake_clear();
	}
}

/* All hang, then the device comes back: served within 10 s. */
static void test_c06_all_hang_and_come_back(void **state)
{
	(void)state;
	fake_next(FAKE_ANY, FOR_EVER, FAKE_HANG, 0);
	assert_true(until_ready_is(503, 15000) < 12000);
	sleep_ms(15000);
	fake_clear();
	unsigned long long from = now_ms();
	GOOD(ask_within("key", 10000));
	assert_true(now_ms() - from <= 10000);
}

/* The end of the broker does not wait for a module that hangs, nor for its C_Finalize: nobody calls
 * it. */
static void test_c06_hung_at_the_end(void **state)
{
	(void)state;
	fake_next(FAKE_C_Sign, 1, FAKE_HANG, 0);
	fake_rule(1, FAKE_C_Finalize, 0, FOR_EVER, FAKE_HANG, 0);
	struct link *l = send_ask("key");
	for (unsigned long long end = now_ms() + 5000; fake_hits(0) == 0 && now_ms() < end;)
		sleep_ms(5);
	unsigned long long from = now_ms();
	assert_int_equal(broker_stop(&in, SIGTERM, 40000), 0);
	assert_true(now_ms() - from < 12000);
	struct reply r = {0};
	GOOD(link_receive(l, &r)); /* and its client had an answer */
	assert_int_equal(r.status, 503);
	reply_free(&r);
	link_close(l);
}

static void test_c13_ten_thousand_wraps(void **state)
{
	(void)state;
	struct ask a = {.name = "key", .token = token};
	struct link *l = NULL;
	atomic_store(&fake->max_sessions, 0);
	atomic_store(&fake->max_session_objects, 0);
	atomic_store(&fake->censuses, 0);
	atomic_store(&fake->census, 1);
	unsigned long long end = now_ms() + 200000;
	unsigned n = 0;
	for (; n < 10000 && now_ms() < end; n++) {
		struct reply r = {0};
		if (l == NULL)
			GOOD(link_open(&in.at, &l));
		GOOD(guest_ask(l, &a, &r));
		if (r.status != 200)
			GOOD(wrong("%u: status %d %.100s", n, r.status, r.body));
		if (r.will_close) {
			link_close(l);
			l = NULL;
		}
		reply_free(&r);
	}
	link_close(l);
	atomic_store(&fake->census, 0);
	print_message("%u releases\n", n);
	assert_int_equal(n, 10000);
	assert_int_equal(atomic_load(&fake->censuses), n);
	assert_int_equal(atomic_load(&fake->max_sessions), 1);
	assert_int_equal(atomic_load(&fake->max_session_objects), 1);
}

#define T(f) cmocka_unit_test_teardown(f, well_again)
int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		T(test_c01_every_code_from_every_call),
		T(test_c04_one_login_in_a_minute),
		T(test_c06_hung_at_the_start),
		T(test_c06_all_hang_and_come_back),
		T(test_c06_hung_at_the_end),
		T(test_c13_ten_thousand_wraps),
	};
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, setup, teardown);
}
