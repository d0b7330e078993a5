/* broker/ctl/version.c — a new version of a key: the object is made before its record, so that a
 * record never names what does not exist.  What a crash leaves is an object that no record names
 * and nothing releases. */
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/hex.h"
#include "ctl/output.h"
#include "ctl/record.h"
#include "ctl/user.h"
#include "keystore/keystore.h"

enum { VERSION_BYTES = 16 };

/* A new version for `object` (taken over), with the fingerprint of the object's key. */
static enum kb_err version_add(struct keystore *ks, struct key_record *r, char *object)
{
	const struct hsm_key *key = NULL;
	struct key_version *all = reallocarray(r->versions, r->n_versions + 1, sizeof *all);
	uint8_t random[VERSION_BYTES];
	enum kb_err err;

	if (all == NULL) {
		free(object);
		return KB_E_NOMEM;
	}
	r->versions = all;
	struct key_version *v = &all[r->n_versions++];
	*v = (struct key_version){.created = clock_wall_s(), .object = object};
	if (RAND_bytes(random, sizeof random) != 1)
		return KB_E_SYS;
	*hex_put(v->version, span_of(random, sizeof random)) = '\0';
	if ((err = keystore_find(ks, object, r->kty, true, NULL, &key)) != KB_OK)
		return err;
	v->has_fingerprint = r->kty != KB_KTY_OCT;
	memcpy(v->fingerprint, keystore_public(key)->fingerprint, sizeof v->fingerprint);
	return KB_OK;
}

static void object_undo(struct keystore *ks, const char *object)
{
	if (object != NULL && keystore_destroy(ks, object) != KB_OK)
		ctl_fail(CTL_FAILED, "an object that no record names is left in the HSM: %s",
			 object);
}

enum kb_err ctl_version_commit(const struct ctl *c, const struct config *cfg, struct keystore *ks,
			       struct key_record *r, enum kb_err err, char *made,
			       const struct buf *before)
{
	if (err != KB_OK) {
		ctl_fail(CTL_FAILED, "the HSM did not make the key: %s (%s). %s", kb_err_name(err),
			 keystore_fault(ks), kb_err_text(err));
		return err;
	}
	KB_AUTO(cstr) char *object = strdup(made);
	bool is_left = false;
	if ((err = version_add(ks, r, made)) != KB_OK)
		ctl_fail(CTL_FAILED, "the new object cannot be used: %s (%s)", kb_err_name(err),
			 keystore_fault(ks));
	user_leave(); /* the record belongs to its owner, the object to the processes' user */
	if (err == KB_OK)
		err = ctl_record_put(c, cfg, r, before, &is_left);
	if (err != KB_OK && !is_left && ctl_user_enter(&cfg->service) == KB_OK)
		object_undo(ks, object);
	return err;
}
