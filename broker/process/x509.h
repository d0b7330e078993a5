/* broker/process/x509.h — the certificates of a new instance: root, issuing CA, server, release
 * signer.  Makes and describes; judges no stranger's certificate. */
#ifndef KB_PROCESS_X509_H
#define KB_PROCESS_X509_H
#include <openssl/types.h>

#include "base/bytes.h"

struct hsm_public;
struct secret;

enum x509_kind {
	X509_ROOT = 1, /* self-signed, may sign one CA below it */
	X509_ISSUING,  /* a CA that signs leaves only */
	X509_LEAF, /* server and client authentication; names are required (RFC 6125: clients look
		      at the SAN alone) */
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

/* RSA-2048 (what every client of the release reply takes) or P-256.  On KB_OK *out is the caller's.
 * KB_E_SYS when OpenSSL fails. */
KB_MUST_CHECK enum kb_err x509_rsa_new(EVP_PKEY **out);
KB_MUST_CHECK enum kb_err x509_p256_new(EVP_PKEY **out);
/* The public key of an RSA key in the HSM.  KB_E_KEY_TYPE when it is none, KB_E_KEY_FORMAT when its
 * numbers are not a key's. */
KB_MUST_CHECK enum kb_err x509_hsm_key(const struct hsm_public *pub, EVP_PKEY **out);

/* A certificate for `subject`, signed (SHA-256) with the issuer's key; issuer NULL: self-signed
 * with issuer_key.  It does not outlive its issuer. KB_E_CONFIG when a name is neither a DNS name
 * nor an address, or there are none or too many; KB_E_SYS when OpenSSL fails. */
KB_MUST_CHECK enum kb_err x509_issue(const struct x509_template *t, EVP_PKEY *subject, X509 *issuer,
				     EVP_PKEY *issuer_key, X509 **out);

void x509_pem(struct buf *out, X509 *cert); /* appended */
/* PKCS#8 in PEM, not encrypted. */
KB_MUST_CHECK enum kb_err x509_key_pem(EVP_PKEY *key, struct secret **out);

/* What `check` tells of a PEM chain: its first certificate as DER (appended) and the earliest end
 * of validity of all (≤ X509_MAX_CHAIN). KB_E_KEY_FORMAT when there is no certificate in it or one
 * does not parse. */
KB_MUST_CHECK enum kb_err x509_chain_read(struct span pem, struct buf *leaf_der,
					  int64_t *expires_s);
/* The last certificate is signed by itself and every other one by its successor: the form in which
 * the reply's x5c is served.  KB_E_KEY_FORMAT otherwise. */
KB_MUST_CHECK enum kb_err x509_chain_check(struct span pem);

void x509_key_cleanup(EVP_PKEY **k); /* KB_AUTO(x509_key) EVP_PKEY *k = NULL; */
void x509_cert_cleanup(X509 **c);

#endif
