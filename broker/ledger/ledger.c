/* broker/ledger/ledger.c — the ledger process: takes answers from the vaults, makes their records
 * durable, and only then passes the answers on.  Decides: is it recorded, and was this token used
 * before?  Trusts the vaults for what a record says, the supervisor for its sockets.  Never: an
 * answer before its record is durable, a released key without a record, a change to an answer (it
 * may put a refusal in its place). Longer than most files, because the promise "no durable record,
 * no key" is easier to see when its every step stands in one place. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/hex.h"
#include "base/json.h"
#include "base/log.h"
#include "base/version.h"
#include "ledger/configs.h"
#include "ledger/replay.h"
#include "ledger/segment_write.h"
#include "process/confine.h"
#include "process/frame.h"
#include "process/process.h"

enum {
	MAX_GENERATIONS = 8,
	REOPEN_MS = 1000,   /* between two attempts at a new segment */
	TAKE_MS = 1000,     /* a gateway this long without reading loses replies */
	LINGER_MS = 5000,   /* the supervisor is gone: this long for what is in flight */
	EVENT_BYTES = 1024, /* of a record of our own */
	EXTRA_BYTES = 4096, /* of what else stands in a segment's first line */
};

struct generation {
	uint32_t number; /* 0: free */
	char digest[65]; /* of its configuration */
	bool is_noted;   /* in the ledger */
	int replies;
	int responses[KB_MAX_GATEWAYS];
	bool is_stuck[KB_MAX_GATEWAYS];
	size_t n_gateways;
};

struct item { /* one reply of the batch; spans point into its frame */
	struct frame_reply reply;
	struct generation *from;
	struct span record;
	uint16_t status, code, retry_after_s;
	struct span body;
	bool took_token; /* its replay key was marked as used in this batch */
};

struct ledger {
	const struct process_start *start;
	struct process_stats *self;
	struct segments log;
	struct replay *replay;
	struct configs configs;
	uint32_t newest; /* generation seen */
	struct generation generation[MAX_GENERATIONS];
	int64_t segment_bytes, reopen_at_ms;
	int64_t read_until_s; /* greatest replay_until read back at start */
	uint64_t lost;        /* records refused since the ledger broke */
	bool is_control_closed;
	bool is_broken; /* a socket of the vaults': what was collected is answered, then it ends */
	int64_t linger_until_ms;
	uint8_t *frames; /* KB_LEDGER_BATCH × KB_MAX_FRAME */
	struct item item[KB_LEDGER_BATCH];
	size_t n;
	struct buf lines, response;
};

static const char unavailable[] =
	"{\"error\":{\"code\":\"ServiceUnavailable\",\"message\":\"The request cannot be recorded "
	"now. Nothing was released. Retry later.\"}}";

/* ---- the file behind it ---- */

static void see_time(struct ledger *l)
{
	int64_t now_s = clock_wall_s();

	if (now_s > l->log.clock_s)
		l->log.clock_s = now_s;
	replay_see(l->replay, now_s);
	if (l->log.born_s > now_s)
		l->log.born_s =
			now_s; /* a clock that was ahead: it must not refuse tokens until then */
}

static void set_broken(struct ledger *l)
{
	health_fail(l->start->health, KB_E_LEDGER);
	l->reopen_at_ms = clock_mono_ms() + REOPEN_MS;
}

/* Write and sync `lines`; on failure the ledger is broken until a new segment could be begun. */
static enum kb_err commit(struct ledger *l, const struct chain *after, uint64_t records)
{
	int64_t from_us = clock_mono_us();

	health_busy(l->start->health, 0);
	enum kb_err err = segment_commit(&l->log, buf_span(&l->lines), after);
	if (err != KB_OK) {
		set_broken(l);
		return err;
	}
	health_set(l->start->health, HEALTH_READY);
	histogram_add(&l->self->total, clock_mono_us() - from_us);
	stats_count(l->self, COUNT_SYNCS, 1);
	stats_count(l->self, COUNT_RECORDS, records);
	stats_count(l->self, COUNT_LEDGER_BYTES, l->lines.len);
	return KB_OK;
}

/* The next segment; its first line says why, how many records were refused before it, and which
 * configurations there were. */
static enum kb_err begin_segment(struct ledger *l, const char *why)
{
	KB_AUTO(buf) struct buf extra;
	buf_init(&extra, EXTRA_BYTES);
	buf_addf(&extra, "\"lost\":%llu,\"configs\":\"", (unsigned long long)l->lost);
	configs_write(&l->configs, &extra);
	buf_add_str(&extra, "\"");
	enum kb_err err = buf_ok(&extra);
	return err == KB_OK ? segment_begin(&l->log, why, buf_span(&extra)) : err;
}

static void rotate(struct ledger *l, const char *why)
{
	if (begin_segment(l, why) == KB_OK)
		return;
	log_event(LOG_ERROR, "ledger.rotate_failed", "segment", log_i64(l->log.number), "goes_on",
		  l->log.fd < 0 ? "no" : "yes", NULL);
	if (l->log.fd < 0)
		set_broken(l);
}

/* A record of our own: `members` follow time and event. */
static bool note(struct ledger *l, const char *event, const char *name, const char *text,
		 const char *number_name, int64_t number, const char *second_name, int64_t second)
{
	char when[KB_TIME_TEXT];
	struct chain next = l->log.chain;

	KB_AUTO(buf) struct buf record;
	buf_init(&record, EVENT_BYTES);
	clock_text(clock_wall_us(), when);
	buf_add_str(&record, "{");
	json_add_member(&record, "time", span_str(when));
	json_add_member(&record, "event", span_str(event));
	json_add_int(&record, number_name, number);
	json_add_member(&record, name, span_str(text));
	if (second_name != NULL)
		json_add_int(&record, second_name, second);
	buf_add_str(&record, "}");
	buf_reset(&l->lines);
	if (buf_ok(&record) == KB_OK && chain_add(&next, buf_span(&record), &l->lines) == KB_OK &&
	    commit(l, &next, 1) == KB_OK)
		return true;
	log_event(LOG_ERROR, "ledger.event_lost", "what", event, NULL);
	return false;
}

/* Which configuration a generation judges by, and whether that one was left before: then somebody
 * went back, or somebody put old files in place of new ones.  It is said, not refused (SECURITY
 * J7). */
static void note_generation(struct ledger *l, struct generation *g)
{
	struct configs before = l->configs;
	uint64_t returned = 0;

	if (g->number >= l->newest) { /* an older one only finishes what it began; after our own
					 restart it is introduced again */
		l->newest = g->number;
		returned = configs_take(&l->configs, span_str(g->digest), l->log.chain.seq + 1);
	}
	if (returned != 0)
		g->is_noted = note(l, "generation", "config", g->digest, "generation", g->number,
				   "returned", (int64_t)returned);
	else
		g->is_noted = note(l, "generation", "config", g->digest, "generation", g->number,
				   NULL, 0);
	if (!g->is_noted) { /* again when the ledger works again */
		l->configs = before;
		return;
	}
	if (g->number == l->newest)
		atomic_store(&l->start->shared->stats.config_returned, returned);
	if (returned != 0)
		log_event(LOG_WARN, "config.returned", "config", g->digest, "record",
			  log_i64((int64_t)returned), "what",
			  "this configuration was in force before, and others followed it: was it "
			  "put back on purpose?",
			  NULL);
}

/* A broken ledger tries a new segment once a second; its first line says what happened. */
static void reopen(struct ledger *l)
{
	if (l->log.fd >= 0 || clock_mono_ms() < l->reopen_at_ms)
		return;
	if (begin_segment(l, "write failed") != KB_OK) {
		l->reopen_at_ms = clock_mono_ms() + REOPEN_MS;
		return;
	}
	log_event(LOG_WARN, "ledger.recovered", "segment", log_i64(l->log.number), "lost",
		  log_i64((int64_t)l->lost), NULL);
	l->lost = 0;
	health_set(l->start->health, HEALTH_READY);
	for (size_t i = 0; i < MAX_GENERATIONS; i++)
		if (l->generation[i].number != 0 && !l->generation[i].is_noted)
			note_generation(l, &l->generation[i]);
}

/* ---- start: what was before ---- */

/* Strangers' text in a record is escaped: none of it looks like a member. */
static bool has_member(struct span line, const char *member)
{
	return memmem(line.p, line.len, member, strlen(member)) != NULL;
}

static void remember_configs(struct ledger *l, const struct json_t *doc)
{
	struct span text;
	int64_t seq;

	if (json_get_str(doc, "configs", EXTRA_BYTES, &text) == KB_OK)
		configs_read(&l->configs, text);
	else if (json_get_str(doc, "config", 64, &text) == KB_OK &&
		 json_get_int(doc, "seq", &seq) == KB_OK)
		(void)configs_take(&l->configs, text, (uint64_t)seq);
}

static enum kb_err remember(void *ctx, const struct segment_line *line)
{
	struct ledger *l = ctx;
	KB_AUTO(json) struct json_t *doc = NULL;
	struct span hex, code;
	uint8_t key[32];
	int64_t until_s;

	bool is_use = has_member(line->text, "\"replay\":\"");
	bool is_config = has_member(line->text, "\"event\":\"generation\"") ||
			 has_member(line->text, "\"configs\":\"");
	if (!is_use && !is_config)
		return KB_OK;
	enum kb_err err = json_load_strict(line->text, CHAIN_MAX_LINE, &doc, NULL);
	if (err != KB_OK)
		return err;
	if (is_config)
		remember_configs(l, doc);
	if (!is_use || json_get_str(doc, "code", 64, &code) != KB_OK ||
	    !span_eq_cstr(code, kb_err_name(KB_OK)))
		return KB_OK; /* a refusal used nothing */
	if (json_get_str(doc, "replay", 64, &hex) != KB_OK || !hex_decode(hex, key, 32) ||
	    json_get_int(doc, "replay_until", &until_s) != KB_OK)
		return KB_E_LEDGER_CHAIN;
	if (until_s > l->read_until_s)
		l->read_until_s = until_s;
	/* Past its time, or seen twice: both are fine here.  What there is no room for counts as
	 * used, with all that ends no later. */
	if (replay_use(l->replay, key, until_s) == KB_E_NOMEM) {
		log_event(LOG_WARN, "replay.full", NULL);
		replay_assume(l->replay, until_s);
	}
	return KB_OK;
}

static enum kb_err open_log(struct ledger *l)
{
	struct segment_fault fault;
	int64_t now_s = clock_wall_s();

	replay_see(l->replay, now_s);
	enum kb_err err = segment_open(FD_LEDGER_DIR, now_s, remember, l, &l->log, &fault);
	if (err == KB_OK) {
		if (l->log.chain.seq <= 1)
			log_event(LOG_WARN, "ledger.new", "what",
				  "no ledger was in this directory: tokens issued before now are "
				  "refused for issuers with single_use",
				  NULL);
		if (l->read_until_s > l->log.replay_until_s)
			l->log.replay_until_s = l->read_until_s;
		replay_assume(l->replay, l->log.unread_until_s);
		if (l->log.unread_until_s >= now_s)
			log_event(LOG_WARN, "replay.unknown", "what",
				  "segments are missing that say which tokens were used: those "
				  "that end before are refused",
				  "until", log_i64(l->log.unread_until_s), NULL);
		return KB_OK;
	}
	const char *fix = "see keybrokerctl ledger verify; to begin a new ledger, move the old "
			  "directory aside and keep it";
	if (err == KB_E_LEDGER_LOCKED)
		fix = "another broker writes to this ledger: stop it, or give this one a state "
		      "directory of its own";
	else if (err == KB_E_FILE_MODE || err == KB_E_FILE)
		fix = "the ledger's files must belong to the broker's user, mode 0640, no symlinks";
	else if (err == KB_E_LEDGER)
		fix = "it cannot be written: is the disk full or read-only?";
	log_event(LOG_ERROR, "ledger.open", "err", kb_err_name(err), "file", fault.file, "line",
		  log_i64((int64_t)fault.line), "what", fault.text, "fix", fix, NULL);
	return err;
}

/* ---- generations ---- */

static void close_generation(struct generation *g)
{
	if (g->replies >= 0)
		close(g->replies);
	for (size_t i = 0; i < g->n_gateways; i++)
		close(g->responses[i]);
	*g = (struct generation){.replies = -1};
}

static void add_generation(struct ledger *l, const struct control_message *m, const int *fds,
			   size_t n)
{
	struct generation *g = NULL;

	for (size_t i = 0; i < MAX_GENERATIONS && g == NULL; i++)
		if (l->generation[i].number == 0)
			g = &l->generation[i];
	if (g == NULL || n < 2 || n - 1 > KB_MAX_GATEWAYS || m->generation == 0) {
		for (size_t i = 0; i < n; i++)
			close(fds[i]);
		log_event(LOG_ERROR, "generation.refused", "generation", log_i64(m->generation),
			  NULL);
		return;
	}
	*g = (struct generation){.number = m->generation, .replies = fds[0], .n_gateways = n - 1};
	memcpy(g->responses, fds + 1, (n - 1) * sizeof *fds);
	memcpy(g->digest, m->digest, sizeof g->digest);
	note_generation(l, g);
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
	if (err != KB_OK) { /* the supervisor has ended, or wants us to: finish what the vaults
			       still hand over */
		l->is_control_closed = true;
		l->linger_until_ms = clock_mono_ms() + LINGER_MS;
		return;
	}
	if (m.type == CONTROL_GENERATION) {
		add_generation(l, &m, fds, n);
		return;
	}
	for (size_t i = 0; i < n; i++)
		close(fds[i]);
	if (m.type == CONTROL_ROTATE) {
		see_time(l);
		rotate(l, "asked to");
	}
}

/* ---- one batch ---- */

static void broken(struct ledger *l)
{
	log_event(LOG_ERROR, "ledger.socket", "err", strerror(errno), NULL);
	l->is_broken = true;
}

/* Non-blocking: as many messages as there are and the batch has room for. */
static void collect(struct ledger *l, struct generation *g)
{
	while (l->n < KB_LEDGER_BATCH) {
		struct item *it = &l->item[l->n];
		uint8_t *frame = l->frames + l->n * KB_MAX_FRAME;
		ssize_t len = recv(g->replies, frame, KB_MAX_FRAME, MSG_DONTWAIT | MSG_TRUNC);
		if (len < 0 && errno == EINTR)
			continue;
		if (len < 0 && errno == EAGAIN)
			return;
		if (len < 0 && errno != ECONNRESET) { /* it may have more to come: a ledger that is
							 started again goes on with it */
			broken(l);
			return;
		}
		if (len < 0 ||
		    (len == 0 &&
		     frame_at_end(g->replies))) { /* the last vault of this generation has ended */
			log_event(LOG_INFO, "generation.ended", "generation", log_i64(g->number),
				  NULL);
			/* Items of this batch may still point at it: it is closed when they are
			 * answered. */
			close(g->replies);
			g->replies = -1;
			return;
		}
		*it = (struct item){.from = g};
		if (len > KB_MAX_FRAME ||
		    frame_get_reply(span_of(frame, (size_t)len), &it->reply) != KB_OK ||
		    it->reply.id >> 56 >= g->n_gateways) {
			stats_count(l->self, COUNT_FRAMES_BAD, 1);
			log_event(LOG_ERROR, "frame.bad", "generation", log_i64(g->number), "bytes",
				  log_i64(len), NULL);
			continue;
		}
		l->n++;
	}
}

static void answer(struct item *it, enum kb_err code, uint16_t status, struct span body,
		   uint16_t retry_after_s)
{
	it->code = (uint16_t)code;
	it->status = status;
	it->body = body;
	it->retry_after_s = retry_after_s;
}

static void answer_unavailable(struct ledger *l, struct item *it)
{
	stats_count(l->self, COUNT_LEDGER_ERRORS, 1);
	l->lost++;
	it->record = span_of(NULL, 0);
	answer(it, KB_E_LEDGER, 503, span_str(unavailable), KB_RETRY_AFTER_S);
}

/* A single-use release must say in its record which token it used, or a restart would forget it. */
static bool names_token(const struct frame_reply *r)
{
	char want[128];

	KB_AUTO(buf) struct buf hex;
	buf_init(&hex, 128);
	hex_encode(&hex, span_of(r->replay_key, sizeof r->replay_key));
	if (buf_ok(&hex) != KB_OK)
		return false;
	int n = snprintf(want, sizeof want, "\"replay\":\"%.64s\",\"replay_until\":%lld",
			 (const char *)hex.p, (long long)r->replay_until_s);
	const uint8_t *hit = memmem(r->record.p, r->record.len, want, (size_t)n);
	if (hit == NULL || hit + n == r->record.p + r->record.len)
		return false;
	return hit[n] == ',' || hit[n] == '}'; /* the whole number */
}

/* What the client will get and what is recorded, if the batch can be made durable. */
static void judge(struct ledger *l, struct item *it)
{
	const struct frame_reply *r = &it->reply;

	it->record = r->record;
	answer(it, (enum kb_err)r->outcome.code, r->status, r->body, r->retry_after_s);
	if (r->outcome.is_release && r->record.len == 0) {
		answer_unavailable(l, it);
		return;
	}
	if (r->replay_until_s == 0)
		return;
	if (!names_token(r)) {
		answer_unavailable(l, it);
		return;
	}
	/* What was used before the ledger's first line nobody knows: its directory may have been
	 * lost. */
	enum kb_err err = r->replay_from_s < l->log.born_s
				  ? KB_E_REPLAY
				  : replay_use(l->replay, r->replay_key, r->replay_until_s);
	if (err == KB_OK) {
		it->took_token = true;
		return;
	}
	if (err == KB_E_NOMEM)
		log_event(LOG_WARN, "replay.full", NULL);
	it->record = r->replay_record;
	answer(it, KB_E_REPLAY, (uint16_t)kb_err_status(KB_E_REPLAY), r->replay_body, 0);
	if (it->record.len == 0)
		answer_unavailable(l, it);
}

static void give_token_back(struct ledger *l, struct item *it)
{
	if (it->took_token)
		replay_forget(l->replay, it->reply.replay_key);
	it->took_token = false;
}

/* Waits a little for a slow gateway, and not again before it reads: one that hangs must not hold up
 * the others. */
static void respond(struct ledger *l, const struct item *it)
{
	size_t gateway = it->reply.id >> 56;
	struct generation *g = it->from;
	struct frame_response r = {
		.id = it->reply.id,
		.status = it->status,
		.code = it->code,
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
	for (;;) {
		ssize_t n = send(g->responses[gateway], l->response.p, l->response.len,
				 MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n >= 0) {
			g->is_stuck[gateway] = false;
			return;
		}
		if (errno == EINTR)
			continue;
		struct pollfd p = {.fd = g->responses[gateway], .events = POLLOUT};
		if (errno != EAGAIN || g->is_stuck[gateway] || poll(&p, 1, TAKE_MS) == 0)
			break;
	}
	g->is_stuck[gateway] = true;
	stats_count(l->self, COUNT_REPLIES_LOST, 1);
}

/* Calls that are recorded, and those that should have been: the disk's refusals are refusals. */
static void count_outcome(struct ledger *l, const struct item *it)
{
	if (it->record.len == 0 && it->code != KB_E_LEDGER)
		return;
	if (it->code != KB_OK || it->reply.outcome.is_release)
		stats_outcome(&l->start->shared->stats, (enum kb_err)it->code,
			      it->reply.outcome.key, it->reply.outcome.issuer);
}

static void serve_batch(struct ledger *l)
{
	struct chain next;
	uint64_t records = 0;

	see_time(l);
	if (l->log.fd >= 0 && l->log.bytes >= l->segment_bytes)
		rotate(l, "size");
	next = l->log.chain;
	buf_reset(&l->lines);
	for (size_t i = 0; i < l->n; i++) {
		struct item *it = &l->item[i];
		judge(l, it);
		if (it->record.len == 0)
			continue;
		if (l->log.fd >= 0 &&
		    chain_add_batch(&next, l->log.chain.seq, it->record, &l->lines) == KB_OK) {
			records++;
			if (it->took_token && it->reply.replay_until_s > l->log.replay_until_s)
				l->log.replay_until_s = it->reply.replay_until_s;
			continue;
		}
		give_token_back(l, it);
		answer_unavailable(l, it);
	}
	bool is_durable = records == 0 || commit(l, &next, records) == KB_OK;
	for (size_t i = 0; i < l->n; i++) {
		struct item *it = &l->item[i];
		if (it->record.len > 0 && !is_durable) {
			give_token_back(l, it);
			answer_unavailable(l, it);
		}
		count_outcome(l, it);
		respond(l, it);
	}
	l->n = 0;
}

/* ---- the loop ---- */

/* Frames of all generations, the first one another each time, so that none starves. */
static void collect_all(struct ledger *l, const struct pollfd *ready, const size_t *which, size_t n)
{
	static size_t first;

	first++;
	for (size_t i = 0; i < n; i++) {
		size_t k = (first + i) % n;
		if (ready[k].revents != 0)
			collect(l, &l->generation[which[k]]);
	}
}

static int wait_ms(const struct ledger *l)
{
	if (l->is_control_closed || l->log.fd < 0)
		return REOPEN_MS / 4;
	return -1;
}

/* How long a batch waits for more.  A worker that is in a request will send a record: worth a
 * moment, as a sync costs more processor time than all else of a record. With one client at a time
 * nobody is, and nothing waits.  When no worker is without a request, more of them wait before the
 * vaults than here: then a longer wait costs nobody anything. */
static int64_t patience_us(const struct ledger *l)
{
	bool is_any_busy = false, is_any_idle = false;

	for (size_t i = 0; i < PROCESS_SLOTS; i++) {
		const struct process_health *s = &l->start->shared->health.process[i];
		if (atomic_load_explicit(&s->kind, memory_order_relaxed) != PROCESS_VAULT)
			continue;
		const uint32_t state = atomic_load_explicit(&s->state, memory_order_relaxed);
		is_any_busy |= state == HEALTH_BUSY;
		is_any_idle |= state == HEALTH_READY;
	}
	return !is_any_busy ? 0 : is_any_idle ? KB_COMMIT_WAIT_US : KB_COMMIT_WAIT_BUSY_US;
}

static void collect_more(struct ledger *l, struct pollfd *p, const size_t *which, size_t n)
{
	const int64_t from_us = clock_mono_us();

	while (l->n > 0 && l->n < KB_LEDGER_BATCH) {
		const int64_t patience = patience_us(l),
			      left_us = from_us + patience - clock_mono_us();
		if (left_us <= 0)
			return;
		for (size_t i = 0; i < n; i++) /* a generation that has ended is not polled again */
			p[i].fd = l->generation[which[i]].replies;
		struct timespec left = {.tv_nsec = left_us * 1000}, none = {0};
		if (patience == KB_COMMIT_WAIT_BUSY_US) { /* not woken by each record */
			left.tv_nsec = left.tv_nsec < KB_COMMIT_LOOK_US * 1000
					       ? left.tv_nsec
					       : KB_COMMIT_LOOK_US * 1000;
			(void)nanosleep(&left, NULL);
			left = none;
		}
		if (ppoll(p, n, &left, NULL) > 0)
			collect_all(l, p, which, n);
	}
}

static void serve(struct ledger *l)
{
	for (;;) {
		struct pollfd p[MAX_GENERATIONS + 1];
		size_t which[MAX_GENERATIONS], n = 0;
		for (size_t i = 0; i < MAX_GENERATIONS; i++) {
			struct generation *g = &l->generation[i];
			if (g->number == 0)
				continue;
			if (g->replies < 0) {
				close_generation(g);
				continue;
			}
			which[n] = i;
			p[n++] = (struct pollfd){.fd = g->replies, .events = POLLIN};
		}
		if (l->is_control_closed && (n == 0 || clock_mono_ms() > l->linger_until_ms))
			return;
		p[n] = (struct pollfd){.fd = l->is_control_closed ? -1 : FD_CONTROL,
				       .events = POLLIN};
		if (poll(p, n + 1, wait_ms(l)) < 0 && errno != EINTR) {
			broken(l);
			return;
		}
		reopen(l);
		if (p[n].revents != 0)
			on_control(l);
		if (n > 0)
			collect_all(l, p, which, n);
		collect_more(l, p, which, n);
		if (l->n > 0)
			serve_batch(l);
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
	if (err == KB_OK)
		l->segment_bytes = config->ledger_segment_bytes;
	else
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
	enum kb_err err = open_log(l);
	if (err != KB_OK) {
		health_fail(l->start->health, err);
		if (control_send(FD_CONTROL, CONTROL_FAILED, 0, err) != KB_OK)
			log_event(LOG_WARN, "control.lost", NULL);
		/* A disk that is full now may not be later, a ledger that ends will let go of its
		 * lock; the rest wants an operator. */
		return err == KB_E_LEDGER || err == KB_E_LEDGER_LOCKED || err == KB_E_NOMEM
			       ? PROCESS_EXIT_RESTART
			       : PROCESS_EXIT_CONFIG;
	}
	if (confine_process(l->start, NULL, 0) != KB_OK)
		return PROCESS_EXIT_RESTART;
	see_time(l);
	(void)note(l, "start", "version", KB_VERSION, "segment", l->log.number, NULL, 0);
	if (control_send(FD_CONTROL, CONTROL_READY, 0, 0) != KB_OK)
		return PROCESS_EXIT_RESTART;
	log_event(LOG_INFO, "ledger.ready", "segment", log_i64(l->log.number), "seq",
		  log_i64((int64_t)l->log.chain.seq), "used_tokens",
		  log_i64((int64_t)replay_count(l->replay)), NULL);
	serve(l);
	(void)note(l, "stop", "version", KB_VERSION, "segment", l->log.number, NULL, 0);
	return l->is_broken ? PROCESS_EXIT_RESTART : PROCESS_EXIT_OK;
}

int ledger_main(const struct process_start *start)
{
	static struct ledger l;

	l = (struct ledger){.start = start, .self = start->stats, .log = {.dir = -1, .fd = -1}};
	for (size_t i = 0; i < MAX_GENERATIONS; i++)
		l.generation[i].replies = -1;
	buf_init(&l.lines, (size_t)KB_LEDGER_BATCH * (CHAIN_MAX_LINE + 1));
	buf_init(&l.response, KB_MAX_FRAME);
	int exit_code = run(&l);
	for (size_t i = 0; i < MAX_GENERATIONS; i++)
		close_generation(&l.generation[i]);
	segment_close(&l.log);
	replay_free(l.replay);
	free(l.frames);
	buf_free(&l.lines);
	buf_free(&l.response);
	return exit_code;
}
