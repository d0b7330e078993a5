/* broker/process/keyset.c — stores the last good key set of an issuer in a file, and reads it back.
 * Decides whether a stored set may be used.  Trusts the state directory's owner.  Refuses a file
 * with a wrong digest, and a set of another issuer, source, URL or CA than the configuration has
 * now: the operator may give the name of one issuer to another. */
#include "process/keyset.h"

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
	MAX_HEAD = 512 + 6 * (KB_MAX_ISS + MAX_URL), /* JSON writes some bytes as six */
	MAX_PATH = 4096,
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
			const char *url, struct span anchor)
{
	struct digest d;
	uint8_t digest[32];

	*out = (struct keyset_origin){.issuer = issuer, .source = source, .url = url};
	sha256_text(anchor, out->ca);
	const char *const part[] = {issuer, source, url, out->ca};
	digest_begin(&d);
	for (size_t i = 0; i < sizeof part / sizeof part[0]; i++)
		/* With its NUL: no two origins make the same bytes. */
		digest_add(&d, span_of(part[i], strlen(part[i]) + 1));
	digest_end(&d, digest);
	digest_text(digest, out->id);
}

/* ---- files ---- */

static enum kb_err path_of(char out[static MAX_PATH], const char *state_dir, const char *name,
			   const struct keyset_origin *origin)
{
	int n = snprintf(out, MAX_PATH, "%s/issuers/%s.%.*s.keys", state_dir, name, ID_CHARS,
			 origin->id);

	return n > 0 && n < MAX_PATH ? KB_OK : KB_E_FILE;
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
static enum kb_err check_file(int fd, const char *state_dir, size_t *size)
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
	if (st.st_size > MAX_HEAD + KB_MAX_JWKS)
		return KB_E_FILE_SIZE;
	*size = (size_t)st.st_size;
	return KB_OK;
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
			       is_text(head, "ca_sha256", origin->ca)
		       ? KB_OK
		       : KB_E_KEYSET_ORIGIN;
}

static enum kb_err parse(struct keyset *k, const struct keyset_origin *origin)
{
	static const char *const known[] = {"issuer",  "source",      "url",    "ca_sha256",
					    "fetched", "fresh_until", "sha256", NULL};
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
	fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return errno == ELOOP ? KB_E_FILE_MODE : KB_E_FILE;
	if ((err = check_file(fd, state_dir, &size)) != KB_OK ||
	    (err = read_exactly(fd, size, &k->bytes)) != KB_OK || (err = parse(k, origin)) != KB_OK)
		keyset_free(k);
	return err;
}

void keyset_free(struct keyset *k)
{
	buf_free(&k->bytes);
	*k = (struct keyset){0};
}

bool keyset_drop_old(const char *state_dir, const char *name)
{
	char path[MAX_PATH];

	return snprintf(path, sizeof path, "%s/issuers/%s.keys", state_dir, name) <
		       (int)sizeof path &&
	       unlink(path) == 0;
}

uint64_t keyset_stamp(const char *state_dir, const char *name, const struct keyset_origin *origin)
{
	char path[MAX_PATH];
	struct stat st;

	if (path_of(path, state_dir, name, origin) != KB_OK || lstat(path, &st) != 0)
		return 0;
	/* FNV-1a over what a replacement changes; the last bit set, so that it is never 0. */
	uint64_t parts[4] = {st.st_dev, st.st_ino, (uint64_t)st.st_mtim.tv_sec,
			     (uint64_t)st.st_mtim.tv_nsec};
	uint64_t hash = UINT64_C(14695981039346656037);
	for (size_t i = 0; i < 4; i++)
		hash = (hash ^ parts[i]) * UINT64_C(1099511628211);
	return hash | 1;
}
