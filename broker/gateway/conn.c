/* broker/gateway/conn.c — one connection: handshake, head, body, wait, write, and again.  Decides
 * when a client is cut off and how it is told.  Trusts http.c for the head and exchange.c for the
 * answer; of a body it knows only the length.  Must never have two requests of one connection under
 * way, answer out of turn, or keep a token longer than until its frame is sent.
 *
 * Every path that ends a connection frees it at once or by conn_finish(); after answer(), refuse()
 * or conn_free() the connection may be gone. Longer than most: the states of a connection are
 * understood side by side. */
#include "gateway/conn_priv.h"

#include <event2/buffer.h>
#include <event2/bufferevent_ssl.h>
#include <event2/bufferevent_struct.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <unistd.h>

#include "api/api.h"
#include "base/clock.h"
#include "gateway/http.h"
#include "gateway/request.h"
#include "gateway/response.h"
#include "gateway/tls.h"

static const int64_t after_ms[DEADLINE_FIRST + 1] = {
	[CONN_HANDSHAKE] = KB_HANDSHAKE_MS, [CONN_WAITING] = KB_ADMISSION_MS,
	[CONN_IDLE] = KB_IDLE_MS,           [CONN_HEAD] = KB_HEADER_MS,
	[CONN_BODY] = KB_BODY_MS,           [CONN_WAIT] = KB_REQUEST_MS,
	[CONN_WRITE] = KB_WRITE_MS,         [CONN_LINGER] = KB_LINGER_MS,
	[DEADLINE_ACTIVE] = KB_ACTIVE_MS,   [DEADLINE_FIRST] = KB_FIRST_MS,
};

static void on_read(struct bufferevent *bev, void *arg);
static void on_written(struct bufferevent *bev, void *arg);
static void on_event(struct bufferevent *bev, short what, void *arg);

void conn_set_state(struct conn *c, enum conn_state state)
{
	bool is_reading = state == CONN_IDLE || state == CONN_HEAD || state == CONN_BODY;

	deadline_change(&c->shared->deadlines, &c->deadline, state, clock_mono_ms());
	if (state == CONN_WAIT)
		conn_activate(c);
	else if (state != CONN_HANDSHAKE &&
		 !is_reading) /* the first request is waited for in the handshake's seat; later ones
				 have none */
		conn_deactivate(c);
	/* libevent repeats a read callback for as long as the input stays at its high mark: who
	 * lets bytes wait must not have one. */
	if (c->bev != NULL)
		bufferevent_setcb(c->bev, is_reading ? on_read : NULL, on_written, on_event, c);
}

void conn_count_refused(struct conn_shared *shared, enum kb_err err)
{
	atomic_fetch_add_explicit(&shared->stats->refused[err], 1, memory_order_relaxed);
	slot_count(shared->self, COUNT_REFUSED, 1);
}

/* Call back when `low` bytes are there, stop reading at `high`.  When libevent stopped in the
 * middle of a record, the rest waits inside OpenSSL and no event of the socket will tell: so it is
 * told to look. */
static void set_read_limits(struct conn *c, size_t low, size_t high)
{
	bufferevent_setwatermark(c->bev, EV_READ, low, high);
	if (SSL_pending(bufferevent_openssl_get_ssl(c->bev)) > 0)
		event_active(&c->bev->ev_read, EV_READ, 0);
}

/* ---- the end ---- */

/* Nothing of a request is held any more. */
static void end_request(struct conn *c)
{
	exchange_cancel(c->shared->exchange, &c->pending);
	if (c->reserved > 0)
		sources_release(c->shared->sources, c->source, c->reserved);
	c->reserved = 0;
}

void conn_free(struct conn *c)
{
	struct conn_shared *shared = c->shared;

	end_request(c);
	conn_deactivate(c);
	deadline_stop(&shared->deadlines, &c->deadline);
	if (c->watch != NULL)
		event_free(c->watch);
	SSL_CTX_free(c->tls);
	if (c->bev != NULL)
		bufferevent_free(c->bev); /* closes the socket and frees the SSL, too */
	else
		(void)close(c->fd);
	sources_leave(shared->sources, c->source);
	slot_gauge(shared->self, COUNT_CONNECTIONS_OPEN, --shared->connections);
	free(c);
	if (shared->is_full_told) {
		shared->is_full_told = false;
		shared->on_space(shared->ctx);
	}
}

void conn_abort(struct conn *c)
{
	struct linger hard = {.l_onoff = 1, .l_linger = 0};

	(void)setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
	conn_free(c);
}

static void on_linger(evutil_socket_t fd, short what, void *arg)
{
	static uint8_t nobody[16384];
	struct conn *c = arg;

	(void)what;
	ssize_t n = recv(fd, nobody, sizeof nobody, MSG_DONTWAIT);
	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR))
		conn_free(c);
}

/* We send no more.  Closing with unread bytes would make the kernel send a reset, which can
 * overtake our reply: so wait for the peer's end. */
static void conn_linger(struct conn *c)
{
	(void)bufferevent_disable(c->bev, EV_READ | EV_WRITE);
	c->watch = event_new(c->shared->base, c->fd, EV_READ | EV_PERSIST, on_linger, c);
	if (c->is_eof || shutdown(c->fd, SHUT_WR) != 0 || c->watch == NULL ||
	    event_add(c->watch, NULL) != 0) {
		conn_free(c);
		return;
	}
	conn_set_state(c, CONN_LINGER);
}

static void conn_finish(struct conn *c)
{
	/* close_notify; without it clients may not resume the session.  One try: if the socket is
	 * full, so be it. */
	(void)SSL_shutdown(bufferevent_openssl_get_ssl(c->bev));
	ERR_clear_error();
	conn_linger(c);
}

/* ---- the answer ---- */

static void enter_idle(struct conn *c)
{
	conn_set_state(c, CONN_IDLE);
	/* A request may be here already.  By the event loop, not by a call: a row of them must not
	 * become a deep stack. */
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
	enter_idle(c);
}

static void answer(struct conn *c, struct reply *r)
{
	struct buf *out = &c->shared->reply;
	size_t sent = 0;

	end_request(c);
	if (c->shared->is_draining || c->is_eof)
		c->is_keep_alive = false;
	r->is_closing = !c->is_keep_alive;
	memcpy(r->uuid, c->uuid, sizeof r->uuid);
	r->client_request_id = span_of(c->client_id, c->client_id_len);
	buf_reset(out);
	reply_write(r, out);
	conn_set_state(c, CONN_WRITE);
	bool is_lost = buf_ok(out) != KB_OK;
	/* The usual reply goes out here, in one record of one segment; only what the socket does
	 * not take goes through libevent's buffer. */
	if (!is_lost && evbuffer_get_length(bufferevent_get_output(c->bev)) == 0) {
		SSL *ssl = bufferevent_openssl_get_ssl(c->bev);
		int fault = SSL_ERROR_NONE;
		ERR_clear_error();
		while (sent < out->len &&
		       fault == SSL_ERROR_NONE) { /* a call takes one record at most */
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
		slot_count(c->shared->self, COUNT_REPLIES_LOST, 1);
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
		memset(uuid, 0, 16); /* it names a request and guards nothing */
	uuid[6] = (uint8_t)((uuid[6] & 0x0f) | 0x40);
	uuid[8] = (uint8_t)((uuid[8] & 0x3f) | 0x80);
}

static const struct conn_listener *listener_of(const struct conn *c)
{
	return &c->shared->listener[c->listener];
}

/* Our own answer.  A request that was not read to its end cannot be followed by another. */
static void refuse(struct conn *c, enum kb_err err, int status)
{
	struct reply r = {.status = status,
			  .body = api_body(listener_of(c)->api, err, status),
			  .retry_after_s = status == 503 ? KB_RETRY_AFTER_S : 0};

	conn_count_refused(c->shared, err);
	if (c->is_head)
		r.body = span_of(NULL, 0);
	if (state_of(c) == CONN_HEAD)
		new_uuid(c->uuid);
	if (c->complete_us == 0)
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
	/* The ledger could not write the record: it knows no dialect and sends no body. */
	if (f->body.len == 0 && f->code != KB_OK)
		r.body = api_body(listener_of(conn_of(p))->api, (enum kb_err)f->code, f->status);
	answer(conn_of(p), &r);
}

void conn_on_refused(void *ctx, struct pending *p, enum kb_err err)
{
	(void)ctx;
	refuse(conn_of(p), err, http_status(err));
}

void conn_lost(struct conn_shared *shared, uint64_t id)
{
	struct pending *p = exchange_find(shared->exchange, id);

	if (p != NULL)
		refuse(conn_of(p), KB_E_PROCESS_LOST, http_status(KB_E_PROCESS_LOST));
	exchange_lost(shared->exchange, id);
}

/* ---- the request ---- */

static void submit(struct conn *c)
{
	struct conn_shared *shared = c->shared;
	const struct conn_listener *listener = listener_of(c);
	enum pool pool = POOL_VAULT;
	struct evbuffer *in = bufferevent_get_input(c->bev);
	uint64_t id = exchange_next_id(shared->exchange);

	conn_set_state(c, CONN_WAIT);
	c->complete_us = clock_mono_us();
	struct frame_request f = {
		.id = id,
		.listener = c->listener,
		.has_client_cert = tls_client_verified(bufferevent_openssl_get_ssl(c->bev)),
		.deadline_ms = c->complete_us / 1000 + KB_REQUEST_MS,
		.peer = span_str(c->peer_text),
	};
	memcpy(f.uuid, c->uuid, sizeof f.uuid);
	enum kb_err err = request_frame(&f, in, c->head_len, c->body_len, listener->api->max_bearer,
					&shared->frame);
	if (err == KB_OK) /* before the path is wiped */
		pool = operation_pool(listener->api->name, f.method,
				      url_below(f.target, listener->base_url));
	request_wipe(in, c->head_len + c->body_len);
	set_read_limits(
		c, 0,
		KB_READ_IDLE); /* what comes now is of the next request and waits in the kernel */
	if (err == KB_OK)
		err = exchange_send(shared->exchange, pool, &c->pending, id, &c->source->queued,
				    buf_span(&shared->frame));
	OPENSSL_cleanse(shared->frame.p, shared->frame.len);
	buf_reset(&shared->frame);
	if (err != KB_OK)
		refuse(c, err, http_status(err));
}

static void accept_head(struct conn *c, const struct http_request *r)
{
	static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
	size_t have = evbuffer_get_length(bufferevent_get_input(c->bev));
	size_t total = r->head_len + r->body_len;

	new_uuid(c->uuid);
	c->head_len = r->head_len;
	c->body_len = r->body_len;
	c->is_keep_alive = r->is_keep_alive;
	c->is_head = r->method == HTTP_HEAD;
	c->client_id_len = r->client_request_id.len;
	if (c->client_id_len > 0)
		memcpy(c->client_id, r->client_request_id.p, c->client_id_len);
	conn_set_state(c, CONN_BODY);
	enum kb_err err = request_method(r->method) == KB_METHOD_NONE
				  ? KB_E_METHOD
				  : sources_reserve(c->shared->sources, c->source, r->body_len);
	if (err != KB_OK) {
		refuse(c, err, http_status(err));
		return;
	}
	c->reserved = r->body_len;
	if (have >= total) {
		submit(c);
		return;
	}
	bool wants_word = r->wants_continue && have == r->head_len;
	set_read_limits(c, total,
			total); /* no callback before the body is whole, no byte read past it */
	if (wants_word && bufferevent_write(c->bev, go_on, sizeof go_on - 1) != 0)
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

	if (len > KB_MAX_HEADER_BYTES + 1)
		len = KB_MAX_HEADER_BYTES +
		      1; /* enough for the parser to see that it is too much */
	const uint8_t *head = evbuffer_pullup(in, (ev_ssize_t)len);
	enum kb_err err = head == NULL ? KB_E_NOMEM : http_parse(span_of(head, len), &r, &done);
	if (err == KB_OK && (done ? r.head_len : len) > listener_of(c)->api->max_head)
		err = KB_E_HTTP_HEADERS;
	if (err != KB_OK)
		refuse(c, err, http_status(err));
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
	case CONN_IDLE:
		if (have == 0)
			return;
		conn_set_state(c, CONN_HEAD);
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
	slot_count(c->shared->self, COUNT_HANDSHAKES, 1);
	if (SSL_session_reused(bufferevent_openssl_get_ssl(c->bev)))
		slot_count(c->shared->self, COUNT_HANDSHAKES_RESUMED, 1);
	enter_idle(c);
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
		slot_count(c->shared->self, COUNT_HANDSHAKES_FAILED, 1);
		conn_count_refused(c->shared, KB_E_TLS);
		conn_linger(c); /* the alert should be read */
		return;
	case CONN_WAIT:
	case CONN_WRITE:
		/* A client may end its side and still read the reply (RFC 8446 §6.1). */
		if (is_end) {
			c->is_eof = true;
			c->is_keep_alive = false;
			return;
		}
		if (state_of(c) == CONN_WRITE)
			slot_count(c->shared->self, COUNT_REPLIES_LOST, 1);
		conn_free(c);
		return;
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
	/* Deferred: no callback runs inside a call of ours, so nothing is freed under our feet. */
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

/* ---- the clock ---- */

static void expire(struct conn *c)
{
	switch (state_of(c)) {
	case CONN_HANDSHAKE:
		slot_count(c->shared->self, COUNT_HANDSHAKES_FAILED, 1);
		conn_count_refused(c->shared, KB_E_DEADLINE);
		conn_abort(c);
		return;
	case CONN_WAITING:
		conn_count_refused(c->shared, KB_E_DEADLINE);
		conn_abort(c);
		return;
	case CONN_IDLE:
		conn_finish(c);
		return;
	case CONN_HEAD:
	case CONN_BODY:
		refuse(c, KB_E_DEADLINE, 408);
		return;
	case CONN_WAIT:
		refuse(c, KB_E_DEADLINE, 503);
		return;
	case CONN_WRITE:
		slot_count(c->shared->self, COUNT_REPLIES_LOST, 1);
		conn_count_refused(c->shared, KB_E_DEADLINE);
		conn_abort(c);
		return;
	case CONN_LINGER:
		conn_free(c);
		return;
	case CONN_STATES:
		break;
	}
	KB_BUG();
}

static struct conn *due(struct conn_shared *shared, unsigned state, int64_t now_ms)
{
	/* `deadline` is the first member. */
	return (struct conn *)deadline_due(&shared->deadlines, state, now_ms);
}

void conn_expire(struct conn_shared *shared, int64_t now_ms)
{
	for (unsigned state = 0; state < CONN_STATES; state++)
		for (struct conn *c; (c = due(shared, state, now_ms)) != NULL;)
			expire(c);
	for (unsigned kind = DEADLINE_ACTIVE; kind <= DEADLINE_FIRST; kind++)
		for (struct deadline *d;
		     (d = deadline_due(&shared->deadlines, kind, now_ms)) != NULL;)
			conn_deactivate((struct conn *)((char *)d - offsetof(struct conn, active)));
}

void conn_close_idle(struct conn_shared *shared)
{
	for (struct conn *c; (c = due(shared, CONN_IDLE, INT64_MAX)) != NULL;)
		conn_finish(c);
}

void conn_shared_init(struct conn_shared *shared)
{
	_Static_assert((int)DEADLINE_FIRST < (int)DEADLINE_KINDS,
		       "one deadline a state, and the seat's two");
	_Static_assert(offsetof(struct conn, deadline) == 0, "a deadline is a connection");

	deadlines_init(&shared->deadlines, after_ms, DEADLINE_FIRST + 1);
	admission_init(&shared->admission, KB_ACTIVE);
	buf_init(&shared->frame, KB_MAX_FRAME);
	buf_init(&shared->reply, KB_MAX_REPLY + KB_MAX_CHALLENGE + 1024);
}

void conn_shared_free(struct conn_shared *shared)
{
	for (unsigned state = 0; state < CONN_STATES; state++)
		for (struct conn *c; (c = due(shared, state, INT64_MAX)) != NULL;)
			conn_free(c);
	conn_admission_free(shared);
	buf_free(&shared->frame);
	buf_free(&shared->reply);
}
