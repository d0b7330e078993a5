/* tests/e2e/test_hsm.c — section C of the list against the running broker: a scripted module that
 * returns wrong results, fails, loses sessions, hangs and is killed.  The fake passes everything to
 * the real SoftHSM but for what its script says; tests/security/test_hsm_long.c does the same at
 * length. */
#include "tests/fault/hsm_stand.h"

#include <sys/wait.h>

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

/* After each test: the module is well again, and nothing of what must hold is broken. */
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

static void refused(const char *name, const char *code)
{
	struct outcome o = ask_key(name);
	if (o.status != status_of(code) || o.records != 1 || strcmp(o.code, code) != 0)
		GOOD(wrong("%s: status %d, %u records, code %s %s; expected %d %s", name, o.status,
			   o.records, o.code, o.why, status_of(code), code));
}

/* ---- C1, C2: codes and sessions ---- */

/* One fault in one call of a request: it succeeds after a second try, or it is refused with an HSM
 * code; one record, and the next one succeeds. */
static void one_fault(unsigned call, CK_RV rv, bool is_session_lost)
{
	uint64_t hits = 0;
	/* Three faults in a row, and a worker proves its HSM between two requests: then it is the
	 * proof that meets the session's loss. */
	for (unsigned attempt = 0; attempt < 3 && hits == 0; attempt++) {
		/* a session that is not closed would stay, and its login with it */
		fake_rule(0, call, 0, 1, call == FAKE_C_CloseSession ? FAKE_AFTER : FAKE_RETURN,
			  rv);
		if (is_session_lost)
			fake_rule(1, FAKE_C_WrapKey, 0, 1, FAKE_RETURN, CKR_SESSION_HANDLE_INVALID);
		struct outcome o = ask_key("rsa");
		if ((!is_hsm_refusal(&o) && (o.status != 200 || o.why[0] != '\0')) ||
		    o.records != 1)
			GOOD(wrong("call %u, 0x%lx: status %d, code %s, %u records %s", call, rv,
				   o.status, o.code, o.records, o.why));
		hits = fake_hits(0);
		fake_clear();
		GOOD(ask_within("rsa", 10000));
	}
	if (hits != 1)
		GOOD(wrong("call %u, 0x%lx: met %lu times", call, rv, (unsigned long)hits));
}

static void test_c01_each_call_of_a_release_fails_once(void **state)
{
	(void)state;
	static const CK_RV codes[] = {CKR_HOST_MEMORY,       CKR_GENERAL_ERROR,
				      CKR_FUNCTION_FAILED,   CKR_ARGUMENTS_BAD,
				      CKR_DEVICE_ERROR,      CKR_DEVICE_REMOVED,
				      CKR_KEY_UNEXTRACTABLE, CKR_KEY_HANDLE_INVALID,
				      CKR_SESSION_CLOSED,    CKR_SESSION_HANDLE_INVALID,
				      CKR_TOKEN_NOT_PRESENT, CKR_USER_NOT_LOGGED_IN,
				      CKR_MECHANISM_INVALID, CKR_BUFFER_TOO_SMALL,
				      CKR_VENDOR_DEFINED | 7};
	static const unsigned steady[] = {FAKE_C_WrapKey, FAKE_C_SignInit, FAKE_C_Sign};
	static const unsigned reopening[] = {
		FAKE_C_CloseSession,     FAKE_C_OpenSession,       FAKE_C_GetSessionInfo,
		FAKE_C_FindObjectsInit,  FAKE_C_FindObjects,       FAKE_C_GetTokenInfo,
		FAKE_C_FindObjectsFinal, FAKE_C_GetAttributeValue, FAKE_C_CreateObject};
	for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++)
		for (size_t c = 0; c < sizeof steady / sizeof steady[0]; c++)
			one_fault(steady[c], codes[i], false);
	for (size_t i = 4; i < 10; i++)
		for (size_t c = 0; c < sizeof reopening / sizeof reopening[0]; c++)
			one_fault(reopening[c], codes[i], true);
}

static void test_c02_lost_session_is_one_record(void **state)
{
	(void)state;
	static const unsigned calls[] = {FAKE_C_WrapKey, FAKE_C_SignInit, FAKE_C_Sign};
	for (size_t i = 0; i < 3;
	     i++) { /* really lost: every session of the process is closed under it */
		uint64_t opened = fake_calls(FAKE_C_OpenSession), logins = fake_calls(FAKE_C_Login);
		fake_next(calls[i], 1, FAKE_LOSE, 0);
		struct outcome o = ask_key("key");
		if (o.status != 200 || o.records != 1 || o.why[0] != '\0')
			GOOD(wrong("call %u: status %d, %u records, %s %s", calls[i], o.status,
				   o.records, o.code, o.why));
		assert_int_equal(fake_hits(0), 1);
		assert_int_equal(fake_calls(FAKE_C_OpenSession), opened + 1);
		assert_int_equal(fake_calls(FAKE_C_Login), logins + 1);
	}
}

/* ---- C3: the device goes and comes back ---- */

/* Clients that ask for ever and never get a key, from another process: some of them wait while
 * no worker is there to answer. */
static pid_t ask_in_vain(void)
{
	pid_t parent = getpid(), pid = fork();
	if (pid != 0)
		return pid;
	while (getppid() == parent) {
		struct outcome o = ask_key("key");
		if (o.status != 503)
			_exit(1);
	}
	_exit(2);
}

/* `limit_ms`: until /readyz says so. */
static void device_goes(unsigned call, CK_RV rv, unsigned limit_ms)
{
	int status;
	fake_next(call, FOR_EVER, FAKE_RETURN, rv);
	pid_t asking = ask_in_vain();
	unsigned red_ms = until_ready_is(503, 10000);
	sleep_ms(1500); /* /readyz stays 503, and restarts go on */
	assert_int_equal(metrics_get(&in, "/readyz", NULL), 503);
	if (waitpid(asking, &status, WNOHANG) == asking)
		GOOD(wrong("call %u, 0x%lx: a client got a key, or nothing", call, rv));
	kill(asking, SIGKILL);
	waitpid(asking, &status, 0);
	if (red_ms > limit_ms)
		GOOD(wrong("call %u, 0x%lx: /readyz was red after %u ms", call, rv, red_ms));
	fake_clear();
	unsigned long long from = now_ms();
	GOOD(ask_within("key", 10000));
	GOOD(broker_wait_ready(&in, (unsigned)(10000 - (now_ms() - from))));
	workers_are_up(WORKERS);
}

static void test_c03_device_gone_and_back(void **state)
{
	(void)state;
	device_goes(FAKE_ANY, CKR_DEVICE_ERROR, 2000);
	device_goes(FAKE_ANY, CKR_DEVICE_REMOVED, 2000);
	/* The token says that it is well and the work fails: three requests a worker, and what it
	 * takes to make an RSA key for the proof on a busy machine. */
	device_goes(FAKE_C_Sign, CKR_DEVICE_ERROR, 4000);
	device_goes(FAKE_C_WrapKey, CKR_FUNCTION_FAILED, 6000);
}

static void test_c03_device_gone_without_traffic(void **state)
{
	(void)state;
	fake_next(FAKE_ANY, FOR_EVER, FAKE_RETURN, CKR_DEVICE_REMOVED);
	unsigned red_ms = until_ready_is(503, 5000);
	if (red_ms > 2000)
		GOOD(wrong("/readyz was red after %u ms", red_ms));
}

/* ---- C4, C5: the PIN ---- */

static void test_c04_pin_refused_at_the_start(void **state)
{
	(void)state;
	char *out = NULL;
	assert_int_equal(broker_stop(&in, SIGTERM, 40000), 0);
	fake_next(FAKE_C_Login, FOR_EVER, FAKE_RETURN, CKR_PIN_INCORRECT);
	uint64_t before = fake_calls(FAKE_C_Login);
	GOOD(broker_start_unready(&in));
	for (unsigned long long end = now_ms() + 15000;
	     fake_calls(FAKE_C_Login) == before && now_ms() < end;)
		sleep_ms(20);
	sleep_ms(3000); /* a minute in the long test */
	assert_int_equal(fake_calls(FAKE_C_Login), before + 1);
	assert_int_equal(metrics_get(&in, "/readyz", &out), 503);
	assert_non_null(strstr(out, "HSM_PIN"));
	free(out);
	assert_true(log_count("the HSM refused the PIN; it is not tried again") > 0);
	/* the right PIN and a reload: one try more, and it serves */
	fake_clear();
	assert_int_equal(CTL(&in, &out, "reload"), 0);
	free(out);
	GOOD(broker_wait_ready(&in, READY_MS));
}

/* While it runs: both workers lose their sessions, the token wants another PIN now.  One try for
 * all of them. */
static void test_c04_pin_refused_while_running(void **state)
{
	(void)state;
	char *out = NULL;
	workers_are_up(WORKERS);
	uint64_t before = fake_calls(FAKE_C_Login);
	fake_rule(0, FAKE_C_Login, 0, FOR_EVER, FAKE_RETURN, CKR_PIN_INCORRECT);
	fake_rule(1, FAKE_C_WrapKey, 0, 1, FAKE_LOSE, 0);
	refused("key", "HSM_PIN");
	GOOD(ask_within("key", 2000)); /* the other one has its session yet */
	sleep_ms(1500);
	assert_int_equal(fake_calls(FAKE_C_Login), before + 1);
	fake_rule(1, FAKE_C_WrapKey, 0, 1, FAKE_LOSE, 0);
	refused("key", "HSM_PIN");
	assert_true(until_ready_is(503, 5000) <= 2000);
	sleep_ms(1500);
	assert_int_equal(fake_calls(FAKE_C_Login), before + 1);
	fake_clear();
	assert_int_equal(CTL(&in, &out, "reload"), 0);
	free(out);
}

static void test_c05_pin_locked_or_nearly_is_not_tried(void **state)
{
	(void)state;
	static const CK_FLAGS flags[] = {CKF_USER_PIN_FINAL_TRY, CKF_USER_PIN_LOCKED};
	for (size_t i = 0; i < 2; i++) {
		assert_int_equal(broker_stop(&in, SIGTERM, 40000), 0);
		fake_next(FAKE_C_GetTokenInfo, FOR_EVER, FAKE_FLAGS, flags[i]);
		uint64_t before = fake_calls(FAKE_C_Login);
		unsigned said = log_count("locked or has one try left");
		GOOD(broker_start_unready(&in));
		for (unsigned long long end = now_ms() + 15000;
		     log_count("locked or has one try left") == said && now_ms() < end;)
			sleep_ms(20);
		sleep_ms(1000);
		assert_true(log_count("locked or has one try left") > said);
		assert_int_equal(fake_calls(FAKE_C_Login), before);
		assert_int_equal(metrics_get(&in, "/readyz", NULL), 503);
	}
	assert_int_equal(broker_stop(&in, SIGTERM, 40000), 0);
}

/* ---- C6: a call that hangs ---- */

/* The answer of a request that is under way. */
static int answer_of(struct link *l, unsigned long long from, unsigned *took_ms)
{
	struct reply r = {0};
	GOOD(link_receive(l, &r));
	*took_ms = (unsigned)(now_ms() - from);
	int status = r.status;
	reply_free(&r);
	link_close(l);
	return status;
}

static void test_c06_hung_call_costs_one_worker_and_one_client(void **state)
{
	(void)state;
	static const unsigned calls[] = {FAKE_C_WrapKey, FAKE_C_Sign};
	for (size_t i = 0; i < 2; i++) {
		unsigned hung_ms, served = 0, slowest = 0;
		double killed = metric(&in, "keybroker_killed_hung_total");
		unsigned records = ledger_count(&in, "\"outcome\":\"released\"");
		fake_next(calls[i], 1, FAKE_HANG, 0);
		unsigned long long from = now_ms();
		struct link *l = send_ask("key");
		while (fake_hits(0) == 0 && now_ms() - from < 5000)
			sleep_ms(5);
		while (!link_has_reply(l) &&
		       now_ms() - from < 8000) { /* the others are served meanwhile */
			struct outcome o = ask_key("other");
			if (o.status != 200)
				GOOD(wrong("meanwhile: status %d %s %s", o.status, o.code, o.why));
			slowest = o.ms > slowest ? o.ms : slowest;
			served++;
			sleep_ms(20);
		}
		int status = answer_of(l, from, &hung_ms);
		unsigned long long back = now_ms();
		workers_are_up(WORKERS);
		if (status != 503 || hung_ms > 5500 || hung_ms < 3000 || served < 20 ||
		    slowest > 2000 || now_ms() - back > 10000)
			GOOD(wrong("call %u: status %d after %u ms, %u others served, slowest %u "
				   "ms, %llu ms until all workers are back",
				   calls[i], status, hung_ms, served, slowest, now_ms() - back));
		assert_true(metric(&in, "keybroker_killed_hung_total") == killed + 1);
		assert_int_equal(
			ledger_count(&in, "\"outcome\":\"released\""),
			records + served); /* of the hung one there is no key and no record */
		fake_clear();
	}
}

/* Nobody asks, and a worker that looks after its token does not come back from it. */
static void test_c06_hung_between_requests(void **state)
{
	(void)state;
	double killed = metric(&in, "keybroker_killed_hung_total");
	fake_next(FAKE_C_GetTokenInfo, 1, FAKE_HANG, 0);
	unsigned long long from = now_ms();
	while (metric(&in, "keybroker_killed_hung_total") < killed + 1 && now_ms() - from < 15000)
		sleep_ms(50);
	if (now_ms() - from > 7000) /* a second until it looks, five until it is killed */
		GOOD(wrong("killed after %llu ms", now_ms() - from));
	GOOD(ask_within("key", 1000));
}

/* ---- C7, C8: a worker is killed ---- */

static void test_c07_module_dies_in_a_call(void **state)
{
	(void)state;
	static const unsigned calls[] = {FAKE_C_WrapKey, FAKE_C_SignInit, FAKE_C_Sign};
	static const enum fake_act acts[] = {FAKE_ABORT, FAKE_SEGV, FAKE_EXIT};
	pid_t gateway = broker_process(&in, "gateway", 0);
	for (size_t c = 0; c < 3; c++)
		for (size_t a = 0; a < 3; a++) {
			unsigned released = ledger_count(&in, "\"outcome\":\"released\"");
			workers_are_up(WORKERS); /* or one that starts would take it */
			fake_next(calls[c], 1, acts[a], 0);
			struct outcome o = ask_key("key");
			if (o.status != 503 || o.records != 0 || fake_hits(0) != 1)
				GOOD(wrong("call %u, act %u: status %d, %u records, %s", calls[c],
					   acts[a], o.status, o.records, o.why));
			assert_int_equal(ledger_count(&in, "\"outcome\":\"released\""), released);
			GOOD(ask_within("key", 10000));
		}
	assert_int_equal(broker_process(&in, "gateway", 0), gateway);
}

/* The key is wrapped, the reply signed, and the worker is killed before it hands them over: no key,
 * no record. */
static void test_c08_worker_dies_before_the_hand_over(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		unsigned released = ledger_count(&in, "\"outcome\":\"released\"");
		workers_are_up(WORKERS);
		fake_next(i == 0 ? FAKE_C_WrapKey : FAKE_C_Sign, 1, FAKE_KILL, 0);
		struct outcome o = ask_key("key");
		if (o.status != 503 || o.records != 0)
			GOOD(wrong("status %d, %u records, %s", o.status, o.records, o.why));
		assert_int_equal(ledger_count(&in, "\"outcome\":\"released\""), released);
		GOOD(ask_within("key", 10000));
	}
}

/* ---- C9: wrong output ---- */

static void test_c09_wrong_output(void **state)
{
	(void)state;
	static const unsigned calls[] = {FAKE_C_WrapKey, FAKE_C_Sign};
	for (size_t c = 0; c < 2; c++)
		for (enum fake_act act = FAKE_LEN_ZERO; act <= FAKE_FLIP; act++)
			for (unsigned k = 0; k < 2; k++) {
				fake_next(calls[c], 1, act, 0);
				refused(k == 0 ? "key" : "rsa", "HSM_OUTPUT");
				assert_int_equal(fake_hits(0), 1);
			}
	fake_clear();
}

/* Two symmetric keys of one length look alike: what the module gave for one must not go out as the
 * other. */
static void test_c09_blob_of_another_key(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 8; i++) { /* any worker may have had the one before */
		GOOD(ask_within("key", 1000));
		fake_next(FAKE_C_WrapKey, FOR_EVER, FAKE_REPEAT, 0);
		struct outcome o = ask_key("other");
		fake_clear();
		bool is_refusal = o.status == 503 && strcmp(o.code, "HSM_OUTPUT") == 0;
		if ((!is_refusal && o.status != 200) || o.why[0] != '\0')
			GOOD(wrong("status %d %s %s", o.status, o.code, o.why));
		GOOD(ask_within("other", 1000));
	}
	/* the signature of the release before */
	fake_next(FAKE_C_Sign, 1, FAKE_REPEAT, 0);
	refused("key", "HSM_OUTPUT");
}

/* ---- C11, C14: what cannot work does not start ---- */

static void does_not_start(const char *says)
{
	int status;
	char *out = NULL;
	unsigned before = log_count(says);
	GOOD(broker_start_unready(&in));
	for (unsigned long long end = now_ms() + 20000;
	     waitpid(in.broker, &status, WNOHANG) != in.broker; sleep_ms(20))
		if (now_ms() > end)
			GOOD(wrong("the broker still runs; its log should say %s", says));
	in.broker = 0;
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 1);
	if (log_count(says) == before)
		GOOD(wrong("the log does not say %s", says));
	free(out);
}

static void test_c11_mechanism_absent(void **state)
{
	(void)state;
	char *out = NULL;
	/* a running broker keeps what it has when the next generation's module lacks it */
	fake_next(FAKE_C_WrapKey, FOR_EVER, FAKE_RETURN, CKR_MECHANISM_INVALID);
	assert_int_not_equal(CTL(&in, &out, "reload"), 0);
	free(out);
	fake_clear();
	GOOD(ask_within("key", 10000));
	assert_int_equal(broker_stop(&in, SIGTERM, 40000), 0);
	fake_next(FAKE_C_WrapKey, FOR_EVER, FAKE_RETURN, CKR_MECHANISM_INVALID);
	does_not_start("CKM_AES_KEY_WRAP_PAD");
	/* RSA and EC can be neither put in nor made: there is an RSA key */
	atomic_store(&fake->no_plain_keys, CKR_TEMPLATE_INCONSISTENT);
	fake_next(FAKE_C_UnwrapKey, FOR_EVER, FAKE_RETURN, CKR_FUNCTION_NOT_SUPPORTED);
	fake_rule(1, FAKE_C_GenerateKeyPair, 0, FOR_EVER, FAKE_RETURN, CKR_MECHANISM_INVALID);
	does_not_start("\"key\":\"rsa\"");
	atomic_store(&fake->no_plain_keys, 0);
	fake_clear();
	/* an error of the device says nothing about mechanisms: it is tried again */
	fake_next(FAKE_C_WrapKey, 40, FAKE_RETURN, CKR_DEVICE_ERROR);
	GOOD(broker_start_unready(&in));
	GOOD(broker_wait_ready(&in, READY_MS));
}

/* A module in FIPS mode takes no plaintext keys, and perhaps no wrapped ones. */
static void test_c17_no_plaintext_keys(void **state)
{
	(void)state;
	for (unsigned i = 0; i <= 1; i++) {
		assert_int_equal(broker_stop(&in, SIGTERM, 40000), 0);
		atomic_store(&fake->no_plain_keys,
			     i == 0 ? CKR_TEMPLATE_INCONSISTENT : CKR_ACTION_PROHIBITED);
		if (i == 1)
			fake_next(FAKE_C_UnwrapKey, FOR_EVER, FAKE_RETURN,
				  CKR_FUNCTION_NOT_SUPPORTED);
		GOOD(broker_start_unready(&in));
		GOOD(broker_wait_ready(&in, READY_MS));
		GOOD(ask_within("key", 10000));
		GOOD(ask_within("rsa", 10000));
	}
	fake_clear();
	atomic_store(&fake->no_plain_keys, 0);
}

static void with_module(const char *path)
{
	json_t *config = instance_json(&in, "keybroker.json");
	json_object_set_new(json_object_get(config, "hsm"), "module", json_string(path));
	GOOD(instance_json_write(&in, "keybroker.json", config));
}

static void test_c14_module_that_others_can_change(void **state)
{
	(void)state;
	char so[128], link[128], open_dir[128], file[144];
	json_t *before = instance_json(&in, "keybroker.json");
	assert_int_equal(broker_stop(&in, SIGTERM, 40000), 0);
	snprintf(so, sizeof so, "%s/fake/module.so", in.dir);
	snprintf(link, sizeof link, "%s/fake/link.so", in.dir);
	snprintf(open_dir, sizeof open_dir, "%s/open", in.dir);
	snprintf(file, sizeof file, "%s/module.so", open_dir);
	with_module("module.so");
	does_not_start("must be an absolute path");
	with_module(so);
	assert_int_equal(chmod(so, 0757), 0);
	does_not_start("can be written by others");
	assert_int_equal(chmod(so, 0755), 0);
	/* a directory in which others may replace it, and a link that is theirs */
	assert_true(mkdir(open_dir, 0777) == 0 && chmod(open_dir, 0777) == 0);
	GOOD(fake_copy(so, file, 0755));
	with_module(file);
	does_not_start("can be written by others");
	if (geteuid() == 0) {
		assert_true(symlink(so, link) == 0 && lchown(link, 12345, 12345) == 0);
		with_module(link);
		does_not_start("belongs to user 12345");
		assert_int_equal(lchown(so, 12345, 0), 0);
		with_module(so);
		does_not_start("belongs to user 12345");
		assert_int_equal(lchown(so, 0, 0), 0);
	}
	GOOD(instance_json_write(&in, "keybroker.json", before));
}

/* ---- C12, C13 ---- */

static void test_c12_module_already_initialised(void **state)
{
	(void)state;
	fake_next(FAKE_C_Initialize, 1, FAKE_RETURN, CKR_CRYPTOKI_ALREADY_INITIALIZED);
	pid_t pid = broker_process(&in, "vault", 0);
	assert_int_equal(kill(pid, SIGKILL), 0);
	for (unsigned long long end = now_ms() + 5000; fake_hits(0) == 0 && now_ms() < end;)
		sleep_ms(10);
	/* Another program's use of the module is not ours: the process ends for one that has the
	 * module alone. */
	assert_int_equal(fake_hits(0), 1);
	workers_are_up(WORKERS);
}

static void test_c13_sessions_and_session_objects(void **state)
{
	(void)state;
	static const char *const names[] = {"key", "other", "rsa"};
	atomic_store(&fake->max_sessions, 0);
	atomic_store(&fake->max_session_objects, 0);
	atomic_store(&fake->censuses, 0);
	atomic_store(&fake->census, 1);
	for (unsigned i = 0; i < 300; i++) {
		struct outcome o = ask_key(names[i % 3]);
		if (o.status != 200 || o.why[0] != '\0')
			GOOD(wrong("%u: status %d %s %s", i, o.status, o.code, o.why));
	}
	atomic_store(&fake->census, 0);
	assert_int_equal(atomic_load(&fake->censuses), 300);
	assert_int_equal(atomic_load(&fake->max_sessions), 1);
	assert_int_equal(atomic_load(&fake->max_session_objects),
			 1); /* the transport key, which lives as long as the session */
	fake_next(FAKE_C_OpenSession, 1, FAKE_RETURN, CKR_SESSION_COUNT);
	fake_rule(1, FAKE_C_WrapKey, 0, 1, FAKE_LOSE, 0);
	refused("key", "HSM_MEMORY");
	GOOD(ask_within("key", 10000));
}

#define T(f) cmocka_unit_test_teardown(f, well_again)
int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		T(test_c01_each_call_of_a_release_fails_once),
		T(test_c02_lost_session_is_one_record),
		T(test_c03_device_gone_and_back),
		T(test_c03_device_gone_without_traffic),
		T(test_c04_pin_refused_at_the_start),
		T(test_c04_pin_refused_while_running),
		T(test_c05_pin_locked_or_nearly_is_not_tried),
		T(test_c06_hung_call_costs_one_worker_and_one_client),
		T(test_c06_hung_between_requests),
		T(test_c07_module_dies_in_a_call),
		T(test_c08_worker_dies_before_the_hand_over),
		T(test_c09_wrong_output),
		T(test_c09_blob_of_another_key),
		T(test_c11_mechanism_absent),
		T(test_c12_module_already_initialised),
		T(test_c13_sessions_and_session_objects),
		T(test_c14_module_that_others_can_change),
		T(test_c17_no_plaintext_keys),
	};
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, setup, teardown);
}
