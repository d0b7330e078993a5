/* broker/ctl/ctl.h — a command of keybrokerctl: its table of options, and the parsed command
 * line. */
#ifndef KB_CTL_CTL_H
#define KB_CTL_CTL_H
#include "base/bytes.h"

enum ctl_exit {
	CTL_OK = 0,     /* done */
	CTL_NO = 1,     /* judged, and the answer is no */
	CTL_FAILED = 2, /* usage, or it could not be done */
};
enum {
	CTL_MAX_OPTS = 20,
	CTL_MAX_REPEAT = 32,
};

struct ctl_opt { /* a table of these ends with name NULL; an option is known by its index */
	const char *name;
	char letter;       /* short form; 0: none */
	const char *value; /* its value, for the help; NULL: a flag */
	const char *help;
};

struct ctl;
struct ctl_command {         /* a table of these ends with name NULL */
	const char *name;    /* "key create" */
	const char *arg;     /* the one argument, for the help; in brackets: optional; NULL: none */
	const char *summary; /* one line */
	const struct ctl_opt *opts;
	int (*run)(struct ctl *c); /* enum ctl_exit */
	const char *more;          /* examples and exit codes, after the options */
};
extern const struct ctl_command ctl_init_commands[], ctl_key_commands[], ctl_explain_commands[],
	ctl_check_commands[], ctl_issuer_commands[], ctl_ledger_commands[], ctl_status_commands[];

struct ctl { /* one command line; everything points into argv */
	const struct ctl_command *command;
	const char *config_path;
	bool is_json;
	const char *arg; /* NULL: not given */
	const char *value[CTL_MAX_OPTS][CTL_MAX_REPEAT];
	unsigned n_values[CTL_MAX_OPTS];
};

/* argv[0] is the command's last word.  CTL_OK; or, with *stop set, the exit code: the help or a
 * usage error was printed. */
int ctl_parse(struct ctl *c, int argc, char **argv, bool *stop);
void ctl_usage(const struct ctl_command *cmd, struct buf *out);
const char *ctl_value(const struct ctl *c, unsigned opt); /* the last one given; NULL: none */
bool ctl_has(const struct ctl *c, unsigned opt);
/* A decimal number in [least, most]; else reports it and is false. */
bool ctl_number(const char *what, const char *text, long long least, long long most,
		long long *out);
/* Seconds or RFC 3339; else reports it and is false. */
bool ctl_time(const char *what, const char *text, int64_t *out);

#endif
