/* broker/process/segment.h — the ledger's files: ledger-00000001.jsonl, -00000002 …, each a run of
 * one hash chain (chain.h).  Opened and locked by the ledger process alone; segment_walk() reads
 * them for anyone (keybrokerctl).
 *
 * A segment's first line says
 * {"event":"segment","segment":N,"format":F,"previous_bytes":B,"clock":S,"replay_until":S,"born":S,…}:
 * B bytes of segment N−1 are the ledger's; what may stand after them was never confirmed (a write
 * or sync had failed).  clock: the greatest time seen; replay_until: no record in an earlier
 * segment is needed after it.  born: when there was no ledger at all.  format: a reader refuses a
 * greater one than it knows; without it, it is 1. */
#ifndef KB_PROCESS_SEGMENT_H
#define KB_PROCESS_SEGMENT_H
#include "process/chain.h"

#define SEGMENT_NAME   24 /* bytes of a file name, with its NUL */
#define SEGMENT_FORMAT 1
void segment_name(uint32_t number, char out[static SEGMENT_NAME]);

struct segment_fault { /* where and what, for people: "file:line: text" */
	char file[SEGMENT_NAME];
	uint64_t line;  /* from 1; 0: the file as a whole */
	int64_t offset; /* of the line */
	bool is_tail;   /* at the end of the last segment, nothing good follows: a torn write, which
			   the ledger process repairs when it starts */
	char text[160];
};

struct segment_line { /* one good line, with where it stands */
	uint32_t segment;
	uint64_t line;
	struct span text; /* without newline */
	struct chain_line parsed;
};
/* Return anything but KB_OK to stop the walk with that. */
typedef enum kb_err segment_visit(void *ctx, const struct segment_line *line);

/* Read segments `from` (0: the oldest there is) to the newest, and check every line.  The first
 * line read is believed about what was before it; a chain that does not begin at seq 1 is seen by
 * the caller in the first line visited.  *end (may be NULL): where the chain ends.
 * KB_E_LEDGER_CHAIN with *fault filled; KB_E_FILE when a file cannot be read, *fault filled too; or
 * what `visit` (may be NULL) said. */
KB_MUST_CHECK enum kb_err segment_walk(int dir, uint32_t from, segment_visit *visit, void *ctx,
				       struct chain *end, struct segment_fault *fault);

/* ---- the ledger process's side ---- */

struct segments { /* read only but for the three marks */
	int dir;  /* locked */
	int fd;   /* the newest segment; -1: broken, segment_begin() must make a new one */
	uint32_t number;
	int64_t bytes;                   /* of it, durable */
	struct chain chain;              /* ends with the last durable line */
	int64_t clock_s, replay_until_s; /* the caller's marks, written into the next first line */
	int64_t born_s; /* such a mark, too: wall clock of the first segment; 0: of a time before it
			   was kept */
	int64_t unread_until_s; /* no record before those that were read back is needed after it */
};

/* Lock the directory (KB_E_LEDGER_LOCKED), read back what is needed, repair a torn tail (with a
 * record of it), be ready to append.  `visit` sees at least every line that may hold a record
 * needed after `now_s`.  Other errors: KB_E_LEDGER_CHAIN and KB_E_FILE, KB_E_FILE_MODE (*fault
 * filled), KB_E_LEDGER. On KB_OK the caller has *out until segment_close(). */
KB_MUST_CHECK enum kb_err segment_open(int dir, int64_t now_s, segment_visit *visit, void *ctx,
				       struct segments *out, struct segment_fault *fault);
void segment_close(struct segments *s);
/* Append `lines`, made by chain_add() on a copy of the chain, and sync.  KB_OK: they are durable,
 * in the file of that name, and the chain is `after`. KB_E_LEDGER: they are not part of the ledger;
 * the file is closed and never appended to again. */
KB_MUST_CHECK enum kb_err segment_commit(struct segments *s, struct span lines,
					 const struct chain *after);
/* Begin the next segment; `why` and what else there is to say stand in its first line (`extra`:
 * members as JSON text, or empty).  On KB_E_LEDGER the state is as before, unless fd is −1: then
 * the new segment may or may not be on the disk, and the old one must not be appended to. */
KB_MUST_CHECK enum kb_err segment_begin(struct segments *s, const char *why, struct span extra);

#endif
