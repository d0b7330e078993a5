/* tests/unit/base/test_log_rate.c — an event that comes too often is logged a bounded number of
 * times, others beside it, and the next line says how many were dropped. */
#include "base/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#include "base/limits.h"

static int64_t now_ms = 1000000;

/* The clock of clock_mono_ms(). */
int clock_gettime(clockid_t id, struct timespec *ts)
{
	(void)id;
	*ts = (struct timespec){.tv_sec = now_ms / 1000, .tv_nsec = now_ms % 1000 * 1000000};
	return 0;
}

static char text[1 << 20];

/* The lines that `n` calls write, and all of them in `text`. */
static unsigned lines_of(unsigned n, const char *event)
{
	unsigned lines = 0;
	int to = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600), old = dup(STDERR_FILENO);

	assert_true(to >= 0 && old >= 0 && dup2(to, STDERR_FILENO) == STDERR_FILENO);
	for (unsigned i = 0; i < n; i++)
		log_event(LOG_WARN, event, "i", log_i64(i), NULL);
	assert_true(dup2(old, STDERR_FILENO) == STDERR_FILENO);
	ssize_t len = pread(to, text, sizeof text - 1, 0);
	assert_true(len >= 0);
	text[len] = '\0';
	for (ssize_t i = 0; i < len; i++)
		lines += text[i] == '\n';
	close(to);
	close(old);
	return lines;
}

static void test_g14_log_of_one_event_is_bounded(void **state)
{
	(void)state;
	assert_int_equal(lines_of(KB_LOG_BURST, "a.flood"), KB_LOG_BURST);
	assert_null(strstr(text, "dropped"));
	assert_int_equal(lines_of(10 * KB_LOG_BURST, "a.flood"), 0);
	assert_int_equal(lines_of(1, "another"), 1);
	now_ms += KB_LOG_EVERY_MS;
	assert_int_equal(lines_of(10, "a.flood"), 1);
	assert_non_null(strstr(text, "\"event\":\"a.flood\",\"dropped\":2560,"));
	/* A day of it. */
	unsigned lines = 0;
	for (unsigned i = 0; i < 24 * 3600; i++) {
		now_ms += 1000;
		lines += lines_of(20, "a.flood");
	}
	assert_true(lines <= 24 * 3600 * 1000 / KB_LOG_EVERY_MS + 1);
	now_ms += KB_LOG_BURST * (int64_t)KB_LOG_EVERY_MS;
	assert_int_equal(lines_of(2 * KB_LOG_BURST, "a.flood"), KB_LOG_BURST);
}

/* More events than places: they share the last one. */
static void test_g14_log_of_many_events(void **state)
{
	static char names[3 * KB_LOG_EVENTS][16];
	unsigned lines = 0;

	(void)state;
	for (unsigned i = 0; i < 3 * KB_LOG_EVENTS; i++) {
		snprintf(names[i], sizeof names[i], "event.%u", i);
		lines += lines_of(3, names[i]);
	}
	assert_true(lines > KB_LOG_EVENTS && lines < 3 * KB_LOG_EVENTS + 2 * KB_LOG_BURST);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_g14_log_of_one_event_is_bounded),
		cmocka_unit_test(test_g14_log_of_many_events),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
