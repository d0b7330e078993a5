/* policy/explain_priv.h — the recorded decision, shared by explain.c (which records), rules.c
 * (whose evaluation is recorded) and explain_show.c (which shows it). */
#ifndef KB_POLICY_EXPLAIN_PRIV_H
#define KB_POLICY_EXPLAIN_PRIV_H
#include "policy/debug.h"
#include "policy/explain.h"
#include "policy/rules_priv.h"

enum outcome { OUTCOME_NOT_LOOKED_AT, OUTCOME_HOLDS, OUTCOME_FAILS };

struct step {
	bool is_judged;
	enum kb_err outcome;
	char note[KB_DEBUG_NOTE]; /* the debug floor's is the longest */
};

struct explain {
	struct step steps[STEP_COUNT];
	const struct rules *rules;   /* NULL: the policy was not evaluated */
	const struct json_t *claims; /* what `actual` points into */
	struct span iss;
	uint8_t outcome[RULES_NODES];             /* enum outcome */
	const struct json_t *actual[RULES_NODES]; /* NULL: not one value, see reading */
	uint8_t reading[RULES_NODES];             /* enum reading_kind, of a condition */
};

/* NULL `ex` is fine.  The evaluation begins: no node has been evaluated. */
void explain_policy(struct explain *ex, const struct rules *r, struct span iss,
		    const struct json_t *claims);
/* One node was evaluated; `reading` is what a condition read, NULL for a group. */
void explain_node(struct explain *ex, size_t node, bool holds, const struct reading *reading);

#endif
