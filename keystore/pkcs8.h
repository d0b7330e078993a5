/* keystore/pkcs8.h — private to keystore/: the exact plaintext of a key.  RFC 5208 (PKCS#8), RFC
 * 5915 (EC private key), RFC 8017 A.1.2. */
#ifndef KB_KEYSTORE_PKCS8_H
#define KB_KEYSTORE_PKCS8_H
#include "keystore/keystore.h"

struct secret;

/* SoftHSM 2.6.1 pads with up to seven zero bytes before it wraps (RFC 5649 would restore the exact
 * length, SoftHSM encodes the padded one). Cut them, and make of the rest what a client expects:
 * RSA the PKCS#8 DER as it is, EC the PKCS#8 DER with a named curve and the public key, oct the raw
 * bytes.  Proves that it is the key of `p` as far as its public numbers show.  *plain may be
 * replaced.  KB_E_HSM_OUTPUT when it is anything else. */
KB_MUST_CHECK enum kb_err plain_exact(struct secret **plain, const struct hsm_public *p);

enum { RSA_NUMBERS = 8 };
/* The numbers in a PKCS#8 private key, as spans of it without leading zeros: n, e, d, p, q, dp, dq,
 * qi (RFC 8017 A.1.2), or the private number of EC.  False: not exactly such an encoding. */
bool pkcs8_rsa_numbers(struct span der, struct span out[static RSA_NUMBERS]);
bool pkcs8_ec_number(struct span der, const struct curve **curve, struct span *out);

/* Bytes that the exact plaintext of `p` may have.  A blob of the module's own of another length is
 * something else.  Zero: none is right. */
void plain_bounds(const struct hsm_public *p, size_t *least, size_t *most);

#endif
