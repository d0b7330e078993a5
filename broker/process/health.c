/* broker/process/health.c — writes a process's state, and judges what another one wrote.  The state
 * is stored last: who sees it sees what belongs to it.  Must never compute with a value of another
 * process that it did not check. */
#include "process/health.h"

#include "base/clock.h"

/* A process may have looked at the clock after its reader. */
enum { CLOCK_AHEAD_MS = 1000 };

void health_set(struct process_health *h, enum health_state state)
{
	if (state == HEALTH_READY) {
		atomic_store(&h->request_id, 0);
		atomic_store(&h->fault, KB_OK);
	}
	atomic_store(&h->state, state);
}

void health_busy(struct process_health *h, unsigned gateway, uint64_t request_id)
{
	atomic_store(&h->busy_since_ms, clock_mono_ms());
	atomic_store(&h->gateway, gateway);
	atomic_store(&h->request_id, request_id);
	atomic_store(&h->state, HEALTH_BUSY);
}

void health_fail(struct process_health *h, enum kb_err fault)
{
	atomic_store(&h->fault, fault);
	atomic_store(&h->state, HEALTH_FAILED);
}

void health_beat(struct process_health *h)
{
	atomic_fetch_add_explicit(&h->beats, 1, memory_order_relaxed);
}

bool health_is_serving(const struct process_health *h)
{
	unsigned state = atomic_load(&h->state);

	return state == HEALTH_READY || state == HEALTH_BUSY || state == HEALTH_HANDOVER;
}

enum kb_err health_fault(const struct process_health *h)
{
	unsigned fault = atomic_load(&h->fault);

	return fault < KB_ERR_COUNT ? (enum kb_err)fault : KB_E_BUG;
}

/* More than `ahead_ms` in the future is a lie. */
static int64_t elapsed_ms(int64_t since_ms, int64_t now_ms, int64_t ahead_ms)
{
	if (since_ms < 0 || since_ms > now_ms + ahead_ms)
		return INT64_MAX;
	return since_ms > now_ms ? 0 : now_ms - since_ms;
}

int64_t health_hung_ms(const struct process_health *h, int64_t now_ms)
{
	int64_t call_ms = atomic_load(&h->call_since_ms), hung_ms = 0, in_call_ms = 0;

	if (atomic_load(&h->state) == HEALTH_BUSY)
		hung_ms = elapsed_ms(atomic_load(&h->busy_since_ms), now_ms, CLOCK_AHEAD_MS);
	if (call_ms != 0)
		in_call_ms = elapsed_ms(call_ms, now_ms,
					CLOCK_AHEAD_MS + KB_HSM_GENERATE_MS - KB_HSM_CALL_MS);
	return in_call_ms > hung_ms ? in_call_ms : hung_ms;
}
