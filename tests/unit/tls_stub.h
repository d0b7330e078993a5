/* tests/unit/tls_stub.h — a small TLS server in child processes, with a certificate of a throw-away
 * CA, for the tests of what fetches. */
#ifndef KB_TESTS_TLS_STUB_H
#define KB_TESTS_TLS_STUB_H
#include <arpa/inet.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/x509.h"

struct stub_shared { /* seen by test and server */
	_Atomic int mode;
	_Atomic unsigned requests;
};
struct stub {
	pid_t pid;
	unsigned port;
	char url[64]; /* https://127.0.0.1:PORT */
	struct buf ca_pem;
	struct stub_shared *shared;
};
/* Writes the whole answer. */
typedef void stub_answer(SSL *s, const char *path, struct stub_shared *shared, const char *url);

static inline void stub_send(SSL *s, const char *text)
{
	size_t n;

	(void)SSL_write_ex(s, text, strlen(text), &n);
}

static inline void stub_serve(SSL_CTX *ctx, int listener, stub_answer *answer,
			      struct stub_shared *shared, const char *url)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	signal(SIGCHLD, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	for (;;) {
		char in[4096] = "", path[256] = "";
		size_t n = 0;
		int fd = accept(listener, NULL, NULL);
		if (fd >= 0 && fork() == 0) {
			alarm(20);
			SSL *s = SSL_new(ctx);
			if (s != NULL && SSL_set_fd(s, fd) == 1 && SSL_accept(s) == 1 &&
			    SSL_read_ex(s, in, sizeof in - 1, &n) == 1 &&
			    sscanf(in, "GET %255s", path) == 1) {
				shared->requests++;
				answer(s, path, shared, url);
				SSL_shutdown(s);
			}
			_exit(0);
		}
		if (fd >= 0)
			close(fd);
	}
}

/* `name`: of the certificate; `days` from `now_s`.  Returns false when anything fails. */
static inline bool stub_start(struct stub *out, stub_answer *answer, const char *name,
			      unsigned days, int64_t now_s, int max_tls)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof a;
	KB_AUTO(x509_key) EVP_PKEY *ca_key = NULL;
	KB_AUTO(x509_key) EVP_PKEY *key = NULL;
	KB_AUTO(x509_cert) X509 *ca = NULL;
	KB_AUTO(x509_cert) X509 *leaf = NULL;
	struct x509_template root = {
		.kind = X509_ROOT, .common_name = "stub root", .days = 3650, .now_s = now_s};
	struct x509_template server = {.kind = X509_LEAF,
				       .common_name = "stub",
				       .names = &name,
				       .n_names = 1,
				       .days = days,
				       .now_s = now_s};

	*out = (struct stub){0};
	buf_init(&out->ca_pem, 64 * 1024);
	if (x509_p256_new(&ca_key) != KB_OK || x509_p256_new(&key) != KB_OK ||
	    x509_issue(&root, ca_key, NULL, ca_key, &ca) != KB_OK ||
	    x509_issue(&server, key, ca, ca_key, &leaf) != KB_OK)
		return false;
	x509_pem(&out->ca_pem, ca);
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	out->shared = mmap(NULL, sizeof *out->shared, PROT_READ | PROT_WRITE,
			   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (ctx == NULL || fd < 0 || out->shared == MAP_FAILED ||
	    SSL_CTX_use_certificate(ctx, leaf) != 1 || SSL_CTX_use_PrivateKey(ctx, key) != 1 ||
	    (max_tls != 0 && SSL_CTX_set_max_proto_version(ctx, max_tls) != 1) ||
	    bind(fd, (struct sockaddr *)&a, sizeof a) != 0 || listen(fd, 64) != 0 ||
	    getsockname(fd, (struct sockaddr *)&a, &len) != 0)
		return false;
	if (max_tls == TLS1_1_VERSION)
		SSL_CTX_set_security_level(ctx, 0);
	out->port = ntohs(a.sin_port);
	snprintf(out->url, sizeof out->url, "https://127.0.0.1:%u", out->port);
	out->pid = fork();
	if (out->pid == 0)
		stub_serve(ctx, fd, answer, out->shared, out->url);
	close(fd);
	SSL_CTX_free(ctx);
	return out->pid > 0;
}

static inline void stub_stop(struct stub *s)
{
	if (s->pid > 0) {
		kill(s->pid, SIGKILL);
		waitpid(s->pid, NULL, 0);
	}
	if (s->shared != NULL)
		munmap(s->shared, sizeof *s->shared);
	buf_free(&s->ca_pem);
	*s = (struct stub){0};
}

#endif
