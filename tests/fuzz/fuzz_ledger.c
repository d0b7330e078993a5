/* tests/fuzz/fuzz_ledger.c — the ledger's reader over any bytes: lines are read one after another
 * as a chain; what is accepted must be what the writer makes of it. */
#include <stdlib.h>
#include <string.h>

#include "process/chain.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A line that reads well was written by chain_add() from its members: writing them again must give
 * the same bytes. */
static void check_again(const struct chain *before, const struct chain_line *l, struct span line)
{
	struct chain c = *before;

	KB_AUTO(buf) struct buf record, out;
	buf_init(&record, KB_MAX_RECORD);
	buf_init(&out, CHAIN_MAX_LINE + 1);
	buf_add_str(&record, "{");
	buf_add_span(&record, l->members);
	buf_add_str(&record, "}");
	if (buf_ok(&record) != KB_OK || chain_add(&c, buf_span(&record), &out) != KB_OK)
		abort();
	if (!span_eq(span_sub(buf_span(&out), 0, out.len - 1), line))
		abort();
}

/* The input as one record: if the writer takes it, the reader must give it back. */
static void check_round_trip(struct span in)
{
	struct chain w = {0}, r = {0};
	struct chain_line l;

	KB_AUTO(buf) struct buf out;
	buf_init(&out, CHAIN_MAX_LINE + 1);
	if (chain_add(&w, in, &out) != KB_OK)
		return;
	if (chain_next(&r, span_of(out.p, out.len - 1), &l) != KB_OK ||
	    memcmp(&r, &w, sizeof r) != 0)
		abort();
	if (!span_eq(l.members, span_sub(in, 1, in.len - 2)))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span in = span_of(data, size);
	struct chain c = {0};
	struct chain_line l;

	check_round_trip(in);
	for (size_t at = 0; at < in.len;) {
		size_t end = span_find(in, at, '\n');
		struct span line = span_sub(in, at, end - at);
		struct chain before = c;
		if (at == 0 && chain_before(line, &before) == KB_OK)
			c = before;
		if (chain_next(&c, line, &l) == KB_OK)
			check_again(&before, &l, line);
		else if (memcmp(&c, &before, sizeof c) != 0)
			abort();
		at = end + 1;
	}
	return 0;
}
