/* broker/supervisor/listen.c — binds the listening sockets of the configuration.  Never reads from
 * one. */
#include "supervisor/listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BACKLOG = 4096 }; /* the kernel cuts it to net.core.somaxconn */

static bool parse_port(const char *text, in_port_t *port)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	*port = htons((uint16_t)n);
	return *text >= '0' && *text <= '9' && *end == '\0' && n <= 65535;
}

static bool parse(const char *address, struct sockaddr_storage *out, socklen_t *len)
{
	struct sockaddr_in v4 = {.sin_family = AF_INET};
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
	const char *colon = strrchr(address, ':');
	char host[64];

	if (colon == NULL || (size_t)(colon - address) >= sizeof host)
		return false;
	snprintf(host, sizeof host, "%.*s", (int)(colon - address), address);
	size_t n = strlen(host);
	memset(out, 0, sizeof *out);
	if (n > 2 && host[0] == '[' && host[n - 1] == ']') {
		host[n - 1] = '\0';
		*len = sizeof v6;
		if (inet_pton(AF_INET6, host + 1, &v6.sin6_addr) != 1 ||
		    !parse_port(colon + 1, &v6.sin6_port))
			return false;
		memcpy(out, &v6, sizeof v6);
		return true;
	}
	*len = sizeof v4;
	if (inet_pton(AF_INET, host, &v4.sin_addr) != 1 || !parse_port(colon + 1, &v4.sin_port))
		return false;
	memcpy(out, &v4, sizeof v4);
	return true;
}

enum kb_err listen_open(const char *address, int *fd)
{
	struct sockaddr_storage where;
	socklen_t len;
	const int on = 1;

	*fd = -1;
	if (!parse(address, &where, &len))
		return KB_E_CONFIG;
	int s = socket(where.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (s < 0)
		return KB_E_SYS;
	if (setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
	    (where.ss_family == AF_INET6 &&
	     setsockopt(s, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on) != 0) ||
	    bind(s, (const struct sockaddr *)&where, len) != 0 || listen(s, BACKLOG) != 0) {
		int why = errno;
		close(s);
		errno = why;
		return KB_E_SYS;
	}
	*fd = s;
	return KB_OK;
}
