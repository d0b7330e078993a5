/* broker/gateway/admission.c — decides which handshake starts next.  Trusts its caller for which
 * connection is active.  One source, or many that do nothing, must never take another source's
 * share. */
#include "gateway/admission.h"

#include <stdint.h>

void admission_init(struct admission *a, unsigned max_active)
{
	*a = (struct admission){.max_active = max_active};
	queue_init(&a->waiting, SIZE_MAX); /* the caller limits the number of connections */
}

static bool is_counted(const struct admission_source *s)
{
	return s->waiting.n > 0 || s->active > 0;
}

void admission_enter(struct admission *a, struct admission_source *source,
		     struct admission_entry *e)
{
	if (e->is_active)
		return;
	a->sources += is_counted(source) ? 0 : 1;
	e->source = source;
	e->is_active = true;
	source->active++;
	a->active++;
}

void admission_wait(struct admission *a, struct admission_source *source, struct admission_entry *e)
{
	struct queue_item *evicted;

	a->sources += is_counted(source) ? 0 : 1;
	e->source = source;
	(void)queue_push(&a->waiting, &source->waiting, &e->item, &evicted);
}

bool admission_leave(struct admission *a, struct admission_entry *e)
{
	struct admission_source *source = e->source;

	if (source == NULL)
		return false;
	queue_drop(&a->waiting, &e->item);
	if (e->is_active) {
		source->active--;
		a->active--;
	}
	e->is_active = false;
	e->source = NULL;
	a->sources -= is_counted(source) ? 0 : 1;
	return a->waiting.n > 0;
}

static struct admission_source *source_of(struct queue_source *s)
{
	return (struct admission_source *)((char *)s - offsetof(struct admission_source, waiting));
}

static struct admission_entry *entry_of(struct queue_item *item)
{
	return item == NULL ? NULL
			    : (struct admission_entry *)((char *)item -
							 offsetof(struct admission_entry, item));
}

/* At the soft limit: the first connection of a source with fewer active ones than its fair share,
 * max_active / sources.  With more sources than max_active the share is 0: none. */
static struct queue_item *below_share(const struct admission *a)
{
	struct queue_source *s;
	unsigned share = a->sources == 0 ? 0 : a->max_active / a->sources;

	if (share == 0)
		return NULL;
	/* At most max_active iterations, because share > 0. */
	TAILQ_FOREACH(s, &a->waiting.sources, link)
	if (source_of(s)->active < share)
		return TAILQ_FIRST(&s->items);
	return NULL;
}

struct admission_entry *admission_next(struct admission *a)
{
	struct queue_item *item =
		a->active < a->max_active ? queue_first(&a->waiting) : below_share(a);
	struct admission_entry *e = entry_of(item);

	if (e == NULL)
		return NULL;
	struct admission_source *source = e->source;
	source->active++; /* before it leaves the queue, so that the source stays counted */
	a->active++;
	e->is_active = true;
	queue_take(&a->waiting, item);
	return e;
}

struct admission_entry *admission_shed(struct admission *a, const struct admission_source *source)
{
	return entry_of(queue_newest(&a->waiting, source->waiting.n + 2));
}
