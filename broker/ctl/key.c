/* broker/ctl/key.c — `keybrokerctl key …`: makes, changes and ends key records and the HSM objects
 * they name. An object is made before its record and destroyed after it: a record never names what
 * is not there, and what a crash leaves over is an object that nothing releases.  A record that the
 * whole configuration does not accept is taken back at once.  Longer than most: one file for one
 * noun. */
#include <errno.h>
#include <limits.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/hex.h"
#include "base/json.h"
#include "base/secret.h"
#include "ctl/ctl.h"
#include "ctl/import.h"
#include "keystore/keystore.h"

enum { RECORD_MODE = 0640, VERSION_BYTES = 16 };

enum {
	OPT_KTY,
	OPT_POLICY,
	OPT_NOT_EXPORTABLE,
	OPT_OPS,
	OPT_TAG,
	OPT_NBF,
	OPT_EXP,
	OPT_IMMUTABLE,
	OPT_DISABLED,
	OPT_RELOAD_NEW,
	OPT_SIZE, /* create */
	OPT_CRV,
	OPT_FILE = OPT_SIZE, /* import */
};
#define OPTS_NEW                                                                                   \
	[OPT_KTY] = {"kty", 'k', "TYPE", "RSA-HSM, EC-HSM or oct-HSM"},                            \
	[OPT_POLICY] = {"policy", 'P', "FILE", "the release policy; the record names the file"},   \
	[OPT_NOT_EXPORTABLE] = {"not-exportable", 0, NULL, "never released"},                      \
	[OPT_OPS] = {"ops", 0, "A,B", "key_ops, as clients are told"},                             \
	[OPT_TAG] = {"tag", 0, "NAME=VALUE", "a tag (repeat)"},                                    \
	[OPT_NBF] = {"nbf", 0, "TIME", "not released before"},                                     \
	[OPT_EXP] = {"exp", 0, "TIME", "not released from then on"},                               \
	[OPT_IMMUTABLE] = {"immutable", 0, NULL,                                                   \
			   "the policy may never be changed through the API"},                     \
	[OPT_DISABLED] = {"disabled", 0, NULL, "starts disabled"},                                 \
	[OPT_RELOAD_NEW] = {"reload", 'r', NULL, "the running broker takes it up now"}

static const struct ctl_opt create_opts[] = {
	OPTS_NEW,
	[OPT_SIZE] = {"size", 's', "N", "RSA: bits (2048); oct: bytes (32)"},
	[OPT_CRV] = {"crv", 0, "CURVE", "EC: P-256, P-384 or P-521 (P-256)"},
	{NULL, 0, NULL, NULL},
};
static const struct ctl_opt import_opts[] = {
	OPTS_NEW,
	[OPT_FILE] = {"file", 'f', "FILE",
		      "PEM or DER private key; with --kty oct-HSM the key's raw bytes"},
	{NULL, 0, NULL, NULL},
};

enum { OPT_RELOAD, OPT_YES };
static const struct ctl_opt change_opts[] = {
	[OPT_RELOAD] = {"reload", 'r', NULL, "the running broker takes it up now"},
	{NULL, 0, NULL, NULL},
};
static const struct ctl_opt delete_opts[] = {
	[OPT_RELOAD] = {"reload", 'r', NULL, "the running broker takes it up now"},
	[OPT_YES] = {"yes", 'y', NULL, "do not ask"},
	{NULL, 0, NULL, NULL},
};

/* ---- records on disk ---- */

static char *record_path(const struct config *cfg, const char *name)
{
	char *path = NULL;

	return asprintf(&path, "%s/%s.json", cfg->keys_dir, name) < 0 ? NULL : path;
}

/* Is the configuration still good, with the record as it is on disk now? */
static bool config_still_good(const struct ctl *c)
{
	struct ctl_config again;
	enum kb_err err = ctl_config_open(c, CONFIG_VAULT, false, &again);

	ctl_config_cleanup(&again);
	return err == KB_OK;
}

/* Write the record, and take it back when the configuration is refused with it.  `before`: what to
 * put back, NULL for a new record. */
static enum kb_err record_put(const struct ctl *c, const struct config *cfg,
			      const struct key_record *r, const struct buf *before)
{
	enum kb_err err = KB_E_BUG;
	KB_AUTO(cstr) char *path = record_path(cfg, r->name);
	KB_AUTO(buf) struct buf text = {0};

	buf_init(&text, KB_MAX_CONFIG);
	key_record_write(r, &text);
	if (path == NULL || buf_ok(&text) != KB_OK)
		return KB_E_NOMEM;
	if ((err = ctl_write(path, RECORD_MODE, before == NULL, buf_span(&text))) != KB_OK)
		return err;
	if (config_still_good(c))
		return KB_OK;
	if (before == NULL ? unlink(path) != 0
			   : ctl_write(path, RECORD_MODE, false, buf_span(before)) != KB_OK)
		ctl_fail(CTL_FAILED, "%s cannot be taken back: remove it by hand", path);
	ctl_fail(CTL_FAILED, "%s: nothing was changed", r->name);
	return KB_E_CONFIG;
}

static int change_done(const struct ctl *c, const struct config *cfg, const char *what,
		       const char *name, bool with_reload)
{
	ctl_say("%s: %s", name, what);
	if (with_reload)
		return ctl_reload(c, cfg);
	if (ctl_broker_pid(cfg) != 0)
		ctl_say("The running broker takes it up with: keybrokerctl -c %s reload",
			c->config_path);
	return CTL_OK;
}

/* The key of the command line, as its own copy that may be changed; says when there is none. */
static enum kb_err record_find(const struct ctl *c, const struct config *cfg,
			       struct key_record **out, struct buf *before)
{
	struct record_fault fault;
	const struct key_config *found = config_key(cfg, span_str(c->arg));

	buf_init(before, KB_MAX_CONFIG);
	*out = NULL;
	if (found == NULL) {
		ctl_fail(CTL_FAILED,
			 "there is no key '%s'; `keybrokerctl key list` shows what there is",
			 c->arg);
		return KB_E_KEY_NOT_FOUND;
	}
	key_record_write(found->record, before);
	if (buf_ok(before) != KB_OK)
		return KB_E_NOMEM;
	return key_record_parse(span_str(found->record->name), buf_span(before), out, &fault);
}

/* ---- a new record ---- */

static const struct {
	const char *name;
	enum kb_kty kty;
	unsigned ops;
} types[] = {
	{"RSA-HSM", KB_KTY_RSA,
	 KB_OP_ENCRYPT | KB_OP_DECRYPT | KB_OP_SIGN | KB_OP_VERIFY | KB_OP_WRAP | KB_OP_UNWRAP},
	{"EC-HSM", KB_KTY_EC, KB_OP_SIGN | KB_OP_VERIFY},
	{"oct-HSM", KB_KTY_OCT, KB_OP_ENCRYPT | KB_OP_DECRYPT | KB_OP_WRAP | KB_OP_UNWRAP},
};
enum { N_TYPES = sizeof types / sizeof types[0] };

static bool kty_read(const char *text, enum kb_kty *out)
{
	for (size_t i = 0; text != NULL && i < N_TYPES; i++)
		if (strcmp(text, types[i].name) == 0) {
			*out = types[i].kty;
			return true;
		}
	return ctl_fail(false, "--kty: RSA-HSM, EC-HSM or oct-HSM is wanted");
}

static void op_add(struct key_record *r, unsigned op)
{
	if ((r->key_ops & op) != 0)
		return;
	r->key_ops |= op;
	r->op_order[r->n_ops++] = op;
}

static bool ops_read(struct key_record *r, const char *text)
{
	if (text == NULL) {
		for (size_t i = 0; i < N_TYPES; i++)
			for (unsigned op = KB_OP_ENCRYPT; op <= KB_OP_IMPORT; op <<= 1)
				if (types[i].kty == r->kty && (types[i].ops & op) != 0)
					op_add(r, op);
		return true;
	}
	while (*text != '\0') {
		size_t len = strcspn(text, ",");
		unsigned op = KB_OP_ENCRYPT;
		while (op <= KB_OP_IMPORT && !span_eq_cstr(span_of(text, len), key_op_name(op)))
			op <<= 1;
		if (op > KB_OP_IMPORT)
			return ctl_fail(false,
					"--ops: encrypt, decrypt, sign, verify, wrapKey, "
					"unwrapKey, not '%.*s'",
					(int)len, text);
		op_add(r, op);
		text += len + (text[len] == ',');
	}
	return r->n_ops > 0 || ctl_fail(false, "--ops names nothing");
}

static bool tags_read(struct key_record *r, const struct ctl *c)
{
	unsigned n = c->n_values[OPT_TAG];

	if (n > KB_MAX_TAGS)
		return ctl_fail(false, "--tag: at most %d", KB_MAX_TAGS);
	if (n == 0)
		return true;
	if ((r->tags = calloc(n, sizeof *r->tags)) == NULL)
		return false;
	for (unsigned i = 0; i < n; i++) {
		const char *text = c->value[OPT_TAG][i], *equals = strchr(text, '=');
		if (equals == NULL || equals == text)
			return ctl_fail(false, "--tag: NAME=VALUE is wanted, not '%s'", text);
		r->tags[i].name = strndup(text, (size_t)(equals - text));
		r->tags[i].value = strdup(equals + 1);
		r->n_tags = i + 1;
		if (r->tags[i].name == NULL || r->tags[i].value == NULL)
			return false;
	}
	return true;
}

/* As the record names it: relative to keys.d within the instance, so that the instance can be
 * moved; absolute elsewhere. */
static char *policy_name(const struct config *cfg, const char *absolute)
{
	char *name = NULL;
	size_t dir_len = strlen(cfg->dir);
	size_t keys_len = strlen(cfg->keys_dir);
	bool is_child = keys_len > dir_len + 1 && strncmp(cfg->keys_dir, cfg->dir, dir_len) == 0 &&
			cfg->keys_dir[dir_len] == '/' &&
			strchr(cfg->keys_dir + dir_len + 1, '/') == NULL;

	if (is_child && strncmp(absolute, cfg->dir, dir_len) == 0 && absolute[dir_len] == '/')
		return asprintf(&name, "..%s", absolute + dir_len) < 0 ? NULL : name;
	return strdup(absolute);
}

/* Compiled here once more than needed, because the line of a fault is worth more than
 * "configuration refused". */
static bool policy_read(struct key_record *r, const struct config *cfg, const char *file)
{
	KB_AUTO(buf) struct buf text = {0};
	KB_AUTO(rules) struct rules *rules = NULL;
	KB_AUTO(cstr) char *absolute = realpath(file, NULL);
	struct policy_fault fault;

	if (absolute == NULL)
		return ctl_fail(false, "--policy %s: %s", file, strerror(errno));
	if (ctl_read(absolute, KB_MAX_POLICY, &text) != KB_OK)
		return false;
	enum kb_err err = rules_compile(buf_span(&text), &rules, &fault);
	if (err != KB_OK)
		return ctl_fail(false, "%s:%u: %s", file, fault.line,
				fault.text[0] != '\0' ? fault.text : kb_err_name(err));
	return (r->policy_file = policy_name(cfg, absolute)) != NULL;
}

static bool record_new(const struct ctl *c, const struct config *cfg, enum kb_kty kty,
		       struct key_record **out)
{
	const char *v;

	if ((*out = calloc(1, sizeof **out)) == NULL)
		return false;
	struct key_record *r = *out;
	r->kty = kty;
	r->is_hsm = true;
	r->enabled = !ctl_has(c, OPT_DISABLED);
	r->exportable = !ctl_has(c, OPT_NOT_EXPORTABLE);
	r->policy_immutable = ctl_has(c, OPT_IMMUTABLE);
	r->created = clock_wall_s();
	if ((r->name = strdup(c->arg)) == NULL)
		return false;
	if (!key_name_ok(span_str(c->arg)))
		return ctl_fail(false, "a key's name has 1 to %d letters, digits and hyphens",
				KB_MAX_KEY_NAME);
	if (config_key(cfg, span_str(c->arg)) != NULL)
		return ctl_fail(false,
				"there is a key '%s' already; `key rotate` gives it a new version",
				c->arg);
	if ((v = ctl_value(c, OPT_POLICY)) == NULL && r->exportable)
		return ctl_fail(false, "--policy FILE is missing: a key that can be released needs "
				       "one (or say --not-exportable)");
	if (v != NULL && !policy_read(r, cfg, v))
		return false;
	if ((v = ctl_value(c, OPT_NBF)) != NULL && !ctl_time("--nbf", v, &r->not_before))
		return false;
	if ((v = ctl_value(c, OPT_EXP)) != NULL && !ctl_time("--exp", v, &r->expires))
		return false;
	return ops_read(r, ctl_value(c, OPT_OPS)) && tags_read(r, c);
}

/* A version for `object` (taken over), pinned to the key that the object is now. */
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

static const char *current_object(const struct key_record *r)
{
	return r->n_versions == 0 ? NULL : r->versions[r->n_versions - 1].object;
}

static void object_undo(struct keystore *ks, const char *object)
{
	if (object != NULL && keystore_destroy(ks, object) != KB_OK)
		ctl_fail(CTL_FAILED, "the HSM keeps an object that no record names: %s", object);
}

/* Put the object `made` (taken over; NULL when the HSM failed with `err`) into the record and the
 * record on disk, or undo all of it. */
static enum kb_err version_commit(const struct ctl *c, const struct config *cfg,
				  struct keystore *ks, struct key_record *r, enum kb_err err,
				  char *made, const struct buf *before)
{
	if (err != KB_OK) {
		ctl_fail(CTL_FAILED, "the HSM did not make the key: %s (%s). %s", kb_err_name(err),
			 keystore_fault(ks), ctl_hint(err));
		return err;
	}
	KB_AUTO(cstr) char *object = strdup(made);
	if ((err = version_add(ks, r, made)) != KB_OK)
		ctl_fail(CTL_FAILED, "the new object cannot be used: %s (%s)", kb_err_name(err),
			 keystore_fault(ks));
	ctl_user_leave(); /* the record is its owner's file, the object the processes' user's */
	if (err == KB_OK)
		err = record_put(c, cfg, r, before);
	if (err != KB_OK && ctl_user_enter(cfg->user) == KB_OK)
		object_undo(ks, object);
	return err;
}

static bool template_read(const struct ctl *c, enum kb_kty kty, struct keystore_template *t)
{
	static const struct {
		const char *name;
		enum kb_crv crv;
	} curves[] = {{"P-256", KB_CRV_P256}, {"P-384", KB_CRV_P384}, {"P-521", KB_CRV_P521}};
	const char *size = ctl_value(c, OPT_SIZE), *crv = ctl_value(c, OPT_CRV);
	long long n = kty == KB_KTY_RSA ? KB_RSA_MIN_BITS : 32;

	*t = (struct keystore_template){.label = c->arg, .kty = kty};
	if (kty == KB_KTY_EC) {
		for (size_t i = 0; i < sizeof curves / sizeof curves[0]; i++)
			if (strcmp(crv != NULL ? crv : "P-256", curves[i].name) == 0)
				t->crv = curves[i].crv;
		if (t->crv == KB_CRV_NONE || size != NULL)
			return ctl_fail(false,
					"EC-HSM: --crv P-256, P-384 or P-521, and no --size");
		return true;
	}
	if (crv != NULL)
		return ctl_fail(false, "--crv is for EC-HSM");
	if (size != NULL &&
	    !ctl_number("--size", size, kty == KB_KTY_RSA ? KB_RSA_MIN_BITS : KB_MIN_OCT,
			kty == KB_KTY_RSA ? KB_RSA_MAX_BITS : KB_MAX_OCT, &n))
		return false;
	if (kty == KB_KTY_RSA && n != 2048 && n != 3072 && n != 4096)
		return ctl_fail(false, "--size: 2048, 3072 or 4096 bits");
	t->size = (unsigned)n;
	return true;
}

static int create_run(struct ctl *c)
{
	enum kb_err err = KB_E_BUG;
	enum kb_kty kty = KB_KTY_RSA;
	struct keystore_template t = {0};
	struct keystore *ks = NULL;
	KB_AUTO(ctl_config) struct ctl_config cc = {.lock_fd = -1};
	KB_AUTO(key_record) struct key_record *r = NULL;
	char *object = NULL;

	err = ctl_config_open(c, CONFIG_VAULT, true, &cc);
	if (err != KB_OK || !kty_read(ctl_value(c, OPT_KTY), &kty) || !template_read(c, kty, &t) ||
	    !record_new(c, cc.config, kty, &r))
		return CTL_FAILED;
	if (ctl_hsm_open(cc.config, true, &ks) != KB_OK)
		return CTL_FAILED;
	err = keystore_generate(ks, &t, &object);
	err = version_commit(c, cc.config, ks, r, err, object, NULL);
	ctl_hsm_close(ks);
	return err == KB_OK
		       ? change_done(c, cc.config, "created", r->name, ctl_has(c, OPT_RELOAD_NEW))
		       : CTL_FAILED;
}

static int import_run(struct ctl *c)
{
	enum kb_err err = KB_E_BUG;
	struct keystore_template t = {.label = c->arg};
	struct keystore *ks = NULL;
	KB_AUTO(ctl_config) struct ctl_config cc = {.lock_fd = -1};
	KB_AUTO(key_record) struct key_record *r = NULL;
	KB_AUTO(secret) struct secret *plain = NULL;
	char *object = NULL;
	const char *kty = ctl_value(c, OPT_KTY);

	err = ctl_config_open(c, CONFIG_VAULT, true, &cc);
	if (err != KB_OK || (kty != NULL && !kty_read(kty, &t.kty)))
		return CTL_FAILED;
	if (!ctl_has(c, OPT_FILE))
		return ctl_fail(CTL_FAILED, "--file FILE is missing: the key to import");
	if (secret_arena_init() != KB_OK)
		return ctl_fail(CTL_FAILED,
				"%d KiB of memory cannot be locked for the key; raise `ulimit -l`",
				KB_SECRET_ARENA / 1024);
	if (import_read(ctl_value(c, OPT_FILE), &t.kty, &plain) != KB_OK ||
	    !record_new(c, cc.config, t.kty, &r))
		return CTL_FAILED;
	if (ctl_hsm_open(cc.config, true, &ks) != KB_OK)
		return CTL_FAILED;
	err = keystore_import(ks, &t, plain, &object);
	err = version_commit(c, cc.config, ks, r, err, object, NULL);
	ctl_hsm_close(ks);
	if (err != KB_OK)
		return CTL_FAILED;
	ctl_say("Its plaintext is still in %s: destroy it when the key is known to be good.",
		ctl_value(c, OPT_FILE));
	return change_done(c, cc.config, "imported", r->name, ctl_has(c, OPT_RELOAD_NEW));
}

/* ---- changes ---- */

/* The same kind of key once more: type, size and curve of the current version. */
static enum kb_err template_again(struct keystore *ks, const struct key_record *r,
				  struct keystore_template *t)
{
	const struct hsm_key *key = NULL;
	enum kb_err err = keystore_find(ks, current_object(r), r->kty, false, NULL, &key);

	if (err != KB_OK)
		return err;
	const struct hsm_public *pub = keystore_public(key);
	*t = (struct keystore_template){.label = r->name, .kty = r->kty, .crv = pub->crv};
	t->size = (unsigned)(r->kty == KB_KTY_RSA ? pub->n_len * 8 : pub->oct_len);
	return KB_OK;
}

static int rotate_run(struct ctl *c)
{
	enum kb_err err = KB_E_BUG;
	struct keystore_template t = {0};
	struct keystore *ks = NULL;
	KB_AUTO(ctl_config) struct ctl_config cc = {.lock_fd = -1};
	KB_AUTO(key_record) struct key_record *r = NULL;
	KB_AUTO(buf) struct buf before = {0};
	char *object = NULL;

	if (ctl_config_open(c, CONFIG_VAULT, true, &cc) != KB_OK ||
	    record_find(c, cc.config, &r, &before) != KB_OK)
		return CTL_FAILED;
	if (r->n_versions >= KB_MAX_VERSIONS)
		return ctl_fail(CTL_FAILED, "%s has %d versions, which is the most", r->name,
				KB_MAX_VERSIONS);
	if (ctl_hsm_open(cc.config, true, &ks) != KB_OK)
		return CTL_FAILED;
	if ((err = template_again(ks, r, &t)) == KB_OK)
		err = keystore_generate(ks, &t, &object);
	r->updated = clock_wall_s();
	err = version_commit(c, cc.config, ks, r, err, object, &before);
	ctl_hsm_close(ks);
	return err == KB_OK ? change_done(c, cc.config, "has a new version; the old ones stay",
					  r->name, ctl_has(c, OPT_RELOAD))
			    : CTL_FAILED;
}

static int enable_run(const struct ctl *c, bool is_enabled)
{
	KB_AUTO(ctl_config) struct ctl_config cc = {.lock_fd = -1};
	KB_AUTO(key_record) struct key_record *r = NULL;
	KB_AUTO(buf) struct buf before = {0};

	if (ctl_config_open(c, CONFIG_VAULT, true, &cc) != KB_OK ||
	    record_find(c, cc.config, &r, &before) != KB_OK)
		return CTL_FAILED;
	r->enabled = is_enabled;
	r->updated = clock_wall_s();
	if (record_put(c, cc.config, r, &before) != KB_OK)
		return CTL_FAILED;
	return change_done(c, cc.config, is_enabled ? "enabled" : "disabled", r->name,
			   ctl_has(c, OPT_RELOAD));
}

static int key_enable_run(struct ctl *c)
{
	return enable_run(c, true);
}

static int key_disable_run(struct ctl *c)
{
	return enable_run(c, false);
}

static bool delete_agreed(const struct ctl *c, const struct key_record *r)
{
	char line[KB_MAX_KEY_NAME + 2] = "";

	if (ctl_has(c, OPT_YES))
		return true;
	if (!isatty(STDIN_FILENO))
		return ctl_fail(false,
				"nothing was deleted; say --yes when nobody is there to answer");
	fprintf(stderr,
		"This destroys %zu version%s of %s for ever; what was encrypted with it is lost. "
		"Type its name to go on: ",
		r->n_versions, r->n_versions == 1 ? "" : "s", r->name);
	if (fgets(line, sizeof line, stdin) == NULL)
		return false;
	line[strcspn(line, "\n")] = '\0';
	return strcmp(line, r->name) == 0 || ctl_fail(false, "nothing was deleted");
}

static int delete_run(struct ctl *c)
{
	struct keystore *ks = NULL;
	KB_AUTO(ctl_config) struct ctl_config cc = {.lock_fd = -1};
	KB_AUTO(key_record) struct key_record *r = NULL;
	KB_AUTO(buf) struct buf before = {0};
	int code = CTL_OK;

	if (ctl_config_open(c, CONFIG_VAULT, true, &cc) != KB_OK ||
	    record_find(c, cc.config, &r, &before) != KB_OK || !delete_agreed(c, r))
		return CTL_FAILED;
	if (ctl_hsm_open(cc.config, true, &ks) !=
	    KB_OK) /* before the record goes: a wrong PIN must not leave half a deletion */
		return CTL_FAILED;
	ctl_user_leave();
	KB_AUTO(cstr) char *path = record_path(cc.config, r->name);
	if (path == NULL || unlink(path) != 0)
		code = ctl_fail(CTL_FAILED, "%s: %s", path == NULL ? r->name : path,
				strerror(errno));
	if (code == CTL_OK && ctl_user_enter(cc.config->user) != KB_OK)
		code = CTL_FAILED;
	for (size_t i = 0; code == CTL_OK && i < r->n_versions; i++) {
		enum kb_err err = keystore_destroy(ks, r->versions[i].object);
		if (err != KB_OK && err != KB_E_HSM_KEY_MISSING)
			ctl_fail(CTL_FAILED,
				 "the HSM keeps %s (%s): destroy it with the module's own tools",
				 r->versions[i].object, kb_err_name(err));
	}
	ctl_hsm_close(ks);
	return code == CTL_OK
		       ? change_done(c, cc.config, "deleted", r->name, ctl_has(c, OPT_RELOAD))
		       : code;
}

/* ---- looking ---- */

static const char *kty_text(const struct key_record *r)
{
	for (size_t i = 0; r->is_hsm && i < N_TYPES; i++)
		if (types[i].kty == r->kty)
			return types[i].name;
	return kty_name(r->kty);
}

static const char *day_text(int64_t when, char out[static KB_TIME_TEXT])
{
	clock_text(when * 1000000, out);
	out[10] = '\0';
	return out;
}

/* In one word, whether it can be released now. */
static const char *state_text(const struct key_config *k)
{
	enum kb_err err = key_record_usable(k->record, clock_wall_s());

	return err != KB_OK        ? kb_err_name(err)
	       : k->policy == NULL ? kb_err_name(KB_E_NO_POLICY)
				   : "releasable";
}

static int list_run(struct ctl *c)
{
	KB_AUTO(ctl_config) struct ctl_config cc = {.lock_fd = -1};
	struct ctl_table t;
	struct buf out;
	char text[KB_TIME_TEXT];

	if (ctl_config_open(c, CONFIG_VAULT, false, &cc) != KB_OK)
		return CTL_FAILED;
	buf_init(&out, CTL_MAX_OUTPUT);
	if (c->is_json) {
		buf_add_str(&out, "[");
		for (size_t i = 0; i < cc.config->n_keys; i++) {
			const struct key_record *r = cc.config->keys[i].record;
			buf_add_str(&out, i == 0 ? "{" : ",{");
			json_add_member(&out, "name", span_str(r->name));
			json_add_member(&out, "kty", span_str(kty_text(r)));
			json_add_member(&out, "state", span_str(state_text(&cc.config->keys[i])));
			json_add_bool(&out, "enabled", r->enabled);
			json_add_bool(&out, "exportable", r->exportable);
			json_add_int(&out, "created", r->created);
			json_add_int(&out, "versions", (int64_t)r->n_versions);
			buf_add_str(&out, "}");
		}
		buf_add_str(&out, "]\n");
		return ctl_put(&out, CTL_OK);
	}
	ctl_table_init(&t, 6);
	static const char *const head[] = {"NAME",     "TYPE",    "STATE",
					   "VERSIONS", "CREATED", "POLICY"};
	for (size_t i = 0; i < 6; i++)
		ctl_table_add(&t, head[i]);
	for (size_t i = 0; i < cc.config->n_keys; i++) {
		const struct key_record *r = cc.config->keys[i].record;
		char count[24];
		snprintf(count, sizeof count, "%zu", r->n_versions);
		ctl_table_add(&t, r->name);
		ctl_table_add(&t, kty_text(r));
		ctl_table_add(&t, state_text(&cc.config->keys[i]));
		ctl_table_add(&t, count);
		ctl_table_add(&t, day_text(r->created, text));
		ctl_table_add(&t, r->policy_file != NULL              ? r->policy_file
				  : cc.config->keys[i].policy != NULL ? "(in the record)"
								      : "-");
	}
	ctl_table_write(&t, &out);
	return ctl_put(&out, CTL_OK);
}

static int show_run(struct ctl *c)
{
	KB_AUTO(ctl_config) struct ctl_config cc = {.lock_fd = -1};
	struct buf out;

	if (ctl_config_open(c, CONFIG_VAULT, false, &cc) != KB_OK)
		return CTL_FAILED;
	const struct key_config *k = config_key(cc.config, span_str(c->arg));
	if (k == NULL)
		return ctl_fail(CTL_FAILED,
				"there is no key '%s'; `keybrokerctl key list` shows what there is",
				c->arg);
	buf_init(&out, CTL_MAX_OUTPUT);
	key_record_write(
		k->record,
		&out); /* the record is readable JSON already: one form for people and programs */
	if (!c->is_json)
		ctl_say("%s: %s", k->record->name, state_text(k));
	return ctl_put(&out, CTL_OK);
}

const struct ctl_command ctl_key_commands[] = {
	{"key create", "NAME", "Make a key in the HSM and its record in keys.d.", create_opts,
	 create_run,
	 "Example:\n  keybrokerctl key create disk-key --kty RSA-HSM --policy policies/cvm.json "
	 "--reload\n\nExit: 0 made, 2 not.\n"},
	{"key import", "NAME", "Bring a key of yours into the HSM, and make its record.",
	 import_opts, import_run,
	 "Example:\n  keybrokerctl key import db-key --file db-key.pem --policy "
	 "policies/cvm.json\n\nExit: 0 imported, 2 not.\n"},
	{"key list", NULL, "All keys, and whether each can be released.", NULL, list_run, NULL},
	{"key show", "NAME", "A key's record.", NULL, show_run, NULL},
	{"key rotate", "NAME",
	 "A new version of the same type and size; it becomes the current one.", change_opts,
	 rotate_run, NULL},
	{"key disable", "NAME", "Nothing of this key is released until it is enabled.", change_opts,
	 key_disable_run, NULL},
	{"key enable", "NAME", "Undo `key disable`.", change_opts, key_enable_run, NULL},
	{"key delete", "NAME", "Remove the record and destroy all its versions in the HSM.",
	 delete_opts, delete_run, NULL},
	{NULL, NULL, NULL, NULL, NULL, NULL},
};
