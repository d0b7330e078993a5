/* tests/fault/fail_script.h — the script of alloc_fail.so and call_fail.so: a file whose path is in
 * KB_FAIL_SCRIPT, mapped by each process that one of them is preloaded into.  What they count fails
 * once, at the n-th. */
#ifndef KB_TESTS_FAIL_SCRIPT_H
#define KB_TESTS_FAIL_SCRIPT_H
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { FAIL_MAGIC = 0x6661696c };
struct fail_script {
	uint32_t magic;
	/* whose calls count: the end of argv[0], as "keybrokerctl" or "keybrokerd: vault" */
	char program[32];
	char name[40];              /* of the last one that was made to fail */
	_Atomic uint64_t armed;     /* 0: nothing counts, nothing fails */
	_Atomic uint64_t fail_at;   /* this one fails, from 1 on */
	_Atomic uint64_t count;     /* so many were there */
	_Atomic uint64_t processes; /* that count */
	_Atomic uint64_t failed;    /* how many were made to fail, ever */
};

/* In the preloaded object's constructor: the script, NULL when this process is not in it. */
static inline struct fail_script *fail_script_map(int argc, char **argv)
{
	const char *path = getenv("KB_FAIL_SCRIPT");
	int fd = path == NULL || argc < 1 ? -1 : open(path, O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return NULL;
	struct fail_script *s = mmap(NULL, sizeof *s, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (s == MAP_FAILED)
		return NULL;
	size_t have = strlen(argv[0]), want = strnlen(s->program, sizeof s->program);
	if (s->magic == FAIL_MAGIC && want > 0 && have >= want &&
	    strcmp(argv[0] + have - want, s->program) == 0) {
		atomic_fetch_add(&s->processes, 1);
		return s;
	}
	munmap(s, sizeof *s);
	return NULL;
}

/* One more of what counts: is it the one that fails? */
static inline bool fail_script_next(struct fail_script *s, const char *name)
{
	if (s == NULL || atomic_load(&s->armed) == 0 ||
	    atomic_fetch_add(&s->count, 1) + 1 != atomic_load(&s->fail_at))
		return false;
	strncpy(s->name, name, sizeof s->name - 1);
	atomic_fetch_add(&s->failed, 1);
	return true;
}

#endif
