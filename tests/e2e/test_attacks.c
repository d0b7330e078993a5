/* tests/e2e/test_attacks.c — token attacks against the whole broker: each is refused without a
 * reason, and is in the ledger with its exact code. Long: an attack a test. */
#include "tests/e2e/check.h"
#include "tests/e2e/invariants.h"

#include <arpa/inet.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static EVP_PKEY *kek;
static char *good_token; /* a container's */
static const uint8_t secret[32] = "attacks: thirty-two secret bytes";
static struct good good;

static int setup(void **state)
{
	(void)state;
	static char kid[44];
	signal(SIGPIPE, SIG_IGN);
	GOOD(instance_make(&in));
	char *policy = policy_container(in.issuer_url);
	GOOD(instance_import(&in, "secret", NULL, secret, sizeof secret, policy));
	free(policy);
	policy = policy_platform(in.issuer_url); /* has no condition on debugging */
	GOOD(instance_import(&in, "vtpm", NULL, secret, sizeof secret, policy));
	free(policy);
	kek = guest_key(2048);
	GOOD(guest_attest(&in.issuer_at, evidence_container(kek, HOST_DATA), &good_token));
	good = (struct good){.ask = {.name = "secret", .token = good_token},
			     .want = {.root = in.root,
				      .host = "localhost",
				      .base_url = in.base_url,
				      .kek = kek,
				      .kek_kid = evidence_thumbprint(kek, kid)},
			     .plain = secret,
			     .plain_len = sizeof secret};
	GOOD(broker_start(&in));
	GOOD(invariants_begin(&in, &good));
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	EVP_PKEY_free(kek);
	free(good_token);
	GOOD(instance_end(&in));
	return 0;
}

/* After every attack. */
static int holds(void **state)
{
	(void)state;
	GOOD(invariants_hold(&in));
	return 0;
}

static void deny(const char *token, const char *audit_name)
{
	struct ask a = {.name = "secret", .token = token};
	REFUSED(&a, 403, "Forbidden", audit_name);
}

static char *forge(const char *header, const char *claims, const char *sig);

/* No key of the set fits: not final until the set was fetched once more.  Fetches of one issuer are
 * 5 s apart here. */
static void deny_final(const char *token, const char *audit_name)
{
	char wait[32], code[64];
	struct reply r = {.status = 503};
	struct link *l;
	struct ask a = {.name = "secret", .token = token};
	GOOD(link_open(&in.at, &l));
	for (unsigned long long end = now_ms() + 12000; r.status == 503 && now_ms() < end;) {
		reply_free(&r);
		GOOD(guest_ask(l, &a, &r));
		assert_true(r.status == 403 ||
			    (r.status == 503 &&
			     reply_header(&r, "Retry-After", wait, sizeof wait)[0] != '\0' &&
			     atoi(wait) >= 1 && atoi(wait) <= 5));
	}
	link_close(l);
	assert_int_equal(r.status, 403);
	snprintf(code, sizeof code, "\"code\":\"%s\"", audit_name);
	char *record = record_of(&r);
	if (record == NULL || strstr(record, code) == NULL)
		GOOD(wrong("expected %s: %s", audit_name, record));
	free(record);
	reply_free(&r);
}

static void deny_kid(const char *kid)
{
	char *header = malloc(strlen(kid) + 64);
	sprintf(header, "{\"alg\":\"RS256\",\"kid\":\"%s\",\"typ\":\"JWT\"}", kid);
	char *token = forge(header, NULL, NULL);
	deny_final(token, "KID_UNKNOWN");
	free(token);
	free(header);
}

/* A token the issuer signed over changed evidence (consumed). */
static void deny_signed(json_t *attest, const char *audit_name)
{
	char *token;
	GOOD(guest_attest(&in.issuer_at, attest, &token));
	deny(token, audit_name);
	free(token);
}

static json_t *container(void)
{
	return evidence_container(kek, HOST_DATA);
}

static json_t *with(const char *claim, json_t *value)
{
	json_t *attest = container();
	evidence_set(attest, claim, value);
	return attest;
}

/* The good token with its header or claims (plain JSON text; NULL: as they are) and signature text
 * replaced. */
static char *forge(const char *header, const char *claims, const char *sig)
{
	const char *dot1 = strchr(good_token, '.'), *dot2 = strrchr(good_token, '.');
	char *h = header == NULL ? strndup(good_token, (size_t)(dot1 - good_token))
				 : proof_b64url_text((const uint8_t *)header, strlen(header));
	char *c = claims == NULL ? strndup(dot1 + 1, (size_t)(dot2 - dot1 - 1))
				 : proof_b64url_text((const uint8_t *)claims, strlen(claims));
	size_t cap = strlen(h) + strlen(c) + strlen(sig == NULL ? dot2 : sig) + 8;
	char *token = malloc(cap);
	snprintf(token, cap, "%s.%s.%s", h, c, sig == NULL ? dot2 + 1 : sig);
	free(h);
	free(c);
	return token;
}

static void deny_forged(const char *header, const char *claims, const char *sig,
			const char *audit_name)
{
	char *token = forge(header, claims, sig);
	deny(token, audit_name);
	free(token);
}

/* The good token's kid, for headers that must get past it. */
static char *header_with(const char *rest)
{
	size_t len;
	uint8_t *text = proof_b64url(good_token, strcspn(good_token, "."), &len);
	json_t *j = json_loadb((const char *)text, len, 0, NULL);
	char *header = malloc(1024);
	snprintf(header, 1024, "{\"alg\":\"RS256\",\"kid\":\"%s\",\"typ\":\"JWT\"%s}",
		 json_string_value(json_object_get(j, "kid")), rest);
	json_decref(j);
	free(text);
	return header;
}

static void test_a01_alg_none(void **state)
{
	(void)state;
	static const char *const spellings[] = {"none", "None", "nOnE", "NONE"};
	for (unsigned i = 0; i < 4; i++) {
		char header[128];
		snprintf(header, sizeof header, "{\"alg\":\"%s\",\"kid\":\"k\",\"typ\":\"JWT\"}",
			 spellings[i]);
		deny_forged(header, NULL, "", "TOKEN_ALG");
		deny_forged(header, NULL, NULL, "TOKEN_ALG");
	}
}

static void test_a02_hs256_with_the_public_key(void **state)
{
	(void)state;
	struct reply r;
	GOOD(place_call(&in.issuer_at, "GET", "/certs", "", NULL, &r));
	json_t *set = json_loadb(r.body, r.len, 0, NULL);
	const char *x5c = json_string_value(json_array_get(
		json_object_get(json_array_get(json_object_get(set, "keys"), 0), "x5c"), 0));
	char *header = header_with(""), *at = strstr(header, "RS256");
	memcpy(at, "HS256", 5);
	char *unsigned_token = forge(header, NULL, "");
	uint8_t mac[32];
	unsigned mac_len;
	HMAC(EVP_sha256(), x5c, (int)strlen(x5c), (const uint8_t *)unsigned_token,
	     strlen(unsigned_token) - 1, mac, &mac_len);
	char *sig = proof_b64url_text(mac, sizeof mac);
	deny_forged(header, NULL, sig, "TOKEN_ALG");
	free(sig);
	free(unsigned_token);
	free(header);
	json_decref(set);
	reply_free(&r);
}

static void test_a03_other_algorithm_than_configured(void **state)
{
	(void)state;
	json_t *attest = container();
	json_object_set_new(attest, "alg", json_string("PS256"));
	deny_signed(attest, "TOKEN_ALG");
}

static void test_a08_kid_unknown(void **state)
{
	(void)state;
	static const char *const kids[] = {"nosuch", "../../etc/passwd", "' OR 1=1 --"};
	for (unsigned i = 0; i < 3; i++)
		deny_kid(kids[i]);
	deny_forged("{\"alg\":\"RS256\",\"typ\":\"JWT\"}", NULL, NULL, "KID_MISSING");
	deny_forged("{\"alg\":\"RS256\",\"kid\":\"a\\u0000b\",\"typ\":\"JWT\"}", NULL, NULL,
		    "JSON_SYNTAX");
	char *header = malloc(11000);
	sprintf(header, "{\"alg\":\"RS256\",\"kid\":\"%0*d\",\"typ\":\"JWT\"}", 300, 1);
	deny_forged(header, NULL, NULL, "KID_LENGTH");
	sprintf(header, "{\"alg\":\"RS256\",\"kid\":\"%0*d\",\"typ\":\"JWT\"}", 10000, 1);
	deny_forged(header, NULL, NULL, "KID_LENGTH");
	free(header);
}

static void test_a09_header_members_that_change_meaning(void **state)
{
	(void)state;
	static const char *const rest[] = {
		",\"crit\":[\"exp\"]", ",\"b64\":false",
		",\"zip\":\"DEF\"",    ",\"cty\":\"JWT\"",
		",\"x5c\":[\"MIIB\"]", ",\"jwk\":{\"kty\":\"RSA\",\"n\":\"AQAB\",\"e\":\"AQAB\"}"};
	for (unsigned i = 0; i < sizeof rest / sizeof rest[0]; i++) {
		char *header = header_with(rest[i]);
		deny_forged(header, NULL, NULL, "TOKEN_HEADER");
		free(header);
	}
}

static void test_a11_duplicate_members(void **state)
{
	(void)state;
	char *header = header_with(",\"alg\":\"RS256\"");
	deny_forged(header, NULL, NULL, "JSON_DUPLICATE");
	free(header);
	deny_forged(NULL, "{\"iss\":\"a\",\"iss\":\"b\"}", NULL, "JSON_DUPLICATE");
	deny_forged(NULL, "{\"iss\":\"a\",\"\\u0069ss\":\"b\"}", NULL, "JSON_DUPLICATE");
}

static void test_a12_deep_nesting(void **state)
{
	(void)state;
	char *deep = malloc(100001);
	memset(deep, '[', 100000);
	deep[100000] = '\0';
	unsigned long long from = now_ms();
	deny_forged(NULL, deep, NULL, "JSON_DEPTH");
	assert_true(now_ms() - from < 1000);
	free(deep);
}

static void test_a13_bad_json(void **state)
{
	(void)state;
	static const char *const claims[] = {
		"{\"iss\":NaN}",       "{} {}", "/**/{}", "\xef\xbb\xbf{}", "{\"a\":\"\xc0\xaf\"}",
		"{\"a\":\"\\ud800\"}", "{"};
	for (unsigned i = 0; i < sizeof claims / sizeof claims[0]; i++)
		deny_forged(NULL, claims[i], NULL, "JSON_SYNTAX");
}

static void test_a14_times_of_a_wrong_type(void **state)
{
	(void)state;
	deny_signed(with("exp", json_string("1900000000")), "CLAIM_TYPE");
	deny_signed(with("iat", json_real(1e10)), "NOT_YET"); /* a number, in the year 2286 */
	deny_signed(with("iat", json_real(-1e10)), "CLAIM_TYPE");
	deny_signed(with("exp", json_true()), "CLAIM_TYPE");
}

static void test_a15_expired(void **state)
{
	(void)state;
	long long now = (long long)time(NULL);
	json_t *attest = with("exp", json_integer(now - 62));
	evidence_set(attest, "iat", json_integer(now - 3600));
	evidence_set(attest, "nbf", json_integer(now - 3600));
	deny_signed(attest, "EXPIRED");
	attest = container();
	json_object_set_new(attest, "omit", json_pack("[s]", "exp"));
	deny_signed(attest, "CLAIM_MISSING");
}

static void test_a16_not_yet_and_too_old(void **state)
{
	(void)state;
	long long now = (long long)time(NULL);
	deny_signed(with("nbf", json_integer(now + 120)), "NOT_YET");
	json_t *attest = with("iat", json_integer(now - 9 * 3600));
	evidence_set(attest, "nbf", json_integer(now - 9 * 3600));
	evidence_set(attest, "exp", json_integer(now + 3600));
	deny_signed(attest, "TOO_OLD");
}

static void test_a20_issuer_is_compared_byte_for_byte(void **state)
{
	(void)state;
	static const char *const forms[] = {"%s/", "%s.evil.example", "%s@evil.example", "x%s"};
	for (unsigned i = 0; i < 4; i++) {
		char iss[160];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
		snprintf(iss, sizeof iss, forms[i], in.issuer_url);
#pragma GCC diagnostic pop
		deny_signed(with("iss", json_string(iss)), "ISSUER");
	}
}

static void test_a25_private_ephemeral_key(void **state)
{
	(void)state;
	char kid[44];
	json_t *jwk = guest_jwk(kek, evidence_thumbprint(kek, kid));
	json_object_set_new(jwk, "d", json_string("AQAB"));
	deny_signed(with("x-ms-runtime", json_pack("{s:[o]}", "keys", jwk)), "KEY_PRIVATE");
}

static void test_a27_no_key_bound_in_the_evidence(void **state)
{
	(void)state;
	json_t *jwk = guest_jwk(kek, "k");
	json_object_set_new(jwk, "key_ops", json_pack("[s]", "sign"));
	deny_signed(with("x-ms-runtime", json_pack("{s:[o]}", "keys", jwk)), "KEY_BINDING");
	deny_signed(with("x-ms-runtime", json_pack("{s:[]}", "keys")), "KEY_BINDING");
	json_t *attest = container();
	json_object_del(json_object_get(attest, "claims"), "x-ms-runtime");
	deny_signed(attest, "KEY_BINDING");
}

static void test_a28_not_canonical(void **state)
{
	(void)state;
	size_t len = strlen(good_token);
	char *token = malloc(len + 8);
	static const char *const tails[] = {"=", "==", "\n", " ", ".", ".a.b", "+"};
	for (unsigned i = 0; i < sizeof tails / sizeof tails[0]; i++) {
		snprintf(token, len + 8, "%s%s", good_token, tails[i]);
		deny(token, "TOKEN_FORMAT");
	}
	free(token);
	deny("a.b", "TOKEN_FORMAT");
	deny("..", "TOKEN_FORMAT");
}

static void test_a29_sizes(void **state)
{
	(void)state;
	enum { LIMIT = 192 * 1024 };
	static const char too_big[] =
		"keybroker_refused_before_request_total{code=\"HTTP_BODY_SIZE\"}";
	char *pad = malloc(LIMIT + 64);
	memset(pad, 'a', LIMIT + 1);
	pad[LIMIT + 1] = '\0';
	deny(pad, "TOKEN_SIZE");
	/* Real tokens reach 170 KiB. */
	pad[120 * 1024] = '\0';
	char *token, kid[44];
	struct released got;
	struct link *l;
	GOOD(guest_attest(&in.issuer_at, with("padding", json_string(pad)), &token));
	assert_true(strlen(token) > 160 * 1024 && strlen(token) < LIMIT);
	struct ask a = {.name = "secret", .token = token};
	struct expect want = {.root = in.root,
			      .host = "localhost",
			      .kek = kek,
			      .kek_kid = evidence_thumbprint(kek, kid)};
	GOOD(link_open(&in.at, &l));
	GOOD(guest_release(l, &a, &want, &got));
	released_free(&got);
	link_close(l);
	free(token);
	free(pad);
	/* A body of ten megabytes is refused by its announced length, not read, and counted. */
	static const char huge[] =
		"POST /keys/secret/release?api-version=7.4 HTTP/1.1\r\nHost: x\r\nAuthorization: "
		"Bearer x\r\n"
		"Content-Type: application/json\r\nContent-Length: 10485760\r\n\r\n{\"target\":\"";
	struct reply r;
	unsigned lines = ledger_count(&in, "\"seq\":");
	double before = metric(&in, too_big);
	GOOD(link_open(&in.at, &l));
	GOOD(link_send(l, huge, sizeof huge - 1));
	GOOD(link_receive(l, &r));
	assert_int_equal(r.status, 413);
	reply_free(&r);
	link_close(l);
	assert_int_equal(ledger_count(&in, "\"seq\":"), lines);
	assert_true(metric(&in, too_big) > (before < 0 ? 0 : before));
}

static void test_a31_other_kinds_of_token(void **state)
{
	(void)state;
	char *header = header_with(",\"x\":1"), *at = strstr(header, "\"JWT\"");
	memcpy(at, "\"JWE\"", 5);
	deny_forged(header, NULL, NULL, "TOKEN_TYPE");
	free(header);
	deny("{\"payload\":\"\",\"signatures\":[]}", "TOKEN_TYPE");
	/* An id_token of the same issuer attests nothing. */
	json_t *attest = json_pack("{s:{s:s,s:s}}", "claims", "sub", "someone", "email", "a@b");
	deny_signed(attest, "TOKEN_TYPE");
}

static void test_a32_damaged_signature(void **state)
{
	(void)state;
	size_t len = strlen(good_token);
	char *token = strdup(good_token);
	for (size_t i = len - 300; i < len - 2; i += 37) {
		token[i] = token[i] == 'A' ? 'B' : 'A';
		deny_final(token, "TOKEN_SIGNATURE");
		token[i] = good_token[i];
	}
	free(token);
}

static void test_a38_debug_evidence(void **state)
{
	(void)state;
	json_t *attest = evidence_platform(kek);
	evidence_set(attest, "x-ms-sevsnpvm-is-debuggable", json_true());
	char *token;
	GOOD(guest_attest(&in.issuer_at, attest, &token));
	struct ask a = {.name = "vtpm", .token = token};
	REFUSED(&a, 403, "Forbidden", "DEBUG_EVIDENCE");
	free(token);
	deny_signed(with("x-ms-sevsnpvm-is-debuggable", json_true()), "POLICY");
}

static void test_a37_key_names(void **state)
{
	(void)state;
	static const struct {
		const char *path;
		int status;
		const char *code, *record;
	} calls[] = {
		{"/keys/nosuch/release?api-version=7.4", 404, "KeyNotFound", "KEY_NOT_FOUND"},
		{"/keys/secre/release?api-version=7.4", 404, "KeyNotFound", "KEY_NOT_FOUND"},
		{"/keys/secrett/release?api-version=7.4", 404, "KeyNotFound", "KEY_NOT_FOUND"},
		{"/keys/secret/00000000000000000000000000000000/release?api-version=7.4", 404,
		 "KeyNotFound", "KEY_NOT_FOUND"},
		{"/keys/secret%00/release?api-version=7.4", 404, "NotFound", NULL},
		{"/keys/../keys/secret/release?api-version=7.4", 404, "NotFound", NULL},
		{"/keys//secret/release?api-version=7.4", 404, "NotFound", NULL},
		{"/KEYS/secret/RELEASE?api-version=7.4", 404, "NotFound", NULL},
	};
	for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) {
		struct ask a = {.path = calls[i].path, .token = good_token};
		REFUSED(&a, calls[i].status, calls[i].code, calls[i].record);
	}
	/* Key Vault's names are the same in any case, and an escape is the character that it
	 * means. */
	static const char *const same[] = {"SecRet", "SECRET", "se%63ret"};
	for (size_t i = 0; i < 3; i++) {
		struct ask a = {.name = same[i], .token = good_token};
		struct reply r;
		struct link *l;
		GOOD(link_open(&in.at, &l));
		GOOD(guest_ask(l, &a, &r));
		link_close(l);
		assert_int_equal(r.status, 200);
		char *record = record_of(&r);
		assert_true(record != NULL && strstr(record, "\"key\":\"secret\"") != NULL);
		free(record);
		reply_free(&r);
	}
}

static void test_refused_policy_names_the_condition_in_the_ledger(void **state)
{
	(void)state;
	char *token;
	struct reply r;
	struct link *l;
	GOOD(guest_attest(&in.issuer_at, with("x-ms-sevsnpvm-vmpl", json_integer(1)), &token));
	struct ask a = {.name = "secret", .token = token};
	GOOD(link_open(&in.at, &l));
	GOOD(guest_ask(l, &a, &r));
	link_close(l);
	assert_int_equal(r.status, 403);
	assert_null(strstr(r.body, "vmpl"));
	char *record = record_of(&r);
	assert_non_null(record);
	json_t *j = json_loads(record, JSON_REJECT_DUPLICATES, NULL),
	       *failing = json_object_get(j, "failing");
	assert_int_equal(json_array_size(failing), 1);
	assert_string_equal(json_string_value(json_object_get(json_array_get(failing, 0), "claim")),
			    "x-ms-sevsnpvm-vmpl");
	json_decref(j);
	free(record);
	reply_free(&r);
	free(token);
}

/* ---- what a token names is not looked for: no file, no connection ---- */

static int listen_here(unsigned *port)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t len = sizeof a;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	assert_true(bind(fd, (struct sockaddr *)&a, sizeof a) == 0 && listen(fd, 8) == 0 &&
		    getsockname(fd, (struct sockaddr *)&a, &len) == 0);
	*port = ntohs(a.sin_port);
	return fd;
}

static pid_t trace_start(const char *file)
{
	char pids[64];
	pid_t vault[2] = {broker_process(&in, "--process vault", 0),
			  broker_process(&in, "--process vault", 1)};
	snprintf(pids, sizeof pids, "%d,%d", vault[0], vault[1]);
	pid_t pid = fork();
	if (pid != 0)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	execl("/usr/bin/strace", "strace", "-q", "-f", "-p", pids, "-o", file, "-e",
	      "trace=%network,%file,recvfrom", (char *)NULL);
	_exit(127);
}

/* The vaults under strace, while tokens name files and servers: all that they open is the token's
 * and the issuers' own, and they connect to nothing. */
static void test_a08_a09_nothing_is_looked_for(void **state)
{
	(void)state;
	static const char *const members[] = {"jku", "x5u"};
	char file[160], line[4096], url[96];
	unsigned port, n_lines = 0;
	struct stat st;
	int fd = listen_here(&port);
	if (geteuid() != 0 || access("/usr/bin/strace", X_OK) != 0)
		skip(); /* the processes are undumpable: only root may trace them */
	snprintf(file, sizeof file, "%s/strace", in.dir);
	pid_t tracer = trace_start(file);
	for (unsigned long long end = now_ms() + 10000;
	     (stat(file, &st) != 0 || st.st_size == 0) && now_ms() < end;)
		deny("a.b", "TOKEN_FORMAT"); /* until it sees them at work */
	assert_true(st.st_size > 0);
	for (unsigned i = 0; i < 2; i++) {
		snprintf(url, sizeof url, "https://127.0.0.1:%u/passwd", port);
		json_t *attest = container();
		if (i == 0)
			json_object_set_new(attest, members[i], json_string(url));
		else
			json_object_set_new(attest, "header", json_pack("{s:s}", members[i], url));
		char *token;
		struct reply r;
		struct link *l;
		GOOD(guest_attest(&in.issuer_at, attest, &token));
		struct ask a = {.name = "secret", .token = token};
		GOOD(link_open(&in.at, &l));
		GOOD(guest_ask(
			l, &a,
			&r)); /* genuine, and what it says of where its key is does not matter */
		link_close(l);
		assert_int_equal(r.status, 200);
		reply_free(&r);
		free(token);
	}
	deny_kid("../../etc/passwd");
	deny_kid("/etc/passwd");
	kill(tracer, SIGTERM);
	waitpid(tracer, NULL, 0);
	assert_int_equal(accept(fd, NULL, NULL), -1);
	close(fd);
	FILE *f = fopen(file, "r");
	assert_non_null(f);
	while (fgets(line, sizeof line, f) != NULL) {
		n_lines++;
		bool is_own = strstr(line, "/state/issuers/") != NULL ||
			      strstr(line, "/state\"") != NULL || strstr(line, "/hsm/") != NULL ||
			      strchr(line, '"') == NULL || strstr(line, "\"\"") != NULL;
		bool is_call = strstr(line, "open") != NULL || strstr(line, "stat") != NULL ||
			       strstr(line, "access") != NULL || strstr(line, "link") != NULL;
		if (strstr(line, "passwd") != NULL || strstr(line, "connect(") != NULL ||
		    strstr(line, "socket(") != NULL || strstr(line, "AF_INET") != NULL ||
		    strstr(line, "bind(") != NULL ||
		    (is_call && !is_own && strstr(line, "recv") == NULL &&
		     strstr(line, "send") == NULL))
			GOOD(wrong("a vault: %.300s", line));
	}
	fclose(f);
	assert_true(n_lines > 10);
}

/* ---- single use and nonces: the issuer's configuration changes, so these come last ---- */

static void change_issuer(const char *member, json_t *value)
{
	json_t *issuer = instance_json(&in, "issuers.d/issuer.json");
	char *out = NULL;
	json_object_set_new(issuer, member, value);
	GOOD(instance_json_write(&in, "issuers.d/issuer.json", issuer));
	if (CTL(&in, &out, "reload") != 0)
		GOOD(wrong("reload: %.300s", out));
	free(out);
}

static void test_a17_single_use(void **state)
{
	(void)state;
	enum { AT_ONCE = 40 };
	static struct link *links[AT_ONCE];
	struct reply r;
	unsigned released = 0, refused = 0;
	char *token, path[] = "/keys/secret/release?api-version=7.4", *request, code[64];
	change_issuer("single_use", json_true());
	GOOD(guest_attest(&in.issuer_at, container(), &token));
	size_t cap = strlen(token) + 512;
	request = malloc(cap);
	int n = snprintf(request, cap,
			 "POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer x\r\nContent-Type: "
			 "application/json\r\nContent-Length: %zu\r\n\r\n"
			 "{\"target\":\"%s\"}",
			 path, strlen(token) + 13, token);
	for (unsigned i = 0; i < AT_ONCE; i++)
		GOOD(link_open(&in.at, &links[i]));
	for (unsigned i = 0; i < AT_ONCE; i++)
		GOOD(link_send(links[i], request, (size_t)n));
	for (unsigned i = 0; i < AT_ONCE; i++) {
		GOOD(link_receive(links[i], &r));
		released += r.status == 200;
		refused += r.status == 403 &&
			   strcmp(reply_code(&r, code, sizeof code), "Forbidden") == 0;
		reply_free(&r);
		link_close(links[i]);
	}
	assert_int_equal(released, 1);
	assert_int_equal(refused, AT_ONCE - 1);
	deny(token, "REPLAY");
	broker_stop(&in, SIGKILL, 5000); /* and across a crash */
	GOOD(broker_start(&in));
	deny(token, "REPLAY");
	free(request);
	free(token);
	change_issuer("single_use", json_false());
}

static void test_a18_nonce_of_the_call(void **state)
{
	(void)state;
	char *token;
	change_issuer("nonce", json_string("request"));
	GOOD(guest_attest(&in.issuer_at, with("nonce", json_string("abc")), &token));
	struct ask a = {.name = "secret", .token = token};
	REFUSED(&a, 403, "Forbidden", "NONCE");
	a.nonce = "abd";
	REFUSED(&a, 403, "Forbidden", "NONCE");
	a.nonce = "abc";
	struct reply r;
	struct link *l;
	GOOD(link_open(&in.at, &l));
	GOOD(guest_ask(l, &a, &r));
	link_close(l);
	assert_int_equal(r.status, 200);
	reply_free(&r);
	free(token);
	change_issuer("nonce", json_string("ignored"));
}

static void test_a18_nonce_of_the_broker(void **state)
{
	(void)state;
	struct reply r;
	char *token;
	change_issuer("nonce", json_string("broker"));
	GOOD(place_call(&in.at, "POST", "/keys/vtpm/nonce?api-version=7.4",
			"Authorization: Bearer x\r\n", "{}", &r));
	assert_int_equal(r.status, 200);
	json_t *j = json_loadb(r.body, r.len, 0, NULL);
	const char *nonce = json_string_value(json_object_get(j, "value"));
	assert_non_null(nonce);
	GOOD(guest_attest(&in.issuer_at, with("nonce", json_string(nonce)), &token));
	struct ask other_key = {.name = "secret", .token = token, .nonce = nonce};
	REFUSED(&other_key, 403, "Forbidden", "NONCE");
	free(token);
	GOOD(guest_attest(&in.issuer_at, with("nonce", json_string("made-up")), &token));
	struct ask made_up = {.name = "secret", .token = token, .nonce = "made-up"};
	REFUSED(&made_up, 403, "Forbidden", "NONCE");
	free(token);
	json_decref(j);
	reply_free(&r);
	change_issuer("nonce", json_string("ignored"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_a01_alg_none, holds),
		cmocka_unit_test_teardown(test_a02_hs256_with_the_public_key, holds),
		cmocka_unit_test_teardown(test_a03_other_algorithm_than_configured, holds),
		cmocka_unit_test_teardown(test_a08_kid_unknown, holds),
		cmocka_unit_test_teardown(test_a09_header_members_that_change_meaning, holds),
		cmocka_unit_test_teardown(test_a11_duplicate_members, holds),
		cmocka_unit_test_teardown(test_a12_deep_nesting, holds),
		cmocka_unit_test_teardown(test_a13_bad_json, holds),
		cmocka_unit_test_teardown(test_a14_times_of_a_wrong_type, holds),
		cmocka_unit_test_teardown(test_a15_expired, holds),
		cmocka_unit_test_teardown(test_a16_not_yet_and_too_old, holds),
		cmocka_unit_test_teardown(test_a20_issuer_is_compared_byte_for_byte, holds),
		cmocka_unit_test_teardown(test_a25_private_ephemeral_key, holds),
		cmocka_unit_test_teardown(test_a27_no_key_bound_in_the_evidence, holds),
		cmocka_unit_test_teardown(test_a28_not_canonical, holds),
		cmocka_unit_test_teardown(test_a29_sizes, holds),
		cmocka_unit_test_teardown(test_a31_other_kinds_of_token, holds),
		cmocka_unit_test_teardown(test_a32_damaged_signature, holds),
		cmocka_unit_test_teardown(test_a37_key_names, holds),
		cmocka_unit_test_teardown(test_a38_debug_evidence, holds),
		cmocka_unit_test_teardown(test_refused_policy_names_the_condition_in_the_ledger,
					  holds),
		cmocka_unit_test_teardown(test_a08_a09_nothing_is_looked_for, holds),
		cmocka_unit_test_teardown(test_a17_single_use, holds),
		cmocka_unit_test_teardown(test_a18_nonce_of_the_call, holds),
		cmocka_unit_test_teardown(test_a18_nonce_of_the_broker, holds),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
