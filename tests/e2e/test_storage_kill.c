/* tests/e2e/test_storage_kill.c — kill -9 at each step of a release and of a rotation: every reply
 * that a client got has its record, and service comes back. */
#include "tests/fault/storage_test.h"

/* ---- D3: kill -9 at each step ---- */

static void test_d03_kill_at_each_step_of_a_release(void **state)
{
	(void)state;
	unsigned steps = 0;
	for (unsigned process = 0; process < 3; process++) {
		int nth = 0;
		while (kill_at(process, SHIM_KILL_BEFORE, nth))
			if (++nth % 3 == 0)
				fresh(); /* or the back-off between restarts grows too long */
		if (nth < walk[process].at_least)
			GOOD(wrong("%s: %d steps", walk[process].name, nth));
		steps += (unsigned)nth;
		fresh();
	}
	assert_true(steps >= 12);
	GOOD(invariants_begin(&in, &good));
	GOOD(invariants_hold(&in));
}

static void test_d03_kill_at_each_step_of_a_rotation(void **state)
{
	(void)state;
	for (int nth = 0; nth < 6;
	     nth++) { /* unlink, open, write, fsync, rename, fsync of the directory */
		struct shim_rule *r = shim_arm(SHIM_LEDGER, SHIM_FILES, SHIM_KILL_AFTER, 0, nth, 1);
		signal_broker(SIGUSR1);
		if (!shim_has_acted(r, 5000))
			GOOD(wrong("a rotation has %d steps only", nth));
		shim_disarm();
		wait_released(10000);
		GOOD(verifies());
		if (nth == 2)
			fresh();
	}
	GOOD(invariants_begin(&in, &good));
	GOOD(invariants_hold(&in));
}

#define T(f) cmocka_unit_test_teardown(f, after_each)
int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_d03_kill_at_each_step_of_a_release),
		T(test_d03_kill_at_each_step_of_a_rotation),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
