/* keystore/keystore.c — opens the token, holds the one session and the one login, and decides
 * whether a lost session may be reopened. Trusts the module's answers about state, never that they
 * stay true.  Must never send a PIN a second time after it was refused. */
#include "keystore/keystore.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/secret.h"
#include "keystore/module.h"
#include "keystore/token_keep.h"

enum { MAX_SLOTS = 256, TRANSPORT_BYTES = 32, TURN_POLL_MS = 5 };

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
		if (P11_RAW(ks, C_GetTokenInfo, ids[i], &info) != CKR_OK ||
		    (info.flags & CKF_TOKEN_INITIALIZED) == 0 ||
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

/* Among all processes that hold the file: LOCK_EX alone, LOCK_SH while nobody is alone.  The kernel
 * lets go when a process ends; one that hangs must not hold up the others for ever. */
static enum kb_err turn_take(const struct keystore *ks, int operation, int64_t limit_ms)
{
	const struct timespec pause = {0, TURN_POLL_MS * 1000000L};
	const int64_t end_ms = clock_mono_ms() + limit_ms;

	while (ks->login_lock != 0 && flock(ks->login_lock, operation | LOCK_NB) != 0) {
		if (errno != EWOULDBLOCK && errno != EINTR)
			return KB_E_SYS;
		if (clock_mono_ms() >= end_ms) {
			log_event(LOG_ERROR, "hsm.turn", "why",
				  "another process has been logging in to the token all the time",
				  NULL);
			return KB_E_HSM_TOKEN;
		}
		nanosleep(&pause, NULL);
	}
	return KB_OK;
}

/* Alone, to log in: what an end of another process left torn is mended first. */
static enum kb_err turn_to_login(const struct keystore *ks, int64_t limit_ms)
{
	enum kb_err err = turn_take(ks, LOCK_EX, limit_ms);

	if (err == KB_OK && ks->token_dir != NULL)
		token_restore(ks->token_dir);
	return err;
}

static void turn_end(const struct keystore *ks)
{
	if (ks->login_lock != 0 && flock(ks->login_lock, LOCK_UN) != 0)
		KB_BUG();
}

/* At most one refused login in the life of a process, and of all that share the PIN: tokens count
 * them, and lock. */
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
	if (ks->pin_refused != NULL && atomic_load(ks->pin_refused) == ks->turn) {
		snprintf(ks->fault, sizeof ks->fault,
			 "the PIN was refused to another worker: not tried again");
		return ks->login_err = KB_E_HSM_PIN;
	}
	if ((err = P11(ks, C_GetTokenInfo, ks->slot, &info)) != KB_OK)
		return err;
	if ((info.flags & (CKF_USER_PIN_LOCKED | CKF_USER_PIN_FINAL_TRY)) != 0) {
		snprintf(ks->fault, sizeof ks->fault,
			 "the token says that its PIN is locked or has one try left: not tried");
		log_event(LOG_ERROR, "hsm.login", "why", ks->fault, NULL);
		if (ks->pin_refused != NULL)
			atomic_store(ks->pin_refused, ks->turn);
		return ks->login_err = KB_E_HSM_PIN;
	}
	struct span pin = secret_span(ks->pin);
	CK_RV rv = P11_RAW(ks, C_Login, ks->session, CKU_USER, (CK_UTF8CHAR_PTR)pin.p, pin.len);
	if (rv == CKR_USER_ALREADY_LOGGED_IN)
		return KB_OK;
	if ((err = p11_outcome(ks, "C_Login", rv)) != KB_OK)
		ks->login_err = err;
	if (err == KB_E_HSM_PIN && ks->pin_refused != NULL)
		atomic_store(ks->pin_refused, ks->turn);
	return err;
}

static void session_close(struct keystore *ks)
{
	transport_drop(ks);
	if (ks->session != CK_INVALID_HANDLE)
		(void)P11_RAW(ks, C_CloseSession, ks->session); /* it may be gone already */
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
	else if (ks->token_dir != NULL)
		token_keep(ks->token_dir);
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
	if (err == KB_E_HSM_HANDLE) {
		err = key == NULL ? KB_OK : key_refind(ks, key);
		if (err != KB_E_HSM_SESSION) /* an operation that a failed call left behind stands
						in the way: it ends with its session */
			return err;
	}
	session_close(ks);
	if ((err = turn_to_login(ks, KB_LOGIN_LOOK_MS)) != KB_OK)
		return err;
	err = session_open(ks);
	turn_end(ks);
	if (err != KB_OK)
		return err;
	return key == NULL ? KB_OK : key_refind(ks, key);
}

enum kb_err keystore_alive(struct keystore *ks)
{
	enum kb_err err = keystore_guard(ks);

	if (err != KB_OK)
		return err;
	err = session_check(ks);
	/* SoftHSM's token cannot be read while somebody logs in to it: only what is gone when
	 * nobody does is gone. */
	if (err == KB_E_HSM_TOKEN && ks->login_lock != 0 &&
	    (err = turn_take(ks, LOCK_SH, KB_LOGIN_LOOK_MS)) == KB_OK) {
		err = session_check(ks);
		turn_end(ks);
	}
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
		(void)P11_RAW(ks, C_DestroyObject, ks->session, ks->transport_key);
	ks->transport_key = CK_INVALID_HANDLE;
	secret_free(ks->transport);
	ks->transport = NULL;
	buf_reset(&ks->last_sealed); /* under another key nothing can be the same */
}

/* Known to this process by design (FACTS: what SoftHSM wraps must be repaired outside), so the
 * module gets our bytes and not the reverse. */
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
	if ((err = P11(ks, C_CreateObject, ks->session, t, sizeof t / sizeof t[0],
		       &ks->transport_key)) != KB_OK) {
		ks->transport_key = CK_INVALID_HANDLE;
		transport_drop(ks);
	}
	return err;
}

/* ---- open and close ---- */

enum kb_err keystore_open(const struct keystore_params *p, struct keystore **out)
{
	enum kb_err err = KB_E_BUG;
	bool has_turn = false;

	*out = NULL;
	struct keystore *ks = calloc(1, sizeof *ks);
	if (ks == NULL)
		return KB_E_NOMEM;
	ks->owner = getpid();
	ks->is_writable = p->is_writable;
	ks->login_lock = p->login_lock;
	if (p->token_dir != NULL && (ks->token_dir = strdup(p->token_dir)) == NULL) {
		err = KB_E_NOMEM;
		goto out;
	}
	ks->call_since_ms = p->call_since_ms;
	ks->pin_refused = p->pin_refused;
	ks->turn = p->turn;
	buf_init(&ks->last_sealed, KB_MAX_SECRET + 8);
	buf_init(&ks->last_wrapped, KB_RSA_MAX_BITS / 8 + KB_MAX_SECRET + 8);
	if (p->pin != NULL) {
		struct span pin = secret_span(p->pin);
		if ((ks->pin = secret_new(pin.len)) == NULL) {
			err = KB_E_NOMEM;
			goto out;
		}
		memcpy(secret_bytes(ks->pin), pin.p, pin.len);
	}
	if ((err = turn_to_login(ks, KB_LOGIN_TURN_MS)) != KB_OK)
		goto out;
	has_turn = true;
	p11_begin(ks);
	err = module_load(p->module, &ks->p11);
	(void)p11_end(ks, CKR_OK);
	if (err != KB_OK)
		goto out;
	ks->is_loaded = true;
	if ((err = token_find(ks, p->token)) != KB_OK)
		goto out;
	if ((err = session_open(ks)) != KB_OK)
		goto out;
	turn_end(ks);
	*out = ks;
	return KB_OK;
out:
	if (has_turn)
		turn_end(ks);
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
	EVP_PKEY_free(ks->sample);
	buf_free(&ks->last_sealed);
	buf_free(&ks->last_wrapped);
	free(ks->token_dir);
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
