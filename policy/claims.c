/* policy/claims.c — checks that every token must pass, whatever the key's policy.  Trusts: the
 * claims are verified, `now` is the wall clock. Must never use a later wrapping key instead of a
 * bad first one, nor compare a time that was rounded. */
#include "policy/claims.h"

#include <jansson.h>

#include "base/b64url.h"
#include "base/json.h"
#include "base/limits.h"
#include "policy/pointer.h"
#include "policy/pubkey.h"
#include "policy/scalar.h"

/* ---- times ---- */

enum kb_err claims_time(const struct json_t *claims, const char *name, struct claim_time *out)
{
	const struct json_t *j = json_object_get(claims, name);

	*out = (struct claim_time){0};
	if (j == NULL)
		return KB_E_CLAIM_MISSING;
	return scalar_seconds(j, &out->s, &out->ns) ? KB_OK : KB_E_CLAIM_TYPE;
}

static bool is_after(struct claim_time t, struct claim_time other)
{
	return t.s > other.s || (t.s == other.s && t.ns > other.ns);
}

/* Seconds of our own: far beyond any of a token, so that no sum of them overflows. */
static struct claim_time later(struct claim_time t, int64_t seconds)
{
	const int64_t most = 2 * SCALAR_MAX_S;

	t.s += seconds > most ? most : seconds < -most ? -most : seconds;
	return t;
}

enum kb_err claims_check_time(const struct json_t *claims, const struct issuer_rules *issuer,
			      int64_t now_s, const char **claim)
{
	static const char *const names[] = {"exp", "iat", "nbf"};
	struct claim_time t[3] = {{0}}; /* nbf absent: 0, which is in the past */

	for (size_t i = 0; i < 3; i++) {
		enum kb_err err = claims_time(claims, names[i], &t[i]);
		*claim = names[i];
		if (err != KB_OK && (i < 2 || err != KB_E_CLAIM_MISSING))
			return err;
	}
	const struct claim_time exp = t[0], iat = t[1], nbf = t[2];
	const struct claim_time now = later((struct claim_time){0}, now_s);
	/* The skew moves our own clock, never the token's numbers. */
	if (is_after(later(now, -issuer->skew_s), exp))
		return KB_E_EXPIRED;
	if (is_after(nbf, later(now, issuer->skew_s)) || is_after(iat, later(now, issuer->skew_s)))
		return KB_E_NOT_YET;
	if (is_after(now, later(iat, issuer->max_age_s)))
		return KB_E_TOO_OLD;
	if (!is_after(exp, iat) || is_after(exp, later(iat, issuer->max_lifetime_s)))
		return KB_E_LIFETIME;
	return KB_OK;
}

/* ---- audience and nonce ---- */

enum kb_err claims_check_audience(const struct json_t *claims, const struct issuer_rules *issuer)
{
	const struct json_t *list;
	struct span aud;
	bool is_ours = false;

	if (issuer->audience == NULL)
		return KB_OK;
	if (json_get_str(claims, "aud", KB_MAX_AUD, &aud) == KB_OK)
		return span_eq_cstr(aud, issuer->audience) ? KB_OK : KB_E_AUDIENCE;
	if (json_get_arr(claims, "aud", &list) != KB_OK || json_len(list) > KB_MAX_AUD_COUNT)
		return KB_E_AUDIENCE;
	for (size_t i = 0; i < json_len(list); i++) {
		if (json_as_str(json_at(list, i), KB_MAX_AUD, &aud) != KB_OK)
			return KB_E_AUDIENCE;
		is_ours |= span_eq_cstr(aud, issuer->audience);
	}
	return is_ours ? KB_OK : KB_E_AUDIENCE;
}

enum kb_err claims_nonce(const struct json_t *claims, struct buf *out)
{
	const struct json_t *at;
	struct span text;

	if (json_has(claims, "nonce")) {
		if (json_get_str(claims, "nonce", KB_MAX_NONCE, &text) != KB_OK)
			return KB_E_NONCE;
		buf_add_span(out, text);
		return buf_ok(out);
	}
	if (json_get_obj(claims, "x-ms-runtime", &at) != KB_OK ||
	    json_get_obj(at, "client-payload", &at) != KB_OK ||
	    json_get_str(at, "nonce", KB_MAX_NONCE * 4 / 3 + 4, &text) != KB_OK)
		return KB_E_NONCE;
	enum kb_err err = b64_decode_any(text, out);
	return err == KB_E_B64 ? KB_E_NONCE : err;
}

enum kb_err claims_check_nonce(const struct json_t *claims, const struct issuer_rules *issuer,
			       struct span expected)
{
	KB_AUTO(buf) struct buf nonce;

	buf_init(&nonce, KB_MAX_NONCE + 4);
	if (issuer->nonce == NONCE_IGNORED)
		return KB_OK;
	if (expected.len == 0)
		return KB_E_NONCE;
	enum kb_err err = claims_nonce(claims, &nonce);
	if (err != KB_OK)
		return err;
	return span_eq(buf_span(&nonce), expected) ? KB_OK : KB_E_NONCE;
}

/* ---- the wrapping key ---- */

/* kty RSA, and use "enc" or key_ops with "encrypt", as Azure's services choose.  pubkey.c then
 * checks the key itself. */
static bool is_for_wrapping(const struct json_t *jwk)
{
	const struct json_t *ops;
	struct span text;

	if (json_get_str(jwk, "kty", KB_MAX_KID, &text) != KB_OK || !span_eq_cstr(text, "RSA"))
		return false;
	if (json_get_str(jwk, "use", KB_MAX_KID, &text) == KB_OK && span_eq_cstr(text, "enc"))
		return true;
	if (json_get_arr(jwk, "key_ops", &ops) != KB_OK)
		return false;
	for (size_t i = 0; i < json_len(ops); i++)
		if (json_as_str(json_at(ops, i), KB_MAX_KID, &text) == KB_OK &&
		    span_eq_cstr(text, "encrypt"))
			return true;
	return false;
}

enum kb_err claims_wrapping_key(const struct json_t *claims, const struct issuer_rules *issuer,
				struct pubkey **out)
{
	const struct json_t *keys = pointer_find(claims, span_str(issuer->wrapping_key));

	*out = NULL;
	if (!json_is_array(keys))
		return KB_E_KEY_BINDING;
	if (json_len(keys) > KB_MAX_RUNTIME_KEYS)
		return KB_E_KEY_BINDING;
	for (size_t i = 0; i < json_len(keys); i++) {
		const struct json_t *jwk = json_at(keys, i);
		if (!is_for_wrapping(jwk))
			continue;
		if (!json_has(jwk, "kid"))
			return KB_E_KEY_BINDING;
		return pubkey_from_jwk(jwk, PUBKEY_WRAP, out);
	}
	return KB_E_KEY_BINDING;
}
