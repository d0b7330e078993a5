/* tests/unit/keystore/test_attributes.c — what each object that the broker makes may be used for:
 * by a list of its own, on SoftHSM and on modules that add, forget or do not know attributes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

#include "tests/unit/p11_fault.h"
#include "tests/unit/rsa_key.h"
#include "tests/unit/softhsm.h"

static struct softhsm hsm;
static struct keystore *ks;

static int setup(void **state)
{
	(void)state;
	return softhsm_start(&hsm) && softhsm_open(&ks) == KB_OK ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	keystore_close(ks);
	softhsm_stop(&hsm);
	return 0;
}

static int faults_on(void **state)
{
	(void)state;
	fault_install(ks);
	return 0;
}

static int faults_off(void **state)
{
	(void)state;
	fault_remove(ks);
	memset(ks->skip_rows, 0, sizeof ks->skip_rows);
	return 0;
}

static CK_ULONG find(const char *label, CK_OBJECT_CLASS class, CK_OBJECT_HANDLE hit[static 8])
{
	CK_ATTRIBUTE t[] = {{CKA_LABEL, (void *)label, strlen(label)},
			    {CKA_CLASS, &class, sizeof class}};
	CK_ULONG n = 0;

	assert_int_equal(ks->p11->C_FindObjectsInit(ks->session, t, 2), CKR_OK);
	assert_int_equal(ks->p11->C_FindObjects(ks->session, hit, 8, &n), CKR_OK);
	assert_int_equal(ks->p11->C_FindObjectsFinal(ks->session), CKR_OK);
	return n;
}

static CK_ULONG objects(const char *label)
{
	CK_OBJECT_HANDLE hit[8];

	return find(label, CKO_PRIVATE_KEY, hit) + find(label, CKO_PUBLIC_KEY, hit) +
	       find(label, CKO_SECRET_KEY, hit);
}

/* One letter an attribute of `order`: 1, 0, or - for a class that does not have it. */
static const CK_ATTRIBUTE_TYPE order[] = {
	CKA_TOKEN,
	CKA_PRIVATE,
	CKA_SENSITIVE,
	CKA_EXTRACTABLE,
	CKA_MODIFIABLE,
	CKA_COPYABLE,
	CKA_DESTROYABLE,
	CKA_SIGN,
	CKA_SIGN_RECOVER,
	CKA_VERIFY,
	CKA_VERIFY_RECOVER,
	CKA_ENCRYPT,
	CKA_DECRYPT,
	CKA_WRAP,
	CKA_UNWRAP,
	CKA_DERIVE,
	CKA_ALWAYS_AUTHENTICATE,
	CKA_WRAP_WITH_TRUSTED,
	CKA_TRUSTED,
};
#define RELEASE_PRIVATE                                                                            \
	"1111"                                                                                     \
	"001"                                                                                      \
	"00--"                                                                                     \
	"-0-00"                                                                                    \
	"00-"
#define SIGNER_PRIVATE                                                                             \
	"1110"                                                                                     \
	"001"                                                                                      \
	"10--"                                                                                     \
	"-0-00"                                                                                    \
	"00-"
#define ANY_PUBLIC                                                                                 \
	"10--"                                                                                     \
	"001"                                                                                      \
	"--10"                                                                                     \
	"0-0-0"                                                                                    \
	"--0"
#define RELEASE_SECRET                                                                             \
	"1111"                                                                                     \
	"001"                                                                                      \
	"0-0-"                                                                                     \
	"00000"                                                                                    \
	"-00"

static void assert_attributes(const char *label, CK_OBJECT_CLASS class, const char *want)
{
	CK_OBJECT_HANDLE hit[8];

	assert_int_equal(find(label, class, hit), 1);
	assert_int_equal(strlen(want), sizeof order / sizeof order[0]);
	for (size_t i = 0; i < sizeof order / sizeof order[0]; i++) {
		CK_BBOOL got = 9;
		CK_ATTRIBUTE a = {order[i], &got, sizeof got};
		if (want[i] == '-')
			continue;
		assert_int_equal(ks->p11->C_GetAttributeValue(ks->session, hit[0], &a, 1), CKR_OK);
		if (got != (want[i] == '1'))
			fail_msg("%s class %lu attribute 0x%lx is %d", label, class, order[i], got);
	}
}

static struct secret *plain_of(enum kb_kty kty)
{
	struct secret *s = NULL;

	if (kty == KB_KTY_OCT) {
		assert_int_equal(secret_random(32, &s), KB_OK);
		return s;
	}
	EVP_PKEY *key =
		kty == KB_KTY_RSA ? rsa_key(2048) : EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
	PKCS8_PRIV_KEY_INFO *info = EVP_PKEY2PKCS8(key);
	s = secret_new((size_t)i2d_PKCS8_PRIV_KEY_INFO(info, NULL));
	unsigned char *at = secret_bytes(s);
	i2d_PKCS8_PRIV_KEY_INFO(info, &at);
	PKCS8_PRIV_KEY_INFO_free(info);
	EVP_PKEY_free(key);
	return s;
}

static enum kb_err make(const char *label, enum kb_kty kty, bool is_signer, bool is_import)
{
	const struct keystore_template t = {.label = label,
					    .kty = kty,
					    .size = kty == KB_KTY_OCT ? 32 : 2048,
					    .crv = kty == KB_KTY_EC ? KB_CRV_P256 : KB_CRV_NONE,
					    .is_signer = is_signer};
	struct secret *plain = is_import ? plain_of(kty) : NULL;
	char *uri = NULL;
	enum kb_err err =
		is_import ? keystore_import(ks, &t, plain, &uri) : keystore_generate(ks, &t, &uri);

	secret_free(plain);
	free(uri);
	return err;
}

static void test_c18_every_attribute_is_said(void **state)
{
	static const char *const labels[2][KB_KTY_OCT + 1] = {{NULL, "rsa", "ec", "oct"},
							      {NULL, "rsa-in", "ec-in", "oct-in"}};

	(void)state;
	for (unsigned in = 0; in <= 1; in++)
		for (enum kb_kty t = KB_KTY_RSA; t <= KB_KTY_OCT; t++) {
			const char *label = labels[in][t];
			assert_int_equal(make(label, t, false, in), KB_OK);
			if (t == KB_KTY_OCT) {
				assert_attributes(label, CKO_SECRET_KEY, RELEASE_SECRET);
			} else {
				assert_attributes(label, CKO_PRIVATE_KEY, RELEASE_PRIVATE);
				assert_attributes(label, CKO_PUBLIC_KEY, ANY_PUBLIC);
			}
		}
	assert_int_equal(make("signer", KB_KTY_RSA, true, false), KB_OK);
	assert_attributes("signer", CKO_PRIVATE_KEY, SIGNER_PRIVATE);
	assert_attributes("signer", CKO_PUBLIC_KEY, ANY_PUBLIC);
}

static void test_c18_no_use_is_added_later(void **state)
{
	static const CK_ATTRIBUTE_TYPE uses[] = {CKA_DECRYPT, CKA_UNWRAP, CKA_DERIVE,
						 CKA_SIGN_RECOVER, CKA_EXTRACTABLE};
	CK_OBJECT_HANDLE hit[8], copy;
	CK_BBOOL yes = CK_TRUE;

	(void)state;
	assert_int_equal(make("fixed", KB_KTY_RSA, true, false), KB_OK);
	assert_int_equal(find("fixed", CKO_PRIVATE_KEY, hit), 1);
	for (size_t i = 0; i < sizeof uses / sizeof uses[0]; i++) {
		CK_ATTRIBUTE a = {uses[i], &yes, sizeof yes};
		assert_int_not_equal(ks->p11->C_SetAttributeValue(ks->session, hit[0], &a, 1),
				     CKR_OK);
		assert_int_not_equal(ks->p11->C_CopyObject(ks->session, hit[0], &a, 1, &copy),
				     CKR_OK);
	}
	assert_int_not_equal(ks->p11->C_CopyObject(ks->session, hit[0], NULL, 0, &copy), CKR_OK);
	assert_attributes("fixed", CKO_PRIVATE_KEY, SIGNER_PRIVATE);
}

/* A signing key of a caller that says nothing but what it must. */
static void test_c18_older_key_is_named_and_works(void **state)
{
	CK_MECHANISM mech = {CKM_RSA_PKCS_KEY_PAIR_GEN, NULL, 0};
	CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
	CK_ULONG bits = 2048;
	CK_ATTRIBUTE pub[] = {{CKA_TOKEN, &yes, 1},
			      {CKA_LABEL, "old", 3},
			      {CKA_MODULUS_BITS, &bits, sizeof bits}},
		     own[] = {{CKA_TOKEN, &yes, 1},     {CKA_PRIVATE, &yes, 1},
			      {CKA_SENSITIVE, &yes, 1}, {CKA_EXTRACTABLE, &no, 1},
			      {CKA_SIGN, &yes, 1},      {CKA_DECRYPT, &yes, 1},
			      {CKA_LABEL, "old", 3}};
	CK_OBJECT_HANDLE a, b;
	const struct hsm_key *key;

	(void)state;
	assert_int_equal(ks->p11->C_GenerateKeyPair(ks->session, &mech, pub, 3, own, 7, &a, &b),
			 CKR_OK);
	assert_int_equal(make("new", KB_KTY_RSA, true, false), KB_OK);
	for (unsigned is_new = 0; is_new <= 1; is_new++) {
		KB_AUTO(buf) struct buf text;
		buf_init(&text, 1024);
		assert_int_equal(keystore_find(ks,
					       is_new ? "pkcs11:token=kbtest;object=new"
						      : "pkcs11:token=kbtest;object=old",
					       KB_KTY_RSA, false, NULL, &key),
				 KB_OK);
		assert_int_equal(keystore_weakness(ks, key, true, &text), KB_OK);
		buf_add(&text, "", 1);
		if (is_new) {
			assert_string_equal((char *)text.p, "");
			continue;
		}
		assert_non_null(strstr((char *)text.p, "CKA_DECRYPT is not false"));
		assert_non_null(strstr((char *)text.p, "CKA_MODIFIABLE is not false"));
		assert_null(strstr((char *)text.p, "CKA_SENSITIVE"));
	}
}

/* ---- modules that do not obey ---- */

static CK_ATTRIBUTE_TYPE odd; /* the attribute that is turned round, or not known */
static CK_BBOOL turned;
static bool is_unknown;

static CK_RV obey_not(CK_ATTRIBUTE_PTR t, CK_ULONG n, CK_ATTRIBUTE out[static 64])
{
	assert_true(n <= 64);
	memcpy(out, t, n * sizeof *t);
	for (CK_ULONG i = 0; i < n; i++)
		if (t[i].type == odd) {
			if (is_unknown)
				return CKR_ATTRIBUTE_TYPE_INVALID;
			turned = !*(CK_BBOOL *)t[i].pValue;
			out[i].pValue = &turned;
		}
	return CKR_OK;
}

static CK_RV odd_pair(CK_SESSION_HANDLE s, CK_MECHANISM_PTR m, CK_ATTRIBUTE_PTR pub, CK_ULONG pub_n,
		      CK_ATTRIBUTE_PTR t, CK_ULONG n, CK_OBJECT_HANDLE_PTR a,
		      CK_OBJECT_HANDLE_PTR b)
{
	CK_ATTRIBUTE own[64], own_pub[64];
	CK_RV rv = obey_not(t, n, own);

	if (rv == CKR_OK && is_unknown)
		rv = obey_not(pub, pub_n, own_pub);
	return rv != CKR_OK ? rv
			    : p11_fault.real->C_GenerateKeyPair(s, m, pub, pub_n, own, n, a, b);
}

static CK_RV odd_key(CK_SESSION_HANDLE s, CK_MECHANISM_PTR m, CK_ATTRIBUTE_PTR t, CK_ULONG n,
		     CK_OBJECT_HANDLE_PTR out)
{
	CK_ATTRIBUTE own[64];
	CK_RV rv = obey_not(t, n, own);

	return rv != CKR_OK ? rv : p11_fault.real->C_GenerateKey(s, m, own, n, out);
}

static CK_RV odd_create(CK_SESSION_HANDLE s, CK_ATTRIBUTE_PTR t, CK_ULONG n,
			CK_OBJECT_HANDLE_PTR out)
{
	CK_ATTRIBUTE own[64];
	CK_RV rv = obey_not(t, n, own);

	return rv != CKR_OK ? rv : p11_fault.real->C_CreateObject(s, own, n, out);
}

static CK_RV odd_read(CK_SESSION_HANDLE s, CK_OBJECT_HANDLE object, CK_ATTRIBUTE_PTR t, CK_ULONG n)
{
	CK_RV rv = p11_fault.real->C_GetAttributeValue(s, object, t, n);

	for (CK_ULONG i = 0; is_unknown && i < n; i++)
		if (t[i].type == odd) {
			t[i].ulValueLen = CK_UNAVAILABLE_INFORMATION;
			rv = CKR_ATTRIBUTE_TYPE_INVALID;
		}
	return rv;
}

static void become_odd(CK_ATTRIBUTE_TYPE type, bool unknown)
{
	odd = type;
	is_unknown = unknown;
	memset(ks->skip_rows, 0, sizeof ks->skip_rows);
	p11_fault.list.C_GenerateKeyPair = odd_pair;
	p11_fault.list.C_GenerateKey = odd_key;
	p11_fault.list.C_CreateObject = odd_create;
	p11_fault.list.C_GetAttributeValue = odd_read;
}

static void test_c18_weaker_than_asked_is_destroyed(void **state)
{
	static const struct {
		CK_ATTRIBUTE_TYPE type;
		const char *name;
	} rights[] = {
		{CKA_DECRYPT, "CKA_DECRYPT is not false"},
		{CKA_UNWRAP, "CKA_UNWRAP is not false"},
		{CKA_DERIVE, "CKA_DERIVE is not false"},
		{CKA_MODIFIABLE, "CKA_MODIFIABLE is not false"},
		{CKA_COPYABLE, "CKA_COPYABLE is not false"},
		{CKA_SENSITIVE, "CKA_SENSITIVE is not true"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof rights / sizeof rights[0]; i++)
		for (unsigned how = 0; how < 4; how++) {
			become_odd(rights[i].type, false);
			/* RSA pair, signer, made oct, imported oct */
			enum kb_err err =
				make("weak", how < 2 ? KB_KTY_RSA : KB_KTY_OCT, how == 1, how == 3);
			if (err != KB_E_HSM_OUTPUT)
				fail_msg("%s, %u: %s", rights[i].name, how, kb_err_name(err));
			assert_non_null(strstr(keystore_fault(ks), rights[i].name));
			assert_int_equal(objects("weak"), 0);
		}
	become_odd(CKA_EXTRACTABLE, false);
	assert_int_equal(make("weak", KB_KTY_RSA, true, false), KB_E_HSM_OUTPUT);
	assert_int_equal(objects("weak"), 0);
}

static void test_c18_older_module(void **state)
{
	static const CK_ATTRIBUTE_TYPE may[] = {CKA_COPYABLE, CKA_DESTROYABLE,
						CKA_WRAP_WITH_TRUSTED, CKA_ALLOWED_MECHANISMS},
				       never[] = {CKA_EXTRACTABLE, CKA_SENSITIVE, CKA_DERIVE,
						  CKA_PRIVATE};

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		become_odd(may[i], true);
		assert_int_equal(make("older", KB_KTY_RSA, true, false), KB_OK);
		assert_int_equal(make("older", KB_KTY_OCT, false, false), KB_OK);
		become_odd(never[i], true);
		assert_int_equal(make("never", KB_KTY_RSA, true, false), KB_E_HSM_KEY_ATTR);
		assert_int_equal(make("never", KB_KTY_OCT, false, false), KB_E_HSM_KEY_ATTR);
		assert_int_equal(objects("never"), 0);
	}
}

#define WITH_FAULTS(t) cmocka_unit_test_setup_teardown(t, faults_on, faults_off)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_c18_every_attribute_is_said),
		cmocka_unit_test(test_c18_no_use_is_added_later),
		cmocka_unit_test(test_c18_older_key_is_named_and_works),
		WITH_FAULTS(test_c18_weaker_than_asked_is_destroyed),
		WITH_FAULTS(test_c18_older_module),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
