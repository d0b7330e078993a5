/* tests/e2e/issuer_tls.c — certificates of the test issuer.  The bad ones are made at the start by
 * the instance's own issuing CA: apart from what is wrong with them they are as good as the right
 * one. */
#include "issuer_tls.h"

#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { STALL_S = 20 };

struct identity {
	X509 *cert;
	EVP_PKEY *key;
};

static struct fault {
	const char *name;
	SSL_CTX *ctx;
} faults[4] = {{"expired.localhost", NULL},
	       {"self.localhost", NULL},
	       {"foreign.localhost", NULL},
	       {"old.localhost", NULL}};

static bool extend(X509 *cert, int nid, const char *value)
{
	X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, NULL, nid, value);
	bool ok = e != NULL && X509_add_ext(cert, e, -1) == 1;

	X509_EXTENSION_free(e);
	return ok;
}

/* Valid from a day ago until `until_s` from now; `ca` NULL: signed by itself. */
static struct identity make(const char *name, const struct identity *ca, long until_s)
{
	struct identity id = {X509_new(), EVP_EC_gen("P-256")};
	X509 *x = id.cert;
	char san[80];

	snprintf(san, sizeof san, "DNS:%s", name);
	if (x == NULL || id.key == NULL || X509_set_version(x, X509_VERSION_3) != 1 ||
	    ASN1_INTEGER_set(X509_get_serialNumber(x), 7) != 1 ||
	    X509_gmtime_adj(X509_getm_notBefore(x), -86400) == NULL ||
	    X509_gmtime_adj(X509_getm_notAfter(x), until_s) == NULL ||
	    X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC,
				       (const unsigned char *)name, -1, -1, 0) != 1 ||
	    X509_set_issuer_name(x, X509_get_subject_name(ca == NULL ? x : ca->cert)) != 1 ||
	    X509_set_pubkey(x, id.key) != 1 || !extend(x, NID_subject_alt_name, san) ||
	    !extend(x, NID_basic_constraints,
		    ca == NULL ? "critical,CA:TRUE" : "critical,CA:FALSE") ||
	    X509_sign(x, ca == NULL ? id.key : ca->key, EVP_sha256()) <= 0) {
		X509_free(x);
		EVP_PKEY_free(id.key);
		return (struct identity){0};
	}
	return id;
}

static SSL_CTX *context(const struct identity *id, X509 *chain)
{
	SSL_CTX *ctx = id->cert == NULL ? NULL : SSL_CTX_new(TLS_server_method());

	if (ctx != NULL && SSL_CTX_use_certificate(ctx, id->cert) == 1 &&
	    SSL_CTX_use_PrivateKey(ctx, id->key) == 1 &&
	    (chain == NULL || SSL_CTX_add1_chain_cert(ctx, chain) == 1))
		return ctx;
	SSL_CTX_free(ctx);
	return NULL;
}

static void make_faults(const char *dir)
{
	char path[4096];
	struct identity ca = {0}, foreign = make("foreign CA", NULL, 86400), id;

	snprintf(path, sizeof path, "%s/ca.pem", dir);
	FILE *f = fopen(path, "re");
	if (f != NULL) {
		ca.cert = PEM_read_X509(f, NULL, NULL, NULL);
		fclose(f);
	}
	snprintf(path, sizeof path, "%s/ca.key", dir);
	f = fopen(path, "re");
	if (f != NULL) {
		ca.key = PEM_read_PrivateKey(f, NULL, NULL, NULL);
		fclose(f);
	}
	if (ca.cert == NULL || ca.key == NULL || foreign.cert == NULL)
		return;
	id = make(faults[0].name, &ca, -3600);
	faults[0].ctx = context(&id, ca.cert);
	id = make(faults[1].name, NULL, 86400);
	faults[1].ctx = context(&id, NULL);
	id = make(faults[2].name, &foreign, 86400);
	faults[2].ctx = context(&id, foreign.cert);
	id = make(faults[3].name, &ca, 86400);
	faults[3].ctx = context(&id, ca.cert);
	if (faults[3].ctx != NULL) {
		SSL_CTX_set_security_level(faults[3].ctx, 0);
		SSL_CTX_set_min_proto_version(faults[3].ctx, TLS1_VERSION);
		SSL_CTX_set_max_proto_version(faults[3].ctx, TLS1_1_VERSION);
	}
}

/* The name in the ClientHello (RFC 6066 §3: list length, type, length, name); "" when there is
 * none. */
static const char *wanted_name(SSL *s, char out[static 128])
{
	const unsigned char *p;
	size_t len;

	out[0] = '\0';
	if (SSL_client_hello_get0_ext(s, TLSEXT_TYPE_server_name, &p, &len) == 1 && len > 5)
		snprintf(out, 128, "%.*s", (int)(len - 5), (const char *)p + 5);
	return out;
}

static int on_hello(SSL *s, int *alert, void *ctx)
{
	char name[128];

	(void)ctx;
	(void)wanted_name(s, name);
	if (strcmp(name, "stall.localhost") == 0)
		sleep(STALL_S);
	if (strcmp(name, "reset.localhost") == 0)
		setsockopt(SSL_get_fd(s), SOL_SOCKET, SO_LINGER, &(struct linger){1, 0},
			   sizeof(struct linger));
	if (strcmp(name, "stall.localhost") == 0 || strcmp(name, "reset.localhost") == 0) {
		*alert = SSL_AD_INTERNAL_ERROR;
		return SSL_CLIENT_HELLO_ERROR;
	}
	for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++)
		if (strcmp(name, faults[i].name) == 0 && faults[i].ctx != NULL) {
			SSL_set_SSL_CTX(s, faults[i].ctx);
			SSL_set_security_level(s, SSL_CTX_get_security_level(faults[i].ctx));
			SSL_set_min_proto_version(
				s, (int)SSL_CTX_get_min_proto_version(faults[i].ctx));
			SSL_set_max_proto_version(
				s, (int)SSL_CTX_get_max_proto_version(faults[i].ctx));
		}
	return SSL_CLIENT_HELLO_SUCCESS;
}

SSL_CTX *issuer_tls_new(const char *dir)
{
	char certificate[4096], key[4096];
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());

	snprintf(certificate, sizeof certificate, "%s/server.pem", dir);
	snprintf(key, sizeof key, "%s/server.key", dir);
	if (ctx == NULL || SSL_CTX_use_certificate_chain_file(ctx, certificate) != 1 ||
	    SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) != 1)
		return NULL;
	make_faults(dir);
	SSL_CTX_set_client_hello_cb(ctx, on_hello, NULL);
	return ctx;
}
