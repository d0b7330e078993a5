/* broker/base/evp.h — public keys for OpenSSL, built from their numbers alone. */
#ifndef KB_BASE_EVP_H
#define KB_BASE_EVP_H
#include <openssl/types.h>

#include "base/curve.h"

/* Big-endian numbers.  KB_E_NOMEM; KB_E_KEY_FORMAT: OpenSSL refuses the numbers (which it also does
 * when it has no memory for them: see kb_err_or_nomem()).  On KB_OK *out is the caller's. */
KB_MUST_CHECK enum kb_err evp_rsa_public(struct span n, struct span e, EVP_PKEY **out);
/* `point`: 04 ‖ x ‖ y (SEC 1 section 2.3.3).  KB_E_KEY_FORMAT also when it is not on the curve. */
KB_MUST_CHECK enum kb_err evp_ec_public(const struct curve *curve, struct span point,
					EVP_PKEY **out);

#endif
