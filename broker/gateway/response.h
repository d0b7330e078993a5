/* broker/gateway/response.h — an HTTP response as bytes: a fixed set of headers, no server
 * version. */
#ifndef KB_GATEWAY_RESPONSE_H
#define KB_GATEWAY_RESPONSE_H
#include "base/bytes.h"

struct reply {
	int status;
	uint8_t uuid[16];              /* x-ms-request-id */
	struct span client_request_id; /* may be empty */
	struct span challenge;         /* WWW-Authenticate; may be empty */
	unsigned retry_after_s;        /* 0: no header */
	bool is_closing;               /* Connection: close */
	struct span body;              /* JSON */
};

/* The whole response appended to `out`; a 204 has no body.  Spans must be free of control
 * characters: frame.c and http.c check that. */
void reply_write(const struct reply *r, struct buf *out);

#endif
