/* tests/unit/gateway/test_http.c — the request parser: what it accepts, refuses, and at which
 * size. */
#include "gateway/http.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/limits.h"

#define GOOD                                                                                       \
	"POST /keys/n//release?api%2Dversion=7.4 HTTP/1.1\r\nHost: kb.example:8443\r\nAccept: "    \
	"application/json\r\n"                                                                     \
	"Content-Type: application/json; charset=utf-8\r\nAuthorization:  Bearer abc\t "           \
	"\r\nx-ms-client-request-id: 1-2-3\r\nContent-Length: "                                    \
	"12\r\n\r\n"

static enum kb_err parse(const char *text, struct http_request *r, bool *done)
{
	return http_parse(span_str(text), r, done);
}

/* The result for a head must be the same for every way to cut it: no prefix may give another result
 * or be taken for a complete head. */
static enum kb_err verdict_of(struct span in, struct http_request *r)
{
	bool done = false;
	enum kb_err whole = http_parse(in, r, &done);

	assert_true(whole != KB_OK || done);
	for (size_t n = 0; n < in.len; n++) {
		struct http_request part;
		uint8_t *copy = malloc(n + 1); /* exactly as long: ASan sees a read past the end */
		assert_non_null(copy);
		memcpy(copy, in.p, n);
		enum kb_err err = http_parse(span_of(copy, n), &part, &done);
		free(copy);
		if (done)
			assert_true(whole == KB_OK && n >= r->head_len);
		else
			assert_true(err == KB_OK || err == whole);
	}
	return whole;
}

static enum kb_err verdict(const char *text)
{
	struct http_request r;

	return verdict_of(span_str(text), &r);
}

#define assert_refused(text) assert_int_equal(verdict(text), KB_E_HTTP_SYNTAX)
#define GET(headers)         "GET /keys/n HTTP/1.1\r\nHost: h\r\n" headers "\r\n"

static void test_http_parses_a_release(void **state)
{
	struct http_request r;
	bool done;

	(void)state;
	assert_int_equal(parse(GOOD "{\"target\":1}", &r, &done), KB_OK);
	assert_true(done);
	assert_int_equal(r.method, HTTP_POST);
	assert_true(span_eq_cstr(r.path, "/keys/n//release"));
	assert_true(span_eq_cstr(r.query, "api%2Dversion=7.4"));
	assert_true(span_eq_cstr(r.host, "kb.example:8443"));
	assert_true(span_eq_cstr(r.authorization, "Bearer abc"));
	assert_true(span_eq_cstr(r.content_type, "application/json; charset=utf-8"));
	assert_true(span_eq_cstr(r.client_request_id, "1-2-3"));
	assert_int_equal(r.head_len, sizeof GOOD - 1);
	assert_int_equal(r.body_len, 12);
	assert_true(r.has_body && r.is_keep_alive && !r.wants_continue);
}

static void test_http_knows_methods(void **state)
{
	static const struct {
		const char *text;
		enum http_method method;
	} known[] = {{"GET", HTTP_GET},         {"HEAD", HTTP_HEAD},   {"POST", HTTP_POST},
		     {"PUT", HTTP_PUT},         {"PATCH", HTTP_PATCH}, {"DELETE", HTTP_DELETE},
		     {"OPTIONS", HTTP_OPTIONS}, {"get", HTTP_OTHER},   {"TRACE", HTTP_OTHER}};
	struct http_request r;
	bool done;
	char text[128];

	(void)state;
	for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
		snprintf(text, sizeof text, "%s / HTTP/1.1\r\nHost: h\r\n\r\n", known[i].text);
		assert_int_equal(parse(text, &r, &done), KB_OK);
		assert_int_equal(r.method, known[i].method);
		assert_false(r.has_body);
	}
}

static void test_http_keep_alive(void **state)
{
	struct http_request r;
	bool done;

	(void)state;
	assert_int_equal(parse(GET(""), &r, &done), KB_OK);
	assert_true(r.is_keep_alive);
	assert_int_equal(parse(GET("Connection: keep-alive\r\n"), &r, &done), KB_OK);
	assert_true(r.is_keep_alive);
	assert_int_equal(parse(GET("Connection: closed\r\n"), &r, &done), KB_OK);
	assert_true(r.is_keep_alive);
	assert_int_equal(parse(GET("Connection: TE ,\tClose\r\n"), &r, &done), KB_OK);
	assert_false(r.is_keep_alive);
	assert_int_equal(
		parse("GET / HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\n\r\n", &r, &done),
		KB_OK);
	assert_false(r.is_keep_alive);
}

static void test_b03_two_lengths_or_none_at_all(void **state)
{
	(void)state;
	assert_refused(GET("Content-Length: 3\r\nContent-Length: 4\r\n"));
	assert_refused(GET("Content-Length: 3\r\ncontent-length: 3\r\n"));
	assert_refused(GET("Content-Length: 3, 3\r\n"));
	assert_refused(GET("Content-Length: 3,3\r\n"));
	assert_refused(GET("Content-Length: +3\r\n"));
	assert_refused(GET("Content-Length: -1\r\n"));
	assert_refused(GET("Content-Length: 0x3\r\n"));
	assert_refused(GET("Content-Length: 3 3\r\n"));
	assert_refused(GET("Content-Length: 3;\r\n"));
	assert_refused(GET("Content-Length: \r\n"));
	assert_refused(GET("Content-Length : 3\r\n"));
	assert_refused(GET(" Content-Length: 3\r\n"));
	assert_refused(GET("Content-Length: \xef\xbc\x93\r\n"));
}

static void test_b03_transfer_encoding(void **state)
{
	static const char *const headers[] = {
		"Transfer-Encoding: chunked\r\n",
		"transfer-encoding: identity\r\n",
		"Transfer-Encoding: gzip, chunked\r\n",
		"Transfer-Encoding:\tchunked\r\n",
		"Transfer-Encoding: xchunked\r\n",
		"Transfer-Encoding:\r\n",
		"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
		"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n",
		"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
	};
	char text[256];

	(void)state;
	for (size_t i = 0; i < sizeof headers / sizeof headers[0]; i++) {
		snprintf(text, sizeof text, "POST / HTTP/1.1\r\nHost: h\r\n%s\r\n", headers[i]);
		assert_int_equal(verdict(text), KB_E_HTTP_BODY_TYPE);
	}
	assert_int_equal(http_status(KB_E_HTTP_BODY_TYPE), 400);
	assert_refused(GET("Transfer-Encoding : chunked\r\n"));
	assert_refused(GET("Transfer-Encoding\x0b: chunked\r\n"));
	assert_refused(GET("X: a\rTransfer-Encoding: chunked\r\n"));
}

static void test_b04_line_ends(void **state)
{
	struct http_request r;

	(void)state;
	assert_refused("GET / HTTP/1.1\nHost: h\n\n");
	assert_refused("GET / HTTP/1.1\r\nHost: h\n\r\n");
	assert_refused("GET / HTTP/1.1\r\nHost: h\r\n\n");
	assert_refused("GET / HTTP/1.1\r\nHost: h\r\r\n\r\n");
	assert_refused("\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n");
	assert_refused("\n");
	assert_refused("GET / HTTP/1.1 \nHost: h \n \n"); /* any byte in the place of the CR */
	assert_refused("GET / HTTP/1.1\r\nHost: h\r\nX: ab\n\r\n");
	assert_refused(GET("X: a\r\n b\r\n"));
	assert_refused(GET("X: a\r\n\tb\r\n"));
	static const char nul[] = "GET / HTTP/1.1\r\nHost: h\r\nX: a\0b\r\n\r\n";
	assert_int_equal(verdict_of(span_of(nul, sizeof nul - 1), &r), KB_E_HTTP_SYNTAX);
	static const char nul_name[] = "GET / HTTP/1.1\r\nHost: h\r\nX\0: a\r\n\r\n";
	assert_int_equal(verdict_of(span_of(nul_name, sizeof nul_name - 1), &r), KB_E_HTTP_SYNTAX);
	static const char nul_path[] = "GET /\0 HTTP/1.1\r\nHost: h\r\n\r\n";
	assert_int_equal(verdict_of(span_of(nul_path, sizeof nul_path - 1), &r), KB_E_HTTP_SYNTAX);
}

static void test_b04_host(void **state)
{
	static const char *const good[] = {"h",          "kb.example", "127.0.0.1:8443", "[::1]",
					   "[::1]:8443", "h:",         "a_b-c.d:1"};
	static const char *const bad[] = {"",         "a b",  "u@h",  "h/x",    "h:x",
					  "h:123456", "[::1", "[]",   "[::1]x", "[g::]",
					  ":8443",    "h,h",  "h%2e", "a:1:2",  "\xc3\xa4"};
	char text[512];

	(void)state;
	for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
		snprintf(text, sizeof text, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", good[i]);
		assert_int_equal(verdict(text), KB_OK);
	}
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		snprintf(text, sizeof text, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", bad[i]);
		assert_refused(text);
	}
	assert_refused("GET / HTTP/1.1\r\n\r\n");
	assert_refused("GET / HTTP/1.1\r\nAccept: x\r\n\r\n");
	assert_refused("GET / HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n");
	assert_refused("GET / HTTP/1.1\r\nHost: h\r\nhost: g\r\n\r\n");
	assert_refused("GET / HTTP/1.1\r\nHost : h\r\n\r\n");
	int n = snprintf(text, sizeof text, "GET / HTTP/1.1\r\nHost: %0262d\r\n\r\n", 0);
	assert_true(n > 0);
	assert_refused(text);
}

static void test_b04_absolute_form(void **state)
{
	struct http_request r;

	(void)state;
	assert_int_equal(verdict_of(span_str("GET https://KB.example:8443/a?b=/c HTTP/1.1\r\nHost: "
					     "kb.example:8443\r\n\r\n"),
				    &r),
			 KB_OK);
	assert_true(span_eq_cstr(r.path, "/a"));
	assert_true(span_eq_cstr(r.query, "b=/c"));
	assert_int_equal(verdict("GET http://h/ HTTP/1.1\r\nHost: h\r\n\r\n"), KB_OK);
	assert_refused("GET https://evil/a HTTP/1.1\r\nHost: h\r\n\r\n");
	assert_refused("GET https://h:1/a HTTP/1.1\r\nHost: h\r\n\r\n");
	assert_refused("GET https://h HTTP/1.1\r\nHost: h\r\n\r\n");
	assert_refused("GET https:/// HTTP/1.1\r\nHost: h\r\n\r\n");
	assert_refused("GET ftp://h/ HTTP/1.1\r\nHost: h\r\n\r\n");
	assert_refused("CONNECT h:443 HTTP/1.1\r\nHost: h\r\n\r\n");
	assert_refused("OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n");
}

static void test_b04_versions(void **state)
{
	(void)state;
	assert_refused("GET /\r\n");
	assert_refused("GET / \r\n");
	assert_refused("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
	assert_refused("GET / HTTP/1.1 \r\nHost: h\r\n\r\n");
	assert_refused("GET / http/1.1\r\nHost: h\r\n\r\n");
	assert_refused("GET / HTTP/1.10\r\nHost: h\r\n\r\n");
	assert_refused("GET / HTTP/1,1\r\nHost: h\r\n\r\n");
	assert_int_equal(verdict("GET / HTTP/2.0\r\nHost: h\r\n\r\n"), KB_E_HTTP_VERSION);
	assert_int_equal(verdict("GET / HTTP/1.2\r\nHost: h\r\n\r\n"), KB_E_HTTP_VERSION);
	assert_int_equal(verdict("GET / HTTP/0.9\r\nHost: h\r\n\r\n"), KB_E_HTTP_VERSION);
	assert_int_equal(http_status(KB_E_HTTP_VERSION), 505);
	assert_refused("\x16\x03\x01\x02\n"); /* TLS in TLS */
}

static void test_b04_request_line(void **state)
{
	(void)state;
	assert_refused("\r\n");
	assert_refused(" GET / HTTP/1.1\r\n");
	assert_refused("GET  / HTTP/1.1\r\nHost: h\r\n\r\n");
	assert_refused("GET\t/ HTTP/1.1\r\nHost: h\r\n\r\n");
	assert_refused("G<T / HTTP/1.1\r\nHost: h\r\n\r\n");
	assert_refused("GET keys HTTP/1.1\r\nHost: h\r\n\r\n");
	assert_refused(GET("NoColon\r\n"));
	assert_refused(GET(": empty\r\n"));
	assert_refused(GET("B@d: x\r\n"));
	assert_refused(GET("X: \x7f\r\n"));
	assert_refused(GET("X: \x01\r\n"));
	assert_int_equal(verdict(GET("X: \xc3\xa4\r\n")), KB_OK); /* obs-text, RFC 9110 §5.5 */
}

static void test_headers_that_stand_once(void **state)
{
	(void)state;
	assert_refused(GET("Authorization: Bearer a\r\nauthorization: Bearer b\r\n"));
	assert_refused(GET("Content-Type: a/b\r\nContent-Type: a/b\r\n"));
	assert_refused(GET("x-ms-client-request-id: a\r\nx-ms-client-request-id: a\r\n"));
	assert_refused(GET("Expect: 100-continue\r\nExpect: 100-continue\r\n"));
}

/* B5: what follows the head is not parsed, whatever it is. */
static void test_b05_pipelined_request_is_left_alone(void **state)
{
	struct http_request r;
	bool done;

	(void)state;
	assert_int_equal(parse(GET("") "\n\n\nGARBAGE", &r, &done), KB_OK);
	assert_true(done);
	assert_int_equal(r.head_len, sizeof GET("") - 1);
}

static void test_b06_body_length_limit(void **state)
{
	char text[512];
	struct http_request r;
	bool done;

	(void)state;
	snprintf(text, sizeof text, GET("Content-Length: %d\r\n"), KB_MAX_BODY);
	assert_int_equal(parse(text, &r, &done), KB_OK);
	assert_int_equal(r.body_len, KB_MAX_BODY);
	snprintf(text, sizeof text, GET("Content-Length: %d\r\n"), KB_MAX_BODY + 1);
	assert_int_equal(verdict(text), KB_E_HTTP_BODY_SIZE);
	snprintf(text, sizeof text, GET("Content-Length: %d\r\n"), KB_MAX_BODY * 10);
	assert_int_equal(verdict(text), KB_E_HTTP_BODY_SIZE);
	assert_int_equal(verdict(GET("Content-Length: 18446744073709551616\r\n")),
			 KB_E_HTTP_BODY_SIZE);
	assert_int_equal(
		verdict(GET("Content-Length: 99999999999999999999999999999999999999999\r\n")),
		KB_E_HTTP_BODY_SIZE);
	assert_int_equal(
		parse(GET("Content-Length: 0000000000000000000000000000012\r\n"), &r, &done),
		KB_OK);
	assert_int_equal(r.body_len, 12);
	assert_int_equal(http_status(KB_E_HTTP_BODY_SIZE), 413);
}

static void test_b06_expect(void **state)
{
	struct http_request r;
	bool done;

	(void)state;
	assert_int_equal(parse(GET("Content-Length: 1\r\nExpect: 100-Continue\r\n"), &r, &done),
			 KB_OK);
	assert_true(r.wants_continue);
	assert_int_equal(parse(GET("Content-Length: 0\r\nExpect: 100-continue\r\n"), &r, &done),
			 KB_OK);
	assert_false(r.wants_continue);
	assert_int_equal(parse("GET / HTTP/1.0\r\nHost: h\r\nContent-Length: 1\r\nExpect: "
			       "100-continue\r\n\r\n",
			       &r, &done),
			 KB_OK);
	assert_false(r.wants_continue);
	assert_refused(GET("Expect: 200-ok\r\n"));
}

static enum kb_err with_headers(unsigned n)
{
	KB_AUTO(buf) struct buf b;
	struct http_request r;
	bool done;

	buf_init(&b, 1 << 20);
	buf_add_str(&b, "GET / HTTP/1.1\r\nHost: h\r\n");
	for (unsigned i = 1; i < n; i++)
		buf_add_str(&b, "a: b\r\n");
	buf_add_str(&b, "\r\n");
	return http_parse(buf_span(&b), &r, &done);
}

static void test_b07_number_of_headers(void **state)
{
	(void)state;
	assert_int_equal(with_headers(KB_MAX_HEADERS), KB_OK);
	assert_int_equal(with_headers(KB_MAX_HEADERS + 1), KB_E_HTTP_HEADERS);
	assert_int_equal(with_headers(KB_MAX_HEADERS * 10), KB_E_HTTP_HEADERS);
	assert_int_equal(with_headers(100), KB_E_HTTP_HEADERS);
	assert_int_equal(http_status(KB_E_HTTP_HEADERS), 431);
}

/* A request line, a header line and a head of exactly these lengths (line ends not counted in the
 * lines). */
static enum kb_err with_lengths(size_t request_line, size_t header_line, size_t head)
{
	KB_AUTO(buf) struct buf b;
	struct http_request r;
	bool done;

	buf_init(&b, 1 << 20);
	buf_add_str(&b, "GET /");
	while (b.len < request_line - 9)
		buf_add_str(&b, "a");
	buf_add_str(&b, " HTTP/1.1\r\nHost: h\r\nX: ");
	for (size_t i = 3; i < header_line; i++)
		buf_add_str(&b, "x");
	buf_add_str(&b, "\r\n");
	if (head > 0) {
		while (b.len + 6000 < head) {
			buf_add_str(&b, "Y: ");
			for (size_t i = 0; i < 5000; i++)
				buf_add_str(&b, "y");
			buf_add_str(&b, "\r\n");
		}
		buf_add_str(&b, "Z: ");
		while (b.len + 4 < head)
			buf_add_str(&b, "z");
		buf_add_str(&b, "\r\n");
	}
	buf_add_str(&b, "\r\n");
	if (head > 0)
		assert_int_equal(b.len, head);
	return http_parse(buf_span(&b), &r, &done);
}

static void test_b07_length_of_lines(void **state)
{
	(void)state;
	assert_int_equal(with_lengths(KB_MAX_REQUEST_LINE, 10, 0), KB_OK);
	assert_int_equal(with_lengths(KB_MAX_REQUEST_LINE + 1, 10, 0), KB_E_HTTP_URI);
	assert_int_equal(with_lengths(KB_MAX_REQUEST_LINE * 10, 10, 0), KB_E_HTTP_URI);
	assert_int_equal(with_lengths(20, KB_MAX_HEADER_LINE, 0), KB_OK);
	assert_int_equal(with_lengths(20, KB_MAX_HEADER_LINE + 1, 0), KB_E_HTTP_HEADERS);
	assert_int_equal(with_lengths(20, KB_MAX_HEADER_LINE * 10, 0), KB_E_HTTP_HEADERS);
	assert_int_equal(with_lengths(20, 10, KB_MAX_HEADER_BYTES), KB_OK);
	assert_int_equal(with_lengths(20, 10, KB_MAX_HEADER_BYTES + 1), KB_E_HTTP_HEADERS);
	assert_int_equal(with_lengths(20, 10, KB_MAX_HEADER_BYTES * 10), KB_E_HTTP_HEADERS);
	assert_int_equal(http_status(KB_E_HTTP_URI), 414);
}

/* Too long is found without a line end, too: a line that never ends must not fill the buffer. */
static void test_b07_endless_line(void **state)
{
	static char text[KB_MAX_HEADER_BYTES + 2];
	struct http_request r;
	bool done;

	(void)state;
	memset(text, 'a', sizeof text);
	assert_int_equal(http_parse(span_of(text, KB_MAX_REQUEST_LINE + 1), &r, &done), KB_OK);
	assert_false(done);
	assert_int_equal(http_parse(span_of(text, KB_MAX_REQUEST_LINE + 2), &r, &done),
			 KB_E_HTTP_URI);
	static const char start[] = "GET / HTTP/1.1\r\nHost: h\r\n";
	memcpy(text, start, sizeof start - 1);
	assert_int_equal(http_parse(span_of(text, sizeof start + KB_MAX_HEADER_LINE), &r, &done),
			 KB_OK);
	assert_int_equal(
		http_parse(span_of(text, sizeof start + KB_MAX_HEADER_LINE + 1), &r, &done),
		KB_E_HTTP_HEADERS);
}

static void test_b08_every_split_point(void **state)
{
	struct http_request r;

	(void)state;
	assert_int_equal(verdict_of(span_str(GOOD), &r), KB_OK);
	assert_int_equal(r.head_len, sizeof GOOD - 1);
	assert_int_equal(
		verdict(GET("Connection: close\r\nExpect: 100-continue\r\nContent-Length: 4\r\n")),
		KB_OK);
}

static void test_b15_target_text(void **state)
{
	(void)state;
	assert_int_equal(verdict("GET /keys/%00 HTTP/1.1\r\nHost: h\r\n\r\n"),
			 KB_OK); /* well-formed; the dialect decides what it means */
	assert_int_equal(verdict("GET //a/../b?%2F HTTP/1.1\r\nHost: h\r\n\r\n"), KB_OK);
	assert_refused("GET /%0 HTTP/1.1\r\nHost: h\r\n\r\n");
	assert_refused("GET /% HTTP/1.1\r\nHost: h\r\n\r\n");
	assert_refused("GET /%g0 HTTP/1.1\r\nHost: h\r\n\r\n");
	assert_refused("GET /%0g HTTP/1.1\r\nHost: h\r\n\r\n");
	assert_refused("GET /a#b HTTP/1.1\r\nHost: h\r\n\r\n");
	assert_refused("GET /\xc3\xa4 HTTP/1.1\r\nHost: h\r\n\r\n");
	assert_refused("GET /a\tb HTTP/1.1\r\nHost: h\r\n\r\n");
}

/* B17: what is echoed in a header or logged is printable and short, or empty. */
static void test_b17_client_request_id(void **state)
{
	char text[512];
	struct http_request r;
	bool done;

	(void)state;
	snprintf(text, sizeof text, GET("x-ms-client-request-id: %0*d\r\n"),
		 KB_MAX_CLIENT_REQUEST_ID, 0);
	assert_int_equal(parse(text, &r, &done), KB_OK);
	assert_int_equal(r.client_request_id.len, KB_MAX_CLIENT_REQUEST_ID);
	snprintf(text, sizeof text, GET("x-ms-client-request-id: %0*d\r\n"),
		 KB_MAX_CLIENT_REQUEST_ID + 1, 0);
	assert_int_equal(parse(text, &r, &done), KB_OK);
	assert_int_equal(r.client_request_id.len, 0);
	assert_int_equal(parse(GET("x-ms-client-request-id: a b\r\n"), &r, &done), KB_OK);
	assert_int_equal(r.client_request_id.len, 0);
	assert_int_equal(parse(GET("x-ms-client-request-id: \xff\r\n"), &r, &done), KB_OK);
	assert_int_equal(r.client_request_id.len, 0);
	assert_refused(GET("x-ms-client-request-id: a\x1b[31m\r\n"));
}

static void test_status_and_reason(void **state)
{
	(void)state;
	assert_int_equal(http_status(KB_E_HTTP_SYNTAX), 400);
	assert_int_equal(http_status(KB_E_METHOD), 405);
	assert_int_equal(http_status(KB_E_QUEUE_FULL), 503);
	assert_int_equal(http_status(KB_E_BUG), 500);
	assert_string_equal(http_reason(200), "OK");
	assert_string_equal(http_reason(431), "Request Header Fields Too Large");
	assert_string_equal(http_reason(299), "Other");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_http_parses_a_release),
		cmocka_unit_test(test_http_knows_methods),
		cmocka_unit_test(test_http_keep_alive),
		cmocka_unit_test(test_b03_two_lengths_or_none_at_all),
		cmocka_unit_test(test_b03_transfer_encoding),
		cmocka_unit_test(test_b04_line_ends),
		cmocka_unit_test(test_b04_host),
		cmocka_unit_test(test_b04_absolute_form),
		cmocka_unit_test(test_b04_versions),
		cmocka_unit_test(test_b04_request_line),
		cmocka_unit_test(test_headers_that_stand_once),
		cmocka_unit_test(test_b05_pipelined_request_is_left_alone),
		cmocka_unit_test(test_b06_body_length_limit),
		cmocka_unit_test(test_b06_expect),
		cmocka_unit_test(test_b07_number_of_headers),
		cmocka_unit_test(test_b07_length_of_lines),
		cmocka_unit_test(test_b07_endless_line),
		cmocka_unit_test(test_b08_every_split_point),
		cmocka_unit_test(test_b15_target_text),
		cmocka_unit_test(test_b17_client_request_id),
		cmocka_unit_test(test_status_and_reason),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
