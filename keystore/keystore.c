/* keystore/keystore.c — opens the token, holds the one session and the one login, and decides whether a lost session may be reopened.
 * Trusts the module's answers about state, never that they stay true.  Must never send a PIN a second time after it was refused. */
#include "keystore/keystore.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "base/secret.h"
#include "keystore/module.h"

enum { MAX_SLOTS = 256, TRANSPORT_BYTES = 32 };

enum kb_err keystore_guard(const struct keystore *ks)
{
	return ks->owner == getpid() ? KB_OK : KB_E_BUG;
}

const char *keystore_fault(const struct keystore *ks)
{
	return ks->fault;
}

/* ---- token ---- */

static enum kb_err token_fault(struct keystore *ks, const char *why)
{
	snprintf(ks->fault, sizeof ks->fault, "%s", why);
	log_event(LOG_ERROR, "hsm.token", "why", why, NULL);
	return KB_E_HSM_TOKEN;
}

/* The one initialised token that the URI describes. */
static enum kb_err token_find(struct keystore *ks, const char *text)
{
	CK_SLOT_ID ids[MAX_SLOTS];
	CK_ULONG n = MAX_SLOTS;
	unsigned hits = 0;
	enum kb_err err;
	KB_AUTO(uri) P11KitUri *uri = NULL;

	if ((err = uri_parse(text, P11_KIT_URI_FOR_TOKEN, &uri)) != KB_OK)
		return err;
	if ((err = P11(ks, C_GetSlotList, CK_TRUE, ids, &n)) != KB_OK)
		return err;
	for (CK_ULONG i = 0; i < n && i < MAX_SLOTS; i++) {
		CK_TOKEN_INFO info;
		if (ks->p11->C_GetTokenInfo(ids[i], &info) != CKR_OK || (info.flags & CKF_TOKEN_INITIALIZED) == 0 ||
		    !p11_kit_uri_match_token_info(uri, &info))
			continue;
		ks->slot = ids[i];
		ks->token = info;
		hits++;
	}
	if (hits == 0)
		return token_fault(ks, "no token of that description");
	return hits == 1 ? KB_OK : token_fault(ks, "more than one token of that description");
}

/* ---- session and login ---- */

static enum kb_err session_state(struct keystore *ks, bool *is_user)
{
	CK_SESSION_INFO info;
	enum kb_err err;

	*is_user = false;
	if ((err = P11(ks, C_GetSessionInfo, ks->session, &info)) != KB_OK)
		return err;
	*is_user = info.state == CKS_RO_USER_FUNCTIONS || info.state == CKS_RW_USER_FUNCTIONS;
	return KB_OK;
}

/* At most one refused login in the life of a process: tokens count them, and lock. */
static enum kb_err login(struct keystore *ks)
{
	CK_TOKEN_INFO info;
	bool is_user;
	enum kb_err err;

	if (ks->pin == NULL)
		return KB_OK;
	if ((err = session_state(ks, &is_user)) != KB_OK || is_user)
		return err;
	if (ks->login_err != KB_OK)
		return ks->login_err;
	if ((err = P11(ks, C_GetTokenInfo, ks->slot, &info)) != KB_OK)
		return err;
	if ((info.flags & (CKF_USER_PIN_LOCKED | CKF_USER_PIN_FINAL_TRY)) != 0) {
		snprintf(ks->fault, sizeof ks->fault, "the token says that its PIN is locked or has one try left: not tried");
		log_event(LOG_ERROR, "hsm.login", "why", ks->fault, NULL);
		return ks->login_err = KB_E_HSM_PIN;
	}
	struct span pin = secret_span(ks->pin);
	CK_RV rv = ks->p11->C_Login(ks->session, CKU_USER, (CK_UTF8CHAR_PTR)pin.p, pin.len);
	if (rv == CKR_USER_ALREADY_LOGGED_IN)
		return KB_OK;
	if ((err = p11_outcome(ks, "C_Login", rv)) != KB_OK)
		ks->login_err = err;
	return err;
}

static void session_close(struct keystore *ks)
{
	transport_drop(ks);
	if (ks->session != CK_INVALID_HANDLE)
		(void)ks->p11->C_CloseSession(ks->session); /* it may be gone already */
	ks->session = CK_INVALID_HANDLE;
}

static enum kb_err session_open(struct keystore *ks)
{
	CK_FLAGS flags = CKF_SERIAL_SESSION | (ks->is_writable ? CKF_RW_SESSION : 0);
	enum kb_err err;

	if ((err = P11(ks, C_OpenSession, ks->slot, flags, NULL, NULL, &ks->session)) != KB_OK)
		return err;
	if ((err = login(ks)) != KB_OK)
		session_close(ks);
	return err;
}

enum kb_err session_check(struct keystore *ks)
{
	CK_TOKEN_INFO info;
	bool is_user;
	enum kb_err err;

	if (P11(ks, C_GetTokenInfo, ks->slot, &info) != KB_OK)
		return KB_E_HSM_TOKEN; /* whatever the call said: the token does not answer */
	if (memcmp(info.serialNumber, ks->token.serialNumber, sizeof info.serialNumber) != 0)
		return token_fault(ks, "another token is in the slot");
	if ((err = session_state(ks, &is_user)) != KB_OK)
		return err;
	return ks->pin == NULL || is_user ? KB_OK : KB_E_HSM_SESSION;
}

enum kb_err session_recover(struct keystore *ks, const struct hsm_key *key, enum kb_err err)
{
	if (err != KB_E_HSM_SESSION && err != KB_E_HSM_HANDLE)
		return err;
	log_event(LOG_WARN, "hsm.recover", "err", kb_err_name(err), "fault", ks->fault, NULL);
	transport_drop(ks); /* the handle that went stale may have been this one */
	if (err == KB_E_HSM_SESSION) {
		session_close(ks);
		if ((err = session_open(ks)) != KB_OK)
			return err;
	}
	return key == NULL ? KB_OK : key_refind(ks, key);
}

enum kb_err keystore_alive(struct keystore *ks)
{
	enum kb_err err = keystore_guard(ks);

	if (err != KB_OK)
		return err;
	err = session_check(ks);
	if (err != KB_E_HSM_SESSION)
		return err;
	if ((err = session_recover(ks, NULL, err)) != KB_OK)
		return err;
	return session_check(ks);
}

/* ---- transport key ---- */

void transport_drop(struct keystore *ks)
{
	if (ks->transport_key != CK_INVALID_HANDLE)
		(void)ks->p11->C_DestroyObject(ks->session, ks->transport_key);
	ks->transport_key = CK_INVALID_HANDLE;
	secret_free(ks->transport);
	ks->transport = NULL;
}

/* Known to this process by design (FACTS: what SoftHSM wraps must be repaired outside), so the module gets our bytes and not the reverse. */
enum kb_err transport_ready(struct keystore *ks)
{
	CK_OBJECT_CLASS class = CKO_SECRET_KEY;
	CK_KEY_TYPE type = CKK_AES;
	CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
	enum kb_err err;

	if (ks->transport_key != CK_INVALID_HANDLE)
		return KB_OK;
	if ((err = secret_random(TRANSPORT_BYTES, &ks->transport)) != KB_OK)
		return err;
	CK_ATTRIBUTE t[] = {
		{CKA_CLASS, &class, sizeof class},
		{CKA_KEY_TYPE, &type, sizeof type},
		{CKA_TOKEN, &no, sizeof no},
		{CKA_PRIVATE, &yes, sizeof yes},
		{CKA_SENSITIVE, &yes, sizeof yes},
		{CKA_EXTRACTABLE, &no, sizeof no},
		{CKA_WRAP, &yes, sizeof yes},
		{CKA_UNWRAP, &yes, sizeof yes},
		{CKA_ENCRYPT, &no, sizeof no},
		{CKA_DECRYPT, &no, sizeof no},
		{CKA_VALUE, secret_bytes(ks->transport), TRANSPORT_BYTES},
	};
	if ((err = P11(ks, C_CreateObject, ks->session, t, sizeof t / sizeof t[0], &ks->transport_key)) != KB_OK) {
		ks->transport_key = CK_INVALID_HANDLE;
		transport_drop(ks);
	}
	return err;
}

/* ---- open and close ---- */

enum kb_err keystore_open(const struct keystore_params *p, struct keystore **out)
{
	enum kb_err err = KB_E_BUG;

	*out = NULL;
	struct keystore *ks = calloc(1, sizeof *ks);
	if (ks == NULL)
		return KB_E_NOMEM;
	ks->owner = getpid();
	ks->is_writable = p->is_writable;
	buf_init(&ks->last_wrapped, KB_RSA_MAX_BITS / 8 + KB_MAX_SECRET + 8);
	if (p->pin != NULL) {
		struct span pin = secret_span(p->pin);
		if ((ks->pin = secret_new(pin.len)) == NULL) {
			err = KB_E_NOMEM;
			goto out;
		}
		memcpy(secret_bytes(ks->pin), pin.p, pin.len);
	}
	if ((err = module_load(p->module, &ks->p11)) != KB_OK)
		goto out;
	ks->is_loaded = true;
	if ((err = token_find(ks, p->token)) != KB_OK)
		goto out;
	if ((err = session_open(ks)) != KB_OK)
		goto out;
	*out = ks;
	ks = NULL;
	err = KB_OK;
out:
	keystore_close(ks);
	return err;
}

void keystore_close(struct keystore *ks)
{
	if (ks == NULL)
		return;
	if (ks->is_loaded && ks->owner == getpid()) {
		session_close(ks);
		module_unload(ks->p11);
	}
	keys_forget(ks);
	secret_free(ks->transport);
	secret_free(ks->pin);
	buf_free(&ks->last_wrapped);
	free(ks);
}

const char *kty_name(enum kb_kty kty)
{
	switch (kty) {
	case KB_KTY_RSA:
		return "RSA";
	case KB_KTY_EC:
		return "EC";
	case KB_KTY_OCT:
		return "oct";
	}
	KB_BUG();
}
