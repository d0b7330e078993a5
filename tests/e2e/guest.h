/* tests/e2e/guest.h — a guest: TLS and HTTP/1.1 as clients speak them (blocking, keep-alive), an
 * ephemeral key, a token, a release. Functions return NULL, or what went wrong; a status that is
 * not 200 is no error for them. */
#ifndef KB_TESTS_GUEST_H
#define KB_TESTS_GUEST_H
#include <openssl/ssl.h>
#include <stdbool.h>

#include "tests/e2e/proof.h"

/* A server and what verifies it. */
struct place {
	char host[64];
	unsigned port;
	SSL_CTX *tls;  /* verifies against one root and the host's name */
	unsigned from; /* connections come from 127.0.0.<from>; 0: as the kernel likes */
};
const char *place_init(struct place *p, const char *host, unsigned port, const char *ca_file);
void place_free(struct place *p);

struct reply {
	int status;
	char head[16384]; /* status line and header lines */
	char *body;       /* NUL after it; never NULL after success */
	size_t len;
	bool will_close;
};
void reply_free(struct reply *r);
/* A header's value cut to `size`, "" when it is not there. */
const char *reply_header(const struct reply *r, const char *name, char *value, size_t size);
/* error.code of the body, "" when there is none. */
const char *reply_code(const struct reply *r, char *code, size_t size);

struct link; /* one connection */
const char *link_open(const struct place *p, struct link **out);
void link_close(struct link *l); /* with close_notify; NULL is fine */
int link_socket(const struct link *l);
bool link_has_reply(struct link *l); /* without waiting */
const char *link_send(struct link *l, const void *bytes, size_t len);
const char *link_receive(struct link *l,
			 struct reply *out); /* one response; "closed" when the peer just closed */
/* method and path, headers as whole lines ("X: y\r\n") or "", body may be NULL: then no
 * Content-Length for GET. */
const char *link_call(struct link *l, const char *method, const char *path, const char *headers,
		      const char *body, struct reply *out);
/* The same on a connection of its own. */
const char *place_call(const struct place *p, const char *method, const char *path,
		       const char *headers, const char *body, struct reply *out);

EVP_PKEY *guest_key(unsigned bits);                /* an ephemeral RSA key */
json_t *guest_jwk(EVP_PKEY *key, const char *kid); /* its public part, key_ops ["encrypt"] */
const char *guest_attest(const struct place *issuer, json_t *attest,
			 char **token); /* `attest` is the POST's body, consumed; *token malloc'd */

struct ask {
	const char *name, *version; /* version NULL: none in the path */
	const char *path;           /* NULL: made of name and version */
	const char *api_version;    /* NULL: 7.4 */
	const char *enc, *nonce;    /* NULL: left out */
	const char *token;
	const char *headers; /* NULL: a bearer token */
};
/* POST …/release. */
const char *guest_ask(struct link *l, const struct ask *a, struct reply *out);
/* guest_ask, status 200, then proof_open() with what was asked; `want` brings root, host, base_url,
 * kek and kek_kid. */
const char *guest_release(struct link *l, const struct ask *a, const struct expect *want,
			  struct released *out);

#endif
