/* broker/gateway/exchange.h — requests to the vault and their responses: frames out to the shared
 * request socket, responses in from the ledger, the table of requests under way.  Never blocks;
 * what the socket does not take waits in a bounded, fair queue. */
#ifndef KB_GATEWAY_EXCHANGE_H
#define KB_GATEWAY_EXCHANGE_H
#include "gateway/queue.h"
#include "process/frame.h"
#include "process/stats.h"

struct event_base;
struct exchange; /* opaque */

/* One request under way; a part of the caller's connection.  Zero it before first use. */
struct pending {
	uint64_t id;          /* 0: nothing is under way */
	struct pending *next; /* in the table */
	struct queue_item item;
	uint8_t *frame; /* owned while queued */
	size_t frame_len;
};

struct exchange_events {
	void *ctx;
	/* Nothing is under way any more. */
	void (*on_response)(void *ctx, struct pending *p, const struct frame_response *r);
	/* It was removed from the queue. */
	void (*on_refused)(void *ctx, struct pending *p, enum kb_err err);
	/* A socket is closed: the process cannot serve any more. */
	void (*on_broken)(void *ctx);
};

struct exchange_config {
	int vault_fd, ledger_fd; /* stay the caller's */
	struct process_stats *self;
	/* Its index in its generation, < 256.  The ledger sends the response back by it. */
	unsigned gateway;
	/* How many requests may be with the vaults and the ledger at once: window_least to window ≤
	 * KB_MAX_WINDOW.  The kernel would queue thousands, in one order for all sources.  With a
	 * short window requests wait in our queue, which is fair between sources. */
	unsigned window, window_least;
	unsigned max_queue, max_pending;
};

/* KB_E_NOMEM, KB_E_SYS. */
KB_MUST_CHECK enum kb_err exchange_new(struct event_base *base, const struct exchange_config *cfg,
				       const struct exchange_events *events, struct exchange **out);
void exchange_free(struct exchange *x);

/* For the frame of the next exchange_send(): the gateway in the top byte, a random epoch, a count.
 * Never 0, never the same twice. */
uint64_t exchange_next_id(struct exchange *x);
/* Send the frame with p->id already in it, or queue it.  On any error (KB_E_QUEUE_FULL, KB_E_NOMEM,
 * KB_E_FRAME) nothing is under way.  When the socket is closed the request counts as sent, and
 * on_broken follows. */
KB_MUST_CHECK enum kb_err exchange_send(struct exchange *x, struct pending *p, uint64_t id,
					struct queue_source *source, struct span frame);
/* Remove it: a late response is counted as lost.  No change when nothing is under way. */
void exchange_cancel(struct exchange *x, struct pending *p);
/* What is under way with this id, or NULL. */
struct pending *exchange_find(const struct exchange *x, uint64_t id);
/* There will be no response to this: its place in the window is free. */
void exchange_lost(struct exchange *x, uint64_t id);
/* Every KB_TICK_MS: places whose request is past its deadline are free, too. */
void exchange_tick(struct exchange *x, int64_t now_ms);

#endif
