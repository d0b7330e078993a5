/* broker/gateway/deadline.h — absolute deadlines for thousands of connections at the price of a
 * list: each kind has one constant time, so the entries of a kind fall due in the order they were
 * set.  Setting, clearing and finding the next are O(1); one timer looks at the heads. */
#ifndef KB_GATEWAY_DEADLINE_H
#define KB_GATEWAY_DEADLINE_H
#include <stdint.h>
#include <sys/queue.h>

enum { DEADLINE_KINDS = 10 };
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
void deadline_start(struct deadlines *d, struct deadline *e, unsigned kind,
		    int64_t now_ms); /* `e` is in no list yet */
void deadline_change(struct deadlines *d, struct deadline *e, unsigned kind, int64_t now_ms);
void deadline_stop(struct deadlines *d, struct deadline *e);
/* The entry of `kind` that is first due, if it is due at now_ms; NULL when none is.  It stays in
 * its list until changed or stopped. */
struct deadline *deadline_due(const struct deadlines *d, unsigned kind, int64_t now_ms);

#endif
