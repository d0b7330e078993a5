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
	/* The most that one look at a process counts as its silence; looks are 100 ms apart. */
	WATCH_MS = 500,
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

/* What it says; any bytes, when an attacker runs it. */
static const struct process_health *health_of(const struct child *c)
{
	if (c->slot < 0)
		KB_BUG();
	return &c->host->shared.all.page[c->slot]->health;
}

/* What we know. */
static struct seat *seat_of(const struct child *c)
{
	if (c->slot < 0)
		KB_BUG();
	return &c->host->shared.board->seat[c->slot];
}

static void count_event(const struct child *c, enum process_kind kind, enum counter event)
{
	stats_count(&c->host->shared.board->retired[kind].stats, event, 1);
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
		atomic_store(&seat_of(c)->fault, KB_OK);
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

/* An empty page for the new process.  Its predecessor's fault stays on the seat, because until
 * READY it is the reason for /readyz. */
static bool take_slot(struct child *c)
{
	if (c->slot >= 0)
		return shared_renew(&c->host->shared, (unsigned)c->slot) == KB_OK;
	c->slot = shared_take(&c->host->shared, c->process, c->generation);
	return c->slot >= 0;
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
		.pages = h->shared.fd,
	};
	int pair[2] = {-1, -1}, own = -1;

	c->started_ms = clock_mono_ms();
	c->is_ready = c->is_draining = false;
	c->is_killed = false;
	c->quiet_ms = 0;
	c->watched_ms = c->started_ms;
	close_control(c);
	if (s.n_fds > SPAWN_MAX_FDS)
		KB_BUG();
	if (!take_slot(c) || (own = shared_open_own(&h->shared, (unsigned)c->slot)) < 0 ||
	    socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
		goto fail;
	c->control = pair[0];
	c->reader = event_new(h->base, c->control, EV_READ | EV_PERSIST, on_message, c);
	if (c->reader == NULL || event_add(c->reader, NULL) != 0)
		goto fail;
	s.slot = (unsigned)c->slot;
	s.index = c->index;
	s.fds[0] = pair[1];
	s.fds[1] = own;
	s.fds[2] = archive;
	memcpy(s.fds + 3, fds, n * sizeof *fds);
	if (spawn_process(&s, &c->pid) != KB_OK) {
		c->pid = 0;
		goto fail;
	}
	close(pair[1]);
	close(own);
	if (c->starts++ > 0)
		count_event(c, c->process, COUNT_RESTARTS);
	atomic_store(&seat_of(c)->pid, c->pid);
	return;
fail:
	log_event(LOG_ERROR, "process.start_failed", "name", process_name(c->process), "why",
		  c->slot < 0 ? "no free slot" : strerror(errno), NULL);
	if (pair[1] >= 0)
		close(pair[1]);
	if (own >= 0)
		close(own);
	close_control(c);
	back_off(c, c->started_ms);
}

struct lost_request child_ended(struct child *c, int status, bool is_expected)
{
	const struct process_health *h = health_of(c);
	struct seat *seat = seat_of(c);
	struct lost_request lost = {.id = atomic_load(&h->request_id),
				    .gateway = atomic_load(&h->gateway)};
	int code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;

	log_event(is_expected ? LOG_INFO : LOG_WARN, "process.ended", "name",
		  process_name(c->process), "child", log_i64(c->pid), "generation",
		  log_i64(c->generation), WIFSIGNALED(status) ? "signal" : "exit_code",
		  log_i64(WIFSIGNALED(status) ? WTERMSIG(status) : code), NULL);
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS) {
		/* The sandbox stopped it: an attacker ran code in it, or its list lacks a call. */
		count_event(c, PROCESS_SUPERVISOR, COUNT_KILLED_FORBIDDEN);
		log_event(LOG_ERROR, "process.forbidden_call", "name", process_name(c->process),
			  "child", log_i64(c->pid), "why",
			  "it made a system call that its sandbox forbids", "fix",
			  "the kernel's audit log has the call: type=1326", NULL);
	}
	c->pid = 0;
	close_control(c);
	atomic_store(&seat->pid, 0);
	if (health_fault(h) != KB_OK)
		atomic_store(&seat->fault, health_fault(h));
	/* It may have been killed between the refusal and its end. */
	if (code == PROCESS_EXIT_PIN ||
	    (c->process == PROCESS_VAULT && atomic_load(&h->pin_refused) != 0)) {
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
	if (c->held != KB_OK && atomic_load(&seat->fault) == KB_OK)
		atomic_store(&seat->fault, c->held);
	back_off(c, clock_mono_ms());
	return lost;
}

/* For how long its loop has not turned.  Only time in which the supervisor ran itself: when the
 * machine had no processor for it, it had none for others either. */
static int64_t quiet_ms(struct child *c, int64_t now_ms)
{
	const struct process_health *h = health_of(c);
	const uint32_t beats = atomic_load(&h->beats);
	const int64_t passed_ms = now_ms - c->watched_ms;

	c->watched_ms = now_ms;
	/* A vault that hands over waits for the ledger, which is watched itself. */
	if (beats != c->beats || atomic_load(&h->state) == HEALTH_HANDOVER) {
		c->beats = beats;
		c->quiet_ms = 0;
	} else if (passed_ms > 0) {
		c->quiet_ms += passed_ms < WATCH_MS ? passed_ms : WATCH_MS;
	}
	return c->quiet_ms;
}

static void kill_hung(struct child *c, const char *event, int64_t since_ms, enum kb_err fault)
{
	log_event(LOG_ERROR, event, "name", process_name(c->process), "child", log_i64(c->pid),
		  "since_ms", log_i64(since_ms), NULL);
	child_signal(c, SIGKILL);
	c->is_killed = true;
	atomic_store(&seat_of(c)->fault, fault);
	count_event(c, PROCESS_SUPERVISOR, COUNT_KILLED_HUNG);
}

void child_watch(struct child *c, int64_t now_ms)
{
	if (c->pid == 0 || c->is_killed)
		return;
	if (!c->is_ready && now_ms - c->started_ms > READY_MS) {
		log_event(LOG_ERROR, "process.never_ready", "name", process_name(c->process),
			  "child", log_i64(c->pid), NULL);
		child_signal(c, SIGKILL);
		c->is_killed = true;
		return;
	}
	const struct process_health *h = health_of(c);
	if (c->process == PROCESS_VAULT) {
		/* A call may hang at the start and between requests, too. */
		const int64_t hung_ms = health_hung_ms(h, now_ms);
		if (hung_ms > KB_HSM_CALL_MS - EARLY_MS) {
			kill_hung(c, "vault.hung", hung_ms, KB_E_HSM_DEVICE);
			return;
		}
	}
	if (!c->is_ready) {
		c->watched_ms = now_ms;
		return;
	}
	const bool is_syncing =
		c->process == PROCESS_LEDGER && atomic_load(&h->state) == HEALTH_BUSY;
	const int64_t quiet = quiet_ms(c, now_ms);
	if (quiet > (is_syncing ? KB_HEARTBEAT_SYNC_MS : KB_HEARTBEAT_MS))
		kill_hung(c, "process.hung", quiet, KB_E_PROCESS_LOST);
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
			   : atomic_load(&c->host->shared.all.page[c->slot]->stats.counter[which]);
}

void child_release(struct child *c)
{
	if (c->pid != 0)
		KB_BUG();
	close_control(c);
	if (c->slot >= 0)
		shared_give_back(&c->host->shared, (unsigned)c->slot);
	c->slot = -1;
}
