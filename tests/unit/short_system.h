/* tests/unit/short_system.h — the n-th call that wants something of a file fails with EIO, or finds
 * no memory, in any part of the program.  The program must not be linked with a shim of its own. */
#ifndef KB_TESTS_SHORT_SYSTEM_H
#define KB_TESTS_SHORT_SYSTEM_H
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

static struct {
	unsigned n, fail_at;              /* fail_at: which call from now on, 0: none */
	const char *failed;               /* the one that was made to fail, NULL: it never came */
	int dies;                         /* not 0: the process ends instead, with this exit code */
	void (*before)(const char *name); /* what another process does before each call */
} calls;

static void calls_fail(unsigned at)
{
	calls.n = 0;
	calls.fail_at = at;
	calls.failed = NULL;
}

/* No more of it; false: there were not so many calls. */
static bool calls_end(void)
{
	calls.fail_at = 0;
	return calls.failed != NULL;
}

static bool call_fails(const char *name)
{
	if (calls.before != NULL)
		calls.before(name);
	if (calls.fail_at == 0 || ++calls.n != calls.fail_at)
		return false;
	if (calls.dies != 0)
		_exit(calls.dies);
	calls.failed = name;
	errno = EIO;
	return true;
}

#ifdef __clang__ /* the headers of a fortified build declare some of these as inline */
#pragma clang diagnostic ignored "-Wstatic-in-inline"
#endif
#define REAL(name) ((__typeof__(name) *)dlsym(RTLD_NEXT, #name))
#define FAILING(type, name, parameters, arguments)                                                 \
	type name parameters                                                                       \
	{                                                                                          \
		return call_fails(#name) ? (type)-1 : REAL(name) arguments;                        \
	}

ssize_t __read_chk(int fd, void *p, size_t n, size_t process);
ssize_t __read_chk(int fd, void *p, size_t n, size_t process)
{
	return call_fails("read") ? -1 : n > process ? (abort(), -1) : REAL(read)(fd, p, n);
}

FAILING(ssize_t, pread, (int fd, void *p, size_t n, off_t at), (fd, p, n, at))
FAILING(ssize_t, write, (int fd, const void *p, size_t n), (fd, p, n))
FAILING(ssize_t, pwrite, (int fd, const void *p, size_t n, off_t at), (fd, p, n, at))
FAILING(int, fstat, (int fd, struct stat *st), (fd, st))
FAILING(int, fsync, (int fd), (fd))
FAILING(int, fdatasync, (int fd), (fd))
FAILING(int, ftruncate, (int fd, off_t len), (fd, len))
FAILING(int, flock, (int fd, int operation), (fd, operation))
FAILING(int, mkdir, (const char *path, mode_t mode), (path, mode))
FAILING(int, rename, (const char *from, const char *to), (from, to))
FAILING(int, renameat, (int a, const char *from, int b, const char *to), (a, from, b, to))

FAILING(int, memfd_create, (const char *name, unsigned flags), (name, flags))

void *mmap(void *at, size_t len, int protection, int flags, int fd, off_t offset)
{
	return call_fails("mmap") ? MAP_FAILED : REAL(mmap)(at, len, protection, flags, fd, offset);
}

ssize_t read(int fd, void *p, size_t n)
{
	return call_fails("read") ? -1 : REAL(read)(fd, p, n);
}

int open(const char *path, int flags, ...)
{
	va_list ap;

	va_start(ap, flags);
	mode_t mode = (flags & O_CREAT) != 0 ? va_arg(ap, mode_t) : 0;
	va_end(ap);
	return call_fails("open") ? -1 : REAL(openat)(AT_FDCWD, path, flags, mode);
}

int openat(int dir, const char *path, int flags, ...)
{
	va_list ap;

	va_start(ap, flags);
	mode_t mode = (flags & O_CREAT) != 0 ? va_arg(ap, mode_t) : 0;
	va_end(ap);
	return call_fails("openat") ? -1 : REAL(openat)(dir, path, flags, mode);
}

int fcntl(int fd, int command, ...)
{
	va_list ap;

	va_start(ap, command);
	long value = va_arg(ap, long);
	va_end(ap);
	return call_fails("fcntl") ? -1 : REAL(fcntl)(fd, command, value);
}

#endif
