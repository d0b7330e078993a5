/* broker/gateway/conn_expire.c — what happens to a connection whose deadline is due.  Decides by
 * the connection's state: an answer where the client can still read one, else the end. */
#include "gateway/conn_priv.h"
#include "gateway/http.h"

static void expire(struct conn *c)
{
	switch (state_of(c)) {
	case CONN_HANDSHAKE:
		stats_count(c->shared->self, COUNT_HANDSHAKES_FAILED, 1);
		conn_count_refused(c->shared, KB_E_DEADLINE);
		if (c->bev != NULL) /* it has sent something */
			conn_penalize(c);
		conn_abort(c);
		return;
	case CONN_WAITING:
		conn_count_refused(c->shared, KB_E_DEADLINE);
		conn_abort(c);
		return;
	case CONN_FIRST:
	case CONN_IDLE:
		conn_finish(c);
		return;
	case CONN_HEAD:
	case CONN_BODY:
		conn_refuse(c, KB_E_DEADLINE, 408);
		return;
	case CONN_WAIT:
		conn_refuse(c, KB_E_DEADLINE, 503);
		return;
	case CONN_WRITE:
		stats_count(c->shared->self, COUNT_REPLIES_LOST, 1);
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

/* `deadline` is the first member of struct conn. */
static struct conn *due(struct conn_shared *shared, unsigned state, int64_t now_ms)
{
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

void conn_dismiss(struct conn_shared *shared)
{
	static const enum conn_state states[] = {CONN_FIRST, CONN_HEAD, CONN_BODY, CONN_WAIT};

	conn_close_idle(shared, INT64_MAX / 2, 0);
	for (size_t i = 0; i < sizeof states / sizeof states[0]; i++)
		for (struct conn *c; (c = due(shared, states[i], INT64_MAX)) != NULL;)
			conn_refuse(c, KB_E_RELOADED, http_status(KB_E_RELOADED));
}

void conn_close_idle(struct conn_shared *shared, int64_t now_ms, int64_t idle_ms)
{
	/* The list has the order in which they became idle. */
	for (struct conn *c; (c = due(shared, CONN_IDLE, now_ms - idle_ms + KB_IDLE_MS)) != NULL;)
		conn_finish(c);
}
