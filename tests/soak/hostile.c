/* tests/soak/hostile.c — one request in a hundred is hostile: forged and misused tokens, broken
 * HTTP, no TLS, clients that are slow on purpose. Each must get exactly its answer, in the middle
 * of everything else.  While processes die an answer may be missing; a wrong one never is right. */
#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "tests/soak/client.h"

enum { KEEP_MS = 3600000, CLOSED_MS = 20000 };
#define ZEROS_64 "0000000000000000000000000000000000000000000000000000000000000000"

/* ---- tokens ---- */

static json_t *with(json_t *attest, const char *claim, json_t *value)
{
	evidence_set(attest, claim, value);
	return attest;
}

static json_t *expired(struct client *c)
{
	long long now = (long long)time(NULL);
	json_t *attest = with(evidence_platform(c->kek), "exp", json_integer(now - 120));
	return with(with(attest, "iat", json_integer(now - 3600)), "nbf", json_integer(now - 3600));
}
static json_t *other_issuer(struct client *c)
{
	return with(evidence_platform(c->kek), "iss",
		    json_string("https://sharedweu.weu.attest.azure.net"));
}
static json_t *other_kid(struct client *c)
{
	json_t *attest = evidence_platform(c->kek);
	json_object_set_new(attest, "kid", json_string("../../etc/passwd"));
	return attest;
}
static json_t *debuggable(struct client *c)
{
	return with(evidence_platform(c->kek), "x-ms-sevsnpvm-is-debuggable", json_true());
}
static json_t *other_container(struct client *c)
{
	return evidence_container(c->kek, ZEROS_64);
}
static json_t *other_kind(struct client *c)
{
	return evidence_platform(c->kek);
}
static json_t *no_key(struct client *c)
{
	return with(evidence_platform(c->kek), "x-ms-runtime", json_pack("{s:[]}", "keys"));
}
static json_t *private_key(struct client *c)
{
	json_t *jwk = guest_jwk(c->kek, KID_PLATFORM);
	json_object_set_new(jwk, "d", json_string("AQAB"));
	return with(evidence_platform(c->kek), "x-ms-runtime", json_pack("{s:[o]}", "keys", jwk));
}
static json_t *early(struct client *c)
{
	return with(evidence_platform(c->kek), "nbf",
		    json_integer((long long)time(NULL) + 24 * 3600));
}

static char *damaged(const char *good)
{
	char *token = strdup(good);
	size_t at = strlen(token) - 100;
	token[at] = token[at] == 'A' ? 'B' : 'A';
	return token;
}

static char *put_together(const char *header, const char *claims, const char *rest)
{
	size_t cap = strlen(header) + strlen(claims) + strlen(rest) + 3;
	char *token = malloc(cap);
	snprintf(token, cap, "%s.%s.%s", header, claims, rest);
	return token;
}

static char *alg_none(const char *good)
{
	static const char text[] = "{\"alg\":\"none\",\"kid\":\"k\",\"typ\":\"JWT\"}";
	char *header = proof_b64url_text((const uint8_t *)text, sizeof text - 1);
	const char *dot = strchr(good, '.');
	char *claims = strndup(dot + 1, strcspn(dot + 1, "."));
	char *token = put_together(header, claims, "");
	free(header);
	free(claims);
	return token;
}

static char *deep(const char *good)
{
	char text[5000], *header = strndup(good, strcspn(good, ".")), *claims;
	memset(text, '[', sizeof text);
	claims = proof_b64url_text((const uint8_t *)text, sizeof text);
	char *token = put_together(header, claims, strrchr(good, '.') + 1);
	free(header);
	free(claims);
	return token;
}

static char *short_of_parts(const char *good)
{
	return strndup(good, strlen(good) / 3);
}

/* Either signed by the issuer over evidence that must be refused, or made of a good token. */
static const struct bad {
	const char *what, *key, *record; /* record: the code in the ledger */
	int status;
	json_t *(*sign)(struct client *c);
	char *(*forge)(const char *good);
} bads[] = {
	{"a damaged signature", KEY_VTPM, "TOKEN_SIGNATURE", 403, NULL, damaged},
	{"alg none", KEY_VTPM, "TOKEN_ALG", 403, NULL, alg_none},
	{"nested too deeply", KEY_VTPM, "JSON_DEPTH", 403, NULL, deep},
	{"a third of a token", KEY_VTPM, "TOKEN_FORMAT", 403, NULL, short_of_parts},
	{"an expired token", KEY_VTPM, "EXPIRED", 403, expired, NULL},
	{"a token of tomorrow", KEY_VTPM, "NOT_YET", 403, early, NULL},
	{"another issuer's name", KEY_VTPM, "ISSUER", 403, other_issuer, NULL},
	{"an unknown kid", KEY_VTPM, "KID_UNKNOWN", 403, other_kid, NULL},
	{"a debuggable VM", KEY_VTPM, "DEBUG_EVIDENCE", 403, debuggable, NULL},
	{"another container", KEY_SECRET, "POLICY", 403, other_container, NULL},
	{"a VM for a container's key", KEY_SECRET, "POLICY", 403, other_kind, NULL},
	{"no wrapping key", KEY_VTPM, "KEY_BINDING", 403, no_key, NULL},
	{"a private wrapping key", KEY_VTPM, "KEY_PRIVATE", 403, private_key, NULL},
	{"no such key", "nosuch", "KEY_NOT_FOUND", 404, other_kind, NULL},
};
_Static_assert(sizeof bads / sizeof bads[0] <= BADS, "a ticket each");

static void judge_wrong(struct client *c, const char *what, const char *why)
{
	tally_why(c->t, what, why);
	c->t->hostile_wrong++;
}

static void ask(struct client *c, const char *what, const struct ask *a, int status,
		const char *record)
{
	struct reply r = {0};
	char code[64];
	const char *why = client_connect(c, false);
	if (why == NULL)
		why = guest_ask(c->link, a, &r);
	if (why != NULL || r.will_close)
		client_disconnect(c);
	if (why != NULL || r.status == 503 || r.status == 429) {
		c->t->hostile_open++;
	} else if (r.status != status) {
		judge_wrong(c, what,
			    wrong("status %d %s, not %d", r.status,
				  reply_code(&r, code, sizeof code), status));
	} else {
		client_note(c, &r, record);
	}
	reply_free(&r);
}

static void bad_token(struct client *c)
{
	unsigned i = (unsigned)dice_roll(&c->dice, sizeof bads / sizeof bads[0]);
	const struct bad *b = &bads[i];
	struct ticket *t = &c->bad[i];
	char *fresh = NULL;
	if (t->token == NULL || now_ms() - t->made_ms > KEEP_MS) {
		if (b->sign != NULL)
			(void)client_attest(c, &c->s->in.issuer_at, b->sign(c), &fresh);
		else if (c->good[0].token != NULL)
			fresh = b->forge(c->good[0].token);
		if (fresh != NULL) {
			free(t->token);
			*t = (struct ticket){fresh, now_ms()};
		}
	}
	struct ask a = {.name = b->key, .token = t->token};
	if (t->token == NULL)
		c->t->hostile_open++;
	else
		ask(c, b->what, &a, b->status, b->record);
}

/* A token that was used stays used, whatever process ended since.  It must not have expired, or the
 * code would be EXPIRED. */
static void used_token(struct client *c)
{
	struct ask a = {.name = KEY_ONCE, .nonce = c->used_nonce, .token = c->used_token};
	if (c->used_token == NULL || now_ms() - c->used_ms > (ONCE_S - 60) * 1000ull)
		c->t->hostile_open++;
	else
		ask(c, "a used token", &a, 403, "REPLAY");
	free(c->used_token);
	free(c->used_nonce);
	c->used_token = c->used_nonce = NULL;
}

/* ---- broken HTTP ---- */

static const struct raw {
	const char *what, *text;
	int status;
} raws[] = {
	{"two Hosts", "GET /keys/disk?api-version=7.4 HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400},
	{"two lengths",
	 "POST /keys/disk/release HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent-Length: "
	 "3\r\n\r\n{}",
	 400},
	{"a chunked body",
	 "POST /keys/disk/release HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: "
	 "chunked\r\n\r\n0\r\n\r\n",
	 400},
	{"bare line feeds", "GET /keys/disk?api-version=7.4 HTTP/1.1\nHost: a\n\n", 400},
	{"a signed length",
	 "POST /keys/disk/release HTTP/1.1\r\nHost: a\r\nContent-Length: +2\r\n\r\n{}", 400},
	{"an oversized body",
	 "POST /keys/disk/release HTTP/1.1\r\nHost: a\r\nContent-Type: "
	 "application/json\r\nContent-Length: 99999999\r\n\r\n{",
	 413},
	{"no version", "GET /keys/disk\r\n\r\n", 400},
};

static void broken_http(struct client *c)
{
	unsigned i = (unsigned)dice_roll(&c->dice, sizeof raws / sizeof raws[0] + 1);
	struct reply r = {0};
	static char large[9000];
	struct raw q = {"a header of 9 KiB", large, 431};
	if (i < sizeof raws / sizeof raws[0])
		q = raws[i];
	else
		snprintf(large, sizeof large, "GET / HTTP/1.1\r\nHost: a\r\nX: %08500d\r\n\r\n", 1);
	const char *why = client_connect(c, true);
	if (why == NULL)
		why = link_send(c->link, q.text, strlen(q.text));
	if (why == NULL)
		why = link_receive(c->link, &r);
	client_disconnect(c);
	if (why != NULL)
		c->t->hostile_open++;
	else if (r.status != q.status || !r.will_close)
		judge_wrong(c, q.what,
			    wrong("status %d%s, not %d", r.status,
				  r.will_close ? "" : " and kept open", q.status));
	reply_free(&r);
}

/* ---- no TLS ---- */

static int tcp_open(const struct client *c, unsigned from)
{
	struct sockaddr_in to = {.sin_family = AF_INET,
				 .sin_port = htons((uint16_t)c->at.port),
				 .sin_addr = {htonl(INADDR_LOOPBACK)}};
	struct sockaddr_in self = {.sin_family = AF_INET,
				   .sin_addr = {htonl(INADDR_LOOPBACK - 1 + from)}};
	struct timeval limit = {.tv_sec = CLOSED_MS / 1000};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
	setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &(int){1}, sizeof(int));
	if (bind(fd, (struct sockaddr *)&self, sizeof self) == 0 &&
	    connect(fd, (struct sockaddr *)&to, sizeof to) == 0)
		return fd;
	close(fd);
	return -1;
}

static void no_tls(struct client *c)
{
	static const char plain[] = "GET /keys/disk?api-version=7.4 HTTP/1.1\r\nHost: a\r\n\r\n",
			  old[] = "\x80\x2e\x01\x03\x01\x00\x15\x00\x00\x00\x10";
	bool is_old = dice_roll(&c->dice, 2) == 0;
	char bytes[512];
	ssize_t n;
	int fd = tcp_open(c, 65);
	if (fd < 0) {
		c->t->hostile_open++;
		return;
	}
	if (send(fd, is_old ? old : plain, is_old ? sizeof old - 1 : sizeof plain - 1,
		 MSG_NOSIGNAL) < 0)
		c->t->hostile_open++;
	while ((n = recv(fd, bytes, sizeof bytes, 0)) > 0)
		if (n > 5 && memcmp(bytes, "HTTP", 4) == 0)
			judge_wrong(c, "no TLS", "answered in the clear");
	if (n < 0 && errno == EAGAIN)
		judge_wrong(c, "no TLS", "held for 20 s");
	close(fd);
}

void hostile_request(struct client *c)
{
	unsigned roll = (unsigned)dice_roll(&c->dice, 20);
	c->t->hostile++;
	if (roll < 13)
		bad_token(c);
	else if (roll < 15)
		used_token(c);
	else if (roll < 19)
		broken_http(c);
	else
		no_tls(c);
}

/* ---- slow on purpose ---- */

struct slow {
	struct link *link; /* NULL: plain TCP */
	int fd;            /* −1: free */
	bool drips;
	unsigned long long from_ms, drip_ms;
};

static void slow_open(struct client *c, struct slow *s)
{
	static const char head[] =
		"POST /keys/disk/release?api-version=7.4 HTTP/1.1\r\nHost: a\r\nX: ";
	static const char body[] =
		"POST /keys/disk/release?api-version=7.4 HTTP/1.1\r\nHost: a\r\nContent-Type: "
		"application/json\r\nContent-Length: 100\r\n\r\n{";
	unsigned kind = (unsigned)dice_roll(&c->dice, 4);
	*s = (struct slow){.fd = -1, .drips = kind >= 2, .from_ms = now_ms(), .drip_ms = now_ms()};
	c->t->hostile++;
	if (kind < 2) { /* sends nothing, or begins a handshake and stops */
		s->fd = tcp_open(c, 66);
		if (kind == 1 && s->fd >= 0)
			(void)!send(s->fd, "\x16\x03\x01\x02\x00\x01", 6, MSG_NOSIGNAL);
	} else {
		c->at.from = 66;
		if (link_open(&c->at, &s->link) == NULL) {
			s->fd = link_socket(s->link);
			(void)link_send(s->link, kind == 2 ? head : body,
					kind == 2 ? sizeof head - 1 : sizeof body - 1);
		}
	}
	if (s->fd < 0)
		c->t->hostile_open++;
}

static void slow_close(struct slow *s)
{
	if (s->link != NULL)
		link_close(s->link);
	else if (s->fd >= 0)
		close(s->fd);
	*s = (struct slow){.fd = -1};
}

static void slow_step(struct client *c, struct slow *s)
{
	char bytes[4096];
	ssize_t n;
	if (s->fd < 0)
		return;
	while ((n = recv(s->fd, bytes, sizeof bytes, MSG_DONTWAIT)) > 0)
		;
	if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
		slow_close(s);
		return;
	}
	if (now_ms() - s->from_ms > CLOSED_MS) {
		judge_wrong(c, "a slow client", wrong("was held for %d ms", CLOSED_MS));
		slow_close(s);
	} else if (s->drips && now_ms() - s->drip_ms >= 1000) {
		s->drip_ms = now_ms();
		(void)link_send(s->link, "a", 1);
	}
}

void slow_run(struct soak *soak)
{
	static struct client c;
	static struct slow slow[SLOW_HELD];
	unsigned long long next_ms = now_ms();
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	c = (struct client){.s = soak,
			    .t = &soak->all->client[CLIENTS],
			    .dice = {soak->seed * 1000 + CLIENTS},
			    .at = soak->in.at};
	for (unsigned i = 0; i < SLOW_HELD; i++)
		slow[i].fd = -1;
	for (; !soak->all->stop; sleep_ms(100)) {
		bool is_due = soak->all->is_hostile && now_ms() >= next_ms;
		for (unsigned i = 0; i < SLOW_HELD; i++) {
			slow_step(&c, &slow[i]);
			if (slow[i].fd < 0 && is_due) {
				slow_open(&c, &slow[i]);
				unsigned long long every_ms = soak->all->interval_us * 1000 /
							      (CLIENTS * SLOW_PER_MILLION);
				next_ms =
					now_ms() + every_ms / 2 + dice_roll(&c.dice, every_ms + 1);
				is_due = false;
			}
		}
	}
	for (unsigned i = 0; i < SLOW_HELD; i++)
		slow_close(&slow[i]);
	_exit(0);
}
