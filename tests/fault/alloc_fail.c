/* tests/fault/alloc_fail.c — LD_PRELOAD: the nth malloc, calloc or realloc of one process fails, a
 * library's too, counted from when the test arms it. After its constructor it makes no system call.
 * Never part of the product. */
#include <errno.h>

#include "tests/fault/fail_script.h"
#include "tests/fault/keep_env.h"

#define EXPORT __attribute__((visibility("default")))

/* glibc's own, under the names that it has for a malloc() before its own. */
extern void *__libc_malloc(size_t n);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *p, size_t n);

static struct fail_script *script;

__attribute__((constructor)) static void begin(int argc, char **argv)
{
	script = fail_script_map(argc, argv);
}

static bool fails(void)
{
	if (!fail_script_next(script, "malloc"))
		return false;
	errno = ENOMEM;
	return true;
}

EXPORT void *malloc(size_t n);
EXPORT void *calloc(size_t n, size_t size);
EXPORT void *realloc(void *p, size_t n);

EXPORT void *malloc(size_t n)
{
	return fails() ? NULL : __libc_malloc(n);
}

EXPORT void *calloc(size_t n, size_t size)
{
	return fails() ? NULL : __libc_calloc(n, size);
}

EXPORT void *realloc(void *p, size_t n)
{
	return fails() ? NULL : __libc_realloc(p, n);
}

EXPORT int execveat(int dir, const char *path, char *const argv[], char *const envp[], int flags)
{
	(void)envp;
	return keep_env_exec(dir, path, argv, flags);
}
