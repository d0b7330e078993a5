/* broker/ctl/ledger_show.c — `keybrokerctl ledger show` and `tail`: prints records.  Prints no line
 * that segment_walk() or chain_next() has not checked. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/terminal.h"
#include "ctl/broker.h"
#include "ctl/ledger.h"
#include "ctl/open.h"
#include "ctl/output.h"
#include "process/segment.h"

enum { OPT_KEY = LEDGER_OPT_OWN, OPT_CODE, OPT_CALLER, OPT_SINCE, OPT_LAST, OPT_FOLLOW };
#define OPTS_SELECT                                                                                \
	LEDGER_OPT_DIR_ROW, [OPT_KEY] = {"key", 'k', "NAME", "records of this key"},               \
			    [OPT_CODE] = {"code", 0, "CODE", "records of this outcome"},           \
			    [OPT_CALLER] = {"caller", 0, "CALLER", "records of this credential"},  \
			    [OPT_SINCE] = {"since", 's', "TIME", "records since then"},            \
			    [OPT_LAST] = {"lines", 'n', "N", "the last N of them"}
const struct ctl_opt ledger_show_opts[] = {OPTS_SELECT, {NULL, 0, NULL, NULL}};
const struct ctl_opt ledger_tail_opts[] = {
	OPTS_SELECT,
	[OPT_FOLLOW] = {"follow", 'f', NULL, "continue with new records"},
	{NULL, 0, NULL, NULL}};

enum { TAIL_LINES = 10, MAX_LINES = 1000000, FOLLOW_MS = 300 };

struct viewer {
	const struct ctl *c;
	const char *key, *code, *caller;
	int64_t since_s;
	char **ring; /* the last `most` lines, with --lines */
	size_t most, n;
	struct buf out;
	uint32_t segment; /* where to continue, for --follow */
	int64_t offset;
	struct chain chain;
};

/* Client-controlled text for a terminal: as it is when plain ASCII, else as a JSON string. */
static void add_plain(struct buf *out, struct span s)
{
	for (size_t i = 0; i < s.len; i++)
		if (s.p[i] <= ' ' || s.p[i] >= 0x7f) { /* as JSON, without active characters */
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

/* "1204 more from 192.0.2.7 in 60 s": refusals that have no record of their own. */
static bool add_sum(struct buf *out, const struct json_t *doc)
{
	int64_t more = 0, seconds = 0;

	if (json_get_int(doc, "more", &more) != KB_OK ||
	    json_get_int(doc, "seconds", &seconds) != KB_OK)
		return false;
	buf_addf(out, "  %lld more", (long long)more);
	add_field(out, doc, "peer", "from ");
	buf_addf(out, " in %lld s", (long long)seconds);
	return true;
}

static void add_caller(struct buf *out, const struct json_t *doc)
{
	struct span s;

	if (json_get_str(doc, "caller", KB_MAX_RECORD, &s) != KB_OK || span_eq_cstr(s, "none"))
		return;
	add_field(out, doc, json_has(doc, "caller_name") ? "caller_name" : "caller", "as ");
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
	add_caller(out, doc);
	if (!add_sum(out, doc))
		add_field(out, doc, "peer", "from ");
	bool is_repeat = false;
	if (json_get_bool(doc, "repeat", &is_repeat) == KB_OK && is_repeat)
		buf_add_str(out, "  again: the same token within single_use_grace");
	add_field(out, doc, "why", "");
	if (json_get_int(doc, "returned", &seq) == KB_OK)
		buf_addf(out, "  the configuration of record %lld again", (long long)seq);
	add_failings(out, doc);
	buf_add_str(out, "\n");
}

/* By its name, as the record has it ("bearer:0123456789abcdef", "none"), or by a SHA-256, whole or
 * its start as the record has it. */
static bool is_caller(const char *want, const struct json_t *doc)
{
	const size_t digits = (size_t)2 * KB_CALLER_SHA256, len = strlen(want);
	struct span s;

	if (json_get_str(doc, "caller_name", KB_MAX_RECORD, &s) == KB_OK && span_eq_cstr(s, want))
		return true;
	if (json_get_str(doc, "caller", KB_MAX_RECORD, &s) != KB_OK)
		return false;
	if (span_eq_cstr(s, want))
		return true;
	struct span digest = span_sub(s, span_find(s, 0, ':') + 1, s.len);
	return digest.len == digits && (len == digits || len == 64) &&
	       span_eq(digest, span_of((const uint8_t *)want, digits));
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
	if (v->caller != NULL && !is_caller(v->caller, doc))
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
		/* The bytes of the file, unless a person looks: versions before this one wrote
		 * active characters as they are.  In JSON it is the same value. */
		if (isatty(STDOUT_FILENO))
			terminal_add(&one, text, false);
		else
			buf_add_span(&one, text);
		buf_add_str(&one, "\n");
	} else {
		line_text(&one, doc);
	}
	if (v->most == 0) {
		if (buf_ok(&one) == KB_OK)
			/* ferror() is checked at the end */
			(void)(fwrite(one.p, 1, one.len, stdout) == one.len);
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

static enum kb_err on_line(void *ctx, const struct segment_line *line)
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

/* Complete lines of one segment after those already shown; *grew: there were some. */
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
			return ctl_fail(CTL_NO,
					"segment %u has changed: run `keybrokerctl ledger verify`",
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
	struct viewer v = {.c = c,
			   .key = ctl_value(c, OPT_KEY),
			   .code = ctl_value(c, OPT_CODE),
			   .caller = ctl_value(c, OPT_CALLER)};
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
	int dir = ctl_ledger_open(c, ctl_value(c, LEDGER_OPT_DIR));
	if (dir < 0) {
		free(v.ring);
		return CTL_FAILED;
	}
	enum kb_err err = segment_walk(dir, 0, on_line, &v, &v.chain, &fault);
	if (v.most > 0)
		ring_print(&v);
	int code = CTL_OK;
	if (err != KB_OK && !fault.is_tail)
		code = ctl_fail(CTL_NO, "%s:%llu: %s; the lines before it were shown", fault.file,
				(unsigned long long)fault.line, fault.text);
	else if (with_follow)
		code = follow(&v, dir);
	close(dir);
	return fflush(stdout) == 0 && ferror(stdout) == 0
		       ? code
		       : ctl_fail(CTL_FAILED, "cannot write to standard output");
}

int ledger_show_run(struct ctl *c)
{
	return view(c, false);
}

int ledger_tail_run(struct ctl *c)
{
	return view(c, true);
}
