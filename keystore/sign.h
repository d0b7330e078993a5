/* keystore/sign.h — RS256 in the HSM: CKM_RSA_PKCS over a DigestInfo, PKCS#11 v2.40 section
 * 2.1.6. */
#ifndef KB_KEYSTORE_SIGN_H
#define KB_KEYSTORE_SIGN_H
#include "keystore/keystore.h"

/* Sign a SHA-256 digest with an RSA key found by keystore_find(…, is_release = false).  The
 * signature, exactly modulus bytes, is appended. */
KB_MUST_CHECK enum kb_err keystore_sign(struct keystore *ks, const struct hsm_key *signer,
					const uint8_t digest[static 32], struct buf *signature);
/* A key of 32 bytes that only this signer can make: SHA-256 of its signature over `text`
 * (RSASSA-PKCS1-v1_5: always the same).  That signature is a secret, and `text` must never be
 * signed for anybody else.  On KB_OK *out is the caller's. */
KB_MUST_CHECK enum kb_err keystore_derive(struct keystore *ks, const struct hsm_key *signer,
					  struct span text, struct secret **out);
/* Sign a fixed text and verify it with the public key of certificate `leaf_der`: is this the key of
 * the certificate?  KB_E_HSM_KEY_ATTR when not. */
KB_MUST_CHECK enum kb_err keystore_prove_signer(struct keystore *ks, const struct hsm_key *signer,
						struct span leaf_der);

#endif
