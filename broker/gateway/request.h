/* broker/gateway/request.h — an HTTP request as the frame that goes to the vault. */
#ifndef KB_GATEWAY_REQUEST_H
#define KB_GATEWAY_REQUEST_H
#include "gateway/http.h"
#include "process/frame.h"

struct evbuffer;

/* An enum frame_method, or 0: the vault never gets such a request. */
uint8_t request_method(enum http_method m);
/* The frame of the request at the start of `in`: a head of head_len bytes that http_parse() has
 * accepted, then body_len bytes of body, copied once. The
 * caller fills in of `r` what the connection knows (id, uuid, listener, client certificate,
 * deadline, peer).  KB_E_NOMEM,
 * KB_E_FRAME. */
KB_MUST_CHECK enum kb_err request_frame(struct frame_request *r, struct evbuffer *in,
					size_t head_len, size_t body_len, struct buf *out);
/* Wipe `len` bytes at the start, then drop them. */
void request_wipe(struct evbuffer *in, size_t len);

#endif
