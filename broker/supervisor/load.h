/* broker/supervisor/load.h — load the whole configuration from its files. */
#ifndef KB_SUPERVISOR_LOAD_H
#define KB_SUPERVISOR_LOAD_H
#include "config/config.h"

/* On KB_OK *src and *config are the caller's.  The faults are the caller's in any case:
 * config_faults_free(). */
KB_MUST_CHECK enum kb_err load_config(const char *path, struct snapshot **src,
				      struct config **config, struct config_faults *faults);
/* On standard error; `err` when there is no text. */
void load_print_faults(const struct config_faults *f, enum kb_err err);

#endif
