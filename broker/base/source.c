/* broker/base/source.c — which source address a client belongs to.  Decides only what counts as the
 * same source.  Trusts the kernel for a socket's address, and nothing of a text. */
#include "base/source.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>

enum { V4_BITS = 32, V6_BITS = 128, KEY_BITS = 64 };

static uint64_t big_endian(const uint8_t *b, unsigned n)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < n; i++)
		v = v << 8 | b[i];
	return v;
}

static void of_v6(const struct in6_addr *in6, struct source_address *out)
{
	const uint8_t *b = in6->s6_addr;

	out->is_v6 = !IN6_IS_ADDR_V4MAPPED(in6);
	out->key = out->is_v6 ? big_endian(b, 8) : big_endian(b + 12, 4);
}

bool source_address_of(const struct sockaddr *addr, struct source_address *out)
{
	struct sockaddr_in in;
	struct sockaddr_in6 in6;

	*out = (struct source_address){0};
	if (addr->sa_family == AF_INET6) {
		memcpy(&in6, addr, sizeof in6);
		of_v6(&in6.sin6_addr, out);
		return true;
	}
	if (addr->sa_family != AF_INET)
		return false;
	memcpy(&in, addr, sizeof in);
	out->key = ntohl(in.sin_addr.s_addr);
	return true;
}

/* An address in full: 4 or 16 bytes. */
static unsigned parse(struct span text, uint8_t bytes[static 16])
{
	char name[INET6_ADDRSTRLEN];

	if (text.len == 0 || text.len >= sizeof name || memchr(text.p, '\0', text.len) != NULL)
		return 0;
	memcpy(name, text.p, text.len);
	name[text.len] = '\0';
	if (inet_pton(AF_INET, name, bytes) == 1)
		return 4;
	return inet_pton(AF_INET6, name, bytes) == 1 ? 16 : 0;
}

static bool of_bytes(const uint8_t *bytes, unsigned n, struct source_address *out)
{
	struct in6_addr in6;

	*out = (struct source_address){0};
	if (n == 16) {
		memcpy(&in6, bytes, sizeof in6);
		of_v6(&in6, out);
	} else if (n == 4) {
		out->key = big_endian(bytes, 4);
	}
	return n != 0;
}

bool source_address_parse(struct span text, struct source_address *out)
{
	uint8_t bytes[16];
	unsigned n = parse(text, bytes);

	return of_bytes(bytes, n, out);
}

void source_address_text(const struct source_address *a, char out[static SOURCE_ADDRESS_TEXT])
{
	uint8_t bytes[16] = {0};
	unsigned n = a->is_v6 ? 8 : 4;

	for (unsigned i = 0; i < n; i++)
		bytes[i] = (uint8_t)(a->key >> (8 * (n - 1 - i)));
	if (inet_ntop(a->is_v6 ? AF_INET6 : AF_INET, bytes, out, INET6_ADDRSTRLEN) == NULL)
		out[0] = '\0';
	else if (a->is_v6)
		memcpy(out + strlen(out), "/64", sizeof "/64");
}

/* 1 to 3 digits */
static bool parse_bits(struct span text, unsigned most, unsigned *out)
{
	*out = 0;
	if (text.len == 0 || text.len > 3 || (text.len > 1 && text.p[0] == '0'))
		return false;
	for (size_t i = 0; i < text.len; i++) {
		if (text.p[i] < '0' || text.p[i] > '9')
			return false;
		*out = *out * 10 + (unsigned)(text.p[i] - '0');
	}
	return *out <= most;
}

bool source_network_parse(struct span text, struct source_network *out)
{
	size_t slash = span_find(text, 0, '/');
	uint8_t bytes[16];
	unsigned n = parse(span_sub(text, 0, slash), bytes);
	unsigned bits = n == 4 ? V4_BITS : V6_BITS;

	*out = (struct source_network){0};
	if (!of_bytes(bytes, n, &out->base))
		return false;
	if (slash < text.len && !parse_bits(span_sub(text, slash + 1, text.len), bits, &bits))
		return false;
	for (unsigned i = bits; i < 8 * n; i++)
		if ((bytes[i / 8] >> (7 - i % 8) & 1) != 0)
			return false;
	/* ::ffff:192.0.2.0/120 is an IPv4 network; one with fewer bits than the mapping is none. */
	if (n == 16 && !out->base.is_v6) {
		if (bits < V6_BITS - V4_BITS)
			return false;
		bits -= V6_BITS - V4_BITS;
	}
	out->bits = bits < KEY_BITS ? bits : KEY_BITS;
	return true;
}

bool source_network_has(const struct source_network *n, const struct source_address *a)
{
	unsigned width = n->base.is_v6 ? KEY_BITS : V4_BITS;

	if (n->base.is_v6 != a->is_v6)
		return false;
	return n->bits == 0 || (n->base.key ^ a->key) >> (width - n->bits) == 0;
}
