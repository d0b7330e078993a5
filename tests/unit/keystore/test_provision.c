/* tests/unit/keystore/test_provision.c — a new SoftHSM token, and every way in which it is
 * refused. */
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
	snprintf(text, sizeof text,
		 "directories.tokendir = %s\nobjectstore.backend = file\nlog.level = ERROR\n",
		 path);
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
		assert_int_equal(p11->C_OpenSession(ids[i], CKF_SERIAL_SESSION | CKF_RW_SESSION,
						    NULL, NULL, &session),
				 CKR_OK);
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
	assert_int_equal(login("first ", CKU_USER, "ssssssssssssssssssssssssssssssss"),
			 CKR_PIN_INCORRECT);
}

static void test_provision_never_touches_a_token_of_the_same_label(void **state)
{
	(void)state;
	assert_int_equal(keystore_init_token(module, "twice", so_pin, user_pin, why), KB_OK);
	assert_int_equal(keystore_init_token(module, "twice", user_pin, so_pin, why),
			 KB_E_HSM_TOKEN);
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
	assert_int_equal(keystore_init_token(module, "two words", so_pin, user_pin, why),
			 KB_E_HSM_TOKEN);
	assert_int_equal(keystore_init_token(module, "del\x7f", so_pin, user_pin, why),
			 KB_E_HSM_TOKEN);
	assert_int_equal(keystore_init_token(module, "123456789012345678901234567890123", so_pin,
					     user_pin, why),
			 KB_E_HSM_TOKEN);
	assert_non_null(strstr(why, "32"));
	assert_int_equal(keystore_init_token(module, "12345678901234567890123456789012", so_pin,
					     user_pin, why),
			 KB_OK);
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
	assert_int_equal(keystore_init_token("libsofthsm2.so", "x", so_pin, user_pin, why),
			 KB_E_HSM_MODULE);
	assert_non_null(strstr(why, "absolute"));
	assert_int_equal(keystore_init_token("/nonexistent/p11.so", "x", so_pin, user_pin, why),
			 KB_E_HSM_MODULE);
	assert_true(why[0] != '\0');
	assert_int_equal(
		keystore_init_token("/lib/x86_64-linux-gnu/libm.so.6", "x", so_pin, user_pin, why),
		KB_E_HSM_MODULE);
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

/* ---- a module of our own, behind the PKCS#11 interface ---- */

static struct {
	CK_RV rv[8];            /* by call, below */
	CK_FLAGS flags;         /* of its one token */
	const char *label;      /* of its token, before and after C_InitToken */
	bool forgets_its_token; /* C_InitToken says OK and nothing has changed */
	unsigned inits;
} fake;
enum { AT_SLOTS, AT_INFO, AT_INIT, AT_SESSION, AT_LOGIN, AT_PIN };

static CK_RV fake_slots(CK_BBOOL present, CK_SLOT_ID *ids, CK_ULONG *n)
{
	(void)present;
	ids[0] = 7;
	*n = 1;
	return fake.rv[AT_SLOTS];
}
static CK_RV fake_info(CK_SLOT_ID slot, CK_TOKEN_INFO *info)
{
	(void)slot;
	memset(info, ' ', sizeof *info);
	memcpy(info->label, fake.label, strlen(fake.label));
	info->flags = fake.flags;
	return fake.rv[AT_INFO];
}
static CK_RV fake_init(CK_SLOT_ID slot, CK_UTF8CHAR *pin, CK_ULONG len, CK_UTF8CHAR *label)
{
	(void)slot, (void)pin, (void)len, (void)label;
	fake.inits++;
	if (!fake.forgets_its_token && fake.rv[AT_INIT] == CKR_OK) {
		fake.flags = CKF_TOKEN_INITIALIZED;
		fake.label = "new";
	}
	return fake.rv[AT_INIT];
}
static CK_RV fake_session(CK_SLOT_ID slot, CK_FLAGS flags, void *ctx, CK_NOTIFY notify,
			  CK_SESSION_HANDLE *out)
{
	(void)slot, (void)flags, (void)ctx, (void)notify;
	*out = 1;
	return fake.rv[AT_SESSION];
}
static CK_RV fake_login(CK_SESSION_HANDLE session, CK_USER_TYPE who, CK_UTF8CHAR *pin, CK_ULONG len)
{
	(void)session, (void)who, (void)pin, (void)len;
	return fake.rv[AT_LOGIN];
}
static CK_RV fake_pin(CK_SESSION_HANDLE session, CK_UTF8CHAR *pin, CK_ULONG len)
{
	(void)session, (void)pin, (void)len;
	return fake.rv[AT_PIN];
}
static CK_RV fake_close(CK_SESSION_HANDLE session)
{
	(void)session;
	return CKR_OK;
}

static enum kb_err fake_run(void)
{
	static CK_FUNCTION_LIST list = {
		.C_GetSlotList = fake_slots,
		.C_GetTokenInfo = fake_info,
		.C_InitToken = fake_init,
		.C_OpenSession = fake_session,
		.C_Login = fake_login,
		.C_InitPIN = fake_pin,
		.C_CloseSession = fake_close,
	};

	fake.flags = 0;
	fake.label = "";
	fake.inits = 0;
	return provision_token(&list, "new", so_pin, user_pin, why);
}

static void test_provision_reports_each_call_that_fails(void **state)
{
	static const char *const name[] = {"C_GetSlotList", "C_GetTokenInfo", "C_InitToken",
					   "C_OpenSession", "C_Login",        "C_InitPIN"};
	static const CK_RV pin_faults[] = {CKR_PIN_INCORRECT, CKR_PIN_INVALID, CKR_PIN_LEN_RANGE,
					   CKR_PIN_LOCKED};
	(void)state;

	assert_int_equal(fake_run(), KB_OK);
	for (unsigned at = AT_SLOTS; at <= AT_PIN; at++) {
		fake.rv[at] = CKR_DEVICE_ERROR;
		assert_int_equal(fake_run(), KB_E_HSM_DEVICE);
		assert_non_null(strstr(why, name[at]));
		for (unsigned i = 0; i < 4; i++) {
			fake.rv[at] = pin_faults[i];
			assert_int_equal(fake_run(), KB_E_HSM_PIN);
		}
		fake.rv[at] = CKR_OK;
	}
}

static void test_provision_never_wipes_the_only_token(void **state)
{
	static CK_FUNCTION_LIST list = {
		.C_GetSlotList = fake_slots, .C_GetTokenInfo = fake_info, .C_InitToken = fake_init};
	(void)state;

	fake.flags = CKF_TOKEN_INITIALIZED;
	fake.label = "somebody's";
	fake.inits = 0;
	assert_int_equal(provision_token(&list, "new", so_pin, user_pin, why), KB_E_HSM_TOKEN);
	assert_non_null(strstr(why, "no slot"));
	assert_int_equal(fake.inits, 0);
}

static void test_provision_reports_a_token_that_is_not_found_again(void **state)
{
	(void)state;
	fake.forgets_its_token = true;
	assert_int_equal(fake_run(), KB_E_HSM_TOKEN);
	assert_non_null(strstr(why, "not found"));
	fake.forgets_its_token = false;
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
		cmocka_unit_test(test_provision_reports_each_call_that_fails),
		cmocka_unit_test(test_provision_never_wipes_the_only_token),
		cmocka_unit_test(test_provision_reports_a_token_that_is_not_found_again),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
