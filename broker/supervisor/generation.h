/* broker/supervisor/generation.h — one configuration and its processes: gateways, vaults, fetcher,
 * and the sockets between them. */
#ifndef KB_SUPERVISOR_GENERATION_H
#define KB_SUPERVISOR_GENERATION_H
#include "supervisor/child.h"

enum { GENERATION_GATEWAYS = KB_MAX_GATEWAYS };

enum generation_stage {
	GENERATION_STARTING, /* beside the one that serves */
	GENERATION_SERVING,
	GENERATION_DRAINING, /* its gateways finish their requests */
	/* its gateways have ended; the vaults read to the end of their socket */
	GENERATION_EMPTYING,
	GENERATION_DYING, /* killed */
};

struct generation {
	uint32_t number;
	enum generation_stage stage;
	int64_t deadline_ms; /* of the stage; STARTING, DRAINING, EMPTYING */
	enum drain drain;    /* DRAINING: what has become of its configuration */
	struct host *host;
	struct snapshot *source;
	struct config *config;
	int archive_gateway, archive_vault, archive_fetcher, archive_ledger;
	int replies[2], fetch_requests[2]; /* [0] the sender's end */
	/* A pair a gateway: the descriptor says who sends. */
	int requests[GENERATION_GATEWAYS][2], responses[GENERATION_GATEWAYS][2];
	int listeners[KB_MAX_LISTENERS], metrics;
	bool is_first;
	bool has_proof; /* one vault was READY, so the PIN is right and the others may log in */
	bool is_pin_refused;
	struct child gateway[GENERATION_GATEWAYS], vault[KB_MAX_WORKERS], fetcher;
};

/* Takes over `source` and `config` on KB_OK.  Listening sockets that `old` (NULL: none) has are
 * shared, the others bound.  KB_E_SYS, KB_E_CONFIG, KB_E_NOMEM; `why` is the reason as text. */
KB_MUST_CHECK enum kb_err generation_new(struct host *host, uint32_t number,
					 struct snapshot *source, struct config *config,
					 const struct generation *old, struct generation **out,
					 char why[static 256]);
void generation_free(struct generation *g); /* no process of it may run; NULL is fine */

void generation_tick(struct generation *g, int64_t now_ms); /* start what is due, kill what hangs */
bool generation_serves(const struct generation *g); /* every gateway and a vault are READY */
/* Send its sockets to the ledger process. */
KB_MUST_CHECK enum kb_err generation_introduce(const struct generation *g,
					       const struct child *ledger);
struct child *generation_child(struct generation *g, pid_t pid); /* NULL: not its process */
/* Its process ended: report a lost request to the gateways; do not start again after a refused
 * PIN. */
void generation_ended(struct generation *g, struct child *c, int status);
/* Its gateways give up their listening sockets and serve what is there, as `why` says.  With
 * DRAIN_CLOSED, none of them can submit a request any more when this returns.  Called again, only
 * a higher value has an effect. */
void generation_drain(struct generation *g, enum drain why, int64_t now_ms);
/* All its gateways have given up their listening sockets.  Those that have not by the deadline are
 * killed. */
bool generation_has_handed_over(struct generation *g, int64_t now_ms, int64_t deadline_ms);
/* Open connections of its gateways: what it waits for while DRAINING. */
uint64_t generation_connections(const struct generation *g);
void generation_advance(struct generation *g, int64_t now_ms); /* DRAINING → EMPTYING → ended */
void generation_kill(struct generation *g);
bool generation_is_over(const struct generation *g); /* it was ended, and no process of it runs */

#endif
