/* tests/e2e/issuer_keys.h — the test issuer's signing keys, its key set as Azure Attestation
 * publishes one, and the tokens it signs. Not thread-safe: the caller holds one lock. */
#ifndef KB_TESTS_ISSUER_KEYS_H
#define KB_TESTS_ISSUER_KEYS_H
#include <jansson.h>
#include <stdbool.h>

/* Keys from DIR/issuer-keys.pem, or new ones: RSA-2048, P-256, P-384, P-521; kept there when `dir`
 * is not NULL.  NULL, or what went wrong. */
const char *issuer_keys_load(const char *url, const char *dir);
/* A new RSA signing key; the old one stays in the set unless `drop`. */
const char *issuer_keys_rotate(bool drop);
/* A new RSA signing key under the kid of the present one, which is gone; not kept in `dir`. */
const char *issuer_keys_replace(void);
/* {"keys":[{"x5c":[…],"kid":…,"kty":…}, …]} */
json_t *issuer_keys_set(void);

/* A token as `request` (POST /attest, see issuer.c) asks for it; NULL with *why set. */
char *issuer_token(const json_t *request, const char **why);

#endif
