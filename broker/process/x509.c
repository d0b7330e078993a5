/* broker/process/x509.c — makes an instance's certificates and says when a chain ends.  Trusts the
 * keys it is given (its caller made them); never decides whether a certificate is to be believed:
 * TLS and the clients do. */
#include "process/x509.h"

#include <arpa/inet.h>
#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>
#include <time.h>

#include "base/evp.h"
#include "base/limits.h"
#include "base/secret.h"
#include "keystore/keystore.h"

enum { BACKDATE_S = 300, SERIAL_BYTES = 16, DNS_MAX = 253, CN_MAX = 64, DAY_S = 86400 };

void x509_key_cleanup(EVP_PKEY **k)
{
	EVP_PKEY_free(*k);
}

void x509_cert_cleanup(X509 **c)
{
	X509_free(*c);
}

static void bio_cleanup(BIO **b)
{
	BIO_free(*b);
}

enum kb_err x509_rsa_new(EVP_PKEY **out)
{
	*out = EVP_RSA_gen(KB_RSA_MIN_BITS);
	return *out != NULL ? KB_OK : KB_E_SYS;
}

enum kb_err x509_p256_new(EVP_PKEY **out)
{
	*out = EVP_EC_gen("P-256");
	return *out != NULL ? KB_OK : KB_E_SYS;
}

enum kb_err x509_hsm_key(const struct hsm_public *pub, EVP_PKEY **out)
{
	*out = NULL;
	if (pub->kty != KB_KTY_RSA)
		return KB_E_KEY_TYPE;
	return evp_rsa_public(span_of(pub->n, pub->n_len), span_of(pub->e, pub->e_len), out);
}

/* A host name by the letters-digits-hyphen rule (RFC 1123 §2.1), one leading "*." allowed; it goes
 * into an OpenSSL text in which ',' and ':' mean something. */
static bool is_dns_name(const char *name)
{
	size_t len = strlen(name), label = 0;
	const char *p = strncmp(name, "*.", 2) == 0 ? name + 2 : name;

	if (len > DNS_MAX || *p == '\0')
		return false;
	for (; *p != '\0'; p++) {
		if (*p == '.') {
			if (label == 0 || p[-1] == '-')
				return false;
			label = 0;
			continue;
		}
		bool is_alnum = (*p >= '0' && *p <= '9') || (*p >= 'a' && *p <= 'z') ||
				(*p >= 'A' && *p <= 'Z');
		if (!is_alnum && !(*p == '-' && label > 0))
			return false;
		if (++label > 63)
			return false;
	}
	return label > 0 && p[-1] != '-';
}

static bool is_address(const char *name)
{
	uint8_t bytes[16];

	return inet_pton(AF_INET, name, bytes) == 1 || inet_pton(AF_INET6, name, bytes) == 1;
}

static enum kb_err names_text(const struct x509_template *t, struct buf *out)
{
	if (t->n_names == 0 || t->n_names > X509_MAX_NAMES)
		return KB_E_CONFIG;
	for (size_t i = 0; i < t->n_names; i++) {
		const char *name = t->names[i];
		bool is_ip = is_address(name);
		if (!is_ip && !is_dns_name(name))
			return KB_E_CONFIG;
		buf_addf(out, "%s%s:%s", i == 0 ? "" : ",", is_ip ? "IP" : "DNS", name);
	}
	buf_add(out, "", 1);
	return buf_ok(out);
}

static bool extension_add(X509 *cert, X509V3_CTX *ctx, int nid, const char *value)
{
	X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, ctx, nid, value);
	bool is_added = ext != NULL && X509_add_ext(cert, ext, -1) == 1;

	X509_EXTENSION_free(ext);
	return is_added;
}

/* RFC 5280 §4.2; what a CA may sign is said twice, by path length and by key usage. */
static enum kb_err extensions_add(const struct x509_template *t, X509 *cert, X509 *issuer)
{
	X509V3_CTX ctx;
	const char *basic = NULL, *usage = NULL;

	switch (t->kind) {
	case X509_ROOT:
		basic = "critical,CA:TRUE,pathlen:1";
		usage = "critical,keyCertSign,cRLSign";
		break;
	case X509_ISSUING:
		basic = "critical,CA:TRUE,pathlen:0";
		usage = "critical,keyCertSign,cRLSign";
		break;
	case X509_LEAF:
		basic = "critical,CA:FALSE";
		usage = "critical,digitalSignature";
		break;
	}
	if (basic == NULL)
		return KB_E_BUG;
	X509V3_set_ctx_nodb(&ctx);
	X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
	if (!extension_add(cert, &ctx, NID_basic_constraints, basic) ||
	    !extension_add(cert, &ctx, NID_key_usage, usage) ||
	    !extension_add(cert, &ctx, NID_subject_key_identifier, "hash"))
		return KB_E_SYS;
	if (issuer != cert &&
	    !extension_add(cert, &ctx, NID_authority_key_identifier, "keyid:always"))
		return KB_E_SYS;
	if (t->kind != X509_LEAF)
		return KB_OK;
	KB_AUTO(buf) struct buf names;
	buf_init(&names, X509_MAX_NAMES * (DNS_MAX + 5) + 1);
	enum kb_err err = names_text(t, &names);
	if (err != KB_OK)
		return err;
	if (!extension_add(cert, &ctx, NID_ext_key_usage, "serverAuth,clientAuth") ||
	    !extension_add(cert, &ctx, NID_subject_alt_name, (char *)names.p))
		return KB_E_SYS;
	return KB_OK;
}

static bool serial_set(X509 *cert)
{
	uint8_t bytes[SERIAL_BYTES];

	if (RAND_bytes(bytes, sizeof bytes) != 1)
		return false;
	bytes[0] = (uint8_t)((bytes[0] & 0x7f) |
			     0x40); /* positive, and never short (RFC 5280 §4.1.2.2) */
	BIGNUM *n = BN_bin2bn(bytes, sizeof bytes, NULL);
	bool is_set = n != NULL && BN_to_ASN1_INTEGER(n, X509_get_serialNumber(cert)) != NULL;
	BN_free(n);
	return is_set;
}

static bool times_set(const struct x509_template *t, X509 *cert, X509 *issuer)
{
	time_t from = t->now_s - BACKDATE_S, until = t->now_s + (time_t)t->days * DAY_S;

	if (ASN1_TIME_set(X509_getm_notBefore(cert), from) == NULL ||
	    ASN1_TIME_set(X509_getm_notAfter(cert), until) == NULL)
		return false;
	if (issuer == NULL ||
	    ASN1_TIME_compare(X509_get0_notAfter(issuer), X509_get0_notAfter(cert)) >= 0)
		return true;
	return X509_set1_notAfter(cert, X509_get0_notAfter(issuer)) == 1;
}

enum kb_err x509_issue(const struct x509_template *t, EVP_PKEY *subject, X509 *issuer,
		       EVP_PKEY *issuer_key, X509 **out)
{
	enum kb_err err = KB_E_SYS;
	size_t cn_len = strlen(t->common_name);

	*out = NULL;
	if (cn_len == 0 || cn_len > CN_MAX)
		return KB_E_CONFIG;
	KB_AUTO(x509_cert) X509 *cert = X509_new();
	if (cert == NULL || X509_set_version(cert, X509_VERSION_3) != 1 || !serial_set(cert) ||
	    !times_set(t, cert, issuer))
		return err;
	X509_NAME *name = X509_get_subject_name(cert);
	if (X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const uint8_t *)t->common_name,
				       (int)cn_len, -1, 0) != 1)
		return err;
	if (X509_set_issuer_name(cert, issuer == NULL ? name : X509_get_subject_name(issuer)) !=
		    1 ||
	    X509_set_pubkey(cert, subject) != 1)
		return err;
	if ((err = extensions_add(t, cert, issuer == NULL ? cert : issuer)) != KB_OK)
		return err;
	if (X509_sign(cert, issuer_key, EVP_sha256()) == 0)
		return KB_E_SYS;
	*out = cert;
	cert = NULL;
	return KB_OK;
}

void x509_pem(struct buf *out, X509 *cert)
{
	KB_AUTO(bio) BIO *bio = BIO_new(BIO_s_mem());
	char *text = NULL;

	if (bio == NULL || PEM_write_bio_X509(bio, cert) != 1) {
		out->failed = true;
		return;
	}
	long len = BIO_get_mem_data(bio, &text);
	buf_add(out, text, len > 0 ? (size_t)len : 0);
}

enum kb_err x509_key_pem(EVP_PKEY *key, struct secret **out)
{
	KB_AUTO(bio) BIO *bio = BIO_new(BIO_s_secmem());
	char *text = NULL;

	*out = NULL;
	if (bio == NULL || PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) != 1)
		return KB_E_SYS;
	long len = BIO_get_mem_data(bio, &text);
	struct secret *s = len > 0 ? secret_new((size_t)len) : NULL;
	if (s == NULL)
		return KB_E_NOMEM;
	memcpy(secret_bytes(s), text, (size_t)len);
	*out = s;
	return KB_OK;
}

/* The certificates of a PEM text, at most X509_MAX_CHAIN; the caller frees each of the *n. */
static enum kb_err chain_load(struct span pem, X509 *certs[static X509_MAX_CHAIN], size_t *n)
{
	*n = 0;
	if (pem.len == 0 || pem.len > KB_MAX_CONFIG)
		return KB_E_KEY_FORMAT;
	KB_AUTO(bio) BIO *bio = BIO_new_mem_buf(pem.p, (int)pem.len);
	if (bio == NULL)
		return KB_E_NOMEM;
	for (;;) {
		X509 *cert = PEM_read_bio_X509(bio, NULL, NULL, NULL);
		if (cert == NULL)
			break;
		if (*n == X509_MAX_CHAIN) {
			X509_free(cert);
			return KB_E_KEY_FORMAT;
		}
		certs[(*n)++] = cert;
	}
	/* Only "no further PEM block" is a good end; a block that does not decode is not. */
	unsigned long why = ERR_peek_last_error();
	ERR_clear_error();
	return *n > 0 && ERR_GET_REASON(why) == PEM_R_NO_START_LINE ? KB_OK : KB_E_KEY_FORMAT;
}

static void chain_free(X509 **certs, size_t n)
{
	for (size_t i = 0; i < n; i++)
		X509_free(certs[i]);
}

static enum kb_err chain_describe(X509 *const *certs, size_t n, struct buf *leaf_der,
				  int64_t *expires_s)
{
	for (size_t i = 0; i < n; i++) {
		struct tm tm;
		if (ASN1_TIME_to_tm(X509_get0_notAfter(certs[i]), &tm) != 1)
			return KB_E_KEY_FORMAT;
		int64_t end = timegm(&tm);
		if (i == 0 || end < *expires_s)
			*expires_s = end;
	}
	uint8_t *der = NULL;
	int len = i2d_X509(certs[0], &der);
	if (len <= 0)
		return KB_E_NOMEM;
	buf_add(leaf_der, der, (size_t)len);
	OPENSSL_free(der);
	return buf_ok(leaf_der);
}

enum kb_err x509_chain_read(struct span pem, struct buf *leaf_der, int64_t *expires_s)
{
	X509 *certs[X509_MAX_CHAIN];
	size_t n = 0;

	*expires_s = 0;
	enum kb_err err = chain_load(pem, certs, &n);
	if (err == KB_OK)
		err = chain_describe(certs, n, leaf_der, expires_s);
	chain_free(certs, n);
	return err;
}

enum kb_err x509_chain_check(struct span pem)
{
	X509 *certs[X509_MAX_CHAIN];
	size_t n = 0;
	enum kb_err err = chain_load(pem, certs, &n);

	for (size_t i = 0; err == KB_OK && i < n; i++) {
		X509 *above = certs[i + 1 < n ? i + 1 : i]; /* the root above itself */
		if (X509_check_issued(above, certs[i]) != X509_V_OK ||
		    X509_verify(certs[i], X509_get0_pubkey(above)) != 1)
			err = KB_E_KEY_FORMAT;
	}
	chain_free(certs, n);
	return err;
}
