/* policy/issuer.c — the names of the signature algorithms.  Decides what counts as an algorithm at
 * all: the nine of the table. Must never know `none` or an HMAC. */
#include "policy/issuer.h"

static const char *const names[KB_ALG_COUNT] = {
	[KB_RS256] = "RS256", [KB_RS384] = "RS384", [KB_RS512] = "RS512",
	[KB_PS256] = "PS256", [KB_PS384] = "PS384", [KB_PS512] = "PS512",
	[KB_ES256] = "ES256", [KB_ES384] = "ES384", [KB_ES512] = "ES512",
};

enum kb_alg alg_from_name(struct span name)
{
	for (unsigned a = KB_ALG_NONE + 1; a < KB_ALG_COUNT; a++)
		if (span_eq_cstr(name, names[a]))
			return (enum kb_alg)a;
	return KB_ALG_NONE;
}

const char *alg_name(enum kb_alg a)
{
	return (unsigned)a < KB_ALG_COUNT && names[a] != NULL ? names[a] : "";
}
