/* tests/unit/guest/test_guest_http.c — URLs, hostile responses, and the wait before the next
 * attempt. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/limits.h"
#include "guest/http_reply.h"
#include "guest/retry.h"
#include "guest/url.h"

static enum kb_err parse(const char *wire, size_t len, struct http_reply *r, bool *is_complete)
{
	http_reply_init(r);
	enum kb_err err = http_reply_parse(span_of(wire, len), r, is_complete);
	return err;
}

static void test_http_reply_is_read(void **state)
{
	static const char wire[] = "HTTP/1.1 503 Busy\r\nServer: x\r\nRetry-After: "
				   "7\r\nX-MS-Request-Id: 2b59-a\r\ncontent-length: 5\r\n\r\nhello";
	struct http_reply r;
	bool is_complete;

	(void)state;
	/* No prefix of it is a reply, and none is an error. */
	for (size_t n = 0; n < sizeof wire - 1; n++) {
		assert_int_equal(parse(wire, n, &r, &is_complete), KB_OK);
		assert_false(is_complete);
		http_reply_free(&r);
	}
	assert_int_equal(parse(wire, sizeof wire - 1, &r, &is_complete), KB_OK);
	assert_true(is_complete);
	assert_int_equal(r.status, 503);
	assert_int_equal(r.retry_after_s, 7);
	assert_string_equal(r.request_id, "2b59-a");
	assert_int_equal(r.body.len, 5);
	assert_memory_equal(r.body.p, "hello", 5);
	http_reply_free(&r);
}

static void test_http_reply_chunked(void **state)
{
	static const char wire[] = "HTTP/1.1 200 OK\r\nTransfer-Encoding: "
				   "chunked\r\n\r\n3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n";
	struct http_reply r;
	bool is_complete;

	(void)state;
	for (size_t n = 0; n < sizeof wire - 1; n++) {
		assert_int_equal(parse(wire, n, &r, &is_complete), KB_OK);
		assert_false(is_complete);
		http_reply_free(&r);
	}
	assert_int_equal(parse(wire, sizeof wire - 1, &r, &is_complete), KB_OK);
	assert_true(is_complete);
	assert_int_equal(r.body.len, 13);
	assert_memory_equal(r.body.p, "abc0123456789", 13);
	http_reply_free(&r);
}

static void test_http_reply_refuses(void **state)
{
	static const struct {
		const char *wire;
		enum kb_err err;
	} bad[] = {
		{"HTTP/1.0 200 OK\r\n\r\n", KB_E_HTTP_SYNTAX},
		{"HTTP/1.1 200 OK\n\n", KB_E_HTTP_SYNTAX},
		{"HTTP/1.1 100 Continue\r\n\r\n", KB_E_HTTP_SYNTAX},
		{"HTTP/1.1 2000 OK\r\n\r\n", KB_E_HTTP_SYNTAX},
		{"HTTP/1.1 200 OK\r\n\r\n",
		 KB_E_HTTP_HEADERS}, /* ends with the connection: could be cut */
		{"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx",
		 KB_E_HTTP_HEADERS},
		{"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\nx",
		 KB_E_HTTP_HEADERS},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", KB_E_HTTP_HEADERS},
		{"HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\nx", KB_E_HTTP_HEADERS},
		{"HTTP/1.1 200 OK\r\nContent-Length: 0x1\r\n\r\nx", KB_E_HTTP_HEADERS},
		{"HTTP/1.1 200 OK\r\nContent-Length : 1\r\n\r\nx", KB_E_HTTP_HEADERS},
		{"HTTP/1.1 200 OK\r\nA: b\r\n folded\r\nContent-Length: 1\r\n\r\nx",
		 KB_E_HTTP_HEADERS},
		{"HTTP/1.1 200 OK\r\nA: b\x01\r\nContent-Length: 1\r\n\r\nx", KB_E_HTTP_HEADERS},
		{"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxy", KB_E_HTTP_SYNTAX},
		{"HTTP/1.1 200 OK\r\nContent-Length: 1048577\r\n\r\n", KB_E_FETCH_SIZE},
		{"HTTP/1.1 200 OK\r\nContent-Length: 10485760\r\n\r\n", KB_E_FETCH_SIZE},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;x=y\r\na\r\n0\r\n\r\n",
		 KB_E_HTTP_SYNTAX},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0x1\r\na\r\n0\r\n\r\n",
		 KB_E_HTTP_SYNTAX},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n",
		 KB_E_HTTP_SYNTAX},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nmore",
		 KB_E_HTTP_SYNTAX},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n100001\r\n",
		 KB_E_FETCH_SIZE},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\r\n", KB_E_HTTP_SYNTAX},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0000001\r\na\r\n0\r\n\r\n",
		 KB_E_HTTP_SYNTAX},
	};
	struct http_reply r;
	bool is_complete;

	(void)state;
	for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		assert_int_equal(parse(bad[i].wire, strlen(bad[i].wire), &r, &is_complete),
				 bad[i].err);
		http_reply_free(&r);
	}
}

static void test_http_reply_limits(void **state)
{
	static const char head[] = "HTTP/1.1 200 OK\r\nContent-Length: 1048576\r\n\r\n";
	size_t len = sizeof head - 1 + KB_GUEST_REPLY;
	char *wire = calloc(1, 11 * KB_GUEST_HEAD + len);
	struct http_reply r;
	bool is_complete;

	(void)state;
	memcpy(wire, head, sizeof head - 1);
	assert_int_equal(parse(wire, len, &r, &is_complete), KB_OK);
	assert_true(is_complete);
	assert_int_equal(r.body.len, KB_GUEST_REPLY);
	http_reply_free(&r);
	/* A head without end, and one that is too long when its end comes at last. */
	memset(wire, 'a', KB_GUEST_HEAD + 1024);
	memcpy(wire, head, 17);
	for (size_t i = 17; i + 4 < KB_GUEST_HEAD + 600; i += 500)
		memcpy(wire + i, i == 17 ? "A: " : "\r\nB: ", i == 17 ? 3 : 5);
	memcpy(wire + KB_GUEST_HEAD + 700, "\r\n\r\n", 4);
	assert_int_equal(parse(wire, KB_GUEST_HEAD + 704, &r, &is_complete), KB_E_FETCH_SIZE);
	memset(wire, 'a', 10 * KB_GUEST_HEAD);
	assert_int_equal(parse(wire, KB_GUEST_HEAD, &r, &is_complete), KB_OK);
	assert_int_equal(parse(wire, KB_GUEST_HEAD + 1, &r, &is_complete), KB_E_FETCH_SIZE);
	assert_int_equal(parse(wire, 10 * KB_GUEST_HEAD, &r, &is_complete), KB_E_FETCH_SIZE);
	free(wire);
}

/* What a server calls its request goes to a console: plain text or nothing. */
static void test_http_reply_request_id_is_plain(void **state)
{
	struct http_reply r;
	bool is_complete;
	static const char escape[] =
		"HTTP/1.1 200 OK\r\nx-ms-request-id: a b\r\nContent-Length: 0\r\n\r\n";

	(void)state;
	assert_int_equal(parse(escape, sizeof escape - 1, &r, &is_complete), KB_OK);
	assert_string_equal(r.request_id, "");
	http_reply_free(&r);
}

static void test_url_parts(void **state)
{
	struct url u;

	(void)state;
	assert_int_equal(url_parse(span_str("https://vault.example.net"), &u), KB_OK);
	assert_string_equal(u.host, "vault.example.net");
	assert_string_equal(u.port, "443");
	assert_string_equal(u.path, "");
	assert_false(u.is_ip);
	assert_int_equal(url_parse(span_str("https://h:8443/a/b//"), &u), KB_OK);
	assert_string_equal(u.authority, "h:8443");
	assert_string_equal(u.path, "/a/b");
	assert_int_equal(url_parse(span_str("https://192.0.2.1"), &u), KB_OK);
	assert_true(u.is_ip);
	assert_int_equal(url_parse(span_str("https://[2001:db8::1]:1/"), &u), KB_OK);
	assert_string_equal(u.host, "2001:db8::1");
	assert_string_equal(u.port, "1");
	assert_string_equal(u.authority, "[2001:db8::1]:1");
	assert_true(u.is_ip);
}

static void test_url_refuses(void **state)
{
	static const char *const bad[] = {"",
					  "http://h",
					  "https://",
					  "https://:1",
					  "https://h:",
					  "https://h:0",
					  "https://h:65536",
					  "https://u@h",
					  "https://h/?a",
					  "https://h/#a",
					  "https://h\r\nX: y",
					  "https://[::1",
					  "https://[h]",
					  "https://[::1]x",
					  "https://[::1]x:1",
					  "https://h h",
					  "HTTPS://h"};
	struct url u;

	(void)state;
	for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++)
		if (url_parse(span_str(bad[i]), &u) != KB_E_HTTP_URI)
			fail_msg("%s", bad[i]);
	assert_int_equal(url_parse(span_of("https://h\0", 10), &u), KB_E_HTTP_URI);
	char longest[sizeof "https://" + 2048] = "https://";
	memset(longest + 8, 'h', 2048);
	assert_int_equal(url_parse(span_str(longest), &u), KB_E_HTTP_URI);
}

static void test_url_list_limit(void **state)
{
	struct url u[KB_GUEST_URLS];
	KB_AUTO(buf) struct buf b;
	size_t n;

	(void)state;
	buf_init(&b, 65536);
	for (unsigned i = 0; i < 10 * KB_GUEST_URLS; i++) {
		buf_add_str(&b, i == 0 ? "https://h" : ",https://h");
		enum kb_err err = url_list(buf_span(&b), u, KB_GUEST_URLS, &n);
		assert_int_equal(err, i < KB_GUEST_URLS ? KB_OK : KB_E_HTTP_URI);
	}
	assert_int_equal(url_list(span_str("https://h,"), u, KB_GUEST_URLS, &n), KB_E_HTTP_URI);
}

static void test_retry_waits(void **state)
{
	(void)state;
	assert_int_equal(retry_wait_ms(0, 0, 0), 0);
	assert_int_equal(retry_wait_ms(0, 500, 0), 500); /* the greatest of round 0 */
	assert_int_equal(retry_wait_ms(0, 501, 0), 0);
	assert_int_equal(retry_wait_ms(3, 4000, 0), 4000);
	assert_int_equal(retry_wait_ms(3, 4001, 0), 0);
	assert_int_equal(retry_wait_ms(6, 30000, 0), 30000);
	assert_int_equal(retry_wait_ms(4000000000, 30001, 0),
			 0); /* never more than 30 s, whatever the round */
	assert_int_equal(retry_wait_ms(0, 100, 5), 5100);
	assert_int_equal(retry_wait_ms(0, 0, KB_GUEST_RETRY_AFTER_S), 60000);
	assert_int_equal(retry_wait_ms(0, 0, KB_GUEST_RETRY_AFTER_S + 1), 60000);
	assert_int_equal(retry_wait_ms(0, 0, 10 * KB_GUEST_RETRY_AFTER_S), 60000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_http_reply_is_read),
		cmocka_unit_test(test_http_reply_chunked),
		cmocka_unit_test(test_http_reply_refuses),
		cmocka_unit_test(test_http_reply_limits),
		cmocka_unit_test(test_http_reply_request_id_is_plain),
		cmocka_unit_test(test_url_parts),
		cmocka_unit_test(test_url_refuses),
		cmocka_unit_test(test_url_list_limit),
		cmocka_unit_test(test_retry_waits),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
