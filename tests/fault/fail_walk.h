/* tests/fault/fail_walk.h — one release after the other, in which the 1st, 2nd … nth allocation of
 * one process fails, or the nth call of its own to a library. */
#ifndef KB_TESTS_FAIL_WALK_H
#define KB_TESTS_FAIL_WALK_H
#include "tests/fault/fail_script.h"
#include "tests/fault/hsm_stand.h"

static struct fail_script *script;

static inline void script_make(void)
{
	char path[128];
	snprintf(path, sizeof path, "%s/fail.script", in.dir);
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
	assert_true(fd >= 0 && fchmod(fd, 0666) == 0 && ftruncate(fd, sizeof *script) == 0);
	script = mmap(NULL, sizeof *script, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	assert_true(script != MAP_FAILED);
	script->magic = FAIL_MAGIC;
	setenv("KB_FAIL_SCRIPT", path, 1);
}

/* The n-th of what is counted from now on fails; 0: nothing counts, nothing fails. */
static inline void script_arm(unsigned n)
{
	atomic_store(&script->armed, 0);
	script->name[0] = '\0';
	atomic_store(&script->count, 0);
	atomic_store(&script->failed, 0);
	atomic_store(&script->fail_at, n);
	atomic_store(&script->armed, n > 0);
}

static inline void script_disarm(void)
{
	atomic_store(&script->armed, 0); /* what was counted stays to be read */
}

/* In programs of this name that are started with `so` preloaded. */
static inline void script_set(const char *who, unsigned n)
{
	script_disarm();
	snprintf(script->program, sizeof script->program, "%s", who);
	atomic_store(&script->processes, 0);
	script_arm(n);
}

/* The broker with a shim in the processes that the script names. */
static inline const char *start_with(const char *so, const char *(*start)(struct instance *))
{
	char *path = realpath(program(so), NULL);
	assert_non_null(path);
	setenv("LD_PRELOAD", path, 1);
	const char *why = start(&in);
	unsetenv("LD_PRELOAD");
	free(path);
	return why;
}

/* The broker anew, with the shim in this process; "": in the supervisor. */
static inline void script_in(const char *so, const char *process)
{
	char who[32];
	if (in.broker > 0)
		assert_int_equal(broker_stop(&in, SIGTERM, 40000), 0);
	snprintf(who, sizeof who, "keybrokerd%s%s", process[0] == '\0' ? "" : ": ", process);
	script_set(who, 0);
	GOOD(start_with(so, broker_start));
	workers_are_up(2);
	assert_true(atomic_load(&script->processes) > 0);
	GOOD(invariants_begin(&in, &good));
}

struct walk {
	unsigned steps, last, released, refused,
		silent; /* no answer: the process or its connection ended */
};

/* Every `stride`th of what `so` counts, until a release needs no more of them, or the time is over.
 * After each the next release succeeds. */
static inline struct walk fail_walk(const char *so, const char *process, unsigned stride,
				    unsigned ms)
{
	struct walk w = {0};
	unsigned done = 0;
	unsigned long long end = now_ms() + ms;
	script_in(so, process);
	for (unsigned n = 1; done < 3 && now_ms() < end; n += stride) {
		unsigned records = ledger_count(&in, "\"outcome\":\"released\"");
		script_arm(n);
		struct outcome o = ask_key("key");
		script_disarm();
		/* Requests that could be given no number of their own are recorded under the
		 * same. */
		if (o.status == 200 &&
		    (o.why[0] != '\0' || o.records == 0 ||
		     ledger_count(&in, "\"outcome\":\"released\"") != records + 1))
			GOOD(wrong("%s, %s %u: %s, %u records", process, script->name, n, o.why,
				   o.records));
		/* A parser that fails for no reason is one that refuses. */
		bool is_refusal = o.status == 403 && strcmp(so, "fault/alloc_fail.so") != 0;
		if (o.status != 200 && o.status != 500 && o.status != 503 && o.status != 0 &&
		    !is_refusal)
			GOOD(wrong("%s, %s %u: status %d %s", process, script->name, n, o.status,
				   o.code));
		done = atomic_load(&script->failed) == 0 ? done + 1 : 0;
		if (done == 0) {
			w.steps++;
			w.last = n;
			*(o.status == 200 ? &w.released
			  : o.status == 0 ? &w.silent
					  : &w.refused) += 1;
		}
		const char *why = ask_within("key", 15000);
		if (why != NULL)
			GOOD(wrong("%s, after %s %u: %s", process, script->name, n, why));
	}
	print_message("%s: %u made to fail by %s, up to the %uth%s: %u released, %u refused, %u "
		      "without an answer\n",
		      process, w.steps, so, w.last, done < 3 ? " (time is over)" : "", w.released,
		      w.refused, w.silent);
	assert_true(w.steps > 0 ||
		    strcmp(process, "ledger") == 0); /* the ledger allocates nothing */
	GOOD(broker_wait_ready(&in, READY_MS));
	workers_are_up(2);
	GOOD(invariants_hold(&in));
	return w;
}

static inline int fail_setup(void **state)
{
	(void)state;
	signal(SIGPIPE, SIG_IGN);
	GOOD(instance_make(&in));
	stand_keys();
	script_make();
	return 0;
}

static inline int fail_teardown(void **state)
{
	(void)state;
	stand_stop();
	return 0;
}

#endif
