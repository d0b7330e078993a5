/* tests/e2e/test_reload_tool.c — what keybrokerctl says of a reload: no more than it saw, which
 * settings need a restart, and the same of certificates as the broker does. */
#include "tests/e2e/reload_load.h"

#include <arpa/inet.h>
#include <glob.h>
#include <netinet/in.h>
#include <openssl/pem.h>
#include <sys/socket.h>

static int setup(void **state)
{
	(void)state;
	load_setup();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	load_teardown();
	return 0;
}

/* keybrokerctl with this exit code, and with this in what it prints. */
static void says(int code, const char *text, const char *const args[])
{
	char *out = NULL;
	int got = ctl(&in, &out, args);
	if (got != code || strstr(out, text) == NULL)
		GOOD(wrong("%s %s ended with %d and said: %s", args[0],
			   args[1] == NULL ? "" : args[1], got, out));
	free(out);
}
#define SAYS(code, text, ...) says(code, text, (const char *const[]){__VA_ARGS__, NULL})

static void turn_is(int want)
{
	struct link *l = NULL;
	struct reply r = {0};
	GOOD(link_open(&in.at, &l));
	GOOD(guest_ask(l, &(struct ask){.name = "turn", .token = good.ask.token}, &r));
	if (r.status != want)
		GOOD(wrong("status %d", r.status));
	reply_free(&r);
	link_close(l);
}

/* ---- what was not seen ---- */

/* Answers each call with the half of an answer, and ends the connection. */
static pid_t half_answers(unsigned *port)
{
	static const char text[] = "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{}\n";
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t len = sizeof at;
	int fd = socket(AF_INET, SOCK_STREAM, 0), one;
	char ignored[1024];
	assert_true(bind(fd, (struct sockaddr *)&at, sizeof at) == 0 && listen(fd, 9) == 0 &&
		    getsockname(fd, (struct sockaddr *)&at, &len) == 0);
	*port = ntohs(at.sin_port);
	pid_t pid = fork();
	if (pid != 0) {
		close(fd);
		return pid;
	}
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while ((one = accept(fd, NULL, NULL)) >= 0) {
		(void)!read(one, ignored, sizeof ignored);
		(void)!write(one, text, sizeof text - 1);
		close(one);
	}
	_exit(0);
}

static void test_e13_lost_answers_are_no_judgement(void **state)
{
	(void)state;
	char other[96], report[128], aside[128], address[32], config[96];
	unsigned port;
	pid_t server = half_answers(&port);
	memcpy(config, in.config, sizeof config);
	snprintf(other, sizeof other, "%s/other.json", in.dir);
	json_t *j = instance_json(&in, "keybroker.json");
	snprintf(address, sizeof address, "127.0.0.1:%u", port);
	json_object_set_new(json_object_get(j, "metrics"), "address", json_string(address));
	GOOD(instance_json_write(&in, "other.json", j));

	/* Half an answer: neither ready nor not ready. */
	memcpy(in.config, other, sizeof other);
	SAYS(2, "UNKNOWN", "status");
	SAYS(2, "\"status\":null", "status", "--json");
	SAYS(2, "\"generation\":null", "status", "--json");
	SAYS(0, "reloaded", "reload"); /* not asked there */
	memcpy(in.config, config, sizeof config);
	kill(server, SIGKILL);
	waitpid(server, NULL, 0);

	/* Nothing that says how it went: not "refused". */
	snprintf(report, sizeof report, "%s/state/keybrokerd.report", in.dir);
	snprintf(aside, sizeof aside, "%s/aside", in.dir);
	assert_int_equal(rename(report, aside), 0);
	SAYS(2, "unknown", "reload");
	SAYS(2, "\"taken\":null", "reload", "--json");
	GOOD(instance_write(&in, "state/keybrokerd.report", "{\"pid\":1}", 9));
	SAYS(2, "unknown", "key", "disable", "turn", "--reload");
	assert_int_equal(rename(aside, report), 0);
	SAYS(0, "reloaded", "key", "enable", "turn", "--reload");
	turn_is(200);

	/* A configuration that is refused: with its reason. */
	j = instance_json(&in, "keybroker.json");
	json_t *bad = json_deep_copy(j);
	json_object_set_new(bad, "metrics", json_pack("{s:s}", "address", "192.0.2.1:9"));
	GOOD(instance_json_write(&in, "keybroker.json", bad));
	SAYS(1, "cannot listen on 192.0.2.1:9", "reload");
	GOOD(instance_json_write(&in, "keybroker.json", j));
	SAYS(0, "\"taken\":true", "reload", "--json");
	GOOD(invariants_hold(&in));
}

/* A reload that had begun when the record was changed is not the one that is waited for. */
static void test_e13_another_reload_is_not_ours(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		kill(in.broker, SIGHUP);
		sleep_ms(150 * i);
		SAYS(0, "reloaded", "key", "disable", "turn", "--reload");
		turn_is(403);
		kill(in.broker, SIGHUP);
		sleep_ms(150 * i);
		SAYS(0, "reloaded", "key", "enable", "turn", "--wait");
		turn_is(200);
	}
	GOOD(invariants_hold(&in));
}

/* ---- what a reload cannot take up, and what it does ---- */

static unsigned segments(void)
{
	char pattern[128];
	glob_t found;
	snprintf(pattern, sizeof pattern, "%s/state/ledger/ledger-*.jsonl", in.dir);
	unsigned n = glob(pattern, 0, NULL, &found) == 0 ? (unsigned)found.gl_pathc : 0;
	globfree(&found);
	return n;
}

static void test_e14_each_setting_is_taken_up_or_named(void **state)
{
	(void)state;
	json_t *was = instance_json(&in, "keybroker.json"), *j = json_deep_copy(was);
	json_object_set_new(j, "state", json_string("elsewhere"));
	GOOD(instance_json_write(&in, "keybroker.json", j));
	/* The tool cannot know which broker is meant. */
	SAYS(2, "no broker is running", "reload");
	char failed[] = "keybroker_reloads_failed_total";
	double before = metric(&in, failed);
	char *text = NULL;
	kill(in.broker, SIGHUP);
	for (unsigned long long end = now_ms() + 10000; metric(&in, failed) < before + 1;) {
		assert_true(now_ms() < end);
		sleep_ms(20);
	}
	assert_int_equal(
		run_program(&text, (const char *const[]){"/bin/tail", "-n", "1", in.log, NULL}), 0);
	if (strstr(text, "state: taken up by a restart only") == NULL)
		GOOD(wrong("%s", text));
	free(text);

	j = json_deep_copy(was);
	json_object_set_new(j, "user", json_string("daemon"));
	GOOD(instance_json_write(&in, "keybroker.json", j));
	SAYS(1, "not to root or to user daemon", "reload"); /* before it is compared */

	/* The ledger's process stays: it has the new size all the same. */
	j = json_deep_copy(was);
	json_object_set_new(j, "limits", json_pack("{s:i}", "ledger_segment_bytes", 16 * 8192));
	GOOD(instance_json_write(&in, "keybroker.json", j));
	SAYS(0, "reloaded", "reload");
	unsigned n = segments();
	for (unsigned i = 0; i < 400 && segments() == n; i++)
		turn_is(200);
	assert_true(segments() > n);
	GOOD(instance_json_write(&in, "keybroker.json", was));
	SAYS(0, "reloaded", "reload");
	GOOD(invariants_hold(&in));
}

/* ---- certificates ---- */

/* The server's certificate, valid from and to so many days from now. */
static void certificate(int from, int to)
{
	char path[128], text[16384];
	X509 *chain[4] = {0};
	int n = 0;
	snprintf(path, sizeof path, "%s/tls/ca.key", in.dir);
	FILE *f = fopen(path, "r");
	EVP_PKEY *ca = f == NULL ? NULL : PEM_read_PrivateKey(f, NULL, NULL, NULL);
	assert_non_null(ca);
	fclose(f);
	snprintf(path, sizeof path, "%s/tls/server.pem", in.dir);
	f = fopen(path, "r");
	while (n < 4 && (chain[n] = PEM_read_X509(f, NULL, NULL, NULL)) != NULL)
		n++;
	fclose(f);
	assert_true(n > 0 &&
		    X509_gmtime_adj(X509_getm_notBefore(chain[0]), from * 86400L) != NULL &&
		    X509_gmtime_adj(X509_getm_notAfter(chain[0]), to * 86400L) != NULL &&
		    X509_sign(chain[0], ca, EVP_sha256()) > 0);
	BIO *bio = BIO_new(BIO_s_mem());
	for (int i = 0; i < n; i++) {
		assert_int_equal(PEM_write_bio_X509(bio, chain[i]), 1);
		X509_free(chain[i]);
	}
	int len = BIO_read(bio, text, sizeof text);
	GOOD(instance_write(&in, "tls/server.pem", text, (size_t)len));
	BIO_free(bio);
	EVP_PKEY_free(ca);
}

static void nobody_takes_it(const char *text)
{
	char *out = NULL;
	SAYS(1, text, "check");
	SAYS(1, text, "reload");
	assert_int_equal(run_program(&out, (const char *const[]){program("keybrokerd"), "-t", "-c",
								 in.config, NULL}),
			 1);
	if (strstr(out, text) == NULL)
		GOOD(wrong("keybrokerd -t: %s", out));
	free(out);
	turn_is(200); /* with the certificate of before */
}

static void test_e15_check_start_and_reload_judge_alike(void **state)
{
	(void)state;
	certificate(-20, -1);
	nobody_takes_it("a certificate ended on ");
	certificate(2, 20);
	nobody_takes_it("is not valid before ");
	certificate(-1, 20);
	SAYS(0, "warning: ", "check");
	SAYS(0, "reloaded", "reload");
	turn_is(200);

	/* With an ended one it starts, and says so: without it nobody gets a key.  And it takes up
	 * what else changes. */
	certificate(-20, -1);
	assert_int_equal(broker_stop(&in, SIGTERM, 40000), 0);
	GOOD(broker_start(&in));
	SAYS(0, "reloaded", "key", "disable", "turn", "--reload");
	SAYS(0, "reloaded", "key", "enable", "turn", "--reload");
	char *out = NULL;
	assert_int_equal(
		run_program(&out, (const char *const[]){"/bin/grep", "-c", "config.certificate",
							in.log, NULL}),
		0);
	free(out);
	SAYS(1, "a certificate ended on ", "check");
	certificate(-1, 300);
	SAYS(0, "reloaded", "reload");
	turn_is(200);
	GOOD(invariants_hold(&in));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_e13_lost_answers_are_no_judgement),
		cmocka_unit_test(test_e13_another_reload_is_not_ours),
		cmocka_unit_test(test_e14_each_setting_is_taken_up_or_named),
		cmocka_unit_test(test_e15_check_start_and_reload_judge_alike),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
