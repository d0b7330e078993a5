/* broker/gateway/queue.c — decides which item is served next and which one is removed when the
 * queue is full.  Trusts its caller.  One source must never prevent another from being served. */
#include "gateway/queue.h"

void queue_init(struct queue *q, size_t max)
{
	TAILQ_INIT(&q->sources);
	q->n = 0;
	q->n_sources = 0;
	q->max = max;
}

static struct queue_source *longest(const struct queue *q)
{
	struct queue_source *most = NULL;
	struct queue_source *l;

	TAILQ_FOREACH(l, &q->sources, link)
	if (most == NULL || l->n > most->n)
		most = l;
	return most;
}

struct queue_item *queue_newest(const struct queue *q, size_t least)
{
	/* With q->n < n_sources + least - 1 no source can have `least` items: do not search. */
	const struct queue_source *l =
		q->n >= q->n_sources + (least > 0 ? least - 1 : 0) ? longest(q) : NULL;

	return l == NULL || l->n < least ? NULL : TAILQ_LAST(&l->items, queue_items);
}

bool queue_push(struct queue *q, struct queue_source *source, struct queue_item *item,
		struct queue_item **evicted)
{
	*evicted = NULL;
	if (q->n >= q->max) {
		*evicted = queue_newest(q, source->n + 2);
		if (*evicted == NULL)
			return false;
		queue_drop(q, *evicted);
	}
	if (source->n == 0) {
		TAILQ_INIT(&source->items);
		TAILQ_INSERT_TAIL(&q->sources, source, link);
		q->n_sources++;
	}
	TAILQ_INSERT_TAIL(&source->items, item, link);
	item->source = source;
	source->n++;
	q->n++;
	return true;
}

struct queue_item *queue_first(const struct queue *q)
{
	const struct queue_source *l = TAILQ_FIRST(&q->sources);

	return l == NULL ? NULL : TAILQ_FIRST(&l->items);
}

void queue_drop(struct queue *q, struct queue_item *item)
{
	struct queue_source *source = item->source;

	if (source == NULL)
		return;
	TAILQ_REMOVE(&source->items, item, link);
	item->source = NULL;
	q->n--;
	if (--source->n == 0) {
		TAILQ_REMOVE(&q->sources, source, link);
		q->n_sources--;
	}
}

void queue_take(struct queue *q, struct queue_item *first)
{
	struct queue_source *source = first->source;

	queue_drop(q, first);
	if (source != NULL && source->n > 0) {
		TAILQ_REMOVE(&q->sources, source, link);
		TAILQ_INSERT_TAIL(&q->sources, source, link);
	}
}
