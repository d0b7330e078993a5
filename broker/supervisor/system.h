/* broker/supervisor/system.h — what the system must give the broker: a user for its processes, and
 * limits that are high enough. */
#ifndef KB_SUPERVISOR_SYSTEM_H
#define KB_SUPERVISOR_SYSTEM_H
#include "config/config.h"
#include "process/sandbox.h"

/* Root needs a user for its processes; *user is left alone otherwise.  KB_E_CONFIG: what is
 * wrong was printed. */
KB_MUST_CHECK enum kb_err system_user(const struct config *c, struct sandbox_user *user);
/* Raises the limit of open files, and checks all limits against the configuration.  KB_E_CONFIG,
 * KB_E_SYS: `why` says what is wrong and how to correct it. */
KB_MUST_CHECK enum kb_err system_limits(const struct config *c, char why[static 512]);

#endif
