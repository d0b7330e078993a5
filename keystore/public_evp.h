/* keystore/public_evp.h — a public key of the HSM as OpenSSL's type, to issue certificates for
 * it. */
#ifndef KB_KEYSTORE_PUBLIC_EVP_H
#define KB_KEYSTORE_PUBLIC_EVP_H
#include <openssl/types.h>

#include "keystore/keystore.h"

/* RSA only.  KB_E_KEY_TYPE for another type, KB_E_KEY_FORMAT when modulus or exponent is no
 * number of an RSA key.  On KB_OK *out is the caller's. */
KB_MUST_CHECK enum kb_err hsm_public_evp(const struct hsm_public *pub, EVP_PKEY **out);

#endif
