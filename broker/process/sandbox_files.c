/* broker/process/sandbox_files.c — the files that a process may still reach: Landlock.  Uses what
 * the running kernel's version has.  Never goes on when the kernel has Landlock and refuses a rule.
 * A kernel without it leaves the files to their modes and owners; the supervisor logs that once. */
#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "process/sandbox_priv.h"

/* Newer than Debian's headers.  Each is given only to a kernel whose version knows it. */
enum {
	FS_REFER = 1 << 13,     /* version 2 */
	FS_TRUNCATE = 1 << 14,  /* 3 */
	FS_IOCTL_DEV = 1 << 15, /* 5 */
	NET_BIND_TCP = 1 << 0,  /* 4 */
	NET_CONNECT_TCP = 1 << 1,
	SCOPE_ABSTRACT_UNIX = 1 << 0, /* 6 */
	SCOPE_SIGNAL = 1 << 1,
};
/* struct landlock_ruleset_attr of version 6; an older kernel gets its first members only. */
struct ruleset {
	uint64_t fs, net, scoped;
};

enum {
	FS_ALL_1 = LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_WRITE_FILE |
		   LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR |
		   LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_REMOVE_FILE |
		   LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_DIR |
		   LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_SOCK |
		   LANDLOCK_ACCESS_FS_MAKE_FIFO | LANDLOCK_ACCESS_FS_MAKE_BLOCK |
		   LANDLOCK_ACCESS_FS_MAKE_SYM,
	FS_READ = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR,
	FS_WRITE = FS_READ | LANDLOCK_ACCESS_FS_WRITE_FILE | FS_TRUNCATE |
		   LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_REMOVE_FILE,
	FS_DEVICE = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE | FS_IOCTL_DEV,
	OF_A_FILE = LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_WRITE_FILE |
		    LANDLOCK_ACCESS_FS_READ_FILE | FS_TRUNCATE | FS_IOCTL_DEV,
};

int sandbox_landlock(void)
{
	long version =
		syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);

	return version > 0 ? (int)version : 0; /* ENOSYS, EOPNOTSUPP; EPERM in a container */
}

static struct ruleset all_of(int version, bool has_network)
{
	struct ruleset r = {.fs = FS_ALL_1};

	if (version >= 2)
		r.fs |= FS_REFER;
	if (version >= 3)
		r.fs |= FS_TRUNCATE;
	if (version >= 5)
		r.fs |= FS_IOCTL_DEV;
	if (version >= 4)
		r.net = NET_BIND_TCP | (has_network ? 0u : NET_CONNECT_TCP);
	if (version >= 6)
		r.scoped = SCOPE_SIGNAL | (has_network ? 0u : SCOPE_ABSTRACT_UNIX);
	return r;
}

static bool allow(int ruleset, uint64_t handled, int fd, bool is_writable)
{
	struct landlock_path_beneath_attr rule = {.parent_fd = fd};
	struct stat st;

	if (fd_stat(fd, &st) != 0)
		return false;
	uint64_t access = is_writable ? FS_WRITE : FS_READ;
	if (S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode))
		access = is_writable ? FS_DEVICE : FS_READ;
	if (!S_ISDIR(st.st_mode))
		access &= OF_A_FILE;
	rule.allowed_access = access & handled;
	return syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) == 0;
}

static enum kb_err allow_all(int ruleset, uint64_t handled, const struct sandbox_needs *needs)
{
	for (size_t i = 0; i < needs->n; i++) {
		const char *path = needs->path[i].path;
		int fd = path == NULL ? needs->path[i].fd : open(path, O_PATH | O_CLOEXEC);
		if (fd < 0 && (errno == ENOENT || errno == EACCES || errno == ENOTDIR))
			continue; /* it cannot be reached anyway: no rule */
		bool good = fd >= 0 && allow(ruleset, handled, fd, needs->path[i].is_writable);
		if (!good)
			log_event(LOG_ERROR, "sandbox.files", "path",
				  path == NULL ? "a descriptor" : path, "why", strerror(errno),
				  NULL);
		if (path != NULL && fd >= 0)
			close(fd);
		if (!good)
			return KB_E_SYS;
	}
	return KB_OK;
}

enum kb_err sandbox_limit_files(const struct sandbox_needs *needs)
{
	int version = sandbox_landlock();
	const struct ruleset all = all_of(version, needs->has_network);
	size_t size = version >= 6 ? sizeof all : version >= 4 ? 2 * sizeof all.fs : sizeof all.fs;

	if (version == 0)
		return KB_OK;
	int ruleset = (int)syscall(SYS_landlock_create_ruleset, &all, size, 0);
	if (ruleset < 0) {
		log_event(LOG_ERROR, "sandbox.files", "why", strerror(errno), NULL);
		return KB_E_SYS;
	}
	enum kb_err err = allow_all(ruleset, all.fs, needs);
	if (err == KB_OK && syscall(SYS_landlock_restrict_self, ruleset, 0) != 0) {
		log_event(LOG_ERROR, "sandbox.files", "why", strerror(errno), NULL);
		err = KB_E_SYS;
	}
	close(ruleset);
	return err;
}
