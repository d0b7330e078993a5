/* keystore/self_test.c — decides, by proof, which way of wrapping may be used for which scheme and
 * key type: wrap session keys made for the purpose, unwrap strictly with OpenSSL, compare every
 * byte.  Trusts no mechanism list and no version number. The lengths are chosen to show what is
 * known to go wrong (FACTS §1): an RSA PKCS#8 and an oct key that are no multiples of eight. */
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include "base/log.h"
#include "base/secret.h"
#include "keystore/create.h"
#include "keystore/engine.h"
#include "keystore/kwp.h"
#include "keystore/public.h"

enum { RSA_TRIES = 16, OCT_BYTES = 20 };

struct sample {
	struct secret *plain; /* what a client must get */
	struct hsm_public public;
	CK_OBJECT_HANDLE handle;
};

/* PKCS#8 as OpenSSL writes it, which is what clients compare with. */
static enum kb_err pkcs8_of(EVP_PKEY *key, struct secret **out)
{
	enum kb_err err = KB_E_NOMEM;

	*out = NULL;
	PKCS8_PRIV_KEY_INFO *info = EVP_PKEY2PKCS8(key);
	int len = info == NULL ? -1 : i2d_PKCS8_PRIV_KEY_INFO(info, NULL);
	if (len > 0 && (*out = secret_new((size_t)len)) != NULL) {
		unsigned char *at = secret_bytes(*out);
		if (i2d_PKCS8_PRIV_KEY_INFO(info, &at) == len)
			err = KB_OK;
	}
	PKCS8_PRIV_KEY_INFO_free(info);
	return err;
}

/* Its encoding must not be a multiple of 8, or a module that pads would pass: one in five is. */
static enum kb_err rsa_make(struct keystore *ks, struct secret **plain)
{
	*plain = NULL;
	for (unsigned i = 0; i < RSA_TRIES; i++) {
		if (ks->sample == NULL &&
		    (ks->sample = EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)KB_RSA_MIN_BITS)) ==
			    NULL)
			return KB_E_NOMEM;
		enum kb_err err = pkcs8_of(ks->sample, plain);
		if (err != KB_OK || secret_len(*plain) % 8 != 0)
			return err;
		secret_free(*plain);
		*plain = NULL;
		EVP_PKEY_free(ks->sample);
		ks->sample = NULL;
	}
	return KB_E_BUG;
}

/* What the client does, strictly: split at the modulus, OAEP, KWP; then every byte. */
static enum kb_err client_check(EVP_PKEY *kek, enum kb_enc enc, struct span blob,
				const struct secret *want)
{
	size_t modulus = (size_t)EVP_PKEY_get_size(kek), len, aes_len;
	char *digest = (char *)enc_digest(enc);
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_ASYM_CIPHER_PARAM_PAD_MODE,
						 (char *)OSSL_PKEY_RSA_PAD_MODE_OAEP, 0),
		OSSL_PARAM_construct_utf8_string(OSSL_ASYM_CIPHER_PARAM_OAEP_DIGEST, digest, 0),
		OSSL_PARAM_construct_utf8_string(OSSL_ASYM_CIPHER_PARAM_MGF1_DIGEST, digest, 0),
		OSSL_PARAM_construct_end(),
	};
	enum kb_err err;
	KB_AUTO(secret) struct secret *aes = secret_new(aes_len = modulus);
	KB_AUTO(secret) struct secret *plain = secret_new(KB_MAX_SECRET);

	if (aes == NULL || plain == NULL)
		return KB_E_NOMEM;
	if (blob.len != modulus + kwp_wrapped_len(secret_len(want)))
		return KB_E_WRAP;
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, kek, NULL);
	bool good = ctx != NULL && EVP_PKEY_decrypt_init_ex(ctx, params) == 1 &&
		    EVP_PKEY_decrypt(ctx, secret_bytes(aes), &aes_len, blob.p, modulus) == 1 &&
		    aes_len == AES_BYTES;
	EVP_PKEY_CTX_free(ctx);
	if (!good)
		return KB_E_WRAP;
	err = kwp_unwrap(secret_bytes(aes), span_sub(blob, modulus, blob.len), secret_bytes(plain),
			 secret_len(plain), &len);
	if (err != KB_OK)
		return err;
	secret_trim(plain, len);
	return secret_equal(plain, want) ? KB_OK : KB_E_WRAP;
}

static enum kb_err prove(struct keystore *ks, enum wrap_engine engine, enum kb_enc enc,
			 const struct sample *s, EVP_PKEY *kek)
{
	struct wrap_job job = {.target = s->handle, .public = &s->public, .kek = kek, .enc = enc};
	enum kb_err err;
	KB_AUTO(buf) struct buf blob;
	buf_init(&blob, KB_RSA_MAX_BITS / 8 + KB_MAX_SECRET + 8);

	if ((err = engine_run(ks, engine, &job, &blob)) != KB_OK)
		return err;
	return client_check(kek, enc, buf_span(&blob), s->plain);
}

/* A failure that says nothing about a mechanism: the token, the session or memory is what fails. */
static bool is_outage(enum kb_err err)
{
	return err == KB_E_HSM_TOKEN || err == KB_E_HSM_SESSION || err == KB_E_HSM_PIN ||
	       err == KB_E_HSM_MODULE || err == KB_E_HSM_MEMORY || err == KB_E_NOMEM;
}

/* Says perhaps nothing about it: some modules answer "general error" to what they do not know.
 * Where another way works it was an answer; where none does, it is tried again by the next process.
 */
static bool is_doubtful(enum kb_err err)
{
	return err == KB_E_HSM_DEVICE || err == KB_E_HSM_HANDLE;
}

static enum kb_err samples_make(struct keystore *ks, struct sample sample[static KB_KTY_OCT + 1],
				enum kb_err *doubt)
{
	const struct key_place where = {.label = "self-test"};
	enum kb_err err;

	if ((err = rsa_make(ks, &sample[KB_KTY_RSA].plain)) != KB_OK)
		return err;
	EVP_PKEY *ec = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
	err = ec == NULL ? KB_E_NOMEM : pkcs8_of(ec, &sample[KB_KTY_EC].plain);
	if (err == KB_OK)
		err = public_of_evp(ec, &sample[KB_KTY_EC].public);
	EVP_PKEY_free(ec);
	if (err != KB_OK || (err = public_of_evp(ks->sample, &sample[KB_KTY_RSA].public)) != KB_OK)
		return err;
	if ((err = secret_random(OCT_BYTES, &sample[KB_KTY_OCT].plain)) != KB_OK ||
	    (err = public_oct(OCT_BYTES, &sample[KB_KTY_OCT].public)) != KB_OK)
		return err;
	for (unsigned t = KB_KTY_RSA; t <= KB_KTY_OCT; t++) {
		err = key_put(ks, &where, (enum kb_kty)t, sample[t].plain, &sample[t].handle);
		if (is_outage(err))
			return err;
		if (err != KB_OK)
			sample[t].handle = CK_INVALID_HANDLE; /* a type this module does not take:
								 no engine for it */
		if (is_doubtful(err))
			*doubt = err;
	}
	return KB_OK;
}

/* A check value is of use where it is what the standard says, and where a wrong one is seen. */
static enum kb_err prove_check_value(struct keystore *ks, const struct sample *oct)
{
	struct hsm_public p = oct->public;

	ks->has_check_values = false;
	if (oct->handle == CK_INVALID_HANDLE)
		return KB_OK;
	enum kb_err err = attr_check_value(ks, oct->handle, &p);
	if (err != KB_OK)
		return is_outage(err) ? err : KB_OK;
	ks->has_check_values = p.is_generic = true; /* for the comparison */
	ks->has_check_values = p.has_check && check_value_fits(ks, &p, oct->plain);
	return KB_OK;
}

/* Both ways are tried; inside the module is preferred, as then nothing secret is outside. */
static enum kb_err choose(struct keystore *ks, enum kb_enc enc, const struct sample *s,
			  EVP_PKEY *kek, enum wrap_engine *out, enum kb_err *doubt)
{
	*out = WRAP_NONE;
	if (s->handle == CK_INVALID_HANDLE)
		return KB_OK;
	enum kb_err worker = prove(ks, WRAP_WORKER, enc, s, kek);
	if (is_outage(worker))
		return worker;
	enum kb_err module = prove(ks, WRAP_MODULE, enc, s, kek);
	if (is_outage(module))
		return module;
	*out = module == KB_OK ? WRAP_MODULE : worker == KB_OK ? WRAP_WORKER : WRAP_NONE;
	if (*out == WRAP_NONE && (is_doubtful(worker) || is_doubtful(module)))
		*doubt = is_doubtful(worker) ? worker : module;
	log_event(*out == WRAP_NONE ? LOG_ERROR : LOG_DEBUG, "hsm.self_test", "enc", enc_name(enc),
		  "kty", kty_name(s->public.kty), "module", kb_err_name(module), "worker",
		  kb_err_name(worker), NULL);
	return KB_OK;
}

enum kb_err keystore_self_test(struct keystore *ks)
{
	struct sample sample[KB_KTY_OCT + 1] = {0};
	bool is_whole = true;
	enum kb_err err, doubt = KB_OK;

	if ((err = keystore_guard(ks)) != KB_OK)
		return err;
	ks->plan = (struct wrap_plan){0};
	ks->is_probing = true;
	if ((err = samples_make(ks, sample, &doubt)) != KB_OK ||
	    (err = prove_check_value(ks, &sample[KB_KTY_OCT])) != KB_OK)
		goto out;
	for (unsigned enc = KB_ENC_NONE + 1; enc < KB_ENC_COUNT; enc++)
		for (unsigned t = KB_KTY_RSA; t <= KB_KTY_OCT; t++) {
			if ((err = choose(ks, (enum kb_enc)enc, &sample[t], ks->sample,
					  &ks->plan.engine[enc][t], &doubt)) != KB_OK)
				goto out;
			is_whole = is_whole && ks->plan.engine[enc][t] != WRAP_NONE;
		}
	err = is_whole ? KB_OK : doubt != KB_OK ? doubt : KB_E_HSM_MECHANISM;
out:
	for (unsigned t = KB_KTY_RSA; t <= KB_KTY_OCT; t++) {
		if (sample[t].handle != CK_INVALID_HANDLE)
			(void)P11_RAW(ks, C_DestroyObject, ks->session, sample[t].handle);
		secret_free(sample[t].plain);
	}
	ks->is_probing = false;
	return err;
}
