/* keystore/provision.c — makes a token out of a free slot.  Trusts the module's path, which its
 * caller gives. Never touches a token that is initialised already: C_InitToken would wipe it. */
#include "keystore/provision.h"

#include <p11-kit/p11-kit.h>
#include <stdio.h>

#include "base/secret.h"

enum { MAX_SLOTS = 256 };

struct provision {
	CK_FUNCTION_LIST *p11;
	char *why; /* PROVISION_WHY bytes */
};

/* The outcome of one PKCS#11 call. Four codes mean that the PIN is refused. */
static enum kb_err outcome(const struct provision *p, const char *call, CK_RV rv)
{
	if (rv == CKR_OK)
		return KB_OK;
	snprintf(p->why, PROVISION_WHY, "%s: %s", call, p11_kit_strerror(rv));
	if (rv == CKR_PIN_INCORRECT || rv == CKR_PIN_INVALID || rv == CKR_PIN_LEN_RANGE ||
	    rv == CKR_PIN_LOCKED)
		return KB_E_HSM_PIN;
	return KB_E_HSM_DEVICE;
}

/* PKCS#11's labels are 32 bytes filled up with blanks, without a NUL. */
static bool label_pad(const char *label, CK_UTF8CHAR out[static TOKEN_LABEL_BYTES])
{
	size_t len = strlen(label);

	if (len == 0 || len > TOKEN_LABEL_BYTES)
		return false;
	for (size_t i = 0; i < len; i++)
		if (label[i] <= ' ' || label[i] == 0x7f)
			return false;
	memset(out, ' ', TOKEN_LABEL_BYTES);
	/* CK_TOKEN_INFO has no NUL.  NOLINTNEXTLINE(bugprone-not-null-terminated-result) */
	memcpy(out, label, len);
	return true;
}

/* The slot whose token has `label` (want_free false), or the first one whose token is not
 * initialised (true). */
static enum kb_err slot_find(const struct provision *p, const CK_UTF8CHAR *label, bool want_free,
			     CK_SLOT_ID *slot)
{
	CK_SLOT_ID ids[MAX_SLOTS];
	CK_ULONG n = MAX_SLOTS;
	enum kb_err err;

	if ((err = outcome(p, "C_GetSlotList", p->p11->C_GetSlotList(CK_TRUE, ids, &n))) != KB_OK)
		return err;
	for (CK_ULONG i = 0; i < n; i++) {
		CK_TOKEN_INFO info;
		if ((err = outcome(p, "C_GetTokenInfo", p->p11->C_GetTokenInfo(ids[i], &info))) !=
		    KB_OK)
			return err;
		bool is_free = (info.flags & CKF_TOKEN_INITIALIZED) == 0;
		if (is_free != want_free ||
		    (!want_free && memcmp(info.label, label, TOKEN_LABEL_BYTES) != 0))
			continue;
		*slot = ids[i];
		return KB_OK;
	}
	return KB_E_HSM_TOKEN;
}

static enum kb_err user_pin_set(const struct provision *p, CK_SLOT_ID slot, struct span so_pin,
				struct span user_pin)
{
	CK_SESSION_HANDLE session = CK_INVALID_HANDLE;
	enum kb_err err;

	if ((err = outcome(p, "C_OpenSession",
			   p->p11->C_OpenSession(slot, CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL,
						 NULL, &session))) != KB_OK)
		return err;
	err = outcome(p, "C_Login as security officer",
		      p->p11->C_Login(session, CKU_SO, (CK_UTF8CHAR *)so_pin.p, so_pin.len));
	if (err == KB_OK)
		err = outcome(p, "C_InitPIN",
			      p->p11->C_InitPIN(session, (CK_UTF8CHAR *)user_pin.p, user_pin.len));
	(void)p->p11->C_CloseSession(session);
	return err;
}

enum kb_err provision_token(struct _CK_FUNCTION_LIST *p11, const char *label_text,
			    const struct secret *so_pin, const struct secret *user_pin,
			    char why[static PROVISION_WHY])
{
	const struct provision module = {p11, why}, *p = &module;
	CK_UTF8CHAR label[TOKEN_LABEL_BYTES];
	CK_SLOT_ID slot = 0;

	why[0] = '\0';
	if (!label_pad(label_text, label)) {
		snprintf(why, PROVISION_WHY,
			 "a token's label has 1 to %d printable bytes without blanks",
			 TOKEN_LABEL_BYTES);
		return KB_E_HSM_TOKEN;
	}
	enum kb_err err = slot_find(p, label, false, &slot);
	if (err == KB_OK) {
		snprintf(why, PROVISION_WHY, "there is a token of this label already");
		return KB_E_HSM_TOKEN;
	}
	if (err != KB_E_HSM_TOKEN)
		return err;
	if ((err = slot_find(p, label, true, &slot)) != KB_OK) {
		if (err == KB_E_HSM_TOKEN)
			snprintf(why, PROVISION_WHY, "no slot with an uninitialised token");
		return err;
	}
	if ((err = outcome(p, "C_InitToken",
			   p11->C_InitToken(slot, (CK_UTF8CHAR *)secret_span(so_pin).p,
					    secret_len(so_pin), label))) != KB_OK)
		return err;
	/* SoftHSM gives an initialised token another slot number: search again, by label. */
	if ((err = slot_find(p, label, false, &slot)) != KB_OK) {
		if (err == KB_E_HSM_TOKEN)
			snprintf(why, PROVISION_WHY, "the new token is not found by its label");
		return err;
	}
	return user_pin_set(p, slot, secret_span(so_pin), secret_span(user_pin));
}

enum kb_err keystore_init_token(const char *module, const char *label, const struct secret *so_pin,
				const struct secret *user_pin, char why[static PROVISION_WHY])
{
	why[0] = '\0';
	if (module[0] != '/') {
		snprintf(why, PROVISION_WHY, "the module's path must be absolute");
		return KB_E_HSM_MODULE;
	}
	p11_kit_be_quiet();
	CK_FUNCTION_LIST *p11 = p11_kit_module_load(module, 0);
	if (p11 == NULL) {
		const char *text = p11_kit_message();
		snprintf(why, PROVISION_WHY, "%s", text != NULL ? text : "not a PKCS#11 module");
		return KB_E_HSM_MODULE;
	}
	CK_RV rv = p11_kit_module_initialize(p11);
	if (rv != CKR_OK) {
		snprintf(why, PROVISION_WHY, "C_Initialize: %s", p11_kit_strerror(rv));
		p11_kit_module_release(p11);
		return KB_E_HSM_MODULE;
	}
	enum kb_err err = provision_token(p11, label, so_pin, user_pin, why);
	(void)p11_kit_module_finalize(p11);
	p11_kit_module_release(p11);
	return err;
}
