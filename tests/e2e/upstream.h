/* tests/e2e/upstream.h — an instance with many issuers, each a fault of its own at the test issuer,
 * beside one that works; and what the broker says of each. */
#ifndef KB_TESTS_UPSTREAM_H
#define KB_TESTS_UPSTREAM_H
#include <time.h>

#include "tests/e2e/check.h"
#include "tests/e2e/invariants.h"

static EVP_PKEY *kek;
static char kek_kid[44];
static const uint8_t secret[32] = "upstream: thirty-two secret byte";
static json_t *authorities; /* a policy's anyOf */
static struct good good;

/* An issuer https://NAME.test whose key set is at `uri`. */
static inline void issuer_add(const char *name, const char *uri, bool is_private,
			      const char *min_interval)
{
	char path[96], iss[96];
	snprintf(path, sizeof path, "issuers.d/%s.json", name);
	snprintf(iss, sizeof iss, "https://%s.test", name);
	GOOD(instance_json_write(&in, path,
				 json_pack("{s:s, s:s, s:{s:s, s:s, s:s}, s:[s], s:n, s:b}",
					   "issuer", iss, "profile", "maa", "keys", "jwks_uri", uri,
					   "ca_file", "../tls/root.pem", "min_interval",
					   min_interval, "algorithms", "RS256", "audience",
					   "private_addresses", is_private)));
	json_array_append_new(authorities,
			      json_pack("{s:s, s:[{s:s, s:s}]}", "authority", iss, "allOf", "claim",
					"x-ms-sevsnpvm-is-debuggable", "equals", "false"));
}

static inline void upstream_make(void)
{
	signal(SIGPIPE, SIG_IGN);
	GOOD(instance_make(&in));
	authorities = json_pack("[{s:s, s:[{s:s, s:s}]}]", "authority", in.issuer_url, "allOf",
				"claim", "x-ms-sevsnpvm-is-debuggable", "equals", "false");
	kek = guest_key(2048);
	evidence_thumbprint(kek, kek_kid);
}

/* After the issuers: one key that any of them may ask for, and the good release. */
static inline void upstream_key(void)
{
	json_t *policy = json_pack("{s:s, s:O}", "version", "1.0.0", "anyOf", authorities);
	char *text = json_dumps(policy, 0), *token;
	GOOD(instance_import(&in, "any", NULL, secret, sizeof secret, text));
	free(text);
	json_decref(policy);
	GOOD(guest_attest(&in.issuer_at, evidence_container(kek, HOST_DATA), &token));
	good = (struct good){.ask = {.name = "any", .token = token},
			     .want = {.root = in.root,
				      .host = "localhost",
				      .base_url = in.base_url,
				      .kek = kek,
				      .kek_kid = kek_kid},
			     .plain = secret,
			     .plain_len = sizeof secret};
}

static inline void upstream_free(void)
{
	free((char *)(uintptr_t)good.ask.token);
	EVP_PKEY_free(kek);
	json_decref(authorities);
	instance_free(&in);
}

/* Signed by the test issuer's present key, or by none it ever published (`kid`), in the name of
 * https://NAME.test (NULL: its own). */
static inline char *token_of(const char *name, const char *kid)
{
	char iss[96], *token;
	json_t *attest = evidence_container(kek, HOST_DATA);
	if (name != NULL) {
		snprintf(iss, sizeof iss, "https://%s.test", name);
		evidence_set(attest, "iss", json_string(iss));
	}
	if (kid != NULL)
		json_object_set_new(attest, "kid", json_string(kid));
	GOOD(guest_attest(&in.issuer_at, attest, &token));
	return token;
}

static inline const char *release(const char *token)
{
	struct released got = {0};
	struct link *l;
	struct ask a = {.name = "any", .token = token};
	const char *why = link_open(&in.at, &l);
	if (why == NULL)
		why = guest_release(l, &a, &good.want, &got);
	if (why == NULL &&
	    (got.plain_len != sizeof secret || memcmp(got.plain, secret, sizeof secret) != 0))
		why = "another key";
	released_free(&got);
	link_close(l);
	return why;
}

/* Ask, whatever comes; the exact code of its record, "" when there is none. */
static inline const char *code_of(const char *token, char code[static 64])
{
	struct reply r = {0};
	struct link *l;
	struct ask a = {.name = "any", .token = token};
	code[0] = '\0';
	GOOD(link_open(&in.at, &l));
	GOOD(guest_ask(l, &a, &r));
	link_close(l);
	char *record = record_of(&r), *at = record == NULL ? NULL : strstr(record, "\"code\":\"");
	if (at != NULL)
		sscanf(at, "\"code\":\"%63[^\"]", code);
	free(record);
	reply_free(&r);
	return code;
}

/* What /readyz says of an issuer: ready, or why not. */
static inline bool issuer_state(const char *name, char reason[static 64])
{
	char *body = NULL;
	bool is_ready = false;
	size_t i;
	const json_t *one;
	snprintf(reason, 64, "not listed");
	metrics_get(&in, "/readyz", &body);
	json_t *j = body == NULL ? NULL : json_loads(body, 0, NULL);
	json_array_foreach(json_object_get(j, "issuers"), i, one)
	{
		const char *said = json_string_value(json_object_get(one, "name")),
			   *why = json_string_value(json_object_get(one, "reason"));
		if (said == NULL || strcmp(said, name) != 0)
			continue;
		is_ready = json_is_true(json_object_get(one, "ready"));
		snprintf(reason, 64, "%s", why == NULL ? "" : why);
	}
	json_decref(j);
	free(body);
	return is_ready;
}

/* Lines of the broker's log that contain both; *line (NULL allowed) gets the last one. */
static inline unsigned log_count(const char *one, const char *other, char line[static 2048])
{
	char text[4096];
	unsigned n = 0;
	FILE *f = fopen(in.log, "r");
	line[0] = '\0';
	while (f != NULL && fgets(text, sizeof text, f) != NULL)
		if (strstr(text, one) != NULL && strstr(text, other) != NULL) {
			n++;
			snprintf(line, 2048, "%.2047s", text);
		}
	if (f != NULL)
		fclose(f);
	return n;
}

static inline int issuer_count(const char *what)
{
	struct reply r;
	GOOD(place_call(&in.issuer_at, "GET", "/admin/count", "", NULL, &r));
	json_t *j = json_loadb(r.body, r.len, 0, NULL);
	int n = (int)json_integer_value(json_object_get(j, what));
	json_decref(j);
	reply_free(&r);
	return n;
}

static inline void issuer_do(const char *path)
{
	struct reply r;
	GOOD(place_call(&in.issuer_at, "POST", path, "", "", &r));
	assert_int_equal(r.status, 200);
	reply_free(&r);
}

#endif
