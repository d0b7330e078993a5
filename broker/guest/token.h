/* broker/guest/token.h — attestation tokens from a file or a program, and the kid of the wrapping
 * key in a token. */
#ifndef KB_GUEST_TOKEN_H
#define KB_GUEST_TOKEN_H
#include "base/bytes.h"

/* "FILE" or "fd:N"; surrounding white space is cut off.  KB_E_FILE, KB_E_TOKEN_SIZE. */
KB_MUST_CHECK enum kb_err token_read(const char *source, struct buf *token);
/* Run a program (found by PATH, no shell): it reads the runtime data on its standard input and
 * prints the token.  `nonce` (may be empty) is in its environment as KEYBROKER_NONCE.  KB_E_SYS:
 * not started or it failed; KB_E_FETCH_TIMEOUT: killed at the deadline. */
KB_MUST_CHECK enum kb_err token_command(const char *program, struct span runtime_data,
					struct span nonce, int64_t deadline_ms, struct buf *token);
/* The kid under which the token's x-ms-runtime.keys hold the RSA key n, e.  Nothing is verified:
 * the broker does that. KB_E_TOKEN_FORMAT, KB_E_KEY_BINDING (the token has another key). */
KB_MUST_CHECK enum kb_err token_wrapping_kid(struct span token, struct span n, struct span e,
					     struct buf *kid);

#endif
