/* keystore/self_test.c — decides, by proof, which engine may wrap for which scheme and key type:
 * wrap session keys made for the purpose, unwrap them strictly with OpenSSL, compare every byte.
 * The keys are put in; where the module takes no plaintext keys (FIPS mode) they are made in it,
 * and what they are is proved from outside: RSA and EC by their public numbers, oct by an HMAC of
 * the module. Trusts no mechanism list and no version number. The sample RSA and oct keys have
 * lengths that are no multiples of eight, because SoftHSM 2.6.1 pads those wrongly. */
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/x509.h>

#include "base/log.h"
#include "base/secret.h"
#include "keystore/create.h"
#include "keystore/engine.h"
#include "keystore/public.h"
#include "keystore/scheme_rsa_aes.h"

enum { RSA_TRIES = 16, OCT_BYTES = 20, MAC_BYTES = 32 };

struct sample {
	enum kb_kty kty;
	struct secret *plain; /* what a client must get; NULL: not known yet */
	struct hsm_public public;
	CK_OBJECT_HANDLE handle, public_handle;
};

static const struct key_place where = {.label = "self-test", .kind = KIND_SAMPLE};

static void sample_drop(struct keystore *ks, struct sample *s)
{
	object_destroy(ks, s->handle);
	object_destroy(ks, s->public_handle);
	secret_free(s->plain);
	*s = (struct sample){.kty = s->kty};
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

/* ---- what a sample's plaintext is ---- */

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

/* The private key of these public numbers, to the byte as OpenSSL writes it. */
static enum kb_err private_fits(const struct sample *s, const struct secret *plain)
{
	struct span der = secret_span(plain);
	const unsigned char *at = der.p;
	struct hsm_public p;
	enum kb_err err = KB_E_WRAP;
	EVP_PKEY_CTX *ctx = NULL;
	KB_AUTO(secret) struct secret *again = NULL;

	EVP_PKEY *key = d2i_AutoPrivateKey(NULL, &at, (long)der.len);
	if (key == NULL || at != der.p + der.len || public_of_evp(key, &p) != KB_OK ||
	    !public_eq(&p, &s->public) ||
	    (ctx = EVP_PKEY_CTX_new_from_pkey(NULL, key, NULL)) == NULL ||
	    EVP_PKEY_pairwise_check(ctx) != 1)
		goto out;
	if ((err = pkcs8_of(key, &again)) == KB_OK)
		err = secret_equal(again, plain) ? KB_OK : KB_E_WRAP;
out:
	EVP_PKEY_CTX_free(ctx);
	EVP_PKEY_free(key);
	return err;
}

/* An HMAC by the module, with the key that must be `plain`.  KB_E_HSM_MECHANISM: it makes none. */
static enum kb_err hmac_fits(struct keystore *ks, const struct sample *s,
			     const struct secret *plain)
{
	/* SoftHSM wants keys as long as the hash; a module in FIPS mode may lack SHA-1 */
	static const CK_MECHANISM_TYPE ways[] = {CKM_SHA_1_HMAC, CKM_SHA256_HMAC};
	uint8_t text[] = "is this the key?", mac[MAC_BYTES], want[EVP_MAX_MD_SIZE];
	struct span key = secret_span(plain);
	enum kb_err err = KB_E_HSM_MECHANISM;

	for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
		CK_MECHANISM mech = {ways[i], NULL, 0};
		CK_ULONG n = sizeof mac;
		unsigned want_len = 0;
		err = P11(ks, C_SignInit, ks->session, &mech, s->handle);
		if (is_outage(err))
			return err;
		if (err != KB_OK)
			continue;
		if ((err = P11(ks, C_Sign, ks->session, text, sizeof text, mac, &n)) != KB_OK)
			return err;
		if (HMAC(i == 0 ? EVP_sha1() : EVP_sha256(), key.p, (int)key.len, text, sizeof text,
			 want, &want_len) == NULL)
			return KB_E_NOMEM;
		return n == want_len && CRYPTO_memcmp(mac, want, want_len) == 0 ? KB_OK : KB_E_WRAP;
	}
	return is_doubtful(err) ? err : KB_E_HSM_MECHANISM;
}

/* KB_OK: `plain` is the sample's key.  KB_E_WRAP: it is not.  KB_E_HSM_MECHANISM: there is no
 * telling. */
static enum kb_err oct_fits(struct keystore *ks, const struct sample *s, const struct secret *plain)
{
	if (secret_len(plain) != OCT_BYTES)
		return KB_E_WRAP;
	return hmac_fits(ks, s, plain);
}

/* What the client does, strictly; then every byte is compared.  The first plaintext that is proved
 * to be the sample's is what all others are compared with. */
static enum kb_err client_check(struct keystore *ks, EVP_PKEY *kek,
				const struct wrap_scheme *scheme, struct span blob,
				struct sample *s)
{
	const struct unwrapping_key own = {.kind = KEK_RSA,
					   .bytes = (size_t)EVP_PKEY_get_size(kek),
					   .holder = kek,
					   .oaep_open = rsa_oaep_open};
	enum kb_err err;
	KB_AUTO(secret) struct secret *plain = NULL;

	if ((err = scheme->open(scheme, &own, blob, &plain)) != KB_OK)
		return err;
	if (blob.len != scheme->size(own.bytes, secret_len(plain)))
		return KB_E_WRAP;
	if (s->plain != NULL)
		return secret_equal(plain, s->plain) ? KB_OK : KB_E_WRAP;
	err = s->kty == KB_KTY_OCT ? oct_fits(ks, s, plain) : private_fits(s, plain);
	if (err != KB_OK)
		return err;
	s->plain = plain;
	plain = NULL;
	return KB_OK;
}

static enum kb_err prove(struct keystore *ks, enum wrap_engine engine,
			 const struct wrap_scheme *scheme, struct sample *s, EVP_PKEY *kek)
{
	const struct wrapping_key to = {.kind = KEK_RSA, .evp = kek};
	struct wrap_job job = {
		.target = s->handle, .public = &s->public, .kek = &to, .scheme = scheme};
	enum kb_err err;
	KB_AUTO(buf) struct buf blob;
	buf_init(&blob, KB_RSA_MAX_BITS / 8 + KB_MAX_SECRET + 8);

	if ((err = engine_run(ks, engine, &job, &blob)) != KB_OK)
		return err;
	return client_check(ks, kek, scheme, buf_span(&blob), s);
}

/* ---- samples ---- */

static enum kb_err sample_generate(struct keystore *ks, struct sample *s)
{
	const struct keystore_template t = {
		.label = where.label,
		.kty = s->kty,
		.size = s->kty == KB_KTY_RSA ? KB_RSA_MIN_BITS : OCT_BYTES,
		.crv = s->kty == KB_KTY_EC ? KB_CRV_P256 : KB_CRV_NONE,
	};
	enum kb_err err = key_make(ks, &where, &t, &s->handle, &s->public_handle);

	if (err != KB_OK)
		return err;
	switch (s->kty) {
	case KB_KTY_RSA:
		return public_read_rsa(ks, s->public_handle, &s->public);
	case KB_KTY_EC:
		return public_read_ec(ks, s->public_handle, curve_of(t.crv), &s->public);
	case KB_KTY_OCT:
		return public_oct(OCT_BYTES, &s->public);
	}
	KB_BUG();
}

/* A key of ours.  Tried first: to make an RSA key takes a small HSM seconds. */
static enum kb_err sample_import(struct keystore *ks, struct sample *s)
{
	enum kb_err err;

	if (s->kty == KB_KTY_OCT) {
		if ((err = secret_random(OCT_BYTES, &s->plain)) != KB_OK ||
		    (err = public_oct(OCT_BYTES, &s->public)) != KB_OK)
			return err;
	} else {
		EVP_PKEY *key = s->kty == KB_KTY_RSA ? EVP_PKEY_Q_keygen(NULL, NULL, "RSA",
									 (size_t)KB_RSA_MIN_BITS)
						     : EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
		err = key == NULL ? KB_E_NOMEM : pkcs8_of(key, &s->plain);
		if (err == KB_OK)
			err = public_of_evp(key, &s->public);
		EVP_PKEY_free(key);
		if (err != KB_OK)
			return err;
	}
	return key_put(ks, &where, s->kty, s->plain, &s->handle);
}

/* Any engine that gives the sample's plaintext will do to learn it. */
static enum kb_err sample_learn(struct keystore *ks, struct sample *s, EVP_PKEY *kek)
{
	static const enum wrap_engine engines[] = {WRAP_WORKER, WRAP_MODULE};
	enum kb_err err = KB_E_HSM_MECHANISM, doubt = KB_OK;

	for (size_t row = 0; row < WRAP_SCHEMES; row++)
		for (size_t i = 0; i < sizeof engines / sizeof engines[0]; i++) {
			err = prove(ks, engines[i], &schemes[row], s, kek);
			if (err == KB_OK || is_outage(err))
				return err;
			if (is_doubtful(err))
				doubt = err;
		}
	return doubt != KB_OK ? doubt : err;
}

/* The length of an RSA key's encoding must not be a multiple of 8, or a module that pads would
 * pass: one in five is. */
static bool is_telling(const struct sample *s)
{
	return s->kty != KB_KTY_RSA || secret_len(s->plain) % 8 != 0;
}

/* A sample whose plaintext is known.  Not outage, not KB_OK: there is none, so no engine. */
static enum kb_err sample_make(struct keystore *ks, struct sample *s, EVP_PKEY *kek)
{
	enum kb_err err = KB_E_HSM_MECHANISM;

	const bool made_first = ks->no_plain_import;
	for (unsigned way = 0; way <= 1; way++) {
		const bool is_made = (way == 0) == made_first;
		for (unsigned i = 0; i < RSA_TRIES; i++) {
			sample_drop(ks, s);
			err = is_made ? sample_generate(ks, s) : sample_import(ks, s);
			if (err == KB_OK && is_made)
				err = sample_learn(ks, s, kek);
			if (err != KB_OK || is_telling(s))
				break;
		}
		if (err == KB_OK || is_outage(err))
			break;
	}
	if (err != KB_OK)
		sample_drop(ks, s);
	return err;
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
static enum kb_err choose(struct keystore *ks, const struct wrap_scheme *scheme, struct sample *s,
			  EVP_PKEY *kek, enum wrap_engine *out, enum kb_err *doubt)
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
		  "kty", kty_name(s->kty), "module", kb_err_name(module), "worker",
		  kb_err_name(worker), NULL);
	return KB_OK;
}

static enum kb_err test_all(struct keystore *ks, struct sample sample[static KB_KTY_OCT + 1])
{
	bool is_whole = true;
	EVP_PKEY *kek;
	enum kb_err err, doubt = KB_OK;

	if ((err = own_key(ks, &kek)) != KB_OK)
		return err;
	for (enum kb_kty t = KB_KTY_RSA; t <= KB_KTY_OCT; t++) {
		struct sample *s = &sample[t];
		s->kty = t;
		err = sample_make(ks, s, kek);
		if (is_outage(err))
			return err;
		if (is_doubtful(err))
			doubt = err;
		if (err != KB_OK)
			log_event(LOG_ERROR, "hsm.self_test", "kty", kty_name(t), "sample",
				  kb_err_name(err), "call", ks->fault, NULL);
		if (t == KB_KTY_OCT && (err = prove_check_value(ks, s)) != KB_OK)
			return err;
		for (size_t row = 0; row < WRAP_SCHEMES; row++) {
			enum wrap_engine *engine = &ks->plan.engine[row][t];
			if ((err = choose(ks, &schemes[row], s, kek, engine, &doubt)) != KB_OK)
				return err;
			is_whole = is_whole && *engine != WRAP_NONE;
		}
	}
	return is_whole ? KB_OK : doubt != KB_OK ? doubt : KB_E_HSM_MECHANISM;
}

enum kb_err keystore_self_test(struct keystore *ks)
{
	struct sample sample[KB_KTY_OCT + 1] = {0};
	enum kb_err err;

	if ((err = keystore_guard(ks)) != KB_OK)
		return err;
	fault_begin(ks, NULL);
	ks->plan = (struct wrap_plan){0};
	ks->is_probing = true;
	err = test_all(ks, sample);
	for (enum kb_kty t = KB_KTY_RSA; t <= KB_KTY_OCT; t++)
		sample_drop(ks, &sample[t]);
	ks->is_probing = false;
	return err;
}
