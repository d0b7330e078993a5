/* broker/process/kind.h — the kinds of processes, and their names. */
#ifndef KB_PROCESS_KIND_H
#define KB_PROCESS_KIND_H

enum process_kind {
	PROCESS_NONE,
	PROCESS_SUPERVISOR,
	PROCESS_GATEWAY,
	PROCESS_VAULT,
	PROCESS_LEDGER,
	PROCESS_FETCHER,
	PROCESS_COUNT
};
/* Processes of all kinds and generations at once. */
enum { PROCESS_SLOTS = 256 };

const char *process_name(enum process_kind kind); /* "none" for any other value */

#endif
