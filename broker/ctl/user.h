/* broker/ctl/user.h — root acts as the user of the broker's processes for a while. */
#ifndef KB_CTL_USER_H
#define KB_CTL_USER_H
#include "base/user.h"

/* user_enter(), reported; user_leave() ends it. */
KB_MUST_CHECK enum kb_err ctl_user_enter(const struct user *user);

#endif
