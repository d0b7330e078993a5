/* policy/claims.h — claims that are checked whatever the policy: times, audience, nonce, and the
 * wrapping key bound in the evidence. */
#ifndef KB_POLICY_CLAIMS_H
#define KB_POLICY_CLAIMS_H
#include "policy/issuer.h"

struct json_t;
struct pubkey;

/* A NumericDate (RFC 7519 section 2): whole seconds or with a fraction, from 1970 on; beyond
 * SCALAR_MAX_S it is that.  KB_E_CLAIM_MISSING, KB_E_CLAIM_TYPE. */
struct claim_time {
	int64_t s;
	int32_t ns;
};
KB_MUST_CHECK enum kb_err claims_time(const struct json_t *claims, const char *name,
				      struct claim_time *out);
/* exp, nbf, iat (RFC 7519 §4.1): exp and iat must be there.  now == exp + skew
 * still holds; one second more is KB_E_EXPIRED. Errors: KB_E_CLAIM_{MISSING,TYPE},
 * KB_E_{EXPIRED,NOT_YET,TOO_OLD,LIFETIME}; *claim names the claim of a KB_E_CLAIM_*. */
KB_MUST_CHECK enum kb_err claims_check_time(const struct json_t *claims,
					    const struct issuer_rules *issuer, int64_t now_s,
					    const char **claim);
/* `aud`: the configured string, or an array (≤ KB_MAX_AUD_COUNT strings) that holds it.  No
 * audience configured: KB_OK. */
KB_MUST_CHECK enum kb_err claims_check_audience(const struct json_t *claims,
						const struct issuer_rules *issuer);
/* The token's nonce equals `expected` (constant time not needed: both are the client's).
 * NONCE_IGNORED: KB_OK. */
KB_MUST_CHECK enum kb_err claims_check_nonce(const struct json_t *claims,
					     const struct issuer_rules *issuer,
					     struct span expected);
/* The nonce the token carries: top-level `nonce`, else base64 of x-ms-runtime.client-payload.nonce,
 * decoded into `out`.  KB_E_NONCE when none. */
KB_MUST_CHECK enum kb_err claims_nonce(const struct json_t *claims, struct buf *out);

/* The wrapping key bound in the evidence: the issuer's configuration says where the array of keys
 * is.  The first entry in array order with kty RSA and (use "enc" or key_ops with "encrypt"); it
 * needs a kid.  KB_E_KEY_BINDING when there is none; KB_E_KEY_* when that one is not good: never a
 * later one instead.  On KB_OK *out is the caller's. */
KB_MUST_CHECK enum kb_err claims_wrapping_key(const struct json_t *claims,
					      const struct issuer_rules *issuer,
					      struct pubkey **out);

#endif
