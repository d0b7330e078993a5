/* broker/vault/vault.h — the state of a vault process, and the call that answers one request. */
#ifndef KB_VAULT_VAULT_H
#define KB_VAULT_VAULT_H
#include "config/config.h"
#include "process/frame.h"
#include "process/health.h"
#include "process/stats.h"

struct explain;
struct hsm_key;
struct keystore;
struct secret;
struct vault_issuer;

struct vault_key { /* of config->keys[i]: what is the same in every reply */
	struct buf policy_b64;
	uint8_t policy_digest[32];
};

struct vault {
	const struct config *config;
	struct process_stats *self;
	struct process_health *health;
	struct keystore *hsm;
	const struct hsm_key *signer;
	struct buf *headers; /* by listener: what its dialect prepared for signed answers */
	struct secret *nonce_key;
	struct explain *explain;
	struct vault_issuer *issuers;
	struct vault_key *keys;
	int ready;           /* epoll of the gateways' sockets */
	unsigned sockets;    /* of them, not yet at their end */
	uint8_t gateway;     /* whose request is in work */
	bool must_restart;   /* the HSM fails: end after this reply */
	bool is_pin_refused; /* … and do not start again: the HSM refused the PIN */
	bool wants_proof;    /* test the HSM after this reply */
	int64_t looked_ms;   /* at the issuers' key sets */
	unsigned hsm_faults; /* device errors since the last release */
	/* Of one request; kept so that they need not be allocated again. */
	struct buf wrapped, payload, input, signature, body, record, challenge, replay_body,
		replay_record;
	uint8_t replay_key[32];
};

/* Judge one request.  Always fills *reply, with a refusal unless every check passed; its spans are
 * valid until the next call. */
void vault_answer(struct vault *v, const struct frame_request *rq, struct frame_reply *reply);

#endif
