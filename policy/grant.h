/* policy/grant.h — permission to release one key to one wrapping key.  Made only by decide();
 * keystore_wrap() demands one. */
#ifndef KB_POLICY_GRANT_H
#define KB_POLICY_GRANT_H
#include "policy/wrapping_key.h"

struct grant;

struct span grant_key_name(const struct grant *g);
struct span grant_key_version(const struct grant *g);
const struct wrapping_key *grant_kek(const struct grant *g); /* bound in the evidence; borrowed */
int64_t grant_issued(const struct grant *g);                 /* the token's iat */
int64_t grant_expires(const struct grant *g);                /* the token's exp */
void grant_free(struct grant *g);
static inline void grant_cleanup(struct grant **g)
{
	grant_free(*g);
}

#endif
