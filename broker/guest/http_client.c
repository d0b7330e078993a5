/* broker/guest/http_client.c — connect, TLS, one request, one reply.  Authenticates the server by
 * the given CA and the URL's host alone; DNS is not trusted. Never waits beyond its deadline (name
 * resolution excepted), never follows a redirect. */
#include "guest/http_client.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/limits.h"

enum { READ_BYTES = 16384 };

static void ssl_cleanup(SSL **s)
{
	SSL_free(*s);
}

static void fd_cleanup(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

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

/* 0, or the errno. */
static int connect_wait(int fd, const struct addrinfo *to, int64_t deadline_ms)
{
	int fault = 0;

	if (connect(fd, to->ai_addr, to->ai_addrlen) == 0)
		return 0;
	if (errno != EINPROGRESS)
		return errno;
	if (!wait_for(fd, POLLOUT, deadline_ms))
		return ETIMEDOUT;
	return getsockopt(fd, SOL_SOCKET, SO_ERROR, &fault, &(socklen_t){sizeof fault}) == 0
		       ? fault
		       : errno;
}

static enum kb_err connect_one(const struct addrinfo *to, int64_t deadline_ms, int *out,
			       char why[static HTTP_WHY])
{
	int fd = socket(to->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int fault = fd < 0 ? errno : connect_wait(fd, to, deadline_ms);

	if (fault != 0) {
		snprintf(why, HTTP_WHY, "connect: %s", strerror(fault));
		fd_cleanup(&fd);
		return fault == ETIMEDOUT ? KB_E_FETCH_TIMEOUT : KB_E_FETCH_CONNECT;
	}
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
	*out = fd;
	return KB_OK;
}

/* Every address of the host, in the resolver's order. */
static enum kb_err connect_any(const struct url *url, int64_t deadline_ms, int *out,
			       char why[static HTTP_WHY])
{
	const struct addrinfo want = {.ai_socktype = SOCK_STREAM,
				      .ai_flags =
					      AI_NUMERICSERV | (url->is_ip ? AI_NUMERICHOST : 0)};
	struct addrinfo *list = NULL;
	enum kb_err err = KB_E_FETCH_CONNECT;

	*out = -1;
	int failed = getaddrinfo(url->host, url->port, &want, &list);
	if (failed != 0) {
		snprintf(why, HTTP_WHY, "cannot resolve %.100s: %s", url->host,
			 gai_strerror(failed));
		return KB_E_FETCH_CONNECT;
	}
	for (const struct addrinfo *a = list; a != NULL && err != KB_OK; a = a->ai_next) {
		int64_t soon = clock_mono_ms() + KB_GUEST_CONNECT_MS;
		err = connect_one(a, soon < deadline_ms ? soon : deadline_ms, out, why);
	}
	freeaddrinfo(list);
	return err;
}

/* After an SSL call that returned `n` ≤ 0: wait and come again (KB_OK), or why not. */
static enum kb_err ssl_wait(SSL *s, int n, int64_t deadline_ms, char why[static HTTP_WHY])
{
	int fault = errno, kind = SSL_get_error(s, n);
	long verify = SSL_get_verify_result(s);

	if (kind == SSL_ERROR_WANT_READ || kind == SSL_ERROR_WANT_WRITE) {
		if (wait_for(SSL_get_fd(s), kind == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT,
			     deadline_ms))
			return KB_OK;
		snprintf(why, HTTP_WHY, "no answer in time");
		return KB_E_FETCH_TIMEOUT;
	}
	const char *reason = ERR_reason_error_string(ERR_peek_last_error());
	if (verify != X509_V_OK)
		snprintf(why, HTTP_WHY, "its certificate is not accepted: %s",
			 X509_verify_cert_error_string(verify));
	else if (kind == SSL_ERROR_SSL)
		snprintf(why, HTTP_WHY, "TLS: %s", reason == NULL ? "failed" : reason);
	else
		snprintf(why, HTTP_WHY, "the connection was lost%s%s", fault == 0 ? "" : ": ",
			 fault == 0 ? "" : strerror(fault));
	ERR_clear_error();
	return kind == SSL_ERROR_SSL ? KB_E_FETCH_TLS : KB_E_FETCH_CONNECT;
}

static enum kb_err handshake(SSL *s, const struct url *url, int fd, int64_t deadline_ms,
			     char why[static HTTP_WHY])
{
	bool is_set = url->is_ip ? X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(s), url->host) == 1
				 : SSL_set1_host(s, url->host) == 1 &&
					   SSL_set_tlsext_host_name(s, url->host) == 1;

	SSL_set_hostflags(s, X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
	if (!is_set || SSL_set_fd(s, fd) != 1)
		return KB_E_NOMEM;
	for (;;) {
		errno = 0;
		int n = SSL_connect(s);
		if (n == 1)
			return KB_OK;
		enum kb_err err = ssl_wait(s, n, deadline_ms, why);
		if (err != KB_OK)
			return err;
	}
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

enum kb_err http_post(const struct http_call *call, struct http_reply *out,
		      char why[static HTTP_WHY])
{
	__attribute__((cleanup(fd_cleanup))) int fd = -1;
	enum kb_err err;

	why[0] = '\0';
	if ((err = connect_any(call->url, call->deadline_ms, &fd, why)) != KB_OK)
		return err;
	KB_AUTO(ssl) SSL *s = SSL_new(call->tls);
	if (s == NULL)
		return KB_E_NOMEM;
	if ((err = handshake(s, call->url, fd, call->deadline_ms, why)) != KB_OK ||
	    (err = send_request(s, call, why)) != KB_OK ||
	    (err = receive(s, call->deadline_ms, out, why)) != KB_OK)
		return err;
	X509 *peer = SSL_get0_peer_certificate(s);
	out->peer = peer == NULL ? NULL : X509_get_pubkey(peer);
	SSL_shutdown(s);
	return KB_OK;
}
