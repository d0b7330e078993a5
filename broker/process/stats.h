/* broker/process/stats.h — shared memory of counters: each process writes its own slot, the ledger
 * the outcomes, the fetcher the issuers; the supervisor's watchdog and the gateway's /metrics,
 * /readyz read.  No secret, no decision: a forged number misleads an operator, never a check. */
#ifndef KB_PROCESS_STATS_H
#define KB_PROCESS_STATS_H
#include <stdatomic.h>

#include "base/bytes.h"
#include "base/limits.h"

enum process_kind {
	PROCESS_NONE,
	PROCESS_SUPERVISOR,
	PROCESS_GATEWAY,
	PROCESS_VAULT,
	PROCESS_LEDGER,
	PROCESS_FETCHER,
	PROCESS_COUNT
};
const char *process_name(enum process_kind r);

enum slot_state {
	SLOT_FREE,
	SLOT_STARTING,
	SLOT_READY,    /* waiting for work */
	SLOT_BUSY,     /* in a request since busy_since_ms: the watchdog counts */
	SLOT_HANDOVER, /* vault: waits for the ledger to take the reply; not the watchdog's business
			*/
	SLOT_FAILED,   /* alive, cannot serve; `fault` says why */
	SLOT_DRAINING,
};

enum {
	HIST_BUCKETS = 20
}; /* bucket i counts values ≤ 2^(i+5) µs: 32 µs … 16.8 s; the last one all above */
struct histogram {
	_Atomic uint64_t count[HIST_BUCKETS], sum_us, n;
};
void histogram_add(struct histogram *h, int64_t us);
void histogram_sum(struct histogram *to, const struct histogram *from); /* added to *to */

enum counter {                         /* of one process */
	       COUNT_CONNECTIONS,      /* gateway: accepted */
	       COUNT_CONNECTIONS_OPEN, /* gateway: gauge */
	       COUNT_HANDSHAKES,
	       COUNT_HANDSHAKES_RESUMED,
	       COUNT_HANDSHAKES_FAILED,
	       COUNT_REQUESTS, /* gateway: frames sent to the vault */
	       COUNT_REPLIES,
	       COUNT_REPLIES_LOST, /* lost: the client was gone */
	       COUNT_QUEUE,        /* gateway: gauge, requests waiting for a worker */
	       COUNT_REFUSED,      /* gateway: answered without a vault, sum over codes */
	       COUNT_HSM_ERRORS,   /* vault */
	       COUNT_FRAMES_BAD,   /* a message that did not decode */
	       COUNT_RECORDS,
	       COUNT_SYNCS,
	       COUNT_LEDGER_BYTES,
	       COUNT_LEDGER_ERRORS, /* ledger */
	       COUNT_FETCHES,
	       COUNT_FETCH_ERRORS, /* fetcher */
	       COUNT_RESTARTS,
	       COUNT_RELOADS,
	       COUNT_RELOADS_FAILED,
	       COUNT_KILLED_HUNG,
	       COUNT_KILLED_FORBIDDEN, /* supervisor */
	       COUNTER_COUNT
};

bool counter_is_gauge(enum counter c); /* the others only grow */

struct slot {
	_Atomic int32_t pid; /* 0: free */
	_Atomic uint32_t process, state, generation,
		fault;                 /* enum process_kind, enum slot_state, …, enum kb_err */
	_Atomic int64_t busy_since_ms; /* clock_mono_ms() */
	_Atomic int64_t call_since_ms; /* vault: of the HSM call that runs now, 0: none */
	_Atomic uint64_t request_id;   /* the frame in work, 0 when none */
	_Atomic uint64_t counter[COUNTER_COUNT];
	struct histogram total, judge,
		hsm; /* gateway: total; vault: all three; ledger: total is the commit */
};

enum {
	ENTRY_FREE,
	ENTRY_USED,
	ENTRY_CLAIMED
}; /* `used` below; claimed: somebody is setting the name */

struct issuer_slot {
	_Atomic uint32_t used;
	char name[128];
	char origin[65]; /* struct keyset_origin's id: figures of one issuer do not count for
			    another that has its name now */
	_Atomic uint32_t in_force; /* of the accepting generation's configuration: what /metrics and
				      /readyz show */
	_Atomic int64_t fetched_s, stale_at_s, attempt_s; /* wall clock; 0: never */
	_Atomic uint32_t fault;                           /* enum kb_err of the last attempt */
	_Atomic uint32_t keys;
};

struct outcome_slot { /* written by the ledger alone */
	_Atomic uint32_t used;
	uint16_t code;
	char key[KB_MAX_KEY_NAME + 1], issuer[128];
	_Atomic uint64_t n;
};

enum {
	STATS_SLOTS = 256,
	STATS_OUTCOMES = 4096,
	STATS_ISSUERS = 2 * KB_MAX_ISSUERS
}; /* issuers: of two generations */
struct stats {
	uint64_t magic, size;
	_Atomic uint32_t generation; /* the one that accepts */
	_Atomic int64_t started_s, loaded_s;
	char config_digest[65];                 /* of the accepting generation, hex */
	_Atomic uint64_t refused[KB_ERR_COUNT]; /* by gateways, before a request reaches a vault */
	_Atomic uint64_t outcomes_lost;         /* no free outcome_slot: the labels were too many */
	struct slot slot[STATS_SLOTS];
	struct issuer_slot issuer[STATS_ISSUERS];
	struct outcome_slot outcome[STATS_OUTCOMES];
	struct slot retired[PROCESS_COUNT]; /* sums of the slots given back, a process each: so that
					       counters only grow */
	_Atomic uint32_t pin_refused; /* the last generation whose PIN the HSM refused, 0: none */
	_Atomic uint64_t config_returned; /* the configuration in force was left before: the record
					     it was last taken up in; 0: it was not */
	_Atomic int64_t
		clock_stepped_ms; /* clock_mono_ms() of the last jump of the wall clock, 0: none */
};

KB_MUST_CHECK enum kb_err stats_create(int *fd, struct stats **out); /* memfd, close-on-exec */
KB_MUST_CHECK enum kb_err stats_attach(int fd, struct stats **out);  /* checks magic and size */
struct slot *stats_slot(struct stats *stats, unsigned index);        /* KB_BUG past the end */
int stats_take(struct stats *stats, enum process_kind process,
	       uint32_t generation); /* supervisor: a free slot's index, zeroed, or -1 */
void stats_give_back(struct stats *stats,
		     unsigned index); /* supervisor: its process is gone for good; its counters are
					 kept in `retired` */
void slot_set(struct slot *s,
	      enum slot_state state); /* SLOT_READY also clears fault and request_id */
void slot_busy(struct slot *s, uint64_t request_id); /* SLOT_BUSY since now */
void slot_count(struct slot *s, enum counter c, uint64_t n);
void slot_gauge(struct slot *s, enum counter c, uint64_t value);
struct issuer_slot *stats_issuer(struct stats *stats, const char *name,
				 const char *origin); /* found or made; NULL when full */
/* Supervisor: these are in force, all others are forgotten.  NULLs among them are passed over. */
void stats_keep_issuers(struct stats *stats, struct issuer_slot *const *keep, size_t n);
/* One judged call: KB_OK is a release, everything else a refusal. */
void stats_outcome(struct stats *stats, enum kb_err code, struct span key, struct span issuer);

/* Prometheus text format 0.0.4 of everything, and the JSON of /readyz; *ready says whether it is
 * 200 or 503. */
void stats_metrics(const struct stats *stats, struct buf *out);
void stats_ready(const struct stats *stats, int64_t now_s, struct buf *json, bool *ready);

#endif
