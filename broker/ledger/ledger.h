/* broker/ledger/ledger.h — the state of the ledger process, and what its files do for each
 * other. */
#ifndef KB_LEDGER_LEDGER_H
#define KB_LEDGER_LEDGER_H
#include "ledger/configs.h"
#include "ledger/outbox.h"
#include "ledger/refusals.h"
#include "ledger/replay.h"
#include "ledger/segment_write.h"
#include "process/frame.h"
#include "process/process.h"

enum {
	LEDGER_GENERATIONS = 8,
	LEDGER_REOPEN_MS = 1000, /* between two attempts at a new segment */
};

struct ledger_generation { /* the sockets of one generation of vaults and gateways */
	uint32_t number;   /* 0: free */
	char digest[65];   /* of its configuration */
	bool is_recorded;  /* in the ledger */
	int replies;       /* from its vaults; −1: they have all ended */
	int responses[KB_MAX_GATEWAYS];
	struct outbox waiting[KB_MAX_GATEWAYS]; /* responses, one box a gateway */
	size_t n_gateways;
	int64_t close_by_ms; /* all vaults have ended: so long may responses still wait */
};

struct batch_item { /* one reply of the batch; spans point into its frame */
	struct frame_reply reply;
	struct ledger_generation *from;
	struct span record; /* empty: nothing to record */
	uint16_t status, code, retry_after_s;
	struct span body;
	bool took_token; /* its replay key was marked as used in this batch */
	bool is_refusal; /* the answer carries no key: its record may be one of many in a sum */
	bool is_summed;  /* counted in l->refusals instead of recorded */
};

struct ledger {
	const struct process_start *start;
	struct process_stats *self;
	struct ledger_page *page;
	struct segments log;
	struct replay *replay;
	struct configs configs;
	uint32_t newest; /* generation seen */
	struct ledger_generation generation[LEDGER_GENERATIONS];
	struct refusals refusals;
	int64_t segment_bytes, reopen_at_ms;
	int64_t reserve_bytes; /* of free space, for releases; 0: none */
	int64_t space_at_ms;   /* when to look at the free space again */
	bool is_low;           /* it was below the reserve */
	int64_t read_until_s;  /* greatest replay_until read back at start */
	uint64_t lost;         /* records refused since the ledger could not write */
	bool is_control_closed;
	bool is_broken; /* a socket of the vaults failed: answer what was received, then end */
	int64_t linger_until_ms;
	uint8_t *frames; /* KB_LEDGER_BATCH × KB_MAX_FRAME */
	struct batch_item item[KB_LEDGER_BATCH];
	size_t n;
	struct buf lines, response, repeat;
};

/* journal.c: the file.  When a write fails, l->log.fd is negative and nothing is recorded until
 * journal_reopen() succeeds. */
/* Take the wall clock into account, for single use and for the next segment. */
void journal_see_time(struct ledger *l);
/* Open the ledger and read back the used tokens and the configurations.  Logs the cause. */
KB_MUST_CHECK enum kb_err journal_open(struct ledger *l);
/* Write and sync l->lines; `after` is the chain with them. */
KB_MUST_CHECK enum kb_err journal_commit(struct ledger *l, const struct chain *after,
					 uint64_t records);
void journal_rotate(struct ledger *l, const char *why);
/* Is there less free space than the reserve?  Looks at most once a second. */
bool journal_is_low(struct ledger *l);
/* Record the sums of refusals.  They are kept when that fails. */
void journal_sum_refusals(struct ledger *l);
/* True when a new segment was begun after a failure. */
bool journal_reopen(struct ledger *l);
/* A record of the ledger's own: time and event, a number, a text, and (unless its name is NULL) a
 * second number.  False when it could not be written. */
bool journal_event(struct ledger *l, const char *event, const char *number_name, int64_t number,
		   const char *name, const char *text, const char *second_name, int64_t second);

/* generations.c: the sockets. */
/* Takes over the descriptors: the vaults' socket, then one for each gateway. */
void ledger_generation_add(struct ledger *l, const struct control_message *m, const int *fds,
			   size_t n);
/* Record which configuration the generation uses. */
void ledger_generation_record(struct ledger *l, struct ledger_generation *g);
/* Receive what is there, as far as the batch has space.  Does not block. */
void ledger_generation_receive(struct ledger *l, struct ledger_generation *g);
/* Send an answer to the gateway that waits for it. */
void ledger_generation_respond(struct ledger *l, const struct batch_item *it);
/* Send what waits, as far as the gateways take it. */
void ledger_generation_flush(struct ledger *l, struct ledger_generation *g);
/* All vaults have ended, and no response waits any more, or has for too long. */
bool ledger_generation_is_over(struct ledger_generation *g);
void ledger_generation_close(struct ledger_generation *g);
/* A socket failed, with errno. */
void ledger_set_broken(struct ledger *l);

/* batch.c: record and answer what was received. */
void batch_serve(struct ledger *l);

#endif
