/* broker/base/user.h — an account of the system, and root that acts as it for a while: what root
 * reads then, that user can read; what root makes then is that user's. */
#ifndef KB_BASE_USER_H
#define KB_BASE_USER_H
#include <sys/types.h>

#include "base/err.h"

enum { USER_NAME = 33 };
struct user {
	char name[USER_NAME]; /* "" when the account has none */
	uid_t uid;
	gid_t gid;
};

/* KB_E_CONFIG when there is no such account. */
KB_MUST_CHECK enum kb_err user_find(const char *name, struct user *out);
/* The account of this number, which need not have a name; its group is `gid` then. */
void user_of(uid_t uid, gid_t gid, struct user *out);

/* Effective user and all groups of `u`, until user_leave().  Nothing happens when we are not root,
 * or `u` is.  KB_E_SYS, with errno: we are root still. */
KB_MUST_CHECK enum kb_err user_enter(const struct user *u);
void user_leave(void);
/* For good: no way back.  KB_E_SYS. */
KB_MUST_CHECK enum kb_err user_become(const struct user *u);

#endif
