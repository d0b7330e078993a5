/* broker/ctl/init_files.c — files and directories of a new instance, with owner and mode: the owner
 * (root or the operator) owns what is read at start; the processes' user owns the token's files and
 * the state. */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "ctl/files.h"
#include "ctl/init.h"
#include "ctl/output.h"

char *init_path(const struct instance *in, const char *name)
{
	return name[0] == '/' ? strdup(name) : ctl_path(in->dir, name);
}

static enum kb_err own(const struct instance *in, const char *name, uid_t uid)
{
	KB_AUTO(cstr) char *path = init_path(in, name);

	if (path == NULL)
		return KB_E_NOMEM;
	if (in->user == NULL || chown(path, uid, in->gid) == 0)
		return KB_OK;
	ctl_fail(CTL_FAILED, "%s: %s", path, strerror(errno));
	return KB_E_FILE;
}

enum kb_err init_put(const struct instance *in, const char *name, mode_t mode, struct span text)
{
	KB_AUTO(cstr) char *path = init_path(in, name);

	if (path == NULL)
		return KB_E_NOMEM;
	/* A file that the processes' group may read gets that group. */
	bool is_shared = in->user != NULL && (mode & 070) != 0;
	return ctl_write(path, mode, is_shared ? in->gid : FILE_OWN_GROUP, true, text);
}

mode_t init_private(const struct instance *in)
{
	return in->user == NULL ? 0600 : 0640;
}

enum kb_err init_give(const struct instance *in, const char *name)
{
	return own(in, name, in->uid);
}

enum kb_err init_put_buf(const struct instance *in, const char *name, mode_t mode,
			 const struct buf *text)
{
	return buf_ok(text) != KB_OK ? KB_E_NOMEM : init_put(in, name, mode, buf_span(text));
}

bool init_is_empty(const char *path)
{
	DIR *d = opendir(path);
	unsigned n = 0;

	if (d == NULL)
		return false;
	for (const struct dirent *e = readdir(d); e != NULL; e = readdir(d))
		n += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
	closedir(d);
	errno = ENOTEMPTY;
	return n == 0;
}

enum kb_err init_dir(const struct instance *in, const char *name, bool is_processes)
{
	KB_AUTO(cstr) char *path = init_path(in, name);
	mode_t mode = !is_processes && in->user != NULL ? 0750 : 0700;

	if (path == NULL)
		return KB_E_NOMEM;
	if ((mkdir(path, mode) != 0 && !(errno == EEXIST && init_is_empty(path))) ||
	    chmod(path, mode) != 0) { /* chmod: the umask must not change it */
		ctl_fail(CTL_FAILED, "%s: %s", path,
			 errno == ENOTEMPTY ? "exists and is not an empty directory"
					    : strerror(errno));
		return KB_E_FILE;
	}
	return own(in, name, is_processes ? in->uid : geteuid());
}
