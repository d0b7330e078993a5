/* base/digest.c — decides nothing.  The low-level functions are deprecated in OpenSSL 3 for what they lack (providers), which is what makes them fit here:
 * they allocate nothing and have no way to fail. */
#define OPENSSL_SUPPRESS_DEPRECATED
#include "base/digest.h"

#include <openssl/sha.h>

void digest_sha256(struct span s, uint8_t out[static 32])
{
	SHA256_CTX ctx;

	if (SHA256_Init(&ctx) != 1 || SHA256_Update(&ctx, s.p, s.len) != 1 || SHA256_Final(out, &ctx) != 1)
		KB_BUG();
}
