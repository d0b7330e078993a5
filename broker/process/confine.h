/* broker/process/confine.h — enter the sandbox of a process, right before its first request. */
#ifndef KB_PROCESS_CONFINE_H
#define KB_PROCESS_CONFINE_H
#include "process/process.h"

/* Call it once the process has opened all it needs.  `config`: of vault and fetcher, else NULL;
 * `n_listeners`: of the gateway.  FD_ARCHIVE becomes /dev/null.  KB_E_SYS, logged: the process must
 * end. */
KB_MUST_CHECK enum kb_err confine_process(const struct process_start *start,
					  const struct config *config, size_t n_listeners);

/* Fetcher: the path of a file that it may read and that was replaced since; NULL: none.  Landlock
 * rules bind to the inode, so only a new process can read the new file. */
const char *confine_outdated(void);

#endif
