/* broker/ctl/ctl.c — the command line of keybrokerctl: one table of options a command, one parser,
 * the help text. */
#include "ctl/ctl.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "ctl/output.h"

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

/* getopt_long's two tables, made from ours.  Long options are numbered from LONG_BASE, the
 * command's own first. */
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

/* The number of the option with this letter. */
static int letter_find(const struct ctl_opt *opts, int base, int letter)
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
	optind = 0; /* glibc: start a new scan */
	while ((o = getopt_long(argc, argv, shorts, longs, NULL)) != -1) {
		if (o == '?')
			return usage_error(c->command);
		if (o < LONG_BASE) {
			int own = letter_find(opts, LONG_BASE, o);
			o = own != -1 ? own : letter_find(common_opts, COMMON_BASE, o);
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
