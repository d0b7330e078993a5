/* broker/gateway/exchange.c — sends requests to the pools and matches the ledger's responses with
 * them. Decides when a request is sent; queue.c decides which is next.  Trusts the ledger for the
 * answer, but not for its form: a frame that does not decode is counted and dropped.  Must never
 * block. */
#include "gateway/exchange.h"

#include <errno.h>
#include <event2/event.h>
#include <linux/sock_diag.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/limits.h"

enum {
	RESPONSES_AT_ONCE = 32, /* received before connections are served again */
	/* The window grows by this and shrinks by 1: an idle worker costs more than a longer
	 * queue. */
	WINDOW_STEP = 8,
};

/* Held from sending a request to its response, whether or not its client still waits. */
struct window_place {
	uint64_t id; /* 0: free */
	int64_t until_ms;
};

struct exchange {
	struct pending **bucket;
	size_t mask;
	uint64_t count; /* of ids made */
	struct queue queue;
	struct window_place place[KB_MAX_WINDOW];
	unsigned n_held, window; /* places held, and places that may be held now */
	unsigned window_least, window_most;
	struct event *writable[POOL_COUNT], *closed[POOL_COUNT], *readable;
	int pool_fd[POOL_COUNT];
	bool is_waiting[POOL_COUNT]; /* for the pool's socket to become writable */
	bool is_broken;
	bool is_closed; /* the pools take nothing from us any more */
	struct process_stats *self;
	struct exchange_events on;
	uint8_t in[KB_MAX_FRAME];
};

static struct pending **bucket_of(const struct exchange *x, uint64_t id)
{
	return &x->bucket[id & x->mask]; /* a count: no hash spreads better */
}

struct pending *exchange_find(const struct exchange *x, uint64_t id)
{
	struct pending *p = *bucket_of(x, id);

	while (p != NULL && p->id != id)
		p = p->next;
	return p;
}

uint64_t exchange_next_id(struct exchange *x, bool needs_record, const uint8_t uuid[static 16])
{
	uint64_t random;

	memcpy(&random, uuid + 8, sizeof random);
	return frame_new_id(needs_record, random, ++x->count);
}

static void table_add(struct exchange *x, struct pending *p, uint64_t id)
{
	struct pending **bucket = bucket_of(x, id);

	p->id = id;
	p->next = *bucket;
	*bucket = p;
}

static void frame_drop(struct pending *p)
{
	if (p->frame != NULL)
		OPENSSL_clear_free(p->frame, p->frame_len); /* a token is in it */
	p->frame = NULL;
	p->frame_len = 0;
}

void exchange_cancel(struct exchange *x, struct pending *p)
{
	if (p->id == 0)
		return;
	struct pending **at = bucket_of(x, p->id);
	while (*at != p)
		at = &(*at)->next;
	*at = p->next;
	p->next = NULL;
	p->id = 0;
	queue_drop(&x->queue, &p->item);
	stats_gauge(x->self, COUNT_QUEUE, x->queue.n);
	frame_drop(p);
}

static void place_hold(struct exchange *x, uint64_t id)
{
	for (unsigned i = 0; i < x->window_most; i++)
		if (x->place[i].id == 0) {
			x->place[i] = (struct window_place){id, clock_mono_ms() + KB_REQUEST_MS};
			x->n_held++;
			return;
		}
	KB_BUG();
}

static void place_free(struct exchange *x, uint64_t id)
{
	for (unsigned i = 0; i < x->window_most; i++)
		if (x->place[i].id == id) {
			x->place[i].id = 0;
			x->n_held--;
			return;
		}
}

static void broken(struct exchange *x)
{
	if (x->is_broken)
		return;
	x->is_broken = true;
	for (unsigned i = 0; i < POOL_COUNT; i++) {
		(void)event_del(x->writable[i]);
		(void)event_del(x->closed[i]);
	}
	(void)event_del(x->readable);
	x->on.on_broken(x->on.ctx);
}

enum sent { SENT, SENT_LATER, SENT_NEVER, SENT_CLOSED };

/* SENT_LATER: the window or the socket is full.  SENT_NEVER: this message cannot be sent.
 * SENT_CLOSED: none can, because the supervisor has shut the socket down for writing.  A socket
 * with another fault takes everything: the process is about to end. */
static enum sent try_send(struct exchange *x, enum pool pool, uint64_t id, struct span frame)
{
	ssize_t n;

	if (x->is_closed)
		return SENT_CLOSED;
	if (x->n_held >= x->window)
		return SENT_LATER;
	do
		n = send(x->pool_fd[pool], frame.p, frame.len, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	if (n >= 0) {
		place_hold(x, id);
		stats_count(x->self, COUNT_REQUESTS, 1);
		return SENT;
	}
	if (errno == EAGAIN || errno == EWOULDBLOCK)
		return SENT_LATER;
	if (errno == EMSGSIZE || errno == ENOBUFS || errno == ENOMEM)
		return SENT_NEVER;
	if (errno == EPIPE) {
		x->is_closed = true;
		return SENT_CLOSED;
	}
	broken(x);
	return SENT;
}

static void wait_writable(struct exchange *x, enum pool pool)
{
	if (!x->is_waiting[pool] && !x->is_broken && x->n_held < x->window &&
	    event_add(x->writable[pool], NULL) == 0)
		x->is_waiting[pool] = true;
}

static enum kb_err enqueue(struct exchange *x, struct pending *p, uint64_t id,
			   struct queue_source *source, struct span frame)
{
	struct queue_item *evicted;

	p->frame = malloc(frame.len);
	if (p->frame == NULL)
		return KB_E_NOMEM;
	memcpy(p->frame, frame.p, frame.len);
	p->frame_len = frame.len;
	if (!queue_push(&x->queue, source, &p->item, &evicted)) {
		frame_drop(p);
		return KB_E_QUEUE_FULL;
	}
	table_add(x, p, id);
	stats_gauge(x->self, COUNT_QUEUE, x->queue.n);
	wait_writable(x, p->pool);
	if (evicted != NULL) {
		struct pending *other =
			(struct pending *)((char *)evicted - offsetof(struct pending, item));
		exchange_cancel(x, other);
		x->on.on_refused(x->on.ctx, other, KB_E_QUEUE_FULL);
	}
	return KB_OK;
}

enum kb_err exchange_send(struct exchange *x, enum pool pool, struct pending *p, uint64_t id,
			  struct queue_source *source, struct span frame)
{
	p->pool = pool;
	/* While requests are queued, a new one is queued, too: the next place is the first
	 * one's. */
	if (x->queue.n > 0 && !x->is_closed)
		return enqueue(x, p, id, source, frame);
	switch (try_send(x, pool, id, frame)) {
	case SENT:
		table_add(x, p, id);
		return KB_OK;
	case SENT_LATER:
		return enqueue(x, p, id, source, frame);
	case SENT_NEVER:
		return KB_E_FRAME;
	case SENT_CLOSED:
		return KB_E_RELOADED;
	}
	KB_BUG();
}

/* Send what the window and the socket take of the queue. */
static void pump(struct exchange *x)
{
	struct queue_item *item;

	while ((item = queue_first(&x->queue)) != NULL && !x->is_broken) {
		struct pending *p =
			(struct pending *)((char *)item - offsetof(struct pending, item));
		enum sent sent = try_send(x, p->pool, p->id, span_of(p->frame, p->frame_len));
		if (sent == SENT_LATER) {
			wait_writable(x, p->pool);
			break;
		}
		queue_take(&x->queue, item);
		frame_drop(p);
		if (sent != SENT) {
			exchange_cancel(x, p);
			x->on.on_refused(x->on.ctx, p,
					 sent == SENT_CLOSED ? KB_E_RELOADED : KB_E_FRAME);
		}
	}
	stats_gauge(x->self, COUNT_QUEUE, x->queue.n);
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
	struct exchange *x = arg;

	(void)what;
	for (unsigned i = 0; i < POOL_COUNT; i++)
		if (x->pool_fd[i] == fd)
			x->is_waiting[i] = false;
	pump(x);
}

void exchange_close(struct exchange *x)
{
	x->is_closed = true;
	pump(x);
}

void exchange_lost(struct exchange *x, uint64_t id)
{
	place_free(x, id);
	pump(x);
}

void exchange_tick(struct exchange *x, int64_t now_ms)
{
	for (unsigned i = 0; i < x->window_most; i++)
		if (x->place[i].id != 0 && x->place[i].until_ms <= now_ms) {
			x->place[i].id = 0;
			x->n_held--;
		}
	pump(x);
}

static void take_response(struct exchange *x, struct span message)
{
	struct frame_response r;

	if (frame_get_response(message, &r) != KB_OK) {
		stats_count(x->self, COUNT_FRAMES_BAD, 1);
		return;
	}
	place_free(x, r.id);
	struct pending *p = exchange_find(x, r.id);
	if (p == NULL) { /* its client has gone or has its 503, or nobody asked */
		stats_count(x->self, COUNT_REPLIES_LOST, 1);
		return;
	}
	exchange_cancel(x, p);
	stats_count(x->self, COUNT_REPLIES, 1);
	x->on.on_response(x->on.ctx, p, &r);
}

/* Requests are queued, and responses came.  When the vault's socket still holds requests, make the
 * window smaller: the socket is one line for all sources, our queue is fair.  When it is empty, a
 * worker may have been idle: make the window larger. */
static void adapt_window(struct exchange *x)
{
	uint32_t memory[SK_MEMINFO_VARS];
	socklen_t size = sizeof memory;

	if (getsockopt(x->pool_fd[POOL_VAULT], SOL_SOCKET, SO_MEMINFO, memory, &size) != 0 ||
	    size <= SK_MEMINFO_WMEM_ALLOC * sizeof memory[0] || memory[SK_MEMINFO_WMEM_ALLOC] == 0)
		x->window += x->window_most - x->window < WINDOW_STEP ? x->window_most - x->window
								      : WINDOW_STEP;
	else if (x->window > x->window_least)
		x->window--;
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct exchange *x = arg;

	(void)what;
	for (unsigned i = 0; i < RESPONSES_AT_ONCE && !x->is_broken; i++) {
		ssize_t n = recv(fd, x->in, sizeof x->in, MSG_DONTWAIT | MSG_TRUNC);
		if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
			break;
		if (n <= 0) {
			broken(x);
			return;
		}
		if ((size_t)n > sizeof x->in)
			stats_count(x->self, COUNT_FRAMES_BAD, 1);
		else
			take_response(x, span_of(x->in, (size_t)n));
	}
	if (x->queue.n > 0) {
		adapt_window(x);
		pump(x);
	}
}

/* Workers send nothing on this socket: readable means that the other end is closed. */
static void on_pool_closed(evutil_socket_t fd, short what, void *arg)
{
	uint8_t byte;

	(void)what;
	ssize_t n = recv(fd, &byte, 1, MSG_DONTWAIT);
	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR))
		broken(arg);
}

enum kb_err exchange_new(struct event_base *base, const struct exchange_config *cfg,
			 const struct exchange_events *events, struct exchange **out)
{
	struct exchange *x = calloc(1, sizeof *x);
	size_t buckets = 64;

	*out = NULL;
	if (x == NULL)
		return KB_E_NOMEM;
	while (buckets < cfg->max_pending && buckets < 1u << 20)
		buckets *= 2;
	x->mask = buckets - 1;
	x->self = cfg->self;
	x->on = *events;
	queue_init(&x->queue, cfg->max_queue);
	x->window = x->window_most = cfg->window < KB_MAX_WINDOW ? cfg->window : KB_MAX_WINDOW;
	x->window_least = cfg->window_least < x->window_most ? cfg->window_least : x->window_most;
	x->bucket = calloc(buckets, sizeof(struct pending *));
	bool is_made = true;
	for (unsigned i = 0; i < POOL_COUNT; i++) {
		x->pool_fd[i] = cfg->pool_fd[i];
		x->writable[i] = event_new(base, cfg->pool_fd[i], EV_WRITE, on_writable, x);
		x->closed[i] =
			event_new(base, cfg->pool_fd[i], EV_READ | EV_PERSIST, on_pool_closed, x);
		is_made = is_made && x->writable[i] != NULL && x->closed[i] != NULL;
	}
	x->readable = event_new(base, cfg->ledger_fd, EV_READ | EV_PERSIST, on_readable, x);
	if (x->bucket == NULL || !is_made || x->readable == NULL) {
		exchange_free(x);
		return KB_E_NOMEM;
	}
	bool is_added = event_add(x->readable, NULL) == 0;
	for (unsigned i = 0; i < POOL_COUNT; i++)
		is_added = is_added && event_add(x->closed[i], NULL) == 0;
	if (!is_added) {
		exchange_free(x);
		return KB_E_SYS;
	}
	*out = x;
	return KB_OK;
}

void exchange_free(struct exchange *x)
{
	if (x == NULL)
		return;
	for (unsigned i = 0; i < POOL_COUNT; i++) {
		if (x->writable[i] != NULL)
			event_free(x->writable[i]);
		if (x->closed[i] != NULL)
			event_free(x->closed[i]);
	}
	if (x->readable != NULL)
		event_free(x->readable);
	OPENSSL_cleanse(x->in, sizeof x->in);
	free(x->bucket);
	free(x);
}
