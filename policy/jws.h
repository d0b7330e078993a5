/* policy/jws.h — JWS compact serialisation (RFC 7515 §7.1): strict checks of form and header, then
 * the signature. Private to policy/: token.c adds what makes a JWS an attestation token. */
#ifndef KB_POLICY_JWS_H
#define KB_POLICY_JWS_H
#include "policy/issuer.h"
#include "policy/pubkey.h"

struct json_t;

struct jws {
	struct span compact, signing_input; /* borrowed from the caller's text */
	struct buf header_text, payload, signature;
	struct json_t *header;
	enum kb_alg alg;
	struct span kid; /* into header */
};

/* KB_OK: three canonical parts, a header without refused members, an algorithm of the table, a kid.
 * Proves nothing.  jws_close() in any case. Errors: KB_E_TOKEN_{SIZE,FORMAT,TYPE,HEADER,ALG},
 * KB_E_KID_{MISSING,LENGTH}, KB_E_JSON_*. */
KB_MUST_CHECK enum kb_err jws_open(struct span compact, struct jws *out);
void jws_close(struct jws *j);

struct jws_key; /* a public key made ready for cjose, once per key set and not per token */
/* `k` is borrowed until jws_key_free(). */
KB_MUST_CHECK enum kb_err jws_key_new(const struct pubkey *k, struct jws_key **out);
void jws_key_free(struct jws_key *k);

/* KB_E_TOKEN_{ALG,CURVE,SIG_LENGTH,SIGNATURE}.  At the first correct signature its key is validated
 * (pubkey_validate(), which is slow): KB_E_KEY_{WEAK,CURVE}, then and at every later call. So
 * unused keys of a set cost nothing, and only the issuer can cause a validation. */
KB_MUST_CHECK enum kb_err jws_verify(const struct jws *j, struct jws_key *key);

struct jwk;
struct jws_key *jwk_verifier(const struct jwk *k); /* jwks.c */

#endif
