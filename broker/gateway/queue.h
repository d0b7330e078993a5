/* broker/gateway/queue.h — a bounded, fair queue: first in, first out within a source, sources in
 * round robin.  For requests that wait for a worker, and connections that wait for admission.
 * Intrusive: items and sources belong to the caller and must outlive their time in the queue.  No
 * allocation. */
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
	TAILQ_HEAD(, queue_source) sources; /* those with items, the next to be served first */
	size_t n, max, n_sources;
};

void queue_init(struct queue *q, size_t max);
/* Append.  When the queue is full, the newest item of the longest source is removed, if its source
 * is still no shorter than ours afterwards; *evicted is that item (NULL otherwise).  False: full,
 * nothing was changed. */
bool queue_push(struct queue *q, struct queue_source *source, struct queue_item *item,
		struct queue_item **evicted);
/* The next item to be served; NULL when empty. */
struct queue_item *queue_first(const struct queue *q);
/* Remove what queue_first() returned: its source goes to the end. */
void queue_take(struct queue *q, struct queue_item *first);
/* Remove from anywhere; the order of sources does not change. */
void queue_drop(struct queue *q, struct queue_item *item);
/* The newest item of the longest source, if that source has `least` or more; NULL otherwise.  It is
 * not removed. */
struct queue_item *queue_newest(const struct queue *q, size_t least);

#endif
