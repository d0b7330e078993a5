/* broker/config/snapshot.c — configuration bytes from files, and the table of them.  Decides which
 * files are trusted: those of root and of our user that nobody else can write.  Never reads a file
 * twice. */
#include "config/snapshot_priv.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/text.h"

static void entry_free(struct snapshot_entry *e)
{
	if (e == NULL)
		return;
	if (e->owned != NULL && e->is_private)
		OPENSSL_cleanse(e->owned, (size_t)(e->data.p - e->owned) + e->data.len);
	free(e->owned);
	free(e->names);
	free(e->key);
	free(e);
}

void snapshot_entry_cleanup(struct snapshot_entry **e)
{
	entry_free(*e);
}

/* The index of `key`, or the index at which to insert it. */
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

enum kb_err snapshot_insert(struct snapshot *s, size_t index, struct snapshot_entry *e)
{
	if (s->n == s->cap) {
		size_t cap = s->cap == 0 ? 64 : s->cap * 2;
		struct snapshot_entry **grown =
			reallocarray(s->entry, cap, sizeof(struct snapshot_entry *));
		if (grown == NULL)
			return KB_E_NOMEM;
		s->entry = grown;
		s->cap = cap;
	}
	memmove(s->entry + index + 1, s->entry + index,
		(s->n - index) * sizeof(struct snapshot_entry *));
	s->entry[index] = e;
	s->n++;
	return KB_OK;
}

enum kb_err snapshot_entry_new(struct span key, enum kind kind, unsigned parts,
			       struct snapshot_entry **out)
{
	struct snapshot_entry *e = calloc(1, sizeof *e);

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

enum kb_err snapshot_entry_names(struct snapshot_entry *e)
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
	if (*out == NULL)
		return KB_E_NOMEM;
	(*out)->trust = file_trust_self();
	(*out)->above_fd = -1;
	return KB_OK;
}

static void above_forget(struct snapshot *s)
{
	if (s->above_fd >= 0)
		close(s->above_fd);
	s->above_fd = -1;
}

void snapshot_trust(struct snapshot *s, uid_t user)
{
	above_forget(s); /* it was found good for somebody else */
	s->trust = (struct file_trust){.user = {user}, .n = 1};
}

void snapshot_as_service(struct snapshot *s)
{
	s->is_as_service = true;
}

bool snapshot_is_as_service(const struct snapshot *s)
{
	return s->is_as_service;
}

bool snapshot_is_archive(const struct snapshot *s)
{
	return s->map != NULL;
}

void snapshot_free(struct snapshot *s)
{
	if (s == NULL)
		return;
	for (size_t i = 0; i < s->n; i++)
		entry_free(s->entry[i]);
	free(s->entry);
	above_forget(s);
	if (s->map != NULL)
		munmap(s->map, s->map_len);
	free(s);
}

/* ---- files ---- */

static enum kb_err explain(struct snapshot *s, enum kb_err err, const char **why, const char *text)
{
	snprintf(s->why, sizeof s->why, "%s", text);
	*why = s->why;
	return err;
}

/* The directory above `path`.  A directory of keys is walked to once, not once for each key. */
static enum kb_err check_above(struct snapshot *s, const char *path)
{
	const char *name, *slash = strrchr(path, '/');
	size_t len = slash == NULL ? 0 : (size_t)(slash - path);
	enum kb_err err;

	if (s->above_fd >= 0 && len > 0 && strlen(s->above) == len &&
	    memcmp(s->above, path, len) == 0)
		return KB_OK;
	above_forget(s);
	if ((err = file_above_trusted(path, &s->trust, &s->above_fd, &name, s->why)) != KB_OK)
		return err;
	snprintf(s->above, sizeof s->above, "%.*s", (int)len, path);
	return KB_OK;
}

static enum kb_err open_file(struct snapshot *s, const char *path, enum file_use use, int *fd,
			     const char **why)
{
	/* Mode bits that a file may not have. */
	static const mode_t forbidden[] = {
		[FILE_PUBLIC] = 022, [FILE_PRIVATE] = 026, [FILE_SECRET] = 077};
	enum kb_err err;

	*why = s->why;
	if ((err = check_above(s, path)) != KB_OK)
		return err;
	return file_open_below(s->above_fd, path, &s->trust, forbidden[use], fd, s->why);
}

static enum kb_err load_file(struct snapshot *s, struct snapshot_entry *e, size_t max_bytes,
			     const char **why)
{
	enum kb_err err;
	struct stat st;
	KB_AUTO(fd) int fd = -1;

	if ((err = open_file(s, e->key, e->is_private ? FILE_PRIVATE : FILE_PUBLIC, &fd, why)) !=
	    KB_OK)
		return err;
	if (fd_stat(fd, &st) != 0)
		return explain(s, KB_E_FILE, why, strerror(errno));
	if ((uint64_t)st.st_size > max_bytes)
		return explain(s, KB_E_FILE_SIZE, why, "is too large");
	size_t cap = (size_t)st.st_size + 1; /* one more byte shows that the file grew */
	e->owned = malloc(cap);
	if (e->owned == NULL)
		return explain(s, KB_E_NOMEM, why, "no memory");
	e->data = span_of(e->owned, 0);
	if ((err = file_read(fd, e->owned, cap, &e->data.len)) != KB_OK)
		return explain(s, err, why, strerror(errno));
	if (e->data.len != (size_t)st.st_size)
		return explain(s, KB_E_FILE, why,
			       "changed while it was read: write a new file and rename it");
	if ((err = text_begin(&e->data)) != KB_OK)
		return explain(s, err, why, "is UTF-16 or UTF-32 text: save it as UTF-8");
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
		struct snapshot_entry *known = s->entry[index];
		if (known->kind != KIND_FILE)
			return explain(s, KB_E_FILE, why, "is not a file");
		if (known->data.len > max_bytes)
			return explain(s, KB_E_FILE_SIZE, why, "is too large");
		if (is_private && !known->is_private &&
		    s->map == NULL) { /* it was read as public: its mode was not checked */
			if ((err = snapshot_check(s, path, FILE_PRIVATE, why)) != KB_OK)
				return err;
			known->is_private = true;
		}
		known->parts |= parts;
		*out = known->data;
		return KB_OK;
	}
	if (s->map != NULL)
		return explain(s, KB_E_FILE, why, "is not in the archive of this process");
	KB_AUTO(snapshot_entry) struct snapshot_entry *e = NULL;
	if ((err = snapshot_entry_new(span_str(path), KIND_FILE, parts, &e)) != KB_OK)
		return explain(s, err, why, "no memory");
	e->is_private = is_private;
	if ((err = load_file(s, e, max_bytes, why)) != KB_OK)
		return err;
	if ((err = snapshot_insert(s, index, e)) != KB_OK)
		return explain(s, err, why, "no memory");
	*out = e->data;
	e = NULL;
	return KB_OK;
}

enum kb_err snapshot_check(struct snapshot *s, const char *path, enum file_use use,
			   const char **why)
{
	KB_AUTO(fd) int fd = -1;

	*why = "";
	return s->map != NULL ? KB_OK : open_file(s, path, use, &fd, why);
}

enum kb_err snapshot_check_way(struct snapshot *s, const char *path, bool is_optional,
			       const char **why)
{
	KB_AUTO(fd) int dir = -1;
	enum kb_err err;
	const char *name;

	*why = "";
	if (s->map != NULL)
		return KB_OK;
	*why = s->why;
	err = file_check_way(path, &s->trust, s->why);
	if (err != KB_E_FILE || errno != ENOENT || !is_optional)
		return err;
	err = file_above_trusted(path, &s->trust, &dir, &name, s->why);
	return err == KB_E_FILE && errno == ENOENT ? KB_OK : err;
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
	size_t index;
	int dir_fd;
	KB_AUTO(buf) struct buf key, block;

	*names = none;
	*why = "";
	buf_init(&key, 8192);
	buf_init(&block, 64 * 1024 * 1024);
	buf_add_str(&key, dir);
	buf_add_str(&key, "//");
	buf_add_str(&key, suffix);
	if (buf_ok(&key) != KB_OK)
		return explain(s, KB_E_NOMEM, why, "no memory");
	KB_AUTO(snapshot_entry) struct snapshot_entry *e = NULL;
	if ((err = snapshot_entry_new(buf_span(&key), KIND_LIST, parts, &e)) != KB_OK)
		return explain(s, err, why, "no memory");
	if (find(s, e->key, &index)) {
		if (s->entry[index]->kind != KIND_LIST)
			return explain(s, KB_E_FILE, why, "is not a directory");
		s->entry[index]->parts |= parts;
		*names = s->entry[index]->names;
		return KB_OK;
	}
	if (s->map != NULL)
		return explain(s, KB_E_FILE, why, "is not in the archive of this process");
	*why = s->why;
	if ((err = file_dir_trusted(dir, &s->trust, &dir_fd, s->why)) != KB_OK)
		return err;
	if ((err = list_dir(dir_fd, suffix, &block)) != KB_OK)
		return explain(s, err, why, err == KB_E_FILE ? strerror(errno) : "no memory");
	e->owned = block.p;
	e->data = buf_span(&block);
	block = (struct buf){0};
	if ((err = snapshot_entry_names(e)) != KB_OK ||
	    (err = snapshot_insert(s, index, e)) != KB_OK)
		return explain(s, err, why, "no memory");
	*names = e->names;
	e = NULL;
	return KB_OK;
}
