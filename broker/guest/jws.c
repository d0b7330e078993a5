/* broker/guest/jws.c — decides whether a reply is signed by a key that the given CA certifies for
 * this host as that of a release signer. Trusts that CA and nothing in the reply. The reply cannot
 * choose: RS256 is the only algorithm, and x5c counts only with a chain to the CA. A TLS
 * certificate of the same CA is no signer's: a gateway must not be able to sign releases. */
#include "guest/jws.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>

#include "base/b64url.h"
#include "base/json.h"
#include "base/limits.h"

static void chain_cleanup(STACK_OF(X509) * *chain)
{
	sk_X509_pop_free(*chain, X509_free);
}

static enum kb_err chain_load(const struct json_t *header, STACK_OF(X509) * *out)
{
	const struct json_t *x5c;
	struct span text;

	*out = sk_X509_new_null();
	if (*out == NULL)
		return KB_E_NOMEM;
	if (json_get_arr(header, "x5c", &x5c) != KB_OK || json_len(x5c) == 0 ||
	    json_len(x5c) > KB_MAX_X5C)
		return KB_E_TOKEN_HEADER;
	for (size_t i = 0; i < json_len(x5c); i++) {
		KB_AUTO(buf) struct buf der;
		buf_init(&der, KB_GUEST_HEAD);
		if (json_as_str(json_at(x5c, i), KB_GUEST_HEAD, &text) != KB_OK ||
		    b64_decode(text, &der) != KB_OK)
			return KB_E_TOKEN_HEADER;
		const uint8_t *p = der.p;
		X509 *x = d2i_X509(NULL, &p, (long)der.len);
		if (x == NULL || p != der.p + der.len || sk_X509_push(*out, x) <= 0) {
			X509_free(x);
			return KB_E_TOKEN_HEADER;
		}
	}
	return KB_OK;
}

/* RFC 7515 section 4.1.6: each certificate certifies the one before it. Other clients rely on this
 * order. */
static enum kb_err chain_in_order(STACK_OF(X509) * chain)
{
	for (int i = 0; i + 1 < sk_X509_num(chain); i++) {
		X509 *x = sk_X509_value(chain, i), *issuer = sk_X509_value(chain, i + 1);
		if (X509_check_issued(issuer, x) != X509_V_OK ||
		    X509_verify(x, X509_get0_pubkey(issuer)) != 1)
			return KB_E_KID_UNKNOWN;
	}
	return KB_OK;
}

/* `path`: the verified chain, from the leaf to the trust anchor. */
static enum kb_err role_verify(STACK_OF(X509) * path, const struct signer *s, const char **hint)
{
	X509 *certs[X509_MAX_CHAIN], *leaf = sk_X509_value(path, 0);
	uint8_t pin[X509_PIN_BYTES];
	size_t n = 0;

	*hint = "check: that this is the broker itself: its TLS server signed the reply with its "
		"own "
		"key";
	if (x509_same_key(s->peer, X509_get0_pubkey(leaf)))
		return KB_E_KEY_USE;
	*hint = "check: the key usage of the signer's certificate, which does not allow signatures";
	if (!x509_may_sign(leaf))
		return KB_E_KEY_USE;
	if (s->n_pins > 0) {
		*hint = "check: --signer-pin: the reply's signer has another key; `keybrokerctl "
			"check` "
			"and keybroker-guest(8) say how to find the right pin";
		if (x509_pin(leaf, pin) != KB_OK)
			return KB_E_KEY_USE;
		for (size_t i = 0; i < s->n_pins; i++)
			if (memcmp(pin, s->pins[i], sizeof pin) == 0)
				return KB_OK;
		return KB_E_KEY_USE;
	}
	*hint = "check: the signer's certificate, or a CA above it, is not for release signers "
		"(extended key usage " X509_SIGNER_USAGE
		"): have it issued anew, or name its key with "
		"--signer-pin; `keybrokerctl check` at the broker prints the pin";
	for (; n < X509_MAX_CHAIN && n < (size_t)sk_X509_num(path); n++)
		certs[n] = sk_X509_value(path, (int)n);
	return n == (size_t)sk_X509_num(path) && x509_signer_usage(certs, n) == X509_USAGE_GOOD
		       ? KB_OK
		       : KB_E_KEY_USE;
}

static enum kb_err chain_verify(STACK_OF(X509) * chain, const struct signer *s, const char **hint)
{
	enum kb_err err = KB_E_NOMEM;
	X509 *leaf = sk_X509_value(chain, 0);
	X509_STORE_CTX *ctx = X509_STORE_CTX_new();

	if (ctx == NULL || X509_STORE_CTX_init(ctx, s->roots, leaf, chain) != 1)
		goto out;
	X509_STORE_CTX_set_time(ctx, 0, (time_t)s->now_s);
	X509_STORE_CTX_set_flags(ctx, X509_V_FLAG_PARTIAL_CHAIN);
	if (X509_verify_cert(ctx) != 1) {
		int fault = X509_STORE_CTX_get_error(ctx);
		err = fault == X509_V_ERR_CERT_HAS_EXPIRED || fault == X509_V_ERR_CERT_NOT_YET_VALID
			      ? KB_E_EXPIRED
			      : KB_E_KID_UNKNOWN;
		goto out;
	}
	int is_named = s->is_ip ? X509_check_ip_asc(leaf, s->host, 0)
				: X509_check_host(leaf, s->host, 0,
						  X509_CHECK_FLAG_NEVER_CHECK_SUBJECT, NULL);
	err = is_named == 1 ? role_verify(X509_STORE_CTX_get0_chain(ctx), s, hint) : KB_E_ISSUER;
	if (err == KB_OK)
		*hint = NULL;
out:
	X509_STORE_CTX_free(ctx);
	return err;
}

static enum kb_err signature_verify(X509 *leaf, struct span input, struct span signature)
{
	EVP_PKEY *key = X509_get0_pubkey(leaf);

	if (key == NULL || EVP_PKEY_get_base_id(key) != EVP_PKEY_RSA)
		return KB_E_KEY_TYPE;
	if (EVP_PKEY_get_bits(key) < KB_RSA_MIN_BITS || EVP_PKEY_get_bits(key) > KB_RSA_MAX_BITS)
		return KB_E_KEY_SIZE;
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	bool ok = ctx != NULL && EVP_DigestVerifyInit(ctx, NULL, EVP_sha256(), NULL, key) == 1 &&
		  EVP_DigestVerify(ctx, signature.p, signature.len, input.p, input.len) == 1;
	EVP_MD_CTX_free(ctx);
	return ok ? KB_OK : KB_E_TOKEN_SIGNATURE;
}

static enum kb_err part(struct span text, size_t max_bytes, struct json_t **out)
{
	KB_AUTO(buf) struct buf bytes;

	buf_init(&bytes, max_bytes);
	if (b64url_decode(text, &bytes) != KB_OK ||
	    json_load_strict(buf_span(&bytes), max_bytes, out, NULL) != KB_OK ||
	    !json_isa_obj(*out))
		return KB_E_TOKEN_FORMAT;
	return KB_OK;
}

enum kb_err signed_reply_open(struct span compact, const struct signer *signer,
			      struct json_t **payload, const char **hint)
{
	__attribute__((cleanup(chain_cleanup))) STACK_OF(X509) *chain = NULL;
	KB_AUTO(json) struct json_t *header = NULL, *body = NULL;
	KB_AUTO(buf) struct buf signature;
	enum kb_err err;
	struct span alg;

	*payload = NULL;
	*hint = NULL;
	buf_init(&signature, KB_RSA_MAX_BITS / 8);
	size_t first = span_find(compact, 0, '.'), second = span_find(compact, first + 1, '.');
	if (second >= compact.len ||
	    b64url_decode(span_sub(compact, second + 1, compact.len), &signature) != KB_OK)
		return KB_E_TOKEN_FORMAT;
	if ((err = part(span_sub(compact, 0, first), KB_GUEST_HEAD * KB_MAX_X5C, &header)) != KB_OK)
		return err;
	if (json_get_str(header, "alg", 16, &alg) != KB_OK || !span_eq_cstr(alg, "RS256"))
		return KB_E_TOKEN_ALG;
	/* RFC 7515 section 4.1.11: extensions that must be understood; none is. */
	if (json_has(header, "crit"))
		return KB_E_TOKEN_HEADER;
	if ((err = chain_load(header, &chain)) != KB_OK || (err = chain_in_order(chain)) != KB_OK ||
	    (err = chain_verify(chain, signer, hint)) != KB_OK ||
	    (err = signature_verify(sk_X509_value(chain, 0), span_sub(compact, 0, second),
				    buf_span(&signature))) != KB_OK)
		goto out;
	if ((err = part(span_sub(compact, first + 1, second - first - 1), KB_GUEST_REPLY, &body)) !=
	    KB_OK)
		goto out;
	*payload = body;
	body = NULL;
out:
	ERR_clear_error();
	return err;
}
