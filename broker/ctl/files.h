/* broker/ctl/files.h — files that a command reads and writes.  Each function reports what went
 * wrong. */
#ifndef KB_CTL_FILES_H
#define KB_CTL_FILES_H
#include <sys/types.h>

#include "base/bytes.h"

/* Write `text` as `path`: temporary file beside it, fsync, rename, fsync of the directory.
 * `is_new`: KB_E_FILE when it exists. */
KB_MUST_CHECK enum kb_err ctl_write(const char *path, mode_t mode, gid_t group, bool is_new,
				    struct span text);
/* Remove `path`; on KB_OK that is durable. */
KB_MUST_CHECK enum kb_err ctl_remove(const char *path);
/* A whole file ("-": standard input) of at most max_bytes. */
KB_MUST_CHECK enum kb_err ctl_read(const char *path, size_t max_bytes, struct buf *out);
/* "dir/name" (malloc; caller frees), NULL on no memory. */
char *ctl_path(const char *dir, const char *name);

#endif
