/* broker/vault/issuers.h — the key sets of the token issuers, as a vault uses them: read from the
 * fetcher's files, or pinned in the configuration. */
#ifndef KB_VAULT_ISSUERS_H
#define KB_VAULT_ISSUERS_H
#include "config/config.h"
#include "process/stats.h"

struct jwks;
struct process_start;

struct vault_issuer {
	const struct issuer_config *config;
	struct keyset_origin origin;
	struct jwks *keys;  /* NULL: none yet, or none that parses */
	uint8_t digest[32]; /* of their document */
	uint64_t stamp;     /* of the file that was read last */
	int64_t fetched_s;
	int64_t before_s; /* fetched_s of the set before it; 0: none since this process began */
	int64_t asked_s; /* fetched_s of the set that the fetcher was asked to replace; −1: none */
	unsigned next_miss;
	const struct process_start *start; /* … whose generation's fetcher has its attempts */
	uint32_t index;                    /* in the configuration */
	struct issuer_use *use;            /* what this vault says of the set */
};

/* Reads the set that is there, too.  An error only when a pinned key set does not parse: that is a
 * fault of the configuration. */
KB_MUST_CHECK enum kb_err vault_issuer_open(struct vault_issuer *issuer,
					    const struct issuer_config *config, uint32_t index,
					    const struct process_start *start,
					    const char *state_dir);
/* The issuer's keys as the fetcher last wrote them; NULL when there are none within max_stale_s. */
const struct jwks *vault_issuer_keys(struct vault_issuer *issuer, const char *state_dir,
				     int64_t now_s);
/* The set in force has no key of this kid that fits the token.  True: that may change.  The fetcher
 * was asked, at most once in min_interval_s, and the client should ask again in *retry_s.  False:
 * it is final, because the set was fetched after this kid was missed, or it is pinned. */
bool vault_issuer_may_change(struct vault_issuer *issuer, struct span kid, int64_t now_s,
			     uint16_t *retry_s);

#endif
