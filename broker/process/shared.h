/* broker/process/shared.h — the memory that all processes of a broker map: figures (stats.h) and
 * health (health.h).  The supervisor makes it and gives each process an entry.  It holds no secret,
 * and no release is decided by it.  But every process can write all of it: a captured one can make
 * the supervisor kill workers, and keep vaults from logging in. */
#ifndef KB_PROCESS_SHARED_H
#define KB_PROCESS_SHARED_H
#include "process/health.h"
#include "process/stats.h"

struct shared {
	uint64_t magic, size;
	struct health health;
	struct stats stats;
};

/* A memfd, close-on-exec.  KB_E_SYS. */
KB_MUST_CHECK enum kb_err shared_create(int *fd, struct shared **out);
/* KB_E_SYS, also when it is not one of shared_create(). */
KB_MUST_CHECK enum kb_err shared_attach(int fd, struct shared **out);
/* Supervisor: the index of a free entry, zeroed, or -1. */
int shared_take(struct shared *shared, enum process_kind kind, uint32_t generation);
/* Supervisor: the entry's process has ended.  Its counters are added to `retired`.  KB_BUG past the
 * end. */
void shared_give_back(struct shared *shared, unsigned index);

#endif
