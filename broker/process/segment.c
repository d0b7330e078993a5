/* broker/process/segment.c — reads the ledger's files.  Decides which bytes of a file belong to the
 * ledger.  Trusts only lines whose digests are right.  Never follows a symlink, never writes. */
#include "process/segment.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/digest.h"
#include "base/file.h"
#include "base/hex.h"
#include "base/json.h"

enum { READ_BUFFER = 256 * 1024 };

void segment_name(uint32_t number, char out[static SEGMENT_NAME])
{
	snprintf(out, SEGMENT_NAME, "ledger-%08u.jsonl", number);
}

void segment_set_fault(struct segment_fault *f, uint32_t number, uint64_t line, int64_t offset,
		       const char *text)
{
	*f = (struct segment_fault){.line = line, .offset = offset};
	segment_name(number, f->file);
	snprintf(f->text, sizeof f->text, "%s", text);
}

/* ---- which segments there are ---- */

void segment_listing_cleanup(struct segment_listing *l)
{
	free(l->number);
}

static int by_number(const void *a, const void *b)
{
	uint32_t x, y;

	memcpy(&x, a, sizeof x);
	memcpy(&y, b, sizeof y);
	return (x > y) - (x < y);
}

/* 0 when the name is not a segment's. */
static uint32_t number_of(const char *name)
{
	char again[SEGMENT_NAME];
	uint64_t n = 0;

	if (strncmp(name, "ledger-", 7) != 0)
		return 0;
	for (const char *p = name + 7; *p >= '0' && *p <= '9' && n < UINT32_MAX; p++)
		n = n * 10 + (uint64_t)(*p - '0');
	if (n == 0 || n >= UINT32_MAX)
		return 0;
	segment_name((uint32_t)n, again);
	return strcmp(name, again) == 0 ? (uint32_t)n : 0;
}

enum kb_err segment_list(int dir, struct segment_listing *out)
{
	enum kb_err err = KB_E_FILE;
	size_t cap = 0;
	int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);

	*out = (struct segment_listing){0};
	if (d == NULL) {
		if (fd >= 0)
			close(fd);
		return KB_E_FILE;
	}
	for (;;) {
		errno = 0;
		const struct dirent *e = readdir(d);
		if (e == NULL)
			break;
		uint32_t n = number_of(e->d_name);
		if (n == 0)
			continue;
		if (out->n == cap) {
			cap = cap == 0 ? 64 : cap * 2;
			uint32_t *more = reallocarray(out->number, cap, sizeof *more);
			if (more == NULL) {
				err = KB_E_NOMEM;
				goto out;
			}
			out->number = more;
		}
		out->number[out->n++] = n;
	}
	if (errno != 0)
		goto out;
	if (out->n > 1)
		qsort(out->number, out->n, sizeof *out->number, by_number);
	err = KB_OK;
out:
	closedir(d);
	return err;
}

/* ---- reading one file, line by line ---- */

struct reader {
	int fd;
	int64_t offset;   /* of the next line */
	int64_t end;      /* do not read past it */
	int64_t read_at;  /* of the next read() */
	size_t from, len; /* unread part of buf */
	uint8_t *buf;
};

static enum kb_err reader_open(int dir, uint32_t number, struct reader *r)
{
	char name[SEGMENT_NAME];
	struct stat st;

	segment_name(number, name);
	*r = (struct reader){
		.fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK)};
	if (r->fd < 0)
		return KB_E_FILE;
	if (fd_stat(r->fd, &st) != 0 || !S_ISREG(st.st_mode))
		return KB_E_FILE;
	r->end = st.st_size;
	r->buf = malloc(READ_BUFFER);
	return r->buf == NULL ? KB_E_NOMEM : KB_OK;
}

static void reader_cleanup(struct reader *r)
{
	if (r->fd >= 0)
		close(r->fd);
	free(r->buf);
}

/* The next line without its newline.  *whole is false when the file ends before the newline, or
 * when the line is too long.  line->p is NULL at the end. */
static enum kb_err reader_line(struct reader *r, struct span *line, bool *whole)
{
	for (;;) {
		struct span have = span_of(r->buf + r->from, r->len);
		size_t nl = span_find(have, 0, '\n');
		if (nl < have.len) {
			*line = span_sub(have, 0, nl);
			*whole = true;
			r->from += nl + 1;
			r->len -= nl + 1;
			r->offset += (int64_t)nl + 1;
			return KB_OK;
		}
		if (r->read_at == r->end || have.len > CHAIN_MAX_LINE) {
			*line = have.len == 0 ? span_of(NULL, 0) : have;
			*whole = false;
			return KB_OK;
		}
		memmove(r->buf, r->buf + r->from, r->len);
		r->from = 0;
		size_t want = READ_BUFFER - r->len;
		if ((int64_t)want > r->end - r->read_at)
			want = (size_t)(r->end - r->read_at);
		ssize_t got = pread(r->fd, r->buf + r->len, want, r->read_at);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return KB_E_FILE;
		r->len += (size_t)got;
		r->read_at += got;
	}
}

/* ---- a segment's first line ---- */

static bool is_optional(enum kb_err err)
{
	return err == KB_OK || err == KB_E_JSON_MISSING;
}

static enum kb_err header_parse(struct span line, struct segment_header *h)
{
	KB_AUTO(json) struct json_t *doc = NULL;
	struct span event, why = span_of(NULL, 0), hex;

	if (json_load_strict(line, CHAIN_MAX_LINE, &doc, NULL) != KB_OK ||
	    json_get_str(doc, "event", 16, &event) != KB_OK || !span_eq_cstr(event, "segment") ||
	    json_get_int(doc, "segment", &h->segment) != KB_OK ||
	    json_get_int(doc, "previous_bytes", &h->previous_bytes) != KB_OK ||
	    json_get_int(doc, "clock", &h->clock_s) != KB_OK ||
	    json_get_int(doc, "replay_until", &h->replay_until_s) != KB_OK || h->previous_bytes < 0)
		return KB_E_LEDGER_CHAIN;
	h->born_s = 0;
	if (!is_optional(json_get_int(doc, "born", &h->born_s)) ||
	    !is_optional(json_get_str(doc, "why", 32, &why)))
		return KB_E_LEDGER_CHAIN;
	h->has_write_failed = span_eq_cstr(why, SEGMENT_WRITE_FAILED);
	h->torn_bytes = 0;
	if (!json_has(doc, "torn_bytes"))
		return KB_OK;
	if (json_get_int(doc, "torn_bytes", &h->torn_bytes) != KB_OK || h->torn_bytes <= 0 ||
	    h->torn_bytes > SEGMENT_UNCONFIRMED ||
	    json_get_str(doc, "torn_sha256", 64, &hex) != KB_OK ||
	    !hex_decode(hex, h->torn_sha256, sizeof h->torn_sha256))
		return KB_E_LEDGER_CHAIN;
	return KB_OK;
}

/* A first line of a newer format.  Check this before anything else: every other member may have
 * changed. */
static bool is_newer(uint32_t number, struct span line, struct segment_fault *fault)
{
	KB_AUTO(json) struct json_t *doc = NULL;
	int64_t format;

	if (json_load_strict(line, CHAIN_MAX_LINE, &doc, NULL) != KB_OK ||
	    json_get_int(doc, "format", &format) != KB_OK || format <= SEGMENT_FORMAT)
		return false;
	segment_set_fault(fault, number, 1, 0, "");
	snprintf(fault->text, sizeof fault->text,
		 "is of format %lld, and this version reads %d at most: use the newer version that "
		 "wrote it",
		 (long long)format, SEGMENT_FORMAT);
	return true;
}

enum kb_err segment_header_read(int dir, uint32_t number, struct segment_header *h,
				struct segment_fault *fault)
{
	KB_AUTO(reader) struct reader r = {.fd = -1};
	struct chain_line parsed;
	struct span line;
	bool whole;
	enum kb_err err;

	if ((err = reader_open(dir, number, &r)) != KB_OK ||
	    (err = reader_line(&r, &line, &whole)) != KB_OK) {
		segment_set_fault(fault, number, 0, 0, "cannot be read");
		return err;
	}
	if (is_newer(number, line, fault))
		return KB_E_LEDGER_CHAIN;
	if (!whole || chain_parse(line, &parsed) != KB_OK || header_parse(line, h) != KB_OK ||
	    h->segment != number) {
		segment_set_fault(fault, number, 1, 0, "is not the first line of this segment");
		return KB_E_LEDGER_CHAIN;
	}
	return KB_OK;
}

/* ---- walking ---- */

/* A later line shows that the bad one, number `seq`, was durable: then it is no torn tail.  Good
 * lines of the same batch may follow a torn one: their pages reached the disk and its did not. */
static bool was_durable(struct reader *r, uint64_t seq)
{
	struct chain_line parsed;
	struct span line;
	bool whole;

	while (reader_line(r, &line, &whole) == KB_OK && line.p != NULL) {
		if (whole && chain_parse(line, &parsed) == KB_OK &&
		    (parsed.synced >= seq || parsed.seq <= seq))
			return true;
		if (!whole) { /* too long, or the end: skip these bytes */
			r->from = r->len = 0;
			r->offset += (int64_t)line.len;
		}
	}
	return false;
}

/* Earlier versions wrote the record of a repair over the torn bytes, and then cut what was left of
 * them.  Where such a process died in between, these many bytes are left: the record names how many
 * there were.  The end of the file as it was; -1: this line records no such repair. */
static int64_t end_before_repair(struct span line, int64_t offset)
{
	static const char repair[] = "\"event\":\"repair\"";
	KB_AUTO(json) struct json_t *doc = NULL;
	int64_t bytes;

	if (memmem(line.p, line.len, repair, sizeof repair - 1) == NULL ||
	    json_load_strict(line, CHAIN_MAX_LINE, &doc, NULL) != KB_OK ||
	    json_get_int(doc, "bytes", &bytes) != KB_OK || bytes <= 0 ||
	    bytes > SEGMENT_UNCONFIRMED)
		return -1;
	return offset + bytes;
}

/* Bytes after the end of a closed segment: none, or what the next segment's first line accounts
 * for. */
static const char *rest_is_wrong(const struct reader *r, int64_t size,
				 const struct segment_header *next)
{
	static uint8_t rest[SEGMENT_UNCONFIRMED];
	int64_t len = size - next->previous_bytes;
	uint8_t digest[32];

	if (len == next->torn_bytes) {
		if (len == 0)
			return NULL;
		if (pread(r->fd, rest, (size_t)len, next->previous_bytes) != len)
			return "cannot be read after its last record";
		digest_sha256(span_of(rest, (size_t)len), digest);
		return memcmp(digest, next->torn_sha256, sizeof digest) == 0
			       ? NULL
			       : "has other bytes after its last record than the next segment says";
	}
	if (next->torn_bytes != 0)
		return "has more or fewer bytes after its last record than the next segment says";
	return next->has_write_failed && len <= SEGMENT_UNCONFIRMED
		       ? NULL
		       : "has bytes after its last record, and the next segment knows of none";
}

/* One segment.  `next` is the first line of the one after it; NULL: this is the last. */
static enum kb_err walk_one(int dir, uint32_t number, const struct segment_header *next,
			    struct chain *c, segment_visit *visit, void *ctx,
			    struct segment_fault *fault)
{
	KB_AUTO(reader) struct reader r = {.fd = -1};
	int64_t mended_end = -1;
	struct segment_line at = {.segment = number};
	bool whole;
	enum kb_err err;

	if ((err = reader_open(dir, number, &r)) != KB_OK) {
		segment_set_fault(fault, number, 0, 0, "cannot be read");
		return err;
	}
	const int64_t size = r.end;
	if (next != NULL && next->previous_bytes > size) {
		/* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): KB_AUTO frees the reader */
		segment_set_fault(
			fault, number, 0, r.end,
			"is shorter than the next segment says: lines are missing at its end");
		return KB_E_LEDGER_CHAIN;
	}
	if (next != NULL)
		r.end = next->previous_bytes;
	for (;;) {
		int64_t offset = r.offset;
		const char *wrong = NULL;
		struct chain before = *c;
		struct segment_header h;
		at.line++;
		if ((err = reader_line(&r, &at.text, &whole)) != KB_OK) {
			segment_set_fault(fault, number, at.line, offset, "cannot be read");
			return err;
		}
		if (at.text.p == NULL && at.line > 1) {
			if (next == NULL || (wrong = rest_is_wrong(&r, size, next)) == NULL)
				return KB_OK;
			segment_set_fault(fault, number, at.line, offset, wrong);
			return KB_E_LEDGER_CHAIN;
		}
		if (at.line == 1 && is_newer(number, at.text, fault))
			return KB_E_LEDGER_CHAIN;
		if (!whole)
			wrong = at.text.len > CHAIN_MAX_LINE
					? "is too long for a line of the ledger"
					: "is incomplete: no newline ends it";
		else if (chain_parse(at.text, &at.parsed) != KB_OK)
			wrong = "was changed: its own digest does not match";
		else if (chain_next(&before, at.text, &at.parsed) != KB_OK)
			wrong = "does not follow the line before it: lines were removed, added or "
				"moved";
		else if (at.line == 1 &&
			 (header_parse(at.text, &h) != KB_OK || h.segment != number))
			wrong = "is not the first line of this segment";
		if (wrong != NULL) {
			bool is_whole_alone = whole && chain_parse(at.text, &at.parsed) == KB_OK;
			segment_set_fault(fault, number, at.line, offset, wrong);
			fault->is_tail = next == NULL && at.line > 1 &&
					 (mended_end == size ||
					  (!is_whole_alone && !was_durable(&r, c->seq + 1)));
			return KB_E_LEDGER_CHAIN;
		}
		*c = before;
		mended_end = end_before_repair(at.text, offset);
		if (visit != NULL && (err = visit(ctx, &at)) != KB_OK)
			return err;
	}
}

enum kb_err segment_needed_from(int dir, const struct segment_listing *l, int64_t now_s,
				struct segment_header *h, struct segment_fault *fault)
{
	for (size_t i = l->n; i-- > 0;) {
		enum kb_err err = segment_header_read(dir, l->number[i], h, fault);
		if (err != KB_OK)
			return err;
		if (h->replay_until_s < now_s)
			break;
	}
	return KB_OK;
}

enum kb_err segment_before(int dir, uint32_t number, struct chain *c, struct segment_fault *fault)
{
	KB_AUTO(reader) struct reader r = {.fd = -1};
	struct span line;
	bool whole;
	enum kb_err err;

	if ((err = reader_open(dir, number, &r)) != KB_OK ||
	    (err = reader_line(&r, &line, &whole)) != KB_OK) {
		segment_set_fault(fault, number, 0, 0, "cannot be read");
		return err;
	}
	if (is_newer(number, line, fault))
		return KB_E_LEDGER_CHAIN;
	if (!whole || chain_before(line, c) != KB_OK) {
		segment_set_fault(fault, number, 1, 0,
				  "was changed: its own digest does not match");
		return KB_E_LEDGER_CHAIN;
	}
	/* Segment 1 has no predecessor: ignore its "prev" and start a new chain. */
	if (number == 1)
		*c = (struct chain){0};
	return KB_OK;
}

enum kb_err segment_walk(int dir, uint32_t from, segment_visit *visit, void *ctx, struct chain *end,
			 struct segment_fault *fault)
{
	const struct segment_part part = {.from = from};

	return segment_walk_part(dir, &part, visit, ctx, end, fault);
}

enum kb_err segment_walk_part(int dir, const struct segment_part *part, segment_visit *visit,
			      void *ctx, struct chain *end, struct segment_fault *fault)
{
	KB_AUTO(segment_listing) struct segment_listing l = {0};
	struct chain c = {0};
	struct segment_header next;
	enum kb_err err;

	*fault = (struct segment_fault){0};
	if (end != NULL)
		*end = c;
	if ((err = segment_list(dir, &l)) != KB_OK) {
		snprintf(fault->text, sizeof fault->text, "the ledger's directory cannot be read");
		return err;
	}
	size_t i = 0;
	while (i < l.n && l.number[i] < part->from)
		i++;
	if (i < l.n && (err = segment_before(dir, l.number[i], &c, fault)) != KB_OK)
		return err;
	for (; i < l.n && (part->last == 0 || l.number[i] <= part->last); i++) {
		const struct segment_header *after = NULL;
		if (i + 1 < l.n && l.number[i + 1] != l.number[i] + 1 &&
		    l.number[i] != part->last) {
			segment_set_fault(fault, l.number[i] + 1, 0, 0, "is missing");
			return KB_E_LEDGER_CHAIN;
		}
		if (i + 1 < l.n && l.number[i + 1] == l.number[i] + 1) {
			err = segment_header_read(dir, l.number[i + 1], &next, fault);
			if (err != KB_OK)
				return err;
			after = &next;
		} else if (l.number[i] == part->closed) {
			next = (struct segment_header){.previous_bytes = part->closed_bytes,
						       .has_write_failed = true};
			after = &next;
		}
		if ((err = walk_one(dir, l.number[i], after, &c, visit, ctx, fault)) != KB_OK)
			break;
	}
	if (end != NULL)
		*end = c;
	return err;
}
