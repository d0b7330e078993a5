/* tests/unit/short_sweep.h — a trial with memory running out at its n-th allocation, for every n:
 * each time a clean end, what was asked for or KB_E_NOMEM and nothing; no leak.  What memory is
 * short for: short_memory.h. */
#ifndef KB_TESTS_SHORT_SWEEP_H
#define KB_TESTS_SHORT_SWEEP_H
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <openssl/err.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/err.h"
#include "tests/unit/short_memory.h"

enum { EVERY = 250 };

/* What is tried: its inputs are made before memory is short. */
struct trial {
	const char *name;
	enum kb_err (*run)(void);
	/* at so many allocations at the most a library follows a NULL: nothing is released, the
	 * worker is replaced */
	unsigned deaths;
	long stride; /* between allocations past EVERY, where a slow trial only makes bignums */
	/* blocks that a library loses at the most when its own allocation fails half-way */
	long lost;
	/* a file of the operator's: any error will do, because the operator sees it and nothing
	 * changes */
	bool is_local;
};

enum { GOES_ON = 40, IS_PAST, IS_BAD }; /* no codes that a program ends with by itself */

/* The trial with the n-th allocation refused (and all that follow, if `forever`).  IS_PAST when it
 * ended before that. */
static inline int trial_once(const struct trial *t, long n, bool forever)
{
	ERR_clear_error();
	const long before = live;
	fails_on = forever;
	allocations = 0;
	fail_at = n;
	enum kb_err err = t->run();
	fail_at = 0;
	const bool is_past = allocations < n;
	ERR_clear_error();
	bool is_good = err == KB_OK || (!is_past && (err == KB_E_NOMEM || t->is_local));
	if (!is_good)
		print_error("%s, allocation %ld%s: %s\n", t->name, n,
			    forever ? " and all after" : "", kb_err_name(err));
	if (live > before + t->lost)
		print_error("%s, allocation %ld%s: %ld blocks more\n", t->name, n,
			    forever ? " and all after" : "", live - before);
	return !is_good || live > before + t->lost ? IS_BAD : is_past ? IS_PAST : GOES_ON;
}

/* Libraries with a fault of their own: a child tries each n.  It may crash, but must not end with a
 * wrong result. */
static inline void sweep_in_children(const struct trial *t)
{
	unsigned deaths = 0;
	int status = 0;

	for (long n = 1; status != IS_PAST << 8; n++) {
		pid_t pid = fork();
		assert_true(pid >= 0);
		if (pid == 0) {
			signal(SIGSEGV,
			       SIG_DFL); /* cmocka's handler would go on with the parent's tests */
			signal(SIGABRT, SIG_DFL);
			_exit(trial_once(t, n, false));
		}
		assert_int_equal(waitpid(pid, &status, 0), pid);
		if (WIFSIGNALED(status))
			assert_int_equal(WTERMSIG(status), SIGSEGV);
		else
			assert_in_range(WEXITSTATUS(status), GOES_ON, IS_PAST);
		deaths += WIFSIGNALED(status) != 0;
	}
	if (deaths > t->deaths)
		print_error("%s: %u deaths\n", t->name, deaths);
	assert_true(deaths <= t->deaths);
}

static inline void sweep(const struct trial *t)
{
	for (int i = 0; i < 3; i++) /* what libraries keep for later is made now */
		assert_int_equal(t->run(), KB_OK);
	if (t->deaths > 0) {
		sweep_in_children(t);
		return;
	}
	for (int forever = 0; forever < 2; forever++) {
		int outcome = GOES_ON;
		for (long n = 1; outcome == GOES_ON; n += n < EVERY ? 1 : t->stride)
			outcome = trial_once(t, n, forever == 1);
		assert_int_equal(outcome, IS_PAST);
	}
}

static inline void sweep_all(const struct trial *t, size_t n)
{
#ifdef IS_SANITIZED
	if (n > 0)
		skip();
#endif
	for (size_t i = 0; i < n; i++)
		sweep(&t[i]);
}

#endif
