/* broker/gateway/conn.c — the life of a connection: its state and deadlines, whether it counts as
 * active, and how it ends.  Decides nothing about requests.  Every path that ends a connection
 * frees it at once or calls conn_finish(); after any of the functions that end it, it may be
 * gone. */
#include <event2/bufferevent_ssl.h>
#include <openssl/err.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "gateway/conn_priv.h"

static const int64_t after_ms[DEADLINE_FIRST + 1] = {
	[CONN_HANDSHAKE] = KB_HANDSHAKE_MS, [CONN_WAITING] = KB_ADMISSION_MS,
	[CONN_FIRST] = KB_HEADER_MS,        [CONN_IDLE] = KB_IDLE_MS,
	[CONN_HEAD] = KB_HEADER_MS,         [CONN_BODY] = KB_BODY_MS,
	[CONN_WAIT] = KB_REQUEST_MS,        [CONN_WRITE] = KB_WRITE_MS,
	[CONN_LINGER] = KB_LINGER_MS,       [DEADLINE_ACTIVE] = KB_ACTIVE_MS,
	[DEADLINE_FIRST] = KB_FIRST_MS,
};

void conn_shared_init(struct conn_shared *shared)
{
	_Static_assert((int)DEADLINE_FIRST < (int)DEADLINE_KINDS,
		       "one deadline a state, and two of `active`");
	_Static_assert(offsetof(struct conn, deadline) == 0, "a deadline is a connection");
	_Static_assert(KB_DRAIN_MS >= 2 * KB_HANDSHAKE_MS + KB_ADMISSION_MS + 2 * KB_HEADER_MS +
					      KB_BODY_MS + KB_REQUEST_MS + KB_WRITE_MS +
					      KB_LINGER_MS,
		       "a connection from just before a reload gets its answer");

	deadlines_init(&shared->deadlines, after_ms, DEADLINE_FIRST + 1);
	admission_init(&shared->admission, KB_ACTIVE);
	buf_init(&shared->frame, KB_MAX_FRAME);
	buf_init(&shared->reply, KB_MAX_REPLY + KB_MAX_CHALLENGE + 1024);
}

void conn_shared_free(struct conn_shared *shared)
{
	for (unsigned state = 0; state < CONN_STATES; state++)
		for (struct deadline *d;
		     (d = deadline_due(&shared->deadlines, state, INT64_MAX)) != NULL;)
			conn_free((struct conn *)d);
	if (shared->admit_timer != NULL)
		event_free(shared->admit_timer);
	shared->admit_timer = NULL;
	buf_free(&shared->frame);
	buf_free(&shared->reply);
}

void conn_count_refused(struct conn_shared *shared, enum kb_err err)
{
	atomic_fetch_add_explicit(&shared->refused[err], 1, memory_order_relaxed);
	stats_count(shared->self, COUNT_REFUSED, 1);
}

/* ---- penalties of its source ---- */

void conn_penalize(struct conn *c)
{
	const int64_t now_ms = clock_mono_ms();
	char source[SOURCE_ADDRESS_TEXT];

	if (!penalties_fail(c->shared->penalties, &c->source->address, now_ms))
		return;
	source_address_text(&c->source->address, source);
	log_event(LOG_WARN, "source.blocked", "source", source, "ms", log_i64(conn_blocked_ms(c)),
		  "what", "it failed too often: its connections are closed until then", "fix",
		  "if many guests share this address, add it to penalties.exempt", NULL);
}

void conn_trust(struct conn *c)
{
	penalties_release(c->shared->penalties, &c->source->address, clock_mono_ms());
}

int64_t conn_blocked_ms(const struct conn *c)
{
	return penalties_blocked_ms(c->shared->penalties, &c->source->address, clock_mono_ms());
}

/* ---- active or not ---- */

void conn_arm_admission(struct conn_shared *shared)
{
	static const struct timeval at_once = {0, 0};

	/* A timer fires after the sockets of the loop's next iteration, so what is under way comes
	 * first. */
	if (shared->admission.waiting.n > 0 && !evtimer_pending(shared->admit_timer, NULL))
		(void)evtimer_add(shared->admit_timer, &at_once);
}

static void stop_timer(struct conn *c)
{
	if (c->is_active_timed)
		deadline_stop(&c->shared->deadlines, &c->active);
	c->is_active_timed = false;
}

void conn_activate_timed(struct conn *c)
{
	deadline_start(&c->shared->deadlines, &c->active, DEADLINE_ACTIVE, clock_mono_ms());
	c->is_active_timed = true;
}

void conn_await_request(struct conn *c)
{
	if (c->is_active_timed)
		deadline_change(&c->shared->deadlines, &c->active, DEADLINE_FIRST, clock_mono_ms());
}

void conn_activate(struct conn *c)
{
	stop_timer(c);
	admission_enter(&c->shared->admission, &c->source->admission, &c->admission);
}

void conn_deactivate(struct conn *c)
{
	stop_timer(c);
	if (admission_leave(&c->shared->admission, &c->admission))
		conn_arm_admission(c->shared);
}

void conn_set_state(struct conn *c, enum conn_state state)
{
	deadline_change(&c->shared->deadlines, &c->deadline, state, clock_mono_ms());
	switch (state) {
	case CONN_WAIT:
		conn_activate(c);
		return;
	case CONN_WAITING:
	case CONN_WRITE:
	case CONN_LINGER:
		conn_deactivate(c);
		return;
	case CONN_HANDSHAKE:
	case CONN_FIRST:
	case CONN_IDLE:
	case CONN_HEAD:
	case CONN_BODY:
		/* The handshake's active time covers the first request.  A later request does not
		 * count until it is complete. */
		return;
	case CONN_STATES:
		break;
	}
	KB_BUG();
}

/* ---- the end ---- */

void conn_end_request(struct conn *c)
{
	exchange_cancel(c->shared->exchange, &c->pending);
	if (c->reserved > 0)
		sources_release(c->shared->sources, c->source, c->reserved);
	c->reserved = 0;
}

void conn_free(struct conn *c)
{
	struct conn_shared *shared = c->shared;

	conn_end_request(c);
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
	stats_gauge(shared->self, COUNT_CONNECTIONS_OPEN, --shared->connections);
	free(c);
	if (shared->is_full_reported) {
		shared->is_full_reported = false;
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
	static uint8_t dropped[16384];
	struct conn *c = arg;

	(void)what;
	ssize_t n = recv(fd, dropped, sizeof dropped, MSG_DONTWAIT);
	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR))
		conn_free(c);
}

/* A close with unread bytes makes the kernel send a reset, which can overtake our reply.  So wait
 * for the client's end. */
void conn_linger(struct conn *c)
{
	(void)bufferevent_disable(c->bev, EV_READ | EV_WRITE);
	bufferevent_setcb(c->bev, NULL, NULL, NULL, NULL);
	c->watch = event_new(c->shared->base, c->fd, EV_READ | EV_PERSIST, on_linger, c);
	if (c->is_eof || shutdown(c->fd, SHUT_WR) != 0 || c->watch == NULL ||
	    event_add(c->watch, NULL) != 0) {
		conn_free(c);
		return;
	}
	conn_set_state(c, CONN_LINGER);
}

void conn_finish(struct conn *c)
{
	/* Without close_notify clients may not resume the session.  One try, even if the socket is
	 * full. */
	(void)SSL_shutdown(bufferevent_openssl_get_ssl(c->bev));
	ERR_clear_error();
	conn_linger(c);
}
