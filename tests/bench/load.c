/* tests/bench/load.c — the load: an epoll loop of TLS clients, each with one request under way.
 * Trusts the instance's CA.  Must never check replies inside the measured time (a private-key
 * operation a reply would measure us), nor count a reply that is not a release as one. */
#include "tests/bench/load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/e2e/evidence.h"

enum { REPLY_BYTES = 32768, SAMPLE_EVERY = 100, SAMPLES = 4096, MAX_LATENCIES = 8 << 20 };

/* ---- the corpus ---- */

static const char *make_keys(const char *file, unsigned from, unsigned n)
{
	FILE *f = fopen(file, "ab");
	if (f == NULL)
		return wrong("%s: %s", file, strerror(errno));
	for (unsigned i = from; i < n; i++) {
		uint8_t *der = NULL;
		EVP_PKEY *key = guest_key(2048);
		int len = key == NULL ? -1 : i2d_PrivateKey(key, &der);
		if (len <= 0 || fwrite(der, 1, (size_t)len, f) != (size_t)len)
			return "writing keys";
		OPENSSL_free(der);
		EVP_PKEY_free(key);
	}
	return fclose(f) == 0 ? NULL : "writing keys";
}

static void read_keys(struct corpus *c, const char *file, unsigned n)
{
	FILE *f = fopen(file, "rb");
	for (EVP_PKEY *key; f != NULL && c->n < n && (key = d2i_PrivateKey_fp(f, NULL)) != NULL;)
		c->item[c->n++].key = key;
	ERR_clear_error();
	if (f != NULL)
		fclose(f);
}

const char *corpus_keys(struct corpus *c, const char *file, unsigned n)
{
	char part[2][256];
	pid_t pid[2];
	c->n = 0;
	c->item = calloc(n, sizeof *c->item);
	if (c->item == NULL)
		return "no memory";
	for (unsigned i = 0; i < 2; i++)
		snprintf(part[i], sizeof part[i], i == 0 ? "%s" : "%s.2", file);
	for (unsigned i = 0; i < 2; i++)
		read_keys(c, part[i], n);
	if (c->n == n)
		return NULL;
	unsigned missing = n - c->n;
	printf("making %u guests' keys once (%s)\n", missing, file);
	fflush(stdout);
	for (unsigned i = 0; i < 2; i++)
		if ((pid[i] = fork()) == 0)
			_exit(make_keys(part[i], i == 0 ? 0 : missing / 2,
					i == 0 ? missing / 2 : missing) == NULL
				      ? 0
				      : 1);
	for (unsigned i = 0; i < 2; i++) {
		int status;
		if (waitpid(pid[i], &status, 0) != pid[i] || status != 0)
			return "making keys";
	}
	for (; c->n > 0; EVP_PKEY_free(c->item[c->n].key))
		c->n--;
	for (unsigned i = 0; i < 2; i++)
		read_keys(c, part[i], n);
	return c->n == n ? NULL : "making keys";
}

const char *corpus_requests(struct corpus *c, const struct place *issuer,
			    const struct place *broker, const char *name, const char *enc)
{
	for (unsigned i = 0; i < c->n; i++) {
		char *token, nonce[32];
		snprintf(nonce, sizeof nonce, "guest-%u", i);
		const char *why =
			guest_attest(issuer, evidence_guest(c->item[i].key, nonce), &token);
		if (why != NULL)
			return why;
		size_t body_len = strlen(token) + strlen(enc) +
				  strlen("{\"target\":\"\",\"enc\":\"\"}"),
		       cap = body_len + 512;
		free(c->item[i].request);
		char *request = c->item[i].request = malloc(cap);
		if (request == NULL)
			return "no memory";
		c->item[i].len =
			(size_t)snprintf(request, cap,
					 "POST /keys/%s/release?api-version=7.4 HTTP/1.1\r\nHost: "
					 "%s:%u\r\nAuthorization: Bearer guest\r\n"
					 "Content-Type: application/json\r\nContent-Length: "
					 "%zu\r\n\r\n{\"target\":\"%s\",\"enc\":\"%s\"}",
					 name, broker->host, broker->port, body_len, token, enc);
		free(token);
	}
	return NULL;
}

char *corpus_token(const struct corpus *c, unsigned item)
{
	static const char mark[] = "{\"target\":\"";
	const char *from = item < c->n && c->item[item].request != NULL
				   ? strstr(c->item[item].request, mark)
				   : NULL;
	return from == NULL
		       ? NULL
		       : strndup(from + sizeof mark - 1, strcspn(from + sizeof mark - 1, "\""));
}

void corpus_free(struct corpus *c)
{
	for (unsigned i = 0; i < c->n; i++) {
		EVP_PKEY_free(c->item[i].key);
		free(c->item[i].request);
	}
	free(c->item);
	*c = (struct corpus){0};
}

/* ---- connections ---- */

static double now_us(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

struct client {
	int fd;
	SSL *ssl;
	unsigned item;
	bool is_sent;
	double started_us;
	size_t in_len;
	char in[REPLY_BYTES];
};

struct sample {
	unsigned item;
	char *body;
	size_t len;
};

struct load {
	const struct load_plan *plan;
	struct load_result *out;
	int epoll;
	unsigned next_item;
	bool is_measured;
	struct sample sample[SAMPLES];
	unsigned n_samples;
	float *latency_ms;
	size_t n_latencies;
	const char *fault;
};

static const char *tcp_open(const struct place *at, bool is_blocking, int *fd)
{
	struct sockaddr_in to = {.sin_family = AF_INET,
				 .sin_port = htons((uint16_t)at->port),
				 .sin_addr = {htonl(INADDR_LOOPBACK)}};
	*fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (*fd < 0 ||
	    connect(*fd, (struct sockaddr *)&to, sizeof to) != 0) /* loopback: done at once */
		return wrong("connect: %s", strerror(errno));
	setsockopt(*fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
	if (!is_blocking)
		fcntl(*fd, F_SETFL, O_NONBLOCK);
	return NULL;
}

static const char *client_open(struct load *l, struct client *c)
{
	const char *why = tcp_open(l->plan->at, false, &c->fd);
	if (why != NULL)
		return why;
	c->ssl = SSL_new(l->plan->at->tls);
	if (c->ssl == NULL || SSL_set_fd(c->ssl, c->fd) != 1 ||
	    SSL_set1_host(c->ssl, l->plan->at->host) != 1)
		return "SSL_new";
	SSL_set_connect_state(c->ssl);
	struct epoll_event e = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data = {.ptr = c}};
	return epoll_ctl(l->epoll, EPOLL_CTL_ADD, c->fd, &e) == 0 ? NULL : "epoll_ctl";
}

static void client_close(struct client *c)
{
	if (c->ssl != NULL) {
		SSL_shutdown(c->ssl);
		SSL_free(c->ssl);
		close(c->fd);
	}
	c->ssl = NULL;
}

static void client_begin(struct load *l, struct client *c)
{
	c->item = l->next_item++ % l->plan->corpus->n;
	c->is_sent = false;
	c->in_len = 0;
	c->started_us = now_us();
}

/* Length of a whole response in `in`, 0 when more must come. */
static size_t response_len(const struct client *c, size_t *head_len)
{
	const char *end = memmem(c->in, c->in_len, "\r\n\r\n", 4);
	if (end == NULL)
		return 0;
	*head_len = (size_t)(end - c->in) + 4;
	const char *length = strcasestr(c->in, "\r\nContent-Length:");
	size_t total =
		*head_len + (length == NULL || length > end ? 0 : strtoul(length + 17, NULL, 10));
	return c->in_len >= total ? total : 0;
}

static void account(struct load *l, struct client *c, size_t head_len, size_t total)
{
	struct load_result *out = l->out;
	int status = atoi(c->in + 9);
	if (!l->is_measured)
		return;
	out->statuses[status >= 0 && status < 600 ? status : 0]++;
	if (status != 200) {
		out->refused++;
		out->last_status = status;
		return;
	}
	if (l->n_latencies < MAX_LATENCIES)
		l->latency_ms[l->n_latencies++] = (float)((now_us() - c->started_us) / 1e3);
	if (out->done++ % SAMPLE_EVERY == 0 && l->n_samples < SAMPLES) {
		struct sample *s = &l->sample[l->n_samples++];
		s->item = c->item;
		s->len = total - head_len;
		s->body = malloc(s->len + 1);
		if (s->body != NULL)
			memcpy(s->body, c->in + head_len, s->len);
	}
}

/* Go as far as the socket lets us. */
static const char *client_step(struct load *l, struct client *c)
{
	for (;;) {
		if (!c->is_sent) {
			const struct corpus_item *item = &l->plan->corpus->item[c->item];
			int n = SSL_write(
				c->ssl, item->request,
				(int)item->len); /* all of it or again: no partial writes */
			if (n <= 0)
				goto wait;
			c->is_sent = true;
		}
		int n = SSL_read(c->ssl, c->in + c->in_len, (int)(sizeof c->in - 1 - c->in_len));
		if (n <= 0)
			goto wait;
		c->in_len += (size_t)n;
		c->in[c->in_len] = '\0';
		size_t head_len, total = response_len(c, &head_len);
		if (total == 0) {
			if (c->in_len == sizeof c->in - 1)
				return "a reply larger than allowed";
			continue;
		}
		account(l, c, head_len, total);
		client_begin(l, c);
		if (!l->plan->is_new_connection)
			continue;
		client_close(c);
		const char *why = client_open(l, c);
		if (why != NULL)
			return why;
	}
wait:;
	int e = SSL_get_error(c->ssl, -1);
	if (e == SSL_ERROR_WANT_READ || e == SSL_ERROR_WANT_WRITE)
		return NULL;
	return wrong("a connection was lost: %s",
		     e == SSL_ERROR_ZERO_RETURN ? "closed" : strerror(errno));
}

/* Until `end_us`. */
static const char *loop(struct load *l, double end_us)
{
	struct epoll_event ready[256];
	while (now_us() < end_us) {
		int n = epoll_wait(l->epoll, ready, 256, 50);
		for (int i = 0; i < n; i++) {
			const char *why = client_step(l, ready[i].data.ptr);
			if (why != NULL)
				return why;
		}
	}
	return NULL;
}

static int by_value(const void *a, const void *b)
{
	float x = *(const float *)a, y = *(const float *)b;
	return (x > y) - (x < y);
}

static const char *check_samples(struct load *l)
{
	const char *why = NULL;
	for (unsigned i = 0; i < l->n_samples; i++) {
		struct sample *s = &l->sample[i];
		struct expect want = *l->plan->want;
		struct released got = {0};
		want.kek = l->plan->corpus->item[s->item].key;
		if (why == NULL)
			why = s->body == NULL ? "no memory"
					      : proof_open(s->body, s->len, &want, &got);
		l->out->checked += why == NULL;
		released_free(&got);
		free(s->body);
	}
	return why;
}

const char *load_run(const struct load_plan *plan, struct load_result *out)
{
	const char *why = "no memory";
	struct load *l = calloc(1, sizeof *l);
	struct client *clients = calloc(plan->connections, sizeof *clients);
	memset(out, 0, sizeof *out);
	if (l == NULL || clients == NULL ||
	    (l->latency_ms = malloc(MAX_LATENCIES * sizeof(float))) == NULL)
		goto out;
	l->plan = plan;
	l->out = out;
	l->epoll = epoll_create1(EPOLL_CLOEXEC);
	for (unsigned i = 0; i < plan->connections; i++) {
		client_begin(l, &clients[i]);
		if ((why = client_open(l, &clients[i])) != NULL ||
		    (why = client_step(l, &clients[i])) != NULL)
			goto out;
	}
	if ((why = loop(l, now_us() + plan->warm_s * 1e6)) != NULL)
		goto out;
	l->is_measured = true;
	double from = now_us();
	if (plan->mark != NULL)
		plan->mark(plan->context, true);
	why = loop(l, from + plan->run_s * 1e6);
	out->seconds = (now_us() - from) / 1e6;
	l->is_measured = false;
	if (plan->mark != NULL)
		plan->mark(plan->context, false);
	if (why != NULL)
		goto out;
	qsort(l->latency_ms, l->n_latencies, sizeof(float), by_value);
	if (l->n_latencies > 0) {
		out->p50_ms = (double)l->latency_ms[l->n_latencies / 2];
		out->p99_ms = (double)l->latency_ms[l->n_latencies * 99 / 100];
		out->p999_ms = (double)l->latency_ms[l->n_latencies * 999 / 1000];
		out->max_ms = (double)l->latency_ms[l->n_latencies - 1];
	}
	why = check_samples(l);
out:
	for (unsigned i = 0; clients != NULL && i < plan->connections; i++)
		client_close(&clients[i]);
	if (l != NULL) {
		close(l->epoll);
		free(l->latency_ms);
	}
	free(l);
	free(clients);
	ERR_clear_error();
	return why;
}

/* ---- idle connections ---- */

struct idle {
	unsigned n;
	int *fd;
	SSL **ssl;
};

const char *idle_open(const struct place *at, unsigned n, struct idle **out)
{
	const char *why = "no memory";
	struct idle *i = *out = calloc(1, sizeof *i);
	if (i == NULL || (i->fd = calloc(n, sizeof *i->fd)) == NULL ||
	    (i->ssl = calloc(n, sizeof(SSL *))) == NULL)
		return why;
	while (i->n < n) {
		unsigned k = i->n;
		if ((why = tcp_open(at, true, &i->fd[k])) != NULL)
			return why;
		i->n++;
		SSL *ssl = i->ssl[k] = SSL_new(at->tls);
		if (ssl == NULL || SSL_set_fd(ssl, i->fd[k]) != 1 ||
		    SSL_set1_host(ssl, at->host) != 1 || SSL_connect(ssl) != 1)
			return wrong("idle connection %u of %u: TLS", k + 1, n);
	}
	return NULL;
}

unsigned idle_alive(struct idle *i)
{
	unsigned alive = 0;
	for (unsigned k = 0; k < i->n; k++) {
		char c;
		fcntl(i->fd[k], F_SETFL, O_NONBLOCK);
		int n = SSL_read(i->ssl[k], &c, 1); /* takes the session tickets, too */
		alive += n <= 0 && SSL_get_error(i->ssl[k], n) == SSL_ERROR_WANT_READ;
	}
	ERR_clear_error();
	return alive;
}

void idle_close(struct idle *i)
{
	if (i == NULL)
		return;
	for (unsigned k = 0; k < i->n; k++) {
		SSL_free(i->ssl[k]);
		close(i->fd[k]);
	}
	free(i->fd);
	free(i->ssl);
	free(i);
}
