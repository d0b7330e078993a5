/* tests/e2e/relay.c — a thread that takes one connection after the other, asks the broker the same,
 * and answers by its mode. Decides nothing about the product: it only sends it what a hostile
 * network could send. */
#include "tests/e2e/relay.h"

#include <arpa/inet.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

enum { REQUEST_MAX = 256 * 1024, ANSWER_MAX = 512 * 1024 };

static bool read_request(SSL *s, char *in, size_t cap)
{
	size_t len = 0, n;
	while (len < cap - 1 && SSL_read_ex(s, in + len, cap - 1 - len, &n) == 1) {
		len += n;
		in[len] = '\0';
		const char *end = strstr(in, "\r\n\r\n"),
			   *length = strcasestr(in, "\r\nContent-Length:");
		if (end != NULL && (length == NULL ||
				    len >= (size_t)(end + 4 - in) + strtoul(length + 17, NULL, 10)))
			return true;
	}
	return false;
}

static void send_text(SSL *s, const char *text, size_t len)
{
	size_t n;
	for (; len > 0 && SSL_write_ex(s, text, len, &n) == 1; len -= n)
		text += n;
}

/* The same request to the broker; RELAY_OTHER_KEY names another key. */
static const char *ask_broker(struct relay *r, enum relay_mode mode, const char *request,
			      struct reply *out)
{
	char path[256] = "", other[300];
	const char *body = strstr(request, "\r\n\r\n");
	if (sscanf(request, "POST %255s", path) != 1 || body == NULL)
		return "no POST";
	const char *name = strstr(path, "/disk/");
	if (mode == RELAY_OTHER_KEY && name != NULL)
		snprintf(other, sizeof other, "%.*s/ec/%s", (int)(name - path), path, name + 6);
	else
		snprintf(other, sizeof other, "%s", path);
	return place_call(&r->in->at, "POST", other, "", body + 4, out);
}

/* ---- a signer that is none ---- */

#define SIGNER_USAGE "1.2.840.113556.1.8000.2554.14768.25728.45761.19264.40697.5939986.10798607"

/* A certificate of the broker's CA for localhost. */
static X509 *certify(struct relay *r, EVP_PKEY *key, const char *usage)
{
	X509 *x = X509_new();
	X509V3_CTX ctx;
	static long serial = 77;
	const struct {
		int nid;
		const char *value;
	} extensions[] = {{NID_ext_key_usage, usage}, {NID_subject_alt_name, "DNS:localhost"}};

	X509_set_version(x, X509_VERSION_3);
	ASN1_INTEGER_set(X509_get_serialNumber(x), ++serial);
	X509_set_issuer_name(x, X509_get_subject_name(r->issuing));
	X509_gmtime_adj(X509_getm_notBefore(x), -3600);
	X509_gmtime_adj(X509_getm_notAfter(x), 86400);
	X509_set_pubkey(x, key);
	X509V3_set_ctx(&ctx, r->issuing, x, NULL, NULL, 0);
	for (unsigned i = 0; i < 2; i++) {
		X509_EXTENSION *e =
			X509V3_EXT_conf_nid(NULL, &ctx, extensions[i].nid, extensions[i].value);
		X509_add_ext(x, e, -1);
		X509_EXTENSION_free(e);
	}
	X509_sign(x, r->ca, EVP_sha256());
	return x;
}

static int add_certificate(char *out, const X509 *x)
{
	uint8_t *der = NULL;
	int len = i2d_X509(x, &der), n;

	n = EVP_EncodeBlock((uint8_t *)out + 1, der, len);
	out[0] = out[n + 1] = '"';
	OPENSSL_free(der);
	return n + 2;
}

/* {"value":JWS} with the broker's payload, signed by another. */
static char *sign_anew(struct relay *r, const char *body, const struct relay_signer *by)
{
	const char *payload = strchr(body, '.'),
		   *end = payload == NULL ? NULL : strchr(payload + 1, '.');
	static char header[16384];
	char *out = malloc(ANSWER_MAX), *text;
	uint8_t signature[256];
	size_t len = sizeof signature;

	if (end == NULL || out == NULL)
		return out;
	int n = snprintf(header, sizeof header, "{\"alg\":\"RS256\",\"x5c\":[");
	n += add_certificate(header + n, by->cert);
	header[n++] = ',';
	n += add_certificate(header + n, r->issuing);
	header[n++] = ',';
	n += add_certificate(header + n, r->root);
	n += snprintf(header + n, sizeof header - (size_t)n, "]}");
	text = proof_b64url_text((const uint8_t *)header, (size_t)n);
	n = snprintf(out, ANSWER_MAX, "{\"value\":\"%s%.*s", text, (int)(end - payload), payload);
	free(text);
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, by->key);
	EVP_DigestSign(ctx, signature, &len, (const uint8_t *)out + 10, (size_t)n - 10);
	EVP_MD_CTX_free(ctx);
	text = proof_b64url_text(signature, len);
	snprintf(out + n, ANSWER_MAX - (size_t)n, ".%s\"}", text);
	free(text);
	return out;
}

static void send_endless(SSL *s)
{
	static const char head[] = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
	size_t n;

	send_text(s, head, sizeof head - 1);
	while (SSL_write_ex(s, "1\r\na\r\n", 6, &n) == 1)
		;
}

static void answer(SSL *s, const struct reply *from, enum relay_mode mode, const char *old)
{
	char *text = malloc(ANSWER_MAX), id[64];
	const char *body = mode == RELAY_OLD && old != NULL ? old : from->body;
	size_t len = strlen(body);
	if (mode == RELAY_DAMAGED) {
		char *quote = strrchr(from->body, '"');
		quote[-3] = quote[-3] == 'A' ? 'B' : 'A';
	}
	int n = snprintf(text, ANSWER_MAX, "HTTP/1.1 %d Relayed\r\nx-ms-request-id: %s\r\n",
			 from->status, reply_header(from, "x-ms-request-id", id, sizeof id));
	if (mode == RELAY_TWO_LENGTHS)
		n += snprintf(text + n, ANSWER_MAX - (size_t)n, "Content-Length: 1\r\n");
	if (mode == RELAY_CHUNKED)
		n += snprintf(text + n, ANSWER_MAX - (size_t)n,
			      "Transfer-Encoding: chunked\r\n\r\n1\r\n%c\r\n%zx\r\n%s\r\n0\r\n\r\n",
			      body[0], len - 1, body + 1);
	else
		n += snprintf(text + n, ANSWER_MAX - (size_t)n, "Content-Length: %zu\r\n\r\n%s",
			      len, body);
	send_text(s, text, (size_t)n);
	free(text);
}

static void serve(struct relay *r, SSL *s, char *request)
{
	static const char busy[] =
		"HTTP/1.1 503 Busy\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n";
	static const char redirect[] =
		"HTTP/1.1 302 Found\r\nLocation: https://localhost/\r\nContent-Length: 0\r\n\r\n";
	static const char html[] = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: "
				   "15\r\n\r\n<!doctype html>";
	static const char controls[] =
		"HTTP/1.1 403 No\r\nx-ms-request-id: a\x9b"
		"2Jb\r\nContent-Length: 99\r\n\r\n"
		"{\"error\":{\"code\":\"\\u001b[2J\",\"message\":"
		"\"\\u009b2J\\u202etxet\\u2066x\\r\\nkeybroker-guest: \\u0007done\"}}";
	struct reply got = {0};
	if (!read_request(s, request, REQUEST_MAX))
		return;
	pthread_mutex_lock(&r->lock);
	enum relay_mode mode = r->mode;
	r->calls++;
	const char *body = strstr(request, "\r\n\r\n");
	r->repeats += r->last != NULL && strcmp(r->last, body) == 0;
	free(r->last);
	r->last = strdup(body);
	if (mode == RELAY_BUSY_ONCE || mode == RELAY_DROP_ONCE)
		r->mode = RELAY_PASS;
	pthread_mutex_unlock(&r->lock);
	if (mode == RELAY_BUSY_ONCE) {
		send_text(s, busy, sizeof busy - 1);
	} else if (mode == RELAY_REDIRECT) {
		send_text(s, redirect, sizeof redirect - 1);
	} else if (mode == RELAY_HTML) {
		send_text(s, html, sizeof html - 1);
	} else if (mode == RELAY_CONTROLS) {
		send_text(s, controls, sizeof controls - 1);
	} else if (mode == RELAY_ENDLESS) {
		send_endless(s);
	} else if (ask_broker(r, mode, request, &got) == NULL) {
		if (mode == RELAY_SIGN_SERVER || mode == RELAY_SIGN_PEER) {
			char *lie = sign_anew(
				r, got.body, mode == RELAY_SIGN_PEER ? &r->by_peer : &r->by_server);
			free(got.body);
			got.body = lie;
		}
		if (mode != RELAY_DROP_ONCE)
			answer(s, &got, mode, r->old);
		if (mode == RELAY_PASS && got.status == 200) {
			free(r->old);
			r->old = strdup(got.body);
		}
	}
	reply_free(&got);
}

static void *run(void *ctx)
{
	struct relay *r = ctx;
	char *request = malloc(REQUEST_MAX);
	for (int fd; (fd = accept4(r->listener, NULL, NULL, SOCK_CLOEXEC)) >= 0; close(fd)) {
		SSL *s = SSL_new(r->tls);
		if (SSL_set_fd(s, fd) == 1 && SSL_accept(s) == 1) {
			serve(r, s, request);
			if (r->mode != RELAY_ENDLESS)
				SSL_shutdown(s);
		}
		SSL_free(s);
	}
	free(request);
	return NULL;
}

const char *relay_start(struct relay *r, struct instance *in)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t len = sizeof a;
	char path[160];
	memset(r, 0, sizeof *r);
	r->in = in;
	pthread_mutex_init(&r->lock, NULL);
	snprintf(path, sizeof path, "%s/tls/ca.pem", in->dir);
	r->issuing = proof_certificate(path);
	snprintf(path, sizeof path, "%s/tls/root.pem", in->dir);
	r->root = proof_certificate(path);
	snprintf(path, sizeof path, "%s/tls/ca.key", in->dir);
	FILE *f = fopen(path, "re");
	if (f == NULL || (r->ca = PEM_read_PrivateKey(f, NULL, NULL, NULL)) == NULL)
		return "no key of the CA";
	fclose(f);
	r->tls_own.key = r->by_peer.key = EVP_RSA_gen(2048);
	r->by_server.key = EVP_RSA_gen(2048);
	r->tls_own.cert = certify(r, r->tls_own.key, "serverAuth");
	r->by_server.cert = certify(r, r->by_server.key, "serverAuth,anyExtendedKeyUsage");
	r->by_peer.cert = certify(r, r->by_peer.key, "serverAuth," SIGNER_USAGE);
	r->tls = SSL_CTX_new(TLS_server_method());
	if (SSL_CTX_use_certificate(r->tls, r->tls_own.cert) != 1 ||
	    SSL_CTX_use_PrivateKey(r->tls, r->tls_own.key) != 1 ||
	    SSL_CTX_add1_chain_cert(r->tls, r->issuing) != 1)
		return "the relay has no certificate";
	r->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (bind(r->listener, (struct sockaddr *)&a, sizeof a) != 0 ||
	    listen(r->listener, 16) != 0 ||
	    getsockname(r->listener, (struct sockaddr *)&a, &len) != 0)
		return "the relay cannot listen";
	r->port = ntohs(a.sin_port);
	snprintf(r->url, sizeof r->url, "https://localhost:%u", r->port);
	return pthread_create(&r->thread, NULL, run, r) == 0 ? NULL : "no thread";
}

void relay_stop(struct relay *r)
{
	shutdown(r->listener, SHUT_RDWR); /* wakes accept() */
	pthread_join(r->thread, NULL);
	close(r->listener);
	SSL_CTX_free(r->tls);
	EVP_PKEY_free(r->ca);
	EVP_PKEY_free(r->tls_own.key);
	EVP_PKEY_free(r->by_server.key);
	X509_free(r->tls_own.cert);
	X509_free(r->by_server.cert);
	X509_free(r->by_peer.cert);
	X509_free(r->issuing);
	X509_free(r->root);
	free(r->last);
	free(r->old);
}

void relay_mode(struct relay *r, enum relay_mode mode)
{
	pthread_mutex_lock(&r->lock);
	r->mode = mode;
	r->calls = r->repeats = 0;
	pthread_mutex_unlock(&r->lock);
}

unsigned relay_calls(struct relay *r)
{
	pthread_mutex_lock(&r->lock);
	unsigned n = r->calls;
	pthread_mutex_unlock(&r->lock);
	return n;
}

unsigned relay_repeats(struct relay *r)
{
	pthread_mutex_lock(&r->lock);
	unsigned n = r->repeats;
	pthread_mutex_unlock(&r->lock);
	return n;
}
