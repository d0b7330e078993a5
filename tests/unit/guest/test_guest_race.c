/* tests/unit/guest/test_guest_race.c — which server gets the request, and how long those cost that
 * do not answer.  getaddrinfo() is this file's: it says which addresses a name has, and how slowly.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>

#include "base/clock.h"
#include "guest/console.h"
#include "guest/race.h"
#include "tests/unit/tls_stub.h"

enum { SLOW_MS = 300 }; /* of a busy machine */

/* ---- names ---- */

static struct name {
	const char *host, *port[KB_GUEST_ADDRESSES * 10]; /* on 127.0.0.1 */
	size_t n;
	bool hangs;
} names[4];

int getaddrinfo(const char *host, const char *port, const struct addrinfo *hints,
		struct addrinfo **out)
{
	static struct addrinfo list[KB_GUEST_ADDRESSES * 10];
	static struct sockaddr_in at[KB_GUEST_ADDRESSES * 10];
	const struct name *of = NULL, literal = {.port = {port}, .n = 1};

	(void)hints;
	for (size_t i = 0; i < 4; i++)
		if (names[i].host != NULL && strcmp(names[i].host, host) == 0)
			of = &names[i];
	if (of == NULL)
		of = &literal;
	if (of->hangs)
		pause();
	for (size_t i = 0; i < of->n; i++) {
		at[i] = (struct sockaddr_in){.sin_family = AF_INET,
					     .sin_port = htons((uint16_t)atoi(of->port[i])),
					     .sin_addr = {htonl(INADDR_LOOPBACK)}};
		list[i] = (struct addrinfo){.ai_addr = (struct sockaddr *)&at[i],
					    .ai_addrlen = sizeof at[i],
					    .ai_next = i + 1 < of->n ? &list[i + 1] : NULL};
	}
	*out = list;
	return of->n == 0 ? EAI_NONAME : 0;
}

/* ---- servers ---- */

static struct stub good;
static SSL_CTX *tls;
static char good_port[8], silent_port[8], closed_port[8];
static int silent = -1;

static void nothing(SSL *s, const char *path, struct stub_shared *shared, const char *url)
{
	(void)s, (void)path, (void)shared, (void)url;
}

static int listen_on(char port[static 8], bool is_open)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t len = sizeof a;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
	snprintf(port, 8, "%u", ntohs(a.sin_port));
	if (is_open)
		assert_int_equal(listen(fd, 64), 0);
	return fd; /* bound and not listening: refused */
}

static int setup(void **state)
{
	char ca[] = "/tmp/kb-race-XXXXXX";

	(void)state;
	signal(SIGPIPE, SIG_IGN);
	assert_true(stub_start(&good, nothing, "broker.test", 10, clock_wall_s(), 0));
	snprintf(good_port, sizeof good_port, "%u", good.port);
	silent = listen_on(silent_port, true);
	(void)listen_on(closed_port, false);
	int fd = mkstemp(ca);
	assert_int_equal(write(fd, good.ca_pem.p, good.ca_pem.len), (ssize_t)good.ca_pem.len);
	close(fd);
	assert_int_equal(http_trust(ca, &tls), KB_OK);
	unlink(ca);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	SSL_CTX_free(tls);
	close(silent);
	stub_stop(&good);
	return 0;
}

/* ---- races ---- */

static struct {
	enum kb_err err;
	size_t winner;
	int64_t took_ms;
	bool is_out[KB_GUEST_URLS];
	char said[8192];
} got;

/* The URLs are https://HOST, separated by commas. */
static void run(const char *urls, int64_t limit_ms)
{
	struct url list[KB_GUEST_URLS];
	struct http_link l;
	size_t n;
	int to[2], old = dup(STDERR_FILENO);

	memset(&got, 0, sizeof got);
	got.winner = SIZE_MAX;
	assert_int_equal(url_list(span_str(urls), list, KB_GUEST_URLS, &n), KB_OK);
	assert_int_equal(pipe2(to, O_CLOEXEC | O_NONBLOCK), 0);
	dup2(to[1], STDERR_FILENO);
	close(to[1]);
	int64_t begin = clock_mono_ms();
	got.err = race(list, n, got.is_out, tls, begin + limit_ms, &l, &got.winner);
	got.took_ms = clock_mono_ms() - begin;
	assert_int_equal(got.err == KB_OK, l.tls != NULL);
	http_close(&l);
	dup2(old, STDERR_FILENO);
	close(old);
	ssize_t len = read(to[0], got.said, sizeof got.said - 1);
	close(to[0]);
	print_message("%s", len > 0 ? got.said : "");
	/* No resolver is left behind. */
	while (waitpid(-1, NULL, WNOHANG) > 0)
		fail_msg("a child was left");
}

static void assert_said(const char *text)
{
	if (strstr(got.said, text) == NULL)
		fail_msg("not said: %s", text);
}

static void name_is(size_t i, const char *host, const char *first, const char *second)
{
	names[i] =
		(struct name){.host = host, .port = {first, second}, .n = second == NULL ? 1 : 2};
}

static int forget_names(void **state)
{
	(void)state;
	memset(names, 0, sizeof names);
	return 0;
}

static void test_b23_race_of_one(void **state)
{
	(void)state;
	name_is(0, "broker.test", good_port, NULL);
	run("https://broker.test", 5000);
	assert_int_equal(got.err, KB_OK);
	assert_int_equal(got.winner, 0);
	assert_true(got.took_ms < KB_GUEST_NEXT_MS);
	assert_string_equal(got.said, "");
}

/* What fails costs nothing: the next one does not wait. */
static void test_b23_race_refused_addresses(void **state)
{
	(void)state;
	names[0] = (struct name){.host = "broker.test", .n = 4};
	for (size_t i = 0; i < 4; i++)
		names[0].port[i] = i == 3 ? good_port : closed_port;
	run("https://broker.test", 5000);
	assert_int_equal(got.err, KB_OK);
	assert_true(got.took_ms < KB_GUEST_NEXT_MS);
	assert_said("broker.test (127.0.0.1): connect: Connection refused");
}

/* The first address of a name accepts and never answers; or the first of two brokers does. */
static void test_b23_race_silent_address(void **state)
{
	(void)state;
	name_is(0, "broker.test", silent_port, good_port);
	run("https://broker.test", 10000);
	assert_int_equal(got.err, KB_OK);
	assert_in_range(got.took_ms, KB_GUEST_NEXT_MS, KB_GUEST_NEXT_MS + 1000 + SLOW_MS);
	assert_said("broker.test (127.0.0.1): TLS: no answer yet; ");
	name_is(0, "silent.test", silent_port, silent_port);
	name_is(1, "broker.test", good_port, NULL);
	run("https://silent.test,https://broker.test", 10000);
	assert_int_equal(got.err, KB_OK);
	assert_int_equal(got.winner, 1);
	assert_false(got.is_out[0]); /* it was slower, not wrong */
	/* Two silent addresses come before. */
	assert_in_range(got.took_ms, 2 * KB_GUEST_NEXT_MS, 2 * KB_GUEST_NEXT_MS + 1000 + SLOW_MS);
}

static void test_b23_race_name_server_hangs(void **state)
{
	(void)state;
	names[0] = (struct name){.host = "hangs.test", .hangs = true};
	name_is(1, "broker.test", good_port, NULL);
	run("https://hangs.test,https://broker.test", 10000);
	assert_int_equal(got.err, KB_OK);
	assert_int_equal(got.winner, 1);
	assert_in_range(got.took_ms, KB_GUEST_NEXT_MS, KB_GUEST_NEXT_MS + 1000 + SLOW_MS);
	assert_said("hangs.test: name resolution: no answer yet");
	run("https://hangs.test", 500);
	assert_int_equal(got.err, KB_E_FETCH_TIMEOUT);
	assert_in_range(got.took_ms, 500, 500 + SLOW_MS);
	assert_said("hangs.test: name resolution: no answer until --timeout");
	run("https://hangs.test", KB_GUEST_RESOLVE_MS + 5000);
	assert_int_equal(got.err, KB_E_FETCH_CONNECT);
	assert_in_range(got.took_ms, KB_GUEST_RESOLVE_MS, KB_GUEST_RESOLVE_MS + SLOW_MS);
	assert_said("hangs.test: name resolution: no answer within 10 s");
	assert_true(got.is_out[0]);
}

static void test_b23_race_all_fail(void **state)
{
	(void)state;
	names[0] = (struct name){.host = "nothing.test"};
	name_is(1, "refused.test", closed_port, NULL);
	name_is(2, "broker.test", good_port, NULL);
	name_is(3, "other.test", good_port, NULL); /* the certificate is for broker.test */
	run("https://nothing.test,https://refused.test,https://other.test", 5000);
	assert_int_equal(got.err, KB_E_FETCH_CONNECT);
	assert_true(got.took_ms < KB_GUEST_NEXT_MS);
	assert_true(got.is_out[0] && got.is_out[1] && got.is_out[2]);
	assert_said("nothing.test: name resolution: ");
	assert_said("refused.test (127.0.0.1): connect: Connection refused");
	assert_said("other.test (127.0.0.1): TLS: its certificate is not accepted: ");
	assert_said("check: --ca, the host name in the URL");
}

/* Of a name with N, N + 1 and 10 N addresses, N are tried. */
static void test_b23_race_counts_addresses(void **state)
{
	static const size_t counts[] = {KB_GUEST_ADDRESSES, KB_GUEST_ADDRESSES + 1,
					KB_GUEST_ADDRESSES * 10};
	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		names[0] = (struct name){.host = "broker.test", .n = counts[i]};
		for (size_t a = 0; a < counts[i]; a++)
			names[0].port[a] = closed_port;
		names[0].port[counts[i] - 1] = good_port;
		run("https://broker.test", 5000);
		assert_int_equal(got.err, i == 0 ? KB_OK : KB_E_FETCH_CONNECT);
		size_t refused = 0;
		for (const char *at = got.said; (at = strstr(at, "refused")) != NULL; at++)
			refused++;
		assert_int_equal(refused, i == 0 ? KB_GUEST_ADDRESSES - 1 : KB_GUEST_ADDRESSES);
	}
}

/* Whatever is in a line, a terminal gets printable characters and one end of line. */
static void test_b25_message_is_printable(void **state)
{
	char text[256] = "";
	int to[2], old = dup(STDERR_FILENO);

	(void)state;
	assert_int_equal(pipe(to), 0);
	dup2(to[1], STDERR_FILENO);
	message("%s", "a\x1b[2J\r\nkeybroker-guest: \x07"
		      "b\x7f\x9b"
		      "c\xe2\x80\xae"
		      "d\t");
	dup2(old, STDERR_FILENO);
	close(old);
	close(to[1]);
	assert_true(read(to[0], text, sizeof text - 1) > 0);
	close(to[0]);
	assert_string_equal(text, "keybroker-guest: a?[2J??keybroker-guest: ?b??c???d?\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_b23_race_of_one, forget_names),
		cmocka_unit_test_setup(test_b23_race_refused_addresses, forget_names),
		cmocka_unit_test_setup(test_b23_race_silent_address, forget_names),
		cmocka_unit_test_setup(test_b23_race_name_server_hangs, forget_names),
		cmocka_unit_test_setup(test_b23_race_all_fail, forget_names),
		cmocka_unit_test_setup(test_b23_race_counts_addresses, forget_names),
		cmocka_unit_test(test_b25_message_is_printable),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
