/* broker/base/x509.h — X.509: the certificates of a new instance (root, issuing CA, server, release
 * signer), and certificate chains in PEM. */
#ifndef KB_BASE_X509_H
#define KB_BASE_X509_H
#include <openssl/types.h>

#include "base/bytes.h"
#include "base/limits.h"

struct secret;

enum x509_kind {
	X509_ROOT = 1, /* self-signed, may sign one CA below it */
	X509_ISSUING,  /* a CA that signs leaves only */
	/* a TLS server; names are required (RFC 6125: clients look at the SAN alone) */
	X509_LEAF,
	/* the signer of releases; with serverAuth, too: Azure's sidecar verifies the chain of a
	 * reply as that of a server */
	X509_SIGNER,
};

struct x509_template {
	enum x509_kind kind;
	const char *common_name;  /* 1 … 64 bytes (RFC 5280, ub-common-name) */
	const char *const *names; /* DNS names and IP addresses, for a leaf */
	size_t n_names;
	unsigned days;
	int64_t now_s; /* valid from five minutes before, for clocks that are a little behind */
};

enum { X509_MAX_NAMES = 32, X509_MAX_CHAIN = 32 };

/* The extended key usage (RFC 5280 section 4.2.1.12) of a certificate that signs releases.  It is
 * the UUID 39b06480-b2c1-4b40-9ef9-5aa312a4c60f below the arc that Microsoft sets aside for UUIDs,
 * which needs no registration.  Not below 2.25: there a UUID is one number of 128 bits, and Go's
 * crypto/x509, in which clients of releases are written, refuses a certificate with one of more
 * than 31 bits. */
#define X509_SIGNER_USAGE                                                                          \
	"1.2.840.113556.1.8000.2554.14768.25728.45761.19264.40697.5939986.10798607"

/* RSA-2048 (what every client of the release reply takes) or P-256.  On KB_OK *out is the caller's.
 * KB_E_SYS when OpenSSL fails. */
KB_MUST_CHECK enum kb_err x509_rsa_new(EVP_PKEY **out);
KB_MUST_CHECK enum kb_err x509_p256_new(EVP_PKEY **out);

/* A certificate for `subject`, signed (SHA-256) with the issuer's key; issuer NULL: self-signed
 * with issuer_key.  It does not outlive its issuer. KB_E_CONFIG when a name is neither a DNS name
 * nor an address, or there are none or too many; KB_E_SYS when OpenSSL fails. */
KB_MUST_CHECK enum kb_err x509_issue(const struct x509_template *t, EVP_PKEY *subject, X509 *issuer,
				     EVP_PKEY *issuer_key, X509 **out);

void x509_pem(struct buf *out, X509 *cert); /* appended */
/* PKCS#8 in PEM, not encrypted. */
KB_MUST_CHECK enum kb_err x509_key_pem(EVP_PKEY *key, struct secret **out);

/* ---- chains (x509_chain.c) ---- */

struct x509_chain {
	X509 *cert[X509_MAX_CHAIN];
	size_t n;
};
/* Every certificate of a PEM text, in its order.  KB_E_KEY_FORMAT when there is none, more than
 * X509_MAX_CHAIN, or a block that does not decode.  On KB_OK the caller owns them:
 * x509_chain_cleanup(). */
KB_MUST_CHECK enum kb_err x509_chain_load(struct span pem, struct x509_chain *out);
void x509_chain_cleanup(struct x509_chain *c); /* KB_AUTO(x509_chain) */
/* Every certificate is signed by the next one, and the last one by itself: the form in which the
 * reply's x5c is served (RFC 7517 section 4.7).  KB_E_KEY_FORMAT otherwise. */
KB_MUST_CHECK enum kb_err x509_chain_verify(const struct x509_chain *c);
/* x509_chain_load() and x509_chain_verify(). */
KB_MUST_CHECK enum kb_err x509_chain_check(struct span pem);
/* x509_chain_load(); the first certificate as DER (appended), and the earliest end of validity of
 * all of them. */
KB_MUST_CHECK enum kb_err x509_chain_read(struct span pem, struct buf *leaf_der,
					  int64_t *expires_s);
struct x509_times {
	int64_t last_begin_s, first_end_s, last_end_s; /* of all certificates of a file */
};
/* KB_E_KEY_FORMAT as x509_chain_load(), but for any number of certificates. */
KB_MUST_CHECK enum kb_err x509_chain_times(struct span pem, struct x509_times *out);
/* The first certificate of a PEM text, whatever follows it; NULL when there is none.  The
 * caller's. */
X509 *x509_first(struct span pem);
KB_MUST_CHECK enum kb_err x509_der(struct buf *out, X509 *cert); /* appended */

/* ---- revocation lists (x509_crl.c) ---- */

struct x509_crls {
	X509_CRL *crl[KB_MAX_CRLS];
	size_t n;
};
/* Every list of a PEM text.  KB_E_KEY_FORMAT when there is none, more than KB_MAX_CRLS, one that
 * does not decode, or one without an end.  On KB_OK the caller owns them: x509_crls_cleanup(). */
KB_MUST_CHECK enum kb_err x509_crls_load(struct span pem, struct x509_crls *out);
void x509_crls_cleanup(struct x509_crls *c); /* KB_AUTO(x509_crls) */
/* The latest end of an issuer's lists; 0: it has none. */
int64_t x509_crls_until(const struct x509_crls *c, const X509_NAME *issuer);
/* When the last begins, and when the first and the last issuer have none that holds. */
void x509_crls_times(const struct x509_crls *c, struct x509_times *out);
/* One of them is signed by `ca`. */
bool x509_crls_cover(const struct x509_crls *c, X509 *ca);

/* ---- what a certificate may be used for (x509_usage.c) ---- */

/* Of a chain's first certificate, the signer's, and of the CAs above it, which may exclude a usage
 * below them.  Whether the chain is trusted is another question. */
enum x509_usage {
	X509_USAGE_GOOD = 1,
	X509_USAGE_ABSENT, /* it does not name X509_SIGNER_USAGE; anyExtendedKeyUsage is no name */
	X509_USAGE_EXCLUDED, /* a CA's extended key usages leave X509_SIGNER_USAGE out */
	X509_USAGE_BROKEN,   /* an extension that does not decode, or is there twice */
};
enum x509_usage x509_signer_usage(X509 *const *chain, size_t n);
/* Its key usage, if there is one, allows signatures (RFC 5280 section 4.2.1.3). */
bool x509_may_sign(X509 *cert);
/* The same key, in whatever way the two certificates name it.  True when it cannot be told. */
bool x509_same_key(const EVP_PKEY *a, const EVP_PKEY *b);
/* The SHA-256 of the public key (SubjectPublicKeyInfo). */
enum { X509_PIN_BYTES = 32, X509_PIN_TEXT = 64 };
KB_MUST_CHECK enum kb_err x509_pin(X509 *cert, uint8_t out[static X509_PIN_BYTES]);
/* As curl's --pinnedpubkey has it: "sha256//" and base64. */
KB_MUST_CHECK enum kb_err x509_pin_text(X509 *cert, char out[static X509_PIN_TEXT]);
KB_MUST_CHECK enum kb_err x509_pin_parse(struct span text, uint8_t out[static X509_PIN_BYTES]);

void x509_key_cleanup(EVP_PKEY **k); /* KB_AUTO(x509_key) EVP_PKEY *k = NULL; */
void x509_cert_cleanup(X509 **c);

#endif
