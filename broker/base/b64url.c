/* broker/base/b64url.c — base64 and base64url (RFC 4648).  Public data only: a table is indexed by
 * the input, which is not constant time. */
#include "base/b64url.h"

static const char url_alphabet[] =
	"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
static const char std_alphabet[] =
	"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

enum { ALPHABET_URL = 1, ALPHABET_STD = 2 };

/* One more than the value of each character of either alphabet, 0 for all others.  Each release
 * decodes a token twice, and a table takes a third of the time of comparisons. */
/* clang-format off */
static const uint8_t value_plus_1[256] = {
	['A'] = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13,
	14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26,
	['a'] = 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39,
	40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, 52,
	['0'] = 53, 54, 55, 56, 57, 58, 59, 60, 61, 62,
	['-'] = 63, ['_'] = 64, ['+'] = 63, ['/'] = 64,
};
/* clang-format on */

static unsigned value(uint8_t c)
{
	return value_plus_1[c] - 1u; /* 0 … 63, or more than that */
}

static bool has_any(struct span text, const char *two)
{
	return span_find(text, 0, (uint8_t)two[0]) < text.len ||
	       span_find(text, 0, (uint8_t)two[1]) < text.len;
}

static enum kb_err decode(struct span text, unsigned alphabets, struct buf *out)
{
	size_t rest = text.len % 4;

	if (text.len == 0)
		return KB_OK; /* buf_reserve() of no bytes returns NULL */
	if (rest == 1 || ((alphabets & ALPHABET_URL) == 0 && has_any(text, "-_")) ||
	    ((alphabets & ALPHABET_STD) == 0 && has_any(text, "+/")))
		return KB_E_B64;
	uint8_t *p = buf_reserve(out, text.len / 4 * 3 + (rest == 0 ? 0 : rest - 1));
	if (p == NULL)
		return KB_E_NOMEM;
	const uint8_t *t = text.p, *end = text.p + (text.len - rest);
	unsigned odd = 0; /* more than 63 after any character that is in neither alphabet */
	for (; t < end; t += 4, p += 3) {
		unsigned a = value(t[0]), b = value(t[1]), c = value(t[2]), d = value(t[3]);
		odd |= a | b | c | d;
		p[0] = (uint8_t)(a << 2 | b >> 4);
		p[1] = (uint8_t)(b << 4 | c >> 2);
		p[2] = (uint8_t)(c << 6 | d);
	}
	if (rest > 0) { /* RFC 4648 section 3.5: unused bits are zero */
		unsigned a = value(t[0]), b = value(t[1]), c = rest == 3 ? value(t[2]) : 0;
		odd |= a | b | c;
		p[0] = (uint8_t)(a << 2 | b >> 4);
		if (rest == 3)
			p[1] = (uint8_t)(b << 4 | c >> 2);
		if (rest == 3 ? (c & 3) != 0 : (b & 15) != 0)
			return KB_E_B64;
	}
	return odd < 64 ? KB_OK : KB_E_B64;
}

static struct span without_padding(struct span t)
{
	if (t.len > 0 && t.len % 4 == 0 && t.p[t.len - 1] == '=') {
		t.len--;
		if (t.p[t.len - 1] == '=')
			t.len--;
	}
	return t;
}

enum kb_err b64url_decode(struct span text, struct buf *out)
{
	return decode(text, ALPHABET_URL, out);
}

enum kb_err b64_decode(struct span text, struct buf *out)
{
	if (text.len % 4 != 0)
		return KB_E_B64;
	return decode(without_padding(text), ALPHABET_STD, out);
}

enum kb_err b64_decode_any(struct span text, struct buf *out)
{
	return decode(without_padding(text), ALPHABET_URL | ALPHABET_STD, out);
}

static void encode(struct buf *out, struct span in, const char alphabet[static 65], bool padded)
{
	size_t rest = in.len % 3;
	size_t len = in.len / 3 * 4 + (rest == 0 ? 0 : padded ? 4 : rest + 1);
	uint8_t *p = buf_reserve(out, len);

	if (p == NULL)
		return;
	size_t i = 0;
	for (; i + 3 <= in.len; i += 3) {
		uint32_t v = (uint32_t)in.p[i] << 16 | (uint32_t)in.p[i + 1] << 8 | in.p[i + 2];
		*p++ = (uint8_t)alphabet[v >> 18];
		*p++ = (uint8_t)alphabet[v >> 12 & 63];
		*p++ = (uint8_t)alphabet[v >> 6 & 63];
		*p++ = (uint8_t)alphabet[v & 63];
	}
	if (rest == 0)
		return;
	uint32_t v = (uint32_t)in.p[i] << 16 | (rest == 2 ? (uint32_t)in.p[i + 1] << 8 : 0);
	*p++ = (uint8_t)alphabet[v >> 18];
	*p++ = (uint8_t)alphabet[v >> 12 & 63];
	if (rest == 2)
		*p++ = (uint8_t)alphabet[v >> 6 & 63];
	else if (padded)
		*p++ = '=';
	if (padded)
		*p++ = '=';
}

void b64url_encode(struct buf *out, struct span bytes)
{
	encode(out, bytes, url_alphabet, false);
}

void b64_encode(struct buf *out, struct span bytes)
{
	encode(out, bytes, std_alphabet, true);
}
