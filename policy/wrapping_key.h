/* policy/wrapping_key.h — the public key that a released key is wrapped to.  Tagged with its kind:
 * a wrapping scheme works with one kind and refuses every other. */
#ifndef KB_POLICY_WRAPPING_KEY_H
#define KB_POLICY_WRAPPING_KEY_H
#include <openssl/types.h>

#include "base/bytes.h"

enum kek_kind { KEK_NONE, KEK_RSA };

struct wrapping_key {
	enum kek_kind kind;     /* zero: no key */
	EVP_PKEY *evp;          /* public part, checked */
	struct span kid;        /* its kid in the evidence */
	uint8_t thumbprint[32]; /* RFC 7638, SHA-256 */
};

#endif
