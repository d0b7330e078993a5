/* tests/unit/api/test_keyvault.c — the Key Vault dialect: every URL form that real clients send,
 * status and body of every refusal, and a reply compared with a real one. */
#include <jansson.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "api/keyvault.h"
#include "base/b64url.h"
#include "base/json.h"
#include "base/limits.h"

#define VERSION "0123456789abcdef0123456789abcdef"

static char base_url[] = "https://vault.example:8443";
static char authorization[] = "https://login.example/tenant";
static char resource[] = "https://vault.example";
static const struct api_place place = {.base_url = base_url,
				       .challenge_authorization = authorization,
				       .challenge_resource = resource};

static enum kb_err route(enum kb_method method, const char *target, const char *query,
			 struct call *call)
{
	struct api_request rq = {.method = (unsigned)method,
				 .target = span_str(target),
				 .query = span_str(query),
				 .is_json = true};

	return keyvault_api.route(&rq, &place, call);
}

static void assert_release(const char *target, const char *query, const char *version)
{
	struct call call;

	assert_int_equal(route(KB_METHOD_POST, target, query, &call), KB_OK);
	assert_int_equal(call.verb, VERB_RELEASE);
	assert_true(span_eq_cstr(call.key, "disk-1"));
	assert_true(span_eq_cstr(call.version, version));
}

static void test_route_takes_every_url_form_clients_send(void **state)
{
	struct call call;

	(void)state;
	assert_release("/keys/disk-1/release", "api-version=7.4", "");
	assert_release("/keys/disk-1//release", "api-version=7.3", "");
	assert_release("/keys/disk-1/" VERSION "/release", "api-version=7.4", VERSION);
	assert_release("/keys/disk%2D1/release", "api%2Dversion=2025-07-01", "");
	assert_release("/keys/disk-1/release", "x=1&api-version=7.3-preview", "");
	assert_int_equal(route(KB_METHOD_GET, "/keys/disk-1", "api-version=7.0", &call), KB_OK);
	assert_int_equal(call.verb, VERB_GET_KEY);
	assert_int_equal(route(KB_METHOD_GET, "/keys/disk-1/", "api-version=7.4", &call), KB_OK);
	assert_int_equal(call.version.len, 0);
	assert_int_equal(route(KB_METHOD_GET, "/keys/disk-1/" VERSION, "api-version=7.4", &call),
			 KB_OK);
	assert_true(span_eq_cstr(call.version, VERSION));
	assert_int_equal(route(KB_METHOD_POST, "/keys/disk-1/nonce", "api-version=7.4", &call),
			 KB_OK);
	assert_int_equal(call.verb, VERB_NONCE);
}

static void test_route_takes_the_path_of_base_url(void **state)
{
	struct call call;
	char url[] = "https://h.example/tenant/a";
	struct api_place below = place;
	struct api_request rq = {.method = KB_METHOD_POST,
				 .target = span_str("/tenant/a/keys/k/release"),
				 .query = span_str("api-version=7.4")};

	(void)state;
	below.base_url = url;
	assert_int_equal(keyvault_api.route(&rq, &below, &call), KB_OK);
	rq.target = span_str("/tenant/b/keys/k/release");
	assert_int_equal(keyvault_api.route(&rq, &below, &call), KB_E_PATH);
}

static void test_b15_route_refuses_other_paths(void **state)
{
	static const char *const bad[] = {"",
					  "/",
					  "/keys",
					  "/keys/",
					  "/Keys/a/release",
					  "/keys/a%00b/release",
					  "/keys/a/../b",
					  "//keys/a/release",
					  "/keys/a/b/c/release",
					  "/keys/a%2Fb/release",
					  "/keys/a%2/release",
					  "/keys/a%zz/release",
					  "/secrets/a",
					  "/keys/a_b/release",
					  "/keys/a/release/",
					  "/keys/a/" VERSION "/nonce",
					  "keys/a"};
	struct call call;

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		if (route(KB_METHOD_POST, bad[i], "api-version=7.4", &call) != KB_E_PATH)
			fail_msg("%s is taken", bad[i]);
	char longest[1200];
	memset(longest, 'a', sizeof longest - 1);
	memcpy(longest, "/keys/", 6);
	longest[sizeof longest - 1] = '\0';
	assert_int_equal(route(KB_METHOD_GET, longest, "api-version=7.4", &call), KB_E_PATH);
}

static void test_route_refuses_methods(void **state)
{
	struct call call;

	(void)state;
	assert_int_equal(route(KB_METHOD_GET, "/keys/a/release", "api-version=7.4", &call),
			 KB_E_METHOD);
	assert_int_equal(route(KB_METHOD_PUT, "/keys/a", "api-version=7.4", &call), KB_E_METHOD);
	assert_int_equal(route(KB_METHOD_DELETE, "/keys/a", "api-version=7.4", &call), KB_E_METHOD);
}

static void test_route_checks_api_version(void **state)
{
	static const char *const bad[] = {"",
					  "api-version=",
					  "api-version=6.0",
					  "api-version=7.4&api-version=7.4",
					  "API-VERSION=7.4",
					  "api-version=7.4%",
					  "%zz=1&api-version=7.4",
					  "api-version"};
	struct call call;

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		if (route(KB_METHOD_POST, "/keys/a/release", bad[i], &call) != KB_E_API_VERSION)
			fail_msg("%s is taken", bad[i]);
	assert_int_equal(route(KB_METHOD_POST, "/keys/a/release", "api-version=7.2", &call),
			 KB_E_API_VERSION);
	assert_int_equal(route(KB_METHOD_GET, "/keys/a", "api-version=7.2", &call), KB_OK);
}

/* A new SDK asks for a new version: what is newer and well formed is served. */
static void test_route_takes_newer_api_versions(void **state)
{
	static const char *const good[] = {"7.3-preview",
					   "7.3",
					   "7.6-preview.2",
					   "7.7",
					   "7.10",
					   "7.99",
					   "8.0",
					   "10.1-preview",
					   "2025-07-01",
					   "2025-06-01-preview",
					   "2026-12-31",
					   "2031-01-01",
					   "2027-02-28-preview.10",
					   "7.7-preview"};
	static const char *const bad[] = {"7",
					  "7.",
					  "7.x",
					  ".7",
					  "7.4.1",
					  "7.03",
					  "07.4",
					  "7.4-",
					  "7.4-beta",
					  "7.4-preview.",
					  "7.4preview",
					  "7.4 ",
					  "7.4-preview.x",
					  "7.1000",
					  "100.0",
					  "-7.4",
					  "7.-4",
					  "2026-13-01",
					  "2026-00-01",
					  "2026-1-1",
					  "2026-01-32",
					  "2026-01-00",
					  "2026-01",
					  "20260101",
					  "2026-01-01-",
					  "2026-01-01x",
					  "99999-01-01",
					  "latest",
					  "7.4-preview.1.2"};
	static const char *const old[] = {"7.2",        "7.0",        "7.2-preview", "6.9",
					  "2016-10-01", "2015-06-01", "2025-05-31",  "1.0"};
	struct call call;

	(void)state;
	for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
		char query[64];
		snprintf(query, sizeof query, "api-version=%s", good[i]);
		if (route(KB_METHOD_POST, "/keys/a/release", query, &call) != KB_OK)
			fail_msg("%s is refused", good[i]);
	}
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		if (keyvault_version_age(span_str(bad[i])) != API_UNKNOWN)
			fail_msg("%s is taken", bad[i]);
	for (size_t i = 0; i < sizeof old / sizeof old[0]; i++) {
		struct call c = {.verb = VERB_RELEASE, .api_version = span_str(old[i])};
		KB_AUTO(buf) struct buf b;
		char query[64];
		buf_init(&b, 4096);
		snprintf(query, sizeof query, "api-version=%s", old[i]);
		if (route(KB_METHOD_POST, "/keys/a/release", query, &call) != KB_E_API_VERSION)
			fail_msg("%s is taken", old[i]);
		assert_int_equal(keyvault_refuse(KB_E_API_VERSION, &c, &b), 400);
		buf_add(&b, "", 1);
		assert_non_null(strstr((const char *)b.p, "Use '7.3' or later."));
	}
}

static void test_route_refuses_versions_that_cannot_be(void **state)
{
	struct call call;

	(void)state;
	assert_int_equal(route(KB_METHOD_POST, "/keys/a/0123/release", "api-version=7.4", &call),
			 KB_E_KEY_NOT_FOUND);
	assert_int_equal(route(KB_METHOD_POST, "/keys/a/0123456789ABCDEF0123456789ABCDEF/release",
			       "api-version=7.4", &call),
			 KB_E_KEY_NOT_FOUND);
}

static enum kb_err body(const char *text, size_t len, struct call *call)
{
	struct api_request rq = {
		.method = KB_METHOD_POST, .is_json = true, .body = span_of(text, len)};

	*call = (struct call){.scheme = &schemes[0]};
	return keyvault_api.read(&rq, call);
}

static void assert_body(enum kb_err want, const char *text)
{
	struct call call;
	enum kb_err err = body(text, strlen(text), &call);

	if (err != want)
		fail_msg("%s: %s, expected %s", text, kb_err_name(err), kb_err_name(want));
	call_free(&call);
}

static void test_body_members(void **state)
{
	struct call call;
	const char *all =
		"{\"nonce\":\"ADE0101\",\"target\":\"a.b.c\",\"enc\":\"RSA_AES_KEY_WRAP_256\"}";

	(void)state;
	assert_int_equal(body(all, strlen(all), &call), KB_OK);
	assert_true(span_eq_cstr(call.nonce, "ADE0101"));
	assert_true(span_eq_cstr(call.token, "a.b.c"));
	assert_ptr_equal(call.scheme, &schemes[1]);
	call_free(&call);
	assert_int_equal(body("{\"target\":\"a\"}", 14, &call), KB_OK);
	assert_ptr_equal(call.scheme, &schemes[0]); /* absent means SHA-1, as in Azure's service */
	call_free(&call);
	assert_body(KB_OK, "{\"target\":\"a\",\"nonce\":null,\"enc\":null}");
	assert_body(KB_E_BODY_FORMAT, "");
	assert_body(KB_E_BODY_FORMAT, "[]");
	assert_body(KB_E_BODY_FORMAT, "{\"target\":\"a\"} x");
	assert_body(KB_E_BODY_FORMAT, "{\"target\":\"a\",\"target\":\"b\"}");
	assert_body(KB_E_BODY_MEMBER, "{}");
	assert_body(KB_E_BODY_MEMBER, "{\"target\":\"\"}");
	assert_body(KB_E_BODY_MEMBER, "{\"target\":1}");
	assert_body(KB_E_BODY_MEMBER, "{\"target\":\"a\",\"nonce\":7}");
	assert_body(KB_E_ENC, "{\"target\":\"a\",\"enc\":\"RSA1_5\"}");
	assert_body(KB_E_ENC, "{\"target\":\"a\",\"enc\":\"rsa_aes_key_wrap_256\"}");
	assert_body(KB_E_ENC, "{\"target\":\"a\",\"enc\":\"\"}");
	assert_body(KB_E_ENC, "{\"target\":\"a\",\"enc\":[]}");
}

static void test_body_nonce_limit(void **state)
{
	static const struct {
		size_t len;
		enum kb_err want;
	} cases[] = {{KB_MAX_NONCE, KB_OK},
		     {KB_MAX_NONCE + 1, KB_E_BODY_MEMBER},
		     {KB_MAX_NONCE * 10, KB_E_BODY_MEMBER}};

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		char text[KB_MAX_NONCE * 10 + 64];
		int n = snprintf(text, sizeof text, "{\"target\":\"a\",\"nonce\":\"%0*d\"}",
				 (int)cases[i].len, 0);
		assert_true(n > 0 && (size_t)n < sizeof text);
		assert_body(cases[i].want, text);
	}
}

static void test_a29_token_at_and_over_the_limit(void **state)
{
	(void)state;
	for (size_t over = 0; over < 2; over++) {
		struct call call;
		size_t len = KB_MAX_TOKEN + over;
		char *text = malloc(len + 32);
		assert_non_null(text);
		memcpy(text, "{\"target\":\"", 11);
		memset(text + 11, 'a', len);
		memcpy(text + 11 + len, "\"}", 2);
		assert_int_equal(body(text, len + 13, &call), over == 0 ? KB_OK : KB_E_TOKEN_SIZE);
		call_free(&call);
		free(text);
	}
}

static void test_body_must_be_json(void **state)
{
	struct api_request rq = {
		.method = KB_METHOD_POST, .is_json = false, .body = span_str("{\"target\":\"a\"}")};
	struct call call = {.scheme = &schemes[0]};

	(void)state;
	assert_int_equal(keyvault_api.read(&rq, &call), KB_E_CONTENT_TYPE);
}

/* {"error":{"code","message"[,"innererror":{"code"}]}} — what SDKs read. */
static void assert_error(enum kb_err err, int status, const char *code, const char *inner)
{
	struct call call = {
		.key = span_str("disk-1"), .verb = VERB_RELEASE, .api_version = span_str("9\"9")};
	KB_AUTO(buf) struct buf b;
	const char *got_code = NULL, *message = NULL, *got_inner = NULL;

	buf_init(&b, 4096);
	int got_status = keyvault_refuse(err, &call, &b);
	assert_int_equal(buf_ok(&b), KB_OK);
	json_t *j = json_loadb((const char *)b.p, b.len, JSON_REJECT_DUPLICATES, NULL);
	assert_int_equal(json_unpack(j, "{s:{s:s,s:s,s?{s:s}}}", "error", "code", &got_code,
				     "message", &message, "innererror", "code", &got_inner),
			 0);
	assert_int_equal(got_status, status);
	assert_string_equal(got_code, code);
	if (inner == NULL)
		assert_null(got_inner);
	else
		assert_string_equal(got_inner, inner);
	json_decref(j);
}

static void test_errors_read_as_key_vaults(void **state)
{
	(void)state;
	assert_error(KB_E_NO_CREDENTIAL, 401, "Unauthorized", NULL);
	assert_error(KB_E_CREDENTIAL, 401, "Unauthorized", NULL);
	assert_error(KB_E_KEY_NOT_FOUND, 404, "KeyNotFound", NULL);
	assert_error(KB_E_PATH, 404, "NotFound", NULL);
	assert_error(KB_E_METHOD, 405, "MethodNotAllowed", NULL);
	assert_error(KB_E_CONTENT_TYPE, 415, "UnsupportedMediaType", NULL);
	assert_error(KB_E_API_VERSION, 400, "BadParameter", "ProtocolNotSupported");
	assert_error(KB_E_BODY_FORMAT, 400, "BadParameter", NULL);
	assert_error(KB_E_BODY_MEMBER, 400, "BadParameter", NULL);
	assert_error(KB_E_ENC, 400, "BadParameter", NULL);
	assert_error(KB_E_KEY_DISABLED, 403, "Forbidden", "KeyDisabled");
	assert_error(KB_E_KEY_EXPIRED, 403, "Forbidden", "KeyExpired");
	assert_error(KB_E_KEY_NOT_YET, 403, "Forbidden", "KeyNotYetValid");
	assert_error(KB_E_KEY_NOT_EXPORTABLE, 403, "Forbidden", "AccessDenied");
	assert_error(KB_E_NO_POLICY, 403, "Forbidden", "AccessDenied");
	assert_error(KB_E_KID_PENDING, 503, "ServiceUnavailable", NULL);
	assert_error(KB_E_HSM_DEVICE, 503, "ServiceUnavailable", NULL);
	/* nothing that a retry could cure */
	assert_error(KB_E_HSM_KEY_MISSING, 403, "Forbidden", "AccessDenied");
	assert_error(KB_E_HSM_KEY_AMBIGUOUS, 403, "Forbidden", "AccessDenied");
	assert_error(KB_E_HSM_KEY_ATTR, 403, "Forbidden", "AccessDenied");
	assert_error(KB_E_HSM_MECHANISM, 403, "Forbidden", "AccessDenied");
	assert_error(KB_E_HSM_URI, 403, "Forbidden", "AccessDenied");
	assert_error(KB_E_HSM_SIGNER, 503, "ServiceUnavailable", NULL);
	assert_error(KB_E_FRAME, 500, "InternalServerError", NULL);
	assert_error(KB_E_HTTP_SYNTAX, 400, "BadParameter", NULL);
}

/* Whatever check refused the token, the client receives the same bytes. */
static void test_a37_refusals_of_tokens_are_indistinguishable(void **state)
{
	static const enum kb_err codes[] = {
		KB_E_TOKEN_ALG,      KB_E_TOKEN_SIGNATURE, KB_E_EXPIRED,        KB_E_POLICY,
		KB_E_DEBUG_EVIDENCE, KB_E_KEY_BINDING,     KB_E_JSON_DUPLICATE, KB_E_ISSUER,
		KB_E_NONCE,          KB_E_REPLAY,          KB_E_KID_UNKNOWN};
	KB_AUTO(buf) struct buf first, b;
	struct call call = {0};

	(void)state;
	buf_init(&first, 4096);
	buf_init(&b, 4096);
	assert_int_equal(keyvault_refuse(codes[0], &call, &first), 403);
	assert_non_null(memmem(first.p, first.len,
			       "Target environment attestation statement cannot be verified.", 60));
	for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++) {
		buf_reset(&b);
		assert_int_equal(keyvault_refuse(codes[i], &call, &b), 403);
		assert_true(span_eq(buf_span(&b), buf_span(&first)));
	}
}

static void test_challenge_is_what_sdks_parse(void **state)
{
	KB_AUTO(buf) struct buf b;

	(void)state;
	buf_init(&b, 1024);
	keyvault_api.challenge(&place, &b);
	assert_true(span_eq_cstr(buf_span(&b),
				 "Bearer authorization=\"https://login.example/tenant\", "
				 "resource=\"https://vault.example\""));
}

/* ---- the reply, compared with a real one ---- */

static EVP_PKEY *new_key(void)
{
	return EVP_RSA_gen(2048);
}

static X509 *new_cert(const char *cn, EVP_PKEY *key, const char *issuer_cn, EVP_PKEY *issuer_key)
{
	X509 *c = X509_new();
	X509_NAME *name = X509_NAME_new(), *issuer = X509_NAME_new();

	assert_int_equal(X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
						    (const unsigned char *)cn, -1, -1, 0),
			 1);
	assert_int_equal(X509_NAME_add_entry_by_txt(issuer, "CN", MBSTRING_ASC,
						    (const unsigned char *)issuer_cn, -1, -1, 0),
			 1);
	X509_set_subject_name(c, name);
	X509_set_issuer_name(c, issuer);
	X509_NAME_free(name);
	X509_NAME_free(issuer);
	ASN1_INTEGER_set(X509_get_serialNumber(c), 7);
	X509_gmtime_adj(X509_getm_notBefore(c), 0);
	X509_gmtime_adj(X509_getm_notAfter(c), 3600);
	X509_set_pubkey(c, key);
	assert_true(X509_sign(c, issuer_key, EVP_sha256()) > 0);
	return c;
}

static struct {
	EVP_PKEY *leaf_key, *ca_key;
	X509 *leaf, *ca;
	struct buf pem; /* leaf, root */
} pki;

static void add_pem(struct buf *out, X509 *cert)
{
	BIO *bio = BIO_new(BIO_s_mem());
	char *p;

	assert_int_equal(PEM_write_bio_X509(bio, cert), 1);
	long n = BIO_get_mem_data(bio, &p);
	buf_add(out, p, (size_t)n);
	BIO_free(bio);
}

static int make_pki(void **state)
{
	(void)state;
	pki.leaf_key = new_key();
	pki.ca_key = new_key();
	pki.leaf = new_cert("leaf", pki.leaf_key, "root", pki.ca_key);
	pki.ca = new_cert("root", pki.ca_key, "root", pki.ca_key);
	buf_init(&pki.pem, 65536);
	add_pem(&pki.pem, pki.leaf);
	add_pem(&pki.pem, pki.ca);
	return 0;
}

static int free_pki(void **state)
{
	(void)state;
	EVP_PKEY_free(pki.leaf_key);
	EVP_PKEY_free(pki.ca_key);
	X509_free(pki.leaf);
	X509_free(pki.ca);
	buf_free(&pki.pem);
	return 0;
}

static void test_jws_header_refuses_doubtful_chains(void **state)
{
	KB_AUTO(buf) struct buf header, leaf, pem;

	(void)state;
	buf_init(&header, KB_MAX_REPLY);
	buf_init(&leaf, 65536);
	buf_init(&pem, 65536);
	assert_int_equal(keyvault_prepare(span_str(""), &header, &leaf), KB_E_CONFIG);
	add_pem(&pem, pki.ca); /* a root alone */
	assert_int_equal(keyvault_prepare(buf_span(&pem), &header, &leaf), KB_E_CONFIG);
	add_pem(&pem, pki.leaf); /* root before leaf */
	assert_int_equal(keyvault_prepare(buf_span(&pem), &header, &leaf), KB_E_CONFIG);
	buf_reset(&pem);
	X509 *forged = new_cert("leaf", pki.leaf_key, "root",
				pki.leaf_key); /* names the root as issuer, but signs itself */
	add_pem(&pem, forged);
	add_pem(&pem, pki.ca);
	assert_int_equal(keyvault_prepare(buf_span(&pem), &header, &leaf), KB_E_CONFIG);
	X509_free(forged);
	buf_reset(&pem);
	for (int i = 0; i <= KB_MAX_X5C; i++)
		add_pem(&pem, pki.ca);
	assert_int_equal(keyvault_prepare(buf_span(&pem), &header, &leaf), KB_E_CONFIG);
}

/* An unknown kind of key: the last number of rsaEncryption (RFC 8017 appendix C) is changed. */
static void test_jws_header_refuses_a_leaf_of_unknown_kind(void **state)
{
	static const uint8_t rsa[] = {0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01};
	KB_AUTO(buf) struct buf header, leaf, pem;
	uint8_t *der = NULL;

	(void)state;
	buf_init(&header, KB_MAX_REPLY);
	buf_init(&leaf, 65536);
	buf_init(&pem, 65536);
	int len = i2d_X509(pki.leaf, &der);
	assert_true(len > 0);
	uint8_t *oid = memmem(der, (size_t)len, rsa, sizeof rsa);
	assert_non_null(oid);
	oid[8] = 0x7f;
	const uint8_t *at = der;
	X509 *unknown = d2i_X509(NULL, &at, len);
	assert_non_null(unknown);
	add_pem(&pem, unknown);
	add_pem(&pem, pki.ca);
	assert_int_equal(keyvault_prepare(buf_span(&pem), &header, &leaf), KB_E_CONFIG);
	X509_free(unknown);
	OPENSSL_free(der);
}

/* The names of an object's members, in order, joined: "a,b,c". */
static void names_of(const json_t *obj, char out[static 256])
{
	void *it = NULL;
	const char *name;
	const struct json_t *value;

	out[0] = '\0';
	while (json_next(obj, &it, &name, &value))
		snprintf(out + strlen(out), 256 - strlen(out), "%s%s", out[0] == '\0' ? "" : ",",
			 name);
}

static void assert_names(const json_t *real, const json_t *ours)
{
	char a[256], b[256];

	names_of(real, a);
	names_of(ours, b);
	assert_string_equal(b, a);
}

static json_t *part(struct span jws, size_t index)
{
	KB_AUTO(buf) struct buf text;
	size_t from = 0;

	for (size_t i = 0; i < index; i++)
		from = span_find(jws, from, '.') + 1;
	buf_init(&text, KB_MAX_REPLY);
	assert_int_equal(
		b64url_decode(span_sub(jws, from, span_find(jws, from, '.') - from), &text), KB_OK);
	json_t *j = json_loadb((const char *)text.p, text.len, JSON_REJECT_DUPLICATES, NULL);
	assert_non_null(j);
	return j;
}

static struct key_record *ec_record(struct key_version *version)
{
	static char name[] = "disk-1";
	static struct key_record r;

	r = (struct key_record){
		.name = name,
		.kty = KB_KTY_EC,
		.is_hsm = true,
		.key_ops = KB_OP_SIGN | KB_OP_VERIFY,
		.op_order = {KB_OP_SIGN, KB_OP_VERIFY},
		.n_ops = 2,
		.enabled = true,
		.exportable = true,
		.created = 1662163960,
		.expires = KEY_NEVER,
		.policy_immutable = true,
		.versions = version,
		.n_versions = 1,
	};
	return &r;
}

static void test_reply_has_the_shape_of_a_real_release(void **state)
{
	struct key_version version = {.version = VERSION, .created = 1662163960};
	struct hsm_public public = {
		.kty = KB_KTY_EC, .crv = KB_CRV_P256, .x = {1}, .y = {2}, .xy_len = 32};
	struct call call = {
		.key = span_str("disk-1"), .api_version = span_str("7.3"), .scheme = &schemes[0]};
	struct api_key key = {.record = ec_record(&version),
			      .version = &version,
			      .public = &public,
			      .policy_b64 = span_str("e30"),
			      .base_url = base_url};
	KB_AUTO(buf) struct buf header, leaf, scratch, input, reply;
	static char real_text[20000];

	(void)state;
	buf_init(&header, KB_MAX_REPLY);
	buf_init(&leaf, 65536);
	buf_init(&scratch, KB_MAX_REPLY);
	buf_init(&input, KB_MAX_REPLY);
	buf_init(&reply, KB_MAX_REPLY);
	assert_int_equal(keyvault_prepare(buf_span(&pki.pem), &header, &leaf), KB_OK);
	struct api_release r = {.key = &key,
				.wrapped = span_str("wrapped"),
				.kek_kid = span_str("kek\"1"),
				.header = buf_span(&header)};
	keyvault_sign_input(&call, &r, &scratch, &input);
	r.input = buf_span(&input);
	r.signature = span_str("signature");
	keyvault_release(&r, &reply);
	assert_int_equal(buf_ok(&reply), KB_OK);

	FILE *f = fopen("tests/vectors/keyvault/real-akv-release-ec-p256k-7.3.jws", "r");
	assert_non_null(f);
	size_t n = fread(real_text, 1, sizeof real_text, f);
	fclose(f);
	while (n > 0 && real_text[n - 1] == '\n')
		n--;
	json_t *outer = json_loadb((const char *)reply.p, reply.len, 0, NULL);
	const char *jws = json_string_value(json_object_get(outer, "value"));
	assert_non_null(jws);

	json_t *real = part(span_of(real_text, n), 0), *ours = part(span_str(jws), 0);
	assert_names(real, ours);
	assert_int_equal(json_array_size(json_object_get(ours, "x5c")), 2);
	assert_int_equal(strlen(json_string_value(json_object_get(ours, "kid"))), 40);
	json_decref(real);
	json_decref(ours);

	real = part(span_of(real_text, n), 1);
	ours = part(span_str(jws), 1);
	assert_names(real, ours);
	assert_names(json_object_get(real, "request"), json_object_get(ours, "request"));
	json_t *real_key = json_object_get(json_object_get(real, "response"), "key");
	json_t *our_key = json_object_get(json_object_get(ours, "response"), "key");
	/* The recorded key had no tags; documentation shows them between attributes and policy. */
	char names[256];
	names_of(our_key, names);
	assert_string_equal(names, "key,attributes,tags,release_policy");
	assert_names(json_object_get(real_key, "key"), json_object_get(our_key, "key"));
	assert_names(json_object_get(real_key, "release_policy"),
		     json_object_get(our_key, "release_policy"));
	assert_string_equal(
		json_string_value(json_object_get(json_object_get(ours, "request"), "kid")),
		"https://vault.example:8443/keys/disk-1");
	assert_string_equal(
		json_string_value(json_object_get(json_object_get(our_key, "key"), "kid")),
		"https://vault.example:8443/keys/disk-1/" VERSION);

	KB_AUTO(buf) struct buf hsm;
	buf_init(&hsm, 4096);
	assert_int_equal(b64url_decode(span_str(json_string_value(json_object_get(
					       json_object_get(our_key, "key"), "key_hsm"))),
				       &hsm),
			 KB_OK);
	assert_true(span_eq_cstr(buf_span(&hsm), "{\"schema_version\":\"1.0\",\"header\":{\"kid\":"
						 "\"kek\\\"1\",\"alg\":\"dir\",\"enc\":\"CKM_RSA_"
						 "AES_KEY_WRAP\"},\"ciphertext\":\"d3JhcHBlZA\"}"));
	json_decref(real);
	json_decref(ours);
	json_decref(outer);
}

static void test_reply_mirrors_version_and_nonce_of_the_request(void **state)
{
	struct key_version version = {.version = VERSION, .created = 1};
	struct hsm_public public = {.kty = KB_KTY_OCT, .oct_len = 32};
	struct call call = {.key = span_str("DISK-1"),
			    .version = span_str(VERSION),
			    .api_version = span_str("7.4"),
			    .nonce = span_str("n\"1"),
			    .scheme = &schemes[2]};
	struct api_key key = {.record = ec_record(&version),
			      .version = &version,
			      .public = &public,
			      .base_url = base_url};
	KB_AUTO(buf) struct buf scratch, input;

	(void)state;
	buf_init(&scratch, KB_MAX_REPLY);
	buf_init(&input, KB_MAX_REPLY);
	struct api_release r = {.key = &key,
				.wrapped = span_str("w"),
				.kek_kid = span_str("k"),
				.header = span_str("h")};
	keyvault_sign_input(&call, &r, &scratch, &input);
	assert_non_null(memmem(scratch.p, scratch.len,
			       "/keys/disk-1/" VERSION "\",\"nonce\":\"n\\\"1\"}", 13 + 32 + 17));
	assert_non_null(memmem(scratch.p, scratch.len, "RSA_AES_KEY_WRAP_384", 20));
	assert_null(memmem(scratch.p, scratch.len, "release_policy", 14));
	assert_null(memmem(scratch.p, scratch.len, "\"n\":", 4));
}

static void test_bundle_of_an_rsa_key(void **state)
{
	static char tag_name[] = "a", tag_value[] = "b\"c";
	static struct key_tag tags[] = {{tag_name, tag_value}};
	struct key_version version = {.version = VERSION, .created = 100};
	struct hsm_public public = {
		.kty = KB_KTY_RSA, .n = {0xff, 1}, .n_len = 2, .e = {1, 0, 1}, .e_len = 3};
	struct key_record *r = ec_record(&version);
	struct api_key key = {.record = r,
			      .version = &version,
			      .public = &public,
			      .policy_b64 = span_str("e30"),
			      .base_url = base_url};
	KB_AUTO(buf) struct buf b;

	(void)state;
	r->kty = KB_KTY_RSA;
	r->updated = 200;
	r->not_before = 50;
	r->expires = 300;
	r->tags = tags;
	r->n_tags = 1;
	r->policy_immutable = false;
	buf_init(&b, KB_MAX_REPLY);
	keyvault_key(&key, &b);
	assert_true(span_eq_cstr(
		buf_span(&b), "{\"key\":{\"kid\":\"https://vault.example:8443/keys/disk-1/" VERSION
			      "\",\"kty\":\"RSA-HSM\",\"key_ops\":[\"sign\",\"verify\"],\"n\":\"_"
			      "wE\",\"e\":\"AQAB\"},\"attributes\":{\"enabled\":true,\"nbf\":50,"
			      "\"exp\":300,\"created\":100,\"updated\":200,\"recoveryLevel\":"
			      "\"Purgeable\",\"exportable\":true},\"tags\":{\"a\":\"b\\\"c\"},"
			      "\"release_"
			      "policy\":{\"contentType\":\"application/json; "
			      "charset=utf-8\",\"data\":\"e30\",\"immutable\":false}}"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_route_takes_every_url_form_clients_send),
		cmocka_unit_test(test_route_takes_the_path_of_base_url),
		cmocka_unit_test(test_b15_route_refuses_other_paths),
		cmocka_unit_test(test_route_refuses_methods),
		cmocka_unit_test(test_route_checks_api_version),
		cmocka_unit_test(test_route_takes_newer_api_versions),
		cmocka_unit_test(test_route_refuses_versions_that_cannot_be),
		cmocka_unit_test(test_body_members),
		cmocka_unit_test(test_body_nonce_limit),
		cmocka_unit_test(test_a29_token_at_and_over_the_limit),
		cmocka_unit_test(test_body_must_be_json),
		cmocka_unit_test(test_errors_read_as_key_vaults),
		cmocka_unit_test(test_a37_refusals_of_tokens_are_indistinguishable),
		cmocka_unit_test(test_challenge_is_what_sdks_parse),
		cmocka_unit_test(test_jws_header_refuses_doubtful_chains),
		cmocka_unit_test(test_jws_header_refuses_a_leaf_of_unknown_kind),
		cmocka_unit_test(test_reply_has_the_shape_of_a_real_release),
		cmocka_unit_test(test_reply_mirrors_version_and_nonce_of_the_request),
		cmocka_unit_test(test_bundle_of_an_rsa_key),
	};

	return cmocka_run_group_tests(tests, make_pki, free_pki);
}
