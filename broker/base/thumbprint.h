/* broker/base/thumbprint.h — RFC 7638 thumbprints of public keys, SHA-256. */
#ifndef KB_BASE_THUMBPRINT_H
#define KB_BASE_THUMBPRINT_H
#include "base/curve.h"

/* Numbers are big-endian: n and e without leading zeros, x and y as wide as the curve's field (RFC
 * 7518 sections 6.2.1 and 6.3.1).  KB_E_NOMEM, with `out` all zero. */
KB_MUST_CHECK enum kb_err thumbprint_rsa(struct span n, struct span e, uint8_t out[static 32]);
KB_MUST_CHECK enum kb_err thumbprint_ec(const struct curve *curve, struct span x, struct span y,
					uint8_t out[static 32]);

#endif
