/* policy/pubkey.h — a public key from outside (JWK or certificate), checked before it is used. */
#ifndef KB_POLICY_PUBKEY_H
#define KB_POLICY_PUBKEY_H
#include <openssl/types.h>

#include "base/bytes.h"

struct json_t;
struct wrapping_key;
struct pubkey; /* opaque, immutable */

enum pubkey_use {
	PUBKEY_VERIFY, /* an issuer's: RSA or EC P-256/384/521; every check but pubkey_validate() */
	/* A guest's ephemeral key: RSA.  Cheap checks, because every release makes them. */
	PUBKEY_WRAP,
};
enum pubkey_kind { PUBKEY_RSA = 1, PUBKEY_P256, PUBKEY_P384, PUBKEY_P521 };

/* From a JWK (RFC 7517, RFC 7518 §6): n/e, crv/x/y, or the leaf of x5c when those are absent (Azure
 * Attestation's sets); when both are there they must agree.  RSA KB_RSA_MIN_BITS…MAX_BITS, odd e ≥
 * 3 of at most KB_RSA_MAX_E_BITS, no small factor, no ROCA fingerprint. PUBKEY_WRAP: `use` absent
 * or "enc"; `key_ops`, when there, holds "encrypt" or "wrapKey"; no private member. PUBKEY_VERIFY:
 * `use` absent or "sig"; `key_ops`, when there, holds "verify"; no private member; the modulus no
 * square. Takes microseconds, whatever the key: a set may hold KB_MAX_JWKS_KEYS of them. On KB_OK
 * *out is the caller's.  Errors: KB_E_KEY_{FORMAT,TYPE,SIZE,EXPONENT,WEAK,CURVE,PRIVATE,USE}. */
KB_MUST_CHECK enum kb_err pubkey_from_jwk(const struct json_t *jwk, enum pubkey_use use,
					  struct pubkey **out);
/* Full public-key validation: RSA by SP 800-56B §6.4.2 (the modulus is no prime and no prime
 * power), EC by SP 800-56A §5.6.2.3.3 (order). KB_E_KEY_WEAK, KB_E_KEY_CURVE.  Slow: 4 ms for a
 * good RSA key of 2048 bits, 24 for 4096, three times that for a bad one. */
KB_MUST_CHECK enum kb_err pubkey_validate(const struct pubkey *k);
void pubkey_free(struct pubkey *k);
static inline void pubkey_cleanup(struct pubkey **k)
{
	pubkey_free(*k);
}

bool pubkey_equal(const struct pubkey *a, const struct pubkey *b); /* the same numbers */
EVP_PKEY *pubkey_evp(const struct pubkey *k);                      /* borrowed */
enum pubkey_kind pubkey_kind(const struct pubkey *k);
unsigned pubkey_bits(const struct pubkey *k);
struct span pubkey_kid(const struct pubkey *k); /* the JWK's kid, borrowed; empty when absent */
/* RFC 7638 thumbprint, SHA-256 over the required members. */
KB_MUST_CHECK enum kb_err pubkey_thumbprint(const struct pubkey *k, uint8_t out[static 32]);
/* The same key for the wrapping schemes; borrows from `k`.  KB_E_KEY_TYPE: no scheme wraps to a key
 * of this kind. */
KB_MUST_CHECK enum kb_err pubkey_wrapping(const struct pubkey *k, struct wrapping_key *out);

#endif
