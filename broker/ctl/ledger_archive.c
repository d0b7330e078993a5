/* broker/ctl/ledger_archive.c — `keybrokerctl ledger archive`: moves closed segments to another
 * directory.  A segment is removed only after its copy is durable and was read back as a part of
 * the chain, and after the border is durable in both directories.  So it may end at any step: what
 * is left is good, and the next run goes on.  The broker may be running: it never opens a segment
 * again that is moved. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "ctl/ledger.h"
#include "ctl/ledger_border.h"
#include "ctl/open.h"
#include "ctl/output.h"
#include "process/segment.h"

enum { OPT_TO = LEDGER_OPT_OWN, OPT_KEEP, OPT_BEFORE, OPT_DRY };
const struct ctl_opt ledger_archive_opts[] = {
	LEDGER_OPT_DIR_ROW,
	[OPT_TO] = {"to", 't', "DIR", "the archive, a directory that exists"},
	[OPT_KEEP] = {"keep", 'k', "N", "leave the N newest closed segments (0)"},
	[OPT_BEFORE] = {"before", 'b', "TIME", "only segments without a record since then"},
	[OPT_DRY] = {"dry-run", 'n', NULL, "say what would be moved, and move nothing"},
	{NULL, 0, NULL, NULL},
};

enum { COPY_MODE = 0640, COPY_BYTES = 256 * 1024, PROGRESS_MS = 2000, MAX_KEEP = 1000000 };
static const char part_name[] = "ledger.part", lock_name[] = "archived.lock";

struct archive {
	const struct ctl *c;
	const char *to;
	int from_dir, to_dir;
	struct segment_listing here, there;
	size_t n;          /* so many of `here` are moved, the oldest ones */
	int64_t bytes;     /* of them */
	int64_t used_to_s; /* the next one is kept: it records tokens valid until then; 0: no */
	struct chain begin, end; /* before and at the end of them */
	int64_t closed_bytes;    /* of the last one */
	int64_t said_ms;
};

static bool fault_say(const char *dir, const struct segment_fault *f)
{
	return ctl_fail(false, "%s: %s%s%llu: %s; nothing was removed", dir, f->file,
			f->line == 0 ? " line " : ":", (unsigned long long)f->line, f->text);
}

static bool file_say(const char *dir, const char *name)
{
	return ctl_fail(false, "%s/%s: %s", dir, name, strerror(errno));
}

static const char *number_name(uint32_t number)
{
	static char name[SEGMENT_NAME];

	segment_name(number, name);
	return name;
}

/* ---- what is moved ---- */

/* One `ledger archive` at a time: a slower one must not set the border back. */
static bool lock(const struct archive *a, int *fd)
{
	*fd = openat(a->from_dir, lock_name, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, COPY_MODE);
	if (*fd < 0 || border_give(a->from_dir, lock_name) != KB_OK)
		return file_say("the ledger's directory", lock_name);
	return flock(*fd, LOCK_EX | LOCK_NB) == 0 ||
	       ctl_fail(false, "another `ledger archive` of this ledger is running");
}

/* The archive's directory is not the ledger's own, and nobody else can change what is in it. */
static bool open_archive(struct archive *a)
{
	struct stat from, to;
	char why[FILE_WHY];

	a->to_dir = open(a->to, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (a->to_dir < 0)
		return ctl_fail(false, "--to %s: %s", a->to, strerror(errno));
	if (fd_stat(a->from_dir, &from) != 0 || fd_stat(a->to_dir, &to) != 0)
		return ctl_fail(false, "--to %s: %s", a->to, strerror(errno));
	if (from.st_dev == to.st_dev && from.st_ino == to.st_ino)
		return ctl_fail(false, "--to %s is the ledger's own directory", a->to);
	const struct file_trust trust = {.user = {geteuid(), from.st_uid}, .n = 2};
	if (file_check_way(a->to, &trust, why) != KB_OK)
		return ctl_fail(false, "--to %s: %s", a->to, why);
	return true;
}

static bool choose(struct archive *a, long long keep, int64_t before_s)
{
	struct segment_header needed = {.segment = 0}, newest, next;
	struct segment_fault f;
	struct stat st;

	if (segment_list(a->from_dir, &a->here) != KB_OK)
		return ctl_fail(false, "the ledger's directory cannot be read");
	if (a->here.n == 0)
		return ctl_fail(false, "there is no ledger in this directory");
	if (segment_needed_from(a->from_dir, &a->here, clock_wall_s(), &needed, &f) != KB_OK ||
	    segment_header_read(a->from_dir, a->here.number[a->here.n - 1], &newest, &f) != KB_OK ||
	    segment_before(a->from_dir, a->here.number[0], &a->begin, &f) != KB_OK)
		return fault_say("the ledger", &f);
	a->end = a->begin;
	for (size_t i = 0; i + 1 < a->here.n; i++) {
		if ((long long)(a->here.n - 1 - i) <= keep)
			break;
		if (a->here.number[i] >= (uint32_t)needed.segment) {
			a->used_to_s = newest.replay_until_s;
			break;
		}
		if (segment_header_read(a->from_dir, a->here.number[i + 1], &next, &f) != KB_OK)
			return fault_say("the ledger", &f);
		if (before_s != 0 && next.clock_s >= before_s)
			break;
		if (segment_before(a->from_dir, a->here.number[i + 1], &a->end, &f) != KB_OK)
			return fault_say("the ledger", &f);
		if (fstatat(a->from_dir, number_name(a->here.number[i]), &st,
			    AT_SYMLINK_NOFOLLOW) != 0)
			return file_say("the ledger", number_name(a->here.number[i]));
		a->bytes += st.st_size;
		a->closed_bytes = next.previous_bytes;
		a->n = i + 1;
	}
	return true;
}

/* What the archive has already ends where the ledger begins. */
static bool joins(struct archive *a, bool *has_before)
{
	const uint32_t oldest = a->here.number[0];
	struct segment_header first;
	struct segment_fault f;
	struct chain end;
	uint32_t newest = 0;

	*has_before = false;
	if (segment_list(a->to_dir, &a->there) != KB_OK)
		return ctl_fail(false, "%s cannot be read", a->to);
	for (size_t i = 0; i < a->there.n && a->there.number[i] < oldest; i++)
		newest = a->there.number[i];
	if (newest == 0)
		return true;
	if (newest != oldest - 1)
		return ctl_fail(false,
				"%s ends with segment %u, and the ledger begins with segment %u: "
				"what is between them is missing. Use another directory",
				a->to, newest, oldest);
	if (segment_header_read(a->from_dir, oldest, &first, &f) != KB_OK)
		return fault_say("the ledger", &f);
	const struct segment_part last = {.from = newest,
					  .last = newest,
					  .closed = newest,
					  .closed_bytes = first.previous_bytes};
	if (segment_walk_part(a->to_dir, &last, NULL, NULL, &end, &f) != KB_OK)
		return fault_say(a->to, &f);
	if (end.seq != a->begin.seq || memcmp(end.last, a->begin.last, sizeof end.last) != 0)
		return ctl_fail(false, "%s is the archive of another ledger", a->to);
	*has_before = true;
	if (a->n == 0)
		a->closed_bytes = first.previous_bytes;
	return true;
}

/* ---- copies ---- */

static void progress(struct archive *a, const char *what, size_t done)
{
	int64_t now_ms = clock_mono_ms();

	if (now_ms - a->said_ms < PROGRESS_MS)
		return;
	a->said_ms = now_ms;
	ctl_say("%s: %zu of %zu segments", what, done, a->n);
}

/* The same bytes, in another file. */
static bool is_same(int one, int other)
{
	static uint8_t a[COPY_BYTES], b[COPY_BYTES];
	struct stat st, to;
	size_t n = 0, m = 0;

	if (fd_stat(one, &st) != 0 || fd_stat(other, &to) != 0 || st.st_size != to.st_size ||
	    (st.st_dev == to.st_dev && st.st_ino == to.st_ino))
		return false;
	do {
		if (file_read(one, a, sizeof a, &n) != KB_OK ||
		    file_read(other, b, sizeof b, &m) != KB_OK || n != m || memcmp(a, b, n) != 0)
			return false;
	} while (n > 0);
	return true;
}

static bool copy_bytes(int from, int to)
{
	static uint8_t p[COPY_BYTES];
	size_t n = 0;

	do {
		if (file_read(from, p, sizeof p, &n) != KB_OK ||
		    file_write(to, span_of(p, n)) != KB_OK)
			return false;
	} while (n > 0);
	return fsync(to) == 0;
}

static bool copy(struct archive *a, uint32_t number)
{
	const char *name = number_name(number);
	KB_AUTO(fd) int from = openat(a->from_dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	KB_AUTO(fd) int there = openat(a->to_dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	KB_AUTO(fd) int to = -1;

	if (from < 0)
		return file_say("the ledger", name);
	if (there >= 0) /* of an earlier run */
		return (is_same(from, there) && fsync(there) == 0) ||
		       ctl_fail(false,
				"%s/%s is there already and is not a copy of the ledger's. Use "
				"another directory",
				a->to, name);
	if (errno != ENOENT)
		return file_say(a->to, name);
	if (unlinkat(a->to_dir, part_name, 0) != 0 && errno != ENOENT)
		return file_say(a->to, part_name);
	to = openat(a->to_dir, part_name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
		    COPY_MODE);
	if (to >= 0 && fchmod(to, COPY_MODE) == 0 && copy_bytes(from, to) &&
	    renameat(a->to_dir, part_name, a->to_dir, name) == 0)
		return true;
	(void)file_say(a->to, name);
	(void)unlinkat(a->to_dir, part_name, 0);
	return false;
}

/* Segments of `dir` from the first moved one to the last are the chain between the borders. */
static bool is_chain(const struct archive *a, int dir, const char *name)
{
	const uint32_t last = a->here.number[a->n - 1];
	const struct segment_part part = {.from = a->here.number[0],
					  .last = last,
					  .closed = last,
					  .closed_bytes = a->closed_bytes};
	struct segment_fault f;
	struct chain begin, end;

	if (segment_before(dir, part.from, &begin, &f) != KB_OK ||
	    segment_walk_part(dir, &part, NULL, NULL, &end, &f) != KB_OK)
		return fault_say(name, &f);
	return (memcmp(&begin, &a->begin, sizeof begin) == 0 && end.seq == a->end.seq &&
		memcmp(end.last, a->end.last, sizeof end.last) == 0) ||
	       ctl_fail(false,
			"%s: the segments do not end where the next one begins; nothing was "
			"removed",
			name);
}

static bool copy_all(struct archive *a)
{
	for (size_t i = 0; i < a->n; i++) {
		if (!copy(a, a->here.number[i]))
			return false;
		progress(a, "copied", i + 1);
	}
	return fsync(a->to_dir) == 0 || file_say(a->to, ".");
}

/* ---- borders, and the end of it ---- */

/* `last`: the archive's last segment. */
static bool set_borders(struct archive *a, uint32_t last)
{
	struct ledger_border here = {.has_begin = true, .begin = a->end},
			     there = {.has_begin = true,
				      .has_end = true,
				      .end = a->end,
				      .segment = last,
				      .bytes = a->closed_bytes};
	KB_AUTO(cstr) char *absolute = realpath(a->to, NULL);
	struct segment_fault f;

	segment_listing_cleanup(&a->there);
	if (segment_list(a->to_dir, &a->there) != KB_OK || a->there.n == 0)
		return ctl_fail(false, "%s cannot be read", a->to);
	if (segment_before(a->to_dir, a->there.number[0], &there.begin, &f) != KB_OK)
		return fault_say(a->to, &f);
	snprintf(here.to, sizeof here.to, "%s", absolute != NULL ? absolute : a->to);
	if (border_write(a->to_dir, &there) != KB_OK)
		return file_say(a->to, BORDER_FILE);
	return border_write(a->from_dir, &here) == KB_OK || file_say("the ledger", BORDER_FILE);
}

static bool remove_all(struct archive *a)
{
	for (size_t i = 0; i < a->n; i++)
		if (unlinkat(a->from_dir, number_name(a->here.number[i]), 0) != 0)
			return file_say("the ledger", number_name(a->here.number[i]));
	return fsync(a->from_dir) == 0 || file_say("the ledger", ".");
}

/* Segments that were moved by hand, before there was this command. */
static bool adopt(struct archive *a, bool *is_adopted)
{
	struct ledger_border b;
	struct segment_fault f;
	const uint32_t last = a->here.number[0] - 1;
	const struct segment_part all = {
		.last = last, .closed = last, .closed_bytes = a->closed_bytes};

	*is_adopted = false;
	if (border_read(a->from_dir, &b) == KB_OK && b.has_begin)
		return true;
	if (segment_walk_part(a->to_dir, &all, NULL, NULL, NULL, &f) != KB_OK)
		return fault_say(a->to, &f);
	a->end = a->begin;
	*is_adopted = true;
	return ctl_has(a->c, OPT_DRY) || set_borders(a, last);
}

static int report(const struct archive *a, bool is_adopted)
{
	const bool is_dry = ctl_has(a->c, OPT_DRY);
	const uint32_t first = a->n > 0 ? a->here.number[0] : 0,
		       last = a->n > 0 ? a->here.number[a->n - 1] : 0;
	char head[HEAD_TEXT], until[KB_TIME_TEXT];
	struct buf out;

	buf_init(&out, CTL_MAX_OUTPUT);
	head_text(&a->end, head);
	clock_text_s(a->used_to_s, until);
	if (a->c->is_json) {
		buf_add_str(&out, "{");
		json_add_bool(&out, "dry_run", is_dry);
		json_add_int(&out, "segments", (int64_t)a->n);
		json_add_int(&out, "bytes", a->bytes);
		if (a->n > 0) {
			json_add_int(&out, "first_segment", first);
			json_add_int(&out, "last_segment", last);
		}
		if (a->n > 0 || is_adopted)
			json_add_member(&out, "head", span_str(head));
		json_add_bool(&out, "adopted", is_adopted);
		if (a->used_to_s != 0)
			json_add_int(&out, "needed_until", a->used_to_s);
		buf_add_str(&out, "}\n");
		return ctl_put(&out, CTL_OK);
	}
	if (a->n > 0)
		buf_addf(&out, "%s segments %u to %u (%lld bytes) to %s\nhead of the archive: %s\n",
			 is_dry ? "would move" : "moved", first, last, (long long)a->bytes, a->to,
			 head);
	else if (is_adopted)
		buf_addf(&out, "%s is the archive of this ledger\nhead of the archive: %s\n", a->to,
			 head);
	else
		buf_add_str(&out, "nothing to move\n");
	if (a->used_to_s != 0)
		buf_addf(&out,
			 "later segments stay: they record single-use tokens that are valid until "
			 "%.19sZ\n",
			 until);
	return ctl_put(&out, CTL_OK);
}

static int archive(struct archive *a)
{
	long long keep = 0;
	int64_t before_s = 0;
	const char *text;
	bool has_before = false, is_adopted = false;
	KB_AUTO(fd) int lock_fd = -1;

	if ((text = ctl_value(a->c, OPT_KEEP)) != NULL &&
	    !ctl_number("--keep", text, 0, MAX_KEEP, &keep))
		return CTL_FAILED;
	if ((text = ctl_value(a->c, OPT_BEFORE)) != NULL && !ctl_time("--before", text, &before_s))
		return CTL_FAILED;
	if ((a->to = ctl_value(a->c, OPT_TO)) == NULL)
		return ctl_fail(CTL_FAILED, "--to DIR is missing: the archive");
	a->from_dir = ctl_ledger_open(a->c, ctl_value(a->c, LEDGER_OPT_DIR));
	if (a->from_dir < 0 || !open_archive(a))
		return CTL_FAILED;
	if (!ctl_has(a->c, OPT_DRY) && !lock(a, &lock_fd))
		return CTL_FAILED;
	if (!choose(a, keep, before_s) || !joins(a, &has_before))
		return CTL_FAILED;
	if (a->n == 0 && has_before && !adopt(a, &is_adopted))
		return CTL_NO;
	if (a->n > 0 && !is_chain(a, a->from_dir, "the ledger"))
		return CTL_NO;
	if (a->n > 0 && !ctl_has(a->c, OPT_DRY) &&
	    (!copy_all(a) || !is_chain(a, a->to_dir, a->to) ||
	     !set_borders(a, a->here.number[a->n - 1]) || !remove_all(a)))
		return CTL_FAILED;
	return report(a, is_adopted);
}

int ledger_archive_run(struct ctl *c)
{
	struct archive a = {.c = c, .from_dir = -1, .to_dir = -1, .said_ms = clock_mono_ms()};
	int code = archive(&a);

	segment_listing_cleanup(&a.here);
	segment_listing_cleanup(&a.there);
	fd_cleanup(&a.from_dir);
	fd_cleanup(&a.to_dir);
	return code;
}
