/* broker/gateway/ready_text.c — the shared statistics as /readyz: can this broker release a key
 * now, and if not, which part cannot.  Any process can write any byte of them, so text is bounded
 * and indices are checked when read. */
#include "gateway/ready_text.h"

#include "base/clock.h"
#include "base/json.h"

/* A wall clock that stepped counts as right again after this. */
enum { CLOCK_STABLE_MS = 10000 };

static struct span bounded(const char *text, size_t cap)
{
	return span_of(text, strnlen(text, cap));
}

/* Why a process cannot serve.  NULL: there is none. */
static const char *fault_of(const struct process_health *h)
{
	unsigned fault = h == NULL ? KB_OK : atomic_load(&h->fault);

	if (fault != KB_OK)
		return kb_err_name((enum kb_err)fault);
	return h == NULL || atomic_load(&h->pid) == 0 ? "not running" : "starting";
}

struct process_sum {
	unsigned serving, all;
	const struct process_health *down; /* one that cannot serve; one with a fault first */
};

/* The ledger serves all generations. */
static struct process_sum sum_process(const struct health *health, enum process_kind kind,
				      uint32_t generation)
{
	struct process_sum sum = {0};

	for (size_t i = 0; i < PROCESS_SLOTS; i++) {
		const struct process_health *h = &health->process[i];
		if (atomic_load(&h->kind) != (unsigned)kind ||
		    (kind != PROCESS_LEDGER && atomic_load(&h->generation) != generation))
			continue;
		sum.all++;
		if (health_is_serving(h))
			sum.serving++;
		else if (sum.down == NULL || atomic_load(&sum.down->fault) == KB_OK)
			sum.down = h;
	}
	return sum;
}

static void add_state(struct buf *json, bool is_ready, const char *reason)
{
	json_add_bool(json, "ready", is_ready);
	if (!is_ready)
		json_add_member(json, "reason", span_str(reason));
}

/* Whether some issuer's keys can be used; writes the list. */
static bool add_ready_issuers(const struct stats *stats, int64_t now_s, struct buf *json)
{
	bool any = false, usable = false;

	json_add_name(json, "issuers");
	buf_add_str(json, "[");
	for (size_t i = 0; i < STATS_ISSUERS; i++) {
		const struct issuer_stats *s = &stats->issuer[i];
		if (!issuer_is_shown(s))
			continue;
		int64_t fetched_s = atomic_load(&s->fetched_s);
		unsigned fault = atomic_load(&s->fault);
		bool is_ready = fetched_s != 0 && now_s <= atomic_load(&s->stale_at_s);
		buf_add_str(json, any ? ",{" : "{");
		json_add_member(json, "name", bounded(s->name, sizeof s->name));
		add_state(json, is_ready,
			  fault != KB_OK   ? kb_err_name((enum kb_err)fault)
			  : fetched_s == 0 ? "not fetched yet"
					   : "stale");
		if (fetched_s != 0)
			json_add_int(json, "age", now_s - fetched_s);
		buf_add_str(json, "}");
		any = true;
		usable |= is_ready;
	}
	buf_add_str(json, "]");
	return usable || !any;
}

void ready_text(const struct shared *shared, int64_t now_s, struct buf *json, bool *ready)
{
	const struct stats *stats = &shared->stats;
	uint32_t generation = atomic_load(&stats->generation);
	int64_t stepped_ms = atomic_load(&stats->clock_stepped_ms);
	struct process_sum vaults = sum_process(&shared->health, PROCESS_VAULT, generation),
			   ledger = sum_process(&shared->health, PROCESS_LEDGER, generation);
	bool is_stable = stepped_ms == 0 || clock_mono_ms() - stepped_ms > CLOCK_STABLE_MS;
	bool is_clock_good = clock_is_set(now_s) && is_stable;

	KB_AUTO(buf) struct buf rest;
	buf_init(&rest, json->max);
	buf_add_str(&rest, "{");
	json_add_name(&rest, "hsm");
	buf_add_str(&rest, "{");
	add_state(&rest, vaults.serving > 0, fault_of(vaults.down));
	buf_add_str(&rest, "}");
	json_add_name(&rest, "ledger");
	buf_add_str(&rest, "{");
	add_state(&rest, ledger.serving > 0, fault_of(ledger.down));
	buf_add_str(&rest, "}");
	bool has_issuer = add_ready_issuers(stats, now_s, &rest);
	json_add_name(&rest, "workers");
	buf_addf(&rest, "{\"serving\":%u,\"configured\":%u}", vaults.serving, vaults.all);
	json_add_name(&rest, "clock");
	buf_add_str(&rest, "{");
	add_state(&rest, is_clock_good, is_stable ? kb_err_name(KB_E_CLOCK_UNSET) : "CLOCK_STEP");
	buf_add_str(&rest, "}}\n");

	*ready = vaults.serving > 0 && ledger.serving > 0 && is_clock_good && has_issuer &&
		 buf_ok(&rest) == KB_OK;
	buf_add_str(json, "{");
	json_add_member(json, "status", span_str(*ready ? "ready" : "not ready"));
	buf_add_str(json, ",");
	buf_add_span(json, span_sub(buf_span(&rest), 1, rest.len));
}
