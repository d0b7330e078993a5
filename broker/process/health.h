/* broker/process/health.h — what a process says of its work.  The supervisor acts on it: it kills
 * what hangs and holds back what must not start again.  Part of the process's own page (shared.h),
 * so it can only have itself killed; readers take every value as an attacker's. */
#ifndef KB_PROCESS_HEALTH_H
#define KB_PROCESS_HEALTH_H
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "process/kind.h"

enum health_state {
	HEALTH_NONE,
	HEALTH_STARTING,
	HEALTH_READY,    /* waits for work */
	HEALTH_BUSY,     /* in a request since busy_since_ms: the supervisor counts the time */
	HEALTH_HANDOVER, /* vault: the ledger has yet to take the reply; its time does not count */
	HEALTH_FAILED,   /* cannot serve; `fault` says why */
	HEALTH_DRAINING,
	HEALTH_STATES
};

struct process_health {
	_Atomic uint32_t state;        /* enum health_state */
	_Atomic uint32_t fault;        /* enum kb_err */
	_Atomic int64_t busy_since_ms; /* clock_mono_ms() */
	_Atomic int64_t call_since_ms; /* vault: start of the HSM call that runs now; 0: none */
	_Atomic uint64_t request_id;   /* vault: of the frame in work; 0: none */
	_Atomic uint32_t gateway;      /* vault: … whose it is */
	_Atomic uint32_t pin_refused;  /* vault: the HSM refused the PIN; 0: it did not */
	_Atomic uint32_t beats;        /* grows while the process turns its loop */
};

/* HEALTH_READY also clears fault and request_id. */
void health_set(struct process_health *h, enum health_state state);
/* HEALTH_BUSY since now, with a request of this gateway. */
void health_busy(struct process_health *h, unsigned gateway, uint64_t request_id);
void health_fail(struct process_health *h, enum kb_err fault); /* HEALTH_FAILED, because of */
void health_beat(struct process_health *h);
/* Its state is one in which it serves. */
bool health_is_serving(const struct process_health *h);
/* KB_E_BUG for a value that is no code. */
enum kb_err health_fault(const struct process_health *h);
/* How long it has been in one request or in one HSM call.  A time that cannot be is one that
 * began long ago: INT64_MAX. */
int64_t health_hung_ms(const struct process_health *h, int64_t now_ms);

#endif
