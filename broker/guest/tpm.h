/* broker/guest/tpm.h — an ephemeral RSA-2048 key in the TPM (tpm2-tss ESAPI): generated, certified
 * and used there. One thread; needs secret_arena_init() before tpm_decrypt().  KB_E_TPM_MISSING: no
 * TPM answers, or no key at a handle; KB_E_TPM_PCR: the PCRs are not those the key was made under,
 * or not in the SHA-256 bank; KB_E_TPM: the TPM refused for another reason. */
#ifndef KB_GUEST_TPM_H
#define KB_GUEST_TPM_H
#include "base/bytes.h"
#include "base/secret.h"
#include "keystore/scheme.h"

struct guest_tpm; /* opaque */

/* `tcti` as tpm2-tools take it ("swtpm:host=127.0.0.1,port=2321"); NULL: device:/dev/tpmrm0. */
KB_MUST_CHECK enum kb_err tpm_open(const char *tcti, struct guest_tpm **out);
void tpm_close(struct guest_tpm *t); /* a transient key goes with it; NULL is fine */

/* The key of everything below.  `persistent_handle` 0: a new primary of the null hierarchy, another
 * one at every call, gone with tpm_close() or a reboot.  Else the key at that handle when it is one
 * of ours under these PCRs, or a new primary of the owner hierarchy (whose authorisation must be
 * empty), which stays there.  With PCRs (0 … 23, SHA-256 bank) the key works only while they have
 * their present values. */
KB_MUST_CHECK enum kb_err tpm_make_key(struct guest_tpm *t, const unsigned *pcrs, size_t n_pcrs,
				       uint32_t persistent_handle);
/* Modulus and exponent, big-endian, no leading zeros. */
KB_MUST_CHECK enum kb_err tpm_public(struct guest_tpm *t, uint8_t n[static 256], size_t *n_len,
				     uint8_t e[static 4], size_t *e_len);
/* The key certified by the attestation key at `ak_handle` (its authorisation empty) over
 * `qualifying`, at most 64 bytes: a TPMS_ATTEST and a TPMT_SIGNATURE as the TPM writes them,
 * appended. */
KB_MUST_CHECK enum kb_err tpm_certify(struct guest_tpm *t, uint32_t ak_handle,
				      struct span qualifying, struct buf *attest,
				      struct buf *signature);
/* RSA-OAEP (label empty, MGF1 of the same hash) undone inside the TPM.  KB_E_WRAP: not a ciphertext
 * for this key and hash. */
KB_MUST_CHECK enum kb_err tpm_decrypt(struct guest_tpm *t, enum oaep_hash hash,
				      struct span ciphertext, struct secret **out);

#endif
