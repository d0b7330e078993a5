/* tests/e2e/test_faults.c — processes that are killed, configurations that change, issuers that do
 * not answer, torn writes, many clients and slow ones: no key without a record, no lost record, and
 * service comes back by itself.  Long: every fault is a test of its own, on one instance. */
#include "tests/e2e/check.h"
#include "tests/e2e/invariants.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static EVP_PKEY *kek;
static char *token;
static struct expect want;
static struct good good;
static const uint8_t secret[32] = "0123456789abcdef0123456789abcde";

static int setup(void **state)
{
	(void)state;
	signal(SIGPIPE, SIG_IGN);
	GOOD(instance_make(&in));
	char *policy = policy_platform(in.issuer_url);
	GOOD(instance_import(&in, "key", NULL, secret, sizeof secret, policy));
	free(policy);
	kek = guest_key(2048);
	GOOD(guest_attest(&in.issuer_at, evidence_platform(kek), &token));
	want = (struct expect){.root = in.root,
			       .host = "localhost",
			       .base_url = in.base_url,
			       .kek = kek,
			       .kek_kid = KID_PLATFORM};
	GOOD(broker_start(&in));
	good = (struct good){.ask = {.name = "key", .token = token},
			     .want = want,
			     .plain = secret,
			     .plain_len = sizeof secret};
	GOOD(invariants_begin(&in, &good));
	return 0;
}

/* After every fault. */
static int holds(void **state)
{
	(void)state;
	good.ask.token = token;
	GOOD(invariants_hold(&in));
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	EVP_PKEY_free(kek);
	free(token);
	GOOD(instance_end(&in));
	return 0;
}

static const char *release_once(const char *with_token)
{
	struct released got;
	struct link *l;
	struct ask a = {.name = "key", .token = with_token};
	const char *why = link_open(&in.at, &l);
	if (why == NULL) {
		why = guest_release(l, &a, &want, &got);
		if (why == NULL && (got.plain_len != sizeof secret ||
				    memcmp(got.plain, secret, sizeof secret) != 0))
			why = "another key";
		released_free(&got);
	}
	link_close(l);
	return why;
}

static const char *release_within(const char *with_token, unsigned ms)
{
	const char *why;
	unsigned long long end = now_ms() + ms;
	while ((why = release_once(with_token)) != NULL && now_ms() < end)
		sleep_ms(50);
	return why;
}

static void verify_ledger(void)
{
	char *out = NULL;
	if (CTL(&in, &out, "ledger", "verify") != 0)
		GOOD(wrong("%.300s", out));
	free(out);
}

/* ---- load from another process: its tally is shared, its successes are kept by request id ---- */

enum { MAX_IDS = 20000 };
struct tally {
	volatile unsigned released, refused, lost; /* status 200; another status; no answer */
	volatile bool stop;
	unsigned n_ids;
	char id[MAX_IDS][37];
	char why[128];
};

static void ask_for_ever(struct tally *t)
{
	struct link *l = NULL;
	struct ask a = {.name = "key", .token = token};
	while (!t->stop) {
		struct reply r = {0};
		const char *why = l != NULL ? NULL : link_open(&in.at, &l);
		if (why == NULL)
			why = guest_ask(l, &a, &r);
		if (why != NULL) {
			t->lost++;
			snprintf(t->why, sizeof t->why, "%s", why);
			sleep_ms(10);
		} else if (r.status == 200) {
			t->released++;
			if (t->n_ids < MAX_IDS)
				reply_header(&r, "x-ms-request-id", t->id[t->n_ids++],
					     sizeof t->id[0]);
		} else {
			t->refused++;
			snprintf(t->why, sizeof t->why, "status %d %.80s", r.status, r.body);
		}
		if (why != NULL || r.will_close) {
			link_close(l);
			l = NULL;
		}
		reply_free(&r);
	}
	link_close(l);
}

static pid_t load_start(struct tally **t)
{
	*t = mmap(NULL, sizeof **t, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(*t != MAP_FAILED);
	pid_t pid = fork();
	if (pid == 0) {
		ask_for_ever(*t);
		_exit(0);
	}
	return pid;
}

static void load_stop(struct tally *t, pid_t pid)
{
	int status;
	t->stop = true;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

/* I1: every success a client saw has its record. */
static void every_release_is_recorded(const struct tally *t)
{
	char *text = ledger_text(&in);
	for (unsigned i = 0; i < t->n_ids; i++) {
		char part[64];
		snprintf(part, sizeof part, "\"request\":\"%s\"", t->id[i]);
		const char *at = strstr(text, part);
		if (at == NULL)
			GOOD(wrong("release %s has no record", t->id[i]));
	}
	free(text);
}

/* ---- processes that are killed ---- */

static void test_i07_kill_every_process_under_load(void **state)
{
	(void)state;
	static const char *const processes[] = {"vault", "gateway", "ledger", "fetcher"};
	struct tally *t;
	pid_t load = load_start(&t);
	for (unsigned round = 0; round < 2; round++)
		for (unsigned i = 0; i < 4; i++) {
			unsigned before = t->released;
			for (unsigned long long end = now_ms() + 5000;
			     t->released < before + 20 && now_ms() < end;)
				sleep_ms(10);
			pid_t pid = broker_process(&in, processes[i], 0);
			if (pid == 0)
				GOOD(wrong("no %s process", processes[i]));
			assert_int_equal(kill(pid, SIGKILL), 0);
			sleep_ms(20);
			const char *why = release_within(token, 10000);
			GOOD(why == NULL ? NULL
					 : wrong("after kill -9 of %s: %s", processes[i], why));
			for (unsigned long long end = now_ms() + 5000;
			     broker_process(&in, processes[i], 0) == 0 && now_ms() < end;)
				sleep_ms(20);
			assert_true(broker_process(&in, processes[i], 0) != 0);
		}
	sleep_ms(300);
	load_stop(t, load);
	assert_true(t->released > 100);
	every_release_is_recorded(t);
	verify_ledger();
	GOOD(broker_wait_ready(&in, READY_MS));
	munmap(t, sizeof *t);
}

static void test_d03_kill_everything_and_start_again(void **state)
{
	(void)state;
	struct tally *t;
	for (unsigned round = 0; round < 3; round++) {
		pid_t load = load_start(&t);
		for (unsigned long long end = now_ms() + 5000; t->released < 50 && now_ms() < end;)
			sleep_ms(1);
		broker_stop(&in, SIGKILL, 5000);
		load_stop(t, load);
		/* the processes of the killed supervisor must have ended, or they would hold the
		 * locks */
		GOOD(broker_start(&in));
		GOOD(release_once(token));
		every_release_is_recorded(t);
		verify_ledger();
		munmap(t, sizeof *t);
	}
}

static void test_d03_torn_tail_is_cut_and_recorded(void **state)
{
	(void)state;
	char dir[128], *out = NULL, name[64] = "";
	assert_int_equal(broker_stop(&in, SIGTERM, 40000), 0);
	snprintf(dir, sizeof dir, "%s/state/ledger", in.dir);
	assert_int_equal(
		run_program(&out, (const char *const[]){"/bin/sh", "-c",
							"ls -1 \"$0\" | grep jsonl | tail -n 1",
							dir, NULL}),
		0);
	sscanf(out, "%63s", name);
	free(out);
	char path[256];
	snprintf(path, sizeof path, "%s/%s", dir, name);
	int fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, "{\"seq\":999999,\"prev\":\"00", 24), 24);
	close(fd);
	assert_int_not_equal(CTL(&in, &out, "ledger", "verify"), 0);
	free(out);
	GOOD(broker_start(&in));
	GOOD(release_once(token));
	verify_ledger();
	assert_int_equal(ledger_count(&in, "\"torn_bytes\":24,"), 1);
}

static void test_d07_second_broker_is_refused(void **state)
{
	(void)state;
	char *out = NULL;
	assert_int_not_equal(run_program(&out, (const char *const[]){program("keybrokerd"), "-c",
								     in.config, NULL}),
			     0);
	free(out);
	GOOD(release_once(token));
}

/* ---- configurations ---- */

static void test_e02_reload_under_load_loses_nothing(void **state)
{
	(void)state;
	struct tally *t;
	pid_t load = load_start(&t);
	for (unsigned i = 0; i < 6; i++) {
		char *out = NULL;
		unsigned before = t->released;
		if (CTL(&in, &out, "reload") != 0)
			GOOD(wrong("reload: %.300s", out));
		free(out);
		for (unsigned long long end = now_ms() + 5000;
		     t->released < before + 20 && now_ms() < end;)
			sleep_ms(10);
	}
	load_stop(t, load);
	if (t->lost + t->refused != 0)
		GOOD(wrong("%u lost, %u refused of %u: %s", t->lost, t->refused, t->released,
			   t->why));
	assert_true(t->released > 120);
	every_release_is_recorded(t);
	munmap(t, sizeof *t);
}

/* ---- issuers ---- */

static void test_h05_new_signing_key_is_fetched_once_seen(void **state)
{
	(void)state;
	struct reply r;
	struct link *l;
	char *fresh, wait[16], code[64];
	sleep_ms(5200); /* fetches of one issuer are 5 s apart here */
	GOOD(place_call(&in.issuer_at, "POST", "/admin/rotate", "", "", &r));
	assert_int_equal(r.status, 200);
	reply_free(&r);
	GOOD(guest_attest(&in.issuer_at, evidence_platform(kek), &fresh));
	struct ask a = {.name = "key", .token = fresh};
	GOOD(link_open(&in.at, &l));
	GOOD(guest_ask(l, &a, &r));
	link_close(l);
	assert_int_equal(r.status, 503);
	assert_string_equal(reply_code(&r, code, sizeof code), "ServiceUnavailable");
	assert_true(atoi(reply_header(&r, "Retry-After", wait, sizeof wait)) >= 1);
	char *record = record_of(&r);
	assert_true(record != NULL && strstr(record, "\"code\":\"KID_PENDING\"") != NULL);
	free(record);
	reply_free(&r);
	GOOD(release_within(fresh, 8000));
	GOOD(release_once(token)); /* the old key is still in the set */
	free(token);
	token = fresh;
}

static void restart(void)
{
	assert_int_equal(broker_stop(&in, SIGTERM, 40000), 0);
	GOOD(broker_start_unready(&in));
}

/* /readyz answers at all: the gateway is there. */
static void wait_answering(void)
{
	for (unsigned long long end = now_ms() + 15000;
	     metrics_get(&in, "/readyz", NULL) == 0 && now_ms() < end;)
		sleep_ms(20);
}

static void test_h02_known_keys_outlive_a_restart_without_issuer(void **state)
{
	(void)state;
	issuer_stop(&in);
	restart();
	GOOD(broker_wait_ready(&in, READY_MS));
	GOOD(release_once(token));
}

static void test_h02_stale_keys_are_no_keys(void **state)
{
	(void)state;
	json_t *issuer = instance_json(&in, "issuers.d/issuer.json"),
	       *patient = json_deep_copy(issuer);
	json_object_set_new(issuer, "max_stale", json_string("1s"));
	GOOD(instance_json_write(&in, "issuers.d/issuer.json", issuer));
	restart();
	sleep_ms(1500);
	wait_answering();
	for (unsigned long long end = now_ms() + 10000; now_ms() < end; sleep_ms(100)) {
		const char *why = release_once(token);
		if (why != NULL && strncmp(why, "status 503", 10) == 0)
			break;
	}
	struct ask a = {.name = "key", .token = token};
	REFUSED(&a, 503, "ServiceUnavailable", "ISSUER_UNAVAILABLE");
	GOOD(instance_json_write(&in, "issuers.d/issuer.json", patient));
}

static void test_h12_cold_start_with_issuer_down(void **state)
{
	(void)state;
	char path[256];
	assert_int_equal(broker_stop(&in, SIGTERM, 40000), 0);
	assert_int_equal(unlink(keys_path("issuer", path)), 0);
	GOOD(broker_start_unready(&in));
	wait_answering();
	sleep_ms(500);
	assert_int_equal(metrics_get(&in, "/readyz", NULL), 503);
	struct ask a = {.name = "key", .token = token};
	REFUSED(&a, 503, "ServiceUnavailable", "ISSUER_UNAVAILABLE");
	GOOD(issuer_start(&in));
	GOOD(broker_wait_ready(&in, 6000));
	GOOD(release_once(token));
}

/* ---- many clients ---- */

static void test_g06_full_queue_says_503_at_once(void **state)
{
	(void)state;
	enum { CLIENTS = 60 };
	static struct link *links[CLIENTS];
	unsigned busy = 0, released = 0;
	char *large, wait[16], code[64], *pad = calloc(1, 100 * 1024 + 1);
	/* Small requests would wait in the kernel's socket buffer, a megabyte of them, before the
	 * gateway's own queue begins. */
	json_t *attest = evidence_platform(kek);
	memset(pad, 'a', 100 * 1024);
	evidence_set(attest, "padding", json_string(pad));
	GOOD(guest_attest(&in.issuer_at, attest, &large));
	free(pad);
	char *request = malloc(strlen(large) + 512);
	json_t *config = instance_json(&in, "keybroker.json"), *before = json_deep_copy(config);
	json_object_set_new(config, "limits", json_pack("{s:i}", "queue", 4));
	GOOD(instance_json_write(&in, "keybroker.json", config));
	restart();
	GOOD(broker_wait_ready(&in, READY_MS));
	for (unsigned long long end = now_ms() + 5000;
	     broker_process(&in, "vault", 1) == 0 && now_ms() < end;)
		sleep_ms(20);
	for (unsigned i = 0; i < CLIENTS; i++)
		GOOD(link_open(&in.at, &links[i]));
	pid_t vault[2] = {broker_process(&in, "vault", 0), broker_process(&in, "vault", 1)};
	assert_true(vault[0] > 0 && vault[1] > 0);
	for (unsigned i = 0; i < 2; i++)
		kill(vault[i], SIGSTOP);
	int n = sprintf(request,
			"POST /keys/key/release?api-version=7.4 HTTP/1.1\r\nHost: "
			"x\r\nAuthorization: Bearer x\r\nContent-Type: application/json\r\n"
			"Content-Length: %zu\r\n\r\n{\"target\":\"%s\"}",
			strlen(large) + 13, large);
	for (unsigned i = 0; i < CLIENTS; i++)
		GOOD(link_send(links[i], request, (size_t)n));
	sleep_ms(300);
	for (unsigned i = 0; i < CLIENTS;
	     i++) { /* those that are there now were refused while no worker ran */
		struct reply r;
		if (!link_has_reply(links[i]))
			continue;
		GOOD(link_receive(links[i], &r));
		assert_int_equal(r.status, 503);
		assert_string_equal(reply_code(&r, code, sizeof code), "ServiceUnavailable");
		assert_true(atoi(reply_header(&r, "Retry-After", wait, sizeof wait)) >= 1);
		reply_free(&r);
		link_close(links[i]);
		links[i] = NULL;
		busy++;
	}
	for (unsigned i = 0; i < 2; i++)
		kill(vault[i], SIGCONT);
	for (unsigned i = 0; i < CLIENTS; i++) {
		struct reply r;
		if (links[i] == NULL)
			continue;
		GOOD(link_receive(links[i], &r));
		released += r.status == 200;
		reply_free(&r);
		link_close(links[i]);
	}
	if (busy == 0 || busy == CLIENTS)
		GOOD(wrong("%u of %u got Retry-After", busy, CLIENTS));
	assert_int_equal(released, CLIENTS - busy);
	free(request);
	free(large);
	GOOD(instance_json_write(&in, "keybroker.json", before));
	restart();
	GOOD(broker_wait_ready(&in, READY_MS));
}

static int tcp_open(void)
{
	struct sockaddr_in to = {.sin_family = AF_INET,
				 .sin_port = htons((uint16_t)in.port),
				 .sin_addr = {htonl(INADDR_LOOPBACK)}};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
	return fd;
}

/* A handshake without a byte, half a head and half a body: each is closed at its deadline, and no
 * other client waits for them. */
static void test_b01_slow_clients_meet_their_deadline(void **state)
{
	(void)state;
	static const char head[] = "POST /keys/key/release?api-version=7.4 HTTP/1.1\r\nHost: x\r\n";
	static const char body[] =
		"POST /keys/key/release?api-version=7.4 HTTP/1.1\r\nHost: x\r\nContent-Type: "
		"application/json\r\nContent-Length: 100\r\n\r\n{";
	struct link *slow[2];
	GOOD(link_open(&in.at, &slow[0]));
	GOOD(link_open(&in.at, &slow[1]));
	int fd[3] = {tcp_open(), link_socket(slow[0]), link_socket(slow[1])};
	unsigned long long from = now_ms();
	GOOD(link_send(slow[0], head, sizeof head - 1));
	GOOD(link_send(slow[1], body, sizeof body - 1));
	bool is_closed[3] = {false, false, false};
	while (now_ms() - from < 13000 && !(is_closed[0] && is_closed[1] && is_closed[2])) {
		GOOD(release_once(token));
		for (unsigned i = 0; i < 3; i++) {
			char bytes[4096];
			ssize_t n;
			while (!is_closed[i] &&
			       (n = recv(fd[i], bytes, sizeof bytes, MSG_DONTWAIT)) >= 0)
				is_closed[i] = n == 0;
			is_closed[i] |= errno != EAGAIN && errno != EINTR && errno != 0;
		}
		if (now_ms() - from < 8500)
			assert_false(is_closed[0] || is_closed[1] || is_closed[2]);
		sleep_ms(100);
	}
	assert_true(is_closed[0] && is_closed[1] && is_closed[2]);
	close(fd[0]);
	link_close(slow[0]);
	link_close(slow[1]);
}

static void test_b08_request_in_single_bytes(void **state)
{
	(void)state;
	struct reply r;
	struct link *l;
	static const char request[] = "GET /keys/key?api-version=7.4 HTTP/1.1\r\nHost: "
				      "localhost\r\nAuthorization: Bearer x\r\n\r\n";
	GOOD(link_open(&in.at, &l));
	for (size_t i = 0; i < sizeof request - 1; i++)
		GOOD(link_send(l, request + i, 1));
	GOOD(link_receive(l, &r));
	assert_int_equal(r.status, 200);
	reply_free(&r);
	link_close(l);
}

static void test_b05_pipelined_requests_in_order(void **state)
{
	(void)state;
	struct reply r;
	struct link *l;
	char text[1024], *out = text;
	for (unsigned i = 0; i < 3; i++)
		out += sprintf(out,
			       "GET /keys/%s?api-version=7.4 HTTP/1.1\r\nHost: "
			       "localhost\r\nAuthorization: Bearer x\r\n\r\n",
			       i == 1 ? "nosuch" : "key");
	GOOD(link_open(&in.at, &l));
	GOOD(link_send(l, text, (size_t)(out - text)));
	for (unsigned i = 0; i < 3; i++) {
		GOOD(link_receive(l, &r));
		assert_int_equal(r.status, i == 1 ? 404 : 200);
		reply_free(&r);
	}
	link_close(l);
}

static void test_b09_client_gone_before_the_answer(void **state)
{
	(void)state;
	char *request = malloc(strlen(token) + 512);
	int n = sprintf(request,
			"POST /keys/key/release?api-version=7.4 HTTP/1.1\r\nHost: "
			"x\r\nAuthorization: Bearer x\r\nContent-Type: application/json\r\n"
			"Content-Length: %zu\r\n\r\n{\"target\":\"%s\"}",
			strlen(token) + 13, token);
	unsigned before = ledger_count(&in, "\"outcome\":\"released\"");
	for (unsigned i = 0; i < 20; i++) {
		struct link *l;
		GOOD(link_open(&in.at, &l));
		GOOD(link_send(l, request, (size_t)n));
		setsockopt(link_socket(l), SOL_SOCKET, SO_LINGER, &(struct linger){1, 0},
			   sizeof(struct linger)); /* reset */
		link_close(l);
	}
	free(request);
	GOOD(release_within(token, 2000));
	sleep_ms(300);
	assert_true(ledger_count(&in, "\"outcome\":\"released\"") >
		    before); /* the record is there, though the reply was not read */
	verify_ledger();
}

/* ---- the end ---- */

static void test_sigterm_answers_what_is_open(void **state)
{
	(void)state;
	struct reply r;
	struct link *l;
	struct ask a = {.name = "key", .token = token};
	GOOD(link_open(&in.at, &l));
	GOOD(guest_ask(l, &a, &r));
	assert_int_equal(r.status, 200);
	reply_free(&r);
	kill(in.broker, SIGTERM);
	sleep_ms(100);
	GOOD(guest_ask(l, &a, &r));
	assert_int_equal(r.status, 200);
	assert_true(r.will_close);
	reply_free(&r);
	link_close(l);
	int status = 0;
	for (unsigned long long end = now_ms() + 10000;
	     now_ms() < end && waitpid(in.broker, &status, WNOHANG) != in.broker;)
		sleep_ms(20);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	assert_int_equal(kill(in.broker, 0), -1);
	in.broker = 0;
	verify_ledger();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_b08_request_in_single_bytes, holds),
		cmocka_unit_test_teardown(test_b05_pipelined_requests_in_order, holds),
		cmocka_unit_test_teardown(test_b09_client_gone_before_the_answer, holds),
		cmocka_unit_test_teardown(test_i07_kill_every_process_under_load, holds),
		cmocka_unit_test_teardown(test_d03_kill_everything_and_start_again, holds),
		cmocka_unit_test_teardown(test_d03_torn_tail_is_cut_and_recorded, holds),
		cmocka_unit_test_teardown(test_d07_second_broker_is_refused, holds),
		cmocka_unit_test_teardown(test_e02_reload_under_load_loses_nothing, holds),
		cmocka_unit_test_teardown(test_h05_new_signing_key_is_fetched_once_seen, holds),
		cmocka_unit_test_teardown(test_h02_known_keys_outlive_a_restart_without_issuer,
					  holds),
		cmocka_unit_test(test_h02_stale_keys_are_no_keys),
		cmocka_unit_test_teardown(test_h12_cold_start_with_issuer_down, holds),
		cmocka_unit_test_teardown(test_g06_full_queue_says_503_at_once, holds),
		cmocka_unit_test_teardown(test_b01_slow_clients_meet_their_deadline, holds),
		cmocka_unit_test(test_sigterm_answers_what_is_open),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
