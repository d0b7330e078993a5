/* broker/ctl/ledger_verify.c — `keybrokerctl ledger verify`: checks the chain of records, or names
 * the line where it breaks. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/digest.h"
#include "base/hex.h"
#include "base/json.h"
#include "ctl/broker.h"
#include "ctl/ledger.h"
#include "ctl/open.h"
#include "ctl/output.h"
#include "process/segment.h"

enum { OPT_EXPECT = LEDGER_OPT_OWN };
const struct ctl_opt ledger_verify_opts[] = {
	LEDGER_OPT_DIR_ROW,
	[OPT_EXPECT] = {"expect-head", 'e', "SEQ:HASH",
			"this head of an earlier verify must be in the chain"},
	{NULL, 0, NULL, NULL},
};

enum { TORN_TRIES = 5, TORN_MS = 100 };

struct proof {
	uint64_t first_seq, records, segments, expect_seq;
	uint32_t segment;
	uint8_t expect[32];
	bool is_expect_seen;
};

static enum kb_err proof_line(void *ctx, const struct segment_line *line)
{
	struct proof *p = ctx;
	uint8_t digest[32];

	if (p->records++ == 0)
		p->first_seq = line->parsed.seq;
	if (line->segment != p->segment) {
		p->segment = line->segment;
		p->segments++;
	}
	if (p->expect_seq != 0 && line->parsed.seq == p->expect_seq) {
		digest_sha256(line->text, digest);
		p->is_expect_seen = memcmp(digest, p->expect, sizeof digest) == 0;
	}
	return KB_OK;
}

/* "12:<64 hex>" */
static bool head_parse(const char *text, struct proof *p)
{
	char *end;

	errno = 0;
	p->expect_seq = strtoull(text, &end, 10);
	return errno == 0 && end != text && *end == ':' && p->expect_seq != 0 &&
	       hex_decode(span_str(end + 1), p->expect, sizeof p->expect);
}

/* A running ledger may be in the middle of a write.  Read a torn end again before reporting it. */
static enum kb_err chain_walk(int dir, struct proof *p, struct chain *end,
			      struct segment_fault *fault)
{
	struct proof start = *p;
	enum kb_err err = KB_E_BUG;

	for (unsigned i = 0; i < TORN_TRIES; i++) {
		*p = start;
		*fault = (struct segment_fault){.line = 0};
		*end = (struct chain){.seq = 0};
		err = segment_walk(dir, 0, proof_line, p, end, fault);
		if (err == KB_OK || !fault->is_tail)
			break;
		ctl_pause(TORN_MS);
	}
	return err;
}

static int verify_report(const struct ctl *c, const struct proof *p, const struct chain *end,
			 const char *fault)
{
	struct buf out;
	char head[96] = "";

	buf_init(&out, CTL_MAX_OUTPUT);
	int n = snprintf(head, sizeof head, "%llu:", (unsigned long long)end->seq);
	*hex_put(head + n, span_of(end->last, sizeof end->last)) = '\0';
	if (c->is_json) {
		buf_add_str(&out, "{");
		json_add_bool(&out, "good", fault == NULL);
		json_add_int(&out, "records", (int64_t)p->records);
		json_add_int(&out, "segments", (int64_t)p->segments);
		json_add_member(&out, "head", span_str(head));
		if (fault != NULL)
			json_add_member(&out, "fault", span_str(fault));
		buf_add_str(&out, "}\n");
	} else if (fault == NULL) {
		buf_addf(&out, "good: %llu records in %llu segment%s\nhead: %s\n",
			 (unsigned long long)p->records, (unsigned long long)p->segments,
			 p->segments == 1 ? "" : "s", head);
	} else {
		ctl_say("%s", fault);
	}
	return ctl_put(&out, fault == NULL ? CTL_OK : CTL_NO);
}

int ledger_verify_run(struct ctl *c)
{
	struct proof p = {0};
	struct chain end;
	struct segment_fault fault;
	char text[256];
	const char *expect = ctl_value(c, OPT_EXPECT);

	if (expect != NULL && !head_parse(expect, &p))
		return ctl_fail(
			CTL_FAILED,
			"--expect-head: SEQ:HASH is wanted, as an earlier verify printed it");
	int dir = ctl_ledger_open(c, ctl_value(c, LEDGER_OPT_DIR));
	if (dir < 0)
		return CTL_FAILED;
	enum kb_err err = chain_walk(dir, &p, &end, &fault);
	close(dir);
	if (err == KB_E_NOMEM || err == KB_E_BUG)
		return ctl_fail(CTL_FAILED, "%s", kb_err_name(err));
	if (err != KB_OK) {
		snprintf(text, sizeof text, "%s:%llu: %s%s", fault.file,
			 (unsigned long long)fault.line, fault.text,
			 fault.is_tail ? " (a torn end: the broker repairs it, with a record, when "
					 "it starts)"
				       : "");
		return verify_report(c, &p, &end, text);
	}
	if (p.records > 0 && p.first_seq != 1) {
		snprintf(text, sizeof text,
			 "the oldest segment begins with record %llu: what was before it is gone",
			 (unsigned long long)p.first_seq);
		return verify_report(c, &p, &end, text);
	}
	if (expect != NULL && !p.is_expect_seen) {
		snprintf(text, sizeof text,
			 "record %llu of the expected head is %s: the ledger was %s since",
			 (unsigned long long)p.expect_seq,
			 end.seq < p.expect_seq ? "not there" : "another one",
			 end.seq < p.expect_seq ? "cut" : "rewritten");
		return verify_report(c, &p, &end, text);
	}
	return verify_report(c, &p, &end, NULL);
}
