/* tests/e2e/relay.h — a relay between a guest and the broker, with the broker's own certificate: it
 * passes answers on, or falsifies them, by its mode. */
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
};

struct relay {
	char url[64];
	struct instance *in;
	SSL_CTX *tls;
	int listener;
	unsigned port, calls;
	enum relay_mode mode;
	char *old; /* the body of the last answer that was passed on */
	pthread_t thread;
	pthread_mutex_t lock;
};

const char *relay_start(struct relay *r, struct instance *in);
void relay_stop(struct relay *r);
void relay_mode(struct relay *r, enum relay_mode mode); /* and count anew */
unsigned relay_calls(struct relay *r);

#endif
