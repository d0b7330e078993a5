/* broker/ctl/issuer.h — what the fetcher told of its last attempts. */
#ifndef KB_CTL_ISSUER_H
#define KB_CTL_ISSUER_H
#include "config/config.h"
#include "process/attempt.h"

enum { CTL_ATTEMPT_TEXT = 2 * ATTEMPT_TEXT + 256 };

/* One sentence of the last attempt: that it failed and why, or what an operator should know of a
 * success.  False: there is nothing to say. */
bool ctl_attempt_text(const struct attempt *a, char out[static CTL_ATTEMPT_TEXT]);
/* The last attempt for this issuer as it is configured now; false: none is known.  `cfg` was loaded
 * with CONFIG_FETCHER. */
bool ctl_attempt(const struct config *cfg, const struct issuer_config *issuer, struct attempt *out);
/* {"issuer":…,"outcome":…} and more. */
void ctl_attempt_json(struct buf *out, const char *issuer, const struct attempt *a);

#endif
