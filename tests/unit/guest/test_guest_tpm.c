/* tests/unit/guest/test_guest_tpm.c — the ephemeral key in a TPM (swtpm): what it opens, what it
 * refuses, and that it works only while the PCRs have their values. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/rsa.h>

#include "guest/tpm.h"
#include "tests/e2e/vtpm.h"

#define PERSISTENT 0x81010001u

static const unsigned pcrs[] = {0, 1, 2, 3, 4, 5, 6, 7};
enum { N_PCRS = 8 };
static char dir[64];
static struct vtpm v;
static struct guest_tpm *t;

#define GOOD(call)                                                                                 \
	do {                                                                                       \
		const char *why_ = (call);                                                         \
		if (why_ != NULL)                                                                  \
			fail_msg("%s: %s", #call, why_);                                           \
	} while (0)

static int setup(void **state)
{
	char state_dir[80];
	(void)state;
	snprintf(dir, sizeof dir, "%s", "/tmp/keybroker-tpm-XXXXXX");
	assert_non_null(mkdtemp(dir));
	snprintf(state_dir, sizeof state_dir, "%s/v", dir);
	assert_int_equal(secret_arena_init(), KB_OK);
	GOOD(vtpm_start(&v, state_dir, -1));
	assert_int_equal(tpm_open(v.tcti, &t), KB_OK);
	return 0;
}

static void close_tpm(void)
{
	tpm_close(t);
	t = NULL;
}

static void reopen(void)
{
	close_tpm();
	assert_int_equal(tpm_open(v.tcti, &t), KB_OK);
}

/* Whatever a test did, nothing of it is in the TPM afterwards. */
static int teardown(void **state)
{
	unsigned n = 1;
	(void)state;
	close_tpm();
	const char *why = vtpm_loaded(&v, &n);
	vtpm_stop(&v);
	char *const argv[] = {"rm", "-rf", dir, NULL};
	pid_t pid = fork();
	if (pid == 0) {
		execvp(argv[0], argv);
		_exit(127);
	}
	waitpid(pid, NULL, 0);
	assert_null(why);
	assert_int_equal(n, 0);
	return 0;
}

static void extend(unsigned pcr)
{
	close_tpm();
	GOOD(vtpm_extend(&v, pcr, "something else"));
	assert_int_equal(tpm_open(v.tcti, &t), KB_OK);
}

/* ---- the other end: what a broker does with the public key ---- */

static uint8_t modulus[256];

static size_t wrap(const EVP_MD *md, const char *label, const void *plain, size_t len,
		   uint8_t out[static 256])
{
	uint8_t e[4];
	size_t n_len, e_len, out_len = 256;
	EVP_PKEY *key = NULL;
	assert_int_equal(tpm_public(t, modulus, &n_len, e, &e_len), KB_OK);
	assert_int_equal(n_len, 256);
	assert_int_equal(e_len, 3);
	assert_memory_equal(e, "\x01\x00\x01", 3);
	BIGNUM *n = BN_bin2bn(modulus, 256, NULL);
	OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
	assert_int_equal(OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_N, n), 1);
	assert_int_equal(OSSL_PARAM_BLD_push_uint(build, OSSL_PKEY_PARAM_RSA_E, 65537), 1);
	OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(build);
	EVP_PKEY_CTX *make = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
	assert_int_equal(EVP_PKEY_fromdata_init(make), 1);
	assert_int_equal(EVP_PKEY_fromdata(make, &key, EVP_PKEY_PUBLIC_KEY, params), 1);
	EVP_PKEY_CTX *rsa = EVP_PKEY_CTX_new(key, NULL);
	assert_int_equal(EVP_PKEY_encrypt_init(rsa), 1);
	assert_int_equal(EVP_PKEY_CTX_set_rsa_padding(rsa, RSA_PKCS1_OAEP_PADDING), 1);
	assert_int_equal(EVP_PKEY_CTX_set_rsa_oaep_md(rsa, md), 1);
	assert_int_equal(EVP_PKEY_CTX_set_rsa_mgf1_md(rsa, md), 1);
	if (label != NULL)
		assert_int_equal(EVP_PKEY_CTX_set0_rsa_oaep_label(rsa, OPENSSL_strdup(label),
								  (int)strlen(label)),
				 1);
	assert_int_equal(EVP_PKEY_encrypt(rsa, out, &out_len, plain, len), 1);
	EVP_PKEY_CTX_free(rsa);
	EVP_PKEY_CTX_free(make);
	EVP_PKEY_free(key);
	OSSL_PARAM_free(params);
	OSSL_PARAM_BLD_free(build);
	BN_free(n);
	return out_len;
}

static const uint8_t aes[32] = {7, 0, 1, 2, 3, 4, 5, 6};

static enum kb_err opens(enum oaep_hash hash, const uint8_t *blob, size_t len)
{
	struct secret *s = (struct secret *)&s;
	enum kb_err err = tpm_decrypt(t, hash, span_of(blob, len), &s);
	if (err == KB_OK)
		assert_true(secret_equal_span(s, span_of(aes, sizeof aes)));
	else
		assert_null(s);
	secret_free(err == KB_OK ? s : NULL);
	return err;
}

/* ---- tests ---- */

static void test_tpm_undoes_oaep_of_every_hash(void **state)
{
	uint8_t blob[256];
	(void)state;
	for (unsigned with = 0; with < 2; with++) {
		assert_int_equal(tpm_make_key(t, pcrs, with == 0 ? 0 : N_PCRS, 0), KB_OK);
		assert_int_equal(opens(OAEP_SHA1, blob, wrap(EVP_sha1(), NULL, aes, 32, blob)),
				 KB_OK);
		assert_int_equal(opens(OAEP_SHA256, blob, wrap(EVP_sha256(), NULL, aes, 32, blob)),
				 KB_OK);
		assert_int_equal(opens(OAEP_SHA384, blob, wrap(EVP_sha384(), NULL, aes, 32, blob)),
				 KB_OK);
	}
}

static void test_tpm_refuses_what_is_not_wrapped_to_it(void **state)
{
	uint8_t blob[257] = {0}, old[256];
	(void)state;
	assert_int_equal(tpm_make_key(t, NULL, 0, 0), KB_OK);
	wrap(EVP_sha256(), NULL, aes, 32, blob);
	assert_int_equal(opens(OAEP_SHA1, blob, 256), KB_E_WRAP);
	assert_int_equal(opens(OAEP_SHA256, blob, 255), KB_E_WRAP);
	assert_int_equal(opens(OAEP_SHA256, blob, 257), KB_E_WRAP);
	assert_int_equal(opens(OAEP_SHA256, blob, 0), KB_E_WRAP);
	memcpy(old, blob, 256);
	blob[200] ^= 1;
	assert_int_equal(opens(OAEP_SHA256, blob, 256), KB_E_WRAP);
	wrap(EVP_sha256(), "label", aes, 32, blob);
	assert_int_equal(opens(OAEP_SHA256, blob, 256), KB_E_WRAP);
	wrap(EVP_sha256(), NULL, "", 0, blob);
	assert_int_equal(opens(OAEP_SHA256, blob, 256), KB_E_WRAP);
	/* The next key is another one. */
	assert_int_equal(tpm_make_key(t, NULL, 0, 0), KB_OK);
	assert_int_equal(opens(OAEP_SHA256, old, 256), KB_E_WRAP);
}

static void test_tpm_key_dies_with_a_changed_pcr(void **state)
{
	uint8_t blob[256];
	(void)state;
	assert_int_equal(tpm_make_key(t, pcrs, N_PCRS, PERSISTENT), KB_OK);
	wrap(EVP_sha256(), NULL, aes, 32, blob);
	extend(16); /* not one of them */
	assert_int_equal(tpm_make_key(t, pcrs, N_PCRS, PERSISTENT), KB_OK);
	assert_int_equal(opens(OAEP_SHA256, blob, 256), KB_OK);
	extend(4);
	assert_int_equal(tpm_make_key(t, pcrs, N_PCRS, PERSISTENT), KB_E_TPM_PCR);
	assert_int_equal(opens(OAEP_SHA256, blob, 256), KB_E_TPM);
	/* Under the PCRs of now, another key would be made; the old one keeps its handle. */
	assert_int_equal(tpm_make_key(t, pcrs, N_PCRS, 0), KB_OK);
	assert_int_equal(opens(OAEP_SHA256, blob, 256), KB_E_WRAP);
}

/* The TPM enforces it, not our comparison of policies: a key in use while somebody
 * extends. */
static void test_tpm_refuses_in_the_middle(void **state)
{
	uint8_t blob[256];
	(void)state;
	assert_int_equal(tpm_make_key(t, pcrs, 1, 0), KB_OK);
	wrap(EVP_sha256(), NULL, aes, 32, blob);
	assert_int_equal(opens(OAEP_SHA256, blob, 256), KB_OK);
	GOOD(vtpm_extend(&v, 0, "something else"));
	assert_int_equal(opens(OAEP_SHA256, blob, 256), KB_E_TPM_PCR);
}

static void test_tpm_persistent_key_stays(void **state)
{
	uint8_t blob[256], first[256];
	(void)state;
	assert_int_equal(tpm_make_key(t, NULL, 0, PERSISTENT), KB_OK);
	wrap(EVP_sha256(), NULL, aes, 32, blob);
	memcpy(first, modulus, 256);
	reopen();
	assert_int_equal(tpm_make_key(t, NULL, 0, PERSISTENT), KB_OK);
	assert_int_equal(opens(OAEP_SHA256, blob, 256), KB_OK);
	wrap(EVP_sha256(), NULL, aes, 32, blob);
	assert_memory_equal(first, modulus, 256);
	/* A key that is free of PCRs is not the one that is bound to them, and the attestation key
	 * is none of ours. */
	assert_int_equal(tpm_make_key(t, pcrs, N_PCRS, PERSISTENT), KB_E_TPM);
	close_tpm();
	char name[69];
	bool is_new;
	GOOD(vtpm_ak(&v, name, &is_new));
	assert_int_equal(tpm_open(v.tcti, &t), KB_OK);
	assert_int_equal(tpm_make_key(t, NULL, 0, VTPM_AK), KB_E_TPM);
}

static void test_tpm_certifies_what_the_key_is(void **state)
{
	static const char nonce[] =
		"64 bytes of nonce are what fits into one certification of a key.";
	char name[69], digest[65];
	bool is_new;
	uint8_t blob[256];
	(void)state;
	for (unsigned with = 0; with < 2; with++) {
		KB_AUTO(buf) struct buf attest, signature;
		buf_init(&attest, 4096);
		buf_init(&signature, 4096);
		close_tpm();
		GOOD(vtpm_ak(&v, name, &is_new));
		GOOD(vtpm_pcr_digest(&v, digest));
		assert_int_equal(tpm_open(v.tcti, &t), KB_OK);
		assert_int_equal(tpm_certify(t, VTPM_AK, span_str(nonce), &attest, &signature),
				 KB_E_TPM); /* no key yet */
		assert_int_equal(tpm_make_key(t, pcrs, with == 0 ? 0 : N_PCRS, 0), KB_OK);
		assert_int_equal(tpm_certify(t, 0x81000007, span_str(nonce), &attest, &signature),
				 KB_E_TPM_MISSING);
		assert_int_equal(
			tpm_certify(t, VTPM_AK, span_of(nonce, sizeof nonce), &attest, &signature),
			KB_E_TPM); /* 65 bytes */
		assert_int_equal(attest.len + signature.len, 0);
		assert_int_equal(tpm_certify(t, VTPM_AK, span_str(nonce), &attest, &signature),
				 KB_OK);
		wrap(EVP_sha256(), NULL, aes, 32, blob);
		close_tpm();
		struct certificate c = {attest.p, signature.p, attest.len, signature.len};
		GOOD(vtpm_certified(&v, &c, modulus, with == 0 ? NULL : digest, nonce,
				    strlen(nonce)));
		assert_non_null(vtpm_certified(&v, &c, modulus, with == 0 ? digest : NULL, nonce,
					       strlen(nonce))); /* the check checks */
		assert_non_null(
			vtpm_certified(&v, &c, modulus, with == 0 ? NULL : digest, "another", 7));
		modulus[255] ^= 2;
		assert_non_null(vtpm_certified(&v, &c, modulus, with == 0 ? NULL : digest, nonce,
					       strlen(nonce)));
		assert_int_equal(tpm_open(v.tcti, &t), KB_OK);
	}
}

static void test_tpm_missing(void **state)
{
	struct guest_tpm *none;
	uint8_t n[256], e[4];
	size_t n_len, e_len;
	(void)state;
	assert_int_equal(tpm_open("swtpm:path=/nonexistent/socket", &none), KB_E_TPM_MISSING);
	assert_null(none);
	assert_int_equal(tpm_open("nonsense:", &none), KB_E_TPM_MISSING);
	assert_int_equal(tpm_public(t, n, &n_len, e, &e_len), KB_E_TPM);
	assert_int_equal(opens(OAEP_SHA256, n, 256), KB_E_TPM);
}

/* A PCR that no TPM has, and a TPM without the bank: a key must not come out bound to nothing. */
static void test_tpm_pcrs_that_are_not_there(void **state)
{
	char state_dir[80];
	(void)state;
	assert_int_equal(tpm_make_key(t, (const unsigned[]){23}, 1, 0), KB_OK);
	assert_int_equal(tpm_make_key(t, (const unsigned[]){24}, 1, 0), KB_E_TPM_PCR);
	assert_int_equal(tpm_make_key(t, (const unsigned[]){240}, 1, 0), KB_E_TPM_PCR);
	close_tpm();
	GOOD(vtpm_drop_sha256(&v));
	vtpm_stop(&v);
	snprintf(state_dir, sizeof state_dir, "%s/v", dir);
	GOOD(vtpm_start(&v, state_dir, -1));
	assert_int_equal(tpm_open(v.tcti, &t), KB_OK);
	assert_int_equal(tpm_make_key(t, pcrs, N_PCRS, 0), KB_E_TPM_PCR);
	assert_int_equal(tpm_make_key(t, NULL, 0, 0), KB_OK);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_tpm_undoes_oaep_of_every_hash, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_tpm_refuses_what_is_not_wrapped_to_it, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_tpm_key_dies_with_a_changed_pcr, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_tpm_refuses_in_the_middle, setup, teardown),
		cmocka_unit_test_setup_teardown(test_tpm_persistent_key_stays, setup, teardown),
		cmocka_unit_test_setup_teardown(test_tpm_certifies_what_the_key_is, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_tpm_missing, setup, teardown),
		cmocka_unit_test_setup_teardown(test_tpm_pcrs_that_are_not_there, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
