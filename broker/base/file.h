/* broker/base/file.h — whole files: read to the end, written, replaced atomically, and checked for
 * who can change them. */
#ifndef KB_BASE_FILE_H
#define KB_BASE_FILE_H
#include <sys/stat.h>
#include <sys/types.h>

#include "base/bytes.h"

void fd_cleanup(int *fd); /* KB_AUTO(fd) int fd = -1; — closed when it leaves scope */

/* fstat() of an open file.  glibc 2.36 makes it a newfstatat(), which a sandbox that knows no paths
 * does not allow: with a path it would look at any file. */
int fd_stat(int fd, struct stat *st);

/* All of `bytes`.  KB_E_FILE, with errno. */
KB_MUST_CHECK enum kb_err file_write(int fd, struct span bytes);
/* Read until the end of the file or until `cap` bytes are there; *len says how many.  KB_E_FILE,
 * with errno. */
KB_MUST_CHECK enum kb_err file_read(int fd, uint8_t *p, size_t cap, size_t *len);
/* Append all that is left.  KB_E_FILE with errno; KB_E_FILE_SIZE when `out` is full (or there is no
 * memory for more of it). */
KB_MUST_CHECK enum kb_err file_read_all(int fd, struct buf *out);

enum {
	FILE_NEW = 1, /* fail with EEXIST when the name is taken */
	/* for file systems that cannot sync (EINVAL), and for what may be lost with the machine:
	 * the directory's sync may fail */
	FILE_UNSYNCED = 2,
};
#define FILE_OWN_GROUP ((gid_t)-1)
/* Write `bytes` as file `name` of directory `dir` with exactly this mode, and group unless it is
 * FILE_OWN_GROUP: a temporary file in the same directory, fsync, rename, fsync of the directory.  A
 * reader sees the old file, or the new one, never a part; a symbolic link of that name is replaced,
 * not followed.  KB_E_FILE with errno: the old file is as it was, unless it was the last step that
 * failed. */
KB_MUST_CHECK enum kb_err file_replace_group(int dir, const char *name, mode_t mode, gid_t group,
					     unsigned flags, struct span bytes);
KB_MUST_CHECK static inline enum kb_err file_replace(int dir, const char *name, mode_t mode,
						     unsigned flags, struct span bytes)
{
	return file_replace_group(dir, name, mode, FILE_OWN_GROUP, flags, bytes);
}
/* The same by path. */
KB_MUST_CHECK enum kb_err file_replace_path_group(const char *path, mode_t mode, gid_t group,
						  unsigned flags, struct span bytes);
KB_MUST_CHECK static inline enum kb_err file_replace_path(const char *path, mode_t mode,
							  unsigned flags, struct span bytes)
{
	return file_replace_path_group(path, mode, FILE_OWN_GROUP, flags, bytes);
}

/* ---- who can change a file ---- */

enum { FILE_WHY = 512 }; /* bytes of an explanation: "belongs to user 7, …" */

struct file_trust { /* root, and these users */
	uid_t user[2];
	size_t n;
};
struct file_trust file_trust_self(void); /* root and our own user */

/* Everything below walks from "/" name by name, with a descriptor of each directory: what was
 * checked is what is used.  Every directory and symbolic link on the way, links followed, must
 * belong to a trusted user, and no directory may be writable by others.  Group 0 is root's.  A
 * sticky directory such as /tmp may be writable: there nobody can rename or remove what is not
 * theirs (sudo and OpenSSH reason the same).  KB_E_FILE_MODE, or KB_E_FILE when something is not
 * there or we may not reach it; `why` names the file or directory and says what to do. */

/* The way to `path`, and `path` itself.  A directory at its end may not be writable by others even
 * if sticky: anybody could add files to it.  The mode of a file at its end is not looked at. */
KB_MUST_CHECK enum kb_err file_check_way(const char *path, const struct file_trust *trust,
					 char why[static FILE_WHY]);
/* The same for a directory, and a descriptor to list it. */
KB_MUST_CHECK enum kb_err file_dir_trusted(const char *path, const struct file_trust *trust,
					   int *dir, char why[static FILE_WHY]);
/* The same for the directory above `path`: nobody lists it, so it may be sticky and writable.
 * *name is the last part of `path`. */
KB_MUST_CHECK enum kb_err file_above_trusted(const char *path, const struct file_trust *trust,
					     int *dir, const char **name,
					     char why[static FILE_WHY]);
/* Open file `name` of the directory that file_above_trusted(`path`) found good, to read.  It and
 * what links at its end lead to must be good in the same way; then file_check().  Never waits for
 * the other end of a FIFO. */
KB_MUST_CHECK enum kb_err file_open_below(int dir, const char *path, const struct file_trust *trust,
					  mode_t forbidden, int *fd, char why[static FILE_WHY]);
/* Both. */
KB_MUST_CHECK enum kb_err file_open_trusted(const char *path, const struct file_trust *trust,
					    mode_t forbidden, int *fd, char why[static FILE_WHY]);
/* An open file: regular, owned by a trusted user, none of the `forbidden` mode bits.  KB_E_FILE or
 * KB_E_FILE_MODE. */
KB_MUST_CHECK enum kb_err file_check(int fd, const struct file_trust *trust, mode_t forbidden,
				     char why[static FILE_WHY]);

#endif
