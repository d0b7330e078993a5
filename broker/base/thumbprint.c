/* broker/base/thumbprint.c — RFC 7638 section 3: the required members in lexical order, nothing
 * else, no white space. */
#include "base/thumbprint.h"

#include "base/b64url.h"
#include "base/digest.h"

enum { TEXT_MAX = 2048 };

static void add_number(struct buf *b, const char *before, struct span number)
{
	buf_add_str(b, before);
	b64url_encode(b, number);
}

static enum kb_err finish(struct buf *b, uint8_t out[static 32])
{
	buf_add_str(b, "\"}");
	enum kb_err err = buf_ok(b);
	if (err == KB_OK)
		digest_sha256(buf_span(b), out);
	return err;
}

enum kb_err thumbprint_rsa(struct span n, struct span e, uint8_t out[static 32])
{
	KB_AUTO(buf) struct buf b;
	buf_init(&b, TEXT_MAX);

	memset(out, 0, 32);
	add_number(&b, "{\"e\":\"", e);
	add_number(&b, "\",\"kty\":\"RSA\",\"n\":\"", n);
	return finish(&b, out);
}

enum kb_err thumbprint_ec(const struct curve *curve, struct span x, struct span y,
			  uint8_t out[static 32])
{
	KB_AUTO(buf) struct buf b;
	buf_init(&b, TEXT_MAX);

	memset(out, 0, 32);
	buf_add_str(&b, "{\"crv\":\"");
	buf_add_str(&b, curve->name);
	add_number(&b, "\",\"kty\":\"EC\",\"x\":\"", x);
	add_number(&b, "\",\"y\":\"", y);
	return finish(&b, out);
}
