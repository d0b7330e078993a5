/* broker/api/keyvault_release.c — the answer to a release: a JWS (RFC 7515) round the wrapped key,
 * signed by the HSM.  Decides which certificate chains may sign.  Must never write a key that is
 * not wrapped. */
#include <openssl/evp.h>
#include <openssl/x509.h>

#include "api/keyvault.h"
#include "base/b64url.h"
#include "base/digest.h"
#include "base/json.h"
#include "base/limits.h"
#include "base/x509.h"

/* Clients rebuild the chain from x5c and drop the last one as the root (RFC 7515 section 4.1.6:
 * leaf first).  2 … KB_MAX_X5C certificates, each issued by the next, and an RSA leaf. */
static enum kb_err check_chain(const struct x509_chain *chain)
{
	if (chain->n < 2 || chain->n > KB_MAX_X5C)
		return KB_E_CONFIG;
	/* NULL: a kind of key that OpenSSL does not know. */
	EVP_PKEY *leaf_key = X509_get0_pubkey(chain->cert[0]);
	if (leaf_key == NULL || EVP_PKEY_get_base_id(leaf_key) != EVP_PKEY_RSA)
		return KB_E_CONFIG;
	return x509_chain_verify(chain) == KB_OK ? KB_OK : KB_E_CONFIG;
}

enum kb_err keyvault_prepare(struct span pem, struct buf *header_b64, struct buf *leaf_der)
{
	KB_AUTO(x509_chain) struct x509_chain chain = {.n = 0};
	KB_AUTO(buf) struct buf json, certs;
	uint8_t sha1[20] = {0}, sha256[32] = {0};
	bool is_hashed = false;

	buf_init(&json, KB_MAX_REPLY);
	buf_init(&certs, KB_MAX_REPLY);
	enum kb_err err = x509_chain_load(pem, &chain);
	if (err != KB_OK)
		return err == KB_E_NOMEM ? err : KB_E_CONFIG;
	if ((err = check_chain(&chain)) != KB_OK)
		return err;
	for (size_t i = 0; i < chain.n; i++) {
		uint8_t *der = NULL;
		int len = i2d_X509(chain.cert[i], &der);
		if (len <= 0)
			return KB_E_NOMEM;
		if (i == 0) {
			buf_add(leaf_der, der, (size_t)len);
			digest_sha256(span_of(der, (size_t)len), sha256);
			is_hashed = EVP_Digest(der, (size_t)len, sha1, NULL, EVP_sha1(), NULL) == 1;
		}
		buf_add_str(&certs, i == 0 ? "\"" : ",\"");
		b64_encode(&certs, span_of(der, (size_t)len));
		buf_add_str(&certs, "\"");
		OPENSSL_free(der);
	}
	/* Key Vault's kid is the upper-case hex of SHA-1 of the leaf's DER. */
	buf_add_str(&json, "{\"alg\":\"RS256\",\"kid\":\"");
	for (size_t i = 0; i < sizeof sha1; i++)
		buf_addf(&json, "%02X", sha1[i]);
	buf_add_str(&json, "\"");
	json_add_b64url(&json, "x5t", span_of(sha1, sizeof sha1));
	json_add_member(&json, "typ", span_str("JWT"));
	json_add_b64url(&json, "x5t#S256", span_of(sha256, sizeof sha256));
	buf_add_str(&json, ",\"x5c\":[");
	buf_add_span(&json, buf_span(&certs));
	buf_add_str(&json, "]}");
	if (!is_hashed)
		return KB_E_NOMEM;
	if ((err = buf_ok(&certs)) != KB_OK || (err = buf_ok(&json)) != KB_OK)
		return err;
	b64url_encode(header_b64, buf_span(&json));
	if ((err = buf_ok(leaf_der)) != KB_OK)
		return err;
	return buf_ok(header_b64);
}

static void add_key_hsm(struct buf *b, struct span kek_kid, const struct wrap_scheme *scheme,
			struct span wrapped)
{
	KB_AUTO(buf) struct buf hsm;

	buf_init(&hsm, 16384);
	buf_add_str(&hsm, "{\"schema_version\":\"1.0\",\"header\":{");
	json_add_member(&hsm, "kid", kek_kid);
	json_add_member(&hsm, "alg", span_str("dir"));
	json_add_member(&hsm, "enc", span_str(scheme->name));
	buf_add_str(&hsm, "},\"ciphertext\":\"");
	b64url_encode(&hsm, wrapped);
	buf_add_str(&hsm, "\"}");
	if (buf_ok(&hsm) != KB_OK)
		b->failed = true;
	json_add_b64url(b, "key_hsm", buf_span(&hsm));
}

void keyvault_sign_input(const struct call *call, const struct api_release *r, struct buf *payload,
			 struct buf *input)
{
	buf_reset(payload);
	buf_add_str(payload, "{\"request\":{");
	json_add_member(payload, "api-version", call->api_version);
	json_add_member(payload, "enc", span_str(call->scheme->name));
	keyvault_add_kid(payload, r->key,
			 call->version); /* as in the URL: with version or without */
	if (call->nonce.len > 0)
		json_add_member(payload, "nonce", call->nonce);
	buf_add_str(payload, "},\"response\":{\"key\":{\"key\":");
	keyvault_add_jwk(payload, r->key);
	add_key_hsm(payload, r->kek_kid, call->scheme, r->wrapped);
	buf_add_str(payload, "}");
	keyvault_add_rest(payload, r->key, false);
	buf_add_str(payload, "}}}");
	if (buf_ok(payload) != KB_OK)
		input->failed = true;
	buf_add_span(input, r->header);
	buf_add_str(input, ".");
	b64url_encode(input, buf_span(payload));
}

void keyvault_release(const struct api_release *r, struct buf *body)
{
	buf_add_str(body, "{\"value\":\"");
	buf_add_span(body, r->input);
	buf_add_str(body, ".");
	b64url_encode(body, r->signature);
	buf_add_str(body, "\"}");
}

void keyvault_nonce(struct span nonce, struct buf *body)
{
	buf_add_str(body, "{");
	json_add_member(body, "value", nonce);
	buf_add_str(body, "}");
}
