/* broker/api/url.c — parts of a request's URL.  Decides nothing; trusts nothing of the text.  Must
 * never decode more than the buffer holds. */
#include "api/url.h"

#include "base/hex.h"

bool url_decode(struct url_text *text, struct span in, struct span *out)
{
	size_t from = text->used;

	for (size_t i = 0; i < in.len; i++) {
		int c = in.p[i];
		if (c == '%') {
			int high = i + 2 < in.len ? hex_digit(in.p[i + 1]) : -1;
			int low = i + 2 < in.len ? hex_digit(in.p[i + 2]) : -1;
			if (high < 0 || low < 0)
				return false;
			c = high << 4 | low;
			i += 2;
		}
		if (c == 0 || text->used == sizeof text->bytes)
			return false;
		text->bytes[text->used++] = (char)c;
	}
	*out = span_of(text->bytes + from, text->used - from);
	return true;
}

struct span url_below(struct span path, const char *base_url)
{
	const char *host = strstr(base_url, "://");
	const char *prefix = strchr(host == NULL ? base_url : host + 3, '/');
	struct span p = span_str(prefix == NULL ? "" : prefix);

	if (path.len < p.len || !span_eq(span_sub(path, 0, p.len), p))
		return span_of(NULL, 0);
	return span_sub(path, p.len, path.len);
}
