/* broker/ledger/segment_write.h — the ledger's files as the ledger process writes them: one locked
 * directory, one segment that is appended to.  The format is process/segment.h. */
#ifndef KB_LEDGER_SEGMENT_WRITE_H
#define KB_LEDGER_SEGMENT_WRITE_H
#include "process/segment.h"

struct segments {
	int dir; /* locked */
	int fd;  /* the newest segment; -1: broken or torn, segment_begin() must make a new one */
	uint32_t number;
	int64_t bytes;      /* of the segment, durable */
	struct chain chain; /* ends with the last durable line */
	/* Marks for the next first line.  The caller sets them, and nothing else here. */
	int64_t clock_s, replay_until_s;
	int64_t born_s; /* wall clock of the first segment; 0: written by a version without it */

	/* Of the newest segment, after `bytes`: what a process wrote that then died.  The next
	 * first line accounts for it.  0: nothing. */
	int64_t torn_bytes;
	uint8_t torn_sha256[32];

	/* Records before those that were read back may be needed until then. */
	int64_t unread_until_s;
};

/* Lock the directory, read back what is needed, be ready to append.  When the newest segment has a
 * torn end, fd is -1 and torn_bytes is set: nothing is ever written over it or cut.  `visit` gets
 * at least every line that may hold a record needed after `now_s`. Errors: KB_E_LEDGER_LOCKED;
 * KB_E_LEDGER_CHAIN, KB_E_FILE and KB_E_FILE_MODE, with *fault filled; KB_E_LEDGER.  On KB_OK the
 * caller owns *out until segment_close(). */
KB_MUST_CHECK enum kb_err segment_open(int dir, int64_t now_s, segment_visit *visit, void *ctx,
				       struct segments *out, struct segment_fault *fault);
void segment_close(struct segments *s);
/* Append `lines`, made by chain_add() on a copy of the chain, and sync.  KB_OK: they are durable,
 * in the file of that name, and the chain is `after`.  KB_E_LEDGER: they are not part of the
 * ledger; the file is closed and never appended to again. */
KB_MUST_CHECK enum kb_err segment_commit(struct segments *s, struct span lines,
					 const struct chain *after);
/* Begin the next segment.  Its first line has `why` and the members of `extra` (JSON text, or
 * empty).  On KB_E_LEDGER the state is as before, unless fd is −1: then the new segment may or may
 * not be on the disk, and the old one must not be appended to. */
KB_MUST_CHECK enum kb_err segment_begin(struct segments *s, const char *why, struct span extra);

#endif
