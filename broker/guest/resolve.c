/* broker/guest/resolve.c — resolves a name in a child process.  Trusts nothing in the answer: an
 * address only says where a TLS handshake is tried.  Must never leave the child running. */
#include "guest/resolve.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/limits.h"

/* All of it fits the pipe, so the child never waits for its reader. */
_Static_assert(KB_GUEST_ADDRESSES * sizeof(struct address) <= 4096, "a write is atomic");

static void resolver_main(const struct url *url, int out)
{
	const struct addrinfo want = {.ai_socktype = SOCK_STREAM,
				      .ai_flags =
					      AI_NUMERICSERV | (url->is_ip ? AI_NUMERICHOST : 0)};
	struct address found[KB_GUEST_ADDRESSES] = {{0}};
	struct addrinfo *list = NULL;
	size_t n = 0;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	found[0].fault = getaddrinfo(url->host, url->port, &want, &list);
	for (const struct addrinfo *a = list; a != NULL && n < KB_GUEST_ADDRESSES; a = a->ai_next) {
		if (a->ai_addrlen > sizeof found[n].to)
			continue;
		found[n].len = a->ai_addrlen;
		memcpy(&found[n++].to, a->ai_addr, a->ai_addrlen);
	}
	size_t len = (n == 0 ? 1 : n) * sizeof found[0];
	_exit(write(out, found, len) == (ssize_t)len ? 0 : 1);
}

enum kb_err resolver_start(const struct url *url, struct resolver *out)
{
	int p[2];

	*out = (struct resolver){.pid = -1, .fd = -1};
	if (pipe2(p, O_CLOEXEC | O_NONBLOCK) != 0)
		return KB_E_SYS;
	out->pid = fork();
	if (out->pid == 0)
		resolver_main(url, p[1]);
	close(p[1]);
	out->fd = p[0];
	if (out->pid > 0)
		return KB_OK;
	resolver_end(out);
	return KB_E_SYS;
}

void resolver_read(struct resolver *r, struct address *out, size_t cap, size_t *n, bool *is_end)
{
	struct address one;
	ssize_t got = 0;

	while (*n < cap && (got = read(r->fd, &one, sizeof one)) == (ssize_t)sizeof one)
		out[(*n)++] = one;
	*is_end = *n == cap || got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR);
}

void resolver_end(struct resolver *r)
{
	if (r->fd >= 0)
		close(r->fd);
	if (r->pid > 0) {
		kill(r->pid, SIGKILL); /* it may be waiting for a name server */
		while (waitpid(r->pid, NULL, 0) < 0 && errno == EINTR)
			;
	}
	*r = (struct resolver){.pid = -1, .fd = -1};
}

const char *address_text(const struct address *a, char *out, size_t cap)
{
	if (a->len == 0 || getnameinfo((const struct sockaddr *)&a->to, a->len, out, (socklen_t)cap,
				       NULL, 0, NI_NUMERICHOST) != 0)
		snprintf(out, cap, "an address");
	return out;
}
