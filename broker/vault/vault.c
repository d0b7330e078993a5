/* broker/vault/vault.c — the vault process: takes one request at a time from the generation's
 * shared sockets and sends reply and record together to the ledger.  Blocking, one thread, on
 * purpose. Decides when the worker must end.  Trusts its configuration, the fetcher's files and the
 * HSM. Must never open a socket to a client, or send a reply to anyone but the ledger. */
#include "vault/vault.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/b64url.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/secret.h"
#include "policy/explain.h"
#include "process/confine.h"
#include "process/process.h"
#include "vault/hsm.h"
#include "vault/issuers.h"

static enum kb_err prepare(struct vault *v, const struct process_start *start)
{
	const struct config *c = v->config;

	v->issuers = calloc(c->n_issuers + 1, sizeof *v->issuers);
	v->keys = calloc(c->n_keys + 1, sizeof *v->keys);
	v->headers = calloc(c->n_listeners + 1, sizeof *v->headers);
	v->explain = explain_new();
	if (v->issuers == NULL || v->headers == NULL || v->keys == NULL || v->explain == NULL)
		return KB_E_NOMEM;
	for (size_t i = 0; i < c->n_issuers; i++) {
		enum kb_err err = vault_issuer_open(&v->issuers[i], &c->issuers[i], (uint32_t)i,
						    start, c->state_dir);
		if (err != KB_OK)
			return err;
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
	for (size_t i = 0; i < c->n_listeners; i++)
		buf_init(&v->headers[i], KB_MAX_REPLY);
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

enum { IDLE_MS = 1000 }; /* without a request: then the HSM is looked at */

/* New key sets are read before a request needs them, and health shows what is there now. */
static void look_at_issuers(struct vault *v)
{
	const int64_t now_ms = clock_mono_ms();

	if (now_ms - v->looked_ms < KB_KEYSET_LOOK_S * 1000)
		return;
	v->looked_ms = now_ms;
	for (size_t i = 0; i < v->config->n_issuers; i++)
		(void)vault_issuer_keys(&v->issuers[i], v->config->state_dir, clock_wall_s());
}

enum step { STEP_SERVED, STEP_IDLE, STEP_END, STEP_BROKEN };

/* Answer one frame and send the answer to the ledger. */
static enum step serve_frame(struct vault *v, struct span message, struct buf *out)
{
	struct frame_request rq;
	struct frame_reply reply;

	if (message.len > KB_MAX_FRAME || frame_get_request(message, &rq) != KB_OK) {
		if (stats_bad_frame(v->self))
			log_event(LOG_ERROR, "frame.bad", "gateway", log_i64(v->gateway), "bytes",
				  log_i64((int64_t)message.len), NULL);
		return STEP_SERVED;
	}
	if (clock_mono_ms() > rq.deadline_ms)
		return STEP_SERVED; /* the gateway has answered 503; nothing was released */
	const int64_t from = clock_mono_us();
	health_busy(v->health, v->gateway, rq.id);
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
		return STEP_BROKEN; /* the gateway learns from the supervisor that it is lost */
	}
	health_set(v->health, HEALTH_HANDOVER);
	if (frame_send(FD_VAULT_LEDGER, buf_span(out)) != KB_OK)
		return STEP_BROKEN;
	atomic_store(&v->health->request_id, 0);
	stats_count(v->self, COUNT_REQUESTS, 1);
	return STEP_SERVED;
}

/* ---- the gateways' sockets ---- */

/* Each gateway has a socket of its own, which all workers share.  EPOLLEXCLUSIVE: a request wakes
 * one idle worker, not all. */
static enum kb_err watch_gateways(struct vault *v)
{
	v->ready = epoll_create1(EPOLL_CLOEXEC);
	if (v->ready < 0)
		return KB_E_SYS;
	for (unsigned i = 0; i < v->config->gateways; i++) {
		struct epoll_event e = {.events = EPOLLIN | EPOLLEXCLUSIVE, .data.u32 = i};
		if (epoll_ctl(v->ready, EPOLL_CTL_ADD, FD_VAULT_REQUESTS + (int)i, &e) != 0)
			return KB_E_SYS;
	}
	v->sockets = v->config->gateways;
	return KB_OK;
}

/* This gateway has ended for good; the last one's end is ours. */
static enum step drop_gateway(struct vault *v)
{
	if (epoll_ctl(v->ready, EPOLL_CTL_DEL, FD_VAULT_REQUESTS + v->gateway, NULL) != 0)
		return STEP_BROKEN;
	return --v->sockets == 0 ? STEP_END : STEP_SERVED;
}

static enum step serve_one(struct vault *v, uint8_t *in, struct buf *out)
{
	struct epoll_event e;
	int n_ready = epoll_wait(v->ready, &e, 1, IDLE_MS); /* in turn, when several are ready */

	if (n_ready <= 0)
		return n_ready == 0 || errno == EINTR ? STEP_IDLE : STEP_BROKEN;
	v->gateway = (uint8_t)e.data.u32;
	const int fd = FD_VAULT_REQUESTS + v->gateway;
	ssize_t n = recv(fd, in, KB_MAX_FRAME, MSG_TRUNC | MSG_DONTWAIT);
	if (n < 0) /* another worker was faster */
		return errno == EAGAIN || errno == EINTR ? STEP_SERVED : STEP_BROKEN;
	if (n == 0 && frame_at_end(fd))
		return drop_gateway(v);
	enum step step = serve_frame(v, span_of(in, (size_t)n), out);
	/* The tokens of this request must not be in memory during the next one. */
	explicit_bzero(in, (size_t)n < KB_MAX_FRAME ? (size_t)n : KB_MAX_FRAME);
	return step;
}

static int serve(struct vault *v)
{
	KB_AUTO(buf) struct buf out;
	uint8_t *in = malloc(KB_MAX_FRAME);
	int exit_code = PROCESS_EXIT_OK;

	buf_init(&out, KB_MAX_FRAME);
	if (in == NULL)
		return PROCESS_EXIT_RESTART;
	for (;;) {
		health_set(v->health, HEALTH_READY);
		health_beat(v->health);
		look_at_issuers(v);
		enum step step = serve_one(v, in, &out);
		if (step == STEP_IDLE)
			vault_hsm_check(v);
		if (step == STEP_END)
			break;
		if (v->wants_proof && !v->must_restart)
			vault_hsm_prove(v);
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
	health_fail(start->health, err);
	log_event(LOG_ERROR, "vault.start", "err", kb_err_name(err), NULL);
	if (control_send(FD_CONTROL, CONTROL_FAILED, start->generation, err) != KB_OK)
		log_event(LOG_WARN, "control.lost", NULL);
}

int vault_main(const struct process_start *start)
{
	KB_AUTO(snapshot) struct snapshot *src = NULL;
	KB_AUTO(config) struct config *config = NULL;
	struct config_faults faults = {0};
	struct vault v = {.self = start->stats, .health = start->health, .ready = -1};

	enum kb_err err = snapshot_archive(FD_ARCHIVE, &src);
	if (err == KB_OK)
		err = config_load(src, start->config_path, CONFIG_VAULT, &config, &faults);
	config_faults_free(&faults); /* the supervisor has read the same bytes and logged them */
	if (err != KB_OK) {
		report_failure(start, err);
		return PROCESS_EXIT_CONFIG;
	}
	v.config = config;
	if ((err = prepare(&v, start)) == KB_OK)
		err = vault_hsm_open(&v, start);
	if (err == KB_OK)
		err = watch_gateways(&v);
	if (err == KB_OK)
		err = confine_process(start, config, 0);
	if (err != KB_OK) {
		report_failure(start, err);
		/* The PIN counts as refused only when the login recorded it. */
		bool is_pin = err == KB_E_HSM_PIN &&
			      shared_is_pin_refused(start->shared, start->generation);
		bool is_config = kb_err_class(err) == KB_CLASS_LOCAL || err == KB_E_HSM_MECHANISM ||
				 err == KB_E_HSM_URI;
		_exit(is_pin      ? PROCESS_EXIT_PIN
		      : is_config ? PROCESS_EXIT_CONFIG
				  : PROCESS_EXIT_RESTART);
	}
	if (control_send(FD_CONTROL, CONTROL_READY, start->generation, 0) != KB_OK)
		_exit(PROCESS_EXIT_RESTART);
	int code = serve(&v);
	secret_free(v.nonce_key);
	/* No C_Finalize: a module with threads of its own may crash in it, and the process ends
	 * here anyway. */
	_exit(code);
}
