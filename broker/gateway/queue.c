/* broker/gateway/queue.c — decides who is served next and who is turned away when there is no more room.  Trusts its caller.  Must never let one source keep
 * another from being served. */
#include "gateway/queue.h"

void queue_init(struct queue *q, size_t max)
{
	TAILQ_INIT(&q->lanes);
	q->n = 0;
	q->n_lanes = 0;
	q->max = max;
}

static struct queue_lane *longest(const struct queue *q)
{
	struct queue_lane *most = NULL;
	struct queue_lane *l;

	TAILQ_FOREACH(l, &q->lanes, link)
	if (most == NULL || l->n > most->n)
		most = l;
	return most;
}

struct queue_item *queue_newest(const struct queue *q, size_t least)
{
	/* When every lane has one, none has two: a crowd of sources is not searched in vain. */
	const struct queue_lane *l = q->n >= q->n_lanes + (least > 0 ? least - 1 : 0) ? longest(q) : NULL;

	return l == NULL || l->n < least ? NULL : TAILQ_LAST(&l->items, queue_items);
}

bool queue_push(struct queue *q, struct queue_lane *lane, struct queue_item *item, struct queue_item **evicted)
{
	*evicted = NULL;
	if (q->n >= q->max) {
		*evicted = queue_newest(q, lane->n + 2);
		if (*evicted == NULL)
			return false;
		queue_drop(q, *evicted);
	}
	if (lane->n == 0) {
		TAILQ_INIT(&lane->items);
		TAILQ_INSERT_TAIL(&q->lanes, lane, link);
		q->n_lanes++;
	}
	TAILQ_INSERT_TAIL(&lane->items, item, link);
	item->lane = lane;
	lane->n++;
	q->n++;
	return true;
}

struct queue_item *queue_first(const struct queue *q)
{
	const struct queue_lane *l = TAILQ_FIRST(&q->lanes);

	return l == NULL ? NULL : TAILQ_FIRST(&l->items);
}

void queue_drop(struct queue *q, struct queue_item *item)
{
	struct queue_lane *lane = item->lane;

	if (lane == NULL)
		return;
	TAILQ_REMOVE(&lane->items, item, link);
	item->lane = NULL;
	q->n--;
	if (--lane->n == 0) {
		TAILQ_REMOVE(&q->lanes, lane, link);
		q->n_lanes--;
	}
}

void queue_take(struct queue *q, struct queue_item *first)
{
	struct queue_lane *lane = first->lane;

	queue_drop(q, first);
	if (lane != NULL && lane->n > 0) {
		TAILQ_REMOVE(&q->lanes, lane, link);
		TAILQ_INSERT_TAIL(&q->lanes, lane, link);
	}
}
