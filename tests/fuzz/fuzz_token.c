/* tests/fuzz/fuzz_token.c — a token as it comes from the wire; bytes that are none are taken for the claims of a verified one. */
#include <stdlib.h>

#include "base/json.h"
#include "base/limits.h"
#include "policy/claims.h"
#include "policy/jwks.h"
#include "policy/pubkey.h"
#include "policy/token.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define NOW 1790000000

static const char key_set[] = "{\"keys\":[{\"kty\":\"EC\",\"kid\":\"k\",\"crv\":\"P-256\",\"x\":\"KSexBRK64-3c_kZ4KBKLrSkDJpkZ9whgacjE32xzKDg\","
			      "\"y\":\"x3h5ZOqsAOWSH7FJimD0YGdms9loUAFVjRqXTnNBUT4\"}]}";

static void check_claims(const struct json_t *claims)
{
	static char audience[] = "https://broker.test";
	struct issuer_rules issuer = {.max_age_s = 28800, .max_lifetime_s = 86400, .skew_s = 60, .audience = audience, .nonce = NONCE_REQUEST};
	KB_AUTO(buf) struct buf nonce;
	KB_AUTO(pubkey) struct pubkey *kek = NULL;

	buf_init(&nonce, KB_MAX_NONCE + 4);
	(void)!claims_check_time(claims, &issuer, NOW);
	(void)!claims_check_audience(claims, &issuer);
	(void)!claims_check_nonce(claims, &issuer, span_str("nonce"));
	(void)!claims_nonce(claims, &nonce);
	if (claims_wrapping_key(claims, &kek) == KB_OK && pubkey_kind(kek) != PUBKEY_RSA)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct jwks *keys;
	KB_AUTO(token) struct token *t = NULL;
	KB_AUTO(json) struct json_t *claims = NULL;

	if (keys == NULL && jwks_parse(span_str(key_set), &keys, NULL) != KB_OK)
		abort();
	if (token_open(span_of(data, size), &t) == KB_OK) {
		KB_AUTO(cstr) char *iss = span_dup(token_unverified_iss(t));
		struct issuer_rules issuer = {.issuer = iss, .algorithms = ~0u};
		/* Nobody has the private key, so nothing verifies. */
		if (iss == NULL || token_claims(t) != NULL || token_verify(t, &issuer, keys) == KB_OK || token_claims(t) != NULL)
			abort();
	} else if (json_load_strict(span_of(data, size), KB_MAX_TOKEN, &claims, NULL) == KB_OK) {
		check_claims(claims);
	}
	return 0;
}
