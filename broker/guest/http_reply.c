/* broker/guest/http_reply.c — parses an HTTP/1.1 response. Trusts nothing in it. Never accepts a
 * message that could be read in two ways: bare LF, folded lines, two lengths and trailing bytes are
 * errors. */
#include "guest/http_reply.h"

#include <openssl/evp.h>
#include <strings.h>

#include "base/limits.h"

struct framing {
	bool has_length, is_chunked;
	size_t length;
};

void http_reply_init(struct http_reply *r)
{
	*r = (struct http_reply){0};
	buf_init(&r->body, KB_GUEST_REPLY);
}

void http_reply_free(struct http_reply *r)
{
	buf_free(&r->body);
	EVP_PKEY_free(r->peer);
	r->peer = NULL;
}

static bool is_token_char(uint8_t c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       (c != 0 && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

static bool name_is(struct span name, const char *want)
{
	return name.len == strlen(want) && strncasecmp((const char *)name.p, want, name.len) == 0;
}

/* At most 8 digits, nothing else. */
static bool number(struct span s, size_t *out)
{
	*out = 0;
	for (size_t i = 0; i < s.len; i++) {
		if (s.p[i] < '0' || s.p[i] > '9')
			return false;
		*out = *out * 10 + (size_t)(s.p[i] - '0');
	}
	return s.len > 0 && s.len <= 8;
}

static struct span trim(struct span s)
{
	while (s.len > 0 && (s.p[0] == ' ' || s.p[0] == '\t'))
		s = span_sub(s, 1, s.len);
	while (s.len > 0 && (s.p[s.len - 1] == ' ' || s.p[s.len - 1] == '\t'))
		s.len--;
	return s;
}

static void keep_request_id(struct span value, struct http_reply *out)
{
	if (value.len >= sizeof out->request_id)
		return;
	for (size_t i = 0; i < value.len; i++)
		if (!is_token_char(value.p[i])) /* it goes to a console */
			return;
	memcpy(out->request_id, value.p, value.len);
	out->request_id[value.len] = '\0';
}

static enum kb_err header(struct span line, struct framing *f, struct http_reply *out)
{
	size_t colon = span_find(line, 0, ':'), n;

	if (colon == 0 || colon == line.len)
		return KB_E_HTTP_HEADERS;
	for (size_t i = 0; i < colon; i++)
		if (!is_token_char(line.p[i]))
			return KB_E_HTTP_HEADERS;
	struct span name = span_sub(line, 0, colon),
		    value = trim(span_sub(line, colon + 1, line.len));
	for (size_t i = 0; i < value.len; i++)
		if (value.p[i] < 0x20 && value.p[i] != '\t')
			return KB_E_HTTP_HEADERS;
	if (name_is(name, "Content-Length")) {
		if (f->has_length || f->is_chunked || !number(value, &f->length))
			return KB_E_HTTP_HEADERS;
		f->has_length = true;
	} else if (name_is(name, "Transfer-Encoding")) {
		if (f->has_length || f->is_chunked || !name_is(value, "chunked"))
			return KB_E_HTTP_HEADERS;
		f->is_chunked = true;
	} else if (name_is(name, "Retry-After")) {
		out->retry_after_s = number(value, &n) ? (unsigned)n : 0;
	} else if (name_is(name, "x-ms-request-id")) {
		keep_request_id(value, out);
	}
	return KB_OK;
}

/* The line that begins at *at, without its CRLF; false when its end is not there yet.  A CR or LF
 * alone gives *err. */
static bool next_line(struct span wire, size_t *at, struct span *line, enum kb_err *err)
{
	size_t end = span_find(wire, *at, '\n');

	if (end == wire.len)
		return false;
	*line = span_sub(wire, *at, end - *at);
	if (line->len == 0 || span_find(*line, 0, '\r') != line->len - 1) {
		*err = KB_E_HTTP_SYNTAX;
		return false;
	}
	line->len--;
	*at = end + 1;
	return true;
}

static enum kb_err status_line(struct span line, struct http_reply *out)
{
	static const char version[] = "HTTP/1.1 ";
	size_t status;

	if (line.len < 12 || memcmp(line.p, version, 9) != 0 ||
	    !number(span_sub(line, 9, 3), &status) || (line.len > 12 && line.p[12] != ' '))
		return KB_E_HTTP_SYNTAX;
	/* No Expect was sent, so no interim response is due (RFC 9110 section 15.2). */
	if (status < 200 || status > 599)
		return KB_E_HTTP_SYNTAX;
	out->status = (int)status;
	return KB_OK;
}

static enum kb_err chunk_size(struct span line, size_t *out)
{
	*out = 0;
	if (line.len == 0 || line.len > 6)
		return KB_E_HTTP_SYNTAX;
	for (size_t i = 0; i < line.len; i++) {
		uint8_t c = line.p[i];
		int digit = c >= '0' && c <= '9'                 ? c - '0'
			    : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10
								 : -1;
		if (digit < 0)
			return KB_E_HTTP_SYNTAX;
		*out = *out << 4 | (size_t)digit;
	}
	return KB_OK;
}

/* RFC 9112 §7.1 without extensions and trailers. */
static enum kb_err chunks(struct span wire, size_t at, struct http_reply *out, bool *is_complete)
{
	enum kb_err err = KB_OK;
	struct span line;
	size_t size;

	buf_reset(&out->body);
	while (next_line(wire, &at, &line, &err)) {
		if ((err = chunk_size(line, &size)) != KB_OK)
			return err;
		if (size > KB_GUEST_REPLY - out->body.len)
			return KB_E_FETCH_SIZE;
		if (wire.len - at < size + 2)
			return KB_OK;
		buf_add(&out->body, wire.p + at, size);
		at += size;
		if (wire.p[at] != '\r' || wire.p[at + 1] != '\n')
			return KB_E_HTTP_SYNTAX;
		at += 2;
		if (size > 0)
			continue;
		*is_complete = true;
		return at == wire.len ? buf_ok(&out->body) : KB_E_HTTP_SYNTAX;
	}
	return err;
}

enum kb_err http_reply_parse(struct span wire, struct http_reply *out, bool *is_complete)
{
	enum kb_err err = KB_OK;
	struct framing f = {0};
	struct span line;
	size_t at = 0;
	bool is_first = true;

	*is_complete = false;
	for (;;) {
		if (!next_line(wire, &at, &line, &err)) {
			if (err != KB_OK)
				return err;
			return wire.len > KB_GUEST_HEAD ? KB_E_FETCH_SIZE : KB_OK;
		}
		if (at > KB_GUEST_HEAD)
			return KB_E_FETCH_SIZE;
		if (!is_first && line.len == 0)
			break;
		if ((err = is_first ? status_line(line, out) : header(line, &f, out)) != KB_OK)
			return err;
		is_first = false;
	}
	if (f.is_chunked)
		return chunks(wire, at, out, is_complete);
	/* A body that ends with the connection could be cut short on the way. */
	if (!f.has_length && out->status != 204)
		return KB_E_HTTP_HEADERS;
	if (f.length > KB_GUEST_REPLY)
		return KB_E_FETCH_SIZE;
	if (wire.len - at < f.length)
		return KB_OK;
	if (wire.len - at > f.length)
		return KB_E_HTTP_SYNTAX;
	buf_reset(&out->body);
	buf_add(&out->body, wire.p + at, f.length);
	*is_complete = true;
	return buf_ok(&out->body);
}
