/* broker/supervisor/state.h — the state directory: its subdirectories, their owner and mode, and
 * the lock that one broker holds. */
#ifndef KB_SUPERVISOR_STATE_H
#define KB_SUPERVISOR_STATE_H
#include "config/config.h"
#include "process/sandbox.h"

struct state {
	int ledger_dir, pid_file, report; /* -1: none; report.h */
};

/* Make the directories that are missing (for `user` when we are root), check that the processes can
 * use them, lock the pid file and write our pid, make the report's file.  On an error `why` says
 * what is wrong and how to fix it.  KB_E_FILE, KB_E_FILE_MODE, KB_E_LEDGER_LOCKED. */
KB_MUST_CHECK enum kb_err state_open(const struct config *c, const struct sandbox_user *user,
				     struct state *out, char why[static 512]);
/* The vaults' user must be able to use SoftHSM's token directory.  Of other modules we know no
 * files.  KB_E_FILE_MODE. */
KB_MUST_CHECK enum kb_err state_check_hsm(const struct config *c, const struct sandbox_user *user,
					  char why[static 512]);
void state_close(struct state *s); /* pid file and report are emptied */

#endif
