/* broker/supervisor/child.h — one supervised process: started, watched, started again. */
#ifndef KB_SUPERVISOR_CHILD_H
#define KB_SUPERVISOR_CHILD_H
#include "supervisor/spawn.h"

struct child;
struct event;
struct event_base;

struct host { /* what every process is started with; the supervisor has one */
	struct event_base *base;
	struct shared_host shared;
	int exe;
	struct sandbox_user user;
	const char *config_path;
	void (*on_ready)(void *ctx, struct child *c); /* CONTROL_READY came */
	void *ctx;
};

struct child {
	enum process_kind process;
	unsigned index; /* among its kind, in its generation */
	uint32_t generation;
	struct host *host;
	int slot;    /* -1: none */
	pid_t pid;   /* 0: not running */
	int control; /* our end; -1: none */
	struct event *reader;
	bool is_ready;
	bool is_draining;             /* CONTROL_DRAINING came */
	bool is_done;                 /* it ended because its work was over: not started again */
	bool is_killed;               /* by child_watch(): its end is to come */
	uint32_t beats;               /* of its health, as last seen */
	int64_t watched_ms, quiet_ms; /* last look at it; how long its loop has not turned */
	enum kb_err held;             /* why it is never started again; KB_OK: it may be */
	unsigned starts;
	int64_t started_ms, ready_ms, next_ms, backoff_ms;
};

void child_init(struct child *c, struct host *host, enum process_kind process, uint32_t generation,
		unsigned index);
/* Start it now?  Not running, not held, its back-off is over. */
bool child_is_due(const struct child *c, int64_t now_ms);
/* Start it with `archive` and the process's own descriptors from FD_FIRST on.  After a failure it
 * backs off, as after a process that ended at once. */
void child_start(struct child *c, int archive, const int *fds, size_t n);
struct lost_request { /* what a vault says it was at when it ended: at most one gateway's client */
	uint64_t id;  /* 0: none */
	unsigned gateway;
};
/* Its process ended with `status` (waitpid).  Its slot stays until it is started again or
 * released. */
struct lost_request child_ended(struct child *c, int status, bool is_expected);
/* Kill a process that does not get ready, one whose loop does not turn, and a vault that hangs in a
 * request or an HSM call. */
void child_watch(struct child *c, int64_t now_ms);
void child_signal(const struct child *c, int sig);
uint64_t child_gauge(const struct child *c, enum counter which); /* as the process reports it */
/* Give back its slot, close its control socket.  It must not run. */
void child_release(struct child *c);

#endif
