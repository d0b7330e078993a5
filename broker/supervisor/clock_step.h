/* broker/supervisor/clock_step.h — was the wall clock set? */
#ifndef KB_SUPERVISOR_CLOCK_STEP_H
#define KB_SUPERVISOR_CLOCK_STEP_H
#include <stdint.h>

void clock_step_init(void);
/* By how much the wall clock was set since the last call; 0: it was not. */
int64_t clock_step_check(void);

#endif
