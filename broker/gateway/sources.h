/* broker/gateway/sources.h — who is connected: one entry a source (an IPv4 address, an IPv6 /64),
 * with caps in all and per source. */
#ifndef KB_GATEWAY_SOURCES_H
#define KB_GATEWAY_SOURCES_H
#include <sys/socket.h>

#include "base/bytes.h"
#include "gateway/admission.h"

struct source {
	struct source *next;
	uint64_t key; /* the address, or the first half of an IPv6 one */
	bool is_v6;
	unsigned connections;
	size_t body_bytes;          /* request bodies it has under way */
	struct queue_source queued; /* its requests that wait for a worker */
	struct admission_source
		admission; /* its connections that wait for their handshake, or are in service */
};

struct sources;
/* Caps: connections in all and of one source, bytes of bodies in all and of one source.  NULL on no
 * memory. */
struct sources *sources_new(unsigned max, unsigned max_source, size_t max_bytes,
			    size_t max_bytes_source);
void sources_free(struct sources *p);
/* One more connection from `addr`.  KB_E_CONN_LIMIT when a cap is reached, KB_E_NOMEM.  Other
 * families than IP are one source. */
KB_MUST_CHECK enum kb_err sources_enter(struct sources *p, const struct sockaddr *addr,
					struct source **out);
size_t sources_bytes(const struct sources *p); /* of bodies that are reserved now */
bool sources_full(const struct sources *p);    /* the cap in all is reached */
/* Whether the source of `addr` may have one more by its own cap; *same is its entry, NULL when it
 * has none. */
bool sources_may_enter(const struct sources *p, const struct sockaddr *addr,
		       const struct source **same);
void sources_leave(struct sources *p,
		   struct source *source); /* the entry is gone with its last connection */
/* A body of `bytes` is to come.  KB_E_QUEUE_FULL when a cap is reached; otherwise give it back with
 * sources_release(). */
KB_MUST_CHECK enum kb_err sources_reserve(struct sources *p, struct source *source, size_t bytes);
void sources_release(struct sources *p, struct source *source, size_t bytes);

#define SOURCE_TEXT 46 /* INET6_ADDRSTRLEN */
void sources_text(const struct sockaddr *addr,
		  char out[static SOURCE_TEXT]); /* without port; "local" for other families */

#endif
