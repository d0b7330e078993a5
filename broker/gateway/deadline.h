/* broker/gateway/deadline.h — deadlines of thousands of connections, a list for each kind.  All
 * entries of a kind have the same time limit, so they are due in the order they were started.
 * Start, stop and finding the next are O(1); one timer checks the heads of the lists. */
#ifndef KB_GATEWAY_DEADLINE_H
#define KB_GATEWAY_DEADLINE_H
#include <stdint.h>
#include <sys/queue.h>

enum { DEADLINE_KINDS = 11 };
struct deadline {
	TAILQ_ENTRY(deadline) link;
	int64_t due_ms;
	unsigned kind;
};
TAILQ_HEAD(deadline_list, deadline);
struct deadlines {
	struct deadline_list list[DEADLINE_KINDS];
	int64_t after_ms[DEADLINE_KINDS];
};

void deadlines_init(struct deadlines *d, const int64_t *after_ms, unsigned kinds);
/* `e` is in no list yet. */
void deadline_start(struct deadlines *d, struct deadline *e, unsigned kind, int64_t now_ms);
void deadline_change(struct deadlines *d, struct deadline *e, unsigned kind, int64_t now_ms);
void deadline_stop(struct deadlines *d, struct deadline *e);
/* The entry of `kind` that is due first, if it is due at now_ms; else NULL.  It stays in its list
 * until changed or stopped. */
struct deadline *deadline_due(const struct deadlines *d, unsigned kind, int64_t now_ms);

#endif
