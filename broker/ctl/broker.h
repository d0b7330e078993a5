/* broker/ctl/broker.h — the running broker of a configuration. */
#ifndef KB_CTL_BROKER_H
#define KB_CTL_BROKER_H
#include <sys/types.h>

#include "config/config.h"
#include "ctl/ctl.h"

enum { CTL_REPLY_BYTES = 4 * 1024 * 1024 };

/* The broker's pid; 0: none runs. */
pid_t ctl_broker_pid(const struct config *cfg);
/* The body of GET `path`.  *status is 0 when there was no answer in time. */
KB_MUST_CHECK enum kb_err ctl_http_get(const char *address, const char *path, int *status,
				       struct buf *body);
/* The value of a metric without labels; -1: it is not there. */
long long ctl_metric(const struct config *cfg, const char *name);
/* SIGHUP, and wait for the new generation.  CTL_OK when it accepts. */
int ctl_reload(const struct ctl *c, const struct config *cfg);
void ctl_pause(unsigned ms);

#endif
