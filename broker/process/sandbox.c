/* broker/process/sandbox.c — rights that a process drops before it opens anything: user, groups,
 * capabilities, cores, ptrace.  Decides nothing.  Reads back what the kernel set.  When a right
 * could not be dropped the caller must stop. */
#include "process/sandbox.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/close_range.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#if defined(__has_feature)
#define IS_CLANG_ASAN                                                                              \
	(__has_feature(address_sanitizer) || __has_feature(thread_sanitizer) ||                    \
	 __has_feature(memory_sanitizer))
#else
#define IS_CLANG_ASAN 0
#endif

/* Weak: defined only when the build counts coverage.  Hidden: a preloaded library cannot define
 * it. */
extern void __gcov_init(void *) __attribute__((weak, visibility("hidden")));

bool sandbox_is_complete(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || IS_CLANG_ASAN
	return false;
#else
	return __gcov_init == NULL;
#endif
}

enum kb_err sandbox_find_user(const char *name, struct sandbox_user *out)
{
	const struct passwd *pw = getpwnam(name);

	*out = (struct sandbox_user){0};
	if (pw == NULL || pw->pw_uid == 0)
		return KB_E_CONFIG;
	*out = (struct sandbox_user){.name = name, .uid = pw->pw_uid, .gid = pw->pw_gid};
	return KB_OK;
}

enum kb_err sandbox_become(const struct sandbox_user *u)
{
	/* Under systemd the supervisor has CAP_NET_BIND_SERVICE to listen on 443.  No other process
	 * needs it. */
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) != 0)
		return KB_E_SYS;
	uid_t r, e, s;

	if (u->name == NULL)
		return geteuid() == 0 || getuid() == 0 ? KB_E_SYS : KB_OK;
	if (setgroups(0, NULL) != 0 || setresgid(u->gid, u->gid, u->gid) != 0 ||
	    setresuid(u->uid, u->uid, u->uid) != 0)
		return KB_E_SYS;
	if (getresuid(&r, &e, &s) != 0 || r != u->uid || e != u->uid || s != u->uid)
		return KB_E_SYS;
	return setuid(0) == 0 || seteuid(0) == 0 ? KB_E_SYS : KB_OK;
}

bool sandbox_can_use(const struct sandbox_user *u, const char *path, int mode)
{
	if (u->name == NULL)
		return faccessat(AT_FDCWD, path, mode, AT_EACCESS) == 0;
	gid_t groups[64];
	int n = getgroups(64, groups);
	gid_t gid = getegid();
	if (n < 0)
		return false;
	bool can = setgroups(0, NULL) == 0 && setegid(u->gid) == 0 && seteuid(u->uid) == 0 &&
		   faccessat(AT_FDCWD, path, mode, AT_EACCESS) == 0;
	/* If we cannot become root again, everything later would fail or do the wrong thing. */
	if (seteuid(0) != 0 || setegid(gid) != 0 || setgroups((size_t)n, groups) != 0)
		KB_BUG();
	return can;
}

enum kb_err sandbox_harden(void)
{
	const struct rlimit none = {0, 0};

	umask(027);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || setrlimit(RLIMIT_CORE, &none) != 0 ||
	    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0)
		return KB_E_SYS;
	return prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 &&
			       prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 0
		       ? KB_OK
		       : KB_E_SYS;
}

enum kb_err sandbox_close_from(int first)
{
	return close_range((unsigned)first, ~0u, CLOSE_RANGE_CLOEXEC) == 0 ? KB_OK : KB_E_SYS;
}

void sandbox_oom(int score)
{
	int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	(void)dprintf(fd, "%d", score);
	close(fd);
}

enum kb_err sandbox_die_with_parent(void)
{
	return prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) == 0 ? KB_OK : KB_E_SYS;
}
