/* broker/vault/vault.h — inside the vault process: its state, and the one call that judges a
 * request.  Private to vault.c and release.c. */
#ifndef KB_VAULT_VAULT_H
#define KB_VAULT_VAULT_H
#include "config/config.h"
#include "process/frame.h"
#include "process/health.h"
#include "process/stats.h"

struct explain;
struct hsm_key;
struct jwks;
struct keystore;
struct secret;

struct vault_issuer {
	const struct issuer_config *config;
	struct keyset_origin origin;
	struct jwks *keys; /* NULL: none yet, or none that parses */
	uint64_t stamp;    /* of the file `keys` came from */
	int64_t fetched_s;
	struct issuer_stats
		*slot; /* when the fetcher last tried; NULL when all its entries are used */
};

struct vault_key { /* beside config->keys[i]: what is the same in every reply */
	struct buf policy_b64;
	uint8_t policy_digest[32];
};

struct vault {
	const struct config *config;
	struct process_stats *self;
	struct process_health *health;
	struct keystore *hsm;
	const struct hsm_key *signer;
	struct buf header_b64; /* protected header of every release */
	struct secret *nonce_key;
	struct explain *explain;
	struct vault_issuer *issuers;
	struct vault_key *keys;
	bool must_restart;   /* the HSM is not what it was: hand over the answer, then leave */
	uint64_t bad_frames; /* from the gateways, so far */
	bool is_pin_refused; /* … and stay away: it refused the PIN */
	bool wants_proof;    /* hand over the answer, then see whether the HSM works at all */
	unsigned hsm_faults; /* of the device, since the last success */
	/* Buffers of one request, kept between requests for their memory only. */
	struct buf wrapped, payload, input, signature, body, record, challenge, replay_body,
		replay_record;
	uint8_t replay_key[32];
};

/* Judge one request from top to bottom.  Always fills *reply, a refusal when anything is off; its
 * spans are good until the next call. */
void vault_answer(struct vault *v, const struct frame_request *rq, struct frame_reply *reply);

/* Set must_restart when token or session are gone. */
void vault_check_hsm(struct vault *v);

/* The issuer's keys as the fetcher last left them, NULL when there are none within the stale limit.
 */
const struct jwks *vault_issuer_keys(struct vault *v, struct vault_issuer *issuer, int64_t now_s);
/* Ask the fetcher for this issuer now.  False when its last attempt is too young. */
bool vault_request_fetch(struct vault *v, struct vault_issuer *issuer, int64_t now_s);
/* The newest attempt has brought nothing yet, so what we have is not all there is: an unknown key
 * is not unknown for good. */
bool vault_is_asking(const struct vault_issuer *issuer);

#endif
