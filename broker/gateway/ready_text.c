/* broker/gateway/ready_text.c — the pages of all processes as /readyz: can this broker release a
 * key now, and if not, which part cannot.  A process can write any byte of its own, so values are
 * checked when read. */
#include "gateway/ready_text.h"

#include "base/clock.h"
#include "base/json.h"

/* A wall clock that stepped counts as right again after this. */
enum { CLOCK_STABLE_MS = 10000 };

static struct span bounded(const char *text, size_t cap)
{
	return span_of(text, strnlen(text, cap));
}

struct process_sum {
	unsigned serving, all;
	const char *reason; /* why one cannot serve; of one with a fault first */
};

/* The ledger serves all generations. */
static struct process_sum sum_process(const struct shared *shared, enum process_kind kind,
				      uint32_t generation)
{
	struct process_sum sum = {.reason = "not running"};
	bool has_fault = false;

	for (unsigned i = 0; i < PROCESS_SLOTS; i++) {
		if (!shared_is(shared, i, kind, kind == PROCESS_LEDGER ? 0 : generation))
			continue;
		sum.all++;
		if (shared_is_serving(shared, i)) {
			sum.serving++;
			continue;
		}
		enum kb_err fault = shared_fault(shared, i);
		if (has_fault)
			continue;
		has_fault = fault != KB_OK;
		if (has_fault)
			sum.reason = kb_err_name(fault);
		else if (atomic_load(&shared->board->seat[i].pid) != 0)
			sum.reason = "starting";
	}
	return sum;
}

static void add_state(struct buf *json, bool is_ready, const char *reason)
{
	json_add_bool(json, "ready", is_ready);
	if (!is_ready)
		json_add_member(json, "reason", span_str(reason));
}

/* Why the last fetch failed; KB_OK: it did not, or there was none. */
static enum kb_err fetch_fault(const struct issuer_fetch *fetch, uint32_t issuer)
{
	const unsigned fault = fetch == NULL ? KB_OK : atomic_load(&fetch[issuer].fault);

	return fault < KB_ERR_COUNT ? (enum kb_err)fault : KB_E_BUG;
}

/* Whether some issuer's keys can be used, by what the workers have now; writes the list. */
static bool add_ready_issuers(const struct shared *shared, uint32_t generation, int64_t now_s,
			      struct buf *json)
{
	const struct board *board = shared->board;
	const uint32_t n = atomic_load(&board->n_issuers);
	const struct issuer_fetch *fetch = shared_fetch(shared, generation);
	bool usable = false;

	json_add_name(json, "issuers");
	buf_add_str(json, "[");
	for (uint32_t i = 0; i < n && i < KB_MAX_ISSUERS; i++) {
		const struct board_issuer *is = &board->issuer[i];
		const struct issuer_state state = shared_issuer(shared, generation, i);
		const enum kb_err fault = fetch_fault(fetch, i);
		/* The age of pinned keys is the configuration's. */
		int64_t age_s;
		const bool has_age =
			clock_age(atomic_load(&is->is_pinned) != 0 ? atomic_load(&board->loaded_s)
								   : state.fetched_s,
				  now_s, &age_s);
		buf_add_str(json, i > 0 ? ",{" : "{");
		json_add_member(json, "name", bounded(is->name, sizeof is->name));
		add_state(json, state.fault == KB_OK,
			  fault != KB_OK                           ? kb_err_name(fault)
			  : state.fault != KB_E_ISSUER_UNAVAILABLE ? kb_err_name(state.fault)
								   : "not fetched yet");
		if (has_age)
			json_add_int(json, "age", age_s);
		/* Known while the keys are fresh, not only when they are gone. */
		if (fault != KB_OK)
			json_add_member(json, "fetch", span_str(kb_err_name(fault)));
		buf_add_str(json, "}");
		usable |= state.fault == KB_OK;
	}
	buf_add_str(json, "]");
	return usable || n == 0;
}

void ready_text(const struct shared *shared, int64_t now_s, struct buf *json, bool *ready)
{
	uint32_t generation = atomic_load(&shared->board->generation);
	int64_t stepped_ms = atomic_load(&shared->board->clock_stepped_ms);
	struct process_sum vaults = sum_process(shared, PROCESS_VAULT, generation),
			   ledger = sum_process(shared, PROCESS_LEDGER, 0);
	bool is_stable = stepped_ms == 0 || clock_mono_ms() - stepped_ms > CLOCK_STABLE_MS;
	bool is_clock_good = clock_is_set(now_s) && is_stable;

	KB_AUTO(buf) struct buf rest;
	buf_init(&rest, json->max);
	buf_add_str(&rest, "{");
	json_add_name(&rest, "hsm");
	buf_add_str(&rest, "{");
	add_state(&rest, vaults.serving > 0, vaults.reason);
	buf_add_str(&rest, "}");
	json_add_name(&rest, "ledger");
	buf_add_str(&rest, "{");
	add_state(&rest, ledger.serving > 0, ledger.reason);
	buf_add_str(&rest, "}");
	bool has_issuer = add_ready_issuers(shared, generation, now_s, &rest);
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
