/* broker/supervisor/clock_step.c — finds out that the wall clock was set: its offset from the boot
 * clock changed. */
#include "supervisor/clock_step.h"

#include <time.h>

#include "base/clock.h"
#include "base/err.h"

/* A smaller change is ordinary adjustment (NTP). */
enum { STEP_MS = 60000 };

static int64_t offset_ms;

static int64_t offset_now_ms(void)
{
	struct timespec boot; /* counts the time of a suspended machine, too: no step */

	if (clock_gettime(CLOCK_BOOTTIME, &boot) != 0)
		KB_BUG();
	return clock_wall_us() / 1000 - ((int64_t)boot.tv_sec * 1000 + boot.tv_nsec / 1000000);
}

void clock_step_init(void)
{
	offset_ms = offset_now_ms();
}

int64_t clock_step_check(void)
{
	int64_t now_ms = offset_now_ms(), moved_ms = now_ms - offset_ms;

	if (moved_ms < STEP_MS && moved_ms > -STEP_MS)
		return 0;
	offset_ms = now_ms;
	return moved_ms;
}
