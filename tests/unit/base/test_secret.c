/* tests/unit/base/test_secret.c — memory of key bytes: locked, wiped, compared in constant time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/secret.h"

static int setup(void **state)
{
	(void)state;
	return secret_arena_init() == KB_OK ? 0 : -1;
}

static void test_secret_before_arena_is_null(void **state)
{
	(void)state;
	assert_null(secret_new(16)); /* runs first: never the ordinary heap */
	struct secret *s;
	assert_int_equal(secret_random(16, &s), KB_E_NOMEM);
	assert_null(s);
	assert_int_equal(secret_arena_init(), KB_OK);
	assert_int_equal(secret_arena_init(), KB_OK);
}

static void test_secret_limits(void **state)
{
	(void)state;
	assert_null(secret_new(0));
	struct secret *s = secret_new(KB_MAX_SECRET);
	assert_non_null(s);
	assert_int_equal(secret_len(s), KB_MAX_SECRET);
	secret_free(s);
	assert_null(secret_new(KB_MAX_SECRET + 1));
	assert_null(secret_new((size_t)KB_MAX_SECRET * 10));
	secret_free(NULL);
}

static void test_secret_arena_full(void **state)
{
	struct secret *all[KB_SECRET_ARENA / 64] = {0};
	size_t n = 0;

	(void)state;
	while (n < sizeof all / sizeof all[0] && (all[n] = secret_new(KB_MAX_SECRET)) != NULL)
		n++;
	assert_true(n > 0 &&
		    n <= KB_SECRET_ARENA /
				    KB_MAX_SECRET); /* full means NULL, not the ordinary heap */
	for (size_t i = 0; i < n; i++)
		secret_free(all[i]);
	struct secret *s = secret_new(KB_MAX_SECRET);
	assert_non_null(s);
	secret_free(s);
}

static void test_secret_is_zero_and_wiped(void **state)
{
	static const uint8_t zero[256];

	(void)state;
	struct secret *s = secret_new(256);
	assert_memory_equal(secret_bytes(s), zero, 256);
	memset(secret_bytes(s), 'x', 256);
	const volatile uint8_t *at = secret_bytes(s);
	secret_trim(s, 100);
	assert_int_equal(secret_len(s), 100);
	for (size_t i = 0; i < 256; i++)
		assert_int_equal(at[i], i < 100 ? 'x' : 0);
	secret_free(s);
	s = secret_new(256); /* the same block again, without what was there */
	assert_memory_equal(secret_bytes(s), zero, 256);
	secret_free(s);
}

static void test_secret_trim_only_shortens(void **state)
{
	int status;

	(void)state;
	pid_t child = fork();
	if (child == 0) {
		struct rlimit none = {0, 0};
		setrlimit(RLIMIT_CORE, &none);
		if (freopen("/dev/null", "w", stderr) == NULL)
			_exit(1);
		struct secret *s = secret_new(8);
		signal(SIGABRT, SIG_DFL);
		secret_trim(s, 9);
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

static void test_secret_equal(void **state)
{
	struct secret *a = secret_new(32), *b = secret_new(32), *c = secret_new(33);

	(void)state;
	assert_true(secret_equal(a, b));
	assert_false(secret_equal(a, c));
	for (size_t i = 0; i < 32; i++) {
		secret_bytes(b)[i] = 1;
		assert_false(secret_equal(a, b));
		assert_false(secret_equal_span(a, secret_span(b)));
		secret_bytes(b)[i] = 0;
	}
	assert_true(secret_equal_span(a, span_of((uint8_t[32]){0}, 32)));
	secret_free(a);
	secret_free(b);
	secret_free(c);
}

static void test_secret_random(void **state)
{
	struct secret *a, *b;

	(void)state;
	assert_int_equal(secret_random(32, &a), KB_OK);
	assert_int_equal(secret_random(32, &b), KB_OK);
	assert_int_equal(secret_len(a), 32);
	assert_false(secret_equal(a, b));
	secret_free(a);
	secret_free(b);
	assert_int_equal(secret_random(KB_MAX_SECRET + 1, &a), KB_E_NOMEM);
	assert_null(a);
	assert_int_equal(secret_random(0, &a), KB_E_NOMEM);
}

static enum kb_err read_text(const void *text, size_t len, struct secret **out)
{
	int fd[2];

	assert_int_equal(pipe(fd), 0);
	pid_t child = fork();
	if (child == 0) { /* in two writes: a PIN may come in parts */
		close(fd[0]);
		if (len > 1 && write(fd[1], text, 1) == 1)
			_exit(write(fd[1], (const uint8_t *)text + 1, len - 1) == (ssize_t)len - 1
				      ? 0
				      : 1);
		_exit(write(fd[1], text, len) == (ssize_t)len ? 0 : 1);
	}
	close(fd[1]);
	enum kb_err err = secret_read_fd(fd[0], out);
	close(fd[0]);
	waitpid(child, NULL, 0);
	return err;
}

static void test_secret_read_fd(void **state)
{
	static const struct {
		const char *in, *out;
	} cases[] = {{"1234", "1234"},
		     {"1234\n", "1234"},
		     {"1234\r\n", "1234"},
		     {"1234\n\n", "1234\n"},
		     {" 12 ", " 12 "},
		     {"12\r34", "12\r34"},
		     {"\xef\xbb\xbf"
		      "1234\r\n",
		      "1234"},
		     {"1\xef\xbb\xbf", "1\xef\xbb\xbf"}};
	static const char *const empty[] = {"", "\n", "\r\n", "\xef\xbb\xbf\n"};
	struct secret *s;

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		assert_int_equal(read_text(cases[i].in, strlen(cases[i].in), &s), KB_OK);
		assert_true(secret_equal_span(s, span_str(cases[i].out)));
		secret_free(s);
	}
	for (size_t i = 0; i < 4; i++) {
		assert_int_equal(read_text(empty[i], strlen(empty[i]), &s), KB_E_FILE_SIZE);
		assert_null(s);
	}
	/* A PIN in UTF-16 would be refused by the HSM, which counts the attempts. */
	assert_int_equal(read_text("\xff\xfe"
				   "1\0002\0",
				   6, &s),
			 KB_E_ENCODING);
	assert_null(s);
	assert_int_equal(secret_read_fd(-1, &s), KB_E_FILE);
	assert_null(s);
}

static void test_secret_read_fd_limit(void **state)
{
	static uint8_t big[KB_MAX_SECRET * 10];
	struct secret *s;

	(void)state;
	memset(big, 'p', sizeof big);
	assert_int_equal(read_text(big, KB_MAX_SECRET - 1, &s), KB_OK);
	assert_int_equal(secret_len(s), KB_MAX_SECRET - 1);
	secret_free(s);
	assert_int_equal(read_text(big, KB_MAX_SECRET, &s), KB_E_FILE_SIZE);
	assert_int_equal(read_text(big, sizeof big, &s), KB_E_FILE_SIZE);
	assert_null(s);
}

int main(void)
{
	const struct CMUnitTest before[] = {cmocka_unit_test(test_secret_before_arena_is_null)};
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_secret_limits),
		cmocka_unit_test(test_secret_arena_full),
		cmocka_unit_test(test_secret_is_zero_and_wiped),
		cmocka_unit_test(test_secret_trim_only_shortens),
		cmocka_unit_test(test_secret_equal),
		cmocka_unit_test(test_secret_random),
		cmocka_unit_test(test_secret_read_fd),
		cmocka_unit_test(test_secret_read_fd_limit),
	};

	int failed = cmocka_run_group_tests(before, NULL, NULL);
	return failed + cmocka_run_group_tests(tests, setup, NULL);
}
