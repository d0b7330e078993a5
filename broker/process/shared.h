/* broker/process/shared.h — the memory in which processes tell each other of their work: a page
 * each, a file of its own in memory (memfd), which its process maps for writing and all others for
 * reading.  So what a captured process writes it says of itself.  Who a process is (kind,
 * generation, pid) says the supervisor, on its own page, the board.  No secret is here, and no
 * release is decided by it. */
#ifndef KB_PROCESS_SHARED_H
#define KB_PROCESS_SHARED_H
#include <sys/types.h>

#include "process/health.h"
#include "process/stats.h"

/* Of a process, written by it alone. */
struct page {
	struct process_health health;
	struct process_stats stats;
	union {
		/* gateway: by code, before a request reaches a vault */
		_Atomic uint64_t refused[KB_ERR_COUNT];
		struct issuer_fetch fetch[KB_MAX_ISSUERS]; /* fetcher */
		struct issuer_use use[KB_MAX_ISSUERS];     /* vault */
	};
};

/* Of the ledger.  A restarted one finds what its predecessor counted. */
struct ledger_page {
	struct page page;
	/* When the configuration in force was in force before: the ledger record that says so.
	 * 0: it was not. */
	_Atomic uint64_t config_returned;
	struct outcomes outcomes;
};

struct seat { /* who has the page of this slot; its figures stay until the slot is taken again */
	_Atomic uint32_t kind;       /* enum process_kind; PROCESS_NONE: the slot is free */
	_Atomic uint32_t generation; /* of the configuration it was started with */
	_Atomic int32_t pid;         /* 0: not running */
	_Atomic uint32_t fault;      /* enum kb_err: why it ended, until it is READY again */
};

struct board_issuer {
	char name[128];
	_Atomic uint32_t is_pinned; /* its keys are a file of the configuration */
};

struct retired { /* sums over ended processes of a kind, so that counters only grow */
	struct process_stats stats;
	_Atomic uint64_t refused[KB_ERR_COUNT];
};

/* Of the supervisor. */
struct board {
	struct page page;
	struct seat seat[PROCESS_SLOTS];
	_Atomic uint32_t generation; /* the one that accepts */
	_Atomic int64_t started_s, loaded_s;
	char config_digest[65];     /* of the accepting generation, hex */
	_Atomic uint32_t n_issuers; /* … and its issuers, in the configuration's order */
	struct board_issuer issuer[KB_MAX_ISSUERS];
	struct retired retired[PROCESS_COUNT];
	_Atomic int64_t
		clock_stepped_ms; /* clock_mono_ms() of the wall clock's last step; 0: none */
};

/* All pages, for reading. */
struct shared {
	const struct board *board;
	const struct ledger_page *ledger;
	const struct page *page[PROCESS_SLOTS];
};

/* Who has this slot; false: nobody of this kind, or (unless 0) of this generation. */
bool shared_is(const struct shared *s, unsigned slot, enum process_kind kind, uint32_t generation);
/* Its process runs, and says that it serves. */
bool shared_is_serving(const struct shared *s, unsigned slot);
/* Why it does not: what it says, or what the supervisor knows of its end. */
enum kb_err shared_fault(const struct shared *s, unsigned slot);
/* What the generation's fetcher says of its issuers; NULL: it has none. */
const struct issuer_fetch *shared_fetch(const struct shared *s, uint32_t generation);
/* What the generation's serving vaults have of an issuer: in use only when it is in all of them.
 * The oldest set; KB_E_ISSUER_UNAVAILABLE when there is no such vault, or one has no set. */
struct issuer_state {
	enum kb_err fault; /* KB_OK: in use */
	int64_t fetched_s; /* 0: none, or keys from a file */
	uint32_t keys;
};
struct issuer_state shared_issuer(const struct shared *s, uint32_t generation, unsigned issuer);
/* A vault of the generation says that the HSM refused the PIN. */
bool shared_is_pin_refused(const struct shared *s, uint32_t generation);

/* ---- in a process ---- */

/* Map all pages, `slot`'s for writing, through descriptors `first`, `first` + 1 … (for reading) and
 * `own`; all are closed.  KB_E_SYS, also when they are not those of shared_create(). */
KB_MUST_CHECK enum kb_err shared_attach(unsigned slot, int own, int first, struct shared *out,
					struct page **page);

/* ---- in the supervisor ---- */

struct shared_host {
	struct shared all;
	struct board *board;
	int fd[PROCESS_SLOTS]; /* for reading; −1: none */
};

/* Descriptors are close-on-exec and `least` or above.  KB_E_SYS. */
KB_MUST_CHECK enum kb_err shared_create(struct shared_host *h, int least);
void shared_free(struct shared_host *h);
/* A free slot with an empty page, or −1.  The ledger has one of its own. */
int shared_take(struct shared_host *h, enum process_kind kind, uint32_t generation);
/* Before its process is started again: counters are added to `retired`, health begins anew. */
KB_MUST_CHECK enum kb_err shared_renew(struct shared_host *h, unsigned slot);
/* Its process has ended for good. */
void shared_give_back(struct shared_host *h, unsigned slot);
/* For the process that is to own the page; the caller closes it.  −1: it cannot be opened. */
int shared_open_own(const struct shared_host *h, unsigned slot);

#endif
