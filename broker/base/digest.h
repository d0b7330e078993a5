/* base/digest.h — SHA-256 that cannot fail. */
#ifndef KB_BASE_DIGEST_H
#define KB_BASE_DIGEST_H
#include <openssl/sha.h>

#include "base/bytes.h"

/* OpenSSL's one-shot SHA256() allocates, and leaves `out` as it was when it cannot: a ledger line
 * under a digest of nothing, a token's replay key of a token before.  This one has no such moment.
 */
void digest_sha256(struct span s, uint8_t out[static 32]);

/* The same of several pieces, one after the other.  What was hashed is wiped from `d` at the end.
 */
struct digest {
	SHA256_CTX ctx;
};
void digest_begin(struct digest *d);
void digest_add(struct digest *d, struct span s);
void digest_end(struct digest *d, uint8_t out[static 32]);

#endif
