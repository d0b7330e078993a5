/* guest/token.h — where an attestation token comes from when no attestation service is asked, and
 * which key it speaks of. */
#ifndef KB_GUEST_TOKEN_H
#define KB_GUEST_TOKEN_H
#include "base/bytes.h"

/* "FILE" or "fd:N"; surrounding white space is cut off.  KB_E_FILE, KB_E_TOKEN_SIZE. */
KB_MUST_CHECK enum kb_err token_read(const char *source, struct buf *token);
/* Run a program (found by PATH, no shell): it reads the runtime data on its standard input and
 * prints the token.  `nonce` (may be empty) is in its environment as KEYBROKER_NONCE.  KB_E_SYS:
 * not started or it failed; KB_E_FETCH_TIMEOUT: ended by us at the deadline. */
KB_MUST_CHECK enum kb_err token_command(const char *program, struct span runtime_data,
					struct span nonce, int64_t deadline_ms, struct buf *token);
/* The kid under which the token's x-ms-runtime.keys hold the RSA key n, e.  Nothing is verified:
 * the token is our own, the broker judges it. KB_E_TOKEN_FORMAT, KB_E_KEY_BINDING (it speaks of
 * another key). */
KB_MUST_CHECK enum kb_err token_wrapping_kid(struct span token, struct span n, struct span e,
					     struct buf *kid);

#endif
