/* tests/security/test_floods_long.c — ten thousand at once, memory at its end, and what a hostile
 * request can be made to cost. */
#include "tests/e2e/flood.h"

#include <limits.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

enum { CLIENTS = 10000, PER_SOURCE = 500, MOST = 4096 };

static int client[CLIENTS];

static int setup(void **state)
{
	struct rlimit files;
	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
	return flood_setup_and_begin(state);
}

/* ---- ten thousand ---- */

/* Connects without waiting: when all connections are taken the kernel lets some wait, too. */
static void crowd_come(const uint8_t *first, size_t len)
{
	for (unsigned i = 0; i < CLIENTS; i++) {
		struct sockaddr_in from = {.sin_family = AF_INET,
					   .sin_addr = {htonl(0x7f020000u + 1 + i / PER_SOURCE)}};
		struct sockaddr_in to = {.sin_family = AF_INET,
					 .sin_port = htons((uint16_t)in.port),
					 .sin_addr = {htonl(INADDR_LOOPBACK)}};
		client[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		assert_true(client[i] >= 0);
		setsockopt(client[i], IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &(int){1}, sizeof(int));
		assert_int_equal(bind(client[i], (struct sockaddr *)&from, sizeof from), 0);
		if (connect(client[i], (struct sockaddr *)&to, sizeof to) != 0)
			assert_int_equal(errno, EINPROGRESS);
		if (len > 0)
			(void)send(client[i], first, len, MSG_NOSIGNAL);
	}
}

static void crowd_go(void)
{
	for (unsigned i = 0; i < CLIENTS; i++)
		close_hard(client[i]);
}

/* The metrics port, with all connections taken. */
static void health_is_quick(void)
{
	unsigned long long best = ULLONG_MAX;
	for (unsigned i = 0; i < 5; i++) {
		unsigned long long from = now_ms();
		assert_int_equal(metrics_get(&in, "/healthz", NULL), 200);
		best = now_ms() - from < best ? now_ms() - from : best;
	}
	if (best >= 100)
		GOOD(wrong("/healthz took %llu ms at the best", best));
}

static void ten_thousand(const uint8_t *first, size_t len)
{
	pid_t pid = gateway();
	long before = status_kib(pid, "VmRSS:");
	crowd_come(first, len);
	wait_metric("keybroker_connections_open", MOST * 0.9, 15000);
	for (unsigned i = 0; i < 20; i++) {
		double open = metric(&in, "keybroker_connections_open");
		if (open > MOST)
			GOOD(wrong("%.0f connections, %d allowed", open, MOST));
		health_is_quick();
		sleep_ms(50);
	}
	long each = (status_kib(pid, "VmRSS:") - before) / MOST;
	print_message("  %ld KiB for each of them\n", each);
	if (each > (len == 0 ? 2 : 64))
		GOOD(wrong("%ld KiB for each of them", each));
	crowd_go();
	unsigned took = 0;
	for (unsigned long long end = now_ms() + 15000;
	     now_ms() < end;) /* those who waited in the kernel are gone through first */
		if ((took = release_ms(200)) < 1000)
			break;
	if (took >= 1000)
		GOOD(wrong("a release took %u ms after they went", took));
	assert_int_equal(gateway(), pid);
}

static void test_b10_ten_thousand_idle(void **state)
{
	(void)state;
	flood_limits(
		json_pack("{s:i, s:i}", "connections", MOST, "connections_per_source", PER_SOURCE));
	ten_thousand(NULL, 0);
}

static void test_b10_ten_thousand_half_handshakes(void **state)
{
	(void)state;
	uint8_t hello[4096];
	size_t len = client_hello(hello);
	ten_thousand(hello, len); /* a whole hello; the server's answer is never read */
}

/* While they are there and the limit is not reached, a quiet source is served. */
static void test_b10_b11_served_beside_ten_thousand(void **state)
{
	(void)state;
	uint8_t hello[4096];
	size_t len = client_hello(hello);
	flood_limits(NULL);
	crowd_come(hello, len);
	served_within(201, 1000);
	served_within(202, 1000);
	crowd_go();
}

/* ---- memory ---- */

static bool write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool is_written = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
	if (fd >= 0)
		close(fd);
	return is_written;
}

static long oom_score(pid_t pid)
{
	char path[64];
	long score = -1;
	snprintf(path, sizeof path, "/proc/%d/oom_score_adj", (int)pid);
	FILE *f = fopen(path, "r");
	if (f != NULL && fscanf(f, "%ld", &score) != 1)
		score = -1;
	if (f != NULL)
		fclose(f);
	return score;
}

/* What the kernel kills first; and that the sum of all that clients may have stored here fits the
 * unit's MemoryMax several times, so that it need not. */
static void test_g03_whom_the_kernel_takes(void **state)
{
	(void)state;
	long gate = oom_score(gateway()), vault = oom_score(broker_process(&in, "vault", 0)),
	     ledger = oom_score(broker_process(&in, "ledger", 0));
	if (!(gate > vault && gate > ledger))
		GOOD(wrong("oom_score_adj: gateway %ld, vault %ld, ledger %ld", gate, vault,
			   ledger));
}

/* The broker in a control group with little more memory than it has, and bodies that together are
 * ten times that: connections are refused or cut off; at worst the kernel kills the gateway, which
 * is started again; the vaults and the ledger keep running. */
static void test_g03_memory_limit_under_hostile_load(void **state)
{
	(void)state;
	enum { BODY = 190 * 1024, MANY = 1200, SPARE_KIB = 48 * 1024 };
	static SSL *sender[MANY];
	static char body[BODY];
	static const char *const processes[] = {"gateway", "vault", "ledger", "fetcher"};
	char group[96], path[160], text[256];
	const bool is_v2 = access("/sys/fs/cgroup/cgroup.controllers", F_OK) == 0;
	snprintf(group, sizeof group, "%s/keybroker-test-%d",
		 is_v2 ? "/sys/fs/cgroup" : "/sys/fs/cgroup/memory", (int)getpid());
	if (mkdir(group, 0755) != 0) { /* no control group of our own on this machine */
		skip();
		return;
	}
	long rss = status_kib(in.broker, "VmRSS:");
	pid_t vault = broker_process(&in, "vault", 0), ledger = broker_process(&in, "ledger", 0);
	snprintf(path, sizeof path, "%s/cgroup.procs", group);
	snprintf(text, sizeof text, "%d", (int)in.broker);
	bool is_in = write_file(path, text);
	for (unsigned r = 0; r < 4; r++)
		for (unsigned nth = 0; broker_process(&in, processes[r], nth) > 0; nth++) {
			pid_t pid = broker_process(&in, processes[r], nth);
			rss += status_kib(pid, "VmRSS:");
			snprintf(text, sizeof text, "%d", (int)pid);
			is_in = is_in && write_file(path, text);
		}
	snprintf(path, sizeof path, "%s/%s", group, is_v2 ? "memory.max" : "memory.limit_in_bytes");
	snprintf(text, sizeof text, "%ld",
		 (rss / 4 + SPARE_KIB) *
			 1024); /* what is charged later: most pages were charged before */
	is_in = is_in && write_file(path, text);
	if (!is_in) {
		rmdir(group);
		skip();
		return;
	}
	memset(body, 'a', sizeof body);
	int n = snprintf(text, sizeof text,
			 "POST /keys/key/release?api-version=7.4 HTTP/1.1\r\nHost: "
			 "x\r\nContent-Type: application/json\r\nContent-Length: %u\r\n\r\n",
			 BODY);
	for (unsigned i = 0; i < MANY; i++) {
		struct timeval limit = {.tv_sec = 2};
		sender[i] = tls_from(0x7f030000u + 1 + i / 100, NULL);
		setsockopt(SSL_get_fd(sender[i]), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
		setsockopt(SSL_get_fd(sender[i]), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
		if (SSL_do_handshake(sender[i]) != 1 || SSL_write(sender[i], text, n) != n ||
		    SSL_write(sender[i], body, BODY - 1) <= 0)
			ERR_clear_error(); /* refused, or cut off */
	}
	for (unsigned i = 0; i < MANY; i++)
		tls_free(sender[i]);
	assert_int_equal(broker_process(&in, "vault", 0), vault);
	assert_int_equal(broker_process(&in, "ledger", 0), ledger);
	GOOD(broker_wait_ready(&in, READY_MS));
	/* Out of the group again, which must not be left behind. */
	snprintf(path, sizeof path, "%s/cgroup.procs",
		 is_v2 ? "/sys/fs/cgroup" : "/sys/fs/cgroup/memory");
	snprintf(text, sizeof text, "%d", (int)in.broker);
	assert_true(write_file(path, text));
	for (unsigned r = 0; r < 4; r++)
		for (unsigned nth = 0; broker_process(&in, processes[r], nth) > 0; nth++) {
			snprintf(text, sizeof text, "%d",
				 (int)broker_process(&in, processes[r], nth));
			assert_true(write_file(path, text));
		}
	for (unsigned long long end = now_ms() + 5000; rmdir(group) != 0 && now_ms() < end;)
		sleep_ms(50);
	assert_int_not_equal(access(group, F_OK), 0);
	double restarts = metric(&in, "keybroker_process_restarts_total{process=\"gateway\"}");
	print_message("  gateways taken by the kernel: %.0f\n", restarts < 0 ? 0 : restarts);
}

/* ---- amplification ---- */

struct cost {
	double cpu_ms;
	long grown_kib;
};

static void processes_cost(struct cost *c, int sign, bool is_peak)
{
	static const char *const processes[] = {"gateway", "vault", "ledger"};
	for (unsigned r = 0; r < 3; r++)
		for (unsigned nth = 0; broker_process(&in, processes[r], nth) > 0; nth++) {
			pid_t pid = broker_process(&in, processes[r], nth);
			c->cpu_ms += sign * cpu_ms(pid);
			c->grown_kib += sign * status_kib(pid, is_peak ? "VmHWM:" : "VmRSS:");
			if (sign < 0)
				peak_reset(pid);
		}
}

/* A target that is refused before its signature is good: made of `part` repeated to about `size`
 * bytes between head and tail. */
static char *hostile_body(const char *head, const char *part, const char *tail, size_t size)
{
	char *text = malloc(size + strlen(head) + strlen(part) + strlen(tail) + 1), *at = text;
	assert_non_null(text);
	at = stpcpy(at, head);
	while (*part != '\0' && (size_t)(at - text) < size)
		at = stpcpy(at, part);
	stpcpy(at, tail);
	return text;
}

static char *hostile_token(const char *claims_head, const char *part, const char *claims_tail,
			   size_t size)
{
	char *claims = hostile_body(claims_head, part, claims_tail, size);
	char *b64 = proof_b64url_text((const uint8_t *)claims, strlen(claims));
	const char *dot = strchr(token, '.'), *sig = strrchr(token, '.');
	size_t cap = strlen(token) + strlen(b64) + 64;
	char *body = malloc(cap);
	assert_non_null(body);
	snprintf(body, cap, "{\"target\":\"%.*s.%s%s\"}", (int)(dot - token), token, b64, sig);
	free(claims);
	free(b64);
	return body;
}

static void test_g04_amplification(void **state)
{
	(void)state;
	enum { TIMES = 20, MOST_RATIO = 100, MOST_MS = 10, BIG = 140 * 1024 };
	if (geteuid() != 0) { /* the peak is measured anew for each: root's right */
		skip();
		return;
	}
	char *const bodies[] = {
		hostile_body("{\"target\":\"", "a", "\"}", 190 * 1024), /* one long string */
		hostile_body("[", "[", "]", 190 * 1024),                /* depth */
		hostile_body("{", "\"\\u0061\":1,", "\"b\":2}",
			     190 * 1024),                            /* members twice, by escapes */
		hostile_body("{\"x\":[", "1,", "1]}", 190 * 1024),   /* 95,000 numbers */
		hostile_body("{\"x\":[", "{},", "{}]}", 190 * 1024), /* 63,000 objects */
		hostile_body("{\"target\":\"", "a.", "\"}", 190 * 1024), /* parts */
		hostile_token("{\"iss\":[", "[],", "[]]}", BIG),         /* in the claims: arrays */
		hostile_token("{\"a\":{", "\"b\":{},", "\"c\":1}}", BIG), /* … members twice */
		hostile_token("{\"iss\":\"", "\\u0041", "\"}", BIG),      /* … escapes */
		hostile_token("{\"x\":", "1234567890", "}", BIG), /* … a number of 140,000 digits */
		hostile_token("{\"x-ms-runtime\":{\"keys\":[", "{\"kty\":\"RSA\"},", "{}]}}", BIG),
		hostile_body("{}", "", "", 8),
	};
	double most_ratio = 0, most_ms = 0;
	for (unsigned i = 0; i < sizeof bodies / sizeof bodies[0]; i++) {
		struct link *l;
		struct cost c = {0};
		size_t len = strlen(bodies[i]) + 300;
		GOOD(link_open(&in.at, &l));
		for (unsigned k = 0; k < TIMES + 4; k++) {
			struct reply r;
			if (k == 4) /* warm: buffers of this size are there */
				processes_cost(&c, -1, false);
			GOOD(link_call(l, "POST", "/keys/key/release?api-version=7.4",
				       "Authorization: Bearer x\r\n", bodies[i], &r));
			if (r.status == 200 || r.status >= 500)
				GOOD(wrong("body %u: status %d", i, r.status));
			reply_free(&r);
		}
		processes_cost(&c, 1, true);
		double ratio = (double)(c.grown_kib > 0 ? c.grown_kib : 0) * 1024 / (double)len,
		       ms = c.cpu_ms / TIMES;
		print_message("  body %2u, %6zu bytes: %.1f × memory at its peak, %.2f ms of all "
			      "processes\n",
			      i, len, ratio, ms);
		most_ratio = ratio > most_ratio ? ratio : most_ratio;
		most_ms = ms > most_ms ? ms : most_ms;
		link_close(l);
		free(bodies[i]);
	}
	if (most_ratio > MOST_RATIO || most_ms > MOST_MS)
		GOOD(wrong("%.0f × memory, %.1f ms", most_ratio, most_ms));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		attack(test_g04_amplification),
		attack(test_b10_ten_thousand_idle),
		attack(test_b10_ten_thousand_half_handshakes),
		attack(test_b10_b11_served_beside_ten_thousand),
		attack(test_g03_whom_the_kernel_takes),
		cmocka_unit_test(test_g03_memory_limit_under_hostile_load),
	};
	return cmocka_run_group_tests(tests, setup, flood_teardown);
}
