/* tests/unit/base/test_log.c — the log never makes a process wait, and says what it dropped. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/log.h"

/* The clock of clock_mono_ms(): no event comes too often here. */
int clock_gettime(clockid_t id, struct timespec *ts)
{
	static int64_t now_ms = 1000000;

	(void)id;
	now_ms += KB_LOG_EVERY_MS;
	*ts = (struct timespec){.tv_sec = now_ms / 1000, .tv_nsec = now_ms % 1000 * 1000000};
	return 0;
}

enum { LINES = 3000 };

static _Atomic uint64_t lost;

/* In a child whose stderr is `fd`: more lines than anything takes, and one when `go` is closed. */
static void write_lines(int fd, int go)
{
	uint8_t byte;

	alarm(20);
	if (dup2(fd, STDERR_FILENO) < 0)
		_exit(90);
	log_init("test", LOG_INFO);
	log_never_wait();
	log_count_dropped(&lost);
	for (unsigned i = 0; i < LINES; i++)
		log_event(LOG_INFO, "line", "n", log_i64(i), NULL);
	if (write(go, "x", 1) != 1 || read(go, &byte, 1) != 1)
		_exit(91);
	log_event(LOG_INFO, "after", "lost", log_i64((int64_t)atomic_load(&lost)), NULL);
	_exit(0);
}

static size_t drain(int fd, char *text, size_t size)
{
	size_t len = 0;
	ssize_t n;

	while (len < size - 1 && (n = read(fd, text + len, size - 1 - len)) > 0)
		len += (size_t)n;
	text[len] = '\0';
	return len;
}

/* Nobody reads `from` until all is written. */
static void goes_on(int to, int from)
{
	static char text[1 << 22];
	const int was = fcntl(to, F_GETFL);
	int go[2], status;
	uint8_t byte;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, go), 0);
	pid_t pid = fork();
	if (pid == 0)
		write_lines(to, go[1]);
	close(go[1]);
	assert_int_equal(read(go[0], &byte, 1), 1); /* it did not wait */
	assert_int_equal(fcntl(to, F_GETFL), was);  /* and who else has it sees nothing */
	assert_int_equal(fcntl(from, F_SETFL, O_NONBLOCK), 0);
	(void)drain(from, text, sizeof text);
	const char *last = NULL;
	for (const char *at = text; (at = strstr(at, "\"n\":\"")) != NULL; at++)
		last = at;
	assert_non_null(last);
	const long taken = strtol(last + 5, NULL, 10) + 1;
	assert_true(taken > 0 && taken < LINES);
	assert_int_equal(write(go[0], "x", 1), 1);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	(void)drain(from, text, sizeof text);
	char want[64];
	snprintf(want, sizeof want, "\"event\":\"log.dropped\",\"lines\":%ld}\n", LINES - taken);
	assert_non_null(strstr(text, want));
	snprintf(want, sizeof want, "\"event\":\"after\",\"lost\":\"%ld\"}\n", LINES - taken);
	assert_non_null(strstr(text, want));
	assert_true(strstr(text, "log.dropped") < strstr(text, "after"));
	close(go[0]);
	close(to);
	close(from);
}

static void test_i16_log_that_nobody_reads_pipe(void **state)
{
	int p[2];

	(void)state;
	assert_int_equal(pipe(p), 0);
	goes_on(p[1], p[0]);
}

static void test_i16_log_that_nobody_reads_socket(void **state)
{
	int p[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, p), 0);
	goes_on(p[1], p[0]);
}

static void test_i16_log_that_nobody_reads_terminal(void **state)
{
	int master = posix_openpt(O_RDWR | O_NOCTTY);

	(void)state;
	if (master < 0)
		skip();
	assert_int_equal(grantpt(master), 0);
	assert_int_equal(unlockpt(master), 0);
	int terminal = open(ptsname(master), O_WRONLY | O_NOCTTY);
	assert_true(terminal >= 0);
	/* Stopped, as with Ctrl-S: a line is torn somewhere, and the next one begins a new line. */
	static char text[1 << 22];
	int go[2], status;
	uint8_t byte;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, go), 0);
	pid_t pid = fork();
	if (pid == 0)
		write_lines(terminal, go[1]);
	close(go[1]);
	assert_int_equal(read(go[0], &byte, 1), 1);
	assert_int_equal(fcntl(terminal, F_GETFL) & O_NONBLOCK, 0);
	assert_int_equal(fcntl(master, F_SETFL, O_NONBLOCK), 0);
	(void)drain(master, text, sizeof text);
	assert_int_equal(write(go[0], "x", 1), 1);
	for (struct pollfd m = {.fd = master, .events = POLLIN};
	     strstr(text, "after") == NULL && poll(&m, 1, 5000) == 1;)
		(void)drain(master, text, sizeof text);
	assert_non_null(strstr(text, "\"event\":\"after\""));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	close(go[0]);
	close(terminal);
	close(master);
}

/* A file takes every line, at its end. */
static void test_log_to_a_file_drops_nothing(void **state)
{
	char path[] = "/tmp/keybroker-log-XXXXXX", text[64];
	int fd = mkstemp(path), go[2], status;

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, go), 0);
	pid_t pid = fork();
	if (pid == 0)
		write_lines(fd, go[1]);
	close(go[1]);
	assert_int_equal(read(go[0], text, 1), 1);
	assert_int_equal(write(go[0], "x", 1), 1);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	FILE *f = fopen(path, "r");
	char line[512];
	unsigned n = 0;
	while (fgets(line, sizeof line, f) != NULL)
		n++;
	assert_int_equal(n, LINES + 1);
	assert_non_null(strstr(line, "\"lost\":\"0\"}\n"));
	fclose(f);
	unlink(path);
	close(fd);
	close(go[0]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_i16_log_that_nobody_reads_pipe),
		cmocka_unit_test(test_i16_log_that_nobody_reads_socket),
		cmocka_unit_test(test_i16_log_that_nobody_reads_terminal),
		cmocka_unit_test(test_log_to_a_file_drops_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
