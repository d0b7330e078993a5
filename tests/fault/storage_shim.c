/* tests/fault/storage_shim.c — preloaded into the broker: calls on the ledger's files and sockets
 * fail, are delayed, or are the process's last, as a test asks, and the wall clock has an offset.
 * Trusts the test.  After its constructor it opens nothing: the processes' sandboxes are on. */
#include "tests/fault/storage_shim.h"
#include "tests/fault/keep_env.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { FDS = 65536 };
enum kind { NO_FILE, LEDGER_FILE, LEDGER_DIR };

static struct shim *shared;
static uint32_t own_process;
static unsigned char kind_of[FDS];
static uint64_t made_last; /* inode */

#define REAL(name)                                                                                 \
	static __typeof__(name) *real;                                                             \
	if (real == NULL)                                                                          \
	real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

__attribute__((constructor)) static void begin(int argc, char **argv)
{
	static const char *const names[] = {"supervisor", "gateway", "vault", "ledger", "fetcher"};
	const char *path = getenv("KB_SHIM");
	struct shim *map = MAP_FAILED;
	int fd = path == NULL ? -1 : open(path, O_RDWR | O_CLOEXEC);
	if (fd >= 0) {
		map = mmap(NULL, sizeof *map, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		close(fd);
	}
	if (map == MAP_FAILED)
		return;
	own_process = SHIM_SUPERVISOR;
	for (unsigned i = 0; argc > 0 && i < sizeof names / sizeof names[0]; i++)
		if (strncmp(argv[0], "keybrokerd: ", 12) == 0 &&
		    strcmp(argv[0] + 12, names[i]) == 0)
			own_process = 1u << i;
	shared = map;
	atomic_fetch_or(&shared->processes, own_process);
}

static enum kind kind(int fd)
{
	return fd >= 0 && fd < FDS ? (enum kind)kind_of[fd] : NO_FILE;
}

/* ---- rules ---- */

static void end_now(void)
{
	kill(getpid(), SIGKILL);
	_exit(137); /* a sandbox may not let a process kill, even itself */
}

struct verdict {
	int error; /* the call fails with it */
	bool is_short, is_last;
};

/* What is to happen to this call; waits here, and ends the process here, when that is it. */
static struct verdict ask(enum shim_call call)
{
	struct verdict v = {0};
	for (unsigned i = 0; shared != NULL && i < SHIM_RULES; i++) {
		struct shim_rule *r = &shared->rule[i];
		uint32_t what = atomic_load(&r->what);
		if (what == SHIM_NOTHING || (atomic_load(&r->processes) & own_process) == 0 ||
		    (atomic_load(&r->calls) & (uint32_t)call) == 0 ||
		    atomic_load(&r->is_asleep) != 0 || atomic_fetch_sub(&r->skip, 1) > 0)
			continue;
		int32_t times = atomic_load(&r->times);
		if (times == 0 || (times > 0 && atomic_fetch_sub(&r->times, 1) <= 0))
			continue;
		atomic_fetch_add(&r->acted, 1);
		if (what == SHIM_FAIL)
			v.error = atomic_load(&r->number);
		else if (what == SHIM_SHORT)
			v.is_short = true;
		else if (what == SHIM_SLOW)
			poll(NULL, 0, atomic_load(&r->number));
		else if (what == SHIM_KILL_BEFORE)
			end_now();
		else if (what == SHIM_KILL_AFTER)
			v.is_last = true;
	}
	return v;
}

static void message_came(void)
{
	for (unsigned i = 0; shared != NULL && i < SHIM_RULES; i++)
		if ((atomic_load(&shared->rule[i].processes) & own_process) != 0)
			atomic_store(&shared->rule[i].is_asleep, 0);
}

static void end_if_last(struct verdict v)
{
	if (v.is_last)
		end_now();
}

/* ---- what a power cut would leave ---- */

static struct shim_file *account(uint64_t inode)
{
	for (unsigned i = 0; shared != NULL && i < SHIM_MOST_FILES; i++) {
		struct shim_file *f = &shared->file[i];
		if (atomic_load(&f->inode) == inode)
			return f;
		if (atomic_load(&f->inode) == 0) { /* the ledger process alone comes here */
			atomic_store(&f->stable, -1);
			atomic_store(&f->inode, inode);
			return f;
		}
	}
	return NULL;
}

static struct shim_file *account_of(int fd, struct stat *st)
{
	return syscall(SYS_fstat, fd, st) == 0 ? account(st->st_ino) : NULL;
}

static void was_opened(int fd, bool is_new)
{
	struct stat st;
	struct shim_file *f = account_of(fd, &st);
	if (f != NULL && is_new)
		made_last = st.st_ino;
	if (f == NULL || (!is_new && atomic_load(&f->stable) >= 0))
		return;
	atomic_store(
		&f->stable,
		is_new ? 0 : st.st_size); /* what was there before the first of us is on the disk */
	atomic_store(&f->lost_from, 0);
	atomic_store(&f->lost_to, 0);
	atomic_store(&f->is_name_loose, 0);
}

static void was_synced(int fd, bool is_done)
{
	struct stat st;
	struct shim_file *f = account_of(fd, &st);
	if (f == NULL)
		return;
	int64_t from = atomic_load(&f->lost_from), to = atomic_load(&f->lost_to);
	if (is_done) {
		atomic_store(&f->stable, from < to && from < st.st_size ? from : st.st_size);
	} else if (atomic_load(&f->stable) < st.st_size) {
		atomic_store(&f->lost_from, atomic_load(&f->stable));
		atomic_store(&f->lost_to, st.st_size);
	}
}

/* Bytes are about to be written over: what differs is loose from there on; what was lost and is
 * written again is no longer lost. */
static void will_overwrite(int fd, const void *bytes, size_t len, off_t at)
{
	struct stat st;
	struct shim_file *f = account_of(fd, &st);
	char *old = malloc(len + 1);
	if (f != NULL && old != NULL) {
		ssize_t n = pread(fd, old, len, at);
		int64_t same = 0, to = at + (int64_t)len;
		while (same < n && old[same] == ((const char *)bytes)[same])
			same++;
		if (at + same < atomic_load(&f->stable) && same < (int64_t)len)
			atomic_store(&f->stable, at + same);
		if (at <= atomic_load(&f->lost_from) && to >= atomic_load(&f->lost_to))
			atomic_store(&f->lost_to, 0);
	}
	free(old);
}

static void was_cut(int fd, off_t len)
{
	struct stat st;
	struct shim_file *f = account_of(fd, &st);
	if (f == NULL)
		return;
	if (atomic_load(&f->stable) > len)
		atomic_store(&f->stable, len);
	if (atomic_load(&f->lost_from) >= len)
		atomic_store(&f->lost_to, 0);
}

/* The ledger renames what it made last, and nothing else; its sandbox does not allow stat() by
 * name. */
static void name_is_loose(void)
{
	struct shim_file *f = made_last == 0 ? NULL : account(made_last);
	if (f != NULL)
		atomic_store(&f->is_name_loose, 1);
}

static void names_are_firm(void)
{
	for (unsigned i = 0; i < SHIM_MOST_FILES; i++)
		atomic_store(&shared->file[i].is_name_loose, 0);
}

/* ---- files ---- */

static bool is_ours(const char *name)
{
	return own_process == SHIM_LEDGER && strncmp(name, "ledger", 6) == 0;
}

int openat(int dir, const char *name, int flags, ...)
{
	REAL(openat);
	va_list args;
	va_start(args, flags);
	mode_t mode = (flags & O_CREAT) != 0 ? va_arg(args, mode_t) : 0;
	va_end(args);
	if (shared == NULL ||
	    (!is_ours(name) && (own_process != SHIM_LEDGER || strcmp(name, ".") != 0)))
		return real(dir, name, flags, mode);
	struct verdict v = is_ours(name) ? ask(SHIM_OPEN) : (struct verdict){0};
	if (v.error != 0) {
		errno = v.error;
		return -1;
	}
	int fd = real(dir, name, flags, mode);
	if (fd >= 0 && fd < FDS)
		kind_of[fd] = is_ours(name) ? LEDGER_FILE : LEDGER_DIR;
	if (fd >= 0 && is_ours(name))
		was_opened(fd, (flags & O_EXCL) != 0);
	end_if_last(v);
	return fd;
}

int close(int fd)
{
	REAL(close);
	if (fd >= 0 && fd < FDS)
		kind_of[fd] = NO_FILE;
	return real(fd);
}

ssize_t write(int fd, const void *bytes, size_t len)
{
	REAL(write);
	struct verdict v = ask(kind(fd) == LEDGER_FILE ? SHIM_WRITE : SHIM_PUT);
	if (v.error != 0) {
		errno = v.error;
		return -1;
	}
	ssize_t n = real(fd, bytes, v.is_short && len > 1 ? len / 2 : len);
	end_if_last(v);
	return n;
}

ssize_t pwrite(int fd, const void *bytes, size_t len, off_t at)
{
	REAL(pwrite);
	if (kind(fd) != LEDGER_FILE)
		return real(fd, bytes, len, at);
	struct verdict v = ask(SHIM_WRITE);
	if (v.error != 0) {
		errno = v.error;
		return -1;
	}
	len = v.is_short && len > 1 ? len / 2 : len;
	will_overwrite(fd, bytes, len, at);
	ssize_t n = real(fd, bytes, len, at);
	end_if_last(v);
	return n;
}

static int sync_with(int (*real)(int), int fd)
{
	if (kind(fd) == NO_FILE)
		return real(fd);
	struct verdict v = ask(kind(fd) == LEDGER_DIR ? SHIM_DIR_SYNC : SHIM_SYNC);
	int r = v.error != 0 ? -1 : real(fd);
	int error = v.error != 0 ? v.error : errno;
	if (kind(fd) == LEDGER_FILE)
		was_synced(fd, r == 0);
	else if (r == 0)
		names_are_firm();
	end_if_last(v);
	errno = error;
	return r;
}

int fdatasync(int fd)
{
	REAL(fdatasync);
	return sync_with(real, fd);
}

int fsync(int fd)
{
	REAL(fsync);
	return sync_with(real, fd);
}

int ftruncate(int fd, off_t len)
{
	REAL(ftruncate);
	if (kind(fd) != LEDGER_FILE)
		return real(fd, len);
	struct verdict v = ask(SHIM_CUT);
	if (v.error != 0) {
		errno = v.error;
		return -1;
	}
	int r = real(fd, len);
	if (r == 0)
		was_cut(fd, len);
	end_if_last(v);
	return r;
}

int renameat(int from_dir, const char *from, int to_dir, const char *to)
{
	REAL(renameat);
	if (shared == NULL || !is_ours(to))
		return real(from_dir, from, to_dir, to);
	struct verdict v = ask(SHIM_RENAME);
	if (v.error != 0) {
		errno = v.error;
		return -1;
	}
	int r = real(from_dir, from, to_dir, to);
	if (r == 0)
		name_is_loose();
	end_if_last(v);
	return r;
}

int unlinkat(int dir, const char *name, int flags)
{
	REAL(unlinkat);
	if (shared == NULL || !is_ours(name))
		return real(dir, name, flags);
	struct verdict v = ask(SHIM_UNLINK);
	if (v.error != 0) {
		errno = v.error;
		return -1;
	}
	int r = real(dir, name, flags), error = errno;
	end_if_last(v);
	errno = error;
	return r;
}

/* ---- messages ---- */

/* What comes in counts when it has come: a process waits in these calls. */
static ssize_t came(enum shim_call call, ssize_t n)
{
	int error = errno;
	if (n > 0) {
		message_came();
		end_if_last(ask(call));
	}
	errno = error;
	return n;
}

ssize_t recv(int fd, void *bytes, size_t len, int flags)
{
	REAL(recv);
	return came(SHIM_RECV, real(fd, bytes, len, flags));
}

ssize_t read(int fd, void *bytes, size_t len)
{
	REAL(read);
	return came(SHIM_READ, real(fd, bytes, len));
}

ssize_t send(int fd, const void *bytes, size_t len, int flags)
{
	REAL(send);
	struct verdict v = ask(SHIM_SEND);
	ssize_t n = real(fd, bytes, len, flags);
	int error = errno;
	end_if_last(v);
	errno = error;
	return n;
}

int fcntl(int fd, int what, ...)
{
	REAL(fcntl);
	va_list args;
	va_start(args, what);
	void *arg = va_arg(args, void *); /* an int comes the same way */
	va_end(args);
	if (own_process == SHIM_VAULT)
		end_if_last(ask(SHIM_LOCK));
	return real(fd, what, arg);
}

/* ---- the clocks ---- */

static int64_t moved_us(void)
{
	return shared == NULL ? 0 : atomic_load(&shared->wall_us);
}

int clock_gettime(clockid_t id, struct timespec *t)
{
	REAL(clock_gettime);
	int r = real(id, t);
	int64_t by = moved_us();
	if (r == 0 && by != 0 && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) {
		int64_t us = (int64_t)t->tv_sec * 1000000 + t->tv_nsec / 1000 + by;
		t->tv_sec = us / 1000000;
		t->tv_nsec = us % 1000000 * 1000;
	}
	if (own_process == SHIM_VAULT && id == CLOCK_MONOTONIC)
		end_if_last(ask(SHIM_CLOCK));
	return r;
}

int gettimeofday(struct timeval *restrict t, void *restrict zone)
{
	struct timespec now;
	(void)zone;
	int r = clock_gettime(CLOCK_REALTIME, &now);
	if (r == 0)
		*t = (struct timeval){.tv_sec = now.tv_sec, .tv_usec = now.tv_nsec / 1000};
	return r;
}

time_t time(time_t *out)
{
	struct timespec now = {0};
	(void)clock_gettime(CLOCK_REALTIME, &now);
	if (out != NULL)
		*out = now.tv_sec;
	return now.tv_sec;
}

int execveat(int dir, const char *path, char *const argv[], char *const envp[], int flags)
{
	(void)envp;
	return keep_env_exec(dir, path, argv, flags);
}
