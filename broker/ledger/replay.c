/* broker/ledger/replay.c — a bounded hash table of used tokens.  Decides whether a use is the
 * first. Trusts its caller for keys and times.  Must never drop a key before its time, nor permit a
 * use that it cannot store.  Keys are SHA-256 digests; their first bytes times a secret number are
 * the hash. */
#include "ledger/replay.h"

#include <openssl/rand.h>
#include <stdlib.h>

struct replay_entry {
	uint8_t key[32];
	int64_t until_s, first_ms;
	uint32_t next; /* index + 1 in the chain of its bucket, or in the free list; 0: the end */
};

struct replay {
	struct replay_entry *entry;
	uint32_t *bucket; /* index + 1 of the first entry; 0: none */
	size_t cap, used, count, mask;
	uint64_t seed; /* odd, secret: a client with many tokens cannot fill one bucket */
	uint32_t free_list;
	int64_t now_s, swept_s, assumed_s;
};

struct replay *replay_new(size_t entries)
{
	struct replay *r = calloc(1, sizeof *r);
	size_t buckets = 1;

	if (r == NULL || entries == 0 || entries >= UINT32_MAX / 2)
		goto fail;
	while (buckets < entries)
		buckets *= 2;
	r->entry = calloc(entries, sizeof *r->entry);
	r->bucket = calloc(buckets, sizeof *r->bucket);
	if (r->entry == NULL || r->bucket == NULL ||
	    RAND_bytes((unsigned char *)&r->seed, sizeof r->seed) != 1)
		goto fail;
	r->seed |= 1;
	r->cap = entries;
	r->mask = buckets - 1;
	return r;
fail:
	replay_free(r);
	return NULL;
}

void replay_free(struct replay *r)
{
	if (r == NULL)
		return;
	free(r->entry);
	free(r->bucket);
	free(r);
}

void replay_see(struct replay *r, int64_t wall_s)
{
	r->now_s = wall_s;
}

void replay_assume(struct replay *r, int64_t until_s)
{
	if (until_s > r->assumed_s)
		r->assumed_s = until_s;
}

static uint32_t *bucket_of(struct replay *r, const uint8_t *key)
{
	uint64_t h;

	memcpy(&h, key, sizeof h);
	/* The product's top bits. */
	return &r->bucket[h * r->seed >> 1 >> (63 - __builtin_ctzll(r->mask + 1))];
}

/* The link that points at the key's entry, or at the 0 that ends its chain. */
static uint32_t *link_of(struct replay *r, const uint8_t *key)
{
	uint32_t *link = bucket_of(r, key);

	while (*link != 0 && memcmp(r->entry[*link - 1].key, key, sizeof r->entry->key) != 0)
		link = &r->entry[*link - 1].next;
	return link;
}

static void drop(struct replay *r, uint32_t *link)
{
	uint32_t at = *link;
	struct replay_entry *e = &r->entry[at - 1];

	*link = e->next;
	e->next = r->free_list;
	r->free_list = at;
	r->count--;
}

/* Free expired entries, at most once a second: a full table must not cost a sweep per request. */
static void sweep(struct replay *r)
{
	if (r->swept_s == r->now_s)
		return;
	r->swept_s = r->now_s;
	for (size_t b = 0; b <= r->mask; b++)
		for (uint32_t *link = &r->bucket[b]; *link != 0;) {
			const struct replay_entry *e = &r->entry[*link - 1];
			if (e->until_s < r->now_s) {
				replay_assume(r, e->until_s);
				drop(r, link);
				continue;
			}
			link = &r->entry[*link - 1].next;
		}
}

enum kb_err replay_use(struct replay *r, const uint8_t key[static 32], int64_t until_s,
		       int64_t first_ms)
{
	if (until_s < r->now_s)
		replay_assume(r, until_s); /* it is not stored, and the clock may go back */
	if (until_s <= r->assumed_s || *link_of(r, key) != 0)
		return KB_E_REPLAY;
	if (r->count == r->cap)
		sweep(r);
	if (r->count == r->cap)
		return KB_E_REPLAY_FULL;
	uint32_t at = r->free_list;
	if (at != 0)
		r->free_list = r->entry[at - 1].next;
	else
		at = (uint32_t)++r->used;
	struct replay_entry *e = &r->entry[at - 1];
	uint32_t *head = bucket_of(r, key);
	memcpy(e->key, key, sizeof e->key);
	e->until_s = until_s;
	e->first_ms = first_ms;
	e->next = *head;
	*head = at;
	r->count++;
	return KB_OK;
}

bool replay_is_repeat(struct replay *r, const uint8_t key[static 32], int64_t grace_s,
		      int64_t now_ms)
{
	const uint32_t at = *link_of(r, key);

	if (at == 0 || r->entry[at - 1].until_s < r->now_s)
		return false;
	const int64_t first_ms = r->entry[at - 1].first_ms;
	return first_ms != REPLAY_UNKNOWN && first_ms <= now_ms &&
	       now_ms - first_ms < grace_s * 1000;
}

void replay_forget(struct replay *r, const uint8_t key[static 32])
{
	uint32_t *link = link_of(r, key);

	if (*link != 0)
		drop(r, link);
}

size_t replay_count(const struct replay *r)
{
	return r->count;
}
