/* keystore/create.h — private to keystore/: keys made in the module, and plaintext keys put into
 * it. */
#ifndef KB_KEYSTORE_CREATE_H
#define KB_KEYSTORE_CREATE_H
#include "keystore/object.h"

struct key_place { /* where a key is put, and its use */
	const char *label;
	uint8_t id[16];
	enum key_kind kind;
};
/* A new key of the template's type and size.  `public`: of its public object; not for oct. */
KB_MUST_CHECK enum kb_err key_make(struct keystore *ks, const struct key_place *where,
				   const struct keystore_template *t, CK_OBJECT_HANDLE *out,
				   CK_OBJECT_HANDLE *public);
/* A private key from PKCS#8 DER, or a secret key from its bytes. */
KB_MUST_CHECK enum kb_err key_put(struct keystore *ks, const struct key_place *where,
				  enum kb_kty kty, const struct secret *plain,
				  CK_OBJECT_HANDLE *out);

#endif
