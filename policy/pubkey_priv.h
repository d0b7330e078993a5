/* policy/pubkey_priv.h — the numbers inside a public key, for those of policy/ that hand them to a
 * library. */
#ifndef KB_POLICY_PUBKEY_PRIV_H
#define KB_POLICY_PUBKEY_PRIV_H
#include "base/limits.h"
#include "policy/pubkey.h"

struct key_numbers { /* big-endian; n and e without leading zeros, x and y as wide as the curve's
			field */
	enum pubkey_kind kind;
	uint8_t n[KB_RSA_MAX_BITS / 8], e[KB_RSA_MAX_E_BITS / 8];
	size_t n_len, e_len;
	uint8_t x[66], y[66];
	size_t xy_len;
};
const struct key_numbers *pubkey_numbers(const struct pubkey *k);

struct curve {
	enum pubkey_kind kind;
	const char *jwk_name; /* RFC 7518 §6.2.1.1 */
	char group[16];       /* OpenSSL's name of it */
	int nid;
	size_t bytes; /* of a field element, and of the group's order */
};
const struct curve *curve_of(enum pubkey_kind kind); /* NULL for RSA */

#endif
