/* broker/sandbox.h — giving up rights: identity, descriptors, cores, new privileges.  Each call only ever takes away. */
#ifndef KB_BROKER_SANDBOX_H
#define KB_BROKER_SANDBOX_H
#include <sys/types.h>

#include "base/bytes.h"

struct sandbox_user {
	const char *name; /* borrowed; NULL: nobody to become, the process is not root */
	uid_t uid;
	gid_t gid;
};

/* The account `name`.  KB_E_CONFIG when there is none, or when it is root. */
KB_MUST_CHECK enum kb_err sandbox_find_user(const char *name, struct sandbox_user *out);
/* Become it for good: no supplementary groups, all three ids, and proof that the way back is closed.  KB_E_SYS.  With name NULL: KB_OK when not root. */
KB_MUST_CHECK enum kb_err sandbox_become(const struct sandbox_user *u);
/* Can this user do `mode` (R_OK | W_OK | X_OK) to `path`?  Asked with its rights, so that groups and parents count. */
bool sandbox_can_use(const struct sandbox_user *u, const char *path, int mode);

/* No new privileges, no core file, not dumpable (no ptrace, no /proc/PID/mem), umask 027.  KB_E_SYS. */
KB_MUST_CHECK enum kb_err sandbox_harden(void);
/* Mark every descriptor from `first` on to be closed at exec.  KB_E_SYS. */
KB_MUST_CHECK enum kb_err sandbox_close_from(int first);
/* Be killed before others when memory runs out; `score` 0 … 1000.  Best effort: the score is advice. */
void sandbox_oom(int score);
/* SIGKILL when the parent dies.  KB_E_SYS. */
KB_MUST_CHECK enum kb_err sandbox_die_with_parent(void);

#endif
