/* broker/process/frame.h — the messages between processes: typed, bounded, one SOCK_SEQPACKET
 * message each. Decoding trusts nothing: every length is checked, trailing bytes are an error.
 * Decoded spans point into the message. */
#ifndef KB_PROCESS_FRAME_H
#define KB_PROCESS_FRAME_H
#include "base/bytes.h"
#include "base/method.h"

/* The id of a request: whether the operation that it asks for makes a record (top bit), 39 random
 * bits, and a count.  Never 0.  Who has not received the request cannot guess it, so nobody else
 * can answer it; and a vault cannot change what the gateway says of the operation, because no
 * request waits for another id. */
uint64_t frame_new_id(bool needs_record, uint64_t random, uint64_t count);
bool frame_needs_record(uint64_t id);

/* gateway → vault: one HTTP request. */
struct frame_request {
	uint64_t id;               /* made by the gateway: frame_new_id() */
	uint8_t uuid[16];          /* x-ms-request-id */
	uint8_t listener;          /* index in the configuration */
	uint8_t method;            /* enum kb_method */
	bool has_authorization;    /* an Authorization header was there */
	bool has_bearer;           /* … of scheme Bearer: bearer_sha256 holds */
	uint8_t bearer_sha256[32]; /* SHA-256 of the bearer token */
	bool has_client_cert; /* TLS client certificate, verified against client_ca and valid now */
	/* There is one that was verified by the handshake, whether or not it still is valid: its
	 * SHA-256 and name hold.  For the record. */
	bool has_certificate;
	uint8_t client_sha256[32];
	struct span client_name; /* common name or first alternative name; may be empty */
	bool is_json; /* Content-Type is application/json (any parameters), or there is no body */
	int64_t deadline_ms;           /* clock_mono_ms(): later nobody waits for the answer */
	struct span peer;              /* address as text, without port */
	struct span target;            /* path as sent, before '?'; percent-encoded */
	struct span query;             /* after '?', as sent; may be empty */
	struct span client_request_id; /* x-ms-client-request-id; may be empty */
	struct span bearer; /* the token itself, for a dialect that asks for it; or empty */
	struct span body;
};

/* vault → ledger: the answer, and what must be durable before it leaves. */
struct frame_outcome {   /* for /metrics; names are those of the configuration, "" when unknown */
	uint16_t code;   /* enum kb_err */
	bool is_release; /* for /metrics: a success counts as a release */
	struct span key, issuer;
	uint32_t judge_us, hsm_us, total_us; /* where the time went in the vault */
};
struct frame_reply {
	uint64_t id;
	uint8_t gateway; /* whose socket the request came from; its number in its generation */
	uint8_t uuid[16];
	uint16_t status;
	uint16_t retry_after_s; /* 0: no header */
	struct span challenge;  /* WWW-Authenticate; may be empty */
	struct span client_request_id;
	struct span peer; /* the client's address as text: refusals are counted by it */
	struct span body;
	/* The ledger's line without seq and prev: one JSON object without control characters.
	 * Empty: nothing to record. */
	struct span record;
	struct frame_outcome outcome;
	/* Single use: when replay_until_s is not 0, the ledger checks whether replay_key was used
	 * before, and if so sends the refusal below instead. */
	int64_t replay_from_s, replay_until_s; /* the token's iat, and exp + skew; wall clock */
	uint16_t replay_grace_s; /* so long after its first use it is answered again */
	uint8_t replay_key[32];  /* SHA-256 of token_replay_id() and key name */
	uint16_t replay_status;  /* of the refusal, … */
	struct span replay_body, replay_record; /* … its body, at most KB_MAX_REFUSAL, and record */
};

/* ledger → gateway: the reply without its record.  A body is missing when the ledger could not
 * write the record (code KB_E_LEDGER): the gateway has one of the listener's dialect. */
struct frame_response {
	uint64_t id;
	uint8_t uuid[16];
	uint16_t status, code, retry_after_s;
	bool is_release; /* the body carries a key */
	struct span challenge, client_request_id, body;
};

/* Encode: `out` is reset and filled.  KB_E_FRAME when a field is out of its bound or the id is 0,
 * KB_E_NOMEM. */
KB_MUST_CHECK enum kb_err frame_put_request(const struct frame_request *r, struct buf *out);
/* The same, but the caller writes the body to the `body_len` bytes at *body, which are in `out`.
 * r->body is ignored. */
KB_MUST_CHECK enum kb_err frame_open_request(const struct frame_request *r, size_t body_len,
					     struct buf *out, uint8_t **body);
KB_MUST_CHECK enum kb_err frame_put_reply(const struct frame_reply *r, struct buf *out);
KB_MUST_CHECK enum kb_err frame_put_response(const struct frame_response *r, struct buf *out);
/* Decode a whole message.  KB_E_FRAME when anything is wrong; *r is then undefined. */
KB_MUST_CHECK enum kb_err frame_get_request(struct span message, struct frame_request *r);
KB_MUST_CHECK enum kb_err frame_get_reply(struct span message, struct frame_reply *r);
KB_MUST_CHECK enum kb_err frame_get_response(struct span message, struct frame_response *r);

/* 8-4-4-4-12, lower case (RFC 4122 section 3) */
void frame_uuid_text(const uint8_t uuid[static 16], char out[static 37]);

/* Blocking send and receive of one message, EINTR handled.  frame_recv: *len 0 at end of file. */
KB_MUST_CHECK enum kb_err frame_send(int fd, struct span message);
KB_MUST_CHECK enum kb_err frame_recv(int fd, uint8_t *buf, size_t cap, size_t *len);
/* After recv() returned no byte: true at the end of the socket, false for an empty message.  None
 * of our processes sends one; a captured one might, to make others believe that it has ended. */
bool frame_at_end(int fd);
/* A SEQPACKET pair with KB_SOCKET_BUFFER of send buffer each, close-on-exec; KB_E_SYS when the
 * kernel gives less than KB_MAX_FRAME. */
KB_MUST_CHECK enum kb_err frame_pair(int fd[static 2]);

#endif
