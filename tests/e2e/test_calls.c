/* tests/e2e/test_calls.c — calls of the programs and the processes to a library that fail, one a
 * run: some of them; more of them, and all that are not one like the other, in
 * tests/security/test_calls_{,processes_,starts_}long.c. */
#include "tests/fault/call_walk.h"

static void test_g02_calls_of_keybrokerctl(void **state)
{
	(void)state;
	walk_init(97);
	walk_keys(211);
	serve();
	walk_looks(131);
}

static void test_g02_calls_of_the_guest(void **state)
{
	(void)state;
	serve();
	walk_guest(113);
}

static void test_g02_calls_at_a_release(void **state)
{
	(void)state;
	(void)fail_walk("fault/call_fail.so", "vault", 19, 10000);
	(void)fail_walk("fault/call_fail.so", "gateway", 5, 10000);
	(void)fail_walk("fault/call_fail.so", "ledger", 3, 10000);
}

static void test_g02_calls_of_the_supervisor(void **state)
{
	(void)state;
	walk_supervisor(true, 31, 10000);
	walk_start("keybrokerd", -100, 100, 23);
	walk_start("keybrokerd: vault", -100, 100, 23);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		WALKS(test_g02_calls_of_keybrokerctl),
		WALKS(test_g02_calls_of_the_guest),
		WALKS(test_g02_calls_at_a_release),
		WALKS(test_g02_calls_of_the_supervisor),
	};
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
