/* broker/gateway/sources.h — who is connected: one entry a source (an IPv4 address, an IPv6 /64), with caps in all and per source. */
#ifndef KB_GATEWAY_SOURCES_H
#define KB_GATEWAY_SOURCES_H
#include <sys/socket.h>

#include "base/bytes.h"
#include "gateway/admission.h"

struct peer {
	struct peer *next;
	uint64_t key; /* the address, or the first half of an IPv6 one */
	bool is_v6;
	unsigned connections;
	size_t body_bytes;      /* request bodies it has under way */
	struct queue_lane lane; /* its requests that wait for a worker */
	struct door_lane door;  /* its connections that wait for their handshake, or are in service */
};

struct peers;
/* Caps: connections in all and of one source, bytes of bodies in all and of one source.  NULL on no memory. */
struct peers *peers_new(unsigned max, unsigned max_source, size_t max_bytes, size_t max_bytes_source);
void peers_free(struct peers *p);
/* One more connection from `addr`.  KB_E_CONN_LIMIT when a cap is reached, KB_E_NOMEM.  Other families than IP are one source. */
KB_MUST_CHECK enum kb_err peers_enter(struct peers *p, const struct sockaddr *addr, struct peer **out);
size_t peers_bytes(const struct peers *p); /* of bodies that are reserved now */
bool peers_full(const struct peers *p);    /* the cap in all is reached */
/* Whether the source of `addr` may have one more by its own cap; *same is its entry, NULL when it has none. */
bool peers_may_enter(const struct peers *p, const struct sockaddr *addr, const struct peer **same);
void peers_leave(struct peers *p, struct peer *peer); /* the entry is gone with its last connection */
/* A body of `bytes` is to come.  KB_E_QUEUE_FULL when a cap is reached; otherwise give it back with peers_release(). */
KB_MUST_CHECK enum kb_err peers_reserve(struct peers *p, struct peer *peer, size_t bytes);
void peers_release(struct peers *p, struct peer *peer, size_t bytes);

#define PEER_TEXT 46                                                      /* INET6_ADDRSTRLEN */
void peers_text(const struct sockaddr *addr, char out[static PEER_TEXT]); /* without port; "local" for other families */

#endif
