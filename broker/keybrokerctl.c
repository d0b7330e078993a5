/* broker/keybrokerctl.c — main() of the operator's program: finds the command in the tables of
 * broker/ctl/ and runs it. */
#include <stdio.h>

#include "base/log.h"
#include "base/version.h"
#include "ctl/ctl.h"
#include "ctl/output.h"

static const struct ctl_command *const tables[] = {
	ctl_init_commands,   ctl_key_commands,    ctl_explain_commands, ctl_check_commands,
	ctl_issuer_commands, ctl_ledger_commands, ctl_status_commands,
};
enum { N_TABLES = sizeof tables / sizeof tables[0] };
static const char default_config[] = "/etc/keybroker/keybroker.json";

static void overview(struct buf *out)
{
	buf_add_str(out, "usage: keybrokerctl [-c FILE] COMMAND [options]\n\n");
	for (size_t i = 0; i < N_TABLES; i++)
		for (const struct ctl_command *cmd = tables[i]; cmd->name != NULL; cmd++)
			buf_addf(out, "  %-14s %s\n", cmd->name, cmd->summary);
	buf_addf(out,
		 "\n  -c, --config FILE  the configuration (%s)\n  -j, --json         "
		 "machine-readable output\n"
		 "  --version          %s\n\n`keybrokerctl COMMAND --help` lists a command's "
		 "options.\n"
		 "Exit: 0 done, 1 judged and the answer is no, 2 usage or it could not be done.\n",
		 default_config, KB_VERSION);
}

static int help(int code)
{
	struct buf out;

	buf_init(&out, CTL_MAX_OUTPUT);
	overview(&out);
	if (code == CTL_OK)
		return ctl_put(&out, code);
	fwrite(out.p, 1, out.len, stderr);
	buf_free(&out);
	return code;
}

/* The command of one or two words; *n: how many words. */
static const struct ctl_command *command_find(int argc, char **argv, int *n)
{
	for (size_t i = 0; i < N_TABLES; i++)
		for (const struct ctl_command *cmd = tables[i]; cmd->name != NULL; cmd++) {
			size_t first = strcspn(cmd->name, " ");
			bool is_two = cmd->name[first] == ' ';
			if (strlen(argv[0]) != first || strncmp(cmd->name, argv[0], first) != 0)
				continue;
			if (is_two && (argc < 2 || strcmp(cmd->name + first + 1, argv[1]) != 0))
				continue;
			*n = is_two ? 2 : 1;
			return cmd;
		}
	return NULL;
}

static bool is_option(const char *word, const char *letter, const char *name)
{
	return strcmp(word, letter) == 0 || strcmp(word, name) == 0;
}

int main(int argc, char **argv)
{
	static struct ctl c = {.config_path = default_config};
	bool stop;
	int at = 1, words = 0;

	log_init("keybrokerctl", LOG_ERROR);
	/* Options before the command; ctl_parse() takes the same after it. */
	for (; at < argc && argv[at][0] == '-'; at++) {
		if (is_option(argv[at], "-h", "--help"))
			return help(CTL_OK);
		if (is_option(argv[at], "-V", "--version")) {
			printf("keybrokerctl %s\n", KB_VERSION);
			return CTL_OK;
		}
		if (is_option(argv[at], "-j", "--json"))
			c.is_json = true;
		else if (is_option(argv[at], "-c", "--config") && at + 1 < argc)
			c.config_path = argv[++at];
		else
			return ctl_fail(help(CTL_FAILED),
					"unknown option, or its value is missing: %s", argv[at]);
	}
	if (at >= argc)
		return help(CTL_FAILED);
	if (strcmp(argv[at], "help") == 0)
		return help(CTL_OK);
	const struct ctl_command *command = command_find(argc - at, argv + at, &words);
	if (command == NULL)
		return ctl_fail(help(CTL_FAILED), "there is no command '%s%s%s'", argv[at],
				at + 1 < argc ? " " : "", at + 1 < argc ? argv[at + 1] : "");
	c.command = command;
	at += words - 1;
	int code = ctl_parse(&c, argc - at, argv + at, &stop);
	return stop ? code : ctl_end(command->run(&c));
}
