/* broker/vault/nonce.h — nonces of this broker, for issuers with "nonce": "broker": a time and a
 * MAC over it and the key's name. */
#ifndef KB_VAULT_NONCE_H
#define KB_VAULT_NONCE_H
#include "base/bytes.h"

struct secret;

/* base64url(8 bytes of time ‖ 24 bytes of HMAC-SHA-256(mac_key, "keybroker nonce" ‖ time ‖ key name
 * in lower case)); appended. */
KB_MUST_CHECK enum kb_err nonce_make(const struct secret *mac_key, struct span key_name,
				     int64_t now_us, struct buf *text);
/* KB_E_NONCE unless it is ours, for this key, and at most KB_NONCE_S old. */
KB_MUST_CHECK enum kb_err nonce_check(const struct secret *mac_key, struct span key_name,
				      int64_t now_us, struct span text);

#endif
