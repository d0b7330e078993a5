/* tests/e2e/issuer_keys.c — keys and tokens of the test issuer, shaped like Azure Attestation's:
 * self-signed certificates named after the issuer, kid = base64 of SHA-256 over the PEM public key
 * with its NUL, keys without n and e. */
#include "issuer_keys.h"

#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/b64url.h"

enum { MAX_KEYS = 32, TOKEN_S = 28800 };

static struct key {
	EVP_PKEY *pkey;
	char kid[64], *x5c;
	bool is_rsa;
	int field_bytes; /* of an EC key: 32, 48, 66 */
} keys[MAX_KEYS];
static size_t n_keys;
static const char *issuer_url, *state_dir;

static char *base64(const void *p, size_t len, bool is_url)
{
	struct buf b;

	buf_init(&b, 16 * 1024 * 1024);
	if (is_url)
		b64url_encode(&b, span_of(p, len));
	else
		b64_encode(&b, span_of(p, len));
	char *text = buf_ok(&b) == KB_OK ? span_dup(buf_span(&b)) : NULL;
	buf_free(&b);
	return text;
}

static bool kid_of(EVP_PKEY *pkey, char out[64])
{
	uint8_t digest[32];
	char *pem;
	BIO *bio = BIO_new(BIO_s_mem());

	bool ok = bio != NULL && PEM_write_bio_PUBKEY(bio, pkey) == 1 && BIO_write(bio, "", 1) == 1;
	long len = ok ? BIO_get_mem_data(bio, &pem) : 0;
	ok = ok && EVP_Digest(pem, (size_t)len, digest, NULL, EVP_sha256(), NULL) == 1;
	char *text = ok ? base64(digest, sizeof digest, false) : NULL;
	ok = text != NULL;
	snprintf(out, 64, "%s", ok ? text : "");
	free(text);
	BIO_free(bio);
	return ok;
}

static char *certificate_of(EVP_PKEY *pkey)
{
	char *text = NULL;
	unsigned char *der = NULL;
	X509 *x = X509_new();

	bool ok = x != NULL && X509_set_version(x, X509_VERSION_3) == 1 &&
		  ASN1_INTEGER_set(X509_get_serialNumber(x), 1) == 1 &&
		  X509_gmtime_adj(X509_getm_notBefore(x), -86400) != NULL &&
		  X509_gmtime_adj(X509_getm_notAfter(x), 3650L * 86400) != NULL &&
		  X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_UTF8,
					     (const unsigned char *)issuer_url, -1, -1, 0) == 1 &&
		  X509_set_issuer_name(x, X509_get_subject_name(x)) == 1 &&
		  X509_set_pubkey(x, pkey) == 1 && X509_sign(x, pkey, EVP_sha256()) > 0;
	int len = ok ? i2d_X509(x, &der) : -1;
	if (len > 0)
		text = base64(der, (size_t)len, false);
	OPENSSL_free(der);
	X509_free(x);
	return text;
}

/* Takes the key over. */
static bool add(EVP_PKEY *pkey)
{
	struct key k = {.pkey = pkey};

	if (pkey == NULL || n_keys == MAX_KEYS || !kid_of(pkey, k.kid) ||
	    (k.x5c = certificate_of(pkey)) == NULL) {
		EVP_PKEY_free(pkey);
		return false;
	}
	k.is_rsa = EVP_PKEY_get_base_id(pkey) == EVP_PKEY_RSA;
	k.field_bytes = (EVP_PKEY_get_bits(pkey) + 7) / 8;
	keys[n_keys++] = k;
	return true;
}

static FILE *state_file(const char *mode)
{
	char path[4096];

	snprintf(path, sizeof path, "%s/issuer-keys.pem", state_dir);
	return fopen(path, mode);
}

static const char *save(void)
{
	if (state_dir == NULL)
		return NULL;
	(void)mkdir(state_dir, 0700);
	FILE *f = state_file("we");
	bool ok = f != NULL;
	for (size_t i = 0; ok && i < n_keys; i++)
		ok = PEM_write_PKCS8PrivateKey(f, keys[i].pkey, NULL, NULL, 0, NULL, NULL) == 1;
	if (f != NULL && fclose(f) != 0)
		ok = false;
	return ok ? NULL : "cannot keep the keys";
}

const char *issuer_keys_load(const char *url, const char *dir)
{
	static const char *const curves[] = {"P-256", "P-384", "P-521"};

	issuer_url = url;
	state_dir = dir;
	FILE *f = dir == NULL ? NULL : state_file("re");
	if (f != NULL) {
		for (EVP_PKEY *k; (k = PEM_read_PrivateKey(f, NULL, NULL, NULL)) != NULL;)
			if (!add(k))
				return "a kept key is not usable";
		fclose(f);
	}
	if (n_keys > 0)
		return NULL;
	bool ok = add(EVP_RSA_gen(2048));
	for (size_t i = 0; i < 3; i++)
		ok = ok && add(EVP_EC_gen(curves[i]));
	return ok ? save() : "cannot make keys";
}

static struct key *current(int field_bytes) /* 0: RSA */
{
	for (size_t i = n_keys; i-- > 0;)
		if (field_bytes == 0 ? keys[i].is_rsa
				     : !keys[i].is_rsa && keys[i].field_bytes == field_bytes)
			return &keys[i];
	return NULL;
}

const char *issuer_keys_rotate(bool drop)
{
	size_t n = 0;

	for (size_t i = 0; drop && i < n_keys; i++) {
		if (!keys[i].is_rsa) {
			keys[n++] = keys[i];
			continue;
		}
		EVP_PKEY_free(keys[i].pkey);
		free(keys[i].x5c);
	}
	n_keys = drop ? n : n_keys;
	return add(EVP_RSA_gen(2048)) ? save() : "cannot make another key";
}

const char *issuer_keys_replace(void)
{
	struct key *old = current(0);

	if (old == NULL || !add(EVP_RSA_gen(2048)))
		return "cannot make another key";
	struct key *new = &keys[n_keys - 1];
	memcpy(new->kid, old->kid, sizeof new->kid);
	EVP_PKEY_free(old->pkey);
	free(old->x5c);
	*old = *new;
	n_keys--;
	return NULL;
}

json_t *issuer_keys_set(void)
{
	json_t *array = json_array();

	for (size_t i = 0; i < n_keys; i++)
		json_array_append_new(array,
				      json_pack("{s:[s], s:s, s:s}", "x5c", keys[i].x5c, "kid",
						keys[i].kid, "kty", keys[i].is_rsa ? "RSA" : "EC"));
	return json_pack("{s:o}", "keys", array);
}

/* ---- tokens ---- */

/* DER to r ‖ s (RFC 7518 §3.4). */
static size_t raw_signature(const unsigned char *der, size_t len, int field_bytes,
			    unsigned char *out)
{
	ECDSA_SIG *sig = d2i_ECDSA_SIG(NULL, &der, (long)len);
	bool ok =
		sig != NULL &&
		BN_bn2binpad(ECDSA_SIG_get0_r(sig), out, field_bytes) == field_bytes &&
		BN_bn2binpad(ECDSA_SIG_get0_s(sig), out + field_bytes, field_bytes) == field_bytes;

	ECDSA_SIG_free(sig);
	return ok ? 2 * (size_t)field_bytes : 0;
}

static size_t sign(const struct key *k, const char *alg, const char *text, unsigned char out[1024])
{
	unsigned char der[1024];
	size_t len = sizeof der;
	EVP_PKEY_CTX *ctx = NULL;
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	const EVP_MD *hash = strcmp(alg + 2, "256") == 0   ? EVP_sha256()
			     : strcmp(alg + 2, "384") == 0 ? EVP_sha384()
							   : EVP_sha512();

	bool ok = md != NULL && EVP_DigestSignInit(md, &ctx, hash, NULL, k->pkey) == 1;
	if (ok && alg[0] == 'P')
		ok = EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PSS_PADDING) == 1 &&
		     EVP_PKEY_CTX_set_rsa_pss_saltlen(ctx, RSA_PSS_SALTLEN_DIGEST) == 1;
	ok = ok && EVP_DigestSign(md, der, &len, (const unsigned char *)text, strlen(text)) == 1;
	EVP_MD_CTX_free(md);
	if (!ok)
		return 0;
	if (!k->is_rsa)
		return raw_signature(der, len, k->field_bytes, out);
	memcpy(out, der, len);
	return len;
}

static char *part(json_t *j, size_t flags)
{
	char *text = json_dumps(j, JSON_COMPACT | flags);
	char *coded = text == NULL ? NULL : base64(text, strlen(text), true);

	free(text);
	return coded;
}

static void random_hex(char out[65])
{
	unsigned char bytes[32];

	if (RAND_bytes(bytes, sizeof bytes) != 1)
		abort();
	for (size_t i = 0; i < sizeof bytes; i++)
		snprintf(out + 2 * i, 3, "%02x", bytes[i]);
}

static json_t *claims_of(const json_t *request)
{
	static const char *const overrides[] = {"iss", "iat", "nbf", "exp", "jti"};
	size_t i;
	const json_t *name;
	char jti[65];
	long long now = time(NULL);

	random_hex(jti);
	json_t *claims = json_pack("{s:s, s:I, s:I, s:I, s:s, s:s}", "iss", issuer_url, "iat", now,
				   "nbf", now, "exp", now + TOKEN_S, "jti", jti, "x-ms-ver", "1.0");
	json_object_update(claims, json_object_get(request, "claims"));
	for (i = 0; i < sizeof overrides / sizeof overrides[0]; i++)
		if (json_object_get(request, overrides[i]) != NULL)
			json_object_set(claims, overrides[i],
					json_object_get(request, overrides[i]));
	json_array_foreach(json_object_get(request, "omit"), i, name)
	{
		json_object_del(claims, json_string_value(name));
	}
	return claims;
}

static json_t *header_of(const json_t *request, const char *alg, const char *kid)
{
	static const char *const overrides[] = {"kid", "typ", "jku"};
	char jku[512];

	snprintf(jku, sizeof jku, "%s/certs", issuer_url);
	json_t *header =
		json_pack("{s:s, s:s, s:s, s:s}", "alg", alg, "jku", jku, "kid", kid, "typ", "JWT");
	for (size_t i = 0; i < sizeof overrides / sizeof overrides[0]; i++) {
		json_t *value = json_object_get(request, overrides[i]);
		if (json_is_null(value))
			json_object_del(header, overrides[i]);
		else if (value != NULL)
			json_object_set(header, overrides[i], value);
	}
	json_object_update(header, json_object_get(request, "header"));
	return header;
}

char *issuer_token(const json_t *request, const char **why)
{
	static const struct {
		const char *alg;
		int field_bytes;
	} algs[] = {{"RS256", 0}, {"RS384", 0},  {"RS512", 0},  {"PS256", 0},  {"PS384", 0},
		    {"PS512", 0}, {"ES256", 32}, {"ES384", 48}, {"ES512", 66}, {"none", 0}};
	const char *alg = json_string_value(json_object_get(request, "alg"));
	const struct key *k = NULL;
	unsigned char signature[1024];
	char *token = NULL, *input = NULL, *coded = NULL;

	for (size_t i = 0; i < sizeof algs / sizeof algs[0]; i++)
		if (strcmp(algs[i].alg, alg == NULL ? "RS256" : alg) == 0) {
			alg = algs[i].alg;
			k = current(algs[i].field_bytes);
			break;
		}
	if (k == NULL) {
		*why = "unknown alg";
		return NULL;
	}
	json_t *header_json = header_of(request, alg, k->kid), *claims_json = claims_of(request);
	char *header = part(header_json, 0), *claims = part(claims_json, JSON_SORT_KEYS);
	json_decref(header_json);
	json_decref(claims_json);
	*why = "cannot sign";
	if (header != NULL && claims != NULL && asprintf(&input, "%s.%s", header, claims) >= 0) {
		size_t len = strcmp(alg, "none") == 0 ? 0 : sign(k, alg, input, signature);
		coded = len > 0 || strcmp(alg, "none") == 0 ? base64(signature, len, true) : NULL;
		if (coded != NULL && asprintf(&token, "%s.%s", input, coded) < 0)
			token = NULL;
	}
	free(header);
	free(claims);
	free(input);
	free(coded);
	return token;
}
