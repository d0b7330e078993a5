/* broker/vault/nonce.c — nonces that this broker makes and recognizes without storing them. Decides
 * whether a nonce is ours and young enough.  A nonce proves that a token is younger than the nonce;
 * it is no credential. */
#include "vault/nonce.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "base/b64url.h"
#include "base/limits.h"
#include "base/secret.h"

enum { TIME_BYTES = 8, MAC_BYTES = 24, NONCE_BYTES = TIME_BYTES + MAC_BYTES };

static enum kb_err nonce_mac(const struct secret *mac_key, struct span key_name,
			     const uint8_t time[static TIME_BYTES], uint8_t mac[static 32])
{
	static const char domain[] = "keybroker nonce";
	KB_AUTO(buf) struct buf text;
	unsigned len = 0;

	buf_init(&text, 512);
	buf_add(&text, domain, sizeof domain);
	buf_add(&text, time, TIME_BYTES);
	/* Key names are case-insensitive: one nonce serves all spellings. */
	for (size_t i = 0; i < key_name.len; i++) {
		uint8_t c = key_name.p[i];
		uint8_t low = c >= 'A' && c <= 'Z' ? (uint8_t)(c + 32) : c;
		buf_add(&text, &low, 1);
	}
	enum kb_err err = buf_ok(&text);
	if (err != KB_OK)
		return err;
	struct span k = secret_span(mac_key);
	return HMAC(EVP_sha256(), k.p, (int)k.len, text.p, text.len, mac, &len) != NULL && len == 32
		       ? KB_OK
		       : KB_E_NOMEM;
}

enum kb_err nonce_make(const struct secret *mac_key, struct span key_name, int64_t now_us,
		       struct buf *text)
{
	uint8_t raw[TIME_BYTES + 32];

	for (int i = 0; i < TIME_BYTES; i++)
		raw[i] = (uint8_t)((uint64_t)now_us >> (56 - 8 * i));
	enum kb_err err = nonce_mac(mac_key, key_name, raw, raw + TIME_BYTES);
	if (err != KB_OK)
		return err;
	b64url_encode(text, span_of(raw, NONCE_BYTES));
	return buf_ok(text);
}

enum kb_err nonce_check(const struct secret *mac_key, struct span key_name, int64_t now_us,
			struct span text)
{
	KB_AUTO(buf) struct buf raw;
	uint8_t mac[32];
	uint64_t made = 0;

	buf_init(&raw, NONCE_BYTES);
	if (b64url_decode(text, &raw) != KB_OK || raw.len != NONCE_BYTES)
		return KB_E_NONCE;
	enum kb_err err = nonce_mac(mac_key, key_name, raw.p, mac);
	if (err != KB_OK)
		return err;
	if (CRYPTO_memcmp(mac, raw.p + TIME_BYTES, MAC_BYTES) != 0)
		return KB_E_NONCE;
	for (int i = 0; i < TIME_BYTES; i++)
		made = made << 8 | raw.p[i];
	/* The MAC is good, so this broker wrote the time: the difference cannot overflow.  The
	 * clock may have stepped back since. */
	int64_t age_us = now_us - (int64_t)made;
	return age_us >= -(int64_t)KB_MAX_SKEW_S * 1000000 &&
			       age_us <= (int64_t)KB_NONCE_S * 1000000
		       ? KB_OK
		       : KB_E_NONCE;
}
