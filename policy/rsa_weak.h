/* policy/rsa_weak.h — quick tests of an RSA modulus. */
#ifndef KB_POLICY_RSA_WEAK_H
#define KB_POLICY_RSA_WEAK_H
#include <openssl/types.h>
#include <stdbool.h>

/* A small factor, the ROCA fingerprint (CVE-2017-15361), or a square.  `is_quick`: only the factors
 * that the fingerprint needs, and no test for a square. */
bool rsa_is_weak(const BIGNUM *n, bool is_quick);

#endif
