/* broker/gateway/sources.c — decides whether a source may have one more connection or body, so that
 * one source cannot take everything.  Trusts the kernel for the address.  The table's hash is
 * seeded, so clients cannot choose addresses that collide. */
#include "gateway/sources.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>

struct sources {
	struct source **bucket;
	unsigned shift; /* 64 − log2 of the number of buckets */
	uint64_t seed;  /* odd */
	unsigned n, max, max_source;
	size_t bytes, max_bytes, max_bytes_source;
};

struct sources *sources_new(unsigned max, unsigned max_source, size_t max_bytes,
			    size_t max_bytes_source)
{
	struct sources *p = calloc(1, sizeof *p);
	unsigned bits = 6;

	if (p == NULL)
		return NULL;
	while (bits < 20 && (1u << bits) < max)
		bits++;
	p->bucket = calloc((size_t)1 << bits, sizeof(struct source *));
	if (p->bucket == NULL || RAND_bytes((unsigned char *)&p->seed, sizeof p->seed) != 1) {
		sources_free(p);
		return NULL;
	}
	p->seed |= 1;
	p->shift = 64 - bits;
	p->max = max;
	p->max_source = max_source;
	p->max_bytes = max_bytes;
	p->max_bytes_source = max_bytes_source;
	return p;
}

void sources_free(struct sources *p)
{
	if (p == NULL)
		return;
	for (size_t i = 0; p->bucket != NULL && i < (size_t)1 << (64 - p->shift); i++)
		for (struct source *e = p->bucket[i], *next; e != NULL; e = next) {
			next = e->next;
			free(e);
		}
	free(p->bucket);
	free(p);
}

/* Multiplicative hashing with a secret odd factor. */
static struct source **bucket_of(const struct sources *p, uint64_t key)
{
	return &p->bucket[((key ^ key >> 32) * p->seed) >> p->shift];
}

static struct source *find(const struct sources *p, const struct source_address *a)
{
	struct source *e = *bucket_of(p, a->key);

	while (e != NULL && (e->address.key != a->key || e->address.is_v6 != a->is_v6))
		e = e->next;
	return e;
}

enum kb_err sources_enter(struct sources *p, const struct sockaddr *addr, struct source **out)
{
	struct source_address a;

	*out = NULL;
	(void)source_address_of(addr, &a); /* other families are one source */
	struct source **bucket = bucket_of(p, a.key);
	struct source *e = find(p, &a);
	if (p->n >= p->max)
		return KB_E_CONN_LIMIT;
	if (e != NULL && e->connections >= p->max_source)
		return KB_E_CONN_LIMIT;
	if (e == NULL) {
		e = calloc(1, sizeof *e);
		if (e == NULL)
			return KB_E_NOMEM;
		e->address = a;
		e->next = *bucket;
		*bucket = e;
	}
	e->connections++;
	p->n++;
	*out = e;
	return KB_OK;
}

bool sources_may_enter(const struct sources *p, const struct sockaddr *addr,
		       const struct source **same)
{
	struct source_address a;

	(void)source_address_of(addr, &a);
	*same = find(p, &a);
	return *same == NULL || (*same)->connections < p->max_source;
}

size_t sources_bytes(const struct sources *p)
{
	return p->bytes;
}

bool sources_full(const struct sources *p)
{
	return p->n >= p->max;
}

void sources_leave(struct sources *p, struct source *source)
{
	p->n--;
	if (--source->connections > 0)
		return;
	struct source **at = bucket_of(p, source->address.key);
	while (*at != source)
		at = &(*at)->next;
	*at = source->next;
	free(source);
}

enum kb_err sources_reserve(struct sources *p, struct source *source, size_t bytes)
{
	if (bytes > p->max_bytes - p->bytes || bytes > p->max_bytes_source - source->body_bytes)
		return KB_E_QUEUE_FULL;
	p->bytes += bytes;
	source->body_bytes += bytes;
	return KB_OK;
}

void sources_release(struct sources *p, struct source *source, size_t bytes)
{
	p->bytes -= bytes;
	source->body_bytes -= bytes;
}

void sources_text(const struct sockaddr *addr, char out[static SOURCE_TEXT])
{
	const char *text = NULL;

	if (addr->sa_family == AF_INET) {
		struct sockaddr_in in;
		memcpy(&in, addr, sizeof in);
		text = inet_ntop(AF_INET, &in.sin_addr, out, SOURCE_TEXT);
	} else if (addr->sa_family == AF_INET6) {
		struct sockaddr_in6 in6;
		memcpy(&in6, addr, sizeof in6);
		bool is_mapped = IN6_IS_ADDR_V4MAPPED(&in6.sin6_addr);
		text = is_mapped ? inet_ntop(AF_INET, in6.sin6_addr.s6_addr + 12, out, SOURCE_TEXT)
				 : inet_ntop(AF_INET6, &in6.sin6_addr, out, SOURCE_TEXT);
	}
	if (text == NULL)
		snprintf(out, SOURCE_TEXT, "local");
}
