/* broker/ctl/ledger.c — `keybrokerctl ledger …`: reads the chain of records, and proves it or names
 * the line where it breaks. Believes nothing that segment_walk() has not checked.  Opens files for
 * reading only; a running broker does not notice. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/digest.h"
#include "base/hex.h"
#include "base/json.h"
#include "ctl/ctl.h"
#include "process/segment.h"

enum { OPT_DIR, OPT_EXPECT };
enum { OPT_KEY = OPT_DIR + 1, OPT_CODE, OPT_SINCE, OPT_LAST, OPT_FOLLOW };
#define OPT_DIR_ROW [OPT_DIR] = {"dir", 'd', "DIR", "the ledger's directory (of the configuration)"}
static const struct ctl_opt verify_opts[] = {
	OPT_DIR_ROW,
	[OPT_EXPECT] = {"expect-head", 'e', "SEQ:HASH",
			"this head of an earlier verify must be in the chain"},
	{NULL, 0, NULL, NULL},
};
#define OPTS_SELECT                                                                                \
	OPT_DIR_ROW, [OPT_KEY] = {"key", 'k', "NAME", "records of this key"},                      \
		     [OPT_CODE] = {"code", 0, "CODE", "records of this outcome"},                  \
		     [OPT_SINCE] = {"since", 's', "TIME", "records from then on"},                 \
		     [OPT_LAST] = {"lines", 'n', "N", "the last N of them"}
static const struct ctl_opt show_opts[] = {OPTS_SELECT, {NULL, 0, NULL, NULL}};
static const struct ctl_opt tail_opts[] = {
	OPTS_SELECT,
	[OPT_FOLLOW] = {"follow", 'f', NULL, "go on as records come"},
	{NULL, 0, NULL, NULL}};

enum { TAIL_LINES = 10, MAX_LINES = 1000000, FOLLOW_MS = 300, TORN_TRIES = 5, TORN_MS = 100 };

/* −1 after it was said why. */
static int dir_open(const struct ctl *c)
{
	KB_AUTO(ctl_config) struct ctl_config cc = {.lock_fd = -1};
	const char *dir = ctl_value(c, OPT_DIR);

	if (dir == NULL) {
		if (ctl_config_open(c, CONFIG_LEDGER, false, &cc) != KB_OK)
			return -1;
		dir = cc.config->ledger_dir;
	}
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd >= 0 ? fd : ctl_fail(-1, "%s: %s", dir, strerror(errno));
}

/* ---- verify ---- */

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

/* A running ledger is in the middle of a write now and then: a torn end is looked at again before
 * it is believed. */
static enum kb_err walk_patiently(int dir, struct proof *p, struct chain *end,
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

static int verify_say(const struct ctl *c, const struct proof *p, const struct chain *end,
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

static int verify_run(struct ctl *c)
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
	int dir = dir_open(c);
	if (dir < 0)
		return CTL_FAILED;
	enum kb_err err = walk_patiently(dir, &p, &end, &fault);
	close(dir);
	if (err == KB_E_NOMEM || err == KB_E_BUG)
		return ctl_fail(CTL_FAILED, "%s", kb_err_name(err));
	if (err != KB_OK) {
		snprintf(text, sizeof text, "%s:%llu: %s%s", fault.file,
			 (unsigned long long)fault.line, fault.text,
			 fault.is_tail ? " (a torn end: the broker repairs it, with a record, when "
					 "it starts)"
				       : "");
		return verify_say(c, &p, &end, text);
	}
	if (p.records > 0 && p.first_seq != 1) {
		snprintf(text, sizeof text,
			 "the oldest segment begins with record %llu: what was before it is gone",
			 (unsigned long long)p.first_seq);
		return verify_say(c, &p, &end, text);
	}
	if (expect != NULL && !p.is_expect_seen) {
		snprintf(text, sizeof text,
			 "record %llu of the expected head is %s: the ledger was %s since",
			 (unsigned long long)p.expect_seq,
			 end.seq < p.expect_seq ? "not there" : "another one",
			 end.seq < p.expect_seq ? "cut" : "rewritten");
		return verify_say(c, &p, &end, text);
	}
	return verify_say(c, &p, &end, NULL);
}

/* ---- show, tail ---- */

struct viewer {
	const struct ctl *c;
	const char *key, *code;
	int64_t since_s;
	char **ring; /* the last `most` lines, when a number was asked for */
	size_t most, n;
	struct buf out;
	uint32_t segment; /* where reading stands, for --follow */
	int64_t offset;
	struct chain chain;
};

/* Text of a stranger on a terminal: as it is when it is plain, else as a JSON string. */
static void add_plain(struct buf *out, struct span s)
{
	for (size_t i = 0; i < s.len; i++)
		if (s.p[i] <= ' ' || s.p[i] >= 0x7f) {
			json_add_str(out, s);
			return;
		}
	buf_add_span(out, s);
}

static void add_field(struct buf *out, const struct json_t *doc, const char *name,
		      const char *label)
{
	struct span s;

	if (json_get_str(doc, name, KB_MAX_RECORD, &s) != KB_OK)
		return;
	buf_add_str(out, "  ");
	buf_add_str(out, label);
	add_plain(out, s);
}

static void add_failings(struct buf *out, const struct json_t *doc)
{
	const struct json_t *list;

	if (json_get_arr(doc, "failing", &list) != KB_OK)
		return;
	for (size_t i = 0; i < json_len(list); i++) {
		buf_add_str(out, "\n       ✗");
		add_field(out, json_at(list, i), "claim", "");
		add_field(out, json_at(list, i), "op", "");
		add_field(out, json_at(list, i), "expected", "");
		if (json_has(json_at(list, i), "actual"))
			add_field(out, json_at(list, i), "actual", "but is ");
		else
			buf_add_str(out, "  but is absent");
	}
}

static void line_text(struct buf *out, const struct json_t *doc)
{
	int64_t seq = 0;
	struct span event = span_of("", 0);

	if (json_get_int(doc, "seq", &seq) == KB_OK)
		buf_addf(out, "%6lld", (long long)seq);
	add_field(out, doc, "time", "");
	if (json_get_str(doc, "event", 64, &event) == KB_OK && !span_eq_cstr(event, "release"))
		add_field(out, doc, "event", "");
	add_field(out, doc, "outcome", "");
	add_field(out, doc, "code", "");
	add_field(out, doc, "key", "");
	add_field(out, doc, "issuer", "by ");
	add_field(out, doc, "vm", "to ");
	add_field(out, doc, "peer", "from ");
	add_field(out, doc, "why", "");
	if (json_get_int(doc, "returned", &seq) == KB_OK)
		buf_addf(out, "  the configuration of record %lld again", (long long)seq);
	add_failings(out, doc);
	buf_add_str(out, "\n");
}

static bool is_wanted(const struct viewer *v, const struct json_t *doc)
{
	struct span s;
	char when[24];
	int64_t t;

	if (v->key != NULL &&
	    (json_get_str(doc, "key", KB_MAX_RECORD, &s) != KB_OK || !span_eq_cstr(s, v->key)))
		return false;
	if (v->code != NULL &&
	    (json_get_str(doc, "code", KB_MAX_RECORD, &s) != KB_OK || !span_eq_cstr(s, v->code)))
		return false;
	if (v->since_s == 0)
		return true;
	if (json_get_str(doc, "time", KB_TIME_TEXT, &s) != KB_OK || s.len < 19)
		return false;
	snprintf(when, sizeof when, "%.19sZ", (const char *)s.p); /* without the microseconds */
	return clock_parse(when, &t) == KB_OK && t >= v->since_s;
}

static enum kb_err view_line(struct viewer *v, struct span text)
{
	KB_AUTO(json) struct json_t *doc = NULL;
	enum kb_err err = json_load_strict(text, CHAIN_MAX_LINE, &doc, NULL);

	if (err != KB_OK)
		return err;
	if (!is_wanted(v, doc))
		return KB_OK;
	struct buf one;
	buf_init(&one, 4 * CHAIN_MAX_LINE);
	if (v->c->is_json) {
		buf_add_span(&one, text);
		buf_add_str(&one, "\n");
	} else {
		line_text(&one, doc);
	}
	if (v->most == 0) {
		if (buf_ok(&one) == KB_OK)
			(void)(fwrite(one.p, 1, one.len, stdout) ==
			       one.len); /* ferror() is asked at the end */
	} else {
		size_t at = v->n % v->most;
		free(v->ring[at]);
		v->ring[at] = span_dup(buf_span(&one));
	}
	v->n++;
	err = buf_ok(&one);
	buf_free(&one);
	return err;
}

static enum kb_err visit(void *ctx, const struct segment_line *line)
{
	struct viewer *v = ctx;

	if (line->segment != v->segment) {
		v->segment = line->segment;
		v->offset = 0;
	}
	v->offset += (int64_t)line->text.len + 1;
	return view_line(v, line->text);
}

static void ring_print(struct viewer *v)
{
	size_t have = v->n < v->most ? v->n : v->most;

	for (size_t i = 0; i < have; i++) {
		char **slot = &v->ring[(v->n - have + i) % v->most];
		if (*slot != NULL)
			(void)(fputs(*slot, stdout) >= 0);
		free(*slot);
		*slot = NULL;
	}
	free(v->ring);
	v->ring = NULL;
	v->most = 0;
}

/* Complete lines of one segment from where reading stands; *grew says whether there were any. */
static enum kb_err follow_segment(struct viewer *v, int dir, bool is_first_of_segment, bool *grew)
{
	static uint8_t chunk[64 * (CHAIN_MAX_LINE + 1)];
	char name[SEGMENT_NAME];
	struct chain_line parsed;

	*grew = false;
	segment_name(v->segment, name);
	int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return KB_E_FILE;
	ssize_t got = pread(fd, chunk, sizeof chunk, v->offset);
	close(fd);
	if (got < 0)
		return KB_E_FILE;
	struct span text = span_of(chunk, (size_t)got);
	for (size_t at = 0, end; (end = span_find(text, at, '\n')) < text.len; at = end + 1) {
		struct span line = span_sub(text, at, end - at);
		enum kb_err err = chain_next(&v->chain, line, &parsed);
		if (err != KB_OK && is_first_of_segment && chain_before(line, &v->chain) == KB_OK) {
			ctl_say("A write failed before %s: lines shown since may not be part of "
				"the ledger (`ledger verify` knows).",
				name);
			err = chain_next(&v->chain, line, &parsed);
		}
		if (err != KB_OK || (err = view_line(v, line)) != KB_OK)
			return err;
		is_first_of_segment = false;
		v->offset += (int64_t)line.len + 1;
		*grew = true;
	}
	return KB_OK;
}

static int follow(struct viewer *v, int dir)
{
	bool grew;

	for (;;) {
		enum kb_err err = follow_segment(v, dir, v->offset == 0, &grew);
		if (err != KB_OK)
			return ctl_fail(
				CTL_NO,
				"segment %u is not as it was: run `keybrokerctl ledger verify`",
				v->segment);
		if (fflush(stdout) != 0)
			return CTL_FAILED;
		if (grew)
			continue;
		char next[SEGMENT_NAME];
		segment_name(v->segment + 1, next);
		if (faccessat(dir, next, R_OK, 0) == 0) {
			v->segment++;
			v->offset = 0;
			continue;
		}
		ctl_pause(FOLLOW_MS);
	}
}

static int view(struct ctl *c, bool is_tail)
{
	struct viewer v = {.c = c, .key = ctl_value(c, OPT_KEY), .code = ctl_value(c, OPT_CODE)};
	struct segment_fault fault = {.line = 0};
	const char *since = ctl_value(c, OPT_SINCE), *lines = ctl_value(c, OPT_LAST);
	long long most = is_tail ? TAIL_LINES : 0;
	bool with_follow = is_tail && ctl_has(c, OPT_FOLLOW);

	if ((since != NULL && !ctl_time("--since", since, &v.since_s)) ||
	    (lines != NULL && !ctl_number("--lines", lines, 1, MAX_LINES, &most)))
		return CTL_FAILED;
	if (v.code != NULL && kb_err_from_name(v.code) == KB_E_BUG && strcmp(v.code, "BUG") != 0)
		return ctl_fail(CTL_FAILED,
				"--code: there is no code '%s'; codes look like POLICY, EXPIRED, "
				"KID_UNKNOWN, OK",
				v.code);
	if (most > 0 && (v.ring = calloc((size_t)most, sizeof *v.ring)) == NULL)
		return ctl_fail(CTL_FAILED, "no memory");
	v.most = (size_t)most;
	int dir = dir_open(c);
	if (dir < 0) {
		free(v.ring);
		return CTL_FAILED;
	}
	enum kb_err err = segment_walk(dir, 0, visit, &v, &v.chain, &fault);
	if (v.most > 0)
		ring_print(&v);
	int code = CTL_OK;
	if (err != KB_OK && !fault.is_tail)
		code = ctl_fail(CTL_NO, "%s:%llu: %s; what stands before it was shown", fault.file,
				(unsigned long long)fault.line, fault.text);
	else if (with_follow)
		code = follow(&v, dir);
	close(dir);
	return fflush(stdout) == 0 && ferror(stdout) == 0
		       ? code
		       : ctl_fail(CTL_FAILED, "cannot write to standard output");
}

static int show_run(struct ctl *c)
{
	return view(c, false);
}

static int tail_run(struct ctl *c)
{
	return view(c, true);
}

const struct ctl_command ctl_ledger_commands[] = {
	{"ledger verify", NULL, "Prove the whole chain, or name the line where it breaks.",
	 verify_opts, verify_run,
	 "Keep the printed head elsewhere; --expect-head proves later that nothing before it was "
	 "cut or rewritten.\n\n"
	 "Exit: 0 good, 1 not, 2 it cannot be read.\n"},
	{"ledger show", NULL, "Records, all or chosen ones; --json gives the lines as they are.",
	 show_opts, show_run,
	 "Example:\n  keybrokerctl ledger show --key disk-key --code POLICY --since "
	 "2026-11-21T00:00:00Z\n"},
	{"ledger tail", NULL, "The last records (10), and with --follow those that come.",
	 tail_opts, tail_run, NULL},
	{NULL, NULL, NULL, NULL, NULL, NULL},
};
