/* broker/process/keyset.c — stores the last good key set of an issuer in a file, and reads it back.
 * Decides whether a stored set may be used.  Trusts the state directory's owner.  Refuses a file
 * with a wrong digest, and a set of another issuer, source, URL or CA than the configuration has
 * now: the operator may give the name of one issuer to another. */
#include "process/keyset.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/digest.h"
#include "base/file.h"
#include "base/hex.h"
#include "base/json.h"
#include "base/limits.h"

enum {
	MAX_URL = 1024,
	MAX_HEAD = 512 + 6 * (KB_MAX_ISS + 2 * MAX_URL), /* JSON writes some bytes as six */
	MAX_PATH = KEYSET_PATH,
	ID_CHARS = 16, /* of the origin's digest in the file name; the head has the whole origin */
};

/* ---- origin ---- */

static void digest_text(const uint8_t digest[static 32], char out[static 65])
{
	*hex_put(out, span_of(digest, 32)) = '\0';
}

static void sha256_text(struct span bytes, char out[static 65])
{
	uint8_t digest[32];

	digest_sha256(bytes, digest);
	digest_text(digest, out);
}

void keyset_origin_make(struct keyset_origin *out, const char *issuer, const char *source,
			const char *url, const char *addresses, const char *proxy,
			struct span anchor)
{
	struct digest d;
	uint8_t digest[32];

	*out = (struct keyset_origin){.issuer = issuer,
				      .source = source,
				      .url = url,
				      .addresses = addresses,
				      .proxy = proxy};
	sha256_text(anchor, out->ca);
	const char *const part[] = {issuer, source, url, addresses, proxy, out->ca};
	digest_begin(&d);
	for (size_t i = 0; i < sizeof part / sizeof part[0]; i++)
		/* With its NUL: no two origins make the same bytes. */
		digest_add(&d, span_of(part[i], strlen(part[i]) + 1));
	digest_end(&d, digest);
	digest_text(digest, out->id);
}

/* ---- files ---- */

enum kb_err keyset_path(char out[static KEYSET_PATH], const char *state_dir, const char *name,
			const struct keyset_origin *origin, const char *kind)
{
	int n = snprintf(out, MAX_PATH, "%s/issuers/%s.%.*s.%s", state_dir, name, ID_CHARS,
			 origin->id, kind);

	return n > 0 && n < MAX_PATH ? KB_OK : KB_E_FILE;
}

static enum kb_err path_of(char out[static MAX_PATH], const char *state_dir, const char *name,
			   const struct keyset_origin *origin)
{
	return keyset_path(out, state_dir, name, origin, "keys");
}

enum kb_err keyset_write(const char *state_dir, const char *name,
			 const struct keyset_origin *origin, int64_t fetched_s,
			 int64_t fresh_until_s, struct span document)
{
	enum kb_err err;
	char path[MAX_PATH], dir[MAX_PATH], sha256[65];
	KB_AUTO(buf) struct buf bytes;
	KB_AUTO(fd) int dir_fd = -1;

	buf_init(&bytes, MAX_HEAD + KB_MAX_JWKS);
	if (document.len > KB_MAX_JWKS)
		return KB_E_FILE_SIZE;
	if ((err = path_of(path, state_dir, name, origin)) != KB_OK)
		return err;
	sha256_text(document, sha256);
	snprintf(dir, sizeof dir, "%s/issuers", state_dir); /* shorter than `path` */
	if (mkdir(dir, 0750) != 0 && errno != EEXIST)
		return KB_E_FILE;
	buf_add_str(&bytes, "{");
	json_add_member(&bytes, "issuer", span_str(origin->issuer));
	json_add_member(&bytes, "source", span_str(origin->source));
	json_add_member(&bytes, "url", span_str(origin->url));
	json_add_member(&bytes, "addresses", span_str(origin->addresses));
	json_add_member(&bytes, "proxy", span_str(origin->proxy));
	json_add_member(&bytes, "ca_sha256", span_str(origin->ca));
	json_add_int(&bytes, "fetched", fetched_s);
	json_add_int(&bytes, "fresh_until", fresh_until_s);
	json_add_member(&bytes, "sha256", span_str(sha256));
	buf_add_str(&bytes, "}\n");
	buf_add_span(&bytes, document);
	if ((err = buf_ok(&bytes)) != KB_OK)
		return err;
	dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir_fd < 0)
		return KB_E_FILE;
	return file_replace(dir_fd, strrchr(path, '/') + 1, 0640, 0, buf_span(&bytes));
}

/* Owned by root, by our user, or by the owner of the state directory: keybrokerctl reads it as
 * root. */
static enum kb_err check_file(int fd, const char *state_dir, size_t max, size_t *size)
{
	char why[FILE_WHY];
	struct stat st, state;
	struct file_trust trust = file_trust_self();
	enum kb_err err;

	if (fd_stat(fd, &st) != 0 || stat(state_dir, &state) != 0)
		return KB_E_FILE;
	trust.user[trust.n++] = state.st_uid;
	if ((err = file_check(fd, &trust, S_IWGRP | S_IWOTH, why)) != KB_OK)
		return err;
	if (st.st_size < 0 || (uint64_t)st.st_size > max)
		return KB_E_FILE_SIZE;
	*size = (size_t)st.st_size;
	return KB_OK;
}

enum kb_err keyset_open(const char *path, const char *state_dir, size_t max, int *fd, size_t *size)
{
	*fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (*fd < 0)
		return errno == ELOOP ? KB_E_FILE_MODE : KB_E_FILE;
	return check_file(*fd, state_dir, max, size);
}

/* The file never changes in place: its size is what there is to read. */
static enum kb_err read_exactly(int fd, size_t size, struct buf *out)
{
	uint8_t *p = buf_reserve(out, size);
	size_t len;

	if (size > 0 && p == NULL)
		return KB_E_NOMEM;
	return file_read(fd, p, size, &len) == KB_OK && len == size ? KB_OK : KB_E_FILE;
}

static bool is_text(const struct json_t *head, const char *member, const char *want)
{
	struct span got;

	return json_get_str(head, member, strlen(want), &got) == KB_OK && span_eq_cstr(got, want);
}

static enum kb_err check_origin(const struct json_t *head, const struct keyset_origin *origin)
{
	return is_text(head, "issuer", origin->issuer) && is_text(head, "source", origin->source) &&
			       is_text(head, "url", origin->url) &&
			       is_text(head, "addresses", origin->addresses) &&
			       is_text(head, "proxy", origin->proxy) &&
			       is_text(head, "ca_sha256", origin->ca)
		       ? KB_OK
		       : KB_E_KEYSET_ORIGIN;
}

static enum kb_err parse(struct keyset *k, const struct keyset_origin *origin)
{
	static const char *const known[] = {"issuer", "source",    "url",     "addresses",
					    "proxy",  "ca_sha256", "fetched", "fresh_until",
					    "sha256", NULL};
	enum kb_err err;
	struct span all = buf_span(&k->bytes), said;
	char sha256[65];
	size_t line = span_find(all, 0, '\n');
	KB_AUTO(json) struct json_t *head = NULL;

	if (line == all.len)
		return KB_E_JSON_SYNTAX;
	if ((err = json_load_strict(span_sub(all, 0, line), MAX_HEAD, &head, NULL)) != KB_OK ||
	    (err = json_only(head, known, NULL)) != KB_OK ||
	    (err = check_origin(head, origin)) != KB_OK ||
	    (err = json_get_int(head, "fetched", &k->fetched_s)) != KB_OK ||
	    (err = json_get_int(head, "fresh_until", &k->fresh_until_s)) != KB_OK ||
	    (err = json_get_str(head, "sha256", 64, &said)) != KB_OK)
		return err;
	if (!clock_is_time(k->fetched_s) || !clock_is_time(k->fresh_until_s))
		return KB_E_JSON_TYPE;
	k->document = span_sub(all, line + 1, all.len);
	sha256_text(k->document, sha256);
	return span_eq_cstr(said, sha256) ? KB_OK : KB_E_FETCH_CONTENT;
}

enum kb_err keyset_read(const char *state_dir, const char *name, const struct keyset_origin *origin,
			struct keyset *k)
{
	enum kb_err err;
	char path[MAX_PATH];
	size_t size;
	KB_AUTO(fd) int fd = -1;

	*k = (struct keyset){0};
	buf_init(&k->bytes, MAX_HEAD + KB_MAX_JWKS);
	if ((err = path_of(path, state_dir, name, origin)) != KB_OK)
		return err;
	if ((err = keyset_open(path, state_dir, MAX_HEAD + KB_MAX_JWKS, &fd, &size)) != KB_OK ||
	    (err = read_exactly(fd, size, &k->bytes)) != KB_OK || (err = parse(k, origin)) != KB_OK)
		keyset_free(k);
	return err;
}

void keyset_free(struct keyset *k)
{
	buf_free(&k->bytes);
	*k = (struct keyset){0};
}

enum kb_err keyset_age(int64_t fetched_s, int64_t now_s, int64_t max_stale_s, int64_t *age_s)
{
	if (!clock_age(fetched_s, now_s, age_s))
		return KB_E_KEYSET_AHEAD;
	return *age_s <= max_stale_s ? KB_OK : KB_E_KEYSET_STALE;
}

/* ---- what is left over ---- */

static bool is_hex(const char *text, size_t len)
{
	return strspn(text, "0123456789abcdef") >= len;
}

/* Takes `tail` off the name's end, when it has that. */
static bool cut_tail(const char *name, size_t *len, const char *tail)
{
	size_t n = strlen(tail);

	if (*len <= n || memcmp(name + *len - n, tail, n) != 0)
		return false;
	*len -= n;
	return true;
}

/* NAME.ORIGIN.keys, .attempt or .refresh, and NAME.keys of older versions, of which the broker
 * reads only those that an issuer of the configuration has.  The origin is looked for as a whole:
 * an issuer may have a name that looks like another one's with its origin. */
static bool is_unused(const char *name, size_t len, const struct keyset_file *used, size_t n)
{
	if (!cut_tail(name, &len, ".keys") && !cut_tail(name, &len, ".attempt") &&
	    !cut_tail(name, &len, ".refresh"))
		return false;
	for (size_t i = 0; i < n; i++) {
		size_t own = strlen(used[i].name);
		if (len == own + 1 + ID_CHARS && memcmp(name, used[i].name, own) == 0 &&
		    name[own] == '.' && memcmp(name + own + 1, used[i].origin->id, ID_CHARS) == 0)
			return false;
	}
	return true;
}

/* ".NAME.<16 hex>.tmp", as base/file.c names them, of one of our files. */
static bool is_temporary(const char *name, size_t len)
{
	if (name[0] != '.' || !cut_tail(name, &len, ".tmp") || len < 2 + 16 ||
	    name[len - 17] != '.' || !is_hex(name + len - 16, 16))
		return false;
	len -= 17;
	return is_unused(name + 1, len - 1, NULL, 0);
}

unsigned keyset_sweep(const char *state_dir, const struct keyset_file *used, size_t n,
		      int64_t now_s)
{
	char path[MAX_PATH];
	unsigned swept = 0;
	struct stat st;

	if (snprintf(path, sizeof path, "%s/issuers", state_dir) >= (int)sizeof path)
		return 0;
	DIR *dir = opendir(path);
	if (dir == NULL)
		return 0;
	for (const struct dirent *e; (e = readdir(dir)) != NULL;) {
		int64_t age_s;
		size_t len = strlen(e->d_name);
		if ((!is_unused(e->d_name, len, used, n) && !is_temporary(e->d_name, len)) ||
		    fstatat(dirfd(dir), e->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0 ||
		    !S_ISREG(st.st_mode))
			continue;
		/* A time that is to come would never grow old. */
		if (clock_age(st.st_mtim.tv_sec, now_s, &age_s) && age_s < KB_KEYSET_SWEEP_S)
			continue;
		swept += unlinkat(dirfd(dir), e->d_name, 0) == 0;
	}
	(void)closedir(dir);
	return swept;
}

uint64_t keyset_mark(const struct stat *st)
{
	/* FNV-1a over what a replacement changes; the last bit set, so that it is never 0. */
	const uint64_t parts[4] = {st->st_dev, st->st_ino, (uint64_t)st->st_mtim.tv_sec,
				   (uint64_t)st->st_mtim.tv_nsec};
	uint64_t hash = UINT64_C(14695981039346656037);

	for (size_t i = 0; i < 4; i++)
		hash = (hash ^ parts[i]) * UINT64_C(1099511628211);
	return hash | 1;
}

uint64_t keyset_stamp(const char *state_dir, const char *name, const struct keyset_origin *origin)
{
	char path[MAX_PATH];
	struct stat st;

	if (path_of(path, state_dir, name, origin) != KB_OK || lstat(path, &st) != 0)
		return 0;
	return keyset_mark(&st);
}
