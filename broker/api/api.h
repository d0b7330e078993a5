/* broker/api/api.h — what every API dialect provides: how it reads a call and how it writes
 * answers.  Pure text work: no HSM, no clock, no judgement.  To add a dialect, write api/NAME.c
 * with its `struct api`, declare that below, and add it to the table in api.c and its calls to the
 * one in operation.c. */
#ifndef KB_API_API_H
#define KB_API_API_H
#include "api/operation.h"
#include "keystore/record.h"
#include "keystore/scheme.h"

struct json_t;

/* One HTTP request as the dialect sees it.  Borrowed. */
struct api_request {
	unsigned method;           /* enum kb_method */
	bool is_json;              /* Content-Type is application/json, or there is no body */
	struct span target, query; /* as sent, percent-encoded */
	struct span bearer;        /* the bearer token; empty unless max_bearer asks for it */
	struct span body;
};

/* A listener's configuration, as far as answers show it.  Borrowed. */
struct api_place {
	const char *base_url; /* without a slash at its end */
	const char *challenge_authorization, *challenge_resource;
};

/* What is asked, in whatever dialect.  Spans point into the request, `body` or `text`. */
struct call {
	enum verb verb;
	enum record_kind record;
	struct span key, version;         /* version empty: the current one */
	struct span token, nonce;         /* nonce empty: none was sent */
	const struct wrap_scheme *scheme; /* how the key is to be wrapped */
	/* The dialect's own. */
	struct span api_version; /* decoded */
	bool is_release_version; /* that version of the API has the release call */
	struct json_t *body;     /* owned: call_free() */
	struct url_text text;
};
void call_free(struct call *call);

/* What an answer shows of a key.  Borrowed. */
struct api_key {
	const struct key_record *record;
	const struct key_version *version;
	const struct hsm_public *public;
	struct span policy_b64; /* base64url of the policy's bytes; empty when the key has none */
	const char *base_url;
	/* Nobody was authenticated: what the operator wrote (policy, tags) is not shown. */
	bool is_for_stranger;
};

/* A released key, for the answer.  Borrowed. */
struct api_release {
	const struct api_key *key;
	struct span wrapped;          /* the key, wrapped */
	struct span kek_kid;          /* the wrapping key's kid in the evidence */
	struct span header;           /* what prepare() made */
	struct span input, signature; /* what sign_input() made, and its signature */
};

/* A body that the gateway sends without asking a worker.  The first row that fits is taken. */
struct api_body {
	enum kb_err code; /* KB_OK: any code */
	int status;       /* HTTP status; 0: any, which ends the table when the code is KB_OK */
	const char *text;
};

struct api {
	const char *name; /* in "apis" of a listener */
	size_t max_head;  /* bytes of request head that it takes, at most KB_MAX_HEADER_BYTES */
	/* 0: only the SHA-256 of a bearer token leaves the gateway.  Otherwise the token travels to
	 * the worker, when it has at most so many bytes (and KB_MAX_BEARER). */
	size_t max_bearer;
	const struct api_body *bodies;

	/* Method, path and query.  Fills what it can even when it fails, so that a refusal can name
	 * the key.  call_free() in any case. */
	KB_MUST_CHECK enum kb_err (*route)(const struct api_request *rq,
					   const struct api_place *place, struct call *call);
	/* The body of a release. */
	KB_MUST_CHECK enum kb_err (*read)(const struct api_request *rq, struct call *call);
	/* The body of a refusal; returns its HTTP status.  Never shows which check failed: the
	 * request id leads to the ledger's record, which does. */
	int (*refuse)(enum kb_err code, const struct call *call, struct buf *body);
	/* The WWW-Authenticate of a 401. */
	void (*challenge)(const struct api_place *place, struct buf *text);

	/* Answers, by verb.  A verb that no operation of the dialect has needs none. */
	void (*reply_key)(const struct api_key *key, struct buf *body);
	void (*reply_nonce)(struct span nonce, struct buf *body);
	void (*reply_release)(const struct api_release *r, struct buf *body);

	/* For answers that are signed with the HSM's signing key; both NULL: they are not.
	 * prepare(): at start, from the signer's certificates (PEM, leaf … root); `leaf_der` is the
	 * first of them.  sign_input(): the bytes to be signed; `scratch` is the caller's. */
	KB_MUST_CHECK enum kb_err (*prepare)(struct span chain, struct buf *header,
					     struct buf *leaf_der);
	void (*sign_input)(const struct call *call, const struct api_release *r,
			   struct buf *scratch, struct buf *input);
};

extern const struct api keyvault_api;

const struct api *api_find(struct span name); /* NULL: there is no such dialect */
void api_names(struct buf *text);             /* "a", "b": for error messages */
/* The body with which the gateway itself answers. */
struct span api_body(const struct api *api, enum kb_err code, int status);

#endif
