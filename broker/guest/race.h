/* broker/guest/race.h — a TLS connection to the first of several servers that completes a handshake
 * (the idea of RFC 8305, over the addresses of all servers in the order given). */
#ifndef KB_GUEST_RACE_H
#define KB_GUEST_RACE_H
#include <openssl/types.h>

#include "guest/http_client.h"

/* Starts with the first address of the first URL that is not `is_out`.  The next one starts when it
 * fails, or after KB_GUEST_NEXT_MS beside it.  Nothing is sent but the handshake, so the losers
 * have seen no request.  Sets is_out[i] when URL i failed at every address; each failure is
 * reported: which step, at which address. KB_OK: *out is the caller's, http_close(), and *winner
 * its URL.  KB_E_FETCH_CONNECT: all failed. KB_E_FETCH_TIMEOUT: the deadline (of clock_mono_ms())
 * came first. */
KB_MUST_CHECK enum kb_err race(const struct url *urls, size_t n, bool *is_out, SSL_CTX *tls,
			       int64_t deadline_ms, struct http_link *out, size_t *winner);

#endif
