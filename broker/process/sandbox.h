/* broker/process/sandbox.h — give up rights: user, descriptors, cores, new privileges, files,
 * system calls.  No call here adds a right. */
#ifndef KB_PROCESS_SANDBOX_H
#define KB_PROCESS_SANDBOX_H
#include <sys/types.h>

#include "base/bytes.h"
#include "process/kind.h"

struct sandbox_user {
	const char *name; /* borrowed; NULL: the process is not root and stays the user it is */
	uid_t uid;
	gid_t gid;
};

/* The account `name`.  KB_E_CONFIG when there is none, or when it is root. */
KB_MUST_CHECK enum kb_err sandbox_find_user(const char *name, struct sandbox_user *out);
/* Become this user for good: no supplementary groups, all three ids, and a test that root cannot be
 * had again.  KB_E_SYS.  With name NULL: KB_OK when not root. */
KB_MUST_CHECK enum kb_err sandbox_become(const struct sandbox_user *u);
/* Has this user `mode` (R_OK | W_OK | X_OK) on `path`?  Tested as that user, so groups and the
 * directories above count. */
bool sandbox_can_use(const struct sandbox_user *u, const char *path, int mode);

/* No new privileges, no core file, not dumpable (no ptrace, no /proc/PID/mem), umask 027.
 * KB_E_SYS. */
KB_MUST_CHECK enum kb_err sandbox_harden(void);
/* Mark every descriptor from `first` on to be closed at exec.  KB_E_SYS. */
KB_MUST_CHECK enum kb_err sandbox_close_from(int first);
/* Set oom_score_adj: 0 … 1000, the highest is killed first when memory runs out.  Best effort. */
void sandbox_oom(int score);
/* SIGKILL when the parent dies.  KB_E_SYS. */
KB_MUST_CHECK enum kb_err sandbox_die_with_parent(void);

/* ---- what a process may still do, once it has opened what it needs ---- */

enum { SANDBOX_PATHS = 32 };
/* Besides the descriptors that are open. */
struct sandbox_needs {
	struct {
		const char *path; /* borrowed until sandbox_enter(); NULL: `fd` */
		int fd;
		/* Files of this directory may be made, written, renamed and removed; else only
		 * read. */
		bool is_writable;
	} path[SANDBOX_PATHS];
	size_t n;
	/* Sockets to other machines.  A vault with it has a module that may also start threads and
	 * use devices. */
	bool has_network;
	/* Gateway: descriptors from this one on are its clients', which it may shut down; it shares
	 * lower ones with other processes.  0: none. */
	int own_fd;
};
/* A path that does not exist is no error.  More than SANDBOX_PATHS: KB_BUG. */
void sandbox_need(struct sandbox_needs *needs, const char *path, bool is_writable);

/* Enter the process's sandbox: limits, files (Landlock), system calls (seccomp; a call that is not
 * allowed ends the process with SIGSYS).  Call sandbox_harden() before.  KB_E_SYS, logged: the
 * caller must stop. */
KB_MUST_CHECK enum kb_err sandbox_enter(enum process_kind process,
					const struct sandbox_needs *needs);
/* For the supervisor: no call that traces, mounts, loads code into the kernel, sets clocks, and so
 * on.  Its processes inherit it.  KB_E_SYS, logged. */
KB_MUST_CHECK enum kb_err sandbox_enter_supervisor(void);
/* False in a build with a sanitizer or coverage counters.  Their run-times open files, trace and
 * start threads at the end, so sandbox_enter() limits neither calls nor files.  Such a build is for
 * tests. */
bool sandbox_is_complete(void);
/* Landlock's version in this kernel; 0: none. */
int sandbox_landlock(void);

#endif
