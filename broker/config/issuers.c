/* broker/config/issuers.c — issuers.d: which issuers are trusted, with which algorithms, and where
 * their keys come from.  These are the trust anchors of the product: a missing, unknown or
 * ambiguous value is a fault; no default permits anything. */
#include <stdio.h>
#include <stdlib.h>

#include "base/x509.h"
#include "config/document.h"
#include "policy/jwks.h"
#include "policy/pointer.h"

enum {
	MAX_CA = 256 * 1024,
	MAX_URL = 1024,
	MAX_NAME = 100, /* bytes; part of file names and of the shared statistics */
	TOKEN_AGE_S = 8 * 3600,
	TOKEN_LIFETIME_S = 24 * 3600, /* Azure Attestation gives 8 h */
	SKEW_S = 60,
	LONGEST_S = 366 * 86400,
};

/* The name becomes part of a file name in the state directory, and a label in /metrics. */
static bool issuer_name_ok(const char *name, size_t len)
{
	static const char chars[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";

	return len > 0 && len <= MAX_NAME && strspn(name, chars) >= len;
}

/* https, a host, no user info, and no character that URL parsers read differently. */
static bool url_ok(const char *url)
{
	if (strncmp(url, "https://", 8) != 0)
		return false;
	size_t host = strcspn(url + 8, "/?#");
	return host > 0 && memchr(url + 8, '@', host) == NULL &&
	       strpbrk(url, " \"<>\\^`{|}#") == NULL;
}

static bool is_plain_http(const char *url)
{
	return strncasecmp(url, "http://", 7) == 0;
}

static void algorithms_load(const struct section *n, struct issuer_config *out)
{
	const struct json_t *array;

	if (json_get_arr(n->obj, "algorithms", &array) != KB_OK || json_len(array) == 0) {
		section_wrong(n, "algorithms",
			      "\"algorithms\" must be an array that names at least one algorithm: "
			      "[\"RS256\"]");
		return;
	}
	for (size_t i = 0; i < json_len(array); i++) {
		struct span name = span_of(NULL, 0);
		enum kb_alg alg = json_as_str(json_at(array, i), 16, &name) == KB_OK
					  ? alg_from_name(name)
					  : KB_ALG_NONE;
		if (alg == KB_ALG_NONE)
			section_wrong(n, "algorithms",
				      "\"%.*s\" is not a signature algorithm for tokens: use RS, "
				      "PS or ES "
				      "with 256, 384 or 512",
				      (int)name.len, name.len > 0 ? (const char *)name.p : "");
		else
			out->rules.algorithms |= 1U << alg;
	}
}

static void jwks_file_load(const struct section *keys, struct issuer_config *out)
{
	KB_AUTO(jwks) struct jwks *set = NULL;

	out->source = KEYS_JWKS_FILE;
	if (json_has(keys->obj, "ca_file") || json_has(keys->obj, "min_interval"))
		section_fault(keys, "jwks_file",
			      "\"ca_file\" and \"min_interval\" have no effect with \"jwks_file\": "
			      "nothing is "
			      "fetched");
	if (!section_file(keys, "jwks_file", KB_MAX_JWKS, false, CONFIG_VAULT | CONFIG_FETCHER,
			  &out->jwks_file))
		return;
	struct jwks_report report;
	enum kb_err err = jwks_parse(out->jwks_file, &set, &report);
	if (err == KB_OK)
		return;
	KB_AUTO(buf) struct buf why;
	buf_init(&why, JWKS_REPORT_BYTES);
	jwks_report_text(&report, &why);
	section_wrong(keys, "jwks_file", "no usable key set: %s: %s%s%.*s", kb_err_name(err),
		      kb_err_text(err), why.len > 0 ? ": " : "", (int)why.len,
		      why.len > 0 ? (const char *)why.p : "");
}

static void ca_load(const struct section *keys, struct issuer_config *out)
{
	int64_t expires_s;
	KB_AUTO(buf) struct buf leaf;

	buf_init(&leaf, MAX_CA);
	if (!json_has(keys->obj, "ca_file") || json_has_null(keys->obj, "ca_file") ||
	    !section_file(keys, "ca_file", MAX_CA, false, CONFIG_VAULT | CONFIG_FETCHER,
			  &out->ca) ||
	    (keys->doc->l->parts & (CONFIG_VAULT | CONFIG_FETCHER)) == 0)
		return;
	/* Without bytes the system's CAs would be trusted: an empty file is no choice of that. */
	if (x509_chain_read(out->ca, &leaf, &expires_s) != KB_OK)
		section_wrong(keys, "ca_file",
			      "the file has no PEM certificate, or one that cannot be read");
}

static void keys_source_load(const struct section *n, struct issuer_config *out)
{
	static const char *const known[] = {"discovery", "jwks_uri",     "jwks_file",
					    "ca_file",   "min_interval", NULL};
	struct section keys;
	bool discovery = false;

	if (!section_object(n, "keys", &keys) || !section_known(&keys, known) ||
	    !section_bool_opt(&keys, "discovery", &discovery))
		return;
	bool uri = json_has(keys.obj, "jwks_uri"), file = json_has(keys.obj, "jwks_file");
	if ((int)discovery + (int)uri + (int)file != 1) {
		section_wrong(n, "keys",
			      "\"keys\" must have one of \"discovery\": true, \"jwks_uri\", "
			      "\"jwks_file\"");
		return;
	}
	out->min_interval_s = KB_FETCH_MIN_S;
	if (file) {
		jwks_file_load(&keys, out);
		return;
	}
	ca_load(&keys, out);
	(void)section_time_opt(&keys, "min_interval", 5, 3600, &out->min_interval_s);
	out->source = discovery ? KEYS_DISCOVERY : KEYS_JWKS_URI;
	if (uri && section_str(&keys, "jwks_uri", MAX_URL, &out->jwks_uri) &&
	    !url_ok(out->jwks_uri))
		section_wrong(&keys, "jwks_uri", "\"jwks_uri\" must be an https URL");
	if (discovery && out->rules.issuer != NULL && !is_plain_http(out->rules.issuer) &&
	    (!url_ok(out->rules.issuer) || strchr(out->rules.issuer, '?') != NULL))
		section_wrong(n, "issuer",
			      "discovery needs an issuer that is an https URL without query");
}

static void nonce_load(const struct section *n, struct issuer_rules *rules)
{
	static const char *const names[] = {[NONCE_IGNORED] = "ignored",
					    [NONCE_REQUEST] = "request",
					    [NONCE_BROKER] = "broker"};
	KB_AUTO(cstr) char *text = NULL;

	if (!section_str_opt(n, "nonce", 16, &text) || text == NULL)
		return;
	for (unsigned i = 0; i < sizeof names / sizeof names[0]; i++)
		if (strcmp(text, names[i]) == 0) {
			rules->nonce = (enum issuer_nonce)i;
			return;
		}
	section_wrong(n, "nonce", "\"nonce\" must be \"ignored\", \"request\" or \"broker\"");
}

/* Both profiles have Azure Attestation's place by default. */
static void wrapping_key_load(const struct section *n, struct issuer_rules *rules)
{
	if (!section_str_opt(n, "wrapping_key", KB_MAX_CLAIM_PATH, &rules->wrapping_key))
		return;
	if (rules->wrapping_key == NULL &&
	    (rules->wrapping_key = strdup(ISSUER_WRAPPING_KEY)) == NULL)
		section_fault(n, "wrapping_key", "no memory");
	else if (!pointer_ok(span_str(rules->wrapping_key)))
		section_wrong(n, "wrapping_key",
			      "\"wrapping_key\" must be a JSON Pointer to an array of keys in the "
			      "claims: \"%s\"",
			      ISSUER_WRAPPING_KEY);
}

static void single_use_grace_load(const struct section *n, struct issuer_rules *rules)
{
	int64_t zero = -1;

	if (json_get_int(n->obj, "single_use_grace", &zero) == KB_OK && zero == 0)
		return; /* 0 without a unit is clear enough */
	rules->grace_s = KB_SINGLE_USE_GRACE_S;
	(void)section_time_opt(n, "single_use_grace", 0, KB_SINGLE_USE_GRACE_MAX_S,
			       &rules->grace_s);
	if (!rules->is_single_use && json_has(n->obj, "single_use_grace") &&
	    !json_has_null(n->obj, "single_use_grace"))
		section_fault(n, "single_use_grace", "has no effect unless \"single_use\" is true");
}

/* "http://HOST" or "http://HOST:PORT", no more: a password would stand in a file that many may
 * read. */
static bool proxy_ok(const char *url)
{
	if (!is_plain_http(url))
		return false;
	const char *host = url + 7, *end = host;
	if (host[0] == '[') {
		end += strspn(host + 1, "0123456789abcdefABCDEF:.") + 1;
		if (end == host + 1 || *end++ != ']')
			return false;
	} else {
		end += strspn(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				    "0123456789.-");
	}
	if (end == host)
		return false;
	if (*end == ':') {
		char *rest;
		if (end[1] < '1' || end[1] > '9')
			return false;
		unsigned long port = strtoul(end + 1, &rest, 10);
		if (port > 65535)
			return false;
		end = rest;
	}
	return end[0] == '\0' || (end[0] == '/' && end[1] == '\0');
}

static void proxy_load(const struct section *n, struct issuer_config *out)
{
	if (!section_str_opt(n, "proxy", MAX_URL, &out->proxy) || out->proxy == NULL)
		return;
	if (!proxy_ok(out->proxy))
		section_wrong(n, "proxy",
			      "\"proxy\" must be the URL of an http proxy without user, password "
			      "and path: \"http://proxy.example:3128\"");
	if (out->source == KEYS_JWKS_FILE)
		section_fault(n, "proxy", "has no effect with \"jwks_file\": nothing is fetched");
}

static void issuer_load(const struct section *n, struct issuer_config *out)
{
	static const char *const known[] = {"issuer",
					    "profile",
					    "keys",
					    "algorithms",
					    "max_token_age",
					    "max_token_lifetime",
					    "clock_skew",
					    "audience",
					    "max_stale",
					    "private_addresses",
					    "proxy",
					    "single_use",
					    "single_use_grace",
					    "nonce",
					    "wrapping_key",
					    NULL};
	struct issuer_rules *r = &out->rules;
	KB_AUTO(cstr) char *profile = NULL;

	(void)section_known(n, known);
	if (section_str(n, "issuer", KB_MAX_ISS, &r->issuer) && is_plain_http(r->issuer))
		section_wrong(n, "issuer", "\"issuer\" must not be an http:// URL: use https");
	if (section_str_opt(n, "profile", 16, &profile) && profile != NULL &&
	    strcmp(profile, "maa") != 0 && strcmp(profile, "generic") != 0)
		section_wrong(n, "profile", "\"profile\" must be \"maa\" or \"generic\"");
	r->is_maa = profile == NULL ||
		    strcmp(profile, "generic") != 0; /* the stricter one is the default */
	r->max_age_s = TOKEN_AGE_S;
	r->max_lifetime_s = TOKEN_LIFETIME_S;
	r->skew_s = SKEW_S;
	out->max_stale_s = KB_STALE_MAX_S;
	algorithms_load(n, out);
	(void)section_time_opt(n, "max_token_age", 1, LONGEST_S, &r->max_age_s);
	(void)section_time_opt(n, "max_token_lifetime", 1, LONGEST_S, &r->max_lifetime_s);
	(void)section_time_opt(n, "clock_skew", 0, KB_MAX_SKEW_S, &r->skew_s);
	(void)section_time_opt(n, "max_stale", 1, LONGEST_S, &out->max_stale_s);
	(void)section_str_opt(n, "audience", KB_MAX_AUD, &r->audience);
	(void)section_bool_opt(n, "private_addresses", &out->allow_private_addresses);
	(void)section_bool_opt(n, "single_use", &r->is_single_use);
	single_use_grace_load(n, r);
	nonce_load(n, r);
	wrapping_key_load(n, r);
	keys_source_load(n, out);
	proxy_load(n, out);
}

static void issuer_file_load(struct loader *l, const char *file, struct issuer_config *out)
{
	struct doc d = {0};
	struct config *c = l->c;
	size_t stem = strlen(file) - strlen(".json");
	KB_AUTO(cstr) char *path = path_join(c->issuers_dir, file);

	out->rules.name = strndup(file, stem);
	if (path == NULL || out->rules.name == NULL) {
		fault_add(l, c->issuers_dir, 1, "no memory");
		return;
	}
	if (!issuer_name_ok(file, stem))
		fault_add(l, path, 1,
			  "the file's name must be letters, digits, '.', '_' and '-', at most %d "
			  "of them, and end in .json",
			  MAX_NAME);
	if (doc_open(l, path, CONFIG_VAULT | CONFIG_FETCHER, &d)) {
		struct section n = doc_root(&d);
		issuer_load(&n, out);
		for (const struct issuer_config *other = c->issuers; other < out; other++)
			if (out->rules.issuer != NULL && other->rules.issuer != NULL &&
			    strcmp(out->rules.issuer, other->rules.issuer) == 0)
				section_fault(&n, "issuer", "%s.json has this issuer already",
					      other->rules.name);
	}
	doc_close(&d);
}

void issuers_load(struct loader *l, const struct section *root)
{
	const char *const *names, *why;
	struct config *c = l->c;
	size_t n = 0;

	if (snapshot_list(l->src, c->issuers_dir, ".json", CONFIG_VAULT | CONFIG_FETCHER, &names,
			  &why) != KB_OK) {
		section_fault(root, "issuers", "%s %s", c->issuers_dir, why);
		return;
	}
	while (names[n] != NULL)
		n++;
	if (n == 0 || n > KB_MAX_ISSUERS) {
		section_fault(root, "issuers",
			      "%s has %zu issuer files (NAME.json); it must have 1 to %d",
			      c->issuers_dir, n, KB_MAX_ISSUERS);
		return;
	}
	c->issuers = calloc(n, sizeof *c->issuers);
	if (c->issuers == NULL) {
		section_fault(root, "issuers", "no memory");
		return;
	}
	for (size_t i = 0; i < n; i++)
		issuer_file_load(l, names[i], &c->issuers[c->n_issuers++]);
}

void issuers_free(struct config *c)
{
	for (size_t i = 0; i < c->n_issuers; i++) {
		struct issuer_config *one = &c->issuers[i];
		free(one->rules.name);
		free(one->rules.issuer);
		free(one->rules.audience);
		free(one->rules.wrapping_key);
		free(one->jwks_uri);
		free(one->proxy);
	}
	free(c->issuers);
}

void config_origin(const struct issuer_config *issuer, struct keyset_origin *out)
{
	const char *iss = issuer->rules.issuer;
	/* Which network may have given the keys is a part of whose keys they are: a set from a
	 * private address must not outlive the permission to fetch from one. */
	const char *addresses = issuer->allow_private_addresses ? "private" : "public",
		   *proxy = issuer->proxy == NULL ? "none" : issuer->proxy;

	switch (issuer->source) {
	case KEYS_DISCOVERY:
		keyset_origin_make(out, iss, "discovery", iss, addresses, proxy, issuer->ca);
		return;
	case KEYS_JWKS_URI:
		keyset_origin_make(out, iss, "jwks_uri", issuer->jwks_uri, addresses, proxy,
				   issuer->ca);
		return;
	case KEYS_JWKS_FILE:
		keyset_origin_make(out, iss, "jwks_file", "", "", "", issuer->jwks_file);
		return;
	}
	KB_BUG();
}

const struct issuer_config *config_issuer(const struct config *c, struct span iss)
{
	for (size_t i = 0; i < c->n_issuers; i++)
		if (span_eq_cstr(iss, c->issuers[i].rules.issuer))
			return &c->issuers[i];
	return NULL;
}
