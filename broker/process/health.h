/* broker/process/health.h — what a process reports about its work and the supervisor acts on: it
 * kills what hangs and holds back what must not start again.  /readyz shows it, too.  Each process
 * writes its own entry; the supervisor writes it when the process has ended. */
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
};

struct process_health {
	_Atomic int32_t pid;           /* 0: not running */
	_Atomic uint32_t kind;         /* enum process_kind; PROCESS_NONE: the entry is free */
	_Atomic uint32_t state;        /* enum health_state */
	_Atomic uint32_t generation;   /* of the configuration it was started with */
	_Atomic uint32_t fault;        /* enum kb_err */
	_Atomic int64_t busy_since_ms; /* clock_mono_ms() */
	_Atomic int64_t call_since_ms; /* vault: start of the HSM call that runs now; 0: none */
	_Atomic uint64_t request_id;   /* of the frame in work; 0: none */
};

struct health {
	struct process_health process[PROCESS_SLOTS];
	_Atomic uint32_t pin_refused; /* the last generation whose PIN the HSM refused; 0: none */
};

/* HEALTH_READY also clears fault and request_id. */
void health_set(struct process_health *h, enum health_state state);
void health_busy(struct process_health *h, uint64_t request_id); /* HEALTH_BUSY since now */
void health_fail(struct process_health *h, enum kb_err fault);   /* HEALTH_FAILED, because of */
bool health_is_serving(const struct process_health *h);

#endif
