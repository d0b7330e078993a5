/* broker/process/attempt.h — the fetcher's last attempt to fetch an issuer's key set, told to the
 * operator's tools: state/issuers/NAME.ORIGIN.attempt, one line of JSON.  The other way goes
 * NAME.ORIGIN.refresh, an empty file that asks the fetcher for an attempt now.  Nothing is decided
 * by either: who can write there can write key sets. */
#ifndef KB_PROCESS_ATTEMPT_H
#define KB_PROCESS_ATTEMPT_H
#include "process/keyset.h"

enum { ATTEMPT_TEXT = 512 }; /* bytes of a text, with its NUL */

struct attempt {
	int64_t at_s; /* wall clock: its end */
	enum kb_err outcome;
	char detail[ATTEMPT_TEXT]; /* why; "" when there is no more to say */
	char note[ATTEMPT_TEXT];   /* of a success: what an operator should know; or "" */
	int64_t keys;              /* in the set */
	uint64_t asked;            /* the refresh file that it answers; 0: none */
};
/* KB_E_FILE, KB_E_NOMEM … */
KB_MUST_CHECK enum kb_err attempt_write(const char *state_dir, const char *name,
					const struct keyset_origin *origin,
					const struct attempt *a);
/* KB_E_FILE: there was none yet, or it cannot be read; KB_E_FILE_MODE, KB_E_JSON_…. */
KB_MUST_CHECK enum kb_err attempt_read(const char *state_dir, const char *name,
				       const struct keyset_origin *origin, struct attempt *out);

/* Ask for an attempt now; *asked is what its answer will have.  KB_E_FILE: errno says why. */
KB_MUST_CHECK enum kb_err attempt_ask(const char *state_dir, const char *name,
				      const struct keyset_origin *origin, uint64_t *asked);
/* Takes the question away: for the fetcher, which answers it, and for who asked and waits no more.
 * 0: there is none, or it cannot be taken away. */
uint64_t attempt_take(const char *state_dir, const char *name, const struct keyset_origin *origin);

#endif
