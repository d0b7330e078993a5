/* tests/fuzz/fuzz_jwks.c — a key set as an issuer's server sends it: every key is kept or counted
 * as dropped or as a repetition, and found under its own kid alone. */
#include <stdlib.h>

#include "base/json.h"
#include "base/limits.h"
#include "policy/jwks.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool is_true)
{
	if (!is_true)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	KB_AUTO(jwks) struct jwks *set = NULL;
	KB_AUTO(json) struct json_t *doc = NULL;
	const struct json_t *keys;
	struct jwks_report report;
	size_t found = 0;
	KB_AUTO(buf) struct buf text;

	buf_init(&text, JWKS_REPORT_BYTES);

	enum kb_err err = jwks_parse(span_of(data, size), &set, &report);
	require((err == KB_OK) == (set != NULL));
	if (err != KB_OK)
		return 0;
	require(json_load_strict(span_of(data, size), KB_MAX_JWKS, &doc, NULL) == KB_OK &&
		json_get_arr(doc, "keys", &keys) == KB_OK);
	require(report.kept > 0 && jwks_count(set) == report.kept &&
		report.kept + report.dropped + report.repeated == json_len(keys) &&
		report.n_drops <= report.dropped && report.n_drops <= KB_MAX_JWKS_DROPS);
	for (size_t i = 0; i < json_len(keys); i++) {
		struct span kid;
		if (json_get_str(json_at(keys, i), "kid", KB_MAX_KID, &kid) != KB_OK)
			continue;
		const struct jwk *k = jwks_find(set, kid);
		require(k == NULL || (span_eq(jwk_kid(k), kid) && jwk_pubkey(k) != NULL));
		found += k != NULL;
	}
	require(found >= report.kept + report.repeated);
	jwks_report_text(&report, &text);
	require(buf_ok(&text) == KB_OK);
	return 0;
}
