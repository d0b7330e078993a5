/* tests/e2e/test_floods.c — clients that are slow, gone, many or greedy: each is cut off at its
 * limit, is counted, and no other client waits for it. The
 * floods that take minutes are in tests/security/test_floods_long.c. */
#include "tests/e2e/flood.h"

#include <grp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

enum {
	DEADLINE_MS = 10000,
	SLACK_MS = 1000,
	BUSY_MS = 1500 /* a busy machine notices later, never earlier */
};
static const char head[] = "POST /keys/key/release?api-version=7.4 HTTP/1.1\r\nHost: "
			   "x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n";

/* ---- slow ---- */

enum { SLOW_SILENT, SLOW_HANDSHAKE, SLOW_LINE, SLOW_HEADER, SLOW_BODY, SLOW_KINDS };
struct slow {
	int fd;
	SSL *ssl;
	const uint8_t *bytes; /* one a second */
	size_t len, sent;
	unsigned long long from, closed;
};

static void slow_start(struct slow *s, unsigned kind, const uint8_t *hello, size_t hello_len)
{
	*s = (struct slow){.bytes = (const uint8_t *)head, .len = sizeof head - 1};
	if (kind <= SLOW_HANDSHAKE) {
		s->fd = tcp_from(SOURCE(1), in.port);
		s->bytes = hello;
		s->len = kind == SLOW_SILENT ? 0 : hello_len;
		s->from = now_ms();
		return;
	}
	s->ssl = tls_from(SOURCE(1), NULL);
	assert_int_equal(SSL_do_handshake(s->ssl), 1);
	s->fd = SSL_get_fd(s->ssl);
	s->from = now_ms();
	size_t at_once = kind == SLOW_LINE ? 0 : kind == SLOW_HEADER ? 60 : sizeof head - 1;
	if (at_once > 0)
		assert_int_equal(SSL_write(s->ssl, head, (int)at_once), (int)at_once);
	s->sent = at_once;
	if (kind == SLOW_BODY) {
		s->bytes = (const uint8_t *)"{\"target\":\"a slow body, a byte a second\"";
		s->len = 40;
		s->sent = 0;
	}
}

static void slow_step(struct slow *s, unsigned long long now)
{
	if (s->closed != 0)
		return;
	if (s->ssl == NULL ? is_closed(s->fd)
			   : SSL_peek(s->ssl, (char[1]){0}, 1) == 1 || is_closed(s->fd)) {
		s->closed = now;
		return;
	}
	if (s->sent >= s->len || s->from + 1000 * (s->sent + 1) > now)
		return;
	if (s->ssl == NULL)
		(void)send(s->fd, s->bytes + s->sent, 1, MSG_NOSIGNAL);
	else
		(void)SSL_write(s->ssl, s->bytes + s->sent, 1);
	s->sent++;
}

static void test_b01_one_byte_a_second(void **state)
{
	(void)state;
	struct slow slow[SLOW_KINDS];
	uint8_t hello[4096];
	size_t hello_len = client_hello(hello);
	double before = refused_as("DEADLINE");
	for (unsigned i = 0; i < SLOW_KINDS; i++) {
		slow_start(&slow[i], i, hello, hello_len);
		if (slow[i].ssl != NULL)
			fcntl(slow[i].fd, F_SETFL, O_NONBLOCK);
	}
	unsigned open = SLOW_KINDS;
	for (unsigned long long end = now_ms() + DEADLINE_MS + SLACK_MS + BUSY_MS;
	     open > 0 && now_ms() < end; sleep_ms(10)) {
		open = 0;
		for (unsigned i = 0; i < SLOW_KINDS; i++) {
			slow_step(&slow[i], now_ms());
			open += slow[i].closed == 0;
		}
	}
	for (unsigned i = 0; i < SLOW_KINDS; i++) {
		unsigned long long took = slow[i].closed - slow[i].from;
		/* The first byte of a head begins its time: the line's comes a second after the
		 * connection. */
		unsigned long long allowed = DEADLINE_MS + (i == SLOW_LINE ? 1000 : 0);
		if (slow[i].closed == 0 || took + SLACK_MS < allowed ||
		    took > allowed + SLACK_MS + (i == SLOW_LINE ? BUSY_MS : 0))
			GOOD(wrong("client %u was cut off after %llu ms (0: never)", i,
				   slow[i].closed == 0 ? 0 : took));
		if (slow[i].ssl != NULL)
			tls_free(slow[i].ssl);
		else
			close(slow[i].fd);
	}
	assert_int_equal((int)(refused_as("DEADLINE") - before), SLOW_KINDS);
}

/* Requests, one behind the other, and no reply is ever read: the gateway serves one at a time, so
 * it holds at most one reply for us beyond what the kernel takes. */
static void test_b02_never_reads(void **state)
{
	(void)state;
	static const char get[] = "GET /keys/key?api-version=7.4 HTTP/1.1\r\nHost: "
				  "localhost\r\nAuthorization: Bearer x\r\n\r\n";
	double before = refused_as("DEADLINE"), lost = metric(&in, "keybroker_replies_lost_total");
	long rss = status_kib(gateway(), "VmRSS:");
	SSL *ssl = SSL_new(in.at.tls);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in to = {.sin_family = AF_INET,
				 .sin_port = htons((uint16_t)in.port),
				 .sin_addr = {htonl(INADDR_LOOPBACK)}};
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &(int){4096},
		   sizeof(int)); /* before connect(): a small window */
	assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
	SSL_set_fd(ssl, fd);
	assert_int_equal(SSL_connect(ssl), 1);
	fcntl(fd, F_SETFL, O_NONBLOCK);
	/* As many as it takes until ours do not leave any more: then the gateway has stopped to
	 * read, because it cannot write. */
	unsigned long long from = now_ms(), last = from, end = last + 30000;
	unsigned sent = 0;
	while (now_ms() - last < 2000 && now_ms() < end) {
		if (SSL_write(ssl, get, sizeof get - 1) > 0) {
			sent++;
			last = now_ms();
		} else {
			ERR_clear_error();
			sleep_ms(5);
		}
	}
	assert_true(sent > 100 && now_ms() < end);
	long grown = status_kib(gateway(), "VmRSS:") - rss;
	struct pollfd p = {.fd = fd, .events = POLLHUP};
	while ((poll(&p, 1, 100) == 0 || (p.revents & (POLLHUP | POLLERR)) == 0) &&
	       now_ms() < last + DEADLINE_MS + SLACK_MS + BUSY_MS)
		;
	unsigned long long took = now_ms() - last;
	if ((p.revents & (POLLHUP | POLLERR)) == 0 || now_ms() - from < DEADLINE_MS)
		GOOD(wrong("cut off after %llu ms", took));
	tls_free(ssl);
	assert_int_equal((int)(refused_as("DEADLINE") - before), 1);
	assert_true(metric(&in, "keybroker_replies_lost_total") - lost >= 1);
	if (grown > 512)
		GOOD(wrong("the gateway grew by %ld KiB for one reader", grown));
}

/* ---- greedy ---- */

/* Heads that announce the largest body and wait for 100 Continue: until it comes, a connection gets
 * no more than 64 KiB. */
static void test_b06_memory_before_anyone_is_known(void **state)
{
	(void)state;
	enum { CLIENTS = 400 };
	static SSL *client[CLIENTS];
	char announce[256], word[64] = "";
	long before = status_kib(gateway(), "VmRSS:");
	int n = snprintf(announce, sizeof announce,
			 "POST /keys/key/release?api-version=7.4 HTTP/1.1\r\nHost: x\r\nExpect: "
			 "100-continue\r\nContent-Type: application/json\r\n"
			 "Content-Length: %u\r\n\r\n",
			 60000);
	for (unsigned i = 0; i < CLIENTS; i++) {
		client[i] = tls_from(SOURCE(20 + i % 4), NULL);
		assert_int_equal(SSL_do_handshake(client[i]), 1);
		assert_int_equal(SSL_write(client[i], announce, n), n);
	}
	for (unsigned i = 0; i < CLIENTS; i++) {
		assert_true(SSL_read(client[i], word, sizeof word - 1) > 0);
		assert_int_equal(strncmp(word, "HTTP/1.1 100 ", 13), 0);
	}
	long each = (status_kib(gateway(), "VmRSS:") - before) / CLIENTS;
	if (each > 64)
		GOOD(wrong("%ld KiB for a connection that is nobody yet", each));
	for (unsigned i = 0; i < CLIENTS; i++)
		tls_free(client[i]);
}

/* The same, and the bodies come, but for their last byte: what one source may have stored here is
 * bounded, others go on. */
static void test_b06_bodies_of_one_source_are_bounded(void **state)
{
	(void)state;
	enum { CLIENTS = 240, BODY = 190 * 1024, SOURCE_KIB = 32 * 1024 };
	static SSL *client[CLIENTS];
	static char body[BODY];
	char text[256], said[64];
	long before = status_kib(gateway(), "VmRSS:");
	double refused = refused_as("QUEUE_FULL");
	unsigned busy = 0;
	memset(body, 'a', sizeof body);
	int n = snprintf(text, sizeof text,
			 "POST /keys/key/release?api-version=7.4 HTTP/1.1\r\nHost: "
			 "x\r\nContent-Type: application/json\r\nContent-Length: %u\r\n\r\n",
			 BODY);
	for (unsigned i = 0; i < CLIENTS; i++) {
		client[i] = tls_from(SOURCE(30), NULL);
		assert_int_equal(SSL_do_handshake(client[i]), 1);
		assert_int_equal(SSL_write(client[i], text, n), n);
		(void)SSL_write(client[i], body,
				BODY - 1); /* a client that was refused already does not send it */
		ERR_clear_error();
	}
	long grown = status_kib(gateway(), "VmRSS:") - before;
	served_within(31, 1000);
	for (unsigned i = 0; i < CLIENTS; i++) {
		fcntl(SSL_get_fd(client[i]), F_SETFL, O_NONBLOCK);
		int got = SSL_read(client[i], said, sizeof said - 1);
		busy += got > 12 && strncmp(said, "HTTP/1.1 503", 12) == 0;
		tls_free(client[i]);
	}
	assert_int_equal((int)(refused_as("QUEUE_FULL") - refused),
			 CLIENTS - SOURCE_KIB * 1024 / BODY);
	assert_true(busy > 0 && busy <= CLIENTS - SOURCE_KIB * 1024 / BODY);
	if (grown > SOURCE_KIB + 64 * CLIENTS)
		GOOD(wrong("one source made the gateway grow by %ld KiB", grown));
}

/* ---- gone ---- */

static void test_b09_reset_in_every_state(void **state)
{
	(void)state;
	uint8_t hello[4096];
	size_t hello_len = client_hello(hello);
	char *request = release_request();
	double open = metric(&in, "keybroker_connections_open");
	for (unsigned round = 0; round < 5; round++) {
		close_hard(tcp_from(SOURCE(40), in.port)); /* connected */
		int fd = tcp_from(SOURCE(40), in.port);    /* half a hello, a whole one */
		assert_true(send(fd, hello, hello_len / (1 + round % 2), MSG_NOSIGNAL) > 0);
		if (round > 2)
			sleep_ms(20);
		close_hard(fd);
		/* no byte of a request; half a head; half a body; all but the last byte */
		for (unsigned part = 0; part < 4; part++) {
			size_t len = part == 0   ? 0
				     : part == 1 ? 40
				     : part == 2 ? sizeof head + 200
						 : strlen(request) - 1;
			SSL *ssl = tls_from(SOURCE(40), NULL);
			assert_int_equal(SSL_do_handshake(ssl), 1);
			if (len > 0)
				assert_int_equal(SSL_write(ssl, request, (int)len), (int)len);
			if (round > 2)
				sleep_ms(20);
			setsockopt(SSL_get_fd(ssl), SOL_SOCKET, SO_LINGER, &(struct linger){1, 0},
				   sizeof(struct linger));
			tls_free(ssl);
		}
	}
	free(request);
	for (unsigned long long end = now_ms() + 5000;
	     metric(&in, "keybroker_connections_open") > open && now_ms() < end;)
		sleep_ms(20);
	assert_true(metric(&in, "keybroker_connections_open") <= open);
}

/* While the workers stand still, so that the request is surely under way: the record is made all
 * the same, and the reply that was not read is counted. */
static void test_b09_reset_while_the_vault_works(void **state)
{
	(void)state;
	enum { GONE = 6 };
	char *request = release_request();
	pid_t vault[2] = {broker_process(&in, "vault", 0), broker_process(&in, "vault", 1)};
	unsigned released = ledger_count(&in, "\"outcome\":\"released\"");
	double lost = metric(&in, "keybroker_replies_lost_total"),
	       sent = metric(&in, "keybroker_requests_total");
	double open = metric(&in, "keybroker_connections_open");
	assert_true(vault[0] > 0 && vault[1] > 0);
	for (unsigned i = 0; i < 2; i++)
		kill(vault[i], SIGSTOP);
	SSL *ssl[GONE];
	for (unsigned i = 0; i < GONE; i++) {
		ssl[i] = tls_from(SOURCE(41), NULL);
		assert_int_equal(SSL_do_handshake(ssl[i]), 1);
		assert_int_equal(SSL_write(ssl[i], request, (int)strlen(request)),
				 (int)strlen(request));
	}
	wait_metric("keybroker_requests_total", sent + GONE, 3000);
	for (unsigned i = 0; i < GONE; i++) {
		setsockopt(SSL_get_fd(ssl[i]), SOL_SOCKET, SO_LINGER, &(struct linger){1, 0},
			   sizeof(struct linger));
		tls_free(ssl[i]);
	}
	for (unsigned long long end = now_ms() + 3000;
	     metric(&in, "keybroker_connections_open") > open && now_ms() < end;)
		sleep_ms(20);
	for (unsigned i = 0; i < 2; i++)
		kill(vault[i], SIGCONT);
	wait_metric("keybroker_replies_lost_total", lost + GONE, 5000);
	assert_int_equal(ledger_count(&in, "\"outcome\":\"released\""), released + GONE);
	free(request);
}

/* ---- many ---- */

/* One source holds all that one source may, in three ways, and one more is turned away; another is
 * served at once. */
static void test_b11_one_source_takes_what_it_may(void **state)
{
	(void)state;
	enum { CAP = 1024, MORE = 40 };
	static int client[CAP + MORE];
	uint8_t hello[4096];
	size_t hello_len = client_hello(hello);
	double refused = refused_as("CONN_LIMIT"), open = metric(&in, "keybroker_connections_open");
	for (unsigned i = 0; i < CAP + MORE; i++) {
		client[i] = tcp_from(SOURCE(50), in.port);
		assert_true(client[i] >= 0);
		/* nothing; half a hello; a whole one, and the server's answer is left alone */
		if (i % 3 > 0)
			(void)send(client[i], hello, hello_len / (i % 3), MSG_NOSIGNAL);
	}
	wait_metric("keybroker_connections_open", open + CAP, 5000);
	served_within(51, 1000);
	assert_true(metric(&in, "keybroker_connections_open") <= open + CAP + 1);
	assert_true(refused_as("CONN_LIMIT") - refused >= MORE);
	for (unsigned i = 0; i < CAP + MORE; i++)
		close_hard(client[i]);
}

/* Whole handshakes, as many as a source can make, one after the other on sixteen connections. */
static pid_t flood_start(unsigned source)
{
	pid_t parent = getpid(), pid = fork();
	if (pid != 0)
		return pid;
	enum { AT_ONCE = 64 };
	SSL *ssl[AT_ONCE] = {0};
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	setpriority(PRIO_PROCESS, 0,
		    10); /* its own arithmetic must not be what the others wait for */
	while (getppid() == parent)
		for (unsigned i = 0; i < AT_ONCE; i++) {
			if (ssl[i] == NULL) {
				ssl[i] = tls_from(SOURCE(source), NULL);
				fcntl(SSL_get_fd(ssl[i]), F_SETFL, O_NONBLOCK);
			}
			int n = SSL_do_handshake(ssl[i]);
			if (n == 1 || SSL_get_error(ssl[i], n) != SSL_ERROR_WANT_READ) {
				setsockopt(SSL_get_fd(ssl[i]), SOL_SOCKET, SO_LINGER,
					   &(struct linger){1, 0}, sizeof(struct linger));
				tls_free(ssl[i]);
				ssl[i] = NULL;
			}
		}
	_exit(0);
}

static void test_b11_b12_handshakes_of_one_source_against_the_rest(void **state)
{
	(void)state;
	double done = metric(&in, "keybroker_tls_handshakes_total");
	pid_t noisy = flood_start(52);
	assert_true(noisy > 0);
	wait_metric("keybroker_tls_handshakes_total", done + 200, 10000);
	for (unsigned i = 0; i < 5; i++)
		served_within(53 + i, 1000);
	kill(noisy, SIGKILL);
	waitpid(noisy, NULL, 0);
}

/* All connections are taken by clients of many sources that send nothing: a new one waits in the
 * kernel's backlog and is accepted when one is free; the metrics port still answers. */
static void test_b10_all_connections_taken_and_free_again(void **state)
{
	(void)state;
	enum { MOST = 48, CLIENTS = 120 };
	static int client[CLIENTS];
	flood_limits(json_pack("{s:i, s:i}", "connections", MOST, "connections_per_source", MOST));
	for (unsigned i = 0; i < CLIENTS; i++)
		client[i] = tcp_from(SOURCE(60 + i), in.port);
	wait_metric("keybroker_connections_open", MOST, 5000);
	unsigned long long from = now_ms();
	assert_int_equal(metrics_get(&in, "/healthz", NULL), 200);
	assert_true(now_ms() - from < 1000);
	double cpu = cpu_ms(gateway());
	sleep_ms(1000);
	assert_true(cpu_ms(gateway()) - cpu < 200); /* full is no reason to spin */
	assert_true(metric(&in, "keybroker_connections_open") <= MOST);
	for (unsigned i = 0; i < CLIENTS; i++)
		close_hard(client[i]);
	served_within(200, 1000);
	GOOD(invariants_hold(&in));

	/* The same with connections that have had their answer: the longest idle one is closed. */
	static struct link *idle[MOST];
	for (unsigned i = 0; i < MOST; i++) {
		struct place at = in.at;
		at.from = 60 + i;
		GOOD(link_open(&at, &idle[i]));
	}
	wait_metric("keybroker_connections_open", MOST, 5000);
	sleep_ms(1100);
	served_within(200, 1000);
	for (unsigned i = 0; i < MOST; i++)
		link_close(idle[i]);
}

/* ---- at the limit of descriptors ---- */

/* A number "Uid:" or "Gid:" of a process: a process with the same ids may change its limits. */
static unsigned id_of(pid_t pid, const char *field)
{
	return (unsigned)status_kib(pid, field);
}

/* The limit of open files of a running process: `n`, or what it was. */
static void limit_files(pid_t process, const struct rlimit *to, struct rlimit *was)
{
	int status = -1;
	pid_t pid = 0;
	assert_int_equal(prlimit(getpid(), RLIMIT_NOFILE, NULL, was),
			 0); /* processes raise theirs to the same */
	if ((pid = fork()) == 0) {
		unsigned gid = id_of(process, "Gid:"), uid = id_of(process, "Uid:");
		if (geteuid() == 0 && (setgroups(0, NULL) != 0 || setresgid(gid, gid, gid) != 0 ||
				       setresuid(uid, uid, uid) != 0))
			_exit(2);
		_exit(prlimit(process, RLIMIT_NOFILE, to, NULL) == 0 ? 0 : 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void test_g01_out_of_descriptors(void **state)
{
	(void)state;
	enum { LIMIT = 60, CLIENTS = 150 };
	static int client[CLIENTS];
	struct rlimit usual, few;
	limit_files(gateway(), NULL, &usual);
	few = (struct rlimit){LIMIT, usual.rlim_max};
	limit_files(gateway(), &few, &usual);
	pid_t pid = gateway();
	double refused = refused_as("CONN_LIMIT");
	for (unsigned i = 0; i < CLIENTS; i++) {
		client[i] = tcp_from(SOURCE(70), in.port);
		assert_true(client[i] >= 0);
	}
	for (unsigned long long end = now_ms() + 5000;
	     refused_as("CONN_LIMIT") == refused && now_ms() < end;)
		sleep_ms(20);
	double cpu = cpu_ms(pid);
	unsigned long long from = now_ms();
	sleep_ms(2500);
	double share = (cpu_ms(pid) - cpu) / (double)(now_ms() - from);
	assert_int_equal(metrics_get(&in, "/healthz", NULL),
			 200); /* the metrics port has a descriptor of its own */
	if (share > 0.2)
		GOOD(wrong("the gateway used %.0f %% of a processor with no descriptor left",
			   100 * share));
	unsigned answered = 0;
	for (unsigned i = 0; i < CLIENTS; i++)
		answered += is_closed(client[i]);
	/* the spare descriptor answers one each time accepting is tried; the others wait */
	if (answered == 0 || answered >= CLIENTS - LIMIT)
		GOOD(wrong("%u of %u were answered", answered, CLIENTS));
	for (unsigned i = 0; i < CLIENTS; i++)
		close_hard(client[i]);
	const char *why = "not yet";
	for (unsigned long long end = now_ms() + 5000;
	     why != NULL &&
	     now_ms() < end;) { /* it accepts again, with no more descriptors than before */
		struct link *l;
		why = link_open(&in.at, &l);
		link_close(l);
	}
	GOOD(why);
	few.rlim_cur = few.rlim_max; /* as the process raised it itself */
	limit_files(pid, &few, &usual);
	assert_true(gateway() == pid);
	assert_true(refused_as("CONN_LIMIT") > refused);
}

/* ---- the queue ---- */

/* With no worker at work, one source's requests fill the queue; another's are still taken in, and
 * are served first in, first out, sources in rotation. */
static void test_g06_full_queue_makes_room_for_another_source(void **state)
{
	(void)state;
	enum { NOISY = 40, QUIET = 3 };
	static struct link *noisy[NOISY], *quiet[QUIET];
	char *request = release_request();
	unsigned busy = 0;
	flood_limits(json_pack("{s:i}", "queue", 8));
	pid_t vault[2] = {broker_process(&in, "vault", 0), broker_process(&in, "vault", 1)};
	double refused = refused_as("QUEUE_FULL"), sent = metric(&in, "keybroker_requests_total");
	struct place at = in.at;
	for (unsigned i = 0; i < NOISY + QUIET; i++) {
		at.from = i < NOISY ? 80 : 81;
		GOOD(link_open(&at, i < NOISY ? &noisy[i] : &quiet[i - NOISY]));
	}
	for (unsigned i = 0; i < 2; i++)
		kill(vault[i], SIGSTOP);
	/* Requests fill the window before the queue: fill it first, on connections that ask more
	 * than once. */
	static struct link *window[100];
	at.from = 80;
	for (unsigned i = 0; i < 68; i++) {
		GOOD(link_open(&at, &window[i]));
		GOOD(link_send(window[i], request, strlen(request)));
	}
	wait_metric("keybroker_requests_total", sent + 68, 5000);
	for (unsigned i = 0; i < NOISY; i++)
		GOOD(link_send(noisy[i], request, strlen(request)));
	for (unsigned long long end = now_ms() + 5000;
	     refused_as("QUEUE_FULL") - refused < NOISY - 8 && now_ms() < end;)
		sleep_ms(20);
	assert_int_equal((int)(refused_as("QUEUE_FULL") - refused), NOISY - 8);
	assert_int_equal((int)metric(&in, "keybroker_queue"), 8);
	for (unsigned i = 0; i < QUIET; i++)
		GOOD(link_send(quiet[i], request, strlen(request)));
	for (unsigned long long end = now_ms() + 5000;
	     refused_as("QUEUE_FULL") - refused < NOISY - 8 + QUIET && now_ms() < end;)
		sleep_ms(20);
	assert_int_equal((int)(refused_as("QUEUE_FULL") - refused),
			 NOISY - 8 + QUIET); /* three of the noisy ones were closed for them */
	for (unsigned i = 0; i < 2; i++)
		kill(vault[i], SIGCONT);
	for (unsigned i = 0; i < QUIET; i++) {
		struct reply r;
		GOOD(link_receive(quiet[i], &r));
		assert_int_equal(r.status, 200);
		reply_free(&r);
		link_close(quiet[i]);
	}
	for (unsigned i = 0; i < NOISY; i++) {
		struct reply r;
		char wait[16];
		GOOD(link_receive(noisy[i], &r));
		if (r.status == 503) {
			busy++;
			assert_int_equal(atoi(reply_header(&r, "Retry-After", wait, sizeof wait)),
					 1);
		} else {
			assert_int_equal(r.status, 200);
		}
		reply_free(&r);
		link_close(noisy[i]);
	}
	for (unsigned i = 0; i < 68; i++)
		link_close(window[i]);
	assert_int_equal(busy, NOISY - 8 + QUIET);
	free(request);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		attack(test_b01_one_byte_a_second),
		attack(test_b02_never_reads),
		attack(test_b06_memory_before_anyone_is_known),
		attack(test_b06_bodies_of_one_source_are_bounded),
		attack(test_b09_reset_in_every_state),
		attack(test_b09_reset_while_the_vault_works),
		attack(test_b11_one_source_takes_what_it_may),
		attack(test_b11_b12_handshakes_of_one_source_against_the_rest),
		attack(test_g01_out_of_descriptors),
		attack(test_b10_all_connections_taken_and_free_again),
		attack(test_g06_full_queue_makes_room_for_another_source),
	};
	return cmocka_run_group_tests(tests, flood_setup_and_begin, flood_teardown);
}
