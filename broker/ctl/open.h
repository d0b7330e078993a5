/* broker/ctl/open.h — the configuration and the HSM of a command. */
#ifndef KB_CTL_OPEN_H
#define KB_CTL_OPEN_H
#include "config/config.h"
#include "ctl/ctl.h"

struct keystore;

struct ctl_config {
	struct snapshot *source;
	struct config *config;
	int lock_fd; /* -1: not locked */
};
/* Load `parts`; faults are printed.  With `is_change` the configuration file is locked until
 * closed: one keybrokerctl at a time makes changes.  Root becomes the service's user for good where
 * the configuration is that user's own. */
KB_MUST_CHECK enum kb_err ctl_config_open(const struct ctl *c, unsigned parts, bool is_change,
					  struct ctl_config *out);
void ctl_config_cleanup(struct ctl_config *cc);
/* The ledger's directory `dir`, for reading; NULL: the configuration's.  -1, reported. */
int ctl_ledger_open(const struct ctl *c, const char *dir);

/* The HSM of a configuration, read-write when asked for.  Reports what went wrong.  When root runs
 * us, we act as the service's user from here to ctl_hsm_close(), so that the token's files stay
 * that user's. */
KB_MUST_CHECK enum kb_err ctl_hsm_open(const struct config *cfg, bool is_writable,
				       struct keystore **out);
void ctl_hsm_close(struct keystore *ks);

#endif
