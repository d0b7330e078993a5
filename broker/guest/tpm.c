/* broker/guest/tpm.c — the ephemeral key in the TPM.
 * Decides which key a release may be wrapped to: one that this TPM generated, that never leaves it
 * and, with PCRs, works only while they have their values.  Trusts the TPM's answers, as its
 * caller's attestation does; not the wire to it: what it decrypts comes back encrypted by a session
 * salted with the key itself.  Must never leave an object or a session in the TPM (slots are few),
 * nor use a persistent key that others could have made differently. */
#include "guest/tpm.h"

#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <tss2/tss2_esys.h>
#include <tss2/tss2_mu.h>
#include <tss2/tss2_tctildr.h>

/* the kernel's resource manager: others may use the TPM at the same time */
#define DEVICE   "device:/dev/tpmrm0"
#define KEY_BITS 2048

struct guest_tpm {
	TSS2_TCTI_CONTEXT *tcti;
	ESYS_CONTEXT *esys;
	ESYS_TR key; /* ESYS_TR_NONE: not made */
	bool is_persistent, has_pcrs;
	TPML_PCR_SELECTION pcrs;
	TPM2B_PUBLIC public;
};

/* NODA: the authorisation is empty, so a dictionary lockout would protect nothing and stop the
 * boot. */
static const TPMA_OBJECT attributes = TPMA_OBJECT_FIXEDTPM | TPMA_OBJECT_FIXEDPARENT |
				      TPMA_OBJECT_SENSITIVEDATAORIGIN | TPMA_OBJECT_DECRYPT |
				      TPMA_OBJECT_NODA;

/* A response code without the number of the parameter, handle or session (TPM 2.0 part 2,
 * section 6.6.3). */
static TSS2_RC bare(TSS2_RC rc)
{
	return (rc & TSS2_RC_LAYER_MASK) == 0 && (rc & TPM2_RC_FMT1) != 0 ? rc & 0xbf : rc;
}

static enum kb_err tpm_err(TSS2_RC rc)
{
	switch (bare(rc)) {
	case TSS2_RC_SUCCESS:
		return KB_OK;
	case TPM2_RC_POLICY_FAIL:
	case TPM2_RC_PCR_CHANGED:
		return KB_E_TPM_PCR;
	case TPM2_RC_HANDLE:
		return KB_E_TPM_MISSING;
	default: /* not an enum */
		return KB_E_TPM;
	}
}

static void esys_cleanup(void *p) /* of a pointer to anything that ESAPI returned */
{
	void **at = p;
	Esys_Free(*at);
}

enum kb_err tpm_open(const char *tcti, struct guest_tpm **out)
{
	enum kb_err err = KB_E_TPM_MISSING;
	struct guest_tpm *t = calloc(1, sizeof *t);
	*out = NULL;
	if (t == NULL)
		return KB_E_NOMEM;
	t->key = ESYS_TR_NONE;
	/* The library logs every code but success to stderr, also expected ones. An operator can
	 * set the variable to have that. */
	if (setenv("TSS2_LOG", "all+NONE", 0) != 0 ||
	    Tss2_TctiLdr_Initialize(tcti == NULL ? DEVICE : tcti, &t->tcti) != TSS2_RC_SUCCESS)
		goto out;
	if (Esys_Initialize(&t->esys, t->tcti, NULL) != TSS2_RC_SUCCESS)
		goto out;
	*out = t;
	t = NULL;
	err = KB_OK;
out:
	tpm_close(t);
	return err;
}

static void drop_key(struct guest_tpm *t)
{
	if (t->key == ESYS_TR_NONE)
		return;
	if (t->is_persistent)
		Esys_TR_Close(t->esys, &t->key);
	else
		Esys_FlushContext(t->esys, t->key);
	t->key = ESYS_TR_NONE;
}

void tpm_close(struct guest_tpm *t)
{
	if (t == NULL)
		return;
	if (t->esys != NULL)
		drop_key(t);
	Esys_Finalize(&t->esys);
	Tss2_TctiLdr_Finalize(&t->tcti);
	free(t);
}

/* ---- sessions ---- */

/* A session that authorises (policy or empty password) and encrypts the response's first
 * parameter. */
static enum kb_err session_begin(struct guest_tpm *t, TPM2_SE type, ESYS_TR salt, ESYS_TR *session)
{
	const TPMT_SYM_DEF aes = {
		.algorithm = TPM2_ALG_AES, .keyBits.aes = 128, .mode.aes = TPM2_ALG_CFB};
	enum kb_err err = tpm_err(Esys_StartAuthSession(t->esys, salt, ESYS_TR_NONE, ESYS_TR_NONE,
							ESYS_TR_NONE, ESYS_TR_NONE, NULL, type,
							&aes, TPM2_ALG_SHA256, session));
	if (err != KB_OK) {
		*session = ESYS_TR_NONE;
		return err;
	}
	if (type == TPM2_SE_TRIAL)
		return KB_OK;
	/* The session continues after use, so every path flushes it once. */
	return tpm_err(Esys_TRSess_SetAttributes(
		t->esys, *session, TPMA_SESSION_CONTINUESESSION | TPMA_SESSION_ENCRYPT, 0xff));
}

static void session_end(struct guest_tpm *t, ESYS_TR session)
{
	if (session != ESYS_TR_NONE)
		Esys_FlushContext(t->esys, session);
}

/* The digest of the policy "these PCRs have their present values", computed by the TPM. */
static enum kb_err policy_now(struct guest_tpm *t, TPM2B_DIGEST *out)
{
	ESYS_TR session = ESYS_TR_NONE;
	KB_AUTO(esys) TPM2B_DIGEST *digest = NULL;
	enum kb_err err = KB_E_BUG;
	if ((err = session_begin(t, TPM2_SE_TRIAL, ESYS_TR_NONE, &session)) != KB_OK)
		goto out;
	if ((err = tpm_err(Esys_PolicyPCR(t->esys, session, ESYS_TR_NONE, ESYS_TR_NONE,
					  ESYS_TR_NONE, &(TPM2B_DIGEST){0}, &t->pcrs))) != KB_OK)
		goto out;
	if ((err = tpm_err(Esys_PolicyGetDigest(t->esys, session, ESYS_TR_NONE, ESYS_TR_NONE,
						ESYS_TR_NONE, &digest))) != KB_OK)
		goto out;
	*out = *digest;
	err = KB_OK;
out:
	session_end(t, session);
	return err;
}

/* ---- the key ---- */

/* A TPM silently leaves PCRs of a bank that it does not have out of a policy: the key would be
 * bound to nothing. */
static enum kb_err check_bank(struct guest_tpm *t)
{
	TPMI_YES_NO more;
	KB_AUTO(esys) TPMS_CAPABILITY_DATA *cap = NULL;
	const TPMS_PCR_SELECTION *want = &t->pcrs.pcrSelections[0];
	enum kb_err err =
		tpm_err(Esys_GetCapability(t->esys, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE,
					   TPM2_CAP_PCRS, 0, 1, &more, &cap));
	if (err != KB_OK)
		return err;
	const TPML_PCR_SELECTION *banks = &cap->data.assignedPCR;
	for (uint32_t i = 0; i < banks->count; i++) {
		const TPMS_PCR_SELECTION *bank = &banks->pcrSelections[i];
		bool has_all = bank->hash == want->hash && bank->sizeofSelect >= want->sizeofSelect;
		for (unsigned k = 0; has_all && k < want->sizeofSelect; k++)
			has_all = (want->pcrSelect[k] & ~bank->pcrSelect[k]) == 0;
		if (has_all)
			return KB_OK;
	}
	return KB_E_TPM_PCR;
}

static enum kb_err select_pcrs(struct guest_tpm *t, const unsigned *pcrs, size_t n_pcrs)
{
	t->has_pcrs = n_pcrs > 0;
	t->pcrs = (TPML_PCR_SELECTION){
		.count = 1, .pcrSelections[0] = {.hash = TPM2_ALG_SHA256, .sizeofSelect = 3}};
	for (size_t i = 0; i < n_pcrs; i++) {
		if (pcrs[i] >= 24)
			return KB_E_TPM_PCR;
		BYTE *byte = &t->pcrs.pcrSelections[0].pcrSelect[pcrs[i] / 8];
		*byte = (BYTE)(*byte | 1u << pcrs[i] % 8);
	}
	return t->has_pcrs ? check_bank(t) : KB_OK;
}

/* What the key must be.  Its scheme is left open, so that the release's wrapping chooses the
 * hash. */
static enum kb_err key_template(struct guest_tpm *t, TPM2B_PUBLIC *out)
{
	*out = (TPM2B_PUBLIC){
		.publicArea = {.type = TPM2_ALG_RSA,
			       .nameAlg = TPM2_ALG_SHA256,
			       .objectAttributes =
				       attributes | (t->has_pcrs ? 0 : TPMA_OBJECT_USERWITHAUTH),
			       .parameters.rsaDetail = {.symmetric.algorithm = TPM2_ALG_NULL,
							.scheme.scheme = TPM2_ALG_NULL,
							.keyBits = KEY_BITS,
							.exponent = 0}}};
	return t->has_pcrs ? policy_now(t, &out->publicArea.authPolicy) : KB_OK;
}

static enum kb_err key_create(struct guest_tpm *t, ESYS_TR hierarchy, TPM2B_PUBLIC *template)
{
	KB_AUTO(esys) TPM2B_PUBLIC *public = NULL;
	TPM2B_PUBLIC_KEY_RSA *unique = &template->publicArea.unique.rsa;
	/* A primary key is a function of seed and template: without random bytes it would be the
	 * same key again. */
	unique->size = KEY_BITS / 8;
	if (RAND_bytes(unique->buffer, unique->size) != 1)
		return KB_E_SYS;
	enum kb_err err = tpm_err(
		Esys_CreatePrimary(t->esys, hierarchy, ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE,
				   &(TPM2B_SENSITIVE_CREATE){0}, template, &(TPM2B_DATA){0},
				   &(TPML_PCR_SELECTION){0}, &t->key, &public, NULL, NULL, NULL));
	if (err != KB_OK) {
		t->key = ESYS_TR_NONE;
		return err;
	}
	t->is_persistent = false;
	t->public = *public;
	return KB_OK;
}

static bool is_same_digest(const TPM2B_DIGEST *a, const TPM2B_DIGEST *b)
{
	return span_eq(span_of(a->buffer, a->size), span_of(b->buffer, b->size));
}

/* The key at a handle, if it has our template: others who may write there could store a key whose
 * private half they know. */
static enum kb_err key_find(struct guest_tpm *t, TPM2_HANDLE handle, const TPM2B_PUBLIC *template)
{
	KB_AUTO(esys) TPM2B_PUBLIC *public = NULL;
	enum kb_err err = tpm_err(Esys_TR_FromTPMPublic(t->esys, handle, ESYS_TR_NONE, ESYS_TR_NONE,
							ESYS_TR_NONE, &t->key));
	if (err != KB_OK) {
		t->key = ESYS_TR_NONE;
		return err;
	}
	t->is_persistent = true;
	if ((err = tpm_err(Esys_ReadPublic(t->esys, t->key, ESYS_TR_NONE, ESYS_TR_NONE,
					   ESYS_TR_NONE, &public, NULL, NULL))) != KB_OK)
		goto out;
	const TPMT_PUBLIC *have = &public->publicArea, *want = &template->publicArea;
	err = KB_E_TPM;
	if (have->type != want->type || have->nameAlg != want->nameAlg ||
	    have->objectAttributes != want->objectAttributes ||
	    have->parameters.rsaDetail.keyBits != KEY_BITS ||
	    have->parameters.rsaDetail.scheme.scheme != TPM2_ALG_NULL)
		goto out;
	err = KB_E_TPM_PCR;
	if (!is_same_digest(&have->authPolicy, &want->authPolicy))
		goto out;
	t->public = *public;
	err = KB_OK;
out:
	if (err != KB_OK)
		drop_key(t);
	return err;
}

static enum kb_err key_persist(struct guest_tpm *t, TPM2_HANDLE handle)
{
	ESYS_TR persistent = ESYS_TR_NONE;
	enum kb_err err =
		tpm_err(Esys_EvictControl(t->esys, ESYS_TR_RH_OWNER, t->key, ESYS_TR_PASSWORD,
					  ESYS_TR_NONE, ESYS_TR_NONE, handle, &persistent));
	drop_key(t);
	if (err != KB_OK)
		return err;
	t->key = persistent;
	t->is_persistent = true;
	return KB_OK;
}

enum kb_err tpm_make_key(struct guest_tpm *t, const unsigned *pcrs, size_t n_pcrs,
			 uint32_t persistent_handle)
{
	TPM2B_PUBLIC template;
	enum kb_err err = KB_E_BUG;
	drop_key(t);
	if ((err = select_pcrs(t, pcrs, n_pcrs)) != KB_OK)
		return err;
	if ((err = key_template(t, &template)) != KB_OK)
		return err;
	if (persistent_handle == 0)
		return key_create(t, ESYS_TR_RH_NULL, &template);
	if ((err = key_find(t, persistent_handle, &template)) != KB_E_TPM_MISSING)
		return err;
	if ((err = key_create(t, ESYS_TR_RH_OWNER, &template)) != KB_OK)
		return err;
	return key_persist(t, persistent_handle);
}

enum kb_err tpm_public(struct guest_tpm *t, uint8_t n[static 256], size_t *n_len,
		       uint8_t e[static 4], size_t *e_len)
{
	const TPM2B_PUBLIC_KEY_RSA *modulus = &t->public.publicArea.unique.rsa;
	uint32_t exponent = t->public.publicArea.parameters.rsaDetail.exponent;
	if (t->key == ESYS_TR_NONE || modulus->size != KEY_BITS / 8 || modulus->buffer[0] == 0)
		return KB_E_TPM;
	memcpy(n, modulus->buffer, modulus->size);
	*n_len = modulus->size;
	if (exponent == 0)
		exponent = 65537; /* part 2, §12.2.3.5 */
	*e_len = 0;
	for (int shift = 24; shift >= 0; shift -= 8)
		if (*e_len > 0 || exponent >> shift != 0)
			e[(*e_len)++] = (uint8_t)(exponent >> shift);
	return KB_OK;
}

enum kb_err tpm_certify(struct guest_tpm *t, uint32_t ak_handle, struct span qualifying,
			struct buf *attest, struct buf *signature)
{
	ESYS_TR ak = ESYS_TR_NONE;
	TPM2B_DATA extra = {.size = (UINT16)qualifying.len};
	const TPMT_SIG_SCHEME of_key = {.scheme = TPM2_ALG_NULL};
	KB_AUTO(esys) TPM2B_ATTEST *attested = NULL;
	KB_AUTO(esys) TPMT_SIGNATURE *signed_by = NULL;
	uint8_t bytes[sizeof *signed_by];
	size_t len = 0;
	enum kb_err err = KB_E_TPM;
	if (t->key == ESYS_TR_NONE || qualifying.len > sizeof extra.buffer)
		return err;
	if (qualifying.len > 0)
		memcpy(extra.buffer, qualifying.p, qualifying.len);
	if ((err = tpm_err(Esys_TR_FromTPMPublic(t->esys, ak_handle, ESYS_TR_NONE, ESYS_TR_NONE,
						 ESYS_TR_NONE, &ak))) != KB_OK) {
		ak = ESYS_TR_NONE;
		goto out;
	}
	/* The key's own password authorises its ADMIN role, with or without PCRs: adminWithPolicy
	 * is clear (part 3, section 18.2). */
	if ((err = tpm_err(Esys_Certify(t->esys, t->key, ak, ESYS_TR_PASSWORD, ESYS_TR_PASSWORD,
					ESYS_TR_NONE, &extra, &of_key, &attested, &signed_by))) !=
	    KB_OK)
		goto out;
	err = KB_E_TPM;
	if (Tss2_MU_TPMT_SIGNATURE_Marshal(signed_by, bytes, sizeof bytes, &len) != TSS2_RC_SUCCESS)
		goto out;
	buf_add(attest, attested->attestationData, attested->size);
	buf_add(signature, bytes, len);
	if ((err = buf_ok(attest)) == KB_OK)
		err = buf_ok(signature);
out:
	if (ak != ESYS_TR_NONE)
		Esys_TR_Close(t->esys, &ak);
	return err;
}

static TPMI_ALG_HASH hash_alg(enum oaep_hash hash)
{
	switch (hash) {
	case OAEP_NONE:
		break;
	case OAEP_SHA1:
		return TPM2_ALG_SHA1;
	case OAEP_SHA256:
		return TPM2_ALG_SHA256;
	case OAEP_SHA384:
		return TPM2_ALG_SHA384;
	}
	KB_BUG();
}

enum kb_err tpm_decrypt(struct guest_tpm *t, enum oaep_hash hash, struct span ciphertext,
			struct secret **out)
{
	const TPMT_RSA_DECRYPT oaep = {.scheme = TPM2_ALG_OAEP,
				       .details.oaep.hashAlg = hash_alg(hash)};
	TPM2B_PUBLIC_KEY_RSA in = {.size = KEY_BITS / 8};
	ESYS_TR session = ESYS_TR_NONE;
	TPM2B_PUBLIC_KEY_RSA *plain = NULL;
	struct secret *s = NULL;
	enum kb_err err = KB_E_TPM;
	TSS2_RC rc;
	*out = NULL;
	if (t->key == ESYS_TR_NONE)
		return KB_E_TPM;
	if (ciphertext.len != KEY_BITS / 8)
		return KB_E_WRAP;
	memcpy(in.buffer, ciphertext.p, ciphertext.len);
	if ((err = session_begin(t, t->has_pcrs ? TPM2_SE_POLICY : TPM2_SE_HMAC, t->key,
				 &session)) != KB_OK)
		goto out;
	if (t->has_pcrs &&
	    (err = tpm_err(Esys_PolicyPCR(t->esys, session, ESYS_TR_NONE, ESYS_TR_NONE,
					  ESYS_TR_NONE, &(TPM2B_DIGEST){0}, &t->pcrs))) != KB_OK)
		goto out;
	rc = Esys_RSA_Decrypt(t->esys, t->key, session, ESYS_TR_NONE, ESYS_TR_NONE, &in, &oaep,
			      &(TPM2B_DATA){0}, &plain);
	/* Wrong padding, or a ciphertext for another key: VALUE, and from libtpms FAILURE.  A TPM
	 * that really failed would not have begun a session. */
	err = bare(rc) == TPM2_RC_VALUE || rc == TPM2_RC_FAILURE ? KB_E_WRAP : tpm_err(rc);
	if (err != KB_OK)
		goto out;
	err = KB_E_WRAP;
	if (plain->size == 0)
		goto out;
	err = KB_E_NOMEM;
	if ((s = secret_new(plain->size)) == NULL)
		goto out;
	memcpy(secret_bytes(s), plain->buffer, plain->size);
	*out = s;
	err = KB_OK;
out:
	if (plain != NULL)
		OPENSSL_cleanse(plain, sizeof *plain);
	Esys_Free(plain);
	session_end(t, session);
	return err;
}
