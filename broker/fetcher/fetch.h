/* broker/fetcher/fetch.h — documents over https, several at a time, each bounded in time and size.
 * The only user of libcurl; knows nothing of issuers. */
#ifndef KB_FETCHER_FETCH_H
#define KB_FETCHER_FETCH_H
#include <poll.h>
#include <sys/socket.h>

#include "base/bytes.h"

struct fetch_set; /* the transfers under way */
struct fetch;     /* one of them, or its result */

struct fetch_params {                 /* borrowed until fetch_free() */
	const char *url;              /* https only */
	struct span ca;               /* PEM: these CAs and no other; empty: the system's */
	bool allow_private_addresses; /* else fetch_address_ok() must hold */
	const char *proxy;            /* http URL; NULL: none, whatever the environment says */
	size_t max_bytes;
	void *owner;
};

KB_MUST_CHECK enum kb_err fetch_set_new(struct fetch_set **out); /* once a process */
void fetch_set_free(struct fetch_set *s);
static inline void fetch_set_cleanup(struct fetch_set **s)
{
	fetch_set_free(*s);
}

/* On KB_OK *out runs until fetch_wait() returns it; the caller frees it, then or before. */
KB_MUST_CHECK enum kb_err fetch_start(struct fetch_set *s, const struct fetch_params *p,
				      struct fetch **out);
void fetch_free(struct fetch *f);
/* Wait until a transfer is finished, one of `extra` is ready (revents set) or the time is over;
 * *done: one finished transfer, or NULL. */
KB_MUST_CHECK enum kb_err fetch_wait(struct fetch_set *s, struct pollfd *extra, unsigned n_extra,
				     int timeout_ms, struct fetch **done);

/* Of a finished one.  KB_OK: status 200 and the whole body.  Else
 * KB_E_FETCH_{CONNECT,TLS,TIMEOUT,STATUS,REDIRECT,SIZE,ADDRESS,CONTENT}. */
KB_MUST_CHECK enum kb_err fetch_outcome(const struct fetch *f);
const char *fetch_detail(const struct fetch *f); /* for the log: libcurl's text, or the status */
struct span fetch_body(const struct fetch *f);
/* Cache-Control's max-age in seconds; 0 for no-store and no-cache, −1 when it is absent. */
int64_t fetch_max_age(const struct fetch *f);
void *fetch_owner(const struct fetch *f);

/* A globally routable unicast address: not loopback, private, link-local, shared, multicast,
 * documentation, reserved, nor a cloud's metadata service, nor an IPv6 form of one of these. */
bool fetch_address_ok(const struct sockaddr *address, socklen_t len);

#endif
