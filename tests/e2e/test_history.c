/* tests/e2e/test_history.c — what the ledger remembers over restarts, versions and restored
 * directories: used tokens, files of another version, configurations that were
 * left and come back (J7). */
#include "tests/fault/storage_test.h"

static void path_of(const char *relative, char path[static 256])
{
	snprintf(path, 256, "%s/%s", in.dir, relative);
}

static void reload(void)
{
	char *out = NULL;
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

static bool log_says(const char *part)
{
	size_t len;
	char *log = slurp(in.log, &len);
	bool has = strstr(log, part) != NULL;
	free(log);
	return has;
}

/* ---- J7 ---- */

/* The last generation's record, and the metric: `returned` says whether the configuration is one
 * that was left before. */
static void last_generation(bool returned)
{
	char *text = ledger_text(&in), *last = NULL;
	for (char *at = text; (at = strstr(at, "\"event\":\"generation\"")) != NULL; at++)
		last = at;
	assert_non_null(last);
	*strchr(last, '\n') = '\0';
	unsigned long long seq = 0;
	const char *member = strstr(last, "\"returned\":");
	if (member != NULL)
		sscanf(member, "\"returned\":%llu", &seq);
	if ((seq != 0) != returned || metric(&in, "keybroker_config_returned") != (double)seq)
		GOOD(wrong("metric %.0f, record %s", metric(&in, "keybroker_config_returned"),
			   last));
	free(text);
}

static void test_j07_restored_policy_is_recorded_and_alarmed(void **state)
{
	(void)state;
	char path[256];
	size_t len;
	path_of("policies/key.json", path);
	char *old = slurp(path, &len);
	last_generation(false);
	char *newer = calloc(1, len + 2);
	memcpy(newer, old, len);
	newer[len] = '\n'; /* one byte is another configuration */
	GOOD(instance_write(&in, "policies/key.json", newer, len + 1));
	reload();
	last_generation(false);
	assert_false(log_says("\"event\":\"config.returned\""));
	GOOD(instance_write(&in, "policies/key.json", old, len));
	reload();
	last_generation(true);
	assert_true(log_says("\"event\":\"config.returned\""));
	rotate(); /* and it is remembered over segments and restarts */
	restart();
	last_generation(true);
	pid_t ledger = broker_process(&in, "--process ledger", 0);
	kill(ledger, SIGKILL);
	wait_released(10000);
	last_generation(true);
	newer[len] = ' '; /* onward, and good */
	GOOD(instance_write(&in, "policies/key.json", newer, len + 1));
	reload();
	last_generation(false);
	free(old);
	free(newer);
	GOOD(invariants_begin(&in, &good));
	GOOD(invariants_hold(&in));
}

static void test_j07_restored_key_record_is_recorded_and_alarmed(void **state)
{
	(void)state;
	char path[256], *out = NULL;
	size_t len;
	path_of("keys.d/key.json", path);
	char *old = slurp(path, &len);
	assert_int_equal(CTL(&in, &out, "key", "disable", "key", "--reload"), 0);
	free(out);
	REFUSED(&good.ask, 403, "Forbidden", "KEY_DISABLED");
	last_generation(false);
	GOOD(instance_write(&in, "keys.d/key.json", old, len));
	free(old);
	reload();
	last_generation(true);
	GOOD(invariants_begin(&in, &good));
	GOOD(invariants_hold(&in));
}

/* The ledger itself put back to yesterday's: it verifies, and only a head that was kept elsewhere
 * shows it. */
static void test_j07_restored_ledger_is_seen_by_its_head(void **state)
{
	(void)state;
	char *out = NULL, head[128] = "", path[256];
	size_t len;
	shim_kill_all(&in);
	snprintf(path, sizeof path, "%s", newest());
	char *yesterday = slurp(path, &len);
	GOOD(shim_start(&in));
	released();
	assert_int_equal(broker_stop(&in, SIGTERM, 40000), 0);
	assert_int_equal(CTL(&in, &out, "ledger", "verify"), 0);
	sscanf(strstr(out, "head: "), "head: %127s", head);
	free(out);
	assert_int_equal(CTL(&in, &out, "ledger", "verify", "--expect-head", head), 0);
	free(out);
	spill(path, yesterday, len);
	free(yesterday);
	GOOD(shim_start(&in));
	released();
	released();
	released();
	assert_int_equal(CTL(&in, &out, "ledger", "verify"), 0);
	free(out);
	assert_int_equal(CTL(&in, &out, "ledger", "verify", "--expect-head", head), 1);
	free(out);
	GOOD(invariants_begin(&in, &good));
	GOOD(invariants_hold(&in));
}

/* ---- J6 ---- */

static void test_j06_ledger_of_a_newer_version_is_refused_and_says_so(void **state)
{
	(void)state;
	static const char line[] =
		"{\"seq\":9,\"event\":\"segment\",\"format\":2,\"whatever\":\"comes\"}\n";
	char path[256], *out = NULL;
	struct stat st;
	assert_int_equal(broker_stop(&in, SIGTERM, 40000), 0);
	assert_int_equal(stat(newest(), &st), 0);
	snprintf(path, sizeof path, "%s/state/ledger/ledger-%08u.jsonl", in.dir,
		 newest_number() + 1);
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0640);
	assert_true(fd >= 0 && write(fd, line, sizeof line - 1) == (ssize_t)sizeof line - 1 &&
		    fchown(fd, st.st_uid, st.st_gid) == 0);
	close(fd);
	assert_int_equal(CTL(&in, &out, "ledger", "verify"), 1);
	assert_non_null(strstr(out, "is of format 2"));
	free(out);
	GOOD(shim_start_unready(&in));
	int status = 0;
	for (unsigned long long end = now_ms() + 20000;
	     waitpid(in.broker, &status, WNOHANG) != in.broker && now_ms() < end;)
		sleep_ms(20);
	in.broker = 0;
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 1);
	assert_true(log_says("is of format 2"));
	assert_int_equal(unlink(path), 0);
	GOOD(shim_start(&in));
	GOOD(invariants_begin(&in, &good));
	GOOD(invariants_hold(&in));
}

/* One version's broker after another's, over the same files, while clients ask: as long as there is
 * one version only, this one after itself. */
static void test_j06_restarts_and_reloads_under_load_lose_nothing(void **state)
{
	(void)state;
	struct load *l = load_start(&in.at, &good.ask, 4);
	for (unsigned i = 0; i < 3; i++) {
		const char *why = load_waits(l, 20, 20000);
		if (why == NULL && i % 2 == 0)
			reload();
		if (why == NULL)
			why = load_waits(l, 20, 20000);
		if (why == NULL && broker_stop(&in, SIGTERM, 40000) != 0)
			why = "it did not end well";
		if (why == NULL)
			why = shim_start(&in);
		if (why != NULL) {
			(void)load_end(&in, l);
			GOOD(why);
		}
	}
	if (atomic_load(&l->refused) != 0)
		GOOD(wrong("%u refused: %s", atomic_load(&l->refused), l->why));
	uint32_t got = atomic_load(&l->n_ids);
	GOOD(load_end(&in, l));
	assert_true(got >= 100);
	GOOD(invariants_begin(&in, &good));
	GOOD(invariants_hold(&in));
}

/* ---- D9: last, as the issuer's configuration changes ---- */

static void test_d09_missing_segments_deny_what_they_may_have_told(void **state)
{
	(void)state;
	char old[256], aside[256], *used = NULL, *later = NULL;
	int status;
	json_t *issuer = instance_json(&in, "issuers.d/issuer.json");
	json_object_set_new(issuer, "single_use", json_true());
	GOOD(instance_json_write(&in, "issuers.d/issuer.json", issuer));
	rotate();
	reload();
	GOOD(guest_attest(&in.issuer_at, evidence_platform(kek), &used));
	GOOD(ask_with(used, &status));
	assert_int_equal(status, 200);
	snprintf(old, sizeof old, "%s", newest());
	rotate();
	assert_int_equal(broker_stop(&in, SIGTERM, 40000), 0);
	/* Put away too early, with all that was before it: a segment that says which tokens were
	 * used. */
	snprintf(aside, sizeof aside, "%s/put-away", in.dir);
	assert_int_equal(mkdir(aside, 0700), 0);
	char command[1024], *out = NULL;
	snprintf(command, sizeof command,
		 "cd %s/state/ledger && ls *.jsonl | head -n -1 | xargs -I{} mv {} %s/", in.dir,
		 aside);
	assert_int_equal(run_program(&out, (const char *const[]){"/bin/sh", "-c", command, NULL}),
			 0);
	free(out);
	assert_int_not_equal(access(old, F_OK), 0);
	GOOD(shim_start(&in));
	assert_true(log_says("\"event\":\"replay.unknown\""));
	struct ask again = {.name = "key", .token = used};
	REFUSED(&again, 403, "Forbidden", "REPLAY");
	sleep_ms(1100);
	GOOD(guest_attest(&in.issuer_at, evidence_platform(kek),
			  &later)); /* it ends later than all that were used: no doubt about it */
	GOOD(ask_with(later, &status));
	assert_int_equal(status, 200);
	assert_int_equal(broker_stop(&in, SIGTERM, 40000), 0);
	/* All of it lost: a token of before may have been used. */
	snprintf(command, sizeof command,
		 "mkdir %s/newest && mv %s/state/ledger/*.jsonl %s/newest/", aside, in.dir, aside);
	assert_int_equal(run_program(&out, (const char *const[]){"/bin/sh", "-c", command, NULL}),
			 0);
	free(out);
	sleep_ms(1100); /* times of tokens are whole seconds */
	GOOD(shim_start(&in));
	assert_true(log_says("\"event\":\"ledger.new\""));
	REFUSED(&again, 403, "Forbidden", "REPLAY");
	again.token = later;
	REFUSED(&again, 403, "Forbidden", "REPLAY");
	free(later);
	GOOD(guest_attest(&in.issuer_at, evidence_platform(kek), &later));
	GOOD(ask_with(later, &status));
	assert_int_equal(status, 200);
	assert_int_equal(broker_stop(&in, SIGTERM, 40000), 0);
	snprintf(command, sizeof command,
		 "rm %s/state/ledger/*.jsonl; mv %s/*.jsonl %s/newest/*.jsonl %s/state/ledger/",
		 in.dir, aside, aside, in.dir);
	assert_int_equal(run_program(&out, (const char *const[]){"/bin/sh", "-c", command, NULL}),
			 0);
	free(out);
	/* Damaged: no start, so no second use either. */
	size_t len;
	char *whole = slurp(old, &len), *replay = strstr(whole, "\"replay\":\""), was;
	assert_non_null(replay);
	was = replay[12];
	replay[12] = was == '0' ? '1' : '0';
	spill(old, whole, len);
	GOOD(shim_start_unready(&in));
	for (unsigned long long end = now_ms() + 20000;
	     waitpid(in.broker, &status, WNOHANG) != in.broker && now_ms() < end;)
		sleep_ms(20);
	in.broker = 0;
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 1);
	replay[12] = was;
	spill(old, whole, len);
	free(whole);
	issuer = instance_json(&in, "issuers.d/issuer.json");
	json_object_set_new(issuer, "single_use", json_false());
	GOOD(instance_json_write(&in, "issuers.d/issuer.json", issuer));
	GOOD(shim_start(&in));
	GOOD(invariants_begin(&in, &good));
	GOOD(invariants_hold(&in));
	free(used);
	free(later);
}

#define T(f) cmocka_unit_test_teardown(f, after_each)
int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_j07_restored_policy_is_recorded_and_alarmed),
		T(test_j07_restored_key_record_is_recorded_and_alarmed),
		T(test_j07_restored_ledger_is_seen_by_its_head),
		T(test_j06_ledger_of_a_newer_version_is_refused_and_says_so),
		T(test_j06_restarts_and_reloads_under_load_lose_nothing),
		T(test_d09_missing_segments_deny_what_they_may_have_told),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
