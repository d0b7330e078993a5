/* broker/process/stats.c — counters in shared memory.  Decides nothing.  What another process wrote
 * may be any bytes: counts and text are bounded when read, and no release is decided by them. */
#include "process/stats.h"

/* ---- the figures of one process ---- */

bool counter_is_gauge(enum counter c)
{
	return c == COUNT_CONNECTIONS_OPEN || c == COUNT_QUEUE || c == COUNT_LEDGER_LOW;
}

void histogram_sum(struct histogram *to, const struct histogram *from)
{
	for (size_t i = 0; i < HIST_BUCKETS; i++)
		atomic_fetch_add(&to->count[i], stats_read(&from->count[i]));
	atomic_fetch_add(&to->sum_us, stats_read(&from->sum_us));
	atomic_fetch_add(&to->n, stats_read(&from->n));
}

uint64_t stats_read(const _Atomic uint64_t *count)
{
	uint64_t n = atomic_load(count);

	return n >> 53 == 0 ? n : 0; /* what a reader's floating point holds */
}

bool stats_bad_frame(struct process_stats *s)
{
	uint64_t so_far = atomic_fetch_add(&s->counter[COUNT_FRAMES_BAD], 1);

	return (so_far & (so_far + 1)) == 0;
}

void stats_retire(struct process_stats *to, const struct process_stats *from)
{
	for (enum counter c = 0; c < COUNTER_COUNT; c++)
		if (!counter_is_gauge(c))
			atomic_fetch_add(&to->counter[c], stats_read(&from->counter[c]));
	histogram_sum(&to->total, &from->total);
	histogram_sum(&to->judge, &from->judge);
	histogram_sum(&to->hsm, &from->hsm);
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

/* ---- outcomes ---- */

static struct span bounded(const char *text, size_t cap)
{
	return span_of(text, strnlen(text, cap));
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
void stats_outcome(struct outcomes *all, enum kb_err code, struct span key, struct span issuer)
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
		if (count_in(&all->outcome[from + (hash + probe) % places], code, key, issuer))
			return;
	(void)count_in(&all->outcome[code < KB_ERR_COUNT ? code : KB_E_BUG], code, span_of(NULL, 0),
		       span_of(NULL, 0));
	if (key.len + issuer.len > 0)
		atomic_fetch_add(&all->lost, 1);
}
