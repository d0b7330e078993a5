/* broker/supervisor/load.h — load the whole configuration from its files. */
#ifndef KB_SUPERVISOR_LOAD_H
#define KB_SUPERVISOR_LOAD_H
#include "config/config.h"

/* On KB_OK *src and *config are the caller's.  The faults are the caller's in any case:
 * config_faults_free(). */
KB_MUST_CHECK enum kb_err load_config(const char *path, struct snapshot **src,
				      struct config **config, struct config_faults *faults);
/* The certificates, by the same judgement as `keybrokerctl check`.  What can be lived with is
 * logged. An ended one is a fault unless it is in force already: `in_force` NULL, the start, lives
 * with it, because without the broker nobody gets a key, and each client decides for itself.
 * KB_E_CONFIG, with the first fault in `why`. */
KB_MUST_CHECK enum kb_err load_certificates(const struct config *config,
					    const struct config *in_force, char why[static 512]);
/* On standard error; `err` when there is no text. */
void load_print_faults(const struct config_faults *f, enum kb_err err);

#endif
