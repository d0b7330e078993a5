/* broker/guest/retry.h — how long to wait before the next round of attempts. Pure: the random
 * number is an argument. */
#ifndef KB_GUEST_RETRY_H
#define KB_GUEST_RETRY_H
#include <stdint.h>

/* Milliseconds before round `round` + 1 (rounds count from 0): a random part of
 * KB_GUEST_BACKOFF_MS·2^round, at most KB_GUEST_BACKOFF_MAX_MS
 * ("full jitter": a thousand guests that failed together must not retry together), after the
 * server's Retry-After, which is capped. */
int64_t retry_wait_ms(unsigned round, uint32_t chance, unsigned retry_after_s);

#endif
