/* broker/guest/reply.h — the broker's reply to a release call: the checks, and the key in it. */
#ifndef KB_GUEST_REPLY_H
#define KB_GUEST_REPLY_H
#include "base/secret.h"
#include "guest/ephemeral.h"
#include "guest/jws.h"

struct asked {
	struct signer signer;
	struct span name, version; /* version empty: the current one */
	const struct wrap_scheme *scheme;
	struct span nonce; /* empty: none was sent, and none may come back */
	struct span kid;   /* of our key, in the token */
	struct ephemeral *key;
};

struct released {
	struct secret *plain; /* PKCS#8, or an oct key's bytes */
	EVP_PKEY *key;        /* NULL for an oct key */
	char version[33];
	const char *hint; /* after an error: NULL, or what to check */
};

/* {"value":JWS}.  `out` is the caller's in any case: released_free().
 * KB_E_FETCH_CONTENT: not a release; those of signed_reply_open(); KB_E_KID_UNKNOWN … see there;
 * KB_E_PATH: another key or version; KB_E_NONCE; KB_E_ENC; KB_E_KEY_BINDING: wrapped to another
 * key; KB_E_WRAP: does not unwrap; KB_E_KEY_TYPE, KB_E_KEY_FORMAT, KB_E_KEY_SIZE: the key in it;
 * KB_E_TPM*. */
KB_MUST_CHECK enum kb_err reply_open(struct span body, const struct asked *asked,
				     struct released *out);
void released_free(struct released *r);
static inline void released_cleanup(struct released *r)
{
	released_free(r);
}

#endif
