/* broker/gateway/metrics_text.h — /metrics: Prometheus text format 0.0.4. */
#ifndef KB_GATEWAY_METRICS_TEXT_H
#define KB_GATEWAY_METRICS_TEXT_H
#include "process/shared.h"

void metrics_text(const struct shared *shared, struct buf *out);

#endif
