/* broker/guest/ephemeral.c — the ephemeral key. Trusts OpenSSL or the TPM with the private half;
 * never writes it anywhere. In software its secret numbers are in OpenSSL's secure heap, which
 * OpenSSL uses for RSA keys once it is set up. */
#include "guest/ephemeral.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/b64url.h"
#include "base/json.h"
#include "base/limits.h"
#include "base/thumbprint.h"
#include "guest/tpm.h"
#include "keystore/scheme_rsa_aes.h"

enum { RUNTIME_DATA_MAX = 16384, N_BYTES = KB_RSA_MIN_BITS / 8 };

struct ephemeral {
	EVP_PKEY *key;         /* NULL: in the TPM */
	struct guest_tpm *tpm; /* borrowed */
	uint8_t n[N_BYTES], e[4];
	size_t n_len, e_len;
};

static enum kb_err take_number(EVP_PKEY *key, const char *name, uint8_t *out, size_t cap,
			       size_t *len)
{
	BIGNUM *bn = NULL;
	enum kb_err err = KB_E_KEY_SIZE;

	if (EVP_PKEY_get_bn_param(key, name, &bn) == 1 && BN_num_bytes(bn) > 0 &&
	    (size_t)BN_num_bytes(bn) <= cap) {
		*len = (size_t)BN_bn2bin(bn, out);
		err = KB_OK;
	}
	BN_free(bn);
	return err;
}

/* Takes ownership of the key. */
static enum kb_err of_key(EVP_PKEY *key, struct ephemeral **out)
{
	struct ephemeral *e = calloc(1, sizeof *e);
	enum kb_err err = KB_E_NOMEM;

	if (e == NULL) {
		EVP_PKEY_free(key);
		return err;
	}
	e->key = key;
	/* Other clients and brokers of this protocol expect 256 bytes of OAEP ciphertext. */
	err = EVP_PKEY_get_bits(key) == KB_RSA_MIN_BITS ? KB_OK : KB_E_KEY_SIZE;
	if (err == KB_OK)
		err = take_number(key, OSSL_PKEY_PARAM_RSA_N, e->n, sizeof e->n, &e->n_len);
	if (err == KB_OK)
		err = take_number(key, OSSL_PKEY_PARAM_RSA_E, e->e, sizeof e->e, &e->e_len);
	if (err != KB_OK) {
		ephemeral_free(e);
		return err;
	}
	*out = e;
	return KB_OK;
}

enum kb_err ephemeral_make(struct ephemeral **out)
{
	*out = NULL;
	EVP_PKEY *key = EVP_RSA_gen(KB_RSA_MIN_BITS);
	return key == NULL ? KB_E_SYS : of_key(key, out);
}

enum kb_err ephemeral_load(const char *pem_file, struct ephemeral **out)
{
	FILE *f = fopen(pem_file, "re");

	*out = NULL;
	if (f == NULL)
		return KB_E_FILE;
	setvbuf(f, NULL, _IONBF, 0); /* no copy of the key in stdio's buffer */
	EVP_PKEY *key = PEM_read_PrivateKey(f, NULL, NULL, "");
	fclose(f);
	ERR_clear_error();
	if (key == NULL)
		return KB_E_KEY_FORMAT;
	if (EVP_PKEY_get_base_id(key) != EVP_PKEY_RSA) {
		EVP_PKEY_free(key);
		return KB_E_KEY_TYPE;
	}
	return of_key(key, out);
}

enum kb_err ephemeral_in_tpm(struct guest_tpm *tpm, struct ephemeral **out)
{
	struct ephemeral *e = calloc(1, sizeof *e);

	*out = NULL;
	if (e == NULL)
		return KB_E_NOMEM;
	e->tpm = tpm;
	enum kb_err err = tpm_public(tpm, e->n, &e->n_len, e->e, &e->e_len);
	if (err == KB_OK && e->n_len != N_BYTES)
		err = KB_E_KEY_SIZE;
	if (err != KB_OK) {
		ephemeral_free(e);
		return err;
	}
	*out = e;
	return KB_OK;
}

void ephemeral_free(struct ephemeral *e)
{
	if (e == NULL)
		return;
	EVP_PKEY_free(e->key);
	free(e);
}

struct span ephemeral_n(const struct ephemeral *e)
{
	return span_of(e->n, e->n_len);
}

struct span ephemeral_e(const struct ephemeral *e)
{
	return span_of(e->e, e->e_len);
}

enum kb_err ephemeral_thumbprint(const struct ephemeral *e, struct buf *out)
{
	uint8_t digest[32];
	enum kb_err err = thumbprint_rsa(ephemeral_n(e), ephemeral_e(e), digest);

	if (err != KB_OK)
		return err;
	b64url_encode(out, span_of(digest, sizeof digest));
	return buf_ok(out);
}

enum kb_err ephemeral_runtime_data(const struct ephemeral *e, const struct buf *certify,
				   const struct buf *signature, struct buf *out)
{
	KB_AUTO(buf) struct buf kid;

	buf_init(&kid, 64);
	enum kb_err err = ephemeral_thumbprint(e, &kid);
	if (err != KB_OK)
		return err;
	buf_init(out, RUNTIME_DATA_MAX);
	buf_add_str(out, "{\"keys\":[{");
	json_add_b64url(out, "e", ephemeral_e(e));
	buf_add_str(out, ",\"key_ops\":[\"encrypt\"]");
	json_add_member(out, "kid", buf_span(&kid));
	json_add_member(out, "kty", span_str("RSA"));
	json_add_b64url(out, "n", ephemeral_n(e));
	buf_add_str(out, "}]");
	if (certify != NULL) {
		buf_add_str(out, ",\"tpm\":{");
		json_add_b64url(out, "certifyInfo", buf_span(certify));
		json_add_b64url(out, "certifyInfoSignature", buf_span(signature));
		buf_add_str(out, "}");
	}
	buf_add_str(out, "}");
	return buf_ok(out);
}

enum kb_err ephemeral_decrypt(struct ephemeral *e, enum oaep_hash hash, struct span ciphertext,
			      struct secret **out)
{
	return e->tpm != NULL ? tpm_decrypt(e->tpm, hash, ciphertext, out)
			      : rsa_oaep_open(e->key, hash, ciphertext, out);
}
