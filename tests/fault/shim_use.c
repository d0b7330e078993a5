/* tests/fault/shim_use.c — starts the broker under the shim and simulates the power cut.  Decides
 * nothing about the product. */
#include "tests/fault/shim_use.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

struct shim *shim;
static char block[96], preload[96];

/* ---- the block ---- */

static const char *copy_file(const char *from, const char *to, mode_t mode)
{
	char bytes[65536];
	int in = open(from, O_RDONLY | O_CLOEXEC),
	    out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
	ssize_t n = -1;
	while (in >= 0 && out >= 0 && (n = read(in, bytes, sizeof bytes)) > 0)
		if (write(out, bytes, (size_t)n) != n)
			n = -1;
	if (in >= 0)
		close(in);
	if (out >= 0)
		close(out);
	return n == 0 && chmod(to, mode) == 0 ? NULL : wrong("%s: %s", to, strerror(errno));
}

const char *shim_make(struct instance *in)
{
	int above = (int)(strrchr(in->dir, '/') - in->dir);
	snprintf(block, sizeof block, "%.*s/shim", above, in->dir);
	snprintf(preload, sizeof preload, "%.*s/storage_shim.so", above, in->dir);
	/* A copy: the processes' user may not reach the directory of the build. */
	const char *why = copy_file(program("fault/storage_shim.so"), preload, 0755);
	if (why != NULL)
		return why;
	int fd = open(block, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	if (fd < 0 || fchmod(fd, 0666) != 0 || ftruncate(fd, sizeof *shim) != 0)
		return wrong("%s: %s", block, strerror(errno));
	shim = mmap(NULL, sizeof *shim, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	return shim == MAP_FAILED ? "mmap" : NULL;
}

void shim_free(void)
{
	if (shim != NULL)
		munmap(shim, sizeof *shim);
	shim = NULL;
}

const char *shim_start_unready(struct instance *in)
{
	setenv("LD_PRELOAD", preload, 1);
	setenv("KB_SHIM", block, 1);
	setenv("ASAN_OPTIONS", "verify_asan_link_order=0", 0);
	const char *why = broker_start_unready(in);
	unsetenv("LD_PRELOAD");
	unsetenv("KB_SHIM");
	return why;
}

/* A port that was ours a moment ago may be another process's for a moment. */
static bool is_port_taken(struct instance *in)
{
	char end[256] = "";
	FILE *f = fopen(in->log, "r");
	if (f == NULL)
		return false;
	if (fseek(f, -(long)sizeof end + 1, SEEK_END) == 0)
		end[fread(end, 1, sizeof end - 1, f)] = '\0';
	fclose(f);
	return strstr(end, "Address already in use") != NULL;
}

const char *shim_start(struct instance *in)
{
	const char *why = NULL;
	for (unsigned i = 0; i < 10; i++) {
		if ((why = shim_start_unready(in)) != NULL ||
		    (why = broker_wait_ready(in, READY_MS)) == NULL || in->broker != 0 ||
		    !is_port_taken(in))
			break;
		sleep_ms(500);
	}
	return why;
}

/* ---- rules ---- */

static struct shim_rule *arm(uint32_t processes, uint32_t calls, enum shim_what what, int number,
			     int skip, int times, uint32_t is_asleep)
{
	for (unsigned i = 0; i < SHIM_RULES; i++) {
		struct shim_rule *r = &shim->rule[i];
		if (atomic_load(&r->what) != SHIM_NOTHING)
			continue;
		atomic_store(&r->processes, processes);
		atomic_store(&r->calls, calls);
		atomic_store(&r->number, number);
		atomic_store(&r->skip, skip);
		atomic_store(&r->times, times);
		atomic_store(&r->is_asleep, is_asleep);
		atomic_store(&r->acted, 0);
		atomic_store(&r->what, what);
		return r;
	}
	abort();
}

struct shim_rule *shim_arm(uint32_t processes, uint32_t calls, enum shim_what what, int number,
			   int skip, int times)
{
	return arm(processes, calls, what, number, skip, times, 0);
}

struct shim_rule *shim_arm_asleep(uint32_t processes, uint32_t calls, enum shim_what what, int skip)
{
	return arm(processes, calls, what, 0, skip, 1, 1);
}

bool shim_has_acted(const struct shim_rule *r, unsigned ms)
{
	for (unsigned long long end = now_ms() + ms; atomic_load(&r->acted) == 0 && now_ms() < end;)
		sleep_ms(5);
	return atomic_load(&r->acted) != 0;
}

void shim_disarm(void)
{
	for (unsigned i = 0; i < SHIM_RULES; i++)
		atomic_store(&shim->rule[i].what, SHIM_NOTHING);
}

/* ---- kill, and power cut ---- */

void shim_kill_all(struct instance *in)
{
	static const char *const processes[] = {"--process ledger", "--process gateway",
						"--process vault", "--process fetcher"};
	char path[64];
	kill(in->broker, SIGSTOP); /* so that it starts nothing again */
	for (unsigned r = 0; r < 4; r++) {
		pid_t pid;
		for (unsigned nth = 0; (pid = broker_process(in, processes[r], nth)) > 0; nth++)
			kill(pid, SIGKILL);
	}
	pid_t ledger = broker_process(in, processes[0], 0);
	snprintf(path, sizeof path, "/proc/%d", ledger);
	broker_stop(in, SIGKILL, 5000);
	for (unsigned long long end = now_ms() + 5000;
	     ledger > 0 && access(path, F_OK) == 0 && now_ms() < end;)
		sleep_ms(2);
}

static struct shim_file *account_of(const struct stat *st)
{
	for (unsigned i = 0; i < SHIM_MOST_FILES; i++)
		if (atomic_load(&shim->file[i].inode) == st->st_ino)
			return &shim->file[i];
	return NULL;
}

/* The account is that of the file of this name in `was`; what is cut is the one in `dir`. */
static const char *cut_file(int was, int dir, const char *name, unsigned *seed)
{
	struct stat st;
	int fd = openat(dir, name, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || fstatat(was, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
		return wrong("%s: %s", name, strerror(errno));
	struct shim_file *f = account_of(&st);
	const char *why = NULL;
	if (f != NULL) {
		int64_t loose = st.st_size - atomic_load(&f->stable);
		int64_t left = loose <= 0              ? 0
			       : rand_r(seed) % 4 == 0 ? loose
						       : rand_r(seed) % (loose + 1);
		int64_t size = loose <= 0 ? st.st_size : atomic_load(&f->stable) + left;
		if (ftruncate(fd, size) != 0)
			why = "ftruncate";
		/* Pages reach the disk in any order: holes of zeros, and bytes of an older file. */
		for (int i = rand_r(seed) % 3; left > 0 && i > 0; i--) {
			char junk[512];
			memset(junk, rand_r(seed) % 2 == 0 ? 0 : rand_r(seed) & 255, sizeof junk);
			int64_t at = rand_r(seed) % left, n = left - at < (int64_t)sizeof junk
								      ? left - at
								      : (int64_t)sizeof junk;
			if (pwrite(fd, junk, (size_t)n, size - left + at) != n)
				why = "pwrite";
		}
		if (atomic_load(&f->is_name_loose) != 0 && rand_r(seed) % 2 == 0 &&
		    renameat(dir, name, dir, "ledger.new") != 0)
			why = "renameat";
	}
	close(fd);
	return why;
}

const char *shim_cut(struct instance *in, const char *dir, unsigned *seed)
{
	char path[128], names[64][64];
	const char *why = NULL;
	unsigned n = 0;
	snprintf(path, sizeof path, "%s/state/ledger", in->dir);
	DIR *was = opendir(path);
	int to = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (was == NULL || to < 0)
		why = wrong("%s, %s: %s", path, dir, strerror(errno));
	for (struct dirent *e; why == NULL && (e = readdir(was)) != NULL && n < 64;)
		if (strncmp(e->d_name, "ledger", 6) == 0)
			snprintf(names[n++], sizeof names[0], "%.63s", e->d_name);
	for (unsigned i = 0; i < n && why == NULL; i++)
		why = cut_file(dirfd(was), to, names[i], seed);
	if (was != NULL)
		closedir(was);
	if (to >= 0)
		close(to);
	return why;
}

const char *shim_power_cut(struct instance *in, unsigned *seed)
{
	char path[128];
	snprintf(path, sizeof path, "%s/state/ledger", in->dir);
	const char *why = shim_cut(in, path, seed);
	memset(shim->file, 0, sizeof shim->file); /* what is there now is on the disk */
	return why;
}

const char *shim_newest(struct instance *in, char path[static 256], int64_t *stable, int64_t *size)
{
	char dir[128], best[64] = "";
	struct stat st;
	snprintf(dir, sizeof dir, "%s/state/ledger", in->dir);
	DIR *d = opendir(dir);
	if (d == NULL)
		return wrong("%s: %s", dir, strerror(errno));
	for (struct dirent *e; (e = readdir(d)) != NULL;)
		if (strncmp(e->d_name, "ledger-", 7) == 0 && strcmp(e->d_name, best) > 0)
			snprintf(best, sizeof best, "%.63s", e->d_name);
	closedir(d);
	snprintf(path, 256, "%s/%s", dir, best);
	if (best[0] == '\0' || stat(path, &st) != 0)
		return "there is no segment";
	struct shim_file *f = account_of(&st);
	*stable = f == NULL ? -1 : atomic_load(&f->stable);
	*size = st.st_size;
	return NULL;
}

/* ---- load ---- */

static void ask_for_ever(const struct place *at, const struct ask *a, struct load *l)
{
	struct link *link = NULL;
	while (atomic_load(&l->stop) == 0) {
		struct reply r = {0};
		const char *why = link != NULL ? NULL : link_open(at, &link);
		if (why == NULL)
			why = guest_ask(link, a, &r);
		if (why == NULL && r.status == 200) {
			uint32_t i = atomic_fetch_add(&l->n_ids, 1);
			if (i < LOAD_IDS)
				reply_header(&r, "x-ms-request-id", l->id[i], sizeof l->id[0]);
			atomic_fetch_add(&l->released, 1);
		} else if (why == NULL) {
			atomic_fetch_add(&l->refused, 1);
			snprintf(l->why, sizeof l->why, "status %d %.100s", r.status, r.body);
			sleep_ms(5);
		} else {
			atomic_fetch_add(&l->lost, 1);
			snprintf(l->why, sizeof l->why, "%.150s", why);
			sleep_ms(10);
		}
		if (why != NULL || r.will_close) {
			link_close(link);
			link = NULL;
		}
		reply_free(&r);
	}
	link_close(link);
}

struct load *load_start(const struct place *at, const struct ask *a, unsigned n)
{
	struct load *l =
		mmap(NULL, sizeof *l, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (l == MAP_FAILED)
		abort();
	for (l->n = 0; l->n < n && l->n < LOAD_MOST; l->n++) {
		pid_t pid = fork();
		if (pid == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			ask_for_ever(at, a, l);
			_exit(0);
		}
		l->pid[l->n] = pid;
	}
	return l;
}

const char *load_waits(struct load *l, unsigned more, unsigned ms)
{
	uint32_t before = atomic_load(&l->released);
	for (unsigned long long end = now_ms() + ms;
	     atomic_load(&l->released) < before + more && now_ms() < end;)
		sleep_ms(2);
	return atomic_load(&l->released) >= before + more
		       ? NULL
		       : wrong("%u releases in %u ms, %u refused, %u lost: %s",
			       atomic_load(&l->released) - before, ms, atomic_load(&l->refused),
			       atomic_load(&l->lost), l->why);
}

const char *load_end(struct instance *in, struct load *l)
{
	const char *why = NULL;
	atomic_store(&l->stop, 1);
	for (unsigned i = 0; i < l->n; i++) {
		int status = 0;
		if (waitpid(l->pid[i], &status, 0) != l->pid[i] || status != 0)
			why = wrong("a client of the load ended with 0x%x", (unsigned)status);
	}
	char *text = ledger_text(in);
	for (uint32_t i = 0; i < atomic_load(&l->n_ids) && i < LOAD_IDS && why == NULL; i++) {
		char part[64];
		snprintf(part, sizeof part, "\"request\":\"%.36s\"", l->id[i]);
		const char *at = strstr(text, part);
		if (strlen(l->id[i]) != 36 || at == NULL)
			why = wrong("I1: release %u, %s, has no record", i, l->id[i]);
	}
	free(text);
	munmap(l, sizeof *l);
	return why;
}
