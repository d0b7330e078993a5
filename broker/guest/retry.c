/* broker/guest/retry.c — exponential back-off with full jitter. Computes a duration; never
 * sleeps. */
#include "guest/retry.h"

#include "base/limits.h"

int64_t retry_wait_ms(unsigned round, uint32_t chance, unsigned retry_after_s)
{
	int64_t most = KB_GUEST_BACKOFF_MS;

	for (unsigned i = 0; i < round && most < KB_GUEST_BACKOFF_MAX_MS; i++)
		most *= 2;
	if (most > KB_GUEST_BACKOFF_MAX_MS)
		most = KB_GUEST_BACKOFF_MAX_MS;
	if (retry_after_s > KB_GUEST_RETRY_AFTER_S)
		retry_after_s = KB_GUEST_RETRY_AFTER_S;
	return (int64_t)retry_after_s * 1000 + (int64_t)(chance % ((uint32_t)most + 1));
}
