/* broker/process/stats.c — counters in shared memory.  Decides nothing.  Trusts nobody: any process
 * can write any byte of it, so indices and text are bounded when read, and no check anywhere
 * depends on it. */
#include "process/stats.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"

static const uint64_t magic = 0x6b62736331303031; /* "kbsc1001" */

static const char *const names[PROCESS_COUNT] = {
	[PROCESS_NONE] = "none",       [PROCESS_SUPERVISOR] = "supervisor",
	[PROCESS_GATEWAY] = "gateway", [PROCESS_VAULT] = "vault",
	[PROCESS_LEDGER] = "ledger",   [PROCESS_FETCHER] = "fetcher",
};

const char *process_name(enum process_kind r)
{
	return (unsigned)r < PROCESS_COUNT ? names[r] : names[PROCESS_NONE];
}

/* ---- the memory ---- */

enum kb_err stats_create(int *fd, struct stats **out)
{
	*out = NULL;
	*fd = memfd_create("shared statistics", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (*fd < 0)
		return KB_E_SYS;
	/* Sealed against shrinking: no room can make another's access a SIGBUS. */
	if (ftruncate(*fd, sizeof(struct stats)) != 0 ||
	    fcntl(*fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0)
		goto fail;
	struct stats *stats = mmap(NULL, sizeof *stats, PROT_READ | PROT_WRITE, MAP_SHARED, *fd, 0);
	if (stats == MAP_FAILED)
		goto fail;
	stats->magic = magic;
	stats->size = sizeof *stats;
	*out = stats;
	return KB_OK;
fail:
	close(*fd);
	*fd = -1;
	return KB_E_SYS;
}

enum kb_err stats_attach(int fd, struct stats **out)
{
	struct stat st;

	*out = NULL;
	if (fstat(fd, &st) != 0 || st.st_size != (off_t)sizeof(struct stats))
		return KB_E_SYS;
	struct stats *stats = mmap(NULL, sizeof *stats, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (stats == MAP_FAILED)
		return KB_E_SYS;
	if (stats->magic != magic || stats->size != sizeof *stats) {
		munmap(stats, sizeof *stats);
		return KB_E_SYS;
	}
	*out = stats;
	return KB_OK;
}

/* ---- slots ---- */

struct slot *stats_slot(struct stats *stats, unsigned index)
{
	if (index >= STATS_SLOTS)
		KB_BUG();
	return &stats->slot[index];
}

int stats_take(struct stats *stats, enum process_kind process, uint32_t generation)
{
	for (int i = 0; i < STATS_SLOTS; i++) {
		struct slot *s = &stats->slot[i];
		if (atomic_load(&s->process) != PROCESS_NONE)
			continue;
		memset(s, 0, sizeof *s);
		atomic_store(&s->generation, generation);
		atomic_store(&s->state, SLOT_STARTING);
		atomic_store(&s->process, process);
		return i;
	}
	return -1;
}

bool counter_is_gauge(enum counter c)
{
	return c == COUNT_CONNECTIONS_OPEN || c == COUNT_QUEUE;
}

void histogram_sum(struct histogram *to, const struct histogram *from)
{
	for (size_t i = 0; i < HIST_BUCKETS; i++)
		atomic_fetch_add(&to->count[i], atomic_load(&from->count[i]));
	atomic_fetch_add(&to->sum_us, atomic_load(&from->sum_us));
	atomic_fetch_add(&to->n, atomic_load(&from->n));
}

void stats_give_back(struct stats *stats, unsigned index)
{
	struct slot *s = stats_slot(stats, index);
	unsigned process = atomic_load(&s->process);

	if (process != PROCESS_NONE && process < PROCESS_COUNT) {
		struct slot *sum = &stats->retired[process];
		for (enum counter c = 0; c < COUNTER_COUNT; c++)
			if (!counter_is_gauge(c))
				atomic_fetch_add(&sum->counter[c], atomic_load(&s->counter[c]));
		histogram_sum(&sum->total, &s->total);
		histogram_sum(&sum->judge, &s->judge);
		histogram_sum(&sum->hsm, &s->hsm);
	}
	memset(s, 0, sizeof *s);
}

void slot_set(struct slot *s, enum slot_state state)
{
	if (state == SLOT_READY) {
		atomic_store(&s->request_id, 0);
		atomic_store(&s->fault, KB_OK);
	}
	atomic_store(&s->state, state);
}

void slot_busy(struct slot *s, uint64_t request_id)
{
	atomic_store(&s->busy_since_ms, clock_mono_ms());
	atomic_store(&s->request_id, request_id);
	atomic_store(&s->state, SLOT_BUSY);
}

void slot_count(struct slot *s, enum counter c, uint64_t n)
{
	atomic_fetch_add_explicit(&s->counter[c], n, memory_order_relaxed);
}

void slot_gauge(struct slot *s, enum counter c, uint64_t value)
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

/* Another process may be filling in the name just now; if it died there, the entry stays unused. */
static uint32_t settled(const _Atomic uint32_t *used)
{
	uint32_t u = atomic_load(used);

	for (unsigned spin = 0; u == ENTRY_CLAIMED && spin < 1000; spin++) {
		sched_yield();
		u = atomic_load(used);
	}
	return u;
}

struct issuer_slot *stats_issuer(struct stats *stats, const char *name, const char *origin)
{
	struct span want = bounded(name, sizeof stats->issuer->name - 1),
		    from = bounded(origin, sizeof stats->issuer->origin - 1);

	for (size_t i = 0; i < STATS_ISSUERS; i++) {
		struct issuer_slot *s = &stats->issuer[i];
		if (settled(&s->used) == ENTRY_USED &&
		    span_eq(bounded(s->name, sizeof s->name), want) &&
		    span_eq(bounded(s->origin, sizeof s->origin), from))
			return s;
	}
	for (size_t i = 0; i < STATS_ISSUERS; i++) {
		struct issuer_slot *s = &stats->issuer[i];
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

void stats_keep_issuers(struct stats *stats, struct issuer_slot *const *keep, size_t n)
{
	for (size_t i = 0; i < STATS_ISSUERS; i++) {
		struct issuer_slot *s = &stats->issuer[i];
		size_t k = 0;
		while (k < n && keep[k] != s)
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

void stats_outcome(struct stats *stats, enum kb_err code, struct span key, struct span issuer)
{
	uint32_t hash = 2166136261u ^
			(uint32_t)code; /* FNV-1a: names of the configuration, not a stranger's */

	for (size_t i = 0; i < key.len; i++)
		hash = (hash ^ key.p[i]) * 16777619u;
	for (size_t i = 0; i < issuer.len; i++)
		hash = (hash ^ issuer.p[i]) * 16777619u;
	for (unsigned probe = 0; probe < 64; probe++) {
		struct outcome_slot *o = &stats->outcome[(hash + probe) % STATS_OUTCOMES];
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
			continue;
		}
		atomic_fetch_add(&o->n, 1);
		return;
	}
	atomic_fetch_add(&stats->outcomes_lost, 1);
}
