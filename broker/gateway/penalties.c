/* broker/gateway/penalties.c — decides which source is blocked, and for how long.  Trusts its
 * caller for what failed.  Must never block longer than the configuration's longest time, nor an
 * exempt source.  A table of fixed size: each source has a few places, and when all are taken the
 * one whose time ends first is given away.  So strangers with many addresses make the broker
 * forget penalties, never refuse others. */
#include "gateway/penalties.h"

#include <openssl/rand.h>
#include <stdlib.h>

#include "config/config.h"

enum { WAYS = 8 }; /* places of one source */

struct penalty {
	uint64_t key;
	int64_t until_ms;   /* the penalty is what is left until then */
	int64_t trusted_ms; /* not blocked until then */
	bool is_v6, is_blocked;
};

struct penalties {
	struct penalty *entry;
	size_t sets;
	uint64_t seed; /* odd, secret: clients cannot choose addresses that collide */
	int64_t failure_ms, threshold_ms, longest_ms;
	const struct source_network *exempt;
	size_t n_exempt;
};

struct penalties *penalties_new(const struct penalty_config *c, size_t sources)
{
	struct penalties *p = calloc(1, sizeof *p);

	if (p == NULL)
		return NULL;
	p->failure_ms = c->is_off ? 0 : c->failure_s * 1000;
	p->threshold_ms = c->threshold_s * 1000;
	p->longest_ms = c->longest_s * 1000;
	p->exempt = c->exempt;
	p->n_exempt = c->n_exempt;
	p->sets = sources / WAYS;
	p->entry = calloc(p->sets, sizeof *p->entry * WAYS);
	if (p->sets == 0 || p->entry == NULL ||
	    RAND_bytes((unsigned char *)&p->seed, sizeof p->seed) != 1) {
		penalties_free(p);
		return NULL;
	}
	p->seed |= 1;
	return p;
}

void penalties_free(struct penalties *p)
{
	if (p == NULL)
		return;
	free(p->entry);
	free(p);
}

static bool is_exempt(const struct penalties *p, const struct source_address *a)
{
	if (p->failure_ms == 0 || (a->key == 0 && !a->is_v6)) /* no IP socket */
		return true;
	for (size_t i = 0; i < p->n_exempt; i++)
		if (source_network_has(&p->exempt[i], a))
			return true;
	return false;
}

static struct penalty *set_of(const struct penalties *p, const struct source_address *a)
{
	const uint64_t h = (a->key ^ a->key >> 32 ^ (a->is_v6 ? 1 : 0)) * p->seed >> 32;

	return &p->entry[h % p->sets * WAYS];
}

static struct penalty *find(const struct penalties *p, const struct source_address *a)
{
	struct penalty *set = set_of(p, a);

	for (unsigned i = 0; i < WAYS; i++)
		if (set[i].key == a->key && set[i].is_v6 == a->is_v6)
			return &set[i];
	return NULL;
}

static int64_t end_of(const struct penalty *e)
{
	return e->until_ms > e->trusted_ms ? e->until_ms : e->trusted_ms;
}

static struct penalty *find_or_make(struct penalties *p, const struct source_address *a)
{
	struct penalty *e = find(p, a), *set = set_of(p, a);

	if (e != NULL)
		return e;
	e = set;
	for (unsigned i = 1; i < WAYS; i++)
		if (end_of(&set[i]) < end_of(e))
			e = &set[i];
	*e = (struct penalty){.key = a->key, .is_v6 = a->is_v6};
	return e;
}

int64_t penalties_blocked_ms(const struct penalties *p, const struct source_address *a,
			     int64_t now_ms)
{
	const struct penalty *e = find(p, a);

	if (e == NULL || !e->is_blocked || e->until_ms <= now_ms || e->trusted_ms > now_ms ||
	    is_exempt(p, a))
		return 0;
	return e->until_ms - now_ms;
}

bool penalties_fail(struct penalties *p, const struct source_address *a, int64_t now_ms)
{
	if (is_exempt(p, a))
		return false;
	struct penalty *e = find_or_make(p, a);
	if (e->until_ms <= now_ms) {
		e->until_ms = now_ms;
		e->is_blocked = false;
	}
	e->until_ms += p->failure_ms;
	if (e->until_ms > now_ms + p->longest_ms)
		e->until_ms = now_ms + p->longest_ms;
	if (e->is_blocked || e->trusted_ms > now_ms || e->until_ms - now_ms < p->threshold_ms)
		return false;
	e->is_blocked = true;
	return true;
}

void penalties_release(struct penalties *p, const struct source_address *a, int64_t now_ms)
{
	if (is_exempt(p, a))
		return;
	struct penalty *e = find_or_make(p, a);
	e->until_ms = 0;
	e->is_blocked = false;
	e->trusted_ms = now_ms + KB_PENALTY_TRUST_S * INT64_C(1000);
}
