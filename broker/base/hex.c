/* broker/base/hex.c — hexadecimal text.  Public data only: not constant time. */
#include "base/hex.h"

int hex_digit(uint8_t c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

char *hex_put(char *out, struct span bytes)
{
	static const char digit[] = "0123456789abcdef";

	for (size_t i = 0; i < bytes.len; i++) {
		*out++ = digit[bytes.p[i] >> 4];
		*out++ = digit[bytes.p[i] & 15];
	}
	return out;
}

void hex_encode(struct buf *out, struct span bytes)
{
	char two[2];

	for (size_t i = 0; i < bytes.len; i++) {
		(void)hex_put(two, span_sub(bytes, i, 1));
		buf_add(out, two, sizeof two);
	}
}

bool hex_decode(struct span text, uint8_t *out, size_t len)
{
	if (text.len != 2 * len)
		return false;
	for (size_t i = 0; i < text.len; i++) {
		int value = text.p[i] >= 'A' && text.p[i] <= 'F' ? -1 : hex_digit(text.p[i]);
		if (value < 0)
			return false;
		out[i / 2] = (uint8_t)(i % 2 == 0 ? value << 4 : out[i / 2] | value);
	}
	return true;
}
