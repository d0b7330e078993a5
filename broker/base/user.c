/* broker/base/user.c — acts as another user with that user's groups, and comes back.  Decides
 * nothing.  Never goes on as somebody between the two. */
#include "base/user.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdio.h>
#include <unistd.h>

enum { MAX_GROUPS = 256 };
static gid_t own_groups[MAX_GROUPS]; /* root's, while we act as somebody else */
static int n_own_groups;
static gid_t own_gid;

static void fill(const struct passwd *pw, struct user *out)
{
	*out = (struct user){.uid = pw->pw_uid, .gid = pw->pw_gid};
	snprintf(out->name, sizeof out->name, "%s", pw->pw_name);
}

enum kb_err user_find(const char *name, struct user *out)
{
	const struct passwd *pw = getpwnam(name);

	*out = (struct user){.uid = (uid_t)-1, .gid = (gid_t)-1};
	if (pw == NULL)
		return KB_E_CONFIG;
	fill(pw, out);
	return KB_OK;
}

void user_of(uid_t uid, gid_t gid, struct user *out)
{
	const struct passwd *pw = getpwuid(uid);

	*out = (struct user){.uid = uid, .gid = gid};
	if (pw != NULL)
		fill(pw, out);
}

static bool take_groups(const struct user *u)
{
	return u->name[0] != '\0' ? initgroups(u->name, u->gid) == 0 : setgroups(0, NULL) == 0;
}

enum kb_err user_enter(const struct user *u)
{
	if (geteuid() != 0 || u->uid == 0)
		return KB_OK;
	own_gid = getegid();
	n_own_groups = getgroups(MAX_GROUPS, own_groups);
	if (n_own_groups < 0)
		return KB_E_SYS;
	if (take_groups(u) && setegid(u->gid) == 0 && seteuid(u->uid) == 0)
		return KB_OK;
	int why = errno;
	if (setegid(own_gid) != 0 || setgroups((size_t)n_own_groups, own_groups) != 0)
		KB_BUG();
	errno = why;
	return KB_E_SYS;
}

void user_leave(void)
{
	if (getuid() != 0 || geteuid() == 0)
		return;
	if (seteuid(0) != 0 || setegid(own_gid) != 0 ||
	    setgroups((size_t)n_own_groups, own_groups) != 0)
		KB_BUG(); /* neither the user nor root */
}

enum kb_err user_become(const struct user *u)
{
	if (geteuid() != 0 || u->uid == 0)
		return KB_OK;
	if (!take_groups(u) || setresgid(u->gid, u->gid, u->gid) != 0 ||
	    setresuid(u->uid, u->uid, u->uid) != 0)
		return KB_E_SYS;
	return setuid(0) == 0 || seteuid(0) == 0 ? KB_E_SYS : KB_OK;
}
