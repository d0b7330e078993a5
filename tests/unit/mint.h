/* tests/unit/mint.h — issuers, guests and tokens for tests, made on the spot: keys, JWKs, signed
 * tokens, a grant. Everything returned belongs to mint and exists until the program ends, so tests
 * need no cleanup.  A failure aborts the program. */
#ifndef KB_TESTS_MINT_H
#define KB_TESTS_MINT_H
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/b64url.h"
#include "base/limits.h"
#include "policy/decide.h"
#include "policy/jwks.h"
#include "policy/rules.h"
#include "policy/token.h"
#include "tests/unit/rsa_key.h"

#define MINT_ISS "https://issuer.test"
#define MINT_NOW 1790000000 /* "now" of minted tokens: 2026-09-21 */

/* CPU time of this program: what a step costs, however busy the machine is. */
static inline int64_t mint_cpu_us(void)
{
	struct timespec t;

	return clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t) == 0
		       ? (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000
		       : 0;
}

/* ---- memory ---- */

static void *mint_kept[16384];
static size_t mint_n_kept;

static void mint_check(int ok, const char *what)
{
	if (!ok) {
		fprintf(stderr, "mint: %s failed\n", what);
		abort();
	}
}

static void mint_forget(void)
{
	while (mint_n_kept > 0)
		free(mint_kept[--mint_n_kept]);
}

static inline void *mint_keep(void *p)
{
	mint_check(p != NULL && mint_n_kept < sizeof mint_kept / sizeof *mint_kept, "memory");
	if (mint_n_kept == 0)
		atexit(mint_forget);
	mint_kept[mint_n_kept++] = p;
	return p;
}

__attribute__((format(printf, 1, 2))) static inline char *mint_text(const char *fmt, ...)
{
	char *text = NULL;
	va_list ap;

	va_start(ap, fmt);
	mint_check(vasprintf(&text, fmt, ap) >= 0, "vasprintf");
	va_end(ap);
	return mint_keep(text);
}

/* A whole file, NUL-terminated behind its end. */
static inline struct span mint_file(const char *path)
{
	FILE *f = fopen(path, "rb");
	char *bytes = mint_keep(malloc(2 * 1024 * 1024));

	if (f == NULL)
		fprintf(stderr, "%s: tests run from the top of the tree\n", path);
	mint_check(f != NULL, "fopen");
	size_t len = fread(bytes, 1, 2 * 1024 * 1024 - 1, f);
	mint_check(feof(f) && fclose(f) == 0, "fread");
	bytes[len] = '\0';
	return span_of(bytes, len);
}

static inline char *mint_b64(const void *p, size_t len)
{
	struct buf b;

	buf_init(&b, 4 * 1024 * 1024);
	b64url_encode(&b, span_of(p, len));
	buf_add(&b, "", 1);
	mint_check(buf_ok(&b) == KB_OK, "base64url");
	return mint_keep(b.p);
}

/* ---- keys ---- */

static inline EVP_PKEY *mint_rsa_e(unsigned bits, unsigned e)
{
	EVP_PKEY *key = rsa_key_e(bits, e);

	mint_check(key != NULL, "RSA key");
	return key;
}

/* The same key for every call of the program: making one takes a tenth of a second.  0: an
 * issuer's, 1: a guest's, 2, 3: others. */
static inline EVP_PKEY *mint_rsa(unsigned which)
{
	static EVP_PKEY *keys[4];

	if (keys[which] == NULL)
		keys[which] = mint_rsa_e(2048, 65537);
	return keys[which];
}

/* "P-256", "P-384", "P-521" or another curve of OpenSSL's; one of each a program. */
static inline EVP_PKEY *mint_ec(const char *curve)
{
	static struct {
		const char *curve;
		EVP_PKEY *key;
	} made[8];
	size_t i = 0;

	while (made[i].key != NULL && strcmp(made[i].curve, curve) != 0)
		i++;
	if (made[i].key == NULL) {
		made[i].curve = curve;
		made[i].key = EVP_EC_gen(curve);
	}
	mint_check(made[i].key != NULL, "EC key");
	return made[i].key;
}

/* A number of a key, big-endian, `width` bytes or as few as it takes (0), in base64url. */
static inline char *mint_number(EVP_PKEY *key, const char *name, int width)
{
	uint8_t bytes[4096];
	BIGNUM *n = NULL;

	mint_check(EVP_PKEY_get_bn_param(key, name, &n) == 1, name);
	int len = width > 0 ? width : BN_num_bytes(n);
	mint_check(len <= (int)sizeof bytes && BN_bn2binpad(n, bytes, len) == len, "BN_bn2binpad");
	BN_free(n);
	return mint_b64(bytes, (size_t)len);
}

/* A public JWK; `more` is further members, beginning with a comma, or "". */
static inline char *mint_jwk(EVP_PKEY *key, const char *kid, const char *more)
{
	if (EVP_PKEY_is_a(key, "RSA"))
		return mint_text("{\"kty\":\"RSA\",\"kid\":\"%s\",\"n\":\"%s\",\"e\":\"%s\"%s}",
				 kid, mint_number(key, OSSL_PKEY_PARAM_RSA_N, 0),
				 mint_number(key, OSSL_PKEY_PARAM_RSA_E, 0), more);
	int width = (EVP_PKEY_get_bits(key) + 7) / 8;
	const char *crv = width == 32   ? "P-256"
			  : width == 48 ? "P-384"
			  : width == 66 ? "P-521"
					: "P-192";
	return mint_text(
		"{\"kty\":\"EC\",\"kid\":\"%s\",\"crv\":\"%s\",\"x\":\"%s\",\"y\":\"%s\"%s}", kid,
		crv, mint_number(key, OSSL_PKEY_PARAM_EC_PUB_X, width),
		mint_number(key, OSSL_PKEY_PARAM_EC_PUB_Y, width), more);
}

/* A key set of one key, parsed.  Free with jwks_free(). */
static inline struct jwks *mint_jwks(EVP_PKEY *key, const char *kid)
{
	struct jwks *set = NULL;

	mint_check(jwks_parse(span_str(mint_text("{\"keys\":[%s]}", mint_jwk(key, kid, ""))), &set,
			      NULL) == KB_OK,
		   "jwks_parse");
	return set;
}

/* ---- tokens ---- */

/* The signature of RFC 7518 §3 as raw bytes; *len set.  alg as in the header; ECDSA is r‖s. */
static inline uint8_t *mint_sign(EVP_PKEY *key, const char *alg, struct span input, size_t *len)
{
	const char *bits = alg + 2, *hash = strcmp(bits, "384") == 0   ? "SHA384"
					    : strcmp(bits, "512") == 0 ? "SHA512"
								       : "SHA256";
	uint8_t *raw = mint_keep(calloc(1, 1024));
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	EVP_PKEY_CTX *params = NULL;

	*len = 1024;
	mint_check(EVP_DigestSignInit_ex(ctx, &params, hash, NULL, NULL, key, NULL) == 1,
		   "EVP_DigestSignInit_ex");
	if (alg[0] == 'P')
		mint_check(EVP_PKEY_CTX_set_rsa_padding(params, RSA_PKCS1_PSS_PADDING) == 1 &&
				   EVP_PKEY_CTX_set_rsa_pss_saltlen(params,
								    RSA_PSS_SALTLEN_DIGEST) == 1,
			   "PSS");
	mint_check(EVP_DigestSign(ctx, raw, len, input.p, input.len) == 1, "EVP_DigestSign");
	EVP_MD_CTX_free(ctx);
	if (!EVP_PKEY_is_a(key, "EC"))
		return raw;
	int width = (EVP_PKEY_get_bits(key) + 7) / 8;
	const uint8_t *der = raw;
	ECDSA_SIG *sig = d2i_ECDSA_SIG(NULL, &der, (long)*len);
	mint_check(sig != NULL && BN_bn2binpad(ECDSA_SIG_get0_r(sig), raw, width) == width &&
			   BN_bn2binpad(ECDSA_SIG_get0_s(sig), raw + width, width) == width,
		   "ECDSA signature");
	ECDSA_SIG_free(sig);
	*len = 2 * (size_t)width;
	return raw;
}

/* header and payload as they are, signed.  key NULL: an empty signature. */
static inline char *mint_jws(EVP_PKEY *key, const char *alg, const char *header,
			     struct span payload)
{
	char *input = mint_text("%s.%s", mint_b64(header, strlen(header)),
				mint_b64(payload.p, payload.len));
	size_t len = 0;

	if (key == NULL)
		return mint_text("%s.", input);
	uint8_t *sig = mint_sign(key, alg, span_str(input), &len);
	return mint_text("%s.%s", input, mint_b64(sig, len));
}

static inline char *mint_token(EVP_PKEY *key, const char *alg, const char *kid, const char *claims)
{
	return mint_jws(key, alg,
			mint_text("{\"alg\":\"%s\",\"kid\":\"%s\",\"typ\":\"JWT\"}", alg, kid),
			span_str(claims));
}

/* Claims of a platform token of MINT_ISS at MINT_NOW round a guest's key; `more` is further
 * members, beginning with a comma, or "". */
static inline char *mint_claims(EVP_PKEY *kek, const char *more)
{
	return mint_text("{\"exp\":%d,\"iat\":%d,\"nbf\":%d,\"iss\":\"" MINT_ISS
			 "\",\"x-ms-attestation-type\":\"sevsnpvm\","
			 "\"x-ms-compliance-status\":\"azure-compliant-cvm\",\"x-ms-sevsnpvm-is-"
			 "debuggable\":false,\"x-ms-sevsnpvm-vmpl\":0,"
			 "\"x-ms-runtime\":{\"keys\":[%s]}%s}",
			 MINT_NOW + 28800, MINT_NOW, MINT_NOW,
			 mint_jwk(kek, "HCLTransferKey", ",\"key_ops\":[\"encrypt\"]"), more);
}

static inline struct issuer_rules mint_issuer(void)
{
	static char name[] = "issuer", iss[] = MINT_ISS, keys[] = ISSUER_WRAPPING_KEY;

	return (struct issuer_rules){.name = name,
				     .issuer = iss,
				     .algorithms = 1u << KB_RS256,
				     .max_age_s = 28800,
				     .max_lifetime_s = 86400,
				     .skew_s = 60,
				     .wrapping_key = keys,
				     .is_maa = true};
}

/* Permission to release `name`/`version` to `kek` (RSA with public part), by way of a real
 * decision.  Free with grant_free(). */
static inline struct grant *mint_grant(EVP_PKEY *kek, const char *name, const char *version)
{
	static const char policy[] =
		"{\"version\":\"1.0.0\",\"anyOf\":[{\"authority\":\"" MINT_ISS
		"\",\"allOf\":[{\"claim\":\"x-ms-attestation-type\",\"equals\":\"sevsnpvm\"}]}]}";
	struct issuer_rules issuer = mint_issuer();
	struct jwks *keys = mint_jwks(mint_rsa(0), "k");
	struct token *token = NULL;
	struct rules *rules = NULL;
	struct grant *grant = NULL;

	mint_check(token_open(span_str(mint_token(mint_rsa(0), "RS256", "k", mint_claims(kek, ""))),
			      &token) == KB_OK,
		   "token_open");
	mint_check(rules_compile(span_str(policy), &rules, NULL) == KB_OK, "rules_compile");
	struct release_case c = {.token = token,
				 .issuer = &issuer,
				 .keys = keys,
				 .policy = rules,
				 .key_name = span_str(name),
				 .key_version = span_str(version),
				 .now_s = MINT_NOW};
	mint_check(decide(&c, NULL, &grant) == KB_OK, "decide");
	token_free(token);
	rules_free(rules);
	jwks_free(keys);
	return grant;
}

#endif
