/* tests/unit/gateway/test_request.c — HTTP bytes become a frame: what the vault gets, and what
 * is wiped. */
#include "gateway/request.h"

#include <event2/buffer.h>
#include <openssl/sha.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "api/api.h"
#include "base/limits.h"

static struct evbuffer *in;
static struct buf frame;
static size_t max_bearer;    /* of the dialect under test */
static enum kb_err expected; /* of request_frame() */

static int fresh(void **state)
{
	(void)state;
	max_bearer = 0;
	expected = KB_OK;
	in = evbuffer_new();
	buf_init(&frame, KB_MAX_FRAME);
	return in == NULL ? -1 : 0;
}

static int done(void **state)
{
	(void)state;
	evbuffer_free(in);
	buf_free(&frame);
	return 0;
}

/* The request decoded from its frame, from a buffer of pieces of `piece` bytes. */
static struct frame_request through(const char *text, size_t piece)
{
	struct http_request head;
	struct frame_request r = {
		.id = 1, .listener = 2, .deadline_ms = 3, .peer = span_str("192.0.2.1")};
	struct frame_request out;
	struct span s = span_str(text);
	bool whole;

	assert_int_equal(evbuffer_drain(in, evbuffer_get_length(in)), 0);
	for (size_t i = 0; i < s.len; i += piece) {
		struct span part = span_sub(s, i, piece);
		struct evbuffer *one = evbuffer_new(); /* so that the pieces stay separate chunks */
		assert_non_null(one);
		assert_int_equal(evbuffer_add(one, part.p, part.len), 0);
		assert_int_equal(evbuffer_add_buffer(in, one), 0);
		evbuffer_free(one);
	}
	assert_int_equal(http_parse(s, &head, &whole), KB_OK);
	assert_true(whole);
	assert_int_equal(request_frame(&r, in, head.head_len, head.body_len, max_bearer, &frame),
			 expected);
	if (expected != KB_OK)
		return r;
	assert_int_equal(frame_get_request(buf_span(&frame), &out), KB_OK);
	return out;
}

#define POST(headers, body) "POST /a/b?c=d HTTP/1.1\r\nHost: h\r\n" headers "\r\n" body

static void test_b08_same_frame_for_every_piece(void **state)
{
	static const char text[] = POST("Content-Type: application/json\r\nx-ms-client-request-id: "
					"id\r\nContent-Length: 20\r\n",
					"{\"target\":\"abcdefg\"}");

	(void)state;
	for (size_t piece = 1; piece <= sizeof text; piece++) {
		struct frame_request r = through(text, piece);
		assert_true(r.id == 1 && r.listener == 2 && r.deadline_ms == 3 &&
			    r.method == KB_METHOD_POST);
		assert_true(span_eq_cstr(r.peer, "192.0.2.1") && span_eq_cstr(r.target, "/a/b") &&
			    span_eq_cstr(r.query, "c=d"));
		assert_true(span_eq_cstr(r.client_request_id, "id") &&
			    span_eq_cstr(r.body, "{\"target\":\"abcdefg\"}"));
		assert_true(r.is_json && !r.has_authorization && !r.has_bearer &&
			    !r.has_client_cert);
	}
}

static void test_b05_next_request_stays(void **state)
{
	static const char next[] = "GET /next HTTP/1.1\r\nHost: h\r\n\r\n";
	struct evbuffer *pair = evbuffer_new();

	(void)state;
	assert_non_null(pair);
	assert_int_equal(
		evbuffer_add_printf(pair, "%s%s", POST("Content-Length: 2\r\n", "{}"), next) > 0,
		1);
	struct frame_request r = {.id = 1, .peer = span_str("p")};
	size_t head_len = sizeof POST("Content-Length: 2\r\n", "") - 1;
	assert_int_equal(request_frame(&r, pair, head_len, 2, 0, &frame), KB_OK);
	request_wipe(pair, head_len + 2);
	assert_int_equal(evbuffer_get_length(pair), sizeof next - 1);
	assert_memory_equal(evbuffer_pullup(pair, -1), next, sizeof next - 1);
	evbuffer_free(pair);
}

static void test_bearer_goes_as_a_digest(void **state)
{
	uint8_t want[32];

	(void)state;
	SHA256((const unsigned char *)"tok.en", 6, want);
	struct frame_request r = through(POST("Authorization: Bearer tok.en\r\n", ""), 4096);
	assert_true(r.has_authorization && r.has_bearer);
	assert_memory_equal(r.bearer_sha256, want, 32);
	assert_null(memmem(frame.p, frame.len, "tok.en", 6));
	r = through(POST("Authorization: bEARER   tok.en  \r\n", ""), 4096);
	assert_true(r.has_bearer);
	assert_memory_equal(r.bearer_sha256, want, 32);
}

/* A dialect that asks for the token gets it, up to its own limit. */
static void test_bearer_goes_along_when_the_dialect_asks(void **state)
{
	static const struct api dialect = {.name = "test", .max_bearer = 6};

	(void)state;
	max_bearer = dialect.max_bearer;
	struct frame_request r = through(POST("Authorization: Bearer tok.en\r\n", ""), 4096);
	assert_true(r.has_bearer && span_eq_cstr(r.bearer, "tok.en"));
	r = through(POST("Authorization: Basic dG9r\r\n", ""), 4096);
	assert_true(!r.has_bearer && r.bearer.len == 0);
	expected = KB_E_HTTP_HEADERS;
	(void)through(POST("Authorization: Bearer tok.en7\r\n", ""), 4096);
	(void)through(POST("Authorization: Bearer "
			   "tok.entok.entok.entok.entok.entok.entok.entok.entok.entok.en\r\n",
			   ""),
		      4096);
}

static void test_other_authorization_is_no_bearer(void **state)
{
	(void)state;
	struct frame_request r = through(POST("Authorization: Basic dG9r\r\n", ""), 4096);
	assert_true(r.has_authorization && !r.has_bearer);
	r = through(POST("Authorization: Bearer\r\n", ""), 4096);
	assert_true(r.has_authorization && !r.has_bearer);
	r = through(POST("Authorization: Bearertok\r\n", ""), 4096);
	assert_true(r.has_authorization && !r.has_bearer);
	r = through(POST("Authorization:\r\n", ""), 4096);
	assert_true(r.has_authorization && !r.has_bearer);
	r = through(POST("", ""), 4096);
	assert_false(r.has_authorization);
}

static void test_b15_content_type(void **state)
{
	(void)state;
	assert_true(
		through(POST("Content-Type: Application/JSON\r\nContent-Length: 1\r\n", "1"), 4096)
			.is_json);
	assert_true(through(POST("Content-Type: application/json; charset=utf-8\r\nContent-Length: "
				 "1\r\n",
				 "1"),
			    4096)
			    .is_json);
	assert_true(through(POST("Content-Type: application/json ;charset=utf-8\r\nContent-Length: "
				 "1\r\n",
				 "1"),
			    4096)
			    .is_json);
	assert_true(through(POST("Content-Type: text/plain\r\nContent-Length: 0\r\n", ""), 4096)
			    .is_json); /* no body */
	assert_false(through(POST("Content-Length: 1\r\n", "1"), 4096).is_json);
	assert_false(
		through(POST("Content-Type: application/jsonx\r\nContent-Length: 1\r\n", "1"), 4096)
			.is_json);
	assert_false(through(POST("Content-Type: text/json\r\nContent-Length: 1\r\n", "1"), 4096)
			     .is_json);
}

static void test_request_methods(void **state)
{
	(void)state;
	assert_int_equal(request_method(HTTP_GET), KB_METHOD_GET);
	assert_int_equal(request_method(HTTP_POST), KB_METHOD_POST);
	assert_int_equal(request_method(HTTP_PUT), KB_METHOD_PUT);
	assert_int_equal(request_method(HTTP_PATCH), KB_METHOD_PATCH);
	assert_int_equal(request_method(HTTP_DELETE), KB_METHOD_DELETE);
	assert_int_equal(request_method(HTTP_HEAD), 0);
	assert_int_equal(request_method(HTTP_OPTIONS), 0);
	assert_int_equal(request_method(HTTP_OTHER), 0);
}

/* I3: the bytes are wiped in the memory where they were. */
static void test_i3_wiped_from_memory(void **state)
{
	static uint8_t memory[64];

	(void)state;
	memset(memory, 's', sizeof memory);
	assert_int_equal(evbuffer_add_reference(in, memory, 20, NULL, NULL), 0);
	assert_int_equal(evbuffer_add_reference(in, memory + 20, 44, NULL, NULL), 0);
	request_wipe(in, 50);
	for (size_t i = 0; i < 64; i++)
		assert_int_equal(memory[i], i < 50 ? 0 : 's');
	assert_int_equal(evbuffer_get_length(in), 14);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_b08_same_frame_for_every_piece, fresh, done),
		cmocka_unit_test_setup_teardown(test_b05_next_request_stays, fresh, done),
		cmocka_unit_test_setup_teardown(test_bearer_goes_as_a_digest, fresh, done),
		cmocka_unit_test_setup_teardown(test_bearer_goes_along_when_the_dialect_asks, fresh,
						done),
		cmocka_unit_test_setup_teardown(test_other_authorization_is_no_bearer, fresh, done),
		cmocka_unit_test_setup_teardown(test_b15_content_type, fresh, done),
		cmocka_unit_test_setup_teardown(test_request_methods, fresh, done),
		cmocka_unit_test_setup_teardown(test_i3_wiped_from_memory, fresh, done),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
