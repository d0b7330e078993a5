/* broker/ledger/outbox.h — responses that a gateway has not taken yet, in their order.  Never
 * waits: a gateway that reads slowly, or not at all, delays nobody else. */
#ifndef KB_LEDGER_OUTBOX_H
#define KB_LEDGER_OUTBOX_H
#include "base/bytes.h"
#include "base/limits.h"

struct outbox {            /* zeroed: empty */
	struct buf frames; /* each after its length */
	size_t sent;       /* bytes of `frames` that are done with */
};

void outbox_free(struct outbox *o);
bool outbox_is_empty(const struct outbox *o);
/* Send the frame, or keep it behind those that wait.  False: the gateway has ended, or
 * KB_LEDGER_OUTBOX bytes wait already; the frame is lost. */
KB_MUST_CHECK bool outbox_put(struct outbox *o, int fd, struct span frame);
/* Send what the socket takes now.  The number of frames that are lost, because the gateway has
 * ended. */
size_t outbox_flush(struct outbox *o, int fd);

#endif
