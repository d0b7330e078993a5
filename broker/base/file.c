/* broker/base/file.c — reads, writes and replaces whole files.  Trusts the caller's directory; who
 * can change it is file_trust.c's matter.  Never leaves a half-written file under its name. */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/hex.h"

enum { TEMPORARY = 256 }; /* NAME_MAX and a NUL */

void fd_cleanup(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

int fd_stat(int fd, struct stat *st)
{
	return (int)syscall(SYS_fstat, fd, st);
}

enum kb_err file_write(int fd, struct span bytes)
{
	while (bytes.len > 0) {
		ssize_t n = write(fd, bytes.p, bytes.len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return KB_E_FILE;
		bytes = span_sub(bytes, (size_t)n, bytes.len);
	}
	return KB_OK;
}

enum kb_err file_read(int fd, uint8_t *p, size_t cap, size_t *len)
{
	*len = 0;
	while (*len < cap) {
		ssize_t n = read(fd, p + *len, cap - *len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return KB_E_FILE;
		if (n == 0)
			break;
		*len += (size_t)n;
	}
	return KB_OK;
}

enum kb_err file_read_all(int fd, struct buf *out)
{
	uint8_t chunk[16384];
	size_t len;

	do {
		enum kb_err err = file_read(fd, chunk, sizeof chunk, &len);
		if (err != KB_OK)
			return err;
		buf_add(out, chunk, len);
		if (out->failed)
			return KB_E_FILE_SIZE;
	} while (len == sizeof chunk);
	return KB_OK;
}

/* Random, because others may write to the same directory: processes of another generation, or of
 * another PID namespace. */
static bool temporary_name(const char *name, char out[static TEMPORARY])
{
	uint8_t random[8];
	char text[2 * sizeof random + 1];

	if (getrandom(random, sizeof random, 0) != (ssize_t)sizeof random)
		return false;
	*hex_put(text, span_of(random, sizeof random)) = '\0';
	if (snprintf(out, TEMPORARY, ".%s.%s.tmp", name, text) < TEMPORARY)
		return true;
	errno = ENAMETOOLONG;
	return false;
}

/* The umask may have taken bits away.  No call when it has not: the sandbox of some processes has
 * no fchmod(). */
static bool has_mode(int fd, mode_t mode)
{
	struct stat st;

	return fd_stat(fd, &st) == 0 && ((st.st_mode & 07777) == mode || fchmod(fd, mode) == 0);
}

static bool is_synced(int fd, unsigned flags)
{
	return fsync(fd) == 0 || ((flags & FILE_UNSYNCED) != 0 && errno == EINVAL);
}

static bool is_renamed(int dir, const char *from, const char *to, unsigned flags)
{
	return ((flags & FILE_NEW) != 0 ? renameat2(dir, from, dir, to, RENAME_NOREPLACE)
					: renameat(dir, from, dir, to)) == 0;
}

enum kb_err file_replace_group(int dir, const char *name, mode_t mode, gid_t group, unsigned flags,
			       struct span bytes)
{
	char temporary[TEMPORARY];

	if (!temporary_name(name, temporary))
		return KB_E_FILE;
	int fd = openat(dir, temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
	if (fd < 0)
		return KB_E_FILE;
	bool is_ready = (group == FILE_OWN_GROUP || fchown(fd, (uid_t)-1, group) == 0) &&
			has_mode(fd, mode) && file_write(fd, bytes) == KB_OK &&
			is_synced(fd, flags);
	is_ready = close(fd) == 0 && is_ready;
	if (!is_ready || !is_renamed(dir, temporary, name, flags)) {
		int why = errno;
		(void)unlinkat(dir, temporary, 0);
		errno = why;
		return KB_E_FILE;
	}
	return fsync(dir) == 0 || (flags & FILE_UNSYNCED) != 0 ? KB_OK : KB_E_FILE;
}

enum kb_err file_replace_path_group(const char *path, mode_t mode, gid_t group, unsigned flags,
				    struct span bytes)
{
	const char *slash = strrchr(path, '/'), *name = slash == NULL ? path : slash + 1;
	KB_AUTO(cstr)
	char *parent = slash == NULL ? strdup(".") : strndup(path, (size_t)(name - path));
	KB_AUTO(fd) int dir = -1;

	if (parent == NULL)
		return KB_E_NOMEM;
	if (*name == '\0') {
		errno = EISDIR;
		return KB_E_FILE;
	}
	dir = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return dir < 0 ? KB_E_FILE : file_replace_group(dir, name, mode, group, flags, bytes);
}
