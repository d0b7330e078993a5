/* policy/pubkey_priv.h — the numbers inside a public key, for those of policy/ that hand them to a
 * library. */
#ifndef KB_POLICY_PUBKEY_PRIV_H
#define KB_POLICY_PUBKEY_PRIV_H
#include "base/curve.h"
#include "base/limits.h"
#include "policy/pubkey.h"

/* big-endian; n and e without leading zeros, x and y as wide as the curve's field. */
struct key_numbers {
	enum pubkey_kind kind;
	uint8_t n[KB_RSA_MAX_BITS / 8], e[KB_RSA_MAX_E_BITS / 8];
	size_t n_len, e_len;
	uint8_t x[CURVE_MAX_BYTES], y[CURVE_MAX_BYTES];
	size_t xy_len;
};
const struct key_numbers *pubkey_numbers(const struct pubkey *k);

const struct curve *pubkey_curve(enum pubkey_kind kind); /* NULL for RSA */

#endif
