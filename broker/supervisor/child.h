/* broker/supervisor/child.h — one supervised process: started, watched, started again. */
#ifndef KB_SUPERVISOR_CHILD_H
#define KB_SUPERVISOR_CHILD_H
#include "supervisor/spawn.h"

struct child;
struct event;
struct event_base;

struct host { /* what every process is started with; one a supervisor */
	struct event_base *base;
	struct shared *shared;
	int shared_fd, exe;
	struct sandbox_user user;
	const char *config_path;
	void (*on_ready)(void *ctx, struct child *c); /* a process said READY */
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
	enum kb_err held; /* not KB_OK: never started again, and why */
	unsigned starts;
	int64_t started_ms, ready_ms, next_ms, backoff_ms;
};

void child_init(struct child *c, struct host *host, enum process_kind process, uint32_t generation,
		unsigned index);
/* May it be started now?  Not running, not held, its back-off over. */
bool child_is_due(const struct child *c, int64_t now_ms);
/* Start it with `archive` and the process's own descriptors from FD_FIRST on.  A failure is a try
 * that ended at once: it backs off. */
void child_start(struct child *c, int archive, const int *fds, size_t n);
/* Its process ended with `status` (waitpid).  Returns the id of the request it took along, 0 when
 * none.  Its slot stays until it is started again or released. */
uint64_t child_ended(struct child *c, int status, bool is_expected);
/* Kill what hangs: a process that does not get ready, a vault that does not come back from a
 * request.  True when it was killed in a request. */
bool child_watch(struct child *c, int64_t now_ms);
void child_signal(const struct child *c, int sig);
/* Nothing of it is left: slot given back, control closed.  It must not run. */
void child_release(struct child *c);

#endif
