/* broker/guest/http_reply.h — one HTTP/1.1 response, strictly.  Pure: bytes in, a reply or an error
 * out. */
#ifndef KB_GUEST_HTTP_REPLY_H
#define KB_GUEST_HTTP_REPLY_H
#include <openssl/types.h>

#include "base/bytes.h"

struct http_reply {
	int status;
	unsigned retry_after_s; /* 0: none, or a date */
	char request_id[65];    /* x-ms-request-id, "" when there is none or it is not plain text */
	struct buf body;
	EVP_PKEY *peer; /* the key of the TLS server that sent it: http_post() fills it */
};

void http_reply_init(struct http_reply *r);
void http_reply_free(struct http_reply *r);
static inline void http_reply_cleanup(struct http_reply *r)
{
	http_reply_free(r);
}

/* Everything received so far.  KB_OK with *is_complete false: more is needed.  Lines end in CRLF,
 * one framing header (Content-Length or chunked), nothing after the end.  KB_E_HTTP_SYNTAX,
 * KB_E_HTTP_HEADERS, KB_E_FETCH_SIZE (head or body too large). */
KB_MUST_CHECK enum kb_err http_reply_parse(struct span wire, struct http_reply *out,
					   bool *is_complete);

#endif
