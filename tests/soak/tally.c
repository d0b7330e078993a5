/* tests/soak/tally.c — small things that all processes of the soak share: random numbers, clocks,
 * histograms, the first few sentences of what went wrong. */
#include <stdio.h>
#include <time.h>

#include "tests/soak/soak.h"

unsigned long long dice_roll(struct dice *d, unsigned long long sides)
{
	uint64_t z = d->state += UINT64_C(0x9e3779b97f4a7c15);
	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return (z ^ z >> 31) % sides;
}

unsigned long long now_us(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (unsigned long long)t.tv_sec * 1000000 + (unsigned long long)t.tv_nsec / 1000;
}

void tally_why(struct tally *t, const char *what, const char *why)
{
	unsigned at = t->n_why++;
	if (at < WHYS)
		snprintf(t->why[at], WHY_BYTES, "%s: %.150s", what, why);
}

/* 0 … 7 µs one by one, then eight to a doubling. */
static unsigned bucket_of(unsigned long long us)
{
	if (us < 8)
		return (unsigned)us;
	unsigned top = 63 - (unsigned)__builtin_clzll(us),
		 at = (top - 2) * 8 + (unsigned)(us >> (top - 3) & 7);
	return at < BUCKETS ? at : BUCKETS - 1;
}

static double bucket_end_us(unsigned at)
{
	if (at < 8)
		return at + 1;
	unsigned top = at / 8 + 2;
	return (double)(8 + at % 8 + 1) * (double)(1ull << (top - 3));
}

void histogram_add(struct histogram *h, unsigned long long us)
{
	h->count[bucket_of(us)]++;
}

double histogram_ms(const struct histogram *const h[], unsigned n, double share)
{
	unsigned long long all = 0, so_far = 0;
	for (unsigned b = 0; b < BUCKETS; b++)
		for (unsigned i = 0; i < n; i++)
			all += h[i]->count[b];
	for (unsigned b = 0; b < BUCKETS && all > 0; b++) {
		for (unsigned i = 0; i < n; i++)
			so_far += h[i]->count[b];
		if ((double)so_far >= share * (double)all)
			return bucket_end_us(b) / 1e3;
	}
	return 0;
}
