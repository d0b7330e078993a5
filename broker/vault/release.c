/* broker/vault/release.c — one request, judged from top to bottom.  Decides nothing itself: it asks
 * the dialect what is wanted, decide() whether it may be, keystore_wrap() (which demands decide()'s
 * grant) for the blob, and leaves reply and record together for the ledger.  Never talks to a
 * client. */
#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "api/keyvault.h"
#include "base/b64url.h"
#include "base/clock.h"
#include "base/digest.h"
#include "base/limits.h"
#include "base/log.h"
#include "keystore/sign.h"
#include "keystore/wrap.h"
#include "policy/decide.h"
#include "policy/explain.h"
#include "policy/jwks.h"
#include "policy/token.h"
#include "vault/audit.h"
#include "vault/nonce.h"
#include "vault/vault.h"

struct job { /* one request on its way down */
	const struct frame_request *rq;
	const struct listener_config *listener;
	struct keyvault_call call;
	const struct key_config *key;
	const struct key_version *version;
	struct vault_issuer *issuer;
	struct token *token;
	struct grant *grant;
	uint8_t token_digest[32], blob_digest[32];
	int64_t now_us;
	struct audit audit;
};

static void job_free(struct job *j)
{
	token_free(j->token);
	grant_free(j->grant);
	keyvault_call_free(&j->call);
}

static enum kb_err authenticate(const struct frame_request *rq,
				const struct listener_config *listener)
{
	bool is_known = false;

	/* SDKs begin every conversation with neither credential nor body and wait for the
	 * challenge: an answer would lose the body. */
	if (!rq->has_authorization && rq->body.len == 0)
		return KB_E_NO_CREDENTIAL;
	switch (listener->auth) {
	case AUTH_NONE:
		return KB_OK;
	case AUTH_MTLS:
		return rq->has_client_cert ? KB_OK : KB_E_CREDENTIAL;
	case AUTH_BEARER:
		if (!rq->has_bearer)
			return rq->has_authorization ? KB_E_CREDENTIAL : KB_E_NO_CREDENTIAL;
		for (size_t i = 0; i < listener->n_bearers;
		     i++) /* all of them: the time tells nothing */
			is_known |= CRYPTO_memcmp(listener->bearers[i], rq->bearer_sha256, 32) == 0;
		return is_known ? KB_OK : KB_E_CREDENTIAL;
	}
	KB_BUG();
}

/* The record and version that the call names. */
static enum kb_err find_key(struct vault *v, struct job *j)
{
	j->key = config_key(v->config, j->call.name);
	if (j->key == NULL)
		return KB_E_KEY_NOT_FOUND;
	j->version = key_record_version(j->key->record, j->call.version);
	return j->version == NULL ? KB_E_KEY_NOT_FOUND : KB_OK;
}

static enum kb_err find_hsm_key(struct vault *v, const struct job *j, bool is_release,
				const struct hsm_key **out)
{
	return keystore_find(v->hsm, j->version->object, j->key->record->kty, is_release,
			     j->version->has_fingerprint ? j->version->fingerprint : NULL, out);
}

static struct keyvault_key describe(const struct vault *v, const struct job *j,
				    const struct hsm_key *key)
{
	size_t i = (size_t)(j->key - v->config->keys);

	return (struct keyvault_key){
		.record = j->key->record,
		.version = j->version,
		.public = keystore_public(key),
		.policy_b64 = buf_span(&v->keys[i].policy_b64),
		.base_url = j->listener->base_url,
	};
}

static enum kb_err answer_get(struct vault *v, struct job *j)
{
	const struct hsm_key *key;
	enum kb_err err = find_key(v, j);

	if (err != KB_OK)
		return err;
	if ((err = find_hsm_key(v, j, false, &key)) != KB_OK)
		return err;
	struct keyvault_key k = describe(v, j, key);
	keyvault_bundle(&k, &v->body);
	return buf_ok(&v->body);
}

static enum kb_err answer_nonce(struct vault *v, struct job *j)
{
	KB_AUTO(buf) struct buf nonce;
	enum kb_err err = find_key(v, j);

	buf_init(&nonce, KB_MAX_NONCE);
	if (err != KB_OK)
		return err;
	if ((err = nonce_make(v->nonce_key, span_str(j->key->record->name), j->now_us, &nonce)) !=
	    KB_OK)
		return err;
	keyvault_nonce(buf_span(&nonce), &v->body);
	return buf_ok(&v->body);
}

/* Steps 1 to 8 of the release (DESIGN §2): on KB_OK the job holds a grant. */
static enum kb_err judge(struct vault *v, struct job *j)
{
	const int64_t now_s = j->now_us / 1000000;
	enum kb_err err = find_key(v, j);

	if (err != KB_OK)
		return err;
	const struct key_record *record = j->key->record;
	j->audit.key = span_str(record->name);
	j->audit.version = span_str(j->version->version);
	if ((err = key_record_usable(record, now_s)) != KB_OK)
		return err;
	if (j->key->policy != NULL)
		j->audit.policy_digest = v->keys[j->key - v->config->keys].policy_digest;

	if ((err = token_open(j->call.token, &j->token)) != KB_OK)
		return err;
	token_digest(j->token, j->token_digest);
	j->audit.token_digest = j->token_digest;
	j->audit.iss = token_unverified_iss(j->token);
	j->audit.kid = token_kid(j->token);

	const struct issuer_config *issuer =
		config_issuer(v->config, token_unverified_iss(j->token));
	const struct jwks *keys = NULL;
	struct span nonce = j->call.nonce;
	if (issuer != NULL) {
		j->issuer = &v->issuers[issuer - v->config->issuers];
		j->audit.issuer = issuer->rules.name;
		keys = vault_issuer_keys(v, j->issuer, now_s);
		bool has_kid = keys != NULL && jwks_find(keys, token_kid(j->token)) != NULL;
		if (!has_kid && issuer->source != KEYS_JWKS_FILE &&
		    (vault_request_fetch(v, j->issuer, now_s) || vault_is_asking(j->issuer)))
			return keys == NULL ? KB_E_ISSUER_UNAVAILABLE : KB_E_KID_PENDING;
		/* A nonce that is not ours is no nonce: decide() refuses an empty one. */
		if (issuer->rules.nonce == NONCE_BROKER &&
		    nonce_check(v->nonce_key, span_str(record->name), j->now_us, nonce) != KB_OK)
			nonce = span_of(NULL, 0);
	}
	struct release_case c = {
		.token = j->token,
		.issuer = issuer == NULL ? NULL : &issuer->rules,
		.keys = keys,
		.policy = j->key->policy,
		.key_name = span_str(record->name),
		.key_version = span_str(j->version->version),
		.nonce = nonce,
		.now_s = now_s,
	};
	err = decide(&c, v->explain, &j->grant);
	j->audit.claims = token_claims(j->token);
	return err;
}

/* Steps 9 and 10: the blob, and the signed reply round it. */
static enum kb_err wrap_and_sign(struct vault *v, struct job *j)
{
	const struct key_record *record = j->key->record;
	const struct hsm_key *key;
	uint8_t digest[32];

	buf_reset(&v->wrapped);
	buf_reset(&v->input);
	buf_reset(&v->signature);
	enum kb_err err = find_hsm_key(v, j, true, &key);
	if (err != KB_OK)
		return err;
	err = keystore_wrap(v->hsm, key, j->grant, span_str(record->name),
			    span_str(j->version->version), j->call.scheme, &v->wrapped);
	if (err != KB_OK)
		return err;
	digest_sha256(buf_span(&v->wrapped), j->blob_digest);
	j->audit.blob_digest = j->blob_digest;
	j->audit.kek_thumbprint = grant_kek(j->grant)->thumbprint;
	j->audit.kek_kid = grant_kek(j->grant)->kid;

	struct keyvault_key k = describe(v, j, key);
	keyvault_jws_input(&j->call, &k, grant_kek(j->grant)->kid, buf_span(&v->wrapped),
			   buf_span(&v->header_b64), &v->payload, &v->input);
	if ((err = buf_ok(&v->input)) != KB_OK)
		return err;
	digest_sha256(buf_span(&v->input), digest);
	if ((err = keystore_sign(v->hsm, v->signer, digest, &v->signature)) != KB_OK)
		return err;
	keyvault_release(buf_span(&v->input), buf_span(&v->signature), &v->body);
	return buf_ok(&v->body);
}

/* For issuers with single_use: the ledger looks whether token and key were used together, and then
 * takes this refusal instead. */
static enum kb_err add_replay(struct vault *v, struct job *j, struct frame_reply *reply)
{
	KB_AUTO(buf) struct buf both;
	uint8_t id[32];

	buf_init(&both, 1024);
	token_replay_id(j->token, id);
	buf_add(&both, id, sizeof id);
	buf_add_str(&both, j->key->record->name);
	digest_sha256(buf_span(&both), v->replay_key);

	struct audit refusal = j->audit;
	refusal.code = KB_E_REPLAY;
	refusal.blob_digest = NULL;
	enum kb_err err = audit_line(&refusal, &v->replay_record);
	if (err != KB_OK)
		return err;
	buf_reset(&v->replay_body);
	keyvault_error(KB_E_REPLAY, &j->call, &v->replay_body);
	if ((err = buf_ok(&v->replay_body)) != KB_OK)
		return err;
	memcpy(reply->replay_key, v->replay_key, sizeof v->replay_key);
	reply->replay_from_s = grant_issued(j->grant);
	reply->replay_until_s = grant_expires(j->grant) + j->issuer->config->rules.skew_s;
	reply->replay_body = buf_span(&v->replay_body);
	reply->replay_record = buf_span(&v->replay_record);
	j->audit.replay_key = v->replay_key;
	j->audit.replay_until_s = reply->replay_until_s;
	return KB_OK;
}

/* A release call: everything that happens to it is recorded, whatever the outcome. */
static enum kb_err answer_release(struct vault *v, struct job *j, struct frame_reply *reply)
{
	enum kb_err err = keyvault_body(j->rq, &j->call);

	if (err == KB_OK) {
		j->audit.enc = j->call.scheme->name;
		const int64_t from = clock_mono_us();
		err = judge(v, j);
		const int64_t judged = clock_mono_us();
		reply->outcome.judge_us = (uint32_t)(judged - from);
		if (err == KB_OK) {
			err = wrap_and_sign(v, j);
			reply->outcome.hsm_us = (uint32_t)(clock_mono_us() - judged);
		}
		if (err == KB_OK && j->issuer->config->rules.is_single_use)
			err = add_replay(v, j, reply);
	}
	j->audit.code = err;
	if (err != KB_OK)
		j->audit.blob_digest = NULL;
	enum kb_err recorded = audit_line(&j->audit, &v->record);
	if (recorded != KB_OK) {
		/* No record, no key: the ledger refuses a release that comes without one, and so do
		 * we. */
		log_event(LOG_ERROR, "record.too_long", "err", kb_err_name(recorded), NULL);
		return err == KB_OK ? KB_E_LEDGER : err;
	}
	reply->record = buf_span(&v->record);
	return err;
}

static void note_hsm(struct vault *v, enum kb_err err)
{
	slot_count(v->self, COUNT_HSM_ERRORS, 1);
	log_event(LOG_ERROR, "hsm.error", "err", kb_err_name(err), "call", keystore_fault(v->hsm),
		  NULL);
	vault_check_hsm(v);
	/* One key's fault is that key's; but what fails again and again may be the device. */
	bool is_device = err == KB_E_HSM_DEVICE || err == KB_E_HSM_MEMORY ||
			 err == KB_E_HSM_MODULE || err == KB_E_HSM_SESSION || err == KB_E_HSM;
	if (is_device && ++v->hsm_faults % KB_HSM_FAULTS == 0)
		v->wants_proof = true;
}

void vault_answer(struct vault *v, const struct frame_request *rq, struct frame_reply *reply)
{
	struct job j = {.rq = rq, .now_us = clock_wall_us()};
	enum kb_err err = KB_E_FRAME;

	explain_reset(v->explain);
	buf_reset(&v->body);
	buf_reset(&v->challenge);
	*reply = (struct frame_reply){.id = rq->id, .client_request_id = rq->client_request_id};
	memcpy(reply->uuid, rq->uuid, sizeof reply->uuid);
	if (rq->listener >= v->config->n_listeners)
		goto refuse;
	j.listener = &v->config->listeners[rq->listener];
	j.audit = (struct audit){
		.time_us = j.now_us,
		.uuid = rq->uuid,
		.client_request_id = rq->client_request_id,
		.peer = rq->peer,
		.base_url = j.listener->base_url,
		.config_digest = v->config->digest,
		.explain = v->explain,
	};
	if ((err = authenticate(rq, j.listener)) != KB_OK)
		goto refuse;
	err = keyvault_route(rq, j.listener, &j.call);
	j.audit.key = j.call.name;
	if (err != KB_OK)
		goto refuse;
	switch (j.call.op) {
	case KEYVAULT_GET:
		err = answer_get(v, &j);
		break;
	case KEYVAULT_NONCE:
		err = answer_nonce(v, &j);
		break;
	case KEYVAULT_RELEASE:
		err = answer_release(v, &j, reply);
		break;
	case KEYVAULT_NONE:
		KB_BUG();
	}
	if (err != KB_OK)
		goto refuse;
	reply->status = 200;
	v->hsm_faults = j.call.op == KEYVAULT_RELEASE ? 0 : v->hsm_faults;
	reply->outcome.is_release = j.call.op == KEYVAULT_RELEASE;
	goto out;
refuse:
	buf_reset(&v->body);
	keyvault_error(err, &j.call, &v->body);
	reply->status = (uint16_t)keyvault_status(err);
	reply->replay_until_s = 0;
	if (reply->status == 503)
		reply->retry_after_s = KB_RETRY_AFTER_S;
	if (reply->status == 401) {
		keyvault_challenge(j.listener, &v->challenge);
		reply->challenge = buf_span(&v->challenge);
	}
	if (kb_err_class(err) == KB_CLASS_HSM && err != KB_E_LEDGER)
		note_hsm(v, err);
out:
	reply->body = buf_span(&v->body);
	reply->outcome.code = (uint16_t)err;
	/* Names of ours only: a stranger's spelling would make a label of its own in /metrics. */
	reply->outcome.key = span_str(j.key == NULL ? "" : j.key->record->name);
	reply->outcome.issuer = span_str(j.issuer == NULL ? "" : j.issuer->config->rules.name);
	job_free(&j);
}
