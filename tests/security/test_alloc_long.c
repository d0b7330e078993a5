/* tests/security/test_alloc_long.c — G2 at length: every allocation of a release fails once,
 * process by process. */
#include "tests/fault/fail_walk.h"

static void test_g02_every_allocation_fails_once(void **state)
{
	(void)state;
#ifdef __SANITIZE_ADDRESS__ /* brings a malloc of its own */
	skip();
#else
	(void)fail_walk("fault/alloc_fail.so", "vault", 1, 120000);
	(void)fail_walk("fault/alloc_fail.so", "gateway", 1, 80000);
	(void)fail_walk("fault/alloc_fail.so", "ledger", 1, 10000);
#endif
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_g02_every_allocation_fails_once)};
	return cmocka_run_group_tests(tests, fail_setup, fail_teardown);
}
