/* broker/base/source.h — the source address of a client, as limits count it: an IPv4 address, or
 * the /64 of an IPv6 address, because one client gets a /64.  An IPv4 client of a dual-stack socket
 * is the same source as on an IPv4 socket. */
#ifndef KB_BASE_SOURCE_H
#define KB_BASE_SOURCE_H
#include <sys/socket.h>

#include "base/bytes.h"

struct source_address {
	uint64_t key; /* the address, or the first half of an IPv6 one */
	bool is_v6;
};

/* False for families other than IP: they count as 0.0.0.0. */
bool source_address_of(const struct sockaddr *addr, struct source_address *out);
/* The same of an address as text, without port.  False when it is none. */
bool source_address_parse(struct span text, struct source_address *out);

#define SOURCE_ADDRESS_TEXT 50 /* INET6_ADDRSTRLEN and "/64" */
/* "192.0.2.7", "2001:db8:1:2::/64" */
void source_address_text(const struct source_address *a, char out[static SOURCE_ADDRESS_TEXT]);

struct source_network {
	struct source_address base;
	unsigned bits; /* that must be equal, at most 64: more of an IPv6 network are the /64's */
};
/* "192.0.2.0/24", "2001:db8::/32", or an address.  False when bits are set beyond the prefix. */
bool source_network_parse(struct span text, struct source_network *out);
bool source_network_has(const struct source_network *n, const struct source_address *a);

#endif
