/* keystore/public.h — private to keystore/: public parts of keys, from attributes or from OpenSSL,
 * and their RFC 7638 thumbprint. */
#ifndef KB_KEYSTORE_PUBLIC_H
#define KB_KEYSTORE_PUBLIC_H
#include <openssl/types.h>

#include "keystore/keystore.h"

struct curve {
	enum kb_crv crv;
	const char *name, *group; /* JWK's name, OpenSSL's name */
	size_t width;             /* bytes of a coordinate and of the private number */
	uint8_t oid[10];          /* DER, tag and length included: CKA_EC_PARAMS of a named curve */
	size_t oid_len;
};
const struct curve *crv_curve(enum kb_crv crv);       /* NULL for KB_CRV_NONE */
const struct curve *curve_of_params(struct span der); /* NULL when it is none of ours */

/* Each fills *p whole, fingerprint included.  KB_E_HSM_KEY_ATTR when the numbers are out of what
 * the broker takes. */
KB_MUST_CHECK enum kb_err public_rsa(struct span n, struct span e, struct hsm_public *p);
/* `point`: 04 ‖ x ‖ y, bare or as a DER OCTET STRING (PKCS#11 v2.40 §2.3.3 wants the latter,
 * modules give either).  It must be on the curve. */
KB_MUST_CHECK enum kb_err public_ec(const struct curve *c, struct span point, struct hsm_public *p);
KB_MUST_CHECK enum kb_err public_oct(size_t len, struct hsm_public *p);
KB_MUST_CHECK enum kb_err public_of_evp(const EVP_PKEY *key, struct hsm_public *p);
/* An RSA public key for OpenSSL, the caller's.  KB_E_NOMEM. */
KB_MUST_CHECK enum kb_err public_rsa_evp(const struct hsm_public *p, EVP_PKEY **out);
/* The same public part?  For oct: length and check value. */
bool public_eq(const struct hsm_public *a, const struct hsm_public *b);

#endif
