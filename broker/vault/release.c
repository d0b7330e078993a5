/* broker/vault/release.c — answers one request, whatever its dialect.  The dialect says what is
 * asked, decide() whether it is permitted, and keystore_wrap(), which demands decide()'s grant,
 * wraps the key.  Trusts the gateway for what TLS and HTTP said.  Must never release a key without
 * a record of it. */
#include <openssl/evp.h>

#include "api/api.h"
#include "base/b64url.h"
#include "base/clock.h"
#include "base/digest.h"
#include "base/limits.h"
#include "base/log.h"
#include "keystore/wrap.h"
#include "policy/decide.h"
#include "policy/explain.h"
#include "policy/token.h"
#include "vault/audit.h"
#include "vault/caller.h"
#include "vault/hsm.h"
#include "vault/issuers.h"
#include "vault/nonce.h"
#include "vault/vault.h"

struct job { /* one request */
	const struct frame_request *rq;
	const struct listener_config *listener;
	const struct api *api; /* the listener's dialect */
	struct api_request request;
	struct api_place place;
	struct call call;
	const struct key_config *key;
	const struct key_version *version;
	struct vault_issuer *issuer;
	struct token *token;
	struct grant *grant;
	uint8_t token_digest[32], blob_digest[32];
	int64_t now_us;
	struct caller caller;
	uint16_t retry_s; /* of a 503; 0: the usual */
	struct audit audit;
};

static void job_free(struct job *j)
{
	token_free(j->token);
	grant_free(j->grant);
	call_free(&j->call);
}

/* The record and version that the call names. */
static enum kb_err find_key(struct vault *v, struct job *j)
{
	j->key = config_key(v->config, j->call.key);
	if (j->key == NULL)
		return KB_E_KEY_NOT_FOUND;
	j->version = key_record_version(j->key->record, j->call.version);
	return j->version == NULL ? KB_E_KEY_NOT_FOUND : KB_OK;
}

static enum kb_err find_hsm_key(struct vault *v, const struct job *j, bool is_release,
				const struct hsm_key **out)
{
	enum kb_err err =
		keystore_find(v->hsm, j->version->object, j->key->record->kty, is_release,
			      j->version->has_fingerprint ? j->version->fingerprint : NULL, out);

	return vault_hsm_blame(v, err);
}

static struct api_key describe(const struct vault *v, const struct job *j,
			       const struct hsm_key *key)
{
	size_t i = (size_t)(j->key - v->config->keys);

	return (struct api_key){
		.record = j->key->record,
		.version = j->version,
		.public = keystore_public(key),
		.policy_b64 = buf_span(&v->keys[i].policy_b64),
		.base_url = j->listener->base_url,
	};
}

static enum kb_err answer_get(struct vault *v, struct job *j, struct frame_reply *reply)
{
	const struct hsm_key *key;
	enum kb_err err = find_key(v, j);

	(void)reply;
	if (err != KB_OK)
		return err;
	if ((err = find_hsm_key(v, j, false, &key)) != KB_OK)
		return err;
	struct api_key k = describe(v, j, key);
	k.is_for_stranger = j->listener->auth == AUTH_NONE;
	j->api->reply_key(&k, &v->body);
	return buf_ok(&v->body);
}

static enum kb_err answer_nonce(struct vault *v, struct job *j, struct frame_reply *reply)
{
	KB_AUTO(buf) struct buf nonce;
	enum kb_err err = find_key(v, j);

	(void)reply;
	buf_init(&nonce, KB_MAX_NONCE);
	if (err != KB_OK)
		return err;
	if ((err = nonce_make(v->nonce_key, span_str(j->key->record->name), j->now_us, &nonce)) !=
	    KB_OK)
		return err;
	j->api->reply_nonce(buf_span(&nonce), &v->body);
	return buf_ok(&v->body);
}

/* The refusal may be due to the set: another one may have the key, or another key of this kid.  Not
 * so where the issuer's file does not have the algorithm. */
static bool is_fault_of_key(const struct job *j, enum kb_err err)
{
	if (j->issuer == NULL)
		return false;
	return err == KB_E_ISSUER_UNAVAILABLE || err == KB_E_KID_UNKNOWN ||
	       err == KB_E_TOKEN_SIGNATURE || err == KB_E_TOKEN_SIG_LENGTH ||
	       err == KB_E_TOKEN_CURVE ||
	       (err == KB_E_TOKEN_ALG &&
		(j->issuer->config->rules.algorithms & 1U << token_alg(j->token)) != 0);
}

/* Find the key, verify the token, evaluate the policy.  On KB_OK the job holds a grant. */
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
		keys = vault_issuer_keys(j->issuer, v->config->state_dir, now_s);
		/* A nonce that we did not make counts as none: decide() refuses an empty one. */
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
	if (is_fault_of_key(j, err) &&
	    vault_issuer_may_change(j->issuer, token_kid(j->token), now_s, &j->retry_s) &&
	    err != KB_E_ISSUER_UNAVAILABLE)
		err = KB_E_KID_PENDING;
	j->audit.claims = token_claims(j->token);
	return err;
}

/* Wrap the key and write the answer, signed where the dialect asks for that. */
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
	if ((err = vault_hsm_blame(v, err)) != KB_OK)
		return err;
	digest_sha256(buf_span(&v->wrapped), j->blob_digest);
	j->audit.blob_digest = j->blob_digest;
	j->audit.kek_thumbprint = grant_kek(j->grant)->thumbprint;
	j->audit.kek_kid = grant_kek(j->grant)->kid;

	struct api_key k = describe(v, j, key);
	struct api_release r = {
		.key = &k,
		.wrapped = buf_span(&v->wrapped),
		.kek_kid = grant_kek(j->grant)->kid,
		.header = buf_span(&v->headers[j->rq->listener]),
	};
	if (j->api->sign_input != NULL) {
		j->api->sign_input(&j->call, &r, &v->payload, &v->input);
		if ((err = buf_ok(&v->input)) != KB_OK)
			return err;
		digest_sha256(buf_span(&v->input), digest);
		if ((err = vault_hsm_sign(v, digest)) != KB_OK)
			return err;
		r.input = buf_span(&v->input);
		r.signature = buf_span(&v->signature);
	}
	j->api->reply_release(&r, &v->body);
	return buf_ok(&v->body);
}

/* For issuers with single_use: the ledger checks whether token and key were used together before,
 * and sends this refusal if they were. */
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
	reply->replay_status = (uint16_t)j->api->refuse(KB_E_REPLAY, &j->call, &v->replay_body);
	if ((err = buf_ok(&v->replay_body)) != KB_OK)
		return err;
	memcpy(reply->replay_key, v->replay_key, sizeof v->replay_key);
	reply->replay_from_s = grant_issued(j->grant);
	reply->replay_until_s = grant_expires(j->grant) + j->issuer->config->rules.skew_s;
	reply->replay_grace_s = (uint16_t)j->issuer->config->rules.grace_s;
	reply->replay_body = buf_span(&v->replay_body);
	reply->replay_record = buf_span(&v->replay_record);
	j->audit.replay_key = v->replay_key;
	j->audit.replay_until_s = reply->replay_until_s;
	return KB_OK;
}

/* A release call is recorded, whatever its outcome. */
static enum kb_err answer_release(struct vault *v, struct job *j, struct frame_reply *reply)
{
	enum kb_err err = j->api->read(&j->request, &j->call);

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
		/* No record, no key.  The ledger would refuse it, too. */
		log_event(LOG_ERROR, "record.too_long", "err", kb_err_name(recorded), NULL);
		return err == KB_OK ? KB_E_LEDGER : err;
	}
	reply->record = buf_span(&v->record);
	return err;
}

/* What this pool does for each verb. */
static enum kb_err (*const runs[VERB_COUNT])(struct vault *v, struct job *j,
					     struct frame_reply *reply) = {
	[VERB_GET_KEY] = answer_get,
	[VERB_NONCE] = answer_nonce,
	[VERB_RELEASE] = answer_release,
};

static void refuse(struct vault *v, struct job *j, enum kb_err err, struct frame_reply *reply)
{
	buf_reset(&v->body);
	reply->status = (uint16_t)j->api->refuse(err, &j->call, &v->body);
	reply->replay_until_s = 0;
	if (reply->status == 503)
		reply->retry_after_s = j->retry_s > 0 ? j->retry_s : KB_RETRY_AFTER_S;
	if (reply->status == 401) {
		j->api->challenge(&j->place, &v->challenge);
		reply->challenge = buf_span(&v->challenge);
	}
	if ((kb_err_class(err) == KB_CLASS_HSM && err != KB_E_LEDGER) ||
	    kb_err_class(err) == KB_CLASS_UNFIT)
		vault_hsm_failed(v, err, j->key == NULL ? "" : j->key->record->name);
}

void vault_answer(struct vault *v, const struct frame_request *rq, struct frame_reply *reply)
{
	struct job j = {.rq = rq, .now_us = clock_wall_us()};
	enum kb_err err = KB_E_FRAME;

	explain_reset(v->explain);
	buf_reset(&v->body);
	buf_reset(&v->challenge);
	*reply = (struct frame_reply){.id = rq->id,
				      .gateway = v->gateway,
				      .client_request_id = rq->client_request_id,
				      .peer = rq->peer};
	memcpy(reply->uuid, rq->uuid, sizeof reply->uuid);
	/* A gateway that was taken over may name a listener that does not exist. */
	if (rq->listener >= v->config->n_listeners) {
		reply->status = 500;
		goto out;
	}
	j.listener = &v->config->listeners[rq->listener];
	j.api = j.listener->api;
	j.request = (struct api_request){
		.method = rq->method,
		.is_json = rq->is_json,
		.target = rq->target,
		.query = rq->query,
		.bearer = rq->bearer,
		.body = rq->body,
	};
	j.place = (struct api_place){
		.base_url = j.listener->base_url,
		.challenge_authorization = j.listener->challenge_authorization,
		.challenge_resource = j.listener->challenge_resource,
	};
	j.audit = (struct audit){
		.time_us = j.now_us,
		.uuid = rq->uuid,
		.client_request_id = rq->client_request_id,
		.peer = rq->peer,
		.base_url = j.listener->base_url,
		.config_digest = v->config->digest,
		.explain = v->explain,
	};
	err = caller_authenticate(rq, j.listener, &j.caller);
	j.audit.caller = j.caller.text;
	j.audit.caller_name = j.caller.name;
	if (err != KB_OK)
		goto refuse;
	err = j.api->route(&j.request, &j.place, &j.call);
	j.audit.key = j.call.key;
	if (err != KB_OK)
		goto refuse;
	err = runs[j.call.verb] == NULL ? KB_E_PATH : runs[j.call.verb](v, &j, reply);
	if (err != KB_OK)
		goto refuse;
	reply->status = 200;
	if (j.call.verb == VERB_RELEASE)
		v->hsm_faults = 0;
	reply->outcome.is_release = j.call.record == RECORD_RELEASE;
	goto out;
refuse:
	refuse(v, &j, err, reply);
out:
	reply->body = buf_span(&v->body);
	reply->outcome.code = (uint16_t)err;
	/* Only configured names: the client's spelling would be one more label in /metrics. */
	reply->outcome.key = span_str(j.key == NULL ? "" : j.key->record->name);
	reply->outcome.issuer = span_str(j.issuer == NULL ? "" : j.issuer->config->rules.name);
	job_free(&j);
}
