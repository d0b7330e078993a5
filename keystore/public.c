/* keystore/public.c — decides which public keys the broker handles (RSA 2048–4096, three NIST
 * curves) and what their fingerprint is. Trusts no attribute's length or shape.  Never sees a
 * private number. */
#include "keystore/public.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>

#include "base/b64url.h"
#include "base/digest.h"
#include "base/json.h"
#include "base/limits.h"

static const struct curve curves[] = {
	{KB_CRV_P256,
	 "P-256",
	 "prime256v1",
	 32,
	 {0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07},
	 10},
	{KB_CRV_P384, "P-384", "secp384r1", 48, {0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22}, 7},
	{KB_CRV_P521, "P-521", "secp521r1", 66, {0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x23}, 7},
};

enum { CURVES = sizeof curves / sizeof curves[0], MAX_POINT = 1 + 2 * 66 };

const struct curve *crv_curve(enum kb_crv crv)
{
	for (size_t i = 0; i < CURVES; i++)
		if (curves[i].crv == crv)
			return &curves[i];
	return NULL;
}

const struct curve *curve_of_params(struct span der)
{
	for (size_t i = 0; i < CURVES; i++)
		if (span_eq(der, span_of(curves[i].oid, curves[i].oid_len)))
			return &curves[i];
	return NULL;
}

const char *crv_name(enum kb_crv crv)
{
	const struct curve *c = crv_curve(crv);

	return c == NULL ? "" : c->name;
}

/* ---- thumbprint ---- */

/* RFC 7638 §3: the required members, sorted, without white space. */
static enum kb_err fingerprint(struct hsm_public *p)
{
	KB_AUTO(buf) struct buf json;
	buf_init(&json, 2048);

	buf_add_str(&json, "{");
	if (p->kty == KB_KTY_RSA) {
		json_add_b64url(&json, "e", span_of(p->e, p->e_len));
		json_add_member(&json, "kty", span_str("RSA"));
		json_add_b64url(&json, "n", span_of(p->n, p->n_len));
	} else {
		json_add_member(&json, "crv", span_str(crv_name(p->crv)));
		json_add_member(&json, "kty", span_str("EC"));
		json_add_b64url(&json, "x", span_of(p->x, p->xy_len));
		json_add_b64url(&json, "y", span_of(p->y, p->xy_len));
	}
	buf_add_str(&json, "}");
	digest_sha256(buf_span(&json), p->fingerprint);
	return buf_ok(&json);
}

/* ---- RSA ---- */

static struct span without_zeros(struct span n)
{
	while (n.len > 0 && n.p[0] == 0)
		n = span_sub(n, 1, n.len - 1);
	return n;
}

enum kb_err public_rsa(struct span n, struct span e, struct hsm_public *p)
{
	*p = (struct hsm_public){.kty = KB_KTY_RSA};
	n = without_zeros(n);
	e = without_zeros(e);
	if (n.len < KB_RSA_MIN_BITS / 8 || n.len > KB_RSA_MAX_BITS / 8 || (n.p[0] & 0x80) == 0 ||
	    (n.p[n.len - 1] & 1) == 0)
		return KB_E_HSM_KEY_ATTR;
	if (e.len == 0 || e.len > KB_RSA_MAX_E_BITS / 8 || (e.p[e.len - 1] & 1) == 0)
		return KB_E_HSM_KEY_ATTR;
	memcpy(p->n, n.p, p->n_len = n.len);
	memcpy(p->e, e.p, p->e_len = e.len);
	return fingerprint(p);
}

/* ---- EC ---- */

/* The bare point of `len` bytes; a DER length has one byte up to 127, then two. */
static struct span point_unwrap(struct span in, size_t len)
{
	size_t head = len < 0x80 ? 2 : 3;

	if (in.len == len)
		return in;
	if (in.len != head + len || in.p[0] != 0x04 || in.p[head - 1] != len ||
	    (head == 3 && in.p[1] != 0x81))
		return span_of(NULL, 0);
	return span_sub(in, head, len);
}

static bool point_on_curve(const struct curve *c, struct span point)
{
	EVP_PKEY *key = NULL;
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, (char *)c->group, 0),
		OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, (void *)point.p,
						  point.len),
		OSSL_PARAM_construct_end(),
	};

	bool good = ctx != NULL && EVP_PKEY_fromdata_init(ctx) == 1 &&
		    EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params) == 1;
	EVP_PKEY_free(key);
	EVP_PKEY_CTX_free(ctx);
	return good;
}

enum kb_err public_ec(const struct curve *c, struct span point, struct hsm_public *p)
{
	*p = (struct hsm_public){.kty = KB_KTY_EC, .crv = c->crv, .xy_len = c->width};
	struct span bare = point_unwrap(point, 1 + 2 * c->width);
	if (bare.len == 0 || bare.p[0] != 0x04 || !point_on_curve(c, bare))
		return KB_E_HSM_KEY_ATTR;
	memcpy(p->x, bare.p + 1, c->width);
	memcpy(p->y, bare.p + 1 + c->width, c->width);
	return fingerprint(p);
}

enum kb_err public_oct(size_t len, struct hsm_public *p)
{
	*p = (struct hsm_public){.kty = KB_KTY_OCT, .oct_len = len};
	return len >= KB_MIN_OCT && len <= KB_MAX_OCT ? KB_OK : KB_E_HSM_KEY_ATTR;
}

/* ---- from OpenSSL ---- */

static size_t number_of(const EVP_PKEY *key, const char *name, uint8_t *out, size_t cap)
{
	BIGNUM *bn = NULL;
	int len = -1;

	if (EVP_PKEY_get_bn_param(key, name, &bn) == 1 && (size_t)BN_num_bytes(bn) <= cap)
		len = BN_bn2bin(bn, out);
	BN_free(bn);
	return len < 0 ? 0 : (size_t)len;
}

enum kb_err public_of_evp(const EVP_PKEY *key, struct hsm_public *p)
{
	uint8_t n[KB_RSA_MAX_BITS / 8], e[8], point[MAX_POINT];
	char group[32];
	size_t len = 0;

	*p = (struct hsm_public){0};
	if (EVP_PKEY_is_a(key, "RSA")) {
		struct span sn = span_of(n, number_of(key, OSSL_PKEY_PARAM_RSA_N, n, sizeof n));
		struct span se = span_of(e, number_of(key, OSSL_PKEY_PARAM_RSA_E, e, sizeof e));
		return public_rsa(sn, se, p);
	}
	if (!EVP_PKEY_is_a(key, "EC") ||
	    EVP_PKEY_get_group_name(key, group, sizeof group, &len) != 1)
		return KB_E_HSM_KEY_ATTR;
	for (size_t i = 0; i < CURVES; i++)
		if (strcmp(curves[i].group, group) == 0) {
			/* The uncompressed form, whatever the key was written as. */
			size_t w = curves[i].width;
			BIGNUM *x = NULL, *y = NULL;
			point[0] = 0x04;
			bool good = EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_EC_PUB_X, &x) == 1 &&
				    EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_EC_PUB_Y, &y) == 1 &&
				    BN_bn2binpad(x, point + 1, (int)w) == (int)w &&
				    BN_bn2binpad(y, point + 1 + w, (int)w) == (int)w;
			BN_free(x);
			BN_free(y);
			return good ? public_ec(&curves[i], span_of(point, 1 + 2 * w), p)
				    : KB_E_HSM_KEY_ATTR;
		}
	return KB_E_HSM_KEY_ATTR;
}

enum kb_err public_rsa_evp(const struct hsm_public *p, EVP_PKEY **out)
{
	BIGNUM *n = BN_bin2bn(p->n, (int)p->n_len, NULL), *e = BN_bin2bn(p->e, (int)p->e_len, NULL);
	OSSL_PARAM_BLD *bld = OSSL_PARAM_BLD_new();
	OSSL_PARAM *params = NULL;
	EVP_PKEY_CTX *ctx = NULL;

	*out = NULL;
	if (n != NULL && e != NULL && bld != NULL &&
	    OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_N, n) == 1 &&
	    OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_E, e) == 1 &&
	    (params = OSSL_PARAM_BLD_to_param(bld)) != NULL &&
	    (ctx = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL)) != NULL &&
	    EVP_PKEY_fromdata_init(ctx) == 1 &&
	    EVP_PKEY_fromdata(ctx, out, EVP_PKEY_PUBLIC_KEY, params) != 1)
		*out = NULL;
	EVP_PKEY_CTX_free(ctx);
	OSSL_PARAM_free(params);
	OSSL_PARAM_BLD_free(bld);
	BN_free(n);
	BN_free(e);
	return *out != NULL ? KB_OK : KB_E_NOMEM;
}

bool public_eq(const struct hsm_public *a, const struct hsm_public *b)
{
	return a->kty == b->kty && a->crv == b->crv && a->oct_len == b->oct_len &&
	       a->has_check == b->has_check && memcmp(a->check, b->check, sizeof a->check) == 0 &&
	       memcmp(a->fingerprint, b->fingerprint, sizeof a->fingerprint) == 0;
}
