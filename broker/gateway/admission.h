/* broker/gateway/admission.h — admission control: which connection may start its TLS handshake.  A
 * handshake costs more than all else the gateway does, so connections wait for admission before
 * TLS, where they cost a socket and 0.5 KiB.  Active are the connections that cost processor time
 * now: handshakes that run, connections whose first request is on its way, requests that wait for
 * their answer.  Soft limit of active connections: above it, only sources below their fair share
 * may start a handshake.  Pure bookkeeping: no socket, no clock, no allocation. */
#ifndef KB_GATEWAY_ADMISSION_H
#define KB_GATEWAY_ADMISSION_H
#include "gateway/queue.h"

struct admission_source { /* of one source; zero it before first use */
	struct queue_source waiting;
	unsigned active;
};
struct admission_entry { /* of one connection; zero it before first use */
	struct queue_item item;
	struct admission_source *source; /* NULL: neither waiting nor active */
	bool is_active;
};
struct admission {
	struct queue waiting;
	unsigned active, max_active;
	unsigned sources; /* with a connection that waits or is active */
};

void admission_init(struct admission *a, unsigned max_active);
/* Wait for admission.  The source must outlive the entry. */
void admission_wait(struct admission *a, struct admission_source *source,
		    struct admission_entry *e);
/* The next connection that may start; it is active now.  NULL: none waits, or none may. */
struct admission_entry *admission_next(struct admission *a);
/* Active without waiting: it was admitted before, or none waits.  No change when it is active. */
void admission_enter(struct admission *a, struct admission_source *source,
		     struct admission_entry *e);
/* Neither waiting nor active any more.  No change when it was neither.  True: connections wait, and
 * one of them may be admitted now. */
bool admission_leave(struct admission *a, struct admission_entry *e);
/* The connection to close for a new one of `source` when all are taken: the newest that waits of
 * the source with the most waiting.  NULL when that would not be fairer. */
struct admission_entry *admission_shed(struct admission *a, const struct admission_source *source);

#endif
