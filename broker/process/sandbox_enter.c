/* broker/process/sandbox_enter.c — a process gives up its rights: limits, then files, then system
 * calls, because each step still needs what the next one takes.  Decides the limits.  Never goes on
 * when one step failed: the process must end. */
#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <time.h>

#include "base/limits.h"
#include "base/log.h"
#include "process/sandbox_priv.h"

void sandbox_need(struct sandbox_needs *needs, const char *path, bool is_writable)
{
	if (needs->n == SANDBOX_PATHS)
		KB_BUG();
	needs->path[needs->n].path = path;
	needs->path[needs->n].fd = -1;
	needs->path[needs->n++].is_writable = is_writable;
}

/* Never more than the limit that the process was started with. */
static bool lower(int what, rlim_t most)
{
	struct rlimit r;

	if (getrlimit((__rlimit_resource_t)what, &r) != 0)
		return false;
	if (r.rlim_max > most)
		r.rlim_max = most;
	if (r.rlim_cur > r.rlim_max)
		r.rlim_cur = r.rlim_max;
	return setrlimit((__rlimit_resource_t)what, &r) == 0;
}

/* The gateway has set its limit of descriptors itself, by the configuration.  No limit of file
 * sizes: the log may be a file of any size.  No limit of memory for the vault (its PKCS#11 module
 * decides) and the gateway (it follows the number of clients): use MemoryMax in the unit. */
static bool limit(enum process_kind process, bool has_network)
{
	bool has_threads = process == PROCESS_FETCHER || has_network;
	bool good = lower(RLIMIT_CORE, 0) && lower(RLIMIT_MSGQUEUE, 0);

	/* RLIMIT_NPROC counts all processes of the user.  Only 0 does not depend on the others. */
	if (!has_threads)
		good = good && lower(RLIMIT_NPROC, 0);
	if (process != PROCESS_VAULT)
		good = good && lower(RLIMIT_MEMLOCK, 0);
	if (process == PROCESS_VAULT && !has_network)
		good = good && lower(RLIMIT_NOFILE, KB_VAULT_FILES);
	if (process == PROCESS_LEDGER)
		good = good && lower(RLIMIT_NOFILE, KB_LEDGER_FILES) &&
		       lower(RLIMIT_DATA, (rlim_t)KB_LEDGER_MIB << 20);
	if (process == PROCESS_FETCHER)
		good = good && lower(RLIMIT_NOFILE, KB_FETCHER_FILES) &&
		       lower(RLIMIT_DATA, (rlim_t)KB_FETCHER_MIB << 20);
	return good;
}

enum kb_err sandbox_enter(enum process_kind process, const struct sandbox_needs *needs)
{
	enum kb_err err;

	if (process < PROCESS_GATEWAY || process >= PROCESS_COUNT)
		KB_BUG();
	tzset(); /* now: gmtime_r() would read /etc/localtime at the first log line */
	if (!sandbox_is_complete())
		return KB_OK;
	if (!limit(process, needs->has_network)) {
		log_event(LOG_ERROR, "sandbox.limits", "why", strerror(errno), NULL);
		return KB_E_SYS;
	}
	if ((err = sandbox_limit_files(needs)) != KB_OK)
		return err;
	return sandbox_limit_calls(process, needs);
}
