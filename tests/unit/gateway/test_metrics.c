/* tests/unit/gateway/test_metrics.c — the operator's listener: three paths, bounded, nothing
 * else. */
#include "gateway/metrics.h"

#include <event2/event.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/unit/pages.h"

static struct event_base *base;
static struct metrics_http *metrics;
static int listener = -1;
static struct sockaddr_un where;

static int make(void **state)
{
	socklen_t len = sizeof where;

	(void)state;
	base = event_base_new();
	listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	where = (struct sockaddr_un){.sun_family = AF_UNIX};
	/* A bind without a name: the kernel chooses one in its abstract space. */
	if (base == NULL || !pages_make() ||
	    bind(listener, (struct sockaddr *)&where, sizeof(sa_family_t)) != 0 ||
	    listen(listener, 128) != 0 ||
	    getsockname(listener, (struct sockaddr *)&where, &len) != 0)
		return -1;
	return metrics_http_new(base, listener, &pages.all, &metrics) == KB_OK && metrics != NULL
		       ? 0
		       : -1;
}

static int unmake(void **state)
{
	(void)state;
	metrics_http_free(metrics);
	event_base_free(base);
	pages_free();
	close(listener);
	return 0;
}

static void run_loop(void)
{
	for (int i = 0; i < 6; i++)
		(void)event_base_loop(base, EVLOOP_NONBLOCK);
}

static int dial(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	assert_int_equal(connect(fd, (struct sockaddr *)&where, sizeof(sa_family_t) + 6),
			 0); /* NUL and five digits */
	run_loop();
	return fd;
}

/* The answer to `text`, until the server closes; valid until the next call. */
static const char *ask(const char *text)
{
	static char said[65536];
	size_t len = 0;
	int fd = dial();

	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	for (int i = 0; i < 50; i++) {
		run_loop();
		ssize_t n = read(fd, said + len, sizeof said - 1 - len);
		if (n == 0)
			break;
		len += n > 0 ? (size_t)n : 0;
	}
	said[len] = '\0';
	close(fd);
	run_loop();
	return said;
}

static void expect(const char *text, const char *start, const char *part)
{
	const char *said = ask(text);

	assert_int_equal(strncmp(said, start, strlen(start)), 0);
	assert_non_null(strstr(said, part));
	assert_non_null(strstr(said, "Connection: close\r\n"));
	assert_non_null(strstr(said, "Cache-Control: no-store\r\n"));
}

static void test_b19_paths(void **state)
{
	(void)state;
	expect("GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n", "HTTP/1.1 200 OK\r\n", "\r\n\r\nok\n");
	expect("GET /metrics HTTP/1.1\r\nHost: h\r\n\r\n", "HTTP/1.1 200 OK\r\n",
	       "Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n");
	expect("GET /readyz HTTP/1.1\r\nHost: h\r\n\r\n", "HTTP/1.1 503 Service Unavailable\r\n",
	       "\r\n\r\n{");
	expect("GET / HTTP/1.1\r\nHost: h\r\n\r\n", "HTTP/1.1 404 Not Found\r\n",
	       "Content-Length: 0\r\n");
	expect("GET /keys/n HTTP/1.1\r\nHost: h\r\n\r\n", "HTTP/1.1 404 Not Found\r\n",
	       "Content-Length: 0\r\n");
	expect("POST /metrics HTTP/1.1\r\nHost: h\r\n\r\n", "HTTP/1.1 405 Method Not Allowed\r\n",
	       "Allow: GET, HEAD\r\n");
	expect("GET /metrics\n", "HTTP/1.1 400 Bad Request\r\n", "Content-Length: 0\r\n");
}

static void test_b19_head_has_no_body(void **state)
{
	(void)state;
	const char *said = ask("HEAD /healthz HTTP/1.1\r\nHost: h\r\n\r\n");
	assert_non_null(strstr(said, "Content-Length: 3\r\n"));
	assert_string_equal(strstr(said, "\r\n\r\n"), "\r\n\r\n");
}

static void test_b08_in_two_pieces(void **state)
{
	char said[1024];
	int fd = dial();

	(void)state;
	assert_int_equal(write(fd, "GET /hea", 8), 8);
	run_loop();
	assert_int_equal(read(fd, said, sizeof said), -1);
	assert_int_equal(write(fd, "lthz HTTP/1.1\r\nHost: h\r\n\r\nrest", 30), 30);
	run_loop();
	assert_true(read(fd, said, sizeof said) > 100);
	assert_int_equal(write(fd, "more", 4), 4); /* read and dropped */
	run_loop();
	assert_int_equal(read(fd, said, sizeof said), 0);
	close(fd);
	run_loop();
}

static void test_b10_connections_are_bounded(void **state)
{
	int fd[KB_METRICS_CONNECTIONS + 1];
	char byte;

	(void)state;
	for (int i = 0; i <= KB_METRICS_CONNECTIONS; i++)
		fd[i] = dial();
	assert_int_equal(read(fd[0], &byte, 1), -1);
	assert_int_equal(read(fd[KB_METRICS_CONNECTIONS], &byte, 1), 0); /* closed at once */
	for (int i = 0; i <= KB_METRICS_CONNECTIONS; i++)
		close(fd[i]);
	run_loop();
	expect("GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n", "HTTP/1.1 200 OK\r\n", "ok\n");
}

static void test_no_listener_configured(void **state)
{
	struct metrics_http *none;
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

	(void)state;
	assert_int_equal(metrics_http_new(base, fd, &pages.all, &none), KB_OK);
	assert_null(none);
	metrics_http_free(none);
	close(fd);
}

/* A broken descriptor is an error, not "none is configured". */
static void test_broken_listener_is_an_error(void **state)
{
	struct metrics_http *none = metrics;

	(void)state;
	assert_int_equal(metrics_http_new(base, -1, &pages.all, &none), KB_E_SYS);
	assert_null(none);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_b19_paths),
		cmocka_unit_test(test_b19_head_has_no_body),
		cmocka_unit_test(test_b08_in_two_pieces),
		cmocka_unit_test(test_b10_connections_are_bounded),
		cmocka_unit_test(test_no_listener_configured),
		cmocka_unit_test(test_broken_listener_is_an_error),
	};

	return cmocka_run_group_tests(tests, make, unmake);
}
