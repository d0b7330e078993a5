/* broker/api/keyvault_key.c — a key as Key Vault shows it: the KeyBundle, and the parts of it that
 * a release repeats.  Decides nothing.  Must never write key material but public parts. */
#include "api/keyvault.h"
#include "base/json.h"

void keyvault_add_kid(struct buf *b, const struct api_key *key, struct span version)
{
	json_add_name(b, "kid");
	buf_add_str(b, "\"");
	buf_add_str(b, key->base_url); /* checked by config: plain URL characters */
	buf_add_str(b, "/keys/");
	buf_add_str(b, key->record->name);
	if (version.len > 0) {
		buf_add_str(b, "/");
		buf_add_span(b, version);
	}
	buf_add_str(b, "\"");
}

void keyvault_add_jwk(struct buf *b, const struct api_key *key)
{
	const struct hsm_public *pub = key->public;

	buf_add_str(b, "{");
	keyvault_add_kid(b, key, span_str(key->version->version));
	json_add_name(b, "kty");
	buf_addf(b, "\"%s%s\"", kty_name(key->record->kty), key->record->is_hsm ? "-HSM" : "");
	json_add_name(b, "key_ops");
	buf_add_str(b, "[");
	for (unsigned i = 0; i < key->record->n_ops; i++)
		buf_addf(b, "%s\"%s\"", i == 0 ? "" : ",", key_op_name(key->record->op_order[i]));
	buf_add_str(b, "]");
	switch (pub->kty) {
	case KB_KTY_RSA:
		json_add_b64url(b, "n", span_of(pub->n, pub->n_len));
		json_add_b64url(b, "e", span_of(pub->e, pub->e_len));
		return;
	case KB_KTY_EC:
		json_add_member(b, "crv", span_str(crv_name(pub->crv)));
		json_add_b64url(b, "x", span_of(pub->x, pub->xy_len));
		json_add_b64url(b, "y", span_of(pub->y, pub->xy_len));
		return;
	case KB_KTY_OCT:
		return; /* a symmetric key has no public part */
	}
	KB_BUG();
}

void keyvault_add_rest(struct buf *b, const struct api_key *key, bool has_content_type)
{
	const struct key_record *r = key->record;

	json_add_name(b, "attributes");
	buf_add_str(b, "{");
	json_add_bool(b, "enabled", r->enabled);
	if (r->not_before != 0)
		json_add_int(b, "nbf", r->not_before);
	if (r->expires != KEY_NEVER)
		json_add_int(b, "exp", r->expires);
	json_add_int(b, "created", key->version->created);
	json_add_int(b, "updated",
		     r->updated > key->version->created ? r->updated : key->version->created);
	/* There is no soft delete here: a deleted key cannot be recovered. */
	json_add_member(b, "recoveryLevel", span_str("Purgeable"));
	if (r->exportable)
		json_add_bool(b, "exportable", true);
	buf_add_str(b, "}");
	json_add_name(b, "tags");
	buf_add_str(b, "{");
	for (size_t i = 0; i < r->n_tags && !key->is_for_stranger; i++)
		json_add_member(b, r->tags[i].name, span_str(r->tags[i].value));
	buf_add_str(b, "}");
	if (key->policy_b64.len == 0)
		return;
	json_add_name(b, "release_policy");
	buf_add_str(b, "{");
	if (has_content_type)
		json_add_member(b, "contentType", span_str("application/json; charset=utf-8"));
	if (!key->is_for_stranger) {
		json_add_name(b, "data");
		buf_add_str(b, "\"");
		buf_add_span(b, key->policy_b64);
		buf_add_str(b, "\"");
	}
	json_add_bool(b, "immutable", r->policy_immutable);
	buf_add_str(b, "}");
}

void keyvault_key(const struct api_key *key, struct buf *b)
{
	buf_add_str(b, "{\"key\":");
	keyvault_add_jwk(b, key);
	buf_add_str(b, "}");
	keyvault_add_rest(b, key, true);
	buf_add_str(b, "}");
}
