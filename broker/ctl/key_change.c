/* broker/ctl/key_change.c — `keybrokerctl key rotate`, `disable`, `enable` and `delete`.  An object
 * is destroyed after its record, so that a record never names what does not exist. */
#include <stdio.h>

#include "base/clock.h"
#include "ctl/confirm.h"
#include "ctl/files.h"
#include "ctl/key.h"
#include "ctl/open.h"
#include "ctl/output.h"
#include "ctl/record.h"
#include "ctl/user.h"
#include "keystore/keystore.h"

enum { OPT_RELOAD, OPT_WAIT, OPT_YES };
const struct ctl_opt key_change_opts[] = {
	[OPT_RELOAD] = {"reload", 'r', NULL, "the running broker loads it now"},
	[OPT_WAIT] = {"wait", 'w', NULL, "--reload, and until every older generation is over"},
	{NULL, 0, NULL, NULL},
};
const struct ctl_opt key_delete_opts[] = {
	[OPT_RELOAD] = {"reload", 'r', NULL, "the running broker loads it now"},
	[OPT_WAIT] = {"wait", 'w', NULL, "--reload, and until every older generation is over"},
	[OPT_YES] = {"yes", 'y', NULL, "do not ask"},
	{NULL, 0, NULL, NULL},
};

/* Type, size and curve of the current version. */
static enum kb_err template_find(struct keystore *ks, const struct key_record *r,
				 struct keystore_template *t)
{
	const struct hsm_key *key = NULL;
	const char *object = r->n_versions == 0 ? NULL : r->versions[r->n_versions - 1].object;
	enum kb_err err = keystore_find(ks, object, r->kty, false, NULL, &key);

	if (err != KB_OK)
		return err;
	const struct hsm_public *pub = keystore_public(key);
	*t = (struct keystore_template){.label = r->name, .kty = r->kty, .crv = pub->crv};
	t->size = (unsigned)(r->kty == KB_KTY_RSA ? pub->n_len * 8 : pub->oct_len);
	return KB_OK;
}

int key_rotate_run(struct ctl *c)
{
	enum kb_err err = KB_E_BUG;
	struct keystore_template t = {0};
	struct keystore *ks = NULL;
	KB_AUTO(ctl_config) struct ctl_config cc = {.lock_fd = -1};
	KB_AUTO(key_record) struct key_record *r = NULL;
	KB_AUTO(buf) struct buf before = {0};
	char *object = NULL;

	if (ctl_config_open(c, CONFIG_VAULT, true, &cc) != KB_OK ||
	    ctl_record_find(c, cc.config, &r, &before) != KB_OK)
		return CTL_FAILED;
	if (r->n_versions >= KB_MAX_VERSIONS)
		return ctl_fail(CTL_FAILED, "%s has %d versions, which is the most", r->name,
				KB_MAX_VERSIONS);
	if (ctl_hsm_open(cc.config, true, &ks) != KB_OK)
		return CTL_FAILED;
	if ((err = template_find(ks, r, &t)) == KB_OK)
		err = keystore_generate(ks, &t, &object);
	r->updated = clock_wall_s();
	err = ctl_version_commit(c, cc.config, ks, r, err, object, &before);
	ctl_hsm_close(ks);
	return err == KB_OK ? ctl_record_done(c, cc.config, "has a new version; the old ones stay",
					      r->name, ctl_has(c, OPT_RELOAD), ctl_has(c, OPT_WAIT))
			    : CTL_FAILED;
}

static int enable_run(const struct ctl *c, bool is_enabled)
{
	KB_AUTO(ctl_config) struct ctl_config cc = {.lock_fd = -1};
	KB_AUTO(key_record) struct key_record *r = NULL;
	KB_AUTO(buf) struct buf before = {0};
	bool is_left;

	if (ctl_config_open(c, CONFIG_VAULT, true, &cc) != KB_OK ||
	    ctl_record_find(c, cc.config, &r, &before) != KB_OK)
		return CTL_FAILED;
	r->enabled = is_enabled;
	r->updated = clock_wall_s();
	if (ctl_record_put(c, cc.config, r, &before, &is_left) != KB_OK)
		return CTL_FAILED;
	return ctl_record_done(c, cc.config, is_enabled ? "enabled" : "disabled", r->name,
			       ctl_has(c, OPT_RELOAD), ctl_has(c, OPT_WAIT));
}

int key_enable_run(struct ctl *c)
{
	return enable_run(c, true);
}

int key_disable_run(struct ctl *c)
{
	return enable_run(c, false);
}

static bool is_delete_confirmed(const struct ctl *c, const struct key_record *r)
{
	char question[256];

	if (ctl_has(c, OPT_YES))
		return true;
	snprintf(question, sizeof question,
		 "This destroys %zu version%s of %s for ever; what was encrypted with it is lost. "
		 "Type its name to go on: ",
		 r->n_versions, r->n_versions == 1 ? "" : "s", r->name);
	return ctl_confirm(question, r->name) || ctl_fail(false, "nothing was deleted");
}

int key_delete_run(struct ctl *c)
{
	struct keystore *ks = NULL;
	KB_AUTO(ctl_config) struct ctl_config cc = {.lock_fd = -1};
	KB_AUTO(key_record) struct key_record *r = NULL;
	KB_AUTO(buf) struct buf before = {0};
	int code = CTL_OK;

	if (ctl_config_open(c, CONFIG_VAULT, true, &cc) != KB_OK ||
	    ctl_record_find(c, cc.config, &r, &before) != KB_OK || !is_delete_confirmed(c, r))
		return CTL_FAILED;
	/* Before the record is removed: a wrong PIN must not leave a key half deleted. */
	if (ctl_hsm_open(cc.config, true, &ks) != KB_OK)
		return CTL_FAILED;
	user_leave();
	KB_AUTO(cstr) char *path = ctl_record_path(cc.config, r->name);
	/* Durable before the first object is destroyed: a power cut must not bring back a record
	 * that names what is gone. */
	if (path == NULL || ctl_remove(path) != KB_OK)
		code = ctl_fail(CTL_FAILED, "%s: its keys stay in the HSM", r->name);
	if (code == CTL_OK && ctl_user_enter(&cc.config->service) != KB_OK)
		code = CTL_FAILED;
	for (size_t i = 0; code == CTL_OK && i < r->n_versions; i++) {
		enum kb_err err = keystore_destroy(ks, r->versions[i].object);
		if (err != KB_OK && err != KB_E_HSM_KEY_MISSING)
			ctl_fail(CTL_FAILED,
				 "%s is left in the HSM (%s): destroy it with the module's own "
				 "tools",
				 r->versions[i].object, kb_err_name(err));
	}
	ctl_hsm_close(ks);
	return code == CTL_OK ? ctl_record_done(c, cc.config, "deleted", r->name,
						ctl_has(c, OPT_RELOAD), ctl_has(c, OPT_WAIT))
			      : code;
}
