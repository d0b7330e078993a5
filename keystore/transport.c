/* keystore/transport.c — the session's transport key: an AES key that this process and the module
 * both know, under which keys come out of the module and go into it.  This process must know it,
 * because what a module wraps may need repair outside (pkcs8.c).  Decides how both get to know it.
 * Trusts the module to keep a session key to its session. */
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>

#include "base/secret.h"
#include "keystore/object.h"
#include "keystore/scheme_rsa_aes.h"

enum { TRANSPORT_BYTES = RSA_AES_KEY_BYTES };

static CK_OBJECT_CLASS class_secret = CKO_SECRET_KEY, class_public = CKO_PUBLIC_KEY;
static CK_KEY_TYPE type_aes = CKK_AES, type_rsa = CKK_RSA;

bool is_plain_forbidden(enum kb_err err)
{
	/* Modules have no common code for it. */
	return err == KB_E_HSM_KEY_ATTR || err == KB_E_HSM_MECHANISM || err == KB_E_HSM;
}

void transport_drop(struct keystore *ks)
{
	object_destroy(ks, ks->transport_key);
	ks->transport_key = CK_INVALID_HANDLE;
	secret_free(ks->transport);
	ks->transport = NULL;
	buf_reset(&ks->last_sealed); /* under another key nothing can be the same */
}

/* The module gets our random bytes, and no key of the module has to leave it. */
static enum kb_err put_in(struct keystore *ks)
{
	struct object_plan p = {.way = BY_VALUE, .kind = KIND_TRANSPORT, .half = HALF_SECRET};
	enum kb_err err = secret_random(TRANSPORT_BYTES, &ks->transport);

	if (err != KB_OK)
		return err;
	template_add(&p.own, CKA_CLASS, &class_secret, sizeof class_secret);
	template_add(&p.own, CKA_KEY_TYPE, &type_aes, sizeof type_aes);
	template_add(&p.own, CKA_VALUE, secret_bytes(ks->transport), TRANSPORT_BYTES);
	return object_make(ks, &p, &ks->transport_key, NULL);
}

enum kb_err own_key(struct keystore *ks, EVP_PKEY **out)
{
	if (ks->own == NULL)
		ks->own = EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)KB_RSA_MIN_BITS);
	*out = ks->own;
	return ks->own == NULL ? KB_E_NOMEM : KB_OK;
}

enum kb_err wrapping_put(struct keystore *ks, const EVP_PKEY *key, CK_OBJECT_HANDLE *out)
{
	uint8_t n[KB_RSA_MAX_BITS / 8], e[KB_RSA_MAX_E_BITS / 8];
	BIGNUM *bn_n = NULL, *bn_e = NULL;
	struct object_plan p = {.way = BY_VALUE, .kind = KIND_WRAPPING, .half = HALF_PUBLIC};
	enum kb_err err = KB_E_WRAP;

	*out = CK_INVALID_HANDLE;
	if (EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_N, &bn_n) != 1 ||
	    EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_E, &bn_e) != 1 ||
	    BN_num_bytes(bn_n) > (int)sizeof n || BN_num_bytes(bn_e) > (int)sizeof e)
		goto out;
	template_add(&p.own, CKA_CLASS, &class_public, sizeof class_public);
	template_add(&p.own, CKA_KEY_TYPE, &type_rsa, sizeof type_rsa);
	template_add(&p.own, CKA_MODULUS, n, (size_t)BN_bn2bin(bn_n, n));
	template_add(&p.own, CKA_PUBLIC_EXPONENT, e, (size_t)BN_bn2bin(bn_e, e));
	err = object_make(ks, &p, out, NULL);
out:
	BN_free(bn_n);
	BN_free(bn_e);
	return err == KB_E_WRAP ? fault_is(ks, err, "the wrapping key has no numbers of RSA") : err;
}

/* The module wraps its AES key for an RSA key of this process. */
static enum kb_err take_wrapped(struct keystore *ks, CK_OBJECT_HANDLE own, EVP_PKEY *key)
{
	static const struct {
		enum oaep_hash hash;
		CK_RSA_PKCS_OAEP_PARAMS params;
	} ways[] = {
		{OAEP_SHA256, {CKM_SHA256, CKG_MGF1_SHA256, CKZ_DATA_SPECIFIED, NULL, 0}},
		{OAEP_SHA1, {CKM_SHA_1, CKG_MGF1_SHA1, CKZ_DATA_SPECIFIED, NULL, 0}},
	};
	uint8_t wrapped[KB_RSA_MIN_BITS / 8];
	enum kb_err err = KB_E_BUG;

	for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
		CK_RSA_PKCS_OAEP_PARAMS params = ways[i].params;
		CK_MECHANISM mech = {CKM_RSA_PKCS_OAEP, &params, sizeof params};
		CK_ULONG n = sizeof wrapped;
		if ((err = P11(ks, C_WrapKey, ks->session, &mech, own, ks->transport_key, wrapped,
			       &n)) != KB_OK)
			continue;
		err = n != sizeof wrapped ? KB_E_WRAP
					  : rsa_oaep_open(key, ways[i].hash, span_of(wrapped, n),
							  &ks->transport);
		if (err == KB_OK && secret_len(ks->transport) != TRANSPORT_BYTES)
			err = KB_E_WRAP;
		if (err != KB_E_WRAP) /* SHA-1 although SHA-256 was asked for? */
			break;
		secret_free(ks->transport);
		ks->transport = NULL;
		err = fault_is(ks, KB_E_HSM_OUTPUT, "C_WrapKey: RSA-OAEP of another hash or key");
	}
	return err;
}

/* No plaintext goes in: an AES key is made in the module. */
static enum kb_err take_out(struct keystore *ks)
{
	CK_ULONG len = TRANSPORT_BYTES;
	CK_OBJECT_HANDLE own;
	EVP_PKEY *key;
	struct object_plan p = {.way = BY_KEY,
				.kind = KIND_TRANSPORT_MADE,
				.half = HALF_SECRET,
				.mech = {CKM_AES_KEY_GEN, NULL, 0}};
	enum kb_err err = own_key(ks, &key);

	if (err != KB_OK || (err = wrapping_put(ks, key, &own)) != KB_OK)
		return err;
	template_add(&p.own, CKA_VALUE_LEN, &len, sizeof len);
	if ((err = object_make(ks, &p, &ks->transport_key, NULL)) == KB_OK)
		err = take_wrapped(ks, own, key);
	object_destroy(ks, own);
	return err;
}

enum kb_err transport_ready(struct keystore *ks)
{
	enum kb_err err = KB_OK;

	if (ks->transport_key != CK_INVALID_HANDLE)
		return KB_OK;
	bool was_probing = ks->is_probing;
	if (!ks->no_plain_import) {
		/* a refusal is an answer: there is another way */
		ks->is_probing = true;
		err = put_in(ks);
		ks->is_probing = was_probing;
	}
	if (ks->no_plain_import || is_plain_forbidden(err)) {
		transport_drop(ks);
		err = take_out(ks);
		ks->no_plain_import = ks->no_plain_import || err == KB_OK;
	}
	if (err == KB_OK)
		return KB_OK;
	transport_drop(ks);
	/* The key that was asked for is not to blame. */
	return err == KB_E_HSM_KEY_ATTR ? KB_E_HSM_MECHANISM : err;
}
