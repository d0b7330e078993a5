/* tests/bench/fleet.c — the guests of a boot storm: one epoll loop, one timer wheel of those that
 * wait. Decides when a guest comes back, as real ones do: 0.1 s · 2^n with jitter, not before
 * Retry-After.  Trusts the instance's CA.  Must never take a refusal that is final for overload,
 * nor open a reply inside the measured time (a private-key operation each would measure us). */
#include "tests/bench/fleet.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
	REPLY_BYTES = 32768,
	REQUEST_BYTES = 65536,
	SAMPLE_EVERY = 100,
	SAMPLES = 1024,
	MAX_DOUBLINGS = 5
};
/* A timer wheel of waiting guests; none waits for more than one round. */
enum { WHEEL_SPOKES = 1024, SPOKE_MS = 10, ARRIVE_BATCH = 256 };

struct sample {
	const struct fleet_guest *guest;
	unsigned key;
	char *body;
	size_t len;
};

struct fleet {
	const struct fleet_plan *plan;
	struct fleet_result *out;
	struct fleet_guest *first;
	double from_s;
	int epoll;
	unsigned n_arrived; /* of the guests: begun with */
	unsigned n_left;    /* neither booted nor failed */
	unsigned spoke;     /* of the wheel, that time has reached */
	TAILQ_HEAD(, fleet_guest) wheel[WHEEL_SPOKES];
	uint64_t random;
	struct sample sample[SAMPLES];
	unsigned n_samples;
	char request[REQUEST_BYTES];
};

static double now_s(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double processor_us(void)
{
	struct rusage u;
	getrusage(RUSAGE_SELF, &u);
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1e6 +
	       (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

/* 0 … 1, the same in every run (xorshift64). */
static double chance(struct fleet *f)
{
	f->random ^= f->random << 13;
	f->random ^= f->random >> 7;
	f->random ^= f->random << 17;
	return (double)(f->random >> 11) / (double)(UINT64_C(1) << 53);
}

/* ---- waiting ---- */

static void wait_until(struct fleet *f, struct fleet_guest *g, double due_s)
{
	unsigned spoke = (unsigned)(due_s * 1000 / SPOKE_MS) + 1;
	if (spoke <= f->spoke)
		spoke = f->spoke + 1;
	if (spoke >= f->spoke + WHEEL_SPOKES)
		spoke = f->spoke + WHEEL_SPOKES - 1;
	TAILQ_INSERT_TAIL(&f->wheel[spoke % WHEEL_SPOKES], g, link);
}

static void leave(struct fleet_guest *g)
{
	if (g->ssl != NULL) {
		if (SSL_is_init_finished(g->ssl))
			SSL_shutdown(g->ssl);
		SSL_free(g->ssl);
		close(g->fd);
		ERR_clear_error();
	}
	free(g->in);
	g->ssl = NULL;
	g->in = NULL;
}

static void come_back(struct fleet *f, struct fleet_guest *g, double retry_after_s)
{
	unsigned doublings = g->n_attempts - 1 < MAX_DOUBLINGS ? g->n_attempts - 1 : MAX_DOUBLINGS;
	double wait_s = 0.1 * (double)(1u << doublings);
	leave(g);
	if (wait_s < retry_after_s)
		wait_s = retry_after_s;
	wait_until(f, g, now_s() - f->from_s + wait_s * (0.75 + chance(f) / 2));
}

static void give_up(struct fleet *f, struct fleet_guest *g)
{
	leave(g);
	f->out->failed++;
	f->n_left--;
}

/* ---- a connection ---- */

/* It does not block: with a full backlog the kernel answers a SYN when one place is free again. */
static const char *connect_guest(struct fleet *f, struct fleet_guest *g)
{
	const struct place *at = f->plan->at;
	struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr = {htonl(g->address)}};
	struct sockaddr_in to = {.sin_family = AF_INET,
				 .sin_port = htons((uint16_t)at->port),
				 .sin_addr = {htonl(INADDR_LOOPBACK)}};
	g->n_attempts++;
	f->out->connections++;
	g->is_sent = false;
	g->in_len = 0;
	g->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (g->fd < 0)
		return wrong("socket: %s", strerror(errno));
	g->ssl = SSL_new(at->tls);
	if (g->ssl == NULL || SSL_set_fd(g->ssl, g->fd) != 1 ||
	    SSL_set1_host(g->ssl, at->host) != 1) {
		close(g->fd);
		SSL_free(g->ssl);
		g->ssl = NULL;
		return "SSL_new";
	}
	SSL_set_connect_state(g->ssl);
	/* The same bytes, written anew.  And thousands of waiting guests should not displace the
	 * broker's data from the caches: real ones have their own. */
	SSL_set_mode(g->ssl, SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
	setsockopt(g->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &(int){1}, sizeof(int));
	setsockopt(g->fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
	if (bind(g->fd, (struct sockaddr *)&from, sizeof from) != 0)
		return wrong("bind: %s", strerror(errno));
	struct epoll_event e = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data = {.ptr = g}};
	if (connect(g->fd, (struct sockaddr *)&to, sizeof to) == 0 || errno == EINPROGRESS)
		return epoll_ctl(f->epoll, EPOLL_CTL_ADD, g->fd, &e) == 0 ? NULL : "epoll_ctl";
	if (errno != ECONNREFUSED)
		return wrong("connect: %s", strerror(errno));
	f->out->turned_away++;
	come_back(f, g, 0);
	return NULL;
}

static int write_request(struct fleet *f, const struct fleet_guest *g)
{
	const struct fleet_plan *plan = f->plan;
	size_t body_len =
		strlen(g->token) + strlen(plan->enc) + strlen("{\"target\":\"\",\"enc\":\"\"}");
	int len = snprintf(f->request, sizeof f->request,
			   "POST /keys/%s/release?api-version=7.4 HTTP/1.1\r\nHost: "
			   "%s:%u\r\nAuthorization: Bearer guest\r\n"
			   "Content-Type: application/json\r\nContent-Length: "
			   "%zu\r\n\r\n{\"target\":\"%s\",\"enc\":\"%s\"}",
			   plan->key[g->n_released], plan->at->host, plan->at->port, body_len,
			   g->token, plan->enc);
	/* an end of the connection that no retry corrects: the run's limit ends it */
	if (len >= (int)sizeof f->request)
		return 0;
	return SSL_write(g->ssl, f->request, len); /* all of it or again: no partial writes */
}

/* Length of the head of a response that is whole, 0 when more must come. */
static size_t whole_head(const struct fleet_guest *g, size_t *body_len)
{
	const char *end = memmem(g->in, g->in_len, "\r\n\r\n", 4);
	if (end == NULL)
		return 0;
	size_t head_len = (size_t)(end - g->in) + 4;
	const char *length = strcasestr(g->in, "\r\nContent-Length:");
	*body_len = length == NULL || length > end ? 0 : strtoul(length + 17, NULL, 10);
	return g->in_len - head_len >= *body_len ? head_len : 0;
}

static void keep_sample(struct fleet *f, const struct fleet_guest *g, size_t head_len,
			size_t body_len)
{
	if ((g - f->first) % SAMPLE_EVERY != 0 || f->n_samples == SAMPLES)
		return;
	char *body = malloc(body_len);
	if (body != NULL)
		f->sample[f->n_samples++] = (struct sample){
			g, g->n_released, memcpy(body, g->in + head_len, body_len), body_len};
}

/* true: go on with this connection */
static bool take_reply(struct fleet *f, struct fleet_guest *g, size_t head_len, size_t body_len)
{
	int status = (int)strtol(g->in + 9, NULL, 10);
	if (status == 503 || status == 429) {
		const char *after = strcasestr(g->in, "\r\nRetry-After:");
		f->out->busy++;
		come_back(f, g, after == NULL ? 0 : strtod(after + 14, NULL));
		return false;
	}
	if (status != 200) {
		f->out->bad_status = status;
		give_up(f, g);
		return false;
	}
	keep_sample(f, g, head_len, body_len);
	g->in_len = 0;
	g->is_sent = false;
	if (++g->n_released < FLEET_KEYS)
		return true;
	g->boot_ms = (now_s() - f->from_s - g->arrive_s) * 1e3;
	leave(g);
	f->out->booted++;
	f->n_left--;
	return false;
}

/* Go as far as the socket lets us. */
static void step(struct fleet *f, struct fleet_guest *g)
{
	int n;
	if (!SSL_is_init_finished(g->ssl)) {
		if ((n = SSL_do_handshake(g->ssl)) != 1)
			goto wait;
		f->out->handshakes++;
		if ((g->in = malloc(REPLY_BYTES)) == NULL) {
			give_up(f, g);
			return;
		}
		g->tls_ms = (now_s() - f->from_s - g->arrive_s) * 1e3;
	}
	for (;;) {
		if (!g->is_sent && (n = write_request(f, g)) <= 0)
			goto wait;
		g->is_sent = true;
		if ((n = SSL_read(g->ssl, g->in + g->in_len, (int)(REPLY_BYTES - 1 - g->in_len))) <=
		    0)
			goto wait;
		g->in_len += (size_t)n;
		g->in[g->in_len] = '\0';
		size_t body_len = 0, head_len = whole_head(g, &body_len);
		if (head_len > 0 && !take_reply(f, g, head_len, body_len))
			return;
	}
wait:;
	int e = SSL_get_error(g->ssl, n);
	ERR_clear_error();
	if (e == SSL_ERROR_WANT_READ || e == SSL_ERROR_WANT_WRITE)
		return;
	if (SSL_is_init_finished(g->ssl))
		f->out->lost++;
	else
		f->out->turned_away++;
	come_back(f, g, 0);
}

/* ---- the storm ---- */

static const char *turn_wheel(struct fleet *f)
{
	const char *why = NULL;
	for (unsigned to = (unsigned)((now_s() - f->from_s) * 1000 / SPOKE_MS);
	     f->spoke < to && why == NULL;) {
		unsigned at = ++f->spoke % WHEEL_SPOKES;
		for (struct fleet_guest *g;
		     why == NULL && (g = TAILQ_FIRST(&f->wheel[at])) != NULL;) {
			TAILQ_REMOVE(&f->wheel[at], g, link);
			why = connect_guest(
				f, g); /* one that has to wait again waits in another slot */
		}
	}
	return why;
}

/* Those whose arrival is now, a batch between two iterations of the loop: each guest of a real
 * storm has a processor of its own, and none of them waits with its handshake until all the others
 * have connected. */
static const char *arrive(struct fleet *f, unsigned n)
{
	const char *why = NULL;
	for (unsigned end = f->n_arrived + ARRIVE_BATCH < n ? f->n_arrived + ARRIVE_BATCH : n;
	     f->n_arrived < end && why == NULL; f->n_arrived++) {
		struct fleet_guest *g = &f->first[f->n_arrived];
		g->boot_ms = 0;
		g->n_attempts = g->n_released = 0;
		if (g->arrive_s > 0)
			wait_until(f, g, g->arrive_s);
		else
			why = connect_guest(f, g);
	}
	return why;
}

static const char *storm(struct fleet *f, unsigned n)
{
	struct epoll_event ready[256];
	const char *why = NULL;
	while (f->n_left > 0 && why == NULL && now_s() - f->from_s < f->plan->limit_s) {
		int n_ready = epoll_wait(f->epoll, ready, 256, f->n_arrived < n ? 0 : SPOKE_MS);
		for (int i = 0; i < n_ready; i++)
			if (((struct fleet_guest *)ready[i].data.ptr)->ssl != NULL)
				step(f, ready[i].data.ptr);
		why = turn_wheel(f);
		if (why == NULL)
			why = arrive(f, n);
	}
	return why;
}

static const char *check_samples(struct fleet *f)
{
	const char *why = NULL;
	for (unsigned i = 0; i < f->n_samples; i++) {
		struct sample *s = &f->sample[i];
		struct expect want = *f->plan->want;
		struct released got = {0};
		want.kek = s->guest->key;
		want.name = f->plan->key[s->key];
		if (why == NULL)
			why = proof_open(s->body, s->len, &want, &got);
		f->out->checked += why == NULL;
		released_free(&got);
		free(s->body);
	}
	return why;
}

const char *fleet_run(const struct fleet_plan *plan, struct fleet_guest *guests, unsigned n,
		      struct fleet_result *out)
{
	struct fleet *f = calloc(1, sizeof *f);
	const char *why = NULL;
	memset(out, 0, sizeof *out);
	if (f == NULL)
		return "no memory";
	f->plan = plan;
	f->out = out;
	f->first = guests;
	f->n_left = n;
	f->random = UINT64_C(0x9e3779b97f4a7c15);
	f->epoll = epoll_create1(EPOLL_CLOEXEC);
	for (unsigned i = 0; i < WHEEL_SPOKES; i++)
		TAILQ_INIT(&f->wheel[i]);
	double client_us = processor_us();
	f->from_s = now_s();
	why = storm(f, n);
	out->seconds = now_s() - f->from_s;
	out->client_us = processor_us() - client_us;
	out->failed += f->n_left;
	for (unsigned i = 0; i < n; i++)
		leave(&guests[i]);
	const char *sample = check_samples(f);
	close(f->epoll);
	free(f);
	return why != NULL ? why : sample;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

double fleet_quantile(const struct fleet_guest *guests, unsigned n, double share)
{
	double *ms = calloc(n, sizeof *ms), value = -1;
	for (unsigned i = 0; ms != NULL && i < n; i++)
		ms[i] = guests[i].boot_ms > 0 ? guests[i].boot_ms : 1e12;
	if (ms != NULL && n > 0) {
		qsort(ms, n, sizeof *ms, by_value);
		double rank = share * n;
		unsigned at = rank >= 1 ? (unsigned)rank - (rank == (double)(unsigned)rank) : 0;
		value = ms[at < n ? at : n - 1] < 1e12 ? ms[at < n ? at : n - 1] : -1;
	}
	free(ms);
	return value;
}
