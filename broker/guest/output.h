/* broker/guest/output.h — the released key, in the form and to the place of the options. */
#ifndef KB_GUEST_OUTPUT_H
#define KB_GUEST_OUTPUT_H
#include <openssl/types.h>

#include "base/secret.h"

enum output_format { OUTPUT_RAW, OUTPUT_PEM, OUTPUT_JWK };

/* "fd:N", "file:PATH", "keyring:NAME" or "stdout" that can be used: an open descriptor, no
 * terminal.  KB_E_CONFIG otherwise, with *why. Call it before anything is released. */
KB_MUST_CHECK enum kb_err output_check(const char *place, const char **why);

/* raw: PKCS#8 DER, or an oct key's bytes; pem: PKCS#8 (KB_E_KEY_TYPE for an oct key); jwk: RFC 7517
 * with the private members. `key` NULL: an oct key. */
KB_MUST_CHECK enum kb_err output_encode(enum output_format format, const struct secret *plain_text,
					const EVP_PKEY *key, struct secret **out);

/* A file gets mode 0600 and appears whole or not at all.  KB_E_FILE with *why. */
KB_MUST_CHECK enum kb_err output_write(const char *place, const struct secret *s, const char **why);

#endif
