/* broker/process/health.c — writes a process's state.  Decides nothing.  The state is stored last:
 * who sees it sees what belongs to it. */
#include "process/health.h"

#include "base/clock.h"

void health_set(struct process_health *h, enum health_state state)
{
	if (state == HEALTH_READY) {
		atomic_store(&h->request_id, 0);
		atomic_store(&h->fault, KB_OK);
	}
	atomic_store(&h->state, state);
}

void health_busy(struct process_health *h, uint64_t request_id)
{
	atomic_store(&h->busy_since_ms, clock_mono_ms());
	atomic_store(&h->request_id, request_id);
	atomic_store(&h->state, HEALTH_BUSY);
}

void health_fail(struct process_health *h, enum kb_err fault)
{
	atomic_store(&h->fault, fault);
	atomic_store(&h->state, HEALTH_FAILED);
}

bool health_is_serving(const struct process_health *h)
{
	unsigned state = atomic_load(&h->state);

	return atomic_load(&h->pid) != 0 &&
	       (state == HEALTH_READY || state == HEALTH_BUSY || state == HEALTH_HANDOVER);
}
