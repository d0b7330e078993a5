/* broker/base/err.h — every way a call can fail, in one table.  The client learns the class; the
 * ledger records the exact name. */
#ifndef KB_BASE_ERR_H
#define KB_BASE_ERR_H

#define KB_MUST_CHECK __attribute__((warn_unused_result))

/* What a failure means for the client.  The HTTP status of a class is kb_err_status(). */
enum kb_class {
	KB_CLASS_OK,
	KB_CLASS_DENY, /* 403: judged and refused: a retry changes nothing */
	KB_CLASS_AUTH, /* 401: no credential, or one that is not accepted */
	KB_CLASS_BAD,  /* 400: the call itself is malformed */
	/* 403: what a key's record names in the HSM is missing or unfit.  An operator must act, a
	 * retry changes nothing. */
	KB_CLASS_UNFIT,
	KB_CLASS_NOT_FOUND, /* 404: no such key or path */
	KB_CLASS_BUSY,      /* 503 + Retry-After: the same call may succeed later */
	KB_CLASS_HSM,       /* 503 + Retry-After: the HSM or the ledger cannot serve now */
	KB_CLASS_LOCAL,     /* 500: files, configuration; never the answer to a correct call */
	KB_CLASS_BUG,       /* 500: a state that cannot occur */
};

/* X(code, class, audit name).  The audit name is written to the ledger, the log and /metrics: its
 * meaning never changes. */
#define KB_ERR_TABLE(X)                                                                            \
	/* No failure. */                                                                          \
	X(KB_OK, KB_CLASS_OK, "OK")                                                                \
	/* The code proves this impossible. */                                                     \
	X(KB_E_BUG, KB_CLASS_BUG, "BUG")                                                           \
	/* malloc() failed. */                                                                     \
	X(KB_E_NOMEM, KB_CLASS_BUSY, "NO_MEMORY")                                                  \
	/* ---- JSON of clients, base/json ---- */                                                 \
	/* Not JSON (RFC 8259), or a NUL in it. */                                                 \
	X(KB_E_JSON_SYNTAX, KB_CLASS_DENY, "JSON_SYNTAX")                                          \
	/* An object has a member twice. */                                                        \
	X(KB_E_JSON_DUPLICATE, KB_CLASS_DENY, "JSON_DUPLICATE")                                    \
	/* Nested deeper than KB_MAX_JSON_DEPTH. */                                                \
	X(KB_E_JSON_DEPTH, KB_CLASS_DENY, "JSON_DEPTH")                                            \
	/* Too many bytes or values. */                                                            \
	X(KB_E_JSON_SIZE, KB_CLASS_DENY, "JSON_SIZE")                                              \
	/* A required member is absent. */                                                         \
	X(KB_E_JSON_MISSING, KB_CLASS_DENY, "JSON_MISSING")                                        \
	/* A member has another type. */                                                           \
	X(KB_E_JSON_TYPE, KB_CLASS_DENY, "JSON_TYPE")                                              \
	/* A text is empty or too long. */                                                         \
	X(KB_E_JSON_LENGTH, KB_CLASS_DENY, "JSON_LENGTH")                                          \
	/* A member that is not in the list of known ones. */                                      \
	X(KB_E_JSON_UNKNOWN, KB_CLASS_DENY, "JSON_UNKNOWN_MEMBER")                                 \
	/* Text in UTF-16 or UTF-32 instead of UTF-8 (RFC 8259 section 8.1). */                    \
	X(KB_E_ENCODING, KB_CLASS_DENY, "ENCODING")                                                \
	/* Not canonical base64 or base64url (RFC 4648). */                                        \
	X(KB_E_B64, KB_CLASS_DENY, "BASE64")                                                       \
	/* ---- attestation token, policy/token ---- */                                            \
	/* Longer than KB_MAX_TOKEN. */                                                            \
	X(KB_E_TOKEN_SIZE, KB_CLASS_DENY, "TOKEN_SIZE")                                            \
	/* Not three base64url parts (RFC 7515 section 7.1). */                                    \
	X(KB_E_TOKEN_FORMAT, KB_CLASS_DENY, "TOKEN_FORMAT")                                        \
	/* A header that is too long or has a refused member (crit, b64 or zip). */                \
	X(KB_E_TOKEN_HEADER, KB_CLASS_DENY, "TOKEN_HEADER")                                        \
	/* Another kind of token: encrypted, nested, in JSON form, or not of attestation. */       \
	X(KB_E_TOKEN_TYPE, KB_CLASS_DENY, "TOKEN_TYPE")                                            \
	/* An algorithm that the issuer's configuration does not allow. */                         \
	X(KB_E_TOKEN_ALG, KB_CLASS_DENY, "TOKEN_ALG")                                              \
	/* The key is on another curve than the algorithm (RFC 7518 section 3.4). */               \
	X(KB_E_TOKEN_CURVE, KB_CLASS_DENY, "TOKEN_CURVE")                                          \
	/* The signature has not the length of its algorithm. */                                   \
	X(KB_E_TOKEN_SIG_LENGTH, KB_CLASS_DENY, "TOKEN_SIG_LENGTH")                                \
	/* The signature does not verify. */                                                       \
	X(KB_E_TOKEN_SIGNATURE, KB_CLASS_DENY, "TOKEN_SIGNATURE")                                  \
	/* The header has no kid. */                                                               \
	X(KB_E_KID_MISSING, KB_CLASS_DENY, "KID_MISSING")                                          \
	/* The kid is empty or longer than KB_MAX_KID. */                                          \
	X(KB_E_KID_LENGTH, KB_CLASS_DENY, "KID_LENGTH")                                            \
	/* The issuer's key set has no key of this kid. */                                         \
	X(KB_E_KID_UNKNOWN, KB_CLASS_DENY, "KID_UNKNOWN")                                          \
	/* Unknown kid, and a fetch of the key set is under way: try again. */                     \
	X(KB_E_KID_PENDING, KB_CLASS_BUSY, "KID_PENDING")                                          \
	/* iss names no configured issuer. */                                                      \
	X(KB_E_ISSUER, KB_CLASS_DENY, "ISSUER")                                                    \
	/* No key set of the issuer within its max_stale. */                                       \
	X(KB_E_ISSUER_UNAVAILABLE, KB_CLASS_BUSY, "ISSUER_UNAVAILABLE")                            \
	/* ---- issuer key sets, policy/jwks ---- */                                               \
	/* Not a JWK set (RFC 7517 section 5). */                                                  \
	X(KB_E_JWKS_FORMAT, KB_CLASS_DENY, "JWKS_FORMAT")                                          \
	/* No usable key in the set. */                                                            \
	X(KB_E_JWKS_EMPTY, KB_CLASS_DENY, "JWKS_EMPTY")                                            \
	/* Two keys with one kid. */                                                               \
	X(KB_E_JWKS_DUPLICATE, KB_CLASS_DENY, "JWKS_DUPLICATE_KID")                                \
	/* More than KB_MAX_JWKS_KEYS keys. */                                                     \
	X(KB_E_JWKS_COUNT, KB_CLASS_DENY, "JWKS_COUNT")                                            \
	/* ---- public keys, policy/pubkey ---- */                                                 \
	/* Not a JWK or certificate that can be read. */                                           \
	X(KB_E_KEY_FORMAT, KB_CLASS_DENY, "KEY_FORMAT")                                            \
	/* A key type that is not taken here. */                                                   \
	X(KB_E_KEY_TYPE, KB_CLASS_DENY, "KEY_TYPE")                                                \
	/* An RSA modulus that is too short or too long. */                                        \
	X(KB_E_KEY_SIZE, KB_CLASS_DENY, "KEY_SIZE")                                                \
	/* An RSA exponent that is even, 1, or too long. */                                        \
	X(KB_E_KEY_EXPONENT, KB_CLASS_DENY, "KEY_EXPONENT")                                        \
	/* A modulus with small factors or the ROCA pattern, or numbers that are no key. */        \
	X(KB_E_KEY_WEAK, KB_CLASS_DENY, "KEY_WEAK")                                                \
	/* A curve that is not supported, or a point that is not on it. */                         \
	X(KB_E_KEY_CURVE, KB_CLASS_DENY, "KEY_CURVE")                                              \
	/* A key set or token that carries a private key. */                                       \
	X(KB_E_KEY_PRIVATE, KB_CLASS_DENY, "KEY_PRIVATE")                                          \
	/* use, key_ops or alg do not allow this use (RFC 7517 section 4). */                      \
	X(KB_E_KEY_USE, KB_CLASS_DENY, "KEY_USE")                                                  \
	/* The evidence holds no usable wrapping key. */                                           \
	X(KB_E_KEY_BINDING, KB_CLASS_DENY, "KEY_BINDING")                                          \
	/* ---- claims, policy/claims ---- */                                                      \
	/* A required claim is absent. */                                                          \
	X(KB_E_CLAIM_MISSING, KB_CLASS_DENY, "CLAIM_MISSING")                                      \
	/* A claim has another type. */                                                            \
	X(KB_E_CLAIM_TYPE, KB_CLASS_DENY, "CLAIM_TYPE")                                            \
	/* exp has passed. */                                                                      \
	X(KB_E_EXPIRED, KB_CLASS_DENY, "EXPIRED")                                                  \
	/* nbf or iat is in the future. */                                                         \
	X(KB_E_NOT_YET, KB_CLASS_DENY, "NOT_YET")                                                  \
	/* iat is longer ago than max_token_age. */                                                \
	X(KB_E_TOO_OLD, KB_CLASS_DENY, "TOO_OLD")                                                  \
	/* exp − iat is more than max_token_lifetime. */                                         \
	X(KB_E_LIFETIME, KB_CLASS_DENY, "LIFETIME")                                                \
	/* aud does not hold the configured audience. */                                           \
	X(KB_E_AUDIENCE, KB_CLASS_DENY, "AUDIENCE")                                                \
	/* The token does not carry the expected nonce. */                                         \
	X(KB_E_NONCE, KB_CLASS_DENY, "NONCE")                                                      \
	/* The token was used before, and its issuer is single_use. */                             \
	X(KB_E_REPLAY, KB_CLASS_DENY, "REPLAY")                                                    \
	/* The memory of used tokens is full: try again. */                                        \
	X(KB_E_REPLAY_FULL, KB_CLASS_BUSY, "REPLAY_FULL")                                          \
	/* Our own clock was never set. */                                                         \
	X(KB_E_CLOCK_UNSET, KB_CLASS_BUSY, "CLOCK_UNSET")                                          \
	/* ---- release policy, policy/rules and decide ---- */                                    \
	/* Not a release policy. */                                                                \
	X(KB_E_POLICY_FORMAT, KB_CLASS_LOCAL, "POLICY_FORMAT")                                     \
	/* A policy beyond a limit of base/limits.h. */                                            \
	X(KB_E_POLICY_LIMIT, KB_CLASS_LOCAL, "POLICY_LIMIT")                                       \
	/* The key has no release policy. */                                                       \
	X(KB_E_NO_POLICY, KB_CLASS_DENY, "NO_POLICY")                                              \
	/* The policy was evaluated and is not satisfied. */                                       \
	X(KB_E_POLICY, KB_CLASS_DENY, "POLICY")                                                    \
	/* Debuggable evidence, and no condition that was needed allows it. */                     \
	X(KB_E_DEBUG_EVIDENCE, KB_CLASS_DENY, "DEBUG_EVIDENCE")                                    \
	/* ---- key records ---- */                                                                \
	/* No key of this name or version. */                                                      \
	X(KB_E_KEY_NOT_FOUND, KB_CLASS_NOT_FOUND, "KEY_NOT_FOUND")                                 \
	/* The key is disabled. */                                                                 \
	X(KB_E_KEY_DISABLED, KB_CLASS_DENY, "KEY_DISABLED")                                        \
	/* Before the key's nbf. */                                                                \
	X(KB_E_KEY_NOT_YET, KB_CLASS_DENY, "KEY_NOT_YET_VALID")                                    \
	/* After the key's exp. */                                                                 \
	X(KB_E_KEY_EXPIRED, KB_CLASS_DENY, "KEY_EXPIRED")                                          \
	/* The key may not be released. */                                                         \
	X(KB_E_KEY_NOT_EXPORTABLE, KB_CLASS_DENY, "KEY_NOT_EXPORTABLE")                            \
	/* ---- the call, broker/api ---- */                                                       \
	/* No client certificate or bearer token. */                                               \
	X(KB_E_NO_CREDENTIAL, KB_CLASS_AUTH, "NO_CREDENTIAL")                                      \
	/* A bearer token that is not accepted. */                                                 \
	X(KB_E_CREDENTIAL, KB_CLASS_AUTH, "CREDENTIAL")                                            \
	/* A path that no API has. */                                                              \
	X(KB_E_PATH, KB_CLASS_NOT_FOUND, "PATH")                                                   \
	/* A method that the path does not have. */                                                \
	X(KB_E_METHOD, KB_CLASS_BAD, "METHOD")                                                     \
	/* An api-version that is missing or not served. */                                        \
	X(KB_E_API_VERSION, KB_CLASS_BAD, "API_VERSION")                                           \
	/* The body is not what the call takes. */                                                 \
	X(KB_E_BODY_FORMAT, KB_CLASS_BAD, "BODY_FORMAT")                                           \
	/* A member of the body is missing or wrong. */                                            \
	X(KB_E_BODY_MEMBER, KB_CLASS_BAD, "BODY_MEMBER")                                           \
	/* A wrapping scheme that is unknown. */                                                   \
	X(KB_E_ENC, KB_CLASS_BAD, "ENC")                                                           \
	/* A body of another type than application/json. */                                        \
	X(KB_E_CONTENT_TYPE, KB_CLASS_BAD, "CONTENT_TYPE")                                         \
	/* ---- HTTP, broker/gateway: refused before there is a request; counted only ---- */      \
	/* Not an HTTP/1.1 request (RFC 9112). */                                                  \
	X(KB_E_HTTP_SYNTAX, KB_CLASS_BAD, "HTTP_SYNTAX")                                           \
	/* Another version of HTTP. */                                                             \
	X(KB_E_HTTP_VERSION, KB_CLASS_BAD, "HTTP_VERSION")                                         \
	/* Too many header bytes or lines. */                                                      \
	X(KB_E_HTTP_HEADERS, KB_CLASS_BAD, "HTTP_HEADERS")                                         \
	/* A request target that is too long. */                                                   \
	X(KB_E_HTTP_URI, KB_CLASS_BAD, "HTTP_URI")                                                 \
	/* A body longer than KB_MAX_BODY. */                                                      \
	X(KB_E_HTTP_BODY_SIZE, KB_CLASS_BAD, "HTTP_BODY_SIZE")                                     \
	/* A body with Transfer-Encoding or Content-Encoding. */                                   \
	X(KB_E_HTTP_BODY_TYPE, KB_CLASS_BAD, "HTTP_BODY_TYPE")                                     \
	/* The client or the workers took too long. */                                             \
	X(KB_E_DEADLINE, KB_CLASS_BUSY, "DEADLINE")                                                \
	/* The queue of requests, or the share of this source address in it, is full. */           \
	X(KB_E_QUEUE_FULL, KB_CLASS_BUSY, "QUEUE_FULL")                                            \
	/* A reload changed what judges: ask again, the new configuration will answer. */          \
	X(KB_E_RELOADED, KB_CLASS_BUSY, "RELOADED")                                                \
	/* Too many connections, in all or of this source address. */                              \
	X(KB_E_CONN_LIMIT, KB_CLASS_BUSY, "CONN_LIMIT")                                            \
	/* This source address failed too often and is blocked for a while. */                     \
	X(KB_E_PENALTY, KB_CLASS_BUSY, "PENALTY")                                                  \
	/* The TLS handshake failed. */                                                            \
	X(KB_E_TLS, KB_CLASS_BAD, "TLS")                                                           \
	/* ---- between processes, broker/process/frame ---- */                                    \
	/* A message between processes that is malformed. */                                       \
	X(KB_E_FRAME, KB_CLASS_BUG, "FRAME")                                                       \
	/* The worker that had the request ended. */                                               \
	X(KB_E_PROCESS_LOST, KB_CLASS_HSM, "PROCESS_LOST")                                         \
	/* ---- ledger ---- */                                                                     \
	/* The record could not be made durable. */                                                \
	X(KB_E_LEDGER, KB_CLASS_HSM, "LEDGER")                                                     \
	/* A line of the ledger was changed, or lines are missing. */                              \
	X(KB_E_LEDGER_CHAIN, KB_CLASS_LOCAL, "LEDGER_CHAIN")                                       \
	/* Another process writes this ledger. */                                                  \
	X(KB_E_LEDGER_LOCKED, KB_CLASS_LOCAL, "LEDGER_LOCKED")                                     \
	/* ---- HSM, keystore: translated from CKR_* by the table in keystore/module.c ---- */     \
	/* The HSM refused a call for another reason than those below. */                          \
	X(KB_E_HSM, KB_CLASS_HSM, "HSM")                                                           \
	/* The PKCS#11 module cannot be loaded. */                                                 \
	X(KB_E_HSM_MODULE, KB_CLASS_HSM, "HSM_MODULE")                                             \
	/* No token matches the URI. */                                                            \
	X(KB_E_HSM_TOKEN, KB_CLASS_HSM, "HSM_TOKEN")                                               \
	/* The device does not answer or is in error. */                                           \
	X(KB_E_HSM_DEVICE, KB_CLASS_HSM, "HSM_DEVICE")                                             \
	/* The session is lost: open a new one, once. */                                           \
	X(KB_E_HSM_SESSION, KB_CLASS_HSM, "HSM_SESSION")                                           \
	/* The handle is stale: find the object again, once. */                                    \
	X(KB_E_HSM_HANDLE, KB_CLASS_HSM, "HSM_HANDLE")                                             \
	/* The PIN is wrong or locked: never tried again. */                                       \
	X(KB_E_HSM_PIN, KB_CLASS_HSM, "HSM_PIN")                                                   \
	/* The device or the module has no memory. */                                              \
	X(KB_E_HSM_MEMORY, KB_CLASS_HSM, "HSM_MEMORY")                                             \
	/* The module does not have the mechanism. */                                              \
	X(KB_E_HSM_MECHANISM, KB_CLASS_UNFIT, "HSM_MECHANISM")                                     \
	/* What the HSM returned is not right. */                                                  \
	X(KB_E_HSM_OUTPUT, KB_CLASS_HSM, "HSM_OUTPUT")                                             \
	/* No object matches the key's URI. */                                                     \
	X(KB_E_HSM_KEY_MISSING, KB_CLASS_UNFIT, "HSM_KEY_MISSING")                                 \
	/* More than one object matches. */                                                        \
	X(KB_E_HSM_KEY_AMBIGUOUS, KB_CLASS_UNFIT, "HSM_KEY_AMBIGUOUS")                             \
	/* The object's attributes do not allow its use, or it is another key. */                  \
	X(KB_E_HSM_KEY_ATTR, KB_CLASS_UNFIT, "HSM_KEY_ATTR")                                       \
	/* Not a PKCS#11 URI of an object (RFC 7512), or one of another token. */                  \
	X(KB_E_HSM_URI, KB_CLASS_UNFIT, "HSM_URI")                                                 \
	/* The release signer's key is missing or unfit: no key at all can be released. */         \
	X(KB_E_HSM_SIGNER, KB_CLASS_HSM, "HSM_SIGNER")                                             \
	/* A key could not be wrapped, or not unwrapped. */                                        \
	X(KB_E_WRAP, KB_CLASS_HSM, "WRAP")                                                         \
	/* ---- files and configuration ---- */                                                    \
	/* A file cannot be opened, read or written. */                                            \
	X(KB_E_FILE, KB_CLASS_LOCAL, "FILE")                                                       \
	/* Others can read or write a file that must be protected. */                              \
	X(KB_E_FILE_MODE, KB_CLASS_LOCAL, "FILE_MODE")                                             \
	/* A file is larger than its limit. */                                                     \
	X(KB_E_FILE_SIZE, KB_CLASS_LOCAL, "FILE_SIZE")                                             \
	/* The configuration or an argument is wrong. */                                           \
	X(KB_E_CONFIG, KB_CLASS_LOCAL, "CONFIG")                                                   \
	/* A system call or a library failed. */                                                   \
	X(KB_E_SYS, KB_CLASS_LOCAL, "SYSTEM")                                                      \
	/* ---- the TPM of a guest, broker/guest/tpm ---- */                                       \
	/* The TPM refused a command. */                                                           \
	X(KB_E_TPM, KB_CLASS_LOCAL, "TPM")                                                         \
	/* The PCRs have other values than at sealing. */                                          \
	X(KB_E_TPM_PCR, KB_CLASS_LOCAL, "TPM_PCR")                                                 \
	/* No TPM answers, or no key is at a handle. */                                            \
	X(KB_E_TPM_MISSING, KB_CLASS_LOCAL, "TPM_MISSING")                                         \
	/* ---- fetcher ---- */                                                                    \
	/* The server cannot be reached. */                                                        \
	X(KB_E_FETCH_CONNECT, KB_CLASS_LOCAL, "FETCH_CONNECT")                                     \
	/* The server's certificate is not trusted, or TLS failed. */                              \
	X(KB_E_FETCH_TLS, KB_CLASS_LOCAL, "FETCH_TLS")                                             \
	/* The answer took too long. */                                                            \
	X(KB_E_FETCH_TIMEOUT, KB_CLASS_LOCAL, "FETCH_TIMEOUT")                                     \
	/* Another HTTP status than 200. */                                                        \
	X(KB_E_FETCH_STATUS, KB_CLASS_LOCAL, "FETCH_STATUS")                                       \
	/* A redirect: never followed. */                                                          \
	X(KB_E_FETCH_REDIRECT, KB_CLASS_LOCAL, "FETCH_REDIRECT")                                   \
	/* The document is larger than its limit. */                                               \
	X(KB_E_FETCH_SIZE, KB_CLASS_LOCAL, "FETCH_SIZE")                                           \
	/* A private address that the issuer's file does not allow. */                             \
	X(KB_E_FETCH_ADDRESS, KB_CLASS_LOCAL, "FETCH_ADDRESS")                                     \
	/* The document is not what was asked for, or was damaged. */                              \
	X(KB_E_FETCH_CONTENT, KB_CLASS_LOCAL, "FETCH_CONTENT")                                     \
	/* A stored key set of another issuer, URL or CA than the configuration names. */          \
	X(KB_E_KEYSET_ORIGIN, KB_CLASS_LOCAL, "KEYSET_ORIGIN")                                     \
	/* A key set that is older than max_stale. */                                              \
	X(KB_E_KEYSET_STALE, KB_CLASS_LOCAL, "KEYSET_STALE")                                       \
	/* A key set that says it was fetched at a time that is to come. */                        \
	X(KB_E_KEYSET_AHEAD, KB_CLASS_LOCAL, "KEYSET_AHEAD")

enum kb_err {
#define X(code, class, name) code,
	KB_ERR_TABLE(X)
#undef X
		KB_ERR_COUNT
};

/* Audit name; never NULL, "BUG" for a value outside the table. */
const char *kb_err_name(enum kb_err e);
/* For operators: what it means and what to do next; one or two sentences, never empty for a code of
 * the table. */
const char *kb_err_text(enum kb_err e);
enum kb_class kb_err_class(enum kb_err e);      /* KB_CLASS_BUG for a value outside the table */
int kb_err_status(enum kb_err e);               /* HTTP status of its class */
enum kb_err kb_err_from_name(const char *name); /* KB_E_BUG when unknown */
/* For libraries that fail without a reason: KB_E_NOMEM when memory was short, else `e`.  The caller
 * has set errno to 0 before the call; malloc() sets it to ENOMEM.  The difference matters: a
 * refusal is final, while a client may retry when memory was short. */
enum kb_err kb_err_or_nomem(enum kb_err e);

/* A state that the code proves impossible.  Not compiled out in production: prints file and line,
 * then aborts (without a core file). */
#define KB_BUG() kb_bug(__FILE__, __LINE__)
__attribute__((noreturn)) void kb_bug(const char *file, int line);

#endif
