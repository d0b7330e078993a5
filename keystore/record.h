/* keystore/record.h — the key record, keys.d/NAME.json: everything of a key but its bytes.  Pure:
 * text in, struct out, and back. */
#ifndef KB_KEYSTORE_RECORD_H
#define KB_KEYSTORE_RECORD_H
#include "keystore/keystore.h"

/* Bits. */
enum key_op {
	KB_OP_ENCRYPT = 1,
	KB_OP_DECRYPT = 2,
	KB_OP_SIGN = 4,
	KB_OP_VERIFY = 8,
	KB_OP_WRAP = 16,
	KB_OP_UNWRAP = 32,
	KB_OP_EXPORT = 64,
	KB_OP_IMPORT = 128
};

#define KEY_NEVER INT64_MAX

struct key_version {
	char version[33]; /* 32 lower-case hex */
	int64_t created;
	char *object; /* pkcs11: URI, without pin */
	/* RFC 7638, hex or absent in the file: pins the object to the key it was. */
	uint8_t fingerprint[32];
	bool has_fingerprint;
};

struct key_tag {
	char *name, *value;
};

struct key_record {
	char *name; /* of the file; ^[0-9a-zA-Z-]{1,127}$ */
	enum kb_kty kty;
	bool is_hsm;          /* "RSA-HSM" rather than "RSA": the kty that clients get */
	unsigned key_ops;     /* bits of enum key_op */
	unsigned op_order[8]; /* the file's order, n_ops of them: clients get the same */
	unsigned n_ops;
	bool enabled, exportable;
	int64_t created, updated; /* updated 0: as created */
	/* "nbf", "exp".  Without "nbf": 0.  Without "exp": KEY_NEVER, so that a forgotten value has
	 * expired. */
	int64_t not_before, expires;
	struct key_tag *tags;
	size_t n_tags;
	/* As written, relative to the record; NULL when the policy is in the record. */
	char *policy_file;
	/* The policy's bytes; from "data" (base64url text or a JSON object), else filled by the
	 * reader of the file. */
	struct buf policy;
	bool policy_immutable;
	struct key_version *versions; /* oldest first; the last one is current */
	size_t n_versions;
};

struct record_fault {
	char path[128]; /* of the member, as json_line() takes it */
	char text[200];
};

/* KB_E_CONFIG or KB_E_JSON_* with *fault filled.  On KB_OK *out is the caller's.  Unknown members
 * are errors. */
KB_MUST_CHECK enum kb_err key_record_parse(struct span name, struct span text,
					   struct key_record **out, struct record_fault *fault);
void key_record_free(struct key_record *r);
static inline void key_record_cleanup(struct key_record **r)
{
	key_record_free(*r);
}
/* Readable JSON, which key_record_parse() accepts. */
void key_record_write(const struct key_record *r, struct buf *text);

bool key_name_ok(struct span name);
/* Empty version: the current one.  NULL when there is none. */
const struct key_version *key_record_version(const struct key_record *r, struct span version);
/* enabled, exportable, nbf ≤ now < exp: KB_OK or
 * KB_E_KEY_{DISABLED,NOT_EXPORTABLE,NOT_YET,EXPIRED}. */
KB_MUST_CHECK enum kb_err key_record_usable(const struct key_record *r, int64_t now_s);
const char *key_kind_name(enum kb_kty kty, bool is_hsm); /* "RSA-HSM" … */
const char *key_op_name(unsigned op);

#endif
