/* broker/gateway/request.c — what the vault gets of an HTTP request.  Trusts http.c for the head;
 * does not parse the body.  Must never pass a bearer token on: the vault only compares it, for
 * which its digest is enough, and the digest cannot be used elsewhere. */
#include "gateway/request.h"

#include <event2/buffer.h>
#include <openssl/crypto.h>
#include <strings.h>

#include "base/digest.h"

void request_wipe(struct evbuffer *in, size_t len)
{
	struct evbuffer_iovec v[4];

	while (len > 0) {
		int n = evbuffer_peek(in, (ev_ssize_t)len, NULL, v, 4);
		size_t done = 0;
		for (int i = 0; i < n && i < 4 && done < len; i++) {
			size_t here = v[i].iov_len < len - done ? v[i].iov_len : len - done;
			OPENSSL_cleanse(v[i].iov_base, here);
			done += here;
		}
		if (done == 0 || evbuffer_drain(in, done) != 0)
			return;
		len -= done;
	}
}

/* RFC 6750 §2.1: scheme without case, one or more spaces, the token. */
static bool bearer_digest(struct span authorization, uint8_t out[static 32])
{
	static const char scheme[] = "bearer ";
	size_t at = sizeof scheme - 1;

	if (authorization.p == NULL || authorization.len <= at ||
	    strncasecmp((const char *)authorization.p, scheme, at) != 0)
		return false;
	while (at < authorization.len && authorization.p[at] == ' ')
		at++;
	struct span token = span_sub(authorization, at, authorization.len);
	if (token.len == 0)
		return false;
	digest_sha256(token, out);
	return true;
}

uint8_t request_method(enum http_method m)
{
	switch (m) {
	case HTTP_GET:
		return FRAME_GET;
	case HTTP_POST:
		return FRAME_POST;
	case HTTP_PUT:
		return FRAME_PUT;
	case HTTP_PATCH:
		return FRAME_PATCH;
	case HTTP_DELETE:
		return FRAME_DELETE;
	case HTTP_HEAD:
	case HTTP_OPTIONS:
	case HTTP_OTHER:
		return 0;
	}
	KB_BUG();
}

static bool is_json(const struct http_request *r)
{
	static const char json[] = "application/json";
	size_t n = sizeof json - 1;

	if (r->body_len == 0)
		return true;
	if (r->content_type.p == NULL || r->content_type.len < n ||
	    strncasecmp((const char *)r->content_type.p, json, n) != 0)
		return false;
	uint8_t next = r->content_type.len > n ? r->content_type.p[n] : ';';
	return next == ';' || next == ' ' || next == '\t';
}

enum kb_err request_frame(struct frame_request *r, struct evbuffer *in, size_t head_len,
			  size_t body_len, struct buf *out)
{
	struct http_request head;
	struct evbuffer_ptr at;
	uint8_t *body;
	bool done;

	/* Parse the head again: its spans are not valid after the buffer has grown.  Most requests
	 * come in one piece, so this costs little. */
	const uint8_t *bytes = evbuffer_pullup(in, (ev_ssize_t)head_len);
	if (bytes == NULL)
		return KB_E_NOMEM;
	enum kb_err err = http_parse(span_of(bytes, head_len), &head, &done);
	if (err != KB_OK)
		return err;
	if (!done || head.body_len != body_len)
		KB_BUG();
	r->method = request_method(head.method);
	r->has_authorization = head.authorization.p != NULL;
	r->has_bearer = bearer_digest(head.authorization, r->bearer_sha256);
	r->is_json = is_json(&head);
	r->target = head.path;
	r->query = head.query;
	r->client_request_id = head.client_request_id;
	if ((err = frame_open_request(r, body_len, out, &body)) != KB_OK || body_len == 0)
		return err;
	if (evbuffer_ptr_set(in, &at, head_len, EVBUFFER_PTR_SET) != 0 ||
	    evbuffer_copyout_from(in, &at, body, body_len) != (ev_ssize_t)body_len)
		return KB_E_NOMEM;
	return KB_OK;
}
