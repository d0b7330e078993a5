/* policy/issuer.h — the configuration of one token issuer.  The issuer's configuration
 * names algorithms and bounds; the token can only agree. */
#ifndef KB_POLICY_ISSUER_H
#define KB_POLICY_ISSUER_H
#include "policy/alg.h"

enum issuer_nonce {
	NONCE_IGNORED, /* the token's nonce is left to the policy */
	/* The token must carry the nonce of the call (`nonce`, or x-ms-runtime.client-payload.nonce
	 * in base64). */
	NONCE_REQUEST,
	/* The token must carry a nonce that this broker issued for this key; the vault checks it
	 * (decide.h). */
	NONCE_BROKER,
};

#define ISSUER_WRAPPING_KEY "/x-ms-runtime/keys" /* of the profiles "maa" and "generic" */

struct issuer_rules {
	char *name;             /* of the file in issuers.d, without .json */
	char *issuer;           /* `iss`, compared byte for byte */
	unsigned algorithms;    /* bits 1 << enum kb_alg; zero allows nothing */
	int64_t max_age_s;      /* now − iat at most this */
	int64_t max_lifetime_s; /* exp − iat at most this */
	int64_t skew_s;         /* tolerated difference of clocks, 0 … KB_MAX_SKEW_S */
	char *audience;         /* NULL: not checked */
	enum issuer_nonce nonce;
	char *wrapping_key; /* JSON Pointer to the keys in the claims; NULL: the tokens hold none */
	bool is_single_use; /* one release per token and key … */
	int64_t grace_s; /* … and the same one again for so long, 0 … KB_SINGLE_USE_GRACE_MAX_S */
	bool is_maa;     /* profile "maa": tokens shaped like Azure Attestation's */
};

#endif
