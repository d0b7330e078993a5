/* broker/vault/audit.h — the record of one release call.  It holds nothing secret. */
#ifndef KB_VAULT_AUDIT_H
#define KB_VAULT_AUDIT_H
#include "base/bytes.h"

struct explain;
struct json_t;

struct audit { /* all borrowed; empty spans and NULL are left out of the record */
	int64_t time_us;
	enum kb_err code;
	const uint8_t *uuid; /* 16 bytes */
	struct span client_request_id, peer;
	const char *caller; /* the kind of credential and the start of its SHA-256, or "none" */
	struct span caller_name;
	const char *base_url;      /* of the listener */
	const char *config_digest; /* hex; of the configuration in force */
	struct span key, version;
	const char *enc;
	const char *issuer;   /* its name in the configuration */
	struct span iss, kid; /* as in the token, perhaps not verified */
	const struct json_t
		*claims; /* verified; NULL: none are.  jti and the VM's id are in them */
	const uint8_t *token_digest; /* 32 bytes each */
	const uint8_t *kek_thumbprint;
	const uint8_t *policy_digest;
	const uint8_t *blob_digest; /* of what was wrapped; only when released */
	const uint8_t *replay_key;  /* of single use */
	int64_t replay_until_s;
	struct span kek_kid;
	const struct explain *explain; /* failing conditions, when refused by the policy */
};

/* One JSON object without control characters, at most KB_MAX_RECORD − 128 bytes: the ledger adds
 * seq and prev.  `line` is reset first.  When the failing conditions do not fit, a note replaces
 * them.  KB_E_NOMEM when even that does not fit. */
KB_MUST_CHECK enum kb_err audit_line(const struct audit *a, struct buf *line);

#endif
