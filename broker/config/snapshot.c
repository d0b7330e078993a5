/* broker/config/snapshot.c — configuration bytes, from files or from a sealed archive of them.
 * Decides whose files are believed: root's and our own, that nobody else can write.  Trusts the
 * kernel's seals on an archive and still checks every length in it.  Never follows a symlink at the
 * end of a path, never reads a file twice. Longer than most: files and archive are the two ways
 * into one table, and what packs it should stand beside what unpacks it. */
#include "config/snapshot.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/digest.h"

enum kind { KIND_FILE = 1, KIND_LIST = 2 };

/* A file's bytes, or a directory's listing: its names, each with its NUL.  A listing's key is its
 * directory, "//" and the suffix. */
struct entry {
	char *key;
	enum kind kind;
	bool is_private;
	unsigned parts;
	struct span data;
	uint8_t *owned;     /* data's memory, NULL when it is the archive's */
	const char **names; /* of a listing */
};

struct snapshot {
	struct entry **entry; /* sorted by key */
	size_t n, cap;
	uint8_t *map; /* the archive, NULL for files */
	size_t map_len;
	uint8_t digest[32]; /* of an archive */
	char why[256];
};

/* The archive: this head, then entries in order of key.  Native byte order: it never leaves the
 * machine, nor the life of its maker. */
struct archive_head {
	char magic[8];
	uint64_t total; /* bytes, head and all */
	uint8_t digest[32];
};
struct archive_entry { /* then key and data, without padding */
	uint32_t kind, key_len;
	uint64_t data_len;
};
static const char archive_magic[8] = "KBCONF1";
#define SEALS (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

static void entry_free(struct entry *e)
{
	if (e == NULL)
		return;
	if (e->owned != NULL && e->is_private)
		OPENSSL_cleanse(e->owned, e->data.len);
	free(e->owned);
	free(e->names);
	free(e->key);
	free(e);
}

static void entry_cleanup(struct entry **e)
{
	entry_free(*e);
}

static void fd_cleanup(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

/* The index of `key`, or where it belongs. */
static bool find(const struct snapshot *s, const char *key, size_t *index)
{
	size_t low = 0, high = s->n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;
		int order = strcmp(s->entry[mid]->key, key);
		if (order == 0) {
			*index = mid;
			return true;
		}
		if (order < 0)
			low = mid + 1;
		else
			high = mid;
	}
	*index = low;
	return false;
}

static enum kb_err insert(struct snapshot *s, size_t index, struct entry *e)
{
	if (s->n == s->cap) {
		size_t cap = s->cap == 0 ? 64 : s->cap * 2;
		struct entry **grown = reallocarray(s->entry, cap, sizeof(struct entry *));
		if (grown == NULL)
			return KB_E_NOMEM;
		s->entry = grown;
		s->cap = cap;
	}
	memmove(s->entry + index + 1, s->entry + index, (s->n - index) * sizeof(struct entry *));
	s->entry[index] = e;
	s->n++;
	return KB_OK;
}

static enum kb_err entry_new(struct span key, enum kind kind, unsigned parts, struct entry **out)
{
	struct entry *e = calloc(1, sizeof *e);

	*out = NULL;
	if (e == NULL)
		return KB_E_NOMEM;
	e->kind = kind;
	e->parts = parts;
	e->key = span_dup(key);
	if (e->key == NULL) {
		entry_free(e);
		return KB_E_NOMEM;
	}
	*out = e;
	return KB_OK;
}

/* Index the NUL-terminated names in a listing's data. */
static enum kb_err index_names(struct entry *e)
{
	size_t n = 0, at = 0;

	if (e->data.len > 0 && e->data.p[e->data.len - 1] != 0)
		return KB_E_FILE;
	for (size_t i = 0; i < e->data.len; i++)
		n += e->data.p[i] == 0;
	e->names = calloc(n + 1, sizeof(char *));
	if (e->names == NULL)
		return KB_E_NOMEM;
	for (size_t i = 0; i < n; i++) {
		e->names[i] = (const char *)e->data.p + at;
		at += strlen(e->names[i]) + 1;
	}
	return KB_OK;
}

enum kb_err snapshot_files(struct snapshot **out)
{
	*out = calloc(1, sizeof **out);
	return *out == NULL ? KB_E_NOMEM : KB_OK;
}

void snapshot_free(struct snapshot *s)
{
	if (s == NULL)
		return;
	for (size_t i = 0; i < s->n; i++)
		entry_free(s->entry[i]);
	free(s->entry);
	if (s->map != NULL)
		munmap(s->map, s->map_len);
	free(s);
}

/* ---- files ---- */

static enum kb_err says(struct snapshot *s, enum kb_err err, const char **why, const char *text)
{
	snprintf(s->why, sizeof s->why, "%s", text);
	*why = s->why;
	return err;
}

static enum kb_err check_owner(struct snapshot *s, const struct stat *st, const char **why)
{
	if (st->st_uid != 0 && st->st_uid != geteuid()) {
		snprintf(s->why, sizeof s->why,
			 "belongs to user %u, not to root or to us (user %u): chown it", st->st_uid,
			 geteuid());
		*why = s->why;
		return KB_E_FILE_MODE;
	}
	if ((st->st_mode & (S_IWGRP | S_IWOTH)) != 0) {
		snprintf(s->why, sizeof s->why, "can be written by others (mode %04o): chmod go-w",
			 st->st_mode & 07777U);
		*why = s->why;
		return KB_E_FILE_MODE;
	}
	return KB_OK;
}

/* O_NONBLOCK: a FIFO must not hold us; on a regular file it means nothing. */
static enum kb_err open_checked(struct snapshot *s, const char *path, bool is_private, int *fd,
				struct stat *st, const char **why)
{
	*fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
	if (*fd < 0 && errno == ELOOP)
		return says(s, KB_E_FILE_MODE, why, "is a symbolic link: name the file itself");
	if (*fd < 0 || fstat(*fd, st) != 0)
		return says(s, KB_E_FILE, why, strerror(errno));
	if (!S_ISREG(st->st_mode))
		return says(s, KB_E_FILE_MODE, why, "is not a regular file");
	if (is_private && (st->st_mode & S_IROTH) != 0) {
		snprintf(s->why, sizeof s->why, "can be read by others (mode %04o): chmod o-r",
			 st->st_mode & 07777U);
		*why = s->why;
		return KB_E_FILE_MODE;
	}
	return check_owner(s, st, why);
}

/* Until end of file or `cap` bytes. */
static enum kb_err read_all(int fd, uint8_t *p, size_t cap, size_t *len)
{
	*len = 0;
	while (*len < cap) {
		ssize_t got = read(fd, p + *len, cap - *len);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return KB_E_FILE;
		if (got == 0)
			break;
		*len += (size_t)got;
	}
	return KB_OK;
}

static enum kb_err load_file(struct snapshot *s, struct entry *e, size_t max_bytes,
			     const char **why)
{
	enum kb_err err;
	struct stat st;
	KB_AUTO(fd) int fd = -1;

	if ((err = open_checked(s, e->key, e->is_private, &fd, &st, why)) != KB_OK)
		return err;
	if ((uint64_t)st.st_size > max_bytes)
		return says(s, KB_E_FILE_SIZE, why, "is too large");
	size_t cap = (size_t)st.st_size + 1; /* one more shows that it grew meanwhile */
	e->owned = malloc(cap);
	if (e->owned == NULL)
		return says(s, KB_E_NOMEM, why, "no memory");
	e->data = span_of(e->owned, 0);
	if ((err = read_all(fd, e->owned, cap, &e->data.len)) != KB_OK)
		return says(s, err, why, strerror(errno));
	if (e->data.len != (size_t)st.st_size)
		return says(s, KB_E_FILE, why,
			    "changed while it was read: write a new file and rename it");
	return KB_OK;
}

enum kb_err snapshot_read(struct snapshot *s, const char *path, size_t max_bytes, bool is_private,
			  unsigned parts, struct span *out, const char **why)
{
	enum kb_err err;
	size_t index;

	*out = span_of(NULL, 0);
	*why = "";
	if (find(s, path, &index)) {
		struct entry *known = s->entry[index];
		if (known->kind != KIND_FILE)
			return says(s, KB_E_FILE, why, "is not a file");
		if (known->data.len > max_bytes)
			return says(s, KB_E_FILE_SIZE, why, "is too large");
		if (is_private && !known->is_private &&
		    s->map ==
			    NULL) { /* read as public before: its mode is not known to be private */
			if ((err = snapshot_check(s, path, true, why)) != KB_OK)
				return err;
			known->is_private = true;
		}
		known->parts |= parts;
		*out = known->data;
		return KB_OK;
	}
	if (s->map != NULL)
		return says(s, KB_E_FILE, why, "is not in the archive of this room");
	KB_AUTO(entry) struct entry *e = NULL;
	if ((err = entry_new(span_str(path), KIND_FILE, parts, &e)) != KB_OK)
		return says(s, err, why, "no memory");
	e->is_private = is_private;
	if ((err = load_file(s, e, max_bytes, why)) != KB_OK)
		return err;
	if ((err = insert(s, index, e)) != KB_OK)
		return says(s, err, why, "no memory");
	*out = e->data;
	e = NULL;
	return KB_OK;
}

enum kb_err snapshot_check(struct snapshot *s, const char *path, bool is_private, const char **why)
{
	struct stat st;
	KB_AUTO(fd) int fd = -1;

	*why = "";
	return s->map != NULL ? KB_OK : open_checked(s, path, is_private, &fd, &st, why);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static bool is_listed(const char *name, const char *suffix)
{
	size_t len = strlen(name), tail = strlen(suffix);

	return name[0] != '.' && len > tail && strcmp(name + len - tail, suffix) == 0;
}

static void names_free(char **names, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(names[i]);
	free(names);
}

/* Names of `dir` as one block of NUL-terminated strings, sorted.  Takes the descriptor over. */
static enum kb_err list_dir(int fd, const char *suffix, struct buf *out)
{
	enum kb_err err = KB_E_NOMEM;
	char **names = NULL;
	size_t n = 0, cap = 0;

	DIR *d = fdopendir(fd);
	if (d == NULL) {
		close(fd);
		return KB_E_FILE;
	}
	for (struct dirent *e; errno = 0, (e = readdir(d)) != NULL;) {
		if (!is_listed(e->d_name, suffix))
			continue;
		if (n == cap) {
			char **grown =
				reallocarray(names, cap = cap == 0 ? 64 : cap * 2, sizeof(char *));
			if (grown == NULL)
				goto out;
			names = grown;
		}
		if ((names[n] = strdup(e->d_name)) == NULL)
			goto out;
		n++;
	}
	if (errno != 0) {
		err = KB_E_FILE;
		goto out;
	}
	if (n > 0)
		qsort(names, n, sizeof(char *), by_name);
	for (size_t i = 0; i < n; i++)
		buf_add(out, names[i], strlen(names[i]) + 1);
	err = buf_ok(out);
out:
	names_free(names, n);
	closedir(d);
	return err;
}

enum kb_err snapshot_list(struct snapshot *s, const char *dir, const char *suffix, unsigned parts,
			  const char *const **names, const char **why)
{
	static const char *const none[] = {NULL};
	enum kb_err err;
	struct stat st;
	size_t index;
	KB_AUTO(buf) struct buf key, block;

	*names = none;
	*why = "";
	buf_init(&key, 8192);
	buf_init(&block, 64 * 1024 * 1024);
	buf_add_str(&key, dir);
	buf_add_str(&key, "//");
	buf_add_str(&key, suffix);
	if (buf_ok(&key) != KB_OK)
		return says(s, KB_E_NOMEM, why, "no memory");
	KB_AUTO(entry) struct entry *e = NULL;
	if ((err = entry_new(buf_span(&key), KIND_LIST, parts, &e)) != KB_OK)
		return says(s, err, why, "no memory");
	if (find(s, e->key, &index)) {
		if (s->entry[index]->kind != KIND_LIST)
			return says(s, KB_E_FILE, why, "is not a directory");
		s->entry[index]->parts |= parts;
		*names = s->entry[index]->names;
		return KB_OK;
	}
	if (s->map != NULL)
		return says(s, KB_E_FILE, why, "is not in the archive of this room");
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) != 0) {
		err = says(s, KB_E_FILE, why, strerror(errno));
		if (fd >= 0)
			close(fd);
		return err;
	}
	if ((err = check_owner(s, &st, why)) != KB_OK) {
		close(fd);
		return err;
	}
	if ((err = list_dir(fd, suffix, &block)) != KB_OK)
		return says(s, err, why, err == KB_E_FILE ? strerror(errno) : "no memory");
	e->owned = block.p;
	e->data = buf_span(&block);
	block = (struct buf){0};
	if ((err = index_names(e)) != KB_OK || (err = insert(s, index, e)) != KB_OK)
		return says(s, err, why, "no memory");
	*names = e->names;
	e = NULL;
	return KB_OK;
}

/* ---- digest and archive ---- */

static struct archive_entry head_of(const struct entry *e)
{
	return (struct archive_entry){(uint32_t)e->kind, (uint32_t)strlen(e->key), e->data.len};
}

void snapshot_digest(const struct snapshot *s, uint8_t out[static 32])
{
	if (s->map != NULL) {
		memcpy(out, s->digest, 32);
		return;
	}
	struct digest d;
	digest_begin(&d);
	for (size_t i = 0; i < s->n; i++) {
		const struct entry *e = s->entry[i];
		struct archive_entry head =
			head_of(e); /* lengths first, so that no two sets of files run together */
		digest_add(&d, span_of(&head, sizeof head));
		digest_add(&d, span_of(e->key, head.key_len));
		digest_add(&d, span_of(e->data.p, e->data.len));
	}
	digest_end(&d, out);
}

static enum kb_err write_all(int fd, const void *p, size_t len)
{
	const uint8_t *at = p;

	while (len > 0) {
		ssize_t n = write(fd, at, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return KB_E_SYS;
		at += n;
		len -= (size_t)n;
	}
	return KB_OK;
}

enum kb_err snapshot_pack(const struct snapshot *s, unsigned parts, int *out)
{
	enum kb_err err;
	struct archive_head head = {.total = sizeof head};
	KB_AUTO(fd) int fd = memfd_create("keybroker-config", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	*out = -1;
	if (fd < 0)
		return KB_E_SYS;
	memcpy(head.magic, archive_magic, sizeof head.magic);
	snapshot_digest(s, head.digest);
	for (size_t i = 0; i < s->n; i++)
		if ((s->entry[i]->parts & parts) != 0)
			head.total += sizeof(struct archive_entry) + strlen(s->entry[i]->key) +
				      s->entry[i]->data.len;
	if ((err = write_all(fd, &head, sizeof head)) != KB_OK)
		return err;
	for (size_t i = 0; i < s->n; i++) {
		const struct entry *e = s->entry[i];
		struct archive_entry h = head_of(e);
		if ((e->parts & parts) == 0)
			continue;
		if ((err = write_all(fd, &h, sizeof h)) != KB_OK ||
		    (err = write_all(fd, e->key, h.key_len)) != KB_OK ||
		    (err = write_all(fd, e->data.p, e->data.len)) != KB_OK)
			return err;
	}
	if (fcntl(fd, F_ADD_SEALS, SEALS) != 0)
		return KB_E_SYS;
	*out = fd;
	fd = -1; /* NOLINT(clang-analyzer-deadcode.DeadStores): the cleanup attribute reads it */
	return KB_OK;
}

/* Every length against what is left; keys strictly ascending, so that find() may trust the order.
 */
static enum kb_err index_archive(struct snapshot *s)
{
	enum kb_err err;
	struct archive_head head;
	struct span left = span_of(s->map, s->map_len);

	memcpy(&head, left.p, sizeof head);
	if (memcmp(head.magic, archive_magic, sizeof head.magic) != 0 || head.total != s->map_len)
		return KB_E_FILE;
	memcpy(s->digest, head.digest, sizeof s->digest);
	left = span_sub(left, sizeof head, left.len);
	while (left.len > 0) {
		struct archive_entry h;
		if (left.len < sizeof h)
			return KB_E_FILE;
		memcpy(&h, left.p, sizeof h);
		left = span_sub(left, sizeof h, left.len);
		if ((h.kind != KIND_FILE && h.kind != KIND_LIST) || h.key_len > left.len ||
		    h.data_len > left.len - h.key_len)
			return KB_E_FILE;
		KB_AUTO(entry) struct entry *e = NULL;
		if ((err = entry_new(span_sub(left, 0, h.key_len), (enum kind)h.kind, ~0U, &e)) !=
		    KB_OK)
			return err;
		e->data = span_sub(left, h.key_len, (size_t)h.data_len);
		left = span_sub(left, h.key_len + (size_t)h.data_len, left.len);
		if (s->n > 0 && strcmp(s->entry[s->n - 1]->key, e->key) >= 0)
			return KB_E_FILE;
		if (e->kind == KIND_LIST && (err = index_names(e)) != KB_OK)
			return err;
		if ((err = insert(s, s->n, e)) != KB_OK)
			return err;
		e = NULL;
	}
	return KB_OK;
}

enum kb_err snapshot_archive(int fd, struct snapshot **out)
{
	enum kb_err err;
	struct stat st;

	*out = NULL;
	/* Without the seals its maker could change it under our eyes. */
	int seals = fcntl(fd, F_GET_SEALS);
	if (seals < 0 || (seals & SEALS) != SEALS || fstat(fd, &st) != 0 ||
	    (uint64_t)st.st_size < sizeof(struct archive_head))
		return KB_E_FILE;
	KB_AUTO(snapshot) struct snapshot *s = calloc(1, sizeof *s);
	if (s == NULL)
		return KB_E_NOMEM;
	s->map_len = (size_t)st.st_size;
	void *map = mmap(NULL, s->map_len, PROT_READ, MAP_PRIVATE, fd, 0);
	if (map == MAP_FAILED)
		return KB_E_SYS;
	s->map = map;
	if ((err = index_archive(s)) != KB_OK)
		return err;
	*out = s;
	s = NULL;
	return KB_OK;
}
