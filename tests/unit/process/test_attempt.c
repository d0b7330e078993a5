/* tests/unit/process/test_attempt.c — the outcome of an attempt as a file: whole, bounded, and the
 * answer to one question. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
/* cmocka needs the above first */
#include <cmocka.h>

#include "process/attempt.h"

static char dir[64];
static struct keyset_origin from;

static int setup(void **state)
{
	char sub[80];

	(void)state;
	snprintf(dir, sizeof dir, "/tmp/kb-attempt-XXXXXX");
	assert_non_null(mkdtemp(dir));
	snprintf(sub, sizeof sub, "%s/issuers", dir);
	assert_int_equal(mkdir(sub, 0700), 0);
	keyset_origin_make(&from, "https://a.test", "discovery", "https://a.test", "public", "none",
			   span_of(NULL, 0));
	return 0;
}

static int teardown(void **state)
{
	char command[80];

	(void)state;
	snprintf(command, sizeof command, "rm -rf %s", dir);
	return system(command);
}

static void test_attempt_round_trip(void **state)
{
	struct attempt a = {.at_s = 1790000000,
			    .outcome = KB_E_FETCH_STATUS,
			    .keys = 7,
			    .asked = 0xfedcba9876543211},
		       b;

	(void)state;
	assert_int_equal(attempt_read(dir, "a", &from, &b), KB_E_FILE);
	memset(a.detail, '\x01', sizeof a.detail - 1); /* six bytes each */
	memset(a.note, '"', sizeof a.note - 1);
	assert_int_equal(attempt_write(dir, "a", &from, &a), KB_OK);
	assert_int_equal(attempt_read(dir, "a", &from, &b), KB_OK);
	assert_true(b.at_s == a.at_s && b.outcome == a.outcome && b.keys == 7 &&
		    b.asked == a.asked);
	assert_string_equal(b.detail, a.detail);
	assert_string_equal(b.note, a.note);
	a = (struct attempt){.outcome = KB_OK};
	assert_int_equal(attempt_write(dir, "a", &from, &a), KB_OK);
	assert_int_equal(attempt_read(dir, "a", &from, &b), KB_OK);
	assert_true(b.outcome == KB_OK && b.asked == 0 && b.detail[0] == '\0' && b.note[0] == '\0');
	assert_int_equal(attempt_write("/nonexistent", "a", &from, &a), KB_E_FILE);
}

static void test_attempt_bad_files(void **state)
{
	static const struct {
		const char *text;
		enum kb_err err;
	} cases[] = {
		{"", KB_E_JSON_SYNTAX},
		{"[]", KB_E_JSON_MISSING},
		{"{\"at\":\"x\",\"outcome\":\"OK\",\"keys\":1,\"asked\":1}", KB_E_JSON_TYPE},
		{"{\"at\":1,\"outcome\":7,\"keys\":1,\"asked\":1}", KB_E_JSON_TYPE},
		{"{\"at\":1,\"outcome\":\"OK\",\"keys\":1}", KB_E_JSON_MISSING},
		{"{\"at\":1,\"outcome\":\"OK\",\"detail\":[],\"keys\":1,\"asked\":1}",
		 KB_E_JSON_TYPE},
		{"{\"at\":1,\"outcome\":\"OK\",\"keys\":1,\"asked\":-1}", KB_OK},
	};
	char path[KEYSET_PATH];
	struct attempt a;

	(void)state;
	assert_int_equal(keyset_path(path, dir, "a", &from, "attempt"), KB_OK);
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0640);
		assert_int_equal(write(fd, cases[i].text, strlen(cases[i].text)),
				 strlen(cases[i].text));
		close(fd);
		assert_string_equal(kb_err_name(attempt_read(dir, "a", &from, &a)),
				    kb_err_name(cases[i].err));
	}
	assert_int_equal(a.asked, 0);
	/* An outcome of another version is no success. */
	int fd = open(path, O_WRONLY | O_TRUNC, 0640);
	assert_true(write(fd, "{\"at\":1,\"outcome\":\"NEW\",\"keys\":1,\"asked\":1}", 43) > 0);
	close(fd);
	assert_int_equal(attempt_read(dir, "a", &from, &a), KB_OK);
	assert_int_equal(a.outcome, KB_E_BUG);
	assert_int_equal(chmod(path, 0666), 0);
	assert_int_equal(attempt_read(dir, "a", &from, &a), KB_E_FILE_MODE);
	assert_int_equal(chmod(path, 0640), 0);
	assert_int_equal(truncate(path, 1 << 20), 0);
	assert_int_equal(attempt_read(dir, "a", &from, &a), KB_E_FILE_SIZE);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(symlink("/etc/passwd", path), 0);
	assert_int_equal(attempt_read(dir, "a", &from, &a), KB_E_FILE_MODE);
}

static void test_h19_each_question_has_its_own_mark(void **state)
{
	uint64_t first, same, second;
	char path[KEYSET_PATH];

	(void)state;
	assert_int_equal(attempt_take(dir, "a", &from), 0);
	assert_int_equal(attempt_ask(dir, "a", &from, &first), KB_OK);
	assert_int_equal(attempt_ask(dir, "a", &from, &same), KB_OK);
	assert_true(first != 0 && first == same);
	assert_true(attempt_take(dir, "a", &from) == first);
	assert_int_equal(attempt_take(dir, "a", &from), 0);
	assert_int_equal(usleep(20000), 0); /* the clock of the file system */
	assert_int_equal(attempt_ask(dir, "a", &from, &second), KB_OK);
	assert_true(second != first);
	assert_true(attempt_take(dir, "a", &from) == second);
	assert_int_equal(attempt_ask("/nonexistent", "a", &from, &first), KB_E_FILE);
	/* A link that someone put there is not followed, nor waited for. */
	assert_int_equal(keyset_path(path, dir, "a", &from, "refresh"), KB_OK);
	assert_int_equal(symlink("/tmp/kb-no-such-file", path), 0);
	assert_int_equal(attempt_ask(dir, "a", &from, &first), KB_E_FILE);
	assert_int_not_equal(access("/tmp/kb-no-such-file", F_OK), 0);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(attempt_ask(dir, "a", &from, &first), KB_E_FILE);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_attempt_round_trip),
		T(test_attempt_bad_files),
		T(test_h19_each_question_has_its_own_mark),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
