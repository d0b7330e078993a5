/* keystore/wrap.h — wrapping a key for a client, and the plan of how: proved at start, by scheme
 * and key type. */
#ifndef KB_KEYSTORE_WRAP_H
#define KB_KEYSTORE_WRAP_H
#include "keystore/keystore.h"
#include "keystore/scheme.h"

struct grant;

enum wrap_engine {
	WRAP_NONE,   /* neither way was proved right: refuse */
	WRAP_MODULE, /* all inside the module: AES key, OAEP, KWP */
	/* The module hands the key to this process under a session AES key; OAEP and KWP are done
	 * here. */
	WRAP_WORKER,
};
/* Decided by proof at start, by keystore_self_test().  Indexed by row of schemes[] and enum
 * kb_kty. */
struct wrap_plan {
	enum wrap_engine engine[WRAP_SCHEMES][KB_KTY_OCT + 1];
};

/* Wrap session keys made for the purpose and unwrap them with OpenSSL, per scheme and key type; the
 * result is the plan in `ks`. Modules wrap wrongly without an error (keystore/README.md), so only a
 * proof counts. KB_OK: every scheme has an engine; KB_E_HSM_MECHANISM: the module lacks something,
 * the plan shows what; another KB_E_HSM_*: the module did not answer, so nothing is known. */
KB_MUST_CHECK enum kb_err keystore_self_test(struct keystore *ks);
const struct wrap_plan *keystore_plan(const struct keystore *ks);

/* Wrap `key` for the grant's wrapping key.  The plaintext is exact: PKCS#8 DER (EC with its public
 * key, named curve) or the raw bytes of an oct key. Demands a grant; `name`/`version` of the record
 * must be the grant's, else KB_E_BUG.  The blob is checked before it is returned: exact length, not
 * the previous blob. A lost session is reopened once.  `wrapped` is appended to; it is no
 * secret. */
KB_MUST_CHECK enum kb_err keystore_wrap(struct keystore *ks, const struct hsm_key *key,
					const struct grant *g, struct span name,
					struct span version, const struct wrap_scheme *scheme,
					struct buf *wrapped);

#endif
