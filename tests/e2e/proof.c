/* tests/e2e/proof.c — the strict reader of a release.
 * Decides whether a reply is what Key Vault's clients need and whether the key in it is exact.
 * Trusts the root it was given and OpenSSL. Must never use the product's code, and never be
 * lenient: the product is measured by it. */
#include "tests/e2e/proof.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

const char *wrong(const char *fmt, ...)
{
	static char text[512];
	char fresh[sizeof text]; /* an argument may be the last sentence */
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(fresh, sizeof fresh, fmt, ap);
	va_end(ap);
	return memcpy(text, fresh, sizeof text);
}

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

uint8_t *proof_b64url(const char *text, size_t text_len, size_t *len)
{
	if (text == NULL || text_len % 4 == 1)
		return NULL;
	uint8_t *out = malloc(text_len / 4 * 3 + 3);
	size_t n = 0;
	uint32_t bits = 0;
	unsigned n_bits = 0;
	for (size_t i = 0; i < text_len; i++) {
		const char *at = text[i] == '\0' ? NULL : strchr(alphabet, text[i]);
		if (at == NULL || out == NULL)
			goto bad;
		bits = (bits << 6 | (uint32_t)(at - alphabet)) & 0xffffff;
		n_bits += 6;
		if (n_bits >= 8) {
			n_bits -= 8;
			out[n++] = (uint8_t)(bits >> n_bits);
		}
	}
	if (out == NULL || (bits & ((1u << n_bits) - 1)) != 0)
		goto bad;
	out[n] = 0;
	*len = n;
	return out;
bad:
	free(out);
	return NULL;
}

char *proof_b64url_text(const uint8_t *bytes, size_t len)
{
	char *out = malloc(len / 3 * 4 + 5);
	size_t n = 0;
	for (size_t i = 0; out != NULL && i < len; i += 3) {
		size_t take = len - i < 3 ? len - i : 3;
		uint32_t v = (uint32_t)bytes[i] << 16 |
			     (take > 1 ? (uint32_t)bytes[i + 1] << 8 : 0) |
			     (take > 2 ? bytes[i + 2] : 0);
		for (size_t k = 0; k <= take; k++)
			out[n++] = alphabet[v >> (18 - 6 * k) & 63];
	}
	if (out != NULL)
		out[n] = '\0';
	return out;
}

const char *proof_kwp_unwrap(const uint8_t kek[static 32], const uint8_t *wrapped,
			     size_t wrapped_len, uint8_t *out, size_t *out_len)
{
	if (wrapped_len % 8 != 0 || wrapped_len < 16 || wrapped_len - 8 > RELEASED_MAX)
		return wrong("KWP of %zu bytes", wrapped_len);
	EVP_CIPHER_CTX *aes = EVP_CIPHER_CTX_new();
	uint8_t a[8], block[16];
	size_t n = wrapped_len / 8 - 1;
	int got;
	bool is_fine = aes != NULL &&
		       EVP_DecryptInit_ex(aes, EVP_aes_256_ecb(), NULL, kek, NULL) == 1 &&
		       EVP_CIPHER_CTX_set_padding(aes, 0) == 1;
	if (n == 1) { /* one block, encrypted as it is */
		is_fine = is_fine && EVP_DecryptUpdate(aes, block, &got, wrapped, 16) == 1 &&
			  got == 16;
		memcpy(a, block, 8);
		memcpy(out, block + 8, 8);
	} else {
		memcpy(a, wrapped, 8);
		memcpy(out, wrapped + 8, 8 * n);
		for (size_t t = 6 * n; is_fine && t > 0;
		     t--) { /* RFC 3394 §2.2.2: t = n·j + i, downwards */
			size_t i = (t - 1) % n;
			memcpy(block, a, 8);
			for (unsigned k = 0; k < 8; k++)
				block[7 - k] ^= (uint8_t)((uint64_t)t >> (8 * k));
			memcpy(block + 8, out + 8 * i, 8);
			is_fine = EVP_DecryptUpdate(aes, block, &got, block, 16) == 1 && got == 16;
			memcpy(a, block, 8);
			memcpy(out + 8 * i, block + 8, 8);
		}
	}
	EVP_CIPHER_CTX_free(aes);
	if (!is_fine)
		return "AES failed";
	if (memcmp(a, "\xa6\x59\x59\xa6", 4) != 0)
		return "KWP: not the AIV, so another key or damaged";
	size_t len = (size_t)a[4] << 24 | (size_t)a[5] << 16 | (size_t)a[6] << 8 | a[7];
	if (len > 8 * n || len <= 8 * (n - 1))
		return wrong("KWP: length %zu in %zu blocks", len, n);
	for (size_t i = len; i < 8 * n; i++)
		if (out[i] != 0)
			return "KWP: padding is not zero";
	*out_len = len;
	return NULL;
}

X509 *proof_certificate(const char *path)
{
	FILE *f = fopen(path, "r");
	X509 *last = NULL;
	for (X509 *c; f != NULL && (c = PEM_read_X509(f, NULL, NULL, NULL)) != NULL; last = c)
		X509_free(last);
	ERR_clear_error();
	if (f != NULL)
		fclose(f);
	return last;
}

/* A member's text, "" when it is not there: no expected value is empty. */
static const char *text_of(const json_t *object, const char *name)
{
	const char *s = json_string_value(json_object_get(object, name));
	return s == NULL ? "" : s;
}

/* The object's members are exactly these; no client depends on their order. */
static bool has_members(const json_t *object, const char *const *names)
{
	size_t n = 0;
	for (; names[n] != NULL; n++)
		if (json_object_get(object, names[n]) == NULL)
			return false;
	return json_object_size(object) == n;
}

static json_t *decode_json(const char *text, size_t text_len)
{
	size_t len;
	uint8_t *bytes = proof_b64url(text, text_len, &len);
	json_t *j = bytes == NULL
			    ? NULL
			    : json_loadb((const char *)bytes, len, JSON_REJECT_DUPLICATES, NULL);
	free(bytes);
	return j;
}

static bool digest_is(const char *text, const X509 *c, const EVP_MD *md, bool is_hex)
{
	uint8_t d[EVP_MAX_MD_SIZE];
	unsigned len;
	char hex[2 * EVP_MAX_MD_SIZE + 1] = "";
	if (X509_digest(c, md, d, &len) != 1)
		return false;
	for (unsigned i = 0; is_hex && i < len; i++)
		snprintf(hex + (size_t)2 * i, 3, "%02X", d[i]);
	char *b64 = proof_b64url_text(d, len);
	bool is_same = b64 != NULL && strcmp(text, is_hex ? hex : b64) == 0;
	free(b64);
	return is_same;
}

/* x5c as strict Go clients read it: standard base64, leaf first, the root last and not among the
 * intermediates. */
static const char *check_chain(const json_t *header, const struct expect *want, EVP_PKEY **key)
{
	const char *why = "no memory";
	STACK_OF(X509) *chain = sk_X509_new_null(), *between = sk_X509_new_null();
	X509_STORE *store = X509_STORE_new();
	X509_STORE_CTX *ctx = X509_STORE_CTX_new();
	const json_t *x5c = json_object_get(header, "x5c");
	int n = (int)json_array_size(x5c);
	if (chain == NULL || between == NULL || store == NULL || ctx == NULL)
		goto out;
	for (int i = 0; i < n; i++) {
		uint8_t der[8192];
		const char *text = json_string_value(json_array_get(x5c, (size_t)i));
		size_t text_len = text == NULL ? 0 : strlen(text);
		why = wrong("x5c[%d] is not a certificate in base64", i);
		if (text_len == 0 || text_len % 4 != 0 || text_len > 10000)
			goto out;
		int len = EVP_DecodeBlock(der, (const uint8_t *)text, (int)text_len);
		len -= (text[text_len - 1] == '=') + (text[text_len - 2] == '=');
		const uint8_t *p = der;
		X509 *c = len <= 0 ? NULL : d2i_X509(NULL, &p, len);
		if (c == NULL || p != der + len || sk_X509_push(chain, c) == 0)
			goto out;
		if (i > 0 && i < n - 1)
			sk_X509_push(between, c);
	}
	why = "x5c needs a leaf and its root";
	if (n < 2)
		goto out;
	X509 *leaf = sk_X509_value(chain, 0), *root = sk_X509_value(chain, n - 1);
	why = "x5c does not end in the instance's root";
	if (X509_cmp(root, want->root) != 0)
		goto out;
	for (int i = 0; i + 1 < n; i++) { /* as the firmware does: each is signed by the next */
		why = wrong("x5c[%d] is not signed by x5c[%d]", i, i + 1);
		if (X509_check_issued(sk_X509_value(chain, i + 1), sk_X509_value(chain, i)) !=
			    X509_V_OK ||
		    X509_verify(sk_X509_value(chain, i),
				X509_get0_pubkey(sk_X509_value(chain, i + 1))) != 1)
			goto out;
	}
	why = "chain";
	if (X509_STORE_add_cert(store, want->root) != 1 ||
	    X509_STORE_CTX_init(ctx, store, leaf, between) != 1)
		goto out;
	X509_STORE_CTX_set_purpose(ctx, X509_PURPOSE_SSL_SERVER);
	X509_VERIFY_PARAM_set1_host(X509_STORE_CTX_get0_param(ctx), want->host, 0);
	if (X509_verify_cert(ctx) != 1) {
		why = wrong("chain: %s",
			    X509_verify_cert_error_string(X509_STORE_CTX_get_error(ctx)));
		goto out;
	}
	why = "the leaf's key is not RSA of 2048 bits or more";
	if (EVP_PKEY_get_base_id(X509_get0_pubkey(leaf)) != EVP_PKEY_RSA ||
	    EVP_PKEY_get_bits(X509_get0_pubkey(leaf)) < 2048)
		goto out;
	why = "kid, x5t or x5t#S256 is not the leaf's";
	if (!digest_is(text_of(header, "x5t#S256"), leaf, EVP_sha256(), false) ||
	    !digest_is(text_of(header, "x5t"), leaf, EVP_sha1(), false) ||
	    !digest_is(text_of(header, "kid"), leaf, EVP_sha1(), true))
		goto out;
	*key = X509_get_pubkey(leaf);
	why = NULL;
out:
	sk_X509_pop_free(chain, X509_free);
	sk_X509_free(between);
	X509_STORE_free(store);
	X509_STORE_CTX_free(ctx);
	return why;
}

static const char *check_signature(EVP_PKEY *key, const char *signed_text, size_t signed_len,
				   const char *sig_text, size_t sig_text_len)
{
	size_t len;
	uint8_t *sig = proof_b64url(sig_text, sig_text_len, &len);
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	bool is_right =
		sig != NULL && md != NULL && len == (size_t)EVP_PKEY_get_size(key) &&
		EVP_DigestVerifyInit(md, NULL, EVP_sha256(), NULL, key) == 1 &&
		EVP_DigestVerify(md, sig, len, (const uint8_t *)signed_text, signed_len) == 1;
	EVP_MD_CTX_free(md);
	free(sig);
	return is_right ? NULL : "the reply's signature";
}

/* The three parts, the header's exact members, the chain, the signature; then the payload. */
static const char *open_jws(const char *jws, const struct expect *want, json_t **payload)
{
	static const char *const members[] = {"alg", "kid", "x5t", "typ", "x5t#S256", "x5c", NULL};
	const char *dot1 = strchr(jws, '.'), *dot2 = dot1 == NULL ? NULL : strchr(dot1 + 1, '.');
	if (dot2 == NULL || strchr(dot2 + 1, '.') != NULL)
		return "value is not a JWS of three parts";
	EVP_PKEY *key = NULL;
	json_t *header = decode_json(jws, (size_t)(dot1 - jws));
	const char *why = "the JWS header's members";
	if (!has_members(header, members) || strcmp(text_of(header, "alg"), "RS256") != 0 ||
	    strcmp(text_of(header, "typ"), "JWT") != 0)
		goto out;
	if ((why = check_chain(header, want, &key)) != NULL)
		goto out;
	if ((why = check_signature(key, jws, (size_t)(dot2 - jws), dot2 + 1, strlen(dot2 + 1))) !=
	    NULL)
		goto out;
	*payload = decode_json(dot1 + 1, (size_t)(dot2 - dot1 - 1));
	why = json_is_object(*payload) ? NULL : "the JWS payload is not a JSON object";
out:
	EVP_PKEY_free(key);
	json_decref(header);
	return why;
}

static const char *check_request(const struct expect *want, const json_t *request)
{
	static const char *const plain[] = {"api-version", "enc", "kid", NULL},
				 *const nonce[] = {"api-version", "enc", "kid", "nonce", NULL};
	char kid[512];
	if (!has_members(request, want->nonce == NULL ? plain : nonce))
		return "request: its members";
	if (strcmp(text_of(request, "api-version"), want->api_version) != 0)
		return "request.api-version";
	if (strcmp(text_of(request, "enc"),
		   want->enc == NULL ? "CKM_RSA_AES_KEY_WRAP" : want->enc) != 0)
		return "request.enc";
	if (want->nonce != NULL && strcmp(text_of(request, "nonce"), want->nonce) != 0)
		return "request.nonce";
	snprintf(kid, sizeof kid, "%s/keys/%s%s%s", want->base_url == NULL ? "" : want->base_url,
		 want->name, want->version == NULL ? "" : "/",
		 want->version == NULL ? "" : want->version);
	if (want->base_url != NULL && strcmp(text_of(request, "kid"), kid) != 0)
		return wrong("request.kid is %s, not %s", text_of(request, "kid"), kid);
	return NULL;
}

/* response.key: attributes, policy and the key's id; fills kty and version. */
static const char *check_bundle(const struct expect *want, struct released *out)
{
	const json_t *key = json_object_get(out->bundle, "key");
	const char *kid = text_of(key, "kid"), *version = strrchr(kid, '/');
	char prefix[512];
	snprintf(out->kty, sizeof out->kty, "%s", text_of(key, "kty"));
	if (version == NULL || strlen(version + 1) != 32 ||
	    strspn(version + 1, "0123456789abcdef") != 32)
		return wrong("response.key.key.kid has no version: %s", kid);
	memcpy(out->version, version + 1, 33);
	snprintf(prefix, sizeof prefix, "%s/keys/%s/", want->base_url, want->name);
	if (want->base_url != NULL &&
	    (strncmp(kid, prefix, strlen(prefix)) != 0 || strlen(kid) != strlen(prefix) + 32))
		return wrong("response.key.key.kid is %s", kid);
	if (want->version != NULL && strcmp(out->version, want->version) != 0)
		return "another version than the one asked for";
	const json_t *attributes = json_object_get(out->bundle, "attributes");
	if (!json_is_true(json_object_get(attributes, "enabled")) ||
	    !json_is_true(json_object_get(attributes, "exportable")) ||
	    !json_is_integer(json_object_get(attributes, "created")))
		return "response.key.attributes";
	const char *policy = text_of(json_object_get(out->bundle, "release_policy"), "data");
	json_t *rules = decode_json(policy, strlen(policy));
	bool is_policy = json_is_string(json_object_get(rules, "version"));
	json_decref(rules);
	if (!is_policy)
		return "response.key.release_policy.data";
	for (const char *const *s =
		     (const char *const[]){"d", "p", "q", "dp", "dq", "qi", "k", NULL};
	     *s != NULL; s++)
		if (json_object_get(key, *s) != NULL)
			return wrong("the reply holds the private member %s", *s);
	return NULL;
}

/* key_hsm → the ciphertext's two parts → AES key → plaintext. */
static const char *unwrap(const struct expect *want, const char *key_hsm, struct released *out)
{
	static const char *const members[] = {"schema_version", "header", "ciphertext", NULL},
				 *const header_members[] = {"kid", "alg", "enc", NULL};
	const char *enc = want->enc == NULL ? "CKM_RSA_AES_KEY_WRAP" : want->enc, *why = "key_hsm";
	const EVP_MD *md = strcmp(enc, "RSA_AES_KEY_WRAP_256") == 0   ? EVP_sha256()
			   : strcmp(enc, "RSA_AES_KEY_WRAP_384") == 0 ? EVP_sha384()
								      : EVP_sha1();
	json_t *outer = decode_json(key_hsm, strlen(key_hsm));
	const json_t *header = json_object_get(outer, "header");
	const char *text = text_of(outer, "ciphertext");
	size_t len = 0, aes_len, kek_len = (size_t)EVP_PKEY_get_size(want->kek);
	uint8_t aes[512], *blob = proof_b64url(text, strlen(text), &len);
	EVP_PKEY_CTX *rsa = EVP_PKEY_CTX_new(want->kek, NULL);
	if (!has_members(outer, members) || !has_members(header, header_members) ||
	    strcmp(text_of(outer, "schema_version"), "1.0") != 0)
		goto out;
	why = "key_hsm.header";
	if (strcmp(text_of(header, "alg"), "dir") != 0 || strcmp(text_of(header, "enc"), enc) != 0)
		goto out;
	why = wrong("wrapped to %s, not %s", text_of(header, "kid"), want->kek_kid);
	if (strcmp(text_of(header, "kid"), want->kek_kid) != 0)
		goto out;
	why = wrong("ciphertext of %zu bytes", len);
	if (blob == NULL || rsa == NULL || len < kek_len + 16)
		goto out;
	why = "OAEP";
	aes_len = sizeof aes;
	if (EVP_PKEY_decrypt_init(rsa) != 1 ||
	    EVP_PKEY_CTX_set_rsa_padding(rsa, RSA_PKCS1_OAEP_PADDING) != 1 ||
	    EVP_PKEY_CTX_set_rsa_oaep_md(rsa, md) != 1 ||
	    EVP_PKEY_CTX_set_rsa_mgf1_md(rsa, md) != 1 ||
	    EVP_PKEY_decrypt(rsa, aes, &aes_len, blob, kek_len) != 1)
		goto out;
	why = wrong("the AES key has %zu bytes", aes_len);
	if (aes_len != 32)
		goto out;
	why = proof_kwp_unwrap(aes, blob + kek_len, len - kek_len, out->plain, &out->plain_len);
out:
	EVP_PKEY_CTX_free(rsa);
	free(blob);
	json_decref(outer);
	return why;
}

static bool number_is(const json_t *key, const char *member, const EVP_PKEY *pkey,
		      const char *param, size_t width)
{
	uint8_t want[1024];
	size_t len = 0;
	const char *text = text_of(key, member);
	BIGNUM *n = NULL;
	uint8_t *have = proof_b64url(text, strlen(text), &len);
	bool is_same = have != NULL && EVP_PKEY_get_bn_param(pkey, param, &n) == 1;
	if (is_same && width == 0)
		width = (size_t)BN_num_bytes(n);
	is_same = is_same && len == width && width <= sizeof want &&
		  BN_bn2binpad(n, want, (int)width) == (int)width && memcmp(have, want, width) == 0;
	BN_free(n);
	free(have);
	return is_same;
}

/* RSA, EC: one PKCS#8 of exactly the plaintext's length, whose public part is the bundle's; EC with
 * a named curve and its public key inside. */
static const char *check_pkcs8(const json_t *key, struct released *out)
{
	const uint8_t *p = out->plain;
	PKCS8_PRIV_KEY_INFO *info = d2i_PKCS8_PRIV_KEY_INFO(NULL, &p, (long)out->plain_len);
	const char *why = "the plaintext is not a PKCS#8 of exactly its length";
	if (info == NULL || p != out->plain + out->plain_len ||
	    (out->pkey = EVP_PKCS82PKEY(info)) == NULL)
		goto out;
	if (EVP_PKEY_get_base_id(out->pkey) == EVP_PKEY_RSA) {
		why = "the RSA key is not the one in the bundle";
		if (strncmp(out->kty, "RSA", 3) == 0 && number_is(key, "n", out->pkey, "n", 0) &&
		    number_is(key, "e", out->pkey, "e", 0))
			why = NULL;
		goto out;
	}
	int bits = EVP_PKEY_get_bits(out->pkey);
	size_t width = (size_t)(bits + 7) / 8;
	why = "the EC key is not the one in the bundle";
	if (strncmp(out->kty, "EC", 2) != 0 || !number_is(key, "x", out->pkey, "qx", width) ||
	    !number_is(key, "y", out->pkey, "qy", width))
		goto out;
	const char *crv = bits == 256 ? "P-256" : bits == 384 ? "P-384" : "P-521";
	why = "crv";
	if (strcmp(text_of(key, "crv"), crv) != 0)
		goto out;
	why = "the EC key has no named curve";
	const ASN1_OBJECT *alg;
	const X509_ALGOR *algor;
	int type;
	const void *value;
	const uint8_t *inner;
	int inner_len;
	if (PKCS8_pkey_get0(&alg, &inner, &inner_len, &algor, info) != 1)
		goto out;
	X509_ALGOR_get0(NULL, &type, &value, algor);
	if (type != V_ASN1_OBJECT)
		goto out;
	/* RFC 5915 [1]; without it 1 + 32 + …: the private number and little else fit */
	why = "the EC key lacks its public key";
	if ((size_t)inner_len < 3 * width + 10)
		goto out;
	why = NULL;
out:
	PKCS8_PRIV_KEY_INFO_free(info);
	return why;
}

const char *proof_open(const char *body, size_t len, const struct expect *want,
		       struct released *out)
{
	memset(out, 0, sizeof *out);
	static const char *const only_value[] = {"value", NULL};
	json_t *reply = json_loadb(body, len, JSON_REJECT_DUPLICATES, NULL);
	const char *why = "the body is not {\"value\":\"…\"}";
	if (!has_members(reply, only_value) || !json_is_string(json_object_get(reply, "value")))
		goto out;
	if ((why = open_jws(text_of(reply, "value"), want, &out->payload)) != NULL)
		goto out;
	if ((why = check_request(want, json_object_get(out->payload, "request"))) != NULL)
		goto out;
	out->bundle = json_object_get(json_object_get(out->payload, "response"), "key");
	const json_t *key = json_object_get(out->bundle, "key");
	if ((why = check_bundle(want, out)) != NULL ||
	    (why = unwrap(want, text_of(key, "key_hsm"), out)) != NULL)
		goto out;
	why = strncmp(out->kty, "oct", 3) == 0 ? NULL : check_pkcs8(key, out);
out:
	ERR_clear_error();
	json_decref(reply);
	return why;
}

void released_free(struct released *r)
{
	OPENSSL_cleanse(r->plain, sizeof r->plain);
	EVP_PKEY_free(r->pkey);
	json_decref(r->payload);
	memset(r, 0, sizeof *r);
}
