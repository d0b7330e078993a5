/* keystore/wrap.h — CKM_RSA_AES_KEY_WRAP layout: OAEP(kek, aes) ‖ AES-256-KWP(aes, key).  PKCS#11
 * v3.0 §2.1.20 (6.1.20), RFC 8017 §7.1, RFC 5649. */
#ifndef KB_KEYSTORE_WRAP_H
#define KB_KEYSTORE_WRAP_H
#include "keystore/keystore.h"
#include "keystore/scheme.h"

struct grant;

enum wrap_engine {
	WRAP_NONE,   /* neither way was proved right: this scheme is refused */
	WRAP_MODULE, /* all inside the module: AES key, OAEP, KWP */
	WRAP_WORKER, /* the module hands the key to this process under a session AES key; OAEP and
			KWP are done here */
};
/* Decided by proof at start, by keystore_self_test().  Indexed by row of schemes[] and enum kb_kty.
 */
struct wrap_plan {
	enum wrap_engine engine[WRAP_SCHEMES][KB_KTY_OCT + 1];
};

/* Wrap session keys made for the purpose and unwrap them with OpenSSL, per scheme and key type,
 * then keep the plan in `ks`.  FACTS §1 says why. KB_OK when every scheme has an engine;
 * KB_E_HSM_MECHANISM when the module can not, and the plan tells what; another KB_E_HSM_* when it
 * did not answer well enough to tell. */
KB_MUST_CHECK enum kb_err keystore_self_test(struct keystore *ks);
const struct wrap_plan *keystore_plan(const struct keystore *ks);

/* Wrap `key` for the grant's wrapping key.  The plaintext is exact: PKCS#8 DER (EC with its public
 * key, named curve) or the raw bytes of an oct key. Demands a grant; `name`/`version` of the record
 * must be the grant's, else KB_E_BUG.  The result is checked before it is given (length exact, not
 * the previous blob). A lost session is reopened once.  `wrapped` is appended to; it is no secret.
 */
KB_MUST_CHECK enum kb_err keystore_wrap(struct keystore *ks, const struct hsm_key *key,
					const struct grant *g, struct span name,
					struct span version, const struct wrap_scheme *scheme,
					struct buf *wrapped);

#endif
