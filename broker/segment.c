/* broker/segment.c — the ledger's files.  Decides what of a file is the ledger.  Trusts the directory's owner, and of a file only lines whose digests fit.  Never
 * follows a symlink, never appends after a failed write or sync, never changes a confirmed line. */
#include "broker/segment.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"

enum { SEGMENT_MODE = 0640, READ_BUFFER = 256 * 1024 };
static const char new_name[] = "ledger.new";

void segment_name(uint32_t number, char out[static SEGMENT_NAME])
{
	snprintf(out, SEGMENT_NAME, "ledger-%08u.jsonl", number);
}

static void set_fault(struct segment_fault *f, uint32_t number, uint64_t line, int64_t offset, const char *text)
{
	*f = (struct segment_fault){.line = line, .offset = offset};
	segment_name(number, f->file);
	snprintf(f->text, sizeof f->text, "%s", text);
}

/* ---- which segments there are ---- */

struct listing {
	uint32_t *number; /* ascending */
	size_t n;
};

static void listing_cleanup(struct listing *l)
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

static enum kb_err list(int dir, struct listing *out)
{
	enum kb_err err = KB_E_FILE;
	size_t cap = 0;
	int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);

	*out = (struct listing){0};
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
	*r = (struct reader){.fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK)};
	if (r->fd < 0)
		return KB_E_FILE;
	if (fstat(r->fd, &st) != 0 || !S_ISREG(st.st_mode))
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

/* The next line without its newline; *whole false when the end comes first, or the line is too long to be one.  line->p NULL at the end. */
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

struct header {
	int64_t segment, previous_bytes, clock_s, replay_until_s;
};

static enum kb_err header_parse(struct span line, struct header *h)
{
	KB_AUTO(json) struct json_t *doc = NULL;
	struct span event;

	if (json_load_strict(line, CHAIN_MAX_LINE, &doc, NULL) != KB_OK || json_get_str(doc, "event", 16, &event) != KB_OK ||
	    !span_eq_cstr(event, "segment") || json_get_int(doc, "segment", &h->segment) != KB_OK ||
	    json_get_int(doc, "previous_bytes", &h->previous_bytes) != KB_OK || json_get_int(doc, "clock", &h->clock_s) != KB_OK ||
	    json_get_int(doc, "replay_until", &h->replay_until_s) != KB_OK || h->previous_bytes < 0)
		return KB_E_LEDGER_CHAIN;
	return KB_OK;
}

/* Of a segment on disk.  KB_E_LEDGER_CHAIN when its first line is not good. */
static enum kb_err header_read(int dir, uint32_t number, struct header *h, struct segment_fault *fault)
{
	KB_AUTO(reader) struct reader r = {.fd = -1};
	struct chain_line parsed;
	struct span line;
	bool whole;
	enum kb_err err;

	if ((err = reader_open(dir, number, &r)) != KB_OK || (err = reader_line(&r, &line, &whole)) != KB_OK) {
		set_fault(fault, number, 0, 0, "cannot be read");
		return err;
	}
	if (!whole || chain_parse(line, &parsed) != KB_OK || header_parse(line, h) != KB_OK || h->segment != number) {
		set_fault(fault, number, 1, 0, "is not the first line of this segment");
		return KB_E_LEDGER_CHAIN;
	}
	return KB_OK;
}

/* ---- walking ---- */

/* Does a good line follow anywhere after a bad one?  Then it is no torn tail. */
static bool good_line_follows(struct reader *r)
{
	struct chain_line parsed;
	struct span line;
	bool whole;

	while (reader_line(r, &line, &whole) == KB_OK && line.p != NULL) {
		if (whole && chain_parse(line, &parsed) == KB_OK)
			return true;
		if (!whole) { /* too long, or the end: on to what comes after these bytes */
			r->from = r->len = 0;
			r->offset += (int64_t)line.len;
		}
	}
	return false;
}

/* One segment up to `limit` bytes (-1: all of it). */
static enum kb_err walk_one(int dir, uint32_t number, int64_t limit, struct chain *c, segment_visit *visit, void *ctx, struct segment_fault *fault)
{
	KB_AUTO(reader) struct reader r = {.fd = -1};
	struct segment_line at = {.segment = number};
	bool whole;
	enum kb_err err;

	if ((err = reader_open(dir, number, &r)) != KB_OK) {
		set_fault(fault, number, 0, 0, "cannot be read");
		return err;
	}
	if (limit > r.end) {
		set_fault(fault, number, 0, r.end, "is shorter than the next segment says: lines are missing at its end");
		return KB_E_LEDGER_CHAIN;
	}
	if (limit >= 0)
		r.end = limit;
	for (;;) {
		int64_t offset = r.offset;
		const char *wrong = NULL;
		struct chain before = *c;
		struct header h;
		at.line++;
		if ((err = reader_line(&r, &at.text, &whole)) != KB_OK) {
			set_fault(fault, number, at.line, offset, "cannot be read");
			return err;
		}
		if (at.text.p == NULL && at.line > 1)
			return KB_OK;
		if (!whole)
			wrong = at.text.len > CHAIN_MAX_LINE ? "is too long for a line of the ledger" : "is incomplete: no newline ends it";
		else if (chain_parse(at.text, &at.parsed) != KB_OK)
			wrong = "is not as it was written: its own digest does not fit";
		else if (chain_next(&before, at.text, &at.parsed) != KB_OK)
			wrong = "does not follow the line before it: lines were removed, added or moved";
		else if (at.line == 1 && (header_parse(at.text, &h) != KB_OK || h.segment != number))
			wrong = "is not the first line of this segment";
		if (wrong != NULL) {
			bool is_whole_alone = whole && chain_parse(at.text, &at.parsed) == KB_OK;
			set_fault(fault, number, at.line, offset, wrong);
			fault->is_tail = limit < 0 && at.line > 1 && !is_whole_alone && !good_line_follows(&r);
			return KB_E_LEDGER_CHAIN;
		}
		*c = before;
		if (visit != NULL && (err = visit(ctx, &at)) != KB_OK)
			return err;
	}
}

/* The chain just before a segment's first line. */
static enum kb_err chain_at(int dir, uint32_t number, struct chain *c, struct segment_fault *fault)
{
	KB_AUTO(reader) struct reader r = {.fd = -1};
	struct span line;
	bool whole;
	enum kb_err err;

	if ((err = reader_open(dir, number, &r)) != KB_OK || (err = reader_line(&r, &line, &whole)) != KB_OK) {
		set_fault(fault, number, 0, 0, "cannot be read");
		return err;
	}
	if (!whole || chain_before(line, c) != KB_OK) {
		set_fault(fault, number, 1, 0, "is not as it was written: its own digest does not fit");
		return KB_E_LEDGER_CHAIN;
	}
	/* The first segment of all is believed about nothing: nothing was before it. */
	if (number == 1)
		*c = (struct chain){0};
	return KB_OK;
}

enum kb_err segment_walk(int dir, uint32_t from, segment_visit *visit, void *ctx, struct chain *end, struct segment_fault *fault)
{
	KB_AUTO(listing) struct listing l = {0};
	struct chain c = {0};
	struct header next;
	enum kb_err err;

	*fault = (struct segment_fault){0};
	if (end != NULL)
		*end = c;
	if ((err = list(dir, &l)) != KB_OK) {
		snprintf(fault->text, sizeof fault->text, "the ledger's directory cannot be read");
		return err;
	}
	size_t i = 0;
	while (i < l.n && l.number[i] < from)
		i++;
	if (i < l.n && (err = chain_at(dir, l.number[i], &c, fault)) != KB_OK)
		return err;
	for (; i < l.n; i++) {
		bool is_last = i + 1 == l.n;
		if (!is_last && l.number[i + 1] != l.number[i] + 1) {
			set_fault(fault, l.number[i] + 1, 0, 0, "is missing");
			return KB_E_LEDGER_CHAIN;
		}
		if (!is_last && (err = header_read(dir, l.number[i + 1], &next, fault)) != KB_OK)
			return err;
		if ((err = walk_one(dir, l.number[i], is_last ? -1 : next.previous_bytes, &c, visit, ctx, fault)) != KB_OK)
			break;
	}
	if (end != NULL)
		*end = c;
	return err;
}

/* ---- writing ---- */

static enum kb_err write_all(int fd, struct span bytes)
{
	while (bytes.len > 0) {
		ssize_t n = write(fd, bytes.p, bytes.len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return KB_E_LEDGER;
		bytes = span_sub(bytes, (size_t)n, bytes.len);
	}
	return KB_OK;
}

enum kb_err segment_commit(struct segments *s, struct span lines, const struct chain *after)
{
	if (s->fd < 0)
		return KB_E_LEDGER;
	if (write_all(s->fd, lines) == KB_OK && fdatasync(s->fd) == 0) {
		s->bytes += (int64_t)lines.len;
		s->chain = *after;
		return KB_OK;
	}
	/* After a failed sync the kernel may have dropped the pages and the next sync would lie: this file is done with.  Cutting it back is
	 * for tidiness; the next segment's first line says how much of it counts. */
	const char *why = strerror(errno);
	bool is_cut = ftruncate(s->fd, s->bytes) == 0 && fdatasync(s->fd) == 0;
	log_event(LOG_ERROR, "ledger.write_failed", "segment", log_i64(s->number), "why", why, "cut_back", is_cut ? "yes" : "no", NULL);
	close(s->fd);
	s->fd = -1;
	return KB_E_LEDGER;
}

enum kb_err segment_begin(struct segments *s, const char *why, struct span extra)
{
	char name[SEGMENT_NAME], when[KB_TIME_TEXT];
	struct chain next = s->chain;
	int64_t bytes;
	int fd = -1;

	KB_AUTO(buf) struct buf record, line;
	buf_init(&record, KB_MAX_RECORD);
	buf_init(&line, CHAIN_MAX_LINE + 1);
	if (s->number >= UINT32_MAX - 1)
		return KB_E_LEDGER;
	clock_text(clock_wall_us(), when);
	buf_add_str(&record, "{");
	json_add_member(&record, "time", span_str(when));
	json_add_member(&record, "event", span_str("segment"));
	json_add_int(&record, "segment", s->number + 1);
	json_add_member(&record, "why", span_str(why));
	json_add_int(&record, "previous_bytes", s->bytes);
	json_add_int(&record, "clock", s->clock_s);
	json_add_int(&record, "replay_until", s->replay_until_s);
	if (extra.len > 0) {
		buf_add_str(&record, ",");
		buf_add_span(&record, extra);
	}
	buf_add_str(&record, "}");
	if (buf_ok(&record) != KB_OK || chain_add(&next, buf_span(&record), &line) != KB_OK)
		return KB_E_LEDGER;
	bytes = (int64_t)line.len;

	/* Made under another name and renamed when it is durable: a segment never exists without its first line.  The directory is locked, so a leftover
	 * of either name is ours and unconfirmed. */
	if (unlinkat(s->dir, new_name, 0) != 0 && errno != ENOENT)
		return KB_E_LEDGER;
	fd = openat(s->dir, new_name, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_NOFOLLOW | O_CLOEXEC, SEGMENT_MODE);
	if (fd < 0)
		return KB_E_LEDGER;
	segment_name(s->number + 1, name);
	if (fchmod(fd, SEGMENT_MODE) != 0 || write_all(fd, buf_span(&line)) != KB_OK || fsync(fd) != 0 ||
	    renameat(s->dir, new_name, s->dir, name) != 0)
		goto fail;
	if (fsync(s->dir) != 0) {
		(void)unlinkat(s->dir, name, 0);
		goto fail;
	}
	if (s->fd >= 0)
		close(s->fd);
	s->fd = fd;
	s->number++;
	s->bytes = bytes;
	s->chain = next;
	return KB_OK;
fail:
	close(fd);
	(void)unlinkat(s->dir, new_name, 0);
	return KB_E_LEDGER;
}

/* ---- opening ---- */

/* Ours, regular, and nobody else writes to it. */
static enum kb_err check_file(int fd, uint32_t number, int64_t *size, struct segment_fault *fault)
{
	struct stat st;

	if (fstat(fd, &st) != 0)
		return KB_E_FILE;
	if (!S_ISREG(st.st_mode) || st.st_uid != geteuid() || st.st_nlink != 1 || (st.st_mode & 07777 & ~(mode_t)SEGMENT_MODE) != 0) {
		set_fault(fault, number, 0, 0, "must be a regular file of the ledger's user, mode 0640 or less, with one name");
		return KB_E_FILE_MODE;
	}
	*size = st.st_size;
	return KB_OK;
}

/* Put the record of the repair where the torn bytes begin, then cut what is left of them: at no moment is something cut that is not recorded. */
static enum kb_err repair(struct segments *s, int fd, const struct segment_fault *torn, int64_t size)
{
	char when[KB_TIME_TEXT];
	uint8_t digest[32];
	int64_t left = size - torn->offset;
	struct chain next = s->chain;
	enum { MOST = KB_LEDGER_BATCH * (CHAIN_MAX_LINE + 1) }; /* one batch is all that can be unconfirmed */

	KB_AUTO(buf) struct buf cut, record, line;
	buf_init(&cut, MOST);
	buf_init(&record, KB_MAX_RECORD);
	buf_init(&line, CHAIN_MAX_LINE + 1);
	if (left > MOST)
		return KB_E_LEDGER_CHAIN;
	uint8_t *p = buf_reserve(&cut, (size_t)left);
	if (p == NULL)
		return KB_E_NOMEM;
	if (pread(fd, p, (size_t)left, torn->offset) != left)
		return KB_E_FILE;
	SHA256(p, (size_t)left, digest);
	clock_text(clock_wall_us(), when);
	buf_add_str(&record, "{");
	json_add_member(&record, "time", span_str(when));
	json_add_member(&record, "event", span_str("repair"));
	json_add_int(&record, "bytes", left);
	json_add_name(&record, "sha256");
	buf_add_str(&record, "\"");
	buf_add_hex(&record, span_of(digest, sizeof digest));
	buf_add_str(&record, "\"}");
	enum kb_err err = chain_add(&next, buf_span(&record), &line);
	if (err != KB_OK)
		return err;
	if (pwrite(fd, line.p, line.len, torn->offset) != (ssize_t)line.len)
		return KB_E_LEDGER;
	if (ftruncate(fd, torn->offset + (int64_t)line.len) != 0 || fsync(fd) != 0)
		return KB_E_LEDGER;
	s->chain = next;
	s->bytes = torn->offset + (int64_t)line.len;
	return KB_OK;
}

/* The newest segment from which on every record needed after now_s is read. */
static enum kb_err choose_start(int dir, const struct listing *l, struct segments *s, int64_t now_s, uint32_t *from, struct segment_fault *fault)
{
	struct header h;
	enum kb_err err;

	for (size_t i = l->n; i-- > 0;) {
		if ((err = header_read(dir, l->number[i], &h, fault)) != KB_OK)
			return err;
		if (i + 1 == l->n) {
			s->clock_s = h.clock_s;
			s->replay_until_s = h.replay_until_s;
		}
		*from = l->number[i];
		if (h.replay_until_s < now_s)
			break;
	}
	return KB_OK;
}

static enum kb_err continue_newest(struct segments *s, uint32_t from, segment_visit *visit, void *ctx, struct segment_fault *fault)
{
	char name[SEGMENT_NAME];
	int64_t size = 0;
	enum kb_err err;

	segment_name(s->number, name);
	int fd = openat(s->dir, name, O_RDWR | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0) {
		set_fault(fault, s->number, 0, 0, errno == ELOOP ? "must not be a symlink" : "cannot be opened");
		return KB_E_FILE;
	}
	if ((err = check_file(fd, s->number, &size, fault)) != KB_OK)
		goto out;
	s->bytes = size;
	err = segment_walk(s->dir, from, visit, ctx, &s->chain, fault);
	if (err == KB_E_LEDGER_CHAIN && fault->is_tail)
		err = repair(s, fd, fault, size);
	/* What was read back may have been written but never synced: sync it before anything is built on it. */
	if (err == KB_OK && fdatasync(fd) != 0)
		err = KB_E_LEDGER;
	if (err == KB_OK && fcntl(fd, F_SETFL, O_APPEND) != 0)
		err = KB_E_SYS;
out:
	if (err != KB_OK)
		close(fd);
	else
		s->fd = fd;
	return err;
}

enum kb_err segment_open(int dir, int64_t now_s, segment_visit *visit, void *ctx, struct segments *out, struct segment_fault *fault)
{
	KB_AUTO(listing) struct listing l = {0};
	struct segments s = {.fd = -1};
	uint32_t from = 0;
	enum kb_err err;

	*out = (struct segments){.dir = -1, .fd = -1};
	*fault = (struct segment_fault){0};
	/* A description of our own: a lock belongs to it, and the one we were given is shared with whoever gave it. */
	s.dir = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (s.dir < 0) {
		snprintf(fault->text, sizeof fault->text, "the ledger's directory cannot be opened");
		return KB_E_FILE;
	}
	err = KB_E_LEDGER_LOCKED;
	if (flock(s.dir, LOCK_EX | LOCK_NB) != 0)
		goto fail;
	if ((err = list(s.dir, &l)) != KB_OK)
		goto fail;
	if (l.n == 0) {
		s.clock_s = now_s;
		if ((err = segment_begin(&s, "first", span_of(NULL, 0))) != KB_OK)
			goto fail;
	} else {
		s.number = l.number[l.n - 1];
		if ((err = choose_start(s.dir, &l, &s, now_s, &from, fault)) != KB_OK ||
		    (err = continue_newest(&s, from, visit, ctx, fault)) != KB_OK)
			goto fail;
	}
	*out = s;
	return KB_OK;
fail:
	close(s.dir);
	return err;
}

void segment_close(struct segments *s)
{
	if (s->fd >= 0)
		close(s->fd);
	if (s->dir >= 0)
		close(s->dir);
	s->fd = s->dir = -1;
}
