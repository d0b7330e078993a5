/* broker/ledger/generations.c — the sockets of each generation: replies from its vaults, responses
 * to its gateways.  Sends a response to the gateway whose socket the vault names, which takes it
 * only when it waits for its id.  Trusts the supervisor for the sockets, and nothing of a frame's
 * form. Must never wait for one gateway. */
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "ledger/ledger.h"

enum { TAKE_MS = 1000 }; /* after the last vault has ended, for responses that still wait */

void ledger_generation_close(struct ledger_generation *g)
{
	if (g->replies >= 0)
		close(g->replies);
	for (size_t i = 0; i < g->n_gateways; i++) {
		close(g->responses[i]);
		outbox_free(&g->waiting[i]);
	}
	*g = (struct ledger_generation){.replies = -1};
}

/* A configuration that was in force before, and was followed by others, came back: an operator went
 * back on purpose, or an attacker replaced new files by old ones.  Record and log it, do not
 * refuse: going back is legitimate. */
void ledger_generation_record(struct ledger *l, struct ledger_generation *g)
{
	struct configs before = l->configs;
	uint64_t returned = 0;

	/* An older generation only finishes its requests.  After our own restart it is added
	 * again. */
	if (g->number >= l->newest) {
		l->newest = g->number;
		returned = configs_take(&l->configs, span_str(g->digest), l->log.chain.seq + 1);
	}
	g->is_recorded =
		journal_event(l, "generation", "generation", g->number, "config", g->digest,
			      returned != 0 ? "returned" : NULL, (int64_t)returned);
	if (!g->is_recorded) { /* tried again after journal_reopen() */
		l->configs = before;
		return;
	}
	if (g->number == l->newest)
		atomic_store(&l->page->config_returned, returned);
	if (returned != 0)
		log_event(LOG_WARN, "config.returned", "config", g->digest, "record",
			  log_i64((int64_t)returned), "what",
			  "this configuration was in force before, and others followed it: was it "
			  "put back on purpose?",
			  NULL);
}

void ledger_generation_add(struct ledger *l, const struct control_message *m, const int *fds,
			   size_t n)
{
	struct ledger_generation *g = NULL;

	for (size_t i = 0; i < LEDGER_GENERATIONS && g == NULL; i++)
		if (l->generation[i].number == 0)
			g = &l->generation[i];
	if (g == NULL || n < 2 || n - 1 > KB_MAX_GATEWAYS || m->generation == 0) {
		for (size_t i = 0; i < n; i++)
			close(fds[i]);
		log_event(LOG_ERROR, "generation.refused", "generation", log_i64(m->generation),
			  NULL);
		return;
	}
	*g = (struct ledger_generation){
		.number = m->generation, .replies = fds[0], .n_gateways = n - 1};
	memcpy(g->responses, fds + 1, (n - 1) * sizeof *fds);
	memcpy(g->digest, m->digest, sizeof g->digest);
	ledger_generation_record(l, g);
}

void ledger_set_broken(struct ledger *l)
{
	log_event(LOG_ERROR, "ledger.socket", "err", strerror(errno), NULL);
	l->is_broken = true;
}

void ledger_generation_receive(struct ledger *l, struct ledger_generation *g)
{
	while (l->n < KB_LEDGER_BATCH) {
		struct batch_item *it = &l->item[l->n];
		uint8_t *frame = l->frames + l->n * KB_MAX_FRAME;
		ssize_t len = recv(g->replies, frame, KB_MAX_FRAME, MSG_DONTWAIT | MSG_TRUNC);
		if (len < 0 && errno == EINTR)
			continue;
		if (len < 0 && errno == EAGAIN)
			return;
		/* The socket may hold more replies: the restarted ledger reads them. */
		if (len < 0 && errno != ECONNRESET) {
			ledger_set_broken(l);
			return;
		}
		/* The last vault of this generation has ended. */
		if (len < 0 || (len == 0 && frame_at_end(g->replies))) {
			log_event(LOG_INFO, "generation.ended", "generation", log_i64(g->number),
				  NULL);
			/* Items of this batch may still point at the generation: it is closed
			 * when they are answered. */
			close(g->replies);
			g->replies = -1;
			return;
		}
		*it = (struct batch_item){.from = g};
		if (len > KB_MAX_FRAME ||
		    frame_get_reply(span_of(frame, (size_t)len), &it->reply) != KB_OK ||
		    it->reply.gateway >= g->n_gateways) {
			if (stats_bad_frame(l->self))
				log_event(LOG_ERROR, "frame.bad", "generation", log_i64(g->number),
					  "bytes", log_i64(len), NULL);
			continue;
		}
		l->n++;
	}
}

void ledger_generation_respond(struct ledger *l, const struct batch_item *it)
{
	size_t gateway = it->reply.gateway;
	struct ledger_generation *g = it->from;
	struct frame_response r = {
		.id = it->reply.id,
		.status = it->status,
		.code = it->code,
		.is_release = it->code == KB_OK && it->reply.outcome.is_release,
		.retry_after_s = it->retry_after_s,
		.challenge = it->reply.challenge,
		.client_request_id = it->reply.client_request_id,
		.body = it->body,
	};

	memcpy(r.uuid, it->reply.uuid, sizeof r.uuid);
	if (frame_put_response(&r, &l->response) != KB_OK) {
		log_event(LOG_ERROR, "response.unsendable", NULL);
		stats_count(l->self, COUNT_REPLIES_LOST, 1);
		return;
	}
	if (!outbox_put(&g->waiting[gateway], g->responses[gateway], buf_span(&l->response)))
		stats_count(l->self, COUNT_REPLIES_LOST, 1);
}

void ledger_generation_flush(struct ledger *l, struct ledger_generation *g)
{
	for (size_t i = 0; i < g->n_gateways; i++)
		if (!outbox_is_empty(&g->waiting[i]))
			stats_count(l->self, COUNT_REPLIES_LOST,
				    outbox_flush(&g->waiting[i], g->responses[i]));
}

bool ledger_generation_is_over(struct ledger_generation *g)
{
	bool is_waiting = false;

	if (g->replies >= 0)
		return false;
	for (size_t i = 0; i < g->n_gateways; i++)
		is_waiting |= !outbox_is_empty(&g->waiting[i]);
	if (g->close_by_ms == 0)
		g->close_by_ms = clock_mono_ms() + TAKE_MS;
	return !is_waiting || clock_mono_ms() >= g->close_by_ms;
}
