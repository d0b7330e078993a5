/* tests/e2e/test_wire.c — what clients may write on the wire, byte by byte: framings that are
 * read in two ways, requests in pieces, hostile text; and what they may read: exact headers, and no
 * name of a program.  Long: a rule a test. */
#include "tests/e2e/flood.h"

#include <dirent.h>

#define AUTH     "Authorization: Bearer x\r\n"
#define GET_KEY  "GET /keys/key?api-version=7.4 HTTP/1.1\r\n"
#define GOOD_GET GET_KEY "Host: localhost\r\n" AUTH "\r\n"

/* ---- refused before anybody handles it ---- */

/* Sent as it is; the status, the connection's end, the counter of its code +1, and no vault
 * received it. */
static void refused_at_once(const void *text, size_t len, int status, const char *code)
{
	struct link *l;
	struct reply r;
	double handled = metric(&in, "keybroker_requests_total"), refused = refused_as(code);
	unsigned records = ledger_count(&in, "\"seq\"");
	GOOD(link_open(&in.at, &l));
	GOOD(link_send(l, text, len));
	const char *why = link_receive(l, &r);
	if (why != NULL || r.status != status || !r.will_close)
		GOOD(wrong("%.60s: %s, status %d, expected %d and close", (const char *)text,
			   why == NULL ? "answered" : why, r.status, status));
	reply_free(&r);
	why = link_receive(l, &r);
	if (why == NULL || strcmp(why, "closed") != 0)
		GOOD(wrong("%.60s: %s after the refusal", (const char *)text,
			   why == NULL ? "another answer" : why));
	link_close(l);
	if (refused_as(code) - refused != 1)
		GOOD(wrong("%.60s: not counted as %s", (const char *)text, code));
	assert_true(metric(&in, "keybroker_requests_total") == handled);
	assert_int_equal(ledger_count(&in, "\"seq\""), records);
}

struct line {
	const char *text;
	int status;
	const char *code;
};

static void each_refused(const struct line *lines, size_t n)
{
	for (size_t i = 0; i < n; i++)
		refused_at_once(lines[i].text, strlen(lines[i].text), lines[i].status,
				lines[i].code);
}

#define POST_RELEASE                                                                               \
	"POST /keys/key/release?api-version=7.4 HTTP/1.1\r\nHost: localhost\r\n" AUTH              \
	"Content-Type: application/json\r\n"
#define SMUGGLED "GET /keys/smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"

static void test_b03_two_framings(void **state)
{
	(void)state;
	static const struct line lines[] = {
		{(POST_RELEASE
		  "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" SMUGGLED),
		 400, "HTTP_BODY_TYPE"},
		{(POST_RELEASE "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" SMUGGLED), 400,
		 "HTTP_BODY_TYPE"},
		{(POST_RELEASE "Transfer-Encoding: identity\r\n\r\n" SMUGGLED), 400,
		 "HTTP_BODY_TYPE"},
		{(POST_RELEASE "transfer-encoding:\tchunked\r\n\r\n" SMUGGLED), 400,
		 "HTTP_BODY_TYPE"},
		{(POST_RELEASE "Transfer-Encoding: gzip, chunked\r\n\r\n" SMUGGLED), 400,
		 "HTTP_BODY_TYPE"},
		{(POST_RELEASE "Transfer-Encoding : chunked\r\n\r\n" SMUGGLED), 400, "HTTP_SYNTAX"},
		{(POST_RELEASE "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello" SMUGGLED), 400,
		 "HTTP_SYNTAX"},
		{(POST_RELEASE "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello" SMUGGLED), 400,
		 "HTTP_SYNTAX"},
		{(POST_RELEASE "Content-Length: +3\r\n\r\nabc" SMUGGLED), 400, "HTTP_SYNTAX"},
		{(POST_RELEASE "Content-Length: 0x3\r\n\r\nabc" SMUGGLED), 400, "HTTP_SYNTAX"},
		{(POST_RELEASE "Content-Length: -1\r\n\r\n" SMUGGLED), 400, "HTTP_SYNTAX"},
		{(POST_RELEASE "Content-Length: 3,3\r\n\r\nabc" SMUGGLED), 400, "HTTP_SYNTAX"},
		{(POST_RELEASE "Content-Length: 3 3\r\n\r\nabc" SMUGGLED), 400, "HTTP_SYNTAX"},
		{(POST_RELEASE "Content-Length: \r\n\r\n" SMUGGLED), 400, "HTTP_SYNTAX"},
		{(POST_RELEASE "Content-Length: 18446744073709551617\r\n\r\n" SMUGGLED), 413,
		 "HTTP_BODY_SIZE"},
	};
	each_refused(lines, sizeof lines / sizeof lines[0]);
}

static void test_b04_read_in_two_ways(void **state)
{
	(void)state;
	static const char with_nul[] = GET_KEY "Host: localhost\r\nX-A: a\0b\r\n\r\n";
	static const struct line lines[] = {
		{"GET /keys/key?api-version=7.4 HTTP/1.1\nHost: localhost\n\n", 400, "HTTP_SYNTAX"},
		{(GET_KEY "Host: localhost\nX-A: a\r\n\r\n"), 400, "HTTP_SYNTAX"},
		{(GET_KEY "Host: localhost\r\nX-A: a\r\n folded\r\n\r\n"), 400, "HTTP_SYNTAX"},
		{(GET_KEY "Host : localhost\r\n\r\n"), 400, "HTTP_SYNTAX"},
		{(GET_KEY "\r\n"), 400, "HTTP_SYNTAX"},
		{(GET_KEY "Host: localhost\r\nHost: localhost\r\n\r\n"), 400, "HTTP_SYNTAX"},
		{(GET_KEY "Host: localhost\r\nhost: other\r\n\r\n"), 400, "HTTP_SYNTAX"},
		{"GET https://elsewhere.example/keys/key?api-version=7.4 HTTP/1.1\r\nHost: "
		 "localhost\r\n\r\n",
		 400, "HTTP_SYNTAX"},
		{"GET /keys/key\r\n\r\n", 400, "HTTP_SYNTAX"},
		{"GET /keys/key?api-version=7.4 HTTP/0.9\r\nHost: localhost\r\n\r\n", 505,
		 "HTTP_VERSION"},
		{"GET /keys/key?api-version=7.4 HTTP/2.0\r\nHost: localhost\r\n\r\n", 505,
		 "HTTP_VERSION"},
		{"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, "HTTP_SYNTAX"},
		{"GET  /keys/key HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, "HTTP_SYNTAX"},
		{"\r\nGET /keys/key HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, "HTTP_SYNTAX"},
	};
	each_refused(lines, sizeof lines / sizeof lines[0]);
	refused_at_once(with_nul, sizeof with_nul - 1, 400, "HTTP_SYNTAX");
}

static void test_b06_announced_too_much(void **state)
{
	(void)state;
	static const struct line lines[] = {
		{(POST_RELEASE "Content-Length: 204801\r\n\r\n"), 413,
		 "HTTP_BODY_SIZE"}, /* KB_MAX_BODY + 1 */
		{(POST_RELEASE "Content-Length: 999999999999\r\nExpect: 100-continue\r\n\r\n"), 413,
		 "HTTP_BODY_SIZE"},
	};
	each_refused(lines, sizeof lines / sizeof lines[0]);
}

static void test_b07_too_many_too_long(void **state)
{
	(void)state;
	static const unsigned counts[] = {100, 1000};
	char *text = malloc(1 << 20);
	assert_non_null(text);
	for (unsigned i = 0; i < 2; i++) {
		size_t len = (size_t)sprintf(text, GET_KEY "Host: localhost\r\n");
		for (unsigned k = 0; k < counts[i]; k++)
			len += (size_t)sprintf(text + len, "X-%u: a\r\n", k);
		len += (size_t)sprintf(text + len, "\r\n");
		refused_at_once(text, len, 431, "HTTP_HEADERS");
	}
	size_t len = (size_t)sprintf(text, GET_KEY "Host: localhost\r\nX-A: ");
	memset(text + len, 'a', 8192);
	len += 8192;
	len += (size_t)sprintf(text + len, "\r\n\r\n");
	refused_at_once(text, len, 431, "HTTP_HEADERS");
	len = (size_t)sprintf(text, "GET /");
	memset(text + len, 'a', 5000);
	len += 5000;
	len += (size_t)sprintf(text + len, " HTTP/1.1\r\nHost: localhost\r\n\r\n");
	refused_at_once(text, len, 414, "HTTP_URI");
	free(text);
}

/* ---- one request, whatever its pieces ---- */

/* Status, headers and body but for the request's own id. */
static void same_answer(const struct reply *got, const char *want_head, const char *want_body)
{
	char head[sizeof got->head];
	snprintf(head, sizeof head, "%s", got->head);
	char *id = strstr(head, "x-ms-request-id: ");
	assert_non_null(id);
	memset(id + 17, '0', 36);
	assert_string_equal(head, want_head);
	assert_string_equal(got->body, want_body);
}

static void test_b08_every_split_point(void **state)
{
	(void)state;
	/* A release that is refused, so that the answers are the same to the byte; and a read. */
	static const char *const requests[] = {
		GOOD_GET, (POST_RELEASE "Content-Length: 22\r\n\r\n{\"target\":\"not.a.jws\"}")};
	for (unsigned k = 0; k < 2; k++) {
		const char *text = requests[k];
		size_t len = strlen(text);
		struct link *l;
		struct reply r;
		char head[sizeof r.head], *id;
		GOOD(link_open(&in.at, &l));
		GOOD(link_send(l, text, len));
		GOOD(link_receive(l, &r));
		assert_int_equal(r.status, k == 0 ? 200 : 403);
		snprintf(head, sizeof head, "%s", r.head);
		assert_non_null(id = strstr(head, "x-ms-request-id: "));
		memset(id + 17, '0', 36);
		char *body = strdup(r.body);
		reply_free(&r);
		for (size_t at = 1; at < len; at++) {
			GOOD(link_send(l, text, at));
			nanosleep(&(struct timespec){0, 500000}, NULL);
			GOOD(link_send(l, text + at, len - at));
			GOOD(link_receive(l, &r));
			same_answer(&r, head, body);
			reply_free(&r);
		}
		link_close(l);

		/* The same in TCP segments of one byte, through the middle of TLS records:
		 * handshake and all. */
		SSL *ssl = SSL_new(in.at.tls);
		BIO *to = BIO_new(BIO_s_mem()), *from = BIO_new(BIO_s_mem());
		int fd = tcp_from(SOURCE(1), in.port);
		char got[16384] = "", bytes[16384];
		size_t got_len = 0;
		SSL_set_bio(ssl, from, to);
		SSL_set_connect_state(ssl);
		for (bool is_sent = false; strstr(got, body) == NULL;) {
			if (SSL_do_handshake(ssl) == 1 && !is_sent)
				is_sent = SSL_write(ssl, text, (int)len) == (int)len;
			int n = is_sent ? SSL_read(ssl, got + got_len,
						   (int)(sizeof got - 1 - got_len))
					: 0;
			got_len += n > 0 ? (size_t)n : 0;
			got[got_len] = '\0';
			while ((n = BIO_read(to, bytes, sizeof bytes)) > 0)
				for (int i = 0; i < n; i++)
					assert_int_equal(send(fd, bytes + i, 1, MSG_NOSIGNAL), 1);
			if (strstr(got, body) != NULL)
				break;
			ssize_t m = recv(fd, bytes, sizeof bytes, 0);
			assert_true(m > 0);
			assert_int_equal(BIO_write(from, bytes, (int)m), (int)m);
		}
		assert_non_null(id = strstr(got, "x-ms-request-id: "));
		memset(id + 17, '0', 36);
		assert_int_equal(strncmp(got, head, strlen(head)), 0);
		ERR_clear_error();
		SSL_free(ssl);
		close(fd);
		free(body);
	}
}

/* Requests in one packet, of different kinds: answered in order, each with its own answer. */
static void test_b05_pipelined_are_never_mixed(void **state)
{
	(void)state;
	enum { ROUNDS = 40 };
	char *release = release_request(), *text = malloc(64 * 1024);
	unsigned random = 12345;
	for (unsigned round = 0; round < ROUNDS; round++) {
		int kind[8];
		size_t len = 0;
		struct link *l;
		for (unsigned i = 0; i < 8; i++) {
			random = random * 1103515245 + 12345;
			kind[i] = (int)(random >> 16) % 3;
			if (kind[i] == 0)
				len += (size_t)sprintf(text + len,
						       GET_KEY
						       "Host: localhost\r\n" AUTH
						       "x-ms-client-request-id: r%u-%u\r\n\r\n",
						       round, i);
			else if (kind[i] == 1)
				len += (size_t)sprintf(text + len,
						       "GET /keys/nosuch?api-version=7.4 "
						       "HTTP/1.1\r\nHost: localhost\r\n" AUTH
						       "x-ms-client-request-id: r%u-%u\r\n\r\n",
						       round, i);
			else
				len += (size_t)sprintf(text + len, "%s", release);
		}
		GOOD(link_open(&in.at, &l));
		GOOD(link_send(l, text, len));
		for (unsigned i = 0; i < 8; i++) {
			struct reply r;
			char id[64], want[64];
			GOOD(link_receive(l, &r));
			assert_int_equal(r.status, kind[i] == 1 ? 404 : 200);
			snprintf(want, sizeof want, "r%u-%u", round, i);
			assert_string_equal(
				reply_header(&r, "x-ms-client-request-id", id, sizeof id),
				kind[i] == 2 ? "" : want);
			assert_true((strncmp(r.body, "{\"value\":\"", 10) == 0) == (kind[i] == 2));
			GOOD(invariants_reply(&in, &r));
			reply_free(&r);
		}
		link_close(l);
	}
	free(text);
	free(release);
}

/* ---- what is not there ---- */

/* Only a release is recorded, whatever its outcome. */
static void test_b15_wrong_method_path_or_type(void **state)
{
	(void)state;
	static const struct {
		const char *method, *path;
		int status;
		bool is_judged; /* by a vault; else it is the gateway's own answer */
	} want[] = {
		{"DELETE", "/keys/key?api-version=7.4", 405, true},
		{"POST", "/keys/key?api-version=7.4", 405, true},
		{"GET", "/keys/key/release?api-version=7.4", 405, true},
		{"OPTIONS", "/keys/key?api-version=7.4", 405, false},
		{"TRACE", "/keys/key?api-version=7.4", 405, false},
		{"BREW", "/keys/key?api-version=7.4", 405, false},
		{"GET", "/", 404, true},
		{"GET", "/keys", 404, true},
		{"GET", "/Keys/key?api-version=7.4", 404, true},
		{"GET", "/keys/key/Release?api-version=7.4", 404, true},
		{"GET", "//keys/key?api-version=7.4", 404, true},
		{"GET", "/keys//key?api-version=7.4", 404, true},
		{"GET", "/keys/../keys/key?api-version=7.4", 404, true},
		{"GET", "/keys/%2e%2e/key?api-version=7.4", 404, true},
		{"GET", "/keys/key%00?api-version=7.4", 404, true},
		{"GET", "/keys/..%2f..%2fetc%2fpasswd?api-version=7.4", 404, true},
		{"GET", "/etc/passwd", 404, true},
		{"GET", "/metrics", 404, true},
		{"GET", "/healthz", 404, true},
	};
	pid_t pid = gateway(), vault = broker_process(&in, "vault", 0);
	struct link *l;
	struct reply r;
	char allow[64];
	for (unsigned i = 0; i < sizeof want / sizeof want[0]; i++) {
		double judged = metric(&in, "keybroker_requests_total"),
		       refused = refused_as("METHOD");
		GOOD(link_open(&in.at, &l));
		GOOD(link_call(l, want[i].method, want[i].path, AUTH, NULL, &r));
		judged = metric(&in, "keybroker_requests_total") - judged;
		refused = refused_as("METHOD") - refused;
		if (r.status != want[i].status || judged != want[i].is_judged ||
		    refused != !want[i].is_judged)
			GOOD(wrong("%s %s: status %d, judged %+.0f, refused %+.0f", want[i].method,
				   want[i].path, r.status, judged, refused));
		char *none = record_of(&r);
		assert_null(none);
		if (r.status == 405)
			assert_true(reply_header(&r, "Allow", allow, sizeof allow)[0] != '\0');
		reply_free(&r);
		link_close(l);
	}
	char *request = release_request(), *type = strstr(request, "application/json");
	memcpy(type, "application/xml ", 16);
	GOOD(link_open(&in.at, &l));
	GOOD(link_send(l, request, strlen(request)));
	GOOD(link_receive(l, &r));
	assert_int_equal(r.status, 415);
	char *record = record_of(&r);
	assert_true(record != NULL && strstr(record, "\"outcome\":\"released\"") == NULL);
	free(record);
	reply_free(&r);
	link_close(l);
	free(request);
	/* A process that opens a file which is not its own is killed by its sandbox: they are the
	 * same processes as before. */
	assert_int_equal(gateway(), pid);
	assert_int_equal(broker_process(&in, "vault", 0), vault);
}

/* Every line of a head, the values that differ left out. */
static void head_is(const struct reply *r, const char *want)
{
	char got[2048] = "";
	for (const char *line = strchr(r->head, '\n'); line != NULL && line[1] != '\r';
	     line = strchr(line + 1, '\n')) {
		size_t name = strcspn(line + 1, ":"), len = strcspn(line + 1, "\r");
		bool is_fixed = memmem(line + 1, name, "equest-id", 9) == NULL &&
				memmem(line + 1, name, "Content-Length", 14) == NULL &&
				memmem(line + 1, name, "WWW-Authenticate", 16) == NULL;
		snprintf(got + strlen(got), sizeof got - strlen(got), "%.*s\n",
			 (int)(is_fixed ? len : name), line + 1);
	}
	if (strcmp(got, want) != 0)
		GOOD(wrong("headers:\n%s", got));
}

static void test_b16_headers_are_exactly_these(void **state)
{
	(void)state;
#define USUAL                                                                                      \
	"Content-Type: application/json; charset=utf-8\nContent-Length\nCache-Control: "           \
	"no-store\nx-ms-request-id\n"
	struct reply r;
	struct link *l;
	GOOD(place_call(&in.at, "GET", "/keys/key?api-version=7.4", AUTH, NULL, &r));
	assert_int_equal(strncmp(r.head, "HTTP/1.1 200 OK\r\n", 17), 0);
	head_is(&r, USUAL);
	reply_free(&r);
	GOOD(place_call(&in.at, "GET", "/keys/key?api-version=7.4",
			(AUTH "x-ms-client-request-id: mine\r\nConnection: close\r\n"), NULL, &r));
	head_is(&r, (USUAL "x-ms-client-request-id\nConnection: close\n"));
	reply_free(&r);
	GOOD(place_call(&in.at, "GET", "/keys/key?api-version=7.4", "", NULL, &r));
	assert_int_equal(r.status, 401);
	head_is(&r, (USUAL "WWW-Authenticate\n"));
	reply_free(&r);
	GOOD(place_call(&in.at, "GET", "/nothing", AUTH, NULL, &r));
	assert_int_equal(r.status, 404);
	head_is(&r, USUAL);
	reply_free(&r);
	GOOD(link_open(&in.at, &l));
	GOOD(guest_ask(l, &good.ask, &r));
	assert_int_equal(r.status, 200);
	head_is(&r, USUAL);
	reply_free(&r);
	GOOD(link_send(l, "nonsense\r\n\r\n", 12));
	GOOD(link_receive(l, &r));
	assert_int_equal(r.status, 400);
	head_is(&r, (USUAL "Connection: close\n"));
	reply_free(&r);
	link_close(l);
}

/* ---- text of clients in the log ---- */

/* Every line is one JSON object of printable text, no longer than it may be; the number of
 * lines. */
static unsigned lines_are_sound(const char *text, size_t most)
{
	unsigned n = 0;
	for (const char *line = text, *end; (end = strchr(line, '\n')) != NULL;
	     line = end + 1, n++) {
		json_error_t e;
		size_t len = (size_t)(end - line);
		json_t *j = json_loadb(line, len, JSON_REJECT_DUPLICATES, &e);
		if (j == NULL || !json_is_object(j) || len > most)
			GOOD(wrong("%zu bytes, %s: %.200s", len, j == NULL ? e.text : "an object",
				   line));
		json_decref(j);
		for (size_t i = 0; i < len; i++)
			if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f)
				GOOD(wrong("a control character 0x%02x in a line: %.100s",
					   (unsigned char)line[i], line));
	}
	return n;
}

static void test_b17_ten_megabytes_of_hostile_text(void **state)
{
	(void)state;
	enum { BYTES = 10 << 20, LINE = 4096 };
	static const char evil[] = "\\n{\\\"event\\\":\\\"released\\\"}\\u001b[2J\\u001b]0;"
				   "x\\u0007\\\"\\r\\n\\u2028\\u202e";
	static const char encoded[] =
		"%0a%7b%22outcome%22:%22released%22%7d%1b[2J%22%0d%0a%e2%80%ae";
	unsigned sound = 0, asked = 0;
	size_t sent = 0;
	char *before = ledger_text(&in), *text = malloc(256 * 1024);
	size_t ledger_before = strlen(before);
	struct link *l = NULL;
	free(before);
	while (sent < BYTES) {
		struct reply r;
		size_t len;
		/* One after the other: in the path and the user agent, in the key's name, in the
		 * token's kid, in the whole token. */
		if (asked % 4 == 0) {
			len = (size_t)sprintf(text, "GET /keys/");
			while (len < 3500)
				len += (size_t)sprintf(text + len, "%s", encoded);
			len += (size_t)sprintf(
				text + len, "?api-version=7.4 HTTP/1.1\r\nHost: localhost\r\n" AUTH
					    "User-Agent: \x1b[31m\"}\t\x9b\xe2\x80\xae");
			memset(text + len, '"', 7000);
			len += 7000;
			len += (size_t)sprintf(text + len, "\r\n\r\n");
		} else {
			char header[8192], *b64, *body = malloc(200 * 1024);
			size_t n = (size_t)sprintf(header,
						   "{\"alg\":\"RS256\",\"typ\":\"JWT\",\"kid\":\"");
			for (size_t most = asked % 4 == 1 ? 200 : 3800; n < most;)
				n += (size_t)sprintf(header + n, "%s", evil);
			n += (size_t)sprintf(header + n, "\"}");
			b64 = proof_b64url_text((const uint8_t *)header, n);
			size_t m = (size_t)sprintf(body, "{\"target\":\"%s.%s", b64,
						   strchr(token, '.') + 1);
			if (asked % 4 == 3)
				for (; m < 150 * 1024;)
					m += (size_t)sprintf(body + m, "%s", evil);
			m += (size_t)sprintf(body + m, "\"}");
			len = (size_t)sprintf(
				text,
				"POST /keys/%s/release?api-version=7.4 HTTP/1.1\r\nHost: "
				"localhost\r\n" AUTH
				"Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
				asked % 4 == 2 ? "no-such-key-at-all" : "key", m, body);
			free(b64);
			free(body);
		}
		if (l == NULL)
			GOOD(link_open(&in.at, &l));
		GOOD(link_send(l, text, len));
		GOOD(link_receive(l, &r));
		/* 503: an unknown key id may be one that the issuer's keys do not hold
		 * yet. */
		if (r.status < 400 || (r.status >= 500 && r.status != 503))
			GOOD(wrong("request %u: status %d %.200s", asked, r.status, r.body));
		assert_null(strchr(r.body, '\x1b'));
		if (r.will_close) {
			link_close(l);
			l = NULL;
		}
		reply_free(&r);
		sent += len;
		asked++;
	}
	link_close(l);
	free(text);
	char *ledger = ledger_text(&in);
	sound = lines_are_sound(ledger + ledger_before, LINE);
	free(ledger);
	if (sound < asked * 3 / 4)
		GOOD(wrong("%u lines for %u requests", sound, asked));
	/* The broker's own log, all of it. */
	FILE *f = fopen(in.log, "r");
	assert_non_null(f);
	char *log = calloc(1, 4 << 20);
	assert_true(fread(log, 1, (4 << 20) - 1, f) > 0);
	fclose(f);
	(void)lines_are_sound(log, LINE);
	free(log);
}

/* ---- metrics, health, listening sockets ---- */

static bool holds_socket(pid_t pid, unsigned long inode)
{
	char path[64], want[64], to[64];
	bool found = false;
	snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
	snprintf(want, sizeof want, "socket:[%lu]", inode);
	DIR *d = opendir(path);
	for (const struct dirent *e; d != NULL && !found && (e = readdir(d)) != NULL;) {
		ssize_t n = readlinkat(dirfd(d), e->d_name, to, sizeof to - 1);
		to[n > 0 ? n : 0] = '\0';
		found = strcmp(to, want) == 0;
	}
	if (d != NULL)
		closedir(d);
	return found;
}

/* All TCP and UDP sockets of all processes: what listens is what the configuration names. */
static void test_b19_nothing_else_listens(void **state)
{
	(void)state;
	static const char *const tables[] = {"/proc/net/tcp", "/proc/net/tcp6", "/proc/net/udp",
					     "/proc/net/udp6"};
	static const char *const processes[] = {"gateway", "vault", "ledger", "fetcher"};
	unsigned seen = 0;
	for (unsigned t = 0; t < 4; t++) {
		char line[512];
		FILE *f = fopen(tables[t], "r");
		while (f != NULL && fgets(line, sizeof line, f) != NULL) {
			unsigned port, status;
			unsigned long inode;
			if (sscanf(line, " %*u: %*[0-9A-F]:%x %*s %x %*s %*s %*s %*s %*s %lu",
				   &port, &status, &inode) != 3 ||
			    (t < 2 && status != 0x0a))
				continue;
			bool is_ours = holds_socket(in.broker, inode);
			for (unsigned r = 0; r < 4; r++)
				for (unsigned nth = 0; broker_process(&in, processes[r], nth) > 0;
				     nth++)
					is_ours =
						is_ours ||
						holds_socket(broker_process(&in, processes[r], nth),
							     inode);
			if (is_ours && port != in.port && port != in.metrics_port)
				GOOD(wrong("port %u listens", port));
			seen |= !is_ours ? 0 : port == in.port ? 1 : 2;
		}
		if (f != NULL)
			fclose(f);
	}
	assert_int_equal(seen, 3); /* the test can see them at all */
}

/* What the operators' port says holds no identifier of a key's version or object, no token and no
 * secret; the clients' port says nothing of it at all. */
static void test_b19_what_metrics_say(void **state)
{
	(void)state;
	static const char *const paths[] = {"/metrics", "/healthz", "/readyz",  "/",
					    "/keys",    "/debug",   "/metrics/"};
	struct reply r;
	(void)release_ms(1);
	json_t *record = instance_json(&in, "keys.d/key.json"),
	       *version = json_array_get(json_object_get(record, "versions"), 0);
	const char *secret[] = {json_string_value(json_object_get(version, "version")),
				json_string_value(json_object_get(version, "object")), token};
	for (unsigned i = 0; i < 7; i++) {
		char *body = NULL;
		int status = metrics_get(&in, paths[i], &body);
		assert_int_equal(status, i < 3 ? 200 : 404);
		for (unsigned k = 0; k < 3; k++)
			if (body != NULL && strstr(body, secret[k]) != NULL)
				GOOD(wrong("%s tells %s", paths[i], secret[k]));
		if (body != NULL && invariants_search(body, strlen(body)) != NULL)
			GOOD(wrong("%s contains a secret", paths[i]));
		free(body);
		/* Without a credential, on the clients' port: the answer is the same
		 * for what is there and what is not. */
		GOOD(place_call(&in.at, "GET", paths[i], "", NULL, &r));
		assert_true(r.status == 404 || r.status == 401);
		assert_null(strstr(r.body, in.issuer_url));
		assert_null(strstr(r.body, "\"key\""));
		reply_free(&r);
	}
	GOOD(place_call(&in.at, "GET", "/keys/key?api-version=7.4", "", NULL, &r));
	assert_int_equal(r.status, 401);
	char *there = strdup(r.body);
	reply_free(&r);
	GOOD(place_call(&in.at, "GET", "/keys/nosuch?api-version=7.4", "", NULL, &r));
	assert_int_equal(r.status, 401);
	assert_string_equal(r.body, there);
	reply_free(&r);
	free(there);
	json_decref(record);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		attack(test_b03_two_framings),
		attack(test_b04_read_in_two_ways),
		attack(test_b05_pipelined_are_never_mixed),
		attack(test_b06_announced_too_much),
		attack(test_b07_too_many_too_long),
		attack(test_b08_every_split_point),
		attack(test_b15_wrong_method_path_or_type),
		attack(test_b16_headers_are_exactly_these),
		attack(test_b17_ten_megabytes_of_hostile_text),
		attack(test_b19_nothing_else_listens),
		attack(test_b19_what_metrics_say),
	};
	return cmocka_run_group_tests(tests, flood_setup_and_begin, flood_teardown);
}
