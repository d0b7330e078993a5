/* tests/unit/fetcher/test_fetcher.c — the fetcher as the supervisor starts it, with several faulty
 * issuers at the same time. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
/* cmocka.h needs the headers above */
#include <cmocka.h>

#include "base/b64url.h"
#include "base/clock.h"
#include "base/digest.h"
#include "base/hex.h"
#include "base/log.h"
#include "process/attempt.h"
#include "process/process.h"
#include "tests/unit/pages.h"
#include "tests/unit/tls_stub.h"

enum { MODE_GOOD, MODE_DOWN };

static struct stub stub;
static char dir[40], good_keys[2048], other_keys[2048];
static int control, fetch_requests;
static pid_t process;

/* ---- the issuers: the first part of the path selects their behaviour ---- */

static void send_json(SSL *s, const char *text)
{
	char head[128];

	snprintf(head, sizeof head,
		 "HTTP/1.1 200 OK\r\nCache-Control: max-age=10\r\nContent-Length: %zu\r\n\r\n",
		 strlen(text));
	stub_send(s, head);
	stub_send(s, text);
}

static void send_metadata(SSL *s, const char *url, const char *kind)
{
	char text[512];

	if (strcmp(kind, "other") == 0)
		snprintf(text, sizeof text,
			 "{\"issuer\":\"%s/good\",\"jwks_uri\":\"%s/good/certs\"}", url, url);
	else if (strcmp(kind, "plain") == 0)
		snprintf(text, sizeof text,
			 "{\"issuer\":\"%s/plain\",\"jwks_uri\":\"http%s/plain/certs\"}", url,
			 url + 5);
	else
		snprintf(text, sizeof text,
			 "{\"issuer\":\"%s/%s/\",\"jwks_uri\":\"%s/%s/certs\",\"more\":[]}", url,
			 kind, url, kind);
	send_json(s, text);
}

static void answer(SSL *s, const char *path, struct stub_shared *shared, const char *url)
{
	char kind[32] = "";

	sscanf(path, "/%31[^/]", kind);
	if (strcmp(kind, "slow") == 0)
		sleep(15);
	if (strcmp(kind, "redirect") == 0)
		stub_send(
			s,
			"HTTP/1.1 301 Moved\r\nLocation: /good/certs\r\nContent-Length: 0\r\n\r\n");
	else if (strcmp(kind, "nometa") == 0)
		send_json(s, "[]");
	else if (shared->mode == MODE_DOWN)
		stub_send(s, "HTTP/1.1 500 Down\r\nContent-Length: 0\r\n\r\n");
	else if (strstr(path, "/.well-known/openid-configuration") != NULL)
		send_metadata(s, url, kind);
	else if (strcmp(kind, "html") == 0)
		send_json(s, "<!doctype html>");
	else if (strcmp(kind, "empty") == 0)
		send_json(s, "{\"keys\":[]}");
	else if (strcmp(kind, "private") == 0)
		send_json(s, "{\"keys\":[{\"kty\":\"EC\",\"kid\":\"a\",\"crv\":\"P-256\",\"x\":"
			     "\"AA\",\"y\":\"AA\",\"d\":\"AA\"}]}");
	else
		send_json(s, good_keys);
}

static void make_keys(char *out, size_t cap)
{
	static const char *const part[] = {"qx", "qy"};
	char text[2][64] = {"", ""};
	uint8_t bytes[32];
	EVP_PKEY *k = EVP_EC_gen("P-256");

	for (size_t i = 0; i < 2; i++) {
		BIGNUM *n = NULL;
		KB_AUTO(buf) struct buf b;
		buf_init(&b, 64);
		assert_int_equal(EVP_PKEY_get_bn_param(k, part[i], &n), 1);
		assert_int_equal(BN_bn2binpad(n, bytes, 32), 32);
		b64url_encode(&b, span_of(bytes, 32));
		snprintf(text[i], sizeof text[i], "%.*s", (int)b.len, (const char *)b.p);
		BN_free(n);
	}
	EVP_PKEY_free(k);
	snprintf(out, cap,
		 "{\"keys\":[{\"kty\":\"EC\",\"kid\":\"k1\",\"crv\":\"P-256\",\"x\":\"%s\",\"y\":"
		 "\"%s\"}]}",
		 text[0], text[1]);
}

/* ---- the process ---- */

static void put(const char *name, const char *text)
{
	char path[128];

	snprintf(path, sizeof path, "%s/%s", dir, name);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

static void put_issuer(const char *kind, const char *more)
{
	char name[64], text[1024];

	snprintf(name, sizeof name, "issuers.d/%s.json", kind);
	snprintf(text, sizeof text,
		 "{\"issuer\":\"%s/%s\",\"keys\":{\"discovery\":true,\"ca_file\":\"../"
		 "ca.pem\",\"min_interval\":\"5s\"},\"algorithms\":[\"ES256\"]%s}",
		 stub.url, kind, more);
	put(name, text);
}

static const char here[] = ",\"private_addresses\":true";

static void run_process(int archive, int control_end, int requests_end)
{
	struct process_start start = {.process = PROCESS_FETCHER,
				      .generation = 7,
				      .shared = &pages.all,
				      .page = page_of(SLOT_FIRST),
				      .stats = &page_of(SLOT_FIRST)->stats,
				      .health = &page_of(SLOT_FIRST)->health};
	static char path[64];
	int fds[] = {control_end, archive, requests_end},
	    to[] = {FD_CONTROL, FD_ARCHIVE, FD_FETCHER_REQUESTS};

	snprintf(path, sizeof path, "%s/keybroker.json", dir);
	start.config_path = path;
	for (size_t i = 0; i < 3; i++) /* first to numbers that none of the targets has */
		fds[i] = fcntl(fds[i], F_DUPFD, 100);
	for (size_t i = 0; i < 3; i++)
		dup2(fds[i], to[i]);
	close(FD_PAGE); /* it is mapped; its number may be reused for a pair */
	for (int fd = FD_FETCHER_REQUESTS + 1; fd < 200; fd++)
		close(fd);
	log_init("fetcher", LOG_ERROR);
	_exit(fetcher_main(&start));
}

/* The issuers of the process's configuration, in its order. */
enum { MOST = 16 };
static char issuer_name[MOST][64];
static size_t n_issuers;
static bool is_made; /* the pages are there */

/* The archive of the present configuration; `is_torn`: without keybroker.json. */
static void start_process(bool is_torn)
{
	struct snapshot *src;
	struct config *c = NULL;
	struct config_faults faults = {0};
	char path[64];
	int archive, control_pair[2], poke_pair[2];

	snprintf(path, sizeof path, "%s/keybroker.json", dir);
	assert_int_equal(snapshot_files(&src), KB_OK);
	assert_true(pages_make());
	is_made = true;
	n_issuers = 0;
	if (!is_torn) {
		assert_int_equal(config_load(src, path, CONFIG_FETCHER, &c, &faults), KB_OK);
		for (n_issuers = 0; n_issuers < c->n_issuers && n_issuers < MOST; n_issuers++)
			snprintf(issuer_name[n_issuers], sizeof issuer_name[0], "%s",
				 c->issuers[n_issuers].rules.name);
		config_free(c);
	}
	assert_int_equal(snapshot_pack(src, CONFIG_FETCHER, &archive), KB_OK);
	snapshot_free(src);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, control_pair), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, poke_pair), 0);
	control = control_pair[0];
	fetch_requests = poke_pair[0];
	process = fork();
	if (process == 0)
		run_process(archive, control_pair[1], poke_pair[1]);
	close(archive);
	close(control_pair[1]);
	close(poke_pair[1]);
}

static int wait_process(void)
{
	int status = -1;

	for (unsigned i = 0; i < 1500 && waitpid(process, &status, WNOHANG) == 0; i++)
		usleep(10000);
	process = 0;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* The origin of the issuer's keys, by its present file in issuers.d. */
static struct keyset_origin origin_of(const char *name)
{
	static char text[5][1200];
	struct keyset_origin o = {0};
	struct snapshot *src;
	struct config *c;
	struct config_faults faults = {0};
	char path[64];

	snprintf(path, sizeof path, "%s/keybroker.json", dir);
	assert_int_equal(snapshot_files(&src), KB_OK);
	assert_int_equal(config_load(src, path, CONFIG_FETCHER, &c, &faults), KB_OK);
	for (size_t i = 0; i < c->n_issuers; i++)
		if (strcmp(c->issuers[i].rules.name, name) == 0)
			config_origin(&c->issuers[i], &o);
	assert_non_null(o.issuer);
	snprintf(text[0], sizeof text[0], "%s", o.issuer);
	snprintf(text[1], sizeof text[1], "%s", o.url);
	snprintf(text[2], sizeof text[2], "%s", o.source);
	snprintf(text[3], sizeof text[3], "%s", o.addresses);
	snprintf(text[4], sizeof text[4], "%s", o.proxy);
	o.addresses = text[3];
	o.proxy = text[4];
	o.issuer = text[0];
	o.url = text[1];
	o.source = text[2];
	config_free(c);
	snapshot_free(src);
	return o;
}

static enum kb_err put_set(const char *name, int64_t fetched_s, int64_t fresh_until_s,
			   const char *keys)
{
	struct keyset_origin o = origin_of(name);
	char state_dir[64];

	snprintf(state_dir, sizeof state_dir, "%s/state", dir);
	return keyset_write(state_dir, name, &o, fetched_s, fresh_until_s, span_str(keys));
}

static enum kb_err get_set(const char *name, struct keyset *k)
{
	struct keyset_origin o = origin_of(name);
	char state_dir[64];

	snprintf(state_dir, sizeof state_dir, "%s/state", dir);
	return keyset_read(state_dir, name, &o, k);
}

static struct issuer_fetch *slot_of(const char *name)
{
	size_t i = 0;

	while (i < n_issuers && strcmp(issuer_name[i], name) != 0)
		i++;
	assert_true(i < n_issuers);
	return &page_of(SLOT_FIRST)->fetch[i];
}

/* Wait until the slot shows it, at most `ms`; returns the time it took. */
static int64_t wait_fault(const char *name, enum kb_err err, bool is_fetched, int64_t ms)
{
	struct issuer_fetch *s = slot_of(name);
	int64_t from_ms = clock_mono_ms();

	while (clock_mono_ms() - from_ms < ms &&
	       (s->attempt_s == 0 || s->fault != err || (s->fetched_s != 0) != is_fetched))
		usleep(10000);
	assert_string_equal(kb_err_name(s->fault), kb_err_name(err));
	assert_int_equal(s->fetched_s != 0, is_fetched);
	return clock_mono_ms() - from_ms;
}

static void request_fetch(uint32_t index)
{
	(void)send(fetch_requests, &index, sizeof index, MSG_DONTWAIT);
}

static int setup(void **state)
{
	char sub[64];
	static const char *const subs[] = {"issuers.d", "keys.d", "state"};

	(void)state;
	snprintf(dir, sizeof dir, "/tmp/kb-fetcher-XXXXXX");
	assert_non_null(mkdtemp(dir));
	for (size_t i = 0; i < 3; i++) {
		snprintf(sub, sizeof sub, "%s/%s", dir, subs[i]);
		assert_int_equal(mkdir(sub, 0700), 0);
	}
	put("pin", "0000");
	put("keybroker.json",
	    "{\"listeners\":[{\"address\":\"127.0.0.1:8443\",\"base_url\":\"https://"
	    "localhost:8443\",\"apis\":[\"keyvault\"],\"tls\":{\"certificate\":\"c\","
	    "\"key\":\"k\"}}],\"hsm\":{\"module\":\"/"
	    "m.so\",\"token\":\"pkcs11:token=t\",\"pin_file\":\"pin\"},\"signer\":{\"object\":"
	    "\"pkcs11:object=s\","
	    "\"certificates\":\"c\"},\"issuers\":\"issuers.d\",\"keys\":\"keys.d\",\"state\":"
	    "\"state\"}");
	make_keys(good_keys, sizeof good_keys);
	make_keys(other_keys, sizeof other_keys);
	if (!stub_start(&stub, answer, "127.0.0.1", 10, clock_wall_s(), 0))
		return -1;
	char pem[4096];
	snprintf(pem, sizeof pem, "%.*s", (int)stub.ca_pem.len, (const char *)stub.ca_pem.p);
	put("ca.pem", pem);
	return 0;
}

static void end_process(void)
{
	if (process > 0) {
		kill(process, SIGKILL);
		waitpid(process, NULL, 0);
		process = 0;
	}
	if (is_made) {
		close(control);
		close(fetch_requests);
		pages_free();
		is_made = false;
	}
}

static int teardown(void **state)
{
	char command[80];

	(void)state;
	end_process();
	stub_stop(&stub);
	snprintf(command, sizeof command, "rm -rf %s", dir);
	return system(command);
}

/* ---- tests ---- */

static void test_fetcher_ready_and_fetched(void **state)
{
	struct control_message m;
	struct keyset k;
	size_t n = 0;

	(void)state;
	put_issuer("good", here);
	start_process(false);
	assert_int_equal(control_recv(control, &m, NULL, &n), KB_OK);
	assert_int_equal(m.type, CONTROL_READY);
	assert_int_equal(m.generation, 7);
	wait_fault("good", KB_OK, true, 15000);
	assert_int_equal(slot_of("good")->keys, 1);
	assert_int_equal(get_set("good", &k), KB_OK);
	assert_true(span_eq_cstr(k.document, good_keys));
	assert_int_equal(k.fresh_until_s - k.fetched_s, KB_FRESH_MIN_S); /* max-age=10 is clamped */
	keyset_free(&k);
	assert_int_equal(atomic_load(&page_of(SLOT_FIRST)->stats.counter[COUNT_FETCHES]), 1);
	assert_int_equal(atomic_load(&page_of(SLOT_FIRST)->stats.counter[COUNT_FETCH_ERRORS]), 0);
}

/* Nine faulty issuers, one of which does not answer: each has its own fault, and the good one is
 * not delayed. */
static void test_h04_each_issuer_has_its_own_fault(void **state)
{
	static const struct {
		const char *kind;
		enum kb_err err;
	} bad[] = {
		{"html", KB_E_JSON_SYNTAX},        {"empty", KB_E_JWKS_EMPTY},
		{"private", KB_E_KEY_PRIVATE},     {"other", KB_E_FETCH_CONTENT},
		{"plain", KB_E_FETCH_CONTENT},     {"nometa", KB_E_FETCH_CONTENT},
		{"redirect", KB_E_FETCH_REDIRECT},
	};
	struct keyset k;

	(void)state;
	put_issuer("good", here);
	put_issuer("slow", here);
	put_issuer("loopback", "");
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		put_issuer(bad[i].kind, here);
	start_process(false);
	wait_fault("good", KB_OK, true, 15000);
	assert_int_equal(slot_of("slow")->fault, KB_OK); /* not behind it: that one still waits */
	wait_fault("loopback", KB_E_FETCH_ADDRESS, false, 15000);
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		wait_fault(bad[i].kind, bad[i].err, false, 15000);
		assert_int_equal(get_set(bad[i].kind, &k), KB_E_FILE);
	}
	/* Alone it waits until its own end. */
	assert_true(slot_of("slow")->fault == KB_OK ||
		    slot_of("slow")->fault == KB_E_FETCH_TIMEOUT);
}

static void test_h12_issuer_down_at_start(void **state)
{
	enum { COLD_MS = 2000 }; /* between attempts while there is no key set */
	int64_t from_ms = clock_mono_ms();

	(void)state;
	put_issuer("good", here);
	stub.shared->mode = MODE_DOWN;
	start_process(false);
	wait_fault("good", KB_E_FETCH_STATUS, false, 15000);
	for (unsigned i = 0; i < 1500 && stub.shared->requests < 2; i++)
		usleep(10000);
	/* H11: asked again, not hammered */
	assert_int_equal(stub.shared->requests, 2);
	assert_true(clock_mono_ms() - from_ms >= COLD_MS);
	stub.shared->mode = MODE_GOOD;
	assert_true(wait_fault("good", KB_OK, true, 15000) <= 5000);
	/* The next attempt is the one: metadata and keys (metadata alone when the second request
	 * was answered after the change). */
	assert_in_range(stub.shared->requests, 3, 4);
}

static void test_fetcher_uses_sets_across_restart(void **state)
{

	(void)state;
	put_issuer("good", here);
	int64_t then_s = clock_wall_s() - 100;
	assert_int_equal(put_set("good", then_s, then_s + 3600, other_keys), KB_OK);
	start_process(false);
	for (unsigned i = 0; i < 1500 && slot_of("good")->fetched_s == 0; i++)
		usleep(10000);
	usleep(300000);                                       /* for a fetch, which must not come */
	assert_int_equal(slot_of("good")->fetched_s, then_s); /* its age does not begin again */
	assert_int_equal(slot_of("good")->keys, 1);
	assert_int_equal(stub.shared->requests, 0);
}

/* The set in the state directory was fetched while the configuration named another issuer, URL or
 * CA: it is ignored, whatever its age, and a new one is fetched at once. */
static void test_h14_set_of_another_origin(void **state)
{
	static const char *const change[] = {"issuer", "url", "ca"};
	char text[512], more[8192], state_dir[64];

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		struct keyset_origin a, b;
		struct keyset k;
		char old[128], new[128];
		put_issuer("good", here);
		a = origin_of("good");
		char was[3][300];
		snprintf(was[0], sizeof was[0], "%s",
			 a.issuer); /* origin_of() has one buffer for its texts */
		snprintf(was[1], sizeof was[1], "%s", a.url);
		snprintf(was[2], sizeof was[2], "%s", a.source);
		a.issuer = was[0], a.url = was[1], a.source = was[2];
		int64_t then_s = clock_wall_s() - 5;
		snprintf(state_dir, sizeof state_dir, "%s/state", dir);
		assert_int_equal(keyset_write(state_dir, "good", &a, then_s, then_s + 3600,
					      span_str(other_keys)),
				 KB_OK);
		if (i == 0) {
			snprintf(text, sizeof text,
				 "{\"issuer\":\"%s/"
				 "second\",\"keys\":{\"discovery\":true,\"ca_file\":\"../"
				 "ca.pem\"},\"algorithms\":[\"ES256\"]%s}",
				 stub.url, here);
			put("issuers.d/good.json", text);
		} else if (i == 1) {
			snprintf(text, sizeof text,
				 "{\"issuer\":\"%s/good\",\"keys\":{\"jwks_uri\":\"%s/good/"
				 "keys\",\"ca_file\":\"../"
				 "ca.pem\"},\"algorithms\":[\"ES256\"]%s}",
				 stub.url, stub.url, here);
			put("issuers.d/good.json", text);
		} else { /* the same CA in other bytes: CAs are compared by bytes */
			snprintf(more, sizeof more, "# text\n%.*s", (int)stub.ca_pem.len,
				 (const char *)stub.ca_pem.p);
			put("ca.pem", more);
		}
		b = origin_of("good");
		/* Even when the file has the new origin's name. */
		snprintf(old, sizeof old, "%s/issuers/good.%.16s.keys", state_dir, a.id);
		snprintf(new, sizeof new, "%s/issuers/good.%.16s.keys", state_dir, b.id);
		assert_int_equal(rename(old, new), 0);
		assert_int_equal(get_set("good", &k), KB_E_KEYSET_ORIGIN);
		stub.shared->mode = MODE_DOWN;
		start_process(false);
		wait_fault("good", KB_E_FETCH_STATUS, false,
			   5000); /* fetched at once; the old set is not used meanwhile */
		assert_int_equal(slot_of("good")->keys, 0);
		stub.shared->mode = MODE_GOOD;
		wait_fault("good", KB_OK, true, 6000);
		assert_true(slot_of("good")->fetched_s > then_s);
		assert_int_equal(get_set("good", &k), KB_OK);
		assert_true(span_eq_cstr(k.document, good_keys));
		keyset_free(&k);
		print_message("%s changed\n", change[i]);
		end_process();
		assert_int_equal(unlink(new), 0);
	}
}

/* A set that an older version wrote does not name its origin: a new one is fetched at once. */
static void test_h14_set_of_an_older_version(void **state)
{
	char path[128], head[256], text[4096], hex[65];
	uint8_t digest[32];

	(void)state;
	put_issuer("good", here);
	snprintf(path, sizeof path, "%s/state/issuers", dir);
	assert_int_equal(mkdir(path, 0700), 0);
	digest_sha256(span_str(other_keys), digest);
	*hex_put(hex, span_of(digest, sizeof digest)) = '\0';
	snprintf(head, sizeof head, "{\"fetched\":%lld,\"fresh_until\":%lld,\"sha256\":\"%s\"}",
		 (long long)clock_wall_s(), (long long)clock_wall_s() + 3600, hex);
	snprintf(text, sizeof text, "%s\n%s", head, other_keys);
	put("state/issuers/good.keys", text);
	stub.shared->mode = MODE_DOWN;
	start_process(false);
	wait_fault("good", KB_E_FETCH_STATUS, false, 5000);
	stub.shared->mode = MODE_GOOD;
	wait_fault("good", KB_OK, true, 6000);
}

/* What the fetcher told of its last attempt. */
static struct attempt attempt_of(const char *name)
{
	struct keyset_origin o = origin_of(name);
	struct attempt a = {0};
	char state_dir[64];

	snprintf(state_dir, sizeof state_dir, "%s/state", dir);
	for (unsigned i = 0; i < 500 && attempt_read(state_dir, name, &o, &a) != KB_OK; i++)
		usleep(10000);
	return a;
}

static void assert_text(const char *is, const char *part)
{
	if (strstr(is, part) == NULL)
		fail_msg("%s is not in: %s", part, is);
}

/* Which member of the metadata, what it is, and what was expected; and a spelling that will
 * surprise is told although the fetch is good. */
static void test_h21_metadata_are_named(void **state)
{
	struct attempt a;
	char text[256];

	(void)state;
	put_issuer("good", here);
	put_issuer("other", here);
	put_issuer("plain", here);
	put_issuer("nometa", here);
	start_process(false);
	wait_fault("other", KB_E_FETCH_CONTENT, false, 15000);
	a = attempt_of("other");
	assert_int_equal(a.outcome, KB_E_FETCH_CONTENT);
	snprintf(text, sizeof text,
		 "\"issuer\" of the metadata is \"%s/good\", expected \"%s/other\"", stub.url,
		 stub.url);
	assert_text(a.detail, text);
	wait_fault("plain", KB_E_FETCH_CONTENT, false, 15000);
	snprintf(text, sizeof text,
		 "\"jwks_uri\" of the metadata is \"http%s/plain/certs\", expected an https URL",
		 stub.url + 5);
	a = attempt_of("plain");
	assert_text(a.detail, text);
	wait_fault("nometa", KB_E_FETCH_CONTENT, false, 15000);
	a = attempt_of("nometa");
	assert_text(a.detail, "the metadata are no JSON object");
	wait_fault("good", KB_OK, true, 15000);
	a = attempt_of("good");
	assert_int_equal(a.outcome, KB_OK);
	assert_int_equal(a.keys, 1);
	snprintf(text, sizeof text, "spell it \"%s/good/\", its file in issuers.d \"%s/good\"",
		 stub.url, stub.url);
	assert_text(a.note, text);
}

/* A question is answered at once, and once; the answer says which question it is to. */
static void test_h19_question_is_answered(void **state)
{
	struct keyset_origin o;
	char state_dir[64];
	uint64_t asked, again;

	(void)state;
	put_issuer("good", here);
	snprintf(state_dir, sizeof state_dir, "%s/state", dir);
	start_process(false);
	wait_fault("good", KB_OK, true, 15000);
	o = origin_of("good");
	for (unsigned round = 0; round < 2; round++) {
		stub.shared->mode = round == 0 ? MODE_GOOD : MODE_DOWN;
		unsigned before = stub.shared->requests;
		assert_int_equal(attempt_ask(state_dir, "good", &o, &asked), KB_OK);
		/* A second one meanwhile gets the same answer, or one of its own. */
		assert_int_equal(attempt_ask(state_dir, "good", &o, &again), KB_OK);
		assert_true(asked != 0);
		struct attempt a = {0};
		for (unsigned i = 0; i < 500 && a.asked != asked && a.asked != again; i++) {
			usleep(10000);
			a = attempt_of("good");
		}
		assert_true(a.asked == asked || a.asked == again);
		assert_int_equal(a.outcome, round == 0 ? KB_OK : KB_E_FETCH_STATUS);
		assert_true(stub.shared->requests > before);
		assert_true(slot_of("good")->fetched_s != 0); /* a failure takes nothing away */
	}
}

/* The file of the set is removed by hand: it is fetched again at once. */
static void test_h16_removed_set_is_fetched_again(void **state)
{
	struct keyset_origin o;
	struct keyset k;
	char path[160];

	(void)state;
	put_issuer("good", here);
	start_process(false);
	wait_fault("good", KB_OK, true, 15000);
	o = origin_of("good");
	snprintf(path, sizeof path, "%s/state/issuers/good.%.16s.keys", dir, o.id);
	assert_int_equal(unlink(path), 0);
	for (unsigned i = 0; i < 1000 && access(path, F_OK) != 0; i++)
		usleep(10000);
	assert_int_equal(get_set("good", &k), KB_OK);
	keyset_free(&k);
}

static void test_h04_bad_answer_leaves_the_old_set(void **state)
{
	struct keyset k;

	(void)state;
	put_issuer("html", here);
	int64_t then_s = clock_wall_s() - 4000;
	assert_int_equal(put_set("html", then_s, then_s + 3600, good_keys), KB_OK);
	start_process(false);
	wait_fault("html", KB_E_JSON_SYNTAX, true, 15000);
	assert_int_equal(slot_of("html")->fetched_s, then_s);
	assert_int_equal(slot_of("html")->keys, 1);
	assert_int_equal(get_set("html", &k), KB_OK);
	assert_true(span_eq_cstr(k.document, good_keys));
	keyset_free(&k);
}

/* A set with a time in the future is fetched again: the clock went back. */
static void test_f01_set_from_the_future(void **state)
{
	int64_t now_s = clock_wall_s();

	(void)state;
	put_issuer("good", here);
	assert_int_equal(put_set("good", now_s + 5000, now_s + 9000, good_keys), KB_OK);
	start_process(false);
	wait_fault("good", KB_OK, true, 15000);
	assert_true(slot_of("good")->fetched_s <= clock_wall_s());
}

static void test_h05_many_requests_one_fetch(void **state)
{
	struct keyset k;

	(void)state;
	put_issuer("good", here);
	int64_t now_s = clock_wall_s();
	assert_int_equal(put_set("good", now_s, now_s + 3600, other_keys), KB_OK);
	start_process(false);
	for (unsigned i = 0; i < 1500 && slot_of("good")->fetched_s == 0; i++)
		usleep(10000);
	int64_t from_ms = clock_mono_ms();
	for (unsigned i = 0; i < 1000; i++) {
		request_fetch(0);
		request_fetch(5); /* no such issuer */
		usleep(500);
	}
	bool is_new = false;
	for (unsigned i = 0; i < 1500 && !is_new; i++) {
		usleep(10000);
		assert_int_equal(get_set("good", &k), KB_OK);
		is_new = span_eq_cstr(k.document, good_keys);
		keyset_free(&k);
	}
	assert_true(is_new);
	/* Metadata and keys, once, while the interval of 5 s lasts. */
	unsigned requests = stub.shared->requests;
	if (clock_mono_ms() - from_ms < 4000)
		assert_int_equal(requests, 2);
	assert_true(atomic_load(&page_of(SLOT_FIRST)->stats.counter[COUNT_FRAMES_BAD]) > 0);
	/* The requests that came too early cause one more fetch when the interval is over. */
	for (unsigned i = 0; i < 1500 && stub.shared->requests < 4; i++)
		usleep(10000);
	usleep(300000); /* for one too many */
	assert_int_equal(stub.shared->requests, 4);
}

static void test_fetcher_pinned_keys_are_ready(void **state)
{
	(void)state;
	put("issuers.d/a.jwks", good_keys);
	put("issuers.d/pinned.json",
	    "{\"issuer\":\"https://"
	    "pinned\",\"keys\":{\"jwks_file\":\"a.jwks\"},\"algorithms\":[\"ES256\"]}");
	start_process(false);
	for (unsigned i = 0; i < 1500 && slot_of("pinned")->fetched_s == 0; i++)
		usleep(10000);
	assert_int_equal(slot_of("pinned")->keys, 1);
	request_fetch(0);
	usleep(300000);
	assert_int_equal(slot_of("pinned")->attempt_s, 0);
}

static void test_fetcher_jwks_uri(void **state)
{
	char text[512];

	(void)state;
	snprintf(text, sizeof text,
		 "{\"issuer\":\"anything\",\"keys\":{\"jwks_uri\":\"%s/good/"
		 "keys\",\"ca_file\":\"../ca.pem\"},\"algorithms\":[\"ES256\"],"
		 "\"private_addresses\":true}",
		 stub.url);
	put("issuers.d/uri.json", text);
	start_process(false);
	wait_fault("uri", KB_OK, true, 15000);
	assert_int_equal(stub.shared->requests, 1);
}

static void test_fetcher_cannot_write_its_state(void **state)
{
	char state_dir[64];

	(void)state;
	put_issuer("good", here);
	snprintf(state_dir, sizeof state_dir, "%s/state", dir);
	assert_int_equal(rmdir(state_dir), 0);
	start_process(false);
	wait_fault("good", KB_E_FILE, false, 15000);
}

static void test_fetcher_ends_with_the_supervisor(void **state)
{
	(void)state;
	put_issuer("good", here);
	start_process(false);
	wait_fault("good", KB_OK, true, 15000);
	/* when all vaults have ended, the fetcher goes on, without a busy loop */
	close(fetch_requests);
	fetch_requests = -1;
	usleep(200000);
	assert_int_equal(waitpid(process, NULL, WNOHANG), 0);
	close(control);
	control = -1;
	assert_int_equal(wait_process(), PROCESS_EXIT_OK);
}

static void test_fetcher_drains(void **state)
{
	(void)state;
	put_issuer("good", here);
	start_process(false);
	assert_int_equal(control_send(control, CONTROL_DRAIN, 7, 0), KB_OK);
	assert_int_equal(wait_process(), PROCESS_EXIT_OK);
}

static void test_fetcher_without_configuration(void **state)
{
	struct control_message m;
	size_t n = 0;

	(void)state;
	put_issuer("good", here);
	start_process(true);
	assert_int_equal(control_recv(control, &m, NULL, &n), KB_OK);
	assert_int_equal(m.type, CONTROL_FAILED);
	assert_int_equal(m.value, KB_E_CONFIG);
	assert_int_equal(wait_process(), PROCESS_EXIT_CONFIG);
	assert_int_equal(page_of(SLOT_FIRST)->health.state, HEALTH_FAILED);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_fetcher_ready_and_fetched),
		T(test_h04_each_issuer_has_its_own_fault),
		T(test_h12_issuer_down_at_start),
		T(test_fetcher_uses_sets_across_restart),
		T(test_h21_metadata_are_named),
		T(test_h19_question_is_answered),
		T(test_h16_removed_set_is_fetched_again),
		T(test_h04_bad_answer_leaves_the_old_set),
		T(test_f01_set_from_the_future),
		T(test_h14_set_of_another_origin),
		T(test_h14_set_of_an_older_version),
		T(test_h05_many_requests_one_fetch),
		T(test_fetcher_pinned_keys_are_ready),
		T(test_fetcher_jwks_uri),
		T(test_fetcher_cannot_write_its_state),
		T(test_fetcher_ends_with_the_supervisor),
		T(test_fetcher_drains),
		T(test_fetcher_without_configuration),
	};
#undef T

	return cmocka_run_group_tests(tests, NULL, NULL);
}
