/* broker/base/digest.c — SHA-256 by OpenSSL's low-level functions.  OpenSSL 3 deprecates them
 * because they use no provider; for the same reason they allocate nothing and cannot fail. */
#define OPENSSL_SUPPRESS_DEPRECATED
#include "base/digest.h"

#include <openssl/crypto.h>

void digest_begin(struct digest *d)
{
	if (SHA256_Init(&d->ctx) != 1)
		KB_BUG();
}

void digest_add(struct digest *d, struct span s)
{
	if (SHA256_Update(&d->ctx, s.p, s.len) != 1)
		KB_BUG();
}

void digest_end(struct digest *d, uint8_t out[static 32])
{
	if (SHA256_Final(out, &d->ctx) != 1)
		KB_BUG();
	OPENSSL_cleanse(d, sizeof *d);
}

void digest_sha256(struct span s, uint8_t out[static 32])
{
	struct digest d;

	digest_begin(&d);
	digest_add(&d, s);
	digest_end(&d, out);
}
