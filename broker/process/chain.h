/* broker/process/chain.h — the ledger's line format: a hash chain of JSON lines.  No file, no
 * clock.
 *
 *   {"seq":N,"prev":"<64 hex>",<members of the record>,"sum":"<64 hex>"}
 *
 * prev is the SHA-256 of the previous line without its newline; 64 zeros in the first line.  sum is
 * the SHA-256 of this line's bytes before ,"sum": it shows which line was changed, and protects the
 * last line, which no prev covers yet.
 *
 * Several lines may be written as a batch, with one sync.  All but the first of them name the last
 * line that was durable before the batch: "synced":N, after prev.  So a reader that finds damage
 * knows whether the damaged line was durable. */
#ifndef KB_PROCESS_CHAIN_H
#define KB_PROCESS_CHAIN_H
#include "base/bytes.h"
#include "base/limits.h"

#define CHAIN_MAX_LINE                                                                             \
	(KB_MAX_RECORD + 256) /* bytes, without the newline: the record, seq, prev and sum */

struct chain {            /* where a chain ends; all zero: before the first line */
	uint64_t seq;     /* of the last line */
	uint8_t last[32]; /* SHA-256 of the last line */
};

struct chain_line {
	uint64_t seq;
	uint64_t synced; /* that line was durable before this one was written; seq − 1 by default */
	uint8_t prev[32];
	struct span members; /* the record without its braces; borrowed from the line */
};

/* Append `record` as the next line, with its newline, and advance the chain.  The record must be
 * one JSON object on one line, at most KB_MAX_RECORD bytes, with at least one member and no control
 * character; else KB_E_LEDGER.  KB_E_NOMEM when `out` is full.  On an error neither the chain nor
 * `out` has changed. */
KB_MUST_CHECK enum kb_err chain_add(struct chain *c, struct span record, struct buf *out);

/* The same for a line of a batch: `synced` is the chain's seq before the batch's first line. */
KB_MUST_CHECK enum kb_err chain_add_batch(struct chain *c, uint64_t synced, struct span record,
					  struct buf *out);

/* Form and sum of one line, without newline.  KB_E_LEDGER_CHAIN when it is not what chain_add()
 * writes. */
KB_MUST_CHECK enum kb_err chain_parse(struct span line, struct chain_line *out);
/* The same, and the line must follow the chain.  Only KB_OK advances the chain. */
KB_MUST_CHECK enum kb_err chain_next(struct chain *c, struct span line, struct chain_line *out);
/* The chain that ends just before `line`, to read from the middle of a ledger. */
KB_MUST_CHECK enum kb_err chain_before(struct span line, struct chain *c);

#endif
