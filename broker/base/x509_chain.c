/* broker/base/x509_chain.c — reads certificate chains in PEM and checks their form.  Never decides
 * whether a certificate is trusted: TLS and the clients do. */
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <time.h>

#include "base/limits.h"
#include "base/x509.h"

void x509_chain_cleanup(struct x509_chain *c)
{
	for (size_t i = 0; i < c->n; i++)
		X509_free(c->cert[i]);
	c->n = 0;
}

/* An encrypted block: never ask for a password on the terminal. */
static int no_password(char *buf, int size, int rwflag, void *ctx)
{
	(void)buf, (void)size, (void)rwflag, (void)ctx;
	return -1;
}

enum kb_err x509_chain_load(struct span pem, struct x509_chain *out)
{
	enum kb_err err = KB_E_KEY_FORMAT;
	X509 *cert;

	*out = (struct x509_chain){.n = 0};
	if (pem.len == 0 || pem.len > KB_MAX_CONFIG)
		return KB_E_KEY_FORMAT;
	BIO *bio = BIO_new_mem_buf(pem.p, (int)pem.len);
	if (bio == NULL)
		return KB_E_NOMEM;
	while ((cert = PEM_read_bio_X509(bio, NULL, no_password, NULL)) != NULL) {
		if (out->n == X509_MAX_CHAIN) {
			X509_free(cert);
			goto out;
		}
		out->cert[out->n++] = cert;
	}
	/* Only "no further PEM block" is a good end; a block that does not decode is not. */
	if (out->n > 0 && ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE)
		err = KB_OK;
out:
	if (err != KB_OK)
		x509_chain_cleanup(out);
	ERR_clear_error();
	BIO_free(bio);
	return err;
}

enum kb_err x509_chain_verify(const struct x509_chain *c)
{
	for (size_t i = 0; i < c->n; i++) {
		X509 *issuer = c->cert[i + 1 < c->n ? i + 1 : i]; /* the root's issuer is itself */
		if (X509_check_issued(issuer, c->cert[i]) != X509_V_OK ||
		    X509_verify(c->cert[i], X509_get0_pubkey(issuer)) != 1)
			return KB_E_KEY_FORMAT;
	}
	return c->n > 0 ? KB_OK : KB_E_KEY_FORMAT;
}

static enum kb_err first_end(const struct x509_chain *c, int64_t *expires_s)
{
	for (size_t i = 0; i < c->n; i++) {
		struct tm tm;
		if (ASN1_TIME_to_tm(X509_get0_notAfter(c->cert[i]), &tm) != 1)
			return KB_E_KEY_FORMAT;
		int64_t end = timegm(&tm);
		if (i == 0 || end < *expires_s)
			*expires_s = end;
	}
	return KB_OK;
}

static bool time_of(const ASN1_TIME *t, int64_t *out)
{
	struct tm tm;

	if (ASN1_TIME_to_tm(t, &tm) != 1)
		return false;
	*out = timegm(&tm);
	return true;
}

enum kb_err x509_chain_times(struct span pem, struct x509_times *out)
{
	BIO *bio = pem.len > 0 && pem.len <= KB_MAX_CONFIG ? BIO_new_mem_buf(pem.p, (int)pem.len)
							   : NULL;
	bool is_good = bio != NULL;
	size_t n = 0;

	*out = (struct x509_times){0};
	for (X509 *cert;
	     is_good && (cert = PEM_read_bio_X509(bio, NULL, no_password, NULL)) != NULL; n++) {
		int64_t begin_s = 0, end_s = 0;
		is_good = time_of(X509_get0_notBefore(cert), &begin_s) &&
			  time_of(X509_get0_notAfter(cert), &end_s);
		X509_free(cert);
		if (n == 0 || begin_s > out->last_begin_s)
			out->last_begin_s = begin_s;
		if (n == 0 || end_s < out->first_end_s)
			out->first_end_s = end_s;
		if (n == 0 || end_s > out->last_end_s)
			out->last_end_s = end_s;
	}
	is_good = is_good && n > 0 && ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
	ERR_clear_error();
	BIO_free(bio);
	return is_good ? KB_OK : KB_E_KEY_FORMAT;
}

enum kb_err x509_der(struct buf *out, X509 *cert)
{
	uint8_t *der = NULL;
	int len = i2d_X509(cert, &der);

	if (len <= 0)
		return KB_E_NOMEM;
	buf_add(out, der, (size_t)len);
	OPENSSL_free(der);
	return buf_ok(out);
}

enum kb_err x509_chain_read(struct span pem, struct buf *leaf_der, int64_t *expires_s)
{
	KB_AUTO(x509_chain) struct x509_chain c = {.n = 0};
	enum kb_err err;

	*expires_s = 0;
	if ((err = x509_chain_load(pem, &c)) != KB_OK || (err = first_end(&c, expires_s)) != KB_OK)
		return err;
	return x509_der(leaf_der, c.cert[0]);
}

enum kb_err x509_chain_check(struct span pem)
{
	KB_AUTO(x509_chain) struct x509_chain c = {.n = 0};
	enum kb_err err = x509_chain_load(pem, &c);

	return err == KB_OK ? x509_chain_verify(&c) : err;
}

X509 *x509_first(struct span pem)
{
	BIO *bio = BIO_new_mem_buf(pem.p, (int)pem.len);
	X509 *cert = bio == NULL ? NULL : PEM_read_bio_X509(bio, NULL, no_password, NULL);

	BIO_free(bio);
	ERR_clear_error();
	return cert;
}
