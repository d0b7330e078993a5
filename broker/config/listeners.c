/* broker/config/listeners.c — "listeners" of keybroker.json: addresses, certificates,
 * authentication. Decides whether a listener can work, so that a bad certificate is a fault of the
 * new configuration and does not stop a gateway. */
#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "api/api.h"
#include "base/hex.h"
#include "base/x509.h"
#include "config/document.h"

enum { MAX_PEM = 256 * 1024, MAX_BEARERS = 4096, MAX_URL = 512 };

bool address_ok(const char *text)
{
	char host[INET6_ADDRSTRLEN + 2];
	struct in6_addr ignored;
	const char *colon = strrchr(text, ':');

	if (colon == NULL || (size_t)(colon - text) >= sizeof host || colon[1] < '1' ||
	    colon[1] > '9')
		return false;
	char *end;
	unsigned long port = strtoul(colon + 1, &end, 10);
	if (*end != '\0' || port > 65535)
		return false;
	memcpy(host, text, (size_t)(colon - text));
	host[colon - text] = '\0';
	size_t len = strlen(host);
	if (len > 2 && host[0] == '[' && host[len - 1] == ']') {
		host[len - 1] = '\0';
		return inet_pton(AF_INET6, host + 1, &ignored) == 1;
	}
	return inet_pton(AF_INET, host, &ignored) == 1;
}

/* https://host[:port] and nothing after it: a key id is this, "/keys/" and a name, and clients
 * split it at the slashes. */
static bool base_url_ok(const char *url)
{
	static const char host_chars[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-:[]";

	if (strncmp(url, "https://", 8) != 0)
		return false;
	size_t len = strlen(url + 8);
	return len > 0 && strspn(url + 8, host_chars) == len;
}

/* Key Vault's clients request their credential for this resource, and accept it only when their
 * host ends in "." and the resource's host: so it is the parent domain where there is one. */
static char *default_resource(const char *base_url)
{
	const char *host = base_url + 8;
	size_t len = strcspn(host, ":");
	size_t labels = 1;
	bool is_name = false;
	char *resource = NULL;

	for (size_t i = 0; i < len; i++) {
		labels += host[i] == '.';
		is_name = is_name || (host[i] != '.' && (host[i] < '0' || host[i] > '9'));
	}
	const char *dot = strchr(host, '.');
	if (host[0] == '[' || !is_name || labels < 3 || dot == NULL)
		return strdup(base_url);
	if (asprintf(&resource, "https://%.*s", (int)(len - (size_t)(dot + 1 - host)), dot + 1) < 0)
		return NULL;
	return resource;
}

static int no_password(char *buf, int size, int rwflag, void *ctx)
{
	(void)buf, (void)size, (void)rwflag, (void)ctx;
	return -1;
}

/* Would TLS serve this chain?  OpenSSL decides by its security level, for the gateway as well. */
static bool is_servable(struct span pem)
{
	BIO *bio = BIO_new_mem_buf(pem.p, (int)pem.len);
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
	bool is_good = bio != NULL && ctx != NULL;
	X509 *cert;

	for (size_t n = 0;
	     is_good && (cert = PEM_read_bio_X509(bio, NULL, no_password, NULL)) != NULL; n++) {
		is_good = n == 0 ? SSL_CTX_use_certificate(ctx, cert) == 1
				 : SSL_CTX_add1_chain_cert(ctx, cert) == 1;
		X509_free(cert);
	}
	is_good = is_good && ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
	SSL_CTX_free(ctx);
	BIO_free(bio);
	ERR_clear_error();
	return is_good;
}

/* NULL when the certificate and the key are a pair, else what is wrong. */
static const char *pair_fault(struct span certificate, struct span key)
{
	const char *fault = NULL;
	BIO *key_bio = BIO_new_mem_buf(key.p, (int)key.len);
	X509 *leaf = x509_first(certificate);
	EVP_PKEY *private =
		key_bio == NULL ? NULL : PEM_read_bio_PrivateKey(key_bio, NULL, no_password, NULL);

	if (leaf == NULL)
		fault = "the certificate file has no PEM certificate";
	else if (private == NULL)
		fault = "the key file has no PEM private key, or it needs a password";
	else if (X509_check_private_key(leaf, private) != 1)
		fault = "certificate and key are not a pair";
	else if (x509_signer_usage(&leaf, 1) != X509_USAGE_ABSENT)
		fault = "the certificate has the extended key usage " X509_SIGNER_USAGE
			" of a release signer (or usages that cannot be read): guests would accept "
			"releases that the gateway signs; have one issued with serverAuth alone";
	else if (!is_servable(certificate))
		fault = "a certificate is too weak for TLS, or one of the chain does not parse";
	EVP_PKEY_free(private);
	X509_free(leaf);
	BIO_free(key_bio);
	ERR_clear_error();
	return fault;
}

/* An empty file is a fault as well: without lists there would be no check at all. */
static void crl_check(const struct section *tls, struct span pem)
{
	KB_AUTO(x509_crls) struct x509_crls crls = {.n = 0};

	if (x509_crls_load(pem, &crls) != KB_OK)
		section_wrong(
			tls, "client_crl",
			"the file must have 1 to %d revocation lists in PEM (\"-----BEGIN X509 "
			"CRL-----\"), each with a nextUpdate; one in DER: openssl crl -inform "
			"DER -in FILE",
			KB_MAX_CRLS);
}

static void tls_load(const struct section *n, struct listener_config *out)
{
	static const char *const known[] = {"certificate", "key", "client_ca", "client_crl", NULL};
	struct section tls;

	if (!section_object(n, "tls", &tls) || !section_known(&tls, known))
		return;
	bool ok = section_file(&tls, "certificate", MAX_PEM, false, CONFIG_GATEWAY,
			       &out->certificate);
	ok = section_file(&tls, "key", MAX_PEM, true, CONFIG_GATEWAY, &out->key) && ok;
	if (json_has(tls.obj, "client_ca") && !json_has_null(tls.obj, "client_ca"))
		ok = section_file(&tls, "client_ca", MAX_PEM, false, CONFIG_GATEWAY,
				  &out->client_ca) &&
		     ok;
	if (json_has(tls.obj, "client_crl") && !json_has_null(tls.obj, "client_crl")) {
		if (!json_has(tls.obj, "client_ca") || json_has_null(tls.obj, "client_ca"))
			section_fault(&tls, "client_crl", "has no effect without client_ca");
		ok = section_file(&tls, "client_crl", KB_MAX_CONFIG, false, CONFIG_GATEWAY,
				  &out->client_crl) &&
		     ok;
		if (ok && (n->doc->l->parts & CONFIG_GATEWAY) != 0)
			crl_check(&tls, out->client_crl);
	}
	if (!ok || (n->doc->l->parts & CONFIG_GATEWAY) == 0)
		return;
	const char *fault = pair_fault(out->certificate, out->key);
	if (fault != NULL)
		section_wrong(&tls, strncmp(fault, "the cert", 8) == 0 ? "certificate" : "key",
			      "%s", fault);
	KB_AUTO(x509_cert) X509 *ca = x509_first(out->client_ca);
	if (out->client_ca.len > 0 && ca == NULL)
		section_wrong(&tls, "client_ca", "the file has no PEM certificate");
}

/* What follows the digest.  "-" is what sha256sum writes for its standard input: no name. */
static bool bearer_name(struct span rest, struct span *name)
{
	static const char chars[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
				    ".-_@:/+";
	size_t from = 0, to = rest.len;

	while (from < to && (rest.p[from] == ' ' || rest.p[from] == '\t'))
		from++;
	while (to > from && (rest.p[to - 1] == ' ' || rest.p[to - 1] == '\t'))
		to--;
	if (from == 0 && rest.len > 0)
		return false; /* a digest that is too long */
	*name = span_sub(rest, from, to - from);
	if (span_eq_cstr(*name, "-"))
		*name = span_of(NULL, 0);
	for (size_t i = 0; i < name->len; i++)
		if (name->p[i] == '\0' || strchr(chars, name->p[i]) == NULL)
			return false;
	return name->len <= KB_MAX_CALLER_NAME;
}

/* One SHA-256 in lower-case hex a line, and a name or none.  Empty lines and lines that begin with
 * '#' are ignored. */
static void bearers_load(const struct section *n, struct listener_config *out)
{
	struct span text = span_of(NULL, 0);
	KB_AUTO(cstr) char *path = NULL;

	if (!section_file(n, "bearer_file", KB_MAX_CONFIG, false, CONFIG_VAULT, &text) ||
	    !section_path(n, "bearer_file", &path) || (n->doc->l->parts & CONFIG_VAULT) == 0)
		return;
	out->bearers = calloc(MAX_BEARERS, sizeof *out->bearers);
	if (out->bearers == NULL) {
		section_fault(n, "bearer_file", "no memory");
		return;
	}
	unsigned line = 1;
	for (size_t at = 0; at < text.len; line++) {
		size_t end = span_find(text, at, '\n');
		struct span row = span_sub(text, at, end - at);
		at = end + 1;
		if (row.len > 0 && row.p[row.len - 1] == '\r')
			row.len--;
		if (row.len == 0 || row.p[0] == '#')
			continue;
		if (out->n_bearers == MAX_BEARERS) {
			fault_add(n->doc->l, path, line,
				  "more than %d tokens: give some clients "
				  "a common one, or another listener",
				  MAX_BEARERS);
			return;
		}
		struct bearer *b = &out->bearers[out->n_bearers++];
		if (!hex_decode(span_sub(row, 0, 64), b->sha256, 32))
			fault_add(n->doc->l, path, line,
				  "not a SHA-256 in lower-case hex: printf %%s TOKEN | sha256sum");
		else if (!bearer_name(span_sub(row, 64, row.len), &b->name))
			fault_add(n->doc->l, path, line,
				  "after the SHA-256 may come a space and a name: at most %d "
				  "letters, digits and . - _ @ : / +",
				  KB_MAX_CALLER_NAME);
	}
	if (out->n_bearers == 0)
		fault_add(n->doc->l, path, 1, "the file has no token: every call would be refused");
}

static void auth_load(const struct section *n, struct listener_config *out)
{
	static const char *const names[] = {
		[AUTH_NONE] = "none", [AUTH_MTLS] = "mtls", [AUTH_BEARER] = "bearer_file"};
	struct section tls;
	KB_AUTO(cstr) char *auth = NULL;

	if (!section_str_opt(n, "auth", 32, &auth))
		return;
	for (unsigned i = 0; auth != NULL && i < sizeof names / sizeof names[0]; i++)
		if (strcmp(auth, names[i]) == 0) {
			out->auth = (enum listener_auth)i;
			free(auth);
			auth = NULL;
		}
	if (auth != NULL)
		section_wrong(n, "auth", "\"auth\" must be \"none\", \"mtls\" or \"bearer_file\"");
	if (out->auth == AUTH_MTLS && json_get_obj(n->obj, "tls", &tls.obj) == KB_OK &&
	    (!json_has(tls.obj, "client_ca") || json_has_null(tls.obj, "client_ca")))
		section_fault(n, "auth", "\"mtls\" needs tls.client_ca");
	bool has_file = json_has(n->obj, "bearer_file") && !json_has_null(n->obj, "bearer_file");
	if (out->auth == AUTH_BEARER || has_file)
		bearers_load(n, out);
	if (out->auth != AUTH_BEARER && has_file)
		section_fault(n, "bearer_file", "has no effect unless \"auth\" is \"bearer_file\"");
}

static void apis_load(const struct section *n, struct listener_config *out)
{
	const struct json_t *apis;
	KB_AUTO(buf) struct buf known;

	buf_init(&known, 256);
	if (json_get_arr(n->obj, "apis", &apis) != KB_OK || json_len(apis) == 0) {
		section_wrong(
			n, "apis",
			"\"apis\" must be an array that names at least one API: [\"keyvault\"]");
		return;
	}
	api_names(&known);
	for (size_t i = 0; i < json_len(apis); i++) {
		struct span name;
		const struct api *api = NULL;
		if (json_as_str(json_at(apis, i), 32, &name) == KB_OK)
			api = api_find(name);
		if (api == NULL)
			section_wrong(n, "apis", "unknown API: the known ones are %.*s",
				      (int)known.len, (const char *)known.p);
		else if (out->api != NULL && out->api != api)
			section_fault(n, "apis", "a listener serves one API: %s or %s",
				      out->api->name, api->name);
		else
			out->api = api;
	}
}

/* A text that is written to a header as it is, between quotes. */
static bool challenge_str(const struct section *n, const char *name, char **out)
{
	if (!section_str_opt(n, name, MAX_URL, out))
		return false;
	if (*out != NULL &&
	    (strncmp(*out, "https://", 8) != 0 || strpbrk(*out, "\"\\ ,") != NULL)) {
		section_wrong(n, name,
			      "\"%s\" must be an https URL without quotes, commas or spaces", name);
		return false;
	}
	return true;
}

static void challenge_load(const struct section *n, struct listener_config *out)
{
	static const char *const known[] = {"authorization", "resource", NULL};
	struct section c;

	if (json_has(n->obj, "challenge") && !json_has_null(n->obj, "challenge")) {
		if (!section_object(n, "challenge", &c) || !section_known(&c, known) ||
		    !challenge_str(&c, "authorization", &out->challenge_authorization) ||
		    !challenge_str(&c, "resource", &out->challenge_resource))
			return;
	}
	/* Clients take the first part of the path for the tenant. */
	if (out->challenge_authorization == NULL &&
	    asprintf(&out->challenge_authorization, "%s/keybroker", out->base_url) < 0)
		out->challenge_authorization = NULL;
	if (out->challenge_resource == NULL)
		out->challenge_resource = default_resource(out->base_url);
	if (out->challenge_authorization == NULL || out->challenge_resource == NULL)
		section_fault(n, "challenge", "no memory");
}

static void listener_load(const struct section *n, struct listener_config *out)
{
	static const char *const known[] = {"address", "base_url",    "apis",      "tls",
					    "auth",    "bearer_file", "challenge", NULL};

	(void)section_known(n, known);
	if (section_str(n, "address", 64, &out->address) && !address_ok(out->address))
		section_wrong(
			n, "address",
			"\"address\" must be a literal address and a port: \"127.0.0.1:8443\", "
			"\"[::1]:8443\"");
	apis_load(n, out);
	tls_load(n, out);
	auth_load(n, out);
	if (!section_str(n, "base_url", 300, &out->base_url))
		return;
	if (!base_url_ok(out->base_url))
		section_wrong(
			n, "base_url",
			"\"base_url\" must be https://host or https://host:port, without a path "
			"or a slash at its end");
	else
		challenge_load(n, out);
}

void listeners_load(struct loader *l, const struct section *root)
{
	const struct json_t *array;
	struct config *c = l->c;
	struct section n;

	if (json_get_arr(root->obj, "listeners", &array) != KB_OK || json_len(array) == 0 ||
	    json_len(array) > KB_MAX_LISTENERS) {
		section_wrong(root, "listeners",
			      "\"listeners\" must be an array of 1 to %d objects",
			      KB_MAX_LISTENERS);
		return;
	}
	c->listeners = calloc(json_len(array), sizeof *c->listeners);
	if (c->listeners == NULL) {
		section_fault(root, "listeners", "no memory");
		return;
	}
	for (size_t i = 0; i < json_len(array); i++) {
		struct listener_config *one = &c->listeners[c->n_listeners++];
		if (!section_entry(root, "listeners", i, &n))
			continue;
		listener_load(&n, one);
		for (size_t j = 0; j < i; j++)
			if (one->address != NULL && c->listeners[j].address != NULL &&
			    strcmp(one->address, c->listeners[j].address) == 0)
				section_fault(&n, "address", "another listener has this address");
	}
}

void listeners_free(struct config *c)
{
	for (size_t i = 0; i < c->n_listeners; i++) {
		struct listener_config *one = &c->listeners[i];
		free(one->address);
		free(one->base_url);
		free(one->bearers);
		free(one->challenge_authorization);
		free(one->challenge_resource);
	}
	free(c->listeners);
}
