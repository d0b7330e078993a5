/* tests/e2e/test_boot.c — a confidential VM boots with the broker: twice into the same vTPM and
 * disk, and not at all when anything is not as it was. Every refusal is asserted by the ledger's
 * exact code. */
#include "tests/e2e/boot.h"
#include "tests/e2e/check.h"

enum { REFUSED_ = 10 };

static struct machine vm;
static struct boot first;

static int setup(void **state)
{
	(void)state;
	signal(SIGPIPE, SIG_IGN);
	GOOD(instance_make(&in));
	GOOD(machine_make(&vm, &in));
	GOOD(broker_start(&in));
	GOOD(machine_boot(&vm, &(struct circumstances){0}, &first));
	if (first.stage != BOOT_DONE)
		GOOD(wrong("the first boot ended at %d: %s", first.stage, first.said));
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	machine_free(&vm);
	GOOD(instance_end(&in));
	return 0;
}

static void verdict_is(const char *key, const char *code, const char *claim)
{
	struct verdict v;
	GOOD(boot_verdict(&in, key, &v));
	assert_string_equal(v.code, code);
	assert_string_equal(v.claim, claim);
}

static void ends_at(enum boot_stage stage, const struct circumstances *c)
{
	struct boot b;
	GOOD(machine_boot(&vm, c, &b));
	if (b.stage != stage || b.exit_status != REFUSED_)
		fail_msg("stage %d, exit status %d: %s", b.stage, b.exit_status, b.said);
	/* What is refused does not say why: that is for the ledger alone. */
	assert_null(strstr(b.said, BOOT_PCR_CLAIM));
	assert_null(strstr(b.said, "POLICY"));
}

static void boots_again(void)
{
	struct boot b;
	GOOD(machine_boot(&vm, &(struct circumstances){0}, &b));
	if (b.stage != BOOT_DONE)
		fail_msg("stage %d, exit status %d: %s", b.stage, b.exit_status, b.said);
	assert_false(b.is_new_ak);
	assert_false(b.is_new_disk);
	assert_string_equal(b.ak, first.ak);
}

static void test_boot_comes_back_to_the_same_vtpm_and_disk(void **state)
{
	(void)state;
	assert_true(first.is_new_ak);
	assert_true(first.is_new_disk);
	boots_again();
	verdict_is(BOOT_VTPM_KEY, "OK", "");
	verdict_is(BOOT_DISK_KEY, "OK", "");
}

static void test_boot_state_is_encrypted(void **state)
{
	(void)state;
	assert_false(machine_state_opens(&vm, (const uint8_t[32]){0}));
	assert_false(machine_state_opens(&vm, NULL));
	boots_again();
}

static void test_boot_with_another_loader(void **state)
{
	(void)state;
	ends_at(BOOT_NO_DISK_KEY, &(struct circumstances){.loader = "boot loader 1.0, patched"});
	verdict_is(BOOT_DISK_KEY, "POLICY", BOOT_PCR_CLAIM);
	boots_again();
}

static void test_boot_of_a_debugged_guest(void **state)
{
	(void)state;
	ends_at(BOOT_NO_VTPM_KEY, &(struct circumstances){.is_debugged = true});
	verdict_is(BOOT_VTPM_KEY, "POLICY", "x-ms-sevsnpvm-is-debuggable");
}

static void test_boot_of_another_machine(void **state)
{
	(void)state;
	ends_at(BOOT_NO_VTPM_KEY,
		&(struct circumstances){.vm_id = "11111111-2222-3333-4444-555555555555"});
	verdict_is(BOOT_VTPM_KEY, "POLICY", "x-ms-runtime.vm-configuration.vmUniqueId");
}

static void test_boot_token_is_stolen(void **state)
{
	int status;
	(void)state;
	boots_again();
	char *token = machine_token(&vm), *forged = machine_token_forged(&vm);
	GOOD(machine_rob(&vm, token, &status));
	assert_int_equal(status, 403);
	verdict_is(BOOT_DISK_KEY, "REPLAY", "");
	GOOD(machine_rob(&vm, forged, &status));
	assert_int_equal(status, 403);
	verdict_is(BOOT_DISK_KEY, "TOKEN_SIGNATURE", "");
	free(token);
	free(forged);
}

static void test_boot_with_a_disabled_key(void **state)
{
	(void)state;
	assert_int_equal(CTL(&in, NULL, "key", "disable", BOOT_DISK_KEY, "--reload"), 0);
	ends_at(BOOT_NO_DISK_KEY, &(struct circumstances){0});
	verdict_is(BOOT_DISK_KEY, "KEY_DISABLED", "");
	assert_int_equal(CTL(&in, NULL, "key", "enable", BOOT_DISK_KEY, "--reload"), 0);
	boots_again();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_boot_comes_back_to_the_same_vtpm_and_disk),
		cmocka_unit_test(test_boot_state_is_encrypted),
		cmocka_unit_test(test_boot_with_another_loader),
		cmocka_unit_test(test_boot_of_a_debugged_guest),
		cmocka_unit_test(test_boot_of_another_machine),
		cmocka_unit_test(test_boot_token_is_stolen),
		cmocka_unit_test(test_boot_with_a_disabled_key),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
