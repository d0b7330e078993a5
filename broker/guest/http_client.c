/* broker/guest/http_client.c — TLS, one request, one reply.  Authenticates the server by the given
 * CA and the URL's host alone; DNS is not trusted. Never waits, nor reads, beyond its deadline,
 * never follows a redirect. */
#include "guest/http_client.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/limits.h"

enum { READ_BYTES = 16384 };

enum kb_err http_trust(const char *ca_file, SSL_CTX **out)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());

	*out = NULL;
	if (ctx == NULL || SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) != 1 ||
	    SSL_CTX_load_verify_file(ctx, ca_file) != 1) {
		SSL_CTX_free(ctx);
		ERR_clear_error();
		return KB_E_FILE;
	}
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
	/* Every certificate of the file is a trust anchor, also an intermediate. */
	X509_VERIFY_PARAM_set_flags(SSL_CTX_get0_param(ctx), X509_V_FLAG_PARTIAL_CHAIN);
	*out = ctx;
	return KB_OK;
}

/* Wait until the socket is ready or the deadline has passed. */
static bool wait_for(int fd, short events, int64_t deadline_ms)
{
	struct pollfd p = {.fd = fd, .events = events};

	for (;;) {
		int64_t left = deadline_ms - clock_mono_ms();
		if (left <= 0)
			return false;
		int n = poll(&p, 1, left > 60000 ? 60000 : (int)left);
		if (n > 0)
			return true;
		if (n < 0 && errno != EINTR)
			return false;
	}
}

void http_close(struct http_link *l)
{
	SSL_free(l->tls);
	if (l->fd >= 0)
		close(l->fd);
	l->tls = NULL;
	l->fd = -1;
}

enum kb_err http_tls(struct http_link *l, SSL_CTX *ctx, const struct url *url)
{
	SSL *s = l->tls = SSL_new(ctx);

	if (s == NULL)
		return KB_E_NOMEM;
	bool is_set = url->is_ip ? X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(s), url->host) == 1
				 : SSL_set1_host(s, url->host) == 1 &&
					   SSL_set_tlsext_host_name(s, url->host) == 1;
	SSL_set_hostflags(s, X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
	return is_set && SSL_set_fd(s, l->fd) == 1 ? KB_OK : KB_E_NOMEM;
}

enum kb_err http_ssl_fault(SSL *s, int n, short *events, char why[static HTTP_WHY])
{
	int fault = errno, kind = SSL_get_error(s, n);
	long verify = SSL_get_verify_result(s);

	if (kind == SSL_ERROR_WANT_READ || kind == SSL_ERROR_WANT_WRITE) {
		*events = kind == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT;
		return KB_OK;
	}
	const char *reason = ERR_reason_error_string(ERR_peek_last_error());
	if (verify != X509_V_OK)
		snprintf(why, HTTP_WHY, "its certificate is not accepted: %s",
			 X509_verify_cert_error_string(verify));
	else if (kind == SSL_ERROR_SSL)
		snprintf(why, HTTP_WHY, "%s", reason == NULL ? "failed" : reason);
	else
		snprintf(why, HTTP_WHY, "the connection was lost%s%s", fault == 0 ? "" : ": ",
			 fault == 0 ? "" : strerror(fault));
	ERR_clear_error();
	return kind == SSL_ERROR_SSL ? KB_E_FETCH_TLS : KB_E_FETCH_CONNECT;
}

/* After an SSL call that returned `n` ≤ 0: wait and come again (KB_OK), or why not. */
static enum kb_err ssl_wait(SSL *s, int n, int64_t deadline_ms, char why[static HTTP_WHY])
{
	short events = 0;
	enum kb_err err = http_ssl_fault(s, n, &events, why);

	if (err != KB_OK || wait_for(SSL_get_fd(s), events, deadline_ms))
		return err;
	snprintf(why, HTTP_WHY, "no answer in time");
	return KB_E_FETCH_TIMEOUT;
}

static enum kb_err send_all(SSL *s, struct span bytes, int64_t deadline_ms,
			    char why[static HTTP_WHY])
{
	size_t sent;

	while (bytes.len > 0) {
		errno = 0;
		int n = SSL_write_ex(s, bytes.p, bytes.len, &sent);
		if (n == 1) {
			bytes = span_sub(bytes, sent, bytes.len);
			continue;
		}
		enum kb_err err = ssl_wait(s, n, deadline_ms, why);
		if (err != KB_OK)
			return err;
	}
	return KB_OK;
}

/* The head holds the bearer token, so it is a secret, too. */
static enum kb_err send_request(SSL *s, const struct http_call *c, char why[static HTTP_WHY])
{
	KB_AUTO(secret) struct secret *head = secret_new(KB_MAX_SECRET);
	struct span bearer = c->bearer == NULL ? span_of(NULL, 0) : secret_span(c->bearer);

	if (head == NULL)
		return KB_E_NOMEM;
	int n = snprintf((char *)secret_bytes(head), KB_MAX_SECRET,
			 "POST %s%s HTTP/1.1\r\nHost: %s\r\nUser-Agent: keybroker-guest\r\nAccept: "
			 "application/json\r\n"
			 "Content-Type: application/json\r\nContent-Length: %zu\r\nConnection: "
			 "close\r\n%s%.*s%s\r\n",
			 c->url->path, c->target, c->url->authority, c->body.len,
			 bearer.len > 0 ? "Authorization: Bearer " : "", (int)bearer.len,
			 (const char *)bearer.p, bearer.len > 0 ? "\r\n" : "");
	if (n < 0 || n >= KB_MAX_SECRET)
		return KB_E_HTTP_URI;
	enum kb_err err = send_all(s, span_of(secret_bytes(head), (size_t)n), c->deadline_ms, why);
	return err != KB_OK ? err : send_all(s, c->body, c->deadline_ms, why);
}

static enum kb_err receive(SSL *s, int64_t deadline_ms, struct http_reply *out,
			   char why[static HTTP_WHY])
{
	KB_AUTO(buf) struct buf wire;
	bool is_complete = false;
	uint8_t chunk[READ_BYTES];
	size_t got;

	buf_init(&wire,
		 KB_GUEST_HEAD +
			 2 * KB_GUEST_REPLY); /* chunked framing may cost as much as the body */
	while (!is_complete) {
		errno = 0;
		int n = SSL_read_ex(s, chunk, sizeof chunk, &got);
		enum kb_err err = n == 1 ? KB_OK : ssl_wait(s, n, deadline_ms, why);
		if (err != KB_OK)
			return err;
		/* A server that sends without a pause never makes us wait. */
		if (clock_mono_ms() >= deadline_ms) {
			snprintf(why, HTTP_WHY, "the answer did not end in time");
			return KB_E_FETCH_TIMEOUT;
		}
		if (n != 1)
			continue;
		buf_add(&wire, chunk, got);
		err = buf_ok(&wire) == KB_OK ? http_reply_parse(buf_span(&wire), out, &is_complete)
					     : KB_E_FETCH_SIZE;
		if (err != KB_OK) {
			snprintf(why, HTTP_WHY, "what it sent is no HTTP reply that we take (%s)",
				 kb_err_name(err));
			return err;
		}
	}
	return KB_OK;
}

enum kb_err http_post(struct http_link *l, const struct http_call *call, struct http_reply *out,
		      char why[static HTTP_WHY])
{
	enum kb_err err;

	why[0] = '\0';
	ERR_clear_error();
	if ((err = send_request(l->tls, call, why)) != KB_OK ||
	    (err = receive(l->tls, call->deadline_ms, out, why)) != KB_OK)
		return err;
	X509 *peer = SSL_get0_peer_certificate(l->tls);
	out->peer = peer == NULL ? NULL : X509_get_pubkey(peer);
	SSL_shutdown(l->tls);
	return KB_OK;
}
