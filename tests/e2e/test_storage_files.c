/* tests/e2e/test_storage_files.c — the ledger's files altered, moved, replaced, shared: it is seen,
 * named and refused. */
#include "tests/fault/storage_test.h"

/* ---- D5: an altered ledger ---- */

static void verify_names(unsigned line)
{
	char *out = NULL, want[64];
	snprintf(want, sizeof want, "%s:%u:", strrchr(newest(), '/') + 1, line);
	assert_int_equal(CTL(&in, &out, "ledger", "verify"), 1);
	if (strstr(out, want) == NULL)
		GOOD(wrong("%s expected, verify says: %s", want, out));
	free(out);
}

static void test_d05_verify_names_the_line_and_the_broker_does_not_start(void **state)
{
	(void)state;
	rotate();
	for (unsigned i = 0; i < 6; i++)
		released();
	assert_int_equal(broker_stop(&in, SIGTERM, 40000), 0);
	size_t len, start[16], n = 0;
	char *whole = slurp(newest(), &len), *bad = malloc(2 * len);
	for (size_t at = 0; at < len && n < 16;
	     at = (size_t)((char *)memchr(whole + at, '\n', len - at) - whole) + 1)
		start[n++] = at;
	assert_true(n >= 7);
	start[n] = len;
	for (unsigned line = 1; line <= n; line++) { /* a byte */
		memcpy(bad, whole, len);
		bad[start[line - 1] + 30] ^= 1;
		spill(newest(), bad, len);
		verify_names(line);
	}
	for (unsigned line = 2; line < n;
	     line++) { /* a line removed: the one in its place does not follow */
		memcpy(bad, whole, start[line - 1]);
		memcpy(bad + start[line - 1], whole + start[line], len - start[line]);
		spill(newest(), bad, len - (start[line] - start[line - 1]));
		verify_names(line);
	}
	for (unsigned line = 2; line <= n; line++) { /* repeated */
		size_t one = start[line] - start[line - 1];
		memcpy(bad, whole, start[line]);
		memcpy(bad + start[line], whole + start[line - 1], one);
		memcpy(bad + start[line] + one, whole + start[line], len - start[line]);
		spill(newest(), bad, len + one);
		verify_names(line + 1);
	}
	for (unsigned line = 2; line < n; line++) { /* exchanged with the next one */
		size_t one = start[line] - start[line - 1], two = start[line + 1] - start[line];
		memcpy(bad, whole, len);
		memcpy(bad + start[line - 1], whole + start[line], two);
		memcpy(bad + start[line - 1] + two, whole + start[line - 1], one);
		spill(newest(), bad, len);
		verify_names(line);
	}
	spill(newest(), whole, len - 9); /* the last line cut */
	verify_names((unsigned)n);
	/* Whole lines cut from the end: only a copy of the head elsewhere shows it. */
	char *out = NULL, head[128] = "";
	spill(newest(), whole, len);
	assert_int_equal(CTL(&in, &out, "ledger", "verify"), 0);
	sscanf(strstr(out, "head: "), "head: %127s", head);
	free(out);
	spill(newest(), whole, start[n - 1]);
	assert_int_equal(CTL(&in, &out, "ledger", "verify", "--expect-head", head), 1);
	assert_non_null(strstr(out, "cut"));
	free(out);

	memcpy(bad, whole, len);
	bad[start[2] + 30] ^= 1;
	spill(newest(), bad, len);
	GOOD(shim_start_unready(&in));
	int status = 0;
	for (unsigned long long end = now_ms() + 20000;
	     now_ms() < end && waitpid(in.broker, &status, WNOHANG) != in.broker;)
		sleep_ms(20);
	in.broker = 0;
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 1);
	spill(newest(), whole, len);
	free(whole);
	free(bad);
	GOOD(shim_start(&in));
	GOOD(invariants_begin(&in, &good));
	GOOD(invariants_hold(&in));
}

/* ---- D6: the file is moved under the broker ---- */

static void in_ledger_dir(const char *name, char path[static 256])
{
	snprintf(path, 256, "%s/state/ledger/%s", in.dir, name);
}

/* mv and SIGUSR1, as logrotate does it; then the file comes back and the chain is whole. */
static void test_d06_moved_away_and_reopened_by_signal(void **state)
{
	(void)state;
	char from[256], to[256], *out = NULL;
	struct stat st;
	released();
	snprintf(from, sizeof from, "%s", newest());
	unsigned number = newest_number();
	in_ledger_dir("put-away", to);
	assert_int_equal(rename(from, to), 0);
	signal_broker(SIGUSR1);
	for (unsigned long long end = now_ms() + 5000;
	     newest_number() != number + 1 && now_ms() < end;)
		sleep_ms(10);
	released();
	assert_int_equal(newest_number(), number + 1);
	assert_int_equal(stat(newest(), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0640);
	assert_int_equal(CTL(&in, &out, "ledger", "verify"),
			 1); /* a segment in the middle is missing, and it says which */
	assert_non_null(strstr(out, strrchr(from, '/') + 1));
	free(out);
	assert_int_equal(rename(to, from), 0);
	GOOD(invariants_hold(&in));
}

/* Without a signal: what is written into a file that is no longer there is no record, so nothing is
 * released on it. */
static void gone(const char *(*harm)(const char *path, const char *aside))
{
	char path[256], aside[256];
	released();
	unsigned number = newest_number();
	snprintf(path, sizeof path, "%s", newest());
	in_ledger_dir("aside", aside);
	GOOD(harm(path, aside));
	denied_by_ledger();
	wait_released(5000);
	unlink(path);
	assert_int_equal(rename(aside, path), 0);
	assert_int_equal(newest_number(), number + 1);
	newest_begins_with("\"why\":\"write failed\"");
	GOOD(invariants_hold(&in)); /* I7: the file as it was moved is the ledger's up to there */
}

static const char *move_away(const char *path, const char *aside)
{
	return rename(path, aside) == 0 ? NULL : "rename";
}

static const char *remove_it(const char *path, const char *aside)
{
	return link(path, aside) == 0 && unlink(path) == 0 ? NULL : "unlink";
}

static const char *replace_by_link(const char *path, const char *aside)
{
	return rename(path, aside) == 0 && symlink("/dev/null", path) == 0 ? NULL : "symlink";
}

static const char *replace_by_copy(const char *path, const char *aside)
{
	size_t len;
	char *text = slurp(path, &len);
	if (rename(path, aside) != 0)
		return "rename";
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0640);
	bool ok = fd >= 0 && write(fd, text, len) == (ssize_t)len;
	close(fd);
	free(text);
	return ok ? NULL : "copy";
}

static void test_d06_moved_away_without_a_signal(void **state)
{
	(void)state;
	gone(move_away);
}

static void test_d06_removed(void **state)
{
	(void)state;
	gone(remove_it);
}

static void test_d06_replaced_by_a_link(void **state)
{
	(void)state;
	gone(replace_by_link);
}

static void test_d06_replaced_by_a_copy(void **state)
{
	(void)state;
	gone(replace_by_copy);
}

static void does_not_start(const char *says)
{
	GOOD(shim_start_unready(&in));
	int status = 0;
	pid_t broker = in.broker;
	for (unsigned long long end = now_ms() + 20000; in.broker != 0 && now_ms() < end;
	     sleep_ms(20))
		if (waitpid(broker, &status, WNOHANG) == broker)
			in.broker = 0;
	assert_int_equal(in.broker, 0);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 1);
	size_t len;
	char *log = slurp(in.log, &len), *last = NULL;
	for (char *at = log; (at = strstr(at, "\"event\":\"ledger.open\"")) != NULL; at++)
		last = at;
	if (last == NULL || strstr(last, says) == NULL)
		GOOD(wrong("the log does not say %s: %.300s", says, last == NULL ? "" : last));
	free(log);
}

static void test_d06_wrong_owner_mode_or_kind_is_refused_at_the_start(void **state)
{
	(void)state;
	char path[256], aside[256];
	struct stat st;
	assert_int_equal(broker_stop(&in, SIGTERM, 40000), 0);
	snprintf(path, sizeof path, "%s", newest());
	in_ledger_dir("aside", aside);
	assert_int_equal(chmod(path, 0660), 0);
	does_not_start("mode 0640");
	assert_int_equal(chmod(path, 0640), 0);
	assert_int_equal(link(path, aside), 0);
	does_not_start("with one name");
	assert_int_equal(unlink(aside), 0);
	assert_int_equal(rename(path, aside), 0);
	assert_int_equal(symlink("aside", path), 0);
	does_not_start("symlink");
	assert_int_equal(unlink(path), 0);
	assert_int_equal(rename(aside, path), 0);
	if (geteuid() == 0) {
		assert_int_equal(stat(path, &st), 0);
		assert_int_equal(chown(path, 0, 0), 0);
		does_not_start("must belong to the broker's user");
		assert_int_equal(chown(path, st.st_uid, st.st_gid), 0);
	}
	GOOD(shim_start(&in));
	GOOD(invariants_begin(&in, &good));
	GOOD(invariants_hold(&in));
}

/* ---- D7, D9 ---- */

static void test_d07_second_broker_on_the_same_ledger(void **state)
{
	(void)state;
	char *out = NULL;
	assert_int_equal(run_program(&out, (const char *const[]){program("keybrokerd"), "-c",
								 in.config, NULL}),
			 1);
	assert_non_null(strstr(out, "another broker"));
	free(out);
	/* Nor one with a state directory of its own that leads to the same ledger. */
	char other[256], target[256];
	json_t *config = instance_json(&in, "keybroker.json");
	snprintf(other, sizeof other, "%s/other", in.dir);
	assert_int_equal(mkdir(other, 0755), 0);
	snprintf(other, sizeof other, "%s/other/ledger", in.dir);
	snprintf(target, sizeof target, "%s/state/ledger", in.dir);
	assert_int_equal(symlink(target, other), 0);
	json_object_set_new(config, "state", json_string("other"));
	GOOD(instance_json_write(&in, "other.json", config));
	snprintf(other, sizeof other, "%s/other.json", in.dir);
	assert_int_not_equal(
		run_program(&out, (const char *const[]){program("keybrokerd"), "-c", other, NULL}),
		0);
	free(out);
	unlink(other);
	GOOD(invariants_hold(&in));
}

#define T(f) cmocka_unit_test_teardown(f, after_each)
int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_d05_verify_names_the_line_and_the_broker_does_not_start),
		T(test_d06_moved_away_and_reopened_by_signal),
		T(test_d06_moved_away_without_a_signal),
		T(test_d06_removed),
		T(test_d06_replaced_by_a_link),
		T(test_d06_replaced_by_a_copy),
		T(test_d06_wrong_owner_mode_or_kind_is_refused_at_the_start),
		T(test_d07_second_broker_on_the_same_ledger),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
