/* tests/e2e/test_reload_judges.c — which configuration judges a request around a reload, and that
 * each gets an answer: half-sent requests, kept-alive connections, handshakes that end late. */
#include "tests/e2e/reload_load.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "process/kind.h"

enum { HALF = 8 };
static char *request;
static size_t request_len;

static int setup(void **state)
{
	(void)state;
	load_setup();
	request = malloc(strlen(good.ask.token) + 512);
	request_len = (size_t)sprintf(
		request,
		"POST /keys/turn/release?api-version=7.4 HTTP/1.1\r\nHost: x\r\nAuthorization: "
		"Bearer x\r\nContent-Type: application/json\r\nContent-Length: "
		"%zu\r\n\r\n{\"target\":\"%s\"}",
		strlen(good.ask.token) + 13, good.ask.token);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	free(request);
	load_teardown();
	return 0;
}

static void ctl_good(const char *const args[])
{
	char *out = NULL;
	if (ctl(&in, &out, args) != 0)
		GOOD(wrong("%s %s: %s", args[0], args[1] == NULL ? "" : args[1], out));
	free(out);
}
#define DO(...) ctl_good((const char *const[]){__VA_ARGS__, NULL})

/* ---- requests that lack a byte, and connections that wait for their next request ---- */

static struct link *half[HALF], *kept[HALF];
static unsigned long long begun_ms;

/* On a machine that is so slow that a deadline of the client's side passed, its answer says nothing
 * about the reload. */
static bool is_late(void)
{
	bool is = now_ms() - begun_ms > 9000;
	if (is)
		print_message("too slow to tell: %llu ms\n", now_ms() - begun_ms);
	return is;
}

static void begin(void)
{
	struct reply r = {0};
	begun_ms = now_ms();
	for (unsigned i = 0; i < HALF; i++) {
		GOOD(link_open(&in.at, &half[i]));
		GOOD(link_send(half[i], request, request_len - 1));
		GOOD(link_open(&in.at, &kept[i]));
		GOOD(link_send(kept[i], request, request_len));
		GOOD(link_receive(kept[i], &r));
		assert_int_equal(r.status, 200);
		reply_free(&r);
	}
}

/* 503 with what a client needs to try again, or NULL for another answer. */
static const char *is_retry(struct reply *r)
{
	char after[16], code[64];
	if (r->status != 503)
		return wrong("status %d", r->status);
	reply_header(r, "Retry-After", after, sizeof after);
	if (strcmp(after, "1") != 0 || !r->will_close)
		return wrong("Retry-After \"%s\", %s", after,
			     r->will_close ? "closes" : "stays open");
	return reply_code(r, code, sizeof code)[0] == '\0' ? "no error code" : NULL;
}

static void end_all(struct link *links[], bool is_half, int want)
{
	for (unsigned i = 0; i < HALF; i++) {
		struct reply r = {0};
		const char *why = is_half ? link_send(links[i], request + request_len - 1, 1)
					  : link_send(links[i], request, request_len);
		if (why == NULL)
			why = link_receive(links[i], &r);
		/* Between two requests, either side may close. */
		bool is_closed = why != NULL && !is_half, is_slow = is_half && is_late();
		if (why == NULL)
			why = want == 503        ? is_retry(&r)
			      : r.status != want ? wrong("status %d", r.status)
						 : NULL;
		if (is_slow && why != NULL && r.status != 200)
			why = NULL;
		link_close(links[i]);
		links[i] = NULL;
		reply_free(&r);
		if (!is_closed)
			GOOD(why);
	}
}

static void new_one(int want)
{
	struct reply r = {0};
	struct link *l;
	GOOD(link_open(&in.at, &l));
	GOOD(link_send(l, request, request_len));
	GOOD(link_receive(l, &r));
	if (r.status != want)
		GOOD(wrong("status %d", r.status));
	link_close(l);
	reply_free(&r);
}

/* Whatever takes away: what is complete after the reload has returned is not judged by what was. */
static void test_e10_what_was_taken_away_is_not_given(void **state)
{
	(void)state;
	begin();
	DO("key", "disable", "turn", "--reload");
	end_all(half, true, 503);
	end_all(kept, false, 503);
	new_one(403);
	DO("key", "enable", "turn", "--reload");
	new_one(200);

	begin();
	load_policy(false);
	DO("reload");
	end_all(kept, false, 503);
	end_all(half, true, 503);
	new_one(403);
	load_policy(true);
	DO("reload");

	begin(); /* a credential */
	json_t *was = instance_json(&in, "keybroker.json"), *config = json_deep_copy(was);
	json_t *listener = json_array_get(json_object_get(config, "listeners"), 0);
	GOOD(instance_write(&in, "bearers",
			    "#\n"
			    "0000000000000000000000000000000000000000000000000000000000000000\n",
			    67));
	json_object_set_new(listener, "auth", json_string("bearer_file"));
	json_object_set_new(listener, "bearer_file", json_string("bearers"));
	GOOD(instance_json_write(&in, "keybroker.json", config));
	DO("reload");
	end_all(half, true, 503);
	end_all(kept, false, 503);
	new_one(401);
	GOOD(instance_json_write(&in, "keybroker.json", was));
	DO("reload");
	new_one(200);
	GOOD(invariants_hold(&in));
}

/* An older generation may judge on as long as nothing that judges changes: the reload after the
 * next ends that, too. */
static void test_e10_of_every_older_generation(void **state)
{
	(void)state;
	begin();
	DO("reload"); /* nothing changes */
	DO("key", "disable", "turn", "--reload");
	end_all(half, true, 503);
	DO("key", "enable", "turn", "--reload");
	for (unsigned i = 0; i < HALF; i++)
		link_close(kept[i]);
	GOOD(invariants_hold(&in));
}

static void test_e11_nothing_in_flight_is_lost(void **state)
{
	(void)state;
	begin(); /* nothing that judges */
	json_t *config = instance_json(&in, "keybroker.json");
	json_object_set_new(config, "limits", json_pack("{s:i}", "queue", 900));
	GOOD(instance_json_write(&in, "keybroker.json", config));
	DO("reload");
	end_all(kept, false, 200);
	sleep_ms(2500);
	end_all(half, true, 200);

	/* A key more: who asks for it half a moment too early is not told "no such key". */
	begin();
	char policy[256], *at = strstr(request, "/keys/turn");
	snprintf(policy, sizeof policy, "%s/policies/turn.json", in.dir);
	memcpy(at, "/keys/more", 10);
	for (unsigned i = 0; i < HALF; i++) {
		link_close(kept[i]);
		GOOD(link_open(&in.at, &kept[i]));
		GOOD(link_send(kept[i], request, request_len - 1));
	}
	DO("key", "create", "more", "--kty", "oct-HSM", "--policy", policy, "--reload");
	end_all(kept, true, 503);
	new_one(200);
	memcpy(at, "/keys/turn", 10);
	end_all(half, true, 200);
	GOOD(invariants_hold(&in));
}

/* ---- handshakes that end late ---- */

static int connect_raw(void)
{
	struct sockaddr_in to = {.sin_family = AF_INET,
				 .sin_port = htons((uint16_t)in.at.port),
				 .sin_addr = {htonl(INADDR_LOOPBACK)}};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct timeval limit = {.tv_sec = 20};
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit), 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
	return fd;
}

static SSL *handshake(int fd)
{
	SSL *ssl = SSL_new(in.at.tls);
	assert_true(SSL_set_fd(ssl, fd) == 1 && SSL_set1_host(ssl, in.at.host) == 1);
	if (SSL_connect(ssl) != 1 && !is_late())
		GOOD("the handshake was not finished");
	return ssl;
}

static void expect_200(SSL *ssl, int fd)
{
	char reply[64] = "";
	if ((SSL_write(ssl, request, (int)request_len) <= 0 ||
	     SSL_read(ssl, reply, sizeof reply - 1) <= 0 ||
	     strncmp(reply, "HTTP/1.1 200 ", 13) != 0) &&
	    !is_late())
		GOOD(wrong("no answer, or: %.40s", reply));
	SSL_free(ssl);
	close(fd);
}

/* Accepted before the reload: TLS begins two seconds after it, and the first request comes two more
 * seconds later. */
static void test_e12_late_handshakes_are_answered(void **state)
{
	(void)state;
	double open = metric(&in, "keybroker_connections_total");
	begun_ms = now_ms();
	int late = connect_raw(), silent = connect_raw();
	SSL *ssl = handshake(silent);
	for (unsigned long long end = now_ms() + 10000;
	     metric(&in, "keybroker_connections_total") < open + 2 && now_ms() < end;)
		sleep_ms(20);
	DO("reload");
	sleep_ms(2000);
	SSL *first = handshake(late);
	sleep_ms(2000);
	expect_200(ssl, silent);
	expect_200(first, late);
	DO("reload", "--wait");
	GOOD(invariants_hold(&in));
}

/* --wait returns when the old processes are gone, and says what it waits for. */
static void test_e12_wait_names_what_it_waits_for(void **state)
{
	(void)state;
	struct link *l;
	char *out = NULL;
	GOOD(link_open(&in.at, &l));
	GOOD(link_send(l, request, request_len - 1));
	pid_t gateway = broker_process(&in, "--process gateway", 0);
	if (CTL(&in, &out, "reload", "--wait") != 0 ||
	    strstr(out, "waiting for generation") == NULL || strstr(out, "1 connections") == NULL ||
	    strstr(out, "is over") == NULL)
		GOOD(wrong("%s", out));
	free(out);
	for (unsigned i = 0; i < 4; i++)
		assert_int_not_equal(broker_process(&in, "--process gateway", i), gateway);
	link_close(l);
	GOOD(invariants_hold(&in));
}

/* Slow clients of old generations hold up no reload: when there is no place for one more, the
 * oldest answers its clients and ends. */
static void test_e12_slow_clients_hold_up_no_reload(void **state)
{
	(void)state;
	enum { RELOADS = 9, PARTS = 3, PACE_MS = 3000, PLACES = PROCESS_GENERATIONS };
	struct {
		struct link *l;
		unsigned part;
		unsigned long long sent_ms;
	} slow[RELOADS] = {0};
	const size_t part[PARTS + 1] = {0, 1, 100, request_len - 1};
	bool is_quick = true; /* no deadline of the oldest can have passed before it must end */
	for (unsigned i = 0; i < RELOADS; i++) {
		unsigned long long from = now_ms();
		GOOD(link_open(&in.at, &slow[i].l));
		slow[i].sent_ms = now_ms();
		DO("reload");
		if (now_ms() - from > 20000)
			GOOD(wrong("reload %u took %llu ms", i, now_ms() - from));
		is_quick = is_quick && (i >= PLACES || now_ms() - from < 4000);
		/* Each of them is within its deadlines, all of which have to pass. */
		for (unsigned j = 0; j <= i; j++) {
			/* What is sent to one that was dismissed would reset its connection. */
			if (slow[j].part == PARTS || now_ms() - slow[j].sent_ms < PACE_MS ||
			    i - j >= PLACES - 1)
				continue;
			(void)link_send(slow[j].l, request + part[slow[j].part],
					part[slow[j].part + 1] - part[slow[j].part]);
			slow[j].part++;
			slow[j].sent_ms = now_ms();
		}
	}
	if (is_quick) {
		struct reply r = {0};
		char *out = NULL;
		assert_int_equal(
			run_program(&out, (const char *const[]){"/bin/grep", "-c", "hold the place",
								in.log, NULL}),
			0);
		free(out);
		GOOD(link_receive(slow[0].l, &r));
		GOOD(is_retry(&r));
		reply_free(&r);
	}
	for (unsigned i = 0; i < RELOADS; i++)
		link_close(slow[i].l);
	GOOD(invariants_hold(&in));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_e10_what_was_taken_away_is_not_given),
		cmocka_unit_test(test_e10_of_every_older_generation),
		cmocka_unit_test(test_e11_nothing_in_flight_is_lost),
		cmocka_unit_test(test_e12_late_handshakes_are_answered),
		cmocka_unit_test(test_e12_wait_names_what_it_waits_for),
		cmocka_unit_test(test_e12_slow_clients_hold_up_no_reload),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
