/* broker/process/stats.c — counters in shared memory.  Decides nothing.  Any process can write any
 * byte of it, so indices and text are bounded when read, and no release is decided by it. */
#include "process/stats.h"

#include <sched.h>

/* ---- the figures of one process ---- */

bool counter_is_gauge(enum counter c)
{
	return c == COUNT_CONNECTIONS_OPEN || c == COUNT_QUEUE || c == COUNT_LEDGER_LOW;
}

void histogram_sum(struct histogram *to, const struct histogram *from)
{
	for (size_t i = 0; i < HIST_BUCKETS; i++)
		atomic_fetch_add(&to->count[i], atomic_load(&from->count[i]));
	atomic_fetch_add(&to->sum_us, atomic_load(&from->sum_us));
	atomic_fetch_add(&to->n, atomic_load(&from->n));
}

void stats_start(struct stats *stats, unsigned index, enum process_kind kind)
{
	if (index >= PROCESS_SLOTS)
		KB_BUG();
	struct process_stats *s = &stats->process[index];
	memset(s, 0, sizeof *s);
	atomic_store(&s->kind, kind);
}

void stats_retire(struct stats *stats, unsigned index)
{
	if (index >= PROCESS_SLOTS)
		KB_BUG();
	struct process_stats *s = &stats->process[index];
	unsigned kind = atomic_load(&s->kind);

	if (kind != PROCESS_NONE && kind < PROCESS_COUNT) {
		struct process_stats *sum = &stats->retired[kind];
		for (enum counter c = 0; c < COUNTER_COUNT; c++)
			if (!counter_is_gauge(c))
				atomic_fetch_add(&sum->counter[c], atomic_load(&s->counter[c]));
		histogram_sum(&sum->total, &s->total);
		histogram_sum(&sum->judge, &s->judge);
		histogram_sum(&sum->hsm, &s->hsm);
	}
	memset(s, 0, sizeof *s);
}

void stats_count(struct process_stats *s, enum counter c, uint64_t n)
{
	atomic_fetch_add_explicit(&s->counter[c], n, memory_order_relaxed);
}

void stats_gauge(struct process_stats *s, enum counter c, uint64_t value)
{
	atomic_store_explicit(&s->counter[c], value, memory_order_relaxed);
}

void histogram_add(struct histogram *h, int64_t us)
{
	uint64_t value = us < 0 ? 0 : (uint64_t)us;
	size_t i = 0;

	while (i < HIST_BUCKETS - 1 && value > (uint64_t)1 << (i + 5))
		i++;
	atomic_fetch_add_explicit(&h->count[i], 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&h->sum_us, value, memory_order_relaxed);
	atomic_fetch_add_explicit(&h->n, 1, memory_order_relaxed);
}

/* ---- issuers and outcomes ---- */

static struct span bounded(const char *text, size_t cap)
{
	return span_of(text, strnlen(text, cap));
}

/* Another process may be writing the name now.  If it ended there, the entry stays unused. */
static uint32_t settled(const _Atomic uint32_t *used)
{
	uint32_t u = atomic_load(used);

	for (unsigned spin = 0; u == ENTRY_CLAIMED && spin < 1000; spin++) {
		sched_yield();
		u = atomic_load(used);
	}
	return u;
}

struct issuer_stats *stats_issuer(struct stats *stats, const char *name, const char *origin)
{
	struct span want = bounded(name, sizeof stats->issuer->name - 1),
		    from = bounded(origin, sizeof stats->issuer->origin - 1);

	for (size_t i = 0; i < STATS_ISSUERS; i++) {
		struct issuer_stats *s = &stats->issuer[i];
		if (settled(&s->used) == ENTRY_USED &&
		    span_eq(bounded(s->name, sizeof s->name), want) &&
		    span_eq(bounded(s->origin, sizeof s->origin), from))
			return s;
	}
	for (size_t i = 0; i < STATS_ISSUERS; i++) {
		struct issuer_stats *s = &stats->issuer[i];
		uint32_t expected = ENTRY_FREE;
		if (!atomic_compare_exchange_strong(&s->used, &expected, ENTRY_CLAIMED))
			continue;
		memset(s->name, 0, sizeof s->name);
		memcpy(s->name, want.p, want.len);
		memset(s->origin, 0, sizeof s->origin);
		memcpy(s->origin, from.p, from.len);
		atomic_store(&s->in_force, 0);
		atomic_store(&s->fetched_s, 0);
		atomic_store(&s->stale_at_s, 0);
		atomic_store(&s->attempt_s, 0);
		atomic_store(&s->fault, KB_OK);
		atomic_store(&s->keys, 0);
		atomic_store(&s->used, ENTRY_USED);
		return s;
	}
	return NULL;
}

bool issuer_is_shown(const struct issuer_stats *s)
{
	return atomic_load(&s->used) == ENTRY_USED && atomic_load(&s->in_force) != 0;
}

void stats_keep_issuers(struct stats *stats, struct issuer_stats *const *entries, size_t n)
{
	for (size_t i = 0; i < STATS_ISSUERS; i++) {
		struct issuer_stats *s = &stats->issuer[i];
		size_t k = 0;
		while (k < n && entries[k] != s)
			k++;
		atomic_store(&s->in_force, k < n);
		if (k == n)
			atomic_store(&s->used, ENTRY_FREE);
	}
}

static bool is_label(const char *text, size_t cap, struct span s)
{
	return span_eq(bounded(text, cap), span_sub(s, 0, cap - 1));
}

/* False: the entry is another one's. */
static bool count_in(struct outcome_stats *o, enum kb_err code, struct span key, struct span issuer)
{
	if (atomic_load(&o->used) != ENTRY_USED) {
		struct span k = span_sub(key, 0, sizeof o->key - 1),
			    is = span_sub(issuer, 0, sizeof o->issuer - 1);
		o->code = (uint16_t)code;
		memset(o->key, 0, sizeof o->key);
		memset(o->issuer, 0, sizeof o->issuer);
		if (k.len > 0)
			memcpy(o->key, k.p, k.len);
		if (is.len > 0)
			memcpy(o->issuer, is.p, is.len);
		atomic_store(&o->n, 0);
		atomic_store(&o->used, ENTRY_USED);
	} else if (o->code != (uint16_t)code || !is_label(o->key, sizeof o->key, key) ||
		   !is_label(o->issuer, sizeof o->issuer, issuer)) {
		return false;
	}
	atomic_fetch_add(&o->n, 1);
	return true;
}

/* The table's first entries are one for each code, without labels; its second half is the
 * releases'.  A stranger can have every key refused with every code, and must not take the places
 * of releases, nor leave anything uncounted. */
void stats_outcome(struct stats *stats, enum kb_err code, struct span key, struct span issuer)
{
	enum { HALF = STATS_OUTCOMES / 2 };
	const size_t from = code == KB_OK ? HALF : KB_ERR_COUNT, places = HALF - from % HALF;
	/* FNV-1a, not seeded: the names come from the configuration, not from clients. */
	uint32_t hash = 2166136261u ^ (uint32_t)code;

	for (size_t i = 0; i < key.len; i++)
		hash = (hash ^ key.p[i]) * 16777619u;
	for (size_t i = 0; i < issuer.len; i++)
		hash = (hash ^ issuer.p[i]) * 16777619u;
	for (unsigned probe = 0; probe < 64 && key.len + issuer.len > 0; probe++)
		if (count_in(&stats->outcome[from + (hash + probe) % places], code, key, issuer))
			return;
	(void)count_in(&stats->outcome[code < KB_ERR_COUNT ? code : KB_E_BUG], code,
		       span_of(NULL, 0), span_of(NULL, 0));
	if (key.len + issuer.len > 0)
		atomic_fetch_add(&stats->outcomes_lost, 1);
}
