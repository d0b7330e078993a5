/* broker/base/file.h — whole files: read to the end, written, replaced atomically, and checked for
 * who can change them. */
#ifndef KB_BASE_FILE_H
#define KB_BASE_FILE_H
#include <sys/types.h>

#include "base/bytes.h"

void fd_cleanup(int *fd); /* KB_AUTO(fd) int fd = -1; — closed when it leaves scope */

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
/* Write `bytes` as file `name` of directory `dir` with exactly this mode: a temporary file in the
 * same directory, fsync, rename, fsync of the directory.  A reader sees the old file, or the new
 * one, never a part; a symbolic link of that name is replaced, not followed.  KB_E_FILE with errno:
 * the old file is as it was, unless it was the last step that failed. */
KB_MUST_CHECK enum kb_err file_replace(int dir, const char *name, mode_t mode, unsigned flags,
				       struct span bytes);
/* The same by path. */
KB_MUST_CHECK enum kb_err file_replace_path(const char *path, mode_t mode, unsigned flags,
					    struct span bytes);

/* ---- who can change a file ---- */

enum { FILE_WHY = 512 }; /* bytes of an explanation: "belongs to user 7, …" */

struct file_trust { /* root, and these users */
	uid_t user[2];
	size_t n;
};
struct file_trust file_trust_self(void); /* root and our own user */

/* Every directory and symbolic link on the way to `path`, links followed, and `path` itself: each
 * must belong to a trusted user, and no directory may be writable by others.  Group 0 is root's.
 * A sticky directory such as /tmp may be writable: there nobody can rename or remove what is not
 * theirs (sudo and OpenSSH reason the same).  `path` itself may not, when it is a directory:
 * anybody could add files to it.  The mode of `path` is not looked at when it is a file.
 * KB_E_FILE_MODE, or KB_E_FILE when something is not there; `why` names the directory and says what
 * to do. */
KB_MUST_CHECK enum kb_err file_check_way(const char *path, const struct file_trust *trust,
					 char why[static FILE_WHY]);
/* The same for the directories above `path` alone. */
KB_MUST_CHECK enum kb_err file_check_above(const char *path, const struct file_trust *trust,
					   char why[static FILE_WHY]);
/* An open file: regular, owned by a trusted user, none of the `forbidden` mode bits.  KB_E_FILE or
 * KB_E_FILE_MODE. */
KB_MUST_CHECK enum kb_err file_check(int fd, const struct file_trust *trust, mode_t forbidden,
				     char why[static FILE_WHY]);
/* Open to read, and file_check().  Never follows a symbolic link at the end of `path`, never waits
 * for the other end of a FIFO. */
KB_MUST_CHECK enum kb_err file_open_checked(const char *path, const struct file_trust *trust,
					    mode_t forbidden, int *fd, char why[static FILE_WHY]);
/* file_check_above() and file_open_checked(). */
KB_MUST_CHECK enum kb_err file_open_trusted(const char *path, const struct file_trust *trust,
					    mode_t forbidden, int *fd, char why[static FILE_WHY]);

#endif
