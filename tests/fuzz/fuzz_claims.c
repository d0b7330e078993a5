/* tests/fuzz/fuzz_claims.c — claims of a token whose issuer signs whatever it is asked to.  The
 * first byte picks the issuer's rules; what passes is read a second time here, by jansson alone,
 * and must be what the rules want. */
#include <jansson.h>
#include <stdlib.h>

#include "base/json.h"
#include "base/limits.h"
#include "policy/claims.h"
#include "policy/pubkey.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define NOW      1790000000
#define AUDIENCE "https://broker.test"
#define NONCE    "nonce"

static void require(bool is_true)
{
	if (!is_true)
		abort();
}

/* A second reading, with a C library's long double: its error is far below a second. */
static long double seconds(const json_t *j)
{
	char storage[JSON_INT_TEXT], *text, *end;
	struct span number;

	require(json_as_number(j, storage, &number) && number.len <= KB_MAX_NUMBER);
	require((text = span_dup(number)) != NULL);
	long double x = strtold(text, &end);
	require(*end == '\0' && x >= 0);
	free(text);
	return x;
}

static void check_time(const json_t *claims, const struct issuer_rules *issuer)
{
	const char *claim;

	if (claims_check_time(claims, issuer, NOW, &claim) != KB_OK)
		return;
	const json_t *nbf = json_object_get(claims, "nbf");
	long double e = seconds(json_object_get(claims, "exp")) + 0.001L,
		    i = seconds(json_object_get(claims, "iat")), n = nbf == NULL ? 0 : seconds(nbf);
	long double skew = (long double)issuer->skew_s + 0.001L;
	require(e > i && e >= NOW - skew && i <= NOW + skew && n <= NOW + skew);
	require(i >= NOW - issuer->max_age_s - 0.001L && e - i <= issuer->max_lifetime_s + 0.002L);
}

static bool is_text(const json_t *j, const char *want)
{
	return json_is_string(j) && json_string_length(j) == strlen(want) &&
	       memcmp(json_string_value(j), want, strlen(want)) == 0;
}

static void check_audience(const json_t *claims, const struct issuer_rules *issuer)
{
	const json_t *aud = json_object_get(claims, "aud"), *entry;
	size_t i;
	bool is_ours = is_text(aud, AUDIENCE);

	if (claims_check_audience(claims, issuer) != KB_OK || issuer->audience == NULL)
		return;
	json_array_foreach(aud, i, entry)
	{
		require(json_is_string(entry) && i < KB_MAX_AUD_COUNT);
		is_ours |= is_text(entry, AUDIENCE);
	}
	require(is_ours);
}

static void check_nonce(const json_t *claims, const struct issuer_rules *issuer)
{
	KB_AUTO(buf) struct buf nonce;

	buf_init(&nonce, KB_MAX_NONCE + 4);
	enum kb_err err = claims_nonce(claims, &nonce);
	require(err == KB_OK || err == KB_E_NONCE || err == KB_E_NOMEM);
	require(issuer->nonce == NONCE_IGNORED ||
		claims_check_nonce(claims, issuer, span_of(NULL, 0)) == KB_E_NONCE);
	if (claims_check_nonce(claims, issuer, span_str(NONCE)) != KB_OK ||
	    issuer->nonce == NONCE_IGNORED)
		return;
	const json_t *top = json_object_get(claims, "nonce");
	const json_t *payload = json_object_get(
		json_object_get(json_object_get(claims, "x-ms-runtime"), "client-payload"),
		"nonce");
	require(top != NULL ? is_text(top, NONCE)
			    : is_text(payload, "bm9uY2U=") || is_text(payload, "bm9uY2U"));
}

static void check_wrapping_key(const json_t *claims, const struct issuer_rules *issuer)
{
	KB_AUTO(pubkey) struct pubkey *kek = NULL;

	if (claims_wrapping_key(claims, issuer, &kek) != KB_OK) {
		require(kek == NULL);
		return;
	}
	require(pubkey_kind(kek) == PUBKEY_RSA && pubkey_bits(kek) >= KB_RSA_MIN_BITS &&
		pubkey_bits(kek) <= KB_RSA_MAX_BITS);
	require(pubkey_kid(kek).len > 0);
	require(json_is_array(json_object_get(json_object_get(claims, "x-ms-runtime"), "keys")));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char audience[] = AUDIENCE, keys[] = ISSUER_WRAPPING_KEY;
	KB_AUTO(json) struct json_t *claims = NULL;

	if (size == 0 ||
	    json_load_strict(span_of(data + 1, size - 1), KB_MAX_TOKEN, &claims, NULL) != KB_OK ||
	    !json_isa_obj(claims))
		return 0;
	struct issuer_rules issuer = {.max_age_s = (data[0] & 1) != 0 ? 28800 : 60,
				      .max_lifetime_s = (data[0] & 2) != 0 ? 86400 : 60,
				      .skew_s = (data[0] & 4) != 0 ? KB_MAX_SKEW_S : 0,
				      .wrapping_key = keys,
				      .audience = (data[0] & 8) != 0 ? audience : NULL,
				      .nonce = (data[0] & 16) != 0   ? NONCE_REQUEST
					       : (data[0] & 32) != 0 ? NONCE_BROKER
								     : NONCE_IGNORED};
	check_time(claims, &issuer);
	check_audience(claims, &issuer);
	check_nonce(claims, &issuer);
	check_wrapping_key(claims, &issuer);
	return 0;
}
