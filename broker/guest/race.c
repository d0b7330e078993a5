/* broker/guest/race.c — resolves, connects and handshakes, each with a deadline of its own, and
 * decides which server gets the request.  Trusts a server after its handshake alone.  Must never
 * wait for one server while another could answer, nor send a request. */
#include "guest/race.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/limits.h"
#include "guest/console.h"
#include "guest/resolve.h"

enum step { STEP_FREE, STEP_RESOLVE, STEP_CONNECT, STEP_TLS };

static const struct {
	const char *name;
	int64_t limit_ms;
} steps[] = {
	[STEP_FREE] = {"", 0},
	[STEP_RESOLVE] = {"name resolution", KB_GUEST_RESOLVE_MS},
	[STEP_CONNECT] = {"connect", KB_GUEST_CONNECT_MS},
	[STEP_TLS] = {"TLS", KB_GUEST_TLS_MS},
};

/* A URL and its addresses. */
struct lane {
	struct address list[KB_GUEST_ADDRESSES];
	size_t n, next; /* found, tried */
	bool is_begun;  /* its name is resolved, or is being resolved */
	size_t active;  /* runners */
};

/* One name that is resolved, or one address that is tried. */
struct runner {
	enum step step;
	size_t lane;
	struct resolver resolver;
	struct http_link link;
	struct address to;
	short events; /* to wait for */
	int64_t deadline_ms;
	char at[HTTP_AT]; /* for messages */
};

/* Runners at once: one starts each KB_GUEST_NEXT_MS and lives for the three limits at most. */
enum {
	LIFE_MS = KB_GUEST_RESOLVE_MS + KB_GUEST_CONNECT_MS + KB_GUEST_TLS_MS,
	RUNNERS = LIFE_MS / KB_GUEST_NEXT_MS + 2
};

struct race {
	const struct url *urls;
	size_t n;
	bool *is_out;
	SSL_CTX *tls;
	struct lane lanes[KB_GUEST_URLS];
	struct runner runners[RUNNERS];
	int64_t next_ms; /* when another one starts beside those that run */
	bool is_told;    /* what to check after a failed handshake */
};

static void runner_end(struct race *r, struct runner *one)
{
	resolver_end(&one->resolver);
	http_close(&one->link);
	one->step = STEP_FREE;
	struct lane *lane = &r->lanes[one->lane];
	lane->active--;
	if (lane->active == 0 && lane->next == lane->n)
		r->is_out[one->lane] = true;
}

static void runner_fail(struct race *r, struct runner *one, const char *why)
{
	message("%s: %s: %s", one->at, steps[one->step].name, why);
	runner_end(r, one);
	r->next_ms = clock_mono_ms(); /* the next one need not wait */
}

static void step_to(struct runner *one, enum step step, short events)
{
	one->step = step;
	one->events = events;
	one->deadline_ms = clock_mono_ms() + steps[step].limit_ms;
}

/* ---- TLS ---- */

static void told(struct race *r)
{
	if (!r->is_told)
		message("check: --ca, the host name in the URL%s",
			clock_is_set(clock_wall_s())
				? ""
				: ", and this machine's clock, which was never set");
	r->is_told = true;
}

/* True: the handshake is done. */
static bool handshake(struct race *r, struct runner *one)
{
	char why[HTTP_WHY];

	ERR_clear_error();
	errno = 0;
	int n = SSL_connect(one->link.tls);
	if (n == 1)
		return true;
	enum kb_err err = http_ssl_fault(one->link.tls, n, &one->events, why);
	if (err == KB_OK)
		return false;
	runner_fail(r, one, why);
	if (err == KB_E_FETCH_TLS)
		told(r);
	return false;
}

/* True: the handshake is done. */
static bool connected(struct race *r, struct runner *one)
{
	int fault = 0;
	socklen_t len = sizeof fault;

	if (getsockopt(one->link.fd, SOL_SOCKET, SO_ERROR, &fault, &len) != 0)
		fault = errno;
	if (fault != 0) {
		runner_fail(r, one, strerror(fault));
		return false;
	}
	setsockopt(one->link.fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
	if (http_tls(&one->link, r->tls, &r->urls[one->lane]) != KB_OK) {
		runner_fail(r, one, "no memory");
		return false;
	}
	step_to(one, STEP_TLS, POLLOUT);
	return handshake(r, one);
}

/* ---- starting ---- */

static struct runner *runner_new(struct race *r, size_t lane)
{
	for (size_t i = 0; i < RUNNERS; i++)
		if (r->runners[i].step == STEP_FREE) {
			struct runner *one = &r->runners[i];
			*one = (struct runner){.lane = lane,
					       .resolver = {.pid = -1, .fd = -1},
					       .link = {.fd = -1}};
			snprintf(one->at, sizeof one->at, "%s", r->urls[lane].authority);
			r->lanes[lane].active++;
			return one;
		}
	return NULL;
}

static void connect_start(struct race *r, struct runner *one, const struct address *to)
{
	char text[INET6_ADDRSTRLEN + 32];
	int family = to->to.ss_family;

	one->to = *to;
	snprintf(one->at, sizeof one->at, "%s (%s)", r->urls[one->lane].authority,
		 address_text(to, text, sizeof text));
	snprintf(one->link.at, sizeof one->link.at, "%s", one->at);
	step_to(one, STEP_CONNECT, POLLOUT);
	one->link.fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (one->link.fd < 0 ||
	    (connect(one->link.fd, (const struct sockaddr *)&one->to.to, one->to.len) != 0 &&
	     errno != EINPROGRESS))
		runner_fail(r, one, strerror(errno));
}

/* The first that can start, in the order of the URLs.  False: none. */
static bool start_next(struct race *r)
{
	for (size_t i = 0; i < r->n; i++) {
		struct lane *lane = &r->lanes[i];
		bool is_resolved = lane->next < lane->n;
		if (r->is_out[i] || (lane->is_begun && !is_resolved))
			continue;
		struct runner *one = runner_new(r, i);
		if (one == NULL)
			return false;
		r->next_ms = clock_mono_ms() + KB_GUEST_NEXT_MS;
		if (is_resolved) {
			connect_start(r, one, &lane->list[lane->next++]);
			return true;
		}
		lane->is_begun = true;
		step_to(one, STEP_RESOLVE, POLLIN);
		if (resolver_start(&r->urls[i], &one->resolver) != KB_OK)
			runner_fail(r, one, "no process could be started");
		return true;
	}
	return false;
}

static void resolved(struct race *r, struct runner *one)
{
	struct lane *lane = &r->lanes[one->lane];
	bool is_end;

	resolver_read(&one->resolver, lane->list, KB_GUEST_ADDRESSES, &lane->n, &is_end);
	if (!is_end)
		return;
	bool is_found = lane->n > 0 && lane->list[0].len > 0;
	if (!is_found) {
		int fault = lane->n > 0 ? lane->list[0].fault : EAI_FAIL;
		lane->n = 0;
		runner_fail(r, one, fault == 0 ? "no address" : gai_strerror(fault));
		return;
	}
	/* Its first address goes on in the name's place. */
	resolver_end(&one->resolver);
	r->next_ms = clock_mono_ms() + KB_GUEST_NEXT_MS;
	connect_start(r, one, &lane->list[lane->next++]);
}

/* ---- the race ---- */

/* True: the handshake is done. */
static bool go_on(struct race *r, struct runner *one)
{
	switch (one->step) {
	case STEP_FREE:
		return false;
	case STEP_RESOLVE:
		resolved(r, one);
		return false;
	case STEP_CONNECT:
		return connected(r, one);
	case STEP_TLS:
		return handshake(r, one);
	}
	KB_BUG();
}

static bool is_late(struct race *r, struct runner *one, int64_t deadline_ms)
{
	char why[64];
	int64_t now = clock_mono_ms();

	if (now < one->deadline_ms && now < deadline_ms)
		return false;
	if (now >= one->deadline_ms)
		snprintf(why, sizeof why, "no answer within %lld s",
			 (long long)(steps[one->step].limit_ms / 1000));
	else
		snprintf(why, sizeof why, "no answer until --timeout");
	runner_fail(r, one, why);
	return true;
}

/* Wait for a socket, a deadline or the next start.  `p` and `who` get those that run; their
 * number. */
static size_t wait_for_any(struct race *r, bool is_more, int64_t deadline_ms, struct pollfd *p,
			   struct runner **who)
{
	int64_t until = is_more && r->next_ms < deadline_ms ? r->next_ms : deadline_ms;
	size_t n = 0;

	for (size_t i = 0; i < RUNNERS; i++) {
		struct runner *one = &r->runners[i];
		if (one->step == STEP_FREE)
			continue;
		if (one->deadline_ms < until)
			until = one->deadline_ms;
		who[n] = one;
		p[n++] = (struct pollfd){.fd = one->step == STEP_RESOLVE ? one->resolver.fd
									 : one->link.fd,
					 .events = one->events};
	}
	int64_t left = until - clock_mono_ms();
	if (n > 0 && poll(p, n, left <= 0 ? 0 : left > 60000 ? 60000 : (int)left) < 0)
		for (size_t i = 0; i < n; i++) /* interrupted: what is in it says nothing */
			p[i].revents = 0;
	return n;
}

static struct runner *race_run(struct race *r, int64_t deadline_ms)
{
	struct pollfd p[RUNNERS];
	struct runner *who[RUNNERS];

	for (;;) {
		bool is_more = true;
		while (is_more && clock_mono_ms() >= r->next_ms && clock_mono_ms() < deadline_ms)
			is_more = start_next(r);
		size_t n = wait_for_any(r, is_more, deadline_ms, p, who);
		if (n == 0)
			return NULL;
		for (size_t i = 0; i < n; i++)
			if (p[i].revents != 0 && go_on(r, who[i]))
				return who[i];
		for (size_t i = 0; i < n; i++)
			if (who[i]->step != STEP_FREE)
				(void)is_late(r, who[i], deadline_ms);
	}
}

enum kb_err race(const struct url *urls, size_t n, bool *is_out, SSL_CTX *tls, int64_t deadline_ms,
		 struct http_link *out, size_t *winner)
{
	struct race r = {.urls = urls, .n = n, .is_out = is_out, .tls = tls};

	*out = (struct http_link){.fd = -1};
	r.next_ms = clock_mono_ms();
	struct runner *first = race_run(&r, deadline_ms);
	if (first != NULL) {
		*winner = first->lane;
		*out = first->link;
		first->link = (struct http_link){.fd = -1};
	}
	for (size_t i = 0; i < RUNNERS; i++) {
		struct runner *one = &r.runners[i];
		if (one->step == STEP_FREE)
			continue;
		if (one != first)
			message("%s: %s: no answer yet; %s was faster", one->at,
				steps[one->step].name, first == NULL ? "another" : first->at);
		bool was_out = is_out[one->lane];
		runner_end(&r, one);
		is_out[one->lane] = was_out; /* it was not its failure */
	}
	if (first != NULL)
		return KB_OK;
	return clock_mono_ms() >= deadline_ms ? KB_E_FETCH_TIMEOUT : KB_E_FETCH_CONNECT;
}
