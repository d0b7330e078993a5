/* broker/vault/hsm.h — the vault's HSM session: opened and proved at start, watched afterwards. */
#ifndef KB_VAULT_HSM_H
#define KB_VAULT_HSM_H
#include "vault/vault.h"

struct process_start;

/* Log in, self-test the wrapping, find and prove the signing key, derive the nonce key.  Each
 * failure is logged with its cause. */
KB_MUST_CHECK enum kb_err vault_hsm_open(struct vault *v, const struct process_start *start);
/* Set must_restart when token or session are lost. */
void vault_hsm_check(struct vault *v);
/* Sign a digest into v->signature.  KB_E_HSM_SIGNER: the signer's key is missing or unfit. */
KB_MUST_CHECK enum kb_err vault_hsm_sign(struct vault *v, const uint8_t digest[static 32]);
/* Log and count a failed HSM call, made for `key`.  May set must_restart or wants_proof. */
void vault_hsm_failed(struct vault *v, enum kb_err err, const char *key);
/* wants_proof: sign and self-test; set must_restart when that fails. */
void vault_hsm_prove(struct vault *v);

#endif
