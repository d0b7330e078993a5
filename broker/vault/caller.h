/* broker/vault/caller.h — who asks, and whether the listener lets them.  The credential itself is
 * never here: its digest is. */
#ifndef KB_VAULT_CALLER_H
#define KB_VAULT_CALLER_H
#include "base/limits.h"
#include "config/config.h"

struct frame_request;

/* "certificate:" and KB_CALLER_SHA256 bytes in hex */
enum { CALLER_TEXT = 12 + 2 * KB_CALLER_SHA256 + 1 };
struct caller { /* for the record */
	/* "none", or the kind of credential and the start of its SHA-256: "bearer:0123456789abcdef"
	 */
	char text[CALLER_TEXT];
	/* Of the certificate, or of the token's line in the bearer_file; empty: it has none.
	 * Borrowed from the request and the configuration. */
	struct span name;
};

/* KB_OK, KB_E_NO_CREDENTIAL or KB_E_CREDENTIAL.  *out is filled in either case: a credential that
 * is refused is named as well. */
KB_MUST_CHECK enum kb_err caller_authenticate(const struct frame_request *rq,
					      const struct listener_config *listener,
					      struct caller *out);

#endif
