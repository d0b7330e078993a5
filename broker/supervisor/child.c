/* broker/supervisor/child.c — one supervised process.  Decides when it is started again and when it
 * is killed, by its exit code and its health.  Never starts a process again whose PIN was refused:
 * the token may count tries and lock itself. */
#include "supervisor/child.h"

#include <errno.h>
#include <event2/event.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"

enum {
	READY_MS = 20000,   /* start until READY, or it is killed */
	BACKOFF_MS = 100,   /* before the first restart; doubled each time … */
	HEALTHY_MS = 30000, /* … until it was READY for this long */
	/* When an HSM is back, workers use it within 10 s, even if their start hung in a call. */
	BACKOFF_MAX_MS = 3000,
	/* The supervisor checks every 100 ms and a kill takes a moment, but the client must have
	 * its answer after KB_HSM_CALL_MS. */
	EARLY_MS = 200,
};

void child_init(struct child *c, struct host *host, enum process_kind process, uint32_t generation,
		unsigned index)
{
	*c = (struct child){.process = process,
			    .index = index,
			    .generation = generation,
			    .host = host,
			    .slot = -1,
			    .control = -1,
			    .backoff_ms = BACKOFF_MS};
}

static struct process_health *health_of(const struct child *c)
{
	if (c->slot < 0)
		KB_BUG();
	return &c->host->shared->health.process[c->slot];
}

bool child_is_due(const struct child *c, int64_t now_ms)
{
	return c->pid == 0 && c->held == KB_OK && !c->is_done && now_ms >= c->next_ms;
}

static void back_off(struct child *c, int64_t now_ms)
{
	if (c->is_ready && now_ms - c->ready_ms >= HEALTHY_MS)
		c->backoff_ms = BACKOFF_MS;
	c->next_ms = now_ms + c->backoff_ms;
	c->backoff_ms = c->backoff_ms * 2 > BACKOFF_MAX_MS ? BACKOFF_MAX_MS : c->backoff_ms * 2;
	c->is_ready = false;
}

static void close_control(struct child *c)
{
	if (c->reader != NULL)
		event_free(c->reader);
	c->reader = NULL;
	if (c->control >= 0)
		close(c->control);
	c->control = -1;
}

static void on_message(evutil_socket_t fd, short what, void *ctx)
{
	struct child *c = ctx;
	struct control_message m;

	(void)what;
	enum kb_err err = control_recv(fd, &m, NULL, NULL);
	if (err != KB_OK && err != KB_E_FILE) {
		/* None of our processes sends such a message: it is faulty or an attacker runs
		 * it. */
		log_event(LOG_ERROR, "control.bad", "name", process_name(c->process), "child",
			  log_i64(c->pid), "err", kb_err_name(err), NULL);
		child_signal(c, SIGKILL);
	}
	if (err != KB_OK) { /* it is ending; child_ended() will have the exit code */
		event_del(c->reader);
		return;
	}
	if (m.type == CONTROL_READY && !c->is_ready) {
		c->is_ready = true;
		c->ready_ms = clock_mono_ms();
		log_event(LOG_INFO, "process.ready", "name", process_name(c->process), "child",
			  log_i64(c->pid), "generation", log_i64(c->generation), "after_ms",
			  log_i64(c->ready_ms - c->started_ms), NULL);
		c->host->on_ready(c->host->ctx, c);
	} else if (m.type == CONTROL_DRAINING) {
		c->is_draining = true;
	} else if (m.type == CONTROL_FAILED) {
		log_event(LOG_ERROR, "process.failed", "name", process_name(c->process), "child",
			  log_i64(c->pid), "err",
			  kb_err_name(m.value < KB_ERR_COUNT ? (enum kb_err)m.value : KB_E_BUG),
			  NULL);
	}
}

/* An entry for the new process.  The old one's counters are added to `retired`; its fault is
 * copied, because until READY it is the reason for /readyz. */
static bool take_slot(struct child *c)
{
	unsigned fault = KB_OK;

	if (c->slot >= 0) {
		fault = atomic_load(&health_of(c)->fault);
		shared_give_back(c->host->shared, (unsigned)c->slot);
	}
	c->slot = shared_take(c->host->shared, c->process, c->generation);
	if (c->slot < 0)
		return false;
	atomic_store(&health_of(c)->fault, fault);
	return true;
}

void child_start(struct child *c, int archive, const int *fds, size_t n)
{
	struct host *h = c->host;
	struct spawn s = {
		.process = c->process,
		.generation = c->generation,
		.config_path = h->config_path,
		.exe = h->exe,
		.user = &h->user,
		.n_fds = FD_FIRST - FD_CONTROL + n,
	};
	int pair[2] = {-1, -1};

	c->started_ms = clock_mono_ms();
	c->is_ready = c->is_draining = false;
	close_control(c);
	if (s.n_fds > SPAWN_MAX_FDS)
		KB_BUG();
	if (!take_slot(c) || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
		goto fail;
	c->control = pair[0];
	c->reader = event_new(h->base, c->control, EV_READ | EV_PERSIST, on_message, c);
	if (c->reader == NULL || event_add(c->reader, NULL) != 0)
		goto fail;
	s.slot = (unsigned)c->slot;
	s.index = c->index;
	s.fds[0] = pair[1];
	s.fds[1] = h->shared_fd;
	s.fds[2] = archive;
	memcpy(s.fds + 3, fds, n * sizeof *fds);
	if (spawn_process(&s, &c->pid) != KB_OK) {
		c->pid = 0;
		goto fail;
	}
	close(pair[1]);
	if (c->starts++ > 0)
		stats_count(&h->shared->stats.retired[c->process], COUNT_RESTARTS, 1);
	atomic_store(&health_of(c)->pid, c->pid);
	return;
fail:
	log_event(LOG_ERROR, "process.start_failed", "name", process_name(c->process), "why",
		  c->slot < 0 ? "no free slot" : strerror(errno), NULL);
	if (pair[1] >= 0)
		close(pair[1]);
	close_control(c);
	back_off(c, c->started_ms);
}

uint64_t child_ended(struct child *c, int status, bool is_expected)
{
	struct process_health *h = health_of(c);
	uint64_t request = atomic_load(&h->request_id);
	int code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;

	log_event(is_expected ? LOG_INFO : LOG_WARN, "process.ended", "name",
		  process_name(c->process), "child", log_i64(c->pid), "generation",
		  log_i64(c->generation), WIFSIGNALED(status) ? "signal" : "exit_code",
		  log_i64(WIFSIGNALED(status) ? WTERMSIG(status) : code), NULL);
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS) {
		/* The sandbox stopped it: an attacker ran code in it, or its list lacks a call. */
		stats_count(&c->host->shared->stats.retired[PROCESS_SUPERVISOR],
			    COUNT_KILLED_FORBIDDEN, 1);
		log_event(LOG_ERROR, "process.forbidden_call", "name", process_name(c->process),
			  "child", log_i64(c->pid), "why",
			  "it made a system call that its sandbox forbids", "fix",
			  "the kernel's audit log has the call: type=1326", NULL);
	}
	c->pid = 0;
	close_control(c);
	atomic_store(&h->pid, 0);
	atomic_store(&h->request_id, 0);
	health_set(h, HEALTH_FAILED);
	if (code == PROCESS_EXIT_PIN) {
		c->held = KB_E_HSM_PIN;
		log_event(LOG_ERROR, "process.held", "name", process_name(c->process), "why",
			  "the HSM refused the PIN; it is not tried again, because a token may "
			  "count tries",
			  "fix", "put the right PIN in the PIN file, then reload", NULL);
	} else if (code == PROCESS_EXIT_CONFIG &&
		   !(c->process == PROCESS_VAULT &&
		     c->ready_ms != 0)) { /* its HSM worked with this configuration before */
		c->held = KB_E_CONFIG;
		log_event(LOG_ERROR, "process.held", "name", process_name(c->process), "why",
			  "it cannot work with this configuration", "fix",
			  "correct what it logged above, then reload", NULL);
	}
	if (c->held != KB_OK && atomic_load(&h->fault) == KB_OK)
		atomic_store(&h->fault, c->held);
	back_off(c, clock_mono_ms());
	return request;
}

/* How long a worker has been in one request or in one HSM call.  A call may hang at the start and
 * between requests, too. */
static int64_t hung_for(const struct process_health *h, int64_t now_ms)
{
	int64_t call_ms = atomic_load(&h->call_since_ms), hung_ms = 0;

	if (atomic_load(&h->state) == HEALTH_BUSY)
		hung_ms = now_ms - atomic_load(&h->busy_since_ms);
	return call_ms != 0 && now_ms - call_ms > hung_ms ? now_ms - call_ms : hung_ms;
}

bool child_watch(struct child *c, int64_t now_ms)
{
	if (c->pid == 0)
		return false;
	if (!c->is_ready && now_ms - c->started_ms > READY_MS) {
		log_event(LOG_ERROR, "process.never_ready", "name", process_name(c->process),
			  "child", log_i64(c->pid), NULL);
		c->started_ms = now_ms; /* give the kill time before the next one */
		child_signal(c, SIGKILL);
		return false;
	}
	if (c->process != PROCESS_VAULT)
		return false;
	struct process_health *h = health_of(c);
	int64_t hung_ms = hung_for(h, now_ms);
	if (hung_ms <= KB_HSM_CALL_MS - EARLY_MS)
		return false;
	log_event(LOG_ERROR, "vault.hung", "child", log_i64(c->pid), "since_ms", log_i64(hung_ms),
		  NULL);
	child_signal(c, SIGKILL);
	atomic_store(&h->call_since_ms, 0);
	health_fail(h, KB_E_HSM_DEVICE);
	return true;
}

void child_signal(const struct child *c, int sig)
{
	if (c->pid > 0 && kill(c->pid, sig) != 0)
		log_event(LOG_WARN, "process.signal", "child", log_i64(c->pid), "why",
			  strerror(errno), NULL);
}

uint64_t child_gauge(const struct child *c, enum counter which)
{
	return c->slot < 0 ? 0
			   : atomic_load(&c->host->shared->stats.process[c->slot].counter[which]);
}

void child_release(struct child *c)
{
	if (c->pid != 0)
		KB_BUG();
	close_control(c);
	if (c->slot >= 0)
		shared_give_back(c->host->shared, (unsigned)c->slot);
	c->slot = -1;
}
