/* broker/api/keyvault.c — the Key Vault dialect: which call a request is, and what its body asks.
 * Trusts nothing of the request.  Must never judge a token. */
#include "api/keyvault.h"

#include "base/json.h"
#include "base/limits.h"

static enum kb_err find_api_version(struct span query, struct call *call)
{
	bool found = false;

	for (size_t at = 0; at < query.len;) {
		size_t end = span_find(query, at, '&');
		struct span pair = span_sub(query, at, end - at);
		size_t eq = span_find(pair, 0, '=');
		struct span name;
		size_t mark = call->text.used;
		at = end + 1;
		/* The current JavaScript SDK writes api%2Dversion: names are compared decoded. */
		if (!url_decode(&call->text, span_sub(pair, 0, eq), &name))
			return KB_E_API_VERSION;
		bool is_version = span_eq_cstr(name, "api-version");
		call->text.used = mark;
		if (!is_version)
			continue;
		if (found ||
		    !url_decode(&call->text, span_sub(pair, eq + 1, pair.len), &call->api_version))
			return KB_E_API_VERSION;
		found = true;
	}
	enum api_age age = keyvault_version_age(call->api_version);
	call->is_release_version = age == API_SERVED;
	return age == API_SERVED || age == API_BEFORE_RELEASE ? KB_OK : KB_E_API_VERSION;
}

static enum kb_err route(const struct api_request *rq, const struct api_place *place,
			 struct call *call)
{
	struct operation_match m;

	*call = (struct call){.scheme = SCHEME_DEFAULT};
	enum kb_err err = operation_find(keyvault_api.name, rq->method,
					 url_below(rq->target, place->base_url), &call->text, &m);
	if (m.operation == NULL)
		return err;
	/* /keys/KEY, /keys/KEY/VERSION, /keys/KEY/VERSION/release; /keys/KEY/nonce and
	 * /keys/KEY/release have no version. */
	call->verb = m.operation->verb;
	call->record = m.operation->record;
	call->key = m.part[1];
	if ((call->verb == VERB_GET_KEY && m.n == 3) || m.n == 4)
		call->version = m.part[2];
	if (err != KB_OK)
		return err;
	if ((err = find_api_version(rq->query, call)) != KB_OK)
		return err;
	if (call->verb == VERB_RELEASE && !call->is_release_version)
		return KB_E_API_VERSION;
	return call->version.len == 0 || operation_is_version(call->version) ? KB_OK
									     : KB_E_KEY_NOT_FOUND;
}

/* A member of the body as either reader found it.  null counts as absent. */
enum member { MEMBER_ABSENT, MEMBER_STRING, MEMBER_OTHER };

static enum member body_member(const struct call *call, const struct json_pair *pairs, size_t n,
			       const char *name, struct span *out)
{
	*out = span_of(NULL, 0);
	if (call->body == NULL) {
		for (size_t i = 0; i < n; i++)
			if (span_eq_cstr(pairs[i].name, name)) {
				*out = pairs[i].value;
				return out->len > 0 ? MEMBER_STRING : MEMBER_OTHER;
			}
		return MEMBER_ABSENT;
	}
	if (!json_has(call->body, name) || json_has_null(call->body, name))
		return MEMBER_ABSENT;
	return json_get_str(call->body, name, KB_MAX_BODY, out) == KB_OK ? MEMBER_STRING
									 : MEMBER_OTHER;
}

static enum kb_err read_body(const struct api_request *rq, struct call *call)
{
	struct json_pair pairs[8];
	struct span enc;

	if (!rq->is_json)
		return KB_E_CONTENT_TYPE;
	size_t n = rq->body.len <= KB_MAX_BODY
			   ? json_scan_plain(rq->body, pairs, sizeof pairs / sizeof pairs[0])
			   : 0;
	if (n == 0) {
		enum kb_err err = json_load_strict(rq->body, KB_MAX_BODY, &call->body, NULL);
		if (err != KB_OK)
			return err == KB_E_NOMEM ? err : KB_E_BODY_FORMAT;
		if (!json_isa_obj(call->body))
			return KB_E_BODY_FORMAT;
	}
	if (body_member(call, pairs, n, "nonce", &call->nonce) == MEMBER_OTHER ||
	    call->nonce.len > KB_MAX_NONCE)
		return KB_E_BODY_MEMBER;
	enum member m = body_member(call, pairs, n, "enc", &enc);
	if (m != MEMBER_ABSENT && (call->scheme = scheme_find(enc)) == NULL)
		return KB_E_ENC;
	if (body_member(call, pairs, n, "target", &call->token) != MEMBER_STRING)
		return KB_E_BODY_MEMBER;
	return call->token.len <= KB_MAX_TOKEN ? KB_OK : KB_E_TOKEN_SIZE;
}

static void challenge(const struct api_place *place, struct buf *text)
{
	/* Microsoft's SDKs parse this and need the space after the comma. */
	buf_add_str(text, "Bearer authorization=\"");
	buf_add_str(text, place->challenge_authorization);
	buf_add_str(text, "\", resource=\"");
	buf_add_str(text, place->challenge_resource);
	buf_add_str(text, "\"");
}

const struct api keyvault_api = {
	.name = "keyvault",
	.max_head = KB_MAX_HEADER_BYTES,
	.max_bearer = 0,
	.bodies = keyvault_bodies,
	.route = route,
	.read = read_body,
	.refuse = keyvault_refuse,
	.challenge = challenge,
	.reply_key = keyvault_key,
	.reply_nonce = keyvault_nonce,
	.reply_release = keyvault_release,
	.prepare = keyvault_prepare,
	.sign_input = keyvault_sign_input,
};
