/* policy/grant.h — permission to release one key to one wrapping key.  Made only by decide();
 * keystore_wrap() demands one. */
#ifndef KB_POLICY_GRANT_H
#define KB_POLICY_GRANT_H
#include <openssl/types.h>

#include "base/bytes.h"

struct grant;

struct span grant_key_name(const struct grant *g);
struct span grant_key_version(const struct grant *g);
EVP_PKEY *grant_kek(const struct grant *g);       /* the wrapping key (RSA), checked; borrowed */
struct span grant_kek_kid(const struct grant *g); /* its kid in the evidence */
const uint8_t *grant_kek_thumbprint(const struct grant *g); /* 32 bytes, RFC 7638 */
int64_t grant_issued(const struct grant *g);                /* the token's iat */
int64_t grant_expires(const struct grant *g);               /* the token's exp */
void grant_free(struct grant *g);
static inline void grant_cleanup(struct grant **g)
{
	grant_free(*g);
}

#endif
