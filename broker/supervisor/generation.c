/* broker/supervisor/generation.c — the processes and sockets of one configuration.  Decides in
 * which order they start and end.  Has a copy of every socket, so that a restarted process gets the
 * same ones. At the end closes them in the direction of the data, so that an end of file goes from
 * gateway to ledger.  Never reads from any of them. */
#include "supervisor/generation.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "process/frame.h"
#include "supervisor/listen.h"

enum { START_MS = 15000 }; /* a new generation that does not serve by then is killed */

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static void close_pair(int fd[static 2])
{
	close_fd(&fd[0]);
	close_fd(&fd[1]);
}

/* ---- sockets and archives ---- */

static enum kb_err pack_archives(struct generation *g)
{
	const struct {
		unsigned parts;
		int *fd;
	} archive[] = {
		{CONFIG_GATEWAY, &g->archive_gateway},
		{CONFIG_VAULT, &g->archive_vault},
		{CONFIG_FETCHER, &g->archive_fetcher},
		{CONFIG_LEDGER, &g->archive_ledger},
	};
	enum kb_err err = KB_OK;

	for (size_t i = 0; i < sizeof archive / sizeof archive[0] && err == KB_OK; i++)
		err = snapshot_pack(g->source, archive[i].parts, archive[i].fd);
	return err;
}

static enum kb_err make_pairs(struct generation *g)
{
	enum kb_err err;

	if ((err = frame_pair(g->replies)) != KB_OK ||
	    (err = frame_pair(g->fetch_requests)) != KB_OK)
		return err;
	for (unsigned i = 0; i < g->config->gateways; i++)
		if ((err = frame_pair(g->requests[i])) != KB_OK ||
		    (err = frame_pair(g->responses[i])) != KB_OK)
			return err;
	return KB_OK;
}

/* The old generation's socket of this address, or -1. */
static int shared_listener(const struct generation *old, const char *address)
{
	if (old == NULL)
		return -1;
	if (old->config->metrics_address != NULL &&
	    strcmp(old->config->metrics_address, address) == 0)
		return old->metrics;
	for (size_t i = 0; i < old->config->n_listeners; i++)
		if (strcmp(old->config->listeners[i].address, address) == 0)
			return old->listeners[i];
	return -1;
}

static enum kb_err get_listener(const struct generation *old, const char *address, int *fd,
				char why[static 256])
{
	int have = shared_listener(old, address);
	enum kb_err err;

	if (have >= 0) {
		*fd = fcntl(have, F_DUPFD_CLOEXEC, FD_FIRST);
		err = *fd < 0 ? KB_E_SYS : KB_OK;
	} else {
		err = listen_open(address, fd);
	}
	if (err != KB_OK)
		snprintf(why, 256, "cannot listen on %.100s: %s", address,
			 err == KB_E_CONFIG ? "not a numeric address with a port"
					    : strerror(errno));
	return err;
}

static enum kb_err get_listeners(struct generation *g, const struct generation *old,
				 char why[static 256])
{
	const struct config *c = g->config;
	enum kb_err err;

	for (size_t i = 0; i < c->n_listeners; i++)
		if ((err = get_listener(old, c->listeners[i].address, &g->listeners[i], why)) !=
		    KB_OK)
			return err;
	if (c->metrics_address != NULL)
		return get_listener(old, c->metrics_address, &g->metrics, why);
	g->metrics = open("/dev/null", O_RDWR | O_CLOEXEC);
	return g->metrics < 0 ? KB_E_SYS : KB_OK;
}

static void blank(struct generation *g)
{
	int *const single[] = {&g->archive_gateway, &g->archive_vault,     &g->archive_fetcher,
			       &g->archive_ledger,  &g->metrics,           &g->replies[0],
			       &g->replies[1],      &g->fetch_requests[0], &g->fetch_requests[1]};

	for (size_t i = 0; i < sizeof single / sizeof single[0]; i++)
		*single[i] = -1;
	for (size_t i = 0; i < GENERATION_GATEWAYS; i++)
		g->requests[i][0] = g->requests[i][1] = g->responses[i][0] = g->responses[i][1] =
			-1;
	for (size_t i = 0; i < KB_MAX_LISTENERS; i++)
		g->listeners[i] = -1;
}

enum kb_err generation_new(struct host *host, uint32_t number, struct snapshot *source,
			   struct config *config, const struct generation *old,
			   struct generation **out, char why[static 256])
{
	struct generation *g = calloc(1, sizeof *g);
	enum kb_err err;

	*out = NULL;
	snprintf(why, 256, "out of memory");
	if (g == NULL)
		return KB_E_NOMEM;
	blank(g);
	g->number = number;
	g->host = host;
	g->source = source;
	g->config = config;
	g->is_first = old == NULL;
	g->stage = old == NULL ? GENERATION_SERVING : GENERATION_STARTING;
	g->deadline_ms = clock_mono_ms() + START_MS;
	for (unsigned i = 0; i < GENERATION_GATEWAYS; i++)
		child_init(&g->gateway[i], host, PROCESS_GATEWAY, number, i);
	for (unsigned i = 0; i < KB_MAX_WORKERS; i++)
		child_init(&g->vault[i], host, PROCESS_VAULT, number, i);
	child_init(&g->fetcher, host, PROCESS_FETCHER, number, 0);

	err = KB_E_CONFIG;
	snprintf(why, 256, "gateways must be 1 to %d, workers 1 to %d", GENERATION_GATEWAYS,
		 KB_MAX_WORKERS);
	if (config->gateways == 0 || config->gateways > GENERATION_GATEWAYS ||
	    config->workers == 0 || config->workers > KB_MAX_WORKERS)
		goto fail;
	if ((err = get_listeners(g, old, why)) != KB_OK)
		goto fail;
	snprintf(why, 256, "the archives of the configuration cannot be made");
	if ((err = pack_archives(g)) != KB_OK)
		goto fail;
	snprintf(why, 256,
		 "the sockets between processes cannot be made; net.core.wmem_max must be at least "
		 "%d",
		 KB_MAX_FRAME);
	if ((err = make_pairs(g)) != KB_OK)
		goto fail;
	*out = g;
	return KB_OK;
fail:
	g->source = NULL; /* still the caller's */
	g->config = NULL;
	generation_free(g);
	return err;
}

static void close_ends(struct generation *g)
{
	for (size_t i = 0; i < KB_MAX_LISTENERS; i++)
		close_fd(&g->listeners[i]);
	close_fd(&g->metrics);
	for (size_t i = 0; i < GENERATION_GATEWAYS; i++)
		close_pair(g->requests[i]);
	close_pair(g->fetch_requests);
}

void generation_free(struct generation *g)
{
	if (g == NULL)
		return;
	for (unsigned i = 0; i < GENERATION_GATEWAYS; i++)
		child_release(&g->gateway[i]);
	for (unsigned i = 0; i < KB_MAX_WORKERS; i++)
		child_release(&g->vault[i]);
	child_release(&g->fetcher);
	close_ends(g);
	close_pair(g->replies);
	for (size_t i = 0; i < GENERATION_GATEWAYS; i++)
		close_pair(g->responses[i]);
	close_fd(&g->archive_gateway);
	close_fd(&g->archive_vault);
	close_fd(&g->archive_fetcher);
	close_fd(&g->archive_ledger);
	config_free(g->config);
	snapshot_free(g->source);
	free(g);
}

/* ---- running ---- */

/* The PIN file, opened anew for each worker, so that each has its own offset and lock.  The
 * supervisor never reads it. */
static int open_pin(const struct generation *g)
{
	const char *path = g->config->hsm_pin_file;
	char why[FILE_WHY];
	int fd;

	if (path == NULL)
		return open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (config_pin_open(g->config, &fd, why) != KB_OK)
		log_event(LOG_ERROR, "pin.file", "path", path, "why", why, NULL);
	return fd;
}

static void start_vault(struct generation *g, struct child *c, int64_t now_ms)
{
	int pin = open_pin(g);

	if (pin < 0) { /* without the file no login: try again later */
		c->next_ms = now_ms + 1000;
		return;
	}
	int fds[3 + GENERATION_GATEWAYS] = {g->replies[0], g->fetch_requests[0], pin};
	size_t n = 3;
	for (unsigned i = 0; i < g->config->gateways; i++)
		fds[n++] = g->requests[i][1];
	child_start(c, g->archive_vault, fds, n);
	close(pin);
}

static void start_gateway(struct generation *g, struct child *c)
{
	int fds[3 + KB_MAX_LISTENERS] = {g->requests[c->index][0], g->responses[c->index][1],
					 g->metrics};
	size_t n = 3;

	for (size_t i = 0; i < g->config->n_listeners; i++)
		fds[n++] = g->listeners[i];
	child_start(c, g->archive_gateway, fds, n);
}

static bool any_vault_ready(const struct generation *g)
{
	for (unsigned i = 0; i < g->config->workers; i++)
		if (g->vault[i].is_ready)
			return true;
	return false;
}

static void start_due(struct generation *g, int64_t now_ms)
{
	bool has_gateways = g->stage == GENERATION_STARTING || g->stage == GENERATION_SERVING;

	/* What is left in its socket needs no more workers than there are. */
	bool is_closed = g->stage == GENERATION_DRAINING &&
			 (g->drain == DRAIN_CLOSED || g->drain == DRAIN_NOW);

	if (has_gateways && child_is_due(&g->fetcher, now_ms))
		child_start(&g->fetcher, g->archive_fetcher, &g->fetch_requests[1], 1);
	/* One worker first: a wrong PIN then costs one of the token's tries, not one a worker. */
	for (unsigned i = 0; i < (g->has_proof ? g->config->workers : 1); i++)
		if (!g->is_pin_refused && !(is_closed && g->vault[i].starts == 0) &&
		    child_is_due(&g->vault[i], now_ms))
			start_vault(g, &g->vault[i], now_ms);
	/* A new generation accepts no connection before it can answer.  The first one does: with
	 * the HSM down, /readyz must be there to report it. */
	for (unsigned i = 0; i < g->config->gateways; i++)
		if (has_gateways && (g->is_first || g->has_proof) &&
		    child_is_due(&g->gateway[i], now_ms))
			start_gateway(g, &g->gateway[i]);
}

void generation_tick(struct generation *g, int64_t now_ms)
{
	g->has_proof = g->has_proof || any_vault_ready(g);
	if (g->stage != GENERATION_DYING && g->stage != GENERATION_EMPTYING)
		start_due(g, now_ms);
	child_watch(&g->fetcher, now_ms);
	for (unsigned i = 0; i < g->config->gateways; i++)
		child_watch(&g->gateway[i], now_ms);
	for (unsigned i = 0; i < g->config->workers; i++)
		child_watch(&g->vault[i], now_ms);
}

bool generation_serves(const struct generation *g)
{
	for (unsigned i = 0; i < g->config->gateways; i++)
		if (!g->gateway[i].is_ready)
			return false;
	return any_vault_ready(g);
}

enum kb_err generation_introduce(const struct generation *g, const struct child *ledger)
{
	struct control_message m = {
		.type = CONTROL_GENERATION, .generation = g->number, .value = g->number};
	int fds[1 + GENERATION_GATEWAYS] = {g->replies[1]};
	size_t n = 1;

	if (g->replies[1] < 0)
		return KB_OK; /* it sends no replies any more */
	for (unsigned i = 0; i < g->config->gateways; i++)
		fds[n++] = g->responses[i][0];
	memcpy(m.digest, g->config->digest, sizeof m.digest);
	return control_send_message(ledger->control, &m, fds, n);
}

struct child *generation_child(struct generation *g, pid_t pid)
{
	if (g->fetcher.pid == pid)
		return &g->fetcher;
	for (unsigned i = 0; i < GENERATION_GATEWAYS; i++)
		if (g->gateway[i].pid == pid)
			return &g->gateway[i];
	for (unsigned i = 0; i < KB_MAX_WORKERS; i++)
		if (g->vault[i].pid == pid)
			return &g->vault[i];
	return NULL;
}

static void notify_gateway(const struct generation *g, unsigned i, enum control_type type,
			   uint64_t value)
{
	if (g->gateway[i].control >= 0 &&
	    control_send(g->gateway[i].control, type, g->number, value) != KB_OK)
		log_event(LOG_WARN, "gateway.unreachable", "child", log_i64(g->gateway[i].pid),
			  NULL);
}

void generation_ended(struct generation *g, struct child *c, int status)
{
	bool is_expected = g->stage != GENERATION_STARTING && g->stage != GENERATION_SERVING;
	struct lost_request lost = child_ended(c, status, is_expected);

	if (c->process != PROCESS_VAULT)
		return;
	/* It has read its sockets to the end. */
	c->is_done = is_expected && WIFEXITED(status) && WEXITSTATUS(status) == PROCESS_EXIT_OK;
	if (lost.id != 0 && lost.gateway < GENERATION_GATEWAYS)
		notify_gateway(g, lost.gateway, CONTROL_LOST, lost.id);
	/* The other workers would try the same PIN when they are started again. */
	if (c->held == KB_E_HSM_PIN)
		g->is_pin_refused = true;
}

/* ---- ending ---- */

static bool any_runs(const struct child *c, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (c[i].pid != 0)
			return true;
	return false;
}

/* Its gateways share the open socket with us: from now on the kernel refuses every request of
 * theirs, also of a gateway that an attacker runs.  What is in the socket stays there, and behind
 * it the vaults read the end. */
static void close_requests(struct generation *g)
{
	bool is_shut = true;

	for (unsigned i = 0; i < GENERATION_GATEWAYS; i++)
		is_shut = (g->requests[i][0] < 0 || shutdown(g->requests[i][0], SHUT_WR) == 0) &&
			  is_shut;
	if (is_shut)
		return;
	log_event(LOG_ERROR, "generation.killed", "generation", log_i64(g->number), "why",
		  strerror(errno), NULL);
	generation_kill(g);
}

void generation_drain(struct generation *g, enum drain why, int64_t now_ms)
{
	/* The gateways end by themselves KB_LINGER_MS after theirs. */
	const int64_t until_ms = now_ms + KB_HANDOVER_MS +
				 (why == DRAIN_NOW    ? 0
				  : why == DRAIN_STOP ? KB_STOP_MS
						      : KB_DRAIN_MS);
	const bool is_first = g->stage == GENERATION_SERVING;

	if (!is_first && (g->stage != GENERATION_DRAINING || why <= g->drain))
		return;
	g->stage = GENERATION_DRAINING;
	g->drain = why;
	if (is_first || g->deadline_ms > until_ms)
		g->deadline_ms = until_ms;
	for (size_t i = 0; i < KB_MAX_LISTENERS; i++)
		close_fd(&g->listeners[i]);
	close_fd(&g->metrics);
	for (unsigned i = 0; i < GENERATION_GATEWAYS; i++)
		notify_gateway(g, i, CONTROL_DRAIN, why);
	if (why == DRAIN_CLOSED || why == DRAIN_NOW)
		close_requests(g);
	/* It replaces files atomically and has nothing to finish. */
	child_signal(&g->fetcher, SIGTERM);
}

bool generation_has_handed_over(struct generation *g, int64_t now_ms, int64_t deadline_ms)
{
	bool has_all = true;

	for (unsigned i = 0; i < GENERATION_GATEWAYS; i++) {
		if (g->gateway[i].pid == 0 || g->gateway[i].is_draining)
			continue;
		has_all = false;
		if (now_ms <= deadline_ms)
			continue;
		log_event(LOG_ERROR, "gateway.hung", "child", log_i64(g->gateway[i].pid), "why",
			  "it does not give up its listening sockets", NULL);
		child_signal(&g->gateway[i], SIGKILL);
	}
	return has_all;
}

uint64_t generation_connections(const struct generation *g)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < GENERATION_GATEWAYS; i++)
		if (g->gateway[i].pid != 0)
			n += child_gauge(&g->gateway[i], COUNT_CONNECTIONS_OPEN);
	return n;
}

void generation_advance(struct generation *g, int64_t now_ms)
{
	if (g->stage == GENERATION_DRAINING && !any_runs(g->gateway, GENERATION_GATEWAYS)) {
		g->stage = GENERATION_EMPTYING;
		g->deadline_ms = now_ms + KB_EMPTY_MS;
		close_ends(g);
	}
	if ((g->stage == GENERATION_DRAINING || g->stage == GENERATION_EMPTYING) &&
	    now_ms > g->deadline_ms) {
		log_event(LOG_WARN, "generation.killed", "generation", log_i64(g->number), "why",
			  "it did not end in time", NULL);
		generation_kill(g);
	}
}

void generation_kill(struct generation *g)
{
	g->stage = GENERATION_DYING;
	for (unsigned i = 0; i < GENERATION_GATEWAYS; i++)
		child_signal(&g->gateway[i], SIGKILL);
	for (unsigned i = 0; i < KB_MAX_WORKERS; i++)
		child_signal(&g->vault[i], SIGKILL);
	child_signal(&g->fetcher, SIGKILL);
}

bool generation_is_over(const struct generation *g)
{
	if (g->stage != GENERATION_EMPTYING && g->stage != GENERATION_DYING)
		return false;
	return !any_runs(g->gateway, GENERATION_GATEWAYS) && !any_runs(g->vault, KB_MAX_WORKERS) &&
	       !any_runs(&g->fetcher, 1);
}
