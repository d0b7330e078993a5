/* tests/e2e/flood.h — what the tests of floods and of the wire share: one instance with its
 * standing invariants, clients that misbehave, from any address within 127/8, and what the gateway
 * reports and uses. */
#ifndef KB_TESTS_FLOOD_H
#define KB_TESTS_FLOOD_H
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/e2e/check.h"
#include "tests/e2e/invariants.h"

#define KEY_NAME  "key"
#define SOURCE(n) (0x7f000000u + (n)) /* SOURCE(9) is 127.0.0.9 */

static EVP_PKEY *kek;
static char *token;
static struct good good;
static const uint8_t flood_secret[32] = "what floods must not wash away..";

static inline int flood_setup(void **state)
{
	(void)state;
	signal(SIGPIPE, SIG_IGN);
	GOOD(instance_make(&in));
	char *policy = policy_platform(in.issuer_url);
	GOOD(instance_import(&in, KEY_NAME, NULL, flood_secret, sizeof flood_secret, policy));
	free(policy);
	kek = guest_key(2048);
	GOOD(guest_attest(&in.issuer_at, evidence_platform(kek), &token));
	good = (struct good){
		.ask = {.name = KEY_NAME, .token = token},
		.want = {.root = in.root,
			 .host = "localhost",
			 .base_url = in.base_url,
			 .kek = kek,
			 .kek_kid = KID_PLATFORM},
		.plain = flood_secret,
		.plain_len = sizeof flood_secret,
	};
	return 0;
}

static inline void flood_begin(void)
{
	GOOD(broker_start(&in));
	for (unsigned long long end = now_ms() + 10000;
	     broker_process(&in, "vault", 1) == 0 && now_ms() < end;)
		sleep_ms(20); /* it is ready with its first worker */
	GOOD(invariants_begin(&in, &good));
}

static inline int flood_setup_and_begin(void **state)
{
	flood_setup(state);
	flood_begin();
	return 0;
}

static inline int flood_teardown(void **state)
{
	(void)state;
	EVP_PKEY_free(kek);
	free(token);
	GOOD(instance_end(&in));
	return 0;
}

/* Start again, with another configuration (limits NULL: the usual ones). */
static inline void flood_limits(json_t *limits)
{
	json_t *config = instance_json(&in, "keybroker.json");
	json_object_del(config, "limits");
	if (limits != NULL)
		json_object_set_new(config, "limits", limits);
	GOOD(instance_json_write(&in, "keybroker.json", config));
	if (in.broker > 0)
		assert_int_equal(broker_stop(&in, SIGTERM, 40000), 0);
	flood_begin();
}

/* ---- what the broker reports, and what it uses ---- */

static inline double refused_as(const char *code) /* without a request: REFUSE(code) */
{
	char name[96];
	snprintf(name, sizeof name, "keybroker_refused_before_request_total{code=\"%s\"}", code);
	double n = metric(&in, name);
	return n < 0 ? 0 : n;
}

/* A counter or gauge of the metrics reaches at least this value within `ms`. */
static inline void wait_metric(const char *name, double least, unsigned ms)
{
	double n = metric(&in, name);
	for (unsigned long long end = now_ms() + ms; n < least && now_ms() < end;
	     n = metric(&in, name))
		sleep_ms(20);
	if (n < least)
		GOOD(wrong("%s is %.0f, expected %.0f", name, n, least));
}

static inline pid_t gateway(void)
{
	pid_t pid = broker_process(&in, "gateway", 0);
	assert_true(pid > 0);
	return pid;
}

static inline double cpu_ms(pid_t pid) /* on a processor so far, user and system */
{
	char path[64];
	double ns = 0;
	snprintf(path, sizeof path, "/proc/%d/schedstat", (int)pid);
	FILE *f = fopen(path, "r");
	assert_non_null(f);
	assert_int_equal(fscanf(f, "%lf", &ns), 1);
	fclose(f);
	return ns / 1e6;
}

static inline long status_kib(pid_t pid, const char *field) /* "VmRSS:", "VmHWM:" */
{
	char path[64], line[256];
	long kib = 0;
	snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
	FILE *f = fopen(path, "r");
	assert_non_null(f);
	while (kib == 0 && fgets(line, sizeof line, f) != NULL)
		if (strncmp(line, field, strlen(field)) == 0)
			kib = strtol(line + strlen(field), NULL, 10);
	fclose(f);
	return kib;
}

static inline void peak_reset(pid_t pid) /* reset VmHWM; only root may */
{
	char path[64];
	snprintf(path, sizeof path, "/proc/%d/clear_refs", (int)pid);
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd >= 0) {
		assert_int_equal(write(fd, "5", 1), 1);
		close(fd);
	}
}

/* ---- clients ---- */

/* Connected, from an address; every read and write of it ends after 20 s.  −1: refused. */
static inline int tcp_from(uint32_t source, unsigned port)
{
	struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr = {htonl(source)}};
	struct sockaddr_in to = {.sin_family = AF_INET,
				 .sin_port = htons((uint16_t)port),
				 .sin_addr = {htonl(INADDR_LOOPBACK)}};
	struct timeval limit = {.tv_sec = 20};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &(int){1}, sizeof(int));
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
	assert_int_equal(bind(fd, (struct sockaddr *)&from, sizeof from), 0);
	if (connect(fd, (struct sockaddr *)&to, sizeof to) == 0)
		return fd;
	close(fd);
	return -1;
}

static inline void close_hard(int fd) /* with a reset */
{
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){1, 0}, sizeof(struct linger));
	close(fd);
}

/* The peer has closed: nothing is read but what it sent before. */
static inline bool is_closed(int fd)
{
	char bytes[4096];
	ssize_t n;
	while ((n = recv(fd, bytes, sizeof bytes, MSG_DONTWAIT)) > 0)
		;
	return n == 0 || (errno != EAGAIN && errno != EINTR);
}

/* … within `ms`.  What it sent before is stored in `said`, its length in *len; both may be NULL. */
static inline bool closes_within(int fd, unsigned ms, uint8_t *said, size_t size, size_t *len)
{
	uint8_t bytes[4096];
	size_t got = 0;
	unsigned long long end = now_ms() + ms;
	for (;;) {
		struct pollfd p = {.fd = fd, .events = POLLIN};
		unsigned long long now = now_ms();
		if (now >= end || poll(&p, 1, (int)(end - now)) == 0)
			return false;
		ssize_t n = recv(fd, bytes, sizeof bytes, MSG_DONTWAIT);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			continue;
		if (n <= 0)
			break;
		for (ssize_t i = 0; i < n && said != NULL && got < size; i++)
			said[got++] = bytes[i];
	}
	if (len != NULL)
		*len = got;
	return true;
}

/* A TLS client of the test's own making: `context` NULL is a well-behaved one. */
static inline SSL *tls_from(uint32_t source, SSL_CTX *context)
{
	SSL *ssl = SSL_new(context == NULL ? in.at.tls : context);
	int fd = tcp_from(source, in.port);
	assert_non_null(ssl);
	assert_true(fd >= 0);
	assert_int_equal(SSL_set_fd(ssl, fd), 1);
	SSL_set1_host(ssl, "localhost");
	SSL_set_connect_state(ssl);
	return ssl;
}

static inline void tls_free(SSL *ssl)
{
	close(SSL_get_fd(ssl));
	SSL_free(ssl);
	ERR_clear_error();
}

/* The first bytes of a handshake, as OpenSSL makes them. */
static inline size_t client_hello(uint8_t out[static 4096])
{
	SSL *ssl = SSL_new(in.at.tls);
	BIO *to = BIO_new(BIO_s_mem()), *from = BIO_new(BIO_s_mem());
	assert_true(ssl != NULL && to != NULL && from != NULL);
	SSL_set_bio(ssl, from, to);
	SSL_set_connect_state(ssl);
	(void)SSL_do_handshake(ssl);
	int n = BIO_read(to, out, 4096);
	assert_true(n > 0);
	SSL_free(ssl);
	ERR_clear_error();
	return (size_t)n;
}

/* A whole request for the good release; malloc'd. */
static inline char *release_request(void)
{
	size_t cap = strlen(token) + 512;
	char *text = malloc(cap);
	assert_non_null(text);
	snprintf(text, cap,
		 "POST /keys/" KEY_NAME "/release?api-version=7.4 HTTP/1.1\r\nHost: "
		 "localhost\r\nAuthorization: Bearer x\r\n"
		 "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n{\"target\":\"%s\"}",
		 strlen(token) + 13, token);
	return text;
}

/* How long a good release from this source takes, ms. */
static inline unsigned release_ms(unsigned source)
{
	struct place at = in.at;
	struct released got;
	struct link *l;
	struct expect want = good.want;
	unsigned long long from = now_ms();
	at.from = source;
	GOOD(link_open(&at, &l));
	GOOD(guest_release(l, &good.ask, &want, &got));
	released_free(&got);
	link_close(l);
	return (unsigned)(now_ms() - from);
}

/* Another busy program may delay one try, but not three. */
static inline void served_within(unsigned source, unsigned ms)
{
	unsigned took = 0;
	for (unsigned i = 0; i < 3; i++)
		if ((took = release_ms(source)) < ms)
			return;
	GOOD(wrong("a release from another source took %u ms", took));
}

/* For cmocka: after each attack, as a test's teardown. */
static inline int hold(void **state)
{
	(void)state;
	GOOD(invariants_hold(&in));
	return 0;
}
/* I5 compares with the state before this attack, not before all of them: the fragments that several
 * floods leave in the heap stop at about a megabyte, and a baseline may be taken right after the
 * heap was trimmed. */
static inline int measure(void **state)
{
	(void)state;
	GOOD(invariants_begin(&in, &good));
	return 0;
}
#define attack(test) cmocka_unit_test_setup_teardown(test, measure, hold)

#endif
