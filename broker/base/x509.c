/* broker/base/x509.c — makes the keys and certificates of an instance.  Trusts the keys that it is
 * given: its caller made them. */
#include "base/x509.h"

#include <arpa/inet.h>
#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>
#include <time.h>

#include "base/limits.h"
#include "base/secret.h"

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

/* A host name by the letters-digits-hyphen rule (RFC 1123 section 2.1), one leading "*." allowed.
 * It becomes part of an OpenSSL configuration text, in which ',' and ':' are separators. */
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

/* RFC 5280 section 4.2.  Path length and key usage both limit what a CA may sign. */
static enum kb_err extensions_add(const struct x509_template *t, X509 *cert, X509 *issuer)
{
	X509V3_CTX ctx;
	const char *basic = NULL, *usage = NULL, *purposes = NULL;

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
		purposes = "serverAuth";
		break;
	case X509_SIGNER:
		basic = "critical,CA:FALSE";
		usage = "critical,digitalSignature";
		purposes = "serverAuth," X509_SIGNER_USAGE;
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
	if (purposes == NULL)
		return KB_OK;
	KB_AUTO(buf) struct buf names;
	buf_init(&names, X509_MAX_NAMES * (DNS_MAX + 5) + 1);
	enum kb_err err = names_text(t, &names);
	if (err != KB_OK)
		return err;
	if (!extension_add(cert, &ctx, NID_ext_key_usage, purposes) ||
	    !extension_add(cert, &ctx, NID_subject_alt_name, (char *)names.p))
		return KB_E_SYS;
	return KB_OK;
}

static bool serial_set(X509 *cert)
{
	uint8_t bytes[SERIAL_BYTES];

	if (RAND_bytes(bytes, sizeof bytes) != 1)
		return false;
	/* Positive, and never shorter (RFC 5280 section 4.1.2.2). */
	bytes[0] = (uint8_t)((bytes[0] & 0x7f) | 0x40);
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
