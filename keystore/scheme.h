/* keystore/scheme.h — the wrapping schemes, one row each.  Vault, start-up self-test and the guest
 * program use the same row, so what the broker seals is what the guest opens. */
#ifndef KB_KEYSTORE_SCHEME_H
#define KB_KEYSTORE_SCHEME_H
#include "policy/wrapping_key.h"

struct secret;

/* The hash of RSA-OAEP: label hash and MGF1 hash are the same (RFC 8017 section 7.1). */
enum oaep_hash { OAEP_NONE, OAEP_SHA1, OAEP_SHA256, OAEP_SHA384 };

/* The private half of a wrapping key, in this process or in a TPM. */
struct unwrapping_key {
	enum kek_kind kind;
	size_t bytes; /* RSA: of the modulus */
	void *holder; /* passed to oaep_open() */
	/* Undo RSA-OAEP with an empty label.  KB_E_WRAP: not a ciphertext for this key and hash. */
	enum kb_err (*oaep_open)(void *holder, enum oaep_hash hash, struct span ciphertext,
				 struct secret **out);
};

struct wrap_scheme {
	const char *name;  /* as on the wire */
	enum kek_kind kek; /* kind of wrapping key */
	/* Hash of RSA-OAEP. OAEP_NONE: another layout, in which the PKCS#11 module is not asked to
	 * wrap. */
	enum oaep_hash oaep;
	/* Wrap `plain`; the blob is appended to `wrapped`, which is left as it was on error.  Call
	 * scheme_accepts() first. */
	enum kb_err (*seal)(const struct wrap_scheme *s, const struct wrapping_key *kek,
			    struct span plain, struct buf *wrapped);
	/* Unwrap strictly.  KB_E_WRAP: the blob is not one of this scheme for this key. */
	enum kb_err (*open)(const struct wrap_scheme *s, const struct unwrapping_key *kek,
			    struct span wrapped, struct secret **plain);
	/* Bytes of the blob for a plaintext of that length. */
	size_t (*size)(size_t kek_bytes, size_t plain_len);
	/* The wrapped content key and the wrapped plaintext in the blob.  False: its length cannot
	 * be right. */
	bool (*split)(size_t kek_bytes, struct span wrapped, struct span *key,
		      struct span *payload);
};

enum { WRAP_SCHEMES = 3 };
extern const struct wrap_scheme schemes[WRAP_SCHEMES];
#define SCHEME_DEFAULT (&schemes[0]) /* of a client that names none */

const struct wrap_scheme *scheme_find(struct span name); /* NULL: not a row of the table */
/* KB_E_KEY_TYPE: another kind of wrapping key; KB_E_WRAP: a key outside the limits. */
KB_MUST_CHECK enum kb_err scheme_accepts(const struct wrap_scheme *s,
					 const struct wrapping_key *kek);

#endif
