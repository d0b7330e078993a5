/* keystore/token_keep.c — decides by the length alone which of two files is the whole one:
 * SoftHSM's is cut to nothing first and then written from the beginning, and has the same length
 * whatever its flags and PIN.  Trusts the directory's owner.  Must never replace a whole file by an
 * older one. */
#include "keystore/token_keep.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"

enum { MOST_BYTES = 16384 }; /* the file has some 300 */

struct token_file {
	unsigned char bytes[MOST_BYTES];
	size_t len; /* 0: there is none, or none that we know how to keep */
};

static void token_read(int dir, const char *name, struct token_file *out)
{
	int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, out->bytes, sizeof out->bytes);

	out->len = n <= 0 || n == (ssize_t)sizeof out->bytes ? 0 : (size_t)n;
	if (fd >= 0)
		close(fd);
}

static const char object_name[] = "token.object", keep_name[] = "token.keep";
static struct token_file is, kept; /* one thread a process */

static void both_read(int dir)
{
	token_read(dir, object_name, &is);
	token_read(dir, keep_name, &kept);
}

static void copy(int dir, const char *token)
{
	if (file_replace(dir, keep_name, 0600, 0, span_of(is.bytes, is.len)) != KB_OK)
		log_event(LOG_WARN, "hsm.token_keep", "token", token, "why", strerror(errno), NULL);
}

static void restore_one(int dir, const char *token)
{
	both_read(dir);
	if (kept.len == 0 && is.len > 0)
		copy(dir, token); /* the first login here: it may tear the file as any other */
	if (is.len >= kept.len)
		return;
	bool good = file_replace(dir, object_name, 0600, 0, span_of(kept.bytes, kept.len)) == KB_OK;
	log_event(good ? LOG_WARN : LOG_ERROR, "hsm.token_restored", "token", token, "why",
		  good ? "its file was torn by the end of a process that logged in"
		       : strerror(errno),
		  NULL);
}

static void keep_one(int dir, const char *token)
{
	both_read(dir);
	if (is.len > 0 && (is.len != kept.len || memcmp(is.bytes, kept.bytes, is.len) != 0))
		copy(dir, token);
}

static void each_token(const char *dir, void (*act)(int dir, const char *token))
{
	DIR *tokens = opendir(dir);

	for (const struct dirent *e; tokens != NULL && (e = readdir(tokens)) != NULL;) {
		if (e->d_name[0] == '.')
			continue;
		int fd = openat(dirfd(tokens), e->d_name,
				O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (fd < 0)
			continue;
		act(fd, e->d_name);
		close(fd);
	}
	if (tokens != NULL)
		closedir(tokens);
}

void token_restore(const char *dir)
{
	each_token(dir, restore_one);
}

void token_keep(const char *dir)
{
	each_token(dir, keep_one);
}
