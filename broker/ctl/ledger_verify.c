/* broker/ctl/ledger_verify.c — `keybrokerctl ledger verify`: checks the chain of records, or names
 * the line where it breaks. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/digest.h"
#include "base/json.h"
#include "ctl/broker.h"
#include "ctl/ledger.h"
#include "ctl/ledger_border.h"
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

struct expected { /* a head that must be in the chain, or be right before it */
	bool is_wanted, is_seen;
	struct chain head;
};

struct proof {
	struct chain before; /* the first record */
	uint64_t records, segments;
	uint32_t segment;
	struct expected asked, begin, end; /* --expect-head; archived.json */
	char to[BORDER_TO];
	struct segment_part part;
};

static void expect(struct expected *e, const struct chain *c)
{
	if (e->is_wanted && e->head.seq == c->seq)
		e->is_seen = memcmp(e->head.last, c->last, sizeof c->last) == 0;
}

static void expect_all(struct proof *p, const struct chain *c)
{
	expect(&p->asked, c);
	expect(&p->begin, c);
	expect(&p->end, c);
}

static enum kb_err proof_line(void *ctx, const struct segment_line *line)
{
	struct proof *p = ctx;
	struct chain here = {.seq = line->parsed.seq};

	if (p->records++ == 0) {
		p->before.seq = here.seq - 1;
		memcpy(p->before.last, line->parsed.prev, sizeof p->before.last);
		expect_all(p, &p->before);
	}
	if (line->segment != p->segment) {
		p->segment = line->segment;
		p->segments++;
	}
	if (here.seq == p->asked.head.seq || here.seq == p->begin.head.seq ||
	    here.seq == p->end.head.seq) {
		digest_sha256(line->text, here.last);
		expect_all(p, &here);
	}
	return KB_OK;
}

/* What `ledger archive` left here. */
static bool marks_read(int dir, struct proof *p)
{
	struct ledger_border b;
	enum kb_err err = border_read(dir, &b);

	if (err != KB_OK)
		return ctl_fail(false, BORDER_FILE ": %s",
				err == KB_E_FILE ? "cannot be read" : "is damaged");
	p->begin = (struct expected){.is_wanted = b.has_begin, .head = b.begin};
	p->end = (struct expected){.is_wanted = b.has_end, .head = b.end};
	p->part = (struct segment_part){.closed = b.segment, .closed_bytes = b.bytes};
	memcpy(p->to, b.to, sizeof p->to);
	return true;
}

/* A running ledger may be in the middle of a write, and a running `ledger archive` may remove a
 * file.  Read again before reporting either. */
static enum kb_err chain_walk(int dir, struct proof *p, struct chain *end,
			      struct segment_fault *fault)
{
	struct proof start = *p;
	enum kb_err err = KB_E_BUG;

	for (unsigned i = 0; i < TORN_TRIES; i++) {
		*p = start;
		*fault = (struct segment_fault){.line = 0};
		*end = (struct chain){.seq = 0};
		err = segment_walk_part(dir, &p->part, proof_line, p, end, fault);
		if (err == KB_OK || (!fault->is_tail && err != KB_E_FILE))
			break;
		ctl_pause(TORN_MS);
	}
	return err;
}

static int verify_report(const struct ctl *c, const struct proof *p, const struct chain *end,
			 const char *fault, int code)
{
	const uint64_t first = p->before.seq + 1;
	struct buf out;
	char head[HEAD_TEXT], before[HEAD_TEXT];

	buf_init(&out, CTL_MAX_OUTPUT);
	head_text(end, head);
	head_text(&p->before, before);
	if (c->is_json) {
		buf_add_str(&out, "{");
		json_add_bool(&out, "good", fault == NULL);
		json_add_int(&out, "records", (int64_t)p->records);
		json_add_int(&out, "segments", (int64_t)p->segments);
		json_add_member(&out, "head", span_str(head));
		json_add_int(&out, "first_record", (int64_t)first);
		json_add_member(&out, "before", span_str(before));
		if (fault != NULL)
			json_add_member(&out, "fault", span_str(fault));
		buf_add_str(&out, "}\n");
	} else if (fault == NULL) {
		buf_addf(&out, "good: %llu records in %llu segment%s\n",
			 (unsigned long long)p->records, (unsigned long long)p->segments,
			 p->segments == 1 ? "" : "s");
		if (p->before.seq > 0)
			buf_addf(&out, "from record %llu on; the head before it: %s%s%s\n",
				 (unsigned long long)first, before,
				 p->to[0] == '\0' ? "" : ", archived in ", p->to);
		buf_addf(&out, "head: %s\n", head);
	} else {
		ctl_say("%s", fault);
	}
	return ctl_put(&out, code);
}

/* Good lines that are not all that there should be.  CTL_OK, or the exit code with `text`. */
static int judge(const struct proof *p, const struct chain *end, char *text, size_t cap)
{
	const bool is_border_known =
		p->begin.is_wanted || (p->asked.is_seen && p->asked.head.seq == p->before.seq);
	char before[HEAD_TEXT];

	head_text(&p->before, before);
	if (p->records > 0 && p->before.seq != 0 && !is_border_known) {
		snprintf(text, cap,
			 "the oldest segment begins with record %llu: what was before it is gone. "
			 "If "
			 "it was moved to DIR: `keybrokerctl ledger archive --to DIR`; if it is "
			 "lost "
			 "and you know why: --expect-head %s",
			 (unsigned long long)p->before.seq + 1, before);
		return CTL_NO;
	}
	if (p->begin.is_wanted && !p->begin.is_seen) {
		snprintf(text, cap,
			 "record %llu, up to which all was archived, is %s: the ledger begins with "
			 "record %llu",
			 (unsigned long long)p->begin.head.seq,
			 p->begin.head.seq < p->before.seq || p->begin.head.seq > end->seq
				 ? "not there"
				 : "another one",
			 (unsigned long long)p->before.seq + 1);
		return CTL_NO;
	}
	if (p->end.is_wanted && !p->end.is_seen) {
		snprintf(text, cap,
			 "record %llu, the last one that was archived here, is %s: the archive was "
			 "%s since",
			 (unsigned long long)p->end.head.seq,
			 end->seq < p->end.head.seq ? "not there" : "another one",
			 end->seq < p->end.head.seq ? "cut" : "rewritten");
		return CTL_NO;
	}
	if (!p->asked.is_wanted || p->asked.is_seen)
		return CTL_OK;
	if (p->asked.head.seq < p->before.seq) {
		snprintf(text, cap,
			 "record %llu of the expected head was archived%s%.300s: verify it there, "
			 "with --dir",
			 (unsigned long long)p->asked.head.seq, p->to[0] == '\0' ? "" : " in ",
			 p->to);
		return CTL_FAILED;
	}
	snprintf(text, cap, "record %llu of the expected head is %s: the ledger was %s since",
		 (unsigned long long)p->asked.head.seq,
		 end->seq < p->asked.head.seq ? "not there" : "another one",
		 end->seq < p->asked.head.seq ? "cut" : "rewritten");
	return CTL_NO;
}

int ledger_verify_run(struct ctl *c)
{
	struct proof p = {.records = 0};
	struct chain end;
	struct segment_fault fault;
	char text[1024];
	const char *expected = ctl_value(c, OPT_EXPECT);

	p.asked.is_wanted = expected != NULL;
	if (expected != NULL &&
	    (!head_parse(span_str(expected), &p.asked.head) || p.asked.head.seq == 0))
		return ctl_fail(
			CTL_FAILED,
			"--expect-head: SEQ:HASH is wanted, as an earlier verify printed it");
	int dir = ctl_ledger_open(c, ctl_value(c, LEDGER_OPT_DIR));
	if (dir < 0)
		return CTL_FAILED;
	/* `ledger archive` may move the border meanwhile: it writes it first, and removes then. */
	enum kb_err err = KB_E_BUG;
	int code = CTL_NO;
	bool is_moved = true;
	for (unsigned i = 0; is_moved && i < TORN_TRIES; i++) {
		const struct expected asked = p.asked;
		struct proof again = {.records = 0};
		if (!marks_read(dir, &p))
			goto out;
		err = chain_walk(dir, &p, &end, &fault);
		code = err == KB_OK ? judge(&p, &end, text, sizeof text) : CTL_NO;
		is_moved = code != CTL_OK && marks_read(dir, &again) &&
			   memcmp(&again.begin.head, &p.begin.head, sizeof p.begin.head) != 0;
		if (is_moved)
			p = (struct proof){.asked = asked};
	}
	if (err == KB_E_NOMEM || err == KB_E_BUG)
		code = ctl_fail(CTL_FAILED, "%s", kb_err_name(err));
	else if (err != KB_OK) {
		snprintf(text, sizeof text, "%s:%llu: %s%s", fault.file,
			 (unsigned long long)fault.line, fault.text,
			 fault.is_tail ? " (a torn end: the broker begins a new segment behind it "
					 "when it starts)"
				       : "");
		code = verify_report(c, &p, &end, text, CTL_NO);
	} else {
		code = verify_report(c, &p, &end, code == CTL_OK ? NULL : text, code);
	}
out:
	close(dir);
	return code;
}
