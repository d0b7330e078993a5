/* broker/guest/resolve.h — the addresses of a name, found by a child process that can be ended at a
 * deadline.  getaddrinfo() has none, and reads what name servers send. */
#ifndef KB_GUEST_RESOLVE_H
#define KB_GUEST_RESOLVE_H
#include <sys/socket.h>
#include <sys/types.h>

#include "base/err.h"
#include "guest/url.h"

struct address {
	socklen_t len; /* 0: none; `fault` is getaddrinfo()'s */
	int fault;
	struct sockaddr_storage to;
};

struct resolver {
	pid_t pid;
	int fd; /* readable when something is there; the caller waits for it */
};

/* KB_E_SYS: no child.  On KB_OK resolver_end() must follow. */
KB_MUST_CHECK enum kb_err resolver_start(const struct url *url, struct resolver *out);
/* What is there: at most `cap` addresses in the resolver's order, appended at *n; *is_end: no more
 * will come.  Never waits. */
void resolver_read(struct resolver *r, struct address *out, size_t cap, size_t *n, bool *is_end);
void resolver_end(struct resolver *r);
/* The address as text, without a port. */
const char *address_text(const struct address *a, char *out, size_t cap);

#endif
