/* broker/vault/vault.c — the vault process: one HSM session, issuers' keys, key records; takes one
 * frame at a time from the generation's shared socket and hands reply and record together to the
 * ledger.  Straight-line and blocking on purpose.  Trusts: its configuration archive, the fetcher's
 * files, the HSM.  Never: a socket to a client, a second thread, a reply that does not go through
 * the ledger. */
#include "vault/vault.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "api/keyvault.h"
#include "base/b64url.h"
#include "base/clock.h"
#include "base/digest.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/secret.h"
#include "keystore/sign.h"
#include "keystore/softhsm.h"
#include "keystore/wrap.h"
#include "policy/explain.h"
#include "policy/jwks.h"
#include "process/confine.h"
#include "process/keyset.h"
#include "process/process.h"

/* ---- issuers' keys ---- */

static enum kb_err parse_keys(struct vault_issuer *issuer, struct span document)
{
	struct jwks *keys;
	struct jwks_report report;
	enum kb_err err = jwks_parse(document, &keys, &report);

	if (err != KB_OK) {
		log_event(LOG_WARN, "jwks.rejected", "issuer", issuer->config->rules.name, "err",
			  kb_err_name(err), NULL);
		return err;
	}
	jwks_free(issuer->keys);
	issuer->keys = keys;
	log_event(LOG_INFO, "jwks.loaded", "issuer", issuer->config->rules.name, "keys",
		  log_i64(report.kept), "dropped", log_i64(report.dropped), "first_drop",
		  kb_err_name(report.first_drop), NULL);
	return KB_OK;
}

const struct jwks *vault_issuer_keys(struct vault *v, struct vault_issuer *issuer, int64_t now_s)
{
	if (issuer->config->source == KEYS_JWKS_FILE)
		return issuer->keys; /* pinned: part of the configuration, as old as it */
	uint64_t stamp =
		keyset_stamp(v->config->state_dir, issuer->config->rules.name, &issuer->origin);
	if (stamp != 0 && stamp != issuer->stamp) {
		struct keyset set;
		if (keyset_read(v->config->state_dir, issuer->config->rules.name, &issuer->origin,
				&set) == KB_OK) {
			/* A set that does not parse leaves the old one to its age; its stamp is
			 * kept, so that it is tried once. */
			if (parse_keys(issuer, set.document) == KB_OK)
				issuer->fetched_s = set.fetched_s;
			issuer->stamp = stamp;
			keyset_free(&set);
		}
	}
	if (issuer->keys == NULL || now_s - issuer->fetched_s > issuer->config->max_stale_s)
		return NULL; /* stale beyond its limit is the same as absent */
	return issuer->keys;
}

bool vault_request_fetch(struct vault *v, struct vault_issuer *issuer, int64_t now_s)
{
	uint32_t index = (uint32_t)(issuer->config - v->config->issuers);
	int64_t tried_s = issuer->slot == NULL ? now_s : atomic_load(&issuer->slot->attempt_s);

	if (now_s - tried_s < issuer->config->min_interval_s && now_s >= tried_s)
		return false;
	/* A full socket holds fetch_requests already: the fetcher will come to them. */
	(void)send(FD_VAULT_FETCHER, &index, sizeof index, MSG_DONTWAIT | MSG_NOSIGNAL);
	return true;
}

bool vault_is_asking(const struct vault_issuer *issuer)
{
	return issuer->slot != NULL && atomic_load(&issuer->slot->attempt_s) > issuer->fetched_s;
}

/* ---- start ---- */

static enum kb_err open_hsm(struct vault *v, const struct process_start *start)
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
		.call_since_ms = &v->self->call_since_ms,
		.pin_refused = &start->stats->pin_refused,
		.generation = start->generation,
	};
	if ((err = keystore_open(&p, &v->hsm)) != KB_OK) {
		log_event(LOG_ERROR, "hsm.open", "err", kb_err_name(err), "module", c->hsm_module,
			  "token", c->hsm_token, NULL);
		return err;
	}
	return KB_OK;
}

/* A key that some scheme cannot wrap, for which a client may ask. */
static const struct key_config *unfit_key(const struct vault *v, const struct wrap_plan *plan)
{
	for (size_t i = 0; i < v->config->n_keys; i++)
		for (size_t s = 0; s < WRAP_SCHEMES; s++)
			if (plan->engine[s][v->config->keys[i].record->kty] == WRAP_NONE)
				return &v->config->keys[i];
	return NULL;
}

static enum kb_err prove_hsm(struct vault *v)
{
	static const char *const engine[] = {
		[WRAP_NONE] = "none", [WRAP_MODULE] = "module", [WRAP_WORKER] = "worker"};
	enum kb_err err = keystore_self_test(v->hsm);
	if (err == KB_E_HSM_MECHANISM) /* a verdict that keeps this worker away until a reload: one
					  bad answer is not enough for it */
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
		return KB_OK; /* what this module cannot do, nobody needs */
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

	buf_init(&leaf, KB_MAX_CONFIG);
	enum kb_err err = keyvault_jws_header(v->config->signer_chain, &v->header_b64, &leaf);
	if (err != KB_OK) {
		log_event(LOG_ERROR, "signer.certificates", "err", kb_err_name(err), "hint",
			  "the chain must be an RSA leaf, its issuers, and the root last; see "
			  "keybrokerctl check",
			  NULL);
		return err;
	}
	if ((err = keystore_find(v->hsm, v->config->signer_object, KB_KTY_RSA, false, NULL,
				 &v->signer)) == KB_OK)
		err = keystore_prove_signer(v->hsm, v->signer, buf_span(&leaf));
	if (err != KB_OK)
		log_event(LOG_ERROR, "signer.key", "err", kb_err_name(err), "object",
			  v->config->signer_object, "call", keystore_fault(v->hsm), "hint",
			  "the HSM key must be the one of the first certificate", NULL);
	return err;
}

/* The key of our nonces is derived from a signature only this HSM can make, so all workers,
 * restarts and machines on one HSM share it and no file holds it.  What is signed is no JWS: it has
 * no dots. */
static enum kb_err derive_nonce_key(struct vault *v)
{
	static const char text[] = "keybroker nonce key, version 1";
	KB_AUTO(buf) struct buf signature;
	uint8_t digest[32];

	buf_init(&signature, 1024);
	digest_sha256(span_str(text), digest);
	enum kb_err err = keystore_sign(v->hsm, v->signer, digest, &signature);
	if (err != KB_OK)
		return err;
	if ((v->nonce_key = secret_new(32)) == NULL)
		return KB_E_NOMEM;
	digest_sha256(buf_span(&signature), secret_bytes(v->nonce_key));
	explicit_bzero(signature.p, signature.len);
	return KB_OK;
}

static enum kb_err prepare(struct vault *v, const struct process_start *start)
{
	const struct config *c = v->config;

	v->issuers = calloc(c->n_issuers + 1, sizeof *v->issuers);
	v->keys = calloc(c->n_keys + 1, sizeof *v->keys);
	v->explain = explain_new();
	if (v->issuers == NULL || v->keys == NULL || v->explain == NULL)
		return KB_E_NOMEM;
	for (size_t i = 0; i < c->n_issuers; i++) {
		v->issuers[i].config = &c->issuers[i];
		config_origin(&c->issuers[i], &v->issuers[i].origin);
		v->issuers[i].slot = stats_issuer(start->stats, c->issuers[i].rules.name,
						  v->issuers[i].origin.id);
		/* A pinned file that does not parse stops the start: it is configuration.  A
		 * fetched one never does. */
		if (c->issuers[i].source == KEYS_JWKS_FILE) {
			enum kb_err err = parse_keys(&v->issuers[i], c->issuers[i].jwks_file);
			if (err != KB_OK)
				return err;
		}
	}
	for (size_t i = 0; i < c->n_keys; i++) {
		buf_init(&v->keys[i].policy_b64, KB_MAX_POLICY * 2);
		if (c->keys[i].policy == NULL)
			continue;
		b64url_encode(&v->keys[i].policy_b64, rules_source(c->keys[i].policy));
		rules_digest(c->keys[i].policy, v->keys[i].policy_digest);
		if (buf_ok(&v->keys[i].policy_b64) != KB_OK)
			return KB_E_NOMEM;
	}
	buf_init(&v->header_b64, KB_MAX_REPLY);
	buf_init(&v->wrapped, 2 * KB_MAX_SECRET);
	buf_init(&v->payload, KB_MAX_REPLY);
	buf_init(&v->input, KB_MAX_REPLY);
	buf_init(&v->signature, 1024);
	buf_init(&v->body, KB_MAX_REPLY);
	buf_init(&v->record, KB_MAX_RECORD);
	buf_init(&v->challenge, 1024);
	buf_init(&v->replay_body, 4096);
	buf_init(&v->replay_record, KB_MAX_RECORD);
	return KB_OK;
}

/* ---- the process ---- */

/* A token that is gone stays gone for this process even when it comes back (FACTS §1): the next one
 * finds it, or says why not. */
void vault_check_hsm(struct vault *v)
{
	enum kb_err err = keystore_alive(v->hsm);

	if (err == KB_OK)
		return;
	log_event(LOG_ERROR, "hsm.gone", "err", kb_err_name(err), "call", keystore_fault(v->hsm),
		  NULL);
	v->must_restart = true;
	v->is_pin_refused = err == KB_E_HSM_PIN;
}

/* The device fails though its token says that it is well: wrap and sign something of ours.  When
 * that works, too, it is the one key. */
static void prove_again(struct vault *v)
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

enum step { STEP_SERVED, STEP_IDLE, STEP_END, STEP_BROKEN };

/* One frame: take it, answer it, hand the answer over. */
static enum step serve_one(struct vault *v, uint8_t *in, struct buf *out)
{
	struct frame_request rq;
	struct frame_reply reply;

	ssize_t n = recv(FD_VAULT_REQUESTS, in, KB_MAX_FRAME, MSG_TRUNC);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? STEP_IDLE : STEP_BROKEN;
	if (n == 0 && frame_at_end(FD_VAULT_REQUESTS))
		return STEP_END; /* every gateway of this generation is gone */
	/* Of a gateway that is not there: the ledger would have nobody to give the reply to. */
	if (n > KB_MAX_FRAME || frame_get_request(span_of(in, (size_t)n), &rq) != KB_OK ||
	    rq.id >> 56 >= v->config->gateways) {
		slot_count(v->self, COUNT_FRAMES_BAD, 1);
		/* Told when their number doubles: who sends them could fill the log otherwise. */
		if ((v->bad_frames & (v->bad_frames + 1)) == 0)
			log_event(LOG_ERROR, "frame.bad", "bytes", log_i64(n), "so_far",
				  log_i64((int64_t)v->bad_frames + 1), NULL);
		v->bad_frames++;
		return STEP_SERVED;
	}
	if (clock_mono_ms() > rq.deadline_ms)
		return STEP_SERVED; /* the gateway has answered 503 by now: nobody waits, and
				       nothing was released */
	const int64_t from = clock_mono_us();
	slot_busy(v->self, rq.id);
	vault_answer(v, &rq, &reply);
	const int64_t took = clock_mono_us() - from;
	reply.outcome.total_us = (uint32_t)took;
	histogram_add(&v->self->total, took);
	if (reply.outcome.judge_us != 0)
		histogram_add(&v->self->judge, reply.outcome.judge_us);
	if (reply.outcome.hsm_us != 0)
		histogram_add(&v->self->hsm, reply.outcome.hsm_us);
	enum kb_err err = frame_put_reply(&reply, out);
	if (err != KB_OK) {
		log_event(LOG_ERROR, "reply.unsendable", "err", kb_err_name(err), NULL);
		return STEP_BROKEN; /* the supervisor tells the gateway that the request is lost */
	}
	slot_set(v->self, SLOT_HANDOVER);
	err = frame_send(FD_VAULT_LEDGER, buf_span(out));
	explicit_bzero(in, (size_t)n); /* the token: nothing of it stays for the next request */
	if (err != KB_OK)
		return STEP_BROKEN;
	atomic_store(&v->self->request_id, 0);
	slot_count(v->self, COUNT_REQUESTS, 1);
	return STEP_SERVED;
}

static int serve(struct vault *v)
{
	struct timeval second = {.tv_sec = 1};
	KB_AUTO(buf) struct buf out;
	uint8_t *in = malloc(KB_MAX_FRAME);
	int exit_code = PROCESS_EXIT_OK;

	buf_init(&out, KB_MAX_FRAME);
	if (in == NULL ||
	    setsockopt(FD_VAULT_REQUESTS, SOL_SOCKET, SO_RCVTIMEO, &second, sizeof second) != 0) {
		free(in);
		return PROCESS_EXIT_RESTART;
	}
	for (;;) {
		slot_set(v->self, SLOT_READY);
		enum step step = serve_one(v, in, &out);
		if (step == STEP_IDLE)
			vault_check_hsm(v);
		if (step == STEP_END)
			break;
		if (v->wants_proof && !v->must_restart)
			prove_again(v);
		if (step == STEP_BROKEN || v->must_restart) {
			exit_code = v->is_pin_refused ? PROCESS_EXIT_PIN : PROCESS_EXIT_RESTART;
			break;
		}
	}
	free(in);
	return exit_code;
}

static void report_failure(const struct process_start *start, enum kb_err err)
{
	atomic_store(&start->self->fault, err);
	slot_set(start->self, SLOT_FAILED);
	log_event(LOG_ERROR, "vault.start", "err", kb_err_name(err), NULL);
	if (control_send(FD_CONTROL, CONTROL_FAILED, start->generation, err) != KB_OK)
		log_event(LOG_WARN, "control.lost", NULL);
}

int vault_main(const struct process_start *start)
{
	KB_AUTO(snapshot) struct snapshot *src = NULL;
	KB_AUTO(config) struct config *config = NULL;
	struct config_faults faults = {0};
	struct vault v = {.self = start->self};

	enum kb_err err = snapshot_archive(FD_ARCHIVE, &src);
	if (err == KB_OK)
		err = config_load(src, start->config_path, CONFIG_VAULT, &config, &faults);
	config_faults_free(&faults); /* the supervisor has told them: these are the bytes it read */
	if (err != KB_OK) {
		report_failure(start, err);
		return PROCESS_EXIT_CONFIG;
	}
	v.config = config;
	if ((err = prepare(&v, start)) == KB_OK && (err = open_hsm(&v, start)) == KB_OK &&
	    (err = prove_hsm(&v)) == KB_OK && (err = open_signer(&v)) == KB_OK)
		err = derive_nonce_key(&v);
	if (err == KB_OK)
		err = confine_process(start, config, 0);
	if (err != KB_OK) {
		report_failure(start, err);
		bool is_pin = err == KB_E_HSM_PIN &&
			      atomic_load(&start->stats->pin_refused) ==
				      start->generation; /* not just a call that says so */
		bool is_config = kb_err_class(err) == KB_CLASS_LOCAL || err == KB_E_HSM_MECHANISM;
		_exit(is_pin      ? PROCESS_EXIT_PIN
		      : is_config ? PROCESS_EXIT_CONFIG
				  : PROCESS_EXIT_RESTART);
	}
	if (control_send(FD_CONTROL, CONTROL_READY, start->generation, 0) != KB_OK)
		_exit(PROCESS_EXIT_RESTART);
	int code = serve(&v);
	secret_free(v.nonce_key);
	/* No C_Finalize: a module with threads of its own may crash in it, and the process ends
	 * here anyway (FACTS §1). */
	_exit(code);
}
