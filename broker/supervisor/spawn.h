/* broker/supervisor/spawn.h — start one process: fork, exactly its descriptors, its user, exec of
 * this very binary. */
#ifndef KB_SUPERVISOR_SPAWN_H
#define KB_SUPERVISOR_SPAWN_H
#include <sys/types.h>

#include "process/process.h"
#include "process/sandbox.h"

enum { SPAWN_MAX_FDS = 32 };

struct spawn {
	enum process_kind process;
	unsigned slot, index; /* in the shared statistics; among its kind in its generation */
	uint32_t generation;
	const char *config_path;
	int exe; /* /proc/self/exe, opened at start: a binary replaced on disk changes nothing until
		    a restart */
	const struct sandbox_user *user;
	int fds[SPAWN_MAX_FDS]; /* become 3, 4, 5 … in this order (process.h) */
	size_t n_fds;
};

/* KB_E_SYS when there is no process; what fails in the new one is its exit code 127. */
KB_MUST_CHECK enum kb_err spawn_process(const struct spawn *s, pid_t *pid);
int spawn_exe(void); /* the descriptor for `exe`, or -1 */

#endif
