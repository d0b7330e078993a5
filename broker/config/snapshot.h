/* broker/config/snapshot.h — where configuration bytes come from: files (supervisor, keybrokerctl), or the archive a room was handed.
 * The supervisor reads every file once; a room sees those very bytes, so a generation lives with one configuration. */
#ifndef KB_CONFIG_SNAPSHOT_H
#define KB_CONFIG_SNAPSHOT_H
#include "base/bytes.h"

struct source;

/* Files on disk.  Each must be a regular file (no symlink at its end: O_NOFOLLOW), owned by root or by us, not writable by group or others; `is_private` ones
 * not readable by others.  Everything read is kept for source_pack(); a second read of a path gives the same bytes. */
KB_MUST_CHECK enum kb_err source_files(struct source **out);
/* An archive made by source_pack(), mapped from a descriptor (which may be closed afterwards).  KB_E_FILE when it is no sealed archive of ours. */
KB_MUST_CHECK enum kb_err source_archive(int fd, struct source **out);
void source_free(struct source *s); /* wipes private contents */
static inline void source_cleanup(struct source **s)
{
	source_free(*s);
}

/* The whole of a file, at most max_bytes; borrowed until source_free().  KB_E_FILE (errno text in *why), KB_E_FILE_MODE, KB_E_FILE_SIZE.
 * *why is borrowed until the next call.  `parts`: which rooms may be handed it (bits of enum config_part). */
KB_MUST_CHECK enum kb_err source_read(struct source *s, const char *path, size_t max_bytes, bool is_private, unsigned parts, struct span *out,
				      const char **why);
/* A file of which we want the mode to be right and nothing else (the PIN file: it is never read here).  From an archive: KB_OK. */
KB_MUST_CHECK enum kb_err source_check(struct source *s, const char *path, bool is_private, const char **why);
/* The names in a directory that end in `suffix`, sorted, those beginning with a dot left out; *names NULL-terminated, owned by the source.
 * The directory must be owned by root or by us and not writable by group or others. */
KB_MUST_CHECK enum kb_err source_list(struct source *s, const char *dir, const char *suffix, unsigned parts, const char *const **names,
				      const char **why);

/* A sealed memfd with what the given parts may see. */
KB_MUST_CHECK enum kb_err source_pack(const struct source *s, unsigned parts, int *fd);
/* SHA-256 over everything read, in order of path: the configuration's digest.  An archive has the digest of the source that packed it. */
void source_digest(const struct source *s, uint8_t out[static 32]);

#endif
