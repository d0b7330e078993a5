/* broker/config/certificates.c — the one judgement of certificates' validity.  Decides what is
 * wrong with them, not what follows from it: a check refuses an ended certificate, a start warns of
 * it. */
#include "config/certificates.h"

#include <openssl/x509.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/x509.h"

enum { SOON_S = 30 * 86400, WHAT = 256 };

struct look {
	const struct config *c;
	int64_t now_s;
	certificate_note *note;
	void *ctx;
};

static void tell(const struct look *l, enum certificate_state state, struct span pem,
		 const char *what, const char *fault, int64_t time_s)
{
	char text[WHAT + 512], day[KB_TIME_TEXT] = "";

	if (time_s != 0)
		clock_text_s(time_s, day);
	snprintf(text, sizeof text, "%s: %s: %s%.10s", l->c->path, what, fault, day);
	l->note(l->ctx, state, pem, text);
}

/* A chain: every certificate in it must be valid. */
static void look_at_chain(const struct look *l, const char *what, struct span pem)
{
	struct x509_times t;

	if (x509_chain_times(pem, &t) != KB_OK)
		tell(l, CERTIFICATE_BAD, pem, what, "no PEM certificates, or one does not parse",
		     0);
	else if (t.first_end_s < l->now_s)
		tell(l, CERTIFICATE_ENDED, pem, what,
		     "put a valid one in its place; a certificate ended on ", t.first_end_s);
	else if (t.last_begin_s > l->now_s)
		tell(l, CERTIFICATE_ENDED, pem, what,
		     "is the clock right?  A certificate is not valid before ", t.last_begin_s);
	else if (t.first_end_s < l->now_s + SOON_S)
		tell(l, CERTIFICATE_WARNING, pem, what, "a certificate ends on ", t.first_end_s);
}

/* Roots to verify by: one that is valid is enough. */
static void look_at_roots(const struct look *l, const char *what, struct span pem)
{
	struct x509_times t;

	if (pem.len == 0)
		return;
	if (x509_chain_times(pem, &t) != KB_OK)
		tell(l, CERTIFICATE_BAD, pem, what,
		     "no PEM certificates, too many, or one does not parse", 0);
	else if (t.last_end_s < l->now_s)
		tell(l, CERTIFICATE_ENDED, pem, what,
		     "put a valid one in its place; the last certificate ended on ", t.last_end_s);
	else if (t.first_end_s < l->now_s + SOON_S)
		tell(l, CERTIFICATE_WARNING, pem, what, "one certificate of the file ends on ",
		     t.first_end_s);
}

/* Lists to refuse by.  Where they are configured a CA without one that holds is no CA. */
static void look_at_crls(const struct look *l, const char *what, const struct listener_config *c)
{
	KB_AUTO(x509_crls) struct x509_crls crls = {.n = 0};
	KB_AUTO(x509_chain) struct x509_chain roots = {.n = 0};
	struct x509_times t;
	char name[128], text[512];

	if (c->client_crl.len == 0)
		return;
	if (x509_crls_load(c->client_crl, &crls) != KB_OK) {
		tell(l, CERTIFICATE_BAD, c->client_crl, what,
		     "no revocation lists in PEM, too many, or one does not parse", 0);
		return;
	}
	x509_crls_times(&crls, &t);
	int64_t left_s = t.first_end_s - l->now_s;
	if (left_s <= 0)
		tell(l, CERTIFICATE_ENDED, c->client_crl, what,
		     "put the current list in its place and reload: no client certificate of its "
		     "CA "
		     "is accepted any more, because the list ended on ",
		     t.first_end_s);
	else if (t.last_begin_s > l->now_s)
		tell(l, CERTIFICATE_ENDED, c->client_crl, what,
		     "is the clock right?  A revocation list is not valid before ", t.last_begin_s);
	/* Lists live for days or weeks: warn when a quarter of that is left. */
	else if (left_s < SOON_S && left_s < (t.first_end_s - t.last_begin_s) / 4)
		tell(l, CERTIFICATE_WARNING, c->client_crl, what,
		     "put the next list in its place and reload: without it no client certificate "
		     "of its CA is accepted after ",
		     t.first_end_s);
	if (x509_chain_load(c->client_ca, &roots) != KB_OK)
		return; /* told by look_at_roots() */
	for (size_t i = 0; i < roots.n; i++) {
		if (x509_crls_cover(&crls, roots.cert[i]))
			continue;
		X509_NAME_oneline(X509_get_subject_name(roots.cert[i]), name, sizeof name);
		snprintf(text, sizeof text,
			 "no list is signed by the CA %s of client_ca: no certificate that it "
			 "issued is accepted",
			 name);
		tell(l, CERTIFICATE_WARNING, c->client_crl, what, text, 0);
	}
}

/* Foreign clients do not look at the usage, and a guest may name the key: no fault. */
static void look_at_signer(const struct look *l, struct span pem)
{
	static const char *const fault[] = {
		[X509_USAGE_ABSENT] = "the first certificate does not have",
		[X509_USAGE_EXCLUDED] = "the extended key usages of a CA in it exclude",
		[X509_USAGE_BROKEN] =
			"the extended key usages of a certificate cannot be read: it must have",
	};
	KB_AUTO(x509_chain) struct x509_chain chain = {.n = 0};
	char pin[X509_PIN_TEXT], text[512];

	if (x509_chain_load(pem, &chain) != KB_OK)
		return; /* told by look_at_chain() */
	enum x509_usage usage = x509_signer_usage(chain.cert, chain.n);
	if (usage != X509_USAGE_GOOD && x509_pin_text(chain.cert[0], pin) == KB_OK) {
		snprintf(text, sizeof text,
			 "%s the extended key usage " X509_SIGNER_USAGE
			 " of a release signer: keybroker-guest refuses its replies, unless it is "
			 "called "
			 "with --signer-pin %s. Have a certificate with serverAuth and this usage "
			 "issued "
			 "for the same key",
			 fault[usage], pin);
		tell(l, CERTIFICATE_WARNING, pem, "signer.certificates", text, 0);
	}
	if (!x509_may_sign(chain.cert[0]))
		tell(l, CERTIFICATE_WARNING, pem, "signer.certificates",
		     "the key usage of the first certificate does not allow signatures "
		     "(digitalSignature): clients may refuse its replies",
		     0);
}

void config_certificates(const struct config *c, int64_t now_s, certificate_note *note, void *ctx)
{
	const struct look l = {c, now_s, note, ctx};
	char what[WHAT];

	for (size_t i = 0; i < c->n_listeners; i++) {
		snprintf(what, sizeof what, "listeners[%zu].tls.certificate", i);
		look_at_chain(&l, what, c->listeners[i].certificate);
		snprintf(what, sizeof what, "listeners[%zu].tls.client_ca", i);
		look_at_roots(&l, what, c->listeners[i].client_ca);
		snprintf(what, sizeof what, "listeners[%zu].tls.client_crl", i);
		look_at_crls(&l, what, &c->listeners[i]);
	}
	look_at_chain(&l, "signer.certificates", c->signer_chain);
	look_at_signer(&l, c->signer_chain);
	for (size_t i = 0; i < c->n_issuers; i++) {
		snprintf(what, sizeof what, "keys.ca_file of issuer %s", c->issuers[i].rules.name);
		look_at_roots(&l, what, c->issuers[i].ca);
	}
}
