/* broker/base/file_trust.c — decides who can change a file: its owner and mode, and those of every
 * directory and symbolic link on the way to it, up to "/".  Whoever can write a directory can put
 * another file in the place of a good one.  Trusts root and the users it is given.  Never asks for
 * a path twice: each name is opened in the directory that was checked. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"

enum { MAX_LINKS = 40 }; /* symbolic links on one way; the kernel follows as many */

struct file_trust file_trust_self(void)
{
	return (struct file_trust){.user = {geteuid()}, .n = 1};
}

static bool is_trusted(const struct file_trust *t, uid_t user)
{
	for (size_t i = 0; i < t->n; i++)
		if (t->user[i] == user)
			return true;
	return user == 0;
}

static enum kb_err explain_errno(char why[static FILE_WHY])
{
	snprintf(why, FILE_WHY, "%s", strerror(errno));
	return KB_E_FILE;
}

/* "keybroker", or "user 999" when it has no name. */
static const char *user_name(uid_t uid, char text[static 40])
{
	const struct passwd *pw = getpwuid(uid);

	if (pw != NULL)
		snprintf(text, 40, "user %.30s", pw->pw_name);
	else
		snprintf(text, 40, "user %u", uid);
	return text;
}

/* `remedy`: of a file that cannot be read; NULL: a directory cannot be entered. */
static enum kb_err explain_denied(const char *at, const char *remedy, char why[static FILE_WHY])
{
	char name[40];

	if (errno != EACCES)
		return explain_errno(why);
	user_name(geteuid(), name);
	if (remedy != NULL)
		snprintf(why, FILE_WHY, "cannot be read by %s: %s", name, remedy);
	else
		snprintf(why, FILE_WHY,
			 "cannot be reached by %s: let this user enter %.300s (its group, and mode "
			 "g+x)",
			 name, at);
	return KB_E_FILE;
}

/* `subject`: "", or the directory or file that is at fault. */
static enum kb_err explain_owner(const struct stat *st, const struct file_trust *trust,
				 const char *subject, char why[static FILE_WHY])
{
	char name[40];

	bool has_user = trust->n > 0 && trust->user[trust->n - 1] != 0;
	snprintf(why, FILE_WHY, "%sbelongs to user %u, not to root%s%s: chown it", subject,
		 st->st_uid, has_user ? " or to " : "",
		 has_user ? user_name(trust->user[trust->n - 1], name) : "");
	return KB_E_FILE_MODE;
}

static enum kb_err explain_mode(mode_t mode, mode_t bits, char why[static FILE_WHY])
{
	const char *verb = (bits & 044) != 0 ? "read" : (bits & 022) != 0 ? "written" : "used";
	char letters[2][4];

	for (unsigned i = 0; i < 2; i++) {
		mode_t three = bits >> (3 - 3 * i) & 7;
		snprintf(letters[i], sizeof letters[i], "%s%s%s", (three & 4) != 0 ? "r" : "",
			 (three & 2) != 0 ? "w" : "", (three & 1) != 0 ? "x" : "");
	}
	const char *group = letters[0], *other = letters[1];
	char change[16];
	if (strcmp(group, other) == 0)
		snprintf(change, sizeof change, "go-%s", group);
	else
		snprintf(change, sizeof change, "%s%s%s%s%s", *group != '\0' ? "g-" : "", group,
			 *group != '\0' && *other != '\0' ? "," : "", *other != '\0' ? "o-" : "",
			 other);
	snprintf(why, FILE_WHY, "can be %s by others (mode %04o): chmod %s", verb, mode & 07777U,
		 change);
	return KB_E_FILE_MODE;
}

/* ---- the way to it ---- */

struct way {
	const struct file_trust *trust;
	int dir;                 /* O_PATH: the directory that was reached */
	int file;                /* O_PATH: what the way ends at when it is no directory, or -1 */
	char at[PATH_MAX];       /* where that is, links resolved; "" is "/" */
	size_t len;              /* of `at` */
	char rest[PATH_MAX];     /* still to walk */
	char name[NAME_MAX + 1]; /* the last name, in `dir` when the way ends at a file */
	unsigned links;          /* followed */
	bool is_above;           /* the file that is asked about is below all of this */
	char *why;
};

static const char *where(const struct way *w)
{
	return w->len == 0 ? "/" : w->at;
}

static enum kb_err too_long(const struct way *w)
{
	errno = ENAMETOOLONG;
	return explain_errno(w->why);
}

static bool others_write(const struct stat *st)
{
	bool by_group = (st->st_mode & S_IWGRP) != 0 && st->st_gid != 0;

	return by_group || (st->st_mode & S_IWOTH) != 0;
}

static enum kb_err explain_open(const char *subject, const struct stat *st, const char *at,
				char why[static FILE_WHY])
{
	snprintf(why, FILE_WHY, "%scan be written by others (mode %04o): chmod go-w %.150s",
		 subject, st->st_mode & 07777U, at);
	return KB_E_FILE_MODE;
}

/* What `fd` is, which is at `at` now, and whether it is good. */
static enum kb_err check_one(const struct way *w, int fd, struct stat *st)
{
	char subject[300] = "";
	bool is_end = w->rest[0] == '\0' && !w->is_above;

	if (fd_stat(fd, st) != 0)
		return explain_errno(w->why);
	if (!is_end)
		snprintf(subject, sizeof subject, "is below %.250s, which ", where(w));
	else if (w->links > 0)
		snprintf(subject, sizeof subject, "leads to %.250s, which ", where(w));
	if (!is_trusted(w->trust, st->st_uid))
		return explain_owner(st, w->trust, subject, w->why);
	if (S_ISDIR(st->st_mode) && others_write(st) && (st->st_mode & S_ISVTX) == 0)
		return explain_open(subject, st, where(w), w->why);
	return KB_OK;
}

/* A sticky directory keeps its files from being replaced, not others from being added: that is
 * enough above a file, and not for a directory whose list of files counts. */
static enum kb_err check_list(const struct way *w)
{
	struct stat st;

	if (fd_stat(w->dir, &st) != 0)
		return explain_errno(w->why);
	return others_write(&st) ? explain_open("", &st, where(w), w->why) : KB_OK;
}

/* `at` without its last name. */
static void go_up(struct way *w)
{
	while (w->len > 0 && w->at[--w->len] != '/')
		;
	w->at[w->len] = '\0';
}

static enum kb_err enter(struct way *w, int dir)
{
	struct stat st;

	if (w->dir >= 0)
		close(w->dir);
	w->dir = dir;
	return dir < 0 ? explain_denied(where(w), NULL, w->why) : check_one(w, dir, &st);
}

static enum kb_err start_at_root(struct way *w)
{
	w->len = 0;
	w->at[0] = '\0';
	return enter(w, open("/", O_PATH | O_DIRECTORY | O_CLOEXEC));
}

/* Put the link's target before what is left to walk. */
static enum kb_err follow(struct way *w, int link)
{
	char target[PATH_MAX], rest[PATH_MAX];
	ssize_t n = readlinkat(link, "", target, sizeof target - 1);

	if (n < 0)
		return explain_errno(w->why);
	target[n] = '\0';
	if (++w->links > MAX_LINKS) {
		errno = ELOOP;
		return explain_errno(w->why);
	}
	if (n == (ssize_t)sizeof target - 1 ||
	    snprintf(rest, sizeof rest, "%s%s%s", target, w->rest[0] != '\0' ? "/" : "", w->rest) >=
		    (int)sizeof rest)
		return too_long(w);
	memcpy(w->rest, rest, sizeof rest);
	go_up(w);
	return target[0] == '/' ? start_at_root(w) : KB_OK;
}

/* The first name of `rest` becomes the last one of `at`.  False: there is none left. */
static bool next_name(struct way *w, bool *is_long)
{
	const char *name = w->rest + strspn(w->rest, "/");
	size_t n = strcspn(name, "/");

	*is_long = n > NAME_MAX || w->len + n + 2 > sizeof w->at;
	if (n == 0 || *is_long)
		return false;
	memcpy(w->name, name, n);
	w->name[n] = '\0';
	const char *left = name + n;
	memmove(w->rest, left, strlen(left) + 1);
	if (w->rest[strspn(w->rest, "/")] == '\0')
		w->rest[0] = '\0';
	if (strcmp(w->name, "..") == 0) {
		go_up(w);
	} else if (strcmp(w->name, ".") != 0) {
		w->at[w->len++] = '/';
		memcpy(w->at + w->len, w->name, n + 1);
		w->len += n;
	}
	return true;
}

/* One name further. */
static enum kb_err step(struct way *w)
{
	struct stat st;
	KB_AUTO(fd) int fd = openat(w->dir, w->name, O_PATH | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0) {
		if (errno == EACCES)
			go_up(w);
		return explain_denied(where(w), NULL, w->why);
	}
	enum kb_err err = check_one(w, fd, &st);
	if (err != KB_OK)
		return err;
	if (S_ISLNK(st.st_mode))
		return follow(w, fd);
	if (!S_ISDIR(st.st_mode) && w->rest[0] != '\0') {
		errno = ENOTDIR;
		return explain_errno(w->why);
	}
	int *end = S_ISDIR(st.st_mode) ? &w->dir : &w->file;
	if (*end >= 0)
		close(*end);
	*end = fd;
	fd = -1; /* NOLINT(clang-analyzer-deadcode.DeadStores): the cleanup attribute reads it */
	return KB_OK;
}

/* All of `rest`. */
static enum kb_err walk(struct way *w)
{
	enum kb_err err = KB_OK;
	bool is_long;

	while (err == KB_OK && next_name(w, &is_long))
		err = step(w);
	return err == KB_OK && is_long ? too_long(w) : err;
}

static enum kb_err walk_from_root(struct way *w, const char *path)
{
	char here[PATH_MAX] = "";

	if (path[0] != '/' && getcwd(here, sizeof here) == NULL)
		return explain_errno(w->why);
	if (snprintf(w->rest, sizeof w->rest, "%s/%s", here, path) >= (int)sizeof w->rest)
		return too_long(w);
	enum kb_err err = start_at_root(w);
	return err == KB_OK ? walk(w) : err;
}

static void way_cleanup(struct way *w)
{
	if (w->dir >= 0)
		close(w->dir);
	if (w->file >= 0)
		close(w->file);
}

static enum kb_err take_dir(struct way *w, int *dir)
{
	if (w->file >= 0) {
		errno = ENOTDIR;
		return explain_errno(w->why);
	}
	*dir = w->dir;
	w->dir = -1;
	return KB_OK;
}

enum kb_err file_check_way(const char *path, const struct file_trust *trust,
			   char why[static FILE_WHY])
{
	KB_AUTO(way) struct way w = {.trust = trust, .dir = -1, .file = -1, .why = why};
	enum kb_err err = walk_from_root(&w, path);

	return err == KB_OK && w.file < 0 ? check_list(&w) : err;
}

enum kb_err file_dir_trusted(const char *path, const struct file_trust *trust, int *dir,
			     char why[static FILE_WHY])
{
	KB_AUTO(way) struct way w = {.trust = trust, .dir = -1, .file = -1, .why = why};
	enum kb_err err = walk_from_root(&w, path);

	*dir = -1;
	if (err == KB_OK && w.file >= 0) {
		errno = ENOTDIR;
		err = explain_errno(why);
	}
	if (err == KB_OK)
		err = check_list(&w);
	if (err != KB_OK)
		return err;
	*dir = openat(w.dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return *dir >= 0 ? KB_OK
			 : explain_denied(where(&w), "let this user, or its group, list it (g+rx)",
					  why);
}

enum kb_err file_above_trusted(const char *path, const struct file_trust *trust, int *dir,
			       const char **name, char why[static FILE_WHY])
{
	KB_AUTO(way)
	struct way w = {.trust = trust, .dir = -1, .file = -1, .is_above = true, .why = why};
	const char *slash = strrchr(path, '/');
	KB_AUTO(cstr)
	char *above = slash == NULL ? strdup(".") : strndup(path, (size_t)(slash + 1 - path));

	*dir = -1;
	*name = slash == NULL ? path : slash + 1;
	if (above == NULL) {
		snprintf(why, FILE_WHY, "no memory");
		return KB_E_NOMEM;
	}
	enum kb_err err = walk_from_root(&w, above);
	return err == KB_OK ? take_dir(&w, dir) : err;
}

/* ---- the file ---- */

enum kb_err file_check(int fd, const struct file_trust *trust, mode_t forbidden,
		       char why[static FILE_WHY])
{
	struct stat st;

	if (fd_stat(fd, &st) != 0)
		return explain_errno(why);
	if (!S_ISREG(st.st_mode)) {
		snprintf(why, FILE_WHY, "is not a regular file");
		return KB_E_FILE_MODE;
	}
	if (!is_trusted(trust, st.st_uid))
		return explain_owner(&st, trust, "", why);
	if ((st.st_mode & forbidden) != 0)
		return explain_mode(st.st_mode, st.st_mode & forbidden, why);
	return KB_OK;
}

static enum kb_err check_end(const struct way *w, int fd, mode_t forbidden)
{
	char reason[FILE_WHY];
	enum kb_err err = file_check(fd, w->trust, forbidden, reason);

	if (err != KB_OK)
		snprintf(w->why, FILE_WHY, "%s%.200s%s%.280s", w->links > 0 ? "leads to " : "",
			 w->links > 0 ? where(w) : "", w->links > 0 ? ", which " : "", reason);
	return err;
}

/* The file at the end of `w`, in the directory that was reached.  When it is replaced after it was
 * looked at, then by somebody who is trusted; and the new one is checked, too. */
static enum kb_err open_end(const struct way *w, mode_t forbidden, int *fd)
{
	enum kb_err err = check_end(w, w->file < 0 ? w->dir : w->file, forbidden);

	if (err != KB_OK)
		return err;
	*fd = openat(w->dir, w->name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
	if (*fd < 0)
		return explain_denied(where(w),
				      (forbidden & S_IRGRP) != 0
					      ? "chown it to this user"
					      : "chown it to this user, or to its group with g+r",
				      w->why);
	if ((err = check_end(w, *fd, forbidden)) == KB_OK)
		return KB_OK;
	close(*fd);
	*fd = -1;
	return err;
}

enum kb_err file_open_below(int dir, const char *path, const struct file_trust *trust,
			    mode_t forbidden, int *fd, char why[static FILE_WHY])
{
	KB_AUTO(way) struct way w = {.trust = trust, .dir = -1, .file = -1, .why = why};
	const char *slash = strrchr(path, '/');
	size_t len = slash == NULL ? 0 : (size_t)(slash - path);
	const char *name = slash == NULL ? path : slash + 1;

	*fd = -1;
	if (len >= sizeof w.at || strlen(name) >= sizeof w.rest)
		return too_long(&w);
	memcpy(w.at, path, len); /* for messages */
	w.len = len;
	memcpy(w.rest, name, strlen(name) + 1);
	w.dir = fcntl(dir, F_DUPFD_CLOEXEC, 0);
	if (w.dir < 0)
		return explain_errno(why);
	enum kb_err err = walk(&w);
	return err == KB_OK ? open_end(&w, forbidden, fd) : err;
}

enum kb_err file_open_trusted(const char *path, const struct file_trust *trust, mode_t forbidden,
			      int *fd, char why[static FILE_WHY])
{
	KB_AUTO(fd) int dir = -1;
	const char *name;
	enum kb_err err = file_above_trusted(path, trust, &dir, &name, why);

	*fd = -1;
	return err == KB_OK ? file_open_below(dir, path, trust, forbidden, fd, why) : err;
}
