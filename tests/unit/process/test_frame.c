/* tests/unit/process/test_frame.c — messages between processes: round trips, bounds, malformed
 * ones. */
#include "process/frame.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/limits.h"

static char filler[KB_MAX_FRAME];

static struct span bytes(size_t n)
{
	memset(filler, 'x', sizeof filler);
	return span_of(filler, n);
}

static struct frame_request sample_request(void)
{
	struct frame_request r = {.id = 0x0123456789abcdef,
				  .listener = 3,
				  .method = KB_METHOD_PATCH,
				  .has_authorization = true,
				  .has_bearer = true,
				  .bearer = span_str("t.o.k"),
				  .has_client_cert = true,
				  .has_certificate = true,
				  .client_name = span_str("guest"),
				  .is_json = true,
				  .deadline_ms = 1234567890123,
				  .peer = span_str("2001:db8::1"),
				  .target = span_str("/keys/n"),
				  .query = span_str("api-version=7.4"),
				  .client_request_id = span_str("c-1"),
				  .body = span_str("{}")};
	memset(r.uuid, 0xa5, sizeof r.uuid);
	memset(r.bearer_sha256, 0x5a, sizeof r.bearer_sha256);
	memset(r.client_sha256, 0x77, sizeof r.client_sha256);
	return r;
}

static struct frame_reply sample_reply(void)
{
	struct frame_reply r = {.id = 7,
				.gateway = 14,
				.status = 200,
				.retry_after_s = 2,
				.challenge = span_str("Bearer x"),
				.client_request_id = span_str("c-2"),
				.body = span_str("{\"value\":1}"),
				.record = span_str("{\"r\":1}"),
				.outcome = {.code = KB_E_POLICY,
					    .is_release = true,
					    .key = span_str("k"),
					    .issuer = span_str("https://i"),
					    .judge_us = 1,
					    .hsm_us = 2,
					    .total_us = 3},
				.replay_from_s = 1700000000,
				.replay_until_s = 1800000000,
				.replay_status = 403,
				.replay_body = span_str("{}"),
				.replay_record = span_str("{\"r\":2}")};
	memset(r.replay_key, 0x11, sizeof r.replay_key);
	return r;
}

static struct frame_response sample_response(void)
{
	return (struct frame_response){.id = 9,
				       .status = 503,
				       .code = KB_E_PROCESS_LOST,
				       .retry_after_s = 1,
				       .challenge = span_str(""),
				       .client_request_id = span_str("c-3"),
				       .body = span_str("{}")};
}

static void test_frame_request_round_trip(void **state)
{
	KB_AUTO(buf) struct buf b;
	struct frame_request in = sample_request();
	struct frame_request out;

	(void)state;
	buf_init(&b, KB_MAX_FRAME);
	assert_int_equal(frame_put_request(&in, &b), KB_OK);
	assert_int_equal(frame_get_request(buf_span(&b), &out), KB_OK);
	assert_true(out.id == in.id && out.listener == 3 && out.method == KB_METHOD_PATCH &&
		    out.deadline_ms == in.deadline_ms);
	assert_true(out.has_authorization && out.has_bearer && out.has_client_cert && out.is_json);
	assert_memory_equal(out.uuid, in.uuid, sizeof in.uuid);
	assert_memory_equal(out.bearer_sha256, in.bearer_sha256, 32);
	assert_true(out.has_certificate && span_eq(out.client_name, in.client_name));
	assert_memory_equal(out.client_sha256, in.client_sha256, 32);
	assert_true(span_eq(out.bearer, in.bearer));
	assert_true(span_eq(out.peer, in.peer) && span_eq(out.target, in.target) &&
		    span_eq(out.query, in.query));
	assert_true(span_eq(out.client_request_id, in.client_request_id) &&
		    span_eq(out.body, in.body));
}

static void test_frame_request_without_certificate(void **state)
{
	KB_AUTO(buf) struct buf b;
	struct frame_request r = sample_request();

	(void)state;
	buf_init(&b, KB_MAX_FRAME);
	r.client_name = bytes(KB_MAX_CALLER_NAME);
	assert_int_equal(frame_put_request(&r, &b), KB_OK);
	r.client_name = bytes(KB_MAX_CALLER_NAME + 1);
	assert_int_equal(frame_put_request(&r, &b), KB_E_FRAME);
	r.client_name = span_of(NULL, 0);
	r.has_certificate = false; /* but accepted */
	assert_int_equal(frame_put_request(&r, &b), KB_E_FRAME);
	r.has_client_cert = false;
	assert_int_equal(frame_put_request(&r, &b), KB_OK);
	r.client_name = span_str("guest"); /* but a name */
	assert_int_equal(frame_put_request(&r, &b), KB_E_FRAME);
}

static void test_frame_reply_round_trip(void **state)
{
	KB_AUTO(buf) struct buf b;
	struct frame_reply in = sample_reply();
	struct frame_reply out;

	(void)state;
	buf_init(&b, KB_MAX_FRAME);
	assert_int_equal(frame_put_reply(&in, &b), KB_OK);
	assert_int_equal(frame_get_reply(buf_span(&b), &out), KB_OK);
	assert_true(out.id == 7 && out.gateway == 14 && out.status == 200 &&
		    out.retry_after_s == 2 && out.replay_from_s == 1700000000 &&
		    out.replay_until_s == 1800000000);
	assert_true(span_eq(out.challenge, in.challenge) &&
		    span_eq(out.client_request_id, in.client_request_id));
	assert_true(span_eq(out.body, in.body) && span_eq(out.record, in.record));
	assert_true(out.outcome.code == KB_E_POLICY && out.outcome.is_release);
	assert_true(out.outcome.judge_us == 1 && out.outcome.hsm_us == 2 &&
		    out.outcome.total_us == 3);
	assert_true(span_eq(out.outcome.key, in.outcome.key) &&
		    span_eq(out.outcome.issuer, in.outcome.issuer));
	assert_memory_equal(out.replay_key, in.replay_key, 32);
	assert_int_equal(out.replay_status, 403);
	assert_true(span_eq(out.replay_body, in.replay_body) &&
		    span_eq(out.replay_record, in.replay_record));
}

static void test_frame_response_round_trip(void **state)
{
	KB_AUTO(buf) struct buf b;
	struct frame_response in = sample_response();
	struct frame_response out;

	(void)state;
	buf_init(&b, KB_MAX_FRAME);
	assert_int_equal(frame_put_response(&in, &b), KB_OK);
	assert_int_equal(frame_get_response(buf_span(&b), &out), KB_OK);
	assert_true(out.id == 9 && out.status == 503 && out.code == KB_E_PROCESS_LOST &&
		    out.retry_after_s == 1);
	assert_true(out.challenge.len == 0 &&
		    span_eq(out.client_request_id, in.client_request_id) &&
		    span_eq(out.body, in.body));
}

typedef enum kb_err decoder(struct span message);
static enum kb_err as_request(struct span m)
{
	struct frame_request r;
	return frame_get_request(m, &r);
}
static enum kb_err as_reply(struct span m)
{
	struct frame_reply r;
	return frame_get_reply(m, &r);
}
static enum kb_err as_response(struct span m)
{
	struct frame_response r;
	return frame_get_response(m, &r);
}

/* Cut at every byte, one byte longer, of another type or version: all are refused.  Each copy has
 * its exact size, so that AddressSanitizer sees a read beyond it. */
static void check_malformed(const struct buf *b, decoder *own, decoder *other1, decoder *other2)
{
	assert_int_equal(own(buf_span(b)), KB_OK);
	assert_int_equal(other1(buf_span(b)), KB_E_FRAME);
	assert_int_equal(other2(buf_span(b)), KB_E_FRAME);
	for (size_t n = 0; n <= b->len + 1; n++) {
		uint8_t *copy = calloc(1, n + 1);
		assert_non_null(copy);
		memcpy(copy, b->p, n < b->len ? n : b->len);
		if (n != b->len)
			assert_int_equal(own(span_of(copy, n)), KB_E_FRAME);
		if (n == b->len) {
			copy[1] = 2;
			assert_int_equal(own(span_of(copy, n)), KB_E_FRAME);
		}
		free(copy);
	}
}

static void test_frame_refuses_malformed(void **state)
{
	KB_AUTO(buf) struct buf b;
	struct frame_request q = sample_request();
	struct frame_reply p = sample_reply();
	struct frame_response s = sample_response();

	(void)state;
	buf_init(&b, KB_MAX_FRAME);
	assert_int_equal(frame_put_request(&q, &b), KB_OK);
	check_malformed(&b, as_request, as_reply, as_response);
	assert_int_equal(frame_put_reply(&p, &b), KB_OK);
	check_malformed(&b, as_reply, as_request, as_response);
	assert_int_equal(frame_put_response(&s, &b), KB_OK);
	check_malformed(&b, as_response, as_reply, as_request);
	assert_int_equal(as_request(bytes(KB_MAX_FRAME)), KB_E_FRAME);
}

/* No changed byte makes a decoder read outside the message or exceed its bounds. */
static void test_frame_survives_any_changed_byte(void **state)
{
	KB_AUTO(buf) struct buf b;
	struct frame_request q = sample_request();

	(void)state;
	buf_init(&b, KB_MAX_FRAME);
	assert_int_equal(frame_put_request(&q, &b), KB_OK);
	for (size_t i = 0; i < b.len; i++)
		for (unsigned v = 0; v < 256; v++) {
			uint8_t was = b.p[i];
			struct frame_request r;
			b.p[i] = (uint8_t)v;
			if (frame_get_request(buf_span(&b), &r) == KB_OK)
				assert_true(
					r.body.len <= KB_MAX_BODY &&
					(r.body.len == 0 || r.body.p + r.body.len <= b.p + b.len));
			b.p[i] = was;
		}
}

#define REFUSES_REQUEST(change)                                                                    \
	do {                                                                                       \
		struct frame_request r = sample_request();                                         \
		change;                                                                            \
		assert_int_equal(frame_put_request(&r, &b), KB_E_FRAME);                           \
	} while (0)
#define REFUSES_REPLY(change)                                                                      \
	do {                                                                                       \
		struct frame_reply r = sample_reply();                                             \
		change;                                                                            \
		assert_int_equal(frame_put_reply(&r, &b), KB_E_FRAME);                             \
	} while (0)
#define REFUSES_RESPONSE(change)                                                                   \
	do {                                                                                       \
		struct frame_response r = sample_response();                                       \
		change;                                                                            \
		assert_int_equal(frame_put_response(&r, &b), KB_E_FRAME);                          \
	} while (0)

static void test_frame_bounds(void **state)
{
	KB_AUTO(buf) struct buf b;

	(void)state;
	buf_init(&b, KB_MAX_FRAME);
	REFUSES_REQUEST(r.method = 0);
	REFUSES_REQUEST(r.method = KB_METHOD_DELETE + 1);
	REFUSES_REQUEST(r.has_authorization = false); /* a bearer without an Authorization header */
	REFUSES_REQUEST(r.has_bearer = false);        /* a token without a bearer */
	REFUSES_REQUEST(r.bearer = bytes(KB_MAX_BEARER + 1));
	REFUSES_REQUEST(r.bearer = bytes(KB_MAX_BEARER * 10));
	REFUSES_REQUEST(r.peer = bytes(KB_MAX_PEER + 1));
	REFUSES_REQUEST(r.target = bytes(KB_MAX_REQUEST_LINE + 1));
	REFUSES_REQUEST(r.query = bytes(KB_MAX_REQUEST_LINE + 1));
	REFUSES_REQUEST(r.client_request_id = bytes(KB_MAX_CLIENT_REQUEST_ID + 1));
	REFUSES_REQUEST(r.body = bytes(KB_MAX_BODY + 1));
	REFUSES_REPLY(r.status = 199);
	REFUSES_REPLY(r.status = 600);
	REFUSES_REPLY(r.outcome.code = KB_ERR_COUNT);
	REFUSES_REPLY(r.challenge = bytes(KB_MAX_CHALLENGE + 1));
	REFUSES_REPLY(r.challenge = span_str("Bearer a\r\nSet-Cookie: b"));
	REFUSES_REPLY(r.client_request_id = span_str("a\nb"));
	REFUSES_REPLY(r.body = bytes(KB_MAX_REPLY + 1));
	REFUSES_REPLY(r.record = bytes(KB_MAX_RECORD + 1));
	REFUSES_REPLY(r.outcome.key = bytes(KB_MAX_NAME + 1));
	REFUSES_REPLY(r.outcome.issuer = bytes(KB_MAX_NAME + 1));
	REFUSES_REPLY(r.replay_from_s = -1);
	REFUSES_REPLY(r.replay_until_s = -1);
	REFUSES_REPLY(r.replay_status = 0);
	REFUSES_REPLY(r.replay_status = 200);
	REFUSES_REPLY(r.replay_status = 399);
	REFUSES_REPLY(r.replay_status = 600);
	REFUSES_REPLY(r.replay_body = bytes(KB_MAX_REFUSAL + 1));
	REFUSES_REPLY(r.replay_record = bytes(KB_MAX_RECORD + 1));
	REFUSES_RESPONSE(r.status = 100);
	REFUSES_RESPONSE(r.code = KB_ERR_COUNT);
	REFUSES_RESPONSE(r.challenge = span_str("\x7f"));
	REFUSES_RESPONSE(r.client_request_id = bytes(KB_MAX_CLIENT_REQUEST_ID + 1));
	REFUSES_RESPONSE(r.body = bytes(KB_MAX_REPLY + 1));
}

/* 0 is no request: a free place of a gateway's window has it. */
static void test_i14_frame_of_no_request(void **state)
{
	KB_AUTO(buf) struct buf b;
	const struct frame_request q = sample_request();
	const struct frame_reply p = sample_reply();
	const struct frame_response s = sample_response();
	static decoder *const decode[] = {as_request, as_reply, as_response};

	(void)state;
	buf_init(&b, KB_MAX_FRAME);
	REFUSES_REQUEST(r.id = 0);
	REFUSES_REPLY(r.id = 0);
	REFUSES_RESPONSE(r.id = 0);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(i == 0   ? frame_put_request(&q, &b)
				 : i == 1 ? frame_put_reply(&p, &b)
					  : frame_put_response(&s, &b),
				 KB_OK);
		assert_int_equal(decode[i](buf_span(&b)), KB_OK);
		memset(b.p + 2, 0, 8);
		assert_int_equal(decode[i](buf_span(&b)), KB_E_FRAME);
	}
}

static void test_i15_frame_ids(void **state)
{
	(void)state;
	for (uint64_t i = 0; i < 3; i++) {
		const uint64_t all = UINT64_MAX;
		assert_true(frame_needs_record(frame_new_id(true, i * all, i * all)));
		assert_false(frame_needs_record(frame_new_id(false, i * all, i * all)));
		assert_true(frame_new_id(true, i * all, i) != 0);
		assert_true(frame_new_id(false, i * all, i) != 0);
	}
	/* The count is there, and what else is random. */
	assert_true((frame_new_id(true, 0, 77) ^ frame_new_id(true, 0, 78)) == (77 ^ 78));
	assert_true((frame_new_id(true, 0, 5) ^ frame_new_id(true, 1, 5)) == 1 << 24);
	assert_true((frame_new_id(true, 0, 5) ^ frame_new_id(true, UINT64_C(1) << 38, 5)) ==
		    UINT64_C(1) << 62);
}

/* All fields at their greatest fit a frame. */
static void test_frame_greatest(void **state)
{
	KB_AUTO(buf) struct buf b;
	struct frame_request q = sample_request();
	struct frame_reply p = sample_reply();

	(void)state;
	buf_init(&b, KB_MAX_FRAME);
	q.target = q.query = bytes(KB_MAX_REQUEST_LINE);
	q.client_request_id = bytes(KB_MAX_CLIENT_REQUEST_ID);
	q.bearer = bytes(KB_MAX_BEARER);
	q.body = bytes(KB_MAX_BODY);
	assert_int_equal(frame_put_request(&q, &b), KB_OK);
	assert_int_equal(as_request(buf_span(&b)), KB_OK);
	p.body = bytes(KB_MAX_REPLY);
	p.replay_body = bytes(KB_MAX_REFUSAL);
	p.record = p.replay_record = bytes(KB_MAX_RECORD);
	p.challenge = bytes(KB_MAX_CHALLENGE);
	assert_int_equal(frame_put_reply(&p, &b), KB_OK);
	assert_int_equal(as_reply(buf_span(&b)), KB_OK);
	KB_AUTO(buf) struct buf small;
	buf_init(&small, 100);
	assert_int_equal(frame_put_request(&q, &small), KB_E_NOMEM);
}

static void test_frame_open_request_leaves_room_for_the_body(void **state)
{
	KB_AUTO(buf) struct buf a;
	KB_AUTO(buf) struct buf b;
	struct frame_request r = sample_request();
	uint8_t *body;

	(void)state;
	buf_init(&a, KB_MAX_FRAME);
	buf_init(&b, KB_MAX_FRAME);
	assert_int_equal(frame_put_request(&r, &a), KB_OK);
	assert_int_equal(frame_open_request(&r, 2, &b, &body), KB_OK);
	memcpy(body, "{}", 2);
	assert_true(span_eq(buf_span(&a), buf_span(&b)));
	assert_int_equal(frame_open_request(&r, KB_MAX_BODY + 1, &b, &body), KB_E_FRAME);
	assert_null(body);
}

static void test_frame_uuid_text(void **state)
{
	const uint8_t uuid[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff};
	char text[37];

	(void)state;
	frame_uuid_text(uuid, text);
	assert_string_equal(text, "00010203-0405-0607-0809-aabbccddeeff");
}

static void test_frame_pair_carries_a_whole_frame(void **state)
{
	static uint8_t in[KB_MAX_FRAME];
	int fd[2];
	size_t len;

	(void)state;
	assert_int_equal(frame_pair(fd), KB_OK);
	assert_int_equal(frame_send(fd[0], bytes(KB_MAX_FRAME)), KB_OK);
	assert_int_equal(frame_recv(fd[1], in, sizeof in, &len), KB_OK);
	assert_int_equal(len, KB_MAX_FRAME);
	assert_int_equal(frame_send(fd[1], bytes(11)), KB_OK);
	assert_int_equal(frame_recv(fd[0], in, 10, &len), KB_E_FRAME); /* longer than the buffer */
	assert_int_equal(len, 0);
	assert_int_equal(send(fd[1], "", 0, 0), 0);
	assert_int_equal(frame_recv(fd[0], in, sizeof in, &len), KB_OK);
	assert_int_equal(len, 0);
	assert_false(frame_at_end(fd[0])); /* an empty message is not the end */
	close(fd[1]);
	assert_int_equal(frame_recv(fd[0], in, sizeof in, &len), KB_OK);
	assert_int_equal(len, 0);
	assert_true(frame_at_end(fd[0]));
	assert_int_equal(frame_send(fd[0], bytes(1)), KB_E_SYS);
	close(fd[0]);
	assert_int_equal(frame_recv(fd[0], in, sizeof in, &len), KB_E_SYS);
}

static void test_g07_frame_pair_without_descriptors(void **state)
{
	struct rlimit was;
	struct rlimit none;
	int fd[2];

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &was), 0);
	none = was;
	none.rlim_cur = 0;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	enum kb_err err = frame_pair(fd);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &was), 0);
	assert_int_equal(err, KB_E_SYS);
	assert_true(fd[0] == -1 && fd[1] == -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_frame_request_round_trip),
		cmocka_unit_test(test_frame_request_without_certificate),
		cmocka_unit_test(test_frame_reply_round_trip),
		cmocka_unit_test(test_frame_response_round_trip),
		cmocka_unit_test(test_frame_refuses_malformed),
		cmocka_unit_test(test_frame_survives_any_changed_byte),
		cmocka_unit_test(test_frame_bounds),
		cmocka_unit_test(test_i14_frame_of_no_request),
		cmocka_unit_test(test_i15_frame_ids),
		cmocka_unit_test(test_frame_greatest),
		cmocka_unit_test(test_frame_open_request_leaves_room_for_the_body),
		cmocka_unit_test(test_frame_uuid_text),
		cmocka_unit_test(test_frame_pair_carries_a_whole_frame),
		cmocka_unit_test(test_g07_frame_pair_without_descriptors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
