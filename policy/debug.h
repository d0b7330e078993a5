/* policy/debug.h — the debug floor: evidence of a debuggable guest is refused unless the policy
 * needs a condition that reads that very claim. */
#ifndef KB_POLICY_DEBUG_H
#define KB_POLICY_DEBUG_H
#include "base/bytes.h"

struct json_t;
struct rules;

#define KB_DEBUG_NOTE 1024 /* bytes of the text below: the longest path and value, twice each */

/* For a policy that holds for verified claims of `iss`.  KB_OK: no claim of the table in debug.c
 * means "debuggable", or the policy does not hold without the conditions that read the claims that
 * do.  KB_E_DEBUG_EVIDENCE: `note` names the claim, its value and the condition that would allow
 * it; printable ASCII. */
KB_MUST_CHECK enum kb_err debug_check(const struct rules *policy, struct span iss,
				      const struct json_t *claims, char note[static KB_DEBUG_NOTE]);

#endif
