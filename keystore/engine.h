/* keystore/engine.h — private to wrap.c (which demands a grant) and self_test.c (which wraps keys
 * of its own): no other file includes it. */
#ifndef KB_KEYSTORE_ENGINE_H
#define KB_KEYSTORE_ENGINE_H
#include "keystore/module.h"

struct wrap_job {
	CK_OBJECT_HANDLE target;
	const struct hsm_public *public;
	const struct wrapping_key *kek;
	const struct wrap_scheme *scheme;
};
/* One try, no recovery.  `wrapped` is appended to, and left as it was on error. */
KB_MUST_CHECK enum kb_err engine_run(struct keystore *ks, enum wrap_engine engine,
				     const struct wrap_job *job, struct buf *wrapped);

/* Is this the symmetric key whose check value `p` has?  True when there is none, or none that this
 * module makes right. */
bool check_value_fits(const struct keystore *ks, const struct hsm_public *p,
		      const struct secret *plain);

#endif
