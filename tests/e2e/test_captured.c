/* tests/e2e/test_captured.c — the gateway is captured, or a vault: the attacker sends the other
 * processes anything through its sockets, and writes anything to its page of the shared memory.
 * That is enough to ask, as any client can, and to lie about the client's address; it brings no
 * keys or decisions, and no other process stops working. */
#include "tests/e2e/check.h"

#include <errno.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/e2e/invariants.h"

/* broker/process/process.h and broker/process/frame.c, as the attacker knows them. */
enum { CONTROL = 3, GATEWAY_VAULT = 6, GATEWAY_LEDGER = 7, VAULT_LEDGER = 6, VAULT_REQUESTS = 9 };
enum {
	AT_TYPE = 0,
	AT_VERSION = 1,
	AT_LISTENER = 26,
	AT_METHOD = 27,
	AT_DEADLINE = 101, /* without a client certificate */
	AT_PEER = 109,
	MAX_FRAME = 256 * 1024
};
enum { MESSAGE = 88 }; /* struct control_message */

static EVP_PKEY *kek;
static const uint8_t secret[32] = "captured: thirty-two secret byte";
static struct good good;
static uint8_t frame[MAX_FRAME];
static size_t frame_len;

/* Nobody else may take a process's descriptors. */
static void needs_root(void)
{
	if (geteuid() != 0)
		skip();
}

static void wait_workers(void)
{
	bool are_there = false;
	for (unsigned long long end = now_ms() + 15000; !are_there && now_ms() < end;
	     sleep_ms(20)) {
		char *body = NULL;
		metrics_get(&in, "/readyz", &body);
		are_there = body != NULL && strstr(body, "\"workers\":{\"serving\":2") != NULL;
		free(body);
	}
	assert_true(are_there);
}

/* Wait until it has stopped: before that it may still take a message. */
static void stop(pid_t pid)
{
	char path[64], text[512], is_at = '?';
	kill(pid, SIGSTOP);
	snprintf(path, sizeof path, "/proc/%d/stat", pid);
	for (unsigned long long end = now_ms() + 5000; is_at != 'T' && now_ms() < end;
	     sleep_ms(1)) {
		FILE *f = fopen(path, "r");
		if (f != NULL && fgets(text, sizeof text, f) != NULL && strrchr(text, ')') != NULL)
			is_at = strrchr(text, ')')[2];
		if (f != NULL)
			fclose(f);
	}
	assert_true(is_at == 'T');
}

static int setup(void **state)
{
	(void)state;
	static char kid[44];
	char *token;
	if (geteuid() != 0)
		return 0;
	signal(SIGPIPE, SIG_IGN);
	GOOD(instance_make(&in));
	char *policy = policy_container(in.issuer_url);
	GOOD(instance_import(&in, "key", NULL, secret, sizeof secret, policy));
	free(policy);
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
	wait_workers();
	GOOD(invariants_begin(&in, &good));
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	if (geteuid() != 0)
		return 0;
	if (in.broker > 0)
		assert_int_equal(broker_stop(&in, SIGTERM, 40000), 0);
	GOOD(broker_log_clean(&in));
	free((char *)(uintptr_t)good.ask.token);
	EVP_PKEY_free(kek);
	instance_free(&in);
	return 0;
}

/* A copy of another process's descriptor, as root may have it. */
static int steal(const char *process, int fd)
{
	int pidfd = pidfd_open(broker_process(&in, process, 0), 0),
	    copy = pidfd < 0 ? -1 : pidfd_getfd(pidfd, fd, 0);
	if (copy < 0)
		GOOD(wrong("descriptor %d of %s: %s", fd, process, strerror(errno)));
	close(pidfd);
	return copy;
}

static unsigned log_lines(const char *part)
{
	char text[4096];
	unsigned n = 0;
	FILE *f = fopen(in.log, "r");
	while (f != NULL && fgets(text, sizeof text, f) != NULL)
		n += strstr(text, part) != NULL;
	if (f != NULL)
		fclose(f);
	return n;
}

static void put_deadline(uint8_t *f)
{
	uint64_t until = now_ms() + 8000;
	for (unsigned i = 0; i < 8; i++)
		f[AT_DEADLINE + i] = (uint8_t)(until >> (8 * i));
}

static void give(int fd, const void *bytes, size_t len)
{
	for (unsigned long long end = now_ms() + 10000;
	     send(fd, bytes, len, MSG_DONTWAIT | MSG_NOSIGNAL) != (ssize_t)len; sleep_ms(1))
		if (errno != EAGAIN || now_ms() > end)
			GOOD(wrong("send of %zu bytes: %s", len, strerror(errno)));
}

/* The vaults have taken all there is: a genuine request behind it was answered (they share one
 * line). */
static void wait_bad(double bad)
{
	for (unsigned long long end = now_ms() + 10000;
	     metric(&in, "keybroker_frames_bad_total") < bad && now_ms() < end;)
		sleep_ms(20);
	double got = metric(&in, "keybroker_frames_bad_total");
	if (got < bad || got > bad)
		GOOD(wrong("%.0f bad frames, expected %.0f", got, bad));
}

/* A genuine request, taken from the socket while the workers are stopped and sent again by the
 * attacker, is answered as usual.  So the frames of the other tests are right but for one thing. */
static void test_h13_a_genuine_frame(void **state)
{
	(void)state;
	needs_root();
	struct link *l;
	struct reply r;
	pid_t vault[2] = {broker_process(&in, "--process vault", 0),
			  broker_process(&in, "--process vault", 1)};
	int requests = steal("--process vault", VAULT_REQUESTS),
	    line = steal("--process gateway", GATEWAY_VAULT);
	char *request = malloc(strlen(good.ask.token) + 512);
	int n = sprintf(request,
			"POST /keys/key/release?api-version=7.4 HTTP/1.1\r\nHost: "
			"x\r\nAuthorization: Bearer x\r\nContent-Type: application/json\r\n"
			"Content-Length: %zu\r\n\r\n{\"target\":\"%s\"}",
			strlen(good.ask.token) + 13, good.ask.token);
	GOOD(link_open(&in.at, &l));
	for (unsigned i = 0; i < 2; i++)
		stop(vault[i]);
	GOOD(link_send(l, request, (size_t)n));
	free(request);
	ssize_t got = -1;
	for (unsigned long long end = now_ms() + 5000; got <= 0 && now_ms() < end; sleep_ms(5))
		got = recv(requests, frame, sizeof frame, MSG_DONTWAIT);
	for (unsigned i = 0; i < 2; i++)
		kill(vault[i], SIGCONT);
	if (got <= AT_PEER)
		GOOD(wrong("a frame of %zd bytes", got));
	frame_len = (size_t)got;
	put_deadline(frame);
	give(line, frame, frame_len);
	GOOD(link_receive(l, &r));
	assert_int_equal(r.status, 200);
	reply_free(&r);
	link_close(l);
	close(requests);
	close(line);
	GOOD(invariants_hold(&in));
}

/* One type of message is accepted and no other: none brings keys, none decides. */
static void test_h13_other_types_of_message(void **state)
{
	(void)state;
	needs_root();
	struct reply set;

	assert_true(frame_len > 0);
	int line = steal("--process gateway", GATEWAY_VAULT);
	double bad = metric(&in, "keybroker_frames_bad_total");
	unsigned lines = ledger_count(&in, "\"seq\":");
	GOOD(place_call(&in.issuer_at, "GET", "/certs", "", NULL, &set));
	for (unsigned type = 0; type < 256; type++) {
		if (type == frame[AT_TYPE])
			continue;
		uint8_t was = frame[AT_TYPE];
		put_deadline(frame);
		frame[AT_TYPE] = (uint8_t)type;
		give(line, frame, frame_len);
		/* A key set behind it is no better. */
		uint8_t *forged = malloc(set.len + 2);
		forged[AT_TYPE] = (uint8_t)type;
		forged[AT_VERSION] = frame[AT_VERSION];
		memcpy(forged + 2, set.body, set.len);
		give(line, forged, set.len + 2);
		free(forged);
		frame[AT_TYPE] = was;
	}
	give(line, set.body, set.len);
	reply_free(&set);
	wait_bad(bad + 2 * 255 + 1);
	assert_int_equal(ledger_count(&in, "\"seq\":"), lines);
	close(line);
	GOOD(invariants_hold(&in));
}

/* Cut anywhere, with more behind it, with wrong lengths, of another version, too long, empty. */
static void test_h13_i06_malformed_frames(void **state)
{
	(void)state;
	needs_root();
	static uint8_t text[MAX_FRAME + 4096];
	assert_true(frame_len > 0);
	int line = steal("--process gateway", GATEWAY_VAULT);
	double bad = metric(&in, "keybroker_frames_bad_total"),
	       restarts = metric(&in, "keybroker_process_restarts_total");
	unsigned n = 0, lines = ledger_count(&in, "\"seq\":");
	put_deadline(frame);
	for (size_t len = 1; len < frame_len; len += len < 400 ? 1 : 211, n++)
		give(line, frame, len);
	memcpy(text, frame, frame_len);
	for (size_t more = 1; more <= 64; more *= 4, n++)
		give(line, text, frame_len + more);
	for (unsigned i = 1; i < 4; i++, n++) { /* the peer's length */
		memcpy(text, frame, frame_len);
		text[AT_PEER + i] = 0xff;
		give(line, text, frame_len);
	}
	memcpy(text, frame, frame_len);
	text[AT_VERSION] ^= 3;
	give(line, text, frame_len), n++;
	text[AT_VERSION] ^= 3;
	text[AT_METHOD] = 77;
	give(line, text, frame_len), n++;
	memset(text, 'Q', sizeof text);
	give(line, text, sizeof text), n++;
	for (unsigned i = 0; i < 20; i++, n++)
		give(line, text, 0); /* not the end of the line: the workers stay */
	wait_bad(bad + n);
	assert_int_equal(ledger_count(&in, "\"seq\":"), lines);
	assert_true(metric(&in, "keybroker_process_restarts_total") <= restarts);
	close(line);
	/* Logged when their number doubles, by each of two workers. */
	assert_true(log_lines("frame.bad") <= 2 * 12);
	GOOD(invariants_hold(&in));
}

/* Every bit of what is not the token: whatever it asks for then, no key leaves that the token does
 * not open, and no worker ends because of it. */
static void test_h13_every_bit_of_a_frame(void **state)
{
	(void)state;
	needs_root();
	assert_true(frame_len > 0);
	int line = steal("--process gateway", GATEWAY_VAULT);
	double restarts = metric(&in, "keybroker_process_restarts_total");
	size_t body = frame_len - strlen(good.ask.token) - 13;
	for (size_t bit = 0; bit < body * 8; bit++) {
		if (bit / 8 >= AT_DEADLINE && bit / 8 < AT_PEER)
			continue;
		put_deadline(frame);
		frame[bit / 8] ^= (uint8_t)(1 << bit % 8);
		give(line, frame, frame_len);
		frame[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	GOOD(broker_wait_ready(&in, READY_MS));
	assert_true(metric(&in, "keybroker_process_restarts_total") <= restarts);
	/* Of another listener than there is: refused, nothing behind it. */
	put_deadline(frame);
	frame[AT_LISTENER] = 200;
	give(line, frame, frame_len);
	frame[AT_LISTENER] = 0;
	close(line);
	/* Answers that no client waits for are released keys all the same: each has its record, and
	 * each is wrapped to the guest of this token. */
	char *text = ledger_text(&in), *end;
	unsigned released = 0;
	for (char *at = text; (end = strchr(at, '\n')) != NULL; at = end + 1) {
		*end = '\0';
		if (strstr(at, "\"outcome\":\"released\"") == NULL)
			continue;
		released++;
		if (strstr(at, "\"key\":\"key\"") == NULL || strstr(at, good.want.kek_kid) == NULL)
			GOOD(wrong("released: %s", at));
	}
	free(text);
	assert_true(released > 0);
	GOOD(invariants_hold(&in));
}

/* In the wrong direction: the ledger and the supervisor read nothing that a gateway sends there. */
static void test_h13_other_processes_do_not_listen(void **state)
{
	(void)state;
	needs_root();
	uint8_t junk[4096];
	int responses = steal("--process gateway", GATEWAY_LEDGER),
	    control = steal("--process gateway", CONTROL);
	pid_t ledger = broker_process(&in, "--process ledger", 0),
	      gateway = broker_process(&in, "--process gateway", 0);
	for (unsigned i = 0; i < 200; i++) {
		memset(junk, (int)i, sizeof junk);
		(void)send(responses, junk, i * 20, MSG_DONTWAIT | MSG_NOSIGNAL);
		(void)send(responses, frame, frame_len, MSG_DONTWAIT | MSG_NOSIGNAL);
	}
	for (uint32_t type = 0; type < 64; type++) {
		memset(junk, 0, sizeof junk);
		memcpy(junk, &type, sizeof type);
		give(control, junk, MESSAGE);
	}
	sleep_ms(300);
	assert_int_equal(broker_process(&in, "--process ledger", 0), ledger);
	assert_int_equal(broker_process(&in, "--process gateway", 0), gateway);
	GOOD(invariants_hold(&in));
	/* No process of ours sends what is no message: the supervisor ends the sender and starts
	 * another. */
	give(control, junk, 5);
	close(responses);
	close(control);
	for (unsigned long long end = now_ms() + 10000;
	     broker_process(&in, "--process gateway", 0) == gateway && now_ms() < end;)
		sleep_ms(10);
	GOOD(broker_wait_ready(&in, READY_MS));
	assert_int_not_equal(broker_process(&in, "--process gateway", 0), gateway);
	assert_int_equal(broker_process(&in, "--process ledger", 0), ledger);
	GOOD(invariants_hold(&in));
	char *out = NULL;
	if (CTL(&in, &out, "reload") != 0) /* and it still serves the others */
		GOOD(wrong("%s", out));
	free(out);
	GOOD(broker_wait_ready(&in, READY_MS));
}

/* ---- pages ---- */

/* The part of a process's memory that is its own page: the only one that it can write. */
static off_t own_page(pid_t pid, size_t *len)
{
	char path[64], line[512], rights[8], name[256];
	unsigned long from, to;
	off_t at = 0;
	unsigned n = 0;

	snprintf(path, sizeof path, "/proc/%d/maps", pid);
	FILE *f = fopen(path, "r");
	assert_non_null(f);
	while (fgets(line, sizeof line, f) != NULL)
		if (sscanf(line, "%lx-%lx %7s %*s %*s %*s %255[^\n]", &from, &to, rights, name) ==
			    4 &&
		    strstr(name, "keybroker page") != NULL && rights[1] == 'w') {
			at = (off_t)from;
			*len = to - from;
			n++;
		}
	fclose(f);
	if (n != 1)
		GOOD(wrong("process %d has %u pages to write", pid, n));
	return at;
}

static void fill_page(pid_t pid, bool is_noise)
{
	static uint8_t noise[1 << 16];
	char path[64];
	size_t len = 0;
	off_t at = own_page(pid, &len);

	assert_true(len <= sizeof noise);
	memset(noise, 0xff, sizeof noise);
	for (size_t i = 0; is_noise && i < len; i++)
		noise[i] = (uint8_t)random();
	snprintf(path, sizeof path, "/proc/%d/mem", pid);
	int fd = open(path, O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_true(pwrite(fd, noise, len, at) == (ssize_t)len);
	close(fd);
}

/* What a reload has replaced is gone. */
static void wait_one_generation(void)
{
	for (unsigned long long end = now_ms() + 40000;
	     (broker_process(&in, "--process vault", 2) != 0 ||
	      broker_process(&in, "--process fetcher", 1) != 0) &&
	     now_ms() < end;)
		sleep_ms(20);
	wait_workers();
	assert_int_equal(broker_process(&in, "--process vault", 2), 0);
}

static void test_i12_each_process_can_write_one_page(void **state)
{
	(void)state;
	needs_root();
	static const char *const process[] = {"--process gateway", "--process vault",
					      "--process ledger", "--process fetcher"};
	for (size_t i = 0; i < sizeof process / sizeof process[0]; i++) {
		size_t len;
		assert_true(own_page(broker_process(&in, process[i], 0), &len) != 0);
	}
}

/* No vault stops, the supervisor kills nobody else, /readyz says what is so. */
static void test_i12_i13_noise_in_the_gateways_page(void **state)
{
	(void)state;
	needs_root();
	static const char *const others[] = {"--process vault", "--process ledger",
					     "--process fetcher"};
	wait_one_generation();
	pid_t before[4] = {broker_process(&in, others[0], 0), broker_process(&in, others[1], 0),
			   broker_process(&in, others[2], 0), broker_process(&in, others[0], 1)};
	for (unsigned round = 0; round < 10; round++) {
		fill_page(broker_process(&in, "--process gateway", 0), round % 2 != 0);
		sleep_ms(250); /* the supervisor looks each 100 ms */
		wait_workers();
	}
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(broker_process(&in, others[i], 0), before[i]);
	assert_int_equal(broker_process(&in, others[0], 1), before[3]);
	assert_int_equal(log_lines("vault.hung"), 0);
	assert_int_equal(log_lines("process.held"), 0);
	GOOD(invariants_hold(&in));
}

/* It is ended for it, perhaps for good; the other worker serves. */
static void test_i12_i13_noise_in_a_vaults_page(void **state)
{
	(void)state;
	needs_root();
	pid_t captured = broker_process(&in, "--process vault", 0),
	      other = broker_process(&in, "--process vault", 1),
	      ledger = broker_process(&in, "--process ledger", 0);
	stop(captured); /* it cannot put right what it uses */
	fill_page(captured, false);
	for (unsigned long long end = now_ms() + 10000;
	     broker_process(&in, "--process vault", 0) == captured && now_ms() < end;)
		sleep_ms(20);
	assert_int_equal(broker_process(&in, "--process vault", 0), other);
	sleep_ms(500);
	GOOD(invariants_hold(&in));
	assert_int_equal(broker_process(&in, "--process vault", 0), other);
	assert_int_equal(broker_process(&in, "--process ledger", 0), ledger);
	char *out = NULL;
	if (CTL(&in, &out, "reload") != 0)
		GOOD(wrong("%s", out));
	free(out);
	wait_workers();
	GOOD(invariants_hold(&in));
}

/* ---- replies of a captured vault ---- */

static size_t put_reply(uint8_t *to, const uint8_t id[8], uint8_t gateway, const char *body)
{
	size_t n = 0;

	memset(to, 0, 512);
	to[n++] = 'R';
	to[n++] = 1;
	memcpy(to + n, id, 8);
	n += 8;
	to[n++] = gateway;
	n += 16;                       /* uuid */
	to[n++] = 200;                 /* status */
	n += 1 + 2 + 4 + 4 + 4;        /* no Retry-After, challenge, client's id, peer */
	to[n] = (uint8_t)strlen(body); /* body */
	memcpy(to + n + 4, body, strlen(body));
	n += 4 + strlen(body);
	return n + 4 + 2 + 1 + 4 + 4 + 12 + 16 + 2 + 32 + 2 + 4 +
	       4; /* no record, code OK, no key … */
}

static void test_i14_replies_that_nobody_asked_for(void **state)
{
	(void)state;
	needs_root();
	static const uint8_t none[8];
	uint8_t reply[512], id[8];
	double bad = metric(&in, "keybroker_frames_bad_total");
	int line = steal("--process vault", VAULT_LEDGER);
	pid_t ledger = broker_process(&in, "--process ledger", 0),
	      gateway = broker_process(&in, "--process gateway", 0);

	for (unsigned i = 0; i < 1000; i++) {
		give(line, reply, put_reply(reply, none, 0, "{}"));
		for (unsigned k = 0; k < 8; k++)
			id[k] = (uint8_t)random();
		id[7] &= 0x7f; /* of an operation without a record: the ledger passes it on */
		give(line, reply, put_reply(reply, id, 0, "{}"));
	}
	for (unsigned i = 1; i < 256; i++) { /* no such gateway */
		give(line, reply, put_reply(reply, id, (uint8_t)i, "{}"));
	}
	close(line);
	wait_bad(bad + 1000 + 255);
	assert_int_equal(broker_process(&in, "--process ledger", 0), ledger);
	assert_int_equal(broker_process(&in, "--process gateway", 0), gateway);
	assert_true(log_lines("frame.bad") <= 3 * 12); /* each time that their number doubles */
	GOOD(invariants_hold(&in));
}

/* The vault has a release call and sends a key as the answer, without a record. */
static void test_i15_key_without_a_record(void **state)
{
	(void)state;
	needs_root();
	uint8_t reply[512], id[8];
	struct link *l;
	struct reply r;
	pid_t vault[2] = {broker_process(&in, "--process vault", 0),
			  broker_process(&in, "--process vault", 1)};
	int requests = steal("--process vault", VAULT_REQUESTS),
	    line = steal("--process vault", VAULT_LEDGER);
	static const char request[] =
		"POST /keys/key/release?api-version=7.4 HTTP/1.1\r\nHost: x\r\nAuthorization: "
		"Bearer x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";

	GOOD(link_open(&in.at, &l));
	for (unsigned i = 0; i < 2; i++)
		stop(vault[i]);
	GOOD(link_send(l, request, sizeof request - 1));
	ssize_t got = -1;
	for (unsigned long long end = now_ms() + 5000; got <= 0 && now_ms() < end; sleep_ms(5))
		got = recv(requests, frame, sizeof frame, MSG_DONTWAIT);
	assert_true(got > AT_PEER);
	memcpy(id, frame + 2, sizeof id);
	assert_true((id[7] & 0x80) != 0); /* the gateway says that a success makes a record */
	id[7] ^= 0x80; /* the vault says that it makes none: nobody has that id */
	give(line, reply, put_reply(reply, id, 0, "{\"value\":\"key\"}"));
	sleep_ms(200);
	id[7] ^= 0x80;
	give(line, reply, put_reply(reply, id, 0, "{\"value\":\"key\"}"));
	GOOD(link_receive(l, &r));
	for (unsigned i = 0; i < 2; i++)
		kill(vault[i], SIGCONT);
	assert_int_equal(r.status, 503);
	assert_true(r.body == NULL || strstr((const char *)r.body, "\"key\"") == NULL);
	reply_free(&r);
	link_close(l);
	close(requests);
	close(line);
	GOOD(invariants_hold(&in));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_h13_a_genuine_frame),
		cmocka_unit_test(test_h13_other_types_of_message),
		cmocka_unit_test(test_h13_i06_malformed_frames),
		cmocka_unit_test(test_h13_every_bit_of_a_frame),
		cmocka_unit_test(test_h13_other_processes_do_not_listen),
		cmocka_unit_test(test_i12_each_process_can_write_one_page),
		cmocka_unit_test(test_i12_i13_noise_in_the_gateways_page),
		cmocka_unit_test(test_i14_replies_that_nobody_asked_for),
		cmocka_unit_test(test_i15_key_without_a_record),
		cmocka_unit_test(test_i12_i13_noise_in_a_vaults_page),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
