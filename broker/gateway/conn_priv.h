/* broker/gateway/conn_priv.h — the inside of a connection.  Only conn*.c include it.  Calls go one
 * way: conn_admit.c and conn_expire.c → conn_request.c → conn.c. */
#ifndef KB_GATEWAY_CONN_PRIV_H
#define KB_GATEWAY_CONN_PRIV_H
#include <event2/bufferevent.h>
#include <event2/event.h>

#include "base/limits.h"
#include "gateway/conn.h"

struct conn {
	/* Its kind is the connection's state. */
	struct deadline deadline;
	/* While `is_active_timed`: when the connection stops to count as active, because its
	 * handshake or its first request takes too long. */
	struct deadline active;
	struct pending pending;
	struct admission_entry admission;
	struct conn_shared *shared;
	struct source *source;
	SSL_CTX *tls;            /* a reference, until the handshake begins */
	struct bufferevent *bev; /* NULL until the handshake begins */
	struct event *watch;     /* of the bare socket: before TLS, and after it */
	int fd;
	uint8_t listener;
	bool is_active_timed;
	bool is_keep_alive;
	bool is_eof;               /* the client will send no more */
	bool is_head;              /* the request's method is HEAD: no body in the reply */
	size_t head_len, body_len; /* of the request in CONN_BODY */
	size_t reserved;           /* bytes of body accounted to the source */
	int64_t complete_us;       /* when the request was complete; 0: it is not */
	struct operation_way way;  /* of the request under way */
	uint8_t uuid[16];
	size_t client_id_len;
	char client_id[KB_MAX_CLIENT_REQUEST_ID];
	char peer_text[SOURCE_TEXT];
};

/* The kinds of `active`.  The kinds before them are states. */
enum {
	DEADLINE_ACTIVE = CONN_STATES,
	DEADLINE_FIRST,
};

static inline enum conn_state state_of(const struct conn *c)
{
	return (enum conn_state)c->deadline.kind;
}

/* conn.c */
void conn_count_refused(struct conn_shared *shared, enum kb_err err);
/* The connection's source failed: a refused call, a failed handshake … */
void conn_penalize(struct conn *c);
/* … or it was given a key. */
void conn_trust(struct conn *c);
/* How long its source is blocked; 0: it is not. */
int64_t conn_blocked_ms(const struct conn *c);
/* Also starts the state's deadline, and informs admission control. */
void conn_set_state(struct conn *c, enum conn_state state);
void conn_end_request(struct conn *c); /* nothing of a request is held any more */
void conn_free(struct conn *c);
/* Drop what is unsent, in the kernel too. */
void conn_abort(struct conn *c);
/* We send no more: wait until the client ends. */
void conn_linger(struct conn *c);
/* close_notify, then conn_linger(). */
void conn_finish(struct conn *c);

/* Active: the connection costs processor time now.  From the start of its handshake … */
void conn_activate_timed(struct conn *c);
/* … while its first request should be on its way … */
void conn_await_request(struct conn *c);
/* … or while a request waits for its answer, as long as that takes. */
void conn_activate(struct conn *c);
/* It costs no processor time any more, or the client is the slow side. */
void conn_deactivate(struct conn *c);
/* Waiting connections are looked at after the sockets of the event loop's next iteration. */
void conn_arm_admission(struct conn_shared *shared);

/* conn_request.c */
void conn_handshake(struct conn *c); /* TLS begins; the connection may be gone */
void conn_refuse(struct conn *c, enum kb_err err, int status); /* the connection may be gone */

#endif
