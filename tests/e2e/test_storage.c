/* tests/e2e/test_storage.c — a disk that is full, slow or broken: no key without its record, and
 * service comes back by itself. The faults come from a small tmpfs
 * (as root) and from the shim of tests/fault. */
#include "tests/fault/storage_test.h"

#include <sched.h>
#include <sys/mount.h>

/* ---- D2: calls that fail ---- */

static void fails_then_recovers(uint32_t call, int error, int times)
{
	unsigned before = newest_number();
	char old[256];
	struct stat was, is;
	snprintf(old, sizeof old, "%s", newest());
	shim_arm(SHIM_LEDGER, call, SHIM_FAIL, error, 0, times);
	denied_by_ledger();
	shim_disarm();
	assert_int_equal(stat(old, &was), 0);
	wait_released(5000);
	/* The file that failed is never written again. */
	if (newest_number() != before + 1)
		GOOD(wrong("segment %u goes on after a failed write", before));
	newest_begins_with("\"why\":\"write failed\"");
	newest_begins_with("\"lost\":");
	assert_int_equal(stat(old, &is), 0);
	assert_true(was.st_size == is.st_size && was.st_mtim.tv_sec == is.st_mtim.tv_sec &&
		    was.st_mtim.tv_nsec == is.st_mtim.tv_nsec);
	GOOD(invariants_hold(&in));
}

static void test_d02_write_eio_once(void **state)
{
	(void)state;
	fails_then_recovers(SHIM_WRITE, EIO, 1);
}

static void test_d02_sync_eio_once_and_the_file_is_never_trusted_again(void **state)
{
	(void)state;
	fails_then_recovers(SHIM_SYNC, EIO, 1);
}

static void test_d01_no_space_for_a_record(void **state)
{
	(void)state;
	fails_then_recovers(SHIM_WRITE, ENOSPC, 1);
}

static void test_d02_all_calls_fail_for_ever(void **state)
{
	(void)state;
	char *body = NULL;
	shim_arm(SHIM_LEDGER, SHIM_FILES, SHIM_FAIL, EIO, 0, -1);
	for (unsigned i = 0; i < 4; i++) {
		denied_by_ledger();
		sleep_ms(400);
	}
	assert_int_equal(metrics_get(&in, "/readyz", &body), 503);
	assert_non_null(strstr(body, "\"ledger\":{\"ready\":false,\"reason\":\"LEDGER\"}"));
	free(body);
	shim_disarm();
	GOOD(broker_wait_ready(&in, 5000));
	newest_begins_with("\"lost\":4");
	GOOD(invariants_hold(&in));
}

static void test_d02_eintr_and_short_writes_are_no_failure(void **state)
{
	(void)state;
	unsigned before = newest_number();
	shim_arm(SHIM_LEDGER, SHIM_WRITE, SHIM_FAIL, EINTR, 0, 3);
	released();
	shim_disarm();
	shim_arm(SHIM_LEDGER, SHIM_WRITE, SHIM_SHORT, 0, 0, -1);
	released();
	released();
	assert_int_equal(newest_number(), before);
	GOOD(invariants_hold(&in));
}

/* Each call of a rotation fails once: the old segment goes on or a new one is begun, and nothing is
 * lost in between. */
static void test_d02_each_call_of_a_rotation_fails(void **state)
{
	(void)state;
	static const uint32_t calls[] = {SHIM_UNLINK, SHIM_OPEN,   SHIM_WRITE,
					 SHIM_SYNC,   SHIM_RENAME, SHIM_DIR_SYNC};
	for (unsigned i = 0; i < sizeof calls / sizeof calls[0]; i++) {
		unsigned before = newest_number();
		struct shim_rule *r = shim_arm(SHIM_LEDGER, calls[i], SHIM_FAIL, EIO, 0, 1);
		signal_broker(SIGUSR1);
		assert_true(shim_has_acted(r, 5000));
		shim_disarm();
		wait_released(5000);
		GOOD(verifies());
		/* Once the new name may be on the disk there is no way back to the old file: what
		 * follows would not count if the new one were there after all. */
		if (newest_number() !=
		    before + (calls[i] == SHIM_RENAME || calls[i] == SHIM_DIR_SYNC))
			GOOD(wrong("segment %u, then %u", before, newest_number()));
		rotate();
	}
	GOOD(invariants_hold(&in));
}

/* A failed sync whose bytes could not be cut away, and the process is killed before it could begin
 * a new segment: the next one must not trust the page cache about what is on the disk. */
static void test_d02_failed_sync_then_kill_then_power_cut(void **state)
{
	(void)state;
	unsigned seed = 1;
	int64_t stable, size;
	char path[256];
	shim_arm(SHIM_LEDGER, SHIM_SYNC | SHIM_CUT, SHIM_FAIL, EIO, 0, -1);
	int status;
	char id[40];
	/* its record is in the file, in the page cache at least, and counts for nothing */
	GOOD(release(&status, id));
	assert_int_equal(status, 503);
	pid_t ledger = broker_process(&in, "--process ledger", 0);
	assert_true(ledger > 0);
	kill(ledger, SIGKILL);
	shim_disarm();
	wait_released(10000); /* a record on top of those that the failed sync left behind */
	GOOD(shim_newest(&in, path, &stable, &size));
	if (stable != size)
		GOOD(wrong(
			"%lld bytes of %lld can be lost, and there are replies that stand on them",
			(long long)(size - stable), (long long)size));
	shim_kill_all(&in);
	GOOD(shim_power_cut(&in, &seed));
	GOOD(shim_start(&in));
	GOOD(invariants_begin(&in, &good));
	GOOD(invariants_hold(&in));
}

/* ---- D8: a slow disk ---- */

enum { CLIENTS = 110 };
static struct link *client[CLIENTS];

static void test_d08_slow_disk_bounded_queue_and_no_reply_before_the_sync(void **state)
{
	(void)state;
	json_t *config = instance_json(&in, "keybroker.json"), *before = json_deep_copy(config);
	json_object_set_new(config, "limits", json_pack("{s:i}", "queue", 4));
	GOOD(instance_json_write(&in, "keybroker.json", config));
	restart();
	for (unsigned i = 0; i < CLIENTS; i++)
		GOOD(link_open(&in.at, &client[i]));
	size_t n;
	char *request = raw_request(&n);
	shim_arm(SHIM_LEDGER, SHIM_SYNC, SHIM_SLOW, 2000, 0, -1);
	unsigned long long from = now_ms(), first_key = 0, last = 0;
	for (unsigned i = 0; i < CLIENTS; i++)
		GOOD(link_send(client[i], request, n));
	free(request);
	unsigned left = CLIENTS, keys = 0, busy = 0, others = 0;
	while (left > 0 && now_ms() - from < 20000) {
		for (unsigned i = 0; i < CLIENTS; i++) {
			struct reply r = {0};
			char code[64];
			if (client[i] == NULL || !link_has_reply(client[i]))
				continue;
			GOOD(link_receive(client[i], &r));
			last = now_ms() - from;
			if (r.status == 200) {
				/* I1, as the disk has it: the record is among the bytes that no
				 * power cut can take. */
				char id[64], path[256];
				int64_t stable, size;
				reply_header(&r, "x-ms-request-id", id, sizeof id);
				GOOD(shim_newest(&in, path, &stable, &size));
				char *text = calloc(1, (size_t)stable + 1);
				int fd = open(path, O_RDONLY | O_CLOEXEC);
				assert_true(text != NULL &&
					    pread(fd, text, (size_t)stable, 0) == stable);
				close(fd);
				if (strstr(text, id) == NULL)
					GOOD(wrong("reply %s came before its record was synced",
						   id));
				free(text);
				first_key = keys++ == 0 ? last : first_key;
			} else if (r.status == 503) {
				assert_string_equal(reply_code(&r, code, sizeof code),
						    "ServiceUnavailable");
				busy++;
			} else {
				others++;
			}
			reply_free(&r);
			link_close(client[i]);
			client[i] = NULL;
			left--;
		}
		sleep_ms(5);
	}
	if (left != 0 || others != 0 || busy == 0 || keys == 0 || first_key < 2000)
		GOOD(wrong("%u without an answer, %u others, %u busy, %u keys, the first after "
			   "%llu ms",
			   left, others, busy, keys, first_key));
	shim_disarm();
	GOOD(instance_json_write(&in, "keybroker.json", before));
	sleep_ms(2100); /* the sync that is under way */
	restart();
	GOOD(invariants_hold(&in));
}

/* ---- D1: a disk that is really full ---- */

static void unmount_all(void)
{
	char path[256];
	snprintf(path, sizeof path, "%s/state/ledger", in.dir);
	umount2(path, MNT_DETACH);
}

static void test_d01_full_disk_refuses_and_recovers(void **state)
{
	(void)state;
	char dir[192], filler[256];
	struct stat st;
	char chunk[4096] = "";
	assert_int_equal(broker_stop(&in, SIGTERM, 40000), 0);
	snprintf(dir, sizeof dir, "%s/state/ledger", in.dir);
	assert_int_equal(stat(dir, &st), 0);
	/* In a mount namespace of our own: whatever becomes of this process, nothing stays
	 * mounted. */
	if (geteuid() == 0 &&
	    (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0))
		print_message("             no mount namespace: %s\n", strerror(errno));
	if (geteuid() != 0 ||
	    mount("tmpfs", dir, "tmpfs", MS_NODEV | MS_NOSUID, "size=256k") != 0) {
		GOOD(shim_start(&in));
		skip(); /* test_d01_no_space_for_a_record has no such needs */
	}
	assert_int_equal(chown(dir, st.st_uid, st.st_gid), 0);
	assert_int_equal(chmod(dir, 0750), 0);
	GOOD(shim_start(&in));
	GOOD(invariants_begin(&in, &good));
	unsigned before = ledger_count(&in, "\"outcome\":\"released\"");
	snprintf(filler, sizeof filler, "%s/filler", dir);
	int fd = open(filler, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	while (write(fd, chunk, sizeof chunk) > 0)
		;
	/* What is left in the last page takes a few; then: no. */
	int status = 200;
	char id[40];
	unsigned passed = 0, refused = 0;
	for (unsigned i = 0; i < 20 && status == 200; i++) {
		GOOD(release(&status, id));
		passed += status == 200;
	}
	assert_int_equal(status, 503);
	refused++;
	for (unsigned i = 0; i < 3; i++, refused++)
		denied_by_ledger();
	assert_int_equal(metrics_get(&in, "/readyz", NULL), 503);
	assert_int_equal(ledger_count(&in, "\"outcome\":\"released\""), before + passed);
	assert_int_equal(ftruncate(fd, 0), 0);
	close(fd);
	unlink(filler);
	GOOD(broker_wait_ready(&in, 5000));
	wait_released(5000);
	char gap[32];
	snprintf(gap, sizeof gap, "\"lost\":%u", refused);
	newest_begins_with(gap);
	GOOD(invariants_hold(&in));
	assert_int_equal(broker_stop(&in, SIGTERM, 40000), 0);
	unmount_all();
	GOOD(shim_start(&in));
	GOOD(invariants_begin(&in, &good));
}

/* ---- D10, D11: what the ledger of this run holds ---- */

static bool has_hex(const json_t *j, const char *name, size_t digits)
{
	const char *s = json_string_value(json_object_get(j, name));
	return s != NULL && strlen(s) == digits && strspn(s, "0123456789abcdef") == digits;
}

static bool has_text(const json_t *j, const char *name)
{
	const char *s = json_string_value(json_object_get(j, name));
	return s != NULL && s[0] != '\0';
}

static bool has_number(const json_t *j, const char *name)
{
	return json_is_integer(json_object_get(j, name));
}

static const char *record_schema(const json_t *j)
{
	const char *event = json_string_value(json_object_get(j, "event")),
		   *time = json_string_value(json_object_get(j, "time"));
	if (!has_number(j, "seq") || !has_hex(j, "prev", 64) || !has_hex(j, "sum", 64) ||
	    event == NULL)
		return "seq, prev, sum, event";
	if (time == NULL || strlen(time) != 27 || time[26] != 'Z')
		return "time";
	if (strcmp(event, "segment") == 0)
		return has_number(j, "segment") && has_number(j, "format") && has_text(j, "why") &&
				       has_number(j, "previous_bytes") && has_number(j, "clock") &&
				       has_number(j, "replay_until") &&
				       (json_object_get(j, "torn_bytes") == NULL) ==
					       !has_hex(j, "torn_sha256", 64)
			       ? NULL
			       : "a segment's members";
	if (strcmp(event, "generation") == 0)
		return has_number(j, "generation") && has_hex(j, "config", 64)
			       ? NULL
			       : "a generation's members";
	if (strcmp(event, "start") == 0 || strcmp(event, "stop") == 0)
		return has_text(j, "version") && has_number(j, "segment") ? NULL
									  : "version, segment";
	if (strcmp(event, "repair") == 0)
		return has_number(j, "bytes") && has_hex(j, "sha256", 64) ? NULL
									  : "a repair's members";
	if (strcmp(event, "refusals") == 0)
		return has_text(j, "code") && has_text(j, "peer") && has_number(j, "more") &&
				       has_number(j, "seconds")
			       ? NULL
			       : "a sum's members";
	if (strcmp(event, "release") != 0)
		return "an event that is not known";
	const char *outcome = json_string_value(json_object_get(j, "outcome")),
		   *code = json_string_value(json_object_get(j, "code"));
	if (!has_text(j, "request") || !has_text(j, "peer") || !has_text(j, "listener") ||
	    !has_hex(j, "config", 16) || outcome == NULL || code == NULL)
		return "request, peer, listener, config, outcome, code";
	if (strcmp(outcome, "released") == 0)
		return strcmp(code, "OK") == 0 && has_text(j, "key") && has_text(j, "version") &&
				       has_text(j, "enc") && has_text(j, "issuer") &&
				       has_text(j, "iss") && has_text(j, "kid") &&
				       has_hex(j, "token_sha256", 64) &&
				       has_hex(j, "policy_sha256", 64) &&
				       has_hex(j, "blob_sha256", 64) && has_text(j, "wrapping_key")
			       ? NULL
			       : "a release's members";
	if (strcmp(outcome, "refused") != 0 || strcmp(code, "OK") == 0 ||
	    json_object_get(j, "blob_sha256") != NULL)
		return "a refusal with code OK or with a blob";
	/* Judged as far as the policy: then everything that was looked at is named. */
	if (strcmp(code, "POLICY") == 0 || strcmp(code, "EXPIRED") == 0 ||
	    strcmp(code, "REPLAY") == 0)
		return has_text(j, "key") && has_text(j, "issuer") && has_text(j, "iss") &&
				       has_text(j, "kid") && has_hex(j, "token_sha256", 64) &&
				       has_hex(j, "policy_sha256", 64)
			       ? NULL
			       : "a judged refusal's members";
	return NULL;
}

static void test_d10_every_record_has_its_members(void **state)
{
	(void)state;
	/* Refusals of each depth, for the records of this run. */
	struct ask unknown = {.name = "unknown", .token = token},
		   junk = {.name = "key", .token = "a.b.c"};
	REFUSED(&unknown, 404, "KeyNotFound", "KEY_NOT_FOUND");
	REFUSED(&junk, 403, "Forbidden", "TOKEN_FORMAT");
	json_t *attest = evidence_platform(kek);
	char *other = NULL;
	evidence_set(attest, "x-ms-compliance-status", json_string("none"));
	GOOD(guest_attest(&in.issuer_at, attest, &other));
	struct ask refused = {.name = "key", .token = other};
	REFUSED(&refused, 403, "Forbidden", "POLICY");
	free(other);
	unsigned n = 0, releases = 0;
	char *text = ledger_text(&in);
	for (char *line = text, *end; (end = strchr(line, '\n')) != NULL; line = end + 1, n++) {
		*end = '\0';
		json_t *j = json_loads(line, JSON_REJECT_DUPLICATES, NULL);
		const char *why = j == NULL ? "no JSON" : record_schema(j);
		if (why != NULL)
			GOOD(wrong("record %u: %s: %.400s", n, why, line));
		releases += strstr(line, "\"event\":\"release\"") != NULL;
		json_decref(j);
	}
	free(text);
	assert_true(n > 100 && releases > 50);
	GOOD(invariants_hold(&in));
}

/* Every file below the state directory, and the log, after all that was done to them. */
static void test_d11_no_secret_in_ledger_log_or_state(void **state)
{
	(void)state;
	char pin_path[256], state_dir[256], *out = NULL;
	size_t len;
	snprintf(pin_path, sizeof pin_path, "%s/hsm/pin", in.dir);
	char *pin = slurp(pin_path, &len);
	pin[strcspn(pin, "\r\n")] = '\0';
	snprintf(state_dir, sizeof state_dir, "%s/state", in.dir);
	const char *const patterns[] = {pin, (const char *)secret, token};
	for (unsigned i = 0; i < 3; i++) {
		char one[40];
		snprintf(one, sizeof one, "%.32s",
			 i == 2 ? token + strlen(token) - 40
				: patterns[i]); /* of the token: its signature */
		int status = run_program(&out, (const char *const[]){"/bin/grep", "-rlaF", "--",
								     one, state_dir, in.log, NULL});
		if (status != 1)
			GOOD(wrong("a secret (%u) is in %s", i, out));
		free(out);
	}
	free(pin);
	/* The search can find: what is in the ledger. */
	assert_int_equal(run_program(&out, (const char *const[]){"/bin/grep", "-rlaF", "--",
								 KID_PLATFORM, state_dir, NULL}),
			 0);
	free(out);
	GOOD(invariants_hold(&in));
}

#define T(f) cmocka_unit_test_teardown(f, after_each)
int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_d02_write_eio_once),
		T(test_d02_sync_eio_once_and_the_file_is_never_trusted_again),
		T(test_d01_no_space_for_a_record),
		T(test_d02_all_calls_fail_for_ever),
		T(test_d02_eintr_and_short_writes_are_no_failure),
		T(test_d02_each_call_of_a_rotation_fails),
		T(test_d02_failed_sync_then_kill_then_power_cut),
		T(test_d08_slow_disk_bounded_queue_and_no_reply_before_the_sync),
		T(test_d01_full_disk_refuses_and_recovers),
		T(test_d10_every_record_has_its_members),
		T(test_d11_no_secret_in_ledger_log_or_state),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
