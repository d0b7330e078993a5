/* broker/gateway/admission.c — decides whose handshake begins next.  Trusts its caller for who is
 * in service.  Must never let one source, or many that do nothing, keep another from its share. */
#include "gateway/admission.h"

#include <stdint.h>

void admission_init(struct admission *d, unsigned max_active)
{
	*d = (struct admission){.max_active = max_active};
	queue_init(&d->waiting, SIZE_MAX); /* the caller bounds how many connections there are */
}

static bool is_here(const struct admission_source *l)
{
	return l->waiting.n > 0 || l->active > 0;
}

void admission_enter(struct admission *d, struct admission_source *source,
		     struct admission_entry *g)
{
	if (g->is_active)
		return;
	d->sources += is_here(source) ? 0 : 1;
	g->source = source;
	g->is_active = true;
	source->active++;
	d->active++;
}

void admission_wait(struct admission *d, struct admission_source *source, struct admission_entry *g)
{
	struct queue_item *evicted;

	d->sources += is_here(source) ? 0 : 1;
	g->source = source;
	(void)queue_push(&d->waiting, &source->waiting, &g->item, &evicted);
}

bool admission_leave(struct admission *d, struct admission_entry *g)
{
	struct admission_source *source = g->source;

	if (source == NULL)
		return false;
	queue_drop(&d->waiting, &g->item);
	if (g->is_active) {
		source->active--;
		d->active--;
	}
	g->is_active = false;
	g->source = NULL;
	d->sources -= is_here(source) ? 0 : 1;
	return d->waiting.n > 0;
}

static struct admission_source *source_of(struct queue_source *l)
{
	return (struct admission_source *)((char *)l - offsetof(struct admission_source, waiting));
}

/* All max_active are taken: who has less than an equal part of them?  With more sources than
 * max_active nobody has. */
static struct queue_item *entitled(const struct admission *d)
{
	struct queue_source *l;
	unsigned share = d->sources == 0 ? 0 : d->max_active / d->sources;

	if (share == 0)
		return NULL;
	TAILQ_FOREACH(l, &d->waiting.sources, link) /* no more of them than max_active */
	if (source_of(l)->active < share)
		return TAILQ_FIRST(&l->items);
	return NULL;
}

struct admission_entry *admission_next(struct admission *d)
{
	struct queue_item *item =
		d->active < d->max_active ? queue_first(&d->waiting) : entitled(d);

	if (item == NULL)
		return NULL;
	struct admission_entry *g =
		(struct admission_entry *)((char *)item - offsetof(struct admission_entry, item));
	struct admission_source *source = g->source;
	source->active++; /* before it leaves the queue: the source stays counted */
	d->active++;
	g->is_active = true;
	queue_take(&d->waiting, item);
	return g;
}

struct admission_entry *admission_shed(struct admission *d, const struct admission_source *source)
{
	struct queue_item *item = queue_newest(&d->waiting, source->waiting.n + 2);

	return item == NULL ? NULL
			    : (struct admission_entry *)((char *)item -
							 offsetof(struct admission_entry, item));
}
