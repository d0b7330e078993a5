/* tests/fault/keep_env.h — the broker gives its processes no environment, and so no LD_PRELOAD: a
 * shim in the supervisor hands its own on.  For one .c file of a preloaded object. */
#ifndef KB_TESTS_KEEP_ENV_H
#define KB_TESTS_KEEP_ENV_H
#include <sys/syscall.h>
#include <unistd.h>

static inline int keep_env_exec(int dir, const char *path, char *const argv[], int flags)
{
	return (int)syscall(SYS_execveat, dir, path, argv, environ, flags);
}

#endif
