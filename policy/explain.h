/* policy/explain.h — the trace of one decision, recorded by the code that decides: so the
 * explanation is what was enforced. */
#ifndef KB_POLICY_EXPLAIN_H
#define KB_POLICY_EXPLAIN_H
#include "base/bytes.h"

struct explain; /* borrows rules and claims: render before they are freed */

/* In the order in which they are checked. */
enum explain_step {
	STEP_FORMAT,
	STEP_ISSUER,
	STEP_SIGNATURE,
	STEP_TIME,
	STEP_AUDIENCE,
	STEP_NONCE,
	STEP_POLICY,
	STEP_WRAPPING_KEY,
	STEP_COUNT
};

struct explain *explain_new(void); /* NULL: no memory */
void explain_free(struct explain *ex);
static inline void explain_cleanup(struct explain **ex)
{
	explain_free(*ex);
}
/* For the next decision: a worker has one trace and reuses it. */
void explain_reset(struct explain *ex);
/* NULL `ex` is fine; `note` is copied and cut. */
void explain_step(struct explain *ex, enum explain_step step, enum kb_err outcome,
		  const char *note);

/* For operators: steps, then the policy as a tree with ✓ and ✗ (– for what was not evaluated) and
 * the actual values. */
void explain_text(const struct explain *ex, struct buf *out);
void explain_json(const struct explain *ex, struct buf *out); /* the same as one JSON object */
/* For the ledger: a JSON array of at most KB_MAX_FAILINGS failing conditions of the authorities
 * that match the issuer,
 * {"claim","op","expected","actual"} ("actual" absent when the claim is); values cut at 128 bytes.
 * "[]" when none. */
void explain_failings(const struct explain *ex, struct buf *out);

#endif
