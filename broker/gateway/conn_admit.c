/* broker/gateway/conn_admit.c — the way in: from an accepted socket to the handshake's beginning.  Decides who is let in, who waits, whose turn it is (by door.c)
 * and who must go when there is no room.  Trusts nobody; until its turn a connection has cost a socket and its struct.  Must never begin more handshakes in
 * one turn of the loop than those that are under way can wait for. */
#include <errno.h>
#include <event2/bufferevent_ssl.h>
#include <openssl/err.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "gateway/conn_priv.h"

/* ---- turns ---- */

static void arm(struct conn_room *room)
{
	static const struct timeval at_once = {0, 0};

	/* A timer fires after the sockets of the loop's next turn: what is under way comes first. */
	if (room->door.waiting.n > 0 && !evtimer_pending(room->next_turn, NULL))
		(void)evtimer_add(room->next_turn, &at_once);
}

/* May one more be begun in this turn of the loop? */
static bool take_budget(struct conn_room *room)
{
	struct timeval now;

	(void)event_base_gettimeofday_cached(room->base, &now);
	if (now.tv_sec != room->begun_turn.tv_sec || now.tv_usec != room->begun_turn.tv_usec)
		room->begun = 0;
	room->begun_turn = now;
	return room->begun < KB_ACCEPT_BATCH && ++room->begun > 0;
}

static void stop_seat(struct conn *c)
{
	if (c->is_seat_timed)
		deadline_stop(&c->room->deadlines, &c->seat);
	c->is_seat_timed = false;
}

void conn_enter_service(struct conn *c)
{
	stop_seat(c);
	door_enter(&c->room->door, &c->peer->door, &c->door);
}

void conn_keep_seat(struct conn *c)
{
	if (c->is_seat_timed)
		deadline_change(&c->room->deadlines, &c->seat, DEADLINE_FIRST, clock_mono_ms());
}

void conn_leave_service(struct conn *c)
{
	stop_seat(c);
	if (door_leave(&c->room->door, &c->door))
		arm(c->room);
}

/* In service from now on, for as long as it is not the client who is slow. */
static void begin(struct conn *c)
{
	deadline_start(&c->room->deadlines, &c->seat, DEADLINE_SEAT, clock_mono_ms());
	c->is_seat_timed = true;
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
	struct conn_room *room = arg;
	struct door_guest *g;

	(void)none;
	(void)what;
	while (take_budget(room)) {
		if ((g = door_next(&room->door)) == NULL)
			return; /* when a seat is free or somebody comes, there is another turn */
		struct conn *c = (struct conn *)((char *)g - offsetof(struct conn, door));
		if (is_gone(c->fd)) {
			slot_count(room->self, COUNT_HANDSHAKES_FAILED, 1);
			conn_count_refused(room, KB_E_TLS);
			conn_free(c);
			continue;
		}
		conn_set_state(c, CONN_HANDSHAKE);
		begin(c);
	}
	arm(room);
}

static bool has_turns(struct conn_room *room)
{
	if (room->next_turn == NULL)
		room->next_turn = evtimer_new(room->base, on_turn, room);
	return room->next_turn != NULL;
}

void conn_door_free(struct conn_room *room)
{
	if (room->next_turn != NULL)
		event_free(room->next_turn);
	room->next_turn = NULL;
}

/* ---- a connection that is ready ---- */

/* The first byte is there.  Without a crowd its turn is now. */
static void ready(struct conn *c)
{
	struct conn_room *room = c->room;

	if (room->door.waiting.n == 0 && room->door.in_service < room->door.seats && take_budget(room)) {
		door_enter(&room->door, &c->peer->door, &c->door);
		begin(c); /* the deadline runs since the socket was accepted */
		return;
	}
	conn_set_state(c, CONN_DOOR);
	door_wait(&room->door, &c->peer->door, &c->door);
	arm(room);
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

	if (n >= 0 || (errno != EAGAIN && errno != EWOULDBLOCK)) { /* an end or a fault is the handshake's matter */
		ready(c);
		return;
	}
	c->watch = event_new(c->room->base, c->fd, EV_READ, on_first_byte, c);
	if (c->watch == NULL || event_add(c->watch, NULL) != 0)
		conn_free(c);
}

/* ---- room ---- */

static struct conn *oldest(const struct conn_room *room, enum conn_state state, int64_t set_before_ms)
{
	struct deadline *d = TAILQ_FIRST(&room->deadlines.list[state]);

	return d != NULL && d->due_ms - room->deadlines.after_ms[state] <= set_before_ms ? (struct conn *)d : NULL;
}

/* Who can be spared for a newcomer of this source: one that has its answer and only lingers; the last who waits of a source with more of them; one that has not
 * asked for anything for a while. */
static struct conn *spare(struct conn_room *room, const struct door_lane *lane)
{
	int64_t now_ms = clock_mono_ms();
	struct conn *c = oldest(room, CONN_LINGER, now_ms - KB_TICK_MS);
	struct door_guest *g = c == NULL ? door_shed(&room->door, lane) : NULL;

	if (g != NULL)
		c = (struct conn *)((char *)g - offsetof(struct conn, door));
	return c != NULL ? c : oldest(room, CONN_IDLE, now_ms - KB_SPARE_IDLE_MS);
}

bool conn_room_is_full(struct conn_room *room)
{
	static const struct door_lane nobody;

	room->is_full_told = peers_full(room->peers) && spare(room, &nobody) == NULL;
	return room->is_full_told;
}

static void make_room(struct conn_room *room, const struct sockaddr *addr)
{
	static const struct door_lane nobody;
	const struct peer *same;

	if (!peers_full(room->peers) || !peers_may_enter(room->peers, addr, &same))
		return;
	struct conn *c = spare(room, same == NULL ? &nobody : &same->door);
	if (c == NULL)
		return;
	if (state_of(c) == CONN_DOOR)
		conn_count_refused(room, KB_E_CONN_LIMIT);
	if (state_of(c) == CONN_IDLE) {
		(void)SSL_shutdown(bufferevent_openssl_get_ssl(c->bev));
		ERR_clear_error();
	}
	conn_free(c);
}

enum kb_err conn_open(struct conn_room *room, SSL_CTX *tls, uint8_t listener, int fd, const struct sockaddr *addr)
{
	struct peer *peer = NULL;
	struct conn *c = NULL;

	make_room(room, addr);
	enum kb_err err = peers_enter(room->peers, addr, &peer);
	if (err == KB_OK && (!has_turns(room) || (c = calloc(1, sizeof *c)) == NULL || SSL_CTX_up_ref(tls) != 1))
		err = KB_E_NOMEM;
	if (err != KB_OK) {
		free(c);
		if (peer != NULL)
			peers_leave(room->peers, peer);
		(void)close(fd);
		conn_count_refused(room, err);
		return err;
	}
	*c = (struct conn){.room = room, .peer = peer, .tls = tls, .fd = fd, .listener = listener};
	peers_text(addr, c->peer_text);
	deadline_start(&room->deadlines, &c->deadline, CONN_HANDSHAKE, clock_mono_ms());
	slot_count(room->self, COUNT_CONNECTIONS, 1);
	slot_gauge(room->self, COUNT_CONNECTIONS_OPEN, ++room->connections);
	listen_to(c);
	return KB_OK;
}
