/* broker/gateway/conn.h — one client connection of the gateway: TLS, one request at a time, its
 * deadlines.  Single-threaded, one event loop. */
#ifndef KB_GATEWAY_CONN_H
#define KB_GATEWAY_CONN_H
#include <openssl/ssl.h>
#include <sys/socket.h>

#include "base/limits.h"
#include "gateway/deadline.h"
#include "gateway/exchange.h"
#include "gateway/penalties.h"
#include "gateway/sources.h"
#include "process/stats.h"

struct api;

/* What a connection does now.  Each state has one deadline (base/limits.h) that runs from the
 * state's beginning. */
enum conn_state {
	CONN_HANDSHAKE, /* TLS handshake, or no byte has come yet */
	CONN_WAITING,   /* its first byte is there; admission control lets others begin first */
	CONN_FIRST,     /* TLS is done, no byte of the first request yet */
	CONN_IDLE,      /* it has had an answer, no byte of the next request yet */
	CONN_HEAD,      /* a part of the head is there */
	CONN_BODY,      /* the head is good, the body is not complete */
	CONN_WAIT,      /* the request is with the vault, or queued */
	CONN_WRITE,     /* the reply is not completely sent */
	CONN_LINGER,    /* we are done; the client may still read */
	CONN_STATES
};

struct conn_listener { /* what a connection must know of the listener that accepted it */
	const struct api *api;
	char *base_url; /* the gateway's */
};

/* What all connections share; the gateway owns it. */
struct conn_shared {
	struct event_base *base;
	struct exchange *exchange;
	struct sources *sources;
	struct penalties *penalties;
	struct conn_listener listener[KB_MAX_LISTENERS];
	struct admission admission;
	struct event *admit_timer; /* armed while a waiting connection may be admitted */
	struct deadlines deadlines;
	_Atomic uint64_t *refused; /* by code */
	struct process_stats *self;
	struct buf frame, reply; /* scratch: empty between calls */
	unsigned connections;
	unsigned begun;             /* handshakes begun in the event loop's iteration … */
	struct timeval begun_since; /* … that started at this time */
	bool is_draining;           /* every reply says Connection: close */
	bool is_superseded; /* another configuration judges now: a no of ours is not final */
	bool is_full_reported;
	/* Called when conn_shared_is_full() was true and no longer is. */
	void (*on_space)(void *ctx);
	void *ctx;
};

/* Deadlines, admission control and scratch buffers; the caller fills in the rest. */
void conn_shared_init(struct conn_shared *shared);
void conn_shared_free(struct conn_shared *shared); /* closes what is open */

/* One more connection would be refused, whatever its source: leave it in the kernel's backlog until
 * on_space(). */
bool conn_shared_is_full(struct conn_shared *shared);
/* Take an accepted, non-blocking socket (always: on any error it is closed).  KB_E_CONN_LIMIT,
 * KB_E_NOMEM: counted. */
KB_MUST_CHECK enum kb_err conn_open(struct conn_shared *shared, SSL_CTX *tls, uint8_t listener,
				    int fd, const struct sockaddr *peer);

/* Act on every deadline that is due. */
void conn_expire(struct conn_shared *shared, int64_t now_ms);
/* Those in CONN_IDLE for at least `idle_ms`, with close_notify. */
void conn_close_idle(struct conn_shared *shared, int64_t now_ms, int64_t idle_ms);

/* Every client that can still read an answer gets 503, RELOADED, and the connection ends. */
void conn_dismiss(struct conn_shared *shared);

/* For struct exchange_events. */
void conn_on_response(void *ctx, struct pending *p, const struct frame_response *r);
void conn_on_refused(void *ctx, struct pending *p, enum kb_err err);
/* The worker that had this request is gone. */
void conn_lost(struct conn_shared *shared, uint64_t id);

#endif
