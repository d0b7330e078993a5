/* broker/ctl/ctl.c — what every command of keybrokerctl uses.  Trusts its operator and the
 * configuration's own checks; never prints a PIN or key bytes. */
#include "ctl/ctl.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <grp.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/secret.h"
#include "keystore/keystore.h"
#include "keystore/softhsm.h"

/* ---- what is said ---- */

static bool has_spoken;

void ctl_say(const char *fmt, ...)
{
	va_list ap;

	has_spoken = true;
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
}

int ctl_end(int code)
{
	return code == CTL_FAILED && !has_spoken ? ctl_fail(code, "there is not enough memory")
						 : code;
}

int ctl_fail(int code, const char *fmt, ...)
{
	va_list ap;

	has_spoken = true;
	fputs("keybrokerctl: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	return code;
}

int ctl_put(struct buf *out, int code)
{
	bool is_written = buf_ok(out) == KB_OK &&
			  (out->len == 0 || fwrite(out->p, 1, out->len, stdout) == out->len) &&
			  fflush(stdout) == 0;

	buf_free(out);
	return is_written ? code : ctl_fail(CTL_FAILED, "cannot write to standard output");
}

void ctl_table_init(struct ctl_table *t, unsigned columns)
{
	t->columns = columns;
	buf_init(&t->cells, CTL_MAX_OUTPUT);
}

void ctl_table_add(struct ctl_table *t, const char *cell)
{
	buf_add(&t->cells, cell, strlen(cell) + 1);
}

void ctl_table_write(struct ctl_table *t, struct buf *out)
{
	enum { MOST = 16 };
	int width[MOST] = {0};

	if (t->columns == 0 || t->columns > MOST)
		KB_BUG();
	for (unsigned pass = 0; pass < 2; pass++) {
		size_t at = 0;
		for (unsigned i = 0; at < t->cells.len; i = (i + 1) % t->columns) {
			const char *cell = (const char *)t->cells.p + at;
			int len = (int)strlen(cell);
			at += (size_t)len + 1;
			if (pass == 0 && len > width[i])
				width[i] = len;
			if (pass == 0)
				continue;
			buf_add_str(out, cell);
			if (i + 1 == t->columns)
				buf_add_str(out, "\n");
			else
				buf_addf(out, "%*s", width[i] - len + 2, "");
		}
	}
	buf_free(&t->cells);
}

/* ---- the command line ---- */

static const struct ctl_opt common_opts[] = {
	{"config", 'c', "FILE", "the configuration (/etc/keybroker/keybroker.json)"},
	{"json", 'j', NULL, "machine-readable output"},
	{"help", 'h', NULL, "this text"},
	{NULL, 0, NULL, NULL},
};

static void opts_text(const struct ctl_opt *opts, struct buf *out)
{
	for (; opts->name != NULL; opts++) {
		char left[64];
		snprintf(left, sizeof left, "--%s%s%s", opts->name, opts->value == NULL ? "" : " ",
			 opts->value == NULL ? "" : opts->value);
		buf_addf(out, "  %c%c%c %-24s %s\n", opts->letter == 0 ? ' ' : '-',
			 opts->letter == 0 ? ' ' : opts->letter, opts->letter == 0 ? ' ' : ',',
			 left, opts->help);
	}
}

void ctl_usage(const struct ctl_command *cmd, struct buf *out)
{
	buf_addf(out, "usage: keybrokerctl [-c FILE] %s%s%s [options]\n\n%s\n\n", cmd->name,
		 cmd->arg == NULL ? "" : " ", cmd->arg == NULL ? "" : cmd->arg, cmd->summary);
	if (cmd->opts != NULL)
		opts_text(cmd->opts, out);
	opts_text(common_opts, out);
	if (cmd->more != NULL) {
		buf_add_str(out, "\n");
		buf_add_str(out, cmd->more);
	}
}

/* getopt_long's two tables, made of ours; long options are numbered from LONG_BASE, ours first. */
enum { LONG_BASE = 256, COMMON_BASE = LONG_BASE + CTL_MAX_OPTS };

static void getopt_tables(const struct ctl_opt *opts, int base, char *shorts, struct option *longs,
			  unsigned *n)
{
	for (int i = 0; opts[i].name != NULL; i++, (*n)++) {
		if (*n >= CTL_MAX_OPTS + 3)
			KB_BUG();
		longs[*n] = (struct option){opts[i].name,
					    opts[i].value != NULL ? required_argument : no_argument,
					    NULL, base + i};
		if (opts[i].letter != 0) {
			size_t at = strlen(shorts);
			shorts[at] = opts[i].letter;
			shorts[at + 1] = opts[i].value != NULL ? ':' : '\0';
			shorts[at + 2] = '\0';
		}
	}
}

/* The number of an option that was given by its letter. */
static int by_letter(const struct ctl_opt *opts, int base, int letter)
{
	for (int i = 0; opts[i].name != NULL; i++)
		if (opts[i].letter == letter)
			return base + i;
	return -1;
}

static int usage_error(const struct ctl_command *cmd)
{
	ctl_say("Try: keybrokerctl %s --help", cmd->name);
	return CTL_FAILED;
}

int ctl_parse(struct ctl *c, int argc, char **argv, bool *stop)
{
	static const struct ctl_opt none[] = {{NULL, 0, NULL, NULL}};
	const struct ctl_opt *opts = c->command->opts == NULL ? none : c->command->opts;
	struct option longs[CTL_MAX_OPTS + 4] = {{0}};
	char shorts[2 * (CTL_MAX_OPTS + 4) + 1] = "";
	unsigned n = 0;
	int o;

	*stop = true;
	getopt_tables(opts, LONG_BASE, shorts, longs, &n);
	getopt_tables(common_opts, COMMON_BASE, shorts, longs, &n);
	optind = 0; /* glibc: forget the scan of the words before the command */
	while ((o = getopt_long(argc, argv, shorts, longs, NULL)) != -1) {
		if (o == '?')
			return usage_error(c->command);
		if (o < LONG_BASE) {
			int own = by_letter(opts, LONG_BASE, o);
			o = own != -1 ? own : by_letter(common_opts, COMMON_BASE, o);
		}
		if (o == COMMON_BASE) {
			c->config_path = optarg;
			continue;
		}
		if (o == COMMON_BASE + 1) {
			c->is_json = true;
			continue;
		}
		if (o == COMMON_BASE + 2) {
			struct buf text;
			buf_init(&text, CTL_MAX_OUTPUT);
			ctl_usage(c->command, &text);
			return ctl_put(&text, CTL_OK);
		}
		unsigned i = (unsigned)(o - LONG_BASE);
		if (c->n_values[i] == CTL_MAX_REPEAT)
			return ctl_fail(CTL_FAILED, "--%s is given more than %d times",
					opts[i].name, CTL_MAX_REPEAT);
		c->value[i][c->n_values[i]++] = optarg;
	}
	int left = argc - optind;
	if (left > (c->command->arg == NULL ? 0 : 1)) {
		ctl_fail(CTL_FAILED, "%s: one word too many: %s", c->command->name, argv[argc - 1]);
		return usage_error(c->command);
	}
	if (left == 0 && c->command->arg != NULL && c->command->arg[0] != '[') {
		ctl_fail(CTL_FAILED, "%s: %s is missing", c->command->name, c->command->arg);
		return usage_error(c->command);
	}
	c->arg = left == 0 ? NULL : argv[optind];
	*stop = false;
	return CTL_OK;
}

const char *ctl_value(const struct ctl *c, unsigned opt)
{
	return c->n_values[opt] == 0 ? NULL : c->value[opt][c->n_values[opt] - 1];
}

bool ctl_has(const struct ctl *c, unsigned opt)
{
	return c->n_values[opt] > 0;
}

bool ctl_number(const char *what, const char *text, long long least, long long most, long long *out)
{
	char *end;

	errno = 0;
	*out = strtoll(text, &end, 10);
	if (errno == 0 && end != text && *end == '\0' && *out >= least && *out <= most)
		return true;
	ctl_fail(CTL_FAILED, "%s: a number from %lld to %lld is wanted, not '%s'", what, least,
		 most, text);
	return false;
}

bool ctl_time(const char *what, const char *text, int64_t *out)
{
	if (clock_parse(text, out) == KB_OK)
		return true;
	ctl_fail(CTL_FAILED,
		 "%s: seconds since 1970 or a time like 2026-11-21T17:10:11Z is wanted, not '%s'",
		 what, text);
	return false;
}

void ctl_pause(unsigned ms)
{
	struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};

	(void)nanosleep(&t, NULL); /* cut short by a signal is as good */
}

/* ---- files ---- */

char *ctl_path(const char *dir, const char *name)
{
	char *path = NULL;

	return asprintf(&path, "%s/%s", dir, name) < 0 ? NULL : path;
}

static bool write_all(int fd, struct span text)
{
	for (size_t n = 0; n < text.len;) {
		ssize_t put = write(fd, text.p + n, text.len - n);
		if (put < 0 && errno == EINTR)
			continue;
		if (put <= 0)
			return false;
		n += (size_t)put;
	}
	return true;
}

static bool dir_sync(const char *path)
{
	KB_AUTO(cstr) char *dir = strdup(path);
	char *slash = dir == NULL ? NULL : strrchr(dir, '/');

	if (dir == NULL)
		return false;
	if (slash != NULL)
		*(slash == dir ? slash + 1 : slash) = '\0';
	int fd = open(slash == NULL ? "." : dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	bool is_synced = fd >= 0 && fsync(fd) == 0;
	if (fd >= 0)
		close(fd);
	return is_synced;
}

enum kb_err ctl_write(const char *path, mode_t mode, bool is_new, struct span text)
{
	KB_AUTO(cstr) char *temporary = NULL;

	if (asprintf(&temporary, "%s.%ld.tmp", path, (long)getpid()) < 0)
		return KB_E_NOMEM;
	int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0) {
		ctl_fail(CTL_FAILED, "%s: %s", temporary, strerror(errno));
		return KB_E_FILE;
	}
	bool is_ready = fchmod(fd, mode) == 0 && write_all(fd, text) && fsync(fd) == 0;
	is_ready = close(fd) == 0 && is_ready;
	if (is_ready &&
	    renameat2(AT_FDCWD, temporary, AT_FDCWD, path, is_new ? RENAME_NOREPLACE : 0) == 0 &&
	    dir_sync(path))
		return KB_OK;
	ctl_fail(CTL_FAILED, "%s: %s", path, strerror(errno));
	(void)unlink(temporary);
	return KB_E_FILE;
}

enum kb_err ctl_read(const char *path, size_t max_bytes, struct buf *out)
{
	bool is_stdin = strcmp(path, "-") == 0;
	int fd = is_stdin ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
	enum kb_err err = fd < 0 ? KB_E_FILE : KB_OK;
	uint8_t chunk[16384];
	ssize_t got = 0;

	buf_init(out, max_bytes);
	while (err == KB_OK && (got = read(fd, chunk, sizeof chunk)) != 0) {
		if (got > 0)
			buf_add(out, chunk, (size_t)got);
		else if (errno != EINTR)
			err = KB_E_FILE;
		if (out->failed)
			err = KB_E_FILE_SIZE;
	}
	if (err == KB_E_FILE)
		ctl_fail(CTL_FAILED, "%s: %s", path, strerror(errno));
	if (err == KB_E_FILE_SIZE)
		ctl_fail(CTL_FAILED, "%s: more than %zu bytes", path, max_bytes);
	if (fd >= 0 && !is_stdin)
		close(fd);
	return err;
}

/* ---- configuration and HSM ---- */

enum kb_err ctl_config_open(const struct ctl *c, unsigned parts, bool is_change,
			    struct ctl_config *out)
{
	struct config_faults faults = {0};

	*out = (struct ctl_config){.lock_fd = -1};
	if (is_change) {
		out->lock_fd = open(c->config_path, O_RDONLY | O_CLOEXEC);
		if (out->lock_fd < 0 || flock(out->lock_fd, LOCK_EX) != 0) {
			ctl_fail(CTL_FAILED, "%s: %s; name the configuration with -c FILE",
				 c->config_path, strerror(errno));
			return KB_E_FILE;
		}
	}
	enum kb_err err = snapshot_files(&out->source);
	if (err == KB_OK)
		err = config_load(out->source, c->config_path, parts, &out->config, &faults);
	if (err != KB_OK && faults.n == 0)
		ctl_fail(CTL_FAILED, "%s: %s", c->config_path, kb_err_name(err));
	for (size_t i = 0; i < faults.n; i++)
		ctl_say("%s", faults.text[i]);
	config_faults_free(&faults);
	return err;
}

void ctl_config_cleanup(struct ctl_config *cc)
{
	config_free(cc->config);
	snapshot_free(cc->source);
	if (cc->lock_fd >= 0)
		close(cc->lock_fd);
	*cc = (struct ctl_config){.lock_fd = -1};
}

enum kb_err ctl_user_enter(const char *user)
{
	if (user == NULL || geteuid() != 0)
		return KB_OK;
	const struct passwd *pw = getpwnam(user);
	if (pw == NULL) {
		ctl_fail(CTL_FAILED,
			 "there is no user '%s' on this machine; create it (useradd --system %s) "
			 "or change \"user\"",
			 user, user);
		return KB_E_SYS;
	}
	if (initgroups(user, pw->pw_gid) == 0 && setegid(pw->pw_gid) == 0 &&
	    seteuid(pw->pw_uid) == 0)
		return KB_OK;
	ctl_fail(CTL_FAILED, "cannot act as user %s: %s", user, strerror(errno));
	ctl_user_leave();
	return KB_E_SYS;
}

void ctl_user_leave(void)
{
	if (getuid() != 0 || geteuid() == 0)
		return;
	if (seteuid(0) != 0 || setegid(0) != 0 || setgroups(0, NULL) != 0)
		KB_BUG(); /* neither user nor root: nothing sensible can follow */
}

static int pin_fd = -1; /* open while the HSM is: who logs in takes turns by it */

static void pin_close(void)
{
	if (pin_fd >= 0)
		close(pin_fd);
	pin_fd = -1;
}

static enum kb_err pin_read(const char *path, struct secret **out)
{
	struct stat st;
	int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	enum kb_err err = KB_E_FILE;

	if (fd < 0) {
		ctl_fail(CTL_FAILED,
			 "%s: %s (the HSM's PIN is read as the instance's owner or root)", path,
			 strerror(errno));
		return err;
	}
	if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || (st.st_mode & 027) != 0) {
		err = KB_E_FILE_MODE;
		ctl_fail(CTL_FAILED,
			 "%s: must be a regular file that nobody else can read (chmod 600)", path);
	} else if ((err = secret_read_fd(fd, out)) != KB_OK) {
		ctl_fail(CTL_FAILED, "%s: no PIN in it (%s)", path, kb_err_name(err));
	}
	pin_fd = fd;
	if (err != KB_OK)
		pin_close();
	return err;
}

enum kb_err ctl_hsm_open(const struct config *cfg, bool is_writable, struct keystore **out)
{
	enum kb_err err = KB_E_BUG;
	KB_AUTO(secret) struct secret *pin = NULL;
	char token_dir[SOFTHSM_TOKEN_DIR];

	*out = NULL;
	if ((err = secret_arena_init()) != KB_OK) {
		ctl_fail(CTL_FAILED,
			 "%d KiB of memory cannot be locked for the PIN; raise `ulimit -l`",
			 KB_SECRET_ARENA / 1024);
		return err;
	}
	if ((err = pin_read(cfg->hsm_pin_file, &pin)) != KB_OK)
		return err;
	for (char **e = cfg->hsm_environment; e != NULL && *e != NULL; e++) {
		KB_AUTO(cstr) char *name = strndup(*e, strcspn(*e, "="));
		if (name == NULL || (*e)[strlen(name)] != '=' ||
		    setenv(name, *e + strlen(name) + 1, 1) != 0)
			return KB_E_NOMEM;
	}
	if ((err = ctl_user_enter(cfg->user)) != KB_OK)
		return err;
	struct keystore_params params = {
		.module = cfg->hsm_module,
		.token = cfg->hsm_token,
		.pin = pin,
		.is_writable = is_writable,
		.login_lock = pin_fd,
		.token_dir = softhsm_own_token_dir(cfg->hsm_module, token_dir) ? token_dir : NULL};
	if ((err = keystore_open(&params, out)) != KB_OK) {
		pin_close();
		ctl_user_leave();
		ctl_fail(CTL_FAILED, "the HSM (%s, %s) does not open: %s. %s", cfg->hsm_module,
			 cfg->hsm_token, kb_err_name(err), ctl_hint(err));
	}
	return err;
}

void ctl_hsm_close(struct keystore *ks)
{
	keystore_close(ks);
	pin_close();
	ctl_user_leave();
}
