/* tests/e2e/issuer.c — a test issuer shaped like Azure Attestation: metadata, key set, and a token
 * for any claims that it is asked to attest.
 *
 *   test-issuer --dir TLS_DIR [--port N] [--state DIR] [--host NAME]
 *
 * TLS_DIR holds server.pem and server.key.  Prints "ready PORT"; ends on SIGTERM, or when its
 * standard input, if that is a pipe, is closed.
 * - GET /.well-known/openid-configuration, GET /certs
 * - POST /attest {"claims":{…}} → {"token":"…"}; "alg" (RS256 …, "none"), "kid", "typ", "jku"
 * (null: left out), "header":{more members}, "iss", "iat", "nbf", "exp", "jti" (any JSON value),
 *   "omit":["claim", …]
 * - POST /attest/SevSnpVm, as Azure Attestation takes it:
 *   {"report":…,"runtimeData":{"data":…,"dataType":"JSON"},"nonce"?} → {"token":"…"}; the report
 *   must be made over the runtime data, and its claims are in the token
 * - POST /admin/rotate[?drop=1]: a new signing key; the old one leaves the set
 * - POST /admin/replace: a new signing key under the same kid
 * - POST /admin/fault?mode=M[&on=certs|metadata]: a mode of issuer_answer.h
 * - POST /admin/cache?control=TEXT: the Cache-Control of what follows ("" for none)
 * - POST /admin/later: from now on /later/M is as bad as /fault/M
 * - GET /admin/count, requests so far:
 *   {"metadata":N,"certs":N,"attest":N,"flap":N,"counted":N,"connections":N}
 *
 * Key sets for tests that want many faults at once, each at a path of its own: GET /fault/M,
 * /later/M (good at first), /cache/CONTROL (with that Cache-Control), /flap (good and bad in turn),
 * /counted. Faults of TLS go by the host's name: issuer_tls.h.  One thread a connection: a slow
 * answer does not delay others. */
#include <arpa/inet.h>
#include <getopt.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "issuer_answer.h"
#include "issuer_keys.h"
#include "issuer_snp.h"
#include "issuer_tls.h"

#define METADATA "/.well-known/openid-configuration"

enum { MAX_HEAD = 16 * 1024, MAX_BODY = 512 * 1024 };

static struct {
	pthread_mutex_t lock;
	enum answer_mode certs, metadata;
	bool is_later;
	char cache_control[128];
	unsigned n_metadata, n_certs, n_attest, n_flap, n_counted, n_connections;
} state = {.lock = PTHREAD_MUTEX_INITIALIZER};
static char url[256];
static SSL_CTX *tls;

static void die(const char *what)
{
	fprintf(stderr, "test-issuer: %s\n", what);
	ERR_print_errors_fp(stderr);
	exit(1);
}

/* ---- answers ---- */

static void metadata(SSL *s)
{
	char jwks_uri[300], revoke[300], headers[200] = "";

	pthread_mutex_lock(&state.lock);
	enum answer_mode mode = state.metadata;
	state.n_metadata++;
	if (state.cache_control[0] != '\0')
		snprintf(headers, sizeof headers, "Cache-Control: %s\r\n", state.cache_control);
	pthread_mutex_unlock(&state.lock);
	if (mode != MODE_OK) {
		answer_fault(s, mode, url, METADATA, NULL);
		return;
	}
	snprintf(jwks_uri, sizeof jwks_uri, "%s/certs", url);
	snprintf(revoke, sizeof revoke, "%s/revoke", url);
	answer_json(s, 200, headers,
		    json_pack("{s:[s,s], s:[s], s:s, s:s, s:s, s:[s,s]}",
			      "response_types_supported", "token", "none",
			      "id_token_signing_alg_values_supported", "RS256",
			      "revocation_endpoint", revoke, "issuer", url, "jwks_uri", jwks_uri,
			      "claims_supported", "x-ms-ver", "x-ms-attestation-type"));
}

static void certs(SSL *s)
{
	char headers[200] = "";

	pthread_mutex_lock(&state.lock);
	enum answer_mode mode = state.certs;
	state.n_certs++;
	if (state.cache_control[0] != '\0')
		snprintf(headers, sizeof headers, "Cache-Control: %s\r\n", state.cache_control);
	json_t *set = issuer_keys_set();
	pthread_mutex_unlock(&state.lock);
	if (mode == MODE_OK)
		answer_json(s, 200, headers, set);
	else
		answer_fault(s, mode, url, "/certs", set);
}

static void answer_mode(SSL *s, const char *name, bool is_bad, const char *path)
{
	enum answer_mode mode = answer_mode_find(name);

	pthread_mutex_lock(&state.lock);
	json_t *set = issuer_keys_set();
	pthread_mutex_unlock(&state.lock);
	if (!is_bad || mode == MODE_OK || mode == MODE_COUNT)
		answer_json(s, mode == MODE_COUNT ? 404 : 200, "", set);
	else
		answer_fault(s, mode, url, path, set);
}

static void flap(SSL *s)
{
	pthread_mutex_lock(&state.lock);
	bool is_bad = ++state.n_flap % 2 == 0;
	pthread_mutex_unlock(&state.lock);
	answer_mode(s, "500", is_bad, "/flap");
}

static void counted(SSL *s)
{
	pthread_mutex_lock(&state.lock);
	state.n_counted++;
	pthread_mutex_unlock(&state.lock);
	answer_mode(s, "ok", false, "/counted");
}

static void cache(SSL *s, const char *control)
{
	char headers[200] = "";

	pthread_mutex_lock(&state.lock);
	json_t *set = issuer_keys_set();
	pthread_mutex_unlock(&state.lock);
	if (control[0] != '\0')
		snprintf(headers, sizeof headers, "Cache-Control: %.150s\r\n", control);
	answer_json(s, 200, headers, set);
}

static void attest(SSL *s, const char *body, bool is_snp)
{
	const char *why = "the body is not a JSON object";
	json_t *request = json_loads(body, 0, NULL);

	if (is_snp && request != NULL) {
		json_t *evidence = request;
		request = issuer_snp_claims(evidence, &why);
		json_decref(evidence);
	}
	pthread_mutex_lock(&state.lock);
	state.n_attest++;
	char *token = json_is_object(request) ? issuer_token(request, &why) : NULL;
	pthread_mutex_unlock(&state.lock);
	if (token != NULL)
		answer_json(s, 200, "", json_pack("{s:s}", "token", token));
	else
		answer_json(s, 400, "",
			    json_pack("{s:{s:s, s:s}}", "error", "code", "InvalidParameter",
				      "message", why));
	free(token);
	json_decref(request);
}

/* ---- administration ---- */

static bool parameter(const char *query, const char *name, char *out, size_t cap)
{
	size_t len = strlen(name);

	for (const char *p = query; p != NULL && *p != '\0';
	     p = strchr(p, '&'), p = p == NULL ? NULL : p + 1)
		if (strncmp(p, name, len) == 0 && p[len] == '=') {
			snprintf(out, cap, "%.*s", (int)strcspn(p + len + 1, "&"), p + len + 1);
			return true;
		}
	return false;
}

static void set_fault(SSL *s, const char *query)
{
	char mode[32] = "", on[32] = "";

	(void)parameter(query, "on", on, sizeof on);
	enum answer_mode m =
		parameter(query, "mode", mode, sizeof mode) ? answer_mode_find(mode) : MODE_COUNT;
	if (m == MODE_COUNT) {
		answer(s, 400, "text/plain", "", "unknown mode");
		return;
	}
	pthread_mutex_lock(&state.lock);
	if (strcmp(on, "metadata") != 0)
		state.certs = m;
	if (strcmp(on, "certs") != 0)
		state.metadata = m;
	pthread_mutex_unlock(&state.lock);
	answer(s, 200, "application/json", "", "{}");
}

static void administer(SSL *s, const char *what, const char *query)
{
	char value[128] = "";
	const char *why = NULL;

	if (strcmp(what, "fault") == 0) {
		set_fault(s, query);
		return;
	}
	if (strcmp(what, "count") == 0) {
		pthread_mutex_lock(&state.lock);
		json_t *count = json_pack("{s:i, s:i, s:i, s:i, s:i, s:i}", "metadata",
					  state.n_metadata, "certs", state.n_certs, "attest",
					  state.n_attest, "flap", state.n_flap, "counted",
					  state.n_counted, "connections", state.n_connections);
		pthread_mutex_unlock(&state.lock);
		answer_json(s, 200, "", count);
		return;
	}
	if (strcmp(what, "rotate") == 0) {
		(void)parameter(query, "drop", value, sizeof value);
		pthread_mutex_lock(&state.lock);
		why = issuer_keys_rotate(strcmp(value, "1") == 0);
		pthread_mutex_unlock(&state.lock);
	} else if (strcmp(what, "replace") == 0) {
		pthread_mutex_lock(&state.lock);
		why = issuer_keys_replace();
		pthread_mutex_unlock(&state.lock);
	} else if (strcmp(what, "cache") == 0 && parameter(query, "control", value, sizeof value)) {
		pthread_mutex_lock(&state.lock);
		memcpy(state.cache_control, value, sizeof value);
		pthread_mutex_unlock(&state.lock);
	} else if (strcmp(what, "later") == 0) {
		pthread_mutex_lock(&state.lock);
		state.is_later = true;
		pthread_mutex_unlock(&state.lock);
	} else {
		why = "no such thing";
	}
	answer(s, why == NULL ? 200 : 400, "application/json", "", why == NULL ? "{}" : why);
}

/* ---- connections ---- */

static bool is_dropped(const char *path)
{
	pthread_mutex_lock(&state.lock);
	bool drop = (strcmp(path, "/certs") == 0 && state.certs == MODE_DROP) ||
		    (strcmp(path, METADATA) == 0 && state.metadata == MODE_DROP);
	pthread_mutex_unlock(&state.lock);
	return drop;
}

static bool serve_one(SSL *s, char *head, const char *body)
{
	char method[8], target[2048];

	if (sscanf(head, "%7s %2047s HTTP/1.1", method, target) != 2)
		return false;
	char *query = strchr(target, '?');
	if (query != NULL)
		*query++ = '\0';
	else
		query = target + strlen(target);
	if (is_dropped(target) || strcmp(target, "/fault/drop") == 0)
		return false;
	pthread_mutex_lock(&state.lock);
	bool is_later = state.is_later;
	pthread_mutex_unlock(&state.lock);
	bool is_post = strcmp(method, "POST") == 0;
	if (!is_post && strcmp(target, METADATA) == 0)
		metadata(s);
	else if (!is_post && strcmp(target, "/certs") == 0)
		certs(s);
	else if (!is_post && strncmp(target, "/fault/", 7) == 0)
		answer_mode(s, target + 7, true, target);
	else if (!is_post && strncmp(target, "/later/", 7) == 0)
		answer_mode(s, target + 7, is_later, target);
	else if (!is_post && strncmp(target, "/cache/", 7) == 0)
		cache(s, target + 7);
	else if (!is_post && strcmp(target, "/flap") == 0)
		flap(s);
	else if (!is_post && strcmp(target, "/counted") == 0)
		counted(s);
	else if (is_post && strcmp(target, "/attest") == 0)
		attest(s, body, false);
	else if (is_post && strcasecmp(target, "/attest/SevSnpVm") == 0)
		attest(s, body, true);
	else if (strncmp(target, "/admin/", 7) == 0)
		administer(s, target + 7, query);
	else
		answer(s, 404, "text/plain", "", "not found");
	return true;
}

static size_t content_length(const char *head)
{
	const char *at = strcasestr(head, "\r\ncontent-length:");

	return at == NULL ? 0 : strtoul(at + 17, NULL, 10);
}

/* Keep-alive, one request at a time; good clients only. */
static void *serve(void *ctx)
{
	SSL *s = ctx;
	char *in = calloc(1, MAX_HEAD + MAX_BODY + 1);
	size_t len = 0, n;

	while (in != NULL && SSL_read_ex(s, in + len, MAX_HEAD + MAX_BODY - len, &n) == 1) {
		len += n;
		in[len] = '\0';
		for (char *end; (end = strstr(in, "\r\n\r\n")) != NULL;) {
			size_t head_len = (size_t)(end - in) + 4;
			*end = '\0';
			size_t body_len = content_length(in);
			if (body_len > MAX_BODY)
				goto out;
			if (len - head_len < body_len) {
				*end = '\r';
				break;
			}
			char *body = strndup(in + head_len, body_len);
			bool go_on = body != NULL && serve_one(s, in, body);
			free(body);
			if (!go_on)
				goto out;
			len -= head_len + body_len;
			memmove(in, in + head_len + body_len, len + 1);
		}
	}
	SSL_shutdown(s);
out:
	free(in);
	close(SSL_get_fd(s));
	SSL_free(s);
	return NULL;
}

static void *begin(void *ctx)
{
	SSL *s = ctx;

	if (SSL_accept(s) == 1)
		return serve(s);
	close(SSL_get_fd(s));
	SSL_free(s);
	return NULL;
}

static void accept_one(int listener)
{
	pthread_t thread;
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	pthread_mutex_lock(&state.lock);
	state.n_connections++;
	pthread_mutex_unlock(&state.lock);
	SSL *s = fd < 0 ? NULL : SSL_new(tls);

	if (s == NULL || SSL_set_fd(s, fd) != 1 || pthread_create(&thread, NULL, begin, s) != 0) {
		SSL_free(s);
		if (fd >= 0)
			close(fd);
		return;
	}
	pthread_detach(thread);
}

static unsigned listen_on(unsigned port, int *out)
{
	struct sockaddr_in a = {.sin_family = AF_INET,
				.sin_port = htons((uint16_t)port),
				.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof a;

	*out = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (*out < 0 || setsockopt(*out, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int)) != 0 ||
	    bind(*out, (struct sockaddr *)&a, sizeof a) != 0 || listen(*out, 1024) != 0 ||
	    getsockname(*out, (struct sockaddr *)&a, &len) != 0)
		die("cannot listen");
	return ntohs(a.sin_port);
}

static void on_term(int signal)
{
	(void)signal;
	_exit(0);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"dir", 1, NULL, 'd'},
						{"port", 1, NULL, 'p'},
						{"state", 1, NULL, 's'},
						{"host", 1, NULL, 'h'},
						{0}};
	const char *dir = ".", *keep = NULL, *host = "localhost", *why;
	unsigned port = 0;
	struct stat st;
	int listener;

	for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
		if (c == 'd')
			dir = optarg;
		else if (c == 'p')
			port = (unsigned)strtoul(optarg, NULL, 10);
		else if (c == 's')
			keep = optarg;
		else if (c == 'h')
			host = optarg;
		else
			die("usage: test-issuer --dir TLS_DIR [--port N] [--state DIR] [--host "
			    "NAME]");
	}
	signal(SIGPIPE, SIG_IGN);
	signal(SIGTERM, on_term);
	if ((tls = issuer_tls_new(dir)) == NULL)
		die("cannot use server.pem and server.key");
	port = listen_on(port, &listener);
	snprintf(url, sizeof url, "https://%s:%u", host, port);
	if ((why = issuer_keys_load(url, keep)) != NULL)
		die(why);
	printf("ready %u\n", port);
	fflush(stdout);

	bool has_leash =
		fstat(STDIN_FILENO, &st) == 0 && (S_ISFIFO(st.st_mode) || S_ISSOCK(st.st_mode));
	for (;;) {
		struct pollfd fds[2] = {{.fd = listener, .events = POLLIN},
					{.fd = has_leash ? STDIN_FILENO : -1, .events = POLLIN}};
		char ignored[256];
		if (poll(fds, 2, -1) < 0)
			continue;
		if (fds[1].revents != 0 && read(STDIN_FILENO, ignored, sizeof ignored) <= 0)
			return 0;
		if (fds[0].revents != 0)
			accept_one(listener);
	}
}
