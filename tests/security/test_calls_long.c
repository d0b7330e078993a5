/* tests/security/test_calls_long.c — the calls of keybrokerctl and keybroker-guest to a library
 * fail once each, in a run of its own; tests/e2e/test_calls.c tries some of them. */
#include "tests/fault/call_walk.h"

static void test_g02_calls_of_init(void **state)
{
	(void)state;
	walk_init(1);
}

static void test_g02_calls_of_changes(void **state)
{
	(void)state;
	walk_keys(3);
}

static void test_g02_calls_of_looks(void **state)
{
	(void)state;
	serve();
	walk_looks(1);
}

static void test_g02_calls_of_the_guest(void **state)
{
	(void)state;
	serve();
	walk_guest(1);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		WALKS(test_g02_calls_of_init),
		WALKS(test_g02_calls_of_changes),
		WALKS(test_g02_calls_of_looks),
		WALKS(test_g02_calls_of_the_guest),
	};
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
