/* tests/unit/tls_mint.h — certificates made on the spot, as PEM, and a client, for tests of the
 * gateway's TLS.  A failure aborts the program. */
#ifndef KB_TESTS_TLS_MINT_H
#define KB_TESTS_TLS_MINT_H
#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/bytes.h"

struct tls_pair { /* a certificate and its key */
	X509 *cert;
	EVP_PKEY *key;
	struct buf cert_pem, key_pem;
};

static inline void tls_mint_check(int ok, const char *what)
{
	if (!ok) {
		fprintf(stderr, "tls_mint: %s failed\n", what);
		abort();
	}
}

static inline void tls_mint_pem(BIO *bio, struct buf *out)
{
	char *text;
	long n = BIO_get_mem_data(bio, &text);

	buf_init(out, 65536);
	buf_add(out, text, (size_t)n);
	BIO_free(bio);
}

static inline void tls_mint_add(X509 *cert, int nid, const char *value)
{
	X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, NULL, nid, value);

	tls_mint_check(e != NULL && X509_add_ext(cert, e, -1) == 1, "extension");
	X509_EXTENSION_free(e);
}

/* Signed by `issuer`, or by itself; `name`: the common name, or "@" and an alternative name;
 * `usage`: extended key usage or NULL; valid from an hour ago for `seconds` from now. */
static inline struct tls_pair *tls_mint_with(EVP_PKEY *key, const char *name,
					     const struct tls_pair *issuer, const char *usage,
					     long seconds)
{
	struct tls_pair *p = calloc(1, sizeof *p);
	X509_NAME *subject = X509_NAME_new();
	static long serial;

	tls_mint_check(p != NULL && subject != NULL, "memory");
	p->key = key; /* owned now */
	p->cert = X509_new();
	tls_mint_check(p->key != NULL && p->cert != NULL, "key");
	tls_mint_check(name[0] == '@' ||
			       X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC,
							  (const unsigned char *)name, -1, -1, 0),
		       "name");
	tls_mint_check(X509_set_version(p->cert, 2) &&
			       ASN1_INTEGER_set(X509_get_serialNumber(p->cert), ++serial) &&
			       X509_gmtime_adj(X509_getm_notBefore(p->cert), -3600) != NULL &&
			       X509_gmtime_adj(X509_getm_notAfter(p->cert), seconds) != NULL &&
			       X509_set_subject_name(p->cert, subject) &&
			       X509_set_issuer_name(
				       p->cert, issuer == NULL
							? subject
							: X509_get_subject_name(issuer->cert)) &&
			       X509_set_pubkey(p->cert, p->key),
		       "certificate");
	X509_NAME_free(subject);
	tls_mint_add(p->cert, NID_basic_constraints,
		     issuer == NULL ? "critical,CA:TRUE" : "critical,CA:FALSE");
	if (name[0] == '@') {
		char san[256];
		snprintf(san, sizeof san, "IP:192.0.2.1,DNS:%s", name + 1);
		tls_mint_add(p->cert, NID_subject_alt_name, san);
	}
	if (usage != NULL)
		tls_mint_add(p->cert, NID_ext_key_usage, usage);
	tls_mint_check(X509_sign(p->cert, issuer == NULL ? p->key : issuer->key, EVP_sha256()) > 0,
		       "sign");
	BIO *bio = BIO_new(BIO_s_mem());
	tls_mint_check(bio != NULL && PEM_write_bio_X509(bio, p->cert), "PEM");
	tls_mint_pem(bio, &p->cert_pem);
	bio = BIO_new(BIO_s_mem());
	tls_mint_check(bio != NULL &&
			       PEM_write_bio_PrivateKey(bio, p->key, NULL, NULL, 0, NULL, NULL),
		       "PEM");
	tls_mint_pem(bio, &p->key_pem);
	return p;
}

static inline struct tls_pair *tls_mint(const char *name, const struct tls_pair *issuer,
					const char *usage, long seconds)
{
	return tls_mint_with(EVP_EC_gen("P-256"), name, issuer, usage, seconds);
}

static inline void tls_mint_free(struct tls_pair *p)
{
	if (p == NULL)
		return;
	X509_free(p->cert);
	EVP_PKEY_free(p->key);
	buf_free(&p->cert_pem);
	buf_free(&p->key_pem);
	free(p);
}

/* A revocation list of `issuer` that names `revoked` (or nothing), from an hour ago for `seconds`
 * from now (0: without an end), appended to `out`. */
static inline void tls_mint_crl(struct buf *out, const struct tls_pair *issuer,
				const struct tls_pair *revoked, long seconds)
{
	X509_CRL *crl = X509_CRL_new();
	ASN1_TIME *from = X509_gmtime_adj(NULL, -3600), *to = X509_gmtime_adj(NULL, seconds);
	BIO *bio = BIO_new(BIO_s_mem());
	char *text;

	tls_mint_check(crl != NULL && from != NULL && to != NULL && bio != NULL, "memory");
	tls_mint_check(X509_CRL_set_version(crl, 1) &&
			       X509_CRL_set_issuer_name(crl, X509_get_subject_name(issuer->cert)) &&
			       X509_CRL_set1_lastUpdate(crl, from) &&
			       (seconds == 0 || X509_CRL_set1_nextUpdate(crl, to)),
		       "list");
	if (revoked != NULL) {
		X509_REVOKED *r = X509_REVOKED_new();
		tls_mint_check(r != NULL &&
				       X509_REVOKED_set_serialNumber(
					       r, X509_get_serialNumber(revoked->cert)) &&
				       X509_REVOKED_set_revocationDate(r, from) &&
				       X509_CRL_add0_revoked(crl, r),
			       "entry");
	}
	tls_mint_check(X509_CRL_sort(crl) && X509_CRL_sign(crl, issuer->key, EVP_sha256()) > 0 &&
			       PEM_write_bio_X509_CRL(bio, crl),
		       "list");
	long n = BIO_get_mem_data(bio, &text);
	buf_add(out, text, (size_t)n);
	BIO_free(bio);
	X509_CRL_free(crl);
	ASN1_TIME_free(from);
	ASN1_TIME_free(to);
}

/* A client that trusts `ca` and shows `own` (may be NULL); no limits of its own, so that it is the
 * server that refuses. */
static inline SSL_CTX *tls_mint_client(const struct tls_pair *ca, const struct tls_pair *own)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());

	tls_mint_check(ctx != NULL, "client");
	SSL_CTX_set_security_level(ctx, 0);
	SSL_CTX_set_min_proto_version(ctx, 0);
	tls_mint_check(X509_STORE_add_cert(SSL_CTX_get_cert_store(ctx), ca->cert), "trust");
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
	if (own != NULL)
		tls_mint_check(SSL_CTX_use_certificate(ctx, own->cert) &&
				       SSL_CTX_use_PrivateKey(ctx, own->key),
			       "client certificate");
	return ctx;
}

#endif
