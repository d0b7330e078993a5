/* tests/unit/keystore/test_module.c — which file may be the module, what its return codes mean,
 * which URIs are accepted. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <unistd.h>

#include "tests/unit/p11_fault.h"
#include "tests/unit/softhsm.h"

static struct softhsm hsm;

static int setup(void **state)
{
	(void)state;
	return softhsm_start(&hsm) ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	softhsm_stop(&hsm);
	return 0;
}

static enum kb_err load(const char *path)
{
	CK_FUNCTION_LIST *p11;
	enum kb_err err = module_load(path, &p11);

	assert_true((err == KB_OK) == (p11 != NULL));
	if (err == KB_OK)
		module_unload(p11);
	return err;
}

/* A copy of the module that the test may spoil. */
static void copy_module(char path[static 128])
{
	char block[65536];
	ssize_t n;

	snprintf(path, 128, "%s/module.so", hsm.dir);
	unlink(path); /* a copy that was loaded stays mapped: never write into it */
	int in = open(SOFTHSM_MODULE, O_RDONLY),
	    out = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	assert_true(in >= 0 && out >= 0);
	while ((n = read(in, block, sizeof block)) > 0)
		assert_int_equal(write(out, block, (size_t)n), n);
	close(in);
	assert_int_equal(fchmod(out, 0644), 0);
	close(out);
}

static void test_module_loads_through_symlink(void **state)
{
	struct stat st;

	(void)state;
	assert_int_equal(lstat(SOFTHSM_MODULE, &st), 0);
	/* Debian's own path is a symlink: what is checked is the file behind it */
	assert_true(S_ISLNK(st.st_mode));
	assert_int_equal(load(SOFTHSM_MODULE), KB_OK);
}

static void test_c14_module_path_relative(void **state)
{
	(void)state;
	assert_int_equal(load("libsofthsm2.so"), KB_E_HSM_MODULE);
	assert_int_equal(load("./libsofthsm2.so"), KB_E_HSM_MODULE);
	assert_int_equal(load(""), KB_E_HSM_MODULE);
}

static void test_c14_module_missing_or_no_file(void **state)
{
	(void)state;
	assert_int_equal(load("/nonexistent/module.so"), KB_E_HSM_MODULE);
	assert_int_equal(load("/usr/lib/softhsm"), KB_E_HSM_MODULE);
	assert_int_equal(load("/dev/null"), KB_E_HSM_MODULE);
}

static void test_c14_module_writable_by_others(void **state)
{
	char path[128], link[128];

	(void)state;
	copy_module(path);
	assert_int_equal(load(path), KB_OK);
	assert_int_equal(chmod(path, 0646), 0);
	assert_int_equal(load(path), KB_E_FILE_MODE);
	assert_int_equal(chmod(path, 0664), 0);
	assert_int_equal(load(path), KB_E_FILE_MODE);
	snprintf(link, sizeof link, "%s/link.so", hsm.dir);
	assert_int_equal(symlink(path, link), 0);
	assert_int_equal(load(link), KB_E_FILE_MODE);
}

/* A user who may write into a directory of the path can put another module there; the owner of a
 * link can turn it. */
static void test_c14_way_to_the_module_is_open_to_others(void **state)
{
	char path[128], dir[128], inner[160], link[128];

	(void)state;
	copy_module(path);
	assert_int_equal(load(path), KB_OK);
	snprintf(dir, sizeof dir, "%s/open", hsm.dir);
	snprintf(inner, sizeof inner, "%s/module.so", dir);
	assert_int_equal(mkdir(dir, 0755), 0);
	assert_int_equal(rename(path, inner), 0);
	assert_int_equal(load(inner), KB_OK);
	assert_int_equal(chmod(dir, 0757), 0);
	assert_int_equal(load(inner), KB_E_FILE_MODE);
	assert_int_equal(chmod(dir, 01777), 0); /* sticky: others can add, not replace */
	assert_int_equal(load(inner), KB_OK);
	assert_int_equal(chmod(dir, 0757), 0);
	snprintf(link, sizeof link, "%s/link.so", hsm.dir);
	(void)unlink(link);
	assert_int_equal(symlink(inner, link), 0);
	assert_int_equal(load(link), KB_E_FILE_MODE);
	assert_int_equal(chmod(dir, 0755), 0);
	assert_int_equal(load(link), KB_OK);
	if (geteuid() == 0) {
		assert_int_equal(lchown(link, 12345, 12345), 0);
		assert_int_equal(load(link), KB_E_FILE_MODE);
		assert_int_equal(chown(dir, 12345, 12345), 0);
		assert_int_equal(load(inner), KB_E_FILE_MODE);
	}
}

static void test_c14_module_of_another_owner(void **state)
{
	char path[128];

	(void)state;
	if (geteuid() != 0)
		skip();
	copy_module(path);
	assert_int_equal(chown(path, 12345, 0), 0);
	assert_int_equal(load(path), KB_E_FILE_MODE);
}

static void test_module_that_is_none(void **state)
{
	char path[128];

	(void)state;
	snprintf(path, sizeof path, "%s/text.so", hsm.dir);
	int fd = open(path, O_WRONLY | O_CREAT, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, "no module", 9), 9);
	close(fd);
	assert_int_equal(load(path), KB_E_HSM_MODULE);
}

static void test_module_that_does_not_initialise(void **state)
{
	(void)state;
	setenv("SOFTHSM2_CONF", "/nonexistent/softhsm2.conf", 1);
	enum kb_err err = load(SOFTHSM_MODULE);
	char path[128];
	snprintf(path, sizeof path, "%s/softhsm2.conf", hsm.dir);
	setenv("SOFTHSM2_CONF", path, 1);
	assert_int_equal(err, KB_E_HSM_MODULE);
}

static void test_c01_ckr_table(void **state)
{
	static const struct {
		CK_RV rv;
		enum kb_err err;
	} want[] = {
		{CKR_OK, KB_OK},
		{CKR_SESSION_HANDLE_INVALID, KB_E_HSM_SESSION},
		{CKR_SESSION_CLOSED, KB_E_HSM_SESSION},
		{CKR_USER_NOT_LOGGED_IN, KB_E_HSM_SESSION},
		{CKR_KEY_HANDLE_INVALID, KB_E_HSM_HANDLE},
		{CKR_OBJECT_HANDLE_INVALID, KB_E_HSM_HANDLE},
		{CKR_DEVICE_ERROR, KB_E_HSM_DEVICE},
		{CKR_DEVICE_REMOVED, KB_E_HSM_DEVICE},
		{CKR_TOKEN_NOT_PRESENT, KB_E_HSM_TOKEN},
		{CKR_PIN_INCORRECT, KB_E_HSM_PIN},
		{CKR_PIN_LOCKED, KB_E_HSM_PIN},
		{CKR_HOST_MEMORY, KB_E_HSM_MEMORY},
		{CKR_MECHANISM_INVALID, KB_E_HSM_MECHANISM},
		{CKR_KEY_UNEXTRACTABLE, KB_E_HSM_KEY_ATTR},
		{CKR_BUFFER_TOO_SMALL, KB_E_HSM_OUTPUT},
		{CKR_CRYPTOKI_NOT_INITIALIZED, KB_E_HSM_MODULE},
		/* the standard's numbers, which p11-kit's header does not have */
		{0x1b6, KB_E_HSM_DEVICE},
		{0x1b8, KB_E_HSM_PIN},
		{CKR_VENDOR_DEFINED | 7, KB_E_HSM},
		{0x7fffffff, KB_E_HSM},
	};
	unsigned named = 0;

	(void)state;
	for (size_t i = 0; i < sizeof want / sizeof want[0]; i++)
		assert_int_equal(ckr_err(want[i].rv), want[i].err);
	/* Every value but CKR_OK is a failure, of a class that a client may see; one that a retry
	 * cannot cure is no 5xx. */
	for (CK_RV rv = 1; rv <= 0x300; rv++) {
		enum kb_err err = ckr_err(rv);
		bool is_final = err == KB_E_HSM_KEY_ATTR || err == KB_E_HSM_MECHANISM;
		assert_int_equal(kb_err_class(err), is_final ? KB_CLASS_UNFIT : KB_CLASS_HSM);
		assert_int_equal(kb_err_status(err), is_final ? 403 : 503);
		named += strcmp(ckr_name(rv), "CKR_?") != 0;
	}
	assert_int_equal(
		named,
		98); /* PKCS#11 v2.40 and v3.0, without CKR_OK; five of them under two numbers */
	assert_string_equal(ckr_name(CKR_DEVICE_ERROR), "CKR_DEVICE_ERROR");
	assert_string_equal(ckr_name(0x7fffffff), "CKR_?");
}

static void test_module_names_the_fault(void **state)
{
	struct keystore *ks;

	(void)state;
	assert_int_equal(softhsm_open(&ks), KB_OK);
	assert_string_equal(keystore_fault(ks), "");
	assert_int_equal(p11_outcome(ks, "C_WrapKey", CKR_OK), KB_OK);
	assert_string_equal(keystore_fault(ks), "");
	assert_int_equal(p11_outcome(ks, "C_WrapKey", CKR_DEVICE_ERROR), KB_E_HSM_DEVICE);
	assert_string_equal(keystore_fault(ks), "C_WrapKey: CKR_DEVICE_ERROR (0x30)");
	keystore_close(ks);
}

static CK_RV lying_length(CK_SESSION_HANDLE s, CK_OBJECT_HANDLE o, CK_ATTRIBUTE_PTR t, CK_ULONG n)
{
	(void)s;
	(void)o;
	for (CK_ULONG i = 0; i < n; i++)
		t[i].ulValueLen = 1 << 20;
	return CKR_OK;
}

static CK_RV empty_value(CK_SESSION_HANDLE s, CK_OBJECT_HANDLE o, CK_ATTRIBUTE_PTR t, CK_ULONG n)
{
	(void)s;
	(void)o;
	for (CK_ULONG i = 0; i < n; i++)
		t[i].ulValueLen = 0;
	return CKR_OK;
}

static void test_c09_attribute_length_lie(void **state)
{
	struct keystore *ks;
	uint8_t value[8];
	size_t len;
	bool flag;

	(void)state;
	assert_int_equal(softhsm_open(&ks), KB_OK);
	fault_install(ks);
	p11_fault.list.C_GetAttributeValue = lying_length;
	assert_int_equal(attr_get(ks, 1, CKA_ID, value, sizeof value, &len), KB_E_HSM_OUTPUT);
	assert_int_equal(len, 0);
	p11_fault.list.C_GetAttributeValue = empty_value;
	assert_int_equal(attr_bool(ks, 1, CKA_EXTRACTABLE, &flag), KB_E_HSM_OUTPUT);
	assert_false(flag);
	fault_remove(ks);
	assert_int_equal(attr_bool(ks, 0x7777, CKA_EXTRACTABLE, &flag), KB_E_HSM_HANDLE);
	keystore_close(ks);
}

static void test_module_refuses_uris(void **state)
{
	static const char *const bad[] = {
		"",
		"release-signer",
		"http://example.org/",
		"pkcs11",
		"pkcs11:object=a?pin-value=1234",
		"pkcs11:object=a?pin-source=file:/etc/pin",
		"pkcs11:object=a?module-name=other",
		"pkcs11:object=a?module-path=/tmp/evil.so",
		"pkcs11:id=%zz",
		"pkcs11:object=a;type=nonsense",
		"pkcs11:object=a;unheard-of=1",
	};
	P11KitUri *uri;

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		assert_int_equal(uri_parse(bad[i], P11_KIT_URI_FOR_OBJECT_ON_TOKEN, &uri),
				 KB_E_HSM_URI);
		assert_null(uri);
	}
	assert_int_equal(
		uri_parse("pkcs11:id=%01%02;type=private", P11_KIT_URI_FOR_OBJECT_ON_TOKEN, &uri),
		KB_OK);
	p11_kit_uri_free(uri);
	assert_int_equal(uri_parse("pkcs11:token=keybroker", P11_KIT_URI_FOR_TOKEN, &uri), KB_OK);
	p11_kit_uri_free(uri);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_module_loads_through_symlink),
		cmocka_unit_test(test_c14_module_path_relative),
		cmocka_unit_test(test_c14_module_missing_or_no_file),
		cmocka_unit_test(test_c14_module_writable_by_others),
		cmocka_unit_test(test_c14_module_of_another_owner),
		cmocka_unit_test(test_c14_way_to_the_module_is_open_to_others),
		cmocka_unit_test(test_module_that_is_none),
		cmocka_unit_test(test_module_that_does_not_initialise),
		cmocka_unit_test(test_c01_ckr_table),
		cmocka_unit_test(test_module_names_the_fault),
		cmocka_unit_test(test_c09_attribute_length_lie),
		cmocka_unit_test(test_module_refuses_uris),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
