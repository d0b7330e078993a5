/* tests/soak/client.h — one client of the soak: its keys, its tokens, its connection. */
#ifndef KB_TESTS_SOAK_CLIENT_H
#define KB_TESTS_SOAK_CLIENT_H
#include <stdio.h>

#include "tests/soak/soak.h"

enum { GOODS = 4, BADS = 16, ONCE_S = 300 /* a single-use token's life */ };
struct ticket {
	char *token;
	unsigned long long made_ms;
};
struct client {
	struct soak *s;
	struct tally *t;
	struct dice dice;
	FILE *ids;
	struct place at; /* the broker, from an address of this client's choice */
	struct link *link;
	EVP_PKEY *kek;
	char thumbprint[44];
	struct ticket good[GOODS], bad[BADS];
	char *once_token, *once_nonce; /* of the single-use request under way */
	bool is_once_lost;             /* a reply to it was lost: the token may be used up */
	char *used_token, *used_nonce; /* of the last one that succeeded */
	unsigned long long used_ms;
};

/* NULL, or why there is no connection. */
const char *client_connect(struct client *c, bool is_new);
void client_disconnect(struct client *c);
/* This answer must be in the ledger with this code. */
void client_note(struct client *c, const struct reply *r, const char *code);
/* A token over `attest` (consumed) from an issuer; counts it. */
const char *client_attest(struct client *c, const struct place *issuer, json_t *attest,
			  char **token);

/* One request that must be refused. */
void hostile_request(struct client *c);

#endif
