/* keystore/pkcs8.c — decides what the plaintext of a released key is, to the byte. Trusts nothing
 * of what the module returned. A DER reader of its own, because every byte here is secret:
 * OpenSSL's ASN.1 would copy it through the ordinary heap. Must never find the end by stripping
 * zeros: a key may end in zeros. */
#include "keystore/pkcs8.h"

#include "base/secret.h"
#include "keystore/public.h"

enum {
	TAG_INTEGER = 0x02,
	TAG_BITS = 0x03,
	TAG_OCTETS = 0x04,
	TAG_SEQUENCE = 0x30,
	TAG_EC_PARAMS = 0xa0, /* RFC 5915: [0] parameters */
	TAG_EC_PUBLIC = 0xa1, /* RFC 5915: [1] publicKey */
	MAX_PAD = 7,
};

/* AlgorithmIdentifier of RSA, and the OID that begins the one of EC. */
static const uint8_t alg_rsa[] = {0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7,
				  0x0d, 0x01, 0x01, 0x01, 0x05, 0x00};
static const uint8_t alg_ec[] = {0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01};

/* ---- reading ---- */

/* The next element, which must have this tag; definite minimal lengths up to 65535 (X.690
 * §10.1). */
static bool der_next(struct span *in, uint8_t tag, struct span *value)
{
	if (in->len < 2 || in->p[0] != tag)
		return false;
	size_t len = in->p[1], head = 2;
	if (len >= 0x80) {
		size_t n = len - 0x80;
		if (n < 1 || n > 2 || in->len < 2 + n)
			return false;
		len = n == 1 ? in->p[2] : (size_t)in->p[2] << 8 | in->p[3];
		head += n;
		if (len < (n == 1 ? 0x80 : 0x100))
			return false;
	}
	if (len > in->len - head)
		return false;
	*value = span_sub(*in, head, len);
	*in = span_sub(*in, head + len, in->len - head - len);
	return true;
}

static bool der_small(struct span *in, uint8_t number)
{
	struct span v;

	return der_next(in, TAG_INTEGER, &v) && v.len == 1 && v.p[0] == number;
}

static struct span without_zeros(struct span n)
{
	while (n.len > 0 && n.p[0] == 0)
		n = span_sub(n, 1, n.len - 1);
	return n;
}

/* PrivateKeyInfo: version 0, algorithm, key, no attributes.  *der_len: where it ends. */
static bool pkcs8_open(struct span in, size_t *der_len, struct span *alg, struct span *key)
{
	struct span body, rest = in;

	if (!der_next(&rest, TAG_SEQUENCE, &body))
		return false;
	*der_len = in.len - rest.len;
	return der_small(&body, 0) && der_next(&body, TAG_SEQUENCE, alg) &&
	       der_next(&body, TAG_OCTETS, key) && body.len == 0;
}

/* Behind `len` there is only the module's padding: SoftHSM 2.6.1 fills up to a multiple of
 * eight. */
static bool is_padding(struct span s, size_t len)
{
	uint8_t any = 0;

	if (s.len < len || s.len - len > MAX_PAD)
		return false;
	for (size_t i = len; i < s.len; i++)
		any |= s.p[i];
	return any == 0;
}

/* ---- RSA ---- */

static enum kb_err exact_rsa(struct secret *plain, const struct hsm_public *p)
{
	struct span alg, key, rsa, n;
	size_t len;

	if (!pkcs8_open(secret_span(plain), &len, &alg, &key) ||
	    !is_padding(secret_span(plain), len) || !span_eq(alg, span_of(alg_rsa, sizeof alg_rsa)))
		return KB_E_HSM_OUTPUT;
	if (!der_next(&key, TAG_SEQUENCE, &rsa) || key.len != 0 || !der_small(&rsa, 0) ||
	    !der_next(&rsa, TAG_INTEGER, &n))
		return KB_E_HSM_OUTPUT;
	if (!span_eq(without_zeros(n), span_of(p->n, p->n_len)))
		return KB_E_HSM_OUTPUT; /* another key than the one asked for */
	secret_trim(plain, len);
	return KB_OK;
}

/* ---- EC ---- */

static bool ec_open(struct span in, const struct curve *c, const struct hsm_public *p,
		    struct span *d)
{
	struct span alg, key, ec, skip, tagged, bits;
	size_t len;

	if (!pkcs8_open(in, &len, &alg, &key) || !is_padding(in, len))
		return false;
	if (!span_eq(span_sub(alg, 0, sizeof alg_ec), span_of(alg_ec, sizeof alg_ec)) ||
	    !span_eq(span_sub(alg, sizeof alg_ec, alg.len), span_of(c->oid, c->oid_len)))
		return false;
	if (!der_next(&key, TAG_SEQUENCE, &ec) || key.len != 0 || !der_small(&ec, 1) ||
	    !der_next(&ec, TAG_OCTETS, d))
		return false;
	(void)der_next(&ec, TAG_EC_PARAMS, &skip); /* optional: the algorithm has named the curve */
	if (der_next(&ec, TAG_EC_PUBLIC, &tagged)) {
		size_t w = c->bytes;
		if (!der_next(&tagged, TAG_BITS, &bits) || bits.len != 2 + 2 * w ||
		    bits.p[0] != 0 || bits.p[1] != 0x04 || memcmp(bits.p + 2, p->x, w) != 0 ||
		    memcmp(bits.p + 2 + w, p->y, w) != 0)
			return false;
	}
	*d = without_zeros(*d);
	return ec.len == 0 && d->len > 0 && d->len <= c->bytes;
}

/* Writing. The longest form, P-521, has 241 bytes, so a length takes one byte or two. */
static size_t der_size(size_t len) /* of an element with `len` bytes in it */
{
	return len + (len < 0x80 ? 2 : 3);
}

static uint8_t *put_head(uint8_t *p, uint8_t tag, size_t len)
{
	*p++ = tag;
	if (len >= 0x80)
		*p++ = 0x81;
	*p++ = (uint8_t)len;
	return p;
}

static uint8_t *put(uint8_t *p, const void *bytes, size_t len)
{
	memcpy(p, bytes, len);
	return p + len;
}

static uint8_t *put_small(uint8_t *p, uint8_t number)
{
	return put(p, (uint8_t[]){TAG_INTEGER, 1, number}, 3);
}

static size_t ec_bits(const struct curve *c) /* the public point in a BIT STRING */
{
	return 2 + 2 * c->bytes;
}

static size_t ec_body(const struct curve *c) /* of ECPrivateKey */
{
	return 3 + der_size(c->bytes) + der_size(der_size(ec_bits(c)));
}

static size_t ec_all(const struct curve *c) /* of PrivateKeyInfo */
{
	return 3 + der_size(sizeof alg_ec + c->oid_len) + der_size(der_size(ec_body(c)));
}

/* The form OpenSSL writes: curve named once, in the algorithm; private number of full width; public
 * key present. */
static enum kb_err exact_ec(struct secret **plain, const struct hsm_public *p)
{
	const struct curve *c = curve_of(p->crv);
	struct span d;

	if (c == NULL)
		return KB_E_BUG;
	if (!ec_open(secret_span(*plain), c, p, &d))
		return KB_E_HSM_OUTPUT;
	size_t bits = ec_bits(c), ec = ec_body(c), all = ec_all(c),
	       alg = sizeof alg_ec + c->oid_len;
	struct secret *full = secret_new(der_size(all));
	if (full == NULL)
		return KB_E_NOMEM;
	uint8_t *at = put_head(secret_bytes(full), TAG_SEQUENCE, all);
	at = put_small(at, 0);
	at = put_head(at, TAG_SEQUENCE, alg);
	at = put(at, alg_ec, sizeof alg_ec);
	at = put(at, c->oid, c->oid_len);
	at = put_head(at, TAG_OCTETS, der_size(ec));
	at = put_head(at, TAG_SEQUENCE, ec);
	at = put_small(at, 1);
	at = put_head(at, TAG_OCTETS, c->bytes);
	at += c->bytes - d.len; /* a new secret is all zero */
	at = put(at, d.p, d.len);
	at = put_head(at, TAG_EC_PUBLIC, der_size(bits));
	at = put_head(at, TAG_BITS, bits);
	at = put(at, (uint8_t[]){0, 0x04}, 2);
	at = put(at, p->x, c->bytes);
	at = put(at, p->y, c->bytes);
	if (at != secret_bytes(full) + secret_len(full))
		KB_BUG();
	secret_free(*plain);
	*plain = full;
	return KB_OK;
}

enum kb_err plain_exact(struct secret **plain, const struct hsm_public *p)
{
	switch (p->kty) {
	case KB_KTY_RSA:
		return exact_rsa(*plain, p);
	case KB_KTY_EC:
		return exact_ec(plain, p);
	case KB_KTY_OCT:
		if (!is_padding(secret_span(*plain), p->oct_len))
			return KB_E_HSM_OUTPUT;
		secret_trim(*plain, p->oct_len);
		return KB_OK;
	}
	KB_BUG();
}

bool pkcs8_rsa_numbers(struct span der, struct span out[static RSA_NUMBERS])
{
	struct span alg, key, rsa;
	size_t len;

	if (!pkcs8_open(der, &len, &alg, &key) || len != der.len ||
	    !span_eq(alg, span_of(alg_rsa, sizeof alg_rsa)) ||
	    !der_next(&key, TAG_SEQUENCE, &rsa) || key.len != 0 || !der_small(&rsa, 0))
		return false;
	for (size_t i = 0; i < RSA_NUMBERS; i++) {
		if (!der_next(&rsa, TAG_INTEGER, &out[i]))
			return false;
		out[i] = without_zeros(out[i]);
		if (out[i].len == 0)
			return false;
	}
	return rsa.len == 0;
}

bool pkcs8_ec_number(struct span der, const struct curve **curve, struct span *out)
{
	struct span alg, key, ec;
	size_t len;

	if (!pkcs8_open(der, &len, &alg, &key) || len != der.len ||
	    !span_eq(span_sub(alg, 0, sizeof alg_ec), span_of(alg_ec, sizeof alg_ec)) ||
	    (*curve = curve_by_oid(span_sub(alg, sizeof alg_ec, alg.len))) == NULL)
		return false;
	return der_next(&key, TAG_SEQUENCE, &ec) && der_small(&ec, 1) &&
	       der_next(&ec, TAG_OCTETS, out) && out->len == (*curve)->bytes;
}

void plain_bounds(const struct hsm_public *p, size_t *least, size_t *most)
{
	const struct curve *c = p->kty == KB_KTY_EC ? curve_of(p->crv) : NULL;

	*least = *most = 0;
	switch (p->kty) {
	case KB_KTY_RSA:
		/* n, d, and five numbers of half their length; each may be a little shorter */
		*least = 4 * p->n_len;
		*most = 5 * p->n_len + 128;
		return;
	case KB_KTY_EC:
		*least = *most = c == NULL ? 0 : der_size(ec_all(c));
		return;
	case KB_KTY_OCT:
		*least = *most = p->oct_len;
		return;
	}
	KB_BUG();
}
