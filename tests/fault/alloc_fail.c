/* tests/fault/alloc_fail.c — LD_PRELOAD: the nth malloc, calloc or realloc of one room fails, counted from when the test arms it.
 * Decides which room it is in by /proc/self/cmdline, once, before main(); afterwards it makes no system call.  Never part of the product. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/fault/alloc_fail.h"

#define EXPORT __attribute__((visibility("default")))

/* glibc's own, under the names that it keeps for those who stand before it. */
extern void *__libc_malloc(size_t n);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *p, size_t n);

static struct alloc_control *control;

__attribute__((constructor)) static void begin(void)
{
	char line[512] = "", want[32];
	const char *path = getenv("KB_ALLOC_FAIL");
	int fd = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, line, sizeof line - 1);

	if (fd >= 0)
		close(fd);
	for (ssize_t i = 0; i + 1 < n; i++)
		if (line[i] == '\0')
			line[i] = ' ';
	if (path == NULL || strstr(line, "--room ") == NULL || (fd = open(path, O_RDWR | O_CLOEXEC)) < 0)
		return;
	void *p = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (p == MAP_FAILED || ((struct alloc_control *)p)->magic != ALLOC_MAGIC)
		return;
	snprintf(want, sizeof want, "--room %s ", ((struct alloc_control *)p)->room);
	if (strstr(line, want) == NULL) {
		munmap(p, sizeof *control);
		return;
	}
	atomic_fetch_add(&((struct alloc_control *)p)->rooms, 1);
	control = p;
}

static bool fails(void)
{
	if (control == NULL || atomic_load(&control->armed) == 0)
		return false;
	if (atomic_fetch_add(&control->count, 1) + 1 != atomic_load(&control->fail_at))
		return false;
	atomic_fetch_add(&control->failed, 1);
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
