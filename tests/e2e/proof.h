/* tests/e2e/proof.h — what a careful guest checks before it accepts a release: signature, chain,
 * every member, exact lengths; then it unwraps. Shares no line with the product: own base64url, own
 * RFC 5649 unwrap, OpenSSL for the rest.  Functions return NULL, or what is wrong. */
#ifndef KB_TESTS_PROOF_H
#define KB_TESTS_PROOF_H
#include <jansson.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <stddef.h>
#include <stdint.h>

/* What was asked, so what must come back. */
struct expect {
	X509 *root;           /* the chain's last certificate, byte for byte */
	const char *host;     /* a name of the leaf */
	const char *base_url; /* key ids begin with it; NULL: not compared */
	const char *name;
	const char *version;     /* in the call's path; NULL: none */
	const char *api_version; /* of the call */
	const char *enc;         /* as sent; NULL: left out, which means CKM_RSA_AES_KEY_WRAP */
	const char *nonce;       /* as sent; NULL: none, and none may come back */
	EVP_PKEY *kek;           /* the guest's key pair */
	const char *kek_kid;
};

enum { RELEASED_MAX = 8192 };
struct released {
	json_t *payload;      /* of the JWS */
	const json_t *bundle; /* response.key in it */
	char kty[16], version[33];
	uint8_t plain[RELEASED_MAX];
	size_t plain_len;
	/* RSA, EC: the plaintext as a key; its public part is the one in the bundle */
	EVP_PKEY *pkey;
};

/* Open a release's body.  `out` is the caller's in any case: released_free(). */
const char *proof_open(const char *body, size_t len, const struct expect *want,
		       struct released *out);
void released_free(struct released *r);

/* The sentence a check fails with; good until the next one. */
const char *wrong(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Unpadded base64url, canonical; malloc'd with a NUL after it, NULL when it is not. */
uint8_t *proof_b64url(const char *text, size_t text_len, size_t *len);
char *proof_b64url_text(const uint8_t *bytes, size_t len); /* malloc'd */
/* RFC 5649 §4.2 strictly: AIV, length in its range, zero padding.  `out` takes wrapped_len − 8
 * bytes. */
const char *proof_kwp_unwrap(const uint8_t kek[static 32], const uint8_t *wrapped,
			     size_t wrapped_len, uint8_t *out, size_t *out_len);
X509 *proof_certificate(
	const char *path); /* the last certificate of a PEM file, NULL when there is none */

#endif
