/* broker/config/service.c — whose service this is: the user whose files are trusted beside root's,
 * and who must be able to read them all.  Decides it before anything of the configuration is
 * trusted: a configuration that is not root's gives root's rights to nobody (config_load()). */
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "config/document.h"

/* "user" of the document at `path`; false when it cannot be read, or names none: what is wrong with
 * the document is reported when it is loaded. */
static bool user_peek(const char *path, char name[static USER_NAME])
{
	struct stat st;
	struct span text;
	KB_AUTO(buf) struct buf bytes;
	KB_AUTO(json) struct json_t *json = NULL;
	KB_AUTO(fd) int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);

	buf_init(&bytes, KB_MAX_CONFIG);
	if (fd < 0 || fd_stat(fd, &st) != 0 || !S_ISREG(st.st_mode) ||
	    file_read_all(fd, &bytes) != KB_OK ||
	    json_load_strict(buf_span(&bytes), KB_MAX_CONFIG, &json, NULL) != KB_OK ||
	    !json_isa_obj(json) || json_get_str(json, "user", USER_NAME - 1, &text) != KB_OK)
		return false;
	snprintf(name, USER_NAME, "%.*s", (int)text.len, (const char *)text.p);
	return true;
}

void service_user(const struct config *c, struct user *out)
{
	char name[USER_NAME];
	struct user named;
	struct stat st;

	user_of(geteuid(), getegid(), out);
	if (user_peek(c->path, name)) {
		if (user_find(name, &named) == KB_OK)
			*out = named; /* else user_load() finds another name than this */
		return;
	}
	if (stat(c->dir, &st) == 0 && st.st_uid != 0 && st.st_uid != geteuid())
		user_of(st.st_uid, st.st_gid, out);
}

enum kb_err config_is_roots(const struct config *c, char why[static FILE_WHY])
{
	const struct file_trust root = {.n = 0};
	KB_AUTO(fd) int fd = -1;

	return file_open_trusted(c->path, &root, 022, &fd, why);
}

enum kb_err config_pin_open(const struct config *c, int *fd, char why[static FILE_WHY])
{
	const struct file_trust trust = {.user = {c->service.uid}, .n = 1};

	return file_open_trusted(c->hsm_pin_file, &trust, 077, fd, why);
}
