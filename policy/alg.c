/* policy/alg.c — decides what counts as a signature algorithm at all (the nine of the table) and
 * which key an algorithm may be used with.  Must never know `none` or an HMAC. */
#include "policy/alg.h"

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

enum kb_err alg_fits(enum kb_alg alg, enum pubkey_kind kind)
{
	enum pubkey_kind want = PUBKEY_RSA;

	switch (alg) {
	case KB_ALG_NONE:
	case KB_ALG_COUNT:
		return KB_E_TOKEN_ALG;
	case KB_RS256:
	case KB_RS384:
	case KB_RS512:
	case KB_PS256:
	case KB_PS384:
	case KB_PS512:
		break;
	case KB_ES256:
		want = PUBKEY_P256;
		break;
	case KB_ES384:
		want = PUBKEY_P384;
		break;
	case KB_ES512:
		want = PUBKEY_P521;
		break;
	}
	if (kind == want)
		return KB_OK;
	return kind == PUBKEY_RSA || want == PUBKEY_RSA ? KB_E_TOKEN_ALG : KB_E_TOKEN_CURVE;
}
