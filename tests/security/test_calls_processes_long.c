/* tests/security/test_calls_processes_long.c — the calls of the broker's processes to a library
 * fail once each: at a release, at a reload, at the start of the supervisor and the gateway.  The
 * other processes' starts are in test_calls_starts_long.c. */
#include "tests/fault/call_walk.h"

static void test_g02_calls_at_a_release(void **state)
{
	(void)state;
	(void)fail_walk("fault/call_fail.so", "vault", 1, 120000);
	(void)fail_walk("fault/call_fail.so", "gateway", 1, 60000);
	(void)fail_walk("fault/call_fail.so", "ledger", 1, 60000);
	walk_process("gateway", "metrics", ask_metrics, 1, 60000);
}

static void test_g02_calls_of_the_supervisor(void **state)
{
	(void)state;
	walk_supervisor(false, 1, 60000);
	walk_supervisor(true, 1, 120000);
}

static void test_g02_calls_at_the_start(void **state)
{
	(void)state;
	/* What comes before these is reading the configuration, which test_calls_long.c tries in
	 * keybrokerctl; what is between them is an event for each place in the gateway's queue. */
	walk_start("keybrokerd", -450, 450, 2);
	walk_start("keybrokerd: gateway", AFTER_PAGES + 140, 100, 1);
	walk_start("keybrokerd: gateway", -400, 400, 5);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		WALKS(test_g02_calls_at_a_release),
		WALKS(test_g02_calls_of_the_supervisor),
		WALKS(test_g02_calls_at_the_start),
	};
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
