/* tests/unit/keystore/test_keystore.c — open, find, describe and create; the session and its one
 * login. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/b64url.h"
#include "keystore/public.h"
#include "tests/unit/p11_fault.h"
#include "tests/unit/rsa_key.h"
#include "tests/unit/softhsm.h"

static struct softhsm hsm;
static struct keystore *ks;
static char *rsa_uri, *ec_uri, *oct_uri, *signer_uri;

static const struct keystore_template rsa_template = {
	.label = "rsa", .kty = KB_KTY_RSA, .size = 2048};
static const struct keystore_template ec_template = {
	.label = "ec", .kty = KB_KTY_EC, .crv = KB_CRV_P256};
static const struct keystore_template oct_template = {
	.label = "oct", .kty = KB_KTY_OCT, .size = 32};
static const struct keystore_template signer_template = {
	.label = "release-signer", .kty = KB_KTY_RSA, .size = 2048, .is_signer = true};

static int setup(void **state)
{
	(void)state;
	if (!softhsm_start(&hsm) || softhsm_open(&ks) != KB_OK)
		return -1;
	if (keystore_generate(ks, &rsa_template, &rsa_uri) != KB_OK ||
	    keystore_generate(ks, &ec_template, &ec_uri) != KB_OK ||
	    keystore_generate(ks, &oct_template, &oct_uri) != KB_OK ||
	    keystore_generate(ks, &signer_template, &signer_uri) != KB_OK)
		return -1;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	keystore_close(ks);
	free(rsa_uri);
	free(ec_uri);
	free(oct_uri);
	free(signer_uri);
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
	ks->login_err = KB_OK;
	return keystore_alive(ks) == KB_OK ? 0 : -1;
}

static enum kb_err find(const char *uri, enum kb_kty kty, bool is_release,
			const uint8_t *fingerprint)
{
	const struct hsm_key *key;
	enum kb_err err = keystore_find(ks, uri, kty, is_release, fingerprint, &key);

	assert_true((err == KB_OK) == (key != NULL));
	return err;
}

/* ---- open: each test closes the shared keystore first, as a module is initialised once a process
 * ---- */

static int closed(void **state)
{
	(void)state;
	keystore_close(ks);
	ks = NULL;
	return 0;
}

static int opened(void **state)
{
	(void)state;
	return softhsm_open(&ks) == KB_OK ? 0 : -1;
}

static enum kb_err open_params(const char *module, const char *token, const char *pin_text)
{
	struct secret *pin = pin_text == NULL ? NULL : softhsm_secret(pin_text);
	struct keystore_params p = {.module = module, .token = token, .pin = pin};
	struct keystore *k;
	enum kb_err err = keystore_open(&p, &k);

	assert_true((err == KB_OK) == (k != NULL));
	keystore_close(k);
	secret_free(pin);
	return err;
}

static void test_keystore_open_faults(void **state)
{
	(void)state;
	assert_int_equal(open_params(SOFTHSM_MODULE, SOFTHSM_TOKEN, SOFTHSM_PIN), KB_OK);
	assert_int_equal(open_params(SOFTHSM_MODULE, SOFTHSM_TOKEN, NULL),
			 KB_OK); /* public objects only */
	assert_int_equal(open_params("libsofthsm2.so", SOFTHSM_TOKEN, SOFTHSM_PIN),
			 KB_E_HSM_MODULE);
	assert_int_equal(open_params(SOFTHSM_MODULE, "pkcs11:token=other", SOFTHSM_PIN),
			 KB_E_HSM_TOKEN);
	assert_int_equal(
		open_params(SOFTHSM_MODULE, "pkcs11:token=kbtest?pin-value=1", SOFTHSM_PIN),
		KB_E_HSM_URI);
	assert_int_equal(open_params(SOFTHSM_MODULE, "kbtest", SOFTHSM_PIN), KB_E_HSM_URI);
	assert_int_equal(open_params(SOFTHSM_MODULE, SOFTHSM_TOKEN, "not the pin"), KB_E_HSM_PIN);
	assert_int_equal(open_params(SOFTHSM_MODULE, SOFTHSM_TOKEN, SOFTHSM_PIN), KB_OK);
}

static void test_keystore_open_ambiguous_token(void **state)
{
	(void)state;
	assert_true(softhsm_add("kbsecond"));
	assert_int_equal(
		open_params(SOFTHSM_MODULE, "pkcs11:manufacturer=SoftHSM%20project", SOFTHSM_PIN),
		KB_E_HSM_TOKEN);
	assert_int_equal(open_params(SOFTHSM_MODULE, "pkcs11:token=kbsecond", SOFTHSM_PIN), KB_OK);
}

static void test_keystore_without_pin_sees_no_private_key(void **state)
{
	struct keystore_params p = {.module = SOFTHSM_MODULE, .token = SOFTHSM_TOKEN};
	const struct hsm_key *key;
	struct keystore *k;

	(void)state;
	assert_int_equal(keystore_open(&p, &k), KB_OK);
	assert_int_equal(keystore_alive(k), KB_OK);
	assert_int_equal(keystore_find(k, rsa_uri, KB_KTY_RSA, true, NULL, &key),
			 KB_E_HSM_KEY_MISSING);
	keystore_close(k);
}

static void test_keystore_read_only_creates_nothing(void **state)
{
	struct secret *pin = softhsm_secret(SOFTHSM_PIN);
	struct keystore_params p = {.module = SOFTHSM_MODULE, .token = SOFTHSM_TOKEN, .pin = pin};
	struct keystore *k;
	char *uri;

	(void)state;
	assert_int_equal(keystore_open(&p, &k), KB_OK);
	assert_int_equal(keystore_generate(k, &oct_template, &uri), KB_E_HSM);
	assert_null(uri);
	assert_string_equal(keystore_fault(k), "C_GenerateKey: CKR_SESSION_READ_ONLY (0xb5)");
	keystore_close(k);
	secret_free(pin);
}

/* ---- find ---- */

static void test_keystore_find_describes(void **state)
{
	const struct hsm_key *key, *again;

	(void)state;
	assert_int_equal(keystore_find(ks, rsa_uri, KB_KTY_RSA, true, NULL, &key), KB_OK);
	const struct hsm_public *p = keystore_public(key);
	assert_int_equal(p->kty, KB_KTY_RSA);
	assert_int_equal(p->n_len, 256);
	assert_int_equal(p->e_len, 3);
	assert_memory_equal(p->e, "\1\0\1", 3);
	assert_int_equal(keystore_find(ks, rsa_uri, KB_KTY_RSA, true, p->fingerprint, &again),
			 KB_OK);
	assert_ptr_equal(key, again);

	assert_int_equal(keystore_find(ks, ec_uri, KB_KTY_EC, true, NULL, &key), KB_OK);
	p = keystore_public(key);
	assert_int_equal(p->crv, KB_CRV_P256);
	assert_int_equal(p->xy_len, 32);

	assert_int_equal(keystore_find(ks, oct_uri, KB_KTY_OCT, true, NULL, &key), KB_OK);
	assert_int_equal(keystore_public(key)->oct_len, 32);
	for (size_t i = 0; i < 32; i++)
		assert_int_equal(keystore_public(key)->fingerprint[i], 0);
	assert_int_equal(
		keystore_find(ks, "pkcs11:object=release-signer", KB_KTY_RSA, false, NULL, &key),
		KB_OK);
}

static void test_c10_find_refuses(void **state)
{
	uint8_t other[32] = {1};

	(void)state;
	assert_int_equal(find("pkcs11:object=absent", KB_KTY_RSA, true, NULL),
			 KB_E_HSM_KEY_MISSING);
	assert_int_equal(find("pkcs11:id=%01%02%03", KB_KTY_OCT, true, NULL), KB_E_HSM_KEY_MISSING);
	assert_int_equal(find(rsa_uri, KB_KTY_RSA, true, other),
			 KB_E_HSM_KEY_ATTR); /* another key now */
	assert_int_equal(find(rsa_uri, KB_KTY_EC, true, NULL),
			 KB_E_HSM_KEY_ATTR); /* another type, cached */
	assert_int_equal(find(rsa_uri, KB_KTY_OCT, true, NULL),
			 KB_E_HSM_KEY_ATTR); /* the URI says private */
	assert_int_equal(find("pkcs11:object=rsa;type=public", KB_KTY_RSA, true, NULL),
			 KB_E_HSM_KEY_ATTR);
	assert_int_equal(find("pkcs11:object=ec", KB_KTY_RSA, true, NULL),
			 KB_E_HSM_KEY_ATTR); /* another type, found */
	assert_int_equal(find("pkcs11:object=rsa", KB_KTY_EC, true, NULL), KB_E_HSM_KEY_ATTR);
	assert_int_equal(find(signer_uri, KB_KTY_RSA, true, NULL),
			 KB_E_HSM_KEY_ATTR); /* not extractable */
	assert_int_equal(find(signer_uri, KB_KTY_RSA, false, NULL), KB_OK);
	assert_int_equal(find("pkcs11:token=kbtest", KB_KTY_RSA, true, NULL),
			 KB_E_HSM_URI); /* any key */
	assert_int_equal(find("pkcs11:token=other;object=rsa", KB_KTY_RSA, true, NULL),
			 KB_E_HSM_URI);
	assert_int_equal(find("pkcs11:object=rsa?pin-value=1234", KB_KTY_RSA, true, NULL),
			 KB_E_HSM_URI);
	assert_int_equal(find("nonsense", KB_KTY_RSA, true, NULL), KB_E_HSM_URI);
}

/* What is reported is the cause of this failure, not a call that failed before it. */
static void test_c20_fault_is_the_cause(void **state)
{
	static const struct {
		const char *uri;
		enum kb_kty kty;
		enum kb_err err;
		const char *fault;
	} cases[] = {
		{"pkcs11:object=absent", KB_KTY_RSA, KB_E_HSM_KEY_MISSING, "no object matches"},
		{"pkcs11:object=rsa", KB_KTY_EC, KB_E_HSM_KEY_ATTR, "a key of another type"},
		{"pkcs11:object=release-signer", KB_KTY_RSA, KB_E_HSM_KEY_ATTR,
		 "CKA_EXTRACTABLE is false"},
		{"pkcs11:object=rsa;type=public", KB_KTY_RSA, KB_E_HSM_KEY_ATTR,
		 "the URI names an object of another class"},
		{"pkcs11:token=other;object=rsa", KB_KTY_RSA, KB_E_HSM_URI,
		 "the URI names another token"},
		{"pkcs11:token=kbtest", KB_KTY_RSA, KB_E_HSM_URI,
		 "the URI names neither id nor label"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		assert_int_equal(p11_outcome(ks, "C_WrapKey", CKR_DEVICE_ERROR), KB_E_HSM_DEVICE);
		keys_forget(ks);
		assert_int_equal(find(cases[i].uri, cases[i].kty, true, NULL), cases[i].err);
		assert_string_equal(keystore_fault(ks), cases[i].fault);
		assert_string_equal(keystore_fault_object(ks), cases[i].uri);
	}
	assert_int_equal(find(rsa_uri, KB_KTY_RSA, true, NULL), KB_OK);
	assert_string_equal(keystore_fault(ks), "");
	fault_install(ks);
	keys_forget(ks);
	fault_next(FAULT_C_FindObjectsInit, CKR_DEVICE_ERROR, 1);
	assert_int_equal(find(oct_uri, KB_KTY_OCT, true, NULL), KB_E_HSM_DEVICE);
	assert_string_equal(keystore_fault(ks), "C_FindObjectsInit: CKR_DEVICE_ERROR (0x30)");
	assert_string_equal(keystore_fault_object(ks), oct_uri);
	fault_remove(ks);
	assert_int_equal(keystore_alive(ks), KB_OK);
	assert_string_equal(keystore_fault(ks), "");
	assert_string_equal(keystore_fault_object(ks), "");
}

static void test_c10_find_ambiguous_label(void **state)
{
	struct keystore_template twin = {.label = "twin", .kty = KB_KTY_OCT, .size = 16};
	char *a, *b;

	(void)state;
	assert_int_equal(keystore_generate(ks, &twin, &a), KB_OK);
	assert_int_equal(find("pkcs11:object=twin", KB_KTY_OCT, true, NULL), KB_OK);
	assert_int_equal(keystore_generate(ks, &twin, &b), KB_OK);
	keys_forget(ks);
	assert_int_equal(find("pkcs11:object=twin", KB_KTY_OCT, true, NULL),
			 KB_E_HSM_KEY_AMBIGUOUS);
	assert_int_equal(find(a, KB_KTY_OCT, true, NULL), KB_OK);
	assert_int_equal(keystore_destroy(ks, a), KB_OK);
	assert_int_equal(keystore_destroy(ks, b), KB_OK);
	free(a);
	free(b);
}

/* An EC key without its public object: its point is nowhere. */
static void test_c10_find_ec_without_public(void **state)
{
	CK_OBJECT_CLASS class = CKO_PUBLIC_KEY;
	CK_ATTRIBUTE t[] = {{CKA_CLASS, &class, sizeof class}, {CKA_LABEL, "lonely", 6}};
	CK_OBJECT_HANDLE public;
	CK_ULONG n;
	struct keystore_template lonely = {.label = "lonely", .kty = KB_KTY_EC, .crv = KB_CRV_P384};
	char *uri;

	(void)state;
	assert_int_equal(keystore_generate(ks, &lonely, &uri), KB_OK);
	assert_int_equal(ks->p11->C_FindObjectsInit(ks->session, t, 2), CKR_OK);
	assert_int_equal(ks->p11->C_FindObjects(ks->session, &public, 1, &n), CKR_OK);
	assert_int_equal(ks->p11->C_FindObjectsFinal(ks->session), CKR_OK);
	assert_int_equal(n, 1);
	assert_int_equal(ks->p11->C_DestroyObject(ks->session, public), CKR_OK);
	assert_int_equal(find(uri, KB_KTY_EC, true, NULL), KB_E_HSM_KEY_ATTR);
	assert_int_equal(keystore_destroy(ks, uri), KB_OK);
	free(uri);
}

static void test_keystore_find_is_cached(void **state)
{
	(void)state;
	assert_int_equal(find(rsa_uri, KB_KTY_RSA, true, NULL), KB_OK);
	p11_fault.calls[FAULT_C_FindObjectsInit] = 0;
	for (unsigned i = 0; i < 1000; i++)
		assert_int_equal(find(rsa_uri, KB_KTY_RSA, true, NULL), KB_OK);
	assert_int_equal(p11_fault.calls[FAULT_C_FindObjectsInit], 0);
}

static void test_keystore_refind_notices_another_key(void **state)
{
	struct keystore_template t = {.label = "replaced", .kty = KB_KTY_RSA, .size = 2048};
	const struct hsm_key *key;
	char *old, *new;
	CK_OBJECT_HANDLE handle;

	(void)state;
	assert_int_equal(keystore_generate(ks, &t, &old), KB_OK);
	assert_int_equal(keystore_find(ks, "pkcs11:object=replaced", KB_KTY_RSA, true, NULL, &key),
			 KB_OK);
	handle = key->handle;
	assert_int_equal(key_refind(ks, key), KB_OK);
	assert_int_equal(key->handle, handle);
	assert_int_equal(ks->p11->C_DestroyObject(ks->session, key->handle), CKR_OK);
	assert_int_equal(key_refind(ks, key), KB_E_HSM_KEY_MISSING);
	assert_int_equal(keystore_generate(ks, &t, &new), KB_OK);
	assert_int_equal(key_refind(ks, key), KB_E_HSM_KEY_ATTR);
	assert_int_equal(keystore_destroy(ks, old), KB_OK);
	assert_int_equal(keystore_destroy(ks, new), KB_OK);
	free(old);
	free(new);
}

/* Each CKR_ value once from each call that a search makes: recovered when it may be, else its own
 * code. */
static void test_c01_find_matrix(void **state)
{
	static const enum fault_call calls[] = {FAULT_C_FindObjectsInit, FAULT_C_FindObjects,
						FAULT_C_FindObjectsFinal,
						FAULT_C_GetAttributeValue};

	(void)state;
	for (size_t c = 0; c < sizeof calls / sizeof calls[0]; c++)
		for (CK_RV rv = 1; rv <= 0x200; rv++) {
			if (strcmp(ckr_name(rv), "CKR_?") == 0)
				continue;
			keys_forget(ks);
			fault_next(calls[c], rv, 1);
			enum kb_err want = ckr_err(rv);
			if (want == KB_E_HSM_HANDLE && calls[c] == FAULT_C_FindObjectsFinal)
				/* a second fault follows: the search is still open.  Two tries are
				 * all there are. */
				want = KB_E_HSM_SESSION;
			else if (want == KB_E_HSM_SESSION || want == KB_E_HSM_HANDLE)
				want = KB_OK;
			assert_int_equal(find(ec_uri, KB_KTY_EC, true, NULL), want);
			p11_fault.left[calls[c]] = 0;
			assert_int_equal(find(ec_uri, KB_KTY_EC, true, NULL), KB_OK);
		}
}

/* The same at each later call of a search, for each type. */
static void test_c01_find_matrix_later_calls(void **state)
{
	static const enum fault_call calls[] = {FAULT_C_FindObjectsInit, FAULT_C_FindObjects,
						FAULT_C_GetAttributeValue, FAULT_C_GetSessionInfo};
	const struct {
		const char *uri;
		enum kb_kty kty;
	} kinds[] = {{rsa_uri, KB_KTY_RSA}, {ec_uri, KB_KTY_EC}, {oct_uri, KB_KTY_OCT}};

	(void)state;
	for (size_t c = 0; c < sizeof calls / sizeof calls[0]; c++)
		for (size_t k = 0; k < 3; k++)
			for (unsigned skip = 0; skip < 6; skip++) {
				keys_forget(ks);
				fault_next(calls[c], CKR_DEVICE_ERROR, 1);
				p11_fault.skip[calls[c]] = skip;
				enum kb_err err = find(kinds[k].uri, kinds[k].kty, true, NULL);
				assert_int_equal(err, p11_fault.left[calls[c]] == 0
							      ? KB_E_HSM_DEVICE
							      : KB_OK);
				fault_next(calls[c], CKR_OK, 0);
			}
}

/* An attribute of no length, one at a time. */
static CK_ATTRIBUTE_TYPE emptied;
static CK_RV empty_attribute(CK_SESSION_HANDLE s, CK_OBJECT_HANDLE o, CK_ATTRIBUTE_PTR t,
			     CK_ULONG n)
{
	CK_RV rv = p11_fault.real->C_GetAttributeValue(s, o, t, n);

	for (CK_ULONG i = 0; i < n; i++)
		if (t[i].type == emptied)
			t[i].ulValueLen = 0;
	return rv;
}

static void test_c09_find_empty_attributes(void **state)
{
	static const struct {
		CK_ATTRIBUTE_TYPE type;
		enum kb_kty kty;
		enum kb_err want;
	} cases[] = {
		{CKA_KEY_TYPE, KB_KTY_RSA, KB_E_HSM_OUTPUT},
		{CKA_EXTRACTABLE, KB_KTY_RSA, KB_E_HSM_OUTPUT},
		{CKA_MODULUS, KB_KTY_RSA, KB_E_HSM_KEY_ATTR},
		{CKA_PUBLIC_EXPONENT, KB_KTY_RSA, KB_E_HSM_KEY_ATTR},
		{CKA_EC_PARAMS, KB_KTY_EC, KB_E_HSM_KEY_ATTR},
		{CKA_ID, KB_KTY_EC, KB_E_HSM_KEY_ATTR},
		{CKA_EC_POINT, KB_KTY_EC, KB_E_HSM_KEY_ATTR},
		{CKA_VALUE_LEN, KB_KTY_OCT, KB_E_HSM_OUTPUT},
	};

	(void)state;
	p11_fault.list.C_GetAttributeValue = empty_attribute;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		emptied = cases[i].type;
		keys_forget(ks);
		assert_int_equal(find(cases[i].kty == KB_KTY_RSA  ? rsa_uri
				      : cases[i].kty == KB_KTY_EC ? ec_uri
								  : oct_uri,
				      cases[i].kty, true, NULL),
				 cases[i].want);
	}
}

/* A curve that the broker does not support, in the token. */
static void test_c10_find_foreign_curve(void **state)
{
	static uint8_t secp256k1[] = {0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x0a};
	CK_BBOOL yes = CK_TRUE;
	CK_MECHANISM mech = {CKM_EC_KEY_PAIR_GEN, NULL, 0};
	CK_ATTRIBUTE pub[] = {{CKA_TOKEN, &yes, 1},
			      {CKA_ID, "k1", 2},
			      {CKA_EC_PARAMS, secp256k1, sizeof secp256k1}};
	CK_ATTRIBUTE priv[] = {{CKA_TOKEN, &yes, 1},
			       {CKA_ID, "k1", 2},
			       {CKA_PRIVATE, &yes, 1},
			       {CKA_EXTRACTABLE, &yes, 1}};
	CK_OBJECT_HANDLE public, private;

	(void)state;
	assert_int_equal(
		ks->p11->C_GenerateKeyPair(ks->session, &mech, pub, 3, priv, 4, &public, &private),
		CKR_OK);
	assert_int_equal(find("pkcs11:id=k1", KB_KTY_EC, true, NULL), KB_E_HSM_KEY_ATTR);
	assert_int_equal(keystore_destroy(ks, "pkcs11:id=k1"), KB_OK);
}

/* A secret key for an old cipher. */
static void test_c10_find_foreign_secret(void **state)
{
	CK_BBOOL yes = CK_TRUE;
	CK_MECHANISM mech = {CKM_DES3_KEY_GEN, NULL, 0};
	CK_ATTRIBUTE of[] = {{CKA_TOKEN, &yes, 1},
			     {CKA_ID, "d3", 2},
			     {CKA_PRIVATE, &yes, 1},
			     {CKA_EXTRACTABLE, &yes, 1}};
	CK_OBJECT_HANDLE key;

	(void)state;
	assert_int_equal(ks->p11->C_GenerateKey(ks->session, &mech, of, 4, &key), CKR_OK);
	assert_int_equal(find("pkcs11:id=d3", KB_KTY_OCT, true, NULL), KB_E_HSM_KEY_ATTR);
	assert_int_equal(ks->p11->C_DestroyObject(ks->session, key), CKR_OK);
}

static void test_keystore_find_gives_up_after_two(void **state)
{
	(void)state;
	keys_forget(ks);
	fault_next(FAULT_C_FindObjectsInit, CKR_SESSION_HANDLE_INVALID, 100);
	assert_int_equal(find(rsa_uri, KB_KTY_RSA, true, NULL), KB_E_HSM_SESSION);
	assert_int_equal(p11_fault.calls[FAULT_C_FindObjectsInit], KB_HSM_ATTEMPTS);
	p11_fault.left[FAULT_C_FindObjectsInit] = 0;
}

/* ---- session and login ---- */

static void test_c02_session_lost_is_reopened(void **state)
{
	(void)state;
	keys_forget(ks);
	assert_int_equal(p11_fault.real->C_CloseAllSessions(ks->slot), CKR_OK);
	assert_int_equal(find(rsa_uri, KB_KTY_RSA, true, NULL), KB_OK);
	assert_int_equal(p11_fault.calls[FAULT_C_OpenSession], 1);
	assert_int_equal(p11_fault.calls[FAULT_C_Login], 1);
	assert_int_equal(p11_fault.real->C_CloseAllSessions(ks->slot), CKR_OK);
	assert_int_equal(keystore_alive(ks), KB_OK);
	assert_int_equal(p11_fault.calls[FAULT_C_OpenSession], 2);
}

static void test_keystore_logout_is_noticed(void **state)
{
	(void)state;
	assert_int_equal(p11_fault.real->C_Logout(ks->session), CKR_OK);
	assert_int_equal(session_check(ks), KB_E_HSM_SESSION);
	assert_int_equal(keystore_alive(ks), KB_OK);
	assert_int_equal(p11_fault.calls[FAULT_C_Login], 1);
}

static void test_c04_pin_refused_once_is_final(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 5; i++) {
		assert_int_equal(p11_fault.real->C_CloseAllSessions(ks->slot), CKR_OK);
		keys_forget(ks);
		if (i == 0)
			fault_next(FAULT_C_Login, CKR_PIN_INCORRECT, 100);
		assert_int_equal(find(rsa_uri, KB_KTY_RSA, true, NULL), KB_E_HSM_PIN);
		assert_int_equal(keystore_alive(ks), KB_E_HSM_PIN);
		assert_int_equal(p11_fault.calls[FAULT_C_Login], 1);
	}
}

static bool is_refused(const void *ctx)
{
	return *(const bool *)ctx;
}

/* A PIN refused to one worker counts for all: the others, whose sessions are lost later, do not
 * spend the token's tries. */
static void test_c04_pin_refused_to_another_is_not_tried(void **state)
{
	_Atomic uint32_t refused = 0;
	_Atomic int64_t since = 0;
	bool is_refused_to_another = false;

	(void)state;
	ks->pin_refused = &refused;
	ks->is_pin_refused = is_refused;
	ks->ctx = &is_refused_to_another;
	ks->call_since_ms = &since;
	assert_int_equal(p11_fault.real->C_CloseAllSessions(ks->slot), CKR_OK);
	assert_int_equal(keystore_alive(ks), KB_OK);
	assert_int_equal(atomic_load(&since), 0); /* no call runs */
	is_refused_to_another = true;
	unsigned before = p11_fault.calls[FAULT_C_Login];
	assert_int_equal(p11_fault.real->C_CloseAllSessions(ks->slot), CKR_OK);
	assert_int_equal(keystore_alive(ks), KB_E_HSM_PIN);
	assert_int_equal(p11_fault.calls[FAULT_C_Login], before);
	/* and the refused worker records it */
	ks->login_err = KB_OK;
	is_refused_to_another = false;
	assert_int_equal(atomic_load(&refused), 0);
	fault_next(FAULT_C_Login, CKR_PIN_INCORRECT, 1);
	assert_int_equal(keystore_alive(ks), KB_E_HSM_PIN);
	assert_int_equal(atomic_load(&refused), 1);
	ks->pin_refused = NULL;
	ks->is_pin_refused = NULL;
	ks->call_since_ms = NULL;
}

static void test_keystore_login_by_another_session(void **state)
{
	(void)state;
	assert_int_equal(p11_fault.real->C_CloseAllSessions(ks->slot), CKR_OK);
	fault_next(FAULT_C_Login, CKR_USER_ALREADY_LOGGED_IN,
		   1); /* no failure; whether it is true is asked again */
	assert_int_equal(keystore_alive(ks), KB_E_HSM_SESSION);
	assert_int_equal(ks->login_err, KB_OK);
	assert_int_equal(keystore_alive(ks), KB_OK);
}

/* What fails on the way to a login is no refused PIN: it may be tried again. */
static void test_keystore_faults_before_login(void **state)
{
	static const enum fault_call calls[] = {FAULT_C_GetTokenInfo, FAULT_C_GetSessionInfo,
						FAULT_C_OpenSession};

	(void)state;
	for (size_t c = 0; c < 3; c++) {
		assert_int_equal(p11_fault.real->C_CloseAllSessions(ks->slot), CKR_OK);
		fault_next(calls[c], CKR_DEVICE_ERROR, 1);
		p11_fault.skip[calls[c]] =
			calls[c] == FAULT_C_OpenSession
				? 0
				: 1; /* the first is the look that finds the session gone */
		assert_int_equal(keystore_alive(ks), KB_E_HSM_DEVICE);
		assert_int_equal(ks->login_err, KB_OK);
		assert_int_equal(keystore_alive(ks), KB_OK);
	}
}

static CK_FLAGS extra_flags;
static CK_RV token_info_flags(CK_SLOT_ID slot, CK_TOKEN_INFO_PTR info)
{
	CK_RV rv = p11_fault.real->C_GetTokenInfo(slot, info);

	info->flags |= extra_flags;
	return rv;
}

static void test_c05_pin_locked_is_not_tried(void **state)
{
	static const CK_FLAGS flags[] = {CKF_USER_PIN_LOCKED, CKF_USER_PIN_FINAL_TRY};

	(void)state;
	p11_fault.list.C_GetTokenInfo = token_info_flags;
	for (size_t i = 0; i < 2; i++) {
		extra_flags = flags[i];
		ks->login_err = KB_OK;
		assert_int_equal(p11_fault.real->C_CloseAllSessions(ks->slot), CKR_OK);
		assert_int_equal(keystore_alive(ks), KB_E_HSM_PIN);
		assert_int_equal(p11_fault.calls[FAULT_C_Login], 0);
	}
}

static void test_c03_device_error(void **state)
{
	(void)state;
	fault_next(FAULT_C_GetTokenInfo, CKR_DEVICE_REMOVED, 1);
	assert_int_equal(keystore_alive(ks), KB_E_HSM_TOKEN);
	fault_next(FAULT_C_GetSessionInfo, CKR_DEVICE_ERROR, 1);
	assert_int_equal(keystore_alive(ks), KB_E_HSM_DEVICE);
	assert_string_equal(keystore_fault(ks), "C_GetSessionInfo: CKR_DEVICE_ERROR (0x30)");
	assert_int_equal(keystore_alive(ks), KB_OK);
	fault_next(FAULT_C_OpenSession, CKR_DEVICE_ERROR, 1);
	assert_int_equal(p11_fault.real->C_CloseAllSessions(ks->slot), CKR_OK);
	assert_int_equal(keystore_alive(ks), KB_E_HSM_DEVICE);
	assert_int_equal(keystore_alive(ks), KB_OK);
}

static CK_RV other_token(CK_SLOT_ID slot, CK_TOKEN_INFO_PTR info)
{
	CK_RV rv = p11_fault.real->C_GetTokenInfo(slot, info);

	memset(info->serialNumber, '7', sizeof info->serialNumber);
	return rv;
}

static void test_keystore_another_token_in_the_slot(void **state)
{
	(void)state;
	p11_fault.list.C_GetTokenInfo = other_token;
	assert_int_equal(keystore_alive(ks), KB_E_HSM_TOKEN);
	assert_string_equal(keystore_fault(ks), "another token is in the slot");
}

static void test_c12_child_may_not_use_it(void **state)
{
	int status;

	(void)state;
	pid_t child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		const struct hsm_key *key;
		char *uri;
		bool good = keystore_find(ks, rsa_uri, KB_KTY_RSA, true, NULL, &key) == KB_E_BUG &&
			    keystore_alive(ks) == KB_E_BUG &&
			    keystore_generate(ks, &oct_template, &uri) == KB_E_BUG &&
			    keystore_destroy(ks, rsa_uri) == KB_E_BUG;
		_exit(good ? 0 : 1);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	assert_int_equal(keystore_alive(ks), KB_OK);
}

/* ---- create ---- */

static void test_keystore_generate_all(void **state)
{
	static const struct keystore_template all[] = {
		{.label = "a", .kty = KB_KTY_RSA, .size = 3072},
		{.label = "a", .kty = KB_KTY_EC, .crv = KB_CRV_P384},
		{.label = "a", .kty = KB_KTY_EC, .crv = KB_CRV_P521},
		{.label = NULL, .kty = KB_KTY_OCT, .size = KB_MIN_OCT},
		{.label = "a", .kty = KB_KTY_OCT, .size = KB_MAX_OCT},
	};

	(void)state;
	for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
		const struct hsm_key *key;
		bool sensitive, sign;
		char *uri;
		assert_int_equal(keystore_generate(ks, &all[i], &uri), KB_OK);
		assert_int_equal(keystore_find(ks, uri, all[i].kty, true, NULL, &key), KB_OK);
		const struct hsm_public *p = keystore_public(key);
		assert_int_equal(p->crv, all[i].crv);
		assert_int_equal(p->oct_len, all[i].kty == KB_KTY_OCT ? all[i].size : 0);
		assert_int_equal(p->n_len * 8, all[i].kty == KB_KTY_RSA ? all[i].size : 0);
		assert_int_equal(attr_bool(ks, key->handle, CKA_SENSITIVE, &sensitive), KB_OK);
		assert_int_equal(attr_bool(ks, key->handle, CKA_SIGN, &sign), KB_OK);
		assert_true(sensitive);
		assert_false(sign);
		assert_int_equal(keystore_destroy(ks, uri), KB_OK);
		assert_int_equal(find(uri, all[i].kty, true, NULL),
				 KB_E_HSM_KEY_MISSING); /* the cache forgot it, too */
		assert_int_equal(keystore_destroy(ks, uri), KB_E_HSM_KEY_MISSING);
		free(uri);
	}
}

static void test_keystore_generate_refuses(void **state)
{
	static const struct keystore_template bad[] = {
		{.label = "a", .kty = KB_KTY_RSA, .size = KB_RSA_MIN_BITS - 8},
		{.label = "a", .kty = KB_KTY_RSA, .size = KB_RSA_MAX_BITS + 8},
		{.label = "a", .kty = KB_KTY_RSA, .size = 2049},
		{.label = "a", .kty = KB_KTY_EC, .crv = KB_CRV_NONE},
		{.label = "a", .kty = KB_KTY_OCT, .size = KB_MIN_OCT - 1},
		{.label = "a", .kty = KB_KTY_OCT, .size = KB_MAX_OCT + 1},
		{.label = "a", .kty = KB_KTY_OCT, .size = KB_MAX_OCT * 10},
		{.label = "a", .kty = KB_KTY_EC, .crv = KB_CRV_P256, .is_signer = true},
	};
	char *uri;

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		assert_int_equal(keystore_generate(ks, &bad[i], &uri), KB_E_HSM_KEY_ATTR);
		assert_null(uri);
	}
}

static struct secret *pkcs8(EVP_PKEY *key)
{
	PKCS8_PRIV_KEY_INFO *info = EVP_PKEY2PKCS8(key);
	int len = i2d_PKCS8_PRIV_KEY_INFO(info, NULL);
	struct secret *s = secret_new((size_t)len);
	unsigned char *at = secret_bytes(s);

	assert_int_equal(i2d_PKCS8_PRIV_KEY_INFO(info, &at), len);
	PKCS8_PRIV_KEY_INFO_free(info);
	return s;
}

static void test_keystore_import(void **state)
{
	static const struct {
		const char *group;
		enum kb_crv crv;
	} kinds[] = {{NULL, KB_CRV_NONE},
		     {"P-256", KB_CRV_P256},
		     {"P-384", KB_CRV_P384},
		     {"P-521", KB_CRV_P521}};

	(void)state;
	for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
		EVP_PKEY *key = kinds[i].group == NULL
					? rsa_key(2048)
					: EVP_PKEY_Q_keygen(NULL, NULL, "EC", kinds[i].group);
		struct keystore_template t = {.label = "imported",
					      .kty = kinds[i].group == NULL ? KB_KTY_RSA
									    : KB_KTY_EC};
		struct secret *plain = pkcs8(key);
		struct hsm_public want;
		char *uri;
		assert_int_equal(public_of_evp(key, &want), KB_OK);
		assert_int_equal(want.crv, kinds[i].crv);
		assert_int_equal(keystore_import(ks, &t, plain, &uri), KB_OK);
		assert_int_equal(find(uri, t.kty, true, want.fingerprint), KB_OK);
		assert_int_equal(keystore_destroy(ks, uri), KB_OK);
		free(uri);
		t.kty = t.kty == KB_KTY_RSA ? KB_KTY_EC
					    : KB_KTY_RSA; /* not what it is said to be */
		assert_int_equal(keystore_import(ks, &t, plain, &uri), KB_E_HSM_KEY_ATTR);
		assert_null(uri);
		secret_free(plain);
		EVP_PKEY_free(key);
	}
}

static void test_keystore_import_oct(void **state)
{
	struct keystore_template t = {.label = "imported", .kty = KB_KTY_OCT};
	struct secret *plain;
	const struct hsm_key *key;
	char *uri;

	(void)state;
	assert_int_equal(secret_random(20, &plain), KB_OK);
	assert_int_equal(keystore_import(ks, &t, plain, &uri), KB_OK);
	assert_int_equal(keystore_find(ks, uri, KB_KTY_OCT, true, NULL, &key), KB_OK);
	assert_int_equal(keystore_public(key)->oct_len, 20);
	assert_int_equal(keystore_destroy(ks, uri), KB_OK);
	free(uri);
	secret_trim(plain, KB_MIN_OCT - 1);
	assert_int_equal(keystore_import(ks, &t, plain, &uri), KB_E_HSM_KEY_ATTR);
	secret_free(plain);
}

static void test_keystore_import_refuses(void **state)
{
	struct keystore_template t = {.label = "imported", .kty = KB_KTY_RSA};
	EVP_PKEY *small = rsa_key(1024), *ed = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	EVP_PKEY *k1 = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "secp256k1"),
		 *good = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
	struct secret *plain[] = {pkcs8(small), pkcs8(ed), pkcs8(k1)};
	char *uri;

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		t.kty = i == 0 ? KB_KTY_RSA : KB_KTY_EC;
		assert_int_equal(keystore_import(ks, &t, plain[i], &uri), KB_E_HSM_KEY_ATTR);
		assert_null(uri);
		secret_free(plain[i]);
	}
	/* one byte behind it, one byte short, no DER at all, a private number that is not the
	 * public key's */
	struct secret *ec = pkcs8(good), *longer = secret_new(secret_len(ec) + 1);
	t.kty = KB_KTY_EC;
	memcpy(secret_bytes(longer), secret_bytes(ec), secret_len(ec));
	assert_int_equal(keystore_import(ks, &t, longer, &uri), KB_E_HSM_KEY_ATTR);
	secret_bytes(ec)[40] ^= 1;
	assert_int_equal(keystore_import(ks, &t, ec, &uri), KB_E_HSM_KEY_ATTR);
	secret_trim(ec, secret_len(ec) - 1);
	assert_int_equal(keystore_import(ks, &t, ec, &uri), KB_E_HSM_KEY_ATTR);
	memset(secret_bytes(ec), 0, secret_len(ec));
	assert_int_equal(keystore_import(ks, &t, ec, &uri), KB_E_HSM_KEY_ATTR);
	secret_free(ec);
	secret_free(longer);
	EVP_PKEY_free(small);
	EVP_PKEY_free(ed);
	EVP_PKEY_free(k1);
	EVP_PKEY_free(good);
}

static CK_ULONG count_labelled(const char *label)
{
	CK_ATTRIBUTE t = {CKA_LABEL, (void *)label, strlen(label)};
	CK_OBJECT_HANDLE hit[8];
	CK_ULONG n = 0;

	assert_int_equal(ks->p11->C_FindObjectsInit(ks->session, &t, 1), CKR_OK);
	assert_int_equal(ks->p11->C_FindObjects(ks->session, hit, 8, &n), CKR_OK);
	assert_int_equal(ks->p11->C_FindObjectsFinal(ks->session), CKR_OK);
	return n;
}

static void test_keystore_import_leaves_no_half_key(void **state)
{
	struct keystore_template t = {.label = "half", .kty = KB_KTY_EC};
	EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
	struct secret *plain = pkcs8(key);
	char *uri;

	(void)state;
	/* the private object, then the public one */
	for (unsigned good = 0; good <= 1; good++) {
		fault_next(FAULT_C_CreateObject, CKR_DEVICE_MEMORY, 1);
		p11_fault.skip[FAULT_C_CreateObject] = good;
		assert_int_equal(keystore_import(ks, &t, plain, &uri), KB_E_HSM_MEMORY);
		assert_null(uri);
		assert_int_equal(count_labelled("half"), 0);
	}
	/* read back: the same */
	fault_next(FAULT_C_GetAttributeValue, CKR_DEVICE_MEMORY, 1);
	assert_int_equal(keystore_import(ks, &t, plain, &uri), KB_E_HSM_MEMORY);
	assert_int_equal(count_labelled("half"), 0);
	secret_free(plain);
	EVP_PKEY_free(key);
}

static void test_keystore_destroy_refuses(void **state)
{
	(void)state;
	assert_int_equal(keystore_destroy(ks, "pkcs11:object=rsa"),
			 KB_E_HSM_URI); /* a label is not enough */
	assert_int_equal(keystore_destroy(ks, "pkcs11:token=other;id=%01"), KB_E_HSM_URI);
	assert_int_equal(keystore_destroy(ks, "rsa"), KB_E_HSM_URI);
	fault_next(FAULT_C_FindObjectsInit, CKR_DEVICE_ERROR, 1);
	assert_int_equal(keystore_destroy(ks, rsa_uri), KB_E_HSM_DEVICE);
	fault_next(FAULT_C_FindObjects, CKR_DEVICE_ERROR, 1);
	assert_int_equal(keystore_destroy(ks, rsa_uri), KB_E_HSM_DEVICE);
	fault_next(FAULT_C_DestroyObject, CKR_ACTION_PROHIBITED, 1);
	assert_int_equal(keystore_destroy(ks, rsa_uri), KB_E_HSM_KEY_ATTR);
	fault_next(FAULT_C_FindObjectsFinal, CKR_DEVICE_ERROR, 1);
	assert_int_equal(keystore_destroy(ks, rsa_uri), KB_E_HSM_DEVICE);
	assert_int_equal(p11_fault.real->C_CloseAllSessions(ks->slot),
			 CKR_OK); /* ends the search left open */
	assert_int_equal(keystore_alive(ks), KB_OK);
	assert_int_equal(find(rsa_uri, KB_KTY_RSA, true, NULL), KB_OK);
}

/* ---- public parts ---- */

/* RFC 7638 §3.1's own example. */
static void test_public_thumbprint_rfc7638(void **state)
{
	static const char n[] =
		"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6"
		"tSoc_BJECPebWKRXjBZCiFV4n3oknjhMs"
		"tn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_"
		"FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbI"
		"SD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-"
		"kEgU8awapJzKnqDKgw";
	struct hsm_public p;
	KB_AUTO(buf) struct buf bytes, text;

	(void)state;
	buf_init(&bytes, 512);
	buf_init(&text, 64);
	assert_int_equal(b64url_decode(span_str(n), &bytes), KB_OK);
	assert_int_equal(public_rsa(buf_span(&bytes), span_of("\1\0\1", 3), &p), KB_OK);
	b64url_encode(&text, span_of(p.fingerprint, 32));
	assert_true(span_eq_cstr(buf_span(&text), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"));
}

static void test_public_refuses_rsa(void **state)
{
	uint8_t n[KB_RSA_MAX_BITS / 8 + 1];
	struct hsm_public p;
	const struct span e = span_of("\1\0\1", 3);

	(void)state;
	memset(n, 0xff, sizeof n);
	assert_int_equal(public_rsa(span_of(n, 512), e, &p), KB_OK);
	assert_int_equal(public_rsa(span_of(n, 513), e, &p), KB_E_HSM_KEY_ATTR);
	assert_int_equal(public_rsa(span_of(n, 255), e, &p), KB_E_HSM_KEY_ATTR);
	assert_int_equal(public_rsa(span_of(n, 0), e, &p), KB_E_HSM_KEY_ATTR);
	assert_int_equal(public_rsa(span_of(n, 256), span_of("\2", 1), &p), KB_E_HSM_KEY_ATTR);
	assert_int_equal(public_rsa(span_of(n, 256), span_of("\0", 1), &p), KB_E_HSM_KEY_ATTR);
	assert_int_equal(public_rsa(span_of(n, 256), span_of("\1\0\0\0\1", 5), &p),
			 KB_E_HSM_KEY_ATTR);
	n[255] = 0xfe;
	assert_int_equal(public_rsa(span_of(n, 256), e, &p), KB_E_HSM_KEY_ATTR); /* even */
	n[255] = 0xff;
	n[0] = 0x7f;
	assert_int_equal(public_rsa(span_of(n, 256), e, &p), KB_E_HSM_KEY_ATTR); /* 2047 bits */
}

static void test_public_ec_points(void **state)
{
	static const enum kb_crv all[] = {KB_CRV_P256, KB_CRV_P384, KB_CRV_P521};
	struct hsm_public p, q;
	uint8_t point[3 + 133 + 1];

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		const struct curve *c = curve_of(all[i]);
		EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "EC", c->name);
		assert_int_equal(public_of_evp(key, &p), KB_OK);
		size_t w = c->bytes, head = 1 + 2 * w < 0x80 ? 2 : 3;
		uint8_t *bare = point + head;
		point[0] = 0x04;
		point[1] = 0x81;
		point[head - 1] = (uint8_t)(1 + 2 * w);
		bare[0] = 0x04;
		memcpy(bare + 1, p.x, w);
		memcpy(bare + 1 + w, p.y, w);
		assert_int_equal(public_ec(c, span_of(point, head + 1 + 2 * w), &q),
				 KB_OK); /* DER */
		assert_true(public_eq(&p, &q));
		assert_int_equal(public_ec(c, span_of(bare, 1 + 2 * w), &q), KB_OK); /* bare */
		assert_true(public_eq(&p, &q));
		assert_int_equal(public_ec(c, span_of(point, head + 2 * w), &q), KB_E_HSM_KEY_ATTR);
		assert_int_equal(public_ec(c, span_of(point, head + 2 + 2 * w), &q),
				 KB_E_HSM_KEY_ATTR);
		assert_int_equal(public_ec(c, span_of(point, 0), &q), KB_E_HSM_KEY_ATTR);
		bare[2 * w] ^= 1; /* off the curve */
		assert_int_equal(public_ec(c, span_of(bare, 1 + 2 * w), &q), KB_E_HSM_KEY_ATTR);
		bare[2 * w] ^= 1;
		bare[0] = 0x03;
		assert_int_equal(public_ec(c, span_of(bare, 1 + 2 * w), &q), KB_E_HSM_KEY_ATTR);
		point[0] = 0x03;
		assert_int_equal(public_ec(c, span_of(point, head + 1 + 2 * w), &q),
				 KB_E_HSM_KEY_ATTR);
		EVP_PKEY_free(key);
	}
	assert_null(curve_of(KB_CRV_NONE));
	assert_null(curve_by_oid(span_of("\x06\x05\x2b\x81\x04\x00\x0a", 7))); /* secp256k1 */
	assert_string_equal(crv_name(KB_CRV_P521), "P-521");
	assert_string_equal(crv_name(KB_CRV_NONE), "");
	assert_string_equal(kty_name(KB_KTY_OCT), "oct");
	assert_string_equal(kty_name(KB_KTY_RSA), "RSA");
	assert_string_equal(kty_name(KB_KTY_EC), "EC");
}

/* Last: SoftHSM does not recover from it within the process. */
static void test_c15_token_directory_gone(void **state)
{
	char from[128], to[128];

	(void)state;
	snprintf(from, sizeof from, "%s/tokens", hsm.dir);
	snprintf(to, sizeof to, "%s/elsewhere", hsm.dir);
	keys_forget(ks);
	assert_int_equal(rename(from, to), 0);
	enum kb_err err = find("pkcs11:object=absent", KB_KTY_RSA, true, NULL);
	assert_int_equal(rename(to, from), 0);
	assert_int_equal(err, KB_E_HSM_TOKEN); /* and not "no such key" */
}

#define WITH_FAULTS(t)  cmocka_unit_test_setup_teardown(t, faults_on, faults_off)
#define WITH_NOTHING(t) cmocka_unit_test_setup_teardown(t, closed, opened)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_NOTHING(test_keystore_open_faults),
		WITH_NOTHING(test_keystore_open_ambiguous_token),
		WITH_NOTHING(test_keystore_without_pin_sees_no_private_key),
		WITH_NOTHING(test_keystore_read_only_creates_nothing),
		cmocka_unit_test(test_keystore_find_describes),
		cmocka_unit_test(test_c10_find_refuses),
		cmocka_unit_test(test_c20_fault_is_the_cause),
		cmocka_unit_test(test_c10_find_ambiguous_label),
		cmocka_unit_test(test_c10_find_ec_without_public),
		WITH_FAULTS(test_keystore_find_is_cached),
		cmocka_unit_test(test_keystore_refind_notices_another_key),
		WITH_FAULTS(test_c01_find_matrix),
		WITH_FAULTS(test_c01_find_matrix_later_calls),
		WITH_FAULTS(test_c09_find_empty_attributes),
		cmocka_unit_test(test_c10_find_foreign_curve),
		cmocka_unit_test(test_c10_find_foreign_secret),
		WITH_FAULTS(test_keystore_find_gives_up_after_two),
		WITH_FAULTS(test_c02_session_lost_is_reopened),
		WITH_FAULTS(test_keystore_logout_is_noticed),
		WITH_FAULTS(test_c04_pin_refused_once_is_final),
		WITH_FAULTS(test_c04_pin_refused_to_another_is_not_tried),
		WITH_FAULTS(test_keystore_login_by_another_session),
		WITH_FAULTS(test_keystore_faults_before_login),
		WITH_FAULTS(test_c05_pin_locked_is_not_tried),
		WITH_FAULTS(test_c03_device_error),
		WITH_FAULTS(test_keystore_another_token_in_the_slot),
		cmocka_unit_test(test_c12_child_may_not_use_it),
		cmocka_unit_test(test_keystore_generate_all),
		cmocka_unit_test(test_keystore_generate_refuses),
		cmocka_unit_test(test_keystore_import),
		cmocka_unit_test(test_keystore_import_oct),
		cmocka_unit_test(test_keystore_import_refuses),
		WITH_FAULTS(test_keystore_import_leaves_no_half_key),
		WITH_FAULTS(test_keystore_destroy_refuses),
		cmocka_unit_test(test_public_thumbprint_rfc7638),
		cmocka_unit_test(test_public_refuses_rsa),
		cmocka_unit_test(test_public_ec_points),
		cmocka_unit_test(test_c15_token_directory_gone),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
