/* keystore/keystore.h — keys in the HSM: open, find, describe, create.  One per process, no
 * threads, opened after the last fork. PKCS#11 v2.40; the module is loaded by explicit path through
 * p11-kit. */
#ifndef KB_KEYSTORE_KEYSTORE_H
#define KB_KEYSTORE_KEYSTORE_H
#include <stdatomic.h>

#include "base/curve.h"

struct buf;
struct secret;
struct keystore;
struct hsm_key; /* a found key; owned by the keystore, valid until keystore_close() */

enum kb_kty { KB_KTY_RSA = 1, KB_KTY_EC, KB_KTY_OCT };

struct keystore_params { /* borrowed during the call */
	/* Absolute path.  The file belongs to root or to this user and is not writable by
	 * others. */
	const char *module;
	/* pkcs11:token=… URI that fits exactly one token; pin-value and pin-source are refused. */
	const char *token;
	const struct secret *pin; /* NULL: no login (public objects only) */
	bool is_writable;         /* read-write session, for keybrokerctl */
	/* For SoftHSM (softhsm.c says why).  A descriptor of this process on a file that all
	 * processes have which log in to the token: locked during a login.  0: none. */
	int login_lock;
	const char *token_dir; /* where SoftHSM keeps its tokens; NULL: another module */
	/* For a process of a pool that is watched; borrowed until keystore_close(), NULL for the
	 * others. */
	/* clock_mono_ms() at which the running call of the module began, 0: none runs. */
	_Atomic int64_t *call_since_ms;
	/* Set to 1 when the HSM refuses the PIN, before another process can try it … */
	_Atomic uint32_t *pin_refused;
	/* … and asked before each try: was it refused to this process or another one that has it?
	 */
	bool (*is_pin_refused)(const void *ctx);
	const void *ctx;
};

/* Load, C_Initialize, find the token, open one session, log in once.  A failed login is
 * KB_E_HSM_PIN and is never repeated, also by no other process that is_pin_refused() knows of. A
 * token with CKF_USER_PIN_FINAL_TRY or _LOCKED is KB_E_HSM_PIN without a try.  On KB_OK *out is the
 * caller's. */
KB_MUST_CHECK enum kb_err keystore_open(const struct keystore_params *p, struct keystore **out);
void keystore_close(struct keystore *ks); /* NULL is fine */
/* C_GetTokenInfo and C_GetSessionInfo: is the token still there and the session logged in? */
KB_MUST_CHECK enum kb_err keystore_alive(struct keystore *ks);
/* Why the last function of the keystore failed: the PKCS#11 call, "C_WrapKey: CKR_DEVICE_ERROR
 * (0x30)", or what is wrong with the object, "no object matches"; "" when it did not. */
const char *keystore_fault(const struct keystore *ks);
/* The pkcs11: URI of the object that this function was about; "" when of none. */
const char *keystore_fault_object(const struct keystore *ks);

/* Find the one private (RSA, EC) or secret (oct) key that a pkcs11: object URI names.  Cached by
 * URI; a stale handle is found again once. KB_E_HSM_KEY_MISSING, KB_E_HSM_KEY_AMBIGUOUS,
 * KB_E_HSM_KEY_ATTR (other type, not extractable when `is_release`), KB_E_HSM_URI. `fingerprint`
 * (32 bytes, see keystore_public) is compared when not NULL: KB_E_HSM_KEY_ATTR when the object is
 * another key now. */
KB_MUST_CHECK enum kb_err keystore_find(struct keystore *ks, const char *object, enum kb_kty kty,
					bool is_release, const uint8_t *fingerprint,
					const struct hsm_key **out);

/* Append what a found key may do beyond what the broker gives new ones
 * ("CKA_MODIFIABLE is not false, …"), nothing when it is as they are. */
KB_MUST_CHECK enum kb_err keystore_weakness(struct keystore *ks, const struct hsm_key *key,
					    bool is_signer, struct buf *out);
/* Search again: is the object of this key still there, and the same?  keystore_fault() stays. */
bool keystore_still_has(struct keystore *ks, const struct hsm_key *key);

/* Public part; numbers big-endian without leading zeros for RSA, fixed width for EC */
struct hsm_public {
	enum kb_kty kty;
	enum kb_crv crv;
	uint8_t n[512], e[8], x[66], y[66];
	size_t n_len, e_len, xy_len;
	size_t oct_len; /* bytes of a symmetric key */
	/* CKA_CHECK_VALUE of a symmetric key, when there is one: nothing else of it can be
	 * compared.  Must never leave the vault. */
	uint8_t check[3];
	bool has_check;
	/* CKK_GENERIC_SECRET: the check value is the beginning of the SHA-1 of the key. */
	bool is_generic;
	/* RSA, EC: RFC 7638 thumbprint; oct: zero (a digest of a secret would be a check value). */
	uint8_t fingerprint[32];
};
const struct hsm_public *keystore_public(const struct hsm_key *key); /* read when found; borrowed */

/* Create a key for release (CKA_SENSITIVE, CKA_EXTRACTABLE, CKA_TOKEN, CKA_PRIVATE), with its
 * public object for RSA and EC.  `label` is for people; the id is 16 random bytes.  `size`: RSA
 * bits or oct bytes.  *object: the URI to write in the record (malloc; caller frees). */
struct keystore_template {
	const char *label;
	enum kb_kty kty;
	unsigned size;
	enum kb_crv crv;
	bool is_signer; /* RSA, may sign, never leaves: CKA_EXTRACTABLE false */
};
KB_MUST_CHECK enum kb_err keystore_generate(struct keystore *ks, const struct keystore_template *t,
					    char **object);
/* The same from plaintext: PKCS#8 DER (RSA, EC named curve) or raw bytes (oct).  Size and curve are
 * read from the key. */
KB_MUST_CHECK enum kb_err keystore_import(struct keystore *ks, const struct keystore_template *t,
					  const struct secret *plain, char **object);
/* Destroy every object (private, public, secret) of that id.  KB_E_HSM_KEY_MISSING when there is
 * none. */
KB_MUST_CHECK enum kb_err keystore_destroy(struct keystore *ks, const char *object);

const char *kty_name(enum kb_kty kty); /* "RSA", "EC", "oct" */

#endif
