/* broker/ledger/ledger.c — the ledger process: receives replies from the vaults, has batch.c record
 * and answer them, and obeys the supervisor.  Decides how long a batch waits for more records.
 * Trusts the supervisor for its sockets.  Must never end while vaults still send, unless it
 * waited. */
#include "ledger/ledger.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/version.h"
#include "process/confine.h"

enum {
	CLOSE_LOOK_MS = 50, /* while responses of an ended generation wait */
	LINGER_MS = 5000,   /* after the supervisor has ended: for replies under way */
	BEAT_MS = 1000,     /* without a reply: the loop turns, for the supervisor to see */
};

/* A limit of a configuration that a reload brought into force; other messages are none. */
static void set_limit(struct ledger *l, const struct control_message *m)
{
	const struct {
		enum control_type type;
		int64_t *limit;
	} limits[] = {
		{CONTROL_SEGMENT_BYTES, &l->segment_bytes},
		{CONTROL_RESERVE_BYTES, &l->reserve_bytes},
		{CONTROL_REFUSALS_PER_SOURCE, &l->refusals.most_whole},
		{CONTROL_REFUSALS_BYTES, &l->refusals.most_bytes},
	};

	for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++)
		if (m->type == limits[i].type && m->value <= INT64_MAX)
			*limits[i].limit = (int64_t)m->value;
	l->space_at_ms = 0; /* look at the free space again */
}

static void on_control(struct ledger *l)
{
	struct control_message m;
	int fds[KB_MAX_GATEWAYS + 1];
	size_t n = KB_MAX_GATEWAYS + 1;
	enum kb_err err = control_recv(FD_CONTROL, &m, fds, &n);

	if (err == KB_E_FRAME) {
		stats_count(l->self, COUNT_FRAMES_BAD, 1);
		return;
	}
	/* The supervisor has ended, or wants us to end: finish what the vaults still send. */
	if (err != KB_OK) {
		l->is_control_closed = true;
		l->linger_until_ms = clock_mono_ms() + LINGER_MS;
		return;
	}
	if (m.type == CONTROL_GENERATION) {
		ledger_generation_add(l, &m, fds, n);
		return;
	}
	for (size_t i = 0; i < n; i++)
		close(fds[i]);
	set_limit(l, &m);
	if (m.type == CONTROL_ROTATE) {
		journal_see_time(l);
		journal_rotate(l, "asked to");
	}
}

/* ---- the loop ---- */

/* Receive from all generations.  Begin with another one each time, so that none starves. */
static void receive_all(struct ledger *l, const struct pollfd *ready, const size_t *which, size_t n)
{
	static size_t first;

	first++;
	for (size_t i = 0; i < n; i++) {
		size_t k = (first + i) % n;
		if (ready[k].revents != 0)
			ledger_generation_receive(l, &l->generation[which[k]]);
	}
}

static int wait_ms(const struct ledger *l)
{
	if (l->is_control_closed || l->log.fd < 0)
		return LEDGER_REOPEN_MS / 4;
	const int64_t due_ms = refusals_due_ms(&l->refusals, clock_mono_ms());
	return due_ms >= 0 && due_ms < BEAT_MS ? (int)due_ms : BEAT_MS;
}

/* How long a batch waits for more records.  A worker that is in a request will send one, and one
 * sync costs more than all other work of a record.  With one client at a time no worker is in a
 * request, so nothing waits.  When every worker is in one, requests queue for the vaults anyway: a
 * longer wait here delays nobody. */
static int64_t wait_us(const struct ledger *l)
{
	bool is_any_busy = false, is_any_idle = false;

	for (unsigned i = SLOT_FIRST; i < PROCESS_SLOTS; i++) {
		const struct seat *seat = &l->start->shared->board->seat[i];
		if (atomic_load_explicit(&seat->kind, memory_order_relaxed) != PROCESS_VAULT ||
		    atomic_load_explicit(&seat->pid, memory_order_relaxed) == 0)
			continue;
		const uint32_t state = atomic_load_explicit(
			&l->start->shared->page[i]->health.state, memory_order_relaxed);
		is_any_busy |= state == HEALTH_BUSY;
		is_any_idle |= state == HEALTH_READY;
	}
	return !is_any_busy ? 0 : is_any_idle ? KB_COMMIT_WAIT_US : KB_COMMIT_WAIT_BUSY_US;
}

static void receive_more(struct ledger *l, struct pollfd *p, const size_t *which, size_t n)
{
	const int64_t from_us = clock_mono_us();

	while (l->n > 0 && l->n < KB_LEDGER_BATCH) {
		const int64_t wait = wait_us(l), left_us = from_us + wait - clock_mono_us();
		if (left_us <= 0)
			return;
		for (size_t i = 0; i < n; i++) /* a generation that has ended is not polled again */
			p[i].fd = l->generation[which[i]].replies;
		struct timespec left = {.tv_nsec = left_us * 1000}, none = {0};
		if (wait == KB_COMMIT_WAIT_BUSY_US) { /* not woken by each record */
			left.tv_nsec = left.tv_nsec < KB_COMMIT_LOOK_US * 1000
					       ? left.tv_nsec
					       : KB_COMMIT_LOOK_US * 1000;
			(void)nanosleep(&left, NULL);
			left = none;
		}
		if (ppoll(p, n, &left, NULL) > 0)
			receive_all(l, p, which, n);
	}
}

/* Those that could not be recorded before. */
static void record_generations(struct ledger *l)
{
	for (size_t i = 0; i < LEDGER_GENERATIONS; i++)
		if (l->generation[i].number != 0 && !l->generation[i].is_recorded)
			ledger_generation_record(l, &l->generation[i]);
}

/* Woken when a gateway takes what waits for it. */
static size_t poll_waiting(const struct ledger *l, struct pollfd *p, size_t n)
{
	for (size_t i = 0; i < LEDGER_GENERATIONS; i++)
		for (size_t k = 0; k < l->generation[i].n_gateways; k++)
			if (!outbox_is_empty(&l->generation[i].waiting[k]))
				p[n++] = (struct pollfd){.fd = l->generation[i].responses[k],
							 .events = POLLOUT};
	return n;
}

static void serve(struct ledger *l)
{
	for (;;) {
		struct pollfd p[LEDGER_GENERATIONS * (KB_MAX_GATEWAYS + 1) + 1];
		size_t which[LEDGER_GENERATIONS], n = 0, left = 0, all;
		int wait = wait_ms(l);
		health_beat(l->start->health);
		for (size_t i = 0; i < LEDGER_GENERATIONS; i++) {
			struct ledger_generation *g = &l->generation[i];
			if (g->number == 0)
				continue;
			if (ledger_generation_is_over(g))
				ledger_generation_close(g);
			left += g->number != 0;
			if (g->replies < 0) {
				wait = g->number == 0 ? wait : CLOSE_LOOK_MS;
				continue;
			}
			which[n] = i;
			p[n++] = (struct pollfd){.fd = g->replies, .events = POLLIN};
		}
		if (l->is_control_closed && (left == 0 || clock_mono_ms() > l->linger_until_ms))
			return;
		p[n] = (struct pollfd){.fd = l->is_control_closed ? -1 : FD_CONTROL,
				       .events = POLLIN};
		all = poll_waiting(l, p, n + 1);
		if (poll(p, all, wait) < 0 && errno != EINTR) {
			ledger_set_broken(l);
			return;
		}
		for (size_t i = 0; i < LEDGER_GENERATIONS; i++)
			ledger_generation_flush(l, &l->generation[i]);
		if (journal_reopen(l))
			record_generations(l);
		if (p[n].revents != 0)
			on_control(l);
		if (n > 0)
			receive_all(l, p, which, n);
		receive_more(l, p, which, n);
		if (l->n > 0)
			batch_serve(l);
		if (l->log.fd >= 0 && refusals_due_ms(&l->refusals, clock_mono_ms()) == 0)
			journal_sum_refusals(l);
		if (l->is_broken)
			return;
	}
}

static enum kb_err load(struct ledger *l)
{
	KB_AUTO(snapshot) struct snapshot *src = NULL;
	KB_AUTO(config) struct config *config = NULL;
	struct config_faults faults = {0};
	enum kb_err err = snapshot_archive(FD_ARCHIVE, &src);

	if (err == KB_OK)
		err = config_load(src, l->start->config_path, CONFIG_LEDGER, &config, &faults);
	if (err == KB_OK) {
		l->segment_bytes = config->ledger_segment_bytes;
		l->reserve_bytes = config->ledger_reserve;
		l->refusals.most_whole = config->refusals_per_source;
		l->refusals.most_bytes = config->refusals_bytes;
	} else
		log_event(LOG_ERROR, "ledger.config", "err", kb_err_name(err), "what",
			  faults.n > 0 ? faults.text[0] : "", NULL);
	config_faults_free(&faults);
	return err;
}

static int run(struct ledger *l)
{
	if (load(l) != KB_OK)
		return PROCESS_EXIT_CONFIG;
	l->replay = replay_new(KB_REPLAY_ENTRIES);
	l->frames = malloc((size_t)KB_LEDGER_BATCH * KB_MAX_FRAME);
	if (l->replay == NULL || l->frames == NULL)
		return PROCESS_EXIT_RESTART;
	enum kb_err err = journal_open(l);
	if (err != KB_OK) {
		health_fail(l->start->health, err);
		if (control_send(FD_CONTROL, CONTROL_FAILED, 0, err) != KB_OK)
			log_event(LOG_WARN, "control.lost", NULL);
		/* A full disk may be freed, and another ledger may end and release its lock: try
		 * again.  Everything else needs an operator. */
		return err == KB_E_LEDGER || err == KB_E_LEDGER_LOCKED || err == KB_E_NOMEM
			       ? PROCESS_EXIT_RESTART
			       : PROCESS_EXIT_CONFIG;
	}
	if (confine_process(l->start, NULL, 0) != KB_OK)
		return PROCESS_EXIT_RESTART;
	journal_see_time(l);
	(void)journal_event(l, "start", "segment", l->log.number, "version", KB_VERSION, NULL, 0);
	if (control_send(FD_CONTROL, CONTROL_READY, 0, 0) != KB_OK)
		return PROCESS_EXIT_RESTART;
	log_event(LOG_INFO, "ledger.ready", "segment", log_i64(l->log.number), "seq",
		  log_i64((int64_t)l->log.chain.seq), "used_tokens",
		  log_i64((int64_t)replay_count(l->replay)), NULL);
	serve(l);
	journal_sum_refusals(l);
	(void)journal_event(l, "stop", "segment", l->log.number, "version", KB_VERSION, NULL, 0);
	return l->is_broken ? PROCESS_EXIT_RESTART : PROCESS_EXIT_OK;
}

int ledger_main(const struct process_start *start)
{
	static struct ledger l;

	/* The supervisor gives the ledger the slot whose page is this one. */
	l = (struct ledger){.start = start,
			    .self = start->stats,
			    .page = (struct ledger_page *)start->page,
			    .log = {.dir = -1, .fd = -1}};
	for (size_t i = 0; i < LEDGER_GENERATIONS; i++)
		l.generation[i].replies = -1;
	buf_init(&l.lines, (size_t)KB_LEDGER_BATCH * (CHAIN_MAX_LINE + 1));
	buf_init(&l.response, KB_MAX_FRAME);
	buf_init(&l.repeat, KB_MAX_RECORD);
	int exit_code = run(&l);
	for (size_t i = 0; i < LEDGER_GENERATIONS; i++)
		ledger_generation_close(&l.generation[i]);
	segment_close(&l.log);
	replay_free(l.replay);
	free(l.frames);
	buf_free(&l.lines);
	buf_free(&l.response);
	buf_free(&l.repeat);
	return exit_code;
}
