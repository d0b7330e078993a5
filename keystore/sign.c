/* keystore/sign.c — RS256 by the release signer, which never leaves the HSM.  This process hashes:
 * CKM_RSA_PKCS over 51 bytes costs the module the same as hashing inside. Must never sign anything
 * but a DigestInfo made here, nor return a signature that does not verify: one faulty RSA-CRT
 * signature reveals the private key (Boneh, DeMillo, Lipton 1997). */
#include "keystore/sign.h"

#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include "base/digest.h"
#include "base/evp.h"
#include "base/secret.h"
#include "keystore/module.h"

enum { DIGEST_BYTES = 32 };

/* RFC 8017 §9.2, note 1: DigestInfo of SHA-256 up to the hash. */
static const uint8_t digest_info[] = {0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01,
				      0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20};

/* The key's public part for OpenSSL, made once. */
static enum kb_err verifier(const struct hsm_key *signer)
{
	struct hsm_key *own = (struct hsm_key *)signer; /* ours: the const is for our callers */

	return own->verifier != NULL
		       ? KB_OK
		       : evp_rsa_public(span_of(signer->public.n, signer->public.n_len),
					span_of(signer->public.e, signer->public.e_len),
					&own->verifier);
}

static enum kb_err signature_check(const struct hsm_key *signer, const uint8_t *digest,
				   struct span sig)
{
	enum kb_err err = verifier(signer);

	if (err != KB_OK)
		return err;
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(signer->verifier, NULL);
	bool is_made = ctx != NULL && EVP_PKEY_verify_init(ctx) == 1 &&
		       EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PADDING) == 1 &&
		       EVP_PKEY_CTX_set_signature_md(ctx, EVP_sha256()) == 1;
	bool good = is_made && EVP_PKEY_verify(ctx, sig.p, sig.len, digest, DIGEST_BYTES) == 1;
	EVP_PKEY_CTX_free(ctx);
	return good ? KB_OK : is_made ? KB_E_HSM_OUTPUT : KB_E_NOMEM;
}

static enum kb_err sign_once(struct keystore *ks, const struct hsm_key *signer, uint8_t *text,
			     size_t text_len, uint8_t *out, size_t cap)
{
	CK_MECHANISM mech = {CKM_RSA_PKCS, NULL, 0};
	CK_ULONG n = cap;
	enum kb_err err;

	if ((err = P11(ks, C_SignInit, ks->session, &mech, signer->handle)) != KB_OK)
		return err;
	if ((err = P11(ks, C_Sign, ks->session, text, text_len, out, &n)) != KB_OK)
		return err;
	return n == signer->public.n_len
		       ? KB_OK
		       : fault_is(ks, KB_E_HSM_OUTPUT, "C_Sign: a signature of a wrong length");
}

/* Into `out`, of at least the modulus' length. */
static enum kb_err sign_into(struct keystore *ks, const struct hsm_key *signer,
			     const uint8_t digest[static 32], uint8_t *out, size_t cap)
{
	uint8_t text[sizeof digest_info + DIGEST_BYTES];
	enum kb_err err;

	if ((err = keystore_guard(ks)) != KB_OK)
		return err;
	fault_begin(ks, signer->uri);
	if (signer->public.kty != KB_KTY_RSA)
		return fault_is(ks, KB_E_HSM_KEY_ATTR, "a signer must be an RSA key");
	memcpy(text, digest_info, sizeof digest_info);
	memcpy(text + sizeof digest_info, digest, DIGEST_BYTES);
	for (unsigned attempt = 1;; attempt++) {
		err = sign_once(ks, signer, text, sizeof text, out, cap);
		if (err == KB_OK || attempt == KB_HSM_ATTEMPTS ||
		    (err = key_recover(ks, signer, err)) != KB_OK)
			break;
	}
	if (err != KB_OK)
		return err;
	return fault_is(ks, signature_check(signer, digest, span_of(out, signer->public.n_len)),
			"C_Sign: a signature that does not verify");
}

enum kb_err keystore_sign(struct keystore *ks, const struct hsm_key *signer,
			  const uint8_t digest[static 32], struct buf *signature)
{
	uint8_t out[KB_RSA_MAX_BITS / 8] = {0};
	enum kb_err err;

	if ((err = sign_into(ks, signer, digest, out, sizeof out)) != KB_OK)
		return err;
	buf_add(signature, out, signer->public.n_len);
	return buf_ok(signature);
}

enum kb_err keystore_derive(struct keystore *ks, const struct hsm_key *signer, struct span text,
			    struct secret **out)
{
	uint8_t digest[DIGEST_BYTES];
	enum kb_err err;
	KB_AUTO(secret) struct secret *signature = NULL;

	*out = NULL;
	if ((signature = secret_new(KB_RSA_MAX_BITS / 8)) == NULL)
		return KB_E_NOMEM;
	digest_sha256(text, digest);
	if ((err = sign_into(ks, signer, digest, secret_bytes(signature), secret_len(signature))) !=
	    KB_OK)
		return err;
	secret_trim(signature, signer->public.n_len);
	if ((*out = secret_new(DIGEST_BYTES)) == NULL)
		return KB_E_NOMEM;
	digest_sha256(secret_span(signature), secret_bytes(*out));
	return KB_OK;
}

/* 1 only when `sig` is right. */
static bool verify(EVP_PKEY *key, struct span text, struct span sig)
{
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	bool good = md != NULL &&
		    EVP_DigestVerifyInit_ex(md, NULL, "SHA256", NULL, NULL, key, NULL) == 1 &&
		    EVP_DigestVerify(md, sig.p, sig.len, text.p, text.len) == 1;

	EVP_MD_CTX_free(md);
	return good;
}

enum kb_err keystore_prove_signer(struct keystore *ks, const struct hsm_key *signer,
				  struct span leaf_der)
{
	struct span text = span_str("keybroker: is this the key of the certificate?");
	uint8_t digest[DIGEST_BYTES];
	const unsigned char *at = leaf_der.p;
	enum kb_err err = KB_E_HSM_KEY_ATTR;
	KB_AUTO(buf) struct buf sig;
	buf_init(&sig, KB_RSA_MAX_BITS / 8);

	X509 *leaf = d2i_X509(NULL, &at, (long)leaf_der.len);
	EVP_PKEY *key = leaf == NULL ? NULL : X509_get0_pubkey(leaf);
	if (key == NULL || at != leaf_der.p + leaf_der.len || !EVP_PKEY_is_a(key, "RSA"))
		goto out;
	digest_sha256(text, digest);
	if ((err = keystore_sign(ks, signer, digest, &sig)) != KB_OK)
		goto out;
	err = verify(key, text, buf_span(&sig)) ? KB_OK : KB_E_HSM_KEY_ATTR;
	err = fault_is(ks, err, "not the key of the certificate");
out:
	X509_free(leaf);
	return err;
}
