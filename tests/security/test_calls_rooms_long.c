/* tests/security/test_calls_rooms_long.c — every call of the broker's rooms to a library fails once: at a release, at a reload, at the start. */
#include "tests/fault/call_walk.h"

static void test_g02_calls_at_a_release(void **state)
{
	(void)state;
	(void)fail_walk("fault/call_fail.so", "vault", 1, 120000);
	(void)fail_walk("fault/call_fail.so", "gateway", 1, 60000);
	(void)fail_walk("fault/call_fail.so", "ledger", 1, 60000);
	walk_room("gateway", "metrics", ask_metrics, 1, 60000);
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
	walk_start("keybrokerd", -450, 1, 240000); /* before them it reads the configuration, as keybrokerctl does */
	walk_start("keybrokerd: gateway", 1, 1, 60000);
	walk_start("keybrokerd: gateway", -200, 1, 60000); /* between them: an event for each place in the queue */
	walk_start("keybrokerd: ledger", 1, 1, 60000);
	walk_start("keybrokerd: fetcher", 1, 1, 100000);
	walk_start("keybrokerd: vault", 1, 1, 100000);
	walk_start("keybrokerd: vault", -300, 2, 100000); /* between them: each block of a self-test's wrapping */
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_g02_calls_at_a_release, walk_setup, fail_teardown),
		cmocka_unit_test_setup_teardown(test_g02_calls_of_the_supervisor, walk_setup, fail_teardown),
		cmocka_unit_test_setup_teardown(test_g02_calls_at_the_start, walk_setup, fail_teardown),
	};
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
