/* broker/gateway/request.c — turns an HTTP request into the frame for a worker.  Decides what a
 * worker sees of it.  Trusts http.c for the head and does not look into the body.  Must never pass
 * a bearer token on unless the listener's dialect asks for it: the digest is enough to compare, and
 * cannot be used elsewhere. */
#include "gateway/request.h"

#include <event2/buffer.h>
#include <openssl/crypto.h>
#include <strings.h>

#include "base/digest.h"
#include "base/limits.h"

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

/* RFC 6750 section 2.1: scheme without case, one or more spaces, the token.  Empty: no bearer. */
static struct span bearer_token(struct span authorization)
{
	static const char scheme[] = "bearer ";
	size_t at = sizeof scheme - 1;

	if (authorization.p == NULL || authorization.len <= at ||
	    strncasecmp((const char *)authorization.p, scheme, at) != 0)
		return span_of(NULL, 0);
	while (at < authorization.len && authorization.p[at] == ' ')
		at++;
	return span_sub(authorization, at, authorization.len);
}

enum kb_method request_method(enum http_method m)
{
	switch (m) {
	case HTTP_GET:
		return KB_METHOD_GET;
	case HTTP_POST:
		return KB_METHOD_POST;
	case HTTP_PUT:
		return KB_METHOD_PUT;
	case HTTP_PATCH:
		return KB_METHOD_PATCH;
	case HTTP_DELETE:
		return KB_METHOD_DELETE;
	case HTTP_HEAD:
	case HTTP_OPTIONS:
	case HTTP_OTHER:
		return KB_METHOD_NONE;
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
			  size_t body_len, size_t max_bearer, struct buf *out)
{
	struct http_request head;
	struct evbuffer_ptr at;
	uint8_t *body;
	bool done;

	/* Parse the head again: the spans of the first time are invalid when the buffer has
	 * grown. */
	const uint8_t *bytes = evbuffer_pullup(in, (ev_ssize_t)head_len);
	if (bytes == NULL)
		return KB_E_NOMEM;
	enum kb_err err = http_parse(span_of(bytes, head_len), &head, &done);
	if (err != KB_OK)
		return err;
	if (!done || head.body_len != body_len)
		KB_BUG();
	r->method = (uint8_t)request_method(head.method);
	r->has_authorization = head.authorization.p != NULL;
	struct span bearer = bearer_token(head.authorization);
	r->has_bearer = bearer.len > 0;
	if (r->has_bearer)
		digest_sha256(bearer, r->bearer_sha256);
	if (max_bearer > 0) {
		if (bearer.len > max_bearer || bearer.len > KB_MAX_BEARER)
			return KB_E_HTTP_HEADERS;
		r->bearer = bearer;
	}
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
