/* broker/guest/url.c — parses the URLs of the command line. Never resolves a name, never assumes a
 * scheme. */
#include "guest/url.h"

#include <arpa/inet.h>
#include <stdio.h>

static bool put(char *out, size_t cap, struct span s)
{
	if (s.len >= cap)
		return false;
	memcpy(out, s.p, s.len);
	out[s.len] = '\0';
	return true;
}

static bool all_of(struct span s, const char *more)
{
	for (size_t i = 0; i < s.len; i++) {
		uint8_t c = s.p[i];
		bool is_plain =
			(c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
		if (c == 0 || (!is_plain && strchr(more, c) == NULL))
			return false;
	}
	return true;
}

static bool port_ok(struct span s)
{
	unsigned n = 0;

	for (size_t i = 0; i < s.len; i++) {
		if (s.p[i] < '0' || s.p[i] > '9' || i == 5)
			return false;
		n = n * 10 + (unsigned)(s.p[i] - '0');
	}
	return n > 0 && n < 65536;
}

enum kb_err url_parse(struct span text, struct url *out)
{
	static const char scheme[] = "https://";
	struct in6_addr address;

	memset(out, 0, sizeof *out);
	if (text.len < sizeof scheme - 1 || memcmp(text.p, scheme, sizeof scheme - 1) != 0)
		return KB_E_HTTP_URI;
	struct span rest = span_sub(text, sizeof scheme - 1, text.len);
	size_t slash = span_find(rest, 0, '/');
	struct span authority = span_sub(rest, 0, slash), path = span_sub(rest, slash, rest.len),
		    host, port = span_str("443");
	while (path.len > 0 && path.p[path.len - 1] == '/')
		path.len--;
	bool is_v6 = authority.len > 0 && authority.p[0] == '[';
	size_t end = is_v6 ? span_find(authority, 0, ']') : 0;
	size_t colon = span_find(authority, end, ':');
	host = is_v6 ? span_sub(authority, 1, end - 1) : span_sub(authority, 0, colon);
	if (is_v6 && (end == authority.len || colon > end + 1) && end + 1 != authority.len)
		return KB_E_HTTP_URI;
	if (colon < authority.len)
		port = span_sub(authority, colon + 1, authority.len);
	if (host.len == 0 || !port_ok(port) || !all_of(host, is_v6 ? ":." : "-.") ||
	    !all_of(path, "/-._~"))
		return KB_E_HTTP_URI;
	if (!put(out->host, sizeof out->host, host) || !put(out->port, sizeof out->port, port) ||
	    !put(out->path, sizeof out->path, path) ||
	    !put(out->authority, sizeof out->authority, authority))
		return KB_E_HTTP_URI;
	out->is_ip = inet_pton(is_v6 ? AF_INET6 : AF_INET, out->host, &address) == 1;
	return is_v6 && !out->is_ip ? KB_E_HTTP_URI : KB_OK;
}

enum kb_err url_list(struct span text, struct url *out, size_t cap, size_t *n)
{
	*n = 0;
	for (size_t at = 0; at <= text.len;) {
		size_t end = span_find(text, at, ',');
		if (*n == cap)
			return KB_E_HTTP_URI;
		enum kb_err err = url_parse(span_sub(text, at, end - at), &out[(*n)++]);
		if (err != KB_OK)
			return err;
		at = end + 1;
	}
	return KB_OK;
}
