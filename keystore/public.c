/* keystore/public.c — decides which public keys the broker handles: RSA of 2048 to 4096 bits and
 * three NIST curves. Trusts no attribute's length or form. Never reads a private number. */
#include "keystore/public.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>

#include "base/evp.h"
#include "base/limits.h"
#include "base/thumbprint.h"

enum { MAX_POINT = 1 + 2 * CURVE_MAX_BYTES };

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
	return thumbprint_rsa(n, e, p->fingerprint);
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

enum kb_err public_ec(const struct curve *c, struct span point, struct hsm_public *p)
{
	*p = (struct hsm_public){.kty = KB_KTY_EC, .crv = c->crv, .xy_len = c->bytes};
	EVP_PKEY *key = NULL;
	struct span bare = point_unwrap(point, 1 + 2 * c->bytes);
	if (bare.len == 0 || bare.p[0] != 0x04 || evp_ec_public(c, bare, &key) != KB_OK)
		return KB_E_HSM_KEY_ATTR;
	EVP_PKEY_free(key); /* OpenSSL has checked that the point is on the curve */
	memcpy(p->x, bare.p + 1, c->bytes);
	memcpy(p->y, bare.p + 1 + c->bytes, c->bytes);
	return thumbprint_ec(c, span_of(p->x, p->xy_len), span_of(p->y, p->xy_len), p->fingerprint);
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
	const struct curve *c = curve_by_group(group);
	if (c == NULL)
		return KB_E_HSM_KEY_ATTR;
	/* The uncompressed form, whatever the key was written as. */
	BIGNUM *x = NULL, *y = NULL;
	int w = (int)c->bytes;
	point[0] = 0x04;
	bool good = EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_EC_PUB_X, &x) == 1 &&
		    EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_EC_PUB_Y, &y) == 1 &&
		    BN_bn2binpad(x, point + 1, w) == w && BN_bn2binpad(y, point + 1 + w, w) == w;
	BN_free(x);
	BN_free(y);
	return good ? public_ec(c, span_of(point, 1 + 2 * c->bytes), p) : KB_E_HSM_KEY_ATTR;
}

bool public_eq(const struct hsm_public *a, const struct hsm_public *b)
{
	return a->kty == b->kty && a->crv == b->crv && a->oct_len == b->oct_len &&
	       a->has_check == b->has_check && memcmp(a->check, b->check, sizeof a->check) == 0 &&
	       memcmp(a->fingerprint, b->fingerprint, sizeof a->fingerprint) == 0;
}
