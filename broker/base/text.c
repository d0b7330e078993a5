/* broker/base/text.c — passes over a UTF-8 byte order mark, and tells UTF-16 and UTF-32 from UTF-8.
 * Decides by the first bytes alone: what follows is for the reader of the format. */
#include "base/text.h"

static bool begins(struct span text, const char *mark, size_t len)
{
	return text.len >= len && memcmp(text.p, mark, len) == 0;
}

/* Text that begins with a character of ASCII has one NUL in its first two bytes when it is UTF-16,
 * and two to three in its first four when it is UTF-32. */
static bool is_wide(struct span text)
{
	if (begins(text, "\xff\xfe", 2) || begins(text, "\xfe\xff", 2))
		return true;
	if (text.len >= 2 && (text.p[0] == 0) != (text.p[1] == 0))
		return true;
	return begins(text, "\0\0\xfe\xff", 4) ||
	       (begins(text, "\0\0\0", 3) && text.len >= 4 && text.p[3] != 0);
}

enum kb_err text_begin(struct span *text)
{
	if (is_wide(*text))
		return KB_E_ENCODING;
	if (begins(*text, "\xef\xbb\xbf", 3))
		*text = span_sub(*text, 3, text->len);
	return KB_OK;
}
