/* broker/gateway/queue.h — the requests that wait for a worker: bounded, first in first out within a source, sources served in turn (SECURITY G6, B11).
 * Intrusive: items and lanes belong to the caller and must outlive their stay.  No allocation. */
#ifndef KB_GATEWAY_QUEUE_H
#define KB_GATEWAY_QUEUE_H
#include <stdbool.h>
#include <stddef.h>
#include <sys/queue.h>

struct queue_lane;
struct queue_item {
	TAILQ_ENTRY(queue_item) link;
	struct queue_lane *lane; /* NULL: not in a queue */
};
TAILQ_HEAD(queue_items, queue_item);
struct queue_lane { /* one source's items; zero it before first use */
	TAILQ_ENTRY(queue_lane) link;
	struct queue_items items;
	size_t n;
};
struct queue {
	TAILQ_HEAD(, queue_lane) lanes; /* those with items, next to be served first */
	size_t n, max, n_lanes;
};

void queue_init(struct queue *q, size_t max);
/* Append.  When the queue is full, the newest item of the longest lane makes room if its lane would still be no shorter than ours: it is handed
 * back in *evicted (NULL otherwise).  false: full, nothing was changed. */
bool queue_push(struct queue *q, struct queue_lane *lane, struct queue_item *item, struct queue_item **evicted);
struct queue_item *queue_first(const struct queue *q);      /* whose turn it is; NULL when empty */
void queue_take(struct queue *q, struct queue_item *first); /* remove what queue_first() gave: its lane goes to the end */
void queue_drop(struct queue *q, struct queue_item *item);  /* remove from anywhere; turns do not change */
/* The newest item of the longest lane, when that lane has `least` or more; NULL otherwise.  It stays. */
struct queue_item *queue_newest(const struct queue *q, size_t least);

#endif
