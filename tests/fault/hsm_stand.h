/* tests/fault/hsm_stand.h — an instance whose module is the fake, with two symmetric keys of one
 * length and an RSA key, and one question with its outcome. */
#ifndef KB_TESTS_HSM_STAND_H
#define KB_TESTS_HSM_STAND_H
#include "tests/e2e/invariants.h"
#include "tests/fault/fake_ctl.h"

#include "tests/e2e/check.h" /* after them: it names a variable as they name their parameters */

static EVP_PKEY *kek, *rsa;
static char *token;
static struct good good;
static const uint8_t secret_a[32] = "first-canary-0123456789abcdefghi",
		     secret_b[32] = "other-canary-0123456789abcdefghi";

struct outcome {
	int status;    /* 0: no answer */
	char code[40]; /* of its record, "" without one */
	unsigned records, ms;
	char why[200]; /* what is wrong with a 200, or with the connection */
};

/* What a client gets for a code of the HSM: what a retry cannot cure is no 5xx. */
static inline int status_of(const char *code)
{
	static const char *const final[] = {"HSM_KEY_MISSING", "HSM_KEY_AMBIGUOUS", "HSM_KEY_ATTR",
					    "HSM_MECHANISM", "HSM_URI"};
	for (size_t i = 0; i < sizeof final / sizeof final[0]; i++)
		if (strcmp(code, final[i]) == 0)
			return 403;
	return 503;
}

static inline bool is_hsm_refusal(const struct outcome *o)
{
	return strncmp(o->code, "HSM", 3) == 0 && o->status == status_of(o->code);
}

static inline unsigned records_of(const struct reply *r, struct outcome *o)
{
	char id[64], part[96];
	unsigned n = 0;
	reply_header(r, "x-ms-request-id", id, sizeof id);
	snprintf(part, sizeof part, "\"request\":\"%s\"", id);
	char *text = ledger_text(&in);
	for (char *line = text, *end; line != NULL && (end = strchr(line, '\n')) != NULL;
	     line = end + 1) {
		*end = '\0';
		const char *code = strstr(line, "\"code\":\"");
		if (strstr(line, part) != NULL && n++ == 0 && code != NULL)
			sscanf(code + 8, "%39[^\"]", o->code);
	}
	free(text);
	return n;
}

/* A 200 opens, and holds the key that was asked for. */
static inline const char *judge(const char *name, const struct ask *a, const struct reply *r)
{
	struct released got = {0};
	struct expect want = good.want;
	want.name = name;
	want.api_version = "7.4";
	want.enc = a->enc;
	const char *why = proof_open(r->body, r->len, &want, &got);
	if (why == NULL) {
		const uint8_t *plain = strcmp(name, "other") == 0 ? secret_b : secret_a;
		bool same = strcmp(name, "rsa") == 0
				    ? EVP_PKEY_eq(got.pkey, rsa) == 1
				    : got.plain_len == sizeof secret_a &&
					      memcmp(got.plain, plain, sizeof secret_a) == 0;
		why = same ? invariants_reply(&in, r) : "another key";
	}
	released_free(&got);
	return why;
}

static inline struct outcome ask_key(const char *name)
{
	struct outcome o = {0};
	struct reply r = {0};
	struct link *l = NULL;
	struct ask a = {.name = name, .token = token, .enc = "RSA_AES_KEY_WRAP_256"};
	unsigned long long from = now_ms();
	const char *why = link_open(&in.at, &l);
	if (why == NULL)
		why = guest_ask(l, &a, &r);
	link_close(l);
	o.ms = (unsigned)(now_ms() - from);
	if (why == NULL) {
		o.status = r.status;
		o.records = records_of(&r, &o);
		if (r.status == 200)
			why = judge(name, &a, &r);
	}
	if (why != NULL)
		snprintf(o.why, sizeof o.why, "%s", why);
	reply_free(&r);
	return o;
}

/* The same request on its way, without waiting for the answer. */
static inline struct link *send_ask(const char *name)
{
	struct link *l = NULL;
	size_t cap = strlen(token) + 512;
	char *request = malloc(cap);
	assert_non_null(request);
	int n = snprintf(request, cap,
			 "POST /keys/%s/release?api-version=7.4 HTTP/1.1\r\nHost: "
			 "x\r\nAuthorization: Bearer x\r\nContent-Type: application/json\r\n"
			 "Content-Length: %zu\r\n\r\n{\"target\":\"%s\"}",
			 name, strlen(token) + 13, token);
	GOOD(link_open(&in.at, &l));
	GOOD(link_send(l, request, (size_t)n));
	free(request);
	return l;
}

static inline const char *ask_within(const char *name, unsigned ms)
{
	static struct outcome o;
	for (unsigned long long end = now_ms() + ms;; sleep_ms(20)) {
		o = ask_key(name);
		if (o.status == 200)
			return o.why[0] == '\0' ? NULL : o.why;
		if (now_ms() >= end)
			return wrong("%s: status %d %s %s after %u ms", name, o.status, o.code,
				     o.why, ms);
	}
}

/* Milliseconds until /readyz says this, or more than `ms`. */
static inline unsigned until_ready_is(int status, unsigned ms)
{
	unsigned long long from = now_ms();
	while (metrics_get(&in, "/readyz", NULL) != status && now_ms() - from <= ms)
		sleep_ms(10);
	return (unsigned)(now_ms() - from);
}

static inline void workers_are_up(unsigned n)
{
	for (unsigned long long end = now_ms() + 40000; now_ms() < end; sleep_ms(20)) {
		char *text = NULL, want[64];
		snprintf(want, sizeof want, "\"serving\":%u,", n);
		bool up = metrics_get(&in, "/readyz", &text) == 200 && strstr(text, want) != NULL;
		free(text);
		if (up)
			return;
	}
	GOOD(wrong("not %u workers", n));
}

static inline unsigned log_count(const char *part)
{
	unsigned n = 0;
	static char line[8192];
	FILE *f = fopen(in.log, "r");
	while (f != NULL && fgets(line, sizeof line, f) != NULL)
		n += strstr(line, part) != NULL;
	if (f != NULL)
		fclose(f);
	return n;
}

static inline void stand_keys(void)
{
	char *policy = policy_platform(in.issuer_url);
	rsa = guest_key(2048);
	kek = guest_key(2048);
	GOOD(instance_import(&in, "key", NULL, secret_a, sizeof secret_a, policy));
	GOOD(instance_import(&in, "other", NULL, secret_b, sizeof secret_b, policy));
	GOOD(instance_import(&in, "rsa", rsa, NULL, 0, policy));
	free(policy);
	GOOD(guest_attest(&in.issuer_at, evidence_platform(kek), &token));
	good = (struct good){.ask = {.name = "key", .token = token},
			     .want = {.root = in.root,
				      .host = "localhost",
				      .base_url = in.base_url,
				      .kek = kek,
				      .kek_kid = KID_PLATFORM},
			     .plain = secret_a,
			     .plain_len = sizeof secret_a};
	invariants_secret(secret_b, sizeof secret_b);
}

/* With the fake between the broker and SoftHSM; the broker runs. */
static inline void stand_start(unsigned workers)
{
	signal(SIGPIPE, SIG_IGN);
	GOOD(instance_make(&in));
	stand_keys();
	GOOD(fake_install(&in, workers));
	GOOD(broker_start(&in));
	workers_are_up(workers);
	GOOD(invariants_begin(&in, &good));
}

static inline void stand_stop(void)
{
	EVP_PKEY_free(kek);
	EVP_PKEY_free(rsa);
	free(token);
	GOOD(instance_end(&in));
}

static inline void stand_restart(void)
{
	if (in.broker > 0)
		assert_int_equal(broker_stop(&in, SIGTERM, 40000), 0);
	GOOD(broker_start(&in));
	GOOD(invariants_begin(&in, &good));
}

#endif
