/* broker/vault/nonce.h — nonces this broker gives out, without remembering them: time and a MAC
 * bound to the key's name.  For issuers with "nonce": "broker". */
#ifndef KB_VAULT_NONCE_H
#define KB_VAULT_NONCE_H
#include "base/bytes.h"

struct secret;

/* base64url(8 bytes of time ‖ 24 bytes of HMAC-SHA-256(mac_key, "keybroker nonce" ‖ time ‖ key name
 * in lower case)); appended. */
KB_MUST_CHECK enum kb_err nonce_make(const struct secret *mac_key, struct span key_name,
				     int64_t now_us, struct buf *text);
/* Ours, for this key, and not older than KB_NONCE_S: KB_OK, else KB_E_NONCE. */
KB_MUST_CHECK enum kb_err nonce_check(const struct secret *mac_key, struct span key_name,
				      int64_t now_us, struct span text);

#endif
