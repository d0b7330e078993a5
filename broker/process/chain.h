/* broker/process/chain.h — the ledger's line format: a hash chain of JSON lines.  Pure: no file, no
 * clock.
 *
 *   {"seq":N,"prev":"<64 hex>",<members of the record>,"sum":"<64 hex>"}
 *
 * A line that is written together with others before it, by one sync, also says which line was the
 * last durable one before that: "synced":N, after prev. So whoever finds damage can tell a batch
 * that was never synced from lines that were.
 *
 * prev is the SHA-256 of the previous line without its newline, 64 zeros before the first.  sum is
 * the SHA-256 of this line's bytes before ,"sum": so that a changed byte is found in the line it
 * stands in, the last line included, which nothing follows. */
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
	uint64_t seq, synced; /* synced: this line was durable before this one was written; seq − 1
				 when the line does not say */
	uint8_t prev[32];
	struct span members; /* the record's text without its braces; into the line */
};

/* Append `record` as the next line, newline included, and move the chain on.  The record must be
 * one JSON object of at most KB_MAX_RECORD bytes on one line: braces at both ends, a member between
 * them, no control character; else KB_E_LEDGER.  KB_E_NOMEM when `out` is full.  On an error
 * neither the chain nor `out` has changed. */
KB_MUST_CHECK enum kb_err chain_add(struct chain *c, struct span record, struct buf *out);

/* The same for a line of a batch: `synced` is the chain's seq before the batch's first line. */
KB_MUST_CHECK enum kb_err chain_add_batch(struct chain *c, uint64_t synced, struct span record,
					  struct buf *out);

/* One line, without newline, by itself: form and sum.  KB_E_LEDGER_CHAIN when it is not what
 * chain_add() wrote. */
KB_MUST_CHECK enum kb_err chain_parse(struct span line, struct chain_line *out);
/* The same, and it is the line that follows the chain; the chain moves on, on KB_OK only. */
KB_MUST_CHECK enum kb_err chain_next(struct chain *c, struct span line, struct chain_line *out);
/* A chain that ends just before `line`: for reading from the middle on. */
KB_MUST_CHECK enum kb_err chain_before(struct span line, struct chain *c);

#endif
