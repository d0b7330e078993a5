/* broker/ctl/ctl.h — what keybrokerctl's commands are made of: a table of options and one parser,
 * the configuration and the HSM opened for a command, files replaced atomically.  Data goes to
 * stdout, everything said about it to stderr. */
#ifndef KB_CTL_CTL_H
#define KB_CTL_CTL_H
#include <sys/types.h>

#include "config/config.h"

struct keystore;
struct secret;

enum ctl_exit {
	CTL_OK = 0,
	CTL_NO = 1,
	CTL_FAILED = 2
}; /* done; judged and the answer is no; usage, or it could not be done */
enum {
	CTL_MAX_OPTS = 20,
	CTL_MAX_REPEAT = 32,
	CTL_MAX_ARGS = 1,
	CTL_MAX_OUTPUT = 256 * 1024 * 1024
};

struct ctl_opt { /* a table of these ends with name NULL; an option is known by its index */
	const char *name;
	char letter;       /* short form, 0: none */
	const char *value; /* what follows, for the help; NULL: a flag */
	const char *help;
};

struct ctl;
struct ctl_command {      /* a table of these ends with name NULL */
	const char *name; /* "key create" */
	const char *arg;  /* the one argument, for the help; NULL: takes none.  In brackets: may be
			     left out */
	const char *summary; /* one line */
	const struct ctl_opt *opts;
	int (*run)(struct ctl *c); /* enum ctl_exit */
	const char *more;          /* examples and exit codes, after the options */
};
extern const struct ctl_command ctl_init_commands[], ctl_key_commands[], ctl_explain_commands[],
	ctl_check_commands[], ctl_ledger_commands[], ctl_status_commands[];

struct ctl { /* one command line; everything points into argv */
	const struct ctl_command *command;
	const char *config_path;
	bool is_json;
	const char *arg; /* NULL: not given */
	const char *value[CTL_MAX_OPTS][CTL_MAX_REPEAT];
	unsigned n_values[CTL_MAX_OPTS];
};

/* argv[0] is the command's last word.  CTL_OK; or, with *stop set, the exit code (help was printed,
 * or the usage error was). */
int ctl_parse(struct ctl *c, int argc, char **argv, bool *stop);
void ctl_usage(const struct ctl_command *cmd, struct buf *out);
const char *ctl_value(const struct ctl *c,
		      unsigned opt); /* the last one given, NULL when none was */
bool ctl_has(const struct ctl *c, unsigned opt);
/* A decimal number in [least, most]; otherwise says so and is false. */
bool ctl_number(const char *what, const char *text, long long least, long long most,
		long long *out);
bool ctl_time(const char *what, const char *text,
	      int64_t *out); /* seconds or RFC 3339; otherwise says so and is false */

void ctl_say(const char *fmt, ...) __attribute__((format(printf, 1, 2))); /* a line on stderr */
int ctl_fail(int code, const char *fmt, ...)
	__attribute__((format(printf, 2, 3))); /* "keybrokerctl: …" on stderr; returns code */
int ctl_end(int code); /* `code`; a failure of which nothing was said is told here, for no command
			  ends without a word */
int ctl_put(struct buf *out, int code); /* out to stdout; `code`, or CTL_FAILED when it cannot be
					   written.  Frees `out` */
const char *ctl_hint(enum kb_err err);  /* one sentence: what it means and what to do; "" when there
					   is nothing to add */

struct ctl_table { /* cells in rows, columns as wide as they must be */
	unsigned columns;
	struct buf cells; /* NUL-terminated, one after the other */
};
void ctl_table_init(struct ctl_table *t, unsigned columns);
void ctl_table_add(struct ctl_table *t, const char *cell);
void ctl_table_write(struct ctl_table *t, struct buf *out); /* frees it */

struct ctl_config {
	struct snapshot *source;
	struct config *config;
	int lock_fd; /* −1: not locked */
};
/* Load `parts`; faults are printed.  With `is_change` one keybrokerctl at a time gets past here:
 * the configuration file is locked until closed. */
KB_MUST_CHECK enum kb_err ctl_config_open(const struct ctl *c, unsigned parts, bool is_change,
					  struct ctl_config *out);
void ctl_config_cleanup(struct ctl_config *cc);

/* The HSM of a configuration, read-write when asked for.  Says what went wrong.  As root with
 * "user" configured, the HSM is used as that user from here to ctl_hsm_close(), so that the token's
 * files stay his. */
KB_MUST_CHECK enum kb_err ctl_hsm_open(const struct config *cfg, bool is_writable,
				       struct keystore **out);
void ctl_hsm_close(struct keystore *ks);
/* Effective user and groups of `user` (NULL: stay) and back again.  KB_E_SYS. */
KB_MUST_CHECK enum kb_err ctl_user_enter(const char *user);
void ctl_user_leave(void);

/* Write `text` as `path`: temporary file beside it, fsync, rename, fsync of the directory.
 * `is_new`: KB_E_FILE when it is there already. */
KB_MUST_CHECK enum kb_err ctl_write(const char *path, mode_t mode, bool is_new, struct span text);
/* A whole file ("-": stdin) of at most max_bytes; says what went wrong. */
KB_MUST_CHECK enum kb_err ctl_read(const char *path, size_t max_bytes, struct buf *out);
/* "dir/name" (malloc; caller frees), NULL on no memory. */
char *ctl_path(const char *dir, const char *name);

void ctl_pause(unsigned ms);

/* SIGHUP and wait for the new generation; CTL_OK when it accepts.  What `reload` does, after its
 * check. */
int ctl_reload(const struct ctl *c, const struct config *cfg);
/* The pid of the running broker, 0 when none runs. */
pid_t ctl_broker_pid(const struct config *cfg);

#endif
