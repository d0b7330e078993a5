/* tests/e2e/relay.c — a thread that takes one connection after the other, asks the broker the same,
 * and answers by its mode. Decides nothing about the product: it only sends it what a hostile
 * network could send. */
#include "tests/e2e/relay.h"

#include <arpa/inet.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

enum { REQUEST_MAX = 256 * 1024, ANSWER_MAX = 512 * 1024 };

static bool read_request(SSL *s, char *in, size_t cap)
{
	size_t len = 0, n;
	while (len < cap - 1 && SSL_read_ex(s, in + len, cap - 1 - len, &n) == 1) {
		len += n;
		in[len] = '\0';
		const char *end = strstr(in, "\r\n\r\n"),
			   *length = strcasestr(in, "\r\nContent-Length:");
		if (end != NULL && (length == NULL ||
				    len >= (size_t)(end + 4 - in) + strtoul(length + 17, NULL, 10)))
			return true;
	}
	return false;
}

static void send_text(SSL *s, const char *text, size_t len)
{
	size_t n;
	for (; len > 0 && SSL_write_ex(s, text, len, &n) == 1; len -= n)
		text += n;
}

/* The same request to the broker; RELAY_OTHER_KEY names another key. */
static const char *ask_broker(struct relay *r, enum relay_mode mode, const char *request,
			      struct reply *out)
{
	char path[256] = "", other[300];
	const char *body = strstr(request, "\r\n\r\n");
	if (sscanf(request, "POST %255s", path) != 1 || body == NULL)
		return "no POST";
	const char *name = strstr(path, "/disk/");
	if (mode == RELAY_OTHER_KEY && name != NULL)
		snprintf(other, sizeof other, "%.*s/ec/%s", (int)(name - path), path, name + 6);
	else
		snprintf(other, sizeof other, "%s", path);
	return place_call(&r->in->at, "POST", other, "", body + 4, out);
}

static void answer(SSL *s, const struct reply *from, enum relay_mode mode, const char *old)
{
	char *text = malloc(ANSWER_MAX), id[64];
	const char *body = mode == RELAY_OLD && old != NULL ? old : from->body;
	size_t len = strlen(body);
	if (mode == RELAY_DAMAGED) {
		char *quote = strrchr(from->body, '"');
		quote[-3] = quote[-3] == 'A' ? 'B' : 'A';
	}
	int n = snprintf(text, ANSWER_MAX, "HTTP/1.1 %d Relayed\r\nx-ms-request-id: %s\r\n",
			 from->status, reply_header(from, "x-ms-request-id", id, sizeof id));
	if (mode == RELAY_TWO_LENGTHS)
		n += snprintf(text + n, ANSWER_MAX - (size_t)n, "Content-Length: 1\r\n");
	if (mode == RELAY_CHUNKED)
		n += snprintf(text + n, ANSWER_MAX - (size_t)n,
			      "Transfer-Encoding: chunked\r\n\r\n1\r\n%c\r\n%zx\r\n%s\r\n0\r\n\r\n",
			      body[0], len - 1, body + 1);
	else
		n += snprintf(text + n, ANSWER_MAX - (size_t)n, "Content-Length: %zu\r\n\r\n%s",
			      len, body);
	send_text(s, text, (size_t)n);
	free(text);
}

static void serve(struct relay *r, SSL *s, char *request)
{
	static const char busy[] =
		"HTTP/1.1 503 Busy\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n";
	static const char redirect[] =
		"HTTP/1.1 302 Found\r\nLocation: https://localhost/\r\nContent-Length: 0\r\n\r\n";
	static const char html[] = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: "
				   "15\r\n\r\n<!doctype html>";
	struct reply got = {0};
	if (!read_request(s, request, REQUEST_MAX))
		return;
	pthread_mutex_lock(&r->lock);
	enum relay_mode mode = r->mode;
	r->calls++;
	if (mode == RELAY_BUSY_ONCE)
		r->mode = RELAY_PASS;
	pthread_mutex_unlock(&r->lock);
	if (mode == RELAY_BUSY_ONCE) {
		send_text(s, busy, sizeof busy - 1);
	} else if (mode == RELAY_REDIRECT) {
		send_text(s, redirect, sizeof redirect - 1);
	} else if (mode == RELAY_HTML) {
		send_text(s, html, sizeof html - 1);
	} else if (ask_broker(r, mode, request, &got) == NULL) {
		answer(s, &got, mode, r->old);
		if (mode == RELAY_PASS && got.status == 200) {
			free(r->old);
			r->old = strdup(got.body);
		}
	}
	reply_free(&got);
}

static void *run(void *ctx)
{
	struct relay *r = ctx;
	char *request = malloc(REQUEST_MAX);
	for (int fd; (fd = accept4(r->listener, NULL, NULL, SOCK_CLOEXEC)) >= 0; close(fd)) {
		SSL *s = SSL_new(r->tls);
		if (SSL_set_fd(s, fd) == 1 && SSL_accept(s) == 1) {
			serve(r, s, request);
			SSL_shutdown(s);
		}
		SSL_free(s);
	}
	free(request);
	return NULL;
}

const char *relay_start(struct relay *r, struct instance *in)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t len = sizeof a;
	char certificate[160], key[160];
	memset(r, 0, sizeof *r);
	r->in = in;
	pthread_mutex_init(&r->lock, NULL);
	snprintf(certificate, sizeof certificate, "%s/tls/server.pem", in->dir);
	snprintf(key, sizeof key, "%s/tls/server.key", in->dir);
	r->tls = SSL_CTX_new(TLS_server_method());
	if (SSL_CTX_use_certificate_chain_file(r->tls, certificate) != 1 ||
	    SSL_CTX_use_PrivateKey_file(r->tls, key, SSL_FILETYPE_PEM) != 1)
		return "the relay has no certificate";
	r->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (bind(r->listener, (struct sockaddr *)&a, sizeof a) != 0 ||
	    listen(r->listener, 16) != 0 ||
	    getsockname(r->listener, (struct sockaddr *)&a, &len) != 0)
		return "the relay cannot listen";
	r->port = ntohs(a.sin_port);
	snprintf(r->url, sizeof r->url, "https://localhost:%u", r->port);
	return pthread_create(&r->thread, NULL, run, r) == 0 ? NULL : "no thread";
}

void relay_stop(struct relay *r)
{
	shutdown(r->listener, SHUT_RDWR); /* wakes accept() */
	pthread_join(r->thread, NULL);
	close(r->listener);
	SSL_CTX_free(r->tls);
	free(r->old);
}

void relay_mode(struct relay *r, enum relay_mode mode)
{
	pthread_mutex_lock(&r->lock);
	r->mode = mode;
	r->calls = 0;
	pthread_mutex_unlock(&r->lock);
}

unsigned relay_calls(struct relay *r)
{
	pthread_mutex_lock(&r->lock);
	unsigned n = r->calls;
	pthread_mutex_unlock(&r->lock);
	return n;
}
