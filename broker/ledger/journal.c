/* broker/ledger/journal.c — the ledger's file: begins, continues and syncs it, and reads back at
 * start what decisions need: used tokens and configurations.  Decides when the ledger can write.
 * Trusts segment.c for the chain.  Must never report a record as written before it is durable. */
#include <sys/statvfs.h>

#include "base/clock.h"
#include "base/hex.h"
#include "base/json.h"
#include "base/log.h"
#include "ledger/ledger.h"

enum {
	EVENT_BYTES = 1024, /* of a record of our own */
	EXTRA_BYTES = 4096, /* of the additional members of a segment's first line */
	SUMS_AT_ONCE = 512, /* sums of refusals that one sync commits */
	SPACE_MS = 1000,    /* between two looks at the free space */
};

void journal_see_time(struct ledger *l)
{
	int64_t now_s = clock_wall_s();

	if (now_s > l->log.clock_s)
		l->log.clock_s = now_s;
	replay_see(l->replay, now_s);
}

/* "born" is never lowered: a clock that was set back would permit second uses of tokens of a ledger
 * that was lost.  A ledger that was begun while the clock was ahead refuses them all until then. */
static void warn_of_birth(const struct ledger *l, int64_t now_s)
{
	if (l->log.born_s > now_s)
		log_event(LOG_WARN, "ledger.born_ahead", "until", log_i64(l->log.born_s), "what",
			  "the clock is behind the time at which this ledger was begun: tokens of "
			  "issuers with single_use are refused until then",
			  "fix",
			  "set the clock; if it was wrong when the ledger was begun, stop the "
			  "broker and move the ledger's directory aside",
			  NULL);
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
	journal_sum_refusals(l); /* they are of the time of the old segment */
	if (begin_segment(l, why) == KB_OK)
		return;
	log_event(LOG_ERROR, "ledger.rotate_failed", "segment", log_i64(l->log.number), "goes_on",
		  l->log.fd < 0 ? "no" : "yes", NULL);
	if (l->log.fd < 0)
		set_unwritable(l);
}

/* What a dead process left at the end of the newest segment stays there. */
static enum kb_err begin_after_torn(struct ledger *l)
{
	const uint32_t torn = l->log.number;
	const int64_t bytes = l->log.torn_bytes;

	journal_see_time(l);
	enum kb_err err = begin_segment(l, SEGMENT_TORN);
	if (err == KB_OK)
		log_event(LOG_WARN, "ledger.torn", "segment", log_i64(torn), "bytes",
			  log_i64(bytes), "what",
			  "the end of this segment was never confirmed, and no reply depends on it",
			  NULL);
	return err;
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

/* ---- refusals ---- */

bool journal_is_low(struct ledger *l)
{
	const int64_t now_ms = clock_mono_ms();
	struct statvfs fs;

	if (now_ms < l->space_at_ms)
		return l->is_low;
	l->space_at_ms = now_ms + SPACE_MS;
	/* Unknown is low: releases need no look. */
	const uint64_t free_blocks = fstatvfs(l->log.dir, &fs) == 0 ? fs.f_bavail : 0;
	const bool is_low =
		l->reserve_bytes != 0 &&
		(free_blocks == 0 || free_blocks < (uint64_t)l->reserve_bytes / fs.f_frsize);
	if (is_low != l->is_low)
		log_event(is_low ? LOG_ERROR : LOG_INFO, is_low ? "ledger.low" : "ledger.space",
			  "reserve", log_i64(l->reserve_bytes), "what",
			  is_low ? "the disk is nearly full: refusals are only counted, so that "
				   "releases can still be recorded"
				 : "refusals are recorded again",
			  "fix", is_low ? "free space on the disk of the state directory" : "",
			  NULL);
	l->is_low = is_low;
	stats_gauge(l->self, COUNT_LEDGER_LOW, is_low);
	return is_low;
}

static void write_sum(const struct refusals_sum *s, const char *when, int64_t seconds,
		      struct buf *record)
{
	buf_reset(record);
	buf_add_str(record, "{");
	json_add_member(record, "time", span_str(when));
	json_add_member(record, "event", span_str("refusals"));
	json_add_member(record, "outcome", span_str("refused"));
	json_add_member(record, "code", span_str(kb_err_name(s->code)));
	json_add_member(record, "peer", span_str(s->peer));
	json_add_int(record, "more", (int64_t)s->more);
	json_add_int(record, "seconds", seconds);
	buf_add_str(record, "}");
}

void journal_sum_refusals(struct ledger *l)
{
	const int64_t now_ms = clock_mono_ms();
	const int64_t seconds = (now_ms - l->refusals.summed_ms + 999) / 1000;
	char when[KB_TIME_TEXT];
	struct refusals_sum sum;
	size_t at = 0, n;

	KB_AUTO(buf) struct buf record;
	buf_init(&record, EVENT_BYTES);
	clock_text(clock_wall_us(), when);
	do {
		struct chain next = l->log.chain;
		buf_reset(&l->lines);
		for (n = 0; n < SUMS_AT_ONCE && refusals_next(&l->refusals, &at, &sum); n++) {
			write_sum(&sum, when, seconds, &record);
			if (buf_ok(&record) != KB_OK ||
			    chain_add_batch(&next, l->log.chain.seq, buf_span(&record),
					    &l->lines) != KB_OK)
				return;
		}
		if (n > 0 && (l->log.fd < 0 || journal_commit(l, &next, n) != KB_OK))
			return;
		refusals_drop(&l->refusals, at, l->lines.len);
	} while (n > 0);
	refusals_done(&l->refusals, now_ms);
}

bool journal_reopen(struct ledger *l)
{
	if (l->log.fd >= 0 || clock_mono_ms() < l->reopen_at_ms)
		return false;
	if (begin_segment(l, SEGMENT_WRITE_FAILED) != KB_OK) {
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

/* "time" of a record, in whole seconds. */
static bool read_time(const struct json_t *doc, int64_t *out_s)
{
	char whole[] = "2026-11-21T17:10:11Z";
	struct span text;

	if (json_get_str(doc, "time", KB_TIME_TEXT, &text) != KB_OK || text.len < sizeof whole - 1)
		return false;
	memcpy(whole, text.p, sizeof whole - 2);
	return clock_parse(whole, out_s) == KB_OK;
}

static enum kb_err read_line(void *ctx, const struct segment_line *line)
{
	struct ledger *l = ctx;
	KB_AUTO(json) struct json_t *doc = NULL;
	struct span hex, code;
	uint8_t key[32];
	int64_t until_s, first_s;

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
	/* A repeat says nothing about the first use.  A time ahead of the clock is unknown. */
	const int64_t now_s = clock_wall_s();
	bool is_known = !has_member(line->text, ",\"repeat\":true") && read_time(doc, &first_s) &&
			first_s <= now_s;
	/* KB_E_REPLAY is fine here: the token has expired, or was read before.  When the table is
	 * full, every token that ends no later counts as used. */
	if (replay_use(l->replay, key, until_s,
		       is_known ? clock_mono_ms() - (now_s - first_s) * 1000 : REPLAY_UNKNOWN) ==
	    KB_E_REPLAY_FULL) {
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
		warn_of_birth(l, now_s);
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
		if (l->log.fd < 0)
			err = begin_after_torn(l);
		if (err == KB_OK)
			return KB_OK;
	}
	const char *fix = "see keybrokerctl ledger verify: put back the file that it names, as it "
			  "was; or move this segment and all older ones out of the directory; or "
			  "begin a new ledger: move the directory aside, and keep it";
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
