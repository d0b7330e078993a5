/* broker/ctl/user.h — root acts as the user of the broker's processes for a while. */
#ifndef KB_CTL_USER_H
#define KB_CTL_USER_H
#include "base/err.h"

/* Effective user and groups of `user`.  NULL, or when we are not root: stay what we are.  KB_E_SYS,
 * reported. */
KB_MUST_CHECK enum kb_err ctl_user_enter(const char *user);
void ctl_user_leave(void); /* root again */

#endif
