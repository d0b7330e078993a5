/* keystore/scheme_rsa_aes.h — RSA-OAEP(kek, aes) ‖ AES-256-KWP(aes, key): the layout of
 * CKM_RSA_AES_KEY_WRAP, PKCS#11 v3.0 section 6.1.20 (v2.40 section 2.1.20), RFC 8017 section 7.1
 * and RFC 5649.  Rows of the table in scheme.c. */
#ifndef KB_KEYSTORE_SCHEME_RSA_AES_H
#define KB_KEYSTORE_SCHEME_RSA_AES_H
#include "keystore/scheme.h"

enum { RSA_AES_KEY_BYTES = 32 }; /* of the AES key */

KB_MUST_CHECK enum kb_err rsa_aes_seal(const struct wrap_scheme *s, const struct wrapping_key *kek,
				       struct span plain, struct buf *wrapped);
KB_MUST_CHECK enum kb_err rsa_aes_open(const struct wrap_scheme *s,
				       const struct unwrapping_key *kek, struct span wrapped,
				       struct secret **plain);
size_t rsa_aes_size(size_t kek_bytes, size_t plain_len);
bool rsa_aes_split(size_t kek_bytes, struct span wrapped, struct span *key, struct span *payload);

/* Undo RSA-OAEP with a private key of this process: an EVP_PKEY, passed as the holder of a struct
 * unwrapping_key. */
KB_MUST_CHECK enum kb_err rsa_oaep_open(void *evp_pkey, enum oaep_hash hash, struct span ciphertext,
					struct secret **out);

#endif
