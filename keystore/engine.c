/* keystore/engine.c — the two engines that wrap a key for a client. WRAP_MODULE: everything inside
 * the module; nothing can be repaired outside, so only where it is proved exact. WRAP_WORKER: the
 * module hands the key out under the transport key, this process makes its plaintext exact
 * (pkcs8.c) and seals it by the scheme. Plaintext is only in struct secret and is wiped with the
 * call. */
#include "keystore/engine.h"

#include <openssl/evp.h>

#include "base/secret.h"
#include "keystore/kwp.h"
#include "keystore/object.h"
#include "keystore/pkcs8.h"
#include "keystore/scheme_rsa_aes.h"

/* ---- worker ---- */

/* If the token's file is damaged where a key is stored, the module decrypts it to another key
 * without an error. RSA and EC keys are compared by their public numbers, symmetric keys by the
 * check value. */
bool check_value_fits(const struct keystore *ks, const struct hsm_public *p,
		      const struct secret *plain)
{
	uint8_t digest[20];

	if (!ks->has_check_values || !p->has_check || !p->is_generic)
		return true;
	struct span s = secret_span(plain);
	bool fits = EVP_Digest(s.p, s.len, digest, NULL, EVP_sha1(), NULL) == 1 &&
		    memcmp(digest, p->check, sizeof p->check) == 0;
	explicit_bzero(digest, sizeof digest);
	return fits;
}

/* Out of the module under the transport key. */
static enum kb_err seal(struct keystore *ks, CK_OBJECT_HANDLE target, uint8_t *sealed, size_t cap,
			size_t *len)
{
	CK_MECHANISM mech = {CKM_AES_KEY_WRAP_PAD, NULL, 0};
	CK_ULONG n = cap;
	enum kb_err err;

	*len = 0;
	if ((err = transport_ready(ks)) != KB_OK)
		return err;
	if ((err = P11(ks, C_WrapKey, ks->session, &mech, ks->transport_key, target, sealed, &n)) !=
	    KB_OK)
		return err;
	if (n < 16 || n > cap)
		return fault_is(ks, KB_E_HSM_OUTPUT, "C_WrapKey: an output of a wrong length");
	*len = n;
	return KB_OK;
}

/* Detect a module that returns the answer of the previous call: for symmetric keys nothing else
 * would show it. Two objects may hold the same key, so ask again under a new transport key: an old
 * answer does not unwrap under it. */
static enum kb_err seal_fresh(struct keystore *ks, CK_OBJECT_HANDLE target, uint8_t *sealed,
			      size_t cap, size_t *len)
{
	enum kb_err err = seal(ks, target, sealed, cap, len);

	if (err == KB_OK && target != ks->last_sealed_key &&
	    span_eq(buf_span(&ks->last_sealed), span_of(sealed, *len))) {
		transport_drop(ks);
		err = seal(ks, target, sealed, cap, len);
	}
	if (err != KB_OK)
		return err;
	buf_reset(&ks->last_sealed);
	buf_add(&ks->last_sealed, sealed, *len);
	ks->last_sealed_key = target;
	return buf_ok(&ks->last_sealed);
}

/* The key's exact plaintext. */
static enum kb_err fetch_plain(struct keystore *ks, const struct wrap_job *job, struct secret **out)
{
	uint8_t sealed[KB_MAX_SECRET + 8];
	size_t n, len;
	enum kb_err err;
	KB_AUTO(secret) struct secret *plain = NULL;

	*out = NULL;
	if ((err = seal_fresh(ks, job->target, sealed, sizeof sealed, &n)) != KB_OK)
		return err;
	if ((plain = secret_new(n - 8)) == NULL)
		return KB_E_NOMEM;
	if (kwp_unwrap(secret_bytes(ks->transport), span_of(sealed, n), secret_bytes(plain),
		       secret_len(plain), &len) != KB_OK)
		return fault_is(ks, KB_E_HSM_OUTPUT, "C_WrapKey: an output that is not RFC 5649");
	secret_trim(plain, len);
	if ((err = plain_exact(&plain, job->public)) != KB_OK)
		return fault_is(ks, err, "C_WrapKey: not the key that the object's numbers are of");
	if (!check_value_fits(ks, job->public, plain))
		return fault_is(ks, KB_E_HSM_OUTPUT,
				"C_WrapKey: not the key that CKA_CHECK_VALUE is of");
	*out = plain;
	plain = NULL;
	return KB_OK;
}

static enum kb_err run_worker(struct keystore *ks, const struct wrap_job *job, struct buf *wrapped)
{
	enum kb_err err;
	KB_AUTO(secret) struct secret *plain = NULL;

	if ((err = fetch_plain(ks, job, &plain)) != KB_OK)
		return err;
	return fault_is(ks, job->scheme->seal(job->scheme, job->kek, secret_span(plain), wrapped),
			"OpenSSL could not seal the key");
}

/* ---- module ---- */

static enum kb_err aes_generate(struct keystore *ks, CK_OBJECT_HANDLE *out)
{
	CK_ULONG len = RSA_AES_KEY_BYTES;
	struct object_plan p = {.way = BY_KEY,
				.kind = KIND_CONTENT,
				.half = HALF_SECRET,
				.mech = {CKM_AES_KEY_GEN, NULL, 0}};

	template_add(&p.own, CKA_VALUE_LEN, &len, sizeof len);
	return object_make(ks, &p, out, NULL);
}

/* One C_WrapKey, whose length must be in [least, most]. */
static enum kb_err wrap_into(struct keystore *ks, CK_MECHANISM *mech, CK_OBJECT_HANDLE by,
			     CK_OBJECT_HANDLE key, size_t least, size_t most, struct buf *wrapped)
{
	uint8_t out[KB_MAX_SECRET + 8];
	CK_ULONG n = sizeof out;
	enum kb_err err;

	if ((err = P11(ks, C_WrapKey, ks->session, mech, by, key, out, &n)) != KB_OK)
		return err;
	if (n < least || n > most || n > sizeof out)
		return fault_is(ks, KB_E_HSM_OUTPUT, "C_WrapKey: an output of a wrong length");
	buf_add(wrapped, out, n);
	return buf_ok(wrapped);
}

static enum kb_err destroy(struct keystore *ks, CK_OBJECT_HANDLE object, enum kb_err so_far)
{
	enum kb_err err =
		object == CK_INVALID_HANDLE ? KB_OK : P11(ks, C_DestroyObject, ks->session, object);

	/* An object left behind at each call would fill the module. */
	return so_far != KB_OK ? so_far : err;
}

/* False: a scheme without OAEP, which the module is not asked to do. */
static bool oaep_params(enum oaep_hash hash, CK_RSA_PKCS_OAEP_PARAMS *out)
{
	switch (hash) {
	case OAEP_NONE:
		return false;
	case OAEP_SHA1:
		out->hashAlg = CKM_SHA_1;
		out->mgf = CKG_MGF1_SHA1;
		return true;
	case OAEP_SHA256:
		out->hashAlg = CKM_SHA256;
		out->mgf = CKG_MGF1_SHA256;
		return true;
	case OAEP_SHA384:
		out->hashAlg = CKM_SHA384;
		out->mgf = CKG_MGF1_SHA384;
		return true;
	}
	KB_BUG();
}

static enum kb_err run_module(struct keystore *ks, const struct wrap_job *job, struct buf *wrapped)
{
	CK_RSA_PKCS_OAEP_PARAMS params = {.source = CKZ_DATA_SPECIFIED};
	CK_MECHANISM mech_oaep = {CKM_RSA_PKCS_OAEP, &params, sizeof params},
		     mech_kwp = {CKM_AES_KEY_WRAP_PAD, NULL, 0};
	CK_OBJECT_HANDLE aes = CK_INVALID_HANDLE, kek = CK_INVALID_HANDLE;
	size_t modulus = (size_t)EVP_PKEY_get_size(job->kek->evp);
	size_t least, most;
	enum kb_err err;

	if (!oaep_params(job->scheme->oaep, &params))
		return KB_E_HSM_MECHANISM;
	plain_bounds(job->public, &least, &most);
	if ((err = aes_generate(ks, &aes)) == KB_OK)
		err = wrapping_put(ks, job->kek->evp, &kek);
	if (err == KB_OK)
		err = wrap_into(ks, &mech_oaep, kek, aes, modulus, modulus, wrapped);
	if (err == KB_OK)
		err = wrap_into(ks, &mech_kwp, aes, job->target, kwp_wrapped_len(least),
				kwp_wrapped_len(most), wrapped);
	err = destroy(ks, kek, err);
	return destroy(ks, aes, err);
}

enum kb_err engine_run(struct keystore *ks, enum wrap_engine engine, const struct wrap_job *job,
		       struct buf *wrapped)
{
	size_t from = wrapped->len;
	bool had_failed = wrapped->failed;
	enum kb_err err;

	if ((err = scheme_accepts(job->scheme, job->kek)) != KB_OK)
		return fault_is(ks, err, "the wrapping key is outside of the scheme's limits");
	switch (engine) {
	case WRAP_NONE:
		err = fault_is(ks, KB_E_HSM_MECHANISM,
			       "the self-test found no way to wrap keys of this type");
		break;
	case WRAP_MODULE:
		err = run_module(ks, job, wrapped);
		break;
	case WRAP_WORKER:
		err = run_worker(ks, job, wrapped);
		break;
	}
	if (err != KB_OK) {
		wrapped->len = from;
		wrapped->failed = had_failed;
	}
	return err;
}
