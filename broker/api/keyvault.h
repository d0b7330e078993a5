/* broker/api/keyvault.h — the Key Vault dialect: request in, reply out (contracts: keyvault §1,
 * §2).  Pure text work: no HSM, no clock, no judgement. */
#ifndef KB_API_KEYVAULT_H
#define KB_API_KEYVAULT_H
#include "config/config.h"
#include "keystore/wrap.h"
#include "process/frame.h"

enum keyvault_op { KEYVAULT_NONE, KEYVAULT_GET, KEYVAULT_RELEASE, KEYVAULT_NONCE };

struct keyvault_call { /* spans point into the frame, the parsed body or `text` */
	enum keyvault_op op;
	struct span name, version; /* version empty: the current one */
	struct span api_version;   /* decoded, one we know */
	bool is_release_version;   /* the api-version knows release (7.3 and later) */
	struct span token, nonce;  /* nonce empty: none was sent */
	const struct wrap_scheme *scheme;
	struct json_t *body; /* owned */
	char text[512];      /* decoded names */
};

/* Path, method and api-version.  Errors: KB_E_PATH, KB_E_METHOD, KB_E_API_VERSION,
 * KB_E_KEY_NOT_FOUND (a version that cannot exist). Fills what it can even then, so that an error
 * body can name the key.  keyvault_call_free() in any case. */
KB_MUST_CHECK enum kb_err keyvault_route(const struct frame_request *rq,
					 const struct listener_config *listener,
					 struct keyvault_call *call);
/* The body of a release: {"target","nonce"?,"enc"?}.  KB_E_CONTENT_TYPE, KB_E_BODY_FORMAT,
 * KB_E_BODY_MEMBER, KB_E_ENC, KB_E_TOKEN_SIZE. */
KB_MUST_CHECK enum kb_err keyvault_body(const struct frame_request *rq, struct keyvault_call *call);
void keyvault_call_free(struct keyvault_call *call);

/* HTTP status and body of a refusal.  Never says which check failed: the request id leads to the
 * ledger, which does. */
int keyvault_status(enum kb_err code);
void keyvault_error(enum kb_err code, const struct keyvault_call *call, struct buf *body);
/* The WWW-Authenticate of a 401: what SDKs parse (contracts: keyvault §2.4). */
void keyvault_challenge(const struct listener_config *listener, struct buf *text);

struct keyvault_key { /* what replies say of a key */
	const struct key_record *record;
	const struct key_version *version;
	const struct hsm_public *public;
	struct span policy_b64; /* base64url of the policy's bytes; empty when the key has none */
	const char *base_url;
};
/* 200 of GET: the KeyBundle. */
void keyvault_bundle(const struct keyvault_key *key, struct buf *body);

/* The protected header of every release reply, base64url: alg, kid, x5t, typ, x5t#S256, x5c (leaf …
 * root).  `chain` is PEM; *leaf_der is appended to. KB_E_CONFIG unless it holds 2 … KB_MAX_X5C
 * certificates, each issued by the next, an RSA leaf and a self-signed last. */
KB_MUST_CHECK enum kb_err keyvault_jws_header(struct span chain, struct buf *header_b64,
					      struct buf *leaf_der);
/* header_b64 "." base64url(payload): what is signed.  `wrapped` is the blob, `kek_kid` the wrapping
 * key's kid in the evidence. */
void keyvault_jws_input(const struct keyvault_call *call, const struct keyvault_key *key,
			struct span kek_kid, struct span wrapped, struct span header_b64,
			struct buf *scratch, struct buf *input);
/* {"value":"<input>.<signature>"} */
void keyvault_release(struct span input, struct span signature, struct buf *body);
/* {"value":"<nonce>"} */
void keyvault_nonce(struct span nonce, struct buf *body);

#endif
