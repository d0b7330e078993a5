/* broker/guest/ephemeral.h — the RSA-2048 key that a release is wrapped to: generated for this run,
 * read from a file, or in the TPM. */
#ifndef KB_GUEST_EPHEMERAL_H
#define KB_GUEST_EPHEMERAL_H
#include "base/secret.h"
#include "keystore/scheme.h"

struct ephemeral; /* opaque */
struct guest_tpm;

KB_MUST_CHECK enum kb_err ephemeral_make(struct ephemeral **out); /* in this process */
KB_MUST_CHECK enum kb_err ephemeral_load(
	const char *pem_file, struct ephemeral **out); /* KB_E_FILE, KB_E_KEY_TYPE, KB_E_KEY_SIZE */
KB_MUST_CHECK enum kb_err ephemeral_in_tpm(
	struct guest_tpm *tpm,
	struct ephemeral **out);          /* tpm_make_key() was called; `tpm` is borrowed */
void ephemeral_free(struct ephemeral *e); /* NULL is fine */
static inline void ephemeral_cleanup(struct ephemeral **e)
{
	ephemeral_free(*e);
}

/* Modulus and exponent, big-endian without leading zeros; borrowed. */
struct span ephemeral_n(const struct ephemeral *e);
struct span ephemeral_e(const struct ephemeral *e);
/* RFC 7638 §3, SHA-256, base64url: the key's kid. */
KB_MUST_CHECK enum kb_err ephemeral_thumbprint(const struct ephemeral *e, struct buf *out);
/* The runtime data that the evidence covers: {"keys":[JWK]}; with `certify` (its AK's
 * certification, see tpm.h) also "tpm":{"certifyInfo":…,"certifyInfoSignature":…}, base64url. */
KB_MUST_CHECK enum kb_err ephemeral_runtime_data(const struct ephemeral *e,
						 const struct buf *certify,
						 const struct buf *signature, struct buf *out);
/* Undo RSA-OAEP (MGF1 with the same hash, no label).  KB_E_WRAP when the padding is wrong. */
KB_MUST_CHECK enum kb_err ephemeral_decrypt(struct ephemeral *e, enum oaep_hash hash,
					    struct span ciphertext, struct secret **out);

#endif
