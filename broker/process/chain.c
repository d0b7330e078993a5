/* broker/process/chain.c — writes and reads the ledger's lines.  Decides whether a line is whole,
 * and whether it follows the one before.  Trusts nothing that it reads: form, lengths and both
 * digests are checked.  No I/O, no clock, no JSON but the members that it adds itself. */
#include "process/chain.h"

#include "base/digest.h"
#include "base/hex.h"

static const char head_seq[] = "{\"seq\":";
static const char head_prev[] = ",\"prev\":\"";
static const char head_synced[] = ",\"synced\":";
static const char tail_sum[] = ",\"sum\":\"";
enum { HEX = 64, TAIL = sizeof tail_sum - 1 + HEX + 2 /* "} */ };

static bool is_record(struct span r)
{
	if (r.len < 3 || r.len > KB_MAX_RECORD || r.p[0] != '{' || r.p[r.len - 1] != '}')
		return false;
	for (size_t i = 0; i < r.len; i++)
		if (r.p[i] < 0x20 || r.p[i] == 0x7f)
			return false;
	return true;
}

enum kb_err chain_add(struct chain *c, struct span record, struct buf *out)
{
	return chain_add_batch(c, c->seq, record, out);
}

enum kb_err chain_add_batch(struct chain *c, uint64_t synced, struct span record, struct buf *out)
{
	uint8_t sum[32];
	size_t start = out->len;

	if (!is_record(record))
		return KB_E_LEDGER;
	if (c->seq >= INT64_MAX)
		return KB_E_LEDGER;
	buf_add_str(out, head_seq);
	buf_addf(out, "%llu", (unsigned long long)c->seq + 1);
	buf_add_str(out, head_prev);
	hex_encode(out, span_of(c->last, sizeof c->last));
	buf_add_str(out, "\"");
	if (synced != c->seq)
		buf_addf(out, "%s%llu", head_synced, (unsigned long long)synced);
	buf_add_str(out, ",");
	buf_add_span(out, span_sub(record, 1, record.len - 2));
	if (buf_ok(out) != KB_OK)
		goto full;
	digest_sha256(span_of(out->p + start, out->len - start), sum);
	buf_add_str(out, tail_sum);
	hex_encode(out, span_of(sum, sizeof sum));
	buf_add_str(out, "\"}\n");
	if (buf_ok(out) != KB_OK)
		goto full;
	c->seq++;
	digest_sha256(span_of(out->p + start, out->len - 1 - start), c->last);
	return KB_OK;
full:
	out->len = start;
	out->failed = false;
	return KB_E_NOMEM;
}

/* ---- reading: `rest` is what is left of the line ---- */

static bool eat(struct span *rest, const char *text)
{
	struct span want = span_str(text);

	if (!span_eq(span_sub(*rest, 0, want.len), want))
		return false;
	*rest = span_sub(*rest, want.len, rest->len);
	return true;
}

/* As chain_add() writes it: no sign, no leading zero. */
static bool eat_seq(struct span *rest, uint64_t *seq)
{
	size_t n = 0;

	*seq = 0;
	for (; n < rest->len && n < 19 && rest->p[n] >= '0' && rest->p[n] <= '9'; n++)
		*seq = *seq * 10 + (unsigned)(rest->p[n] - '0');
	if (n == 0 || (n > 1 && rest->p[0] == '0'))
		return false;
	*rest = span_sub(*rest, n, rest->len);
	return true;
}

static bool eat_hex(struct span *rest, uint8_t out[static 32])
{
	if (!hex_decode(span_sub(*rest, 0, HEX), out, 32))
		return false;
	*rest = span_sub(*rest, HEX, rest->len);
	return true;
}

enum kb_err chain_parse(struct span line, struct chain_line *out)
{
	uint8_t said[32], is[32];
	struct span rest = line;

	*out = (struct chain_line){0};
	if (line.len > CHAIN_MAX_LINE || line.len <= TAIL)
		return KB_E_LEDGER_CHAIN;
	for (size_t i = 0; i < line.len; i++)
		if (line.p[i] < 0x20 || line.p[i] == 0x7f)
			return KB_E_LEDGER_CHAIN;
	if (!eat(&rest, head_seq) || !eat_seq(&rest, &out->seq) || out->seq == 0 ||
	    !eat(&rest, head_prev) || !eat_hex(&rest, out->prev) || !eat(&rest, "\""))
		return KB_E_LEDGER_CHAIN;
	out->synced = out->seq - 1;
	if (eat(&rest, head_synced) &&
	    (!eat_seq(&rest, &out->synced) || out->synced + 1 >= out->seq))
		return KB_E_LEDGER_CHAIN;
	if (!eat(&rest, ","))
		return KB_E_LEDGER_CHAIN;
	if (rest.len <= TAIL || rest.len - TAIL > KB_MAX_RECORD - 2)
		return KB_E_LEDGER_CHAIN;
	out->members = span_sub(rest, 0, rest.len - TAIL);
	rest = span_sub(rest, out->members.len, TAIL);
	if (!eat(&rest, tail_sum) || !eat_hex(&rest, said) || !span_eq_cstr(rest, "\"}"))
		return KB_E_LEDGER_CHAIN;
	digest_sha256(span_of(line.p, line.len - TAIL), is);
	return memcmp(said, is, sizeof is) == 0 ? KB_OK : KB_E_LEDGER_CHAIN;
}

enum kb_err chain_next(struct chain *c, struct span line, struct chain_line *out)
{
	enum kb_err err = chain_parse(line, out);

	if (err != KB_OK)
		return err;
	if (out->seq != c->seq + 1 || memcmp(out->prev, c->last, sizeof c->last) != 0)
		return KB_E_LEDGER_CHAIN;
	c->seq = out->seq;
	digest_sha256(line, c->last);
	return KB_OK;
}

enum kb_err chain_before(struct span line, struct chain *c)
{
	struct chain_line l;
	enum kb_err err = chain_parse(line, &l);

	*c = (struct chain){0};
	if (err != KB_OK)
		return err;
	c->seq = l.seq - 1;
	memcpy(c->last, l.prev, sizeof c->last);
	return KB_OK;
}
