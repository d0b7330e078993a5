/* broker/vault/audit.c — writes the record of a release call.  Decides nothing.  Must never fail
 * because of a long request: text of clients is cut to CUT bytes. */
#include "vault/audit.h"

#include "base/b64url.h"
#include "base/clock.h"
#include "base/hex.h"
#include "base/json.h"
#include "base/limits.h"
#include "policy/explain.h"
#include "process/frame.h"

enum { CUT = 128, MAX_LINE = KB_MAX_RECORD - 128 };

static void add_cut(struct buf *b, const char *name, struct span s)
{
	if (s.len > 0)
		json_add_member(b, name, span_sub(s, 0, CUT));
}

static void add_digest(struct buf *b, const char *name, const uint8_t *digest)
{
	if (digest == NULL)
		return;
	json_add_name(b, name);
	buf_add_str(b, "\"");
	hex_encode(b, span_of(digest, 32));
	buf_add_str(b, "\"");
}

/* The VM's id: of the platform's claims, or of the guest's runtime claims. */
static struct span vm_id(const struct json_t *claims)
{
	const struct json_t *runtime, *vm;
	struct span id;

	if (json_get_str(claims, "x-ms-azurevm-vmid", CUT, &id) == KB_OK)
		return id;
	if (json_get_obj(claims, "x-ms-runtime", &runtime) == KB_OK &&
	    json_get_obj(runtime, "vm-configuration", &vm) == KB_OK &&
	    json_get_str(vm, "vmUniqueId", CUT, &id) == KB_OK)
		return id;
	return span_of(NULL, 0);
}

static void write_line(const struct audit *a, bool has_failings, struct buf *b)
{
	char when[KB_TIME_TEXT], uuid[37];
	struct span jti;

	buf_reset(b);
	clock_text(a->time_us, when);
	frame_uuid_text(a->uuid, uuid);
	buf_add_str(b, "{");
	json_add_member(b, "time", span_str(when));
	json_add_member(b, "event", span_str("release"));
	json_add_member(b, "outcome", span_str(a->code == KB_OK ? "released" : "refused"));
	json_add_member(b, "code", span_str(kb_err_name(a->code)));
	json_add_member(b, "request", span_str(uuid));
	add_cut(b, "client_request", a->client_request_id);
	add_cut(b, "peer", a->peer);
	if (a->caller != NULL)
		json_add_member(b, "caller", span_str(a->caller));
	add_cut(b, "caller_name", a->caller_name);
	add_cut(b, "listener", span_str(a->base_url));
	json_add_member(b, "config", span_sub(span_str(a->config_digest), 0, 16));
	add_cut(b, "key", a->key);
	add_cut(b, "version", a->version);
	if (a->enc != NULL)
		json_add_member(b, "enc", span_str(a->enc));
	if (a->issuer != NULL)
		json_add_member(b, "issuer", span_str(a->issuer));
	add_cut(b, "iss", a->iss);
	add_cut(b, "kid", a->kid);
	if (a->claims != NULL) {
		if (json_get_str(a->claims, "jti", CUT, &jti) == KB_OK)
			add_cut(b, "jti", jti);
		add_cut(b, "vm", vm_id(a->claims));
	}
	add_digest(b, "token_sha256", a->token_digest);
	add_cut(b, "wrapping_kid", a->kek_kid);
	if (a->kek_thumbprint != NULL) { /* RFC 7638: thumbprints are written in base64url */
		json_add_name(b, "wrapping_key");
		buf_add_str(b, "\"");
		b64url_encode(b, span_of(a->kek_thumbprint, 32));
		buf_add_str(b, "\"");
	}
	add_digest(b, "policy_sha256", a->policy_digest);
	add_digest(b, "blob_sha256", a->blob_digest);
	if (a->replay_until_s != 0) {
		add_digest(b, "replay", a->replay_key);
		json_add_int(b, "replay_until", a->replay_until_s);
	}
	if (a->code == KB_E_POLICY) {
		json_add_name(b, "failing");
		if (has_failings && a->explain != NULL)
			explain_failings(a->explain, b);
		else
			buf_add_str(b, "\"too long for a record\"");
	}
	buf_add_str(b, "}");
}

enum kb_err audit_line(const struct audit *a, struct buf *line)
{
	write_line(a, true, line);
	if (buf_ok(line) != KB_OK || line->len > MAX_LINE)
		write_line(a, false, line);
	if (buf_ok(line) != KB_OK || line->len > MAX_LINE)
		return KB_E_NOMEM;
	return KB_OK;
}
