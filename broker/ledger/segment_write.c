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

enum {
	SEGMENT_MODE = 0640,

	/* Bytes that may be written and not yet synced: one batch. */
	UNCONFIRMED = KB_LEDGER_BATCH * (CHAIN_MAX_LINE + 1),
};
static const char new_name[] = "ledger.new";

/* The open file is still the one of its name.  Records in a file that was moved, removed or
 * replaced are lost to every reader of the ledger. */
static bool is_in_place(const struct segments *s)
{
	char name[SEGMENT_NAME];
	struct stat written, named;

	segment_name(s->number, name);

	/* Not stat() by name: the ledger process's sandbox does not allow it. */
	int fd = openat(s->dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return false;
	bool is_same = fd_stat(s->fd, &written) == 0 && fd_stat(fd, &named) == 0 &&
		       written.st_dev == named.st_dev && written.st_ino == named.st_ino;
	close(fd);
	return is_same;
}

enum kb_err segment_commit(struct segments *s, struct span lines, const struct chain *after)
{
	const char *why;

	if (s->fd < 0)
		return KB_E_LEDGER;
	if (file_write(s->fd, lines) != KB_OK || fdatasync(s->fd) != 0) {
		why = strerror(errno);
	} else if (!is_in_place(s)) {
		why = "the file was moved, removed or replaced";
	} else {
		s->bytes += (int64_t)lines.len;
		s->chain = *after;
		return KB_OK;
	}

	/* After a failed sync the kernel may have dropped the pages, and the next sync would report
	 * success: never write to this file again.  Truncating it is only tidy; the next segment's
	 * first line says how many bytes of it count. */
	bool is_cut = ftruncate(s->fd, s->bytes) == 0 && fdatasync(s->fd) == 0;
	log_event(LOG_ERROR, "ledger.write_failed", "segment", log_i64(s->number), "why", why,
		  "cut_back", is_cut ? "yes" : "no", NULL);
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
	if (s->fd >= 0)
		close(s->fd);
	s->fd = -1;
	if (renameat(s->dir, new_name, s->dir, name) != 0 || fsync(s->dir) != 0)
		goto fail;
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

/* Write the record of the repair over the first torn bytes, then truncate the rest: nothing is cut
 * before the cut is recorded. */
static enum kb_err repair(struct segments *s, int fd, const struct segment_fault *torn,
			  int64_t size)
{
	char when[KB_TIME_TEXT];
	uint8_t digest[32];
	int64_t left = size - torn->offset;
	struct chain next = s->chain;

	KB_AUTO(buf) struct buf cut, record, line;
	buf_init(&cut, UNCONFIRMED);
	buf_init(&record, KB_MAX_RECORD);
	buf_init(&line, CHAIN_MAX_LINE + 1);
	if (left > UNCONFIRMED)
		return KB_E_LEDGER_CHAIN;
	uint8_t *p = buf_reserve(&cut, (size_t)left);
	if (p == NULL)
		return KB_E_NOMEM;
	if (pread(fd, p, (size_t)left, torn->offset) != left)
		return KB_E_FILE;
	digest_sha256(span_of(p, (size_t)left), digest);
	clock_text(clock_wall_us(), when);
	buf_add_str(&record, "{");
	json_add_member(&record, "time", span_str(when));
	json_add_member(&record, "event", span_str("repair"));
	json_add_int(&record, "bytes", left);
	json_add_name(&record, "sha256");
	buf_add_str(&record, "\"");
	hex_encode(&record, span_of(digest, sizeof digest));
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

/* What was read back may be only in the page cache: never synced, or its sync failed, after which
 * the kernel marks the pages clean and the next sync does not write them.  Write the bytes that may
 * be unconfirmed once more and sync, before anything depends on them. */
static enum kb_err confirm(const struct segments *s, int fd)
{
	int64_t from = s->bytes > UNCONFIRMED ? s->bytes - UNCONFIRMED : 0, len = s->bytes - from;

	KB_AUTO(buf) struct buf tail;
	buf_init(&tail, UNCONFIRMED);
	uint8_t *p = buf_reserve(&tail, (size_t)len);
	if (p == NULL)
		return KB_E_NOMEM;
	if (pread(fd, p, (size_t)len, from) != len)
		return KB_E_FILE;
	return pwrite(fd, p, (size_t)len, from) == len && fdatasync(fd) == 0 ? KB_OK : KB_E_LEDGER;
}

/* The newest segment such that no segment before it holds a record needed after now_s. */
static enum kb_err choose_start(int dir, const struct segment_listing *l, struct segments *s,
				int64_t now_s, uint32_t *from, struct segment_fault *fault)
{
	struct segment_header h;
	enum kb_err err;

	for (size_t i = l->n; i-- > 0;) {
		if ((err = segment_header_read(dir, l->number[i], &h, fault)) != KB_OK)
			return err;
		if (i + 1 == l->n) {
			s->clock_s = h.clock_s;
			s->replay_until_s = h.replay_until_s;
			s->born_s = h.born_s;
		}
		*from = l->number[i];
		s->unread_until_s = h.replay_until_s;
		if (h.replay_until_s < now_s)
			break;
	}
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
	if (err == KB_E_LEDGER_CHAIN && fault->is_tail)
		err = repair(s, fd, fault, size);
	if (err == KB_OK)
		err = confirm(s, fd);

	/* The name, too: the process that renamed the file may have ended before it synced the
	 * directory, and a power cut would then lose records of replies that were sent. */
	if (err == KB_OK && fsync(s->dir) != 0)
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
