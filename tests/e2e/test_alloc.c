/* tests/e2e/test_alloc.c — G2: an allocation fails in the vault, the gateway or the ledger while a
 * release is under way.  A clean error or a success, never a key without a record.  Some of them
 * here; tests/security/test_alloc_long.c walks all. */
#include "tests/fault/fail_walk.h"

static void walk(const char *process, unsigned stride)
{
#ifdef __SANITIZE_ADDRESS__ /* brings a malloc of its own */
	(void)process, (void)stride;
	skip();
#else
	(void)fail_walk("fault/alloc_fail.so", process, stride, 12000);
#endif
}

static void test_g02_allocation_fails_in_the_vault(void **state)
{
	(void)state;
	walk("vault", 41);
}

static void test_g02_allocation_fails_in_the_gateway(void **state)
{
	(void)state;
	walk("gateway", 41);
}

static void test_g02_allocation_fails_in_the_ledger(void **state)
{
	(void)state;
	walk("ledger", 1);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_g02_allocation_fails_in_the_vault),
		cmocka_unit_test(test_g02_allocation_fails_in_the_gateway),
		cmocka_unit_test(test_g02_allocation_fails_in_the_ledger),
	};
	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, fail_setup, fail_teardown);
}
