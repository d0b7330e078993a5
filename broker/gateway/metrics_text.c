/* broker/gateway/metrics_text.c — the pages of all processes as /metrics.  A process can write any
 * byte of its own, so text is bounded and indices are checked when read. */
#include "gateway/metrics_text.h"

#include "base/clock.h"
#include "base/version.h"

static struct span bounded(const char *text, size_t cap)
{
	return span_of(text, strnlen(text, cap));
}

static void add_head(struct buf *out, const char *name, const char *type, const char *help)
{
	buf_addf(out, "# HELP keybroker_%s %s\n# TYPE keybroker_%s %s\n", name, help, name, type);
}

static void add_one(struct buf *out, const char *name, const char *type, const char *help,
		    uint64_t value)
{
	add_head(out, name, type, help);
	buf_addf(out, "keybroker_%s %llu\n", name, (unsigned long long)value);
}

static void add_label(struct buf *out, const char *name, struct span value)
{
	uint8_t last = out->p == NULL || out->len == 0 ? 0 : out->p[out->len - 1];

	buf_addf(out, "%s%s=\"", last == '{' ? "" : ",", name);
	for (size_t i = 0; i < value.len; i++) {
		uint8_t c = value.p[i];
		if (c == '"' || c == '\\')
			buf_addf(out, "\\%c", c);
		else if (c >= 0x20 && c < 0x7f)
			buf_add(out, &c, 1);
		else
			buf_add_str(out, "?");
	}
	buf_add_str(out, "\"");
}

/* Sum of a counter over all processes of a kind, the ended ones too. */
static uint64_t sum_of(const struct shared *shared, enum process_kind kind, enum counter c)
{
	const struct process_stats *retired = &shared->board->retired[kind].stats;
	uint64_t sum = counter_is_gauge(c) ? 0 : atomic_load(&retired->counter[c]);

	for (unsigned i = 0; i < PROCESS_SLOTS; i++)
		if (shared_is(shared, i, kind, 0))
			sum += stats_read(&shared->page[i]->stats.counter[c]);
	return sum;
}

static const struct histogram *pick(const struct process_stats *s, unsigned which)
{
	return which == 0 ? &s->total : which == 1 ? &s->judge : &s->hsm;
}

static void add_histogram(const struct shared *shared, struct buf *out, const char *name,
			  const char *help, enum process_kind kind, unsigned which)
{
	struct histogram sum = {0};
	uint64_t so_far = 0;

	histogram_sum(&sum, pick(&shared->board->retired[kind].stats, which));
	for (unsigned i = 0; i < PROCESS_SLOTS; i++)
		if (shared_is(shared, i, kind, 0))
			histogram_sum(&sum, pick(&shared->page[i]->stats, which));
	add_head(out, name, "histogram", help);
	for (size_t i = 0; i < HIST_BUCKETS; i++) {
		so_far += atomic_load(&sum.count[i]);
		if (i < HIST_BUCKETS - 1)
			buf_addf(out, "keybroker_%s_bucket{le=\"%.6f\"} %llu\n", name,
				 (double)((uint64_t)1 << (i + 5)) / 1e6,
				 (unsigned long long)so_far);
	}
	buf_addf(out, "keybroker_%s_bucket{le=\"+Inf\"} %llu\n", name, (unsigned long long)so_far);
	buf_addf(out, "keybroker_%s_sum %.6f\n", name, (double)atomic_load(&sum.sum_us) / 1e6);
	buf_addf(out, "keybroker_%s_count %llu\n", name, (unsigned long long)so_far);
}

static void add_outcomes(const struct outcomes *all, struct buf *out, bool is_release)
{
	add_head(out, is_release ? "releases_total" : "refusals_total", "counter",
		 is_release ? "Keys released." : "Calls judged and refused.");
	for (size_t i = 0; i < STATS_OUTCOMES; i++) {
		const struct outcome_stats *o = &all->outcome[i];
		if (atomic_load(&o->used) != ENTRY_USED || (o->code == KB_OK) != is_release)
			continue;
		buf_add_str(out,
			    is_release ? "keybroker_releases_total{" : "keybroker_refusals_total{");
		add_label(out, "key", bounded(o->key, sizeof o->key));
		add_label(out, "issuer", bounded(o->issuer, sizeof o->issuer));
		if (!is_release)
			add_label(out, "code", span_str(kb_err_name((enum kb_err)o->code)));
		buf_addf(out, "} %llu\n", (unsigned long long)stats_read(&o->n));
	}
}

static uint64_t refused_of(const struct shared *shared, unsigned code)
{
	uint64_t sum = atomic_load(&shared->board->retired[PROCESS_GATEWAY].refused[code]);

	for (unsigned i = SLOT_FIRST; i < PROCESS_SLOTS; i++)
		if (shared_is(shared, i, PROCESS_GATEWAY, 0))
			sum += stats_read(&shared->page[i]->refused[code]);
	return sum;
}

static void add_refused(const struct shared *shared, struct buf *out)
{
	add_head(out, "refused_before_request_total", "counter",
		 "Connections and requests that the gateway refused; no vault had them.");
	for (unsigned e = 0; e < KB_ERR_COUNT; e++) {
		uint64_t n = refused_of(shared, e);
		if (n != 0)
			buf_addf(out, "keybroker_refused_before_request_total{code=\"%s\"} %llu\n",
				 kb_err_name((enum kb_err)e), (unsigned long long)n);
	}
}

static void add_issuer_value(struct buf *out, const struct board *board, uint32_t i,
			     const char *name, int64_t value)
{
	buf_addf(out, "keybroker_%s{", name);
	add_label(out, "issuer", bounded(board->issuer[i].name, sizeof board->issuer[i].name));
	buf_addf(out, "} %lld\n", (long long)value);
}

/* By what the workers have now, except what only the fetcher knows. */
static void add_issuers(const struct shared *shared, struct buf *out, int64_t now_s)
{
	const struct board *board = shared->board;
	const uint32_t generation = atomic_load(&board->generation);
	const uint32_t all = atomic_load(&board->n_issuers),
		       n = all < KB_MAX_ISSUERS ? all : KB_MAX_ISSUERS;
	const struct issuer_fetch *fetch = shared_fetch(shared, generation);

	add_head(out, "issuer_keys_age_seconds", "gauge",
		 "Time since the key set that the workers have was fetched and found good.");
	for (uint32_t i = 0; i < n; i++) {
		int64_t age_s;
		if (clock_age(shared_issuer(shared, generation, i).fetched_s, now_s, &age_s))
			add_issuer_value(out, board, i, "issuer_keys_age_seconds", age_s);
	}
	add_head(out, "issuer_keys", "gauge", "Usable keys in the set that the workers have.");
	for (uint32_t i = 0; i < n; i++) {
		const struct issuer_state state = shared_issuer(shared, generation, i);
		add_issuer_value(out, board, i, "issuer_keys", state.keys);
	}
	add_head(out, "issuer_ready", "gauge", "1 while every worker can use the issuer's keys.");
	for (uint32_t i = 0; i < n; i++)
		add_issuer_value(out, board, i, "issuer_ready",
				 shared_issuer(shared, generation, i).fault == KB_OK);
	add_head(out, "issuer_fetch_failed", "gauge",
		 "1 when the last fetch of the issuer's keys failed.");
	for (uint32_t i = 0; i < n; i++)
		add_issuer_value(out, board, i, "issuer_fetch_failed",
				 fetch != NULL && atomic_load(&fetch[i].fault) != KB_OK);
}

static void add_processes(const struct shared *shared, struct buf *out)
{
	unsigned up[PROCESS_COUNT] = {0};

	for (unsigned i = 0; i < PROCESS_SLOTS; i++) {
		unsigned kind = atomic_load(&shared->board->seat[i].kind);
		if (kind < PROCESS_COUNT && shared_is_serving(shared, i))
			up[kind]++;
	}
	add_head(out, "process_up", "gauge", "Processes that can serve.");
	for (enum process_kind k = PROCESS_SUPERVISOR; k < PROCESS_COUNT; k++)
		buf_addf(out, "keybroker_process_up{process=\"%s\"} %u\n", process_name(k), up[k]);
	add_head(out, "process_restarts_total", "counter",
		 "Processes started again after they had ended or were killed.");
	for (enum process_kind k = PROCESS_GATEWAY; k < PROCESS_COUNT; k++)
		buf_addf(out, "keybroker_process_restarts_total{process=\"%s\"} %llu\n",
			 process_name(k),
			 (unsigned long long)atomic_load(
				 &shared->board->retired[k].stats.counter[COUNT_RESTARTS]));
}

/* How long the batch that is written and synced now has taken so far. */
static double ledger_lag_s(const struct shared *shared)
{
	return (double)health_hung_ms(&shared->ledger->page.health, clock_mono_ms()) / 1e3;
}

void metrics_text(const struct shared *shared, struct buf *out)
{
	const struct board *board = shared->board;
	static const struct {
		enum process_kind kind;
		enum counter counter;
		const char *name, *type, *help;
	} plain[] = {
		{PROCESS_GATEWAY, COUNT_CONNECTIONS, "connections_total", "counter",
		 "TCP connections accepted."},
		{PROCESS_GATEWAY, COUNT_CONNECTIONS_OPEN, "connections_open", "gauge",
		 "TCP connections now open."},
		{PROCESS_GATEWAY, COUNT_HANDSHAKES, "tls_handshakes_total", "counter",
		 "TLS handshakes finished."},
		{PROCESS_GATEWAY, COUNT_HANDSHAKES_RESUMED, "tls_handshakes_resumed_total",
		 "counter", "TLS handshakes that resumed a session."},
		{PROCESS_GATEWAY, COUNT_HANDSHAKES_FAILED, "tls_handshakes_failed_total", "counter",
		 "TLS handshakes that failed."},
		{PROCESS_GATEWAY, COUNT_REQUESTS, "requests_total", "counter",
		 "Requests handed to a vault worker."},
		{PROCESS_GATEWAY, COUNT_REPLIES, "replies_total", "counter",
		 "Replies sent to clients."},
		{PROCESS_GATEWAY, COUNT_REPLIES_LOST, "replies_lost_total", "counter",
		 "Replies whose client was gone."},
		{PROCESS_GATEWAY, COUNT_QUEUE, "queue", "gauge", "Requests waiting for a worker."},
		{PROCESS_VAULT, COUNT_HSM_ERRORS, "hsm_errors_total", "counter",
		 "Calls of the HSM that failed."},
		{PROCESS_LEDGER, COUNT_RECORDS, "ledger_records_total", "counter",
		 "Records made durable."},
		{PROCESS_LEDGER, COUNT_SYNCS, "ledger_syncs_total", "counter",
		 "Syncs of the ledger; one serves many records."},
		{PROCESS_LEDGER, COUNT_LEDGER_BYTES, "ledger_bytes_total", "counter",
		 "Bytes of records."},
		{PROCESS_LEDGER, COUNT_LEDGER_ERRORS, "ledger_errors_total", "counter",
		 "Records that could not be made durable; nothing was released."},
		{PROCESS_LEDGER, COUNT_REFUSALS_SUMMED, "ledger_refusals_summed_total", "counter",
		 "Refusals that are in a sum and have no record of their own."},
		{PROCESS_LEDGER, COUNT_LEDGER_LOW, "ledger_low", "gauge",
		 "1 while the disk has less free space than ledger_reserve."},
		{PROCESS_LEDGER, COUNT_REPEATS, "ledger_repeats_total", "counter",
		 "Single-use releases given again within single_use_grace."},
		{PROCESS_LEDGER, COUNT_REPLIES_LOST, "ledger_replies_lost_total", "counter",
		 "Recorded replies that no gateway took."},
		{PROCESS_FETCHER, COUNT_FETCHES, "fetches_total", "counter",
		 "Fetches of issuers' documents."},
		{PROCESS_FETCHER, COUNT_FETCH_ERRORS, "fetch_errors_total", "counter",
		 "Fetches that failed."},
		{PROCESS_SUPERVISOR, COUNT_RELOADS, "reloads_total", "counter",
		 "Configurations loaded by a reload."},
		{PROCESS_SUPERVISOR, COUNT_RELOADS_FAILED, "reloads_failed_total", "counter",
		 "Configurations refused by a reload; the old one stayed in force."},
		{PROCESS_SUPERVISOR, COUNT_KILLED_HUNG, "killed_hung_total", "counter",
		 "Processes killed because they hung."},
		{PROCESS_SUPERVISOR, COUNT_KILLED_FORBIDDEN, "killed_forbidden_total", "counter",
		 "Processes killed because of a system call that their sandbox forbids."},
	};
	uint64_t bad = 0, dropped = 0;

	add_head(out, "build_info", "gauge", "Always 1.");
	buf_addf(out, "keybroker_build_info{version=\"%s\"} 1\n", KB_VERSION);
	add_one(out, "start_time_seconds", "gauge", "When the supervisor started.",
		(uint64_t)atomic_load(&board->started_s));
	add_one(out, "config_load_time_seconds", "gauge",
		"When the configuration in force was loaded.",
		(uint64_t)atomic_load(&board->loaded_s));
	add_one(out, "config_generation", "gauge", "Number of the configuration in force.",
		atomic_load(&board->generation));
	add_one(out, "config_returned", "gauge",
		"Ledger record in which the configuration in force came into force before; 0: it "
		"is a new one.",
		atomic_load(&shared->ledger->config_returned));
	add_processes(shared, out);
	add_outcomes(&shared->ledger->outcomes, out, true);
	add_outcomes(&shared->ledger->outcomes, out, false);
	add_one(out, "outcomes_lost_total", "counter",
		"Releases and refusals that are counted above without key and issuer: too many "
		"labels.",
		atomic_load(&shared->ledger->outcomes.lost));
	add_refused(shared, out);
	add_histogram(shared, out, "gateway_seconds", "Request complete until its reply.",
		      PROCESS_GATEWAY, 0);
	add_histogram(shared, out, "vault_seconds", "A request in a worker.", PROCESS_VAULT, 0);
	add_histogram(shared, out, "judge_seconds", "Verifying and deciding.", PROCESS_VAULT, 1);
	add_histogram(shared, out, "hsm_seconds", "In the HSM.", PROCESS_VAULT, 2);
	add_histogram(shared, out, "ledger_commit_seconds",
		      "Writing and syncing one batch of records.", PROCESS_LEDGER, 0);
	add_head(out, "ledger_lag_seconds", "gauge",
		 "How long the batch now in sync has taken so far; 0 when there is none.");
	buf_addf(out, "keybroker_ledger_lag_seconds %.3f\n", ledger_lag_s(shared));
	for (size_t i = 0; i < sizeof plain / sizeof plain[0]; i++)
		add_one(out, plain[i].name, plain[i].type, plain[i].help,
			sum_of(shared, plain[i].kind, plain[i].counter));
	for (enum process_kind k = PROCESS_SUPERVISOR; k < PROCESS_COUNT; k++) {
		bad += sum_of(shared, k, COUNT_FRAMES_BAD);
		dropped += sum_of(shared, k, COUNT_LOG_DROPPED);
	}
	add_one(out, "frames_bad_total", "counter",
		"Messages between processes that did not decode.", bad);
	add_one(out, "log_lines_dropped_total", "counter",
		"Lines of the log that were dropped because nobody read it.", dropped);
	add_issuers(shared, out, clock_wall_s());
}
