/* policy/rules.h — a release policy in the grammar of Azure Key Vault's secure key release,
 * compiled once into a flat, bounded array. */
#ifndef KB_POLICY_RULES_H
#define KB_POLICY_RULES_H
#include "base/bytes.h"

struct json_t;
struct rules;
struct explain;
struct claim_place; /* reading.h */

struct policy_fault {
	unsigned line;  /* in the policy's text, from 1 */
	char text[200]; /* what is wrong and what to do, one sentence */
};

/* `source` is copied.  KB_E_JSON_*, KB_E_POLICY_FORMAT, KB_E_POLICY_LIMIT, with *fault (may be
 * NULL) filled.  On KB_OK *out is the caller's. */
KB_MUST_CHECK enum kb_err rules_compile(struct span source, struct rules **out,
					struct policy_fault *fault);
void rules_free(struct rules *r);
static inline void rules_cleanup(struct rules **r)
{
	rules_free(*r);
}

struct span rules_source(const struct rules *r);                  /* the bytes as given */
void rules_digest(const struct rules *r, uint8_t out[static 32]); /* SHA-256 of them */
bool rules_name_authority(const struct rules *r,
			  struct span iss); /* some authority is this issuer */

/* Evaluate against verified claims.  KB_OK: satisfied.  KB_E_POLICY: not; `ex` (NULL allowed) has
 * every node's outcome.  Authority and iss are compared without one trailing slash, scheme and host
 * without case.  A missing claim satisfies nothing but exists:false; a
 * path that cannot be read for certain (reading.h) satisfies nothing. */
KB_MUST_CHECK enum kb_err rules_evaluate(const struct rules *r, struct span iss,
					 const struct json_t *claims, struct explain *ex);

struct claim_set { /* borrowed */
	const struct claim_place *place;
	size_t n;
};

/* Does the policy hold if no condition that reads one of these places holds?  The same
 * evaluation, without an explanation.  A place is identified by its object and name, not by its
 * value: jansson has one value `true` for the whole program. */
KB_MUST_CHECK bool rules_hold_without(const struct rules *r, struct span iss,
				      const struct json_t *claims, const struct claim_set *unread);

/* For `keybrokerctl check`: calls `say` once for each condition whose path finds nothing in any
 * token, or hardly in one. */
typedef void rules_say(void *ctx, const char *text);
void rules_warn(const struct rules *r, rules_say *say, void *ctx);

#endif
