/* tests/security/test_wrap_long.c — C16 at length: ten thousand random keys of every type, put into
 * the real SoftHSM for the session, wrapped by each scheme in turn and unwrapped as a client does;
 * every byte is compared.  On the keystore itself: a key costs no HTTP and no file here. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include "base/clock.h"
#include "base/limits.h"
#include "keystore/create.h"
#include "keystore/kwp.h"
#include "keystore/public.h"
#include "keystore/wrap.h"
#include "tests/unit/softhsm.h"

/* The real one is made by decide() alone; here is what the keystore reads of it. */
struct grant {
	struct wrapping_key kek;
};
struct span grant_key_name(const struct grant *g);
struct span grant_key_version(const struct grant *g);
const struct wrapping_key *grant_kek(const struct grant *g);

struct span grant_key_name(const struct grant *g)
{
	(void)g;
	return span_str("name");
}

struct span grant_key_version(const struct grant *g)
{
	(void)g;
	return span_str("version");
}

const struct wrapping_key *grant_kek(const struct grant *g)
{
	return &g->kek;
}

enum { KEYS = 10000, LIMIT_MS = 240000, RSA_EVERY = 251 };

static struct secret *pkcs8(EVP_PKEY *key)
{
	PKCS8_PRIV_KEY_INFO *info = EVP_PKEY2PKCS8(key);
	struct secret *s = secret_new((size_t)i2d_PKCS8_PRIV_KEY_INFO(info, NULL));
	unsigned char *at = secret_bytes(s);

	assert_int_equal(i2d_PKCS8_PRIV_KEY_INFO(info, &at), secret_len(s));
	PKCS8_PRIV_KEY_INFO_free(info);
	return s;
}

/* The ith random key: half of them symmetric, of any length, the others EC; RSA keys are dear to
 * make. */
static struct secret *random_key(unsigned i, struct hsm_public *p)
{
	static const char *const groups[] = {"P-256", "P-384", "P-521"};
	struct secret *s;

	if (i % 2 == 0) {
		size_t len = 16 + i / 2 % 49;
		assert_int_equal(secret_random(len, &s), KB_OK);
		assert_int_equal(public_oct(len, p), KB_OK);
		return s;
	}
	EVP_PKEY *key = i % RSA_EVERY == 0 ? EVP_PKEY_Q_keygen(NULL, NULL, "RSA",
							       (size_t)(2048 + 1024 * (i % 3)))
					   : EVP_PKEY_Q_keygen(NULL, NULL, "EC", groups[i / 2 % 3]);
	assert_non_null(key);
	s = pkcs8(key);
	assert_int_equal(public_of_evp(key, p), KB_OK);
	EVP_PKEY_free(key);
	return s;
}

static void assert_unwraps(struct span blob, EVP_PKEY *key, size_t row, const struct secret *want)
{
	static const char *const digests[WRAP_SCHEMES] = {"SHA1", "SHA256", "SHA384"};
	char *digest = (char *)digests[row];
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_ASYM_CIPHER_PARAM_PAD_MODE,
						 (char *)OSSL_PKEY_RSA_PAD_MODE_OAEP, 0),
		OSSL_PARAM_construct_utf8_string(OSSL_ASYM_CIPHER_PARAM_OAEP_DIGEST, digest, 0),
		OSSL_PARAM_construct_utf8_string(OSSL_ASYM_CIPHER_PARAM_MGF1_DIGEST, digest, 0),
		OSSL_PARAM_construct_end(),
	};
	uint8_t aes[512], plain[KB_MAX_SECRET];
	size_t modulus = (size_t)EVP_PKEY_get_size(key), aes_len = sizeof aes, len;
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, key, NULL);

	assert_int_equal(blob.len, modulus + kwp_wrapped_len(secret_len(want)));
	assert_int_equal(EVP_PKEY_decrypt_init_ex(ctx, params), 1);
	assert_int_equal(EVP_PKEY_decrypt(ctx, aes, &aes_len, blob.p, modulus), 1);
	EVP_PKEY_CTX_free(ctx);
	assert_int_equal(aes_len, 32);
	assert_int_equal(
		kwp_unwrap(aes, span_sub(blob, modulus, blob.len), plain, sizeof plain, &len),
		KB_OK);
	assert_true(secret_equal_span(want, span_of(plain, len)));
}

static void test_c16_ten_thousand_random_keys(void **state)
{
	const int64_t end_ms = clock_mono_ms() + LIMIT_MS;
	const struct key_place where = {.label = "random"};
	struct softhsm hsm;
	struct keystore *ks;
	unsigned keys[KB_KTY_OCT + 1] = {0}, n = 0;

	(void)state;
	assert_true(softhsm_start(&hsm));
	assert_int_equal(softhsm_open(&ks), KB_OK);
	assert_int_equal(keystore_self_test(ks), KB_OK);
	struct grant grant = {
		{.kind = KEK_RSA, .evp = EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)2048)}};
	for (; n < KEYS && clock_mono_ms() < end_ms; n++) {
		size_t row = n / 2 % WRAP_SCHEMES;
		struct hsm_key key = {.is_extractable = true};
		struct secret *plain = random_key(n, &key.public);
		KB_AUTO(buf) struct buf b;
		buf_init(&b, 2 * KB_MAX_SECRET);
		assert_int_equal(key_put(ks, &where, key.public.kty, plain, &key.handle), KB_OK);
		assert_int_equal(keystore_wrap(ks, &key, &grant, span_str("name"),
					       span_str("version"), &schemes[row], &b),
				 KB_OK);
		assert_unwraps(buf_span(&b), grant.kek.evp, row, plain);
		assert_int_equal(ks->p11->C_DestroyObject(ks->session, key.handle), CKR_OK);
		keys[key.public.kty]++;
		secret_free(plain);
	}
	print_message("%u RSA, %u EC, %u oct keys\n", keys[KB_KTY_RSA], keys[KB_KTY_EC],
		      keys[KB_KTY_OCT]);
	assert_int_equal(n, KEYS);
	EVP_PKEY_free(grant.kek.evp);
	keystore_close(ks);
	softhsm_stop(&hsm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_c16_ten_thousand_random_keys)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
