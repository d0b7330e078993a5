/* tests/fuzz/fuzz_jwks.c — a key set as an issuer's server sends it, and a single key of either use. */
#include <stdlib.h>

#include "base/json.h"
#include "base/limits.h"
#include "policy/jwks.h"
#include "policy/pubkey.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_key(const struct json_t *jwk, enum pubkey_use use)
{
	KB_AUTO(pubkey) struct pubkey *k = NULL;
	uint8_t print[32];

	if (pubkey_from_jwk(jwk, use, &k) != KB_OK)
		return;
	if (pubkey_evp(k) == NULL || pubkey_thumbprint(k, print) != KB_OK || (use == PUBKEY_WRAP && pubkey_bits(k) < KB_RSA_MIN_BITS))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	KB_AUTO(jwks) struct jwks *set = NULL;
	KB_AUTO(json) struct json_t *one = NULL;
	struct jwks_report report;

	if (jwks_parse(span_of(data, size), &set, &report) == KB_OK && (jwks_count(set) != report.kept || report.kept == 0))
		abort();
	if (json_load_strict(span_of(data, size), KB_MAX_JWKS, &one, NULL) == KB_OK && !json_has(one, "keys")) {
		check_key(one, PUBKEY_VERIFY);
		check_key(one, PUBKEY_WRAP);
	}
	return 0;
}
