/* broker/process/segment.h — the ledger's files and how they are read: ledger-00000001.jsonl,
 * -00000002 …, each a run of one hash chain (chain.h).  The ledger process alone writes them
 * (ledger/segment_write.h); anyone may read them (keybrokerctl).
 *
 * The first line of segment N:
 *
 *   {"event":"segment","segment":N,"format":F,"previous_bytes":B,
 *    "clock":S,"replay_until":S,"born":S[,"torn_bytes":T,"torn_sha256":"<64 hex>"],…}
 *
 * format: a reader refuses a greater one than it knows; a line without it is of format 1.
 * previous_bytes: so many bytes of segment N−1 belong to the ledger.  More bytes may follow them in
 * two cases only.  torn_bytes: a process died while it wrote them; they stay as they are, and this
 * is their length and digest.  "why":"write failed": they were never confirmed; a disk that fails
 * may hold anything there, but no more than a batch.  clock: the latest time seen.  replay_until:
 * no record of an earlier segment is needed after this time.  born: the time at which the ledger
 * was created. */
#ifndef KB_PROCESS_SEGMENT_H
#define KB_PROCESS_SEGMENT_H
#include "process/chain.h"

#define SEGMENT_NAME   24 /* bytes of a file name, with its NUL */
#define SEGMENT_FORMAT 1
/* Bytes that may be written and not yet synced: one batch. */
#define SEGMENT_UNCONFIRMED ((int64_t)KB_LEDGER_BATCH * (CHAIN_MAX_LINE + 1))
/* Reasons in a first line that a reader must know. */
#define SEGMENT_WRITE_FAILED "write failed"
#define SEGMENT_TORN         "torn end"
void segment_name(uint32_t number, char out[static SEGMENT_NAME]);

struct segment_fault { /* for people: "file:line: text" */
	char file[SEGMENT_NAME];
	uint64_t line;  /* from 1; 0: the file as a whole */
	int64_t offset; /* of the line */
	/* a torn write at the end of the last segment, with no good line after it: the ledger
	 * process begins a new segment behind it when it starts */
	bool is_tail;
	char text[160];
};
void segment_set_fault(struct segment_fault *f, uint32_t number, uint64_t line, int64_t offset,
		       const char *text);

struct segment_line { /* one good line, and where it is */
	uint32_t segment;
	uint64_t line;
	struct span text; /* without newline */
	struct chain_line parsed;
};
/* Any result but KB_OK stops the walk, and is its result. */
typedef enum kb_err segment_visit(void *ctx, const struct segment_line *line);

/* Read segments `from` (0: the oldest one) to the newest, and check every line.  What the first
 * line says about the line before it is not checked: `visit` gets that line first, and must judge a
 * chain that does not begin at seq 1.  *end (may be NULL): where the chain ends. KB_E_LEDGER_CHAIN,
 * or KB_E_FILE when a file cannot be read, with *fault filled; or the result of `visit` (may be
 * NULL). */
KB_MUST_CHECK enum kb_err segment_walk(int dir, uint32_t from, segment_visit *visit, void *ctx,
				       struct chain *end, struct segment_fault *fault);

struct segment_part {        /* zeroed: all */
	uint32_t from, last; /* numbers; 0: from the oldest, to the newest */
	/* The segment of this number was closed with so many bytes.  Says what the first line of
	 * the one after it would, when that one is elsewhere: in an archive. */
	uint32_t closed;
	int64_t closed_bytes;
};
/* segment_walk() of a part.  *fault is as there. */
KB_MUST_CHECK enum kb_err segment_walk_part(int dir, const struct segment_part *part,
					    segment_visit *visit, void *ctx, struct chain *end,
					    struct segment_fault *fault);

struct segment_listing {
	uint32_t *number; /* ascending; malloc */
	size_t n;
};
void segment_listing_cleanup(struct segment_listing *l);
KB_MUST_CHECK enum kb_err segment_list(int dir, struct segment_listing *out);

struct segment_header { /* of a segment's first line */
	int64_t segment, previous_bytes, clock_s, replay_until_s, born_s;
	int64_t torn_bytes; /* 0: none */
	uint8_t torn_sha256[32];
	bool has_write_failed;
};
/* The chain just before a segment, as its first line says. */
KB_MUST_CHECK enum kb_err segment_before(int dir, uint32_t number, struct chain *c,
					 struct segment_fault *fault);
/* KB_E_LEDGER_CHAIN when the first line is not good; *fault filled on any error. */
KB_MUST_CHECK enum kb_err segment_header_read(int dir, uint32_t number, struct segment_header *h,
					      struct segment_fault *fault);

/* The first line of the newest segment such that none before it holds a record needed after now_s:
 * the ledger's start reads from there. */
KB_MUST_CHECK enum kb_err segment_needed_from(int dir, const struct segment_listing *l,
					      int64_t now_s, struct segment_header *h,
					      struct segment_fault *fault);

#endif
