/* policy/token.c — is this an attestation token, and is it this issuer's?  Trusts: the issuer's
 * rules and key set, handed in. The issuer's configuration names the algorithms, the token can only
 * agree.  Must never return claims of a token that it has not verified. */
#include "policy/token.h"

#include <stdlib.h>

#include "base/digest.h"
#include "base/json.h"
#include "base/limits.h"
#include "policy/jwks.h"
#include "policy/jws.h"

struct token {
	struct jws jws;
	struct json_t *claims;
	struct span iss; /* into claims */
	bool is_verified;
};

/* A payload that is a compact token again (RFC 7519 §5.2, without the `cty` it should have had):
 * "eyJ" is base64url of `{"`. */
static bool looks_nested(struct span payload)
{
	return span_eq_cstr(span_sub(payload, 0, 3), "eyJ");
}

enum kb_err token_open(struct span compact, struct token **out)
{
	enum kb_err err = KB_E_BUG;
	KB_AUTO(token) struct token *t = calloc(1, sizeof *t);

	*out = NULL;
	if (t == NULL)
		return KB_E_NOMEM;
	if ((err = jws_open(compact, &t->jws)) != KB_OK)
		return err;
	if (looks_nested(buf_span(&t->jws.payload)))
		return KB_E_TOKEN_TYPE;
	if ((err = json_load_strict(buf_span(&t->jws.payload), KB_MAX_TOKEN, &t->claims, NULL)) !=
	    KB_OK)
		return err;
	if (!json_isa_obj(t->claims))
		return KB_E_TOKEN_FORMAT;
	err = json_get_str(t->claims, "iss", KB_MAX_ISS, &t->iss);
	if (err != KB_OK)
		return err == KB_E_JSON_MISSING ? KB_E_CLAIM_MISSING : KB_E_CLAIM_TYPE;
	*out = t;
	t = NULL;
	return KB_OK;
}

void token_free(struct token *t)
{
	if (t == NULL)
		return;
	jws_close(&t->jws);
	json_free(t->claims);
	free(t);
}

struct span token_unverified_iss(const struct token *t)
{
	return t->iss;
}

const struct json_t *token_unverified_claim(const struct token *t, const char *name)
{
	return json_member(t->claims, name);
}

struct span token_kid(const struct token *t)
{
	return t->jws.kid;
}

enum kb_alg token_alg(const struct token *t)
{
	return t->jws.alg;
}

void token_digest(const struct token *t, uint8_t out[static 32])
{
	digest_sha256(t->jws.compact, out);
}

void token_replay_id(const struct token *t, uint8_t out[static 32])
{
	digest_sha256(t->jws.signing_input, out);
}

/* The same issuer and key may sign other tokens, such as id tokens. An attestation token names what
 * was attested; old SGX tokens have other claims for it.  A name without a value of its type (null,
 * an array, an empty text) names nothing. */
static bool is_attestation(const struct json_t *claims)
{
	struct span text;
	bool flag;

	return json_get_str(claims, "x-ms-attestation-type", KB_MAX_TOKEN, &text) == KB_OK ||
	       json_get_str(claims, "tee", KB_MAX_TOKEN, &text) == KB_OK ||
	       json_get_bool(claims, "x-ms-sgx-is-debuggable", &flag) == KB_OK;
}

enum kb_err token_verify(struct token *t, const struct issuer_rules *issuer,
			 const struct jwks *keys)
{
	t->is_verified = false;
	if (issuer == NULL || !span_eq_cstr(t->iss, issuer->issuer))
		return KB_E_ISSUER;
	if (keys == NULL)
		return KB_E_ISSUER_UNAVAILABLE;
	if ((issuer->algorithms & 1u << t->jws.alg) == 0)
		return KB_E_TOKEN_ALG;
	const struct jwk *key = jwks_find(keys, t->jws.kid);
	if (key == NULL)
		return KB_E_KID_UNKNOWN;
	enum kb_err err = jws_verify(&t->jws, jwk_verifier(key));
	if (err != KB_OK)
		return err;
	if (!jwk_allows(key, t->jws.alg))
		return KB_E_TOKEN_ALG;
	if (issuer->is_maa && !is_attestation(t->claims))
		return KB_E_TOKEN_TYPE;
	t->is_verified = true;
	return KB_OK;
}

const struct json_t *token_claims(const struct token *t)
{
	return t->is_verified ? t->claims : NULL;
}
