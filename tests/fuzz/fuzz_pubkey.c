/* tests/fuzz/fuzz_pubkey.c — one JWK from outside, for both uses: whatever is taken lies within
 * the limits, has no private member, and has the thumbprint that its own members say (RFC 7638). */
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <stdlib.h>

#include "base/b64url.h"
#include "base/json.h"
#include "base/limits.h"
#include "policy/pubkey.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool is_true)
{
	if (!is_true)
		abort();
}

static bool member(const struct json_t *jwk, const char *before, const char *name, struct buf *out)
{
	struct span text;
	KB_AUTO(buf) struct buf bytes;

	buf_init(&bytes, 4096);
	buf_add_str(out, before);
	if (json_get_str(jwk, name, KB_MAX_JWKS, &text) != KB_OK)
		return false;
	if (name[0] != 'n' && name[0] != 'e') {
		buf_add_span(out, text);
		return true;
	}
	/* without leading zeros (RFC 7518 section 2) */
	require(b64url_decode(text, &bytes) == KB_OK);
	struct span number = buf_span(&bytes);
	while (number.len > 0 && number.p[0] == 0)
		number = span_sub(number, 1, number.len);
	b64url_encode(out, number);
	return true;
}

/* The thumbprint from the text of the JWK, not from the numbers we read.  A key that stands in x5c
 * alone has no such text. */
static void check_thumbprint(const struct json_t *jwk, const struct pubkey *k)
{
	uint8_t ours[32], theirs[32];
	KB_AUTO(buf) struct buf b;

	buf_init(&b, 8192);
	require(pubkey_thumbprint(k, ours) == KB_OK);
	bool has_text = pubkey_kind(k) == PUBKEY_RSA
				? member(jwk, "{\"e\":\"", "e", &b) &&
					  member(jwk, "\",\"kty\":\"RSA\",\"n\":\"", "n", &b)
				: member(jwk, "{\"crv\":\"", "crv", &b) &&
					  member(jwk, "\",\"kty\":\"EC\",\"x\":\"", "x", &b) &&
					  member(jwk, "\",\"y\":\"", "y", &b);
	buf_add_str(&b, "\"}");
	if (!has_text)
		return;
	SHA256(b.p, b.len, theirs);
	require(buf_ok(&b) == KB_OK && memcmp(ours, theirs, 32) == 0);
}

static void check_key(const struct json_t *jwk, enum pubkey_use use)
{
	static const char *const private[] = {"d", "p", "q", "dp", "dq", "qi", "oth", "k"};
	KB_AUTO(pubkey) struct pubkey *k = NULL;
	struct span kid;

	enum kb_err err = pubkey_from_jwk(jwk, use, &k);
	require((err == KB_OK) == (k != NULL));
	if (err != KB_OK)
		return;
	for (size_t i = 0; i < sizeof private / sizeof *private; i++)
		require(!json_has(jwk, private[i]));
	require(pubkey_evp(k) != NULL &&
		(unsigned)EVP_PKEY_get_bits(pubkey_evp(k)) == pubkey_bits(k));
	if (pubkey_kind(k) == PUBKEY_RSA)
		require(pubkey_bits(k) >= KB_RSA_MIN_BITS && pubkey_bits(k) <= KB_RSA_MAX_BITS);
	else
		require(use == PUBKEY_VERIFY &&
			(pubkey_bits(k) == 256 || pubkey_bits(k) == 384 || pubkey_bits(k) == 521));
	if (json_has(jwk, "kid"))
		require(json_get_str(jwk, "kid", KB_MAX_KID, &kid) == KB_OK &&
			span_eq(kid, pubkey_kid(k)));
	check_thumbprint(jwk, k);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	KB_AUTO(json) struct json_t *jwk = NULL;

	if (json_load_strict(span_of(data, size), KB_MAX_JWKS, &jwk, NULL) != KB_OK)
		return 0;
	check_key(jwk, PUBKEY_VERIFY);
	check_key(jwk, PUBKEY_WRAP);
	return 0;
}
