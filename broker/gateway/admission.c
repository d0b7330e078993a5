/* broker/gateway/admission.c — decides whose handshake begins next.  Trusts its caller for who is in service.  Must never let one source, or many that do nothing, keep
 * another from its share. */
#include "gateway/admission.h"

#include <stdint.h>

void door_init(struct door *d, unsigned seats)
{
	*d = (struct door){.seats = seats};
	queue_init(&d->waiting, SIZE_MAX); /* the caller bounds how many connections there are */
}

static bool is_here(const struct door_lane *l)
{
	return l->waiting.n > 0 || l->in_service > 0;
}

void door_enter(struct door *d, struct door_lane *lane, struct door_guest *g)
{
	if (g->is_in_service)
		return;
	d->sources += is_here(lane) ? 0 : 1;
	g->lane = lane;
	g->is_in_service = true;
	lane->in_service++;
	d->in_service++;
}

void door_wait(struct door *d, struct door_lane *lane, struct door_guest *g)
{
	struct queue_item *evicted;

	d->sources += is_here(lane) ? 0 : 1;
	g->lane = lane;
	(void)queue_push(&d->waiting, &lane->waiting, &g->item, &evicted);
}

bool door_leave(struct door *d, struct door_guest *g)
{
	struct door_lane *lane = g->lane;

	if (lane == NULL)
		return false;
	queue_drop(&d->waiting, &g->item);
	if (g->is_in_service) {
		lane->in_service--;
		d->in_service--;
	}
	g->is_in_service = false;
	g->lane = NULL;
	d->sources -= is_here(lane) ? 0 : 1;
	return d->waiting.n > 0;
}

static struct door_lane *lane_of(struct queue_lane *l)
{
	return (struct door_lane *)((char *)l - offsetof(struct door_lane, waiting));
}

/* All seats are taken: who has less than an equal part of them?  With more sources than seats nobody has. */
static struct queue_item *entitled(const struct door *d)
{
	struct queue_lane *l;
	unsigned share = d->sources == 0 ? 0 : d->seats / d->sources;

	if (share == 0)
		return NULL;
	TAILQ_FOREACH(l, &d->waiting.lanes, link) /* no more of them than seats */
	if (lane_of(l)->in_service < share)
		return TAILQ_FIRST(&l->items);
	return NULL;
}

struct door_guest *door_next(struct door *d)
{
	struct queue_item *item = d->in_service < d->seats ? queue_first(&d->waiting) : entitled(d);

	if (item == NULL)
		return NULL;
	struct door_guest *g = (struct door_guest *)((char *)item - offsetof(struct door_guest, item));
	struct door_lane *lane = g->lane;
	lane->in_service++; /* before it leaves the queue: the source stays counted */
	d->in_service++;
	g->is_in_service = true;
	queue_take(&d->waiting, item);
	return g;
}

struct door_guest *door_shed(struct door *d, const struct door_lane *lane)
{
	struct queue_item *item = queue_newest(&d->waiting, lane->waiting.n + 2);

	return item == NULL ? NULL : (struct door_guest *)((char *)item - offsetof(struct door_guest, item));
}
