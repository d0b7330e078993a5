/* keystore/create.h — private to keystore/: putting plaintext keys into the module. */
#ifndef KB_KEYSTORE_CREATE_H
#define KB_KEYSTORE_CREATE_H
#include "keystore/module.h"

struct key_place { /* where a key is put, and its use */
	const char *label;
	uint8_t id[16];
	bool is_token;  /* a token object; else it ends with the session */
	bool is_signer; /* may sign, never leaves */
};
/* A private key from PKCS#8 DER, or a secret key from its bytes. */
KB_MUST_CHECK enum kb_err key_put(struct keystore *ks, const struct key_place *where,
				  enum kb_kty kty, const struct secret *plain,
				  CK_OBJECT_HANDLE *out);

#endif
