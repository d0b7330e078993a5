/* keystore/object.h — private to keystore/: the one way in which an object comes into the module.
 */
#ifndef KB_KEYSTORE_OBJECT_H
#define KB_KEYSTORE_OBJECT_H
#include "keystore/attributes.h"

/* C_GenerateKeyPair … C_CreateObject; OBJECT_WAYS of them */
enum object_way { BY_PAIR, BY_KEY, BY_UNWRAP, BY_VALUE };

struct object_plan {
	enum object_way way;
	enum key_kind kind;
	enum key_half half; /* of the object; BY_PAIR: HALF_PRIVATE, and a public one with it */
	CK_MECHANISM mech;
	CK_OBJECT_HANDLE by; /* BY_UNWRAP: the key, and what it wrapped */
	struct span wrapped;
	/* What is the object's own: class, type, name, size, value.  Borrowed. */
	struct template own, own_public;
};
/* Make it with the attributes of its kind, and read them back.  A module that does not know one
 * that may be left out is asked again without it.  What is weaker than the table is destroyed:
 * KB_E_HSM_OUTPUT.  `public`: BY_PAIR only, else NULL. */
KB_MUST_CHECK enum kb_err object_make(struct keystore *ks, const struct object_plan *p,
				      CK_OBJECT_HANDLE *out, CK_OBJECT_HANDLE *public);
void object_destroy(struct keystore *ks, CK_OBJECT_HANDLE object);

#endif
