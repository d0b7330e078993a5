/* broker/guest/http_client.h — one HTTPS POST to one server, with deadlines.  Not libcurl, which
 * brings some twenty libraries into an initramfs: a release needs one verb, one reply and no
 * redirect. */
#ifndef KB_GUEST_HTTP_CLIENT_H
#define KB_GUEST_HTTP_CLIENT_H
#include <openssl/types.h>

#include "base/secret.h"
#include "guest/http_reply.h"
#include "guest/url.h"

#define HTTP_WHY 160 /* bytes of a reason for the console */
#define HTTP_AT  320 /* bytes of a server and its address */

/* TLS 1.2 or later, peers verified against the certificates of one PEM file.  KB_E_FILE. */
KB_MUST_CHECK enum kb_err http_trust(const char *ca_file, SSL_CTX **out);

/* A connection to one server; race() makes it. */
struct http_link {
	SSL *tls;         /* NULL: not begun */
	int fd;           /* -1: none; does not block */
	char at[HTTP_AT]; /* for messages: server and address */
};
void http_close(struct http_link *l); /* of an empty one is fine */
/* Prepare the handshake: the server is verified for the URL's host.  KB_E_NOMEM. */
KB_MUST_CHECK enum kb_err http_tls(struct http_link *l, SSL_CTX *ctx, const struct url *url);
/* After an SSL call that returned `n` <= 0.  KB_OK: wait for *events, and call again.  Otherwise
 * `why`: KB_E_FETCH_TLS, KB_E_FETCH_CONNECT (lost). */
KB_MUST_CHECK enum kb_err http_ssl_fault(SSL *s, int n, short *events, char why[static HTTP_WHY]);

struct http_call {
	const struct url *url;
	const char *target;          /* below the URL's path: "/keys/n/release?api-version=7.4" */
	struct span body;            /* JSON; empty: none */
	const struct secret *bearer; /* NULL: no Authorization */
	int64_t deadline_ms;         /* of clock_mono_ms() */
};

/* POST, after the handshake.  `out` was initialised by the caller.  On an error `why` is the
 * reason, without secrets: KB_E_FETCH_CONNECT, KB_E_FETCH_TLS, KB_E_FETCH_TIMEOUT; KB_E_HTTP_* and
 * KB_E_FETCH_SIZE for a reply that is none. */
KB_MUST_CHECK enum kb_err http_post(struct http_link *l, const struct http_call *call,
				    struct http_reply *out, char why[static HTTP_WHY]);

#endif
