/* tests/unit/fetcher/test_fetch.c — one document over https: every kind of failure has its code,
 * and none exceeds the limits of time and size. */
#include <curl/curl.h>
#include <dlfcn.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
/* cmocka.h needs the headers above */
#include <cmocka.h>

#include "base/clock.h"
#include "fetcher/fetch.h"
#include "tests/unit/tls_stub.h"

static bool is_broken, is_multi_broken, is_poll_broken;

CURLcode curl_global_init(long flags)
{
	return is_broken ? CURLE_FAILED_INIT
			 : ((CURLcode(*)(long))dlsym(RTLD_NEXT, "curl_global_init"))(flags);
}

CURLMcode curl_multi_perform(CURLM *multi, int *running)
{
	return is_multi_broken ? CURLM_INTERNAL_ERROR
			       : ((CURLMcode(*)(CURLM *, int *))dlsym(
					 RTLD_NEXT, "curl_multi_perform"))(multi, running);
}

CURLMcode curl_multi_poll(CURLM *multi, struct curl_waitfd fds[], unsigned n, int ms, int *ready)
{
	return is_poll_broken
		       ? CURLM_OUT_OF_MEMORY
		       : ((CURLMcode(*)(CURLM *, struct curl_waitfd *, unsigned, int, int *))dlsym(
				 RTLD_NEXT, "curl_multi_poll"))(multi, fds, n, ms, ready);
}

static struct stub stub;
static struct fetch_set *set;

static void answer(SSL *s, const char *path, struct stub_shared *shared, const char *url)
{
	char text[8192];

	(void)shared;
	if (strcmp(path, "/ok") == 0) {
		stub_send(s, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\ncache-CONTROL: public, "
			     "max-age=\r\nCache-Control: max-age=900 , x=1\r\n\r\nhello");
	} else if (strcmp(path, "/nostore") == 0) {
		stub_send(s, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nCache-Control: "
			     "max-age=99999999999999999999, No-Store\r\n\r\n");
	} else if (strcmp(path, "/gzip") == 0) {
		stub_send(s, "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: "
			     "4\r\n\r\n\x1f\x8b\x08\x01");
	} else if (strcmp(path, "/redirect") == 0) {
		snprintf(text, sizeof text,
			 "HTTP/1.1 302 Found\r\nLocation: %s/ok\r\nContent-Length: 0\r\n\r\n", url);
		stub_send(s, text);
	} else if (strcmp(path, "/500") == 0) {
		stub_send(s, "HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n");
	} else if (strcmp(path, "/announced") == 0) {
		stub_send(s, "HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n");
		sleep(20);
	} else if (strcmp(path, "/endless") == 0) {
		stub_send(s, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
		for (unsigned i = 0; i < 1000; i++)
			stub_send(s, "10\r\n0123456789abcdef\r\n");
	} else if (strcmp(path, "/headers") == 0) {
		memset(text, 'x', sizeof text - 1);
		memcpy(text, "X: ", 3);
		text[sizeof text - 3] = '\r', text[sizeof text - 2] = '\n',
				   text[sizeof text - 1] = '\0';
		stub_send(s, "HTTP/1.1 200 OK\r\n");
		for (unsigned i = 0; i < 10; i++)
			stub_send(s, text);
		stub_send(s, "\r\n");
	} else if (strcmp(path, "/slow") == 0) {
		stub_send(s, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n");
		for (unsigned i = 0; i < 15; i++) {
			stub_send(s, ".");
			sleep(1);
		}
	} else if (strcmp(path, "/cut") == 0) {
		stub_send(s, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf");
	}
}

static struct fetch *fetch_from(const char *base, const char *path, struct span ca, bool is_private)
{
	static char url[256];
	struct fetch_params p = {
		.url = url, .ca = ca, .allow_private_addresses = is_private, .max_bytes = 1000};
	struct fetch *f, *done = NULL;

	snprintf(url, sizeof url, "%s%s", base, path);
	assert_int_equal(fetch_start(set, &p, &f), KB_OK);
	while (done == NULL)
		assert_int_equal(fetch_wait(set, NULL, 0, 1000, &done), KB_OK);
	assert_ptr_equal(done, f);
	return f;
}

static enum kb_err outcome_of(const char *base, const char *path, struct span ca, bool is_private)
{
	struct fetch *f = fetch_from(base, path, ca, is_private);
	enum kb_err err = fetch_outcome(f);

	assert_true(fetch_detail(f)[0] != '\0');
	fetch_free(f);
	return err;
}

static enum kb_err get(const char *path)
{
	return outcome_of(stub.url, path, buf_span(&stub.ca_pem), true);
}

static void test_fetch_whole_document(void **state)
{
	struct fetch *f = fetch_from(stub.url, "/ok", buf_span(&stub.ca_pem), true);

	(void)state;
	assert_int_equal(fetch_outcome(f), KB_OK);
	assert_true(span_eq_cstr(fetch_body(f), "hello"));
	assert_int_equal(fetch_max_age(f), 900);
	fetch_free(f);
}

static void test_h10_no_store_is_zero(void **state)
{
	struct fetch *f = fetch_from(stub.url, "/nostore", buf_span(&stub.ca_pem), true);

	(void)state;
	assert_int_equal(fetch_outcome(f), KB_OK);
	assert_int_equal(fetch_max_age(f), 0);
	fetch_free(f);
}

static void test_h03_compression_is_not_undone(void **state)
{
	struct fetch *f = fetch_from(stub.url, "/gzip", buf_span(&stub.ca_pem), true);

	(void)state;
	assert_int_equal(fetch_outcome(f), KB_OK);
	assert_true(span_eq_cstr(fetch_body(f), "\x1f\x8b\x08\x01"));
	assert_int_equal(fetch_max_age(f), -1);
	fetch_free(f);
}

static void test_h08_redirect_is_not_followed(void **state)
{
	unsigned before = stub.shared->requests;

	(void)state;
	assert_int_equal(get("/redirect"), KB_E_FETCH_REDIRECT);
	assert_int_equal(stub.shared->requests, before + 1);
}

static void test_h02_status(void **state)
{
	(void)state;
	assert_int_equal(get("/500"), KB_E_FETCH_STATUS);
}

static void test_h02_refused(void **state)
{
	(void)state;
	assert_int_equal(outcome_of("https://127.0.0.1:1", "/", buf_span(&stub.ca_pem), true),
			 KB_E_FETCH_CONNECT);
}

static void test_h02_cut_short(void **state)
{
	(void)state;
	assert_int_equal(get("/cut"), KB_E_FETCH_CONNECT);
	assert_int_equal(get("/nothing"), KB_E_FETCH_CONNECT);
}

static void test_h03_announced_too_big(void **state)
{
	int64_t before_ms = clock_mono_ms();

	(void)state;
	assert_int_equal(get("/announced"), KB_E_FETCH_SIZE);
	assert_true(clock_mono_ms() - before_ms < 2000);
}

static void test_h03_endless_body(void **state)
{
	(void)state;
	assert_int_equal(get("/endless"), KB_E_FETCH_SIZE);
}

static void test_h03_endless_headers(void **state)
{
	(void)state;
	assert_int_equal(get("/headers"), KB_E_FETCH_SIZE);
}

static void test_h01_one_byte_a_second(void **state)
{
	int64_t before_ms = clock_mono_ms();

	(void)state;
	assert_int_equal(get("/slow"), KB_E_FETCH_TIMEOUT);
	assert_in_range(clock_mono_ms() - before_ms, KB_FETCH_MS - 500, KB_FETCH_MS + 1500);
}

static void test_h07_system_cas_do_not_know_it(void **state)
{
	(void)state;
	assert_int_equal(outcome_of(stub.url, "/ok", span_of(NULL, 0), true), KB_E_FETCH_TLS);
}

static void test_h07_another_ca(void **state)
{
	struct stub other;

	(void)state;
	assert_true(stub_start(&other, answer, "127.0.0.1", 10, clock_wall_s(), 0));
	assert_int_equal(outcome_of(stub.url, "/ok", buf_span(&other.ca_pem), true),
			 KB_E_FETCH_TLS);
	assert_int_equal(outcome_of(other.url, "/ok", buf_span(&other.ca_pem), true), KB_OK);
	stub_stop(&other);
}

static void test_h07_a_ca_file_without_certificate(void **state)
{
	(void)state;
	assert_int_equal(outcome_of(stub.url, "/ok", span_str("no certificate"), true),
			 KB_E_FETCH_TLS);
}

static void test_h07_wrong_host(void **state)
{
	char url[64];

	(void)state;
	snprintf(url, sizeof url, "https://localhost:%u", stub.port);
	assert_int_equal(outcome_of(url, "/ok", buf_span(&stub.ca_pem), true), KB_E_FETCH_TLS);
}

static void test_h07_expired(void **state)
{
	struct stub old;

	(void)state;
	assert_true(stub_start(&old, answer, "127.0.0.1", 10, clock_wall_s() - 20 * 86400, 0));
	assert_int_equal(outcome_of(old.url, "/ok", buf_span(&old.ca_pem), true), KB_E_FETCH_TLS);
	stub_stop(&old);
}

/* Refused by our minimum version, and by the one in openssl.cnf where there is one. */
static void test_h07_tls_1_1(void **state)
{
	struct stub old;

	(void)state;
	assert_true(stub_start(&old, answer, "127.0.0.1", 10, clock_wall_s(), TLS1_1_VERSION));
	assert_int_equal(outcome_of(old.url, "/ok", buf_span(&old.ca_pem), true), KB_E_FETCH_TLS);
	stub_stop(&old);
}

static void test_h09_loopback_is_refused(void **state)
{
	unsigned before = stub.shared->requests;
	char url[64];

	(void)state;
	assert_int_equal(outcome_of(stub.url, "/ok", buf_span(&stub.ca_pem), false),
			 KB_E_FETCH_ADDRESS);
	snprintf(url, sizeof url, "https://localhost:%u", stub.port); /* a name with that address */
	assert_int_equal(outcome_of(url, "/ok", buf_span(&stub.ca_pem), false), KB_E_FETCH_ADDRESS);
	assert_int_equal(stub.shared->requests, before);
}

/* libcurl itself fails: the caller gets an error. */
static void test_fetch_multi_fails(void **state)
{
	struct fetch *done;

	(void)state;
	struct fetch_set *none = set;
	is_broken = true;
	assert_int_equal(fetch_set_new(&none), KB_E_SYS);
	assert_null(none);
	is_broken = false;
	is_multi_broken = true;
	assert_int_equal(fetch_wait(set, NULL, 0, 10, &done), KB_E_SYS);
	is_multi_broken = false;
	is_poll_broken = true;
	assert_int_equal(fetch_wait(set, NULL, 0, 10, &done), KB_E_SYS);
	is_poll_broken = false;
	assert_int_equal(get("/ok"), KB_OK);
}

static void test_fetch_https_only(void **state)
{
	(void)state;
	assert_int_equal(outcome_of("http://127.0.0.1:1", "/", buf_span(&stub.ca_pem), true),
			 KB_E_FETCH_CONTENT);
	assert_int_equal(outcome_of("file:///etc/passwd", "", buf_span(&stub.ca_pem), true),
			 KB_E_FETCH_CONTENT);
	assert_int_equal(
		outcome_of("https://user:password@127.0.0.1:1", "/", buf_span(&stub.ca_pem), true),
		KB_E_FETCH_CONTENT);
}

static void test_fetch_ignores_the_environment(void **state)
{
	(void)state;
	assert_int_equal(setenv("https_proxy", "http://127.0.0.1:1", 1), 0);
	assert_int_equal(setenv("ALL_PROXY", "http://127.0.0.1:1", 1), 0);
	assert_int_equal(get("/ok"), KB_OK);
	unsetenv("https_proxy");
	unsetenv("ALL_PROXY");
}

/* ---- a proxy ---- */

/* Answers CONNECT with `reply`; when that begins with 200, it connects to where it was told and
 * passes bytes on.  Counts in *calls. */
static pid_t proxy_start(const char *reply, char url[static 64], _Atomic unsigned *calls)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof a;
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(listener, (struct sockaddr *)&a, sizeof a), 0);
	assert_int_equal(listen(listener, 8), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&a, &len), 0);
	snprintf(url, 64, "http://127.0.0.1:%u", ntohs(a.sin_port));
	pid_t pid = fork();
	if (pid != 0) {
		close(listener);
		return pid;
	}
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	signal(SIGPIPE, SIG_IGN);
	for (;;) {
		char in[2048] = "", bytes[4096];
		unsigned port = 0;
		int client = accept(listener, NULL, NULL);
		if (client < 0 || recv(client, in, sizeof in - 1, 0) <= 0 ||
		    sscanf(in, "CONNECT 127.0.0.1:%u HTTP/1.1", &port) != 1)
			_exit(1);
		(*calls)++;
		(void)send(client, reply, strlen(reply), MSG_NOSIGNAL);
		int server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		a.sin_port = htons((uint16_t)port);
		struct pollfd p[2] = {{.fd = client, .events = POLLIN},
				      {.fd = server, .events = POLLIN}};
		bool is_open = strstr(reply, " 200 ") != NULL &&
			       connect(server, (struct sockaddr *)&a, sizeof a) == 0;
		while (is_open && poll(p, 2, -1) > 0)
			for (unsigned i = 0; i < 2 && is_open; i++) {
				if (p[i].revents == 0)
					continue;
				ssize_t n = recv(p[i].fd, bytes, sizeof bytes, 0);
				is_open = n > 0 &&
					  send(p[!i].fd, bytes, (size_t)n, MSG_NOSIGNAL) == n;
			}
		close(server);
		close(client);
	}
}

static enum kb_err get_by_proxy(const char *proxy, const char *base, const char *path,
				bool is_private, int64_t *max_age)
{
	struct fetch *f = NULL, *done = NULL;
	char url[256];
	struct fetch_params p = {.url = url,
				 .ca = buf_span(&stub.ca_pem),
				 .allow_private_addresses = is_private,
				 .proxy = proxy,
				 .max_bytes = 1000};

	snprintf(url, sizeof url, "%s%s", base, path);
	enum kb_err err = fetch_start(set, &p, &f);
	while (err == KB_OK && done == NULL)
		err = fetch_wait(set, NULL, 0, 1000, &done);
	if (err == KB_OK) {
		err = fetch_outcome(f);
		*max_age = fetch_max_age(f);
	}
	fetch_free(f);
	return err;
}

/* Used when it is named, and then always: TLS is with the issuer, through the proxy, which has no
 * say in what is fetched. */
static void test_h20_proxy(void **state)
{
	static const char tunnel[] = "HTTP/1.1 200 Established\r\nCache-Control: max-age=1\r\n\r\n";
	_Atomic unsigned *calls = mmap(NULL, sizeof *calls, PROT_READ | PROT_WRITE,
				       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	char url[64], refusing[64];
	int64_t max_age = 0;
	pid_t proxy = proxy_start(tunnel, url, calls);

	(void)state;
	assert_int_equal(get_by_proxy(url, stub.url, "/ok", true, &max_age), KB_OK);
	assert_int_equal(*calls, 1);
	assert_int_equal(max_age, 900); /* the issuer's */
	/* no_proxy of the environment does not lead around it */
	setenv("no_proxy", "*", 1);
	setenv("NO_PROXY", "127.0.0.1", 1);
	assert_int_equal(get_by_proxy(url, stub.url, "/ok", true, &max_age), KB_OK);
	assert_int_equal(*calls, 2);
	unsetenv("no_proxy");
	unsetenv("NO_PROXY");
	/* An address in the URL is checked here: the proxy may reach what strangers must not. */
	static const char *const inside[] = {
		"https://127.0.0.1", "https://2130706433",        "https://0x7f.1",
		"https://[::1]",     "https://[::ffff:10.0.0.1]", "https://169.254.169.254"};
	for (size_t i = 0; i < sizeof inside / sizeof inside[0]; i++)
		assert_int_equal(get_by_proxy(url, inside[i], "/ok", false, &max_age),
				 KB_E_FETCH_ADDRESS);
	assert_int_equal(*calls, 2);
	kill(proxy, SIGKILL);
	waitpid(proxy, NULL, 0);
	/* Gone: nothing else is tried. */
	unsigned before = stub.shared->requests;
	assert_int_equal(get_by_proxy(url, stub.url, "/ok", true, &max_age), KB_E_FETCH_CONNECT);
	proxy = proxy_start("HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n", refusing, calls);
	assert_int_equal(get_by_proxy(refusing, stub.url, "/ok", true, &max_age),
			 KB_E_FETCH_CONNECT);
	assert_int_equal(*calls, 3);
	assert_int_equal(stub.shared->requests, before);
	kill(proxy, SIGKILL);
	waitpid(proxy, NULL, 0);
	munmap((void *)(uintptr_t)calls, sizeof *calls);
}

static void test_fetch_may_be_given_up(void **state)
{
	char url[128];
	struct fetch *f, *done;

	(void)state;
	snprintf(url, sizeof url, "%s/slow", stub.url);
	struct fetch_params p = {.url = url,
				 .ca = buf_span(&stub.ca_pem),
				 .allow_private_addresses = true,
				 .max_bytes = 10};
	assert_int_equal(fetch_start(set, &p, &f), KB_OK);
	assert_int_equal(fetch_wait(set, NULL, 0, 50, &done), KB_OK);
	assert_null(done);
	fetch_free(f);
}

static void test_fetch_wait_refuses_too_many_descriptors(void **state)
{
	struct pollfd many[9] = {{0}};
	struct fetch *done;

	(void)state;
	assert_int_equal(fetch_wait(set, many, 9, 0, &done), KB_E_BUG);
}

static bool v4_ok(const char *text)
{
	struct sockaddr_in a = {.sin_family = AF_INET};

	assert_int_equal(inet_pton(AF_INET, text, &a.sin_addr), 1);
	return fetch_address_ok((struct sockaddr *)&a, sizeof a);
}

static bool v6_ok(const char *text)
{
	struct sockaddr_in6 a = {.sin6_family = AF_INET6};

	assert_int_equal(inet_pton(AF_INET6, text, &a.sin6_addr), 1);
	return fetch_address_ok((struct sockaddr *)&a, sizeof a);
}

static void test_h09_address_filter(void **state)
{
	static const char *const v4_bad[] = {
		"0.0.0.0",         "10.1.2.3",        "100.64.0.1",      "100.127.255.255",
		"127.0.0.1",       "127.255.255.255", "169.254.169.254", "172.16.0.1",
		"172.31.255.255",  "192.168.1.1",     "192.0.0.8",       "192.0.2.1",
		"198.18.0.1",      "198.51.100.7",    "203.0.113.9",     "224.0.0.1",
		"255.255.255.255", "168.63.129.16"};
	static const char *const v4_good[] = {"9.255.255.255",   "11.0.0.1",     "100.63.255.255",
					      "100.128.0.1",     "126.1.1.1",    "172.15.0.1",
					      "172.32.0.1",      "192.167.1.1",  "20.40.60.80",
					      "223.255.255.255", "168.63.129.17"};
	static const char *const v6_bad[] = {"::",
					     "::1",
					     "::ffff:127.0.0.1",
					     "::ffff:10.0.0.1",
					     "::ffff:169.254.169.254",
					     "64:ff9b::10.0.0.1",
					     "2002:a00:1::1",
					     "2002:7f00:1::",
					     "fe80::1",
					     "fec0::1",
					     "fc00::1",
					     "fd00:ec2::254",
					     "ff02::1",
					     "2001:db8::1",
					     "2001::1",
					     "100::1",
					     "3fff::1",
					     "::127.0.0.1",
					     "4000::1"};
	static const char *const v6_good[] = {"2603:1030::1", "2a00:1450:4001::1",
					      "::ffff:20.40.60.80", "64:ff9b::20.40.60.80",
					      "2002:1428:3c50::1"};
	struct sockaddr other = {.sa_family = AF_UNIX};

	(void)state;
	for (size_t i = 0; i < sizeof v4_bad / sizeof v4_bad[0]; i++)
		assert_false(v4_ok(v4_bad[i]));
	for (size_t i = 0; i < sizeof v4_good / sizeof v4_good[0]; i++)
		assert_true(v4_ok(v4_good[i]));
	for (size_t i = 0; i < sizeof v6_bad / sizeof v6_bad[0]; i++)
		assert_false(v6_ok(v6_bad[i]));
	for (size_t i = 0; i < sizeof v6_good / sizeof v6_good[0]; i++)
		assert_true(v6_ok(v6_good[i]));
	assert_false(fetch_address_ok(&other, sizeof other));
}

static int setup(void **state)
{
	(void)state;
	return stub_start(&stub, answer, "127.0.0.1", 10, clock_wall_s(), 0) &&
			       fetch_set_new(&set) == KB_OK
		       ? 0
		       : -1;
}

static int teardown(void **state)
{
	(void)state;
	fetch_set_free(set);
	stub_stop(&stub);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fetch_whole_document),
		cmocka_unit_test(test_h10_no_store_is_zero),
		cmocka_unit_test(test_h03_compression_is_not_undone),
		cmocka_unit_test(test_h08_redirect_is_not_followed),
		cmocka_unit_test(test_h02_status),
		cmocka_unit_test(test_h02_refused),
		cmocka_unit_test(test_h02_cut_short),
		cmocka_unit_test(test_h03_announced_too_big),
		cmocka_unit_test(test_h03_endless_body),
		cmocka_unit_test(test_h03_endless_headers),
		cmocka_unit_test(test_h01_one_byte_a_second),
		cmocka_unit_test(test_h07_system_cas_do_not_know_it),
		cmocka_unit_test(test_h07_another_ca),
		cmocka_unit_test(test_h07_a_ca_file_without_certificate),
		cmocka_unit_test(test_h07_wrong_host),
		cmocka_unit_test(test_h07_expired),
		cmocka_unit_test(test_h07_tls_1_1),
		cmocka_unit_test(test_h09_loopback_is_refused),
		cmocka_unit_test(test_fetch_multi_fails),
		cmocka_unit_test(test_fetch_https_only),
		cmocka_unit_test(test_fetch_ignores_the_environment),
		cmocka_unit_test(test_h20_proxy),
		cmocka_unit_test(test_fetch_may_be_given_up),
		cmocka_unit_test(test_fetch_wait_refuses_too_many_descriptors),
		cmocka_unit_test(test_h09_address_filter),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
