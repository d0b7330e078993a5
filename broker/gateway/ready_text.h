/* broker/gateway/ready_text.h — /readyz: JSON. */
#ifndef KB_GATEWAY_READY_TEXT_H
#define KB_GATEWAY_READY_TEXT_H
#include "process/shared.h"

/* *ready: the status is 200, else 503. */
void ready_text(const struct shared *shared, int64_t now_s, struct buf *json, bool *ready);

#endif
