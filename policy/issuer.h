/* policy/issuer.h — what the configuration says of one token issuer.  The issuer's configuration
 * names algorithms and bounds; the token can only agree. */
#ifndef KB_POLICY_ISSUER_H
#define KB_POLICY_ISSUER_H
#include "base/bytes.h"

enum kb_alg { /* RFC 7518 §3.1; zero is no algorithm */
	      KB_ALG_NONE,
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

/* The algorithm of a name ("RS256", case-sensitive), KB_ALG_NONE for everything else, "none" and
 * HS* among it. */
enum kb_alg alg_from_name(struct span name);
const char *alg_name(enum kb_alg a);

enum issuer_nonce {
	NONCE_IGNORED, /* the token's nonce is left to the policy */
	NONCE_REQUEST, /* the token must carry the nonce of the call (`nonce`, or
			  x-ms-runtime.client-payload.nonce in base64) */
	NONCE_BROKER,  /* the token must carry a nonce this broker gave out for this key (the vault
			  checks it: see decide.h) */
};

struct issuer_rules {
	char *name;             /* of the file in issuers.d, without .json */
	char *issuer;           /* `iss`, compared byte for byte */
	unsigned algorithms;    /* bits 1 << enum kb_alg; zero allows nothing */
	int64_t max_age_s;      /* now − iat at most this */
	int64_t max_lifetime_s; /* exp − iat at most this */
	int64_t skew_s;         /* tolerated difference of clocks, 0 … KB_MAX_SKEW_S */
	char *audience;         /* NULL: not checked */
	enum issuer_nonce nonce;
	bool is_single_use; /* one release per token and key */
	bool is_maa;        /* profile "maa": tokens shaped like Azure Attestation's */
};

#endif
