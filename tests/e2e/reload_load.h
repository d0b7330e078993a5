/* tests/e2e/reload_load.h — a key that two configurations judge differently, and many clients that
 * ask for it while the configurations alternate: whatever comes, each record names the one
 * configuration it was judged by, and the outcome is that configuration's. */
#ifndef KB_TESTS_RELOAD_LOAD_H
#define KB_TESTS_RELOAD_LOAD_H
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/e2e/check.h"
#include "tests/e2e/invariants.h"

static EVP_PKEY *kek;
static struct good good;
static const uint8_t secret[32] = "reload: thirty-two secret bytes.";

struct load { /* shared with its processes */
	volatile bool stop;
	volatile unsigned asked, released, refused, lost;
	char why[160];
};

/* The policy that the token satisfies, or one that it does not. */
static inline void load_policy(bool permits)
{
	json_t *policy = json_pack("{s:s, s:[{s:s, s:[{s:s, s:s}]}]}", "version", "1.0.0", "anyOf",
				   "authority", in.issuer_url, "allOf", "claim",
				   "x-ms-sevsnpvm-hostdata", "equals", permits ? HOST_DATA : "00");
	GOOD(instance_json_write(&in, "policies/turn.json", policy));
}

static inline void load_setup(void)
{
	static char kid[44];
	char *token;
	signal(SIGPIPE, SIG_IGN);
	GOOD(instance_make(&in));
	char *policy = policy_container(in.issuer_url);
	GOOD(instance_import(&in, "key", NULL, secret, sizeof secret, policy));
	GOOD(instance_import(&in, "turn", NULL, secret, sizeof secret, policy));
	free(policy);
	json_t *record = instance_json(&in, "keys.d/turn.json");
	json_object_set_new(record, "release_policy",
			    json_pack("{s:s}", "file", "../policies/turn.json"));
	GOOD(instance_json_write(&in, "keys.d/turn.json", record));
	load_policy(true);
	kek = guest_key(2048);
	GOOD(guest_attest(&in.issuer_at, evidence_container(kek, HOST_DATA), &token));
	good = (struct good){.ask = {.name = "key", .token = token},
			     .want = {.root = in.root,
				      .host = "localhost",
				      .base_url = in.base_url,
				      .kek = kek,
				      .kek_kid = evidence_thumbprint(kek, kid)},
			     .plain = secret,
			     .plain_len = sizeof secret};
	GOOD(broker_start(&in));
	GOOD(invariants_begin(&in, &good));
}

static inline void load_teardown(void)
{
	if (in.broker > 0)
		assert_int_equal(broker_stop(&in, SIGTERM, 40000), 0);
	GOOD(broker_log_clean(&in));
	free((char *)(uintptr_t)good.ask.token);
	EVP_PKEY_free(kek);
	instance_free(&in);
}

/* One request a connection, all of them at once, again and again.  A connection that the old
 * processes close between two requests is opened anew, and the request that no process took, or
 * that a reload left unjudged (503, Retry-After), is asked again.  On a slow machine the next
 * reload may meet that one, too: three times at most. */
static inline void load_ask(struct load *c, unsigned n_links)
{
	struct link **links = calloc(n_links, sizeof *links);
	bool *was_sent = calloc(n_links, sizeof *was_sent);
	char *request = malloc(strlen(good.ask.token) + 512);
	int n = sprintf(request,
			"POST /keys/turn/release?api-version=7.4 HTTP/1.1\r\nHost: "
			"x\r\nAuthorization: Bearer x\r\nContent-Type: application/json\r\n"
			"Content-Length: %zu\r\n\r\n{\"target\":\"%s\"}",
			strlen(good.ask.token) + 13, good.ask.token);
	while (!c->stop) {
		bool has_waited = false;
		for (unsigned i = 0; i < n_links; i++)
			was_sent[i] = (links[i] != NULL || link_open(&in.at, &links[i]) == NULL) &&
				      link_send(links[i], request, (size_t)n) == NULL;
		for (unsigned i = 0; i < n_links; i++) {
			struct reply r = {0};
			const char *why = was_sent[i] ? link_receive(links[i], &r) : "not sent";
			char after[16];
			for (unsigned again = 0; again <= 3; again++) {
				if (why == NULL && r.status == 503 && r.will_close &&
				    strcmp(reply_header(&r, "Retry-After", after, sizeof after),
					   "1") == 0)
					why = "asked to try again";
				if (why == NULL || again == 3)
					break;
				/* Once for all of this round, and once for each further try. */
				if (r.status == 503 && (!has_waited || again > 0)) {
					sleep_ms(1000);
					has_waited = true;
				}
				reply_free(&r);
				r = (struct reply){0};
				link_close(links[i]);
				links[i] = NULL;
				why = link_open(&in.at, &links[i]);
				why = why == NULL ? link_send(links[i], request, (size_t)n) : why;
				why = why == NULL ? link_receive(links[i], &r) : why;
				if (why != NULL) /* only an answer may ask for one more */
					break;
			}
			__atomic_add_fetch(&c->asked, 1, __ATOMIC_RELAXED);
			if (why == NULL && (r.status == 200 || r.status == 403)) {
				__atomic_add_fetch(r.status == 200 ? &c->released : &c->refused, 1,
						   __ATOMIC_RELAXED);
			} else {
				__atomic_add_fetch(&c->lost, 1, __ATOMIC_RELAXED);
				snprintf(c->why, sizeof c->why, "%s, status %d %.80s",
					 why == NULL ? "" : why, r.status,
					 r.body == NULL ? "" : r.body);
			}
			if (why != NULL || r.will_close) {
				link_close(links[i]);
				links[i] = NULL;
			}
			reply_free(&r);
		}
	}
	for (unsigned i = 0; i < n_links; i++)
		link_close(links[i]);
	free(links);
	free(was_sent);
	free(request);
}

/* In a process of its own, which ends with the test. */
static inline pid_t load_start(struct load *c, unsigned n_links)
{
	pid_t pid = fork();
	if (pid != 0)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	load_ask(c, n_links);
	_exit(0);
}

/* What the ledger says of the key "turn": each configuration has one outcome only, and the other
 * one has the other. */
static inline void load_judge(const struct load *c)
{
	char with_key[64] = "", without[64] = "", *text = ledger_text(&in), *end;
	unsigned released = 0, refused = 0;
	for (char *at = text; (end = strchr(at, '\n')) != NULL; at = end + 1) {
		*end = '\0';
		if (strstr(at, "\"key\":\"turn\"") == NULL)
			continue;
		char digest[64] = "";
		const char *config = strstr(at, "\"config\":\"");
		if (config == NULL || sscanf(config, "\"config\":\"%63[0-9a-f]\"", digest) != 1 ||
		    strstr(config + 1, "\"config\":\"") != NULL)
			GOOD(wrong("a record without its one configuration: %s", at));
		bool is_release = strstr(at, "\"outcome\":\"released\"") != NULL;
		if (!is_release && strstr(at, "\"code\":\"POLICY\"") == NULL)
			GOOD(wrong("%s", at));
		char *seen = is_release ? with_key : without;
		if (seen[0] == '\0')
			memcpy(seen, digest, sizeof digest);
		if (strcmp(seen, digest) != 0)
			GOOD(wrong("%s under configuration %s, and under %s",
				   is_release ? "released" : "refused", seen, digest));
		released += is_release;
		refused += !is_release;
	}
	free(text);
	assert_string_not_equal(with_key, without);
	if (c->lost != 0)
		GOOD(wrong("%u lost of %u: %s", c->lost, c->asked, c->why));
	if (released < c->released || refused < c->refused)
		GOOD(wrong("clients saw %u released and %u refused, the ledger has %u and %u",
			   c->released, c->refused, released, refused));
}

/* `reloads` times the other policy, while `processes` × `n_links` requests are in flight. */
static inline void load_run(unsigned reloads, unsigned processes, unsigned n_links)
{
	struct load *c =
		mmap(NULL, sizeof *c, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t pid[8];
	assert_true(c != MAP_FAILED && processes <= 8);
	for (unsigned i = 0; i < processes; i++) {
		pid[i] = load_start(c, n_links);
	}
	for (unsigned i = 0; i < reloads; i++) {
		unsigned before = c->asked;
		char *out = NULL;
		load_policy(i % 2 == 1);
		if (CTL(&in, &out, "reload") != 0)
			GOOD(wrong("reload: %.300s", out));
		free(out);
		for (unsigned long long end = now_ms() + 10000;
		     c->asked < before + n_links && now_ms() < end;)
			sleep_ms(5);
	}
	c->stop = true;
	for (unsigned i = 0; i < processes; i++) {
		int status;
		assert_int_equal(waitpid(pid[i], &status, 0), pid[i]);
		assert_int_equal(status, 0);
	}
	load_judge(c);
	assert_true(c->released > 0 && c->refused > 0);
	munmap(c, sizeof *c);
}

#endif
