/* keystore/kwp.h — AES-256 key wrap with padding (RFC 5649 section 4) over EVP AES-256-ECB.
 * OpenSSL 3.0's own wrap ciphers use software AES and take seven times as long. */
#ifndef KB_KEYSTORE_KWP_H
#define KB_KEYSTORE_KWP_H
#include "base/bytes.h"

/* Bytes of the wrapped form of `len` bytes: 8 + len rounded up to 8, at least 16. */
size_t kwp_wrapped_len(size_t len);
/* `wrapped` is appended to.  KB_E_WRAP for len 0 or > KB_MAX_SECRET. */
KB_MUST_CHECK enum kb_err kwp_wrap(const uint8_t kek[static 32], struct span plain,
				   struct buf *wrapped);
/* Undo it into `plain` (capacity ≥ wrapped.len − 8; *plain_len set).  Strict: AIV, length range and
 * zero padding, in constant time.  KB_E_WRAP otherwise. */
KB_MUST_CHECK enum kb_err kwp_unwrap(const uint8_t kek[static 32], struct span wrapped,
				     uint8_t *plain, size_t cap, size_t *plain_len);

#endif
