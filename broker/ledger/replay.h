/* broker/ledger/replay.h — used tokens of issuers with single_use: which (token, key) pairs had
 * their release.  Held by the ledger process, rebuilt from the ledger at start.  What it drops it
 * remembers by its end: a clock set forth and back permits nothing (SECURITY F2), and denies
 * nothing for longer than the tokens that were really used. */
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
void replay_assume(struct replay *r,
		   int64_t until_s); /* all that ends by then may have been used, by what is not in
					the table: it is denied */
/* Use `key` once.  KB_OK: it was not used, and is now, until `until_s`.  KB_E_REPLAY: it was, or
 * may have been: it is past its time, or ends by when others ended that are no longer in the table.
 * KB_E_NOMEM: no room to remember it, so it must not be used. */
KB_MUST_CHECK enum kb_err replay_use(struct replay *r, const uint8_t key[static 32],
				     int64_t until_s);
void replay_forget(
	struct replay *r,
	const uint8_t key[static 32]); /* its use did not happen: the record could not be written */
size_t replay_count(const struct replay *r);

#endif
