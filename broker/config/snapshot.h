/* broker/config/snapshot.h — the bytes of all configuration files at one moment.  The supervisor
 * and keybrokerctl read files, each once; the other processes get the same bytes in a sealed
 * archive. So all processes of a generation have one configuration. */
#ifndef KB_CONFIG_SNAPSHOT_H
#define KB_CONFIG_SNAPSHOT_H
#include <sys/types.h>

#include "base/bytes.h"

struct snapshot;

/* Files on disk.  Each must be a regular file, or a symbolic link to one, owned by root or by the
 * trusted user, not writable by group or others.  So must every directory and link on the way be
 * (base/file.h).  What was read is stored for snapshot_pack(): a second read of a path gives the
 * same bytes. */
KB_MUST_CHECK enum kb_err snapshot_files(struct snapshot **out);
/* Whose files are good, beside root's.  Our own user's until this is called. */
void snapshot_trust(struct snapshot *s, uid_t user);
/* An archive of snapshot_pack(), mapped from a descriptor, which may be closed afterwards.
 * KB_E_FILE when it is not a sealed archive. */
KB_MUST_CHECK enum kb_err snapshot_archive(int fd, struct snapshot **out);
/* To find what the service's user will find: root reads the files with that user's rights. */
void snapshot_as_service(struct snapshot *s);
bool snapshot_is_as_service(const struct snapshot *s);
bool snapshot_is_archive(const struct snapshot *s);
void snapshot_free(struct snapshot *s); /* wipes private contents */
static inline void snapshot_cleanup(struct snapshot **s)
{
	snapshot_free(*s);
}

/* The whole file, at most max_bytes; borrowed until snapshot_free().  KB_E_FILE, KB_E_FILE_MODE or
 * KB_E_FILE_SIZE, with the reason in *why, which is borrowed until the next call.  `parts`: which
 * processes may get the file (bits of enum config_part). */
KB_MUST_CHECK enum kb_err snapshot_read(struct snapshot *s, const char *path, size_t max_bytes,
					bool is_private, unsigned parts, struct span *out,
					const char **why);
/* Who may read a file beside its owner: all; its group, as the broker's is; nobody. */
enum file_use { FILE_PUBLIC, FILE_PRIVATE, FILE_SECRET };
/* A file that is opened, checked, and not read here: the PIN file.  From an archive: KB_OK. */
KB_MUST_CHECK enum kb_err snapshot_check(struct snapshot *s, const char *path, enum file_use use,
					 const char **why);
/* A directory, or a file of any kind, that others use by its path: the way to it, and nobody else
 * may add files to a directory.  An optional one need not exist: then what exists of the way to its
 * directory is checked.  From an archive: KB_OK. */
KB_MUST_CHECK enum kb_err snapshot_check_way(struct snapshot *s, const char *path, bool is_optional,
					     const char **why);
/* The names in a directory that end in `suffix` and do not begin with a dot, sorted.  *names is
 * NULL-terminated and borrowed.  The directory must be owned by root or by our user, and neither it
 * nor one above it may be writable by others. */
KB_MUST_CHECK enum kb_err snapshot_list(struct snapshot *s, const char *dir, const char *suffix,
					unsigned parts, const char *const **names,
					const char **why);

/* A sealed memfd with the files of the given parts. */
KB_MUST_CHECK enum kb_err snapshot_pack(const struct snapshot *s, unsigned parts, int *fd);
/* SHA-256 over everything that was read, in order of path: the configuration's digest.  An archive
 * has the digest of the snapshot that packed it. */
void snapshot_digest(const struct snapshot *s, uint8_t out[static 32]);

#endif
