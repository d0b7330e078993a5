/* tests/e2e/relay.h — a relay between a guest and the broker, with a TLS certificate of the
 * broker's CA: it passes answers on, or falsifies them, by its mode. */
#ifndef KB_TESTS_RELAY_H
#define KB_TESTS_RELAY_H
#include <pthread.h>

#include "tests/e2e/harness.h"

enum relay_mode {
	RELAY_PASS,
	RELAY_CHUNKED,     /* the same answer, framed in chunks */
	RELAY_BUSY_ONCE,   /* 503 with Retry-After: 1, then as RELAY_PASS */
	RELAY_DAMAGED,     /* the last character but one of the JWS changed */
	RELAY_OLD,         /* the answer to an earlier request */
	RELAY_OTHER_KEY,   /* the answer for the key "ec" to the same request */
	RELAY_REDIRECT,    /* 302 */
	RELAY_HTML,        /* 200 and a page */
	RELAY_TWO_LENGTHS, /* the answer with a second Content-Length */
	RELAY_DROP_ONCE,   /* the broker answers, the guest sees the connection end; then as PASS */
	RELAY_SIGN_SERVER, /* the answer signed anew, by a TLS certificate of the broker's CA */
	RELAY_SIGN_PEER,   /* ... of a signer's role, with the key of the relay's TLS */
	RELAY_CONTROLS,    /* 403 whose message holds control characters of terminals */
	RELAY_ENDLESS,     /* bytes without an end and without a pause */
};

struct relay {
	char url[64];
	struct instance *in;
	SSL_CTX *tls;
	int listener;
	unsigned port, calls, repeats;
	enum relay_mode mode;
	struct relay_signer {
		EVP_PKEY *key;
		X509 *cert;
	} by_server, by_peer, tls_own;
	X509 *issuing, *root;
	EVP_PKEY *ca;
	char *last; /* the last request's body */
	char *old;  /* the body of the last answer that was passed on */
	pthread_t thread;
	pthread_mutex_t lock;
};

const char *relay_start(struct relay *r, struct instance *in);
void relay_stop(struct relay *r);
void relay_mode(struct relay *r, enum relay_mode mode); /* and count anew */
unsigned relay_calls(struct relay *r);
unsigned relay_repeats(struct relay *r); /* requests with the body of the one before */

#endif
