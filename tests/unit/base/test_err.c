/* tests/unit/base/test_err.c — the table of errors: names are unique, each class has a status, a
 * value outside the table is a bug. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/err.h"

static void test_err_names_are_unique(void **state)
{
	(void)state;
	for (unsigned i = 0; i < KB_ERR_COUNT; i++) {
		const char *name = kb_err_name((enum kb_err)i);
		assert_true(name[0] != '\0');
		assert_int_equal(strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_"),
				 strlen(name));
		assert_int_equal(kb_err_from_name(name),
				 i); /* finds the first: a name twice would give another */
	}
}

/* For each row a sentence of its own, that does not just repeat the name. */
static void test_err_texts_are_there_for_every_code(void **state)
{
	(void)state;
	for (unsigned i = 0; i < KB_ERR_COUNT; i++) {
		const char *text = kb_err_text((enum kb_err)i);
		if (strlen(text) < 10)
			fail_msg("%s has no text in err_text.c", kb_err_name((enum kb_err)i));
		for (unsigned j = 0; j < i; j++)
			assert_string_not_equal(text, kb_err_text((enum kb_err)j));
	}
	assert_string_equal(kb_err_text(KB_ERR_COUNT), "");
}

static void test_err_zero_is_ok_alone(void **state)
{
	(void)state;
	assert_int_equal(KB_OK, 0);
	assert_int_equal(kb_err_class(KB_OK), KB_CLASS_OK);
	for (unsigned i = 1; i < KB_ERR_COUNT; i++) {
		assert_int_not_equal(kb_err_class((enum kb_err)i), KB_CLASS_OK);
		assert_true(kb_err_status((enum kb_err)i) >= 400);
	}
}

static void test_err_outside_is_bug(void **state)
{
	(void)state;
	assert_string_equal(kb_err_name((enum kb_err)KB_ERR_COUNT), "BUG");
	assert_string_equal(kb_err_name((enum kb_err) - 1), "BUG");
	assert_int_equal(kb_err_class((enum kb_err)1000000), KB_CLASS_BUG);
	assert_int_equal(kb_err_status((enum kb_err)1000000), 500);
	assert_int_equal(kb_err_from_name("NO_SUCH_NAME"), KB_E_BUG);
	assert_int_equal(kb_err_from_name(""), KB_E_BUG);
}

static void test_err_status_of_class(void **state)
{
	(void)state;
	assert_int_equal(kb_err_status(KB_OK), 200);
	assert_int_equal(kb_err_status(KB_E_POLICY), 403);
	assert_int_equal(kb_err_status(KB_E_HSM_KEY_MISSING), 403);
	assert_int_equal(kb_err_status(KB_E_NO_CREDENTIAL), 401);
	assert_int_equal(kb_err_status(KB_E_ENC), 400);
	assert_int_equal(kb_err_status(KB_E_KEY_NOT_FOUND), 404);
	assert_int_equal(kb_err_status(KB_E_QUEUE_FULL), 503);
	assert_int_equal(kb_err_status(KB_E_HSM_DEVICE), 503);
	assert_int_equal(kb_err_status(KB_E_CONFIG), 500);
	assert_int_equal(kb_err_status(KB_E_BUG), 500);
}

static void test_err_bug_aborts_and_says_where(void **state)
{
	char text[256];
	int fd[2], status;

	(void)state;
	assert_int_equal(pipe(fd), 0);
	pid_t child = fork();
	if (child == 0) {
		struct rlimit none = {0, 0};
		setrlimit(RLIMIT_CORE, &none);
		signal(SIGABRT, SIG_DFL);
		dup2(fd[1], STDERR_FILENO);
		kb_bug("some/file.c", 7);
	}
	close(fd[1]);
	ssize_t n = read(fd[0], text, sizeof text - 1);
	close(fd[0]);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	assert_true(n > 0);
	text[n] = '\0';
	assert_non_null(strstr(text, "\"file\":\"some/file.c\",\"line\":7}"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_err_names_are_unique),
		cmocka_unit_test(test_err_texts_are_there_for_every_code),
		cmocka_unit_test(test_err_zero_is_ok_alone),
		cmocka_unit_test(test_err_outside_is_bug),
		cmocka_unit_test(test_err_status_of_class),
		cmocka_unit_test(test_err_bug_aborts_and_says_where),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
