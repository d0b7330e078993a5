/* tests/e2e/client_sidecar.c — the SKR sidecar of confidential containers, as its Go code asks and
 * checks. Decides what that client accepts.  Trusts the pool of roots that it is given, in the
 * place of the system's.  Must never check less than the sidecar does. */
#include "tests/e2e/clients.h"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

enum { BODY_MAX = 1 << 20, WRAPPED_AES = 256 /* fixed: its own key has 2048 bits */ };

const char *sidecar_ask(const struct place *at, const char *endpoint, const char *key,
			const char *token, struct reply *out)
{
	static const uint8_t protocols[] =
		"\x02h2\x08http/1.1"; /* Go offers both, and uses what is chosen */
	size_t cap = strlen(token) + 32;
	char head[1024], *body = malloc(cap);
	memset(out, 0, sizeof *out);
	if (body == NULL ||
	    SSL_CTX_set_alpn_protos(at->tls, protocols, sizeof protocols - 1) != 0) {
		free(body);
		return "no memory";
	}
	int len = snprintf(body, cap, "{\"target\":\"%s\"}", token);
	snprintf(head, sizeof head,
		 "POST /keys/%s/release?api-version=7.4 HTTP/1.1\r\nHost: %s\r\nUser-Agent: "
		 "Go-http-client/1.1\r\nContent-Length: %d\r\n"
		 "Authorization: Bearer access-token\r\nContent-Type: "
		 "application/json\r\nAccept-Encoding: gzip\r\n\r\n",
		 key, endpoint, len);
	const char *why = client_call(at, head, body, out);
	free(body);
	return why;
}

/* Go's Certificate.Verify: names from SAN alone, EKU serverAuth, now.  Of x5c it takes [1 … len −
 * 2]: the last one is taken for the root. */
static const char *check_chain(X509 *leaf, const json_t *x5c, const char *endpoint,
			       X509_STORE *pool)
{
	const char *why = "x5c";
	STACK_OF(X509) *between = sk_X509_new_null();
	X509_STORE_CTX *ctx = X509_STORE_CTX_new();
	for (size_t i = 1; i + 1 < json_array_size(x5c); i++) {
		X509 *c = client_certificate(json_array_get(x5c, i));
		if (c == NULL || sk_X509_push(between, c) == 0)
			goto out;
	}
	if (ctx == NULL || X509_STORE_CTX_init(ctx, pool, leaf, between) != 1)
		goto out;
	X509_VERIFY_PARAM *param = X509_STORE_CTX_get0_param(ctx);
	X509_STORE_CTX_set_purpose(ctx, X509_PURPOSE_SSL_SERVER);
	X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NEVER_CHECK_SUBJECT |
						       X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
	X509_VERIFY_PARAM_set1_host(param, endpoint, 0);
	why = X509_verify_cert(ctx) == 1
		      ? NULL
		      : wrong("chain: %s",
			      X509_verify_cert_error_string(X509_STORE_CTX_get_error(ctx)));
out:
	X509_STORE_CTX_free(ctx);
	sk_X509_pop_free(between, X509_free);
	ERR_clear_error();
	return why;
}

/* Signature first, by the algorithm that the header names; then its chain. */
static const char *check_signature(const struct jws *j, const char *endpoint, X509_STORE *pool)
{
	static const struct {
		const char *name, *md;
		int padding;
	} algs[] = {{"RS256", "SHA256", RSA_PKCS1_PADDING},
		    {"RS384", "SHA384", RSA_PKCS1_PADDING},
		    {"RS512", "SHA512", RSA_PKCS1_PADDING},
		    {"PS256", "SHA256", RSA_PKCS1_PSS_PADDING},
		    {"PS384", "SHA384", RSA_PKCS1_PSS_PADDING},
		    {"PS512", "SHA512", RSA_PKCS1_PSS_PADDING}};
	json_t *header = client_json(j->part[0], j->len[0]);
	const json_t *x5c = json_object_get(header, "x5c");
	const char *alg = json_string_value(json_object_get(header, "alg")), *why = "header";
	X509 *leaf = client_certificate(json_array_get(x5c, 0));
	EVP_PKEY *key = leaf == NULL ? NULL : X509_get0_pubkey(leaf);
	if (header == NULL)
		goto out;
	why = "x5c[0]";
	if (key == NULL)
		goto out;
	why = "the leaf's key is not RSA";
	if (EVP_PKEY_get_base_id(key) != EVP_PKEY_RSA)
		goto out;
	why = "signature";
	for (size_t i = 0; alg != NULL && why != NULL && i < sizeof algs / sizeof algs[0]; i++)
		if (strcmp(alg, algs[i].name) == 0 &&
		    client_verify(key, algs[i].md, algs[i].padding, j))
			why = NULL;
	if (why == NULL)
		why = check_chain(leaf, x5c, endpoint, pool);
out:
	X509_free(leaf);
	json_decref(header);
	return why;
}

static const char *unwrap(const json_t *payload, EVP_PKEY *kek, struct client_key *out)
{
	uint8_t aes[32];
	size_t len;
	const char *enc = json_string_value(
			   json_object_get(json_object_get(payload, "request"), "enc")),
		   *why;
	json_t *key_hsm = client_key_hsm(payload);
	const char *text = json_string_value(json_object_get(key_hsm, "ciphertext"));
	uint8_t *blob = text == NULL ? NULL : proof_b64url(text, strlen(text), &len);
	json_decref(key_hsm);
	if (blob == NULL)
		return "ciphertext";
	if (enc == NULL)
		enc = "";
	const char *md = strcmp(enc, "CKM_RSA_AES_KEY_WRAP") == 0   ? "SHA1"
			 : strcmp(enc, "RSA_AES_KEY_WRAP_256") == 0 ? "SHA256"
			 : strcmp(enc, "RSA_AES_KEY_WRAP_384") == 0 ? "SHA384"
								    : NULL;
	if (md == NULL)
		why = "request.enc";
	else if (len <= WRAPPED_AES || !client_oaep(kek, md, blob, WRAPPED_AES, aes))
		why = "OAEP";
	else
		why = proof_kwp_unwrap(aes, blob + WRAPPED_AES, len - WRAPPED_AES, out->plain,
				       &out->len);
	free(blob);
	return why;
}

/* What Go's x509.ParsePKCS8PrivateKey takes: RSA, or EC on a curve with a name. */
static const char *parse_pkcs8(struct client_key *out, int type)
{
	char encoding[32] = "", curve[32] = "";
	const uint8_t *p = out->plain;
	PKCS8_PRIV_KEY_INFO *info = d2i_PKCS8_PRIV_KEY_INFO(NULL, &p, (long)out->len);
	out->pkey = info == NULL || p != out->plain + out->len ? NULL : EVP_PKCS82PKEY(info);
	PKCS8_PRIV_KEY_INFO_free(info);
	ERR_clear_error();
	if (out->pkey == NULL || EVP_PKEY_get_base_id(out->pkey) != type)
		return "PKCS#8";
	if (type == EVP_PKEY_RSA)
		return NULL;
	EVP_PKEY_get_utf8_string_param(out->pkey, OSSL_PKEY_PARAM_EC_ENCODING, encoding,
				       sizeof encoding, NULL);
	EVP_PKEY_get_group_name(out->pkey, curve, sizeof curve, NULL);
	bool is_known = strcmp(curve, "prime256v1") == 0 || strcmp(curve, "secp384r1") == 0 ||
			strcmp(curve, "secp521r1") == 0;
	return is_known && strcmp(encoding, OSSL_PKEY_EC_ENCODING_GROUP) == 0 ? NULL
									      : "PKCS#8: the curve";
}

/* Its JWK takes the type and the operations over from the reply. */
static const char *read_key(const json_t *payload, struct client_key *out)
{
	const char *kty = NULL, *op;
	json_t *ops = NULL;
	json_unpack((json_t *)(uintptr_t)payload, "{s:{s:{s:{s:s, s:o}}}}", "response", "key",
		    "key", "kty", &kty, "key_ops", &ops);
	for (size_t i = 0; i < json_array_size(ops); i++)
		if ((op = json_string_value(json_array_get(ops, i))) == NULL || op[0] == '\0')
			return "key_ops";
	if (kty == NULL || !json_is_array(ops))
		return "key_ops";
	snprintf(out->kty, sizeof out->kty, "%s", kty);
	if (strcmp(kty, "oct") == 0 || strcmp(kty, "oct-HSM") == 0)
		return NULL;
	if (strcmp(kty, "RSA") == 0 || strcmp(kty, "RSA-HSM") == 0)
		return parse_pkcs8(out, EVP_PKEY_RSA);
	if (strcmp(kty, "EC") == 0 || strcmp(kty, "EC-HSM") == 0)
		return parse_pkcs8(out, EVP_PKEY_EC);
	return "key type not supported";
}

const char *sidecar_open(const struct reply *r, const char *endpoint, X509_STORE *pool,
			 EVP_PKEY *kek, struct client_key *out)
{
	struct jws j;
	memset(out, 0, sizeof *out);
	if (r->status < 200 || r->status > 207)
		return wrong("status %d", r->status);
	if (r->len > BODY_MAX)
		return "body";
	char *value = client_value(r);
	json_t *payload = NULL;
	const char *why = "JWS";
	if (value == NULL || !jws_split(value, &j))
		goto out;
	if ((why = check_signature(&j, endpoint, pool)) != NULL)
		goto out;
	payload = client_json(j.part[1], j.len[1]);
	if ((why = unwrap(payload, kek, out)) == NULL)
		why = read_key(payload, out);
out:
	json_decref(payload);
	free(value);
	return why;
}
