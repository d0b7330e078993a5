/* broker/gateway/conn_admit.c — from an accepted socket to the start of its handshake.  Decides
 * which connection is accepted, which one waits (admission.c has the order) and which one is closed
 * for a new one when all are taken.  Trusts nothing the client sent; until it is admitted a
 * connection costs a socket and its struct.  Must never begin more handshakes in one iteration of
 * the event loop than the connections under way can wait for. */
#include <errno.h>
#include <event2/bufferevent_ssl.h>
#include <openssl/err.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "gateway/conn_priv.h"

/* ---- admission ---- */

/* May one more handshake begin in this iteration of the event loop? */
static bool take_budget(struct conn_shared *shared)
{
	struct timeval now;

	(void)event_base_gettimeofday_cached(shared->base, &now);
	if (now.tv_sec != shared->begun_since.tv_sec || now.tv_usec != shared->begun_since.tv_usec)
		shared->begun = 0;
	shared->begun_since = now;
	return shared->begun < KB_ACCEPT_BATCH && ++shared->begun > 0;
}

static void begin(struct conn *c)
{
	conn_activate_timed(c);
	conn_handshake(c);
}

static struct conn *conn_of(struct admission_entry *e)
{
	return (struct conn *)((char *)e - offsetof(struct conn, admission));
}

/* No handshake for a client that gave up while it waited. */
static bool is_gone(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLRDHUP};

	return poll(&p, 1, 0) == 1;
}

static void on_admit(evutil_socket_t none, short what, void *arg)
{
	struct conn_shared *shared = arg;
	struct admission_entry *e;

	(void)none;
	(void)what;
	while (take_budget(shared)) {
		/* Armed again when a connection stops to be active or a new one waits. */
		if ((e = admission_next(&shared->admission)) == NULL)
			return;
		struct conn *c = conn_of(e);
		if (is_gone(c->fd)) {
			stats_count(shared->self, COUNT_HANDSHAKES_FAILED, 1);
			conn_count_refused(shared, KB_E_TLS);
			conn_free(c);
			continue;
		}
		conn_set_state(c, CONN_HANDSHAKE);
		begin(c);
	}
	conn_arm_admission(shared);
}

static bool has_timer(struct conn_shared *shared)
{
	if (shared->admit_timer == NULL)
		shared->admit_timer = evtimer_new(shared->base, on_admit, shared);
	return shared->admit_timer != NULL;
}

/* ---- a connection that is ready ---- */

/* The first byte is there.  When no other waits and few are active, the handshake begins now. */
static void ready(struct conn *c)
{
	struct conn_shared *shared = c->shared;

	if (shared->admission.waiting.n == 0 &&
	    shared->admission.active < shared->admission.max_active && take_budget(shared)) {
		admission_enter(&shared->admission, &c->source->admission, &c->admission);
		begin(c); /* CONN_HANDSHAKE's deadline runs since the socket was accepted */
		return;
	}
	conn_set_state(c, CONN_WAITING);
	admission_wait(&shared->admission, &c->source->admission, &c->admission);
	conn_arm_admission(shared);
}

static void on_first_byte(evutil_socket_t fd, short what, void *arg)
{
	struct conn *c = arg;

	(void)fd;
	(void)what;
	event_free(c->watch);
	c->watch = NULL;
	ready(c);
}

/* A TLS client sends first.  Until it does, it gets no memory for TLS and does not wait for
 * admission. */
static void await_byte(struct conn *c)
{
	uint8_t byte;
	ssize_t n = recv(c->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);

	/* The handshake finds an end or a fault of the socket. */
	if (n >= 0 || (errno != EAGAIN && errno != EWOULDBLOCK)) {
		ready(c);
		return;
	}
	c->watch = event_new(c->shared->base, c->fd, EV_READ, on_first_byte, c);
	if (c->watch == NULL || event_add(c->watch, NULL) != 0)
		conn_free(c);
}

/* ---- a new connection ---- */

static struct conn *oldest(const struct conn_shared *shared, enum conn_state state,
			   int64_t set_before_ms)
{
	struct deadline *d = TAILQ_FIRST(&shared->deadlines.list[state]);

	return d != NULL && d->due_ms - shared->deadlines.after_ms[state] <= set_before_ms
		       ? (struct conn *)d
		       : NULL;
}

/* The connection to close for a new one of `source`: one that has its answer and only lingers; else
 * the last that waits of a source with more waiting; else one that was idle for a while. */
static struct conn *spare(struct conn_shared *shared, const struct admission_source *source)
{
	int64_t now_ms = clock_mono_ms();
	struct conn *c = oldest(shared, CONN_LINGER, now_ms - KB_TICK_MS);
	struct admission_entry *e = c == NULL ? admission_shed(&shared->admission, source) : NULL;

	if (e != NULL)
		c = conn_of(e);
	if (c == NULL)
		c = oldest(shared, CONN_FIRST, now_ms - KB_SPARE_IDLE_MS);
	return c != NULL ? c : oldest(shared, CONN_IDLE, now_ms - KB_SPARE_IDLE_MS);
}

bool conn_shared_is_full(struct conn_shared *shared)
{
	static const struct admission_source unknown;

	shared->is_full_reported = sources_full(shared->sources) && spare(shared, &unknown) == NULL;
	return shared->is_full_reported;
}

static void free_one(struct conn_shared *shared, const struct sockaddr *addr)
{
	static const struct admission_source unknown;
	const struct source *same;

	if (!sources_full(shared->sources) || !sources_may_enter(shared->sources, addr, &same))
		return;
	struct conn *c = spare(shared, same == NULL ? &unknown : &same->admission);
	if (c == NULL)
		return;
	if (state_of(c) == CONN_WAITING)
		conn_count_refused(shared, KB_E_CONN_LIMIT);
	if (state_of(c) == CONN_FIRST || state_of(c) == CONN_IDLE) {
		(void)SSL_shutdown(bufferevent_openssl_get_ssl(c->bev));
		ERR_clear_error();
	}
	conn_free(c);
}

enum kb_err conn_open(struct conn_shared *shared, SSL_CTX *tls, uint8_t listener, int fd,
		      const struct sockaddr *addr)
{
	struct source_address address;
	struct source *source = NULL;
	struct conn *c = NULL;
	enum kb_err err = KB_E_PENALTY;

	(void)source_address_of(addr, &address);
	if (penalties_blocked_ms(shared->penalties, &address, clock_mono_ms()) == 0) {
		free_one(shared, addr);
		err = sources_enter(shared->sources, addr, &source);
	}
	if (err == KB_OK &&
	    (!has_timer(shared) || (c = calloc(1, sizeof *c)) == NULL || SSL_CTX_up_ref(tls) != 1))
		err = KB_E_NOMEM;
	if (err != KB_OK) {
		free(c);
		if (source != NULL)
			sources_leave(shared->sources, source);
		(void)close(fd);
		conn_count_refused(shared, err);
		return err;
	}
	*c = (struct conn){
		.shared = shared, .source = source, .tls = tls, .fd = fd, .listener = listener};
	sources_text(addr, c->peer_text);
	deadline_start(&shared->deadlines, &c->deadline, CONN_HANDSHAKE, clock_mono_ms());
	stats_count(shared->self, COUNT_CONNECTIONS, 1);
	stats_gauge(shared->self, COUNT_CONNECTIONS_OPEN, ++shared->connections);
	await_byte(c);
	return KB_OK;
}
