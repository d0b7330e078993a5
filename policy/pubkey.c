/* policy/pubkey.c — may this public key from outside be used? Trusts OpenSSL's arithmetic, nothing
 * of the key. However a key arrives (JWK or certificate) it is reduced to its numbers, the numbers
 * are checked, and the key is built from them anew: no parameter but these ever reaches OpenSSL.
 * Must never accept or store a private part. */
#include "policy/pubkey_priv.h"

#include <errno.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <stdlib.h>

#include "base/b64url.h"
#include "base/evp.h"
#include "base/json.h"
#include "base/thumbprint.h"
#include "policy/alg.h"
#include "policy/rsa_weak.h"
#include "policy/wrapping_key.h"

struct pubkey {
	EVP_PKEY *evp;
	struct key_numbers num;
	unsigned bits;
	size_t kid_len;
	uint8_t kid[KB_MAX_KID];
};

/* The numbers of enum pubkey_kind and enum kb_crv, in the same order. */
const struct curve *pubkey_curve(enum pubkey_kind kind)
{
	return kind == PUBKEY_RSA ? NULL : curve_of((enum kb_crv)(kind - PUBKEY_RSA));
}

static enum pubkey_kind kind_of(const struct curve *curve)
{
	return (enum pubkey_kind)(PUBKEY_RSA + (unsigned)curve->crv);
}
_Static_assert(PUBKEY_P256 - PUBKEY_RSA == KB_CRV_P256 && PUBKEY_P384 - PUBKEY_RSA == KB_CRV_P384 &&
		       PUBKEY_P521 - PUBKEY_RSA == KB_CRV_P521,
	       "one order");

static void bn_cleanup(BIGNUM **b)
{
	BN_free(*b);
}

static void evp_ctx_cleanup(EVP_PKEY_CTX **c)
{
	EVP_PKEY_CTX_free(*c);
}

static void x509_cleanup(X509 **x)
{
	X509_free(*x);
}

/* ---- the JWK's own members: no private part, and meant for our purpose ---- */

static bool has_private_part(const struct json_t *jwk)
{
	static const char *const members[] = {
		"d", "p", "q", "dp", "dq", "qi", "oth", "k"}; /* RFC 7518 §6.2.2, §6.3.2, §6.4.1 */

	for (size_t i = 0; i < sizeof members / sizeof *members; i++)
		if (json_has(jwk, members[i]))
			return true;
	return false;
}

/* `use` (RFC 7517 section 4.2), when there, is that of the purpose. */
static enum kb_err check_use(const struct json_t *jwk, enum pubkey_use use)
{
	struct span text;

	if (!json_has(jwk, "use"))
		return KB_OK;
	if (json_get_str(jwk, "use", KB_MAX_KID, &text) != KB_OK)
		return KB_E_KEY_FORMAT;
	return span_eq_cstr(text, use == PUBKEY_WRAP ? "enc" : "sig") ? KB_OK : KB_E_KEY_USE;
}

static enum kb_err check_key_ops(const struct json_t *jwk, enum pubkey_use use)
{
	const struct json_t *ops;
	bool fits = false;

	if (!json_has(jwk, "key_ops"))
		return KB_OK;
	if (json_get_arr(jwk, "key_ops", &ops) != KB_OK)
		return KB_E_KEY_FORMAT;
	for (size_t i = 0; i < json_len(ops); i++) {
		struct span op;
		if (json_as_str(json_at(ops, i), KB_MAX_KID, &op) != KB_OK)
			return KB_E_KEY_FORMAT;
		if (use == PUBKEY_WRAP)
			fits |= span_eq_cstr(op, "encrypt") || span_eq_cstr(op, "wrapKey");
		else
			fits |= span_eq_cstr(op, "verify");
	}
	return fits ? KB_OK : KB_E_KEY_USE;
}

/* `alg` binds a key to one algorithm (RFC 7517 §4.4): it must be one that fits the purpose and this
 * kind of key. */
static enum kb_err check_alg(const struct json_t *jwk, enum pubkey_use use, enum pubkey_kind kind)
{
	static const char *const oaep[] = {"RSA-OAEP", "RSA-OAEP-256", "RSA-OAEP-384",
					   "RSA-OAEP-512"};
	struct span alg;

	if (!json_has(jwk, "alg"))
		return KB_OK;
	if (json_get_str(jwk, "alg", KB_MAX_KID, &alg) != KB_OK)
		return KB_E_KEY_FORMAT;
	if (use == PUBKEY_VERIFY)
		return alg_fits(alg_from_name(alg), kind) == KB_OK ? KB_OK : KB_E_KEY_USE;
	for (size_t i = 0; i < sizeof oaep / sizeof *oaep; i++)
		if (span_eq_cstr(alg, oaep[i]))
			return KB_OK;
	return KB_E_KEY_USE;
}

/* ---- numbers in ---- */

/* A base64url member of at most `cap` bytes.  KB_E_KEY_SIZE when it is longer; the caller
 * translates it. */
static enum kb_err member_bytes(const struct json_t *jwk, const char *name, uint8_t *out,
				size_t cap, size_t *len)
{
	KB_AUTO(buf) struct buf b;
	struct span text;

	buf_init(&b, cap);
	if (json_get_str(jwk, name, SIZE_MAX, &text) != KB_OK)
		return KB_E_KEY_FORMAT;
	if (text.len > (cap * 4 + 2) / 3)
		return KB_E_KEY_SIZE;
	enum kb_err err = b64url_decode(text, &b);
	if (err != KB_OK)
		return err == KB_E_B64 ? KB_E_KEY_FORMAT : err;
	memcpy(out, b.p, b.len);
	*len = b.len;
	return KB_OK;
}

/* Base64urlUInt (RFC 7518 section 2) without its leading zeros.  Section 6.3.1.1 warns that some
 * writers prepend one, others write all numbers in the modulus' width. */
static enum kb_err member_number(const struct json_t *jwk, const char *name, uint8_t *out,
				 size_t cap, size_t *len)
{
	uint8_t wide[2 * KB_RSA_MAX_BITS / 8];
	size_t zeros = 0, n = 0;

	enum kb_err err = member_bytes(jwk, name, wide, sizeof wide, &n);
	if (err != KB_OK)
		return err;
	while (zeros < n && wide[zeros] == 0)
		zeros++;
	*len = n - zeros;
	if (*len > cap)
		return KB_E_KEY_SIZE;
	memcpy(out, wide + zeros, *len);
	return KB_OK;
}

static enum kb_err rsa_from_jwk(const struct json_t *jwk, struct key_numbers *num)
{
	num->kind = PUBKEY_RSA;
	enum kb_err err = member_number(jwk, "n", num->n, sizeof num->n, &num->n_len);
	if (err != KB_OK)
		return err;
	err = member_number(jwk, "e", num->e, sizeof num->e, &num->e_len);
	return err == KB_E_KEY_SIZE ? KB_E_KEY_EXPONENT : err;
}

static enum kb_err ec_from_jwk(const struct json_t *jwk, struct key_numbers *num)
{
	struct span crv;
	size_t x_len, y_len;

	if (json_get_str(jwk, "crv", KB_MAX_KID, &crv) != KB_OK)
		return KB_E_KEY_FORMAT;
	const struct curve *curve = curve_by_name(crv);
	if (curve == NULL)
		return KB_E_KEY_CURVE;
	num->kind = kind_of(curve);
	num->xy_len = curve->bytes;
	enum kb_err err = member_bytes(jwk, "x", num->x, curve->bytes, &x_len);
	if (err == KB_OK)
		err = member_bytes(jwk, "y", num->y, curve->bytes, &y_len);
	if (err != KB_OK)
		return err == KB_E_KEY_SIZE ? KB_E_KEY_CURVE : err;
	return x_len == curve->bytes && y_len == curve->bytes
		       ? KB_OK
		       : KB_E_KEY_CURVE; /* RFC 7518 §6.2.1.2: full width */
}

/* A number of an EVP key as big-endian bytes: `width` of them, or as few as it takes when width is
 * 0. */
static enum kb_err evp_number(const EVP_PKEY *key, const char *name, uint8_t *out, size_t cap,
			      size_t width, size_t *len)
{
	KB_AUTO(bn) BIGNUM *b = NULL;

	if (EVP_PKEY_get_bn_param(key, name, &b) != 1)
		return KB_E_KEY_FORMAT;
	*len = width != 0 ? width : (size_t)BN_num_bytes(b);
	if (*len > cap || BN_bn2binpad(b, out, (int)*len) < 0)
		return KB_E_KEY_SIZE;
	return KB_OK;
}

static enum kb_err numbers_from_evp(const EVP_PKEY *key, struct key_numbers *num)
{
	char group[64];

	if (EVP_PKEY_is_a(key, "RSA")) {
		num->kind = PUBKEY_RSA;
		enum kb_err err = evp_number(key, OSSL_PKEY_PARAM_RSA_N, num->n, sizeof num->n, 0,
					     &num->n_len);
		if (err != KB_OK)
			return err;
		err = evp_number(key, OSSL_PKEY_PARAM_RSA_E, num->e, sizeof num->e, 0, &num->e_len);
		return err == KB_E_KEY_SIZE ? KB_E_KEY_EXPONENT : err;
	}
	if (!EVP_PKEY_is_a(key, "EC"))
		return KB_E_KEY_TYPE;
	if (EVP_PKEY_get_utf8_string_param(key, OSSL_PKEY_PARAM_GROUP_NAME, group, sizeof group,
					   NULL) != 1)
		return KB_E_KEY_CURVE; /* explicit parameters that are no curve's (CVE-2020-0601) */
	const struct curve *curve = curve_by_group(group);
	if (curve == NULL)
		return KB_E_KEY_CURVE;
	num->kind = kind_of(curve);
	num->xy_len = curve->bytes;
	enum kb_err err = evp_number(key, OSSL_PKEY_PARAM_EC_PUB_X, num->x, sizeof num->x,
				     num->xy_len, &num->xy_len);
	return err != KB_OK ? err
			    : evp_number(key, OSSL_PKEY_PARAM_EC_PUB_Y, num->y, sizeof num->y,
					 num->xy_len, &num->xy_len);
}

/* The leaf's key.  The chain is not validated: the set itself came over TLS from the issuer, or
 * from a file of the operator. */
static enum kb_err numbers_from_x5c(const struct json_t *jwk, struct key_numbers *num)
{
	KB_AUTO(buf) struct buf der;
	KB_AUTO(x509) X509 *leaf = NULL;
	const struct json_t *chain;
	struct span text;

	buf_init(&der, KB_MAX_JWKS);
	if (json_get_arr(jwk, "x5c", &chain) != KB_OK || json_len(chain) == 0 ||
	    json_len(chain) > KB_MAX_X5C)
		return KB_E_KEY_FORMAT;
	if (json_as_str(json_at(chain, 0), KB_MAX_JWKS, &text) != KB_OK)
		return KB_E_KEY_FORMAT;
	enum kb_err err = b64_decode(text, &der);
	if (err != KB_OK)
		return err == KB_E_B64 ? KB_E_KEY_FORMAT : err;
	const uint8_t *p = der.p;
	leaf = d2i_X509(NULL, &p, (long)der.len);
	if (leaf == NULL || p != der.p + der.len)
		return KB_E_KEY_FORMAT;
	const EVP_PKEY *key = X509_get0_pubkey(leaf);
	return key == NULL ? KB_E_KEY_FORMAT : numbers_from_evp(key, num);
}

static bool numbers_equal(const struct key_numbers *a, const struct key_numbers *b)
{
	return a->kind == b->kind && span_eq(span_of(a->n, a->n_len), span_of(b->n, b->n_len)) &&
	       span_eq(span_of(a->e, a->e_len), span_of(b->e, b->e_len)) &&
	       span_eq(span_of(a->x, a->xy_len), span_of(b->x, b->xy_len)) &&
	       span_eq(span_of(a->y, a->xy_len), span_of(b->y, b->xy_len));
}

bool pubkey_equal(const struct pubkey *a, const struct pubkey *b)
{
	return numbers_equal(&a->num, &b->num);
}

static enum kb_err numbers_from_jwk(const struct json_t *jwk, struct key_numbers *num)
{
	struct key_numbers leaf = {0};
	struct span kty;

	if (json_get_str(jwk, "kty", KB_MAX_KID, &kty) != KB_OK)
		return KB_E_KEY_FORMAT;
	bool is_rsa = span_eq_cstr(kty, "RSA");
	if (!is_rsa && !span_eq_cstr(kty, "EC"))
		return KB_E_KEY_TYPE;
	bool has_numbers =
		is_rsa ? json_has(jwk, "n") || json_has(jwk, "e")
		       : json_has(jwk, "crv") || json_has(jwk, "x") || json_has(jwk, "y");
	bool has_x5c = json_has(jwk, "x5c");
	enum kb_err err;
	if (has_numbers || !has_x5c) {
		if ((err = is_rsa ? rsa_from_jwk(jwk, num) : ec_from_jwk(jwk, num)) != KB_OK)
			return err;
		if (!has_x5c)
			return KB_OK;
	}
	if ((err = numbers_from_x5c(jwk, &leaf)) != KB_OK)
		return err;
	if (has_numbers)
		return numbers_equal(num, &leaf) ? KB_OK : KB_E_KEY_FORMAT;
	if ((leaf.kind == PUBKEY_RSA) != is_rsa)
		return KB_E_KEY_TYPE;
	*num = leaf;
	return KB_OK;
}

/* ---- numbers judged ---- */

static enum kb_err check_rsa(const struct key_numbers *num, const BIGNUM *n, enum pubkey_use use)
{
	uint32_t e = 0;

	if (BN_num_bits(n) < KB_RSA_MIN_BITS || BN_num_bits(n) > KB_RSA_MAX_BITS)
		return KB_E_KEY_SIZE;
	for (size_t i = 0; i < num->e_len; i++)
		e = e << 8 | num->e[i];
	if (e < 3 || e % 2 == 0)
		return KB_E_KEY_EXPONENT;
	/* A guest that picks a key with a larger factor harms only itself; an issuer's key protects
	 * every release. */
	if (!BN_is_odd(n) || rsa_is_weak(n, use == PUBKEY_WRAP))
		return KB_E_KEY_WEAK;
	return KB_OK;
}

/* ---- the key built anew ---- */

/* The numbers are well formed by now: if OpenSSL refuses them, the key is bad. */
static enum kb_err refused_as(enum kb_err err, enum kb_err bad)
{
	return err == KB_E_KEY_FORMAT ? bad : err;
}

static enum kb_err build_rsa(struct pubkey *k, enum pubkey_use use)
{
	KB_AUTO(bn) BIGNUM *n = BN_bin2bn(k->num.n, (int)k->num.n_len, NULL);

	if (n == NULL)
		return KB_E_NOMEM;
	enum kb_err err = check_rsa(&k->num, n, use);
	if (err != KB_OK)
		return err;
	k->bits = (unsigned)BN_num_bits(n);
	err = evp_rsa_public(span_of(k->num.n, k->num.n_len), span_of(k->num.e, k->num.e_len),
			     &k->evp);
	return refused_as(err, KB_E_KEY_WEAK);
}

static enum kb_err build_ec(struct pubkey *k)
{
	const struct curve *curve = pubkey_curve(k->num.kind);
	uint8_t point[1 + 2 * CURVE_MAX_BYTES] = {4}; /* uncompressed, SEC 1 section 2.3.3 */

	if (curve == NULL)
		KB_BUG();
	memcpy(point + 1, k->num.x, curve->bytes);
	memcpy(point + 1 + curve->bytes, k->num.y, curve->bytes);
	/* OpenSSL refuses what is not a point of the curve: x or y ≥ p, off the curve (SEC 1
	 * section 3.2.2.1). */
	enum kb_err err = evp_ec_public(curve, span_of(point, 1 + 2 * curve->bytes), &k->evp);
	if (err == KB_OK)
		k->bits = (unsigned)EVP_PKEY_get_bits(k->evp);
	return refused_as(err, KB_E_KEY_CURVE);
}

enum kb_err pubkey_from_jwk(const struct json_t *jwk, enum pubkey_use use, struct pubkey **out)
{
	enum kb_err err = KB_E_BUG;
	struct pubkey *k = NULL;
	struct span kid = {0};

	*out = NULL;
	if (!json_isa_obj(jwk))
		return KB_E_KEY_FORMAT;
	if (has_private_part(jwk))
		return KB_E_KEY_PRIVATE;
	if (json_has(jwk, "kid") && json_get_str(jwk, "kid", KB_MAX_KID, &kid) != KB_OK)
		return KB_E_KEY_FORMAT;
	if ((k = calloc(1, sizeof *k)) == NULL)
		return KB_E_NOMEM;
	errno = 0;
	if ((err = numbers_from_jwk(jwk, &k->num)) != KB_OK)
		goto out;
	if (use == PUBKEY_WRAP && k->num.kind != PUBKEY_RSA) {
		err = KB_E_KEY_TYPE;
		goto out;
	}
	if ((err = check_use(jwk, use)) != KB_OK || (err = check_key_ops(jwk, use)) != KB_OK ||
	    (err = check_alg(jwk, use, k->num.kind)) != KB_OK)
		goto out;
	if ((err = k->num.kind == PUBKEY_RSA ? build_rsa(k, use) : build_ec(k)) != KB_OK)
		goto out;
	if (kid.len > 0)
		memcpy(k->kid, kid.p, kid.len);
	k->kid_len = kid.len;
	*out = k;
	k = NULL;
	err = KB_OK;
out:
	pubkey_free(k);
	if (err == KB_OK)
		return KB_OK;
	/* The error queue is per thread: the next failure must not report this key. */
	ERR_clear_error();
	/* OpenSSL also calls a key bad when it has no memory. */
	return kb_err_or_nomem(err);
}

enum kb_err pubkey_validate(const struct pubkey *k)
{
	KB_AUTO(evp_ctx) EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, k->evp, NULL);

	if (ctx == NULL)
		return KB_E_NOMEM;
	errno = 0;
	if (EVP_PKEY_public_check(ctx) == 1)
		return KB_OK;
	ERR_clear_error();
	/* OpenSSL also calls a key bad when it has no memory. */
	return kb_err_or_nomem(k->num.kind == PUBKEY_RSA ? KB_E_KEY_WEAK : KB_E_KEY_CURVE);
}

void pubkey_free(struct pubkey *k)
{
	if (k == NULL)
		return;
	EVP_PKEY_free(k->evp);
	free(k);
}

EVP_PKEY *pubkey_evp(const struct pubkey *k)
{
	return k->evp;
}

enum pubkey_kind pubkey_kind(const struct pubkey *k)
{
	return k->num.kind;
}

unsigned pubkey_bits(const struct pubkey *k)
{
	return k->bits;
}

struct span pubkey_kid(const struct pubkey *k)
{
	return span_of(k->kid, k->kid_len);
}

const struct key_numbers *pubkey_numbers(const struct pubkey *k)
{
	return &k->num;
}

enum kb_err pubkey_thumbprint(const struct pubkey *k, uint8_t out[static 32])
{
	const struct key_numbers *num = &k->num;
	const struct curve *curve = pubkey_curve(num->kind);

	if (curve == NULL)
		return thumbprint_rsa(span_of(num->n, num->n_len), span_of(num->e, num->e_len),
				      out);
	return thumbprint_ec(curve, span_of(num->x, num->xy_len), span_of(num->y, num->xy_len),
			     out);
}

enum kb_err pubkey_wrapping(const struct pubkey *k, struct wrapping_key *out)
{
	*out = (struct wrapping_key){0};
	if (k->num.kind != PUBKEY_RSA)
		return KB_E_KEY_TYPE;
	*out = (struct wrapping_key){.kind = KEK_RSA, .evp = k->evp, .kid = pubkey_kid(k)};
	return pubkey_thumbprint(k, out->thumbprint);
}
