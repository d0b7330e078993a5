/* broker/base/digest.h — SHA-256 that cannot fail. */
#ifndef KB_BASE_DIGEST_H
#define KB_BASE_DIGEST_H
#include <openssl/sha.h>

#include "base/bytes.h"

/* OpenSSL's one-shot SHA256() allocates memory, and leaves `out` unchanged when it cannot: a ledger
 * line with a wrong digest, or the replay key of another token.  This one allocates nothing. */
void digest_sha256(struct span s, uint8_t out[static 32]);

/* The same of several pieces, one after the other.  digest_end() wipes `d`. */
struct digest {
	SHA256_CTX ctx;
};
void digest_begin(struct digest *d);
void digest_add(struct digest *d, struct span s);
void digest_end(struct digest *d, uint8_t out[static 32]);

#endif
