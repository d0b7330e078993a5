/* broker/supervisor/supervisor.c — starts, watches, replaces and ends the processes.  Decides which
 * generation serves.  Trusts the configuration's files and exit codes.  Never parses a client's
 * byte, never reads the PIN, never replaces a configuration that works by one that does not. */
#include "supervisor/supervisor.h"

#include <errno.h>
#include <event2/event.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/version.h"
#include "config/change.h"
#include "supervisor/clock_step.h"
#include "supervisor/generation.h"
#include "supervisor/load.h"
#include "supervisor/notify.h"
#include "supervisor/report.h"
#include "supervisor/state.h"
#include "supervisor/system.h"

enum {
	TICK_MS = 100,
	MAX_GENERATIONS = PROCESS_GENERATIONS,
	RELOAD_MS = 1000,      /* the least time between two reloads */
	LEDGER_END_MS = 10000, /* for the ledger to end, after all others have ended */
};

struct supervisor {
	struct host host;
	struct state state;
	struct child ledger;
	struct generation *generation[MAX_GENERATIONS];
	struct generation *current, *next; /* among the above; next: starting */
	struct reload_report report;
	int64_t handover_ms; /* when `current` took over and the old gateways were told; 0: all have
			      * obeyed */
	uint32_t last_number;
	int64_t last_reload_ms, ledger_end_ms;
	bool is_reload_wanted, is_stopping, is_notified, was_ledger_ready;
	bool is_unfit; /* it stops because it could never serve */
	int exit_code;
	struct event *signal[6], *tick;
	struct process_stats *own_stats;
};

/* ---- reports: statistics, service manager ---- */

static void list_issuers(struct board *board, const struct config *c)
{
	atomic_store(&board->n_issuers, 0);
	for (size_t i = 0; i < c->n_issuers; i++) {
		struct board_issuer *is = &board->issuer[i];
		snprintf(is->name, sizeof is->name, "%s", c->issuers[i].rules.name);
		atomic_store(&is->is_pinned, c->issuers[i].source == KEYS_JWKS_FILE);
	}
	atomic_store(&board->n_issuers, (uint32_t)c->n_issuers);
}

static void report_generation(struct supervisor *s, const struct generation *g)
{
	struct board *board = s->host.shared.board;

	memcpy(board->config_digest, g->config->digest, sizeof board->config_digest);
	atomic_store(&board->loaded_s, clock_wall_s());
	list_issuers(board, g->config);
	atomic_store(&board->generation, g->number);
}

static void report_ready(struct supervisor *s, const char *what)
{
	char text[256];

	snprintf(text, sizeof text, "%s; configuration %.12s, generation %u", what,
		 s->current->config->digest, s->current->number);
	notify_ready(text);
	s->is_notified = true;
}

/* A gateway, or the first worker, which tests the HSM for the generation, cannot work with this
 * configuration, and another try will not change that. */
static bool is_unfit(const struct generation *g)
{
	for (unsigned i = 0; i < g->config->gateways; i++)
		if (g->gateway[i].held == KB_E_CONFIG && g->gateway[i].ready_ms == 0)
			return true;
	return !g->has_proof && g->vault[0].held == KB_E_CONFIG;
}

static void stop(struct supervisor *s);

static void check_ready(struct supervisor *s)
{
	if (s->is_notified || s->is_stopping)
		return;
	if (s->ledger.is_ready && generation_serves(s->current)) {
		log_event(LOG_INFO, "broker.ready", "config", s->current->config->digest, NULL);
		report_ready(s, "serving");
	} else if (is_unfit(s->current)) {
		s->is_unfit = true;
		stop(s);
	} else if (s->current->is_pin_refused) {
		/* Stay up, with the reason on /readyz.  A service manager that restarts us would
		 * use up the token's PIN tries. */
		report_ready(s, "not serving: the HSM refused the PIN");
	}
}

/* ---- processes ---- */

/* The ledger stays when the configuration changes. */
static void set_ledger_limits(struct supervisor *s)
{
	const struct config *c = s->current->config;
	const struct {
		enum control_type type;
		int64_t value;
	} limits[] = {
		{CONTROL_SEGMENT_BYTES, c->ledger_segment_bytes},
		{CONTROL_RESERVE_BYTES, c->ledger_reserve},
		{CONTROL_REFUSALS_PER_SOURCE, c->refusals_per_source},
		{CONTROL_REFUSALS_BYTES, c->refusals_bytes},
	};

	for (size_t i = 0; s->ledger.is_ready && i < sizeof limits / sizeof limits[0]; i++)
		if (control_send(s->ledger.control, limits[i].type, s->current->number,
				 (uint64_t)limits[i].value) != KB_OK) {
			child_signal(&s->ledger, SIGKILL); /* started again, it reads them */
			return;
		}
}

static void on_ready(void *ctx, struct child *c)
{
	struct supervisor *s = ctx;

	if (c != &s->ledger)
		return;
	s->was_ledger_ready = true;
	set_ledger_limits(s); /* a reload may have been done since it was started */
	/* The newest first: else the ledger would record an older one as a configuration that came
	 * back. */
	for (uint32_t number = s->last_number; number > 0; number--)
		for (size_t i = 0; i < MAX_GENERATIONS; i++)
			if (s->generation[i] != NULL && s->generation[i]->number == number &&
			    generation_introduce(s->generation[i], c) != KB_OK)
				/* it gets the sockets when it is started again */
				child_signal(c, SIGKILL);
}

static void end_loop(struct supervisor *s, int exit_code)
{
	s->exit_code = exit_code;
	event_base_loopbreak(s->host.base);
}

static void ledger_ended(struct supervisor *s, int status)
{
	(void)child_ended(&s->ledger, status, s->is_stopping);
	if (s->ledger_end_ms != 0)
		end_loop(s, s->is_unfit ? 1 : 0);
	else if (s->ledger.held != KB_OK && !s->was_ledger_ready)
		end_loop(s, 1); /* it cannot work with this ledger: do not start */
}

static void on_child(evutil_socket_t sig, short what, void *ctx)
{
	struct supervisor *s = ctx;
	int status;
	pid_t pid;

	(void)sig;
	(void)what;
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (pid == s->ledger.pid) {
			ledger_ended(s, status);
			continue;
		}
		for (size_t i = 0; i < MAX_GENERATIONS; i++) {
			struct child *c = s->generation[i] == NULL
						  ? NULL
						  : generation_child(s->generation[i], pid);
			if (c != NULL)
				generation_ended(s->generation[i], c, status);
		}
	}
}

/* ---- generations ---- */

static struct generation **free_place(struct supervisor *s)
{
	for (size_t i = 0; i < MAX_GENERATIONS; i++)
		if (s->generation[i] == NULL)
			return &s->generation[i];
	return NULL;
}

static void reload_failed(struct supervisor *s, const char *why)
{
	s->report.refused = s->report.begun;
	snprintf(s->report.why, sizeof s->report.why, "%.*s", REPORT_WHY - 1, why);
	log_event(LOG_ERROR, "reload.failed", "why", why, "config_in_force",
		  s->current->config->digest, NULL);
	stats_count(s->own_stats, COUNT_RELOADS_FAILED, 1);
	if (s->is_notified)
		report_ready(s, "the new configuration was refused, the old one serves");
}

/* What the start checks before its first process, for a configuration that is to replace one. */
static bool is_acceptable(const struct supervisor *s, const struct config *config,
			  char why[static 512])
{
	char names[64];

	config_restart_names(s->current->config, config, names);
	if (names[0] != '\0')
		snprintf(why, 512,
			 "%s: taken up by a restart only; put back what was there, or restart the "
			 "broker",
			 names);
	return names[0] == '\0' && load_certificates(config, s->current->config, why) == KB_OK &&
	       system_limits(config, why) == KB_OK &&
	       state_check_hsm(config, &s->host.user, why) == KB_OK;
}

static void write_report(struct supervisor *s)
{
	struct reload_report *r = &s->report;

	memset(r->ending, 0, sizeof r->ending);
	r->n_ending = 0;
	for (size_t i = 0; i < MAX_GENERATIONS; i++) {
		const struct generation *g = s->generation[i];
		if (g == NULL || g == s->current || g == s->next)
			continue;
		r->ending[r->n_ending].generation = g->number;
		r->ending[r->n_ending++].connections = generation_connections(g);
	}
	report_write(s->state.report, r);
}

static void reload(struct supervisor *s)
{
	struct generation **place = free_place(s);
	struct snapshot *src;
	struct config *config;
	struct config_faults faults;
	char why[512];

	s->is_reload_wanted = false;
	s->last_reload_ms = clock_mono_ms();
	s->report.begun++;
	write_report(s);
	notify_reloading();
	enum kb_err err = load_config(s->host.config_path, &src, &config, &faults);
	for (size_t i = 0; i < faults.n; i++)
		log_event(LOG_ERROR, "config.fault", "what", faults.text[i], NULL);
	if (err != KB_OK) {
		reload_failed(s, faults.n > 0 ? faults.text[0] : kb_err_name(err));
		config_faults_free(&faults);
		return;
	}
	config_faults_free(&faults);
	if (!is_acceptable(s, config, why) ||
	    generation_new(&s->host, s->last_number + 1, src, config, s->current, place, why) !=
		    KB_OK) {
		config_free(config);
		snapshot_free(src);
		reload_failed(s, why);
		return;
	}
	s->last_number++;
	s->next = *place;
	log_event(LOG_INFO, "reload.started", "config", s->next->config->digest, "generation",
		  log_i64(s->next->number), NULL);
	if (s->ledger.is_ready && generation_introduce(s->next, &s->ledger) != KB_OK)
		child_signal(&s->ledger, SIGKILL);
}

static enum drain drain_for(const struct generation *old, const struct generation *now)
{
	switch (config_change(old->config, old->source, now->config, now->source)) {
	case CHANGE_NONE:
		return DRAIN_SAME;
	case CHANGE_ADDS:
		return DRAIN_ADDED;
	case CHANGE_JUDGES:
		return DRAIN_CLOSED;
	}
	KB_BUG();
}

/* The next generation is ready: it serves.  The old ones finish what they may, also those that were
 * ending already: what allowed them to judge on was the configuration between. */
static void take_over(struct supervisor *s, int64_t now_ms)
{
	static const char *const texts[] = {
		[DRAIN_SAME] = "judges its requests",
		[DRAIN_ADDED] = "judges the requests it has",
		[DRAIN_CLOSED] = "takes no request any more",
	};

	s->current = s->next;
	s->next = NULL;
	s->current->stage = GENERATION_SERVING;
	s->handover_ms = now_ms;
	for (size_t i = 0; i < MAX_GENERATIONS; i++) {
		struct generation *g = s->generation[i];
		if (g == NULL || g == s->current)
			continue;
		enum drain why = drain_for(g, s->current);
		log_event(LOG_INFO, "generation.superseded", "generation", log_i64(g->number),
			  "and_now", texts[why], NULL);
		generation_drain(g, why, now_ms);
	}
	set_ledger_limits(s);
}

/* The reload is done when no old gateway accepts connections any more. */
static void check_handover(struct supervisor *s, int64_t now_ms)
{
	bool is_done = true;

	if (s->handover_ms == 0)
		return;
	for (size_t i = 0; i < MAX_GENERATIONS; i++)
		if (s->generation[i] != NULL && s->generation[i] != s->current &&
		    !generation_has_handed_over(s->generation[i], now_ms,
						s->handover_ms + KB_HANDOVER_MS))
			is_done = false;
	if (!is_done)
		return;
	s->handover_ms = 0;
	s->report.generation = s->current->number;
	s->report.taken = s->report.begun;
	report_generation(s, s->current);
	stats_count(s->own_stats, COUNT_RELOADS, 1);
	log_event(LOG_INFO, "reload.done", "config", s->current->config->digest, "generation",
		  log_i64(s->current->number), NULL);
	report_ready(s, "serving");
}

/* A reload must not wait for the slow clients of old generations: the oldest ends now. */
static void make_place(struct supervisor *s, int64_t now_ms)
{
	struct generation *oldest = NULL;

	if (free_place(s) != NULL)
		return;
	for (size_t i = 0; i < MAX_GENERATIONS; i++)
		if (s->generation[i] != s->current && s->generation[i] != s->next &&
		    (oldest == NULL || s->generation[i]->number < oldest->number))
			oldest = s->generation[i];
	if (oldest == NULL || oldest->drain == DRAIN_NOW)
		return;
	log_event(LOG_WARN, "generation.superseded", "generation", log_i64(oldest->number),
		  "and_now", "ends: its slow clients hold the place of another reload", NULL);
	generation_drain(oldest, DRAIN_NOW, now_ms);
}

static void check_next(struct supervisor *s, int64_t now_ms)
{
	const char *why = NULL;

	if (s->next == NULL)
		return;
	if (generation_serves(s->next)) {
		take_over(s, now_ms);
		return;
	}
	if (s->next->is_pin_refused)
		why = "the HSM refuses its PIN";
	else if (is_unfit(s->next))
		why = "its processes cannot work with it; see process.failed and gateway.tls in "
		      "the broker's log";
	else if (now_ms > s->next->deadline_ms)
		why = "its processes did not become ready in time";
	if (why == NULL)
		return;
	generation_kill(s->next);
	s->next = NULL;
	reload_failed(s, why);
}

static void sweep_generations(struct supervisor *s, int64_t now_ms)
{
	for (size_t i = 0; i < MAX_GENERATIONS; i++) {
		struct generation *g = s->generation[i];
		if (g == NULL)
			continue;
		generation_tick(g, now_ms);
		generation_advance(g, now_ms);
		if (!generation_is_over(g))
			continue;
		log_event(LOG_INFO, "generation.over", "generation", log_i64(g->number), NULL);
		if (g == s->current)
			s->current = NULL;
		generation_free(g);
		s->generation[i] = NULL;
	}
}

/* ---- ending ---- */

static void stop(struct supervisor *s)
{
	if (s->is_stopping)
		return;
	s->is_stopping = true;
	log_event(LOG_INFO, "broker.stopping", NULL);
	notify_stopping();
	if (s->next != NULL)
		generation_kill(s->next);
	s->next = NULL;
	for (size_t i = 0; i < MAX_GENERATIONS; i++)
		if (s->generation[i] != NULL)
			generation_drain(s->generation[i], DRAIN_STOP, clock_mono_ms());
}

/* After all generations have ended, close the ledger's control socket: it writes its last record
 * and ends. */
static void stop_ledger(struct supervisor *s, int64_t now_ms)
{
	for (size_t i = 0; i < MAX_GENERATIONS; i++)
		if (s->generation[i] != NULL)
			return;
	if (s->ledger_end_ms == 0) {
		s->ledger_end_ms = now_ms + LEDGER_END_MS;
		if (s->ledger.pid == 0) {
			end_loop(s, s->is_unfit ? 1 : 0);
			return;
		}
		event_del(s->ledger.reader);
		close(s->ledger.control);
		s->ledger.control = -1;
	} else if (now_ms > s->ledger_end_ms) {
		child_signal(&s->ledger, SIGKILL);
	}
}

/* ---- the loop ---- */

static void check_clock(struct supervisor *s, int64_t now_ms)
{
	int64_t moved_ms = clock_step_check();

	if (moved_ms == 0)
		return;
	log_event(LOG_WARN, "clock.step", "by_ms", log_i64(moved_ms), NULL);
	atomic_store(&s->host.shared.board->clock_stepped_ms, now_ms);
}

static void on_tick(evutil_socket_t fd, short what, void *ctx)
{
	struct supervisor *s = ctx;
	int64_t now_ms = clock_mono_ms();

	(void)fd;
	(void)what;
	check_clock(s, now_ms);
	notify_watchdog(now_ms);
	if (s->ledger_end_ms == 0) {
		if (child_is_due(&s->ledger, now_ms) && s->current != NULL)
			child_start(&s->ledger, s->current->archive_ledger, &s->state.ledger_dir,
				    1);
		child_watch(&s->ledger, now_ms);
	}
	sweep_generations(s, now_ms);
	write_report(s);
	if (s->is_stopping) {
		stop_ledger(s, now_ms);
		return;
	}
	check_next(s, now_ms);
	check_handover(s, now_ms);
	check_ready(s);
	if (!s->is_reload_wanted || s->next != NULL || s->handover_ms != 0 ||
	    now_ms - s->last_reload_ms < RELOAD_MS)
		return;
	make_place(s, now_ms);
	if (free_place(s) != NULL)
		reload(s);
}

static void on_signal(evutil_socket_t sig, short what, void *ctx)
{
	struct supervisor *s = ctx;

	(void)what;
	if (sig == SIGHUP)
		s->is_reload_wanted = true; /* several signals are one reload */
	else if (sig == SIGUSR1 && s->ledger.is_ready)
		(void)!control_send(s->ledger.control, CONTROL_ROTATE, 0, 0);
	else if (sig == SIGTERM || sig == SIGINT)
		stop(s);
}

static enum kb_err make_events(struct supervisor *s)
{
	const int handled[] = {SIGHUP, SIGTERM, SIGINT, SIGUSR1};
	const struct timeval tick = {.tv_usec = TICK_MS * 1000};
	size_t n = 0;

	if ((s->host.base = event_base_new()) == NULL)
		return KB_E_SYS;
	for (size_t i = 0; i < sizeof handled / sizeof handled[0]; i++)
		s->signal[n++] = evsignal_new(s->host.base, handled[i], on_signal, s);
	s->signal[n++] = evsignal_new(s->host.base, SIGCHLD, on_child, s);
	for (size_t i = 0; i < n; i++)
		if (s->signal[i] == NULL || event_add(s->signal[i], NULL) != 0)
			return KB_E_SYS;
	s->tick = event_new(s->host.base, -1, EV_PERSIST, on_tick, s);
	return s->tick != NULL && event_add(s->tick, &tick) == 0 ? KB_OK : KB_E_SYS;
}

/* ---- start ---- */

static enum kb_err make_shared(struct supervisor *s)
{
	enum kb_err err = shared_create(&s->host.shared, FD_PAGES_END);

	if (err != KB_OK)
		return err;
	struct board *board = s->host.shared.board;
	struct seat *seat = &board->seat[SLOT_SUPERVISOR];
	s->own_stats = &board->page.stats;
	log_count_dropped(&s->own_stats->counter[COUNT_LOG_DROPPED]);
	atomic_store(&seat->pid, getpid());
	atomic_store(&seat->kind, PROCESS_SUPERVISOR);
	health_set(&board->page.health, HEALTH_READY);
	atomic_store(&board->started_s, clock_wall_s());
	return KB_OK;
}

/* Everything before the first process.  Errors are printed. */
static enum kb_err prepare(struct supervisor *s)
{
	struct snapshot *src;
	struct config *config;
	struct config_faults faults;
	char why[512];
	enum kb_err err = load_config(s->host.config_path, &src, &config, &faults);

	if (err != KB_OK)
		load_print_faults(&faults, err);
	config_faults_free(&faults);
	if (err != KB_OK)
		return err;
	if ((err = system_user(config, &s->host.user)) != KB_OK)
		goto fail;
	if ((err = load_certificates(config, NULL, why)) != KB_OK ||
	    (err = system_limits(config, why)) != KB_OK ||
	    (err = state_open(config, &s->host.user, &s->state, why)) != KB_OK) {
		fprintf(stderr, "%s\n", why);
		goto fail;
	}
	/* The configuration is freed with its generation, but the user's name is needed longer. */
	bool has_name = s->host.user.name == NULL ||
			(s->host.user.name = strdup(s->host.user.name)) != NULL;
	s->host.exe = spawn_exe();
	if (!has_name || s->host.exe < 0 || make_shared(s) != KB_OK || make_events(s) != KB_OK ||
	    sandbox_harden() != KB_OK || sandbox_enter_supervisor() != KB_OK) {
		fprintf(stderr, "cannot start: %s\n", strerror(errno));
		err = KB_E_SYS;
		goto fail;
	}
	if ((err = generation_new(&s->host, 1, src, config, NULL, &s->generation[0], why)) !=
	    KB_OK) {
		fprintf(stderr, "%s\n", why);
		goto fail;
	}
	s->current = s->generation[0];
	s->last_number = s->report.generation = 1;
	report_generation(s, s->current);
	return KB_OK;
fail:
	config_free(config);
	snapshot_free(src);
	return err;
}

static char *absolute(const char *path)
{
	char *full, *here;

	if (path[0] == '/')
		return strdup(path);
	here = getcwd(NULL, 0);
	if (here == NULL || asprintf(&full, "%s/%s", here, path) < 0)
		full = NULL;
	free(here);
	return full;
}

int supervisor_run(const char *config_path)
{
	static struct supervisor s;
	char *path = absolute(config_path);

	if (path == NULL) {
		fprintf(stderr, "%s: %s\n", config_path, strerror(errno));
		return 1;
	}
	log_init(process_name(PROCESS_SUPERVISOR), LOG_INFO);
	log_never_wait();
	s = (struct supervisor){.exit_code = 1,
				.state = {.ledger_dir = -1, .pid_file = -1, .report = -1},
				.host = {.config_path = path, .exe = -1}};
	s.host.on_ready = on_ready;
	s.host.ctx = &s;
	clock_step_init();
	notify_init();
	signal(SIGPIPE, SIG_IGN);
	child_init(&s.ledger, &s.host, PROCESS_LEDGER, 0, 0);
	if (prepare(&s) == KB_OK) {
		log_event(LOG_INFO, "broker.start", "version", KB_VERSION, "config",
			  s.current->config->digest, NULL);
		if (sandbox_landlock() == 0)
			log_event(LOG_WARN, "sandbox.landlock", "why",
				  "this kernel has no Landlock: the processes may reach all files "
				  "of their user",
				  "fix", "Linux 5.13 or later with landlock in lsm=", NULL);
		if (!sandbox_is_complete())
			log_event(LOG_WARN, "sandbox.incomplete", "why",
				  "this build has a sanitizer or counts coverage: it is for tests",
				  NULL);
		on_tick(-1, 0, &s);    /* ledger, fetcher, vault, gateways */
		if (s.ledger.pid == 0) /* the first process: no other would start either */
			fprintf(stderr, "no process can be started: is the limit of processes "
					"reached (LimitNPROC, TasksMax, ulimit -u)?\n");
		else if (event_base_dispatch(s.host.base) < 0)
			log_event(LOG_ERROR, "broker.loop", NULL);
		log_event(LOG_INFO, "broker.end", "exit_code", log_i64(s.exit_code), NULL);
	}
	/* Processes that still run are killed with us (sandbox_die_with_parent); the ledger ends
	 * when its control socket is closed. */
	state_close(&s.state);
	free(path);
	return s.exit_code;
}
