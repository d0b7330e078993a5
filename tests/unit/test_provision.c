/* keystore/provision: a fresh SoftHSM token, and every way it is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <p11-kit/p11-kit.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/secret.h"
#include "keystore/provision.h"

static const char module[] = "/usr/lib/softhsm/libsofthsm2.so";
static char dir[] = "/tmp/kb-provision-XXXXXX";
static struct secret *so_pin, *user_pin;
static char why[PROVISION_WHY];

static void write_text(const char *name, const char *text)
{
	char path[128];
	snprintf(path, sizeof path, "%s/%s", dir, name);
	FILE *f = fopen(path, "w");
	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
}

static int setup(void **state)
{
	char path[128], text[256];
	(void)state;

	assert_int_equal(secret_arena_init(), KB_OK);
	so_pin = secret_new(32);
	user_pin = secret_new(32);
	memset(secret_bytes(so_pin), 's', 32);
	memset(secret_bytes(user_pin), 'u', 32);
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof path, "%s/tokens", dir);
	assert_int_equal(mkdir(path, 0700), 0);
	snprintf(text, sizeof text, "directories.tokendir = %s\nobjectstore.backend = file\nlog.level = ERROR\n", path);
	write_text("softhsm2.conf", text);
	snprintf(path, sizeof path, "%s/softhsm2.conf", dir);
	return setenv("SOFTHSM2_CONF", path, 1);
}

static int teardown(void **state)
{
	char command[128];
	(void)state;

	secret_free(so_pin);
	secret_free(user_pin);
	snprintf(command, sizeof command, "rm -rf %s", dir);
	return system(command);
}

/* Log in with a PIN to the token of a label; the CK_RV of C_Login, or CKR_TOKEN_NOT_PRESENT. */
static CK_RV login(const char *label, CK_USER_TYPE who, const char *pin)
{
	CK_FUNCTION_LIST *p11 = p11_kit_module_load(module, 0);
	CK_SLOT_ID ids[16];
	CK_ULONG n = 16;
	CK_RV rv = CKR_TOKEN_NOT_PRESENT;

	assert_int_equal(p11_kit_module_initialize(p11), CKR_OK);
	assert_int_equal(p11->C_GetSlotList(CK_TRUE, ids, &n), CKR_OK);
	for (CK_ULONG i = 0; i < n; i++) {
		CK_TOKEN_INFO info;
		CK_SESSION_HANDLE session;
		assert_int_equal(p11->C_GetTokenInfo(ids[i], &info), CKR_OK);
		if (memcmp(info.label, label, strlen(label)) != 0)
			continue;
		assert_int_equal(p11->C_OpenSession(ids[i], CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL, &session), CKR_OK);
		rv = p11->C_Login(session, who, (CK_UTF8CHAR *)pin, strlen(pin));
	}
	p11_kit_module_finalize(p11);
	p11_kit_module_release(p11);
	return rv;
}

static void test_provision_makes_a_token_that_both_pins_open(void **state)
{
	(void)state;
	assert_int_equal(keystore_init_token(module, "first", so_pin, user_pin, why), KB_OK);
	assert_int_equal(login("first ", CKU_USER, "uuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuu"), CKR_OK);
	assert_int_equal(login("first ", CKU_SO, "ssssssssssssssssssssssssssssssss"), CKR_OK);
	assert_int_equal(login("first ", CKU_USER, "ssssssssssssssssssssssssssssssss"), CKR_PIN_INCORRECT);
}

static void test_provision_never_touches_a_token_of_the_same_label(void **state)
{
	(void)state;
	assert_int_equal(keystore_init_token(module, "twice", so_pin, user_pin, why), KB_OK);
	assert_int_equal(keystore_init_token(module, "twice", user_pin, so_pin, why), KB_E_HSM_TOKEN);
	assert_non_null(strstr(why, "already"));
	assert_int_equal(login("twice ", CKU_USER, "uuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuu"), CKR_OK);
}

static void test_provision_makes_a_second_token(void **state)
{
	(void)state;
	assert_int_equal(keystore_init_token(module, "other", so_pin, user_pin, why), KB_OK);
	assert_int_equal(login("other ", CKU_USER, "uuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuu"), CKR_OK);
}

static void test_provision_refuses_a_label(void **state)
{
	(void)state;
	assert_int_equal(keystore_init_token(module, "", so_pin, user_pin, why), KB_E_HSM_TOKEN);
	assert_int_equal(keystore_init_token(module, "two words", so_pin, user_pin, why), KB_E_HSM_TOKEN);
	assert_int_equal(keystore_init_token(module, "del\x7f", so_pin, user_pin, why), KB_E_HSM_TOKEN);
	assert_int_equal(keystore_init_token(module, "123456789012345678901234567890123", so_pin, user_pin, why), KB_E_HSM_TOKEN);
	assert_non_null(strstr(why, "32"));
	assert_int_equal(keystore_init_token(module, "12345678901234567890123456789012", so_pin, user_pin, why), KB_OK);
}

static void test_provision_refuses_a_pin_the_module_refuses(void **state)
{
	(void)state;
	KB_AUTO(secret) struct secret *tiny = secret_new(3);
	memset(secret_bytes(tiny), '1', 3);

	assert_int_equal(keystore_init_token(module, "tiny-so", tiny, user_pin, why), KB_E_HSM_PIN);
	assert_int_equal(keystore_init_token(module, "tiny-user", so_pin, tiny, why), KB_E_HSM_PIN);
	assert_non_null(strstr(why, "C_InitPIN"));
}

static void test_provision_refuses_a_module(void **state)
{
	(void)state;
	assert_int_equal(keystore_init_token("libsofthsm2.so", "x", so_pin, user_pin, why), KB_E_HSM_MODULE);
	assert_non_null(strstr(why, "absolute"));
	assert_int_equal(keystore_init_token("/nonexistent/p11.so", "x", so_pin, user_pin, why), KB_E_HSM_MODULE);
	assert_true(why[0] != '\0');
	assert_int_equal(keystore_init_token("/lib/x86_64-linux-gnu/libm.so.6", "x", so_pin, user_pin, why), KB_E_HSM_MODULE);
}

static void test_provision_reports_a_module_that_does_not_start(void **state)
{
	char good[256];
	(void)state;

	snprintf(good, sizeof good, "%s", getenv("SOFTHSM2_CONF"));
	assert_int_equal(setenv("SOFTHSM2_CONF", "/nonexistent/softhsm2.conf", 1), 0);
	assert_int_equal(keystore_init_token(module, "x", so_pin, user_pin, why), KB_E_HSM_MODULE);
	assert_non_null(strstr(why, "C_Initialize"));
	assert_int_equal(setenv("SOFTHSM2_CONF", good, 1), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_provision_makes_a_token_that_both_pins_open),
		cmocka_unit_test(test_provision_never_touches_a_token_of_the_same_label),
		cmocka_unit_test(test_provision_makes_a_second_token),
		cmocka_unit_test(test_provision_refuses_a_label),
		cmocka_unit_test(test_provision_refuses_a_pin_the_module_refuses),
		cmocka_unit_test(test_provision_refuses_a_module),
		cmocka_unit_test(test_provision_reports_a_module_that_does_not_start),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
