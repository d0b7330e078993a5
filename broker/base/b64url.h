/* broker/base/b64url.h — base64url without padding (RFC 4648 section 5, RFC 7515 section 2),
 * strict; and standard base64 for x5c. */
#ifndef KB_BASE_B64URL_H
#define KB_BASE_B64URL_H
#include "base/bytes.h"

/* Canonical only: alphabet A–Z a–z 0–9 - _, no padding, no white space, unused bits zero.  KB_E_B64
 * otherwise; `out` is appended to. */
KB_MUST_CHECK enum kb_err b64url_decode(struct span text, struct buf *out);
void b64url_encode(struct buf *out, struct span bytes); /* appended, no padding */

/* Standard base64 (RFC 4648 section 4), with padding, canonical: the form of x5c (RFC 7517 section
 * 4.7). */
KB_MUST_CHECK enum kb_err b64_decode(struct span text, struct buf *out);
void b64_encode(struct buf *out, struct span bytes); /* appended, with padding */

/* Either alphabet, padded or not, unused bits zero: for policies and keys, because tools for Key
 * Vault write them in all of these forms. */
KB_MUST_CHECK enum kb_err b64_decode_any(struct span text, struct buf *out);

#endif
