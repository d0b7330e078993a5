/* broker/base/x509_crl.c — reads certificate revocation lists in PEM, and says until when they
 * hold. Never decides whether a list is genuine or whether a certificate is revoked: OpenSSL does,
 * at each handshake. */
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <time.h>

#include "base/x509.h"

void x509_crls_cleanup(struct x509_crls *c)
{
	for (size_t i = 0; i < c->n; i++)
		X509_CRL_free(c->crl[i]);
	c->n = 0;
}

static bool time_of(const ASN1_TIME *t, int64_t *out)
{
	struct tm tm;

	if (t == NULL || ASN1_TIME_to_tm(t, &tm) != 1)
		return false;
	*out = timegm(&tm);
	return true;
}

enum kb_err x509_crls_load(struct span pem, struct x509_crls *out)
{
	enum kb_err err = KB_E_KEY_FORMAT;
	X509_CRL *crl;

	*out = (struct x509_crls){.n = 0};
	if (pem.len == 0 || pem.len > KB_MAX_CONFIG)
		return KB_E_KEY_FORMAT;
	BIO *bio = BIO_new_mem_buf(pem.p, (int)pem.len);
	if (bio == NULL)
		return KB_E_NOMEM;
	while ((crl = PEM_read_bio_X509_CRL(bio, NULL, NULL, NULL)) != NULL) {
		int64_t ignored;
		/* RFC 5280 section 5.1.2.5 requires nextUpdate.  OpenSSL takes a list without it
		 * for one that holds for ever. */
		if (out->n == KB_MAX_CRLS || !time_of(X509_CRL_get0_lastUpdate(crl), &ignored) ||
		    !time_of(X509_CRL_get0_nextUpdate(crl), &ignored)) {
			X509_CRL_free(crl);
			goto out;
		}
		out->crl[out->n++] = crl;
	}
	if (out->n > 0 && ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE)
		err = KB_OK;
out:
	if (err != KB_OK)
		x509_crls_cleanup(out);
	ERR_clear_error();
	BIO_free(bio);
	return err;
}

int64_t x509_crls_until(const struct x509_crls *c, const X509_NAME *issuer)
{
	int64_t until_s = 0, end_s;

	for (size_t i = 0; i < c->n; i++)
		if (X509_NAME_cmp(X509_CRL_get_issuer(c->crl[i]), issuer) == 0 &&
		    time_of(X509_CRL_get0_nextUpdate(c->crl[i]), &end_s) && end_s > until_s)
			until_s = end_s;
	return until_s;
}

void x509_crls_times(const struct x509_crls *c, struct x509_times *out)
{
	*out = (struct x509_times){0};
	for (size_t i = 0; i < c->n; i++) {
		int64_t end_s = x509_crls_until(c, X509_CRL_get_issuer(c->crl[i])), begin_s = 0;
		if (time_of(X509_CRL_get0_lastUpdate(c->crl[i]), &begin_s) &&
		    begin_s > out->last_begin_s)
			out->last_begin_s = begin_s;
		if (i == 0 || end_s < out->first_end_s)
			out->first_end_s = end_s;
		if (end_s > out->last_end_s)
			out->last_end_s = end_s;
	}
}

bool x509_crls_cover(const struct x509_crls *c, X509 *ca)
{
	EVP_PKEY *key = X509_get0_pubkey(ca);
	bool is_covered = false;

	for (size_t i = 0; i < c->n && !is_covered; i++)
		is_covered = X509_NAME_cmp(X509_CRL_get_issuer(c->crl[i]),
					   X509_get_subject_name(ca)) == 0 &&
			     key != NULL && X509_CRL_verify(c->crl[i], key) == 1;
	ERR_clear_error();
	return is_covered;
}
