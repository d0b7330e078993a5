/* broker/gateway/metrics.h — serves /metrics, /healthz and /readyz on the operator's own listener:
 * plain HTTP, one reply a connection. */
#ifndef KB_GATEWAY_METRICS_H
#define KB_GATEWAY_METRICS_H
#include "process/shared.h"

struct event_base;
struct metrics_http; /* opaque */

/* Serve on `fd` (stays the caller's).  When it is no listening socket (/dev/null: none is
 * configured) *out is NULL, and the result KB_OK.  KB_E_NOMEM, KB_E_SYS. */
KB_MUST_CHECK enum kb_err metrics_http_new(struct event_base *base, int fd,
					   const struct shared *shared, struct metrics_http **out);
void metrics_http_free(struct metrics_http *m); /* NULL is fine */

#endif
