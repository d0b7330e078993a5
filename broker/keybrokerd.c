/* broker/keybrokerd.c — main(): the supervisor, or one of its processes when --process is given.
 * Never runs a process as root. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/version.h"
#include "process/process.h"
#include "supervisor/supervisor.h"

static const char usage[] =
	"usage: keybrokerd -c FILE        run the broker in the foreground\n"
	"       keybrokerd -t -c FILE     check the configuration, exit 0 or 1\n"
	"       keybrokerd --version | --help\n"
	"\n"
	"signals: SIGHUP reload, SIGTERM finish and end, SIGUSR1 begin a new ledger segment\n"
	"see also: keybrokerctl --help\n";

static bool parse_number(const char *text, unsigned long most, unsigned long *out)
{
	char *end;

	*out = strtoul(text, &end, 10);
	return *text >= '0' && *text <= '9' && *end == '\0' && *out <= most;
}

static enum process_kind process_from_name(const char *name)
{
	for (enum process_kind kind = PROCESS_GATEWAY; kind < PROCESS_COUNT; kind++)
		if (strcmp(process_name(kind), name) == 0)
			return kind;
	return PROCESS_NONE;
}

static int run_process(struct process_start *start)
{
	enum kb_err err = KB_E_CONFIG;

	if (start->config_path == NULL || geteuid() == 0) {
		log_event(LOG_ERROR, "process.refused", "why",
			  "processes are started by the supervisor, and never as root", NULL);
		return PROCESS_EXIT_CONFIG;
	}
	if ((err = process_begin(start)) != KB_OK) {
		log_event(LOG_ERROR, "process.begin", "err", kb_err_name(err), NULL);
		return PROCESS_EXIT_RESTART;
	}
	switch (start->process) {
	case PROCESS_GATEWAY:
		return gateway_main(start);
	case PROCESS_VAULT:
		return vault_main(start);
	case PROCESS_LEDGER:
		return ledger_main(start);
	case PROCESS_FETCHER:
		return fetcher_main(start);
	case PROCESS_NONE:
	case PROCESS_SUPERVISOR:
	case PROCESS_COUNT:
		break;
	}
	KB_BUG();
}

int main(int argc, char **argv)
{
	enum { OPT_PROCESS = 256, OPT_SLOT, OPT_INDEX, OPT_GENERATION };
	static const struct option options[] = {
		{"config", required_argument, NULL, 'c'},
		{"test", no_argument, NULL, 't'},
		{"help", no_argument, NULL, 'h'},
		{"version", no_argument, NULL, 'V'},
		{"process", required_argument, NULL, OPT_PROCESS},
		{"slot", required_argument, NULL, OPT_SLOT},
		{"index", required_argument, NULL, OPT_INDEX},
		{"generation", required_argument, NULL, OPT_GENERATION},
		{0},
	};
	struct process_start start = {.process = PROCESS_NONE};
	bool is_test = false;
	unsigned long n = 0;
	int option;

	while ((option = getopt_long(argc, argv, "c:thV", options, NULL)) != -1) {
		bool is_good = true;
		switch (option) {
		case 'c':
			start.config_path = optarg;
			break;
		case 't':
			is_test = true;
			break;
		case 'h':
			fputs(usage, stdout);
			return 0;
		case 'V':
			puts("keybrokerd " KB_VERSION);
			return 0;
		case OPT_PROCESS:
			start.process = process_from_name(optarg);
			is_good = start.process != PROCESS_NONE;
			break;
		case OPT_SLOT:
			is_good = parse_number(optarg, PROCESS_SLOTS - 1, &n);
			start.slot = (unsigned)n;
			break;
		case OPT_INDEX:
			is_good = parse_number(optarg, PROCESS_SLOTS - 1, &n);
			start.index = (unsigned)n;
			break;
		case OPT_GENERATION:
			is_good = parse_number(optarg, UINT32_MAX, &n);
			start.generation = (uint32_t)n;
			break;
		default:
			is_good = false;
			break;
		}
		if (!is_good) {
			fputs(usage, stderr);
			return 2;
		}
	}
	if (optind != argc || start.config_path == NULL) {
		fputs(usage, stderr);
		return 2;
	}
	if (start.process != PROCESS_NONE)
		return run_process(&start);
	return is_test ? supervisor_check(start.config_path) : supervisor_run(start.config_path);
}
