/* broker/supervisor/listen.h — listening TCP sockets. */
#ifndef KB_SUPERVISOR_LISTEN_H
#define KB_SUPERVISOR_LISTEN_H
#include "base/bytes.h"

/* "127.0.0.1:8443", "[::1]:8443"; names are not looked up.  Non-blocking, close-on-exec,
 * SO_REUSEADDR; an IPv6 socket takes no IPv4.  KB_E_CONFIG: not an address; KB_E_SYS: it cannot be
 * bound, see errno. */
KB_MUST_CHECK enum kb_err listen_open(const char *address, int *fd);

#endif
