/* broker/gateway/request.h — from HTTP bytes in a buffer to the frame for a worker. */
#ifndef KB_GATEWAY_REQUEST_H
#define KB_GATEWAY_REQUEST_H
#include "gateway/http.h"
#include "process/frame.h"

struct evbuffer;

/* KB_METHOD_NONE: a method that no worker ever sees. */
enum kb_method request_method(enum http_method m);
/* The frame of the request at the start of `in`: a head of head_len bytes that http_parse() has
 * accepted, then body_len bytes of body, copied once. `r` comes with what the connection knows (id,
 * uuid, listener, client certificate, deadline, peer); the rest is filled in.
 * max_bearer: 0, or the length up to which the bearer token itself is passed on.
 * KB_E_HTTP_HEADERS: it is longer.  KB_E_NOMEM, KB_E_FRAME. */
KB_MUST_CHECK enum kb_err request_frame(struct frame_request *r, struct evbuffer *in,
					size_t head_len, size_t body_len, size_t max_bearer,
					struct buf *out);
/* Drop `len` bytes from the start of `in` and overwrite them in memory. */
void request_wipe(struct evbuffer *in, size_t len);

#endif
