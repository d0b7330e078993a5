/* broker/ledger/configs.c — a bounded list of configuration digests, the one in force last. Decides
 * whether a configuration was in force before and came back.  Trusts the ledger's chain for the
 * list that it reads.  Must never refuse one: an operator may go back on purpose. */
#include "ledger/configs.h"

#include <stdio.h>
#include <stdlib.h>

static void drop_at(struct configs *c, size_t i)
{
	c->n--;
	memmove(&c->seen[i], &c->seen[i + 1], (c->n - i) * sizeof c->seen[0]);
}

uint64_t configs_take(struct configs *c, struct span digest, uint64_t seq)
{
	struct config_seen now = {.seq = seq};
	size_t i = 0;

	snprintf(now.digest, sizeof now.digest, "%.*s",
		 (int)(digest.len < CONFIG_DIGEST ? digest.len : CONFIG_DIGEST),
		 (const char *)digest.p);
	while (i < c->n && strcmp(c->seen[i].digest, now.digest) != 0)
		i++;
	if (i < c->n) {
		now.returned = i + 1 == c->n ? c->seen[i].returned : c->seen[i].seq;
		drop_at(c, i);
	} else if (c->n == KB_LEDGER_CONFIGS) {
		drop_at(c, 0);
	}
	c->seen[c->n++] = now;
	return now.returned;
}

/* "digest:seq:returned digest:seq:returned …" */
void configs_write(const struct configs *c, struct buf *b)
{
	for (size_t i = 0; i < c->n; i++)
		buf_addf(b, "%s%s:%llu:%llu", i == 0 ? "" : " ", c->seen[i].digest,
			 (unsigned long long)c->seen[i].seq,
			 (unsigned long long)c->seen[i].returned);
}

/* Read digits up to `end`, and go past it. */
static bool read_number(const char **at, char end, uint64_t *out)
{
	char *stop;

	if (**at < '0' || **at > '9')
		return false;
	*out = strtoull(*at, &stop, 10);
	if (*stop != end)
		return false;
	*at = stop + 1;
	return true;
}

void configs_read(struct configs *c, struct span text)
{
	*c = (struct configs){.n = 0};
	for (size_t at = 0; at < text.len;) {
		size_t end = span_find(text, at, ' ');
		char one[80];
		struct config_seen s = {.seq = 0};
		snprintf(one, sizeof one, "%.*s", (int)(end - at), (const char *)text.p + at);
		const char *rest = one + CONFIG_DIGEST + 1;
		at = end + 1;
		if (c->n == KB_LEDGER_CONFIGS || strspn(one, "0123456789abcdef") != CONFIG_DIGEST ||
		    one[CONFIG_DIGEST] != ':' || !read_number(&rest, ':', &s.seq) ||
		    !read_number(&rest, '\0', &s.returned))
			continue;
		memcpy(s.digest, one, CONFIG_DIGEST);
		c->seen[c->n++] = s;
	}
}
