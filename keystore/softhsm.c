/* keystore/softhsm.c — what SoftHSM 2.6.1 needs beyond PKCS#11, and no other module.  Trusts its
 * configuration file (softhsm2.conf(5)) and its token directory: they are the operator's.  Must
 * never replace a whole token file by an older one. */
#include "keystore/softhsm.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "keystore/module.h"

enum { MAX_TOKEN_FILE = 16384 /* SoftHSM's has about 300 bytes */, LOCK_POLL_MS = 5 };

/* ---- where the token is ---- */

bool softhsm_token_dir(const char *conf, char dir[static SOFTHSM_TOKEN_DIR])
{
	char line[512];
	bool found = false;
	int end = 0;
	FILE *f = fopen(conf, "re");

	if (f == NULL)
		return false;
	while (!found && fgets(line, sizeof line, f) != NULL)
		found = sscanf(line, " directories.tokendir = %255s%n", dir, &end) == 1;
	/* A longer path, cut, would be another directory. */
	found = found && (line[end] == '\0' || isspace((unsigned char)line[end]));
	fclose(f);
	return found;
}

bool softhsm_own_token_dir(const char *module, char dir[static SOFTHSM_TOKEN_DIR])
{
	const char *conf = getenv("SOFTHSM2_CONF");

	if (conf == NULL && strstr(module, "softhsm") != NULL)
		conf = "/etc/softhsm/softhsm2.conf";
	return conf != NULL && softhsm_token_dir(conf, dir);
}

/* ---- the token file, which a login may damage ----
 *
 * SoftHSM writes token.object anew, in place, at each login: it cuts the file to nothing and writes
 * it from the beginning.  A process that is killed then leaves it short, and no key of the token
 * can be read again, because that file holds the key under which they are encrypted.  So there is a
 * copy beside it, token.keep, made after a login that succeeded (and before the first one).  The
 * file has the same length whatever its flags and PIN: one that is shorter than its copy is
 * damaged, and is replaced by it before the next login. */

struct token_file {
	unsigned char bytes[MAX_TOKEN_FILE];
	size_t len; /* 0: no such file, or one of a length that SoftHSM does not write */
};

static void token_read(int dir, const char *name, struct token_file *out)
{
	int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, out->bytes, sizeof out->bytes);

	out->len = n <= 0 || n == (ssize_t)sizeof out->bytes ? 0 : (size_t)n;
	if (fd >= 0)
		close(fd);
}

/* Atomic: a reader finds the old file or the new one. */
static bool token_write(int dir, const char *name, const struct token_file *f)
{
	return file_replace(dir, name, 0600, 0, span_of(f->bytes, f->len)) == KB_OK;
}

static const char object_name[] = "token.object", copy_name[] = "token.keep";
static struct token_file now, saved; /* large, and a process has one thread */

static void both_read(int dir)
{
	token_read(dir, object_name, &now);
	token_read(dir, copy_name, &saved);
}

static void save(int dir, const char *token)
{
	if (!token_write(dir, copy_name, &now))
		log_event(LOG_WARN, "hsm.token_keep", "token", token, "why", strerror(errno), NULL);
}

static void restore_one(int dir, const char *token)
{
	both_read(dir);
	if (saved.len == 0 && now.len > 0)
		save(dir,
		     token); /* before the first login, which may damage the file as any other */
	if (now.len >= saved.len)
		return;
	bool good = token_write(dir, object_name, &saved);
	log_event(good ? LOG_WARN : LOG_ERROR, "hsm.token_restored", "token", token, "why",
		  good ? "a process ended while it was logging in and left the file cut short"
		       : strerror(errno),
		  NULL);
}

static void save_one(int dir, const char *token)
{
	both_read(dir);
	if (now.len > 0 && (now.len != saved.len || memcmp(now.bytes, saved.bytes, now.len) != 0))
		save(dir, token);
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

static void tokens_restore(const char *dir)
{
	each_token(dir, restore_one);
}

static void tokens_save(const char *dir)
{
	each_token(dir, save_one);
}

/* ---- one login at a time ----
 *
 * While one process logs in, another that reads token.object finds no token, or a PIN that was
 * never set.  So the processes that share a token share a lock: exclusive to log in, shared to read
 * while nobody logs in.  The kernel releases it when a process ends; the limit is for one that
 * hangs. */

static enum kb_err lock(const struct keystore *ks, int operation, int64_t limit_ms)
{
	const struct timespec pause = {0, LOCK_POLL_MS * 1000000L};
	const int64_t end_ms = clock_mono_ms() + limit_ms;

	while (ks->login_lock != 0 && flock(ks->login_lock, operation | LOCK_NB) != 0) {
		if (errno != EWOULDBLOCK && errno != EINTR)
			return KB_E_SYS;
		if (clock_mono_ms() >= end_ms) {
			log_event(LOG_ERROR, "hsm.login_lock", "why",
				  "other processes were logging in to the token all the time",
				  NULL);
			return KB_E_HSM_TOKEN;
		}
		nanosleep(&pause, NULL);
	}
	return KB_OK;
}

static void unlock(const struct keystore *ks)
{
	if (ks->login_lock != 0 && flock(ks->login_lock, LOCK_UN) != 0)
		KB_BUG();
}

static enum kb_err before_login(const struct keystore *ks, int64_t limit_ms)
{
	enum kb_err err = lock(ks, LOCK_EX, limit_ms);

	if (err == KB_OK && ks->token_dir != NULL)
		tokens_restore(ks->token_dir);
	return err;
}

static void after_login(const struct keystore *ks, bool is_logged_in)
{
	if (is_logged_in && ks->token_dir != NULL)
		tokens_save(ks->token_dir);
	unlock(ks);
}

static enum kb_err before_recheck(const struct keystore *ks, int64_t limit_ms)
{
	return ks->login_lock == 0 ? KB_E_HSM_TOKEN : lock(ks, LOCK_SH, limit_ms);
}

const struct module_hooks softhsm_hooks = {.login_begin = before_login,
					   .login_end = after_login,
					   .recheck_begin = before_recheck,
					   .recheck_end = unlock};
