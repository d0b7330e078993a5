/* policy/decide.h — the one place where a release is decided, and the only maker of a grant. */
#ifndef KB_POLICY_DECIDE_H
#define KB_POLICY_DECIDE_H
#include "policy/grant.h"
#include "policy/issuer.h"

struct token;
struct jwks;
struct rules;
struct explain;

struct release_case {                      /* everything borrowed */
	struct token *token;               /* opened by token_open(), not yet verified */
	const struct issuer_rules *issuer; /* whose `iss` the token names; NULL: none of ours */
	const struct jwks *keys;           /* NULL: none within the stale limit */
	const struct rules *policy;        /* NULL: the key has none */
	struct span key_name, key_version; /* version never empty: the caller has resolved it */
	/* What the token must carry (NONCE_REQUEST, NONCE_BROKER); empty: nothing acceptable. */
	struct span nonce;
	int64_t now_s; /* wall clock */
	/* For `keybrokerctl explain --at`: the clock may be any, and KB_OK makes no grant: *out
	 * stays NULL. */
	bool is_rehearsal;
};

/* In this order: clock set, issuer, signature, time, audience, nonce, policy, debug floor, wrapping
 * key.  KB_OK and *out non-NULL (the caller's), or the code of the first check that failed and *out
 * NULL.  Debug floor: evidence with a claim that the guest can be debugged (the table in debug.c)
 * is KB_E_DEBUG_EVIDENCE unless the policy needs, for this token, a condition that reads that very
 * claim: without it, the policy would not hold.  `ex` may be NULL. */
KB_MUST_CHECK enum kb_err decide(const struct release_case *c, struct explain *ex,
				 struct grant **out);

#endif
