/* broker/gateway/http.h — strict HTTP/1.1 request parser (RFC 9112), a pure function over a growing
 * buffer.  It is ours because general parsers accept forms that a proxy may
 * read as two requests (request smuggling).  CRLF only; exactly one Host; at most one
 * Content-Length, digits only; no Transfer-Encoding; no folded header, no NUL, no space before the
 * colon; sizes by base/limits.h.  Never allocates; all state is in struct http_request. */
#ifndef KB_GATEWAY_HTTP_H
#define KB_GATEWAY_HTTP_H
#include "base/bytes.h"

enum http_method {
	HTTP_GET = 1,
	HTTP_HEAD,
	HTTP_POST,
	HTTP_PUT,
	HTTP_PATCH,
	HTTP_DELETE,
	HTTP_OPTIONS,
	HTTP_OTHER
};

struct http_request { /* spans point into the input */
	enum http_method method;
	/* Of the target in origin form, as sent; percent signs are checked.  Absolute form is
	 * accepted when its authority equals Host. */
	struct span path, query;
	struct span host, authorization, content_type, expect;
	struct span client_request_id; /* printable and ≤ KB_MAX_CLIENT_REQUEST_ID, or empty */
	size_t head_len;               /* bytes of request line, headers and the empty line */
	size_t body_len;               /* of Content-Length, 0 when absent */
	bool is_keep_alive;            /* HTTP/1.1 without "Connection: close" */
	bool has_body;                 /* a Content-Length header was there */
	bool wants_continue;           /* Expect: 100-continue, and there is a body to wait for */
};

/* KB_OK and *done false: the head is not complete, call again with more.  KB_OK and *done true: *r
 * is filled; the body follows at head_len. Errors:
 * KB_E_HTTP_{SYNTAX,VERSION,HEADERS,URI,BODY_SIZE,BODY_TYPE}.  The connection must be closed after
 * any error. */
KB_MUST_CHECK enum kb_err http_parse(struct span in, struct http_request *r, bool *done);
/* 405, 413, 414, 431, 505 where HTTP has a finer status than the class; all else is 400 or as
 * kb_err_status().  A Transfer-Encoding is 400 and not 501: it may be an attempt at request
 * smuggling. */
int http_status(enum kb_err e);
const char *http_reason(int status);

#endif
