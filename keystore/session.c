/* keystore/session.c — the one session and its one login.  Decides whether a
 * lost session may be reopened.  Trusts the module's answers about state, never that they stay
 * true. Must never send a PIN a second time after it was refused. */
#include <stdio.h>
#include <unistd.h>

#include "base/log.h"
#include "base/secret.h"
#include "keystore/module.h"

enum kb_err keystore_guard(const struct keystore *ks)
{
	return ks->owner == getpid() ? KB_OK : KB_E_BUG;
}

enum kb_err token_fault(struct keystore *ks, const char *why)
{
	snprintf(ks->fault, sizeof ks->fault, "%s", why);
	log_event(LOG_ERROR, "hsm.token", "why", why, NULL);
	return KB_E_HSM_TOKEN;
}

/* ---- login ---- */

enum kb_err login_begin(const struct keystore *ks, int64_t limit_ms)
{
	return ks->hooks == NULL ? KB_OK : ks->hooks->login_begin(ks, limit_ms);
}

void login_end(const struct keystore *ks, bool is_logged_in)
{
	if (ks->hooks != NULL)
		ks->hooks->login_end(ks, is_logged_in);
}

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

/* Tokens count refused logins, and lock.  So at most one in a process, and in all processes that
 * share the PIN. */
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
		return fault_is(ks, ks->login_err, "an earlier login failed: not tried again");
	if (ks->is_pin_refused != NULL && ks->is_pin_refused(ks->ctx)) {
		snprintf(ks->fault, sizeof ks->fault,
			 "the PIN was refused to another worker: not tried again");
		return ks->login_err = KB_E_HSM_PIN;
	}
	if ((err = P11(ks, C_GetTokenInfo, ks->slot, &info)) != KB_OK)
		return err;
	if ((info.flags & (CKF_USER_PIN_LOCKED | CKF_USER_PIN_FINAL_TRY)) != 0) {
		snprintf(ks->fault, sizeof ks->fault,
			 "the token reports that its PIN is locked or has one try left: not tried");
		log_event(LOG_ERROR, "hsm.login", "why", ks->fault, NULL);
		if (ks->pin_refused != NULL)
			atomic_store(ks->pin_refused, 1);
		return ks->login_err = KB_E_HSM_PIN;
	}
	struct span pin = secret_span(ks->pin);
	CK_RV rv = P11_RAW(ks, C_Login, ks->session, CKU_USER, (CK_UTF8CHAR_PTR)pin.p, pin.len);
	if (rv == CKR_USER_ALREADY_LOGGED_IN)
		return KB_OK;
	if ((err = p11_outcome(ks, "C_Login", rv)) != KB_OK)
		ks->login_err = err;
	if (err == KB_E_HSM_PIN && ks->pin_refused != NULL)
		atomic_store(ks->pin_refused, 1);
	return err;
}

/* ---- session ---- */

void session_close(struct keystore *ks)
{
	transport_drop(ks);
	if (ks->session != CK_INVALID_HANDLE)
		(void)P11_RAW(ks, C_CloseSession, ks->session); /* it may be gone already */
	ks->session = CK_INVALID_HANDLE;
}

enum kb_err session_open(struct keystore *ks)
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
		return KB_E_HSM_TOKEN; /* whatever the code: the token does not answer */
	if (memcmp(info.serialNumber, ks->token.serialNumber, sizeof info.serialNumber) != 0)
		return token_fault(ks, "another token is in the slot");
	if ((err = session_state(ks, &is_user)) != KB_OK)
		return err;
	return ks->pin == NULL || is_user
		       ? KB_OK
		       : fault_is(ks, KB_E_HSM_SESSION, "the session is not logged in");
}

static enum kb_err session_reopen(struct keystore *ks)
{
	enum kb_err err;

	session_close(ks);
	if ((err = login_begin(ks, KB_LOGIN_LOOK_MS)) != KB_OK)
		return fault_is(ks, err, "other processes were logging in all the time");
	err = session_open(ks);
	login_end(ks, err == KB_OK);
	return err;
}

enum kb_err session_recover(struct keystore *ks, enum kb_err err)
{
	if (err != KB_E_HSM_SESSION && err != KB_E_HSM_HANDLE)
		return err;
	log_event(LOG_WARN, "hsm.recover", "err", kb_err_name(err), "fault", ks->fault, NULL);
	transport_drop(ks); /* the handle that is no longer valid may be this one */
	return err == KB_E_HSM_HANDLE ? KB_OK : session_reopen(ks);
}
