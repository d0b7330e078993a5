/* broker/gateway/conn_request.c — TLS handshake, request and answer on one connection, and again.
 * Decides what the client is answered when the gateway itself refuses.  Trusts http.c for the head
 * and exchange.c for the answer; of a body it knows only the length.  Must never have two requests
 * of one connection under way, answer out of order, or hold a token longer than until its frame is
 * sent.
 *
 * After answer(), conn_refuse() or conn_free() the connection may be gone. */
#include <event2/buffer.h>
#include <event2/bufferevent_ssl.h>
#include <event2/bufferevent_struct.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/rand.h>

#include "api/api.h"
#include "base/clock.h"
#include "gateway/conn_priv.h"
#include "gateway/http.h"
#include "gateway/request.h"
#include "gateway/response.h"
#include "gateway/tls.h"

static void on_read(struct bufferevent *bev, void *arg);
static void on_written(struct bufferevent *bev, void *arg);
static void on_event(struct bufferevent *bev, short what, void *arg);

static void set_state(struct conn *c, enum conn_state state)
{
	bool is_reading = state == CONN_FIRST || state == CONN_IDLE || state == CONN_HEAD ||
			  state == CONN_BODY;

	conn_set_state(c, state);
	/* libevent repeats a read callback as long as the input is at its high mark.  A state that
	 * lets bytes wait must not have one. */
	bufferevent_setcb(c->bev, is_reading ? on_read : NULL, on_written, on_event, c);
}

/* Call back when `low` bytes are there, stop reading at `high`.  When libevent stopped in the
 * middle of a record, the rest is inside OpenSSL and the socket has no event for it: trigger
 * one. */
static void set_read_limits(struct conn *c, size_t low, size_t high)
{
	bufferevent_setwatermark(c->bev, EV_READ, low, high);
	if (SSL_pending(bufferevent_openssl_get_ssl(c->bev)) > 0)
		event_active(&c->bev->ev_read, EV_READ, 0);
}

/* ---- the answer ---- */

/* CONN_FIRST or CONN_IDLE */
static void await_request(struct conn *c, enum conn_state state)
{
	set_state(c, state);
	/* The next request may be here already.  Through the event loop, not by a call: many
	 * requests in a row must not become a deep stack. */
	if (evbuffer_get_length(bufferevent_get_input(c->bev)) > 0)
		bufferevent_trigger(c->bev, EV_READ,
				    BEV_TRIG_DEFER_CALLBACKS | BEV_TRIG_IGNORE_WATERMARKS);
}

static void reply_done(struct conn *c)
{
	if (c->complete_us != 0)
		histogram_add(&c->shared->self->total, clock_mono_us() - c->complete_us);
	c->complete_us = 0;
	c->client_id_len = 0;
	if (!c->is_keep_alive) {
		conn_finish(c);
		return;
	}
	await_request(c, CONN_IDLE);
}

static void answer(struct conn *c, struct reply *r)
{
	struct buf *out = &c->shared->reply;
	size_t sent = 0;

	conn_end_request(c);
	if (c->shared->is_draining || c->is_eof)
		c->is_keep_alive = false;
	r->is_closing = !c->is_keep_alive;
	memcpy(r->uuid, c->uuid, sizeof r->uuid);
	r->client_request_id = span_of(c->client_id, c->client_id_len);
	buf_reset(out);
	reply_write(r, out);
	set_state(c, CONN_WRITE);
	bool is_lost = buf_ok(out) != KB_OK;
	/* The usual reply goes out here, in one record of one segment; only what the socket does
	 * not take goes through libevent's buffer. */
	if (!is_lost && evbuffer_get_length(bufferevent_get_output(c->bev)) == 0) {
		SSL *ssl = bufferevent_openssl_get_ssl(c->bev);
		int fault = SSL_ERROR_NONE;
		ERR_clear_error();
		while (sent < out->len && fault == SSL_ERROR_NONE) {
			/* a call takes one record at most */
			int n = SSL_write(ssl, out->p + sent, (int)(out->len - sent));
			fault = n > 0 ? SSL_ERROR_NONE : SSL_get_error(ssl, n);
			sent += n > 0 ? (size_t)n : 0;
		}
		is_lost = fault != SSL_ERROR_NONE && fault != SSL_ERROR_WANT_WRITE &&
			  fault != SSL_ERROR_WANT_READ;
		ERR_clear_error();
	}
	if (!is_lost && sent < out->len)
		is_lost = bufferevent_write(c->bev, out->p + sent, out->len - sent) != 0;
	if (is_lost) {
		stats_count(c->shared->self, COUNT_REPLIES_LOST, 1);
		conn_free(c);
		return;
	}
	if (sent == out->len)
		reply_done(c);
}

/* RFC 4122 §4.4 */
static void new_uuid(uint8_t uuid[static 16])
{
	if (RAND_bytes(uuid, 16) != 1)
		memset(uuid, 0, 16); /* it only names a request */
	uuid[6] = (uint8_t)((uuid[6] & 0x0f) | 0x40);
	uuid[8] = (uint8_t)((uuid[8] & 0x3f) | 0x80);
}

static const struct conn_listener *listener_of(const struct conn *c)
{
	return &c->shared->listener[c->listener];
}

/* What the client could have done better.  The first call of an SDK has no credential, on
 * purpose. */
static bool is_failure(enum kb_err err, int status)
{
	return status >= 400 && status < 500 && err != KB_E_NO_CREDENTIAL;
}

/* Our own answer.  A request that was not read to its end cannot be followed by another. */
void conn_refuse(struct conn *c, enum kb_err err, int status)
{
	const int64_t blocked_ms = err == KB_E_PENALTY ? conn_blocked_ms(c) : 0;
	struct reply r = {
		.status = status,
		.body = api_body(listener_of(c)->api, err, status),
		.retry_after_s =
			(uint16_t)(status == 503 ? KB_RETRY_AFTER_S + blocked_ms / 1000 : 0)};

	conn_count_refused(c->shared, err);
	if (is_failure(err, status))
		conn_penalize(c);
	if (c->is_head)
		r.body = span_of(NULL, 0);
	if (state_of(c) == CONN_FIRST || state_of(c) == CONN_HEAD)
		new_uuid(c->uuid);
	/* Nor does a connection to the old configuration help the client any more. */
	if (c->complete_us == 0 || err == KB_E_RELOADED)
		c->is_keep_alive = false;
	answer(c, &r);
}

static struct conn *conn_of(struct pending *p)
{
	return (struct conn *)((char *)p - offsetof(struct conn, pending));
}

void conn_on_response(void *ctx, struct pending *p, const struct frame_response *f)
{
	struct reply r = {.status = f->status,
			  .challenge = f->challenge,
			  .retry_after_s = f->retry_after_s,
			  .body = f->body};

	(void)ctx;
	/* Whatever the new configuration added, ours does not know: "no such key" would be final,
	 * and wrong. */
	if (conn_of(p)->shared->is_superseded && f->code != KB_OK) {
		conn_refuse(conn_of(p), KB_E_RELOADED, http_status(KB_E_RELOADED));
		return;
	}
	if (f->is_release)
		conn_trust(conn_of(p));
	else if (is_failure((enum kb_err)f->code, f->status))
		conn_penalize(conn_of(p));
	/* The ledger could not write the record: it knows no dialect and sends no body. */
	if (f->body.len == 0 && f->code != KB_OK)
		r.body = api_body(listener_of(conn_of(p))->api, (enum kb_err)f->code, f->status);
	answer(conn_of(p), &r);
}

void conn_on_refused(void *ctx, struct pending *p, enum kb_err err)
{
	(void)ctx;
	conn_refuse(conn_of(p), err, http_status(err));
}

void conn_lost(struct conn_shared *shared, uint64_t id)
{
	struct pending *p = exchange_find(shared->exchange, id);

	if (p != NULL)
		conn_refuse(conn_of(p), KB_E_PROCESS_LOST, http_status(KB_E_PROCESS_LOST));
	exchange_lost(shared->exchange, id);
}

/* ---- the request ---- */

static void submit(struct conn *c)
{
	struct conn_shared *shared = c->shared;
	const struct conn_listener *listener = listener_of(c);
	struct evbuffer *in = bufferevent_get_input(c->bev);
	uint64_t id = exchange_next_id(shared->exchange, c->way.record != RECORD_NONE, c->uuid);

	SSL *ssl = bufferevent_openssl_get_ssl(c->bev);

	char client_name[KB_MAX_CALLER_NAME];
	size_t client_name_len;

	set_state(c, CONN_WAIT);
	c->complete_us = clock_mono_us();
	struct frame_request f = {
		.id = id,
		.listener = c->listener,
		.deadline_ms = c->complete_us / 1000 + KB_REQUEST_MS,
		.peer = span_str(c->peer_text),
	};
	memcpy(f.uuid, c->uuid, sizeof f.uuid);
	f.has_certificate =
		tls_client_identity(ssl, f.client_sha256, client_name, &client_name_len);
	f.client_name = span_of(client_name, client_name_len);
	f.has_client_cert = f.has_certificate && tls_client_verified(ssl, clock_wall_s());
	/* The client may have a newer certificate: it shows it on a new connection. */
	if (f.has_certificate && !f.has_client_cert)
		c->is_keep_alive = false;
	enum kb_err err = request_frame(&f, in, c->head_len, c->body_len, listener->api->max_bearer,
					&shared->frame);
	request_wipe(in, c->head_len + c->body_len);
	/* What comes now belongs to the next request and waits in the kernel. */
	set_read_limits(c, 0, KB_READ_IDLE);
	if (err == KB_OK)
		err = exchange_send(shared->exchange, c->way.pool, &c->pending, id,
				    &c->source->queued, buf_span(&shared->frame));
	OPENSSL_cleanse(shared->frame.p, shared->frame.len);
	buf_reset(&shared->frame);
	if (err != KB_OK)
		conn_refuse(c, err, http_status(err));
}

static void accept_head(struct conn *c, const struct http_request *r)
{
	static const char continue_line[] = "HTTP/1.1 100 Continue\r\n\r\n";
	size_t have = evbuffer_get_length(bufferevent_get_input(c->bev));
	size_t total = r->head_len + r->body_len;

	new_uuid(c->uuid);
	c->way = operation_way(listener_of(c)->api->name, request_method(r->method),
			       url_below(r->path, listener_of(c)->base_url));
	c->head_len = r->head_len;
	c->body_len = r->body_len;
	c->is_keep_alive = r->is_keep_alive;
	c->is_head = r->method == HTTP_HEAD;
	c->client_id_len = r->client_request_id.len;
	if (c->client_id_len > 0)
		memcpy(c->client_id, r->client_request_id.p, c->client_id_len);
	set_state(c, CONN_BODY);
	enum kb_err err = conn_blocked_ms(c) > 0 ? KB_E_PENALTY
			  : request_method(r->method) == KB_METHOD_NONE
				  ? KB_E_METHOD
				  : sources_reserve(c->shared->sources, c->source, r->body_len);
	if (err != KB_OK) {
		conn_refuse(c, err, http_status(err));
		return;
	}
	c->reserved = r->body_len;
	if (have >= total) {
		submit(c);
		return;
	}
	bool is_continue_due = r->wants_continue && have == r->head_len;
	/* No callback before the body is complete, no byte read past it. */
	set_read_limits(c, total, total);
	if (is_continue_due &&
	    bufferevent_write(c->bev, continue_line, sizeof continue_line - 1) != 0)
		conn_free(c);
}

static void read_head(struct conn *c)
{
	struct evbuffer *in = bufferevent_get_input(c->bev);
	size_t have = evbuffer_get_length(in);
	struct evbuffer_ptr end = evbuffer_search(in, "\r\n\r\n", 4, NULL);
	size_t len = end.pos >= 0 ? (size_t)end.pos + 4 : have;
	struct http_request r;
	bool done = false;

	/* One byte more than the limit: the parser sees that it is too much. */
	if (len > KB_MAX_HEADER_BYTES + 1)
		len = KB_MAX_HEADER_BYTES + 1;
	const uint8_t *head = evbuffer_pullup(in, (ev_ssize_t)len);
	enum kb_err err = head == NULL ? KB_E_NOMEM : http_parse(span_of(head, len), &r, &done);
	if (err == KB_OK && (done ? r.head_len : len) > listener_of(c)->api->max_head)
		err = KB_E_HTTP_HEADERS;
	if (err != KB_OK)
		conn_refuse(c, err, http_status(err));
	else if (done)
		accept_head(c, &r);
	else if (have >= KB_READ_IDLE)
		set_read_limits(c, 0, KB_MAX_HEADER_BYTES + 1);
}

static void on_read(struct bufferevent *bev, void *arg)
{
	struct conn *c = arg;
	size_t have = evbuffer_get_length(bufferevent_get_input(bev));

	switch (state_of(c)) {
	case CONN_FIRST:
	case CONN_IDLE:
		if (have == 0)
			return;
		set_state(c, CONN_HEAD);
		read_head(c);
		return;
	case CONN_HEAD:
		read_head(c);
		return;
	case CONN_BODY:
		if (have >= c->head_len + c->body_len)
			submit(c);
		return;
	case CONN_HANDSHAKE:
	case CONN_WAITING:
	case CONN_WAIT:
	case CONN_WRITE:
	case CONN_LINGER:
	case CONN_STATES:
		return;
	}
	KB_BUG();
}

static void on_written(struct bufferevent *bev, void *arg)
{
	struct conn *c = arg;

	if (state_of(c) == CONN_WRITE && evbuffer_get_length(bufferevent_get_output(bev)) == 0)
		reply_done(c);
}

static void handshake_done(struct conn *c)
{
	conn_await_request(c);
	stats_count(c->shared->self, COUNT_HANDSHAKES, 1);
	if (SSL_session_reused(bufferevent_openssl_get_ssl(c->bev)))
		stats_count(c->shared->self, COUNT_HANDSHAKES_RESUMED, 1);
	await_request(c, CONN_FIRST);
}

static void on_event(struct bufferevent *bev, short what, void *arg)
{
	struct conn *c = arg;
	bool is_end = (what & BEV_EVENT_ERROR) == 0; /* close_notify; anything else is a fault */

	(void)bev;
	if ((what & BEV_EVENT_CONNECTED) != 0) {
		handshake_done(c);
		return;
	}
	switch (state_of(c)) {
	case CONN_HANDSHAKE:
		stats_count(c->shared->self, COUNT_HANDSHAKES_FAILED, 1);
		conn_count_refused(c->shared, KB_E_TLS);
		/* Not a health check that only connects. */
		if (BIO_number_read(SSL_get_rbio(bufferevent_openssl_get_ssl(c->bev))) > 0)
			conn_penalize(c);
		conn_linger(c); /* the alert should be read */
		return;
	case CONN_WAIT:
	case CONN_WRITE:
		/* RFC 8446 §6.1: a client may end its side and still read the reply. */
		if (is_end) {
			c->is_eof = true;
			c->is_keep_alive = false;
			return;
		}
		if (state_of(c) == CONN_WRITE)
			stats_count(c->shared->self, COUNT_REPLIES_LOST, 1);
		conn_free(c);
		return;
	case CONN_FIRST:
	case CONN_IDLE:
	case CONN_HEAD:
	case CONN_BODY:
		c->is_eof = true;
		if (is_end)
			conn_finish(c);
		else
			conn_free(c);
		return;
	case CONN_WAITING:
	case CONN_LINGER:
	case CONN_STATES:
		return;
	}
	KB_BUG();
}

void conn_handshake(struct conn *c)
{
	int on = 1;
	SSL *ssl = SSL_new(c->tls);

	if (ssl == NULL) {
		conn_abort(c);
		return;
	}
	(void)setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	/* Deferred: no callback runs inside a call of ours, so none frees what the call still
	 * uses. */
	c->bev = bufferevent_openssl_socket_new(c->shared->base, c->fd, ssl,
						BUFFEREVENT_SSL_ACCEPTING,
						BEV_OPT_CLOSE_ON_FREE | BEV_OPT_DEFER_CALLBACKS);
	if (c->bev == NULL) {
		SSL_free(ssl);
		conn_abort(c);
		return;
	}
	SSL_CTX_free(c->tls); /* the SSL has its own reference */
	c->tls = NULL;
	bufferevent_setcb(c->bev, NULL, on_written, on_event, c);
	bufferevent_setwatermark(c->bev, EV_READ, 0, KB_READ_IDLE);
	if (bufferevent_enable(c->bev, EV_READ | EV_WRITE) != 0)
		conn_free(c);
}
