/* broker/config/change.c — compares two configurations.  Decides whether the old one may go on
 * judging what it has.  Trusts that both were loaded whole.  A file or member that nobody thought
 * of here counts as one that judges. */
#include "config/change.h"

#include <stddef.h>
#include <stdio.h>

#include "base/json.h"
#include "config/snapshot_priv.h"

/* keybroker.json(5), "What a reload takes up", is this table in words. */
const struct config_member config_members[] = {
	{"listeners", EFFECT_JUDGES, 0},
	{"metrics.address", EFFECT_RELOAD, 0},
	{"hsm.module", EFFECT_JUDGES, 0},
	{"hsm.token", EFFECT_JUDGES, 0},
	{"hsm.pin_file", EFFECT_JUDGES, 0},
	{"hsm.environment", EFFECT_JUDGES, 0},
	{"hsm.network", EFFECT_JUDGES, 0},
	{"hsm.workers", EFFECT_RELOAD, 0},
	{"signer.object", EFFECT_JUDGES, 0},
	{"signer.certificates", EFFECT_JUDGES, 0},
	{"issuers", EFFECT_JUDGES, 0},
	{"keys", EFFECT_JUDGES, 0},
	{"state", EFFECT_RESTART, offsetof(struct config, state_dir)},
	{"user", EFFECT_RESTART, offsetof(struct config, user)},
	{"limits.connections", EFFECT_RELOAD, 0},
	{"limits.connections_per_source", EFFECT_RELOAD, 0},
	{"limits.queue", EFFECT_RELOAD, 0},
	{"limits.gateways", EFFECT_RELOAD, 0},
	{"limits.ledger_segment_bytes", EFFECT_RELOAD, 0}, /* for the next segment */
	{"limits.ledger_reserve", EFFECT_RELOAD, 0},
	{"refusals", EFFECT_RELOAD, 0},
	{"penalties", EFFECT_RELOAD, 0}, /* each generation of gateways begins without any */
	{NULL, EFFECT_JUDGES, 0},
};

/* ---- keybroker.json ---- */

/* Every row that `name` begins is harmless. */
static bool is_harmless(const char *name)
{
	const size_t len = strlen(name);
	bool is_known = false;

	for (const struct config_member *m = config_members; m->name != NULL; m++) {
		if (strncmp(m->name, name, len) != 0 ||
		    (m->name[len] != '\0' && m->name[len] != '.'))
			continue;
		if (m->effect == EFFECT_JUDGES)
			return false;
		is_known = true;
	}
	return is_known;
}

static const struct json_t *member(const struct json_t *obj, const char *want)
{
	const struct json_t *value;
	const char *name;

	for (void *it = NULL; obj != NULL && json_next(obj, &it, &name, &value);)
		if (strcmp(name, want) == 0)
			return value;
	return NULL;
}

static bool is_same_value(const struct json_t *a, const struct json_t *b)
{
	KB_AUTO(buf) struct buf at = {0}, bt = {0};

	buf_init(&at, 2 * KB_MAX_CONFIG);
	buf_init(&bt, 2 * KB_MAX_CONFIG);
	if (a != NULL)
		json_write(&at, a);
	if (b != NULL)
		json_write(&bt, b);
	return buf_ok(&at) == KB_OK && buf_ok(&bt) == KB_OK &&
	       span_eq(buf_span(&at), buf_span(&bt));
}

/* Whatever is in `a` is the same in `b`, or harmless.  `above` is the name of both, with its dot.
 */
static bool members_hold(const struct json_t *a, const struct json_t *b, const char *above)
{
	const struct json_t *value;
	const char *name;
	char path[128];

	for (void *it = NULL; json_next(a, &it, &name, &value);) {
		const struct json_t *other = member(b, name);
		int len = snprintf(path, sizeof path, "%s%s", above, name);
		if (len < 0 || (size_t)len >= sizeof path - 1)
			return false;
		if (is_harmless(path) || is_same_value(value, other))
			continue;
		if (above[0] != '\0' || !json_isa_obj(value) ||
		    (other != NULL && !json_isa_obj(other)))
			return false;
		path[len] = '.';
		path[len + 1] = '\0';
		if (!members_hold(value, other, path))
			return false;
	}
	return true;
}

static bool is_document_harmless(struct span old, struct span now)
{
	KB_AUTO(json) struct json_t *a = NULL, *b = NULL;

	return json_load_strict(old, KB_MAX_CONFIG, &a, NULL) == KB_OK &&
	       json_load_strict(now, KB_MAX_CONFIG, &b, NULL) == KB_OK && members_hold(a, b, "") &&
	       members_hold(b, a, "");
}

/* ---- files ---- */

/* A listener's certificate and key: they say who we are, and decide nothing about who asks. */
static bool is_identity(const struct config *c, const struct snapshot_entry *e)
{
	bool is_ours = false;

	for (size_t i = 0; i < c->n_listeners; i++) {
		const struct listener_config *l = &c->listeners[i];
		if (l->client_ca.p == e->data.p || l->client_crl.p == e->data.p)
			return false;
		is_ours |= l->certificate.p == e->data.p || l->key.p == e->data.p;
	}
	return is_ours && (e->parts & CONFIG_VAULT) == 0;
}

static const struct snapshot_entry *entry_of(const struct snapshot *s, const char *key)
{
	for (size_t low = 0, high = s->n; low < high;) {
		size_t mid = low + (high - low) / 2;
		int order = strcmp(s->entry[mid]->key, key);
		if (order == 0)
			return s->entry[mid];
		if (order < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return NULL;
}

enum change config_change(const struct config *old, const struct snapshot *old_src,
			  const struct config *now, const struct snapshot *now_src)
{
	if (strcmp(old->path, now->path) != 0)
		return CHANGE_JUDGES;
	for (size_t i = 0; i < old_src->n; i++) {
		const struct snapshot_entry *a = old_src->entry[i], *b = entry_of(now_src, a->key);
		if (a->kind == KIND_LIST) /* each file it names is an entry of its own */
			continue;
		if (b != NULL && b->kind == KIND_FILE && span_eq(a->data, b->data))
			continue;
		if (b != NULL && strcmp(a->key, old->path) == 0 &&
		    is_document_harmless(a->data, b->data))
			continue;
		if (!is_identity(old, a))
			return CHANGE_JUDGES;
	}
	for (size_t i = 0; i < now_src->n; i++) {
		const struct snapshot_entry *b = now_src->entry[i];
		if (b->kind == KIND_FILE && entry_of(old_src, b->key) == NULL)
			return CHANGE_ADDS;
	}
	return CHANGE_NONE;
}

/* ---- what needs a restart ---- */

static const char *resolved(const struct config *c, const struct config_member *m)
{
	const char *text;

	memcpy(&text, (const char *)c + m->resolved, sizeof text);
	return text == NULL ? "" : text;
}

void config_restart_names(const struct config *old, const struct config *now, char out[static 64])
{
	size_t len = 0;

	out[0] = '\0';
	for (const struct config_member *m = config_members; m->name != NULL; m++)
		if (m->effect == EFFECT_RESTART &&
		    strcmp(resolved(old, m), resolved(now, m)) != 0 && len < 64)
			len += (size_t)snprintf(out + len, 64 - len, "%s%s", len == 0 ? "" : ", ",
						m->name);
}
