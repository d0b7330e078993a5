/* broker/ctl/user.c — acts as the user of the broker's processes, so that files made then are that
 * user's. */
#include "ctl/user.h"

#include <errno.h>
#include <string.h>

#include "ctl/output.h"

enum kb_err ctl_user_enter(const struct user *user)
{
	enum kb_err err = user_enter(user);

	if (err != KB_OK)
		ctl_fail(CTL_FAILED, "cannot act as user %s: %s", user->name, strerror(errno));
	return err;
}
