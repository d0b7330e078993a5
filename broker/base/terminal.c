/* broker/base/terminal.c — decides which characters of strangers' text may reach a terminal, a log
 * or the ledger as they are. */
#include "base/terminal.h"

#include <stddef.h>

/* Ascending. */
static const struct {
	uint32_t from, to;
} active[] = {
	{0x00, 0x1f},       /* C0: escape sequences begin here */
	{0x7f, 0x9f},       /* DEL and C1: U+009B is a CSI of one character */
	{0xad, 0xad},       /* soft hyphen */
	{0x061c, 0x061c},   /* Arabic letter mark */
	{0x180e, 0x180e},   /* Mongolian vowel separator, of no width */
	{0x200b, 0x200f},   /* zero width, left-to-right and right-to-left mark */
	{0x2028, 0x202e},   /* separators of lines and paragraphs, embeddings and overrides */
	{0x2060, 0x206f},   /* invisible operators, isolates, deprecated format characters */
	{0xfeff, 0xfeff},   /* byte order mark */
	{0xfff9, 0xfffb},   /* interlinear annotation */
	{0xe0000, 0xe007f}, /* tags: an invisible copy of ASCII */
};

bool terminal_is_active(uint32_t c)
{
	for (size_t i = 0; i < sizeof active / sizeof active[0] && active[i].from <= c; i++)
		if (c <= active[i].to)
			return true;
	return false;
}

size_t utf8_read(const uint8_t *p, size_t left, uint32_t *c)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	size_t n = p[0] < 0x80                    ? 1
		   : p[0] >= 0xc2 && p[0] <= 0xdf ? 2
		   : (p[0] & 0xf0) == 0xe0        ? 3
		   : p[0] >= 0xf0 && p[0] <= 0xf4 ? 4
						  : 0;

	if (n == 0 || n > left)
		return 0;
	*c = n == 1 ? p[0] : p[0] & (0x7fu >> n);
	for (size_t i = 1; i < n; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		*c = *c << 6 | (p[i] & 0x3f);
	}
	return *c < least[n] || *c > 0x10ffff || (*c >= 0xd800 && *c <= 0xdfff) ? 0 : n;
}

void terminal_add_escape(struct buf *out, uint32_t c)
{
	if (c > 0xffff) {
		c -= 0x10000;
		buf_addf(out, "\\u%04x\\u%04x", 0xd800 | c >> 10, 0xdc00 | (c & 0x3ff));
	} else {
		buf_addf(out, "\\u%04x", c);
	}
}

void terminal_add(struct buf *out, struct span s, bool with_lines)
{
	size_t plain = 0; /* start of the bytes not yet copied */

	for (size_t i = 0; i < s.len;) {
		uint32_t c = 0;
		size_t n = utf8_read(s.p + i, s.len - i, &c);
		if (n > 0 && (!terminal_is_active(c) || (with_lines && c == '\n'))) {
			i += n;
			continue;
		}
		buf_add(out, s.p + plain, i - plain);
		terminal_add_escape(out, n == 0 ? 0xfffd : c);
		plain = i += n == 0 ? 1 : n;
	}
	if (s.len > plain)
		buf_add(out, s.p + plain, s.len - plain);
}
