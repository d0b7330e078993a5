/* broker/gateway/exchange.h — requests to the pools of workers, responses from the ledger, and the
 * table of requests under way.  Never blocks: what a socket does not take waits in a bounded, fair
 * queue. */
#ifndef KB_GATEWAY_EXCHANGE_H
#define KB_GATEWAY_EXCHANGE_H
#include "api/operation.h"
#include "gateway/queue.h"
#include "process/frame.h"
#include "process/stats.h"

struct event_base;
struct exchange; /* opaque */

/* One request under way, part of the caller's connection.  Zero it before the first use. */
struct pending {
	uint64_t id;          /* 0: nothing is under way */
	enum pool pool;       /* whose workers serve it */
	struct pending *next; /* in the table */
	struct queue_item item;
	uint8_t *frame; /* owned while queued */
	size_t frame_len;
};

struct exchange_events {
	void *ctx;
	/* After these two the request is no longer under way. */
	void (*on_response)(void *ctx, struct pending *p, const struct frame_response *r);
	void (*on_refused)(void *ctx, struct pending *p, enum kb_err err); /* left the queue */
	/* A socket is closed: this process cannot serve any more. */
	void (*on_broken)(void *ctx);
};

struct exchange_config {
	int pool_fd[POOL_COUNT], ledger_fd; /* stay the caller's */
	struct process_stats *self;
	/* How many requests workers and ledger may hold, window_least to window ≤ KB_MAX_WINDOW.
	 * The kernel would take thousands, in one line for all sources.  A small window leaves the
	 * others in our queue, which is fair between sources. */
	unsigned window, window_least;
	unsigned max_queue, max_pending;
};

/* KB_E_NOMEM, KB_E_SYS. */
KB_MUST_CHECK enum kb_err exchange_new(struct event_base *base, const struct exchange_config *cfg,
				       const struct exchange_events *events, struct exchange **out);
void exchange_free(struct exchange *x);

/* The id for the next exchange_send(); `uuid` is the request's: random, and not known to others.
 * Of no other request under way. */
uint64_t exchange_next_id(struct exchange *x, bool needs_record, const uint8_t uuid[static 16]);
/* Send the frame, which has `id` in it, to the pool, or queue it.  On any error (KB_E_QUEUE_FULL,
 * KB_E_NOMEM, KB_E_FRAME, KB_E_RELOADED) nothing is under way.  When the socket is closed the
 * request counts as sent, and on_broken follows. */
KB_MUST_CHECK enum kb_err exchange_send(struct exchange *x, enum pool pool, struct pending *p,
					uint64_t id, struct queue_source *source,
					struct span frame);
/* A reload changed what judges: what is queued is refused with KB_E_RELOADED, and so is every
 * further exchange_send().  What was sent is answered. */
void exchange_close(struct exchange *x);
/* Drop it: a late response is counted as lost.  May be called when nothing is under way. */
void exchange_cancel(struct exchange *x, struct pending *p);
/* What is under way with this id, or NULL. */
struct pending *exchange_find(const struct exchange *x, uint64_t id);
/* There will be no response to this request: free its place in the window. */
void exchange_lost(struct exchange *x, uint64_t id);
/* Every KB_TICK_MS: free the places of requests past their deadline. */
void exchange_tick(struct exchange *x, int64_t now_ms);

#endif
