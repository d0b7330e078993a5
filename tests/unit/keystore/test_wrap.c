/* tests/unit/keystore/test_wrap.c — the only way a key leaves: every blob is unwrapped strictly, as
 * a client does, and compared byte for byte. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "keystore/engine.h"
#include "keystore/kwp.h"
#include "keystore/pkcs8.h"
#include "keystore/public.h"
#include "policy/grant.h"
#include "tests/unit/p11_fault.h"
#include "tests/unit/rsa_key.h"
#include "tests/unit/short_memory.h"
#include "tests/unit/softhsm.h"

/* The real one is made by decide() alone; here is what the keystore reads of it. */
struct grant {
	struct span name, version;
	struct wrapping_key kek;
};
struct span grant_key_name(const struct grant *g)
{
	return g->name;
}
struct span grant_key_version(const struct grant *g)
{
	return g->version;
}
const struct wrapping_key *grant_kek(const struct grant *g)
{
	return &g->kek;
}

static struct grant grant_to(enum kek_kind kind, EVP_PKEY *key)
{
	return (struct grant){span_str("name"), span_str("version"), {.kind = kind, .evp = key}};
}

enum { KEYS = 6 };

static struct softhsm hsm;
static struct keystore *ks;
static EVP_PKEY *kek;
static struct grant grant;
static struct wrap_plan softhsm_plan;
static struct {
	enum kb_kty kty;
	const char *group;
	struct secret *plain; /* what a client must get */
	char *uri;
	const struct hsm_key *key;
} keys[KEYS] = {
	{.kty = KB_KTY_RSA},
	{.kty = KB_KTY_EC, .group = "P-256"},
	{.kty = KB_KTY_EC, .group = "P-384"},
	{.kty = KB_KTY_EC, .group = "P-521"},
	{.kty = KB_KTY_OCT},
	{.kty = KB_KTY_OCT},
};

static struct secret *pkcs8(EVP_PKEY *key)
{
	PKCS8_PRIV_KEY_INFO *info = EVP_PKEY2PKCS8(key);
	struct secret *s = secret_new((size_t)i2d_PKCS8_PRIV_KEY_INFO(info, NULL));
	unsigned char *at = secret_bytes(s);

	assert_int_equal(i2d_PKCS8_PRIV_KEY_INFO(info, &at), secret_len(s));
	PKCS8_PRIV_KEY_INFO_free(info);
	return s;
}

static void key_make(size_t i)
{
	struct keystore_template t = {.label = "test", .kty = keys[i].kty};

	if (keys[i].kty == KB_KTY_OCT) {
		assert_int_equal(secret_random(i == KEYS - 1 ? 64 : 20, &keys[i].plain), KB_OK);
		secret_bytes(keys[i].plain)[secret_len(keys[i].plain) - 1] =
			0; /* a key may end in zeros */
	} else {
		EVP_PKEY *key = keys[i].kty == KB_KTY_RSA
					? rsa_key(2048)
					: EVP_PKEY_Q_keygen(NULL, NULL, "EC", keys[i].group);
		keys[i].plain = pkcs8(key);
		EVP_PKEY_free(key);
	}
	assert_int_equal(keystore_import(ks, &t, keys[i].plain, &keys[i].uri), KB_OK);
}

static void keys_find(void)
{
	for (size_t i = 0; i < KEYS; i++)
		assert_int_equal(
			keystore_find(ks, keys[i].uri, keys[i].kty, true, NULL, &keys[i].key),
			KB_OK);
}

static int setup(void **state)
{
	(void)state;
	if (!softhsm_start(&hsm) || softhsm_open(&ks) != KB_OK)
		return -1;
	kek = rsa_key(2048);
	grant = grant_to(KEK_RSA, kek);
	for (size_t i = 0; i < KEYS; i++)
		key_make(i);
	keys_find();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	keystore_close(ks);
	for (size_t i = 0; i < KEYS; i++) {
		secret_free(keys[i].plain);
		free(keys[i].uri);
	}
	EVP_PKEY_free(kek);
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
	ks->plan = softhsm_plan;
	if (keystore_alive(ks) != KB_OK)
		return -1;
	keys_forget(ks);
	keys_find();
	return 0;
}

/* ---- the client's side ---- */

static enum kb_err oaep_decrypt(EVP_PKEY *key, const char *digest, struct span label,
				struct span in, uint8_t *out, size_t *len)
{
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_ASYM_CIPHER_PARAM_PAD_MODE,
						 (char *)OSSL_PKEY_RSA_PAD_MODE_OAEP, 0),
		OSSL_PARAM_construct_utf8_string(OSSL_ASYM_CIPHER_PARAM_OAEP_DIGEST, (char *)digest,
						 0),
		OSSL_PARAM_construct_utf8_string(OSSL_ASYM_CIPHER_PARAM_MGF1_DIGEST, (char *)digest,
						 0),
		OSSL_PARAM_construct_octet_string(OSSL_ASYM_CIPHER_PARAM_OAEP_LABEL,
						  (void *)label.p, label.len),
		OSSL_PARAM_construct_end(),
	};
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, key, NULL);
	bool good = EVP_PKEY_decrypt_init_ex(ctx, params) == 1 &&
		    EVP_PKEY_decrypt(ctx, out, len, in.p, in.len) == 1;

	EVP_PKEY_CTX_free(ctx);
	return good ? KB_OK : KB_E_WRAP;
}

static void assert_unwraps(struct span blob, EVP_PKEY *key, const struct wrap_scheme *scheme,
			   const struct secret *want)
{
	static const char *const digest[WRAP_SCHEMES] = {"SHA1", "SHA256", "SHA384"};
	uint8_t aes[512], plain[KB_MAX_SECRET];
	size_t modulus = (size_t)EVP_PKEY_get_size(key), aes_len = sizeof aes, len;

	assert_int_equal(blob.len, modulus + kwp_wrapped_len(secret_len(want)));
	assert_int_equal(oaep_decrypt(key, digest[scheme - schemes], span_of("", 0),
				      span_sub(blob, 0, modulus), aes, &aes_len),
			 KB_OK);
	assert_int_equal(aes_len, 32);
	assert_int_equal(
		kwp_unwrap(aes, span_sub(blob, modulus, blob.len), plain, sizeof plain, &len),
		KB_OK);
	assert_true(secret_equal_span(want, span_of(plain, len)));
}

static size_t unhex(const char *text, uint8_t *out)
{
	size_t n = strlen(text) / 2;

	for (size_t i = 0; i < n; i++) {
		unsigned byte;
		assert_int_equal(sscanf(text + 2 * i, "%2x", &byte), 1);
		out[i] = (uint8_t)byte;
	}
	return n;
}

/* The client above is right: it takes what Wycheproof says is valid and nothing else. */
static void test_a33_wycheproof_rsa_oaep(void **state)
{
	static const struct {
		const char *file, *digest;
		unsigned valid, invalid;
	} sets[] = {{"tests/vectors/wycheproof/rsa_oaep_sha1.json", "SHA1", 17, 19},
		    {"tests/vectors/wycheproof/rsa_oaep_sha256.json", "SHA256", 18, 19},
		    {"tests/vectors/wycheproof/rsa_oaep_sha384.json", "SHA384", 16, 18}};
	static uint8_t der[2048], ct[4096], msg[4096], label[4096], out[4096];

	(void)state;
	for (size_t s = 0; s < sizeof sets / sizeof sets[0]; s++) {
		json_t *doc = json_load_file(sets[s].file, JSON_REJECT_DUPLICATES, NULL), *group,
		       *t;
		unsigned valid = 0, invalid = 0;
		size_t g, i;
		assert_non_null(doc);
		json_array_foreach(json_object_get(doc, "testGroups"), g, group)
		{
			const unsigned char *at = der;
			size_t der_len = unhex(
				json_string_value(json_object_get(group, "privateKeyPkcs8")), der);
			EVP_PKEY *key = d2i_AutoPrivateKey(NULL, &at, (long)der_len);
			assert_non_null(key);
			json_array_foreach(json_object_get(group, "tests"), i, t)
			{
				size_t ct_len =
					unhex(json_string_value(json_object_get(t, "ct")), ct);
				size_t msg_len =
					unhex(json_string_value(json_object_get(t, "msg")), msg);
				size_t label_len = unhex(
					json_string_value(json_object_get(t, "label")), label);
				size_t len = sizeof out;
				bool good =
					oaep_decrypt(key, sets[s].digest, span_of(label, label_len),
						     span_of(ct, ct_len), out, &len) == KB_OK;
				bool want = strcmp(json_string_value(json_object_get(t, "result")),
						   "valid") == 0;
				assert_int_equal(good, want);
				if (good)
					assert_true(
						span_eq(span_of(out, len), span_of(msg, msg_len)));
				valid += want;
				invalid += !want;
			}
			EVP_PKEY_free(key);
		}
		json_decref(doc);
		assert_int_equal(valid, sets[s].valid);
		assert_int_equal(invalid, sets[s].invalid);
	}
}

/* ---- before the proof, and the proof ---- */

static enum kb_err wrap_with(const struct hsm_key *key, const struct grant *g,
			     const struct wrap_scheme *scheme, struct buf *b)
{
	return keystore_wrap(ks, key, g, span_str("name"), span_str("version"), scheme, b);
}

static void test_wrap_refused_before_self_test(void **state)
{
	KB_AUTO(buf) struct buf b;
	buf_init(&b, 8192);

	(void)state;
	assert_int_equal(wrap_with(keys[0].key, &grant, &schemes[1], &b), KB_E_HSM_MECHANISM);
	assert_int_equal(b.len, 0);
}

/* SoftHSM 2.6.1 pads before RFC 5649. When this fails after an upgrade, the module may have become
 * exact. */
static void test_self_test_softhsm_needs_worker(void **state)
{
	clock_t from = clock(); /* the CPU's time: others may want it, too */

	(void)state;
	assert_int_equal(keystore_self_test(ks), KB_OK);
	assert_true(clock() - from < 3 * CLOCKS_PER_SEC);
	for (size_t row = 0; row < WRAP_SCHEMES; row++)
		for (unsigned t = KB_KTY_RSA; t <= KB_KTY_OCT; t++)
			assert_int_equal(keystore_plan(ks)->engine[row][t], WRAP_WORKER);
	softhsm_plan = *keystore_plan(ks);
}

static void test_scheme_names(void **state)
{
	(void)state;
	assert_ptr_equal(scheme_find(span_str("CKM_RSA_AES_KEY_WRAP")), &schemes[0]);
	assert_ptr_equal(scheme_find(span_str("RSA_AES_KEY_WRAP_256")), &schemes[1]);
	assert_ptr_equal(scheme_find(span_str("RSA_AES_KEY_WRAP_384")), &schemes[2]);
	assert_ptr_equal(SCHEME_DEFAULT, &schemes[0]);
	assert_null(scheme_find(span_str("RSA_AES_KEY_WRAP_512")));
	assert_null(scheme_find(span_str("ckm_rsa_aes_key_wrap")));
	assert_null(scheme_find(span_str("")));
}

/* ---- wrap ---- */

static void test_c16_wrap_round_trip(void **state)
{
	(void)state;
	for (unsigned bits = 2048; bits <= 4096; bits += 1024) {
		EVP_PKEY *to = rsa_key(bits);
		struct grant g = grant_to(KEK_RSA, to);
		for (size_t row = 0; row < WRAP_SCHEMES; row++)
			for (size_t i = 0; i < KEYS; i++) {
				KB_AUTO(buf) struct buf b;
				buf_init(&b, 8192);
				buf_add_str(&b, "before");
				assert_int_equal(wrap_with(keys[i].key, &g, &schemes[row], &b),
						 KB_OK);
				assert_memory_equal(b.p, "before", 6);
				assert_unwraps(span_sub(buf_span(&b), 6, b.len), to, &schemes[row],
					       keys[i].plain);
			}
		EVP_PKEY_free(to);
	}
}

/* Short private numbers and short moduli: 200 random EC keys hold about one with a leading zero. */
static void test_c16_wrap_generated_keys(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 200; i++) {
		struct keystore_template t = {.label = "many",
					      .kty = i % 2 == 0 ? KB_KTY_EC : KB_KTY_OCT,
					      .crv = KB_CRV_P256};
		const struct hsm_key *key;
		struct secret *plain;
		char *uri;
		KB_AUTO(buf) struct buf b;
		buf_init(&b, 8192);
		if (t.kty == KB_KTY_OCT) {
			assert_int_equal(
				secret_random(KB_MIN_OCT + i % (KB_MAX_OCT - KB_MIN_OCT + 1),
					      &plain),
				KB_OK);
		} else {
			EVP_PKEY *ec = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
			plain = pkcs8(ec);
			EVP_PKEY_free(ec);
		}
		assert_int_equal(keystore_import(ks, &t, plain, &uri), KB_OK);
		assert_int_equal(keystore_find(ks, uri, t.kty, true, NULL, &key), KB_OK);
		assert_int_equal(wrap_with(key, &grant, &schemes[0], &b), KB_OK);
		assert_unwraps(buf_span(&b), kek, &schemes[0], plain);
		assert_int_equal(keystore_destroy(ks, uri), KB_OK);
		secret_free(plain);
		free(uri);
	}
	keys_find();
}

static void test_wrap_demands_its_grant(void **state)
{
	struct grant other_name = grant, other_version = grant;
	KB_AUTO(buf) struct buf b;
	buf_init(&b, 8192);

	(void)state;
	other_name.name = span_str("other");
	other_version.version = span_str("v2");
	assert_int_equal(wrap_with(keys[0].key, NULL, &schemes[1], &b), KB_E_BUG);
	assert_int_equal(wrap_with(keys[0].key, &other_name, &schemes[1], &b), KB_E_BUG);
	assert_int_equal(wrap_with(keys[0].key, &other_version, &schemes[1], &b), KB_E_BUG);
	assert_int_equal(wrap_with(keys[0].key, &grant, NULL, &b), KB_E_ENC);
	assert_int_equal(b.len, 0);
}

static void test_wrap_refuses_wrapping_keys(void **state)
{
	EVP_PKEY *small = rsa_key(1024), *ec = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
	struct grant to_small = grant_to(KEK_RSA, small), to_ec = grant_to(KEK_RSA, ec),
		     to_none = grant_to(KEK_NONE, kek), to_nothing = grant_to(KEK_RSA, NULL);
	KB_AUTO(buf) struct buf b;
	buf_init(&b, 8192);

	(void)state;
	assert_int_equal(wrap_with(keys[0].key, &to_small, &schemes[1], &b), KB_E_WRAP);
	assert_int_equal(wrap_with(keys[0].key, &to_ec, &schemes[1], &b), KB_E_WRAP);
	assert_int_equal(wrap_with(keys[0].key, &to_nothing, &schemes[1], &b), KB_E_WRAP);
	assert_int_equal(wrap_with(keys[0].key, &to_none, &schemes[1], &b), KB_E_KEY_TYPE);
	assert_int_equal(b.len, 0);
	EVP_PKEY_free(small);
	EVP_PKEY_free(ec);
}

static void test_c10_wrap_refuses_signer(void **state)
{
	struct keystore_template t = {
		.label = "signer", .kty = KB_KTY_RSA, .size = 2048, .is_signer = true};
	const struct hsm_key *key;
	char *uri;
	KB_AUTO(buf) struct buf b;
	buf_init(&b, 8192);

	(void)state;
	assert_int_equal(keystore_generate(ks, &t, &uri), KB_OK);
	assert_int_equal(keystore_find(ks, uri, KB_KTY_RSA, false, NULL, &key), KB_OK);
	assert_int_equal(wrap_with(key, &grant, &schemes[1], &b), KB_E_HSM_KEY_ATTR);
	assert_int_equal(p11_fault.calls[FAULT_C_WrapKey], 0);
	/* and the module itself would not either */
	((struct hsm_key *)key)->is_extractable = true;
	assert_int_equal(wrap_with(key, &grant, &schemes[1], &b), KB_E_HSM_KEY_ATTR);
	assert_int_equal(b.len, 0);
	assert_int_equal(keystore_destroy(ks, uri), KB_OK);
	free(uri);
	keys_find();
}

static void test_wrap_result_without_room(void **state)
{
	KB_AUTO(buf) struct buf b;

	(void)state;
	buf_init(&b, 100);
	assert_int_equal(wrap_with(keys[0].key, &grant, &schemes[1], &b), KB_E_NOMEM);
	buf_free(&b);
	buf_init(&b, 300);
	assert_int_equal(wrap_with(keys[0].key, &grant, &schemes[1], &b), KB_E_NOMEM);
	assert_int_equal(b.len, 0);
}

static void test_c12_wrap_in_a_child(void **state)
{
	int status;

	(void)state;
	pid_t child = fork();
	if (child == 0) {
		struct buf b;
		buf_init(&b, 8192);
		_exit(wrap_with(keys[0].key, &grant, &schemes[1], &b) == KB_E_BUG &&
				      keystore_self_test(ks) == KB_E_BUG
			      ? 0
			      : 1);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

/* ---- faults ---- */

static void test_c01_wrap_matrix(void **state)
{
	static const enum fault_call calls[] = {FAULT_C_WrapKey, FAULT_C_CreateObject};

	(void)state;
	for (size_t c = 0; c < sizeof calls / sizeof calls[0]; c++)
		for (CK_RV rv = 1; rv <= 0x200; rv++) {
			KB_AUTO(buf) struct buf b;
			buf_init(&b, 8192);
			if (strcmp(ckr_name(rv), "CKR_?") == 0)
				continue;
			transport_drop(ks);
			fault_next(calls[c], rv, 1);
			enum kb_err want = ckr_err(rv);
			if (want == KB_E_HSM_SESSION || want == KB_E_HSM_HANDLE)
				want = KB_OK;
			/* no plaintext goes in: the transport key is made inside */
			if (calls[c] == FAULT_C_CreateObject && is_plain_forbidden(want))
				want = KB_OK;
			assert_int_equal(wrap_with(keys[1].key, &grant, &schemes[1], &b), want);
			ks->no_plain_import = false;
			if (want == KB_OK)
				assert_unwraps(buf_span(&b), kek, &schemes[1], keys[1].plain);
			else
				assert_int_equal(b.len, 0);
			assert_int_equal(wrap_with(keys[1].key, &grant, &schemes[1], &b), KB_OK);
		}
}

static void test_c02_wrap_survives_lost_session(void **state)
{
	KB_AUTO(buf) struct buf b;
	buf_init(&b, 8192);

	(void)state;
	assert_int_equal(wrap_with(keys[0].key, &grant, &schemes[1], &b), KB_OK);
	buf_reset(&b);
	assert_int_equal(p11_fault.real->C_CloseAllSessions(ks->slot), CKR_OK);
	assert_int_equal(wrap_with(keys[0].key, &grant, &schemes[1], &b), KB_OK);
	assert_unwraps(buf_span(&b), kek, &schemes[1], keys[0].plain);
	assert_int_equal(p11_fault.calls[FAULT_C_OpenSession], 1);
	assert_int_equal(p11_fault.calls[FAULT_C_Login], 1);
	/* a session that is never good: two tries */
	fault_next(FAULT_C_WrapKey, CKR_SESSION_HANDLE_INVALID, 100);
	buf_reset(&b);
	assert_int_equal(wrap_with(keys[0].key, &grant, &schemes[1], &b), KB_E_HSM_SESSION);
	assert_int_equal(p11_fault.calls[FAULT_C_WrapKey], KB_HSM_ATTEMPTS);
	assert_int_equal(b.len, 0);
	p11_fault.left[FAULT_C_WrapKey] = 0;
}

static void test_wrap_reports_refused_login(void **state)
{
	KB_AUTO(buf) struct buf b;
	buf_init(&b, 8192);

	(void)state;
	assert_int_equal(p11_fault.real->C_CloseAllSessions(ks->slot), CKR_OK);
	fault_next(FAULT_C_Login, CKR_PIN_INCORRECT, 1);
	assert_int_equal(wrap_with(keys[0].key, &grant, &schemes[1], &b), KB_E_HSM_PIN);
	assert_int_equal(wrap_with(keys[0].key, &grant, &schemes[1], &b), KB_E_HSM_PIN);
	assert_int_equal(p11_fault.calls[FAULT_C_Login], 1);
	ks->login_err = KB_OK;
}

/* A stale handle is found again once: the key is the same one, or there is none. */
static void test_c10_wrap_stale_handle(void **state)
{
	struct hsm_key *key = (struct hsm_key *)keys[2].key;
	CK_OBJECT_HANDLE good = key->handle;
	KB_AUTO(buf) struct buf b;
	buf_init(&b, 8192);

	(void)state;
	key->handle = 0x7777;
	assert_int_equal(wrap_with(key, &grant, &schemes[1], &b), KB_OK);
	assert_int_equal(key->handle, good);
	assert_unwraps(buf_span(&b), kek, &schemes[1], keys[2].plain);

	struct keystore_template t = {.label = "gone", .kty = KB_KTY_OCT, .size = 32};
	const struct hsm_key *gone;
	char *uri;
	assert_int_equal(keystore_generate(ks, &t, &uri), KB_OK);
	assert_int_equal(keystore_find(ks, uri, KB_KTY_OCT, true, NULL, &gone), KB_OK);
	assert_int_equal(ks->p11->C_DestroyObject(ks->session, gone->handle), CKR_OK);
	buf_reset(&b);
	assert_int_equal(wrap_with(gone, &grant, &schemes[1], &b), KB_E_HSM_KEY_MISSING);
	assert_int_equal(b.len, 0);
	free(uri);
}

static enum { LIE_NONE, LIE_EMPTY, LIE_LONG, LIE_SHORT, LIE_ZERO, LIE_OTHER_KEY, LIE_ODD } lie;
static CK_RV lying_wrap(CK_SESSION_HANDLE s, CK_MECHANISM_PTR m, CK_OBJECT_HANDLE by,
			CK_OBJECT_HANDLE key, CK_BYTE_PTR out, CK_ULONG_PTR n)
{
	CK_RV rv = p11_fault.real->C_WrapKey(
		s, m, by, lie == LIE_OTHER_KEY ? keys[0].key->handle : key, out, n);

	if (lie == LIE_EMPTY)
		*n = 0;
	else if (lie == LIE_LONG)
		*n = 1 << 20;
	else if (lie == LIE_SHORT)
		*n -= 8;
	else if (lie == LIE_ODD && m->mechanism == CKM_AES_KEY_WRAP_PAD)
		*n -= 4;
	else if (lie == LIE_ZERO)
		memset(out, 0, *n);
	return rv;
}

static void test_c09_wrong_output_worker(void **state)
{
	KB_AUTO(buf) struct buf b;
	buf_init(&b, 8192);

	(void)state;
	p11_fault.list.C_WrapKey = lying_wrap;
	for (lie = LIE_EMPTY; lie <= LIE_OTHER_KEY; lie++)
		for (size_t i = 1; i < KEYS; i++)
			assert_int_equal(wrap_with(keys[i].key, &grant, &schemes[1], &b),
					 KB_E_HSM_OUTPUT);
	/* another RSA key than the one asked for: its modulus says so */
	EVP_PKEY *other = rsa_key(2048);
	struct hsm_public saved = keys[0].key->public;
	assert_int_equal(public_of_evp(other, &((struct hsm_key *)keys[0].key)->public), KB_OK);
	assert_int_equal(wrap_with(keys[0].key, &grant, &schemes[1], &b), KB_E_HSM_OUTPUT);
	((struct hsm_key *)keys[0].key)->public = saved;
	EVP_PKEY_free(other);
	assert_int_equal(b.len, 0);
	lie = LIE_NONE;
	assert_int_equal(wrap_with(keys[1].key, &grant, &schemes[1], &b), KB_OK);
}

/* What the module gave for another symmetric key of the same length, given again. */
static uint8_t stale[128];
static CK_ULONG stale_len;
static bool is_stale;
static CK_RV stale_wrap(CK_SESSION_HANDLE s, CK_MECHANISM_PTR m, CK_OBJECT_HANDLE by,
			CK_OBJECT_HANDLE key, CK_BYTE_PTR out, CK_ULONG_PTR n)
{
	if (is_stale) {
		memcpy(out, stale, stale_len);
		*n = stale_len;
		return CKR_OK;
	}
	CK_RV rv = p11_fault.real->C_WrapKey(s, m, by, key, out, n);
	if (rv == CKR_OK && *n <= sizeof stale)
		memcpy(stale, out, stale_len = *n);
	return rv;
}

static void test_c09_blob_of_another_key(void **state)
{
	struct keystore_template t = {.label = "twin", .kty = KB_KTY_OCT};
	const struct hsm_key *twin, *same;
	struct secret *other;
	char *uri, *same_uri;
	bool had = ks->has_check_values;
	KB_AUTO(buf) struct buf b;
	buf_init(&b, 8192);

	(void)state;
	assert_int_equal(secret_random(64, &other), KB_OK);
	assert_int_equal(keystore_import(ks, &t, other, &uri), KB_OK);
	assert_int_equal(keystore_find(ks, uri, KB_KTY_OCT, true, NULL, &twin), KB_OK);
	assert_int_equal(keystore_import(ks, &t, keys[5].plain, &same_uri), KB_OK);
	assert_int_equal(keystore_find(ks, same_uri, KB_KTY_OCT, true, NULL, &same), KB_OK);
	p11_fault.list.C_WrapKey = stale_wrap;
	for (unsigned i = 0; i < 2; i++) {
		ks->has_check_values = i == 1; /* it is seen without them, too */
		is_stale = false;
		buf_reset(&b);
		assert_int_equal(wrap_with(keys[5].key, &grant, &schemes[1], &b), KB_OK);
		is_stale = true;
		buf_reset(&b);
		assert_int_equal(wrap_with(twin, &grant, &schemes[1], &b), KB_E_HSM_OUTPUT);
		assert_int_equal(b.len, 0);
		is_stale = false;
		assert_int_equal(wrap_with(twin, &grant, &schemes[1], &b), KB_OK);
		assert_unwraps(buf_span(&b), kek, &schemes[1], other);
		/* two objects that hold the same key are no fault */
		buf_reset(&b);
		assert_int_equal(wrap_with(keys[5].key, &grant, &schemes[1], &b), KB_OK);
		buf_reset(&b);
		assert_int_equal(wrap_with(same, &grant, &schemes[1], &b), KB_OK);
		assert_unwraps(buf_span(&b), kek, &schemes[1], keys[5].plain);
	}
	ks->has_check_values = had;
	assert_int_equal(keystore_destroy(ks, uri), KB_OK);
	assert_int_equal(keystore_destroy(ks, same_uri), KB_OK);
	secret_free(other);
	free(uri);
	free(same_uri);
}

/* The object's value is damaged: the check value of a symmetric key shows it. */
static void test_c15_symmetric_key_that_is_another(void **state)
{
	struct hsm_public saved = keys[5].key->public,
			  *p = &((struct hsm_key *)keys[5].key)->public;
	KB_AUTO(buf) struct buf b;
	buf_init(&b, 8192);

	(void)state;
	assert_true(ks->has_check_values && p->has_check &&
		    p->is_generic); /* SoftHSM's are right: proved at start */
	p->check[2] ^= 1;
	assert_int_equal(wrap_with(keys[5].key, &grant, &schemes[1], &b), KB_E_HSM_OUTPUT);
	assert_false(public_eq(&saved, p));
	ks->has_check_values =
		false; /* a module that makes others is no worse than one that makes none */
	assert_int_equal(wrap_with(keys[5].key, &grant, &schemes[1], &b), KB_OK);
	ks->has_check_values = true;
	*p = saved;
}

/* A module that returns constants: both parts are checked. */
static uint8_t constant;
static CK_MECHANISM_TYPE only = CKM_VENDOR_DEFINED; /* the one part that is constant */
static CK_RV constant_wrap(CK_SESSION_HANDLE s, CK_MECHANISM_PTR m, CK_OBJECT_HANDLE by,
			   CK_OBJECT_HANDLE key, CK_BYTE_PTR out, CK_ULONG_PTR n)
{
	CK_RV rv = p11_fault.real->C_WrapKey(s, m, by, key, out, n);

	if (m->mechanism == only)
		memset(out, constant, *n);
	return rv;
}

static CK_RV echo_wrap(CK_SESSION_HANDLE s, CK_MECHANISM_PTR m, CK_OBJECT_HANDLE by,
		       CK_OBJECT_HANDLE key, CK_BYTE_PTR out, CK_ULONG_PTR n)
{
	static uint8_t answer[512];
	static CK_ULONG len;

	if (m->mechanism == CKM_RSA_PKCS_OAEP) {
		CK_RV rv = p11_fault.real->C_WrapKey(s, m, by, key, out, n);
		if (rv == CKR_OK)
			memcpy(answer, out, len = *n);
		return rv;
	}
	memcpy(out, answer, *n = len);
	return CKR_OK;
}

static CK_ULONG session_objects(void)
{
	CK_BBOOL no = CK_FALSE;
	CK_ATTRIBUTE t = {CKA_TOKEN, &no, sizeof no};
	CK_OBJECT_HANDLE hit[64];
	CK_ULONG n = 0;

	assert_int_equal(ks->p11->C_FindObjectsInit(ks->session, &t, 1), CKR_OK);
	assert_int_equal(ks->p11->C_FindObjects(ks->session, hit, 64, &n), CKR_OK);
	assert_int_equal(ks->p11->C_FindObjectsFinal(ks->session), CKR_OK);
	return n;
}

static void test_c09_wrong_output_module(void **state)
{
	KB_AUTO(buf) struct buf b;
	buf_init(&b, 8192);

	(void)state;
	ks->plan.engine[0][KB_KTY_OCT] = ks->plan.engine[0][KB_KTY_EC] = WRAP_MODULE;
	p11_fault.list.C_WrapKey = lying_wrap;
	for (lie = LIE_EMPTY; lie <= LIE_SHORT; lie++)
		assert_int_equal(wrap_with(keys[5].key, &grant, &schemes[0], &b), KB_E_HSM_OUTPUT);
	lie = LIE_ODD; /* of the parts alone nothing is wrong: the whole is */
	assert_int_equal(wrap_with(keys[1].key, &grant, &schemes[0], &b), KB_E_HSM_OUTPUT);
	lie = LIE_ZERO;
	assert_int_equal(wrap_with(keys[5].key, &grant, &schemes[0], &b), KB_E_HSM_OUTPUT);
	lie = LIE_NONE;
	p11_fault.list.C_WrapKey = constant_wrap;
	static const CK_MECHANISM_TYPE parts[] = {CKM_RSA_PKCS_OAEP, CKM_AES_KEY_WRAP_PAD};
	for (size_t i = 0; i < 2; i++) {
		only = parts[i];
		constant = 0;
		assert_int_equal(wrap_with(keys[5].key, &grant, &schemes[0], &b), KB_E_HSM_OUTPUT);
		constant = (uint8_t)(7 + i); /* once it may be chance, twice it is not */
		assert_int_equal(wrap_with(keys[5].key, &grant, &schemes[0], &b), KB_OK);
		buf_reset(&b);
		assert_int_equal(wrap_with(keys[5].key, &grant, &schemes[0], &b), KB_E_HSM_OUTPUT);
		assert_int_equal(b.len, 0);
	}
	transport_drop(ks);
	assert_int_equal(session_objects(), 0);
}

/* The KWP part of one blob comes back in the next, whose wrapping key is larger or smaller. */
static void test_c19_repeated_part_under_another_wrapping_key(void **state)
{
	EVP_PKEY *large = rsa_key(4096), *const to[] = {kek, large, kek};
	KB_AUTO(buf) struct buf b;
	buf_init(&b, 8192);

	(void)state;
	ks->plan.engine[0][KB_KTY_OCT] = WRAP_MODULE;
	p11_fault.list.C_WrapKey = constant_wrap;
	only = CKM_AES_KEY_WRAP_PAD;
	for (size_t i = 0; i + 1 < sizeof to / sizeof to[0]; i++) {
		const struct grant first = grant_to(KEK_RSA, to[i]),
				   then = grant_to(KEK_RSA, to[i + 1]);
		constant = (uint8_t)(21 + i);
		assert_int_equal(wrap_with(keys[5].key, &first, &schemes[0], &b), KB_OK);
		buf_reset(&b);
		assert_int_equal(wrap_with(keys[5].key, &then, &schemes[0], &b), KB_E_HSM_OUTPUT);
		assert_int_equal(b.len, 0);
	}
	EVP_PKEY_free(large);
}

/* The module answers the second call of a blob with its answer to the first. */
static void test_c19_first_part_given_again(void **state)
{
	EVP_PKEY *large = rsa_key(4096);
	const struct grant to_large = grant_to(KEK_RSA, large);
	KB_AUTO(buf) struct buf b;
	buf_init(&b, 8192);

	(void)state;
	ks->plan.engine[0][KB_KTY_RSA] = ks->plan.engine[0][KB_KTY_EC] = WRAP_MODULE;
	p11_fault.list.C_WrapKey = echo_wrap;
	for (size_t i = 0; i < 4; i++) {
		assert_int_equal(wrap_with(keys[i].key, &grant, &schemes[0], &b), KB_E_HSM_OUTPUT);
		assert_int_equal(wrap_with(keys[i].key, &to_large, &schemes[0], &b),
				 KB_E_HSM_OUTPUT);
		assert_int_equal(b.len, 0);
	}
	EVP_PKEY_free(large);
}

/* Whatever the key, a blob has the length of that key's plaintext. */
static void test_c19_bounds_of_the_plaintext(void **state)
{
	size_t least, most;

	(void)state;
	for (size_t i = 0; i < KEYS; i++) {
		const struct hsm_public *p = &keys[i].key->public;
		plain_bounds(p, &least, &most);
		assert_in_range(secret_len(keys[i].plain), least, most);
		if (p->kty != KB_KTY_RSA)
			assert_int_equal(least, most);
	}
	for (int bits = 2048; bits <= 4096; bits += 1024) {
		EVP_PKEY *key = rsa_key((unsigned)bits);
		struct secret *plain = pkcs8(key);
		struct hsm_public p;
		assert_int_equal(public_of_evp(key, &p), KB_OK);
		plain_bounds(&p, &least, &most);
		assert_in_range(secret_len(plain), least, most);
		secret_free(plain);
		EVP_PKEY_free(key);
	}
}

static void test_c13_no_session_objects_left(void **state)
{
	KB_AUTO(buf) struct buf b;
	buf_init(&b, 8192);

	(void)state;
	for (unsigned i = 0; i < 200; i++) {
		buf_reset(&b);
		assert_int_equal(wrap_with(keys[i % KEYS].key, &grant, &schemes[0], &b), KB_OK);
	}
	assert_int_equal(session_objects(), 1); /* the transport key, however many wraps */
	transport_drop(ks);
	assert_int_equal(session_objects(), 0);
	/* inside the module: none, be it well or not */
	ks->plan.engine[0][KB_KTY_OCT] = WRAP_MODULE;
	buf_reset(&b);
	assert_int_equal(wrap_with(keys[5].key, &grant, &schemes[0], &b), KB_OK);
	assert_unwraps(buf_span(&b), kek, &schemes[0],
		       keys[5].plain); /* 64 bytes: a multiple of eight is right even here */
	assert_int_equal(session_objects(), 0);
	static const enum fault_call calls[] = {FAULT_C_GenerateKey, FAULT_C_CreateObject,
						FAULT_C_WrapKey};
	for (size_t c = 0; c < 3; c++) {
		buf_reset(&b);
		fault_next(calls[c], CKR_DEVICE_ERROR, 1);
		assert_int_equal(wrap_with(keys[5].key, &grant, &schemes[0], &b), KB_E_HSM_DEVICE);
		assert_int_equal(b.len, 0);
		assert_int_equal(session_objects(), 0);
	}
	/* an object that cannot be destroyed would be the first of many */
	fault_next(FAULT_C_DestroyObject, CKR_DEVICE_ERROR, 1);
	assert_int_equal(wrap_with(keys[5].key, &grant, &schemes[0], &b), KB_E_HSM_DEVICE);
	assert_int_equal(b.len, 0);
	assert_int_equal(session_objects(), 1);
	assert_int_equal(p11_fault.real->C_CloseAllSessions(ks->slot), CKR_OK);
}

/* ---- a module that does it right, made of one that does not ---- */

static uint8_t known_aes[32];
static EVP_PKEY *known_kek;
static bool right_hash; /* OAEP obeys the hash it is asked for */

/* The session's AES key is one whose bytes we know. */
static CK_RV right_generate(CK_SESSION_HANDLE s, CK_MECHANISM_PTR m, CK_ATTRIBUTE_PTR t, CK_ULONG n,
			    CK_OBJECT_HANDLE_PTR out)
{
	if (m->mechanism != CKM_AES_KEY_GEN)
		return p11_fault.real->C_GenerateKey(s, m, t, n, out);
	CK_OBJECT_CLASS class = CKO_SECRET_KEY;
	CK_KEY_TYPE type = CKK_AES;
	CK_ATTRIBUTE own[64] = {{CKA_CLASS, &class, sizeof class},
				{CKA_KEY_TYPE, &type, sizeof type},
				{CKA_VALUE, known_aes, sizeof known_aes}};
	CK_ULONG count = 3;

	assert_true(n + count <= sizeof own / sizeof own[0]);
	for (CK_ULONG i = 0; i < n; i++)
		if (t[i].type != CKA_VALUE_LEN)
			own[count++] = t[i];
	known_aes[0]++;
	return p11_fault.real->C_CreateObject(s, own, count, out);
}

static CK_RV right_create(CK_SESSION_HANDLE s, CK_ATTRIBUTE_PTR t, CK_ULONG n,
			  CK_OBJECT_HANDLE_PTR out)
{
	struct span modulus = {0}, exponent = {0};

	for (CK_ULONG i = 0; i < n; i++) {
		if (t[i].type == CKA_MODULUS)
			modulus = span_of(t[i].pValue, t[i].ulValueLen);
		if (t[i].type == CKA_PUBLIC_EXPONENT)
			exponent = span_of(t[i].pValue, t[i].ulValueLen);
	}
	if (modulus.len > 0) {
		uint8_t n_le[512], e_le[8];
		for (size_t i = 0; i < modulus.len; i++)
			n_le[i] = modulus.p[modulus.len - 1 - i];
		for (size_t i = 0; i < exponent.len; i++)
			e_le[i] = exponent.p[exponent.len - 1 - i];
		OSSL_PARAM params[] = {
			OSSL_PARAM_construct_BN(OSSL_PKEY_PARAM_RSA_N, n_le, modulus.len),
			OSSL_PARAM_construct_BN(OSSL_PKEY_PARAM_RSA_E, e_le, exponent.len),
			OSSL_PARAM_construct_end()};
		EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
		EVP_PKEY_free(known_kek);
		known_kek = NULL;
		assert_int_equal(EVP_PKEY_fromdata_init(ctx), 1);
		assert_int_equal(EVP_PKEY_fromdata(ctx, &known_kek, EVP_PKEY_PUBLIC_KEY, params),
				 1);
		EVP_PKEY_CTX_free(ctx);
	}
	return p11_fault.real->C_CreateObject(s, t, n, out);
}

static CK_RV right_oaep(const CK_RSA_PKCS_OAEP_PARAMS *p, CK_BYTE_PTR out, CK_ULONG_PTR n)
{
	const char *digest = !right_hash || p->hashAlg == CKM_SHA_1 ? "SHA1"
			     : p->hashAlg == CKM_SHA256             ? "SHA256"
								    : "SHA384";
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_ASYM_CIPHER_PARAM_PAD_MODE,
						 (char *)OSSL_PKEY_RSA_PAD_MODE_OAEP, 0),
		OSSL_PARAM_construct_utf8_string(OSSL_ASYM_CIPHER_PARAM_OAEP_DIGEST, (char *)digest,
						 0),
		OSSL_PARAM_construct_utf8_string(OSSL_ASYM_CIPHER_PARAM_MGF1_DIGEST, (char *)digest,
						 0),
		OSSL_PARAM_construct_end(),
	};
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, known_kek, NULL);
	size_t len = *n;

	assert_int_equal(EVP_PKEY_encrypt_init_ex(ctx, params), 1);
	assert_int_equal(EVP_PKEY_encrypt(ctx, out, &len, known_aes, sizeof known_aes), 1);
	EVP_PKEY_CTX_free(ctx);
	*n = len;
	return CKR_OK;
}

/* KWP under the key we know: unwrap what SoftHSM made, cut what it added, wrap again.  The
 * transport key's own wraps stay SoftHSM's. */
static CK_RV right_wrap(CK_SESSION_HANDLE s, CK_MECHANISM_PTR m, CK_OBJECT_HANDLE by,
			CK_OBJECT_HANDLE key, CK_BYTE_PTR out, CK_ULONG_PTR n)
{
	uint8_t plain[KB_MAX_SECRET];
	CK_KEY_TYPE type = 0;
	CK_ULONG value_len = 0;
	CK_ATTRIBUTE t = {CKA_KEY_TYPE, &type, sizeof type},
		     v = {CKA_VALUE_LEN, &value_len, sizeof value_len};
	size_t len;
	KB_AUTO(buf) struct buf b;
	buf_init(&b, 8192);

	if (m->mechanism == CKM_RSA_PKCS_OAEP)
		return right_oaep(m->pParameter, out, n);
	CK_RV rv = p11_fault.real->C_WrapKey(s, m, by, key, out, n);
	if (rv != CKR_OK || by == ks->transport_key)
		return rv;
	assert_int_equal(kwp_unwrap(known_aes, span_of(out, *n), plain, sizeof plain, &len), KB_OK);
	assert_int_equal(p11_fault.real->C_GetAttributeValue(s, key, &t, 1), CKR_OK);
	if (type == CKK_GENERIC_SECRET) {
		assert_int_equal(p11_fault.real->C_GetAttributeValue(s, key, &v, 1), CKR_OK);
		len = value_len;
	} else if (type == CKK_RSA) {
		len = 4 + ((size_t)plain[2] << 8 | plain[3]);
	} else {
		/* exact, but without the public key: right for a module, not for our clients */
		len = 2 + (size_t)plain[1];
	}
	assert_int_equal(kwp_wrap(known_aes, span_of(plain, len), &b), KB_OK);
	memcpy(out, b.p, b.len);
	*n = b.len;
	return CKR_OK;
}

static void become_right(void)
{
	p11_fault.list.C_GenerateKey = right_generate;
	p11_fault.list.C_CreateObject = right_create;
	p11_fault.list.C_WrapKey = right_wrap;
}

static void test_self_test_finds_a_right_module(void **state)
{
	(void)state;
	become_right();
	right_hash = true;
	assert_int_equal(keystore_self_test(ks), KB_OK);
	for (size_t row = 0; row < WRAP_SCHEMES; row++) {
		assert_int_equal(ks->plan.engine[row][KB_KTY_RSA], WRAP_MODULE);
		assert_int_equal(ks->plan.engine[row][KB_KTY_OCT], WRAP_MODULE);
		assert_int_equal(ks->plan.engine[row][KB_KTY_EC],
				 WRAP_WORKER); /* its PKCS#8 lacks the public key */
		for (size_t i = 0; i < KEYS; i++) {
			KB_AUTO(buf) struct buf b;
			buf_init(&b, 8192);
			assert_int_equal(wrap_with(keys[i].key, &grant, &schemes[row], &b), KB_OK);
			assert_unwraps(buf_span(&b), kek, &schemes[row], keys[i].plain);
		}
	}
	EVP_PKEY_free(known_kek);
	known_kek = NULL;
}

/* The next SoftHSM: KWP is right, OAEP makes SHA-1 of whatever it is asked for. */
static void test_self_test_sees_through_a_wrong_hash(void **state)
{
	(void)state;
	become_right();
	right_hash = false;
	assert_int_equal(keystore_self_test(ks), KB_OK);
	assert_int_equal(ks->plan.engine[0][KB_KTY_RSA], WRAP_MODULE);
	assert_int_equal(ks->plan.engine[1][KB_KTY_RSA], WRAP_WORKER);
	assert_int_equal(ks->plan.engine[2][KB_KTY_OCT], WRAP_WORKER);
	EVP_PKEY_free(known_kek);
	known_kek = NULL;
}

static void test_c11_mechanism_absent(void **state)
{
	(void)state;
	fault_next(FAULT_C_WrapKey, CKR_MECHANISM_INVALID, 1000);
	assert_int_equal(keystore_self_test(ks), KB_E_HSM_MECHANISM);
	for (size_t row = 0; row < WRAP_SCHEMES; row++)
		for (unsigned t = KB_KTY_RSA; t <= KB_KTY_OCT; t++)
			assert_int_equal(ks->plan.engine[row][t], WRAP_NONE);
	assert_int_equal(session_objects(), 1); /* the transport key */
	p11_fault.left[FAULT_C_WrapKey] = 0;
	/* no key can be put in, and no pair made */
	transport_drop(ks);
	fault_next(FAULT_C_CreateObject, CKR_FUNCTION_NOT_SUPPORTED, 1000);
	fault_next(FAULT_C_GenerateKeyPair, CKR_MECHANISM_INVALID, 1000);
	assert_int_equal(keystore_self_test(ks), KB_E_HSM_MECHANISM);
	assert_int_equal(ks->plan.engine[1][KB_KTY_RSA], WRAP_NONE);
	assert_int_equal(ks->plan.engine[1][KB_KTY_OCT], WRAP_NONE);
	assert_int_equal(session_objects(), 0);
	p11_fault.left[FAULT_C_CreateObject] = p11_fault.left[FAULT_C_GenerateKeyPair] = 0;
	ks->no_plain_import = false;
	assert_int_equal(keystore_self_test(ks), KB_OK);
}

static void test_self_test_outage_is_no_verdict(void **state)
{
	(void)state;
	fault_next(FAULT_C_CreateObject, CKR_TOKEN_NOT_PRESENT, 1);
	assert_int_equal(keystore_self_test(ks), KB_E_HSM_TOKEN);
	fault_next(FAULT_C_WrapKey, CKR_SESSION_CLOSED, 1);
	assert_int_equal(keystore_self_test(ks), KB_E_HSM_SESSION);
	fault_next(FAULT_C_GenerateKey, CKR_HOST_MEMORY, 1);
	assert_int_equal(keystore_self_test(ks), KB_E_HSM_MEMORY);
	transport_drop(ks);
	assert_int_equal(session_objects(), 0);
	assert_int_equal(keystore_self_test(ks), KB_OK);
}

static CK_ULONG all_objects(void)
{
	CK_OBJECT_HANDLE hit[256];
	CK_ULONG n = 0;

	assert_int_equal(ks->p11->C_FindObjectsInit(ks->session, NULL, 0), CKR_OK);
	assert_int_equal(ks->p11->C_FindObjects(ks->session, hit, 256, &n), CKR_OK);
	assert_int_equal(ks->p11->C_FindObjectsFinal(ks->session), CKR_OK);
	return n;
}

/* ---- a module that takes no plaintext keys ---- */

static CK_RV plain_refusal;
static unsigned plain_refused;

static CK_RV fips_create(CK_SESSION_HANDLE s, CK_ATTRIBUTE_PTR t, CK_ULONG n,
			 CK_OBJECT_HANDLE_PTR out)
{
	for (CK_ULONG i = 0; i < n; i++)
		if (t[i].type == CKA_CLASS && *(CK_OBJECT_CLASS *)t[i].pValue != CKO_PUBLIC_KEY) {
			plain_refused++;
			return plain_refusal;
		}
	return p11_fault.real->C_CreateObject(s, t, n, out);
}

static void become_fips(CK_RV refusal)
{
	transport_drop(ks);
	plain_refusal = refusal;
	p11_fault.list.C_CreateObject = fips_create;
}

static void end_fips(void)
{
	transport_drop(ks);
	ks->no_plain_import = false;
	p11_fault.list.C_CreateObject = fault_C_CreateObject;
}

static void test_c17_self_test_without_plain_keys(void **state)
{
	static const CK_RV refusals[] = {CKR_TEMPLATE_INCONSISTENT, CKR_ACTION_PROHIBITED,
					 CKR_FUNCTION_NOT_SUPPORTED, CKR_ATTRIBUTE_VALUE_INVALID,
					 CKR_VENDOR_DEFINED | 7};

	(void)state;
	for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++) {
		become_fips(refusals[i]);
		const CK_ULONG before = session_objects();
		/* in both orders: put in under the transport key, and made */
		if (i % 2 == 0)
			fault_next(FAULT_C_UnwrapKey, CKR_FUNCTION_NOT_SUPPORTED, 1000);
		assert_int_equal(keystore_self_test(ks), KB_OK);
		assert_memory_equal(&ks->plan, &softhsm_plan, sizeof ks->plan);
		assert_int_equal(session_objects(), before + 1); /* the transport key */
		for (size_t k = 0; k < KEYS; k++)
			for (size_t row = 0; row < WRAP_SCHEMES; row++) {
				KB_AUTO(buf) struct buf b;
				buf_init(&b, 8192);
				assert_int_equal(wrap_with(keys[k].key, &grant, &schemes[row], &b),
						 KB_OK);
				assert_unwraps(buf_span(&b), kek, &schemes[row], keys[k].plain);
			}
		/* what it has refused once it is not asked again */
		assert_true(plain_refused > 0);
		plain_refused = 0;
		assert_int_equal(keystore_self_test(ks), KB_OK);
		p11_fault.left[FAULT_C_UnwrapKey] = 0;
		transport_drop(ks);
		assert_int_equal(transport_ready(ks), KB_OK);
		assert_int_equal(plain_refused, 0);
		end_fips();
	}
}

/* The sample's plaintext comes from the module: a wrong key must not prove itself. */
static enum kb_kty wrapped_instead;
static CK_RV other_key_wrap(CK_SESSION_HANDLE s, CK_MECHANISM_PTR m, CK_OBJECT_HANDLE by,
			    CK_OBJECT_HANDLE key, CK_BYTE_PTR out, CK_ULONG_PTR n)
{
	size_t other = wrapped_instead == KB_KTY_RSA ? 0 : wrapped_instead == KB_KTY_EC ? 1 : 4;

	return p11_fault.real->C_WrapKey(
		s, m, by, m->mechanism == CKM_AES_KEY_WRAP_PAD ? keys[other].key->handle : key, out,
		n);
}

static void test_c17_made_sample_is_proved_from_outside(void **state)
{
	(void)state;
	p11_fault.list.C_WrapKey = other_key_wrap;
	for (wrapped_instead = KB_KTY_RSA; wrapped_instead <= KB_KTY_OCT; wrapped_instead++) {
		become_fips(CKR_TEMPLATE_INCONSISTENT);
		fault_next(FAULT_C_UnwrapKey, CKR_FUNCTION_NOT_SUPPORTED, 1000);
		assert_int_not_equal(keystore_self_test(ks), KB_OK);
		for (size_t row = 0; row < WRAP_SCHEMES; row++)
			assert_int_equal(ks->plan.engine[row][wrapped_instead], WRAP_NONE);
		end_fips();
	}
	p11_fault.list.C_WrapKey = fault_C_WrapKey;
	/* nothing of the module says what the symmetric sample is: no HMAC, and a check value of
	 * three bytes is not asked for */
	become_fips(CKR_TEMPLATE_INCONSISTENT);
	fault_next(FAULT_C_UnwrapKey, CKR_FUNCTION_NOT_SUPPORTED, 1000);
	fault_next(FAULT_C_Sign, CKR_DEVICE_ERROR, 1000);
	assert_int_not_equal(keystore_self_test(ks), KB_OK);
	assert_int_equal(ks->plan.engine[1][KB_KTY_OCT], WRAP_NONE);
	p11_fault.left[FAULT_C_Sign] = p11_fault.left[FAULT_C_UnwrapKey] = 0;
	end_fips();
	assert_int_equal(keystore_self_test(ks), KB_OK);
}

static void test_c17_keys_are_made_and_imports_say_why_not(void **state)
{
	struct keystore_template t = {.label = "fips", .size = 2048, .crv = KB_CRV_P256};
	char *uri;

	(void)state;
	become_fips(CKR_TEMPLATE_INCONSISTENT);
	assert_int_equal(transport_ready(ks), KB_OK);
	for (t.kty = KB_KTY_RSA; t.kty <= KB_KTY_OCT; t.kty++) {
		t.size = t.kty == KB_KTY_OCT ? 32 : 2048;
		assert_int_equal(keystore_generate(ks, &t, &uri), KB_OK);
		assert_int_equal(keystore_destroy(ks, uri), KB_OK);
		free(uri);
		/* under the transport key; SoftHSM then leaves it modifiable */
		const struct secret *plain = keys[t.kty == KB_KTY_RSA  ? 0
						  : t.kty == KB_KTY_EC ? 1
								       : 4]
						     .plain;
		unsigned before = p11_fault.calls[FAULT_C_UnwrapKey];
		CK_ULONG objects = all_objects();
		memset(ks->skip_rows, 0, sizeof ks->skip_rows); /* nothing is known yet */
		assert_int_equal(keystore_import(ks, &t, plain, &uri), KB_E_HSM_OUTPUT);
		assert_true(p11_fault.calls[FAULT_C_UnwrapKey] > before);
		assert_null(uri);
		assert_non_null(strstr(keystore_fault(ks), "CKA_MODIFIABLE"));
		assert_int_equal(all_objects(), objects);
	}
	end_fips();
}

/* ---- exact plaintext ---- */

static enum kb_err exact(const uint8_t *bytes, size_t len, const struct hsm_public *p)
{
	struct secret *s = secret_new(len);

	memcpy(secret_bytes(s), bytes, len);
	enum kb_err err = plain_exact(&s, p);
	secret_free(s);
	return err;
}

static void test_plain_exact_refuses(void **state)
{
	(void)state;
	for (size_t i = 0; i < 2; i++) { /* RSA, P-256 */
		const struct hsm_public *p = &keys[i].key->public;
		uint8_t b[2048] = {0};
		size_t len = secret_len(keys[i].plain);
		memcpy(b, secret_span(keys[i].plain).p, len);
		for (size_t pad = 0; pad <= 7; pad++)
			assert_int_equal(exact(b, len + pad, p), KB_OK);
		assert_int_equal(exact(b, len + 8, p), KB_E_HSM_OUTPUT);
		b[len + 2] = 1; /* padding that is not zero */
		assert_int_equal(exact(b, len + 3, p), KB_E_HSM_OUTPUT);
		b[len + 2] = 0;
		for (size_t cut = 1; cut < len; cut++)
			assert_int_equal(exact(b, cut, p), KB_E_HSM_OUTPUT);
		/* any bit of the head, up to where the private numbers begin, is looked at */
		size_t head = i == 0 ? 26 + 4 + 3 + 4 + 256 : 36;
		for (size_t bit = 0; bit < head * 8; bit++) {
			b[bit / 8] ^= (uint8_t)(1 << bit % 8);
			assert_int_equal(exact(b, len, p), KB_E_HSM_OUTPUT);
			b[bit / 8] ^= (uint8_t)(1 << bit % 8);
		}
	}
	uint8_t oct[32] = {1};
	assert_int_equal(exact(oct, 20, &keys[4].key->public), KB_OK);
	assert_int_equal(exact(oct, 24, &keys[4].key->public), KB_OK);
	assert_int_equal(exact(oct, 28, &keys[4].key->public), KB_E_HSM_OUTPUT);
	assert_int_equal(exact(oct, 19, &keys[4].key->public), KB_E_HSM_OUTPUT);
	oct[20] = 1;
	assert_int_equal(exact(oct, 24, &keys[4].key->public), KB_E_HSM_OUTPUT);
}

/* What SoftHSM writes has no public key; what others write may have another one, or the curve
 * twice, or a short number. */
static void test_plain_exact_rebuilds_ec(void **state)
{
	const struct hsm_public *p = &keys[1].key->public;
	const uint8_t *full = secret_span(keys[1].plain).p;
	/* SEQ{ INT 0, SEQ{oids}, OCTETS{ SEQ{ INT 1, OCTETS d [, …] } } } of P-256: the number is
	 * at 36, 32 bytes */
	uint8_t head[] = {0x30, 0x41, 0x02, 0x01, 0x00, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48,
			  0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03,
			  0x01, 0x07, 0x04, 0x27, 0x30, 0x25, 0x02, 0x01, 0x01, 0x04, 0x20};
	static const uint8_t params[] = {0xa0, 0x0a, 0x06, 0x08, 0x2a, 0x86,
					 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07};
	uint8_t b[256];

	(void)state;
	memcpy(b, head, sizeof head);
	memcpy(b + sizeof head, full + 36, 32);
	struct secret *s = secret_new(sizeof head + 32 + 5);
	memcpy(secret_bytes(s), b, sizeof head + 32);
	assert_int_equal(plain_exact(&s, p), KB_OK);
	assert_true(secret_equal(s, keys[1].plain));
	secret_free(s);

	/* the curve's parameters inside, too */
	b[1] = (uint8_t)(0x41 + sizeof params);
	b[27] = (uint8_t)(0x27 + sizeof params);
	b[29] = (uint8_t)(0x25 + sizeof params);
	memcpy(b + sizeof head + 32, params, sizeof params);
	s = secret_new(sizeof head + 32 + sizeof params);
	memcpy(secret_bytes(s), b, secret_len(s));
	assert_int_equal(plain_exact(&s, p), KB_OK);
	assert_true(secret_equal(s, keys[1].plain));
	secret_free(s);

	/* a public key that is another's */
	memcpy(b, full, secret_len(keys[1].plain));
	b[secret_len(keys[1].plain) - 1] ^= 1;
	assert_int_equal(exact(b, secret_len(keys[1].plain), p), KB_E_HSM_OUTPUT);

	/* a number with its leading zeros left out comes back with them; one of zero length or too
	 * long is none */
	memcpy(b, head, sizeof head);
	b[1] = 0x41 - 30;
	b[27] = 0x27 - 30;
	b[29] = 0x25 - 30;
	b[34] = 2;
	b[35] = 0x12;
	b[36] = 0x34;
	s = secret_new(37);
	memcpy(secret_bytes(s), b, 37);
	assert_int_equal(plain_exact(&s, p), KB_OK);
	struct span made = secret_span(s);
	assert_int_equal(made.len, secret_len(keys[1].plain));
	for (size_t i = 0; i < 30; i++)
		assert_int_equal(made.p[36 + i], 0);
	assert_int_equal(made.p[36 + 30], 0x12);
	secret_free(s);
	b[35] = b[36] = 0;
	assert_int_equal(exact(b, 37, p), KB_E_HSM_OUTPUT);
}

/* ---- memory ---- */

static size_t which;

static enum kb_err wrap_once(void)
{
	KB_AUTO(buf) struct buf b;
	buf_init(&b, 8192);
	enum kb_err err = wrap_with(keys[which].key, &grant, &schemes[1], &b);
	if (err == KB_OK) {
		const long was =
			fail_at; /* what it gave is a key, whatever there was no memory for */
		fail_at = 0;
		assert_unwraps(buf_span(&b), kek, &schemes[1], keys[which].plain);
		fail_at = was;
	} else {
		assert_int_equal(b.len, 0);
	}
	return err;
}

static enum kb_err prove_once(void)
{
	return keystore_self_test(ks);
}

/* The n-th allocation of ours and of OpenSSL's gives nothing, for every n, past 200 for one in
 * `stride`: done, or an error that passes.  What the module does without memory is the module's. */
static void short_of_memory(enum kb_err (*run)(void), long stride)
{
	bool is_past = false;

	p11_fault.inside = &spared;
	for (long n = 1; !is_past; n += n < 200 ? 1 : stride) {
		allocations = 0;
		fail_at = n;
		enum kb_err err = run();
		fail_at = 0;
		is_past = allocations < n;
		ERR_clear_error();
		if (err != KB_OK && (is_past || (kb_err_class(err) != KB_CLASS_BUSY &&
						 kb_err_class(err) != KB_CLASS_UNFIT &&
						 kb_err_class(err) != KB_CLASS_HSM)))
			fail_msg("allocation %ld: %s", n, kb_err_name(err));
	}
	p11_fault.inside = NULL;
}

static void test_g02_wrap_without_memory(void **state)
{
	(void)state;
#ifdef IS_SANITIZED
	skip();
#endif
	for (which = 0; which < KEYS; which++)
		short_of_memory(wrap_once, 1);
}

static void test_g02_self_test_without_memory(void **state)
{
	(void)state;
#ifdef IS_SANITIZED
	skip();
#endif
	short_of_memory(prove_once, 11);
}

/* The locked memory for secrets is full, and then a block more is free, and one more: done, or an
 * error that passes. */
static void short_of_locked_memory(enum kb_err (*run)(void))
{
	static struct secret *taken[KB_SECRET_ARENA / 64];
	size_t n = 0;
	enum kb_err err = KB_E_BUG;

	for (size_t block = KB_MAX_SECRET; block >= 64;
	     block /= 2) /* its own head takes some of a block of OpenSSL's */
		while (n < sizeof taken / sizeof *taken &&
		       (taken[n] = secret_new(block - 16)) != NULL)
			n++;
	assert_int_equal(run(), KB_E_NOMEM);
	while (n > 0) {
		secret_free(taken[--n]);
		err = run();
		ERR_clear_error();
		if (err != KB_OK && kb_err_class(err) != KB_CLASS_BUSY &&
		    kb_err_class(err) != KB_CLASS_HSM)
			fail_msg("%zu blocks left: %s", n, kb_err_name(err));
	}
	assert_int_equal(err, KB_OK);
}

static enum kb_err wrap_blindly(void)
{
	KB_AUTO(buf) struct buf b;
	buf_init(&b, 8192);
	enum kb_err err = wrap_with(keys[which].key, &grant, &schemes[1], &b);

	assert_true((err == KB_OK) == (b.len > 0));
	return err;
}

static void test_g02_wrap_without_locked_memory(void **state)
{
	(void)state;
	for (which = 0; which < KEYS; which++)
		short_of_locked_memory(wrap_blindly);
	short_of_locked_memory(prove_once);
}

#define WITH_FAULTS(t) cmocka_unit_test_setup_teardown(t, faults_on, faults_off)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a33_wycheproof_rsa_oaep),
		cmocka_unit_test(test_wrap_refused_before_self_test),
		cmocka_unit_test(test_self_test_softhsm_needs_worker),
		cmocka_unit_test(test_scheme_names),
		cmocka_unit_test(test_c16_wrap_round_trip),
		cmocka_unit_test(test_c16_wrap_generated_keys),
		cmocka_unit_test(test_wrap_demands_its_grant),
		cmocka_unit_test(test_wrap_refuses_wrapping_keys),
		WITH_FAULTS(test_c10_wrap_refuses_signer),
		cmocka_unit_test(test_wrap_result_without_room),
		cmocka_unit_test(test_c12_wrap_in_a_child),
		WITH_FAULTS(test_c01_wrap_matrix),
		WITH_FAULTS(test_c02_wrap_survives_lost_session),
		WITH_FAULTS(test_wrap_reports_refused_login),
		WITH_FAULTS(test_c10_wrap_stale_handle),
		WITH_FAULTS(test_c09_wrong_output_worker),
		WITH_FAULTS(test_c09_blob_of_another_key),
		WITH_FAULTS(test_c15_symmetric_key_that_is_another),
		WITH_FAULTS(test_c09_wrong_output_module),
		WITH_FAULTS(test_c19_repeated_part_under_another_wrapping_key),
		WITH_FAULTS(test_c19_first_part_given_again),
		cmocka_unit_test(test_c19_bounds_of_the_plaintext),
		WITH_FAULTS(test_c13_no_session_objects_left),
		WITH_FAULTS(test_self_test_finds_a_right_module),
		WITH_FAULTS(test_self_test_sees_through_a_wrong_hash),
		WITH_FAULTS(test_c11_mechanism_absent),
		WITH_FAULTS(test_self_test_outage_is_no_verdict),
		WITH_FAULTS(test_c17_self_test_without_plain_keys),
		WITH_FAULTS(test_c17_made_sample_is_proved_from_outside),
		WITH_FAULTS(test_c17_keys_are_made_and_imports_say_why_not),
		WITH_FAULTS(test_g02_wrap_without_memory),
		WITH_FAULTS(test_g02_self_test_without_memory),
		WITH_FAULTS(test_g02_wrap_without_locked_memory),
		cmocka_unit_test(test_plain_exact_refuses),
		cmocka_unit_test(test_plain_exact_rebuilds_ec),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
