/* broker/process/confine.h — what each process keeps when it closes the door behind itself, right
 * before its first stranger. */
#ifndef KB_PROCESS_CONFINE_H
#define KB_PROCESS_CONFINE_H
#include "process/process.h"

/* To be called once the process has opened all it needs.  `config` is looked at for the vault and
 * the fetcher, else NULL; `n_listeners` for the gateway.  In place of the archive, mapped by now,
 * stands /dev/null.  KB_E_SYS, logged: the process must end. */
KB_MUST_CHECK enum kb_err confine_process(const struct process_start *start,
					  const struct config *config, size_t n_listeners);

/* Fetcher: a file that it was allowed to read was replaced by another since, so that the new one is
 * out of reach: a fresh process is needed.  NULL: none, else its path. */
const char *confine_outdated(void);

#endif
