/* policy/jwks.h — one issuer's key set (RFC 7517 §5).  Keys that are weak or of other kinds are
 * dropped and counted; an ambiguous set is refused whole. */
#ifndef KB_POLICY_JWKS_H
#define KB_POLICY_JWKS_H
#include "policy/issuer.h"

struct jwks;
struct jwk;
struct pubkey;

struct jwks_report { /* how many of the document's keys are used */
	unsigned kept, dropped;
	enum kb_err first_drop; /* why the first one was dropped, KB_OK when none was */
};

/* Parse a JWKS document, at most KB_MAX_JWKS bytes.  KB_E_JSON_*, KB_E_JWKS_FORMAT,
 * KB_E_JWKS_DUPLICATE (two keys of one kid: refused whole), KB_E_JWKS_COUNT, KB_E_JWKS_EMPTY (no
 * usable key is left).  A key without kid is dropped.  A document with a private key in it is
 * refused whole: KB_E_KEY_PRIVATE.  On KB_OK *out is the caller's.  `report` may be NULL. */
KB_MUST_CHECK enum kb_err jwks_parse(struct span document, struct jwks **out,
				     struct jwks_report *report);
void jwks_free(struct jwks *s);
static inline void jwks_cleanup(struct jwks **s)
{
	jwks_free(*s);
}

size_t jwks_count(const struct jwks *s);
/* Exact match of the kid's bytes; NULL when there is none. */
const struct jwk *jwks_find(const struct jwks *s, struct span kid);
const struct pubkey *jwk_pubkey(const struct jwk *k);
enum kb_alg jwk_alg(const struct jwk *k); /* of its `alg` member; KB_ALG_NONE when it has none */
struct span jwk_kid(const struct jwk *k);

#endif
