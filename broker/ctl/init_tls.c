/* broker/ctl/init_tls.c — certificates of a new instance: a demo CA, the server's and the release
 * signer's.  The root's private key never reaches the disk; the issuing CA's does, for the demo. */
#include <openssl/x509.h>
#include <string.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/secret.h"
#include "base/x509.h"
#include "ctl/init.h"
#include "ctl/output.h"
#include "keystore/keystore.h"
#include "keystore/public_evp.h"

enum { CA_DAYS = 3650, LEAF_DAYS = 730 };

struct authority {
	EVP_PKEY *root_key, *issuing_key;
	X509 *root, *issuing;
};

static void authority_free(struct authority *a)
{
	/* Never written to disk: no second issuing CA can be made under this root. */
	EVP_PKEY_free(a->root_key);
	EVP_PKEY_free(a->issuing_key);
	X509_free(a->root);
	X509_free(a->issuing);
}

static enum kb_err authority_make(const struct instance *in, struct authority *a)
{
	struct x509_template t = {.kind = X509_ROOT,
				  .common_name = "Keybroker demo root",
				  .days = CA_DAYS,
				  .now_s = clock_wall_s()};
	KB_AUTO(secret) struct secret *key_pem = NULL;
	KB_AUTO(buf) struct buf root_pem = {0};
	KB_AUTO(buf) struct buf issuing_pem = {0};
	enum kb_err err = KB_E_BUG;

	buf_init(&root_pem, KB_MAX_CONFIG);
	buf_init(&issuing_pem, KB_MAX_CONFIG);
	if ((err = x509_rsa_new(&a->root_key)) != KB_OK ||
	    (err = x509_issue(&t, a->root_key, NULL, a->root_key, &a->root)) != KB_OK)
		return err;
	t.kind = X509_ISSUING;
	t.common_name = "Keybroker demo issuing CA";
	if ((err = x509_rsa_new(&a->issuing_key)) != KB_OK ||
	    (err = x509_issue(&t, a->issuing_key, a->root, a->root_key, &a->issuing)) != KB_OK)
		return err;
	x509_pem(&root_pem, a->root);
	x509_pem(&issuing_pem, a->issuing);
	if ((err = x509_key_pem(a->issuing_key, &key_pem)) != KB_OK ||
	    (err = init_put(in, "tls/ca.key", 0600, secret_span(key_pem))) != KB_OK)
		return err;
	if ((err = init_put_buf(in, "tls/root.pem", 0644, &root_pem)) != KB_OK)
		return err;
	return init_put_buf(in, "tls/ca.pem", 0644, &issuing_pem);
}

/* A leaf for `key` and its chain: up to the issuing CA for TLS, up to the root for the reply's x5c:
 * Key Vault's clients expect the root there. */
static enum kb_err leaf_make(const struct instance *in, const struct authority *a,
			     enum x509_kind kind, EVP_PKEY *key, const char *file)
{
	struct x509_template t = {kind,      strlen(in->host) <= 64 ? in->host : "keybroker",
				  in->names, in->n_names,
				  LEAF_DAYS, clock_wall_s()};
	KB_AUTO(x509_cert) X509 *leaf = NULL;
	KB_AUTO(buf) struct buf pem = {0};
	enum kb_err err = x509_issue(&t, key, a->issuing, a->issuing_key, &leaf);

	if (err != KB_OK)
		return err;
	buf_init(&pem, KB_MAX_CONFIG);
	x509_pem(&pem, leaf);
	x509_pem(&pem, a->issuing);
	if (kind == X509_SIGNER)
		x509_pem(&pem, a->root);
	return init_put_buf(in, file, 0644, &pem);
}

enum kb_err init_tls(const struct instance *in, const struct hsm_public *signer)
{
	struct authority a = {0};
	KB_AUTO(x509_key) EVP_PKEY *server = NULL;
	KB_AUTO(x509_key) EVP_PKEY *signer_key = NULL;
	KB_AUTO(secret) struct secret *server_pem = NULL;
	enum kb_err err = authority_make(in, &a);

	if (err == KB_OK)
		err = x509_p256_new(&server); /* half the handshake's cost of RSA */
	if (err == KB_OK)
		err = x509_key_pem(server, &server_pem);
	if (err == KB_OK)
		err = init_put(in, "tls/server.key", init_private(in), secret_span(server_pem));
	if (err == KB_OK)
		err = leaf_make(in, &a, X509_LEAF, server, "tls/server.pem");
	if (err == KB_OK)
		err = hsm_public_evp(signer, &signer_key);
	if (err == KB_OK)
		err = leaf_make(in, &a, X509_SIGNER, signer_key, "tls/signer-chain.pem");
	authority_free(&a);
	if (err == KB_E_CONFIG)
		ctl_fail(CTL_FAILED, "a --name is neither a host name nor an address");
	return err;
}
