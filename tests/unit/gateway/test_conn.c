/* tests/unit/gateway/test_conn.c — whole connections: real TLS through a socket pair, the test is
 * client, vault and ledger. */
#include "gateway/conn.h"

#include <event2/event.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <openssl/err.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "api/api.h"
#include "base/clock.h"
#include "base/limits.h"
#include "config/config.h"
#include "gateway/tls.h"
#include "process/shared.h"
#include "tests/unit/tls_mint.h"

/* The wall clock, ahead of the system's. */
static int64_t wall_ahead_s;

int clock_gettime(clockid_t id, struct timespec *t)
{
	long r = syscall(SYS_clock_gettime, id, t);

	if (r == 0 && id == CLOCK_REALTIME)
		t->tv_sec += wall_ahead_s;
	return (int)r;
}

enum { MAX_CONNECTIONS = 24, MAX_QUEUE = 2 };

static unsigned window = KB_MAX_WINDOW;

static struct tls_pair *ca, *server_cert, *client_cert;
static SSL_CTX *server_ctx, *client_ctx;
static struct penalty_config penalties;
static struct page *page;
static struct process_stats *self;
static struct conn_shared shared;
static char base_url[] = "https://keys.example";
static int vault[2], ledger[2]; /* [0] the gateway's end, [1] ours */
static bool is_broken;

/* ---- the process ---- */

static void on_broken(void *ctx)
{
	(void)ctx;
	is_broken = true;
}

static void turn(void)
{
	for (int i = 0; i < 6; i++)
		(void)event_base_loop(shared.base, EVLOOP_NONBLOCK);
}

static int open_shared(void **state)
{
	struct exchange_events on = {.on_response = conn_on_response,
				     .on_refused = conn_on_refused,
				     .on_broken = on_broken};

	(void)state;
	memset(page, 0, sizeof *page);
	self = &page->stats;
	shared = (struct conn_shared){.refused = page->refused, .self = self};
	for (size_t i = 0; i < KB_MAX_LISTENERS; i++)
		shared.listener[i] = (struct conn_listener){&keyvault_api, base_url};
	conn_shared_init(&shared);
	is_broken = false;
	shared.base = event_base_new();
	shared.sources =
		sources_new(MAX_CONNECTIONS, MAX_CONNECTIONS, 4 * KB_MAX_BODY, 2 * KB_MAX_BODY);
	penalties = (struct penalty_config){.failure_s = 11, .threshold_s = 30, .longest_s = 60};
	shared.penalties = penalties_new(&penalties, 64);
	if (shared.base == NULL || shared.sources == NULL || shared.penalties == NULL ||
	    frame_pair(vault) != KB_OK || frame_pair(ledger) != KB_OK)
		return -1;
	struct exchange_config cfg = {
		.pool_fd = {[POOL_VAULT] = vault[0]},
		.ledger_fd = ledger[0],
		.self = self,
		.window = window,
		.max_queue = MAX_QUEUE,
		.max_pending = MAX_CONNECTIONS,
	};
	return exchange_new(shared.base, &cfg, &on, &shared.exchange) == KB_OK ? 0 : -1;
}

static int open_narrow_process(void **state)
{
	window = 2;
	return open_shared(state);
}

static int close_process(void **state)
{
	(void)state;
	window = KB_MAX_WINDOW;
	conn_shared_free(&shared);
	exchange_free(shared.exchange);
	sources_free(shared.sources);
	penalties_free(shared.penalties);
	event_base_free(shared.base);
	for (int i = 0; i < 2; i++) {
		close(vault[i]);
		close(ledger[i]);
	}
	return 0;
}

static int make(void **state)
{
	const char *why;

	(void)state;
	(void)signal(SIGPIPE, SIG_IGN);
	ca = tls_mint("test CA", NULL, NULL, 3600);
	server_cert = tls_mint("localhost", ca, "serverAuth", 3600);
	client_cert = tls_mint("client", ca, "clientAuth", 3600);
	client_ctx = tls_mint_client(ca, client_cert);
	struct tls_server t = {.certificate = buf_span(&server_cert->cert_pem),
			       .key = buf_span(&server_cert->key_pem),
			       .client_ca = buf_span(&ca->cert_pem)};
	page = calloc(1, sizeof *page);
	return page != NULL && tls_server_new(&t, &server_ctx, &why) == KB_OK ? 0 : -1;
}

static int unmake(void **state)
{
	(void)state;
	SSL_CTX_free(server_ctx);
	SSL_CTX_free(client_ctx);
	tls_mint_free(ca);
	tls_mint_free(server_cert);
	tls_mint_free(client_cert);
	free(page);
	return 0;
}

static uint64_t count(enum counter c)
{
	return atomic_load(&self->counter[c]);
}

static uint64_t refused(enum kb_err e)
{
	return atomic_load(&page->refused[e]);
}

/* ---- the client ---- */

struct client {
	SSL *ssl;
	int fd;
	bool is_closed, had_notify; /* the server's end was seen, with close_notify */
	struct buf in;
};

static const struct sockaddr *from; /* of the next connection; NULL: not an IP socket */

static enum kb_err try_dial(struct client *c)
{
	int fd[2];
	struct sockaddr_un addr = {.sun_family = AF_UNIX};

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd), 0);
	*c = (struct client){.fd = fd[1], .ssl = SSL_new(client_ctx)};
	assert_non_null(c->ssl);
	buf_init(&c->in, 1 << 20);
	SSL_set_fd(c->ssl, c->fd);
	SSL_set_connect_state(c->ssl);
	return conn_open(&shared, server_ctx, 5, fd[0],
			 from != NULL ? from : (const struct sockaddr *)&addr);
}

static struct client dial(void)
{
	struct client c;

	assert_int_equal(try_dial(&c), KB_OK);
	for (int i = 0; i < 100 && SSL_do_handshake(c.ssl) != 1; i++)
		turn();
	assert_true(SSL_is_init_finished(c.ssl));
	turn();
	return c;
}

static void hang_up(struct client *c)
{
	SSL_free(c->ssl);
	if (c->fd >= 0)
		close(c->fd);
	buf_free(&c->in);
	turn();
}

static void say_span(struct client *c, struct span s)
{
	for (size_t at = 0; at < s.len;) {
		int n = SSL_write(c->ssl, s.p + at, (int)(s.len - at));
		if (n > 0)
			at += (size_t)n;
		else
			assert_int_equal(SSL_get_error(c->ssl, n), SSL_ERROR_WANT_WRITE);
		turn();
	}
}

static void send_text(struct client *c, const char *text)
{
	say_span(c, span_str(text));
}

/* All that the server has sent since the last call, as a string; valid until the next call. */
static const char *receive(struct client *c)
{
	char part[16384];

	buf_reset(&c->in);
	for (int idle = 0; idle < 4 && !c->is_closed;) {
		turn();
		int n = SSL_read(c->ssl, part, sizeof part);
		if (n > 0) {
			buf_add(&c->in, part, (size_t)n);
			idle = 0;
			continue;
		}
		int fault = SSL_get_error(c->ssl, n);
		ERR_clear_error();
		c->is_closed = fault != SSL_ERROR_WANT_READ;
		c->had_notify = fault == SSL_ERROR_ZERO_RETURN;
		idle++;
	}
	buf_add(&c->in, "", 1);
	assert_int_equal(buf_ok(&c->in), KB_OK);
	return (const char *)c->in.p;
}

static void expect(struct client *c, const char *start, const char *part)
{
	const char *said = receive(c);

	assert_true(strncmp(said, start, strlen(start)) == 0);
	assert_non_null(strstr(said, part));
}

/* ---- the vault and the ledger ---- */

static struct frame_request taken;

static bool vault_takes(void)
{
	static uint8_t in[KB_MAX_FRAME];

	turn();
	ssize_t n = recv(vault[1], in, sizeof in, MSG_DONTWAIT);
	if (n <= 0)
		return false;
	assert_int_equal(frame_get_request(span_of(in, (size_t)n), &taken), KB_OK);
	turn();
	return true;
}

static void ledger_replies(uint64_t id, const char *body)
{
	KB_AUTO(buf) struct buf b;
	struct frame_response r = {.id = id, .status = 200, .body = span_str(body)};

	buf_init(&b, KB_MAX_FRAME);
	assert_int_equal(frame_put_response(&r, &b), KB_OK);
	assert_int_equal(frame_send(ledger[1], buf_span(&b)), KB_OK);
	turn();
}

#define GET(path) "GET " path " HTTP/1.1\r\nHost: h\r\n\r\n"

static void one_request(struct client *c)
{
	send_text(c, GET("/one"));
	assert_true(vault_takes());
	ledger_replies(taken.id, "{\"n\":1}");
	expect(c, "HTTP/1.1 200 OK\r\n", "\r\n\r\n{\"n\":1}");
	assert_false(c->is_closed);
}

/* ---- tests ---- */

/* Requests are counted in the lower part of their ids. */
static uint64_t count_of(uint64_t id)
{
	return id & 0xffffff;
}

static void test_conn_serves_and_keeps_alive(void **state)
{
	struct client c = dial();

	(void)state;
	assert_int_equal(count(COUNT_HANDSHAKES), 1);
	one_request(&c);
	assert_true(taken.listener == 5 && taken.method == KB_METHOD_GET && taken.has_client_cert);
	assert_true(span_eq_cstr(taken.target, "/one") && span_eq_cstr(taken.peer, "local"));
	assert_true(taken.deadline_ms > clock_mono_ms() &&
		    taken.deadline_ms <= clock_mono_ms() + KB_REQUEST_MS);
	uint64_t first = taken.id;
	one_request(&c);
	assert_int_equal(count_of(taken.id), count_of(first) + 1);
	assert_true(taken.id != first + 1); /* and nobody can guess it */
	assert_int_equal(count(COUNT_REQUESTS), 2);
	assert_int_equal(count(COUNT_REPLIES), 2);
	assert_int_equal(count(COUNT_CONNECTIONS_OPEN), 1);
	assert_int_equal(atomic_load(&self->total.n), 2);
	hang_up(&c);
	assert_int_equal(count(COUNT_CONNECTIONS_OPEN), 0);
}

static void ledger_sends(const struct frame_response *r)
{
	KB_AUTO(buf) struct buf b;

	buf_init(&b, KB_MAX_FRAME);
	assert_int_equal(frame_put_response(r, &b), KB_OK);
	assert_int_equal(frame_send(ledger[1], buf_span(&b)), KB_OK);
	turn();
}

static void refused_call(struct client *c, enum kb_err code, uint16_t status)
{
	send_text(c, GET("/one"));
	assert_true(vault_takes());
	ledger_sends(&(struct frame_response){
		.id = taken.id, .status = status, .code = (uint16_t)code, .body = span_str("{}")});
	assert_true(strstr(receive(c), "{}") != NULL);
}

/* The certificate ends between two requests of one connection: the second has none, and the client
 * may show another on a new connection. */
static void test_b26_certificate_ends_on_a_connection(void **state)
{
	struct client c = dial();

	(void)state;
	one_request(&c);
	assert_true(taken.has_client_cert);
	wall_ahead_s = 2 * 3600;
	send_text(&c, GET("/two"));
	assert_true(vault_takes());
	wall_ahead_s = 0;
	assert_false(taken.has_client_cert);
	assert_true(taken.has_certificate); /* whose it was is recorded */
	assert_true(span_eq_cstr(taken.client_name, "client"));
	ledger_replies(taken.id, "{}");
	expect(&c, "HTTP/1.1 200 OK\r\n", "\r\nConnection: close\r\n");
	assert_true(c.is_closed);
	hang_up(&c);
}

/* Three failures block this test's sources: 33 s less what passes meanwhile, of 30. */
static void test_g13_conn_source_that_fails_is_blocked(void **state)
{
	struct sockaddr_in bad = {.sin_family = AF_INET, .sin_addr = {htonl(0xc0000207)}},
			   good = {.sin_family = AF_INET, .sin_addr = {htonl(0xc0000208)}};
	struct client late;

	(void)state;
	from = (const struct sockaddr *)&bad;
	struct client c = dial();
	/* The challenge that an SDK asks for, and what is our own trouble, are no failures. */
	for (unsigned i = 0; i < 5; i++) {
		refused_call(&c, KB_E_NO_CREDENTIAL, 401);
		refused_call(&c, KB_E_LEDGER, 503);
	}
	refused_call(&c, KB_E_POLICY, 403);
	refused_call(&c, KB_E_CREDENTIAL, 401);
	one_request(&c);
	refused_call(&c, KB_E_KEY_NOT_FOUND, 404);
	/* It may not begin another call, nor another connection. */
	send_text(&c, GET("/one"));
	expect(&c, "HTTP/1.1 503 ", "\r\nRetry-After: 3");
	assert_true(c.is_closed);
	assert_false(vault_takes());
	assert_int_equal(try_dial(&late), KB_E_PENALTY);
	hang_up(&late);
	assert_int_equal(refused(KB_E_PENALTY), 2);
	from = (const struct sockaddr *)&good;
	struct client other = dial();
	one_request(&other);
	hang_up(&other);
	hang_up(&c);
	from = NULL;
}

/* Behind one address: a release takes the penalty away; reading a key does not. */
static void test_g13_conn_release_takes_the_penalty_away(void **state)
{
	struct sockaddr_in nat = {.sin_family = AF_INET, .sin_addr = {htonl(0xc0000209)}};

	(void)state;
	from = (const struct sockaddr *)&nat;
	struct client c = dial();
	refused_call(&c, KB_E_POLICY, 403);
	refused_call(&c, KB_E_POLICY, 403);
	send_text(&c, GET("/one"));
	assert_true(vault_takes());
	ledger_sends(&(struct frame_response){
		.id = taken.id, .status = 200, .is_release = true, .body = span_str("{}")});
	assert_non_null(strstr(receive(&c), "{}"));
	for (unsigned i = 0; i < 10; i++)
		refused_call(&c, KB_E_POLICY, 403);
	assert_int_equal(refused(KB_E_PENALTY), 0);
	hang_up(&c);
	from = NULL;
}

/* Handshakes that fail count; a health check that only connects does not. */
static void test_g13_conn_handshakes(void **state)
{
	struct sockaddr_in bad = {.sin_family = AF_INET, .sin_addr = {htonl(0xc000020a)}};
	struct client c;

	(void)state;
	from = (const struct sockaddr *)&bad;
	for (unsigned i = 0; i < 10; i++) {
		assert_int_equal(try_dial(&c), KB_OK);
		hang_up(&c);
		turn();
	}
	assert_int_equal(refused(KB_E_TLS), 10);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(try_dial(&c), KB_OK);
		assert_int_equal(send(c.fd, "GET / HTTP/1.1\r\n\r\n", 18, MSG_NOSIGNAL), 18);
		turn();
		hang_up(&c);
	}
	assert_int_equal(refused(KB_E_TLS), 13);
	assert_int_equal(try_dial(&c), KB_E_PENALTY);
	hang_up(&c);
	from = NULL;
}

static void test_conn_passes_the_response_on(void **state)
{
	KB_AUTO(buf) struct buf b;
	struct client c = dial();
	char id[37];

	(void)state;
	buf_init(&b, KB_MAX_FRAME);
	send_text(&c,
		  "POST /k HTTP/1.1\r\nHost: h\r\nx-ms-client-request-id: me\r\nContent-Length: "
		  "0\r\n\r\n");
	assert_true(vault_takes());
	frame_uuid_text(taken.uuid, id);
	assert_true(id[14] == '4'); /* a random UUID */
	struct frame_response r = {.id = taken.id,
				   .status = 401,
				   .challenge = span_str("Bearer x"),
				   .body = span_str("{}")};
	assert_int_equal(frame_put_response(&r, &b), KB_OK);
	assert_int_equal(frame_send(ledger[1], buf_span(&b)), KB_OK);
	const char *said = receive(&c);
	assert_non_null(strstr(said, "HTTP/1.1 401 Unauthorized\r\n"));
	assert_non_null(strstr(said, "WWW-Authenticate: Bearer x\r\n"));
	assert_non_null(strstr(said, "x-ms-client-request-id: me\r\n"));
	assert_non_null(strstr(said, id));
	hang_up(&c);
}

/* The ledger could not write: it sends no body, the client gets the dialect's. */
static void test_d01_conn_fills_in_the_body_of_a_refusal(void **state)
{
	KB_AUTO(buf) struct buf b;
	struct client c = dial();

	(void)state;
	buf_init(&b, KB_MAX_FRAME);
	send_text(&c, GET("/one"));
	assert_true(vault_takes());
	struct frame_response r = {
		.id = taken.id, .status = 503, .code = KB_E_LEDGER, .retry_after_s = 1};
	assert_int_equal(frame_put_response(&r, &b), KB_OK);
	assert_int_equal(frame_send(ledger[1], buf_span(&b)), KB_OK);
	expect(&c, "HTTP/1.1 503 Service Unavailable\r\n",
	       "\r\n\r\n{\"error\":{\"code\":\"ServiceUnavailable\",\"message\":\"The request "
	       "cannot be "
	       "recorded now. Nothing was released. Retry later.\"}}");
	hang_up(&c);
}

/* A dialect's limits and bodies are those of the listener that the client came by. */
static void test_conn_has_the_limits_of_its_dialect(void **state)
{
	static const struct api_body bodies[] = {{KB_OK, 0, "no"}};
	static const struct api dialect = {
		.name = "test", .max_head = 59, .max_bearer = 6, .bodies = bodies};
	struct client c;

	(void)state;
	shared.listener[5].api = &dialect;
	c = dial();
	send_text(&c, "GET /a HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer tok.en\r\n\r\n");
	assert_true(vault_takes());
	assert_true(span_eq_cstr(taken.bearer, "tok.en"));
	ledger_replies(taken.id, "{}");
	expect(&c, "HTTP/1.1 200 OK\r\n", "{}");
	send_text(&c, "GET /abc HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer tok.en\r\n\r\n");
	expect(&c, "HTTP/1.1 431 ", "\r\n\r\nno");
	assert_false(vault_takes());
	hang_up(&c);
	c = dial();
	send_text(&c, "GET /a HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer tok.en7\r\n\r\n");
	expect(&c, "HTTP/1.1 431 ", "\r\n\r\nno");
	assert_false(vault_takes());
	hang_up(&c);
}

/* TLS 1.3: the first request may come in the segment of the client's Finished. */
static void test_request_right_behind_the_handshake(void **state)
{
	struct client c;

	(void)state;
	assert_int_equal(try_dial(&c), KB_OK);
	while (SSL_do_handshake(c.ssl) != 1) /* the server sees nothing of the last flight yet */
		turn();
	send_text(&c, GET("/one"));
	assert_true(vault_takes());
	ledger_replies(taken.id, "{}");
	expect(&c, "HTTP/1.1 200 OK\r\n", "{}");
	hang_up(&c);
}

/* A handshake that stops half-way counts as active for a while; then the client is the slow
 * side. */
static void test_b11_a_handshake_has_its_seat_for_a_while(void **state)
{
	struct client c;

	(void)state;
	assert_int_equal(try_dial(&c), KB_OK);
	assert_int_not_equal(SSL_do_handshake(c.ssl), 1);
	turn();
	int64_t now = clock_mono_ms();
	assert_int_equal(shared.admission.active, 1);
	conn_expire(&shared, now + KB_ACTIVE_MS - 100);
	assert_int_equal(shared.admission.active, 1);
	conn_expire(&shared, now + KB_ACTIVE_MS + 1);
	assert_int_equal(shared.admission.active, 0);
	hang_up(&c);
}

/* After its handshake a connection stays active until its first request is complete, or for a
 * moment. So in a storm no connection gets memory for TLS before its request could be served.  A
 * request counts as long as it takes; the time between requests does not count. */
static void test_b11_a_seat_until_the_first_request(void **state)
{
	struct client a = dial(), b = dial();

	(void)state;
	assert_int_equal(shared.admission.active, 2);
	send_text(&a, GET("/first"));
	assert_true(vault_takes());
	conn_expire(&shared, clock_mono_ms());
	assert_int_equal(shared.admission.active, 2);
	conn_expire(&shared, clock_mono_ms() + KB_FIRST_MS); /* b sent nothing */
	assert_int_equal(shared.admission.active, 1);
	conn_expire(&shared, clock_mono_ms() + KB_ACTIVE_MS + KB_FIRST_MS);
	assert_int_equal(shared.admission.active, 1);
	ledger_replies(taken.id, "{}");
	expect(&a, "HTTP/1.1 200 OK\r\n", "{}");
	assert_int_equal(shared.admission.active, 0);
	send_text(&a, "GET /half");
	assert_int_equal(shared.admission.active, 0);
	hang_up(&b);
	hang_up(&a);
	assert_int_equal(shared.admission.active, 0);
}

static void test_b05_pipelined_requests_are_served_in_order(void **state)
{
	struct client c = dial();
	uint64_t last = 0;

	(void)state;
	send_text(&c, GET("/0") GET("/1") GET("/2"));
	for (int i = 0; i < 3; i++) {
		const char path[] = {'/', (char)('0' + i), '\0'};
		assert_true(vault_takes());
		assert_true(span_eq_cstr(taken.target, path) && count_of(taken.id) > last);
		last = count_of(taken.id);
		assert_false(vault_takes()); /* the next waits for this one's reply */
		ledger_replies(taken.id, path);
		expect(&c, "HTTP/1.1 200 OK\r\n", path);
	}
	hang_up(&c);
}

/* Bodies that end in the middle of TLS records: what OpenSSL has already decrypted must be read. */
static void test_b05_pipelined_bodies(void **state)
{
	KB_AUTO(buf) struct buf b;
	struct client c = dial();

	(void)state;
	buf_init(&b, 1 << 20);
	for (int i = 0; i < 3; i++) {
		buf_add_str(&b, "POST /p HTTP/1.1\r\nHost: h\r\nContent-Length: 9000\r\n\r\n");
		for (int k = 0; k < 9000; k++)
			buf_add_str(&b, i == 0 ? "a" : i == 1 ? "b" : "c");
	}
	say_span(&c, buf_span(&b));
	for (int i = 0; i < 3; i++) {
		assert_true(vault_takes());
		assert_true(taken.body.len == 9000 && taken.body.p[0] == 'a' + i &&
			    taken.body.p[8999] == 'a' + i);
		ledger_replies(taken.id, "{}");
		expect(&c, "HTTP/1.1 200 OK\r\n", "{}");
	}
	hang_up(&c);
}

static void test_b03_b04_refused_before_the_vault(void **state)
{
	static const char *const bad[] = {
		("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n"
		 "Transfer-Encoding: chunked\r\n\r\n"),
		"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: +3\r\n\r\n",
		"GET / HTTP/1.1\nHost: h\n\n",
		"GET / HTTP/1.1\r\n\r\n",
		"GET /\r\n",
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
	};

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		struct client c = dial();
		send_text(&c, bad[i]);
		expect(&c, "HTTP/1.1 400 Bad Request\r\n", "Connection: close\r\n");
		assert_true(c.is_closed && c.had_notify);
		assert_false(vault_takes());
		hang_up(&c);
	}
	assert_int_equal(refused(KB_E_HTTP_SYNTAX), 5);
	assert_int_equal(refused(KB_E_HTTP_BODY_TYPE), 1);
	assert_int_equal(count(COUNT_REFUSED), 6);
}

static void post(struct client *c, size_t declared, size_t sent)
{
	KB_AUTO(buf) struct buf b;

	buf_init(&b, 1 << 22);
	buf_addf(&b, "POST /b HTTP/1.1\r\nHost: h\r\nContent-Length: %zu\r\n\r\n", declared);
	uint8_t *body = buf_reserve(&b, sent);
	assert_non_null(body);
	memset(body, 'x', sent);
	say_span(c, buf_span(&b));
}

static void test_b06_body_at_cap_and_over(void **state)
{
	struct client c = dial();

	(void)state;
	post(&c, KB_MAX_BODY, KB_MAX_BODY);
	assert_true(vault_takes());
	assert_int_equal(taken.body.len, KB_MAX_BODY);
	ledger_replies(taken.id, "{}");
	expect(&c, "HTTP/1.1 200 OK\r\n", "{}");
	post(&c, KB_MAX_BODY + 1, 100);
	expect(&c, "HTTP/1.1 413 ", "Connection: close\r\n");
	assert_true(c.is_closed);
	assert_false(vault_takes());
	assert_int_equal(refused(KB_E_HTTP_BODY_SIZE), 1);
	hang_up(&c);
}

/* One source may not have more bodies under way than its share. */
static void test_b06_bodies_of_one_source(void **state)
{
	struct client a = dial();
	struct client b = dial();
	struct client c = dial();

	(void)state;
	post(&a, KB_MAX_BODY, 1);
	post(&b, KB_MAX_BODY, 1);
	post(&c, 10, 1);
	expect(&c, "HTTP/1.1 503 ", "Retry-After: 1\r\n");
	hang_up(&a);
	struct client d = dial();
	post(&d, 10, 10);
	assert_true(vault_takes());
	hang_up(&b);
	hang_up(&c);
	hang_up(&d);
}

static void test_b06_expect_continue(void **state)
{
	struct client c = dial();

	(void)state;
	send_text(
		&c,
		"POST /e HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n");
	assert_string_equal(receive(&c), "HTTP/1.1 100 Continue\r\n\r\n");
	assert_false(vault_takes());
	send_text(&c, "body");
	assert_true(vault_takes());
	ledger_replies(taken.id, "{}");
	expect(&c, "HTTP/1.1 200 OK\r\n", "{}");
	send_text(&c, "POST /e HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: "
		      "999999\r\n\r\n");
	expect(&c, "HTTP/1.1 413 ", "Connection: close\r\n"); /* no 100 Continue */
	hang_up(&c);
}

static void test_b07_too_many_headers(void **state)
{
	KB_AUTO(buf) struct buf b;
	struct client c = dial();

	(void)state;
	buf_init(&b, 1 << 20);
	buf_add_str(&b, "GET / HTTP/1.1\r\nHost: h\r\n");
	for (int i = 0; i < 1000; i++)
		buf_add_str(&b, "a: b\r\n");
	buf_add_str(&b, "\r\n");
	say_span(&c, buf_span(&b));
	expect(&c, "HTTP/1.1 431 ", "Connection: close\r\n");
	hang_up(&c);
	c = dial();
	buf_reset(&b);
	buf_add_str(&b, "GET / HTTP/1.1\r\nHost: h\r\nX: ");
	for (int i = 0; i < KB_MAX_HEADER_LINE + 1; i++) /* an endless line */
		buf_add_str(&b, "x");
	say_span(&c, buf_span(&b));
	expect(&c, "HTTP/1.1 431 ", "Connection: close\r\n");
	hang_up(&c);
	assert_int_equal(refused(KB_E_HTTP_HEADERS), 2);
}

static void test_b08_every_split_point(void **state)
{
	static const char text[] = "POST /s HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\n\r\n{body}";
	struct client c = dial();

	(void)state;
	for (size_t cut = 0; cut < sizeof text; cut++) { /* the last round: byte by byte */
		size_t step = cut == sizeof text - 1 ? 1 : sizeof text;
		say_span(&c, span_of(text, cut == sizeof text - 1 ? 0 : cut));
		for (size_t at = step == 1 ? 0 : cut; at < sizeof text - 1; at += step)
			say_span(&c, span_sub(span_of(text, sizeof text - 1), at, step));
		assert_true(vault_takes());
		assert_true(span_eq_cstr(taken.body, "{body}") && span_eq_cstr(taken.target, "/s"));
		ledger_replies(taken.id, "{}");
		expect(&c, "HTTP/1.1 200 OK\r\n", "\r\n\r\n{}");
	}
	hang_up(&c);
}

static void test_b01_slow_handshake(void **state)
{
	struct client c;

	(void)state;
	assert_int_equal(try_dial(&c), KB_OK);
	turn();
	int64_t now = clock_mono_ms();
	conn_expire(&shared, now + KB_HANDSHAKE_MS - 100);
	assert_int_equal(shared.connections, 1);
	conn_expire(&shared, now + KB_HANDSHAKE_MS + 1);
	assert_int_equal(shared.connections, 0);
	assert_int_equal(refused(KB_E_DEADLINE), 1);
	assert_int_equal(count(COUNT_HANDSHAKES_FAILED), 1);
	hang_up(&c);
}

static void slow(const char *text, int64_t limit_ms)
{
	struct client c = dial();

	send_text(&c, text);
	int64_t now = clock_mono_ms();
	conn_expire(&shared, now + limit_ms - 100);
	assert_string_equal(receive(&c), "");
	conn_expire(&shared, now + limit_ms + 1);
	expect(&c, "HTTP/1.1 408 ", "Connection: close\r\n");
	assert_true(c.is_closed);
	hang_up(&c);
	assert_int_equal(shared.connections, 0);
}

static void test_b01_slow_head_and_body(void **state)
{
	(void)state;
	slow("G", KB_HEADER_MS);
	slow("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nhalf", KB_BODY_MS);
	assert_int_equal(refused(KB_E_DEADLINE), 2);
}

/* One byte a second does not help: the deadline counts from the first. */
static void test_b01_deadline_is_absolute(void **state)
{
	struct client c = dial();

	(void)state;
	send_text(&c, "GET / HT");
	int64_t now = clock_mono_ms();
	send_text(&c, "T");
	send_text(&c, "P");
	conn_expire(&shared, now + KB_HEADER_MS + 1);
	expect(&c, "HTTP/1.1 408 ", "Connection: close\r\n");
	hang_up(&c);
}

static void test_idle_connection_is_closed_with_notify(void **state)
{
	struct client c = dial();

	(void)state;
	one_request(&c);
	int64_t now = clock_mono_ms();
	conn_expire(&shared, now + KB_IDLE_MS - 100);
	assert_string_equal(receive(&c), "");
	assert_false(c.is_closed);
	conn_expire(&shared, now + KB_IDLE_MS + 1);
	assert_string_equal(receive(&c), "");
	assert_true(c.is_closed && c.had_notify);
	hang_up(&c);
}

static void test_linger_ends(void **state)
{
	struct client c = dial();

	(void)state;
	send_text(&c, "BAD\r\n");
	assert_int_equal(shared.connections, 1);
	conn_expire(&shared, clock_mono_ms() + KB_LINGER_MS + 1);
	turn();
	assert_int_equal(shared.connections, 0);
	hang_up(&c);
}

static void test_b02_client_that_never_reads(void **state)
{
	static char big[KB_MAX_REPLY];
	struct client c = dial();
	int small = 4096;

	(void)state;
	assert_int_equal(setsockopt(c.fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small), 0);
	memset(big, 'x', sizeof big - 1);
	for (int i = 0; i < 3 && atomic_load(&self->total.n) == (uint64_t)i;
	     i++) { /* until the socket is full */
		send_text(&c, GET("/big"));
		assert_true(vault_takes());
		ledger_replies(taken.id, big);
	}
	assert_int_equal(shared.connections, 1);
	conn_expire(&shared, clock_mono_ms() + KB_WRITE_MS + 1);
	turn();
	assert_int_equal(shared.connections, 0);
	assert_int_equal(count(COUNT_REPLIES_LOST), 1);
	hang_up(&c);
}

/* A reply larger than the socket takes at once arrives whole when the client reads. */
static void test_b02_large_reply_is_resumed(void **state)
{
	static char big[KB_MAX_REPLY];
	struct client c = dial();

	(void)state;
	for (size_t i = 0; i < sizeof big - 1; i++)
		big[i] = (char)('a' + i % 26);
	for (int i = 0; i < 3; i++) {
		send_text(&c, GET("/big"));
		assert_true(vault_takes());
		ledger_replies(taken.id, big);
		expect(&c, "HTTP/1.1 200 OK\r\n", big);
	}
	hang_up(&c);
}

static void test_request_deadline_and_late_reply(void **state)
{
	struct client c = dial();

	(void)state;
	send_text(&c, GET("/late"));
	assert_true(vault_takes());
	uint64_t id = taken.id;
	conn_expire(&shared, clock_mono_ms() + KB_REQUEST_MS + 1);
	expect(&c, "HTTP/1.1 503 ", "Retry-After: 1\r\n");
	assert_false(c.is_closed);
	assert_int_equal(refused(KB_E_DEADLINE), 1);
	ledger_replies(id, "{\"late\":1}");
	assert_string_equal(receive(&c), ""); /* not taken for the answer to another request */
	assert_int_equal(count(COUNT_REPLIES_LOST), 1);
	one_request(&c);
	hang_up(&c);
}

static void test_request_of_a_lost_worker(void **state)
{
	struct client c = dial();

	(void)state;
	send_text(&c, GET("/lost"));
	assert_true(vault_takes());
	conn_lost(&shared, taken.id + 1); /* not ours */
	assert_string_equal(receive(&c), "");
	conn_lost(&shared, taken.id);
	expect(&c, "HTTP/1.1 503 ", "Retry-After: 1\r\n");
	assert_int_equal(refused(KB_E_PROCESS_LOST), 1);
	conn_lost(&shared, taken.id); /* answered already */
	one_request(&c);
	hang_up(&c);
}

/* So that a few requests fill the vault's socket. */
static void narrow_vault(void)
{
	int small = 4096;

	assert_int_equal(setsockopt(vault[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof small), 0);
}

static void test_g06_queue_is_bounded_and_fifo(void **state)
{
	static struct client c[MAX_CONNECTIONS];
	int n = 0;

	(void)state;
	narrow_vault();
	for (; n < MAX_CONNECTIONS && refused(KB_E_QUEUE_FULL) == 0; n++) {
		c[n] = dial();
		send_text(&c[n], GET("/q"));
	}
	assert_true(n > MAX_QUEUE + 1 && n < MAX_CONNECTIONS);
	expect(&c[n - 1], "HTTP/1.1 503 ", "Retry-After: 1\r\n");
	assert_int_equal(count(COUNT_QUEUE), MAX_QUEUE);
	conn_expire(&shared, clock_mono_ms()); /* nothing is due yet */
	uint64_t last = 0;
	for (int i = 0; i < n - 1; i++) {
		assert_true(vault_takes());
		assert_true(count_of(taken.id) > last);
		last = count_of(taken.id);
		ledger_replies(taken.id, "{}");
		expect(&c[i], "HTTP/1.1 200 OK\r\n", "{}");
	}
	assert_false(vault_takes());
	assert_int_equal(count(COUNT_QUEUE), 0);
	for (int i = 0; i < n; i++)
		hang_up(&c[i]);
}

/* A request in the queue whose client is gone or whose deadline is over is never sent. */
static void test_g06_queued_request_is_forgotten(void **state)
{
	static struct client c[MAX_CONNECTIONS];
	int n = 0;

	(void)state;
	narrow_vault();
	while (n < MAX_CONNECTIONS && count(COUNT_QUEUE) < MAX_QUEUE) {
		c[n] = dial();
		send_text(&c[n], GET("/q"));
		n++;
	}
	assert_int_equal(count(COUNT_QUEUE), MAX_QUEUE);
	hang_up(&c[n - 1]);
	assert_int_equal(count(COUNT_QUEUE), MAX_QUEUE - 1);
	conn_expire(&shared, clock_mono_ms() + KB_REQUEST_MS + 1);
	assert_int_equal(count(COUNT_QUEUE), 0);
	for (int i = 0; i < n - MAX_QUEUE; i++)
		assert_true(vault_takes());
	assert_false(vault_takes());
	for (int i = 0; i < n - 1; i++)
		hang_up(&c[i]);
}

/* A place in the window belongs to the request until its response, even when its client is gone: a
 * client that leaves early gains nothing. */
static void test_b11_window_is_kept(void **state)
{
	struct client c[4];

	(void)state;
	for (int i = 0; i < 4; i++) {
		c[i] = dial();
		send_text(&c[i], GET("/w"));
	}
	assert_int_equal(count(COUNT_QUEUE), 2);
	assert_true(vault_takes());
	uint64_t first = taken.id;
	assert_true(vault_takes());
	assert_false(vault_takes());
	hang_up(&c[0]);
	assert_false(vault_takes());
	ledger_replies(first, "{}"); /* the response for which no client waits */
	assert_true(vault_takes());
	uint64_t third = taken.id;
	assert_false(vault_takes());
	conn_lost(&shared, third); /* its worker ended */
	expect(&c[2], "HTTP/1.1 503 ", "Retry-After: 1\r\n");
	assert_true(vault_takes());
	assert_int_equal(count(COUNT_QUEUE), 0);
	send_text(&c[2], GET("/w"));
	assert_false(vault_takes());
	exchange_tick(shared.exchange, clock_mono_ms()); /* not due */
	assert_false(vault_takes());
	exchange_tick(shared.exchange,
		      clock_mono_ms() + KB_REQUEST_MS +
			      1); /* no response came: the places are free after the deadline */
	assert_true(vault_takes());
	for (int i = 1; i < 4; i++)
		hang_up(&c[i]);
}

static void test_b09_client_gone_in_each_state(void **state)
{
	static const char *const parts[] = {
		"", "GET /", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nhalf"};

	(void)state;
	struct client c;
	assert_int_equal(try_dial(&c), KB_OK); /* before the handshake */
	hang_up(&c);
	assert_int_equal(shared.connections, 0);
	assert_int_equal(refused(KB_E_TLS), 1);
	for (size_t i = 0; i < 3; i++) {
		c = dial();
		send_text(&c, parts[i]);
		hang_up(&c);
		assert_int_equal(shared.connections, 0);
	}
	c = dial();
	send_text(&c, GET("/gone"));
	assert_true(vault_takes());
	hang_up(&c);
	assert_int_equal(shared.connections, 0);
	assert_int_equal(count(COUNT_REPLIES_LOST), 0);
	ledger_replies(taken.id, "{}");
	assert_int_equal(count(COUNT_REPLIES_LOST), 1);
}

static void test_b09_client_gone_while_reading(void **state)
{
	static char big[KB_MAX_REPLY];
	struct client c = dial();

	(void)state;
	memset(big, 'x', sizeof big - 1);
	for (int i = 0; i < 3 && atomic_load(&self->total.n) == (uint64_t)i; i++) {
		send_text(&c, GET("/big"));
		assert_true(vault_takes());
		ledger_replies(taken.id, big);
	}
	hang_up(&c);
	assert_int_equal(shared.connections, 0);
	assert_int_equal(count(COUNT_REPLIES_LOST), 1);
}

/* RFC 8446 §6.1: a client may end its side and still wait for its answer. */
static void test_client_half_close_still_gets_its_reply(void **state)
{
	struct client c = dial();

	(void)state;
	send_text(&c, GET("/half"));
	assert_true(vault_takes());
	(void)SSL_shutdown(c.ssl);
	turn();
	assert_int_equal(shared.connections, 1);
	ledger_replies(taken.id, "{\"h\":1}");
	expect(&c, "HTTP/1.1 200 OK\r\n", "{\"h\":1}");
	assert_true(c.is_closed);
	hang_up(&c);
	assert_int_equal(shared.connections, 0);
}

static void test_b10_full_house(void **state)
{
	static struct client c[MAX_CONNECTIONS];
	struct client extra;

	(void)state;
	for (int i = 0; i < MAX_CONNECTIONS; i++)
		c[i] = dial();
	assert_int_equal(try_dial(&extra), KB_E_CONN_LIMIT);
	assert_int_equal(refused(KB_E_CONN_LIMIT), 1);
	assert_int_equal(SSL_do_handshake(extra.ssl), -1); /* closed at once */
	ERR_clear_error();
	hang_up(&extra);
	hang_up(&c[0]);
	c[0] = dial();
	one_request(&c[0]);
	for (int i = 0; i < MAX_CONNECTIONS; i++)
		hang_up(&c[i]);
	assert_int_equal(shared.connections, 0);
}

static void test_b12_not_tls(void **state)
{
	static const char text[] = GET("/");
	struct client c;

	(void)state;
	assert_int_equal(try_dial(&c), KB_OK);
	assert_int_equal(write(c.fd, text, sizeof text - 1), sizeof text - 1);
	turn();
	assert_int_equal(count(COUNT_HANDSHAKES_FAILED), 1);
	assert_int_equal(refused(KB_E_TLS), 1);
	assert_false(vault_takes());
	hang_up(&c);
	assert_int_equal(shared.connections, 0);
}

static void test_b15_methods_no_vault_sees(void **state)
{
	static const char *const methods[] = {"HEAD", "OPTIONS", "TRACE", "get"};

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		KB_AUTO(buf) struct buf b;
		struct client c = dial();
		buf_init(&b, 256);
		buf_addf(&b, "%s / HTTP/1.1\r\nHost: h\r\n\r\n", methods[i]);
		say_span(&c, buf_span(&b));
		const char *said = receive(&c);
		assert_non_null(strstr(said, "HTTP/1.1 405 Method Not Allowed\r\n"));
		assert_non_null(strstr(said, "Allow: GET, POST, PUT, PATCH, DELETE\r\n"));
		assert_int_equal(strstr(said, "{") == NULL, i == 0); /* HEAD: no body */
		assert_false(vault_takes());
		hang_up(&c);
	}
	assert_int_equal(refused(KB_E_METHOD), 4);
}

static void test_connection_close_is_honoured(void **state)
{
	struct client c = dial();

	(void)state;
	send_text(&c, "GET /x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n" GET("/never"));
	assert_true(vault_takes());
	ledger_replies(taken.id, "{}");
	expect(&c, "HTTP/1.1 200 OK\r\n", "Connection: close\r\n");
	assert_true(c.is_closed && c.had_notify);
	assert_false(vault_takes());
	hang_up(&c);
}

static void test_drain(void **state)
{
	struct client idle = dial();
	struct client busy = dial();

	(void)state;
	one_request(&idle);
	send_text(&busy, GET("/busy"));
	assert_true(vault_takes());
	shared.is_draining = true;
	conn_close_idle(&shared, clock_mono_ms(), 0);
	assert_string_equal(receive(&idle), "");
	assert_true(idle.is_closed && idle.had_notify);
	ledger_replies(taken.id, "{}");
	expect(&busy, "HTTP/1.1 200 OK\r\n", "Connection: close\r\n");
	assert_true(busy.is_closed);
	hang_up(&idle);
	hang_up(&busy);
	assert_int_equal(shared.connections, 0);
}

/* What the supervisor does to the socket of an old generation, whether or not its gateway obeys. */
static void test_e10_a_socket_that_is_shut_takes_no_request(void **state)
{
	struct client sent = dial(), late = dial();

	(void)state;
	send_text(&sent, GET("/sent"));
	assert_true(vault_takes());
	uint64_t id = taken.id;
	assert_int_equal(shutdown(vault[0], SHUT_WR), 0);
	send_text(&late, GET("/late"));
	expect(&late, "HTTP/1.1 503 ", "Retry-After: 1\r\nConnection: close\r\n");
	assert_true(late.is_closed);
	assert_int_equal(refused(KB_E_RELOADED), 1);
	assert_false(vault_takes());
	assert_false(is_broken);
	ledger_replies(id, "{}"); /* what was submitted before is answered */
	expect(&sent, "HTTP/1.1 200 OK\r\n", "{}");
	hang_up(&sent);
	hang_up(&late);
}

static void test_e10_queued_requests_are_not_submitted(void **state)
{
	struct client c[4];

	(void)state; /* the window is 2, the queue, too */
	for (int i = 0; i < 4; i++) {
		c[i] = dial();
		send_text(&c[i], GET("/x"));
	}
	exchange_close(shared.exchange);
	turn();
	for (int i = 2; i < 4; i++)
		expect(&c[i], "HTTP/1.1 503 ", "Connection: close\r\n");
	assert_int_equal(refused(KB_E_RELOADED), 2);
	for (int i = 0; i < 2; i++) {
		assert_true(vault_takes());
		ledger_replies(taken.id, "{}");
		expect(&c[i], "HTTP/1.1 200 OK\r\n", "{}");
	}
	assert_false(vault_takes());
	for (int i = 0; i < 4; i++)
		hang_up(&c[i]);
}

/* "No such key" would be final, and the new configuration may have the key. */
static void test_e11_a_superseded_no_is_not_final(void **state)
{
	KB_AUTO(buf) struct buf b = {0};
	struct client c = dial();

	(void)state;
	shared.is_superseded = true;
	send_text(&c, GET("/x"));
	assert_true(vault_takes());
	struct frame_response r = {.id = taken.id, .status = 404, .code = KB_E_KEY_NOT_FOUND};
	buf_init(&b, KB_MAX_FRAME);
	assert_int_equal(frame_put_response(&r, &b), KB_OK);
	assert_int_equal(frame_send(ledger[1], buf_span(&b)), KB_OK);
	turn();
	expect(&c, "HTTP/1.1 503 ", "Retry-After: 1\r\nConnection: close\r\n");
	hang_up(&c);
}

static void test_e12_first_request_has_its_own_deadline(void **state)
{
	struct client c = dial();
	int64_t now = clock_mono_ms();

	(void)state;
	shared.is_draining = true;
	conn_close_idle(&shared, now + KB_HEADER_MS - 100, 0);
	conn_expire(&shared, now + KB_HEADER_MS - 100);
	assert_string_equal(receive(&c), "");
	assert_false(c.is_closed);
	send_text(&c, GET("/x"));
	assert_true(vault_takes());
	ledger_replies(taken.id, "{}");
	expect(&c, "HTTP/1.1 200 OK\r\n", "{}");
	hang_up(&c);
	c = dial();
	conn_expire(&shared, clock_mono_ms() + KB_HEADER_MS + 1);
	assert_string_equal(receive(&c), "");
	assert_true(c.is_closed && c.had_notify);
	hang_up(&c);
}

/* Idle counts from when the connection became idle, not from when draining began. */
static void test_e12_idle_counts_from_the_last_answer(void **state)
{
	struct client c = dial();

	(void)state;
	one_request(&c);
	int64_t now = clock_mono_ms();
	shared.is_draining = true;
	conn_close_idle(&shared, now + KB_DRAIN_IDLE_MS - 100, KB_DRAIN_IDLE_MS);
	assert_string_equal(receive(&c), "");
	assert_false(c.is_closed);
	conn_close_idle(&shared, now + KB_DRAIN_IDLE_MS + 1, KB_DRAIN_IDLE_MS);
	assert_string_equal(receive(&c), "");
	assert_true(c.is_closed && c.had_notify);
	hang_up(&c);
}

static void test_e12_who_is_dismissed_is_told(void **state)
{
	struct client silent = dial(), head = dial(), body = dial(), wait = dial();
	struct client *all[] = {&silent, &head, &body, &wait};

	(void)state;
	send_text(&head, "GET / HT");
	send_text(&body, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nhalf");
	send_text(&wait, GET("/x"));
	conn_dismiss(&shared);
	for (size_t i = 0; i < 4; i++) {
		expect(all[i], "HTTP/1.1 503 ", "Retry-After: 1\r\nConnection: close\r\n");
		hang_up(all[i]);
	}
	turn();
	assert_int_equal(shared.connections, 0);
}

/* An attacker behind the ledger answers what nobody asked, and what others asked: no place of the
 * window is lost or made by it, and no client gets it. */
static void test_i14_forged_answers_change_nothing(void **state)
{
	static const uint8_t none[8];
	struct frame_response r = {.id = 1, .status = 200, .body = span_str("{\"forged\":1}")};
	struct client c = dial();

	(void)state;
	send_text(&c, GET("/x"));
	assert_true(vault_takes());
	const uint64_t open = taken.id;
	KB_AUTO(buf) struct buf b;
	buf_init(&b, KB_MAX_FRAME);
	for (unsigned i = 0; i < 10 * KB_MAX_WINDOW; i++) {
		/* id 0, the next ones, the same one with another bit */
		r.id = i % 3 == 0 ? 1 : i % 3 == 1 ? open + 1 + i : open ^ UINT64_C(1) << i % 64;
		assert_int_equal(frame_put_response(&r, &b), KB_OK);
		if (i % 3 == 0)
			memcpy(b.p + 2, none, sizeof none);
		assert_int_equal(frame_send(ledger[1], buf_span(&b)), KB_OK);
		turn();
	}
	assert_false(c.is_closed);
	ledger_replies(open, "{}");
	expect(&c, "HTTP/1.1 200 OK\r\n", "{}");
	for (unsigned i = 0; i < 3; i++) /* not deaf */
		one_request(&c);
	hang_up(&c);
}

static void test_i06_frames_that_do_not_decode(void **state)
{
	struct client c = dial();

	(void)state;
	send_text(&c, GET("/x"));
	assert_true(vault_takes());
	assert_int_equal(frame_send(ledger[1], span_str("rubbish")), KB_OK);
	turn();
	assert_int_equal(count(COUNT_FRAMES_BAD), 1);
	ledger_replies(UINT64_C(0x7700000000000001), "{}"); /* nobody asked */
	assert_int_equal(count(COUNT_REPLIES_LOST), 1);
	ledger_replies(taken.id, "{}");
	expect(&c, "HTTP/1.1 200 OK\r\n", "{}");
	hang_up(&c);
}

static void test_closed_vault_is_noticed(void **state)
{
	struct client c = dial();

	(void)state;
	send_text(&c, GET("/x"));
	close(vault[1]);
	turn();
	assert_true(is_broken);
	vault[1] = dup(ledger[1]);
	hang_up(&c);
}

static void test_closed_ledger_is_noticed(void **state)
{
	(void)state;
	close(ledger[1]);
	turn();
	assert_true(is_broken);
	ledger[1] = dup(vault[1]);
}

#define PROCESS_TEST(f) cmocka_unit_test_setup_teardown(f, open_shared, close_process)

int main(void)
{
	const struct CMUnitTest tests[] = {
		PROCESS_TEST(test_conn_serves_and_keeps_alive),
		PROCESS_TEST(test_conn_passes_the_response_on),
		PROCESS_TEST(test_b26_certificate_ends_on_a_connection),
		PROCESS_TEST(test_g13_conn_source_that_fails_is_blocked),
		PROCESS_TEST(test_g13_conn_release_takes_the_penalty_away),
		PROCESS_TEST(test_g13_conn_handshakes),
		PROCESS_TEST(test_d01_conn_fills_in_the_body_of_a_refusal),
		PROCESS_TEST(test_conn_has_the_limits_of_its_dialect),
		PROCESS_TEST(test_request_right_behind_the_handshake),
		PROCESS_TEST(test_b11_a_handshake_has_its_seat_for_a_while),
		PROCESS_TEST(test_b11_a_seat_until_the_first_request),
		PROCESS_TEST(test_b05_pipelined_requests_are_served_in_order),
		PROCESS_TEST(test_b05_pipelined_bodies),
		PROCESS_TEST(test_b03_b04_refused_before_the_vault),
		PROCESS_TEST(test_b06_body_at_cap_and_over),
		PROCESS_TEST(test_b06_bodies_of_one_source),
		PROCESS_TEST(test_b06_expect_continue),
		PROCESS_TEST(test_b07_too_many_headers),
		PROCESS_TEST(test_b08_every_split_point),
		PROCESS_TEST(test_b01_slow_handshake),
		PROCESS_TEST(test_b01_slow_head_and_body),
		PROCESS_TEST(test_b01_deadline_is_absolute),
		PROCESS_TEST(test_idle_connection_is_closed_with_notify),
		PROCESS_TEST(test_linger_ends),
		PROCESS_TEST(test_b02_client_that_never_reads),
		PROCESS_TEST(test_b02_large_reply_is_resumed),
		PROCESS_TEST(test_request_deadline_and_late_reply),
		PROCESS_TEST(test_request_of_a_lost_worker),
		PROCESS_TEST(test_g06_queue_is_bounded_and_fifo),
		PROCESS_TEST(test_g06_queued_request_is_forgotten),
		cmocka_unit_test_setup_teardown(test_b11_window_is_kept, open_narrow_process,
						close_process),
		PROCESS_TEST(test_b09_client_gone_in_each_state),
		PROCESS_TEST(test_b09_client_gone_while_reading),
		PROCESS_TEST(test_client_half_close_still_gets_its_reply),
		PROCESS_TEST(test_b10_full_house),
		PROCESS_TEST(test_b12_not_tls),
		PROCESS_TEST(test_b15_methods_no_vault_sees),
		PROCESS_TEST(test_connection_close_is_honoured),
		PROCESS_TEST(test_drain),
		PROCESS_TEST(test_e10_a_socket_that_is_shut_takes_no_request),
		cmocka_unit_test_setup_teardown(test_e10_queued_requests_are_not_submitted,
						open_narrow_process, close_process),
		PROCESS_TEST(test_e11_a_superseded_no_is_not_final),
		PROCESS_TEST(test_e12_first_request_has_its_own_deadline),
		PROCESS_TEST(test_e12_idle_counts_from_the_last_answer),
		PROCESS_TEST(test_e12_who_is_dismissed_is_told),
		PROCESS_TEST(test_i14_forged_answers_change_nothing),
		PROCESS_TEST(test_i06_frames_that_do_not_decode),
		PROCESS_TEST(test_closed_vault_is_noticed),
		PROCESS_TEST(test_closed_ledger_is_noticed),
	};

	return cmocka_run_group_tests(tests, make, unmake);
}
