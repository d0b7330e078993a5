/* policy/token.h — attestation token (JWS compact, RFC 7515): strict checks of its form, then the
 * signature. No I/O, no clock. */
#ifndef KB_POLICY_TOKEN_H
#define KB_POLICY_TOKEN_H
#include "policy/issuer.h"

struct json_t;
struct jwks;
struct token;

/* Strict checks of the form: size, three canonical base64url parts, header and claims as strict
 * JSON objects, header members (`crit`, `b64`, `zip`, `cty`, `x5c`, `jwk`, … are refused; `jku`,
 * `x5u` are ignored and never followed), `typ` absent or "JWT", `alg` a signature algorithm we
 * know.  Proves nothing yet. `compact` is borrowed until token_free().  On KB_OK *out is the
 * caller's. Errors: KB_E_TOKEN_{SIZE,FORMAT,TYPE,HEADER,ALG}, KB_E_KID_{MISSING,LENGTH},
 * KB_E_JSON_*, KB_E_CLAIM_{MISSING,TYPE} (of `iss`). */
KB_MUST_CHECK enum kb_err token_open(struct span compact, struct token **out);
void token_free(struct token *t);
static inline void token_cleanup(struct token **t)
{
	token_free(*t);
}

struct span token_unverified_iss(const struct token *t); /* only to choose the issuer */
/* Only to show it: a claim's value, NULL when it is absent. */
const struct json_t *token_unverified_claim(const struct token *t, const char *name);
struct span token_kid(const struct token *t);
enum kb_alg token_alg(const struct token *t);
void token_digest(const struct token *t, uint8_t out[static 32]); /* SHA-256 of the compact form */
/* SHA-256 of header and claims, without the signature: what single use stores.  An ECDSA
 * signature (r, s) has a valid twin (r, n−s). */
void token_replay_id(const struct token *t, uint8_t out[static 32]);

/* `iss` is exactly the issuer's, `alg` is among its algorithms and fits the key, the signature is
 * right.  keys NULL: KB_E_ISSUER_UNAVAILABLE. Profile "maa": the claims name what was attested,
 * else KB_E_TOKEN_TYPE (an id token of the same issuer is no attestation). Errors: KB_E_ISSUER,
 * KB_E_TOKEN_{ALG,CURVE,SIG_LENGTH,SIGNATURE,TYPE}, KB_E_KID_UNKNOWN. */
KB_MUST_CHECK enum kb_err token_verify(struct token *t, const struct issuer_rules *issuer,
				       const struct jwks *keys);

/* NULL until token_verify() returned KB_OK; borrowed. */
const struct json_t *token_claims(const struct token *t);

#endif
