/* broker/process/sandbox.h — giving up rights: identity, descriptors, cores, new privileges.  Each
 * call only ever takes away. */
#ifndef KB_PROCESS_SANDBOX_H
#define KB_PROCESS_SANDBOX_H
#include <sys/types.h>

#include "base/bytes.h"
#include "process/stats.h"

struct sandbox_user {
	const char *name; /* borrowed; NULL: nobody to become, the process is not root */
	uid_t uid;
	gid_t gid;
};

/* The account `name`.  KB_E_CONFIG when there is none, or when it is root. */
KB_MUST_CHECK enum kb_err sandbox_find_user(const char *name, struct sandbox_user *out);
/* Become it for good: no supplementary groups, all three ids, and proof that the way back is
 * closed.  KB_E_SYS.  With name NULL: KB_OK when not root. */
KB_MUST_CHECK enum kb_err sandbox_become(const struct sandbox_user *u);
/* Can this user do `mode` (R_OK | W_OK | X_OK) to `path`?  Asked with its rights, so that groups
 * and parents count. */
bool sandbox_can_use(const struct sandbox_user *u, const char *path, int mode);

/* No new privileges, no core file, not dumpable (no ptrace, no /proc/PID/mem), umask 027. KB_E_SYS.
 */
KB_MUST_CHECK enum kb_err sandbox_harden(void);
/* Mark every descriptor from `first` on to be closed at exec.  KB_E_SYS. */
KB_MUST_CHECK enum kb_err sandbox_close_from(int first);
/* Be killed before others when memory runs out; `score` 0 … 1000.  Best effort: the score is
 * advice. */
void sandbox_oom(int score);
/* SIGKILL when the parent dies.  KB_E_SYS. */
KB_MUST_CHECK enum kb_err sandbox_die_with_parent(void);

/* ---- for good: what a process may still do once it has opened what it needs ---- */

enum { SANDBOX_PATHS = 32 };
struct sandbox_needs { /* beside what is open */
	struct {
		const char *path; /* borrowed until sandbox_enter(); NULL: `fd` */
		int fd;
		bool is_writable; /* a directory: files in it may be made, written, renamed and
				     removed; else only read */
	} path[SANDBOX_PATHS];
	size_t n;
	bool has_network; /* sockets towards others; a vault with it has a module that may make
			     threads and talk to devices, too */
	int own_fd; /* gateway: descriptors from this one on are its clients', whose connections it
		       may shut down; lower ones it shares with others.  0: none */
};
/* A path that does not exist is left out.  More than SANDBOX_PATHS: KB_BUG. */
void sandbox_need(struct sandbox_needs *needs, const char *path, bool is_writable);

/* Enter the process's sandbox: limits, files (Landlock), system calls (seccomp; a call that is not
 * allowed ends the process with SIGSYS).  Needs sandbox_harden() before. KB_E_SYS, logged: the
 * caller must stop. */
KB_MUST_CHECK enum kb_err sandbox_enter(enum process_kind process,
					const struct sandbox_needs *needs);
/* For the supervisor: no call that traces, mounts, loads code into the kernel, sets clocks …; its
 * processes inherit it.  KB_E_SYS, logged. */
KB_MUST_CHECK enum kb_err sandbox_enter_supervisor(void);
/* False in a build with a sanitizer or coverage counters: their run-times open files, trace and
 * start threads at the end, so sandbox_enter() leaves calls and files as they are.  Such a build is
 * for tests. */
bool sandbox_is_complete(void);
/* Landlock's version in this kernel, 0: it has none. */
int sandbox_landlock(void);

#endif
