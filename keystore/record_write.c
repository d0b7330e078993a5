/* keystore/record_write.c — writes a key record as JSON.  Must never write what key_record_parse()
 * would not read. */
#include "base/hex.h"
#include "base/json.h"
#include "base/limits.h"
#include "keystore/record.h"

static void write_attributes(const struct key_record *r, struct buf *b)
{
	json_add_name(b, "attributes");
	buf_add_str(b, "{");
	json_add_bool(b, "enabled", r->enabled);
	json_add_bool(b, "exportable", r->exportable);
	json_add_int(b, "created", r->created);
	if (r->updated != 0)
		json_add_int(b, "updated", r->updated);
	if (r->not_before != 0)
		json_add_int(b, "nbf", r->not_before);
	if (r->expires != KEY_NEVER)
		json_add_int(b, "exp", r->expires);
	buf_add_str(b, "}");
}

static void write_policy(const struct key_record *r, struct buf *b)
{
	if (r->policy_file == NULL && r->policy.len == 0)
		return;
	json_add_name(b, "release_policy");
	buf_add_str(b, "{");
	if (r->policy_file != NULL) {
		json_add_member(b, "file", span_str(r->policy_file));
	} else {
		/* The bytes stay as given, because their digest is in the ledger. */
		json_add_b64url(b, "data", buf_span(&r->policy));
	}
	json_add_bool(b, "immutable", r->policy_immutable);
	buf_add_str(b, "}");
}

static void write_versions(const struct key_record *r, struct buf *b)
{
	json_add_name(b, "versions");
	buf_add_str(b, "[");
	for (size_t i = 0; i < r->n_versions; i++) {
		const struct key_version *v = &r->versions[i];
		buf_add_str(b, i == 0 ? "{" : ",{");
		json_add_member(b, "version", span_str(v->version));
		json_add_int(b, "created", v->created);
		json_add_member(b, "object", span_str(v->object));
		if (v->has_fingerprint) {
			json_add_name(b, "fingerprint");
			buf_add_str(b, "\"");
			hex_encode(b, span_of(v->fingerprint, sizeof v->fingerprint));
			buf_add_str(b, "\"");
		}
		buf_add_str(b, "}");
	}
	buf_add_str(b, "]");
}

void key_record_write(const struct key_record *r, struct buf *text)
{
	KB_AUTO(json) struct json_t *doc = NULL;
	KB_AUTO(buf) struct buf b;
	buf_init(&b, KB_MAX_CONFIG);

	buf_add_str(&b, "{");
	json_add_member(&b, "kty", span_str(key_kind_name(r->kty, r->is_hsm)));
	json_add_name(&b, "key_ops");
	buf_add_str(&b, "[");
	for (unsigned i = 0; i < r->n_ops; i++)
		buf_addf(&b, "%s\"%s\"", i == 0 ? "" : ",", key_op_name(r->op_order[i]));
	buf_add_str(&b, "]");
	write_attributes(r, &b);
	json_add_name(&b, "tags");
	buf_add_str(&b, "{");
	for (size_t i = 0; i < r->n_tags; i++)
		json_add_member(&b, r->tags[i].name, span_str(r->tags[i].value));
	buf_add_str(&b, "}");
	write_policy(r, &b);
	write_versions(r, &b);
	buf_add_str(&b, "}");
	/* One more pass through the strict reader: what is written can be read again. */
	if (buf_ok(&b) != KB_OK ||
	    json_load_strict(buf_span(&b), KB_MAX_CONFIG, &doc, NULL) != KB_OK)
		text->failed = true;
	else
		json_write_pretty(text, doc);
}
