/* broker/process/kind.c — names of processes: in logs, on command lines and in metrics. */
#include "process/kind.h"

static const char *const names[PROCESS_COUNT] = {
	[PROCESS_NONE] = "none",       [PROCESS_SUPERVISOR] = "supervisor",
	[PROCESS_GATEWAY] = "gateway", [PROCESS_VAULT] = "vault",
	[PROCESS_LEDGER] = "ledger",   [PROCESS_FETCHER] = "fetcher",
};

const char *process_name(enum process_kind kind)
{
	return (unsigned)kind < PROCESS_COUNT ? names[kind] : names[PROCESS_NONE];
}
