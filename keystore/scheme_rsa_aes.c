/* keystore/scheme_rsa_aes.c — seals and opens RSA-OAEP(kek, aes) ‖ AES-256-KWP(aes, key).  Trusts
 * OpenSSL's RSA.  AES key and plaintext are only in struct secret and are wiped with the call.
 * Must never open a blob that is not exactly of this layout. */
#include "keystore/scheme_rsa_aes.h"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>

#include "base/limits.h"
#include "base/secret.h"
#include "keystore/kwp.h"

enum { KWP_LEAST = 16, KWP_OVERHEAD = 8 };

static const char *digest_name(enum oaep_hash hash)
{
	switch (hash) {
	case OAEP_NONE:
		break;
	case OAEP_SHA1:
		return "SHA1";
	case OAEP_SHA256:
		return "SHA256";
	case OAEP_SHA384:
		return "SHA384";
	}
	KB_BUG();
}

/* RFC 8017 section 7.1, empty label.  Key Vault's clients use the label's hash for MGF1, too. */
static EVP_PKEY_CTX *oaep_new(EVP_PKEY *key, enum oaep_hash hash,
			      int (*init)(EVP_PKEY_CTX *, const OSSL_PARAM *))
{
	char *digest = (char *)digest_name(hash); /* OSSL_PARAM is not const */
	const OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_ASYM_CIPHER_PARAM_PAD_MODE,
						 (char *)OSSL_PKEY_RSA_PAD_MODE_OAEP, 0),
		OSSL_PARAM_construct_utf8_string(OSSL_ASYM_CIPHER_PARAM_OAEP_DIGEST, digest, 0),
		OSSL_PARAM_construct_utf8_string(OSSL_ASYM_CIPHER_PARAM_MGF1_DIGEST, digest, 0),
		OSSL_PARAM_construct_end(),
	};
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, key, NULL);

	if (ctx != NULL && init(ctx, params) == 1)
		return ctx;
	EVP_PKEY_CTX_free(ctx);
	return NULL;
}

static enum kb_err oaep_seal(EVP_PKEY *key, enum oaep_hash hash, struct span aes,
			     struct buf *wrapped)
{
	size_t size = (size_t)EVP_PKEY_get_size(key), len = size, from = wrapped->len;

	uint8_t *out = buf_reserve(wrapped, size);
	if (out == NULL)
		return KB_E_NOMEM;
	EVP_PKEY_CTX *ctx = oaep_new(key, hash, EVP_PKEY_encrypt_init_ex);
	bool good =
		ctx != NULL && EVP_PKEY_encrypt(ctx, out, &len, aes.p, aes.len) == 1 && len == size;
	EVP_PKEY_CTX_free(ctx);
	if (good)
		return KB_OK;
	wrapped->len = from;
	return KB_E_WRAP;
}

enum kb_err rsa_oaep_open(void *evp_pkey, enum oaep_hash hash, struct span ciphertext,
			  struct secret **out)
{
	EVP_PKEY *key = evp_pkey;
	size_t len = (size_t)EVP_PKEY_get_size(key);
	KB_AUTO(secret) struct secret *plain = secret_new(len);

	*out = NULL;
	if (plain == NULL)
		return KB_E_NOMEM;
	EVP_PKEY_CTX *ctx = oaep_new(key, hash, EVP_PKEY_decrypt_init_ex);
	bool good = ctx != NULL && EVP_PKEY_decrypt(ctx, secret_bytes(plain), &len, ciphertext.p,
						    ciphertext.len) == 1;
	EVP_PKEY_CTX_free(ctx);
	ERR_clear_error();
	if (!good)
		return KB_E_WRAP;
	secret_trim(plain, len);
	*out = plain;
	plain = NULL;
	return KB_OK;
}

enum kb_err rsa_aes_seal(const struct wrap_scheme *s, const struct wrapping_key *kek,
			 struct span plain, struct buf *wrapped)
{
	size_t from = wrapped->len;
	enum kb_err err;
	KB_AUTO(secret) struct secret *aes = NULL;

	if ((err = secret_random(RSA_AES_KEY_BYTES, &aes)) != KB_OK ||
	    (err = oaep_seal(kek->evp, s->oaep, secret_span(aes), wrapped)) != KB_OK)
		return err;
	if ((err = kwp_wrap(secret_bytes(aes), plain, wrapped)) != KB_OK)
		wrapped->len = from;
	return err;
}

size_t rsa_aes_size(size_t kek_bytes, size_t plain_len)
{
	return kek_bytes + kwp_wrapped_len(plain_len);
}

bool rsa_aes_split(size_t kek_bytes, struct span wrapped, struct span *key, struct span *payload)
{
	*key = span_sub(wrapped, 0, kek_bytes);
	*payload = span_sub(wrapped, kek_bytes, wrapped.len);
	return key->len == kek_bytes && payload->len >= KWP_LEAST && payload->len % 8 == 0;
}

enum kb_err rsa_aes_open(const struct wrap_scheme *s, const struct unwrapping_key *kek,
			 struct span wrapped, struct secret **out)
{
	struct span key, payload;
	size_t len;
	enum kb_err err;
	KB_AUTO(secret) struct secret *aes = NULL, *plain = NULL;

	*out = NULL;
	if (kek->kind != s->kek)
		return KB_E_KEY_TYPE;
	if (!rsa_aes_split(kek->bytes, wrapped, &key, &payload) ||
	    payload.len > KB_MAX_SECRET + KWP_OVERHEAD)
		return KB_E_WRAP;
	if ((err = kek->oaep_open(kek->holder, s->oaep, key, &aes)) != KB_OK)
		return err;
	if (secret_len(aes) != RSA_AES_KEY_BYTES)
		return KB_E_WRAP;
	if ((plain = secret_new(payload.len - KWP_OVERHEAD)) == NULL)
		return KB_E_NOMEM;
	if ((err = kwp_unwrap(secret_bytes(aes), payload, secret_bytes(plain), secret_len(plain),
			      &len)) != KB_OK)
		return err;
	secret_trim(plain, len);
	*out = plain;
	plain = NULL;
	return KB_OK;
}
