/* tests/fuzz/fuzz_b64url.c — base64 against a second, slow reader: a text decodes exactly when it
 * is what our encoder makes of the bytes (one spelling for each value), and bytes survive the way
 * there and back.  The lenient decoder, for a client's payload, takes what either strict one
 * takes. */
#include <stdlib.h>

#include "base/b64url.h"
#include "base/limits.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool is_true)
{
	if (!is_true)
		abort();
}

static int digit(uint8_t c, const char last[static 2])
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == last[0] ? 62 : c == last[1] ? 63 : -1;
}

/* RFC 4648 bit by bit: −1 when `text` is not the canonical spelling, else how many bytes it stands
 * for. */
static long slow_decode(struct span text, const char last[static 2], bool is_padded, uint8_t *out)
{
	unsigned bits = 0, have = 0;
	long n = 0;

	if (is_padded) {
		if (text.len % 4 != 0)
			return -1;
		for (int i = 0; i < 2 && text.len > 0 && text.p[text.len - 1] == '='; i++)
			text.len--;
	}
	for (size_t i = 0; i < text.len; i++) {
		int v = digit(text.p[i], last);
		if (v < 0)
			return -1;
		bits = (bits << 6 | (unsigned)v) & 0xfff;
		have += 6;
		if (have >= 8) {
			have -= 8;
			out[n++] = (uint8_t)(bits >> have);
			bits &= (1u << have) - 1;
		}
	}
	return have < 6 && bits == 0 ? n : -1;
}

static void same(enum kb_err err, const struct buf *b, long want, const uint8_t *bytes)
{
	require(want < 0 ? err == KB_E_B64
			 : err == KB_OK && span_eq(buf_span(b), span_of(bytes, (size_t)want)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t slow[KB_MAX_TOKEN];
	struct span in = span_of(data, size);
	KB_AUTO(buf) struct buf url, std, any, text;

	buf_init(&url, KB_MAX_TOKEN);
	buf_init(&std, KB_MAX_TOKEN);
	buf_init(&any, KB_MAX_TOKEN);
	buf_init(&text, 2 * KB_MAX_TOKEN);
	if (size > sizeof slow)
		return 0;

	enum kb_err url_err = b64url_decode(in, &url), std_err = b64_decode(in, &std),
		    any_err = b64_decode_any(in, &any);
	same(url_err, &url, slow_decode(in, "-_", false, slow), slow);
	same(std_err, &std, slow_decode(in, "+/", true, slow), slow);
	if (url_err == KB_OK)
		require(any_err == KB_OK && span_eq(buf_span(&any), buf_span(&url)));
	if (std_err == KB_OK)
		require(any_err == KB_OK && span_eq(buf_span(&any), buf_span(&std)));

	b64url_encode(&text, in);
	buf_reset(&url);
	require(buf_ok(&text) == KB_OK && b64url_decode(buf_span(&text), &url) == KB_OK &&
		span_eq(buf_span(&url), in));
	buf_reset(&text);
	b64_encode(&text, in);
	buf_reset(&std);
	require(buf_ok(&text) == KB_OK && b64_decode(buf_span(&text), &std) == KB_OK &&
		span_eq(buf_span(&std), in));
	return 0;
}
