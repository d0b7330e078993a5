/* policy/explain.c — records one decision while it is made.  The code that decides writes into it,
 * so what explains is what enforced.  explain_show.c shows it. */
#include "policy/explain_priv.h"

#include <stdio.h>
#include <stdlib.h>

struct explain *explain_new(void)
{
	return calloc(1, sizeof(struct explain));
}

void explain_free(struct explain *ex)
{
	free(ex);
}

void explain_reset(struct explain *ex)
{
	*ex = (struct explain){0};
}

void explain_step(struct explain *ex, enum explain_step step, enum kb_err outcome, const char *note)
{
	if (ex == NULL)
		return;
	struct step *s = &ex->steps[step];
	s->is_judged = true;
	s->outcome = outcome;
	(void)snprintf(s->note, sizeof s->note, "%s", note == NULL ? "" : note);
}

void explain_policy(struct explain *ex, const struct rules *r, struct span iss,
		    const struct json_t *claims)
{
	if (ex == NULL)
		return;
	ex->rules = r;
	ex->claims = claims;
	ex->iss = iss;
	memset(ex->outcome, OUTCOME_NOT_LOOKED_AT, r->n);
}

void explain_node(struct explain *ex, size_t node, bool holds, const struct reading *reading)
{
	if (ex == NULL)
		return;
	ex->outcome[node] = holds ? OUTCOME_HOLDS : OUTCOME_FAILS;
	ex->actual[node] = reading == NULL ? NULL : reading->value;
	ex->reading[node] = reading == NULL ? READ_ABSENT : (uint8_t)reading->kind;
}
