/* tests/e2e/test_rotation.c — issuers' keys over time: new ones, withdrawn ones, how fresh they
 * count, issuers that flap or are away at the start. */
#include "tests/e2e/upstream.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATIENCE_MS = 15000, CLIENTS = 25, EACH = 40 };

static void wait_issuer(const char *name)
{
	char reason[64];
	for (unsigned long long end = now_ms() + PATIENCE_MS; !issuer_state(name, reason);)
		if (now_ms() > end)
			GOOD(wrong("issuer %s: %s", name, reason));
		else
			sleep_ms(20);
}

/* A second issuer, of the same CA: it has keys of its own, and does not run yet. */
static struct instance second;
static char uri_a[160];
static void second_make(void)
{
	char link_path[96];
	snprintf(second.dir, sizeof second.dir, "%.50s/second", in.dir);
	snprintf(link_path, sizeof link_path, "%s/tls", second.dir);
	assert_int_equal(mkdir(second.dir, 0700), 0);
	assert_int_equal(symlink("../tls", link_path), 0);
	second.issuer_port = free_port();
	snprintf(second.issuer_url, sizeof second.issuer_url, "https://localhost:%u",
		 second.issuer_port);
	GOOD(place_init(&second.issuer_at, "localhost", second.issuer_port, in.ca_file));
	json_array_append_new(authorities,
			      json_pack("{s:s, s:[{s:s, s:s}]}", "authority", second.issuer_url,
					"allOf", "claim", "x-ms-sevsnpvm-is-debuggable", "equals",
					"false"));
}

static int setup(void **state)
{
	(void)state;
	static const struct {
		const char *name, *path, *min_interval;
	} issuers[] = {
		{"many", "/counted", "30s"},
		{"flap", "/flap", "5s"},
		{"cache-no", "/cache/no-store", "5s"},
		{"cache-short", "/cache/max-age=0", "5s"},
		{"cache-long", "/cache/public,max-age=315360000", "5s"},
		{"cache-most", "/cache/max-age=99999999999999999999", "5s"},
		{"cache-some", "/cache/max-age=7200", "5s"},
		{"cache-none", "/cache/", "5s"},
		{"cache-bad", "/cache/max-age=-1", "5s"},
	};
	upstream_make();
	for (size_t i = 0; i < sizeof issuers / sizeof issuers[0]; i++) {
		char uri[160];
		snprintf(uri, sizeof uri, "%s%s", in.issuer_url, issuers[i].path);
		issuer_add(issuers[i].name, uri, true, issuers[i].min_interval);
	}
	snprintf(uri_a, sizeof uri_a, "%s/certs", in.issuer_url);
	issuer_add("turn", uri_a, true, "5s");
	second_make();
	upstream_key();
	GOOD(broker_start(&in));
	wait_issuer("issuer");
	GOOD(invariants_begin(&in, &good));
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	if (in.broker > 0)
		assert_int_equal(broker_stop(&in, SIGTERM, 40000), 0);
	GOOD(broker_log_clean(&in));
	issuer_stop(&second);
	place_free(&second.issuer_at);
	upstream_free();
	return 0;
}

/* A thousand requests with key ids that no set has, many at once: one fetch at the most, and none
 * of them gets anything. */
static void test_h05_many_unknown_kids(void **state)
{
	(void)state;
	static struct link *links[CLIENTS];
	unsigned pending = 0, unknown = 0;
	wait_issuer("many");
	int before = issuer_count("counted");
	unsigned long long from = now_ms();
	for (unsigned i = 0; i < CLIENTS; i++)
		GOOD(link_open(&in.at, &links[i]));
	for (unsigned i = 0; i < CLIENTS; i++) {
		char kid[32];
		snprintf(kid, sizeof kid, "nosuch-%u", i);
		char *token = token_of("many", kid), *request = malloc(strlen(token) + 512);
		int n = sprintf(request,
				"POST /keys/any/release?api-version=7.4 HTTP/1.1\r\nHost: "
				"x\r\nAuthorization: Bearer x\r\nContent-Type: application/json\r\n"
				"Content-Length: %zu\r\n\r\n{\"target\":\"%s\"}",
				strlen(token) + 13, token);
		for (unsigned k = 0; k < EACH; k++)
			GOOD(link_send(links[i], request, (size_t)n));
		free(request);
		free(token);
	}
	for (unsigned i = 0; i < CLIENTS; i++) {
		for (unsigned k = 0; k < EACH; k++) {
			struct reply r;
			char wait[16];
			GOOD(link_receive(links[i], &r));
			unknown += r.status == 403;
			pending += r.status == 503 &&
				   reply_header(&r, "Retry-After", wait, sizeof wait)[0] != '\0';
			reply_free(&r);
		}
		link_close(links[i]);
	}
	unsigned long long took = now_ms() - from;
	assert_int_equal(pending + unknown, CLIENTS * EACH);
	int fetched = issuer_count("counted") - before;
	/* One in 30 s, whatever asks; a machine on which this took longer may have seen another. */
	if (fetched > 1 + (int)(took / 30000))
		GOOD(wrong("%d fetches in %llu ms", fetched, took));
	assert_int_equal(ledger_count(&in, "\"code\":\"KID_UNKNOWN\""), unknown);
	assert_int_equal(ledger_count(&in, "\"code\":\"KID_PENDING\""), pending);
	GOOD(invariants_hold(&in));
}

/* What the fetcher wrote down: how long the set counts as fresh. */
static long fresh_for(const char *name)
{
	char path[256], line[4096] = "";
	long long fetched = 0, until = 0;
	wait_issuer(name);
	FILE *f = fopen(keys_path(name, path), "r");
	const char *times = f == NULL || fgets(line, sizeof line, f) == NULL
				    ? NULL
				    : strstr(line, "\"fetched\":");
	if (times == NULL ||
	    sscanf(times, "\"fetched\":%lld,\"fresh_until\":%lld", &fetched, &until) != 2)
		GOOD(wrong("%s: %s", path, line));
	fclose(f);
	return (long)(until - fetched);
}

static void test_h10_freshness_is_clamped(void **state)
{
	(void)state;
	assert_int_equal(fresh_for("cache-no"), 300);
	assert_int_equal(fresh_for("cache-short"), 300);
	assert_int_equal(fresh_for("cache-long"), 86400);
	assert_int_equal(fresh_for("cache-most"), 86400);
	assert_int_equal(fresh_for("cache-some"), 7200);
	assert_int_equal(fresh_for("cache-none"), 3600);
	assert_int_equal(fresh_for("cache-bad"), 3600);
	GOOD(invariants_hold(&in));
}

/* Good and bad in turn, while requests with unknown key ids ask for a fetch all the time: it is
 * fetched no more often than its interval allows, and the log has a line a change at the most. */
static void test_h11_flapping_issuer(void **state)
{
	(void)state;
	char *unknown = token_of("flap", "nosuch"), line[2048], code[64];
	wait_issuer("flap"); /* while it has no set it is asked more often */
	unsigned lines = log_count("issuer.fetch", "\"flap\"", line);
	int before = issuer_count("flap");
	unsigned long long from = now_ms();
	while (now_ms() - from < 11000) {
		code_of(unknown, code);
		if (strcmp(code, "KID_PENDING") != 0 && strcmp(code, "KID_UNKNOWN") != 0)
			GOOD(wrong("%s", code));
		sleep_ms(100);
	}
	int fetched = issuer_count("flap") - before, most = (int)((now_ms() - from) / 5000) + 1;
	if (fetched > most || fetched == 0)
		GOOD(wrong("%d fetches in %llu ms", fetched, now_ms() - from));
	unsigned told = log_count("issuer.fetch", "\"flap\"", line) - lines;
	if (told > (unsigned)fetched)
		GOOD(wrong("%u lines for %d fetches", told, fetched));
	free(unknown);
	GOOD(invariants_hold(&in));
}

/* The head of the key file says until when it is fresh: make that end soon. */
static void end_freshness(const char *name, long long seconds)
{
	char path[256], text[64 * 1024];
	long long fetched = 0, until;
	int at = 0;
	FILE *f = fopen(keys_path(name, path), "r");
	size_t n = f == NULL ? 0 : fread(text, 1, sizeof text - 1, f);
	text[n] = '\0';
	char *times = strstr(text, "\"fetched\":");
	if (times == NULL ||
	    sscanf(times, "\"fetched\":%lld,\"fresh_until\":%lld%n", &fetched, &until, &at) != 2)
		GOOD(wrong("%s", path));
	fclose(f);
	if ((f = fopen(path, "w")) == NULL)
		GOOD(wrong("%s", path));
	fprintf(f, "%.*s\"fetched\":%lld,\"fresh_until\":%lld%s", (int)(times - text), text,
		fetched, (long long)time(NULL) + seconds, times + at);
	assert_int_equal(fclose(f), 0);
}

/* The issuer withdraws its key: once the set's freshness ends the set is fetched again, and the
 * key's tokens are refused. */
static void test_h06_withdrawn_key(void **state)
{
	(void)state;
	char *old = token_of("cache-short", NULL), code[64];
	GOOD(release(old));
	issuer_do("/admin/rotate?drop=1");
	char *fresh = token_of("cache-short", NULL);
	GOOD(release(old)); /* no fetch since then */
	assert_int_equal(broker_stop(&in, SIGTERM, 40000), 0);
	end_freshness("cache-short", 3);
	GOOD(broker_start(&in));
	unsigned long long end = now_ms() + PATIENCE_MS;
	while (strcmp(code_of(old, code), "KID_UNKNOWN") != 0 && strcmp(code, "KID_PENDING") != 0 &&
	       now_ms() < end)
		sleep_ms(50);
	if (now_ms() > end)
		GOOD(wrong("a withdrawn key is accepted: %s", code));
	GOOD(release(fresh));
	while (strcmp(code_of(old, code), "KID_UNKNOWN") != 0 && now_ms() < end + PATIENCE_MS)
		sleep_ms(50);
	assert_string_equal(code, "KID_UNKNOWN");
	free(old);
	free(fresh);
	free((char *)(uintptr_t)good.ask.token);
	good.ask.token = token_of(NULL, NULL);
	/* The good issuer has rotated, too: its new key is fetched as soon as a token shows it. */
	for (end = now_ms() + PATIENCE_MS; release(good.ask.token) != NULL && now_ms() < end;)
		sleep_ms(50);
	GOOD(invariants_begin(&in, &good));
	GOOD(invariants_hold(&in));
}

/* No set from before and no issuer: it starts, says for which issuer it is not ready, and is
 * ready within 5 s after the issuer is. */
static void test_h12_start_while_the_issuer_is_down(void **state)
{
	(void)state;
	char pattern[128], reason[64];
	glob_t found;
	assert_int_equal(broker_stop(&in, SIGTERM, 40000), 0);
	issuer_stop(&in);
	snprintf(pattern, sizeof pattern, "%s/state/issuers/*.keys", in.dir);
	assert_int_equal(glob(pattern, 0, NULL, &found), 0);
	for (size_t i = 0; i < found.gl_pathc; i++)
		assert_int_equal(unlink(found.gl_pathv[i]), 0);
	globfree(&found);
	GOOD(broker_start_unready(&in));
	for (unsigned long long end = now_ms() + PATIENCE_MS;
	     metrics_get(&in, "/readyz", NULL) == 0 && now_ms() < end;)
		sleep_ms(20);
	for (unsigned long long end = now_ms() + 8000; now_ms() < end;
	     sleep_ms(200)) /* past the quick attempts, too */
		assert_int_equal(metrics_get(&in, "/readyz", NULL), 503);
	assert_false(issuer_state("issuer", reason));
	assert_string_equal(reason, "FETCH_CONNECT");
	struct ask a = {.name = "any", .token = good.ask.token};
	REFUSED(&a, 503, "ServiceUnavailable", "ISSUER_UNAVAILABLE");
	GOOD(issuer_start(&in));
	unsigned long long from = now_ms();
	while (!issuer_state("issuer", reason) && now_ms() - from < PATIENCE_MS)
		sleep_ms(10);
	if (now_ms() - from > 5000)
		GOOD(wrong("green %llu ms after the issuer came back", now_ms() - from));
	GOOD(release(good.ask.token));
	GOOD(broker_wait_ready(&in, 1000));
	GOOD(invariants_begin(&in, &good));
	GOOD(invariants_hold(&in));
}

/* ---- a name that is given to another issuer ---- */

static void reload(void)
{
	char *out = NULL;
	if (CTL(&in, &out, "reload") != 0)
		GOOD(wrong("%s", out));
	free(out);
}

static void restart(void)
{
	assert_int_equal(broker_stop(&in, SIGTERM, 40000), 0);
	GOOD(broker_start(&in));
}

/* turn.json is the issuer `iss`, whose keys come by discovery (uri NULL) or from a URL. */
static void turn_to(const char *iss, const char *uri, const char *ca_file)
{
	json_t *j = instance_json(&in, "issuers.d/turn.json");
	json_object_set_new(j, "issuer", json_string(iss));
	json_object_set_new(j, "keys",
			    uri == NULL ? json_pack("{s:b, s:s, s:s}", "discovery", 1, "ca_file",
						    ca_file, "min_interval", "5s")
					: json_pack("{s:s, s:s, s:s}", "jwks_uri", uri, "ca_file",
						    ca_file, "min_interval", "5s"));
	GOOD(instance_json_write(&in, "issuers.d/turn.json", j));
}

/* Signed by the first issuer's key, in the second one's name. */
static char *forged_token(void)
{
	char *token;
	json_t *attest = evidence_container(kek, HOST_DATA);
	evidence_set(attest, "iss", json_string(second.issuer_url));
	GOOD(guest_attest(&in.issuer_at, attest, &token));
	return token;
}

/* No key set: not released, not refused for good, and nothing reports the set as fresh. */
static void no_set(const char *token)
{
	char reason[64];
	struct ask a = {.name = "any", .token = token};
	REFUSED(&a, 503, "ServiceUnavailable", "ISSUER_UNAVAILABLE");
	assert_false(issuer_state("turn", reason));
	assert_string_not_equal(reason, "KEYSET_STALE"); /* there never was one */
	assert_true(metric(&in, "keybroker_issuer_keys_age_seconds{issuer=\"turn\"}") < 0);
	assert_true(metric(&in, "keybroker_issuer_keys{issuer=\"turn\"}") == 0);
}

/* issuers.d/turn.json is edited from one issuer to another that does not answer: a token in the
 * name of the new one, signed by a key of the old one, is refused, after a reload and after a
 * restart, though the old one's set is young and has that key. */
static void test_h14_name_given_to_another_issuer(void **state)
{
	(void)state;
	char *old = token_of("turn", NULL), *forged = forged_token(), *own, code[64];
	struct ask a = {.name = "any", .token = old};
	wait_issuer("turn");
	GOOD(release(old));
	turn_to(second.issuer_url, NULL, "../tls/root.pem");
	reload();
	no_set(forged);
	REFUSED(&a, 403, "Forbidden", "ISSUER");
	restart();
	no_set(forged);
	REFUSED(&a, 403, "Forbidden", "ISSUER");
	GOOD(issuer_start(&second));
	wait_issuer("turn");
	if (strcmp(code_of(forged, code), "KID_PENDING") != 0 && strcmp(code, "KID_UNKNOWN") != 0)
		GOOD(wrong("a token of another issuer's key: %s", code));
	GOOD(guest_attest(&second.issuer_at, evidence_container(kek, HOST_DATA), &own));
	GOOD(release(own));
	/* And back. */
	turn_to("https://turn.test", uri_a, "../tls/root.pem");
	reload();
	wait_issuer("turn");
	GOOD(release(old));
	a.token = own;
	REFUSED(&a, 403, "Forbidden", "ISSUER");
	issuer_stop(&second);
	free(old);
	free(forged);
	free(own);
	GOOD(invariants_begin(&in, &good));
	GOOD(invariants_hold(&in));
}

/* The issuer stays and its CA changes: a set that was fetched with the old CA is not used. */
static void test_h14_another_ca_file(void **state)
{
	(void)state;
	char *token = token_of("turn", NULL), text[16 * 1024] = "# another file\n";
	size_t at = strlen(text);
	wait_issuer("turn");
	GOOD(release(token));
	FILE *f = fopen(in.ca_file, "r");
	assert_non_null(f);
	at += fread(text + at, 1, sizeof text - at, f);
	fclose(f);
	GOOD(instance_write(&in, "tls/turn.pem", text, at));
	issuer_do("/admin/fault?mode=500");
	turn_to("https://turn.test", uri_a, "../tls/turn.pem");
	reload();
	no_set(token);
	restart();
	no_set(token);
	issuer_do("/admin/fault?mode=ok");
	wait_issuer("turn");
	GOOD(release(token));
	free(token);
	GOOD(invariants_begin(&in, &good));
	GOOD(invariants_hold(&in));
}

static void test_h14_another_jwks_uri(void **state)
{
	(void)state;
	char *token = token_of("turn", NULL), uri[160];
	wait_issuer("turn");
	GOOD(release(token));
	snprintf(uri, sizeof uri, "%s/fault/500", in.issuer_url);
	turn_to("https://turn.test", uri, "../tls/root.pem");
	reload();
	no_set(token);
	restart();
	no_set(token);
	snprintf(uri, sizeof uri, "%s/cache/", in.issuer_url);
	turn_to("https://turn.test", uri, "../tls/root.pem");
	reload();
	wait_issuer("turn");
	GOOD(release(token));
	turn_to("https://turn.test", uri_a, "../tls/root.pem");
	reload();
	wait_issuer("turn");
	free(token);
	GOOD(invariants_begin(&in, &good));
	GOOD(invariants_hold(&in));
}

/* ---- when the set must be fetched, and who sees what is there ---- */

/* The answer to a token: its status; *wait_s: Retry-After, 0 when there is none. */
static int status_of(const char *token, int *wait_s)
{
	char text[16] = "";
	struct reply r = {0};
	struct link *l;
	struct ask a = {.name = "any", .token = token};
	GOOD(link_open(&in.at, &l));
	GOOD(guest_ask(l, &a, &r));
	link_close(l);
	*wait_s = atoi(reply_header(&r, "Retry-After", text, sizeof text));
	int status = r.status;
	reply_free(&r);
	return status;
}

/* Ask as a guest does: again after Retry-After, until the answer is final.  How often it was told
 * to wait, and how long in all. */
static int ask_until_final(const char *token, unsigned *times, int *seconds)
{
	int wait_s, status;
	*times = 0, *seconds = 0;
	for (;;) {
		status = status_of(token, &wait_s);
		if (status != 503 || *times > 20)
			return status;
		assert_in_range(wait_s, 1, 5); /* min_interval */
		++*times, *seconds += wait_s;
		sleep_ms((unsigned)wait_s * 1000);
	}
}

/* A new key under the same kid: its tokens wait for one fetch, and the old key's are refused after
 * it.  Neither waits for the end of the set's freshness. */
static void test_h17_new_key_of_the_same_kid(void **state)
{
	(void)state;
	unsigned times;
	int seconds;
	char code[64];
	wait_issuer("cache-long");
	char *old = token_of("cache-long", NULL);
	GOOD(release(old));
	issuer_do("/admin/replace");
	char *fresh = token_of("cache-long", NULL);
	assert_int_equal(ask_until_final(fresh, &times, &seconds), 200);
	assert_true(times >= 1 && seconds <= 12);
	assert_int_equal(ask_until_final(old, &times, &seconds), 403);
	assert_string_equal(code_of(old, code), "TOKEN_SIGNATURE");
	free(old);
	free(fresh);
	free((char *)(uintptr_t)good.ask.token);
	good.ask.token = token_of(NULL, NULL);
	assert_int_equal(ask_until_final(good.ask.token, &times, &seconds), 200);
	GOOD(invariants_begin(&in, &good));
}

/* A kid that no set has, soon after a fetch: told to wait for what is left, then refused for good.
 */
static void test_h18_no_is_final_after_the_next_fetch(void **state)
{
	(void)state;
	unsigned times;
	int seconds;
	char code[64];
	char *out = NULL, *unknown = token_of("cache-most", "h18-nosuch");
	if (CTL(&in, &out, "issuer", "refresh", "cache-most") != 0)
		GOOD(wrong("%s", out));
	free(out);
	int fetched = issuer_count("certs");
	assert_int_equal(ask_until_final(unknown, &times, &seconds), 403);
	assert_true(times >= 1 && seconds <= 8);
	assert_string_equal(code_of(unknown, code), "KID_UNKNOWN");
	assert_true(issuer_count("certs") >= fetched);
	free(unknown);
}

/* Whatever a stranger's tokens are signed with, the issuer is asked no more often than min_interval
 * allows. */
static void test_h17_bad_signatures_do_not_hammer(void **state)
{
	(void)state;
	char code[64];
	wait_issuer("flap");
	char *token = token_of("flap", NULL);
	const size_t at = strlen(token) - 100;
	token[at] = token[at] == 'A' ? 'B' : 'A';
	int before = issuer_count("flap");
	unsigned long long from = now_ms();
	while (now_ms() - from < 11000) {
		code_of(token, code);
		if (strcmp(code, "KID_PENDING") != 0 && strcmp(code, "TOKEN_SIGNATURE") != 0)
			GOOD(wrong("%s", code));
		sleep_ms(50);
	}
	int fetched = issuer_count("flap") - before, most = (int)((now_ms() - from) / 5000) + 1;
	if (fetched > most || fetched == 0)
		GOOD(wrong("%d fetches in %llu ms", fetched, now_ms() - from));
	free(token);
}

/* An operator's question does not wait for min_interval, and is told what came. */
static void test_h19_issuer_refresh(void **state)
{
	(void)state;
	char *out = NULL;
	wait_issuer("turn");
	assert_int_equal(CTL(&in, &out, "issuer", "refresh", "turn"), 0);
	if (strstr(out, "turn: fetched, ") == NULL)
		GOOD(wrong("%s", out));
	free(out);
	assert_int_equal(CTL(&in, &out, "issuer", "refresh", "turn", "--json"), 0);
	json_t *j = json_loads(out, 0, NULL), *one = json_array_get(j, 0);
	assert_int_equal(json_array_size(j), 1);
	assert_true(json_is_true(json_object_get(one, "fetched")));
	assert_string_equal(json_string_value(json_object_get(one, "issuer")), "turn");
	json_decref(j);
	free(out);
	issuer_do("/admin/fault?mode=500");
	assert_int_equal(CTL(&in, &out, "issuer", "refresh", "turn"), 1);
	if (strstr(out, "FETCH_STATUS") == NULL || strstr(out, "HTTP status 500") == NULL)
		GOOD(wrong("%s", out));
	free(out);
	/* Known while the keys are fresh. */
	char *body = NULL, reason[64];
	assert_true(issuer_state("turn", reason));
	metrics_get(&in, "/readyz", &body);
	assert_non_null(strstr(body, "\"fetch\":\"FETCH_STATUS\""));
	free(body);
	assert_true(metric(&in, "keybroker_issuer_fetch_failed{issuer=\"turn\"}") == 1);
	assert_true(metric(&in, "keybroker_issuer_ready{issuer=\"turn\"}") == 1);
	assert_int_equal(CTL(&in, &out, "status"), 0);
	if (strstr(out, "the last fetch failed: FETCH_STATUS") == NULL ||
	    strstr(out, "HTTP status 500") == NULL)
		GOOD(wrong("%s", out));
	free(out);
	issuer_do("/admin/fault?mode=ok");
	assert_int_equal(CTL(&in, &out, "issuer", "refresh", "turn"), 0);
	free(out);
	assert_int_equal(CTL(&in, &out, "issuer", "refresh", "nosuch"), 2);
	assert_non_null(strstr(out, "has no issuer nosuch.json"));
	free(out);
}

/* The cached set is gone, the issuer is down and the workers are new: nobody can release, and
 * nothing says ready. */
static void test_h16_health_is_what_the_workers_have(void **state)
{
	(void)state;
	char path[256], reason[64], *out = NULL;
	pid_t vault[8] = {0};
	wait_issuer("turn");
	char *token = token_of("turn", NULL);
	GOOD(release(token));
	issuer_do("/admin/fault?mode=500");
	assert_int_equal(unlink(keys_path("turn", path)), 0);
	for (unsigned n = 0; n < 8; n++)
		vault[n] = broker_process(&in, "--process vault", n);
	for (unsigned n = 0; n < 8 && vault[n] > 0; n++)
		kill(vault[n], SIGKILL);
	unsigned long long end = now_ms() + PATIENCE_MS;
	while ((issuer_state("turn", reason) || strcmp(reason, "FETCH_STATUS") != 0) &&
	       now_ms() < end)
		sleep_ms(20);
	assert_string_equal(reason, "FETCH_STATUS");
	for (end = now_ms() + PATIENCE_MS; now_ms() < end;) {
		int wait_s;
		if (status_of(token, &wait_s) == 503 && !issuer_state("turn", reason))
			break;
		sleep_ms(100);
	}
	struct ask a = {.name = "any", .token = token};
	REFUSED(&a, 503, "ServiceUnavailable", "ISSUER_UNAVAILABLE");
	assert_false(issuer_state("turn", reason));
	(void)CTL(&in, &out, "status");
	assert_non_null(strstr(out, "issuer turn"));
	assert_non_null(strstr(out, "HTTP status 500"));
	free(out);
	issuer_do("/admin/fault?mode=ok");
	wait_issuer("turn");
	GOOD(release(token));
	free(token);
	GOOD(invariants_begin(&in, &good));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_h05_many_unknown_kids),
		cmocka_unit_test(test_h10_freshness_is_clamped),
		cmocka_unit_test(test_h14_name_given_to_another_issuer),
		cmocka_unit_test(test_h14_another_ca_file),
		cmocka_unit_test(test_h14_another_jwks_uri),
		cmocka_unit_test(test_h11_flapping_issuer),
		cmocka_unit_test(test_h06_withdrawn_key),
		cmocka_unit_test(test_h12_start_while_the_issuer_is_down),
		cmocka_unit_test(test_h17_new_key_of_the_same_kid),
		cmocka_unit_test(test_h18_no_is_final_after_the_next_fetch),
		cmocka_unit_test(test_h17_bad_signatures_do_not_hammer),
		cmocka_unit_test(test_h19_issuer_refresh),
		cmocka_unit_test(test_h16_health_is_what_the_workers_have),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
