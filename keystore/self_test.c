/* keystore/self_test.c — decides, by proof, which engine may wrap for which scheme and key type:
 * wrap session keys made for the purpose, unwrap them strictly with OpenSSL, compare every byte.
 * Trusts no mechanism list and no version number. The sample RSA and oct keys have lengths that are
 * no multiples of eight, because SoftHSM 2.6.1 pads those wrongly. */
#include <openssl/evp.h>
#include <openssl/x509.h>

#include "base/log.h"
#include "base/secret.h"
#include "keystore/create.h"
#include "keystore/engine.h"
#include "keystore/public.h"
#include "keystore/scheme_rsa_aes.h"

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

/* What the client does, strictly; then every byte is compared. */
static enum kb_err client_check(EVP_PKEY *kek, const struct wrap_scheme *scheme, struct span blob,
				const struct secret *want)
{
	const struct unwrapping_key own = {.kind = KEK_RSA,
					   .bytes = (size_t)EVP_PKEY_get_size(kek),
					   .holder = kek,
					   .oaep_open = rsa_oaep_open};
	enum kb_err err;
	KB_AUTO(secret) struct secret *plain = NULL;

	if (blob.len != scheme->size(own.bytes, secret_len(want)))
		return KB_E_WRAP;
	if ((err = scheme->open(scheme, &own, blob, &plain)) != KB_OK)
		return err;
	return secret_equal(plain, want) ? KB_OK : KB_E_WRAP;
}

static enum kb_err prove(struct keystore *ks, enum wrap_engine engine,
			 const struct wrap_scheme *scheme, const struct sample *s, EVP_PKEY *kek)
{
	const struct wrapping_key to = {.kind = KEK_RSA, .evp = kek};
	struct wrap_job job = {
		.target = s->handle, .public = &s->public, .kek = &to, .scheme = scheme};
	enum kb_err err;
	KB_AUTO(buf) struct buf blob;
	buf_init(&blob, KB_RSA_MAX_BITS / 8 + KB_MAX_SECRET + 8);

	if ((err = engine_run(ks, engine, &job, &blob)) != KB_OK)
		return err;
	return client_check(kek, scheme, buf_span(&blob), s->plain);
}

/* The token, the session or memory fails: no result about the mechanism. */
static bool is_outage(enum kb_err err)
{
	return err == KB_E_HSM_TOKEN || err == KB_E_HSM_SESSION || err == KB_E_HSM_PIN ||
	       err == KB_E_HSM_MODULE || err == KB_E_HSM_MEMORY || err == KB_E_NOMEM;
}

/* Perhaps no result: some modules return CKR_GENERAL_ERROR for a mechanism they do not know. If
 * another engine works, count it as a refusal; if none does, the next process tries again. */
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
		/* The module does not accept this type: no engine. */
		if (err != KB_OK)
			sample[t].handle = CK_INVALID_HANDLE;
		if (is_doubtful(err))
			*doubt = err;
	}
	return KB_OK;
}

/* Use check values only if this module's are those of the standard. */
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

/* Both engines are tried. The module's is preferred: then nothing secret is outside of it. */
static enum kb_err choose(struct keystore *ks, const struct wrap_scheme *scheme,
			  const struct sample *s, EVP_PKEY *kek, enum wrap_engine *out,
			  enum kb_err *doubt)
{
	*out = WRAP_NONE;
	if (s->handle == CK_INVALID_HANDLE)
		return KB_OK;
	enum kb_err worker = prove(ks, WRAP_WORKER, scheme, s, kek);
	if (is_outage(worker))
		return worker;
	enum kb_err module = prove(ks, WRAP_MODULE, scheme, s, kek);
	if (is_outage(module))
		return module;
	*out = module == KB_OK ? WRAP_MODULE : worker == KB_OK ? WRAP_WORKER : WRAP_NONE;
	if (*out == WRAP_NONE && (is_doubtful(worker) || is_doubtful(module)))
		*doubt = is_doubtful(worker) ? worker : module;
	log_event(*out == WRAP_NONE ? LOG_ERROR : LOG_DEBUG, "hsm.self_test", "enc", scheme->name,
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
	fault_begin(ks, NULL);
	ks->plan = (struct wrap_plan){0};
	ks->is_probing = true;
	if ((err = samples_make(ks, sample, &doubt)) != KB_OK ||
	    (err = prove_check_value(ks, &sample[KB_KTY_OCT])) != KB_OK)
		goto out;
	for (size_t row = 0; row < WRAP_SCHEMES; row++)
		for (unsigned t = KB_KTY_RSA; t <= KB_KTY_OCT; t++) {
			if ((err = choose(ks, &schemes[row], &sample[t], ks->sample,
					  &ks->plan.engine[row][t], &doubt)) != KB_OK)
				goto out;
			is_whole = is_whole && ks->plan.engine[row][t] != WRAP_NONE;
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
