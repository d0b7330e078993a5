/* broker/gateway/conn_admit.c — the way in: from an accepted socket to the handshake's beginning.
 * Decides who is let in, who waits, whose turn it is (by door.c) and who must go when there is no
 * room.  Trusts nobody; until its turn a connection has cost a socket and its struct.  Must never
 * begin more handshakes in one turn of the loop than those that are under way can wait for. */
#include <errno.h>
#include <event2/bufferevent_ssl.h>
#include <openssl/err.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "gateway/conn_priv.h"

/* ---- turns ---- */

static void arm(struct conn_shared *shared)
{
	static const struct timeval at_once = {0, 0};

	/* A timer fires after the sockets of the loop's next turn: what is under way comes first.
	 */
	if (shared->admission.waiting.n > 0 && !evtimer_pending(shared->next_turn, NULL))
		(void)evtimer_add(shared->next_turn, &at_once);
}

/* May one more be begun in this turn of the loop? */
static bool take_budget(struct conn_shared *shared)
{
	struct timeval now;

	(void)event_base_gettimeofday_cached(shared->base, &now);
	if (now.tv_sec != shared->begun_turn.tv_sec || now.tv_usec != shared->begun_turn.tv_usec)
		shared->begun = 0;
	shared->begun_turn = now;
	return shared->begun < KB_ACCEPT_BATCH && ++shared->begun > 0;
}

static void stop_active(struct conn *c)
{
	if (c->is_active_timed)
		deadline_stop(&c->shared->deadlines, &c->active);
	c->is_active_timed = false;
}

void conn_activate(struct conn *c)
{
	stop_active(c);
	admission_enter(&c->shared->admission, &c->source->admission, &c->admission);
}

void conn_await_request(struct conn *c)
{
	if (c->is_active_timed)
		deadline_change(&c->shared->deadlines, &c->active, DEADLINE_FIRST, clock_mono_ms());
}

void conn_deactivate(struct conn *c)
{
	stop_active(c);
	if (admission_leave(&c->shared->admission, &c->admission))
		arm(c->shared);
}

/* In service from now on, for as long as it is not the client who is slow. */
static void begin(struct conn *c)
{
	deadline_start(&c->shared->deadlines, &c->active, DEADLINE_ACTIVE, clock_mono_ms());
	c->is_active_timed = true;
	conn_handshake(c);
}

/* A client that gave up while it waited is not worth a handshake. */
static bool is_gone(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLRDHUP};

	return poll(&p, 1, 0) == 1;
}

static void on_turn(evutil_socket_t none, short what, void *arg)
{
	struct conn_shared *shared = arg;
	struct admission_entry *g;

	(void)none;
	(void)what;
	while (take_budget(shared)) {
		if ((g = admission_next(&shared->admission)) == NULL)
			return; /* when a seat is free or somebody comes, there is another turn */
		struct conn *c = (struct conn *)((char *)g - offsetof(struct conn, admission));
		if (is_gone(c->fd)) {
			slot_count(shared->self, COUNT_HANDSHAKES_FAILED, 1);
			conn_count_refused(shared, KB_E_TLS);
			conn_free(c);
			continue;
		}
		conn_set_state(c, CONN_HANDSHAKE);
		begin(c);
	}
	arm(shared);
}

static bool has_turns(struct conn_shared *shared)
{
	if (shared->next_turn == NULL)
		shared->next_turn = evtimer_new(shared->base, on_turn, shared);
	return shared->next_turn != NULL;
}

void conn_admission_free(struct conn_shared *shared)
{
	if (shared->next_turn != NULL)
		event_free(shared->next_turn);
	shared->next_turn = NULL;
}

/* ---- a connection that is ready ---- */

/* The first byte is there.  Without a crowd its turn is now. */
static void ready(struct conn *c)
{
	struct conn_shared *shared = c->shared;

	if (shared->admission.waiting.n == 0 &&
	    shared->admission.active < shared->admission.max_active && take_budget(shared)) {
		admission_enter(&shared->admission, &c->source->admission, &c->admission);
		begin(c); /* the deadline runs since the socket was accepted */
		return;
	}
	conn_set_state(c, CONN_WAITING);
	admission_wait(&shared->admission, &c->source->admission, &c->admission);
	arm(shared);
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

/* A TLS client speaks first.  Who is silent is given no memory for TLS and no turn. */
static void listen_to(struct conn *c)
{
	uint8_t byte;
	ssize_t n = recv(c->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);

	if (n >= 0 || (errno != EAGAIN &&
		       errno != EWOULDBLOCK)) { /* an end or a fault is the handshake's matter */
		ready(c);
		return;
	}
	c->watch = event_new(c->shared->base, c->fd, EV_READ, on_first_byte, c);
	if (c->watch == NULL || event_add(c->watch, NULL) != 0)
		conn_free(c);
}

/* ---- process ---- */

static struct conn *oldest(const struct conn_shared *shared, enum conn_state state,
			   int64_t set_before_ms)
{
	struct deadline *d = TAILQ_FIRST(&shared->deadlines.list[state]);

	return d != NULL && d->due_ms - shared->deadlines.after_ms[state] <= set_before_ms
		       ? (struct conn *)d
		       : NULL;
}

/* Who can be spared for a newcomer of this source: one that has its answer and only lingers; the
 * last who waits of a source with more of them; one that has not asked for anything for a while. */
static struct conn *spare(struct conn_shared *shared, const struct admission_source *source)
{
	int64_t now_ms = clock_mono_ms();
	struct conn *c = oldest(shared, CONN_LINGER, now_ms - KB_TICK_MS);
	struct admission_entry *g = c == NULL ? admission_shed(&shared->admission, source) : NULL;

	if (g != NULL)
		c = (struct conn *)((char *)g - offsetof(struct conn, admission));
	return c != NULL ? c : oldest(shared, CONN_IDLE, now_ms - KB_SPARE_IDLE_MS);
}

bool conn_shared_is_full(struct conn_shared *shared)
{
	static const struct admission_source nobody;

	shared->is_full_told = sources_full(shared->sources) && spare(shared, &nobody) == NULL;
	return shared->is_full_told;
}

static void make_place(struct conn_shared *shared, const struct sockaddr *addr)
{
	static const struct admission_source nobody;
	const struct source *same;

	if (!sources_full(shared->sources) || !sources_may_enter(shared->sources, addr, &same))
		return;
	struct conn *c = spare(shared, same == NULL ? &nobody : &same->admission);
	if (c == NULL)
		return;
	if (state_of(c) == CONN_WAITING)
		conn_count_refused(shared, KB_E_CONN_LIMIT);
	if (state_of(c) == CONN_IDLE) {
		(void)SSL_shutdown(bufferevent_openssl_get_ssl(c->bev));
		ERR_clear_error();
	}
	conn_free(c);
}

enum kb_err conn_open(struct conn_shared *shared, SSL_CTX *tls, uint8_t listener, int fd,
		      const struct sockaddr *addr)
{
	struct source *source = NULL;
	struct conn *c = NULL;

	make_place(shared, addr);
	enum kb_err err = sources_enter(shared->sources, addr, &source);
	if (err == KB_OK &&
	    (!has_turns(shared) || (c = calloc(1, sizeof *c)) == NULL || SSL_CTX_up_ref(tls) != 1))
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
	slot_count(shared->self, COUNT_CONNECTIONS, 1);
	slot_gauge(shared->self, COUNT_CONNECTIONS_OPEN, ++shared->connections);
	listen_to(c);
	return KB_OK;
}
