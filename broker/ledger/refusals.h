/* broker/ledger/refusals.h — which refusals get a record of their own, and the sums of those that
 * do not.  Calls without a credential are refused at no cost to the caller, so what they cost the
 * disk is bounded: the first of each source address and code are recorded whole, the others are
 * summed, and each sum is one record.  Nothing is left uncounted: what has no row is summed by its
 * code. Pure bookkeeping: no I/O, no clock. */
#ifndef KB_LEDGER_REFUSALS_H
#define KB_LEDGER_REFUSALS_H
#include "base/limits.h"
#include "base/source.h"

struct refusals_row { /* of one source and code, in the current window */
	struct source_address source;
	uint16_t code;
	int64_t whole; /* recorded */
	uint64_t more; /* counted since the last sum */
};
struct refusals {           /* zero it before first use, and set the first two */
	int64_t most_whole; /* records of one source and code in a window */
	int64_t most_bytes; /* of all records in a window; at least KB_REFUSAL_BYTES */
	struct refusals_row row[KB_REFUSAL_SUMS];
	size_t n;
	uint64_t others[KB_ERR_COUNT]; /* of sources without a row */
	int64_t since_ms;              /* when the window began */
	int64_t summed_ms;             /* when sums were last taken in it */
	int64_t bytes;                 /* recorded in it */
	bool is_open;                  /* a window has begun */
	bool has_more;                 /* a sum is to be taken */
};

/* A refusal comes, with a record of `bytes`.  True: write that record.  False: it was counted.
 * is_low: the disk has too little free space for records of refusals.  `peer` is an address as
 * text. */
bool refusals_is_whole(struct refusals *r, int64_t now_ms, enum kb_err code, struct span peer,
		       size_t bytes, bool is_low);
/* The same for one that has no record. */
void refusals_count(struct refusals *r, int64_t now_ms, enum kb_err code, struct span peer,
		    bool is_low);

/* Milliseconds until the window ends; 0: it has ended.  Negative: there is no window. */
int64_t refusals_due_ms(const struct refusals *r, int64_t now_ms);

struct refusals_sum {
	enum kb_err code;
	uint64_t more;
	char peer[SOURCE_ADDRESS_TEXT]; /* "others": of sources without a row */
};
/* The first sum at or after `*at`, which is advanced.  False: there is none. */
bool refusals_next(const struct refusals *r, size_t *at, struct refusals_sum *out);
/* The sums before `at` are durable; they took `bytes`. */
void refusals_drop(struct refusals *r, size_t at, size_t bytes);
/* All sums were taken.  When the window has ended, the next refusal begins another. */
void refusals_done(struct refusals *r, int64_t now_ms);

#endif
