/* broker/gateway/conn.h — one client connection of the gateway: TLS, one request at a time, its
 * deadlines.  Single-threaded, one event loop. */
#ifndef KB_GATEWAY_CONN_H
#define KB_GATEWAY_CONN_H
#include <openssl/ssl.h>
#include <sys/socket.h>

#include "base/limits.h"
#include "gateway/deadline.h"
#include "gateway/exchange.h"
#include "gateway/sources.h"
#include "process/stats.h"

struct api;

/* What a connection does now; each state has one deadline (base/limits.h), counted from its
 * beginning. */
enum conn_state {
	CONN_HANDSHAKE, /* or no byte has come yet */
	CONN_WAITING,   /* its first byte is there, others' handshakes are before it */
	CONN_IDLE,      /* no byte of a request yet */
	CONN_HEAD,      /* a part of one */
	CONN_BODY,      /* the head is good, the body is not all there */
	CONN_WAIT,      /* the request is with the vault, or queued */
	CONN_WRITE,     /* the reply is not all taken */
	CONN_LINGER,    /* we are done; the peer may still read */
	CONN_STATES
};

struct conn_listener { /* what a connection must know of the listener it came by */
	const struct api *api;
	char *base_url; /* the gateway's */
};

struct conn_shared { /* what all connections share; the gateway owns it */
	struct event_base *base;
	struct exchange *exchange;
	struct sources *sources;
	struct conn_listener listener[KB_MAX_LISTENERS];
	struct admission admission;
	struct event *next_turn; /* a timer: armed while somebody at the door may be begun */
	struct deadlines deadlines;
	struct stats *stats;
	struct slot *self;
	struct buf frame, reply; /* scratch: empty between calls */
	unsigned connections;
	unsigned begun;            /* handshakes, in this turn of the loop … */
	struct timeval begun_turn; /* … that began at this time */
	bool is_draining;          /* every reply says Connection: close */
	bool is_full_told;
	void (*on_space)(
		void *ctx); /* after conn_shared_is_full() said so: it is not full any more */
	void *ctx;
};

void conn_shared_init(struct conn_shared *shared); /* deadlines, door and scratch; the rest is the
						      caller's to fill in */
void conn_shared_free(struct conn_shared *shared); /* closes what is open */

/* One more connection, whoever's, would be turned away: better left with the kernel until
 * on_space(). */
bool conn_shared_is_full(struct conn_shared *shared);
/* Take an accepted, non-blocking socket (always: on any error it is closed).  KB_E_CONN_LIMIT,
 * KB_E_NOMEM: counted. */
KB_MUST_CHECK enum kb_err conn_open(struct conn_shared *shared, SSL_CTX *tls, uint8_t listener,
				    int fd, const struct sockaddr *peer);

void conn_expire(struct conn_shared *shared,
		 int64_t now_ms);                 /* act on every deadline that is due */
void conn_close_idle(struct conn_shared *shared); /* those in CONN_IDLE, with close_notify */

/* For struct exchange_events. */
void conn_on_response(void *ctx, struct pending *p, const struct frame_response *r);
void conn_on_refused(void *ctx, struct pending *p, enum kb_err err);
void conn_lost(struct conn_shared *shared,
	       uint64_t id); /* the worker that had this request is gone */

#endif
