/* keystore/keystore.c — opens the module, finds the token and opens the session.  Trusts the
 * configuration's module and token URI.  Must never open a token that is only one of several that
 * fit the URI. */
#include "keystore/keystore.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/secret.h"
#include "keystore/module.h"

enum { MAX_SLOTS = 256 };

const char *keystore_fault(const struct keystore *ks)
{
	return ks->fault;
}

const char *keystore_fault_object(const struct keystore *ks)
{
	return ks->fault_object;
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

enum kb_err keystore_alive(struct keystore *ks)
{
	enum kb_err err = keystore_guard(ks);

	if (err != KB_OK)
		return err;
	fault_begin(ks, NULL);
	err = session_check(ks);
	if (err == KB_E_HSM_TOKEN && ks->hooks != NULL &&
	    (err = ks->hooks->recheck_begin(ks, KB_LOGIN_LOOK_MS)) == KB_OK) {
		err = session_check(ks);
		ks->hooks->recheck_end(ks);
	}
	if (err != KB_E_HSM_SESSION)
		return err;
	if ((err = session_recover(ks, err)) != KB_OK)
		return err;
	return session_check(ks);
}

enum kb_err keystore_open(const struct keystore_params *p, struct keystore **out)
{
	enum kb_err err = KB_E_BUG;
	bool is_login_begun = false;

	*out = NULL;
	struct keystore *ks = calloc(1, sizeof *ks);
	if (ks == NULL)
		return KB_E_NOMEM;
	ks->owner = getpid();
	ks->is_writable = p->is_writable;
	ks->login_lock = p->login_lock;
	if (p->login_lock != 0 || p->token_dir != NULL)
		ks->hooks = &softhsm_hooks;
	if (p->token_dir != NULL && (ks->token_dir = strdup(p->token_dir)) == NULL) {
		err = KB_E_NOMEM;
		goto out;
	}
	ks->call_since_ms = p->call_since_ms;
	ks->pin_refused = p->pin_refused;
	ks->is_pin_refused = p->is_pin_refused;
	ks->ctx = p->ctx;
	buf_init(&ks->last_sealed, KB_MAX_SECRET + 8);
	buf_init(&ks->last_first, KB_RSA_MAX_BITS / 8);
	buf_init(&ks->last_second, KB_MAX_SECRET + 8);
	if (p->pin != NULL) {
		struct span pin = secret_span(p->pin);
		if ((ks->pin = secret_new(pin.len)) == NULL) {
			err = KB_E_NOMEM;
			goto out;
		}
		memcpy(secret_bytes(ks->pin), pin.p, pin.len);
	}
	if ((err = login_begin(ks, KB_LOGIN_TURN_MS)) != KB_OK)
		goto out;
	is_login_begun = true;
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
	login_end(ks, true);
	*out = ks;
	return KB_OK;
out:
	if (is_login_begun)
		login_end(ks, false);
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
	EVP_PKEY_free(ks->own);
	buf_free(&ks->last_sealed);
	buf_free(&ks->last_first);
	buf_free(&ks->last_second);
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
