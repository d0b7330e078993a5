/* broker/ctl/key_list.c — `keybrokerctl key list` and `key show`. */
#include <stdio.h>

#include "base/clock.h"
#include "base/json.h"
#include "ctl/key.h"
#include "ctl/open.h"
#include "ctl/output.h"
#include "keystore/keystore.h"

static const char *day_text(int64_t when, char out[static KB_TIME_TEXT])
{
	clock_text_s(when, out);
	out[10] = '\0';
	return out;
}

/* In one word: can it be released now? */
static const char *state_text(const struct key_config *k)
{
	enum kb_err err = key_record_usable(k->record, clock_wall_s());

	return err != KB_OK        ? kb_err_name(err)
	       : k->policy == NULL ? kb_err_name(KB_E_NO_POLICY)
				   : "releasable";
}

int key_list_run(struct ctl *c)
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
			json_add_member(&out, "kty", span_str(key_type_text(r)));
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
		ctl_table_add(&t, key_type_text(r));
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

int key_show_run(struct ctl *c)
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
	/* The record is JSON that people can read: one form with and without --json. */
	key_record_write(k->record, &out);
	if (!c->is_json)
		ctl_say("%s: %s", k->record->name, state_text(k));
	return ctl_put(&out, CTL_OK);
}
