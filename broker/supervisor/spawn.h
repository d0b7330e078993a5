/* broker/supervisor/spawn.h — start one process: fork, exactly its descriptors, its user, exec of
 * our own binary. */
#ifndef KB_SUPERVISOR_SPAWN_H
#define KB_SUPERVISOR_SPAWN_H
#include <sys/types.h>

#include "process/process.h"
#include "process/sandbox.h"

enum { SPAWN_MAX_FDS = 32 };
_Static_assert(FD_CONTROL + SPAWN_MAX_FDS <= FD_PAGES, "they do not meet the pages' descriptors");

struct spawn {
	enum process_kind process;
	unsigned slot, index; /* its entry in shared memory; among its kind in its generation */
	uint32_t generation;
	const char *config_path;
	/* /proc/self/exe, opened at start: a binary replaced on disk is used only after a
	 * restart. */
	int exe;
	const struct sandbox_user *user;
	int fds[SPAWN_MAX_FDS]; /* become 3, 4, 5 … in this order (process.h) */
	size_t n_fds;
	const int *pages; /* PROCESS_SLOTS descriptors ≥ FD_PAGES_END; become FD_PAGES … */
};

/* KB_E_SYS: fork() failed.  What fails in the new process is its exit code 127. */
KB_MUST_CHECK enum kb_err spawn_process(const struct spawn *s, pid_t *pid);
int spawn_exe(void); /* the descriptor for `exe`, or -1 */

#endif
