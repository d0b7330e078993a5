/* broker/ledger/batch.c — one batch of replies: judge, record, answer.  The promise "no durable
 * record, no key" is kept here: batch_serve() sends no answer before journal_commit() has returned,
 * and replaces every answer whose record is not durable by a refusal.  A refusal may be counted
 * instead (refusals.c), a release never.  Decides whether a single-use token was used before.
 * Trusts the vaults for a record's content.  Must never change an answer but by a refusal in its
 * place. */
#include <stdio.h>

#include "base/clock.h"
#include "base/hex.h"
#include "base/log.h"
#include "ledger/ledger.h"

static void answer(struct batch_item *it, enum kb_err code, uint16_t status, struct span body,
		   uint16_t retry_after_s)
{
	it->code = (uint16_t)code;
	it->status = status;
	it->body = body;
	it->retry_after_s = retry_after_s;
}

static void refuse_unrecorded(struct ledger *l, struct batch_item *it)
{
	stats_count(l->self, COUNT_LEDGER_ERRORS, 1);
	l->lost++;
	it->record = span_of(NULL, 0);
	/* No body: the gateway fills in the one of the listener's dialect. */
	answer(it, KB_E_LEDGER, 503, span_of(NULL, 0), KB_RETRY_AFTER_S);
}

/* The record of a single-use release must name the token, or a restart would permit it again. */
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

/* The record of a release with `"repeat":true` in it.  It is written before the next item is
 * judged, so one buffer is enough. */
static bool mark_repeat(struct ledger *l, struct batch_item *it)
{
	const struct span record = it->reply.record;

	buf_reset(&l->repeat);
	buf_add_span(&l->repeat, span_sub(record, 0, record.len - 1));
	buf_add_str(&l->repeat, ",\"repeat\":true}");
	it->record = buf_span(&l->repeat);
	stats_count(l->self, COUNT_REPEATS, 1);
	return buf_ok(&l->repeat) == KB_OK;
}

/* Single use.  A guest whose answer was lost asks again with the same token: for a short time it is
 * answered, because a token binds one wrapping key, so nothing new is given away. */
static void judge_use(struct ledger *l, struct batch_item *it)
{
	const struct frame_reply *r = &it->reply;
	const int64_t now_ms = clock_mono_ms();
	/* Tokens issued before the ledger's first line may have been used: an older ledger may have
	 * been lost. */
	bool is_older = r->replay_from_s < l->log.born_s;
	enum kb_err err = is_older
				  ? KB_E_REPLAY
				  : replay_use(l->replay, r->replay_key, r->replay_until_s, now_ms);

	if (err == KB_OK) {
		it->took_token = true;
		return;
	}
	if (err == KB_E_REPLAY && !is_older &&
	    replay_is_repeat(l->replay, r->replay_key, r->replay_grace_s, now_ms)) {
		if (!mark_repeat(l, it))
			refuse_unrecorded(l, it);
		return;
	}
	it->is_refusal = true;
	if (err == KB_E_REPLAY_FULL) {
		log_event(LOG_WARN, "replay.full", NULL);
		/* No body and no record: the vault has made those of KB_E_REPLAY. */
		it->record = span_of(NULL, 0);
		answer(it, err, 503, span_of(NULL, 0), KB_REPLAY_RETRY_S);
		refusals_count(&l->refusals, now_ms, err, r->peer, journal_is_low(l));
		it->is_summed = true;
		return;
	}
	it->record = r->replay_record;
	answer(it, KB_E_REPLAY, r->replay_status, r->replay_body, 0);
	if (it->record.len == 0)
		refuse_unrecorded(l, it);
}

/* Releases are recorded, whatever the disk has left.  Refusals are recorded or counted. */
static void sum_refusal(struct ledger *l, struct batch_item *it)
{
	if (!it->is_refusal || it->record.len == 0 ||
	    refusals_is_whole(&l->refusals, clock_mono_ms(), (enum kb_err)it->code, it->reply.peer,
			      it->record.len + CHAIN_MAX_LINE - KB_MAX_RECORD, journal_is_low(l)))
		return;
	it->record = span_of(NULL, 0);
	it->is_summed = true;
}

/* The vault's word counts for a refusal that cannot carry a key. */
static bool is_short_refusal(const struct frame_reply *r)
{
	return r->status >= 400 && r->outcome.code != KB_OK && r->body.len <= KB_MAX_REFUSAL;
}

/* What may leave without a record.  The id is the gateway's and says whether the operation makes
 * one: then a refusal alone, and a short one.  The vault's word does not count. */
static bool may_pass_unrecorded(const struct frame_reply *r)
{
	if (!frame_needs_record(r->id) && !r->outcome.is_release)
		return true;
	return is_short_refusal(r);
}

/* The answer and the record, provided that the batch becomes durable. */
static void judge(struct ledger *l, struct batch_item *it)
{
	const struct frame_reply *r = &it->reply;

	it->record = r->record;
	it->is_refusal = !r->outcome.is_release && is_short_refusal(r);
	answer(it, (enum kb_err)r->outcome.code, r->status, r->body, r->retry_after_s);
	if (r->record.len == 0 && !may_pass_unrecorded(r)) {
		refuse_unrecorded(l, it);
		return;
	}
	if (r->replay_until_s == 0)
		return;
	if (!names_token(r)) {
		refuse_unrecorded(l, it);
		return;
	}
	judge_use(l, it);
}

static void release_token(struct ledger *l, struct batch_item *it)
{
	if (it->took_token)
		replay_forget(l->replay, it->reply.replay_key);
	it->took_token = false;
}

/* Count the calls that are recorded, and those that should have been. */
static void count_outcome(struct ledger *l, const struct batch_item *it)
{
	if (it->record.len == 0 && it->code != KB_E_LEDGER && !it->is_summed)
		return;
	if (it->is_summed)
		stats_count(l->self, COUNT_REFUSALS_SUMMED, 1);
	if (it->code != KB_OK || it->reply.outcome.is_release)
		stats_outcome(&l->page->outcomes, (enum kb_err)it->code, it->reply.outcome.key,
			      it->reply.outcome.issuer);
}

void batch_serve(struct ledger *l)
{
	struct chain next;
	uint64_t records = 0;

	journal_see_time(l);
	if (l->log.fd >= 0 && l->log.bytes >= l->segment_bytes)
		journal_rotate(l, "size");
	next = l->log.chain;
	buf_reset(&l->lines);
	for (size_t i = 0; i < l->n; i++) {
		struct batch_item *it = &l->item[i];
		judge(l, it);
		sum_refusal(l, it);
		if (it->record.len == 0)
			continue;
		if (l->log.fd >= 0 &&
		    chain_add_batch(&next, l->log.chain.seq, it->record, &l->lines) == KB_OK) {
			records++;
			if (it->took_token && it->reply.replay_until_s > l->log.replay_until_s)
				l->log.replay_until_s = it->reply.replay_until_s;
			continue;
		}
		release_token(l, it);
		refuse_unrecorded(l, it);
	}
	bool is_durable = records == 0 || journal_commit(l, &next, records) == KB_OK;
	for (size_t i = 0; i < l->n; i++) {
		struct batch_item *it = &l->item[i];
		if (it->record.len > 0 && !is_durable) {
			release_token(l, it);
			refuse_unrecorded(l, it);
		}
		count_outcome(l, it);
		ledger_generation_respond(l, it);
	}
	l->n = 0;
}
