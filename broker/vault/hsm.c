/* broker/vault/hsm.c — the vault's HSM session.  Decides whether this HSM, with these keys, can
 * serve the configuration, and when a worker must be restarted because of it.  Trusts nothing that
 * the module says of itself: wrapping and signing are tested.  Must never try a refused PIN
 * again. */
#include "vault/hsm.h"

#include <stdlib.h>

#include "api/api.h"
#include "base/log.h"
#include "base/secret.h"
#include "keystore/sign.h"
#include "keystore/softhsm.h"
#include "keystore/wrap.h"
#include "process/process.h"

static bool is_pin_refused(const void *ctx)
{
	const struct process_start *start = ctx;

	return shared_is_pin_refused(start->shared, start->generation);
}

static enum kb_err open_session(struct vault *v, const struct process_start *start)
{
	const struct config *c = v->config;
	KB_AUTO(secret) struct secret *pin = NULL;
	char token_dir[SOFTHSM_TOKEN_DIR];

	for (char **e = c->hsm_environment; e != NULL && *e != NULL; e++)
		if (putenv(*e) != 0)
			return KB_E_NOMEM;
	enum kb_err err = secret_arena_init();
	if (err != KB_OK) {
		log_event(LOG_ERROR, "memory.lock", "err", kb_err_name(err), "hint",
			  "RLIMIT_MEMLOCK must allow 512 KiB: LimitMEMLOCK= in the unit", NULL);
		return err;
	}
	if ((err = secret_read_fd(FD_VAULT_PIN, &pin)) != KB_OK) {
		log_event(LOG_ERROR, "pin.unreadable", "err", kb_err_name(err), "file",
			  c->hsm_pin_file, NULL);
		return err;
	}
	struct keystore_params p = {
		.module = c->hsm_module,
		.token = c->hsm_token,
		.pin = pin,
		.login_lock = FD_VAULT_PIN,
		.token_dir = softhsm_own_token_dir(c->hsm_module, token_dir) ? token_dir : NULL,
		.call_since_ms = &v->health->call_since_ms,
		.pin_refused = &v->health->pin_refused,
		.is_pin_refused = is_pin_refused,
		.ctx = start,
	};
	if ((err = keystore_open(&p, &v->hsm)) != KB_OK) {
		log_event(LOG_ERROR, "hsm.open", "err", kb_err_name(err), "module", c->hsm_module,
			  "token", c->hsm_token, "token_dir",
			  p.token_dir == NULL ? "" : p.token_dir, NULL);
		return err;
	}
	return KB_OK;
}

/* A configured key that some scheme cannot wrap.  NULL: every client can get every key. */
static const struct key_config *unfit_key(const struct vault *v, const struct wrap_plan *plan)
{
	for (size_t i = 0; i < v->config->n_keys; i++)
		for (size_t s = 0; s < WRAP_SCHEMES; s++)
			if (plan->engine[s][v->config->keys[i].record->kty] == WRAP_NONE)
				return &v->config->keys[i];
	return NULL;
}

static enum kb_err test_wrapping(struct vault *v)
{
	static const char *const engine[] = {
		[WRAP_NONE] = "none", [WRAP_MODULE] = "module", [WRAP_WORKER] = "worker"};
	enum kb_err err = keystore_self_test(v->hsm);
	/* This verdict stops the worker until a reload.  Test twice: one wrong answer is not
	 * enough. */
	if (err == KB_E_HSM_MECHANISM)
		err = keystore_self_test(v->hsm);
	const struct wrap_plan *plan = keystore_plan(v->hsm);

	for (size_t s = 0; s < WRAP_SCHEMES; s++)
		log_event(err == KB_OK ? LOG_INFO : LOG_ERROR, "wrap.plan", "enc", schemes[s].name,
			  "rsa", engine[plan->engine[s][KB_KTY_RSA]], "ec",
			  engine[plan->engine[s][KB_KTY_EC]], "oct",
			  engine[plan->engine[s][KB_KTY_OCT]], NULL);
	if (err != KB_E_HSM_MECHANISM)
		return err;
	const struct key_config *key = unfit_key(v, plan);
	if (key == NULL)
		return KB_OK; /* no configured key needs what this module cannot do */
	log_event(LOG_ERROR, "hsm.mechanism", "key", key->record->name, "kty",
		  kty_name(key->record->kty), "call", keystore_fault(v->hsm), "why",
		  "the module cannot wrap keys of this type: it needs CKM_AES_KEY_WRAP_PAD, exact, "
		  "for C_WrapKey and C_UnwrapKey, under an AES key of "
		  "the session",
		  NULL);
	return err;
}

static enum kb_err open_signer(struct vault *v)
{
	KB_AUTO(buf) struct buf leaf;
	const struct config *c = v->config;
	enum kb_err err = KB_OK;

	buf_init(&leaf, KB_MAX_CONFIG);
	for (size_t i = 0; i < c->n_listeners && err == KB_OK; i++) {
		const struct api *api = c->listeners[i].api;
		if (api->prepare == NULL)
			continue;
		buf_reset(&leaf);
		err = api->prepare(c->signer_chain, &v->headers[i], &leaf);
	}
	if (err != KB_OK) {
		log_event(LOG_ERROR, "signer.certificates", "err", kb_err_name(err), "hint",
			  "the chain must be an RSA leaf, its issuers, and the root last; see "
			  "keybrokerctl check",
			  NULL);
		return err;
	}
	if ((err = keystore_find(v->hsm, v->config->signer_object, KB_KTY_RSA, false, NULL,
				 &v->signer)) == KB_OK &&
	    leaf.len > 0)
		err = keystore_prove_signer(v->hsm, v->signer, buf_span(&leaf));
	if (err != KB_OK)
		log_event(LOG_ERROR, "signer.key", "err", kb_err_name(err), "object",
			  v->config->signer_object, "call", keystore_fault(v->hsm), "hint",
			  "the HSM key must be the one of the first certificate", NULL);
	return err;
}

/* The MAC key of our nonces is derived from a signature (RSASSA-PKCS1-v1_5: always the same) that
 * only this HSM can make.  So all workers and machines on one HSM share it, across restarts, and no
 * file holds it.  The signed text cannot be taken for a JWS: it has no dots. */
static enum kb_err derive_nonce_key(struct vault *v)
{
	return keystore_derive(v->hsm, v->signer, span_str("keybroker nonce key, version 1"),
			       &v->nonce_key);
}

enum kb_err vault_hsm_open(struct vault *v, const struct process_start *start)
{
	enum kb_err err = open_session(v, start);

	if (err != KB_OK)
		return err;
	if ((err = test_wrapping(v)) != KB_OK)
		return err;
	if ((err = open_signer(v)) != KB_OK)
		return err;
	return derive_nonce_key(v);
}

/* ---- while it runs ---- */

/* SoftHSM never sees a re-inserted token in a running process.  Exit; the restarted worker opens it
 * or reports why it cannot. */
void vault_hsm_check(struct vault *v)
{
	enum kb_err err = keystore_alive(v->hsm);

	if (err == KB_OK)
		return;
	log_event(LOG_ERROR, "hsm.gone", "err", kb_err_name(err), "call", keystore_fault(v->hsm),
		  NULL);
	v->must_restart = true;
	v->is_pin_refused = err == KB_E_HSM_PIN;
}

/* Without the signer nothing at all can be released, and this is not the requested key's fault: the
 * HSM cannot serve now, and the worker tests whether it can go on. */
enum kb_err vault_hsm_sign(struct vault *v, const uint8_t digest[static 32])
{
	enum kb_err err = keystore_sign(v->hsm, v->signer, digest, &v->signature);

	if (kb_err_class(err) != KB_CLASS_UNFIT)
		return err;
	v->wants_proof = true;
	return KB_E_HSM_SIGNER;
}

/* A token whose files were deleted answers, and has no object: that is no fault of the one key. */
enum kb_err vault_hsm_blame(struct vault *v, enum kb_err err)
{
	if (err != KB_E_HSM_KEY_MISSING || keystore_still_has(v->hsm, v->signer))
		return err;
	v->wants_proof = true;
	return KB_E_HSM_SIGNER;
}

void vault_hsm_failed(struct vault *v, enum kb_err err, const char *key)
{
	stats_count(v->self, COUNT_HSM_ERRORS, 1);
	log_event(LOG_ERROR, "hsm.error", "err", kb_err_name(err), "key", key, "call",
		  keystore_fault(v->hsm), "object", keystore_fault_object(v->hsm), NULL);
	vault_hsm_check(v);
	/* One failure may be one key's.  Repeated failures may be the device's: test it. */
	bool is_device = err == KB_E_HSM_DEVICE || err == KB_E_HSM_MEMORY ||
			 err == KB_E_HSM_MODULE || err == KB_E_HSM_SESSION || err == KB_E_HSM;
	if (is_device && ++v->hsm_faults % KB_HSM_FAULTS == 0)
		v->wants_proof = true;
}

/* Calls fail although the token reports that it is well.  When signing and wrapping with keys of
 * ours work, the failures are those of one key, and the worker goes on. */
void vault_hsm_prove(struct vault *v)
{
	static const uint8_t digest[32];

	v->wants_proof = false;
	buf_reset(&v->signature);
	enum kb_err err = keystore_sign(v->hsm, v->signer, digest, &v->signature);
	if (err == KB_OK && (err = keystore_self_test(v->hsm)) == KB_E_HSM_MECHANISM)
		err = unfit_key(v, keystore_plan(v->hsm)) == NULL ? KB_OK : err;
	buf_reset(&v->signature);
	log_event(LOG_WARN, "hsm.proof", "err", kb_err_name(err), "call", keystore_fault(v->hsm),
		  NULL);
	if (err != KB_OK)
		v->must_restart = true;
}
