/* broker/gateway/admission.h — whose handshake may begin: a handshake costs more than all else the
 * gateway does, so connections wait for it before TLS, where they cost a socket and 0.5 KiB, and
 * sources take turns.  In service are the connections that cost a processor now: handshakes that
 * run, those whose first request is on its way, and requests that wait for their answer.  What is
 * nearly done comes first: nobody new is begun while `max_active` of them are in service, except of
 * a source that has less than its share.  Pure bookkeeping: no socket, no clock, no allocation
 * (SECURITY B11, B12). */
#ifndef KB_GATEWAY_ADMISSION_H
#define KB_GATEWAY_ADMISSION_H
#include "gateway/queue.h"

struct admission_source { /* one source; zero it before first use */
	struct queue_source waiting;
	unsigned active;
};
struct admission_entry { /* one connection; zero it before first use */
	struct queue_item item;
	struct admission_source *source;
	bool is_active;
};
struct admission {
	struct queue waiting;
	unsigned active, max_active;
	unsigned sources; /* that have someone waiting or in service */
};

void admission_init(struct admission *d, unsigned max_active);
/* Wait for a turn.  The source must outlive the guest's stay. */
void admission_wait(struct admission *d, struct admission_source *source,
		    struct admission_entry *g);
/* Whose turn it is; he is in service now.  NULL: nobody waits, or nobody may. */
struct admission_entry *admission_next(struct admission *d);
/* In service without a turn: it was let in before.  Being so already is fine. */
void admission_enter(struct admission *d, struct admission_source *source,
		     struct admission_entry *g);
/* Neither waiting nor in service any more; nor being so is fine.  True: somebody waits, and it may
 * be his turn now. */
bool admission_leave(struct admission *d, struct admission_entry *g);
/* Who must go when `source` has one more and there is no room: the newest who waits of the source
 * with the most of them, NULL when that would not be fairer. */
struct admission_entry *admission_shed(struct admission *d, const struct admission_source *source);

#endif
