/* broker/guest/jws.h — the signature of a release: a compact JWS with the signer's chain in x5c. */
#ifndef KB_GUEST_JWS_H
#define KB_GUEST_JWS_H
#include <openssl/types.h>

#include "base/x509.h"

struct json_t;

struct signer {
	X509_STORE *roots;
	const char *host; /* name or address that the leaf must have */
	bool is_ip;
	int64_t now_s;
	const EVP_PKEY
		*peer; /* the key of the TLS server that sent the reply: never the signer's */
	const uint8_t (*pins)[X509_PIN_BYTES]; /* of --signer-pin: in place of the key usage */
	size_t n_pins;
};

/* RS256 by x5c[0]; every certificate issued by the next one, the chain ending at one of `roots`,
 * all valid now; the leaf named for `host`, and a release signer's: by X509_SIGNER_USAGE or a pin,
 * and never with the key of the TLS server. On KB_OK *payload is the caller's: json_free().
 * KB_E_TOKEN_FORMAT, _HEADER, _ALG, _SIGNATURE: the JWS; KB_E_KEY_TYPE, KB_E_KEY_SIZE: the leaf's
 * key; KB_E_KID_UNKNOWN: the chain does not end at one of `roots`; KB_E_EXPIRED: a certificate is
 * not valid now; KB_E_ISSUER: the leaf is for another host; KB_E_KEY_USE: the leaf is no release
 * signer's.  *hint: NULL, or what to check. */
KB_MUST_CHECK enum kb_err signed_reply_open(struct span compact, const struct signer *signer,
					    struct json_t **payload, const char **hint);

#endif
