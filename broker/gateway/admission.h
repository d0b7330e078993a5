/* broker/gateway/admission.h — whose handshake may begin: a handshake costs more than all else the gateway does, so connections wait for it before TLS, where they
 * cost a socket and 0.5 KiB, and sources take turns.  In service are the connections that cost a processor now: handshakes that run, those whose first
 * request is on its way, and requests that wait for their answer.  What is nearly done comes first: nobody new is begun while `seats` of them are in
 * service, except of a source that has less than its share.  Pure bookkeeping: no socket, no clock, no allocation (SECURITY B11, B12). */
#ifndef KB_GATEWAY_ADMISSION_H
#define KB_GATEWAY_ADMISSION_H
#include "gateway/queue.h"

struct door_lane { /* one source; zero it before first use */
	struct queue_lane waiting;
	unsigned in_service;
};
struct door_guest { /* one connection; zero it before first use */
	struct queue_item item;
	struct door_lane *lane;
	bool is_in_service;
};
struct door {
	struct queue waiting;
	unsigned in_service, seats;
	unsigned sources; /* that have someone waiting or in service */
};

void door_init(struct door *d, unsigned seats);
/* Wait for a turn.  The lane must outlive the guest's stay. */
void door_wait(struct door *d, struct door_lane *lane, struct door_guest *g);
/* Whose turn it is; he is in service now.  NULL: nobody waits, or nobody may. */
struct door_guest *door_next(struct door *d);
/* In service without a turn: it was let in before.  Being so already is fine. */
void door_enter(struct door *d, struct door_lane *lane, struct door_guest *g);
/* Neither waiting nor in service any more; nor being so is fine.  True: somebody waits, and it may be his turn now. */
bool door_leave(struct door *d, struct door_guest *g);
/* Who must go when `lane` has one more and there is no room: the newest who waits of the source with the most of them, NULL when that would not be fairer. */
struct door_guest *door_shed(struct door *d, const struct door_lane *lane);

#endif
