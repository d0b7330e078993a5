/* broker/ledger/refusals.c — decides which refusal is recorded whole and which is only counted.
 * Trusts its caller for time and free space, and nothing of the address.  Must never lose a count,
 * nor let records of refusals take more than most_bytes in a window. */
#include "ledger/refusals.h"

#include <stdio.h>

enum {
	WINDOW_MS = KB_REFUSAL_WINDOW_S * 1000,
	SUM_BYTES = 400, /* one sum's line */
	/* What all sums may take is kept free for them. */
	SUMS_BYTES = (KB_REFUSAL_SUMS + KB_ERR_COUNT) * SUM_BYTES,
};
_Static_assert(SUMS_BYTES < KB_REFUSAL_BYTES, "no refusal could be recorded whole");

/* The row, made when there is space; NULL: others. */
static struct refusals_row *row_of(struct refusals *r, enum kb_err code, struct span peer,
				   size_t most)
{
	struct source_address a;

	if (!source_address_parse(peer, &a))
		return NULL;
	for (size_t i = 0; i < r->n; i++) {
		struct refusals_row *row = &r->row[i];
		if (row->source.key == a.key && row->source.is_v6 == a.is_v6 && row->code == code)
			return row;
	}
	if (r->n >= most)
		return NULL;
	r->row[r->n] = (struct refusals_row){.source = a, .code = (uint16_t)code};
	return &r->row[r->n++];
}

static struct refusals_row *enter(struct refusals *r, int64_t now_ms, enum kb_err code,
				  struct span peer, bool is_low)
{
	if (!r->is_open) {
		r->is_open = true;
		r->since_ms = r->summed_ms = now_ms;
	}
	return row_of(r, code, peer, is_low ? KB_REFUSAL_SUMS_LOW : KB_REFUSAL_SUMS);
}

static void add(struct refusals *r, struct refusals_row *row, enum kb_err code)
{
	if (row != NULL)
		row->more++;
	else
		r->others[code < KB_ERR_COUNT ? code : KB_E_BUG]++;
	r->has_more = true;
}

bool refusals_is_whole(struct refusals *r, int64_t now_ms, enum kb_err code, struct span peer,
		       size_t bytes, bool is_low)
{
	struct refusals_row *row = enter(r, now_ms, code, peer, is_low);

	if (is_low || row == NULL || row->whole >= r->most_whole ||
	    (int64_t)bytes > r->most_bytes - SUMS_BYTES - r->bytes) {
		add(r, row, code);
		return false;
	}
	row->whole++;
	r->bytes += (int64_t)bytes;
	return true;
}

void refusals_count(struct refusals *r, int64_t now_ms, enum kb_err code, struct span peer,
		    bool is_low)
{
	add(r, enter(r, now_ms, code, peer, is_low), code);
}

int64_t refusals_due_ms(const struct refusals *r, int64_t now_ms)
{
	int64_t left = r->since_ms + WINDOW_MS - now_ms;

	if (!r->is_open)
		return -1;
	return left > 0 ? left : 0;
}

bool refusals_next(const struct refusals *r, size_t *at, struct refusals_sum *out)
{
	for (; r->has_more && *at < r->n + KB_ERR_COUNT; ++*at) {
		size_t code = *at - r->n;
		if (*at < r->n && r->row[*at].more != 0) {
			const struct refusals_row *row = &r->row[*at];
			out->code = (enum kb_err)row->code;
			out->more = row->more;
			source_address_text(&row->source, out->peer);
			++*at;
			return true;
		}
		if (*at >= r->n && r->others[code] != 0) {
			out->code = (enum kb_err)code;
			out->more = r->others[code];
			snprintf(out->peer, sizeof out->peer, "others");
			++*at;
			return true;
		}
	}
	return false;
}

void refusals_drop(struct refusals *r, size_t at, size_t bytes)
{
	for (size_t i = 0; i < at && i < r->n; i++)
		r->row[i].more = 0;
	for (size_t i = r->n; i < at; i++)
		r->others[i - r->n] = 0;
	r->bytes += (int64_t)bytes;
}

void refusals_done(struct refusals *r, int64_t now_ms)
{
	r->has_more = false;
	r->summed_ms = now_ms;
	if (refusals_due_ms(r, now_ms) != 0)
		return;
	r->is_open = false;
	r->n = 0;
	r->bytes = 0;
}
