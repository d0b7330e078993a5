/* broker/ctl/user.c — acts as the user of the broker's processes, so that files made then are that
 * user's. */
#include "ctl/user.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <string.h>
#include <unistd.h>

#include "ctl/output.h"

enum kb_err ctl_user_enter(const char *user)
{
	if (user == NULL || geteuid() != 0)
		return KB_OK;
	const struct passwd *pw = getpwnam(user);
	if (pw == NULL) {
		ctl_fail(CTL_FAILED,
			 "there is no user '%s' on this machine; create it (useradd --system %s) "
			 "or change \"user\"",
			 user, user);
		return KB_E_SYS;
	}
	if (initgroups(user, pw->pw_gid) == 0 && setegid(pw->pw_gid) == 0 &&
	    seteuid(pw->pw_uid) == 0)
		return KB_OK;
	ctl_fail(CTL_FAILED, "cannot act as user %s: %s", user, strerror(errno));
	ctl_user_leave();
	return KB_E_SYS;
}

void ctl_user_leave(void)
{
	if (getuid() != 0 || geteuid() == 0)
		return;
	if (seteuid(0) != 0 || setegid(0) != 0 || setgroups(0, NULL) != 0)
		KB_BUG(); /* neither the user nor root */
}
