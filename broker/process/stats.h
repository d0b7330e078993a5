/* broker/process/stats.h — figures for operators: counters and times of a process, counts of
 * outcomes, the state of issuers' key sets.  They are part of the pages of shared.h; the gateway's
 * /metrics and /readyz read them all.  A forged figure misleads an operator, never a check. */
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
/* A count of another process.  0 for one that nothing can have reached: a page full of noise would
 * spoil the sums. */
uint64_t stats_read(const _Atomic uint64_t *count);

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
	/* any */
	COUNT_FRAMES_BAD,  /* messages that did not decode */
	COUNT_LOG_DROPPED, /* lines of the log that nobody took */
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
	_Atomic uint64_t counter[COUNTER_COUNT];
	/* gateway: total; vault: all three; ledger: total is the commit */
	struct histogram total, judge, hsm;
};
void stats_count(struct process_stats *s, enum counter c, uint64_t n);
void stats_gauge(struct process_stats *s, enum counter c, uint64_t value);

/* A message did not decode.  True when their number is a power of two: say so in the log then;
 * otherwise its sender could fill it. */
bool stats_bad_frame(struct process_stats *s);
/* Added to *to, but not its gauges: the process has ended. */
void stats_retire(struct process_stats *to, const struct process_stats *from);

/* ---- issuers, by their index in the configuration of the process's generation ---- */

struct issuer_fetch {                         /* of the fetcher */
	_Atomic int64_t fetched_s, attempt_s; /* wall clock; 0: never */
	_Atomic uint32_t fault;               /* enum kb_err of the last attempt */
	_Atomic uint32_t keys;
};

struct issuer_use {                 /* of a vault: the set that it judges with */
	_Atomic int64_t fetched_s;  /* wall clock; 0: none, or keys from a file */
	_Atomic uint32_t is_in_use; /* there is one, and it is not too old */
	_Atomic uint32_t fault;     /* enum kb_err: why none is in use */
	_Atomic uint32_t keys;
	/* Kids that it had no fitting key for: half of a hash, and the low half of the fetched_s of
	 * the set.  All workers read them: a guest's next try may reach another one. */
	_Atomic uint64_t missed[KB_KID_MISSES];
};

/* ---- of the ledger ---- */

enum { ENTRY_FREE, ENTRY_USED };

struct outcome_stats {
	_Atomic uint32_t used;
	uint16_t code;
	char key[KB_MAX_KEY_NAME + 1], issuer[128];
	_Atomic uint64_t n;
};

enum { STATS_OUTCOMES = 4096 };
struct outcomes {
	_Atomic uint64_t lost; /* no free outcome_stats: too many labels */
	struct outcome_stats outcome[STATS_OUTCOMES];
};
/* One judged call: KB_OK is a release, everything else a refusal. */
void stats_outcome(struct outcomes *o, enum kb_err code, struct span key, struct span issuer);

#endif
