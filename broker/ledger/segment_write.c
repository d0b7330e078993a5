/* broker/ledger/segment_write.c — writes the ledger's files.  Decides when a file is not written to
 * any more.  Trusts the directory's owner and process/segment.c.  Never follows a symlink, never
 * appends after a failed write or sync, never changes a confirmed line. */
#include "ledger/segment_write.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/digest.h"
#include "base/file.h"
#include "base/hex.h"
#include "base/json.h"
#include "base/log.h"

enum { SEGMENT_MODE = 0640 };
static const char new_name[] = "ledger.new";

static const char is_elsewhere[] = "it was moved, removed or replaced";
static const char has_other_length[] = "it was shortened, or another process wrote to it";

/* What is to be done when a file is not the one that we wrote.  A broken disk needs other help. */
static const char put_back[] =
	"put the file back as it was, from where it was moved or from the copy that logrotate "
	"made; "
	"or move it and all older segments out of the directory. To make room use keybrokerctl "
	"ledger archive, not logrotate";

/* NULL when the open file is still the one of its name, and holds as many bytes as we wrote.
 * Records in a file that was moved, removed, replaced or cut are lost to every reader of the
 * ledger. */
static const char *not_ours(const struct segments *s, int64_t bytes)
{
	char name[SEGMENT_NAME];
	struct stat written, named;

	segment_name(s->number, name);

	/* Not stat() by name: the ledger process's sandbox does not allow it. */
	int fd = openat(s->dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return is_elsewhere;
	bool is_same = fd_stat(s->fd, &written) == 0 && fd_stat(fd, &named) == 0 &&
		       written.st_dev == named.st_dev && written.st_ino == named.st_ino;
	close(fd);
	if (!is_same)
		return is_elsewhere;
	return written.st_size == bytes ? NULL : has_other_length;
}

static bool has_length(int fd, int64_t bytes)
{
	struct stat st;

	return fd_stat(fd, &st) == 0 && st.st_size == bytes;
}

/* Cut what a commit of `len` bytes may have left.  Never what others wrote, and never make a file
 * longer that others cut. */
static bool cut_back(const struct segments *s, int64_t len)
{
	struct stat st;

	return fd_stat(s->fd, &st) == 0 && st.st_size >= s->bytes && st.st_size <= s->bytes + len &&
	       ftruncate(s->fd, s->bytes) == 0 && fdatasync(s->fd) == 0;
}

enum kb_err segment_commit(struct segments *s, struct span lines, const struct chain *after)
{
	const int64_t len = (int64_t)lines.len;
	const char *why, *fix = NULL;
	bool is_cut = false;

	if (s->fd < 0)
		return KB_E_LEDGER;
	if (!has_length(s->fd, s->bytes)) { /* do not write where nobody would find it */
		why = has_other_length;
		fix = put_back;
		goto fail;
	}
	if (file_write(s->fd, lines) != KB_OK || fdatasync(s->fd) != 0) {
		why = strerror(errno);
	} else if ((why = not_ours(s, s->bytes + len)) != NULL) {
		fix = put_back;
	} else {
		s->bytes += len;
		s->chain = *after;
		return KB_OK;
	}

	/* After a failed sync the kernel may have dropped the pages, and the next sync would report
	 * success: never write to this file again.  Truncating it is only tidy; the next segment's
	 * first line says how many bytes of it count. */
	is_cut = cut_back(s, len);
fail:
	log_event(LOG_ERROR, "ledger.write_failed", "segment", log_i64(s->number), "why", why,
		  "cut_back", is_cut ? "yes" : "no", fix == NULL ? NULL : "fix", fix, NULL);
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
	json_add_int(&record, "format", SEGMENT_FORMAT);
	json_add_member(&record, "why", span_str(why));
	json_add_int(&record, "previous_bytes", s->bytes);
	json_add_int(&record, "clock", s->clock_s);
	json_add_int(&record, "replay_until", s->replay_until_s);
	json_add_int(&record, "born", s->born_s);
	if (s->torn_bytes > 0) {
		json_add_int(&record, "torn_bytes", s->torn_bytes);
		json_add_name(&record, "torn_sha256");
		buf_add_str(&record, "\"");
		hex_encode(&record, span_of(s->torn_sha256, sizeof s->torn_sha256));
		buf_add_str(&record, "\"");
	}
	if (extra.len > 0) {
		buf_add_str(&record, ",");
		buf_add_span(&record, extra);
	}
	buf_add_str(&record, "}");
	if (buf_ok(&record) != KB_OK || chain_add(&next, buf_span(&record), &line) != KB_OK)
		return KB_E_LEDGER;
	bytes = (int64_t)line.len;

	/* Write it under another name and rename it when it is durable: a segment never exists
	 * without its first line.  The directory is locked, so an old file of that name is ours and
	 * was never confirmed. */
	if (unlinkat(s->dir, new_name, 0) != 0 && errno != ENOENT)
		return KB_E_LEDGER;
	fd = openat(s->dir, new_name,
		    O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_NOFOLLOW | O_CLOEXEC, SEGMENT_MODE);
	if (fd < 0)
		return KB_E_LEDGER;
	segment_name(s->number + 1, name);
	if (fchmod(fd, SEGMENT_MODE) != 0 || file_write(fd, buf_span(&line)) != KB_OK ||
	    fsync(fd) != 0)
		goto fail;

	/* From here on the new name may be on the disk, whatever rename() and fsync() return, and
	 * its first line says where the old file ends: never append to the old one again.  If this
	 * fails, the next try replaces the new one. */
	if (s->fd >= 0) {
		const char *wrong = not_ours(s, s->bytes);
		if (wrong != NULL)
			log_event(LOG_ERROR, "ledger.not_ours", "segment", log_i64(s->number),
				  "why", wrong, "fix", put_back, NULL);
		close(s->fd);
	}
	s->fd = -1;
	if (renameat(s->dir, new_name, s->dir, name) != 0 || fsync(s->dir) != 0)
		goto fail;
	s->fd = fd;
	s->number++;
	s->bytes = bytes;
	s->torn_bytes = 0;
	s->chain = next;
	return KB_OK;
fail:
	close(fd);
	(void)unlinkat(s->dir, new_name, 0);
	return KB_E_LEDGER;
}

/* ---- opening ---- */

/* A regular file of ours that nobody else can write. */
static enum kb_err check_file(int fd, uint32_t number, int64_t *size, struct segment_fault *fault)
{
	struct stat st;

	if (fd_stat(fd, &st) != 0)
		return KB_E_FILE;
	if (!S_ISREG(st.st_mode) || st.st_uid != geteuid() || st.st_nlink != 1 ||
	    (st.st_mode & 07777 & ~(mode_t)SEGMENT_MODE) != 0) {
		segment_set_fault(fault, number, 0, 0,
				  "must be a regular file of the ledger's user, mode 0640 or less, "
				  "with one name");
		return KB_E_FILE_MODE;
	}
	*size = st.st_size;
	return KB_OK;
}

/* Measure what a dead process left after the last good line. */
static enum kb_err measure_torn(struct segments *s, int fd, int64_t size)
{
	int64_t len = size - s->bytes;

	KB_AUTO(buf) struct buf torn;
	buf_init(&torn, (size_t)SEGMENT_UNCONFIRMED);
	if (len > SEGMENT_UNCONFIRMED)
		return KB_E_LEDGER_CHAIN;
	uint8_t *p = buf_reserve(&torn, (size_t)len);
	if (p == NULL)
		return KB_E_NOMEM;
	if (pread(fd, p, (size_t)len, s->bytes) != len)
		return KB_E_FILE;
	digest_sha256(span_of(p, (size_t)len), s->torn_sha256);
	s->torn_bytes = len;
	return KB_OK;
}

/* What was read back may be only in the page cache: never synced, or its sync failed, after which
 * the kernel marks the pages clean and the next sync does not write them.  Write the bytes that may
 * be unconfirmed once more, each where it is, and sync, before anything depends on them.  Torn ones
 * too: the next first line holds their digest. */
static enum kb_err confirm(const struct segments *s, int fd)
{
	int64_t from = s->bytes > SEGMENT_UNCONFIRMED ? s->bytes - SEGMENT_UNCONFIRMED : 0,
		len = s->bytes - from + s->torn_bytes;

	KB_AUTO(buf) struct buf tail;
	buf_init(&tail, 2 * (size_t)SEGMENT_UNCONFIRMED);
	uint8_t *p = buf_reserve(&tail, (size_t)len);
	if (p == NULL)
		return KB_E_NOMEM;
	if (pread(fd, p, (size_t)len, from) != len)
		return KB_E_FILE;
	return pwrite(fd, p, (size_t)len, from) == len && fdatasync(fd) == 0 ? KB_OK : KB_E_LEDGER;
}

static enum kb_err choose_start(int dir, const struct segment_listing *l, struct segments *s,
				int64_t now_s, uint32_t *from, struct segment_fault *fault)
{
	struct segment_header h;
	enum kb_err err = segment_header_read(dir, l->number[l->n - 1], &h, fault);

	if (err != KB_OK)
		return err;
	s->clock_s = h.clock_s;
	s->replay_until_s = h.replay_until_s;
	s->born_s = h.born_s;
	if ((err = segment_needed_from(dir, l, now_s, &h, fault)) != KB_OK)
		return err;
	*from = (uint32_t)h.segment;
	s->unread_until_s = h.replay_until_s;
	return KB_OK;
}

static enum kb_err continue_newest(struct segments *s, uint32_t from, segment_visit *visit,
				   void *ctx, struct segment_fault *fault)
{
	char name[SEGMENT_NAME];
	int64_t size = 0;
	enum kb_err err;

	segment_name(s->number, name);
	int fd = openat(s->dir, name, O_RDWR | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0) {
		segment_set_fault(fault, s->number, 0, 0,
				  errno == ELOOP ? "must not be a symlink" : "cannot be opened");
		return KB_E_FILE;
	}
	if ((err = check_file(fd, s->number, &size, fault)) != KB_OK)
		goto out;
	s->bytes = size;
	err = segment_walk(s->dir, from, visit, ctx, &s->chain, fault);
	if (err == KB_E_LEDGER_CHAIN && fault->is_tail) {
		s->bytes = fault->offset;
		err = measure_torn(s, fd, size);
	}
	if (err == KB_OK)
		err = confirm(s, fd);

	/* The name, too: the process that renamed the file may have ended before it synced the
	 * directory, and a power cut would then lose records of replies that were sent. */
	if (err == KB_OK && fsync(s->dir) != 0)
		err = KB_E_LEDGER;
	if (err == KB_OK && fcntl(fd, F_SETFL, O_APPEND) != 0)
		err = KB_E_SYS;
out:
	if (err != KB_OK || s->torn_bytes > 0)
		close(fd);
	else
		s->fd = fd;
	return err;
}

enum kb_err segment_open(int dir, int64_t now_s, segment_visit *visit, void *ctx,
			 struct segments *out, struct segment_fault *fault)
{
	KB_AUTO(segment_listing) struct segment_listing l = {0};
	struct segments s = {.fd = -1};
	uint32_t from = 0;
	enum kb_err err;

	*out = (struct segments){.dir = -1, .fd = -1};
	*fault = (struct segment_fault){0};

	/* A file description of our own: flock() locks the description, and the given one is shared
	 * with the supervisor. */
	s.dir = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (s.dir < 0) {
		snprintf(fault->text, sizeof fault->text,
			 "the ledger's directory cannot be opened");
		return KB_E_FILE;
	}
	err = KB_E_LEDGER_LOCKED;
	if (flock(s.dir, LOCK_EX | LOCK_NB) != 0)
		goto fail;
	if ((err = segment_list(s.dir, &l)) != KB_OK)
		goto fail;
	if (l.n == 0) {
		s.clock_s = s.born_s = now_s;
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
