/* broker/process/kind.h — the kinds of processes, and their names. */
#ifndef KB_PROCESS_KIND_H
#define KB_PROCESS_KIND_H
#include "base/limits.h"

enum process_kind {
	PROCESS_NONE,
	PROCESS_SUPERVISOR,
	PROCESS_GATEWAY,
	PROCESS_VAULT,
	PROCESS_LEDGER,
	PROCESS_FETCHER,
	PROCESS_COUNT
};

enum {
	PROCESS_GENERATIONS = 4, /* one that serves, one that starts, two that end */
	SLOT_SUPERVISOR = 0,
	SLOT_LEDGER = 1,
	SLOT_FIRST = 2, /* of the generations' processes */
	/* Processes of all kinds at once: no configuration and no reload can need more. */
	PROCESS_SLOTS = SLOT_FIRST + PROCESS_GENERATIONS * (KB_MAX_GATEWAYS + KB_MAX_WORKERS + 1),
};

const char *process_name(enum process_kind kind); /* "none" for any other value */

#endif
