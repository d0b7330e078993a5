/* broker/ledger/journal.c — the ledger's file: begins, continues and syncs it, and reads back at
 * start what decisions need: used tokens and configurations.  Decides when the ledger can write.
 * Trusts segment.c for the chain.  Must never report a record as written before it is durable. */
#include "base/clock.h"
#include "base/hex.h"
#include "base/json.h"
#include "base/log.h"
#include "ledger/ledger.h"

enum {
	EVENT_BYTES = 1024, /* of a record of our own */
	EXTRA_BYTES = 4096, /* of the additional members of a segment's first line */
};

void journal_see_time(struct ledger *l)
{
	int64_t now_s = clock_wall_s();

	if (now_s > l->log.clock_s)
		l->log.clock_s = now_s;
	replay_see(l->replay, now_s);
	/* The ledger was begun while the clock was ahead.  Do not refuse all tokens until then. */
	if (l->log.born_s > now_s)
		l->log.born_s = now_s;
}

static void set_unwritable(struct ledger *l)
{
	health_fail(l->start->health, KB_E_LEDGER);
	l->reopen_at_ms = clock_mono_ms() + LEDGER_REOPEN_MS;
}

enum kb_err journal_commit(struct ledger *l, const struct chain *after, uint64_t records)
{
	int64_t from_us = clock_mono_us();

	health_busy(l->start->health, 0, 0);
	enum kb_err err = segment_commit(&l->log, buf_span(&l->lines), after);
	if (err != KB_OK) {
		set_unwritable(l);
		return err;
	}
	health_set(l->start->health, HEALTH_READY);
	histogram_add(&l->self->total, clock_mono_us() - from_us);
	stats_count(l->self, COUNT_SYNCS, 1);
	stats_count(l->self, COUNT_RECORDS, records);
	stats_count(l->self, COUNT_LEDGER_BYTES, l->lines.len);
	return KB_OK;
}

/* The next segment.  Its first line holds the reason, the number of records that could not be
 * written before it, and the configurations seen so far. */
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

void journal_rotate(struct ledger *l, const char *why)
{
	if (begin_segment(l, why) == KB_OK)
		return;
	log_event(LOG_ERROR, "ledger.rotate_failed", "segment", log_i64(l->log.number), "goes_on",
		  l->log.fd < 0 ? "no" : "yes", NULL);
	if (l->log.fd < 0)
		set_unwritable(l);
}

bool journal_event(struct ledger *l, const char *event, const char *number_name, int64_t number,
		   const char *name, const char *text, const char *second_name, int64_t second)
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
	    journal_commit(l, &next, 1) == KB_OK)
		return true;
	log_event(LOG_ERROR, "ledger.event_lost", "what", event, NULL);
	return false;
}

bool journal_reopen(struct ledger *l)
{
	if (l->log.fd >= 0 || clock_mono_ms() < l->reopen_at_ms)
		return false;
	if (begin_segment(l, "write failed") != KB_OK) {
		l->reopen_at_ms = clock_mono_ms() + LEDGER_REOPEN_MS;
		return false;
	}
	log_event(LOG_WARN, "ledger.recovered", "segment", log_i64(l->log.number), "lost",
		  log_i64((int64_t)l->lost), NULL);
	l->lost = 0;
	health_set(l->start->health, HEALTH_READY);
	return true;
}

/* ---- start: what was recorded before ---- */

/* Text of clients is escaped in a record: it cannot look like a member. */
static bool has_member(struct span line, const char *member)
{
	return memmem(line.p, line.len, member, strlen(member)) != NULL;
}

static void take_configs(struct ledger *l, const struct json_t *doc)
{
	struct span text;
	int64_t seq;

	if (json_get_str(doc, "configs", EXTRA_BYTES, &text) == KB_OK)
		configs_read(&l->configs, text);
	else if (json_get_str(doc, "config", 64, &text) == KB_OK &&
		 json_get_int(doc, "seq", &seq) == KB_OK)
		(void)configs_take(&l->configs, text, (uint64_t)seq);
}

static enum kb_err read_line(void *ctx, const struct segment_line *line)
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
		take_configs(l, doc);
	if (!is_use || json_get_str(doc, "code", 64, &code) != KB_OK ||
	    !span_eq_cstr(code, kb_err_name(KB_OK)))
		return KB_OK; /* a refusal uses no token */
	if (json_get_str(doc, "replay", 64, &hex) != KB_OK || !hex_decode(hex, key, 32) ||
	    json_get_int(doc, "replay_until", &until_s) != KB_OK)
		return KB_E_LEDGER_CHAIN;
	if (until_s > l->read_until_s)
		l->read_until_s = until_s;
	/* KB_E_REPLAY is fine here: the token has expired, or was read before.  When the table is
	 * full, every token that ends no later counts as used. */
	if (replay_use(l->replay, key, until_s) == KB_E_NOMEM) {
		log_event(LOG_WARN, "replay.full", NULL);
		replay_assume(l->replay, until_s);
	}
	return KB_OK;
}

enum kb_err journal_open(struct ledger *l)
{
	struct segment_fault fault;
	int64_t now_s = clock_wall_s();

	replay_see(l->replay, now_s);
	enum kb_err err = segment_open(FD_LEDGER_DIR, now_s, read_line, l, &l->log, &fault);
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
				  "segments are missing that record which tokens were used: tokens "
				  "that expire before this time are refused",
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
