/* broker/base/file_trust.c — decides who can change a file: its owner and mode, and those of every
 * directory and symbolic link on the way to it, up to "/".  Whoever can write a directory can put
 * another file in the place of a good one.  Trusts root and the users it is given. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
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

/* "others" is everyone who is not in the list; `subject`: "", or the directory that is at fault. */
static enum kb_err explain_owner(const struct stat *st, const char *subject,
				 char why[static FILE_WHY])
{
	snprintf(why, FILE_WHY, "%sbelongs to user %u, not to root or to us (user %u): chown it",
		 subject, st->st_uid, geteuid());
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
	char at[PATH_MAX];   /* checked, links resolved; "" is "/" */
	char rest[PATH_MAX]; /* still to walk */
	size_t len;          /* of `at` */
	unsigned links;      /* followed */
	bool is_above;       /* the file that is asked about is below all of this */
};

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

static enum kb_err check_one(const struct way *w, const struct file_trust *trust, struct stat *st,
			     char why[static FILE_WHY])
{
	const char *at = w->len == 0 ? "/" : w->at;
	char subject[300] = "";

	if (lstat(at, st) != 0)
		return explain_errno(why);
	if (w->is_above || w->links > 0 || w->rest[0] != '\0')
		snprintf(subject, sizeof subject, "is below %.250s, which ", at);
	if (!is_trusted(trust, st->st_uid))
		return explain_owner(st, subject, why);
	if (S_ISDIR(st->st_mode) && others_write(st) && (st->st_mode & S_ISVTX) == 0)
		return explain_open(subject, st, at, why);
	return KB_OK;
}

/* A sticky directory keeps its files from being replaced, not others from being added: that is
 * enough above a file, and not for a directory whose list of files counts. */
static enum kb_err check_list(const struct way *w, char why[static FILE_WHY])
{
	const char *at = w->len == 0 ? "/" : w->at;
	struct stat st;

	if (lstat(at, &st) != 0)
		return explain_errno(why);
	return S_ISDIR(st.st_mode) && others_write(&st) ? explain_open("", &st, at, why) : KB_OK;
}

/* `at` without its last name. */
static void go_up(struct way *w)
{
	while (w->len > 0 && w->at[--w->len] != '/')
		;
	w->at[w->len] = '\0';
}

/* Put the link's target before what is left to walk. */
static enum kb_err follow(struct way *w, char why[static FILE_WHY])
{
	char target[PATH_MAX], rest[PATH_MAX];
	ssize_t n = readlink(w->at, target, sizeof target - 1);

	if (n < 0)
		return explain_errno(why);
	target[n] = '\0';
	errno = ++w->links > MAX_LINKS ? ELOOP : ENAMETOOLONG;
	if (w->links > MAX_LINKS ||
	    snprintf(rest, sizeof rest, "%s/%s", target, w->rest) >= (int)sizeof rest)
		return explain_errno(why);
	memcpy(w->rest, rest, sizeof rest);
	go_up(w);
	if (target[0] == '/') {
		w->len = 0;
		w->at[0] = '\0';
	}
	return KB_OK;
}

/* Move the first name of `rest` to the end of `at`; "." and ".." are no names. */
static enum kb_err next_name(struct way *w, bool *is_new, char why[static FILE_WHY])
{
	const char *name = w->rest + strspn(w->rest, "/");
	size_t n = strcspn(name, "/");
	bool is_here = n == 0 || (n == 1 && name[0] == '.');
	bool is_up = n == 2 && name[0] == '.' && name[1] == '.';

	*is_new = !is_here && !is_up;
	if (is_up) /* what is above was checked on the way down */
		go_up(w);
	if (*is_new) {
		if (w->len + n + 2 > sizeof w->at) {
			errno = ENAMETOOLONG;
			return explain_errno(why);
		}
		w->at[w->len++] = '/';
		memcpy(w->at + w->len, name, n);
		w->len += n;
		w->at[w->len] = '\0';
	}
	const char *left = name + n + strspn(name + n, "/");
	memmove(w->rest, left, strlen(left) + 1);
	return KB_OK;
}

static enum kb_err check_way(const char *path, bool is_above, const struct file_trust *trust,
			     char why[static FILE_WHY])
{
	struct way w = {.len = 0, .is_above = is_above};
	char here[PATH_MAX] = "";
	struct stat st;
	bool is_new;
	enum kb_err err;

	if (path[0] != '/' && getcwd(here, sizeof here) == NULL)
		return explain_errno(why);
	if (snprintf(w.rest, sizeof w.rest, "%s/%s", here, path) >= (int)sizeof w.rest) {
		errno = ENAMETOOLONG;
		return explain_errno(why);
	}
	if ((err = check_one(&w, trust, &st, why)) != KB_OK)
		return err;
	while (w.rest[0] != '\0') {
		if ((err = next_name(&w, &is_new, why)) != KB_OK ||
		    (is_new && (err = check_one(&w, trust, &st, why)) != KB_OK))
			return err;
		if (is_new && S_ISLNK(st.st_mode) && (err = follow(&w, why)) != KB_OK)
			return err;
	}
	return is_above ? KB_OK : check_list(&w, why);
}

enum kb_err file_check_way(const char *path, const struct file_trust *trust,
			   char why[static FILE_WHY])
{
	return check_way(path, false, trust, why);
}

enum kb_err file_check_above(const char *path, const struct file_trust *trust,
			     char why[static FILE_WHY])
{
	const char *slash = strrchr(path, '/');
	KB_AUTO(cstr)
	char *dir = slash == NULL ? strdup(".") : strndup(path, (size_t)(slash + 1 - path));

	if (dir == NULL) {
		snprintf(why, FILE_WHY, "no memory");
		return KB_E_NOMEM;
	}
	return check_way(dir, true, trust, why);
}

/* ---- the file ---- */

enum kb_err file_check(int fd, const struct file_trust *trust, mode_t forbidden,
		       char why[static FILE_WHY])
{
	struct stat st;

	if (fstat(fd, &st) != 0)
		return explain_errno(why);
	if (!S_ISREG(st.st_mode)) {
		snprintf(why, FILE_WHY, "is not a regular file");
		return KB_E_FILE_MODE;
	}
	if (!is_trusted(trust, st.st_uid))
		return explain_owner(&st, "", why);
	if ((st.st_mode & forbidden) != 0)
		return explain_mode(st.st_mode, st.st_mode & forbidden, why);
	return KB_OK;
}

enum kb_err file_open_checked(const char *path, const struct file_trust *trust, mode_t forbidden,
			      int *fd, char why[static FILE_WHY])
{
	*fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
	if (*fd < 0 && errno == ELOOP) {
		snprintf(why, FILE_WHY, "is a symbolic link: name the file itself");
		return KB_E_FILE_MODE;
	}
	if (*fd < 0)
		return explain_errno(why);
	enum kb_err err = file_check(*fd, trust, forbidden, why);
	if (err != KB_OK) {
		close(*fd);
		*fd = -1;
	}
	return err;
}

enum kb_err file_open_trusted(const char *path, const struct file_trust *trust, mode_t forbidden,
			      int *fd, char why[static FILE_WHY])
{
	*fd = -1;
	enum kb_err err = file_check_above(path, trust, why);
	return err != KB_OK ? err : file_open_checked(path, trust, forbidden, fd, why);
}
