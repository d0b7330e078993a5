/* broker/gateway/queue.h — the requests that wait for a worker: bounded, first in first out within
 * a source, sources served in turn (SECURITY G6, B11). Intrusive: items and sources belong to the
 * caller and must outlive their stay.  No allocation. */
#ifndef KB_GATEWAY_QUEUE_H
#define KB_GATEWAY_QUEUE_H
#include <stdbool.h>
#include <stddef.h>
#include <sys/queue.h>

struct queue_source;
struct queue_item {
	TAILQ_ENTRY(queue_item) link;
	struct queue_source *source; /* NULL: not in a queue */
};
TAILQ_HEAD(queue_items, queue_item);
struct queue_source { /* one source's items; zero it before first use */
	TAILQ_ENTRY(queue_source) link;
	struct queue_items items;
	size_t n;
};
struct queue {
	TAILQ_HEAD(, queue_source) sources; /* those with items, next to be served first */
	size_t n, max, n_sources;
};

void queue_init(struct queue *q, size_t max);
/* Append.  When the queue is full, the newest item of the longest source makes room if its source
 * would still be no shorter than ours: it is handed back in *evicted (NULL otherwise).  false:
 * full, nothing was changed. */
bool queue_push(struct queue *q, struct queue_source *source, struct queue_item *item,
		struct queue_item **evicted);
struct queue_item *queue_first(const struct queue *q); /* whose turn it is; NULL when empty */
void queue_take(
	struct queue *q,
	struct queue_item *first); /* remove what queue_first() gave: its source goes to the end */
void queue_drop(struct queue *q,
		struct queue_item *item); /* remove from anywhere; turns do not change */
/* The newest item of the longest source, when that source has `least` or more; NULL otherwise.  It
 * stays. */
struct queue_item *queue_newest(const struct queue *q, size_t least);

#endif
