/* keystore/record.c — decides whether a key record is valid: every member known, typed and
 * bounded, exportable exactly when it has a policy. Trusts base/json for the text.  Pure: no file,
 * no clock, no HSM.  Must never guess a missing attribute into permission. */
#include "keystore/record.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/b64url.h"
#include "base/clock.h"
#include "base/hex.h"
#include "base/json.h"
#include "keystore/module.h"

enum {
	MAX_KTY = 8,
	MAX_OP = 16,
	MAX_TAG = 256,
	MAX_FILE = 4096,
	MAX_CONTENT_TYPE = 128,
	MAX_OBJECT = 1024,
	MAX_DATA = KB_MAX_POLICY / 3 * 4 + 4
};

static const struct {
	const char *name;
	enum kb_kty kty;
	bool is_hsm;
} kinds[] = {
	{"RSA-HSM", KB_KTY_RSA, true}, {"EC-HSM", KB_KTY_EC, true}, {"oct-HSM", KB_KTY_OCT, true},
	{"RSA", KB_KTY_RSA, false},    {"EC", KB_KTY_EC, false},    {"oct", KB_KTY_OCT, false},
};

static const char *const ops[] = {"encrypt", "decrypt",   "sign",   "verify",
				  "wrapKey", "unwrapKey", "export", "import"};

enum { KINDS = sizeof kinds / sizeof kinds[0], OPS = sizeof ops / sizeof ops[0] };

const char *key_kind_name(enum kb_kty kty, bool is_hsm)
{
	for (unsigned i = 0; i < KINDS; i++)
		if (kinds[i].kty == kty && kinds[i].is_hsm == is_hsm)
			return kinds[i].name;
	KB_BUG();
}

const char *key_op_name(unsigned op)
{
	for (unsigned i = 0; i < OPS; i++)
		if (op == 1u << i)
			return ops[i];
	return "";
}

bool key_name_ok(struct span name)
{
	if (name.len == 0 || name.len > KB_MAX_KEY_NAME)
		return false;
	for (size_t i = 0; i < name.len; i++) {
		uint8_t c = name.p[i];
		if (!(c >= '0' && c <= '9') && !(c >= 'a' && c <= 'z') && !(c >= 'A' && c <= 'Z') &&
		    c != '-')
			return false;
	}
	return true;
}

/* ---- reading ---- */

__attribute__((format(printf, 4, 5))) static enum kb_err fault(struct record_fault *f,
							       enum kb_err err, const char *path,
							       const char *fmt, ...)
{
	va_list ap;

	if (f == NULL)
		return err;
	snprintf(f->path, sizeof f->path, "%s", path);
	va_start(ap, fmt);
	vsnprintf(f->text, sizeof f->text, fmt, ap);
	va_end(ap);
	return err;
}

static const char *why(enum kb_err err)
{
	return err == KB_E_JSON_MISSING ? "is missing"
	       : err == KB_E_JSON_TYPE  ? "has the wrong type"
					: "is empty or too long";
}

static enum kb_err bad_member(struct record_fault *f, enum kb_err err, const char *path)
{
	return fault(f, err, path, "%s %s", path, why(err));
}

static enum kb_err only(struct record_fault *f, const struct json_t *obj, const char *path,
			const char *const *known)
{
	const char *unknown = "";
	char full[128];
	enum kb_err err = json_only(obj, known, &unknown);

	if (err == KB_OK)
		return KB_OK;
	snprintf(full, sizeof full, "%s%s%s", path, path[0] == '\0' ? "" : ".", unknown);
	return fault(f, err, full, "unknown member \"%s\"", unknown);
}

/* Members that need not be there: absent leaves *out as it is. */
static enum kb_err opt_bool(struct record_fault *f, const struct json_t *obj, const char *name,
			    const char *path, bool *out)
{
	enum kb_err err = json_has(obj, name) ? json_get_bool(obj, name, out) : KB_OK;

	return err == KB_OK ? KB_OK : bad_member(f, err, path);
}

static enum kb_err opt_time(struct record_fault *f, const struct json_t *obj, const char *name,
			    const char *path, int64_t *out)
{
	if (!json_has(obj, name))
		return KB_OK;
	enum kb_err err = json_get_int(obj, name, out);

	if (err == KB_OK && json_has(obj, name) && !clock_is_time(*out))
		return fault(f, KB_E_CONFIG, path, "%s is %s", path,
			     *out < 0 ? "before 1970" : "after the year 9999");
	return err == KB_OK ? KB_OK : bad_member(f, err, path);
}

/* Zero is what a broken template writes.  It must not mean "always" or "never". */
static enum kb_err opt_bound(struct record_fault *f, const struct json_t *obj, const char *name,
			     const char *path, int64_t *out)
{
	enum kb_err err = opt_time(f, obj, name, path, out);

	if (err == KB_OK && json_has(obj, name) && *out == 0)
		return fault(f, KB_E_CONFIG, path,
			     "%s is 0, which is no date: leave the member out if the key has none",
			     path);
	return err;
}

static enum kb_err read_kind(struct key_record *r, const struct json_t *doc, struct record_fault *f)
{
	struct span text;
	enum kb_err err = json_get_str(doc, "kty", MAX_KTY, &text);

	if (err != KB_OK)
		return bad_member(f, err, "kty");
	for (size_t i = 0; i < KINDS; i++)
		if (span_eq_cstr(text, kinds[i].name)) {
			r->kty = kinds[i].kty;
			r->is_hsm = kinds[i].is_hsm;
			return KB_OK;
		}
	return fault(f, KB_E_CONFIG, "kty", "kty must be RSA-HSM, EC-HSM, oct-HSM, RSA, EC or oct");
}

static enum kb_err read_ops(struct key_record *r, const struct json_t *doc, struct record_fault *f)
{
	const struct json_t *arr;
	struct span text;
	enum kb_err err;

	if (!json_has(doc, "key_ops"))
		return KB_OK;
	if ((err = json_get_arr(doc, "key_ops", &arr)) != KB_OK)
		return bad_member(f, err, "key_ops");
	for (size_t i = 0; i < json_len(arr); i++) {
		char path[32];
		unsigned op = 0;
		snprintf(path, sizeof path, "key_ops[%zu]", i);
		if ((err = json_as_str(json_at(arr, i), MAX_OP, &text)) != KB_OK)
			return bad_member(f, err, path);
		for (unsigned k = 0; k < OPS; k++)
			if (span_eq_cstr(text, ops[k]))
				op = 1u << k;
		if (op == 0)
			return fault(f, KB_E_CONFIG, path, "unknown operation \"%.*s\"",
				     (int)text.len, (const char *)text.p);
		if ((r->key_ops & op) != 0)
			return fault(f, KB_E_CONFIG, path, "operation \"%s\" is there twice",
				     key_op_name(op));
		r->key_ops |= op;
		r->op_order[r->n_ops++] = op;
	}
	return KB_OK;
}

static enum kb_err read_attributes(struct key_record *r, const struct json_t *doc,
				   struct record_fault *f)
{
	static const char *const known[] = {"enabled", "exportable", "created", "updated",
					    "nbf",     "exp",        NULL};
	const struct json_t *a;
	enum kb_err err;

	if ((err = json_get_obj(doc, "attributes", &a)) != KB_OK)
		return bad_member(f, err, "attributes");
	if ((err = only(f, a, "attributes", known)) != KB_OK)
		return err;
	if ((err = json_get_bool(a, "enabled", &r->enabled)) != KB_OK)
		return bad_member(f, err, "attributes.enabled");
	if ((err = json_get_int(a, "created", &r->created)) != KB_OK)
		return bad_member(f, err, "attributes.created");
	if ((err = opt_time(f, a, "created", "attributes.created", &r->created)) != KB_OK ||
	    (err = opt_bool(f, a, "exportable", "attributes.exportable", &r->exportable)) !=
		    KB_OK ||
	    (err = opt_time(f, a, "updated", "attributes.updated", &r->updated)) != KB_OK ||
	    (err = opt_bound(f, a, "nbf", "attributes.nbf", &r->not_before)) != KB_OK ||
	    (err = opt_bound(f, a, "exp", "attributes.exp", &r->expires)) != KB_OK)
		return err;
	if (r->expires <= r->not_before)
		return fault(f, KB_E_CONFIG, "attributes.exp",
			     "the key expires before it becomes valid");
	return KB_OK;
}

/* json_as_str() takes no empty string; a tag may be one. */
static enum kb_err check_empty(const struct json_t *value)
{
	KB_AUTO(buf) struct buf text;
	buf_init(&text, KB_MAX_CONFIG);

	json_write(&text, value);
	if (buf_ok(&text) != KB_OK)
		return KB_E_NOMEM;
	return span_eq_cstr(buf_span(&text), "\"\"") ? KB_OK : KB_E_JSON_LENGTH;
}

static enum kb_err read_tags(struct key_record *r, const struct json_t *doc, struct record_fault *f)
{
	const struct json_t *obj, *value;
	const char *name;
	void *it = NULL;
	enum kb_err err;

	if (!json_has(doc, "tags"))
		return KB_OK;
	if ((err = json_get_obj(doc, "tags", &obj)) != KB_OK)
		return bad_member(f, err, "tags");
	if (json_len(obj) > KB_MAX_TAGS)
		return fault(f, KB_E_CONFIG, "tags", "more than %d tags", KB_MAX_TAGS);
	if ((r->tags = calloc(KB_MAX_TAGS, sizeof *r->tags)) == NULL)
		return KB_E_NOMEM;
	while (json_next(obj, &it, &name, &value)) {
		struct span text;
		err = json_as_str(value, MAX_TAG, &text);
		if (err == KB_E_JSON_LENGTH)
			err = check_empty(value);
		if (err == KB_E_NOMEM)
			return err;
		if (err != KB_OK)
			return fault(f, err, "tags", "tag \"%.64s\" %s", name, why(err));
		if (strlen(name) > MAX_TAG)
			return fault(f, KB_E_CONFIG, "tags",
				     "the name of a tag has at most %d bytes", MAX_TAG);
		struct key_tag *t = &r->tags[r->n_tags++];
		if ((t->name = strdup(name)) == NULL || (t->value = span_dup(text)) == NULL)
			return KB_E_NOMEM;
	}
	return KB_OK;
}

static enum kb_err read_policy_data(struct key_record *r, const struct json_t *p,
				    struct record_fault *f)
{
	const struct json_t *inline_policy;
	struct span text;
	enum kb_err err;

	errno = 0;
	if (json_get_obj(p, "data", &inline_policy) == KB_OK) {
		json_write(&r->policy, inline_policy);
	} else {
		if ((err = json_get_str(p, "data", MAX_DATA, &text)) != KB_OK)
			return bad_member(f, err, "release_policy.data");
		if (b64_decode_any(text, &r->policy) == KB_E_B64)
			return fault(f, KB_E_CONFIG, "release_policy.data",
				     "neither a JSON object nor base64url of one");
	}
	if (buf_ok(&r->policy) != KB_OK)
		return fault(f, kb_err_or_nomem(KB_E_CONFIG), "release_policy.data",
			     "the policy is longer than %d bytes", KB_MAX_POLICY);
	return KB_OK;
}

static enum kb_err read_policy(struct key_record *r, const struct json_t *doc,
			       struct record_fault *f)
{
	static const char *const known[] = {"file", "data", "immutable", "contentType", NULL};
	const struct json_t *p;
	struct span text;
	enum kb_err err;

	if (!json_has(doc, "release_policy")) {
		if (r->exportable)
			return fault(f, KB_E_CONFIG, "attributes.exportable",
				     "an exportable key must have a release policy (AKV.SKR.1004)");
		return KB_OK;
	}
	if ((err = json_get_obj(doc, "release_policy", &p)) != KB_OK)
		return bad_member(f, err, "release_policy");
	if ((err = only(f, p, "release_policy", known)) != KB_OK)
		return err;
	if (!r->exportable)
		return fault(f, KB_E_CONFIG, "release_policy",
			     "a key that is not exportable must not have a release policy "
			     "(AKV.SKR.1005)");
	if ((err = opt_bool(f, p, "immutable", "release_policy.immutable", &r->policy_immutable)) !=
	    KB_OK)
		return err;
	if (json_has(p, "contentType") &&
	    (err = json_get_str(p, "contentType", MAX_CONTENT_TYPE, &text)) != KB_OK)
		return bad_member(f, err, "release_policy.contentType");
	if (json_has(p, "file") == json_has(p, "data"))
		return fault(f, KB_E_CONFIG, "release_policy",
			     "exactly one of \"file\" and \"data\"");
	if (json_has(p, "data"))
		return read_policy_data(r, p, f);
	if ((err = json_get_str(p, "file", MAX_FILE, &text)) != KB_OK)
		return bad_member(f, err, "release_policy.file");
	return (r->policy_file = span_dup(text)) == NULL ? KB_E_NOMEM : KB_OK;
}

static enum kb_err read_version(struct key_record *r, const struct json_t *j, size_t index,
				struct record_fault *f)
{
	static const char *const known[] = {"version", "created", "object", "fingerprint", NULL};
	struct key_version *v = &r->versions[index];
	char at[32], path[64];
	uint8_t number[16];
	struct span text;
	enum kb_err err;

	snprintf(at, sizeof at, "versions[%zu]", index);
	if (!json_isa_obj(j))
		return bad_member(f, KB_E_JSON_TYPE, at);
	if ((err = only(f, j, at, known)) != KB_OK)
		return err;
	snprintf(path, sizeof path, "%s.version", at);
	if ((err = json_get_str(j, "version", 32, &text)) != KB_OK)
		return bad_member(f, err, path);
	if (!hex_decode(text, number, sizeof number))
		return fault(f, KB_E_CONFIG, path, "a version is 32 lower-case hexadecimal digits");
	if (key_record_version(r, text) != NULL)
		return fault(f, KB_E_CONFIG, path, "the same version twice");
	memcpy(v->version, text.p, 32);
	r->n_versions++; /* counted from here, so that what follows is freed */
	snprintf(path, sizeof path, "%s.created", at);
	if (!json_has(j, "created"))
		return bad_member(f, KB_E_JSON_MISSING, path);
	if ((err = opt_time(f, j, "created", path, &v->created)) != KB_OK)
		return err;
	snprintf(path, sizeof path, "%s.object", at);
	if ((err = json_get_str(j, "object", MAX_OBJECT, &text)) != KB_OK)
		return bad_member(f, err, path);
	if ((v->object = span_dup(text)) == NULL)
		return KB_E_NOMEM;
	KB_AUTO(uri) P11KitUri *uri = NULL;
	if (uri_parse(v->object, P11_KIT_URI_FOR_OBJECT_ON_TOKEN, &uri) != KB_OK)
		return fault(f, KB_E_CONFIG, path,
			     "not a pkcs11: URI of an object (RFC 7512), or one with a PIN or a "
			     "module in it");
	if (!json_has(j, "fingerprint"))
		return KB_OK;
	snprintf(path, sizeof path, "%s.fingerprint", at);
	if ((err = json_get_str(j, "fingerprint", 64, &text)) != KB_OK)
		return bad_member(f, err, path);
	if (!hex_decode(text, v->fingerprint, sizeof v->fingerprint))
		return fault(f, KB_E_CONFIG, path,
			     "a fingerprint is 64 lower-case hexadecimal digits");
	v->has_fingerprint = true;
	return KB_OK;
}

static enum kb_err read_versions(struct key_record *r, const struct json_t *doc,
				 struct record_fault *f)
{
	const struct json_t *arr;
	enum kb_err err;

	if ((err = json_get_arr(doc, "versions", &arr)) != KB_OK)
		return bad_member(f, err, "versions");
	if (json_len(arr) == 0 || json_len(arr) > KB_MAX_VERSIONS)
		return fault(f, KB_E_CONFIG, "versions", "a key has 1 to %d versions",
			     KB_MAX_VERSIONS);
	if ((r->versions = calloc(json_len(arr), sizeof *r->versions)) == NULL)
		return KB_E_NOMEM;
	for (size_t i = 0; i < json_len(arr); i++)
		if ((err = read_version(r, json_at(arr, i), i, f)) != KB_OK)
			return err;
	return KB_OK;
}

static enum kb_err read_record(struct key_record *r, const struct json_t *doc,
			       struct record_fault *f)
{
	static const char *const known[] = {
		"kty", "key_ops", "attributes", "tags", "release_policy", "versions", NULL};
	enum kb_err err;

	if (!json_isa_obj(doc))
		return fault(f, KB_E_JSON_TYPE, "", "a key record is a JSON object");
	if ((err = only(f, doc, "", known)) != KB_OK || (err = read_kind(r, doc, f)) != KB_OK ||
	    (err = read_ops(r, doc, f)) != KB_OK || (err = read_attributes(r, doc, f)) != KB_OK ||
	    (err = read_tags(r, doc, f)) != KB_OK || (err = read_policy(r, doc, f)) != KB_OK)
		return err;
	return read_versions(r, doc, f);
}

enum kb_err key_record_parse(struct span name, struct span text, struct key_record **out,
			     struct record_fault *f)
{
	enum kb_err err;
	unsigned line;
	KB_AUTO(json) struct json_t *doc = NULL;
	KB_AUTO(key_record) struct key_record *r = NULL;

	*out = NULL;
	if (f != NULL)
		*f = (struct record_fault){0};
	if (!key_name_ok(name))
		return fault(f, KB_E_CONFIG, "",
			     "a key's name has 1 to %d letters, digits and hyphens",
			     KB_MAX_KEY_NAME);
	if ((err = json_load_strict(text, KB_MAX_CONFIG, &doc, &line)) != KB_OK)
		return fault(f, err, "", "not strict JSON at line %u: %s", line, kb_err_name(err));
	if ((r = calloc(1, sizeof *r)) == NULL)
		return KB_E_NOMEM;
	r->expires = KEY_NEVER;
	buf_init(&r->policy, KB_MAX_POLICY);
	if ((r->name = span_dup(name)) == NULL)
		return KB_E_NOMEM;
	if ((err = read_record(r, doc, f)) != KB_OK)
		return err;
	*out = r;
	r = NULL;
	return KB_OK;
}

void key_record_free(struct key_record *r)
{
	if (r == NULL)
		return;
	for (size_t i = 0; i < r->n_tags; i++) {
		free(r->tags[i].name);
		free(r->tags[i].value);
	}
	for (size_t i = 0; i < r->n_versions; i++)
		free(r->versions[i].object);
	free(r->tags);
	free(r->versions);
	free(r->policy_file);
	free(r->name);
	buf_free(&r->policy);
	free(r);
}

/* ---- of a record that was read ---- */

const struct key_version *key_record_version(const struct key_record *r, struct span version)
{
	if (r->n_versions == 0)
		return NULL;
	if (version.len == 0)
		return &r->versions[r->n_versions - 1];
	for (size_t i = 0; i < r->n_versions; i++)
		if (span_eq_cstr(version, r->versions[i].version))
			return &r->versions[i];
	return NULL;
}

enum kb_err key_record_usable(const struct key_record *r, int64_t now_s)
{
	if (!r->enabled)
		return KB_E_KEY_DISABLED;
	if (!r->exportable)
		return KB_E_KEY_NOT_EXPORTABLE;
	if (now_s < r->not_before)
		return KB_E_KEY_NOT_YET;
	if (now_s >= r->expires)
		return KB_E_KEY_EXPIRED;
	return KB_OK;
}
