/* tests/e2e/clients.h — three clients that exist, each as its own file: the bytes it sends, what it
 * checks in the reply, how it unwraps. They share no line with the product, and of each other only
 * the arithmetic in clients.c.  Functions return NULL, or what the client would stop at. */
#ifndef KB_TESTS_CLIENTS_H
#define KB_TESTS_CLIENTS_H
#include "tests/e2e/guest.h"

enum { CLIENT_MAX = 8192 };
struct client_key {
	char kty[16]; /* as the reply names it; "" when the client does not look */
	uint8_t plain[CLIENT_MAX];
	size_t len;
	EVP_PKEY *pkey; /* RSA, EC: `plain` as a key; the caller frees it, whatever was returned */
};

/* The SKR sidecar of confidential containers (Go).  `key` is NAME or NAME/VERSION; `endpoint` the
 * name that the leaf must hold. */
const char *sidecar_ask(const struct place *at, const char *endpoint, const char *key,
			const char *token, struct reply *out);
const char *sidecar_open(const struct reply *r, const char *endpoint, X509_STORE *pool,
			 EVP_PKEY *kek, struct client_key *out);

/* AzureAttestSKR (C++).  `key_url` is the key's whole URL; a NULL nonce is its default, which the
 * token's client-payload then holds. */
#define ATTESTSKR_NONCE "ADE0101"
const char *attestskr_ask(const struct place *at, const char *key_url, const char *nonce,
			  const char *token, struct reply *out);
const char *attestskr_open(const struct reply *r, EVP_PKEY *kek, struct client_key *out);

/* OpenHCL, the paravisor of confidential VMs (Rust).  Its host makes the call and hands it the bare
 * JWS. */
const char *openhcl_host_ask(const struct place *at, const char *key, const char *token,
			     struct reply *out);
const char *openhcl_open(const char *jws, EVP_PKEY *kek, struct client_key *out);

/* ---- arithmetic, which no client chooses (clients.c) ---- */

/* Request line and headers, then the body, on a new connection. */
const char *client_call(const struct place *at, const char *head, const char *body,
			struct reply *out);
/* The member "value" of a body; malloc'd, NULL when there is none. */
char *client_value(const struct reply *r);
struct jws {
	const char *part[3];
	size_t len[3];
	size_t signed_len; /* from part[0] */
};
bool jws_split(const char *text, struct jws *out); /* exactly three parts */
json_t *client_json(const char *text,
		    size_t len); /* an object in strict unpadded base64url, NULL when it is not */
X509 *client_certificate(const json_t *text);  /* in standard base64, NULL when it is not */
json_t *client_key_hsm(const json_t *payload); /* response.key.key.key_hsm, decoded */
bool client_verify(EVP_PKEY *key, const char *md, int padding,
		   const struct jws *j); /* RSA signature over the first two parts */
bool client_oaep(EVP_PKEY *kek, const char *md, const uint8_t *in, size_t len,
		 uint8_t aes[static 32]);
bool client_evp_unwrap(const uint8_t aes[static 32], const uint8_t *in, size_t len,
		       struct client_key *out); /* EVP_aes_256_wrap_pad */

#endif
