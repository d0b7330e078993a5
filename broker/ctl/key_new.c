/* broker/ctl/key_new.c — `keybrokerctl key create` and `key import`: a new key object and its
 * record. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/secret.h"
#include "ctl/files.h"
#include "ctl/import.h"
#include "ctl/key.h"
#include "ctl/open.h"
#include "ctl/output.h"
#include "ctl/record.h"
#include "keystore/keystore.h"

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
	OPT_WAIT_NEW,
	/* create */
	OPT_SIZE,
	OPT_CRV,
	/* import */
	OPT_FILE = OPT_SIZE,
};
#define OPTS_NEW                                                                                   \
	[OPT_KTY] = {"kty", 'k', "TYPE", "RSA-HSM, EC-HSM or oct-HSM"},                            \
	[OPT_POLICY] = {"policy", 'P', "FILE", "the release policy; the record names the file"},   \
	[OPT_NOT_EXPORTABLE] = {"not-exportable", 0, NULL, "never released"},                      \
	[OPT_OPS] = {"ops", 0, "A,B", "key_ops, as clients see them"},                             \
	[OPT_TAG] = {"tag", 0, "NAME=VALUE", "a tag (repeat)"},                                    \
	[OPT_NBF] = {"nbf", 0, "TIME", "not released before"},                                     \
	[OPT_EXP] = {"exp", 0, "TIME", "not released from then on"},                               \
	[OPT_IMMUTABLE] = {"immutable", 0, NULL,                                                   \
			   "the policy may never be changed through the API"},                     \
	[OPT_DISABLED] = {"disabled", 0, NULL, "starts disabled"},                                 \
	[OPT_RELOAD_NEW] = {"reload", 'r', NULL, "the running broker loads it now"},               \
	[OPT_WAIT_NEW] = {"wait", 'w', NULL, "--reload, and until every older generation is over"}

const struct ctl_opt key_create_opts[] = {
	OPTS_NEW,
	[OPT_SIZE] = {"size", 's', "N", "RSA: bits (2048); oct: bytes (32)"},
	[OPT_CRV] = {"crv", 0, "CURVE", "EC: P-256, P-384 or P-521 (P-256)"},
	{NULL, 0, NULL, NULL},
};
const struct ctl_opt key_import_opts[] = {
	OPTS_NEW,
	[OPT_FILE] = {"file", 'f', "FILE",
		      "PEM or DER private key; with --kty oct-HSM the key's raw bytes"},
	{NULL, 0, NULL, NULL},
};

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

const char *key_type_text(const struct key_record *r)
{
	for (size_t i = 0; r->is_hsm && i < N_TYPES; i++)
		if (types[i].kty == r->kty)
			return types[i].name;
	return kty_name(r->kty);
}

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

/* The policy's path in the record: relative to keys.d within the instance, so that the instance can
 * be moved; absolute elsewhere. */
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

/* For the user that we act as. */
static bool access_denied(const char *path)
{
	return faccessat(AT_FDCWD, path, R_OK, AT_EACCESS) != 0 && errno == EACCES;
}

/* The configuration check compiles it again.  Here a fault is reported with its line. */
static bool policy_read(struct key_record *r, const struct config *cfg, const char *file)
{
	KB_AUTO(buf) struct buf text = {0};
	KB_AUTO(rules) struct rules *rules = NULL;
	KB_AUTO(cstr) char *here = getcwd(NULL, 0);
	/* Links are not resolved: what they lead to is renewed by exchanging them. */
	KB_AUTO(cstr) char *absolute = here == NULL ? NULL : path_join(here, file);
	struct policy_fault fault;

	if (absolute == NULL)
		return ctl_fail(false, "--policy %s: %s", file, strerror(errno));
	if (ctl_read(absolute, KB_MAX_POLICY, &text) != KB_OK)
		return false;
	if (user_enter(&cfg->service) == KB_OK) {
		if (access_denied(absolute))
			ctl_say("warning: %s: user %s, as whom the broker runs, cannot read it",
				absolute, cfg->service.name);
		user_leave();
	}
	enum kb_err err = rules_compile(buf_span(&text), &rules, &fault);
	if (err != KB_OK)
		return ctl_fail(false, "%s:%u: %s", file, fault.line,
				fault.text[0] != '\0' ? fault.text : kb_err_name(err));
	return (r->policy_file = policy_name(cfg, absolute)) != NULL;
}

/* A record may not hold a zero (keystore/record.c). */
static bool bound_read(const struct ctl *c, unsigned option, const char *what, int64_t *out)
{
	const char *v = ctl_value(c, option);

	if (v == NULL)
		return true;
	if (!ctl_time(what, v, out))
		return false;
	return *out != 0 || ctl_fail(false, "%s: 0 is no date: leave %s out", what, what);
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
	r->expires = KEY_NEVER;
	if (!bound_read(c, OPT_NBF, "--nbf", &r->not_before) ||
	    !bound_read(c, OPT_EXP, "--exp", &r->expires))
		return false;
	return ops_read(r, ctl_value(c, OPT_OPS)) && tags_read(r, c);
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

int key_create_run(struct ctl *c)
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
	err = ctl_version_commit(c, cc.config, ks, r, err, object, NULL);
	ctl_hsm_close(ks);
	return err == KB_OK ? ctl_record_done(c, cc.config, "created", r->name,
					      ctl_has(c, OPT_RELOAD_NEW), ctl_has(c, OPT_WAIT_NEW))
			    : CTL_FAILED;
}

int key_import_run(struct ctl *c)
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
	err = ctl_version_commit(c, cc.config, ks, r, err, object, NULL);
	ctl_hsm_close(ks);
	if (err != KB_OK)
		return CTL_FAILED;
	ctl_say("Its plaintext is still in %s: destroy it when you know that the key works.",
		ctl_value(c, OPT_FILE));
	return ctl_record_done(c, cc.config, "imported", r->name, ctl_has(c, OPT_RELOAD_NEW),
			       ctl_has(c, OPT_WAIT_NEW));
}
