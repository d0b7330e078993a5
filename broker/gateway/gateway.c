/* broker/gateway/gateway.c — the process that clients reach: listeners, limits, control, drain.
 * Decides when to accept connections and when to stop.  Trusts only the supervisor (control socket,
 * configuration).  Holds no key but TLS's own; must never parse a body. */
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "gateway/conn.h"
#include "gateway/memory.h"
#include "gateway/metrics.h"
#include "gateway/tls.h"
#include "process/confine.h"
#include "process/process.h"

struct listener {
	struct gateway *gateway;
	SSL_CTX *tls;
	struct event *accepting;
	int fd;
	uint8_t index;
	int64_t crls_until_s; /* 0: no revocation lists, or their end was reported */
};

struct gateway {
	const struct process_start *start;
	struct conn_shared shared;
	struct metrics_http *metrics;
	struct listener listener[KB_MAX_LISTENERS];
	size_t n_listeners;
	unsigned max_connections, max_source, max_queue, window;
	struct penalty_config penalties; /* its networks are ours */
	struct event *control, *tick, *term;
	/* Closed when no descriptor is left, so that one connection can be accepted and closed. */
	int spare_fd;
	int64_t paused_until_ms; /* 0: accepting */
	bool is_full;            /* not accepting until a connection ends */
	bool is_trim_due;
	int64_t trimmed_ms;
	size_t most_held;  /* highest estimate of memory for clients since the last malloc_trim() */
	int64_t drain_ms;  /* when draining began; 0: not draining */
	int64_t end_ms;    /* then who is left is dismissed … */
	bool is_dismissed; /* … and KB_LINGER_MS later the process ends */
	int exit_code;
};

static void end_loop(struct gateway *g, int exit_code)
{
	g->exit_code = exit_code;
	(void)event_base_loopbreak(g->shared.base);
}

/* ---- accepting ---- */

static void stop_accept(struct gateway *g)
{
	for (size_t i = 0; i < g->n_listeners; i++)
		(void)event_del(g->listener[i].accepting);
}

static void pause_accept(struct gateway *g)
{
	stop_accept(g);
	g->paused_until_ms = clock_mono_ms() + KB_ACCEPT_PAUSE_MS;
}

static void resume_accept(struct gateway *g)
{
	g->paused_until_ms = 0;
	g->is_full = false;
	if (g->spare_fd < 0)
		g->spare_fd = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0);
	for (size_t i = 0; i < g->n_listeners; i++)
		if (event_add(g->listener[i].accepting, NULL) != 0)
			pause_accept(g);
}

/* New connections wait in the kernel's backlog, where they cost us nothing, instead of being
 * refused. */
static void stop_full(struct gateway *g)
{
	g->is_full = true;
	stop_accept(g);
}

static void on_space(void *ctx)
{
	struct gateway *g = ctx;

	if (g->is_full && g->paused_until_ms == 0)
		resume_accept(g);
}

/* No descriptor is left.  Without a pause the listening socket stays readable and the event loop
 * uses a whole processor. */
static void out_of_descriptors(struct gateway *g, int listen_fd)
{
	if (g->spare_fd >= 0) {
		(void)close(g->spare_fd);
		int fd = accept4(listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd >= 0)
			(void)close(fd);
		g->spare_fd = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0);
	}
	atomic_fetch_add_explicit(&g->start->page->refused[KB_E_CONN_LIMIT], 1,
				  memory_order_relaxed);
	stats_count(g->start->stats, COUNT_REFUSED, 1);
	log_event(LOG_WARN, "gateway.descriptors", "open", log_i64(g->shared.connections), NULL);
	pause_accept(g);
}

static void on_accept(evutil_socket_t fd, short what, void *arg)
{
	struct listener *l = arg;

	(void)what;
	for (unsigned i = 0; i < KB_ACCEPT_BATCH; i++) {
		if (conn_shared_is_full(&l->gateway->shared)) {
			stop_full(l->gateway);
			return;
		}
		struct sockaddr_storage addr = {0};
		socklen_t len = sizeof addr;
		int client =
			accept4(fd, (struct sockaddr *)&addr, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (client >= 0) {
			enum kb_err err = conn_open(&l->gateway->shared, l->tls, l->index, client,
						    (const struct sockaddr *)&addr);
			(void)err; /* counted there; the client was closed */
			continue;
		}
		if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
			out_of_descriptors(l->gateway, fd);
			return;
		}
		if (errno == EAGAIN || errno == EWOULDBLOCK)
			return;
		/* ECONNABORTED and similar errors concern only that one client. */
	}
}

/* ---- the end ---- */

static void close_listeners(struct gateway *g)
{
	for (size_t i = 0; i < g->n_listeners; i++) {
		struct listener *l = &g->listener[i];
		if (l->accepting != NULL)
			event_free(l->accepting);
		if (l->fd >= 0)
			(void)close(l->fd);
		SSL_CTX_free(l->tls); /* connections have their own reference */
		*l = (struct listener){.fd = -1};
	}
	g->n_listeners = 0;
	metrics_http_free(g->metrics);
	g->metrics = NULL;
}

static void drain(struct gateway *g, enum drain why, int exit_code)
{
	g->shared.is_superseded |= why == DRAIN_ADDED || why == DRAIN_CLOSED;
	if (why == DRAIN_CLOSED || why == DRAIN_NOW)
		exchange_close(g->shared.exchange);
	const int64_t now_ms = clock_mono_ms();
	const int64_t end_ms = now_ms + (why == DRAIN_NOW    ? 0
					 : why == DRAIN_STOP ? KB_STOP_MS
							     : KB_DRAIN_MS);
	if (g->drain_ms == 0 || end_ms < g->end_ms)
		g->end_ms = end_ms;
	if (g->drain_ms != 0)
		return;
	g->exit_code = exit_code;
	g->drain_ms = now_ms;
	g->paused_until_ms = 0;
	g->shared.is_draining = true;
	close_listeners(g);
	(void)close(FD_GATEWAY_METRICS);
	health_set(g->start->health, HEALTH_DRAINING);
	log_event(LOG_INFO, "gateway.drain", "open", log_i64(g->shared.connections), NULL);
}

static void drain_tick(struct gateway *g, int64_t now_ms)
{
	conn_close_idle(&g->shared, now_ms, KB_DRAIN_IDLE_MS);
	if (now_ms >= g->end_ms && !g->is_dismissed) {
		g->is_dismissed = true;
		conn_dismiss(&g->shared);
	}
	if (g->shared.connections == 0 || now_ms >= g->end_ms + KB_LINGER_MS)
		end_loop(g, g->exit_code);
}

/* The C library does not return freed memory to the system by itself.  After a flood other
 * processes could use it, and it must not look like a leak.  Call malloc_trim() when memory use has
 * fallen by half and by at least KB_TRIM_BYTES. */
static void trim_memory(struct gateway *g, int64_t now_ms)
{
	size_t held = g->shared.connections * (size_t)KB_CONNECTION_BYTES +
		      sources_bytes(g->shared.sources);

	if (g->is_trim_due)
		(void)malloc_trim(0);
	g->is_trim_due = false;
	if (held > g->most_held)
		g->most_held = held;
	if (held > g->most_held / 2 || g->most_held - held < KB_TRIM_BYTES ||
	    now_ms - g->trimmed_ms < KB_TRIM_MS)
		return;
	g->most_held = held;
	g->trimmed_ms = now_ms;
	/* At the next tick: libevent frees a connection's buffers after the connection. */
	g->is_trim_due = true;
}

/* Each handshake fails from then on, and what a stranger can repeat is not logged: so say it once.
 */
static void watch_crls(struct gateway *g)
{
	for (size_t i = 0; i < g->n_listeners; i++) {
		struct listener *l = &g->listener[i];
		if (l->crls_until_s == 0 || clock_wall_s() < l->crls_until_s)
			continue;
		l->crls_until_s = 0;
		log_event(LOG_ERROR, "gateway.client_crl", "listener",
			  g->shared.listener[i].base_url, "what",
			  "a revocation list of tls.client_crl has ended: no client certificate of "
			  "its CA is accepted",
			  "fix", "put the current list in its place and reload", NULL);
	}
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
	struct gateway *g = arg;
	int64_t now_ms = clock_mono_ms();

	(void)fd;
	(void)what;
	health_beat(g->start->health);
	conn_expire(&g->shared, now_ms);
	exchange_tick(g->shared.exchange, now_ms);
	trim_memory(g, now_ms);
	watch_crls(g);
	if (g->drain_ms != 0)
		drain_tick(g, now_ms);
	else if (g->paused_until_ms != 0 ? now_ms >= g->paused_until_ms
					 : g->is_full && !conn_shared_is_full(&g->shared))
		resume_accept(g);
}

static void on_term(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	/* The supervisor did not ask for it, so it may want to start another gateway. */
	drain(arg, DRAIN_STOP, PROCESS_EXIT_RESTART);
}

static void on_broken(void *ctx)
{
	log_event(LOG_ERROR, "gateway.socket_closed", NULL);
	end_loop(ctx, PROCESS_EXIT_RESTART);
}

static void on_control(evutil_socket_t fd, short what, void *arg)
{
	struct gateway *g = arg;
	struct control_message m;
	size_t n_fds = 0;

	(void)what;
	if (control_recv(fd, &m, NULL, &n_fds) != KB_OK) {
		/* the supervisor has ended: finish the requests under way */
		(void)event_del(g->control);
		drain(g, DRAIN_STOP, PROCESS_EXIT_OK);
		return;
	}
	if (m.type == CONTROL_DRAIN) {
		drain(g, (enum drain)m.value, PROCESS_EXIT_OK);
		if (control_send(FD_CONTROL, CONTROL_DRAINING, m.generation, 0) != KB_OK)
			log_event(LOG_ERROR, "gateway.control", NULL);
	} else if (m.type == CONTROL_LOST)
		conn_lost(&g->shared, m.value);
}

/* ---- the beginning ---- */

static enum kb_err open_listener(struct gateway *g, const struct listener_config *cfg, size_t index)
{
	struct tls_server tls = {.certificate = cfg->certificate,
				 .key = cfg->key,
				 .client_ca = cfg->client_ca,
				 .client_crl = cfg->client_crl,
				 .is_client_required = cfg->auth == AUTH_MTLS};
	struct listener *l = &g->listener[index];
	const char *why;

	*l = (struct listener){
		.gateway = g, .fd = FD_GATEWAY_LISTEN + (int)index, .index = (uint8_t)index};
	g->n_listeners = index + 1;
	g->shared.listener[index] =
		(struct conn_listener){.api = cfg->api, .base_url = strdup(cfg->base_url)};
	if (g->shared.listener[index].base_url == NULL)
		return KB_E_NOMEM;
	enum kb_err err = tls_server_new(&tls, &l->tls, &why);
	if (err != KB_OK) {
		log_event(LOG_ERROR, "gateway.tls", "listener", cfg->address, "why", why, NULL);
		return err;
	}
	l->crls_until_s = tls_crls_until(l->tls);
	l->accepting = event_new(g->shared.base, l->fd, EV_READ | EV_PERSIST, on_accept, l);
	if (l->accepting == NULL)
		return KB_E_NOMEM;
	return evutil_make_socket_nonblocking(l->fd) == 0 ? KB_OK : KB_E_SYS;
}

/* The configuration with the TLS keys is wiped and freed as soon as OpenSSL has its copies. */
static enum kb_err configure(struct gateway *g)
{
	KB_AUTO(snapshot) struct snapshot *src = NULL;
	KB_AUTO(config) struct config *cfg = NULL;
	struct config_faults faults = {0};
	enum kb_err err = snapshot_archive(FD_ARCHIVE, &src);

	if (err != KB_OK)
		return err;
	err = config_load(src, g->start->config_path, CONFIG_GATEWAY, &cfg, &faults);
	if (err != KB_OK)
		log_event(LOG_ERROR, "gateway.config", "why", faults.n > 0 ? faults.text[0] : NULL,
			  NULL);
	config_faults_free(&faults);
	if (err != KB_OK)
		return err;
	g->max_connections = cfg->max_connections;
	g->max_source = cfg->max_connections_source;
	g->max_queue = cfg->max_queue;
	g->penalties = cfg->penalties;
	cfg->penalties.exempt = NULL;
	g->window = 2 * cfg->workers + KB_LEDGER_BATCH;
	if (cfg->n_listeners > KB_MAX_LISTENERS)
		return KB_E_CONFIG;
	for (size_t i = 0; i < cfg->n_listeners; i++)
		if ((err = open_listener(g, &cfg->listeners[i], i)) != KB_OK)
			return err;
	return KB_OK;
}

/* libevent has a small struct for every descriptor it ever saw and never frees it.  Allocated one
 * by one between the buffers of many connections, each would pin a page.  Allocated now, they are
 * side by side, and the buffers' memory can return to the system. */
static void allocate_descriptors(struct gateway *g)
{
	int n = (int)(g->max_connections + KB_SPARE_DESCRIPTORS);
	struct event *e = event_new(g->shared.base, 0, EV_READ, on_accept, NULL);

	for (int fd = STDERR_FILENO + 1; e != NULL && fd < n; fd++)
		if (event_assign(e, g->shared.base, fd, EV_READ, on_accept, NULL) != 0 ||
		    event_add(e, NULL) != 0 || event_del(e) != 0)
			break; /* add and del cancel out in the changelist: no system call */
	if (e != NULL)
		event_free(e);
}

static void raise_descriptors(const struct gateway *g)
{
	struct rlimit r;
	rlim_t want = (rlim_t)g->max_connections + KB_SPARE_DESCRIPTORS;

	if (getrlimit(RLIMIT_NOFILE, &r) != 0)
		return;
	if (r.rlim_cur < want) {
		r.rlim_cur = want < r.rlim_max ? want : r.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &r);
	}
	if (r.rlim_cur < want)
		log_event(LOG_WARN, "gateway.nofile", "limit", log_i64((int64_t)r.rlim_cur),
			  "wanted", log_i64((int64_t)want), NULL);
}

static enum kb_err open_process(struct gateway *g)
{
	struct conn_shared *shared = &g->shared;
	struct exchange_events on = {.ctx = g,
				     .on_response = conn_on_response,
				     .on_refused = conn_on_refused,
				     .on_broken = on_broken};
	struct exchange_config exchange = {
		.pool_fd = {[POOL_VAULT] = FD_GATEWAY_VAULT},
		.ledger_fd = FD_GATEWAY_LEDGER,
		.self = shared->self,
		.window = g->window,
		.window_least = g->window - KB_LEDGER_BATCH,
		.max_queue = g->max_queue,
		.max_pending = g->max_connections,
	};

	raise_descriptors(g);
	allocate_descriptors(g);
	shared->sources =
		sources_new(g->max_connections, g->max_source, KB_BODY_BYTES, KB_BODY_BYTES_SOURCE);
	shared->penalties = penalties_new(&g->penalties, KB_PENALTY_SOURCES);
	if (shared->sources == NULL || shared->penalties == NULL)
		return KB_E_NOMEM;
	enum kb_err err = exchange_new(shared->base, &exchange, &on, &shared->exchange);
	if (err != KB_OK)
		return err;
	return metrics_http_new(shared->base, FD_GATEWAY_METRICS, g->start->shared, &g->metrics);
}

static enum kb_err start_events(struct gateway *g)
{
	static const struct timeval tick = {KB_TICK_MS / 1000, KB_TICK_MS % 1000 * 1000};

	g->control = event_new(g->shared.base, FD_CONTROL, EV_READ | EV_PERSIST, on_control, g);
	g->tick = event_new(g->shared.base, -1, EV_PERSIST, on_tick, g);
	g->term = evsignal_new(g->shared.base, SIGTERM, on_term, g);
	if (g->control == NULL || g->tick == NULL || g->term == NULL)
		return KB_E_NOMEM;
	if (event_add(g->control, NULL) != 0 || event_add(g->tick, &tick) != 0 ||
	    event_add(g->term, NULL) != 0)
		return KB_E_SYS;
	resume_accept(g);
	return KB_OK;
}

static void close_process(struct gateway *g)
{
	close_listeners(g);
	conn_shared_free(&g->shared);
	for (size_t i = 0; i < KB_MAX_LISTENERS; i++)
		free(g->shared.listener[i].base_url);
	exchange_free(g->shared.exchange);
	sources_free(g->shared.sources);
	penalties_free(g->shared.penalties);
	free(g->penalties.exempt);
	if (g->control != NULL)
		event_free(g->control);
	if (g->tick != NULL)
		event_free(g->tick);
	if (g->term != NULL)
		event_free(g->term);
	if (g->shared.base != NULL) {
		/* A freed bufferevent exists until its deferred callback was due. */
		(void)event_base_loop(g->shared.base, EVLOOP_NONBLOCK);
		event_base_free(g->shared.base);
	}
	if (g->spare_fd >= 0)
		(void)close(g->spare_fd);
}

/* The changelist saves most epoll_ctl calls: for every request, reading stops and resumes within
 * one iteration of the event loop. */
static struct event_base *new_base(void)
{
	struct event_config *cfg = event_config_new();
	struct event_base *base = NULL;

	if (cfg != NULL && event_config_set_flag(cfg, EVENT_BASE_FLAG_EPOLL_USE_CHANGELIST) == 0)
		base = event_base_new_with_config(cfg);
	event_config_free(cfg);
	return base;
}

int gateway_main(const struct process_start *start)
{
	struct gateway g = {.start = start, .spare_fd = -1, .exit_code = PROCESS_EXIT_RESTART};
	enum kb_err err = KB_E_NOMEM;

	memory_wipe_events();
	g.shared.refused = start->page->refused;
	g.shared.self = start->stats;
	g.shared.on_space = on_space;
	g.shared.ctx = &g;
	conn_shared_init(&g.shared);
	/* Without fixed values the C library raises its threshold at the first large buffer (a
	 * body, /metrics) and puts the next ones in the heap. */
	(void)mallopt(M_MMAP_THRESHOLD, KB_TRIM_BYTES);
	(void)mallopt(M_TRIM_THRESHOLD, 4 * KB_TRIM_BYTES);
	g.shared.base = new_base();
	if (g.shared.base == NULL || (err = configure(&g)) != KB_OK ||
	    (err = open_process(&g)) != KB_OK || (err = start_events(&g)) != KB_OK ||
	    (err = confine_process(start, NULL, g.n_listeners)) != KB_OK)
		goto failed;
	health_set(start->health, HEALTH_READY);
	if ((err = control_send(FD_CONTROL, CONTROL_READY, start->generation, 0)) != KB_OK)
		goto failed;
	(void)event_base_dispatch(g.shared.base);
	close_process(&g);
	return g.exit_code;
failed:
	log_event(LOG_ERROR, "gateway.failed", "err", kb_err_name(err), NULL);
	if (control_send(FD_CONTROL, CONTROL_FAILED, start->generation, (uint64_t)err) != KB_OK)
		log_event(LOG_ERROR, "gateway.control", NULL);
	close_process(&g);
	return kb_err_class(err) == KB_CLASS_BUSY ? PROCESS_EXIT_RESTART : PROCESS_EXIT_CONFIG;
}
