/* broker/gateway/sources.h — connections and bodies by source: one entry for an IPv4 address or an
 * IPv6 /64, with limits in all and per source. */
#ifndef KB_GATEWAY_SOURCES_H
#define KB_GATEWAY_SOURCES_H
#include <sys/socket.h>

#include "base/source.h"
#include "gateway/admission.h"

struct source {
	struct source *next;
	struct source_address address;
	unsigned connections;
	size_t body_bytes;          /* request bodies it has under way */
	struct queue_source queued; /* its requests that wait for a worker */
	struct admission_source
		admission; /* its connections that wait for admission or are active */
};

struct sources;
/* Limits: connections in all and of one source, bytes of bodies in all and of one source.  NULL on
 * no memory. */
struct sources *sources_new(unsigned max, unsigned max_source, size_t max_bytes,
			    size_t max_bytes_source);
void sources_free(struct sources *p);
/* One more connection from `addr`.  KB_E_CONN_LIMIT when a limit is reached, KB_E_NOMEM.  Other
 * families than IP are one source. */
KB_MUST_CHECK enum kb_err sources_enter(struct sources *p, const struct sockaddr *addr,
					struct source **out);
size_t sources_bytes(const struct sources *p); /* of bodies that are reserved now */
bool sources_full(const struct sources *p);    /* the limit in all is reached */
/* Is the source of `addr` below its own limit?  *same is its entry; NULL: it has none. */
bool sources_may_enter(const struct sources *p, const struct sockaddr *addr,
		       const struct source **same);
/* The entry is freed with its last connection. */
void sources_leave(struct sources *p, struct source *source);
/* A body of `bytes` is to come.  KB_E_QUEUE_FULL when a limit is reached; otherwise call
 * sources_release() later. */
KB_MUST_CHECK enum kb_err sources_reserve(struct sources *p, struct source *source, size_t bytes);
void sources_release(struct sources *p, struct source *source, size_t bytes);

#define SOURCE_TEXT 46 /* INET6_ADDRSTRLEN */
/* Without port; "local" for other families. */
void sources_text(const struct sockaddr *addr, char out[static SOURCE_TEXT]);

#endif
