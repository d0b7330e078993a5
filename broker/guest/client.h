/* broker/guest/client.h — one request to the first of several servers that answers it: order,
 * retries, and when to stop. */
#ifndef KB_GUEST_CLIENT_H
#define KB_GUEST_CLIENT_H
#include "base/limits.h"
#include "guest/console.h"
#include "guest/http_client.h"

struct client {
	struct url urls[KB_GUEST_URLS];
	size_t n_urls;
	SSL_CTX *tls;
	const struct secret *bearer; /* NULL: none */
	int64_t deadline_ms;         /* all attempts together */
};

struct client_call {
	const char *target;
	struct span body;
	/* A reply of status 200.  GUEST_OK: taken.  GUEST_BAD_REPLY: this server is not asked
	 * again. Anything else ends the run. The function reports the reason itself. */
	enum guest_exit (*judge)(void *ctx, const struct url *from, const struct http_reply *r);
	/* Makes another body for the next try, because a server has, or may have, the one before: a
	 * token counts once. NULL: the same body may be sent again.  An error ends the run. */
	enum guest_exit (*renew)(void *ctx, struct span *body);
	void *ctx;
};

/* POST to one URL after the other until one reply is taken.  Of those that are left, race() decides
 * which gets the request.  A refusal (4xx) is final: GUEST_REFUSED.  No connection, no reply, 5xx,
 * 408 and 429 move on to the next URL and, after a wait, to the next round: GUEST_UNREACHABLE when
 * the deadline comes first. */
enum guest_exit client_ask(const struct client *c, struct client_call *call);

#endif
