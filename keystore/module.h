/* keystore/module.h — private to keystore/: the PKCS#11 module, its one session, and what CKR_
 * values mean.  Nobody else includes it. */
#ifndef KB_KEYSTORE_MODULE_H
#define KB_KEYSTORE_MODULE_H
#include <openssl/types.h>
#include <p11-kit/p11-kit.h>
#include <p11-kit/uri.h>
#include <sys/types.h>

#include "base/limits.h"
#include "keystore/keystore.h"
#include "keystore/wrap.h"

/* What one module needs beyond PKCS#11.  `limit_ms`: how long to wait for other processes. */
struct module_hooks {
	/* Before the module starts and before each login; KB_E_HSM_TOKEN when the limit is over. */
	enum kb_err (*login_begin)(const struct keystore *ks, int64_t limit_ms);
	/* After it, whether or not the login succeeded. */
	void (*login_end)(const struct keystore *ks, bool is_logged_in);
	/* The token does not answer.  KB_OK: ask again, then call recheck_end(); KB_E_HSM_TOKEN: it
	 * is gone. */
	enum kb_err (*recheck_begin)(const struct keystore *ks, int64_t limit_ms);
	void (*recheck_end)(const struct keystore *ks);
};
extern const struct module_hooks softhsm_hooks;

enum { OBJECT_WAYS = 4 }; /* enum object_way of object.h */

struct keystore {
	const struct module_hooks *hooks; /* NULL: the module needs none */
	CK_FUNCTION_LIST *p11;
	CK_SLOT_ID slot;
	CK_TOKEN_INFO token;       /* as it was when opened */
	CK_SESSION_HANDLE session; /* CK_INVALID_HANDLE: none */
	struct secret *pin; /* for the one login that a reopened session may need; NULL: no login */
	int login_lock;     /* as in keystore_params */
	char *token_dir;    /* as in keystore_params; NULL: none */
	/* KB_OK until a login failed; then every later one fails with it, untried. */
	enum kb_err login_err;
	bool is_writable, is_loaded; /* is_loaded: C_Initialize was ours to undo */
	/* Proved at start: this module's check values of symmetric keys are right. */
	bool has_check_values;
	bool is_probing; /* in the self-test a refused call is an answer, not a fault to report */
	_Atomic int64_t *call_since_ms; /* as in keystore_params */
	_Atomic uint32_t *pin_refused;
	bool (*is_pin_refused)(const void *ctx);
	const void *ctx;
	pid_t owner; /* a forked child inherits sessions and login: it must not use them */
	/* AES-256 key under which a key comes out of the module, good for this session. */
	struct secret *transport;
	CK_OBJECT_HANDLE transport_key; /* the same inside the module; CK_INVALID_HANDLE: none */
	void *keys;                     /* tsearch() tree of struct hsm_key, by URI */
	struct wrap_plan plan;
	/* object.c, by way of making: rows of attributes.c that this module does not take. */
	uint32_t skip_rows[OBJECT_WAYS];
	EVP_PKEY *own; /* own_key() */
	/* The module takes no plaintext keys: its transport key is made inside. */
	bool no_plain_import;
	/* The previous key as it came out under the transport key, and whose it was. */
	struct buf last_sealed;
	CK_OBJECT_HANDLE last_sealed_key;
	/* The two parts of the previous blob: one of them twice means that randomness is broken. */
	struct buf last_first, last_second;
	char fault[160], fault_object[256];
};

/* module.c: one file, one table */
KB_MUST_CHECK enum kb_err module_load(const char *path,
				      CK_FUNCTION_LIST **out); /* checked, loaded, initialised */
void module_unload(CK_FUNCTION_LIST *p11);
enum kb_err ckr_err(CK_RV rv);  /* KB_OK for CKR_OK alone */
const char *ckr_name(CK_RV rv); /* "CKR_…", "CKR_?" for a value outside the table */
/* The outcome of a call: translated, and when it is a failure remembered for keystore_fault() and
 * logged. */
KB_MUST_CHECK enum kb_err p11_outcome(struct keystore *ks, const char *call, CK_RV rv);
/* A function of the keystore begins: nothing has failed in it.  `object`: the URI it is about;
 * NULL: of none. */
void fault_begin(struct keystore *ks, const char *object);
/* A failure that no PKCS#11 call reported: remembered for keystore_fault().  Returns `err`. */
KB_MUST_CHECK enum kb_err fault_is(struct keystore *ks, enum kb_err err, const char *why);
/* Every call of the module is between these two, so that the supervisor sees one that hangs. */
void p11_begin(struct keystore *ks);
void p11_begin_slow(struct keystore *ks);     /* a call that may take KB_HSM_GENERATE_MS */
CK_RV p11_end(struct keystore *ks, CK_RV rv); /* gives rv back */
#define P11_RAW(ks, call, ...)  (p11_begin(ks), p11_end(ks, (ks)->p11->call(__VA_ARGS__)))
#define P11_SLOW(ks, call, ...) (p11_begin_slow(ks), p11_end(ks, (ks)->p11->call(__VA_ARGS__)))
#define P11(ks, call, ...)      p11_outcome(ks, #call, P11_RAW(ks, call, __VA_ARGS__))
/* One attribute into `out`; KB_E_HSM_OUTPUT when the module claims more bytes than there is room
 * for. */
KB_MUST_CHECK enum kb_err attr_get(struct keystore *ks, CK_OBJECT_HANDLE object,
				   CK_ATTRIBUTE_TYPE type, void *out, size_t cap, size_t *len);
/* The check value of a symmetric key, when the module gives one. */
KB_MUST_CHECK enum kb_err attr_check_value(struct keystore *ks, CK_OBJECT_HANDLE object,
					   struct hsm_public *p);
KB_MUST_CHECK enum kb_err attr_bool(struct keystore *ks, CK_OBJECT_HANDLE object,
				    CK_ATTRIBUTE_TYPE type, bool *out);
/* A pkcs11: URI without a PIN, a module or anything unknown in it: KB_E_HSM_URI otherwise.  *out is
 * the caller's: p11_kit_uri_free(). */
KB_MUST_CHECK enum kb_err uri_parse(const char *text, P11KitUriType type, P11KitUri **out);
static inline void uri_cleanup(P11KitUri **uri)
{
	p11_kit_uri_free(*uri);
}

/* session.c */
KB_MUST_CHECK enum kb_err keystore_guard(
	const struct keystore *ks); /* KB_E_BUG in a process that did not open it */
/* The token answers and the session is one of a logged-in user. */
KB_MUST_CHECK enum kb_err session_check(struct keystore *ks);
/* Open and log in, between login_begin() and login_end(). */
KB_MUST_CHECK enum kb_err session_open(struct keystore *ks);
void session_close(struct keystore *ks);
KB_MUST_CHECK enum kb_err login_begin(const struct keystore *ks, int64_t limit_ms);
void login_end(const struct keystore *ks, bool is_logged_in);
/* After a call without a key failed with `err`: KB_OK when it may be tried once more, in a new
 * session if the old one was lost, else the reason why not. */
KB_MUST_CHECK enum kb_err session_recover(struct keystore *ks, enum kb_err err);
/* The token is not the one that was opened: report it, KB_E_HSM_TOKEN. */
KB_MUST_CHECK enum kb_err token_fault(struct keystore *ks, const char *why);

/* transport.c */
/* The session's transport key is there. */
KB_MUST_CHECK enum kb_err transport_ready(struct keystore *ks);
void transport_drop(struct keystore *ks);
/* The failure of a C_CreateObject may mean that the module takes no plaintext keys (FIPS mode). */
bool is_plain_forbidden(enum kb_err err);
/* A public RSA key that keys are wrapped for; of the session. */
KB_MUST_CHECK enum kb_err wrapping_put(struct keystore *ks, const EVP_PKEY *key,
				       CK_OBJECT_HANDLE *out);
/* An RSA key of this process, made once; borrowed. */
KB_MUST_CHECK enum kb_err own_key(struct keystore *ks, EVP_PKEY **out);

/* find.c */
struct hsm_key {
	char *uri;
	EVP_PKEY *verifier; /* RSA that has signed: its public part; else NULL */
	CK_OBJECT_HANDLE handle;
	bool is_extractable;
	struct hsm_public public;
};
/* A new handle of the same key.  KB_E_HSM_KEY_*: it is gone or another key now. */
KB_MUST_CHECK enum kb_err key_refind(struct keystore *ks, const struct hsm_key *key);
/* After a call with `key` failed with `err`: KB_OK when it may be tried once more (session
 * reopened, key found again), else the reason why not. */
KB_MUST_CHECK enum kb_err key_recover(struct keystore *ks, const struct hsm_key *key,
				      enum kb_err err);
void keys_forget(struct keystore *ks); /* every cached key */
/* The public part by the attributes of an object, EC by those of the public one. */
KB_MUST_CHECK enum kb_err public_read_rsa(struct keystore *ks, CK_OBJECT_HANDLE object,
					  struct hsm_public *p);
KB_MUST_CHECK enum kb_err public_read_ec(struct keystore *ks, CK_OBJECT_HANDLE public,
					 const struct curve *c, struct hsm_public *p);

#endif
