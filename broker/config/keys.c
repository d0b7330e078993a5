/* broker/config/keys.c — keys.d, and the policies that its records name.  Decides which keys exist.
 * A fault in a record or policy fails the whole configuration: a key must not lose a condition
 * unnoticed.  A policy file is compiled once, whatever number of keys name it. */
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "config/document.h"

struct config_policy {
	char *path;            /* of the policy's file, or of the record that holds it */
	struct rules *rules;   /* NULL: it has a fault, which was reported */
	bool names_our_issuer; /* at least one authority is a configured issuer */
};

static bool names_our_issuer(const struct config *c, const struct rules *r)
{
	for (size_t i = 0; i < c->n_issuers; i++)
		if (c->issuers[i].rules.issuer != NULL &&
		    rules_name_authority(r, span_str(c->issuers[i].rules.issuer)))
			return true;
	return false;
}

/* The index of the policy at `path`, or the index at which to insert it. */
static bool policy_find(const struct config *c, const char *path, size_t *index)
{
	size_t low = 0, high = c->n_policies;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		/* NOLINTNEXTLINE(clang-analyzer-core.NonNullParamChecker): each has a path */
		int order = strcmp(c->policies[mid].path, path);
		if (order == 0) {
			*index = mid;
			return true;
		}
		if (order < 0)
			low = mid + 1;
		else
			high = mid;
	}
	*index = low;
	return false;
}

/* keys_load() has allocated as many policies as there are keys. */
static const struct config_policy *policy_insert(struct loader *l, size_t index, const char *path,
						 struct span text, unsigned line)
{
	struct config *c = l->c;
	struct policy_fault fault = {.line = 1};
	struct config_policy one = {.path = strdup(path)};

	if (one.path == NULL) {
		fault_add(l, path, 1, "no memory");
		return NULL;
	}
	enum kb_err err = rules_compile(text, &one.rules, &fault);
	if (err != KB_OK)
		fault_add(l, path, line > 0 ? line : fault.line, "%s%s (%s)",
			  line > 0 ? "release policy: " : "", fault.text, kb_err_name(err));
	one.names_our_issuer = one.rules != NULL && names_our_issuer(c, one.rules);
	memmove(c->policies + index + 1, c->policies + index, (c->n_policies - index) * sizeof one);
	c->policies[index] = one;
	c->n_policies++;
	return &c->policies[index];
}

/* The policy of a record, from its own text or from the file that it names; NULL when it has none,
 * or after a fault was reported. */
static const struct config_policy *policy_load(struct loader *l, const char *record_path,
					       struct span text, struct key_record *r)
{
	size_t index;
	const char *why;
	struct span source;

	if (r->policy_file == NULL) {
		if (r->policy.len == 0 || policy_find(l->c, record_path, &index))
			return NULL;
		return policy_insert(l, index, record_path, buf_span(&r->policy),
				     json_line(text, "release_policy.data"));
	}
	KB_AUTO(cstr) char *path = path_join(l->c->keys_dir, r->policy_file);
	if (path == NULL) {
		fault_add(l, record_path, 1, "no memory");
		return NULL;
	}
	if (snapshot_read(l->src, path, KB_MAX_POLICY, false, CONFIG_VAULT, &source, &why) !=
	    KB_OK) {
		fault_add(l, record_path, json_line(text, "release_policy.file"), "%s %s", path,
			  why);
		return NULL;
	}
	buf_free(&r->policy);
	buf_init(&r->policy, KB_MAX_POLICY);
	buf_add_span(&r->policy, source);
	if (buf_ok(&r->policy) != KB_OK) {
		fault_add(l, record_path, 1, "no memory");
		return NULL;
	}
	return policy_find(l->c, path, &index) ? &l->c->policies[index]
					       : policy_insert(l, index, path, source, 0);
}

static void record_fault_add(struct loader *l, const char *path, struct span text, enum kb_err err,
			     const struct record_fault *fault)
{
	unsigned line = json_line(text, fault->path);
	KB_AUTO(json) struct json_t *json = NULL;

	/* On failure `line` is that of the syntax error. */
	if (json_load_strict(text, KB_MAX_CONFIG, &json, &line) == KB_OK)
		line = json_line(text, fault->path);
	fault_add(l, path, line, "%s (%s)", fault->text, kb_err_name(err));
}

static void key_load(struct loader *l, const char *file, struct key_config *out)
{
	enum kb_err err;
	const char *why;
	struct span text;
	struct record_fault fault = {0};
	KB_AUTO(cstr) char *path = path_join(l->c->keys_dir, file);

	if (path == NULL) {
		fault_add(l, l->c->keys_dir, 1, "no memory");
		return;
	}
	if (snapshot_read(l->src, path, KB_MAX_CONFIG, false, CONFIG_VAULT, &text, &why) != KB_OK) {
		fault_add(l, path, 1, "%s", why);
		return;
	}
	if ((err = key_record_parse(span_of(file, strlen(file) - strlen(".json")), text,
				    &out->record, &fault)) != KB_OK) {
		record_fault_add(l, path, text, err, &fault);
		return;
	}
	const struct config_policy *policy = policy_load(l, path, text, out->record);
	if (policy == NULL || policy->rules == NULL)
		return;
	out->policy = policy->rules;
	if (!policy->names_our_issuer && !l->is_issuers_faulty)
		fault_add(l, path, json_line(text, "release_policy"),
			  "no authority of the release policy is a configured issuer: the key "
			  "could never be released");
}

/* Key Vault's names are compared without case. */
static int by_name(const void *a, const void *b)
{
	return strcasecmp(((const struct key_config *)a)->record->name,
			  ((const struct key_config *)b)->record->name);
}

static void sort_keys(struct loader *l)
{
	struct config *c = l->c;
	size_t n = 0;

	for (size_t i = 0; i < c->n_keys; i++) /* a key with a fault has no record */
		if (c->keys[i].record != NULL)
			c->keys[n++] = c->keys[i];
	c->n_keys = n;
	if (n > 0)
		qsort(c->keys, n, sizeof *c->keys, by_name);
	for (size_t i = 1; i < n; i++)
		if (by_name(&c->keys[i - 1], &c->keys[i]) == 0)
			fault_add(l, c->keys_dir, 1,
				  "%s.json and %s.json are the same key: key names are compared "
				  "without case",
				  c->keys[i - 1].record->name, c->keys[i].record->name);
}

void keys_load(struct loader *l, const struct section *root)
{
	const char *const *names, *why;
	struct config *c = l->c;
	size_t n = 0;

	if (snapshot_list(l->src, c->keys_dir, ".json", CONFIG_VAULT, &names, &why) != KB_OK) {
		section_fault(root, "keys", "%s %s", c->keys_dir, why);
		return;
	}
	while (names[n] != NULL)
		n++;
	if (n > KB_MAX_KEYS) {
		section_fault(root, "keys", "%s has %zu keys; at most %d are allowed", c->keys_dir,
			      n, KB_MAX_KEYS);
		return;
	}
	c->keys = calloc(n + 1, sizeof *c->keys);
	c->policies = calloc(n + 1, sizeof *c->policies);
	if (c->keys == NULL || c->policies == NULL) {
		section_fault(root, "keys", "no memory");
		return;
	}
	for (size_t i = 0; i < n; i++)
		key_load(l, names[i], &c->keys[c->n_keys++]);
	sort_keys(l);
}

void keys_free(struct config *c)
{
	for (size_t i = 0; i < c->n_keys; i++)
		key_record_free(c->keys[i].record);
	for (size_t i = 0; i < c->n_policies; i++) {
		rules_free(c->policies[i].rules);
		free(c->policies[i].path);
	}
	free(c->policies);
	free(c->keys);
}

const struct key_config *config_key(const struct config *c, struct span name)
{
	size_t low = 0, high = name.len == 0 ? 0 : c->n_keys; /* no key has an empty name */

	while (low < high) {
		size_t mid = low + (high - low) / 2;
		const char *at = c->keys[mid].record->name;
		size_t len = strlen(at);
		int order = strncasecmp(at, (const char *)name.p, len < name.len ? len : name.len);
		if (order == 0 && len == name.len)
			return &c->keys[mid];
		if (order < 0 || (order == 0 && len < name.len))
			low = mid + 1;
		else
			high = mid;
	}
	return NULL;
}
