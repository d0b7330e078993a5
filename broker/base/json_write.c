/* broker/base/json_write.c — writes JSON text.  Decides how bytes that JSON cannot hold are
 * replaced: what is written always parses. */
#include "base/b64url.h"
#include "base/json.h"
#include "base/terminal.h"

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
		uint32_t whole = 0;
		size_t n = utf8_read(s.p + i, s.len - i, &whole);
		if (c >= 0x80 && n > 0 && !terminal_is_active(whole)) {
			i += n;
			continue;
		}
		if (i > plain)
			buf_add(b, s.p + plain, i - plain);
		if (c == '"' || c == '\\')
			buf_addf(b, "\\%c", c);
		else /* strict readers, ours too, refuse \u0000 */
			terminal_add_escape(b, n == 0 || c == 0 ? 0xfffd : whole);
		plain = i += n == 0 ? 1 : n;
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
