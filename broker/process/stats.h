/* broker/process/stats.h — figures for operators: counters and times of each process, counts of
 * outcomes, the state of issuers' key sets.  Each process writes its own entry, the ledger the
 * outcomes, the fetcher the issuers; the gateway's /metrics and /readyz read them all.  A forged
 * figure misleads an operator, never a check. */
#ifndef KB_PROCESS_STATS_H
#define KB_PROCESS_STATS_H
#include <stdatomic.h>

#include "base/bytes.h"
#include "base/limits.h"
#include "process/kind.h"

/* ---- of one process ---- */

/* Bucket i counts values ≤ 2^(i+5) µs: 32 µs … 16.8 s; the last one all above. */
enum { HIST_BUCKETS = 20 };
struct histogram {
	_Atomic uint64_t count[HIST_BUCKETS], sum_us, n;
};
void histogram_add(struct histogram *h, int64_t us);
void histogram_sum(struct histogram *to, const struct histogram *from); /* added to *to */

enum counter {
	/* gateway */
	COUNT_CONNECTIONS,      /* accepted */
	COUNT_CONNECTIONS_OPEN, /* gauge */
	COUNT_HANDSHAKES,
	COUNT_HANDSHAKES_RESUMED,
	COUNT_HANDSHAKES_FAILED,
	COUNT_REQUESTS, /* frames sent to the vault */
	COUNT_REPLIES,
	COUNT_REPLIES_LOST, /* the client was gone; ledger: no gateway took it */
	COUNT_QUEUE,        /* gauge: requests waiting for a worker */
	COUNT_REFUSED,      /* answered without a vault, sum over codes */
	/* vault */
	COUNT_HSM_ERRORS,
	/* any: a message that did not decode */
	COUNT_FRAMES_BAD,
	/* ledger */
	COUNT_RECORDS,
	COUNT_SYNCS,
	COUNT_LEDGER_BYTES,
	COUNT_LEDGER_ERRORS,
	COUNT_REFUSALS_SUMMED, /* refusals that have no record of their own */
	COUNT_LEDGER_LOW,      /* gauge: 1 while the free space is below the reserve */
	COUNT_REPEATS,         /* of single-use releases, within the grace */
	/* fetcher */
	COUNT_FETCHES,
	COUNT_FETCH_ERRORS,
	/* supervisor */
	COUNT_RESTARTS,
	COUNT_RELOADS,
	COUNT_RELOADS_FAILED,
	COUNT_KILLED_HUNG,
	COUNT_KILLED_FORBIDDEN,
	COUNTER_COUNT
};
bool counter_is_gauge(enum counter c); /* the others only grow */

struct process_stats {
	_Atomic uint32_t kind; /* enum process_kind; PROCESS_NONE: the entry is free */
	_Atomic uint64_t counter[COUNTER_COUNT];
	/* gateway: total; vault: all three; ledger: total is the commit */
	struct histogram total, judge, hsm;
};
void stats_count(struct process_stats *s, enum counter c, uint64_t n);
void stats_gauge(struct process_stats *s, enum counter c, uint64_t value);

/* ---- of all ---- */

/* `used` of the entries below.  Claimed: a process is writing the name. */
enum { ENTRY_FREE, ENTRY_USED, ENTRY_CLAIMED };

struct issuer_stats {
	_Atomic uint32_t used;
	char name[128];
	/* struct keyset_origin's id: an issuer that has the name of another gets its own
	 * figures. */
	char origin[65];
	_Atomic uint32_t in_force; /* in the accepting generation's configuration */
	_Atomic int64_t fetched_s, stale_at_s, attempt_s; /* wall clock; 0: never */
	_Atomic uint32_t fault;                           /* enum kb_err of the last attempt */
	_Atomic uint32_t keys;
};

struct outcome_stats { /* written by the ledger alone */
	_Atomic uint32_t used;
	uint16_t code;
	char key[KB_MAX_KEY_NAME + 1], issuer[128];
	_Atomic uint64_t n;
};

/* Issuers of two generations: while a reload tries a new one, both are there. */
enum { STATS_OUTCOMES = 4096, STATS_ISSUERS = 2 * KB_MAX_ISSUERS };
struct stats {
	_Atomic uint32_t generation; /* the one that accepts */
	_Atomic int64_t started_s, loaded_s;
	char config_digest[65];                 /* of the accepting generation, hex */
	_Atomic uint64_t refused[KB_ERR_COUNT]; /* by gateways, before a request reaches a vault */
	_Atomic uint64_t outcomes_lost;         /* no free outcome_stats: too many labels */
	struct process_stats process[PROCESS_SLOTS];
	/* Sums over ended processes, by kind, so that counters only grow. */
	struct process_stats retired[PROCESS_COUNT];
	struct issuer_stats issuer[STATS_ISSUERS];
	struct outcome_stats outcome[STATS_OUTCOMES];
	/* When the configuration in force was in force before: the ledger record that says so.
	 * 0: it was not. */
	_Atomic uint64_t config_returned;
	_Atomic int64_t
		clock_stepped_ms; /* clock_mono_ms() of the wall clock's last step; 0: none */
};

/* For shared.c.  KB_BUG past the end. */
void stats_start(struct stats *stats, unsigned index, enum process_kind kind);
void stats_retire(struct stats *stats, unsigned index); /* its counters go to `retired` */

/* Found or made, by name and struct keyset_origin's id; NULL when all entries are used. */
struct issuer_stats *stats_issuer(struct stats *stats, const char *name, const char *origin);
/* Supervisor: these entries are in force, all others are freed.  NULLs among them are skipped. */
void stats_keep_issuers(struct stats *stats, struct issuer_stats *const *entries, size_t n);
/* For /metrics and /readyz.  Not the entries of a configuration that is only being tried: one name
 * would be there twice. */
bool issuer_is_shown(const struct issuer_stats *s);
/* One judged call: KB_OK is a release, everything else a refusal. */
void stats_outcome(struct stats *stats, enum kb_err code, struct span key, struct span issuer);

#endif
