/* broker/gateway/exchange.h — the gateway's way to the vault and back: frames out to the shared
 * request socket, responses in from the ledger, and the table of what is under way.  Never blocks;
 * what the socket does not take waits in a bounded, fair queue. */
#ifndef KB_GATEWAY_EXCHANGE_H
#define KB_GATEWAY_EXCHANGE_H
#include "gateway/queue.h"
#include "process/frame.h"
#include "process/stats.h"

struct event_base;
struct exchange; /* opaque */

struct pending { /* one request under way; a part of the caller's connection; zero it before first
		    use */
	uint64_t id;          /* 0: nothing is under way */
	struct pending *next; /* in the table */
	struct queue_item item;
	uint8_t *frame; /* owned while queued */
	size_t frame_len;
};

struct exchange_events {
	void *ctx;
	void (*on_response)(void *ctx, struct pending *p,
			    const struct frame_response *r); /* nothing is under way any more */
	void (*on_refused)(void *ctx, struct pending *p,
			   enum kb_err err); /* it had to leave the queue */
	void (*on_broken)(void *ctx); /* a socket is closed: the process cannot serve any more */
};

struct exchange_config {
	int vault_fd, ledger_fd; /* stay the caller's */
	struct process_stats *self;
	unsigned gateway; /* which of its generation this is, < 256: the ledger finds the way back
			     by it */
	/* How many requests may be on their way at once, window_least to window ≤ KB_MAX_WINDOW.
	 * The kernel would take thousands, in one line for all sources; kept as short as the
	 * workers can do with, the line is ours, where sources take turns. */
	unsigned window, window_least;
	unsigned max_queue, max_pending;
};

/* KB_E_NOMEM, KB_E_SYS. */
KB_MUST_CHECK enum kb_err exchange_new(struct event_base *base, const struct exchange_config *cfg,
				       const struct exchange_events *events, struct exchange **out);
void exchange_free(struct exchange *x);

uint64_t exchange_next_id(
	struct exchange *x); /* for the frame of the next exchange_send(): the gateway in the top
				byte, a random epoch, a count; never 0, never given twice */
/* Send the frame with p->id already in it, or queue it.  On any error (KB_E_QUEUE_FULL, KB_E_NOMEM,
 * KB_E_FRAME) nothing is under way.  When the socket is closed the request counts as sent, and
 * on_broken follows. */
KB_MUST_CHECK enum kb_err exchange_send(struct exchange *x, struct pending *p, uint64_t id,
					struct queue_source *source, struct span frame);
/* Forget it: a late response is counted as lost.  Nothing under way is fine. */
void exchange_cancel(struct exchange *x, struct pending *p);
/* What is under way with this id, or NULL. */
struct pending *exchange_find(const struct exchange *x, uint64_t id);
void exchange_lost(
	struct exchange *x,
	uint64_t id); /* there will be no response to this: its place in the window is free */
void exchange_tick(struct exchange *x, int64_t now_ms); /* every KB_TICK_MS: places whose request is
							   past its deadline are free, too */

#endif
