/* broker/http.h — strict HTTP/1.1 request parser (RFC 9112) as a pure function over a growing buffer.  FACTS §4 says why it is ours.
 * CRLF only; exactly one Host; at most one Content-Length, digits only; no Transfer-Encoding; no folded header, no NUL, no space before the colon;
 * sizes by base/limits.h.  Never allocates, never keeps state outside struct http_request. */
#ifndef KB_BROKER_HTTP_H
#define KB_BROKER_HTTP_H
#include "base/bytes.h"

enum http_method { HTTP_GET = 1, HTTP_HEAD, HTTP_POST, HTTP_PUT, HTTP_PATCH, HTTP_DELETE, HTTP_OPTIONS, HTTP_OTHER };

struct http_request { /* spans point into the input */
	enum http_method method;
	struct span path, query; /* of the origin-form target, as sent; absolute-form is accepted when its authority equals Host */
	struct span host, authorization, content_type, client_request_id, expect;
	size_t head_len;     /* bytes of request line, headers and the empty line */
	size_t body_len;     /* of Content-Length, 0 when absent */
	bool is_keep_alive;  /* HTTP/1.1 without "Connection: close" */
	bool has_body;       /* a Content-Length header was there */
	bool wants_continue; /* Expect: 100-continue */
};

/* KB_OK and *done false: the head is not complete, come back with more.  KB_OK and *done true: *r is filled; the body follows at head_len.
 * Errors: KB_E_HTTP_{SYNTAX,VERSION,HEADERS,URI,BODY_SIZE,BODY_TYPE}.  The connection must be closed after any error. */
KB_MUST_CHECK enum kb_err http_parse(struct span in, struct http_request *r, bool *done);
/* 400, 413, 414, 431, 501, 505: finer than the class, for HTTP faults. */
int http_status(enum kb_err e);
const char *http_reason(int status);

#endif
