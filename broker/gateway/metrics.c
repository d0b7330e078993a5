/* broker/gateway/metrics.c — the HTTP listener for operators.  Decides nothing.  Anyone who reaches
 * the metrics address may read the shared statistics, and nothing else.  Connections, bytes and
 * time are limited, so that a scraper that hangs cannot use up the gateway's memory. */
#include "gateway/metrics.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "gateway/http.h"
#include "gateway/metrics_text.h"
#include "gateway/ready_text.h"

struct probe {
	LIST_ENTRY(probe) link;
	struct metrics_http *metrics;
	struct bufferevent *bev;
	struct event *deadline;
	bool is_answered;
};

struct metrics_http {
	struct event_base *base;
	struct event *accepting;
	const struct shared *shared;
	LIST_HEAD(, probe) probes;
	unsigned n;
	struct event *retry;
	int spare_fd; /* closed when no descriptor is left, so that operators can still read why */
};

static void open_spare(struct metrics_http *m)
{
	if (m->spare_fd < 0)
		m->spare_fd = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0);
}

static void probe_free(struct probe *p)
{
	struct metrics_http *m = p->metrics;
	int fd = bufferevent_getfd(p->bev);

	LIST_REMOVE(p, link);
	m->n--;
	if (p->deadline != NULL)
		event_free(p->deadline);
	bufferevent_free(p->bev);
	free(p);
	/* Not by libevent, which closes it in a later iteration of the event loop: then another
	 * connection could take the descriptor before it is the spare one again. */
	(void)close(fd);
	open_spare(m);
}

static int fill(const struct metrics_http *m, const struct http_request *r, struct buf *body,
		const char **type)
{
	bool is_ready = false;

	*type = "text/plain; charset=utf-8";
	if (r->method != HTTP_GET && r->method != HTTP_HEAD)
		return 405;
	if (span_eq_cstr(r->path, "/healthz")) {
		buf_add_str(body, "ok\n");
		return 200;
	}
	if (span_eq_cstr(r->path, "/metrics")) {
		*type = "text/plain; version=0.0.4; charset=utf-8";
		metrics_text(m->shared, body);
		return 200;
	}
	if (span_eq_cstr(r->path, "/readyz")) {
		*type = "application/json; charset=utf-8";
		ready_text(m->shared, clock_wall_s(), body, &is_ready);
		return is_ready ? 200 : 503;
	}
	return 404;
}

static void respond(struct probe *p, int status, const char *type, struct span body, bool is_head)
{
	KB_AUTO(buf) struct buf head;

	buf_init(&head, 1024);
	buf_addf(&head,
		 "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\nCache-Control: "
		 "no-store\r\n%sConnection: close\r\n\r\n",
		 status, http_reason(status), type, body.len,
		 status == 405 ? "Allow: GET, HEAD\r\n" : "");
	p->is_answered = true;
	bool is_sent =
		buf_ok(&head) == KB_OK && bufferevent_write(p->bev, head.p, head.len) == 0 &&
		(is_head || body.len == 0 || bufferevent_write(p->bev, body.p, body.len) == 0);
	if (!is_sent)
		probe_free(p);
}

static void on_read(struct bufferevent *bev, void *arg)
{
	struct probe *p = arg;
	struct evbuffer *in = bufferevent_get_input(bev);
	size_t have = evbuffer_get_length(in);
	struct http_request r;
	const char *type = "text/plain; charset=utf-8";
	bool done = false;
	KB_AUTO(buf) struct buf body;

	buf_init(&body, KB_MAX_METRICS);
	if (p->is_answered) { /* read and drop until the client closes, or until the deadline */
		(void)evbuffer_drain(in, have);
		return;
	}
	const uint8_t *head = evbuffer_pullup(in, -1);
	enum kb_err err = head == NULL ? KB_E_NOMEM : http_parse(span_of(head, have), &r, &done);
	if (err == KB_OK && !done)
		return;
	int status = err == KB_OK ? fill(p->metrics, &r, &body, &type) : http_status(err);
	if (buf_ok(&body) != KB_OK) {
		status = 500;
		buf_reset(&body);
	}
	respond(p, status, type, buf_span(&body), err == KB_OK && r.method == HTTP_HEAD);
}

static void on_written(struct bufferevent *bev, void *arg)
{
	const struct probe *p = arg;

	/* Close our direction only.  A close with unread bytes sends a reset, which could destroy
	 * the reply on its way. */
	if (p->is_answered && evbuffer_get_length(bufferevent_get_output(bev)) == 0)
		(void)shutdown(bufferevent_getfd(bev), SHUT_WR);
}

static void on_event(struct bufferevent *bev, short what, void *arg)
{
	(void)bev;
	(void)what;
	probe_free(arg);
}

static void on_deadline(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	probe_free(arg);
}

static void open_probe(struct metrics_http *m, int fd)
{
	static const struct timeval limit = {KB_METRICS_MS / 1000, KB_METRICS_MS % 1000 * 1000};
	struct bufferevent *bev = NULL;
	struct probe *p = m->n < KB_METRICS_CONNECTIONS ? calloc(1, sizeof *p) : NULL;

	if (p != NULL)
		bev = bufferevent_socket_new(m->base, fd, BEV_OPT_DEFER_CALLBACKS);
	if (bev == NULL) {
		free(p);
		(void)close(fd);
		return;
	}
	*p = (struct probe){
		.metrics = m, .bev = bev, .deadline = evtimer_new(m->base, on_deadline, p)};
	LIST_INSERT_HEAD(&m->probes, p, link);
	m->n++;
	bufferevent_setcb(bev, on_read, on_written, on_event, p);
	bufferevent_setwatermark(bev, EV_READ, 0, KB_MAX_HEADER_BYTES + 1);
	if (p->deadline == NULL || evtimer_add(p->deadline, &limit) != 0 ||
	    bufferevent_enable(bev, EV_READ | EV_WRITE) != 0)
		probe_free(p);
}

static void on_retry(evutil_socket_t fd, short what, void *arg)
{
	struct metrics_http *m = arg;

	(void)fd;
	(void)what;
	(void)event_add(m->accepting, NULL);
}

/* No descriptor is left, not even the spare one.  Without a pause the listening socket stays
 * readable and the event loop uses a whole processor. */
static void pause_accept(struct metrics_http *m)
{
	static const struct timeval pause = {KB_ACCEPT_PAUSE_MS / 1000,
					     KB_ACCEPT_PAUSE_MS % 1000 * 1000};

	(void)event_del(m->accepting);
	(void)evtimer_add(m->retry, &pause);
}

static void on_accept(evutil_socket_t fd, short what, void *arg)
{
	struct metrics_http *m = arg;

	(void)what;
	open_spare(m);
	for (unsigned i = 0; i < KB_ACCEPT_BATCH; i++) {
		int client = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		bool is_out = client < 0 && (errno == EMFILE || errno == ENFILE ||
					     errno == ENOBUFS || errno == ENOMEM);
		if (is_out && m->spare_fd >= 0) {
			(void)close(m->spare_fd);
			m->spare_fd = -1;
			client = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		} else if (is_out) {
			pause_accept(m);
		}
		if (client < 0)
			return;
		open_probe(m, client);
	}
}

enum kb_err metrics_http_new(struct event_base *base, int fd, const struct shared *shared,
			     struct metrics_http **out)
{
	int is_listening = 0;
	socklen_t size = sizeof is_listening;

	*out = NULL;
	if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &is_listening, &size) != 0)
		/* Any other error must be reported: a configured listener would not be served. */
		return errno == ENOTSOCK ? KB_OK : KB_E_SYS;
	if (is_listening == 0)
		return KB_OK;
	if (evutil_make_socket_nonblocking(fd) != 0)
		return KB_E_SYS;
	struct metrics_http *m = calloc(1, sizeof *m);
	if (m == NULL)
		return KB_E_NOMEM;
	*m = (struct metrics_http){.base = base,
				   .shared = shared,
				   .spare_fd = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0)};
	LIST_INIT(&m->probes);
	m->accepting = event_new(base, fd, EV_READ | EV_PERSIST, on_accept, m);
	m->retry = evtimer_new(base, on_retry, m);
	if (m->accepting == NULL || m->retry == NULL || event_add(m->accepting, NULL) != 0) {
		metrics_http_free(m);
		return KB_E_NOMEM;
	}
	*out = m;
	return KB_OK;
}

void metrics_http_free(struct metrics_http *m)
{
	if (m == NULL)
		return;
	for (struct probe *p = LIST_FIRST(&m->probes), *next; p != NULL; p = next) {
		next = LIST_NEXT(p, link);
		probe_free(p);
	}
	if (m->accepting != NULL)
		event_free(m->accepting);
	if (m->retry != NULL)
		event_free(m->retry);
	if (m->spare_fd >= 0)
		(void)close(m->spare_fd);
	free(m);
}
