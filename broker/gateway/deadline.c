/* broker/gateway/deadline.c — lists of deadlines, one a kind.  Decides nothing.  The clock must be
 * monotonic. */
#include "gateway/deadline.h"

#include <stddef.h>

#include "base/err.h"

void deadlines_init(struct deadlines *d, const int64_t *after_ms, unsigned kinds)
{
	if (kinds > DEADLINE_KINDS)
		KB_BUG();
	for (unsigned i = 0; i < DEADLINE_KINDS; i++) {
		TAILQ_INIT(&d->list[i]);
		d->after_ms[i] = i < kinds ? after_ms[i] : 0;
	}
}

void deadline_start(struct deadlines *d, struct deadline *e, unsigned kind, int64_t now_ms)
{
	e->kind = kind;
	e->due_ms = now_ms + d->after_ms[kind];
	TAILQ_INSERT_TAIL(&d->list[kind], e, link);
}

void deadline_stop(struct deadlines *d, struct deadline *e)
{
	TAILQ_REMOVE(&d->list[e->kind], e, link);
}

void deadline_change(struct deadlines *d, struct deadline *e, unsigned kind, int64_t now_ms)
{
	deadline_stop(d, e);
	deadline_start(d, e, kind, now_ms);
}

struct deadline *deadline_due(const struct deadlines *d, unsigned kind, int64_t now_ms)
{
	struct deadline *e = TAILQ_FIRST(&d->list[kind]);

	return e != NULL && e->due_ms <= now_ms ? e : NULL;
}
