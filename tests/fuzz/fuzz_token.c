/* tests/fuzz/fuzz_token.c — a token as it comes from the wire.  Nobody has the keys' private
 * halves, so nothing may verify.  Mutations work on the text, or on a part as it is before base64:
 * so the JSON behind the gate is reached, too. */
#include <stdlib.h>

#include "base/b64url.h"
#include "base/limits.h"
#include "policy/jwks.h"
#include "policy/token.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size); /* libFuzzer's own */

static const char key_set[] =
	"{\"keys\":[{\"kty\":\"EC\",\"kid\":\"k\",\"crv\":\"P-256\",\"x\":\"KSexBRK64-3c_"
	"kZ4KBKLrSkDJpkZ9whgacjE32xzKDg\","
	"\"y\":\"x3h5ZOqsAOWSH7FJimD0YGdms9loUAFVjRqXTnNBUT4\"},{\"kty\":\"RSA\",\"kid\":\"r\","
	"\"e\":\"AQAB\",\"n\":\""
	"nmpyg6Eg5L5B7o-cVtU7KsV5lVCOcEw61fH0c7T16A0Ej5az1-qJuSX6rwH7gJ7DhJ7emh1zX7rGTebG8Vl-"
	"3uAYm18QBi7RHpLdjhNA0ox8uo"
	"HnG5We71Ewee4mr57coZAsKMf4LCFQu7CR5KpRH6RKfa_W7oA6UAjcu02vZN0fEIRBvB4pHY7poAtepCFSE_"
	"WiSOQOtaZXe1vxLuUdhC74BFjn"
	"xLJHmwfPp2PQ-wFLmcizhcE28Q8NN5Kjx4QgZJV2LnyNPs8RLVM7CdTHG1Ax314fot10_Cg7lIFsUN9bdiAk-"
	"D7MdEBzeJrmZnPDJXVGfV3fwS"
	"1Koo4sHn5tfQ"
	"\"}]}";

/* One of the three parts decoded, mutated, encoded again.  Parts that do not decode, and results
 * that do not fit, are left to libFuzzer. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
	struct span in = span_of(data, size);
	size_t first = span_find(in, 0, '.'), second = span_find(in, first + 1, '.');
	size_t from = seed % 3 == 0 ? 0 : seed % 3 == 1 ? first + 1 : second + 1;
	size_t end = seed % 3 == 0 ? first : seed % 3 == 1 ? second : size;
	uint8_t bytes[8192];
	KB_AUTO(buf) struct buf part, text;

	buf_init(&part, sizeof bytes);
	buf_init(&text, 2 * KB_MAX_TOKEN);
	if (seed % 8 == 7 || second >= size || from >= end ||
	    b64url_decode(span_sub(in, from, end - from), &part) != KB_OK)
		return LLVMFuzzerMutate(data, size, max_size);
	memcpy(bytes, part.p, part.len);
	size_t len = LLVMFuzzerMutate(bytes, part.len, sizeof bytes);
	buf_add(&text, data, from);
	b64url_encode(&text, span_of(bytes, len));
	buf_add(&text, data + end, size - end);
	if (buf_ok(&text) != KB_OK || text.len > max_size)
		return LLVMFuzzerMutate(data, size, max_size);
	memcpy(data, text.p, text.len);
	return text.len;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct jwks *keys;
	KB_AUTO(token) struct token *t = NULL;

	if (keys == NULL &&
	    (jwks_parse(span_str(key_set), &keys, NULL) != KB_OK || jwks_count(keys) != 2))
		abort();
	if (token_open(span_of(data, size), &t) != KB_OK) {
		if (t != NULL)
			abort();
		return 0;
	}
	KB_AUTO(cstr) char *iss = span_dup(token_unverified_iss(t));
	struct issuer_rules issuer = {.issuer = iss, .algorithms = ~0u};
	if (iss == NULL || token_claims(t) != NULL || token_verify(t, &issuer, keys) == KB_OK ||
	    token_claims(t) != NULL)
		abort();
	return 0;
}
