/* broker/guest/attest.c — the request to an attestation service for an SEV-SNP guest, and its
 * reply. Checks nothing: the service checks the report, the broker the token. */
#include "guest/attest.h"

#include "base/digest.h"
#include "base/json.h"
#include "base/limits.h"

enum { BODY_MAX = 512 * 1024 };

void attest_report_data(struct span runtime_data, uint8_t out[static 64])
{
	memset(out, 0, 64);
	digest_sha256(runtime_data, out);
}

enum kb_err attest_body(struct span report, struct span chain_pem, struct span runtime_data,
			struct span nonce, struct buf *out)
{
	KB_AUTO(buf) struct buf inner;

	buf_init(&inner, BODY_MAX);
	buf_init(out, BODY_MAX);
	buf_add_str(&inner, "{");
	json_add_b64url(&inner, "SnpReport", report);
	json_add_b64url(&inner, "VcekCertChain", chain_pem);
	buf_add_str(&inner, "}");
	buf_add_str(out, "{");
	json_add_b64url(out, "report", buf_span(&inner));
	json_add_name(out, "runtimeData");
	buf_add_str(out, "{");
	json_add_b64url(out, "data", runtime_data);
	json_add_member(out, "dataType", span_str("JSON"));
	buf_add_str(out, "}");
	if (nonce.len > 0)
		json_add_member(out, "nonce", nonce);
	buf_add_str(out, "}");
	return buf_ok(&inner) != KB_OK ? KB_E_NOMEM : buf_ok(out);
}

enum kb_err attest_token(struct span reply_body, struct buf *token)
{
	KB_AUTO(json) struct json_t *doc = NULL;
	struct span text;

	if (json_load_strict(reply_body, KB_GUEST_REPLY, &doc, NULL) != KB_OK ||
	    json_get_str(doc, "token", KB_MAX_TOKEN, &text) != KB_OK)
		return KB_E_FETCH_CONTENT;
	buf_add_span(token, text);
	return buf_ok(token);
}
