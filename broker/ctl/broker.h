/* broker/ctl/broker.h — the running broker of a configuration. */
#ifndef KB_CTL_BROKER_H
#define KB_CTL_BROKER_H
#include <sys/types.h>

#include "config/config.h"
#include "ctl/ctl.h"

enum { CTL_REPLY_BYTES = 4 * 1024 * 1024 };

enum broker_look {
	BROKER_RUNS,
	BROKER_ENDED,
	BROKER_UNKNOWN, /* `why` says what could not be seen */
};
enum { BROKER_ENDING = 8 };
struct broker_state {
	pid_t pid;       /* 0: none runs */
	bool has_report; /* the rest: supervisor/report.h */
	int64_t generation, begun, taken, refused;
	char why[512];
	size_t n_ending;
	struct broker_ending {
		int64_t generation, connections;
	} ending[BROKER_ENDING];
};
enum broker_look ctl_broker_look(const struct config *cfg, struct broker_state *out);
/* The whole body of GET `path`.  *status is 0 when there was no answer in time, or only a part. */
KB_MUST_CHECK enum kb_err ctl_http_get(const char *address, const char *path, int *status,
				       struct buf *body);
/* The value of a metric without labels; false: it was not seen. */
KB_MUST_CHECK bool ctl_metric(const struct config *cfg, const char *name, int64_t *out);
/* SIGHUP, and wait for the outcome.  CTL_OK: a configuration that was read after this call is in
 * force, and *generation is its number; `with_wait`: every older one is over, too.  CTL_NO:
 * refused. CTL_FAILED: not tried, or unknown. */
int ctl_reload(const struct ctl *c, const struct config *cfg, bool with_wait, int64_t *generation);
void ctl_pause(unsigned ms);

#endif
