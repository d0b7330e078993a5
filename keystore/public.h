/* keystore/public.h — private to keystore/: public parts of keys, from attributes or from OpenSSL,
 * and their RFC 7638 thumbprint. */
#ifndef KB_KEYSTORE_PUBLIC_H
#define KB_KEYSTORE_PUBLIC_H
#include <openssl/types.h>

#include "keystore/keystore.h"

/* Each fills *p whole, fingerprint included.  KB_E_HSM_KEY_ATTR when the broker does not handle
 * such a key. */
KB_MUST_CHECK enum kb_err public_rsa(struct span n, struct span e, struct hsm_public *p);
/* `point`: 04 ‖ x ‖ y, bare or as a DER OCTET STRING (PKCS#11 v2.40 §2.3.3 wants the latter,
 * modules give either).  It must be on the curve. */
KB_MUST_CHECK enum kb_err public_ec(const struct curve *c, struct span point, struct hsm_public *p);
KB_MUST_CHECK enum kb_err public_oct(size_t len, struct hsm_public *p);
KB_MUST_CHECK enum kb_err public_of_evp(const EVP_PKEY *key, struct hsm_public *p);
/* The same public part?  For oct: length and check value. */
bool public_eq(const struct hsm_public *a, const struct hsm_public *b);

#endif
