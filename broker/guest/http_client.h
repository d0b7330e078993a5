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

/* TLS 1.2 or later, peers verified against the certificates of one PEM file.  KB_E_FILE. */
KB_MUST_CHECK enum kb_err http_trust(const char *ca_file, SSL_CTX **out);

struct http_call {
	const struct url *url;
	const char *target;          /* below the URL's path: "/keys/n/release?api-version=7.4" */
	struct span body;            /* JSON; empty: none */
	const struct secret *bearer; /* NULL: no Authorization */
	SSL_CTX *tls;
	int64_t deadline_ms; /* of clock_mono_ms() */
};

/* `out` was initialised by the caller.  On an error `why` is the reason, without secrets:
 * KB_E_FETCH_CONNECT, KB_E_FETCH_TLS, KB_E_FETCH_TIMEOUT; KB_E_HTTP_* and KB_E_FETCH_SIZE for a
 * reply that is none. */
KB_MUST_CHECK enum kb_err http_post(const struct http_call *call, struct http_reply *out,
				    char why[static HTTP_WHY]);

#endif
