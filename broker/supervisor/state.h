/* broker/supervisor/state.h — the state directory: what must be there and whose it must be, and the
 * lock that lets one broker in. */
#ifndef KB_SUPERVISOR_STATE_H
#define KB_SUPERVISOR_STATE_H
#include "config/config.h"
#include "process/sandbox.h"

struct state {
	int ledger_dir, pid_file; /* -1: none */
};

/* Make what is missing (for `user` when we are root), check that the processes can use it, take the
 * pid file's lock and write our pid.  On an error `why` says what is wrong and how to fix it.
 * KB_E_FILE, KB_E_FILE_MODE, KB_E_LEDGER_LOCKED. */
KB_MUST_CHECK enum kb_err state_open(const struct config *c, const struct sandbox_user *user,
				     struct state *out, char why[static 512]);
void state_close(struct state *s); /* the pid file is emptied */

/* The token directory that SoftHSM's configuration file `conf` names; false when it names none. */
enum { STATE_TOKEN_DIR = 256 };
bool state_token_dir(const char *conf, char dir[static STATE_TOKEN_DIR]);
/* The same for the module and the environment of this process; false: it is not SoftHSM, or says
 * nothing of it. */
bool state_own_token_dir(const char *module, char dir[static STATE_TOKEN_DIR]);

#endif
