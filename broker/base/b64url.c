/* base/b64url.c — RFC 4648.  Public data only: the tables are indexed by the input, which is not constant time. */
#include "base/b64url.h"

static const char url_alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
static const char std_alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

enum { ALPHABET_URL = 1, ALPHABET_STD = 2 };

/* Value of a character in the allowed alphabets, or 64. */
static unsigned digit(uint8_t c, unsigned alphabets)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26u;
	if (c >= '0' && c <= '9')
		return c - '0' + 52u;
	if ((alphabets & ALPHABET_URL) != 0 && (c == '-' || c == '_'))
		return c == '-' ? 62 : 63;
	if ((alphabets & ALPHABET_STD) != 0 && (c == '+' || c == '/'))
		return c == '+' ? 62 : 63;
	return 64;
}

static enum kb_err decode(struct span text, unsigned alphabets, struct buf *out)
{
	size_t rest = text.len % 4;

	if (text.len == 0)
		return KB_OK; /* no bytes, and no buffer to ask for */
	if (rest == 1)
		return KB_E_B64;
	uint8_t *p = buf_reserve(out, text.len / 4 * 3 + (rest == 0 ? 0 : rest - 1));
	if (p == NULL)
		return KB_E_NOMEM;
	uint32_t acc = 0;
	unsigned bits = 0;
	for (size_t i = 0; i < text.len; i++) {
		unsigned v = digit(text.p[i], alphabets);
		if (v == 64)
			return KB_E_B64;
		acc = (acc << 6 | v) & 0xffffff;
		bits += 6;
		if (bits >= 8) {
			bits -= 8;
			*p++ = (uint8_t)(acc >> bits);
		}
	}
	return (acc & ((1u << bits) - 1)) == 0 ? KB_OK : KB_E_B64; /* RFC 4648 §3.5: unused bits are zero */
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
