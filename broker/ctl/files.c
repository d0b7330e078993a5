/* broker/ctl/files.c — files that a command reads and writes.  Trusts the operator's paths.  A file
 * is replaced atomically or not at all. */
#include "ctl/files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/text.h"
#include "ctl/output.h"

char *ctl_path(const char *dir, const char *name)
{
	char *path = NULL;

	return asprintf(&path, "%s/%s", dir, name) < 0 ? NULL : path;
}

enum kb_err ctl_write(const char *path, mode_t mode, gid_t group, bool is_new, struct span text)
{
	enum kb_err err = file_replace_path_group(path, mode, group, is_new ? FILE_NEW : 0, text);

	if (err == KB_E_FILE)
		ctl_fail(CTL_FAILED, "%s: %s", path, strerror(errno));
	return err;
}

enum kb_err ctl_remove(const char *path)
{
	KB_AUTO(cstr) char *dir = strdup(path);
	char *slash = dir == NULL ? NULL : strrchr(dir, '/');

	if (dir == NULL)
		return KB_E_NOMEM;
	if (slash != NULL)
		slash[slash == dir] = '\0';
	KB_AUTO(fd) int fd = open(slash == NULL ? "." : dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd >= 0 && unlink(path) == 0 && fsync(fd) == 0)
		return KB_OK;
	ctl_fail(CTL_FAILED, "%s: %s", path, strerror(errno));
	return KB_E_FILE;
}

enum kb_err ctl_read(const char *path, size_t max_bytes, struct buf *out)
{
	bool is_stdin = strcmp(path, "-") == 0;
	int fd = is_stdin ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);

	buf_init(out, max_bytes);
	enum kb_err err = fd < 0 ? KB_E_FILE : file_read_all(fd, out);
	if (err == KB_E_FILE)
		ctl_fail(CTL_FAILED, "%s: %s", path, strerror(errno));
	if (err == KB_E_FILE_SIZE)
		ctl_fail(CTL_FAILED, "%s: more than %zu bytes", path, max_bytes);
	if (fd >= 0 && !is_stdin)
		close(fd);
	if (err != KB_OK)
		return err;
	struct span text = buf_span(out);
	if ((err = text_begin(&text)) != KB_OK)
		ctl_fail(CTL_FAILED, "%s: %s", path, kb_err_text(err));
	if (text.len > 0)
		memmove(out->p, text.p, text.len);
	out->len = text.len;
	return err;
}
