/* broker/api/keyvault.c — the Key Vault dialect.  Decides what a call asks for and how an answer
 * reads; trusts nothing of the request; never judges a token, never tells a client which check
 * refused it. */
#include "api/keyvault.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "base/b64url.h"
#include "base/digest.h"
#include "base/json.h"
#include "base/limits.h"

/* ---- routing ---- */

static int hex_value(uint8_t c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Percent-decode into the call's text buffer; false on a broken escape, a NUL, or no room. */
static bool decode(struct keyvault_call *call, size_t *used, struct span in, struct span *out)
{
	size_t from = *used;

	for (size_t i = 0; i < in.len; i++) {
		int c = in.p[i];
		if (c == '%') {
			int high = i + 2 < in.len ? hex_value(in.p[i + 1]) : -1;
			int low = i + 2 < in.len ? hex_value(in.p[i + 2]) : -1;
			if (high < 0 || low < 0)
				return false;
			c = high << 4 | low;
			i += 2;
		}
		if (c == 0 || *used == sizeof call->text)
			return false;
		call->text[(*used)++] = (char)c;
	}
	*out = span_of(call->text + from, *used - from);
	return true;
}

static bool version_ok(struct span v)
{
	if (v.len != 32)
		return false;
	for (size_t i = 0; i < v.len; i++)
		if (!((v.p[i] >= '0' && v.p[i] <= '9') || (v.p[i] >= 'a' && v.p[i] <= 'f')))
			return false;
	return true;
}

/* Versions that real clients send (contracts: keyvault §1.1); release came with 7.3-preview. */
static const struct {
	const char *text;
	bool has_release;
} api_versions[] = {
	{"7.0", false},
	{"7.1", false},
	{"7.2", false},
	{"7.3-preview", true},
	{"7.3", true},
	{"7.4-preview.1", true},
	{"7.4", true},
	{"7.5-preview.1", true},
	{"7.5", true},
	{"7.6-preview.1", true},
	{"7.6-preview.2", true},
	{"7.6", true},
	{"2025-06-01-preview", true},
	{"2025-07-01", true},
	{"2026-01-01-preview", true},
	{"2026-03-01-preview", true},
	{"2026-04-01", true},
	{"2026-05-01-preview", true},
	{"2026-07-01-preview", true},
};
#define API_VERSION_LATEST "7.6"

static enum kb_err find_api_version(struct span query, struct keyvault_call *call, size_t *used)
{
	bool found = false;

	for (size_t at = 0; at < query.len;) {
		size_t end = span_find(query, at, '&');
		struct span pair = span_sub(query, at, end - at);
		size_t eq = span_find(pair, 0, '=');
		struct span name;
		size_t mark = *used;
		at = end + 1;
		/* The current JavaScript SDK writes api%2Dversion: names are compared decoded. */
		if (!decode(call, used, span_sub(pair, 0, eq), &name))
			return KB_E_API_VERSION;
		bool is_version = span_eq_cstr(name, "api-version");
		*used = mark;
		if (!is_version)
			continue;
		if (found ||
		    !decode(call, used, span_sub(pair, eq + 1, pair.len), &call->api_version))
			return KB_E_API_VERSION;
		found = true;
	}
	for (size_t i = 0; i < sizeof api_versions / sizeof api_versions[0]; i++)
		if (span_eq_cstr(call->api_version, api_versions[i].text)) {
			call->is_release_version = api_versions[i].has_release;
			return KB_OK;
		}
	return KB_E_API_VERSION;
}

/* The path below base_url's own, or an empty span when it is not below it. */
static struct span below_base(struct span path, const char *base_url)
{
	const char *host = strstr(base_url, "://");
	const char *prefix = strchr(host == NULL ? base_url : host + 3, '/');
	struct span p = span_str(prefix == NULL ? "" : prefix);

	if (path.len < p.len || !span_eq(span_sub(path, 0, p.len), p))
		return span_of(NULL, 0);
	return span_sub(path, p.len, path.len);
}

enum kb_err keyvault_route(const struct frame_request *rq, const struct listener_config *listener,
			   struct keyvault_call *call)
{
	struct span part[5];
	size_t n = 0, used = 0;

	*call = (struct keyvault_call){.scheme = SCHEME_DEFAULT};
	struct span path = below_base(rq->target, listener->base_url);
	if (path.len == 0 || path.p[0] != '/')
		return KB_E_PATH;
	for (size_t at = 1; at <= path.len;) {
		size_t end = span_find(path, at, '/');
		if (n == 5 || !decode(call, &used, span_sub(path, at, end - at), &part[n++]))
			return KB_E_PATH;
		at = end + 1;
	}
	/* /keys/NAME, /keys/NAME/, /keys/NAME/VERSION, …/release; an empty version (two slashes) is
	 * the current one. */
	if (n < 2 || !span_eq_cstr(part[0], "keys") || !key_name_ok(part[1]))
		return KB_E_PATH;
	call->name = part[1];
	struct span last = part[n - 1];
	bool is_get = n == 2 || (n == 3 && (last.len == 0 || version_ok(last)));
	if (n >= 3 && n <= 4 && span_eq_cstr(last, "release")) {
		call->op = KEYVAULT_RELEASE;
		call->version = n == 4 ? part[2] : span_of(NULL, 0);
	} else if (n == 3 && span_eq_cstr(last, "nonce")) {
		call->op = KEYVAULT_NONCE;
	} else if (is_get) {
		call->op = KEYVAULT_GET;
		call->version = n == 3 ? last : span_of(NULL, 0);
	} else {
		return KB_E_PATH;
	}
	if (rq->method != (call->op == KEYVAULT_GET ? FRAME_GET : FRAME_POST))
		return KB_E_METHOD;
	enum kb_err err = find_api_version(rq->query, call, &used);
	if (err != KB_OK)
		return err;
	if (call->op == KEYVAULT_RELEASE && !call->is_release_version)
		return KB_E_API_VERSION;
	return call->version.len == 0 || version_ok(call->version) ? KB_OK : KB_E_KEY_NOT_FOUND;
}

/* A member of the body as either reader found it: absent (null is as good), a string, or something
 * else. */
enum member { MEMBER_ABSENT, MEMBER_STRING, MEMBER_OTHER };

static enum member body_member(const struct keyvault_call *call, const struct json_pair *pairs,
			       size_t n, const char *name, struct span *out)
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

enum kb_err keyvault_body(const struct frame_request *rq, struct keyvault_call *call)
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

void keyvault_call_free(struct keyvault_call *call)
{
	json_free(call->body);
	call->body = NULL;
}

/* ---- refusals ---- */

int keyvault_status(enum kb_err code)
{
	if (code == KB_E_METHOD)
		return 405;
	if (code == KB_E_CONTENT_TYPE)
		return 415;
	return kb_err_status(code);
}

#define VERIFY_FAILED "Target environment attestation statement cannot be verified."

static void error_body(struct buf *b, const char *code, struct span message, const char *inner)
{
	buf_add_str(b, "{\"error\":{");
	json_add_member(b, "code", span_str(code));
	json_add_member(b, "message", message);
	if (inner != NULL) {
		json_add_name(b, "innererror");
		buf_add_str(b, "{");
		json_add_member(b, "code", span_str(inner));
		buf_add_str(b, "}");
	}
	buf_add_str(b, "}}");
}

static void version_body(const struct keyvault_call *call, struct buf *b)
{
	KB_AUTO(buf) struct buf text;

	buf_init(&text, 1024);
	if (call->op == KEYVAULT_RELEASE && call->api_version.len > 0 &&
	    !call->is_release_version) {
		buf_add_str(&text, "Release is not enabled in API Version '");
		buf_add_span(&text, span_sub(call->api_version, 0, 64));
		buf_add_str(&text, "'. Use '7.3' or later.");
		error_body(b, "BadParameter", buf_span(&text), "ProtocolNotSupported");
		return;
	}
	buf_add_str(&text, "The specified version (");
	buf_add_span(&text, span_sub(call->api_version, 0, 64));
	buf_add_str(&text, ") is not recognized. Consider using the latest supported version "
			   "(" API_VERSION_LATEST ").");
	error_body(b, "BadParameter", buf_span(&text), NULL);
}

static void not_found_body(const struct keyvault_call *call, struct buf *b)
{
	KB_AUTO(buf) struct buf text;

	buf_init(&text, 1024);
	buf_add_str(&text, "A key with (name/id) ");
	buf_add_span(&text, span_sub(call->name, 0, KB_MAX_KEY_NAME));
	if (call->version.len > 0) {
		buf_add_str(&text, "/");
		buf_add_span(&text, span_sub(call->version, 0, 64));
	}
	buf_add_str(&text, " was not found in this key vault.");
	error_body(b, "KeyNotFound", buf_span(&text), NULL);
}

/* Codes that read differently from their class; all others speak with their class's voice. */
static const struct {
	enum kb_err err;
	const char *code, *message, *inner;
} special[] = {
	{KB_E_NO_CREDENTIAL, "Unauthorized", "AKV10000: Request is missing a Bearer or PoP token.",
	 NULL},
	{KB_E_CREDENTIAL, "Unauthorized",
	 "AKV10022: The token or certificate presented is not accepted here.", NULL},
	{KB_E_PATH, "NotFound", "There is nothing at this path.", NULL},
	{KB_E_METHOD, "MethodNotAllowed", "This method is not allowed here.", NULL},
	{KB_E_CONTENT_TYPE, "UnsupportedMediaType", "The body must be application/json.", NULL},
	{KB_E_BODY_FORMAT, "BadParameter", "The body is not one well-formed JSON object.", NULL},
	{KB_E_BODY_MEMBER, "BadParameter",
	 "'target' must be a string that is not empty; 'nonce', when sent, a string of at most 256 "
	 "bytes.",
	 NULL},
	{KB_E_ENC, "BadParameter",
	 "'enc' must be CKM_RSA_AES_KEY_WRAP, RSA_AES_KEY_WRAP_256 or RSA_AES_KEY_WRAP_384.", NULL},
	{KB_E_KEY_DISABLED, "Forbidden", "Operation release is not allowed on a disabled key.",
	 "KeyDisabled"},
	{KB_E_KEY_NOT_YET, "Forbidden",
	 "Operation release is not allowed on a key that is not yet valid.", "KeyNotYetValid"},
	{KB_E_KEY_EXPIRED, "Forbidden", "Operation release is not allowed on an expired key.",
	 "KeyExpired"},
	{KB_E_KEY_NOT_EXPORTABLE, "Forbidden",
	 "Operation release is not allowed on a key that is not exportable.", "AccessDenied"},
	{KB_E_NO_POLICY, "Forbidden",
	 "Operation release is not allowed on a key without release policy.", "AccessDenied"},
};

void keyvault_error(enum kb_err code, const struct keyvault_call *call, struct buf *b)
{
	if (code == KB_E_API_VERSION) {
		version_body(call, b);
		return;
	}
	if (code == KB_E_KEY_NOT_FOUND) {
		not_found_body(call, b);
		return;
	}
	for (size_t i = 0; i < sizeof special / sizeof special[0]; i++)
		if (special[i].err == code) {
			error_body(b, special[i].code, span_str(special[i].message),
				   special[i].inner);
			return;
		}
	switch (kb_err_class(code)) {
	case KB_CLASS_DENY:
		error_body(b, "Forbidden", span_str(VERIFY_FAILED), "AccessDenied");
		return;
	case KB_CLASS_AUTH:
		error_body(b, "Unauthorized", span_str("Not authorized."), NULL);
		return;
	case KB_CLASS_BAD:
	case KB_CLASS_NOT_FOUND:
		error_body(b, "BadParameter", span_str("The request is not valid."), NULL);
		return;
	case KB_CLASS_BUSY:
	case KB_CLASS_HSM:
		error_body(b, "ServiceUnavailable",
			   span_str("The service cannot answer now. Try again after the time in "
				    "Retry-After."),
			   NULL);
		return;
	case KB_CLASS_OK:
	case KB_CLASS_LOCAL:
	case KB_CLASS_BUG:
		error_body(b, "InternalServerError", span_str("An internal error occurred."), NULL);
		return;
	}
	KB_BUG();
}

void keyvault_challenge(const struct listener_config *listener, struct buf *text)
{
	/* The SDK's parser wants a space after the comma. */
	buf_add_str(text, "Bearer authorization=\"");
	buf_add_str(text, listener->challenge_authorization);
	buf_add_str(text, "\", resource=\"");
	buf_add_str(text, listener->challenge_resource);
	buf_add_str(text, "\"");
}

/* ---- what a key looks like ---- */

static void add_kid(struct buf *b, const struct keyvault_key *key, struct span version)
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

static void add_b64_member(struct buf *b, const char *name, const uint8_t *p, size_t len)
{
	json_add_name(b, name);
	buf_add_str(b, "\"");
	b64url_encode(b, span_of(p, len));
	buf_add_str(b, "\"");
}

/* kid … public numbers; the object is left open for key_hsm. */
static void add_jwk(struct buf *b, const struct keyvault_key *key)
{
	const struct hsm_public *pub = key->public;

	buf_add_str(b, "{");
	add_kid(b, key, span_str(key->version->version));
	json_add_name(b, "kty");
	buf_addf(b, "\"%s%s\"", kty_name(key->record->kty), key->record->is_hsm ? "-HSM" : "");
	json_add_name(b, "key_ops");
	buf_add_str(b, "[");
	for (unsigned i = 0; i < key->record->n_ops; i++)
		buf_addf(b, "%s\"%s\"", i == 0 ? "" : ",", key_op_name(key->record->op_order[i]));
	buf_add_str(b, "]");
	switch (pub->kty) {
	case KB_KTY_RSA:
		add_b64_member(b, "n", pub->n, pub->n_len);
		add_b64_member(b, "e", pub->e, pub->e_len);
		return;
	case KB_KTY_EC:
		json_add_member(b, "crv", span_str(crv_name(pub->crv)));
		add_b64_member(b, "x", pub->x, pub->xy_len);
		add_b64_member(b, "y", pub->y, pub->xy_len);
		return;
	case KB_KTY_OCT:
		return; /* symmetric key material is never told */
	}
	KB_BUG();
}

static void add_rest(struct buf *b, const struct keyvault_key *key, bool has_content_type)
{
	const struct key_record *r = key->record;

	json_add_name(b, "attributes");
	buf_add_str(b, "{");
	json_add_bool(b, "enabled", r->enabled);
	if (r->not_before != 0)
		json_add_int(b, "nbf", r->not_before);
	if (r->expires != 0)
		json_add_int(b, "exp", r->expires);
	json_add_int(b, "created", key->version->created);
	json_add_int(b, "updated",
		     r->updated > key->version->created ? r->updated : key->version->created);
	json_add_member(
		b, "recoveryLevel",
		span_str("Purgeable")); /* a deleted key is gone: there is no soft delete here */
	if (r->exportable)
		json_add_bool(b, "exportable", true);
	buf_add_str(b, "}");
	json_add_name(b, "tags");
	buf_add_str(b, "{");
	for (size_t i = 0; i < r->n_tags; i++)
		json_add_member(b, r->tags[i].name, span_str(r->tags[i].value));
	buf_add_str(b, "}");
	if (key->policy_b64.len == 0)
		return;
	json_add_name(b, "release_policy");
	buf_add_str(b, "{");
	if (has_content_type)
		json_add_member(b, "contentType", span_str("application/json; charset=utf-8"));
	json_add_name(b, "data");
	buf_add_str(b, "\"");
	buf_add_span(b, key->policy_b64);
	buf_add_str(b, "\"");
	json_add_bool(b, "immutable", r->policy_immutable);
	buf_add_str(b, "}");
}

void keyvault_bundle(const struct keyvault_key *key, struct buf *b)
{
	buf_add_str(b, "{\"key\":");
	add_jwk(b, key);
	buf_add_str(b, "}");
	add_rest(b, key, true);
	buf_add_str(b, "}");
}

/* ---- the release reply ---- */

static void x509_stack_cleanup(STACK_OF(X509) * *chain)
{
	sk_X509_pop_free(*chain, X509_free);
}

static enum kb_err read_chain(struct span pem, STACK_OF(X509) * chain)
{
	BIO *bio = BIO_new_mem_buf(pem.p, (int)pem.len);

	if (bio == NULL)
		return KB_E_NOMEM;
	for (X509 *cert; (cert = PEM_read_bio_X509(bio, NULL, NULL, NULL)) != NULL;)
		if (sk_X509_num(chain) >= KB_MAX_X5C || sk_X509_push(chain, cert) == 0) {
			X509_free(cert);
			BIO_free(bio);
			return KB_E_CONFIG;
		}
	BIO_free(bio);
	int n = sk_X509_num(chain);
	if (n < 2)
		return KB_E_CONFIG;
	EVP_PKEY *leaf_key = X509_get0_pubkey(
		sk_X509_value(chain, 0)); /* NULL: of a kind that OpenSSL does not know */
	if (leaf_key == NULL || EVP_PKEY_get_base_id(leaf_key) != EVP_PKEY_RSA)
		return KB_E_CONFIG;
	/* Clients rebuild the chain from x5c and drop the last one as the root: each is issued by
	 * the next, the last by itself. */
	for (int i = 0; i < n; i++) {
		X509 *issuer = sk_X509_value(chain, i + 1 < n ? i + 1 : i);
		if (X509_check_issued(issuer, sk_X509_value(chain, i)) != X509_V_OK ||
		    X509_verify(sk_X509_value(chain, i), X509_get0_pubkey(issuer)) != 1)
			return KB_E_CONFIG;
	}
	return KB_OK;
}

enum kb_err keyvault_jws_header(struct span pem, struct buf *header_b64, struct buf *leaf_der)
{
	__attribute__((cleanup(x509_stack_cleanup))) STACK_OF(X509) *chain = sk_X509_new_null();
	KB_AUTO(buf) struct buf json, certs;
	uint8_t sha1[20] = {0}, sha256[32] = {0};
	bool is_hashed = false;

	buf_init(&json, KB_MAX_REPLY);
	buf_init(&certs, KB_MAX_REPLY);
	if (chain == NULL)
		return KB_E_NOMEM;
	enum kb_err err = read_chain(pem, chain);
	if (err != KB_OK)
		return err;
	for (int i = 0; i < sk_X509_num(chain); i++) {
		uint8_t *der = NULL;
		int len = i2d_X509(sk_X509_value(chain, i), &der);
		if (len <= 0)
			return KB_E_NOMEM;
		if (i == 0) {
			buf_add(leaf_der, der, (size_t)len);
			digest_sha256(span_of(der, (size_t)len), sha256);
			is_hashed = EVP_Digest(der, (size_t)len, sha1, NULL, EVP_sha1(), NULL) == 1;
		}
		buf_add_str(&certs, i == 0 ? "\"" : ",\"");
		b64_encode(&certs, span_of(der, (size_t)len));
		buf_add_str(&certs, "\"");
		OPENSSL_free(der);
	}
	/* kid is the upper-case hex of SHA-1(leaf), as Key Vault writes it (contracts: keyvault
	 * §1.2). */
	buf_add_str(&json, "{\"alg\":\"RS256\",\"kid\":\"");
	for (size_t i = 0; i < sizeof sha1; i++)
		buf_addf(&json, "%02X", sha1[i]);
	buf_add_str(&json, "\"");
	add_b64_member(&json, "x5t", sha1, sizeof sha1);
	json_add_member(&json, "typ", span_str("JWT"));
	add_b64_member(&json, "x5t#S256", sha256, sizeof sha256);
	buf_add_str(&json, ",\"x5c\":[");
	buf_add_span(&json, buf_span(&certs));
	buf_add_str(&json, "]}");
	if (!is_hashed)
		return KB_E_NOMEM;
	if ((err = buf_ok(&certs)) != KB_OK || (err = buf_ok(&json)) != KB_OK)
		return err;
	b64url_encode(header_b64, buf_span(&json));
	if ((err = buf_ok(leaf_der)) != KB_OK)
		return err;
	return buf_ok(header_b64);
}

static void add_key_hsm(struct buf *b, struct span kek_kid, const struct wrap_scheme *scheme,
			struct span wrapped)
{
	KB_AUTO(buf) struct buf hsm;

	buf_init(&hsm, 16384);
	buf_add_str(&hsm, "{\"schema_version\":\"1.0\",\"header\":{");
	json_add_member(&hsm, "kid", kek_kid);
	json_add_member(&hsm, "alg", span_str("dir"));
	json_add_member(&hsm, "enc", span_str(scheme->name));
	buf_add_str(&hsm, "},\"ciphertext\":\"");
	b64url_encode(&hsm, wrapped);
	buf_add_str(&hsm, "\"}");
	if (buf_ok(&hsm) != KB_OK)
		b->failed = true;
	add_b64_member(b, "key_hsm", hsm.p, hsm.len);
}

void keyvault_jws_input(const struct keyvault_call *call, const struct keyvault_key *key,
			struct span kek_kid, struct span wrapped, struct span header_b64,
			struct buf *payload, struct buf *input)
{
	buf_reset(payload);
	buf_add_str(payload, "{\"request\":{");
	json_add_member(payload, "api-version", call->api_version);
	json_add_member(payload, "enc", span_str(call->scheme->name));
	add_kid(payload, key, call->version); /* as the URL had it: versioned or not */
	if (call->nonce.len > 0)
		json_add_member(payload, "nonce", call->nonce);
	buf_add_str(payload, "},\"response\":{\"key\":{\"key\":");
	add_jwk(payload, key);
	add_key_hsm(payload, kek_kid, call->scheme, wrapped);
	buf_add_str(payload, "}");
	add_rest(payload, key, false);
	buf_add_str(payload, "}}}");
	if (buf_ok(payload) != KB_OK)
		input->failed = true;
	buf_add_span(input, header_b64);
	buf_add_str(input, ".");
	b64url_encode(input, buf_span(payload));
}

void keyvault_release(struct span input, struct span signature, struct buf *body)
{
	buf_add_str(body, "{\"value\":\"");
	buf_add_span(body, input);
	buf_add_str(body, ".");
	b64url_encode(body, signature);
	buf_add_str(body, "\"}");
}

void keyvault_nonce(struct span nonce, struct buf *body)
{
	buf_add_str(body, "{");
	json_add_member(body, "value", nonce);
	buf_add_str(body, "}");
}
