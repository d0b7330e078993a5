/* broker/config/snapshot.h — where configuration bytes come from: files (supervisor, keybrokerctl),
 * or the archive a process was handed. The supervisor reads every file once; a process sees those
 * very bytes, so a generation lives with one configuration. */
#ifndef KB_CONFIG_SNAPSHOT_H
#define KB_CONFIG_SNAPSHOT_H
#include "base/bytes.h"

struct snapshot;

/* Files on disk.  Each must be a regular file (no symlink at its end: O_NOFOLLOW), owned by root or
 * by us, not writable by group or others; `is_private` ones not readable by others.  Everything
 * read is kept for snapshot_pack(); a second read of a path gives the same bytes. */
KB_MUST_CHECK enum kb_err snapshot_files(struct snapshot **out);
/* An archive made by snapshot_pack(), mapped from a descriptor (which may be closed afterwards).
 * KB_E_FILE when it is no sealed archive of ours. */
KB_MUST_CHECK enum kb_err snapshot_archive(int fd, struct snapshot **out);
void snapshot_free(struct snapshot *s); /* wipes private contents */
static inline void snapshot_cleanup(struct snapshot **s)
{
	snapshot_free(*s);
}

/* The whole of a file, at most max_bytes; borrowed until snapshot_free().  KB_E_FILE (errno text in
 * *why), KB_E_FILE_MODE, KB_E_FILE_SIZE. *why is borrowed until the next call.  `parts`: which
 * processes may be handed it (bits of enum config_part). */
KB_MUST_CHECK enum kb_err snapshot_read(struct snapshot *s, const char *path, size_t max_bytes,
					bool is_private, unsigned parts, struct span *out,
					const char **why);
/* A file of which we want the mode to be right and nothing else (the PIN file: it is never read
 * here).  From an archive: KB_OK. */
KB_MUST_CHECK enum kb_err snapshot_check(struct snapshot *s, const char *path, bool is_private,
					 const char **why);
/* The names in a directory that end in `suffix`, sorted, those beginning with a dot left out;
 * *names NULL-terminated, owned by the source. The directory must be owned by root or by us and not
 * writable by group or others. */
KB_MUST_CHECK enum kb_err snapshot_list(struct snapshot *s, const char *dir, const char *suffix,
					unsigned parts, const char *const **names,
					const char **why);

/* A sealed memfd with what the given parts may see. */
KB_MUST_CHECK enum kb_err snapshot_pack(const struct snapshot *s, unsigned parts, int *fd);
/* SHA-256 over everything read, in order of path: the configuration's digest.  An archive has the
 * digest of the source that packed it. */
void snapshot_digest(const struct snapshot *s, uint8_t out[static 32]);

#endif
