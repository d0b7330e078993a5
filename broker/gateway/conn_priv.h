/* broker/gateway/conn_priv.h — a connection from the inside, for conn.c (what it does) and
 * conn_admit.c (how it begins) alone. */
#ifndef KB_GATEWAY_CONN_PRIV_H
#define KB_GATEWAY_CONN_PRIV_H
#include <event2/bufferevent.h>
#include <event2/event.h>

#include "base/limits.h"
#include "gateway/conn.h"

struct conn {
	struct deadline deadline; /* its kind is the connection's state */
	struct deadline active; /* while `is_active_timed`: when its handshake, or then the wait for
				   its first request, stops to count as service */
	struct pending pending;
	struct admission_entry admission;
	struct conn_shared *shared;
	struct source *source;
	SSL_CTX *tls;            /* reference held until the handshake begins */
	struct bufferevent *bev; /* NULL until the handshake begins */
	struct event *watch;     /* of the bare socket: before TLS, and after it */
	int fd;
	uint8_t listener;
	bool is_active_timed;
	bool is_keep_alive;
	bool is_eof;               /* the client will send no more */
	bool is_head;              /* the request's method is HEAD: no body in the reply */
	size_t head_len, body_len; /* of the request in CONN_BODY */
	size_t reserved;           /* bytes of body accounted to the peer */
	int64_t complete_us;       /* when the request was; 0: it never was */
	uint8_t uuid[16];
	size_t client_id_len;
	char client_id[KB_MAX_CLIENT_REQUEST_ID];
	char peer_text[SOURCE_TEXT];
};

enum {
	DEADLINE_ACTIVE = CONN_STATES,
	DEADLINE_FIRST
}; /* the kinds of `seat`; those before them are states */

static inline enum conn_state state_of(const struct conn *c)
{
	return (enum conn_state)c->deadline.kind;
}

void conn_count_refused(struct conn_shared *shared, enum kb_err err);
void conn_set_state(struct conn *c, enum conn_state state);
void conn_free(struct conn *c);
void conn_abort(
	struct conn *c); /* no more patience: what is unsent is dropped, in the kernel too */
void conn_activate(
	struct conn *c); /* a request of it waits for its answer, as long as that takes */
void conn_await_request(
	struct conn *c); /* its handshake is done: its first request should be on its way */
void conn_deactivate(
	struct conn *c); /* it costs no processor any more, or it is the client who is slow */
void conn_handshake(struct conn *c); /* TLS begins; the connection may be gone */
void conn_admission_free(struct conn_shared *shared);

#endif
