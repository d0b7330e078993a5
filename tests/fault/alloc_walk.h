/* tests/fault/alloc_walk.h — one release after the other, in which the 1st, 2nd … nth allocation of one room fails. */
#ifndef KB_TESTS_ALLOC_WALK_H
#define KB_TESTS_ALLOC_WALK_H
#include "tests/fault/alloc_fail.h"
#include "tests/fault/hsm_stand.h"

static struct alloc_control *alloc;

static inline void alloc_make(void)
{
	char path[128];
	snprintf(path, sizeof path, "%s/alloc.control", in.dir);
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
	assert_true(fd >= 0 && fchmod(fd, 0666) == 0 && ftruncate(fd, sizeof *alloc) == 0);
	alloc = mmap(NULL, sizeof *alloc, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	assert_true(alloc != MAP_FAILED);
	alloc->magic = ALLOC_MAGIC;
}

/* The broker anew, with the shim in this room. */
static inline void alloc_in(const char *room)
{
	char path[128], *so = realpath(program("fault/alloc_fail.so"), NULL);
	assert_non_null(so);
	if (in.broker > 0)
		assert_int_equal(broker_stop(&in, SIGTERM, 40000), 0);
	atomic_store(&alloc->armed, 0);
	atomic_store(&alloc->rooms, 0);
	snprintf(alloc->room, sizeof alloc->room, "%s", room);
	snprintf(path, sizeof path, "%s/alloc.control", in.dir);
	setenv("KB_ALLOC_FAIL", path, 1);
	setenv("LD_PRELOAD", so, 1);
	const char *why = broker_start(&in);
	unsetenv("LD_PRELOAD");
	unsetenv("KB_ALLOC_FAIL");
	free(so);
	GOOD(why);
	workers_are_up(2);
	assert_true(atomic_load(&alloc->rooms) > 0);
	GOOD(invariants_begin(&in, &good));
}

struct walk {
	unsigned steps, last, released, refused, silent; /* silent: the room died, or its connection did */
};

/* Every `stride`th allocation, until a release needs no more of them, or the time is over.  After each the next release succeeds. */
static inline struct walk alloc_walk(const char *room, unsigned stride, unsigned ms)
{
	struct walk w = {0};
	unsigned done = 0;
	unsigned long long end = now_ms() + ms;
	alloc_in(room);
	for (unsigned n = 1; done < 3 && now_ms() < end; n += stride) {
		uint64_t failed = atomic_load(&alloc->failed);
		unsigned records = ledger_count(&in, "\"outcome\":\"released\"");
		atomic_store(&alloc->count, 0);
		atomic_store(&alloc->fail_at, n);
		atomic_store(&alloc->armed, 1);
		struct outcome o = ask_key("key");
		atomic_store(&alloc->armed, 0);
		if (o.status == 200 && (o.why[0] != '\0' || o.records != 1))
			GOOD(wrong("%s, allocation %u: %s, %u records", room, n, o.why, o.records));
		if (o.status != 200 && o.status != 500 && o.status != 503 && o.status != 0)
			GOOD(wrong("%s, allocation %u: status %d %s", room, n, o.status, o.code));
		if (o.status == 200 && ledger_count(&in, "\"outcome\":\"released\"") <= records)
			GOOD(wrong("%s, allocation %u: a key without a record", room, n));
		done = atomic_load(&alloc->failed) == failed ? done + 1 : 0;
		if (done == 0) {
			w.steps++;
			w.last = n;
			*(o.status == 200 ? &w.released : o.status == 0 ? &w.silent : &w.refused) += 1;
		}
		const char *why = ask_within("key", 15000);
		if (why != NULL)
			GOOD(wrong("%s, after allocation %u: %s", room, n, why));
	}
	print_message("%s: %u allocations made to fail, up to the %uth%s: %u released, %u refused, %u without an answer\n", room, w.steps, w.last,
		      done < 3 ? " (time is over)" : "", w.released, w.refused, w.silent);
	/* the ledger needs none */
	assert_true(w.steps > 0 || strcmp(room, "ledger") == 0);
	GOOD(broker_wait_ready(&in, 15000));
	workers_are_up(2);
	GOOD(invariants_hold(&in));
	return w;
}

static inline int alloc_setup(void **state)
{
	(void)state;
	signal(SIGPIPE, SIG_IGN);
	GOOD(instance_make(&in));
	stand_keys();
	alloc_make();
	return 0;
}

static inline int alloc_teardown(void **state)
{
	(void)state;
	stand_stop();
	return 0;
}

#endif
