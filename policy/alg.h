/* policy/alg.h — signature algorithms of tokens (RFC 7518 section 3.1). */
#ifndef KB_POLICY_ALG_H
#define KB_POLICY_ALG_H
#include "policy/pubkey.h"

enum kb_alg {
	KB_ALG_NONE, /* zero is no algorithm */
	KB_RS256,
	KB_RS384,
	KB_RS512,
	KB_PS256,
	KB_PS384,
	KB_PS512,
	KB_ES256,
	KB_ES384,
	KB_ES512,
	KB_ALG_COUNT
};

/* The algorithm of a name ("RS256", case-sensitive).  KB_ALG_NONE for everything else, "none" and
 * HS* among it. */
enum kb_alg alg_from_name(struct span name);
const char *alg_name(enum kb_alg a);
/* May the algorithm be used with such a key?  KB_E_TOKEN_ALG: another family; KB_E_TOKEN_CURVE:
 * another curve (RFC 7518 section 3.4 ties ES256, ES384 and ES512 to one curve each). */
KB_MUST_CHECK enum kb_err alg_fits(enum kb_alg alg, enum pubkey_kind kind);

#endif
