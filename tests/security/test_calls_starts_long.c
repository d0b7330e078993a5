/* tests/security/test_calls_starts_long.c — the calls of a starting ledger, fetcher and vault to a
 * library fail once each. */
#include "tests/fault/call_walk.h"

/* What comes before these is reading the configuration, as in the gateway; what is between them is
 * an entry of the ledger's table, a block of a self-test's wrapping. */
static void test_g02_calls_at_the_start_of_other_processes(void **state)
{
	(void)state;
	walk_start("keybrokerd: ledger", AFTER_PAGES + 130, 120, 1);
	walk_start("keybrokerd: fetcher", AFTER_PAGES + 140, 320, 2);
	walk_start("keybrokerd: vault", AFTER_PAGES + 140, 120, 1);
	walk_start("keybrokerd: vault", -300, 300, 5);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		WALKS(test_g02_calls_at_the_start_of_other_processes),
	};
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
