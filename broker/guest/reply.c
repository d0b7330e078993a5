/* broker/guest/reply.c — decides whether a reply answers this request, and unwraps the key in it.
 * Trusts what signed_reply_open() verified, if it matches the request: key, version, nonce, scheme,
 * kid of the ephemeral key, and public parts that fit the private ones. Must never return a key
 * that fails one of these. */
#include "guest/reply.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <strings.h>

#include "base/b64url.h"
#include "base/curve.h"
#include "base/json.h"
#include "base/limits.h"

enum { NUMBER_MAX = 1024, KID_MAX = 1024 };

void released_free(struct released *r)
{
	secret_free(r->plain);
	EVP_PKEY_free(r->key);
	*r = (struct released){0};
}

/* ---- does it answer the request? ---- */

/* Name and version in a key's URL, behind "/keys/". The host is not compared: the broker's public
 * name may differ from the one in --url. */
static bool key_id_split(struct span id, struct span *name, struct span *version)
{
	static const char keys[] = "/keys/";

	for (size_t i = 0; i + sizeof keys - 1 <= id.len; i++)
		if (memcmp(id.p + i, keys, sizeof keys - 1) == 0) {
			struct span rest = span_sub(id, i + sizeof keys - 1, id.len);
			size_t slash = span_find(rest, 0, '/');
			*name = span_sub(rest, 0, slash);
			*version = span_sub(rest, slash + 1, rest.len);
			return name->len > 0 && (slash == rest.len || version->len > 0);
		}
	return false;
}

static bool name_same(struct span a, struct span b) /* Key Vault's names have no case */
{
	return a.len == b.len && strncasecmp((const char *)a.p, (const char *)b.p, a.len) == 0;
}

static bool member_is(const struct json_t *obj, const char *name, struct span want)
{
	struct span got;

	if (want.len == 0)
		return !json_has(obj, name);
	return json_get_str(obj, name, KID_MAX, &got) == KB_OK && span_eq(got, want);
}

static enum kb_err check_request(const struct json_t *payload, const struct asked *a)
{
	const struct json_t *request;
	struct span kid, name, version;

	if (json_get_obj(payload, "request", &request) != KB_OK ||
	    json_get_str(request, "kid", KID_MAX, &kid) != KB_OK)
		return KB_E_FETCH_CONTENT;
	if (!key_id_split(kid, &name, &version) || !name_same(name, a->name) ||
	    !span_eq(version, a->version))
		return KB_E_PATH;
	if (!member_is(request, "nonce", a->nonce))
		return KB_E_NONCE;
	return member_is(request, "enc", span_str(a->scheme->name)) ? KB_OK : KB_E_ENC;
}

static enum kb_err check_key_id(const struct json_t *jwk, const struct asked *a,
				char version_out[static 33])
{
	struct span kid, name, version;

	if (json_get_str(jwk, "kid", KID_MAX, &kid) != KB_OK ||
	    !key_id_split(kid, &name, &version) || !name_same(name, a->name) || version.len > 32 ||
	    (a->version.len > 0 && !span_eq(version, a->version)))
		return KB_E_PATH;
	for (size_t i = 0; i < version.len; i++) { /* it is shown */
		uint8_t c = version.p[i];
		if (!(c >= '0' && c <= '9') && !((c | 0x20) >= 'a' && (c | 0x20) <= 'z'))
			return KB_E_PATH;
	}
	memcpy(version_out, version.p, version.len);
	version_out[version.len] = '\0';
	return KB_OK;
}

/* key_hsm: base64url of {"schema_version","header":{"kid","alg","enc"},"ciphertext"}. */
static enum kb_err check_blob(const struct json_t *jwk, const struct asked *a,
			      struct buf *ciphertext)
{
	KB_AUTO(buf) struct buf text;
	KB_AUTO(json) struct json_t *blob = NULL;
	const struct json_t *header;
	struct span b64;

	buf_init(&text, 4 * KB_MAX_SECRET);
	if (json_get_str(jwk, "key_hsm", 4 * KB_MAX_SECRET, &b64) != KB_OK ||
	    b64url_decode(b64, &text) != KB_OK ||
	    json_load_strict(buf_span(&text), 4 * KB_MAX_SECRET, &blob, NULL) != KB_OK ||
	    json_get_obj(blob, "header", &header) != KB_OK)
		return KB_E_FETCH_CONTENT;
	if (!member_is(header, "kid", a->kid))
		return KB_E_KEY_BINDING;
	if (!member_is(header, "enc", span_str(a->scheme->name)) ||
	    !member_is(header, "alg", span_str("dir")))
		return KB_E_ENC;
	if (json_get_str(blob, "ciphertext", 4 * KB_MAX_SECRET, &b64) != KB_OK ||
	    b64url_decode(b64, ciphertext) != KB_OK)
		return KB_E_FETCH_CONTENT;
	return KB_OK;
}

/* ---- the key ---- */

static enum kb_err oaep_open(void *key, enum oaep_hash hash, struct span ciphertext,
			     struct secret **out)
{
	return ephemeral_decrypt(key, hash, ciphertext, out);
}

static enum kb_err unwrap(const struct asked *a, struct span ciphertext, struct secret **out)
{
	const struct unwrapping_key own = {.kind = KEK_RSA,
					   .bytes = ephemeral_n(a->key).len,
					   .holder = a->key,
					   .oaep_open = oaep_open};

	return a->scheme->open(a->scheme, &own, ciphertext, out);
}

static bool number_is(const EVP_PKEY *key, const char *param, const struct json_t *jwk,
		      const char *member)
{
	KB_AUTO(buf) struct buf bytes;
	BIGNUM *have = NULL, *want = NULL;
	struct span text;
	bool ok = false;

	buf_init(&bytes, NUMBER_MAX);
	if (json_get_str(jwk, member, NUMBER_MAX, &text) == KB_OK &&
	    b64url_decode(text, &bytes) == KB_OK && EVP_PKEY_get_bn_param(key, param, &have) == 1 &&
	    (want = BN_bin2bn(bytes.p, (int)bytes.len, NULL)) != NULL)
		ok = BN_cmp(have, want) == 0;
	BN_free(have);
	BN_free(want);
	return ok;
}

static bool curve_is(const EVP_PKEY *key, const struct json_t *jwk)
{
	char group[32];
	struct span crv;

	if (json_get_str(jwk, "crv", 16, &crv) != KB_OK ||
	    EVP_PKEY_get_group_name(key, group, sizeof group, NULL) != 1)
		return false;
	if (strcmp(group, "secp256k1") == 0) /* Key Vault's name; the broker has no such keys */
		return span_eq_cstr(crv, "P-256K");
	const struct curve *curve = curve_by_group(group);
	return curve != NULL && span_eq_cstr(crv, curve->name);
}

/* The whole is PKCS#8, and the private half of the key that the reply describes. */
static enum kb_err check_private(const struct json_t *jwk, bool is_rsa, struct released *out)
{
	struct span der = secret_span(out->plain);
	const uint8_t *p = der.p;
	PKCS8_PRIV_KEY_INFO *info = d2i_PKCS8_PRIV_KEY_INFO(NULL, &p, (long)der.len);

	out->key = info != NULL && p == der.p + der.len ? EVP_PKCS82PKEY(info) : NULL;
	PKCS8_PRIV_KEY_INFO_free(info);
	if (out->key == NULL ||
	    EVP_PKEY_get_base_id(out->key) != (is_rsa ? EVP_PKEY_RSA : EVP_PKEY_EC))
		return KB_E_KEY_FORMAT;
	bool is_same = is_rsa ? number_is(out->key, OSSL_PKEY_PARAM_RSA_N, jwk, "n") &&
					number_is(out->key, OSSL_PKEY_PARAM_RSA_E, jwk, "e")
			      : curve_is(out->key, jwk) &&
					number_is(out->key, OSSL_PKEY_PARAM_EC_PUB_X, jwk, "x") &&
					number_is(out->key, OSSL_PKEY_PARAM_EC_PUB_Y, jwk, "y");
	return is_same ? KB_OK : KB_E_KEY_FORMAT;
}

static enum kb_err check_plain(const struct json_t *jwk, struct released *out)
{
	struct span kty;

	if (json_get_str(jwk, "kty", 16, &kty) != KB_OK)
		return KB_E_KEY_TYPE;
	if (span_eq_cstr(kty, "oct") || span_eq_cstr(kty, "oct-HSM"))
		return secret_len(out->plain) >= KB_MIN_OCT && secret_len(out->plain) <= KB_MAX_OCT
			       ? KB_OK
			       : KB_E_KEY_SIZE;
	bool is_rsa = span_eq_cstr(kty, "RSA") || span_eq_cstr(kty, "RSA-HSM");
	if (!is_rsa && !span_eq_cstr(kty, "EC") && !span_eq_cstr(kty, "EC-HSM"))
		return KB_E_KEY_TYPE;
	return check_private(jwk, is_rsa, out);
}

enum kb_err reply_open(struct span body, const struct asked *a, struct released *out)
{
	KB_AUTO(json) struct json_t *reply = NULL, *payload = NULL;
	KB_AUTO(buf) struct buf ciphertext;
	const struct json_t *response, *bundle, *jwk;
	const char *hint = NULL;
	enum kb_err err;
	struct span jws;

	*out = (struct released){0};
	buf_init(&ciphertext, 2 * KB_MAX_SECRET);
	if (a->scheme == NULL)
		return KB_E_ENC;
	if (json_load_strict(body, KB_GUEST_REPLY, &reply, NULL) != KB_OK ||
	    json_get_str(reply, "value", KB_GUEST_REPLY, &jws) != KB_OK)
		return KB_E_FETCH_CONTENT;
	if ((err = signed_reply_open(jws, &a->signer, &payload, &hint)) != KB_OK ||
	    (err = check_request(payload, a)) != KB_OK)
		goto out;
	err = KB_E_FETCH_CONTENT;
	if (json_get_obj(payload, "response", &response) != KB_OK ||
	    json_get_obj(response, "key", &bundle) != KB_OK ||
	    json_get_obj(bundle, "key", &jwk) != KB_OK)
		goto out;
	if ((err = check_key_id(jwk, a, out->version)) != KB_OK ||
	    (err = check_blob(jwk, a, &ciphertext)) != KB_OK ||
	    (err = unwrap(a, buf_span(&ciphertext), &out->plain)) != KB_OK)
		goto out;
	err = check_plain(jwk, out);
out:
	ERR_clear_error();
	if (err != KB_OK) {
		released_free(out);
		out->hint = hint;
	}
	return err;
}
