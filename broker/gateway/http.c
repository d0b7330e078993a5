/* broker/gateway/http.c — decides whether bytes are one well-formed HTTP/1.1 request head, and
 * where its body ends.  Trusts nothing.  Must never accept what another parser could read as two
 * requests: any doubt is an error, and the connection is closed after it.
 *
 * It reads line by line and checks a line only when it is complete or too long, so the result does
 * not depend on how the bytes were cut into TCP segments. */
#include "gateway/http.h"

#include <strings.h>

#include "base/hex.h"
#include "base/limits.h"

struct head_lines {
	struct span in;
	size_t at;
};

/* RFC 9110 §5.6.2 */
static bool is_tchar(uint8_t c)
{
	return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
	       (c != 0 && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

static bool span_same(struct span a, const char *text) /* ASCII case folded */
{
	return a.len == strlen(text) && strncasecmp((const char *)a.p, text, a.len) == 0;
}

/* The next line without its CRLF.  *complete false: more bytes are needed. */
static enum kb_err next_line(struct head_lines *l, size_t max_bytes, enum kb_err too_long,
			     struct span *line, bool *complete)
{
	size_t lf = span_find(l->in, l->at, '\n');
	size_t len = lf - l->at; /* with the CR */

	*complete = false;
	if (len > max_bytes + 1)
		return too_long;
	if (lf >= KB_MAX_HEADER_BYTES)
		return KB_E_HTTP_HEADERS;
	if (lf == l->in.len)
		return KB_OK;
	if (len == 0 || l->in.p[lf - 1] != '\r')
		return KB_E_HTTP_SYNTAX; /* a bare LF */
	*line = span_sub(l->in, l->at, len - 1);
	*complete = true;
	l->at = lf + 1;
	return KB_OK;
}

static enum http_method method_of(struct span s)
{
	static const struct {
		const char *name;
		enum http_method method;
	} known[] = {{"GET", HTTP_GET},        {"POST", HTTP_POST},     {"PUT", HTTP_PUT},
		     {"PATCH", HTTP_PATCH},    {"DELETE", HTTP_DELETE}, {"HEAD", HTTP_HEAD},
		     {"OPTIONS", HTTP_OPTIONS}};

	for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
		if (span_eq_cstr(s, known[i].name))
			return known[i].method;
	return HTTP_OTHER;
}

/* RFC 3986: printable ASCII without '#', percent signs followed by two hexadecimal digits. */
static bool is_target_text(struct span s)
{
	for (size_t i = 0; i < s.len; i++) {
		uint8_t c = s.p[i];
		if (c <= 0x20 || c >= 0x7f || c == '#')
			return false;
		if (c == '%' &&
		    (s.len - i < 3 || hex_digit(s.p[i + 1]) < 0 || hex_digit(s.p[i + 2]) < 0))
			return false;
	}
	return true;
}

/* RFC 9112 §3.2.1 and §3.2.2.  `authority` is filled for the absolute form and compared with Host
 * when that is known. */
static enum kb_err parse_target(struct span target, struct http_request *r, struct span *authority)
{
	if (!is_target_text(target))
		return KB_E_HTTP_SYNTAX;
	if (target.len == 0 || target.p[0] != '/') {
		size_t scheme = span_same(span_sub(target, 0, 8), "https://")  ? 8
				: span_same(span_sub(target, 0, 7), "http://") ? 7
									       : 0;
		size_t slash = span_find(target, scheme, '/');
		if (scheme == 0 || slash == target.len)
			return KB_E_HTTP_SYNTAX; /* also "*" and CONNECT's authority form */
		*authority = span_sub(target, scheme, slash - scheme);
		if (authority->len == 0)
			return KB_E_HTTP_SYNTAX;
		target = span_sub(target, slash, target.len);
	}
	size_t mark = span_find(target, 0, '?');
	r->path = span_sub(target, 0, mark);
	r->query = span_sub(target, mark + 1, target.len);
	return KB_OK;
}

static enum kb_err parse_request_line(struct span line, struct http_request *r,
				      struct span *authority, bool *is_1_0)
{
	size_t first = span_find(line, 0, ' ');
	size_t second = span_find(line, first + 1, ' ');
	struct span method = span_sub(line, 0, first);
	struct span version = span_sub(line, second + 1, line.len);

	if (method.len == 0 || second >= line.len)
		return KB_E_HTTP_SYNTAX; /* also HTTP/0.9, which has no version */
	for (size_t i = 0; i < method.len; i++)
		if (!is_tchar(method.p[i]))
			return KB_E_HTTP_SYNTAX;
	r->method = method_of(method);
	enum kb_err err = parse_target(span_sub(line, first + 1, second - first - 1), r, authority);
	if (err != KB_OK)
		return err;
	*is_1_0 = span_eq_cstr(version, "HTTP/1.0");
	if (*is_1_0 || span_eq_cstr(version, "HTTP/1.1"))
		return KB_OK;
	bool is_version = version.len == 8 && memcmp(version.p, "HTTP/", 5) == 0 &&
			  version.p[5] >= '0' && version.p[5] <= '9' && version.p[6] == '.' &&
			  version.p[7] >= '0' && version.p[7] <= '9';
	return is_version ? KB_E_HTTP_VERSION : KB_E_HTTP_SYNTAX;
}

/* host [":" port] as RFC 3986 §3.2 allows, without user information. */
static bool is_host(struct span s)
{
	if (s.len == 0 || s.len > 261) /* 255 of a DNS name, ':', five digits */
		return false;
	size_t colon;
	size_t i;
	if (s.p[0] == '[') {
		size_t end = span_find(s, 0, ']');
		for (i = 1; i < end; i++)
			if (hex_digit(s.p[i]) < 0 && s.p[i] != ':' && s.p[i] != '.')
				return false;
		if (end == s.len || end == 1)
			return false;
		colon = end + 1;
		if (colon < s.len && s.p[colon] != ':')
			return false;
	} else {
		colon = span_find(s, 0, ':');
		for (i = 0; i < colon; i++)
			if (!((s.p[i] >= '0' && s.p[i] <= '9') ||
			      (s.p[i] >= 'a' && s.p[i] <= 'z') ||
			      (s.p[i] >= 'A' && s.p[i] <= 'Z') || s.p[i] == '.' || s.p[i] == '-' ||
			      s.p[i] == '_'))
				return false;
		if (colon == 0)
			return false;
	}
	if (s.len - colon > 6)
		return false;
	for (i = colon + 1; i < s.len; i++)
		if (s.p[i] < '0' || s.p[i] > '9')
			return false;
	return true;
}

static enum kb_err parse_content_length(struct span value, struct http_request *r)
{
	size_t n = 0;

	if (r->has_body || value.len == 0)
		/* RFC 9112 §6.3 lets a receiver choose one of two: a proxy might choose the other,
		 * so refuse it, even if they are equal. */
		return KB_E_HTTP_SYNTAX;
	for (size_t i = 0; i < value.len; i++) {
		if (value.p[i] < '0' || value.p[i] > '9')
			return KB_E_HTTP_SYNTAX;
		if (n <= KB_MAX_BODY) /* stays past the limit once it is: no overflow */
			n = n * 10 + (size_t)(value.p[i] - '0');
	}
	r->has_body = true;
	r->body_len = n;
	return KB_OK;
}

/* RFC 9110 §7.6.1: Connection is a list.  We act on "close" only. */
static bool has_close(struct span value)
{
	for (size_t at = 0; at < value.len;) {
		size_t comma = span_find(value, at, ',');
		size_t from = at;
		size_t to = comma;
		while (from < to && (value.p[from] == ' ' || value.p[from] == '\t'))
			from++;
		while (to > from && (value.p[to - 1] == ' ' || value.p[to - 1] == '\t'))
			to--;
		if (span_same(span_sub(value, from, to - from), "close"))
			return true;
		at = comma + 1;
	}
	return false;
}

struct seen { /* checked when all headers are read */
	struct span authority;
	bool is_1_0, has_transfer_encoding, has_close;
};

/* A header that may occur only once. */
static enum kb_err set_once(struct span *field, struct span value)
{
	if (field->p != NULL)
		return KB_E_HTTP_SYNTAX;
	*field = value;
	return KB_OK;
}

static enum kb_err parse_header(struct span line, struct http_request *r, struct seen *seen)
{
	size_t colon = span_find(line, 0, ':');
	struct span name = span_sub(line, 0, colon);
	size_t from = colon + 1;
	size_t to = line.len;

	if (name.len == 0 || colon == line.len)
		return KB_E_HTTP_SYNTAX;
	for (size_t i = 0; i < name.len; i++)
		if (!is_tchar(name.p[i]))
			return KB_E_HTTP_SYNTAX; /* also a space before the colon, and obs-fold */
	for (size_t i = from; i < line.len; i++)
		if ((line.p[i] < 0x20 && line.p[i] != '\t') || line.p[i] == 0x7f)
			return KB_E_HTTP_SYNTAX; /* NUL, a lone CR */
	while (from < to && (line.p[from] == ' ' || line.p[from] == '\t'))
		from++;
	while (to > from && (line.p[to - 1] == ' ' || line.p[to - 1] == '\t'))
		to--;
	struct span value = span_sub(line, from, to - from);

	if (span_same(name, "host")) {
		if (!is_host(value))
			return KB_E_HTTP_SYNTAX;
		return set_once(&r->host, value);
	}
	if (span_same(name, "content-length"))
		return parse_content_length(value, r);
	if (span_same(name, "authorization"))
		return set_once(&r->authorization, value);
	if (span_same(name, "content-type"))
		return set_once(&r->content_type, value);
	if (span_same(name, "x-ms-client-request-id"))
		return set_once(&r->client_request_id, value);
	if (span_same(name, "expect")) {
		if (!span_same(value, "100-continue")) /* RFC 9110 §10.1.1 has no other */
			return KB_E_HTTP_SYNTAX;
		return set_once(&r->expect, value);
	}
	if (span_same(name, "transfer-encoding"))
		seen->has_transfer_encoding = true;
	if (span_same(name, "connection") && has_close(value))
		seen->has_close = true;
	return KB_OK;
}

/* An id is echoed unchanged or not at all. */
static bool is_echoable(struct span id)
{
	if (id.len > KB_MAX_CLIENT_REQUEST_ID)
		return false;
	for (size_t i = 0; i < id.len; i++)
		if (id.p[i] <= 0x20 || id.p[i] >= 0x7f)
			return false;
	return true;
}

static enum kb_err check_head(struct http_request *r, const struct seen *seen)
{
	if (r->host.p == NULL)
		return KB_E_HTTP_SYNTAX;
	if (seen->authority.len > 0 && (seen->authority.len != r->host.len ||
					strncasecmp((const char *)seen->authority.p,
						    (const char *)r->host.p, r->host.len) != 0))
		return KB_E_HTTP_SYNTAX;
	if (seen->has_transfer_encoding)
		return KB_E_HTTP_BODY_TYPE;
	if (r->body_len > KB_MAX_BODY)
		return KB_E_HTTP_BODY_SIZE;
	if (!is_echoable(r->client_request_id))
		r->client_request_id = span_of(NULL, 0);
	r->is_keep_alive = !seen->is_1_0 && !seen->has_close;
	r->wants_continue = !seen->is_1_0 && r->expect.p != NULL && r->body_len > 0;
	return KB_OK;
}

enum kb_err http_parse(struct span in, struct http_request *r, bool *done)
{
	struct head_lines lines = {in, 0};
	struct seen seen = {0};
	struct span line;
	bool complete;
	enum kb_err err = KB_E_BUG;

	*r = (struct http_request){0};
	*done = false;
	if ((err = next_line(&lines, KB_MAX_REQUEST_LINE, KB_E_HTTP_URI, &line, &complete)) !=
		    KB_OK ||
	    !complete)
		return err;
	if ((err = parse_request_line(line, r, &seen.authority, &seen.is_1_0)) != KB_OK)
		return err;
	for (unsigned n = 0;; n++) {
		if ((err = next_line(&lines, KB_MAX_HEADER_LINE, KB_E_HTTP_HEADERS, &line,
				     &complete)) != KB_OK ||
		    !complete)
			return err;
		if (line.len == 0)
			break;
		if (n == KB_MAX_HEADERS)
			return KB_E_HTTP_HEADERS;
		if ((err = parse_header(line, r, &seen)) != KB_OK)
			return err;
	}
	if ((err = check_head(r, &seen)) != KB_OK)
		return err;
	r->head_len = lines.at;
	*done = true;
	return KB_OK;
}

int http_status(enum kb_err e)
{
	/* All other codes have the status of their class. */
	if (e == KB_E_HTTP_BODY_SIZE)
		return 413;
	if (e == KB_E_HTTP_URI)
		return 414;
	if (e == KB_E_HTTP_HEADERS)
		return 431;
	if (e == KB_E_HTTP_VERSION)
		return 505;
	if (e == KB_E_METHOD)
		return 405;
	return kb_err_status(e);
}

const char *http_reason(int status)
{
	static const struct {
		int status;
		const char *reason;
	} known[] = {
		{200, "OK"},
		{201, "Created"},
		{202, "Accepted"},
		{204, "No Content"},
		{400, "Bad Request"},
		{401, "Unauthorized"},
		{403, "Forbidden"},
		{404, "Not Found"},
		{405, "Method Not Allowed"},
		{408, "Request Timeout"},
		{409, "Conflict"},
		{413, "Content Too Large"},
		{414, "URI Too Long"},
		{415, "Unsupported Media Type"},
		{429, "Too Many Requests"},
		{431, "Request Header Fields Too Large"},
		{500, "Internal Server Error"},
		{503, "Service Unavailable"},
		{505, "HTTP Version Not Supported"},
	};

	for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
		if (known[i].status == status)
			return known[i].reason;
	return "Other";
}
