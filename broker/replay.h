/* broker/replay.h — used tokens of issuers with single_use: which (token, key) pairs had their release.  Held by the ledger room, rebuilt from the
 * ledger at start.  Time is the greatest wall clock ever seen, so a clock set back forgets nothing (SECURITY F2). */
#ifndef KB_BROKER_REPLAY_H
#define KB_BROKER_REPLAY_H
#include "base/bytes.h"

struct replay;

struct replay *replay_new(size_t entries); /* NULL on no memory */
void replay_free(struct replay *r);
static inline void replay_cleanup(struct replay **r)
{
	replay_free(*r);
}

void replay_see(struct replay *r, int64_t wall_s); /* the time is at least this; never moves back */
/* Use `key` once.  KB_OK: it was not used, and is now, until `until_s`.  KB_E_REPLAY: it was, or `until_s` lies before the time seen, where we have
 * forgotten.  KB_E_NOMEM: no room to remember it, so it must not be used. */
KB_MUST_CHECK enum kb_err replay_use(struct replay *r, const uint8_t key[static 32], int64_t until_s);
void replay_forget(struct replay *r, const uint8_t key[static 32]); /* its use did not happen: the record could not be written */
size_t replay_count(const struct replay *r);

#endif
