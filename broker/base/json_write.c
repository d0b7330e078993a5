/* broker/base/json_write.c — writes JSON text.  Decides how bytes that JSON cannot hold are
 * replaced: what is written always parses. */
#include "base/b64url.h"
#include "base/json.h"

/* Length of the valid UTF-8 sequence at p, 0 when there is none.  RFC 3629: no overlong form, no
 * surrogate, at most U+10FFFF. */
static size_t utf8_len(const uint8_t *p, size_t left)
{
	uint8_t c = p[0];
	size_t n = c < 0x80                 ? 1
		   : c >= 0xc2 && c <= 0xdf ? 2
		   : (c & 0xf0) == 0xe0     ? 3
		   : c >= 0xf0 && c <= 0xf4 ? 4
					    : 0;

	if (n == 0 || n > left)
		return 0;
	for (size_t i = 1; i < n; i++)
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	if ((c == 0xe0 && p[1] < 0xa0) || (c == 0xed && p[1] > 0x9f) ||
	    (c == 0xf0 && p[1] < 0x90) || (c == 0xf4 && p[1] > 0x8f))
		return 0;
	return n;
}

void json_add_str(struct buf *b, struct span s)
{
	buf_add(b, "\"", 1);
	size_t plain = 0; /* start of the bytes not yet copied */
	size_t i = 0;
	while (i < s.len) {
		uint8_t c = s.p[i];
		if (c >= 0x20 && c < 0x7f && c != '"' && c != '\\') {
			i++;
			continue;
		}
		size_t n = c >= 0x80 ? utf8_len(s.p + i, s.len - i) : 0;
		if (n > 0) {
			i += n;
			continue;
		}
		if (i > plain)
			buf_add(b, s.p + plain, i - plain);
		if (c == '"' || c == '\\')
			buf_addf(b, "\\%c", c);
		else if (c >= 0x80 || c == 0) /* strict readers, ours too, refuse \u0000 */
			buf_add_str(b, "\\ufffd");
		else
			buf_addf(b, "\\u%04x", c);
		plain = ++i;
	}
	if (s.len > plain)
		buf_add(b, s.p + plain, s.len - plain);
	buf_add(b, "\"", 1);
}

void json_add_name(struct buf *b, const char *name)
{
	uint8_t last = b->len > 0 ? b->p[b->len - 1] : '{';

	if (last != '{' && last != '[' && last != ':')
		buf_add(b, ",", 1);
	json_add_str(b, span_str(name));
	buf_add(b, ":", 1);
}

void json_add_member(struct buf *b, const char *name, struct span value)
{
	json_add_name(b, name);
	json_add_str(b, value);
}

void json_add_b64url(struct buf *b, const char *name, struct span bytes)
{
	json_add_name(b, name);
	buf_add(b, "\"", 1);
	b64url_encode(b, bytes);
	buf_add(b, "\"", 1);
}

void json_add_int(struct buf *b, const char *name, int64_t value)
{
	json_add_name(b, name);
	buf_addf(b, "%lld", (long long)value);
}

void json_add_bool(struct buf *b, const char *name, bool value)
{
	json_add_name(b, name);
	buf_add_str(b, value ? "true" : "false");
}
