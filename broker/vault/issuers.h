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
	struct jwks *keys; /* NULL: none yet, or none that parses */
	uint64_t stamp;    /* of the file that was read last */
	int64_t fetched_s;
	const struct process_start *start; /* … whose generation's fetcher has its attempts */
	uint32_t index;                    /* in the configuration */
	struct issuer_use *use;            /* what this vault says of the set */
};

/* An error only when a pinned key set does not parse: that is a fault of the configuration. */
KB_MUST_CHECK enum kb_err vault_issuer_open(struct vault_issuer *issuer,
					    const struct issuer_config *config, uint32_t index,
					    const struct process_start *start);
/* The issuer's keys as the fetcher last wrote them; NULL when there are none within max_stale_s. */
const struct jwks *vault_issuer_keys(struct vault_issuer *issuer, const char *state_dir,
				     int64_t now_s);
/* Ask the fetcher to fetch it now.  False when its last attempt is younger than min_interval_s. */
bool vault_issuer_fetch(const struct vault_issuer *issuer, int64_t now_s);
/* The newest attempt has brought nothing yet: an unknown kid may become known. */
bool vault_issuer_is_fetching(const struct vault_issuer *issuer, int64_t now_s);

#endif
