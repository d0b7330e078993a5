/* broker/ledger/replay.h — used tokens of issuers with single_use: the pairs of token and key that
 * were released.  Rebuilt from the ledger at start.  Of the entries that it drops it stores the
 * latest expiry, and refuses every token that expires no later: a clock set forward and back must
 * not permit a second use. */
#ifndef KB_LEDGER_REPLAY_H
#define KB_LEDGER_REPLAY_H
#include "base/bytes.h"

struct replay;

struct replay *replay_new(size_t entries); /* NULL on no memory */
void replay_free(struct replay *r);
static inline void replay_cleanup(struct replay **r)
{
	replay_free(*r);
}

void replay_see(struct replay *r, int64_t wall_s); /* the time; it may go back */
#define REPLAY_UNKNOWN INT64_MIN                   /* the time of a first use that is not known */
/* Every token that expires by `until_s` counts as used, whether it is in the table or not. */
void replay_assume(struct replay *r, int64_t until_s);
/* Use `key` once, at clock_mono_ms() `first_ms`.  KB_OK: this was the first use; it counts as used
 * until `until_s`.  KB_E_REPLAY: it was used, or may have been: it has expired, or expires no later
 * than entries that were dropped.  KB_E_REPLAY_FULL: it was not used, but the table is full, so it
 * must not be used now. */
KB_MUST_CHECK enum kb_err replay_use(struct replay *r, const uint8_t key[static 32],
				     int64_t until_s, int64_t first_ms);
/* Was `key` first used at most grace_s before now_ms?  False when its first use is not in the table
 * or has no known time.  The clock that cannot be set decides, so that a step of the wall clock
 * makes no grace longer. */
bool replay_is_repeat(struct replay *r, const uint8_t key[static 32], int64_t grace_s,
		      int64_t now_ms);
/* Undo a use: its record could not be written. */
void replay_forget(struct replay *r, const uint8_t key[static 32]);
size_t replay_count(const struct replay *r);

#endif
