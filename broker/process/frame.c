/* broker/process/frame.c — encodes and decodes the messages between processes.  Decides nothing.
 * Trusts nothing that it decodes: the sender may have been taken over, so every length, enum and
 * flag is checked, and trailing bytes are an error.  Must never return a span outside the
 * message. */
#include "process/frame.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/hex.h"
#include "base/limits.h"

enum {
	FRAME_VERSION = 1,
	FIXED_BYTES = 192, /* at least what a request has beside its spans' bytes */
};

_Static_assert(KB_MAX_REPLY + 2 * KB_MAX_RECORD + KB_MAX_REFUSAL + 4096 <= KB_MAX_FRAME,
	       "the greatest reply fits a frame");
_Static_assert(KB_MAX_BODY + 2 * KB_MAX_REQUEST_LINE + KB_MAX_BEARER + 4096 <= KB_MAX_FRAME,
	       "the greatest request fits a frame");
enum frame_type { TYPE_REQUEST = 'Q', TYPE_REPLY = 'R', TYPE_RESPONSE = 'S' };

/* ---- encoding: little-endian integers; a span is its 32-bit length and its bytes ---- */

static void put_u64(struct buf *b, uint64_t v, unsigned bytes)
{
	uint8_t raw[8];

	for (unsigned i = 0; i < bytes; i++)
		raw[i] = (uint8_t)(v >> (8 * i));
	buf_add(b, raw, bytes);
}

static void put_span(struct buf *b, struct span s)
{
	put_u64(b, s.len, 4);
	buf_add_span(b, s);
}

static void put_type(struct buf *b, enum frame_type type)
{
	buf_reset(b);
	put_u64(b, (uint64_t)type, 1);
	put_u64(b, FRAME_VERSION, 1);
}

/* Text for an HTTP header: printable ASCII and spaces only, so that no process can inject a
 * line. */
static bool is_header_text(struct span s, size_t max)
{
	if (s.len > max)
		return false;
	for (size_t i = 0; i < s.len; i++)
		if (s.p[i] < 0x20 || s.p[i] > 0x7e)
			return false;
	return true;
}

/* ---- decoding: after one error all reads fail ---- */

struct frame_reader {
	struct span in;
	size_t at;
	bool is_bad;
};

static uint64_t get_u64(struct frame_reader *c, unsigned bytes)
{
	uint64_t v = 0;

	if (c->is_bad || c->in.len - c->at < bytes) {
		c->is_bad = true;
		return 0;
	}
	for (unsigned i = 0; i < bytes; i++)
		v |= (uint64_t)c->in.p[c->at + i] << (8 * i);
	c->at += bytes;
	return v;
}

static bool get_bool(struct frame_reader *c)
{
	uint64_t v = get_u64(c, 1);

	if (v > 1)
		c->is_bad = true;
	return v == 1;
}

static void get_bytes(struct frame_reader *c, uint8_t *out, size_t len)
{
	if (c->is_bad || c->in.len - c->at < len) {
		c->is_bad = true;
		memset(out, 0, len);
		return;
	}
	memcpy(out, c->in.p + c->at, len);
	c->at += len;
}

static struct span get_span(struct frame_reader *c, size_t max)
{
	uint64_t len = get_u64(c, 4);

	if (c->is_bad || len > max || c->in.len - c->at < len) {
		c->is_bad = true;
		return span_of(NULL, 0);
	}
	struct span s = span_of(c->in.p + c->at, (size_t)len);
	c->at += (size_t)len;
	return s;
}

static struct frame_reader get_type(struct span message, enum frame_type type)
{
	struct frame_reader c = {message, 0, message.len > KB_MAX_FRAME};

	if (get_u64(&c, 1) != (uint64_t)type || get_u64(&c, 1) != FRAME_VERSION)
		c.is_bad = true;
	return c;
}

static enum kb_err get_end(const struct frame_reader *c)
{
	return !c->is_bad && c->at == c->in.len ? KB_OK : KB_E_FRAME;
}

/* ---- ids ---- */

enum { COUNT_BITS = 24 };
static const uint64_t needs_record_bit = UINT64_C(1) << 63;

uint64_t frame_new_id(bool needs_record, uint64_t random, uint64_t count)
{
	uint64_t mask = (UINT64_C(1) << COUNT_BITS) - 1;
	uint64_t id = (random << COUNT_BITS | (count & mask)) & ~needs_record_bit;

	id |= needs_record ? needs_record_bit : 0;
	return id == 0 ? UINT64_C(1) << COUNT_BITS : id;
}

bool frame_needs_record(uint64_t id)
{
	return (id & needs_record_bit) != 0;
}

/* ---- gateway → vault ---- */

static bool request_ok(const struct frame_request *r, size_t body_len)
{
	return r->id != 0 && r->method != KB_METHOD_NONE && r->method <= KB_METHOD_DELETE &&
	       (r->has_certificate || (!r->has_client_cert && r->client_name.len == 0)) &&
	       r->client_name.len <= KB_MAX_CALLER_NAME &&
	       (r->has_authorization || !r->has_bearer) && (r->has_bearer || r->bearer.len == 0) &&
	       r->bearer.len <= KB_MAX_BEARER && r->peer.len <= KB_MAX_PEER &&
	       r->target.len <= KB_MAX_REQUEST_LINE && r->query.len <= KB_MAX_REQUEST_LINE &&
	       is_header_text(r->client_request_id, KB_MAX_CLIENT_REQUEST_ID) &&
	       body_len <= KB_MAX_BODY;
}

enum kb_err frame_open_request(const struct frame_request *r, size_t body_len, struct buf *out,
			       uint8_t **body)
{
	*body = NULL;
	if (!request_ok(r, body_len))
		return KB_E_FRAME;
	/* All of the memory at once: a block that realloc() gave up would keep the bearer token. */
	buf_reset(out);
	if (buf_reserve(out, FIXED_BYTES + r->peer.len + r->client_name.len + r->target.len +
				     r->query.len + r->client_request_id.len + r->bearer.len +
				     body_len) == NULL)
		return KB_E_NOMEM;
	put_type(out, TYPE_REQUEST);
	put_u64(out, r->id, 8);
	buf_add(out, r->uuid, sizeof r->uuid);
	put_u64(out, r->listener, 1);
	put_u64(out, r->method, 1);
	put_u64(out, r->has_authorization, 1);
	put_u64(out, r->has_bearer, 1);
	buf_add(out, r->bearer_sha256, sizeof r->bearer_sha256);
	put_u64(out, r->has_client_cert, 1);
	put_u64(out, r->has_certificate, 1);
	buf_add(out, r->client_sha256, sizeof r->client_sha256);
	put_span(out, r->client_name);
	put_u64(out, r->is_json, 1);
	put_u64(out, (uint64_t)r->deadline_ms, 8);
	put_span(out, r->peer);
	put_span(out, r->target);
	put_span(out, r->query);
	put_span(out, r->client_request_id);
	put_span(out, r->bearer);
	put_u64(out, body_len, 4);
	*body = buf_reserve(out, body_len);
	return buf_ok(out);
}

enum kb_err frame_put_request(const struct frame_request *r, struct buf *out)
{
	uint8_t *body;
	enum kb_err err = frame_open_request(r, r->body.len, out, &body);

	if (err == KB_OK && r->body.len > 0)
		memcpy(body, r->body.p, r->body.len);
	return err;
}

enum kb_err frame_get_request(struct span message, struct frame_request *r)
{
	struct frame_reader c = get_type(message, TYPE_REQUEST);

	*r = (struct frame_request){.id = get_u64(&c, 8)};
	get_bytes(&c, r->uuid, sizeof r->uuid);
	r->listener = (uint8_t)get_u64(&c, 1);
	r->method = (uint8_t)get_u64(&c, 1);
	r->has_authorization = get_bool(&c);
	r->has_bearer = get_bool(&c);
	get_bytes(&c, r->bearer_sha256, sizeof r->bearer_sha256);
	r->has_client_cert = get_bool(&c);
	r->has_certificate = get_bool(&c);
	get_bytes(&c, r->client_sha256, sizeof r->client_sha256);
	r->client_name = get_span(&c, KB_MAX_CALLER_NAME);
	r->is_json = get_bool(&c);
	r->deadline_ms = (int64_t)get_u64(&c, 8);
	r->peer = get_span(&c, KB_MAX_PEER);
	r->target = get_span(&c, KB_MAX_REQUEST_LINE);
	r->query = get_span(&c, KB_MAX_REQUEST_LINE);
	r->client_request_id = get_span(&c, KB_MAX_CLIENT_REQUEST_ID);
	r->bearer = get_span(&c, KB_MAX_BEARER);
	r->body = get_span(&c, KB_MAX_BODY);
	return request_ok(r, r->body.len) ? get_end(&c) : KB_E_FRAME;
}

/* ---- vault → ledger ---- */

static bool status_ok(uint16_t status)
{
	return status >= 200 && status <= 599;
}

static bool reply_ok(const struct frame_reply *r)
{
	/* What the ledger sends instead of a key, under the record of a refusal, is one. */
	bool replay_ok =
		r->replay_until_s == 0 || (status_ok(r->replay_status) && r->replay_status >= 400);

	return r->id != 0 && status_ok(r->status) && replay_ok && r->outcome.code < KB_ERR_COUNT &&
	       is_header_text(r->challenge, KB_MAX_CHALLENGE) &&
	       is_header_text(r->client_request_id, KB_MAX_CLIENT_REQUEST_ID) &&
	       r->peer.len <= KB_MAX_PEER && r->replay_grace_s <= KB_SINGLE_USE_GRACE_MAX_S &&
	       r->body.len <= KB_MAX_REPLY && r->record.len <= KB_MAX_RECORD &&
	       r->outcome.key.len <= KB_MAX_NAME && r->outcome.issuer.len <= KB_MAX_NAME &&
	       r->replay_from_s >= 0 && r->replay_until_s >= 0 &&
	       r->replay_body.len <= KB_MAX_REFUSAL && r->replay_record.len <= KB_MAX_RECORD;
}

enum kb_err frame_put_reply(const struct frame_reply *r, struct buf *out)
{
	if (!reply_ok(r))
		return KB_E_FRAME;
	put_type(out, TYPE_REPLY);
	put_u64(out, r->id, 8);
	put_u64(out, r->gateway, 1);
	buf_add(out, r->uuid, sizeof r->uuid);
	put_u64(out, r->status, 2);
	put_u64(out, r->retry_after_s, 2);
	put_span(out, r->challenge);
	put_span(out, r->client_request_id);
	put_span(out, r->peer);
	put_span(out, r->body);
	put_span(out, r->record);
	put_u64(out, r->outcome.code, 2);
	put_u64(out, r->outcome.is_release, 1);
	put_span(out, r->outcome.key);
	put_span(out, r->outcome.issuer);
	put_u64(out, r->outcome.judge_us, 4);
	put_u64(out, r->outcome.hsm_us, 4);
	put_u64(out, r->outcome.total_us, 4);
	put_u64(out, (uint64_t)r->replay_from_s, 8);
	put_u64(out, (uint64_t)r->replay_until_s, 8);
	put_u64(out, r->replay_grace_s, 2);
	buf_add(out, r->replay_key, sizeof r->replay_key);
	put_u64(out, r->replay_status, 2);
	put_span(out, r->replay_body);
	put_span(out, r->replay_record);
	return buf_ok(out);
}

enum kb_err frame_get_reply(struct span message, struct frame_reply *r)
{
	struct frame_reader c = get_type(message, TYPE_REPLY);

	*r = (struct frame_reply){.id = get_u64(&c, 8)};
	r->gateway = (uint8_t)get_u64(&c, 1);
	get_bytes(&c, r->uuid, sizeof r->uuid);
	r->status = (uint16_t)get_u64(&c, 2);
	r->retry_after_s = (uint16_t)get_u64(&c, 2);
	r->challenge = get_span(&c, KB_MAX_CHALLENGE);
	r->client_request_id = get_span(&c, KB_MAX_CLIENT_REQUEST_ID);
	r->peer = get_span(&c, KB_MAX_PEER);
	r->body = get_span(&c, KB_MAX_REPLY);
	r->record = get_span(&c, KB_MAX_RECORD);
	r->outcome.code = (uint16_t)get_u64(&c, 2);
	r->outcome.is_release = get_bool(&c);
	r->outcome.key = get_span(&c, KB_MAX_NAME);
	r->outcome.issuer = get_span(&c, KB_MAX_NAME);
	r->outcome.judge_us = (uint32_t)get_u64(&c, 4);
	r->outcome.hsm_us = (uint32_t)get_u64(&c, 4);
	r->outcome.total_us = (uint32_t)get_u64(&c, 4);
	r->replay_from_s = (int64_t)get_u64(&c, 8);
	r->replay_until_s = (int64_t)get_u64(&c, 8);
	r->replay_grace_s = (uint16_t)get_u64(&c, 2);
	get_bytes(&c, r->replay_key, sizeof r->replay_key);
	r->replay_status = (uint16_t)get_u64(&c, 2);
	r->replay_body = get_span(&c, KB_MAX_REFUSAL);
	r->replay_record = get_span(&c, KB_MAX_RECORD);
	return reply_ok(r) ? get_end(&c) : KB_E_FRAME;
}

/* ---- ledger → gateway ---- */

static bool response_ok(const struct frame_response *r)
{
	return r->id != 0 && status_ok(r->status) && r->code < KB_ERR_COUNT &&
	       is_header_text(r->challenge, KB_MAX_CHALLENGE) &&
	       is_header_text(r->client_request_id, KB_MAX_CLIENT_REQUEST_ID) &&
	       r->body.len <= KB_MAX_REPLY;
}

enum kb_err frame_put_response(const struct frame_response *r, struct buf *out)
{
	if (!response_ok(r))
		return KB_E_FRAME;
	put_type(out, TYPE_RESPONSE);
	put_u64(out, r->id, 8);
	buf_add(out, r->uuid, sizeof r->uuid);
	put_u64(out, r->status, 2);
	put_u64(out, r->code, 2);
	put_u64(out, r->retry_after_s, 2);
	put_u64(out, r->is_release, 1);
	put_span(out, r->challenge);
	put_span(out, r->client_request_id);
	put_span(out, r->body);
	return buf_ok(out);
}

enum kb_err frame_get_response(struct span message, struct frame_response *r)
{
	struct frame_reader c = get_type(message, TYPE_RESPONSE);

	*r = (struct frame_response){.id = get_u64(&c, 8)};
	get_bytes(&c, r->uuid, sizeof r->uuid);
	r->status = (uint16_t)get_u64(&c, 2);
	r->code = (uint16_t)get_u64(&c, 2);
	r->retry_after_s = (uint16_t)get_u64(&c, 2);
	r->is_release = get_bool(&c);
	r->challenge = get_span(&c, KB_MAX_CHALLENGE);
	r->client_request_id = get_span(&c, KB_MAX_CLIENT_REQUEST_ID);
	r->body = get_span(&c, KB_MAX_REPLY);
	return response_ok(r) ? get_end(&c) : KB_E_FRAME;
}

void frame_uuid_text(const uint8_t uuid[static 16], char out[static 37])
{
	char *at = out;

	for (unsigned i = 0; i < 16; i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*at++ = '-';
		at = hex_put(at, span_of(uuid + i, 1));
	}
	*at = '\0';
}

/* ---- sockets ---- */

enum kb_err frame_send(int fd, struct span message)
{
	for (;;) {
		ssize_t n = send(fd, message.p, message.len, MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		return n == (ssize_t)message.len ? KB_OK : KB_E_SYS;
	}
}

enum kb_err frame_recv(int fd, uint8_t *buf, size_t cap, size_t *len)
{
	*len = 0;
	for (;;) {
		ssize_t n = recv(fd, buf, cap, MSG_TRUNC); /* the true length shows a cut message */
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return KB_E_SYS;
		if ((size_t)n > cap)
			return KB_E_FRAME;
		*len = (size_t)n;
		return KB_OK;
	}
}

bool frame_at_end(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLRDHUP};

	return poll(&p, 1, 0) != 0; /* POLLHUP and errors are always reported */
}

enum kb_err frame_pair(int fd[static 2])
{
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fd) != 0) {
		fd[0] = fd[1] = -1;
		return KB_E_SYS;
	}
	for (int i = 0; i < 2; i++) {
		int want = KB_SOCKET_BUFFER;
		int got = 0;
		socklen_t size = sizeof got;
		/* FORCE passes net.core.wmem_max but needs CAP_NET_ADMIN; the plain call gives what
		 * the system allows. */
		if (setsockopt(fd[i], SOL_SOCKET, SO_SNDBUFFORCE, &want, sizeof want) != 0)
			(void)setsockopt(fd[i], SOL_SOCKET, SO_SNDBUF, &want, sizeof want);
		/* A SEQPACKET message must fit the buffer less 32 bytes (net/unix/af_unix.c),
		 * whatever is queued. */
		if (getsockopt(fd[i], SOL_SOCKET, SO_SNDBUF, &got, &size) != 0 ||
		    got < KB_MAX_FRAME + 32) {
			(void)close(fd[0]);
			(void)close(fd[1]);
			fd[0] = fd[1] = -1;
			return KB_E_SYS;
		}
	}
	return KB_OK;
}
