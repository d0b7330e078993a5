/* broker/vault/issuers.h — the key sets of the token issuers, as a vault uses them: read from the
 * fetcher's files, or pinned in the configuration. */
#ifndef KB_VAULT_ISSUERS_H
#define KB_VAULT_ISSUERS_H
#include "config/config.h"
#include "process/stats.h"

struct jwks;

struct vault_issuer {
	const struct issuer_config *config;
	struct keyset_origin origin;
	struct jwks *keys; /* NULL: none yet, or none that parses */
	uint64_t stamp;    /* of the file that was read last */
	int64_t fetched_s;
	struct issuer_stats *slot; /* the fetcher's attempts; NULL: the statistics are full */
};

/* An error only when a pinned key set does not parse: that is a fault of the configuration. */
KB_MUST_CHECK enum kb_err vault_issuer_open(struct vault_issuer *issuer,
					    const struct issuer_config *config,
					    struct stats *stats);
/* The issuer's keys as the fetcher last wrote them; NULL when there are none within max_stale_s. */
const struct jwks *vault_issuer_keys(struct vault_issuer *issuer, const char *state_dir,
				     int64_t now_s);
/* Ask the fetcher to fetch issuer number `index` now.  False when its last attempt is younger than
 * min_interval_s. */
bool vault_issuer_fetch(const struct vault_issuer *issuer, uint32_t index, int64_t now_s);
/* The newest attempt has brought nothing yet: an unknown kid may become known. */
bool vault_issuer_is_fetching(const struct vault_issuer *issuer);

#endif
