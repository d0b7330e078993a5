/* base/err.h — every way a call can fail, in one table.  The client sees the class; the ledger sees
 * the exact name. */
#ifndef KB_BASE_ERR_H
#define KB_BASE_ERR_H

#define KB_MUST_CHECK __attribute__((warn_unused_result))

/* What a failure means for the client.  The HTTP status of a class is kb_err_status(). */
enum kb_class {
	KB_CLASS_OK,
	KB_CLASS_DENY,      /* 403: judged and refused; final, a retry changes nothing */
	KB_CLASS_AUTH,      /* 401: no credential, or not one we know */
	KB_CLASS_BAD,       /* 400: the call itself is malformed */
	KB_CLASS_NOT_FOUND, /* 404: no such key or path */
	KB_CLASS_BUSY,      /* 503 + Retry-After: come back, the same call may succeed */
	KB_CLASS_HSM,       /* 503 + Retry-After: the HSM or the ledger cannot serve now */
	KB_CLASS_LOCAL,     /* 500: files, configuration; never the answer to a well-formed call */
	KB_CLASS_BUG,       /* 500: should not happen; zero value of nothing, reported loudly */
};

/* X(code, class, audit name).  The audit name is what stands in the ledger, in the log and in
 * /metrics: it never changes meaning. */
#define KB_ERR_TABLE(X)                                                                            \
	X(KB_OK, KB_CLASS_OK, "OK")                                                                \
	X(KB_E_BUG, KB_CLASS_BUG, "BUG")                                                           \
	X(KB_E_NOMEM, KB_CLASS_BUSY, "NO_MEMORY")                                                  \
	/* JSON of strangers, base/json */                                                         \
	X(KB_E_JSON_SYNTAX, KB_CLASS_DENY, "JSON_SYNTAX")                                          \
	X(KB_E_JSON_DUPLICATE, KB_CLASS_DENY, "JSON_DUPLICATE")                                    \
	X(KB_E_JSON_DEPTH, KB_CLASS_DENY, "JSON_DEPTH")                                            \
	X(KB_E_JSON_SIZE, KB_CLASS_DENY, "JSON_SIZE")                                              \
	X(KB_E_JSON_MISSING, KB_CLASS_DENY, "JSON_MISSING")                                        \
	X(KB_E_JSON_TYPE, KB_CLASS_DENY, "JSON_TYPE")                                              \
	X(KB_E_JSON_LENGTH, KB_CLASS_DENY, "JSON_LENGTH")                                          \
	X(KB_E_JSON_UNKNOWN, KB_CLASS_DENY, "JSON_UNKNOWN_MEMBER")                                 \
	X(KB_E_B64, KB_CLASS_DENY, "BASE64")                                                       \
	/* attestation token, policy/token */                                                      \
	X(KB_E_TOKEN_SIZE, KB_CLASS_DENY, "TOKEN_SIZE")                                            \
	X(KB_E_TOKEN_FORMAT, KB_CLASS_DENY, "TOKEN_FORMAT")                                        \
	X(KB_E_TOKEN_HEADER, KB_CLASS_DENY, "TOKEN_HEADER")                                        \
	X(KB_E_TOKEN_TYPE, KB_CLASS_DENY, "TOKEN_TYPE")                                            \
	X(KB_E_TOKEN_ALG, KB_CLASS_DENY, "TOKEN_ALG")                                              \
	X(KB_E_TOKEN_CURVE, KB_CLASS_DENY, "TOKEN_CURVE")                                          \
	X(KB_E_TOKEN_SIG_LENGTH, KB_CLASS_DENY, "TOKEN_SIG_LENGTH")                                \
	X(KB_E_TOKEN_SIGNATURE, KB_CLASS_DENY, "TOKEN_SIGNATURE")                                  \
	X(KB_E_KID_MISSING, KB_CLASS_DENY, "KID_MISSING")                                          \
	X(KB_E_KID_LENGTH, KB_CLASS_DENY, "KID_LENGTH")                                            \
	X(KB_E_KID_UNKNOWN, KB_CLASS_DENY, "KID_UNKNOWN")                                          \
	X(KB_E_KID_PENDING, KB_CLASS_BUSY,                                                         \
	  "KID_PENDING")                        /* unknown, a fetch is under way: come back */     \
	X(KB_E_ISSUER, KB_CLASS_DENY, "ISSUER") /* `iss` is no issuer of ours */                   \
	X(KB_E_ISSUER_UNAVAILABLE, KB_CLASS_BUSY,                                                  \
	  "ISSUER_UNAVAILABLE") /* no key set within its stale limit */                            \
	/* issuer key sets, policy/jwks */                                                         \
	X(KB_E_JWKS_FORMAT, KB_CLASS_DENY, "JWKS_FORMAT")                                          \
	X(KB_E_JWKS_EMPTY, KB_CLASS_DENY, "JWKS_EMPTY")                                            \
	X(KB_E_JWKS_DUPLICATE, KB_CLASS_DENY, "JWKS_DUPLICATE_KID")                                \
	X(KB_E_JWKS_COUNT, KB_CLASS_DENY, "JWKS_COUNT")                                            \
	/* public keys, policy/pubkey */                                                           \
	X(KB_E_KEY_FORMAT, KB_CLASS_DENY, "KEY_FORMAT")                                            \
	X(KB_E_KEY_TYPE, KB_CLASS_DENY, "KEY_TYPE")                                                \
	X(KB_E_KEY_SIZE, KB_CLASS_DENY, "KEY_SIZE")                                                \
	X(KB_E_KEY_EXPONENT, KB_CLASS_DENY, "KEY_EXPONENT")                                        \
	X(KB_E_KEY_WEAK, KB_CLASS_DENY, "KEY_WEAK")                                                \
	X(KB_E_KEY_CURVE, KB_CLASS_DENY, "KEY_CURVE")                                              \
	X(KB_E_KEY_PRIVATE, KB_CLASS_DENY, "KEY_PRIVATE")                                          \
	X(KB_E_KEY_USE, KB_CLASS_DENY, "KEY_USE")                                                  \
	X(KB_E_KEY_BINDING, KB_CLASS_DENY,                                                         \
	  "KEY_BINDING") /* no usable ephemeral key in the evidence */                             \
	/* claims, policy/claims */                                                                \
	X(KB_E_CLAIM_MISSING, KB_CLASS_DENY, "CLAIM_MISSING")                                      \
	X(KB_E_CLAIM_TYPE, KB_CLASS_DENY, "CLAIM_TYPE")                                            \
	X(KB_E_EXPIRED, KB_CLASS_DENY, "EXPIRED")                                                  \
	X(KB_E_NOT_YET, KB_CLASS_DENY, "NOT_YET")                                                  \
	X(KB_E_TOO_OLD, KB_CLASS_DENY, "TOO_OLD")                                                  \
	X(KB_E_LIFETIME, KB_CLASS_DENY, "LIFETIME")                                                \
	X(KB_E_AUDIENCE, KB_CLASS_DENY, "AUDIENCE")                                                \
	X(KB_E_NONCE, KB_CLASS_DENY, "NONCE")                                                      \
	X(KB_E_REPLAY, KB_CLASS_DENY, "REPLAY")                                                    \
	X(KB_E_CLOCK_UNSET, KB_CLASS_BUSY, "CLOCK_UNSET")                                          \
	/* release policy, policy/rules and decide */                                              \
	X(KB_E_POLICY_FORMAT, KB_CLASS_LOCAL, "POLICY_FORMAT")                                     \
	X(KB_E_POLICY_LIMIT, KB_CLASS_LOCAL, "POLICY_LIMIT")                                       \
	X(KB_E_NO_POLICY, KB_CLASS_DENY, "NO_POLICY")                                              \
	X(KB_E_POLICY, KB_CLASS_DENY, "POLICY") /* evaluated, not satisfied */                     \
	X(KB_E_DEBUG_EVIDENCE, KB_CLASS_DENY,                                                      \
	  "DEBUG_EVIDENCE") /* debuggable, and no needed condition says so */                      \
	/* key records */                                                                          \
	X(KB_E_KEY_NOT_FOUND, KB_CLASS_NOT_FOUND, "KEY_NOT_FOUND")                                 \
	X(KB_E_KEY_DISABLED, KB_CLASS_DENY, "KEY_DISABLED")                                        \
	X(KB_E_KEY_NOT_YET, KB_CLASS_DENY, "KEY_NOT_YET_VALID")                                    \
	X(KB_E_KEY_EXPIRED, KB_CLASS_DENY, "KEY_EXPIRED")                                          \
	X(KB_E_KEY_NOT_EXPORTABLE, KB_CLASS_DENY, "KEY_NOT_EXPORTABLE")                            \
	/* the call, keyvault_api */                                                               \
	X(KB_E_NO_CREDENTIAL, KB_CLASS_AUTH, "NO_CREDENTIAL")                                      \
	X(KB_E_CREDENTIAL, KB_CLASS_AUTH, "CREDENTIAL")                                            \
	X(KB_E_PATH, KB_CLASS_NOT_FOUND, "PATH")                                                   \
	X(KB_E_METHOD, KB_CLASS_BAD, "METHOD")                                                     \
	X(KB_E_API_VERSION, KB_CLASS_BAD, "API_VERSION")                                           \
	X(KB_E_BODY_FORMAT, KB_CLASS_BAD, "BODY_FORMAT")                                           \
	X(KB_E_BODY_MEMBER, KB_CLASS_BAD, "BODY_MEMBER")                                           \
	X(KB_E_ENC, KB_CLASS_BAD, "ENC")                                                           \
	X(KB_E_CONTENT_TYPE, KB_CLASS_BAD, "CONTENT_TYPE")                                         \
	/* HTTP, broker/http and gateway: refused before there is a request, so counted and not    \
	 * recorded */                                                                             \
	X(KB_E_HTTP_SYNTAX, KB_CLASS_BAD, "HTTP_SYNTAX")                                           \
	X(KB_E_HTTP_VERSION, KB_CLASS_BAD, "HTTP_VERSION")                                         \
	X(KB_E_HTTP_HEADERS, KB_CLASS_BAD, "HTTP_HEADERS")                                         \
	X(KB_E_HTTP_URI, KB_CLASS_BAD, "HTTP_URI")                                                 \
	X(KB_E_HTTP_BODY_SIZE, KB_CLASS_BAD, "HTTP_BODY_SIZE")                                     \
	X(KB_E_HTTP_BODY_TYPE, KB_CLASS_BAD, "HTTP_BODY_TYPE")                                     \
	X(KB_E_DEADLINE, KB_CLASS_BUSY, "DEADLINE")                                                \
	X(KB_E_QUEUE_FULL, KB_CLASS_BUSY, "QUEUE_FULL")                                            \
	X(KB_E_CONN_LIMIT, KB_CLASS_BUSY, "CONN_LIMIT")                                            \
	X(KB_E_TLS, KB_CLASS_BAD, "TLS")                                                           \
	/* between processes, broker/frame */                                                      \
	X(KB_E_FRAME, KB_CLASS_BUG, "FRAME")                                                       \
	X(KB_E_PROCESS_LOST, KB_CLASS_HSM,                                                         \
	  "PROCESS_LOST") /* the worker that had the request is gone */                            \
	/* ledger */                                                                               \
	X(KB_E_LEDGER, KB_CLASS_HSM, "LEDGER") /* the record could not be made durable */          \
	X(KB_E_LEDGER_CHAIN, KB_CLASS_LOCAL, "LEDGER_CHAIN")                                       \
	X(KB_E_LEDGER_LOCKED, KB_CLASS_LOCAL, "LEDGER_LOCKED")                                     \
	/* HSM, keystore: translated from CKR_* by the table in keystore/module.c */               \
	X(KB_E_HSM, KB_CLASS_HSM, "HSM")                                                           \
	X(KB_E_HSM_MODULE, KB_CLASS_HSM, "HSM_MODULE")                                             \
	X(KB_E_HSM_TOKEN, KB_CLASS_HSM, "HSM_TOKEN")                                               \
	X(KB_E_HSM_DEVICE, KB_CLASS_HSM, "HSM_DEVICE")                                             \
	X(KB_E_HSM_SESSION, KB_CLASS_HSM, "HSM_SESSION") /* the session is lost: reopen once */    \
	X(KB_E_HSM_HANDLE, KB_CLASS_HSM, "HSM_HANDLE") /* the handle is stale: find again once */  \
	X(KB_E_HSM_PIN, KB_CLASS_HSM, "HSM_PIN")       /* never tried again */                     \
	X(KB_E_HSM_MEMORY, KB_CLASS_HSM, "HSM_MEMORY")                                             \
	X(KB_E_HSM_MECHANISM, KB_CLASS_HSM, "HSM_MECHANISM")                                       \
	X(KB_E_HSM_OUTPUT, KB_CLASS_HSM, "HSM_OUTPUT") /* what the HSM returned is not right */    \
	X(KB_E_HSM_KEY_MISSING, KB_CLASS_HSM, "HSM_KEY_MISSING")                                   \
	X(KB_E_HSM_KEY_AMBIGUOUS, KB_CLASS_HSM, "HSM_KEY_AMBIGUOUS")                               \
	X(KB_E_HSM_KEY_ATTR, KB_CLASS_HSM, "HSM_KEY_ATTR")                                         \
	X(KB_E_HSM_URI, KB_CLASS_LOCAL, "HSM_URI")                                                 \
	X(KB_E_WRAP, KB_CLASS_HSM, "WRAP")                                                         \
	/* files and configuration */                                                              \
	X(KB_E_FILE, KB_CLASS_LOCAL, "FILE")                                                       \
	X(KB_E_FILE_MODE, KB_CLASS_LOCAL, "FILE_MODE")                                             \
	X(KB_E_FILE_SIZE, KB_CLASS_LOCAL, "FILE_SIZE")                                             \
	X(KB_E_CONFIG, KB_CLASS_LOCAL, "CONFIG")                                                   \
	X(KB_E_SYS, KB_CLASS_LOCAL, "SYSTEM")                                                      \
	/* a guest's TPM, broker/guest/tpm */                                                      \
	X(KB_E_TPM, KB_CLASS_LOCAL, "TPM")                                                         \
	X(KB_E_TPM_PCR, KB_CLASS_LOCAL, "TPM_PCR") /* the PCRs are not as they were */             \
	X(KB_E_TPM_MISSING, KB_CLASS_LOCAL,                                                        \
	  "TPM_MISSING") /* no TPM answers, or no key at a handle */                               \
	/* fetcher */                                                                              \
	X(KB_E_FETCH_CONNECT, KB_CLASS_LOCAL, "FETCH_CONNECT")                                     \
	X(KB_E_FETCH_TLS, KB_CLASS_LOCAL, "FETCH_TLS")                                             \
	X(KB_E_FETCH_TIMEOUT, KB_CLASS_LOCAL, "FETCH_TIMEOUT")                                     \
	X(KB_E_FETCH_STATUS, KB_CLASS_LOCAL, "FETCH_STATUS")                                       \
	X(KB_E_FETCH_REDIRECT, KB_CLASS_LOCAL, "FETCH_REDIRECT")                                   \
	X(KB_E_FETCH_SIZE, KB_CLASS_LOCAL, "FETCH_SIZE")                                           \
	X(KB_E_FETCH_ADDRESS, KB_CLASS_LOCAL, "FETCH_ADDRESS")                                     \
	X(KB_E_FETCH_CONTENT, KB_CLASS_LOCAL, "FETCH_CONTENT")                                     \
	X(KB_E_KEYSET_ORIGIN, KB_CLASS_LOCAL,                                                      \
	  "KEYSET_ORIGIN") /* of another issuer, URL or CA than the configuration names */

enum kb_err {
#define X(code, class, name) code,
	KB_ERR_TABLE(X)
#undef X
		KB_ERR_COUNT
};

const char *kb_err_name(
	enum kb_err e); /* audit name; never NULL, "BUG" for a value outside the table */
enum kb_class kb_err_class(enum kb_err e);      /* KB_CLASS_BUG for a value outside the table */
int kb_err_status(enum kb_err e);               /* HTTP status of its class */
enum kb_err kb_err_from_name(const char *name); /* KB_E_BUG when unknown */
/* For libraries that say no without a reason: KB_E_NOMEM when memory was it, else `e`.  The caller
 * has set errno to 0 before the call; malloc() sets it to ENOMEM.  The difference counts: a refusal
 * is final, while out of memory a client may come back. */
enum kb_err kb_err_or_nomem(enum kb_err e);

/* A state the code proves impossible.  Stays on in production: prints file and line, then aborts
 * (no core, see sandbox). */
#define KB_BUG() kb_bug(__FILE__, __LINE__)
__attribute__((noreturn)) void kb_bug(const char *file, int line);

#endif
