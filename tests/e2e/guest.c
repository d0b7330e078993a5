/* tests/e2e/guest.c — the client side of a release, as a guest has it.
 * Trusts the root it was given.  Must never retry by itself: tests count calls. */
#include "tests/e2e/guest.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/param_build.h>
#include <openssl/rsa.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CALL_SECONDS = 20, INPUT_MAX = 512 * 1024 };

struct link {
	int fd;
	SSL *ssl;
	char host[64];
	unsigned port;
	char in[INPUT_MAX]; /* what came and is not yet taken */
	size_t in_len;
};

const char *place_init(struct place *p, const char *host, unsigned port, const char *ca_file)
{
	snprintf(p->host, sizeof p->host, "%s", host);
	p->port = port;
	p->from = 0;
	p->tls = SSL_CTX_new(TLS_client_method());
	if (p->tls == NULL || SSL_CTX_load_verify_file(p->tls, ca_file) != 1)
		return wrong("no certificates in %s", ca_file);
	SSL_CTX_set_verify(p->tls, SSL_VERIFY_PEER, NULL);
	SSL_CTX_set_mode(p->tls, SSL_MODE_AUTO_RETRY);
	return NULL;
}

void place_free(struct place *p)
{
	SSL_CTX_free(p->tls);
	p->tls = NULL;
}

void reply_free(struct reply *r)
{
	free(r->body);
	r->body = NULL;
}

const char *reply_header(const struct reply *r, const char *name, char *value, size_t size)
{
	size_t n = strlen(name);
	value[0] = '\0';
	for (const char *line = strstr(r->head, "\r\n");
	     line != NULL && line[2] != '\r' && line[2] != '\0'; line = strstr(line + 2, "\r\n"))
		if (strncasecmp(line + 2, name, n) == 0 && line[2 + n] == ':') {
			const char *from = line + 3 + n + strspn(line + 3 + n, " \t");
			snprintf(value, size, "%.*s", (int)strcspn(from, "\r"), from);
		}
	return value;
}

const char *reply_code(const struct reply *r, char *code, size_t size)
{
	json_t *j = r->body == NULL ? NULL : json_loadb(r->body, r->len, 0, NULL);
	const char *s = json_string_value(json_object_get(json_object_get(j, "error"), "code"));
	snprintf(code, size, "%s", s == NULL ? "" : s);
	json_decref(j);
	return code;
}

const char *link_open(const struct place *p, struct link **out)
{
	const char *why;
	struct sockaddr_in to = {.sin_family = AF_INET,
				 .sin_port = htons((uint16_t)p->port),
				 .sin_addr = {htonl(INADDR_LOOPBACK)}};
	struct sockaddr_in from = {.sin_family = AF_INET,
				   .sin_addr = {htonl(INADDR_LOOPBACK - 1 + p->from)}};
	struct timeval limit = {.tv_sec = CALL_SECONDS};
	struct link *l = calloc(1, sizeof *l);
	*out = NULL;
	if (l == NULL)
		return "no memory";
	memcpy(l->host, p->host, sizeof l->host);
	l->port = p->port;
	l->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (p->from != 0 && l->fd >= 0) {
		setsockopt(l->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &(int){1}, sizeof(int));
		if (bind(l->fd, (struct sockaddr *)&from, sizeof from) != 0) {
			why = wrong("bind to 127.0.0.%u: %s", p->from, strerror(errno));
			goto bad;
		}
	}
	if (l->fd < 0 || connect(l->fd, (struct sockaddr *)&to, sizeof to) != 0) {
		why = wrong("connect to port %u: %s", p->port, strerror(errno));
		goto bad;
	}
	setsockopt(l->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
	setsockopt(l->fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
	setsockopt(l->fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
	l->ssl = SSL_new(p->tls);
	if (l->ssl == NULL || SSL_set_fd(l->ssl, l->fd) != 1 ||
	    SSL_set1_host(l->ssl, p->host) != 1 || SSL_set_tlsext_host_name(l->ssl, p->host) != 1 ||
	    SSL_connect(l->ssl) != 1) {
		why = wrong("TLS: %s",
			    X509_verify_cert_error_string(SSL_get_verify_result(l->ssl)));
		goto bad;
	}
	*out = l;
	return NULL;
bad:
	ERR_clear_error();
	link_close(l);
	return why;
}

void link_close(struct link *l)
{
	if (l == NULL)
		return;
	if (l->ssl != NULL && SSL_is_init_finished(l->ssl))
		SSL_shutdown(l->ssl);
	SSL_free(l->ssl);
	if (l->fd >= 0)
		close(l->fd);
	ERR_clear_error();
	free(l);
}

int link_socket(const struct link *l)
{
	return l->fd;
}

bool link_has_reply(struct link *l)
{
	char c;
	int flags = fcntl(l->fd, F_GETFL);
	fcntl(l->fd, F_SETFL, flags | O_NONBLOCK);
	bool has = l->in_len > 0 ||
		   SSL_peek(l->ssl, &c, 1) ==
			   1; /* takes session tickets, which look like data to poll() */
	fcntl(l->fd, F_SETFL, flags);
	ERR_clear_error();
	return has;
}

const char *link_send(struct link *l, const void *bytes, size_t len)
{
	return SSL_write(l->ssl, bytes, (int)len) == (int)len ? NULL : "send";
}

static const char *more(struct link *l)
{
	if (l->in_len == sizeof l->in - 1)
		return "a reply larger than allowed";
	int n = SSL_read(l->ssl, l->in + l->in_len, (int)(sizeof l->in - 1 - l->in_len));
	if (n <= 0)
		return SSL_get_error(l->ssl, n) == SSL_ERROR_ZERO_RETURN
			       ? "closed"
			       : "connection lost or too slow";
	l->in_len += (size_t)n;
	l->in[l->in_len] = '\0';
	return NULL;
}

static void take(struct link *l, size_t n)
{
	memmove(l->in, l->in + n, l->in_len - n + 1);
	l->in_len -= n;
}

const char *link_receive(struct link *l, struct reply *out)
{
	const char *why, *end;
	char value[128];
	memset(out, 0, sizeof *out);
	do {
		while ((end = strstr(l->in, "\r\n\r\n")) == NULL)
			if ((why = more(l)) != NULL)
				return why;
		size_t head_len = (size_t)(end - l->in) + 4;
		if (head_len >= sizeof out->head)
			return "a head larger than allowed";
		memcpy(out->head, l->in, head_len);
		out->head[head_len] = '\0';
		take(l, head_len);
		if (sscanf(out->head, "HTTP/1.1 %3d ", &out->status) != 1)
			return "no HTTP/1.1 status line";
	} while (out->status == 100);
	out->will_close =
		strcasecmp(reply_header(out, "Connection", value, sizeof value), "close") == 0;
	if (reply_header(out, "Content-Length", value, sizeof value)[0] == '\0' &&
	    out->status != 204)
		return "no Content-Length";
	size_t len = strtoul(value, NULL, 10);
	while (l->in_len < len)
		if ((why = more(l)) != NULL)
			return why;
	if ((out->body = malloc(len + 1)) == NULL)
		return "no memory";
	memcpy(out->body, l->in, len);
	out->body[len] = '\0';
	out->len = len;
	take(l, len);
	return NULL;
}

const char *link_call(struct link *l, const char *method, const char *path, const char *headers,
		      const char *body, struct reply *out)
{
	size_t body_len = body == NULL ? 0 : strlen(body),
	       cap = strlen(method) + strlen(path) + strlen(headers) + body_len + 512;
	char *text = malloc(cap), length[96] = "";
	memset(out, 0, sizeof *out);
	if (text == NULL)
		return "no memory";
	if (body != NULL || strcmp(method, "GET") != 0)
		snprintf(length, sizeof length,
			 "Content-Type: application/json\r\nContent-Length: %zu\r\n", body_len);
	/* One write: a head and its body in two segments would wait for an acknowledgement. */
	int n = snprintf(text, cap,
			 "%s %s HTTP/1.1\r\nHost: %s:%u\r\nAccept: application/json\r\n%s%s\r\n%s",
			 method, path, l->host, l->port, headers, length, body == NULL ? "" : body);
	const char *why = link_send(l, text, (size_t)n);
	free(text);
	return why != NULL ? why : link_receive(l, out);
}

const char *place_call(const struct place *p, const char *method, const char *path,
		       const char *headers, const char *body, struct reply *out)
{
	struct link *l;
	memset(out, 0, sizeof *out);
	const char *why = link_open(p, &l);
	if (why == NULL)
		why = link_call(l, method, path, headers, body, out);
	link_close(l);
	return why;
}

EVP_PKEY *guest_key(unsigned bits)
{
	return EVP_RSA_gen(bits);
}

static bool set_number(json_t *jwk, const char *member, EVP_PKEY *key, const char *param)
{
	BIGNUM *n = NULL;
	uint8_t bytes[1024];
	char *text = NULL;
	if (EVP_PKEY_get_bn_param(key, param, &n) == 1 && BN_num_bytes(n) <= (int)sizeof bytes)
		text = proof_b64url_text(bytes, (size_t)BN_bn2bin(n, bytes));
	bool is_set = text != NULL && json_object_set_new(jwk, member, json_string(text)) == 0;
	free(text);
	BN_free(n);
	return is_set;
}

json_t *guest_jwk(EVP_PKEY *key, const char *kid)
{
	json_t *jwk =
		json_pack("{s:[s], s:s, s:s}", "key_ops", "encrypt", "kid", kid, "kty", "RSA");
	if (set_number(jwk, "n", key, OSSL_PKEY_PARAM_RSA_N) &&
	    set_number(jwk, "e", key, OSSL_PKEY_PARAM_RSA_E))
		return jwk;
	json_decref(jwk);
	return NULL;
}

const char *guest_attest(const struct place *issuer, json_t *attest, char **token)
{
	struct reply r;
	char *body = json_dumps(attest, JSON_COMPACT);
	json_decref(attest);
	*token = NULL;
	if (body == NULL)
		return "the claims are no JSON";
	const char *why = place_call(issuer, "POST", "/attest", "", body, &r);
	free(body);
	if (why == NULL && r.status != 200)
		why = wrong("the issuer answered %d: %.200s", r.status, r.body);
	if (why == NULL) {
		json_t *j = json_loadb(r.body, r.len, 0, NULL);
		const char *text = json_string_value(json_object_get(j, "token"));
		*token = text == NULL ? NULL : strdup(text);
		json_decref(j);
		why = *token == NULL ? "the issuer sent no token" : NULL;
	}
	reply_free(&r);
	return why;
}

const char *guest_ask(struct link *l, const struct ask *a, struct reply *out)
{
	char path[1024];
	memset(out, 0, sizeof *out);
	if (a->path != NULL)
		snprintf(path, sizeof path, "%s", a->path);
	else
		snprintf(path, sizeof path, "/keys/%s%s%s/release?api-version=%s", a->name,
			 a->version == NULL ? "" : "/", a->version == NULL ? "" : a->version,
			 a->api_version == NULL ? "7.4" : a->api_version);
	json_t *body = json_pack("{s:s, s:s*, s:s*}", "target", a->token, "enc", a->enc, "nonce",
				 a->nonce);
	char *text = body == NULL ? NULL : json_dumps(body, JSON_COMPACT);
	json_decref(body);
	if (text == NULL)
		return "no memory";
	const char *why = link_call(
		l, "POST", path,
		a->headers == NULL ? "Authorization: Bearer guest\r\n" : a->headers, text, out);
	free(text);
	return why;
}

const char *guest_release(struct link *l, const struct ask *a, const struct expect *want,
			  struct released *out)
{
	struct reply r;
	struct expect all = *want;
	char code[64];
	memset(out, 0, sizeof *out);
	const char *why = guest_ask(l, a, &r);
	if (why == NULL && r.status != 200)
		why = wrong("status %d %s", r.status, reply_code(&r, code, sizeof code));
	all.name = a->name;
	all.version = a->version;
	all.api_version = a->api_version == NULL ? "7.4" : a->api_version;
	all.enc = a->enc;
	all.nonce = a->nonce;
	if (why == NULL)
		why = proof_open(r.body, r.len, &all, out);
	reply_free(&r);
	return why;
}
