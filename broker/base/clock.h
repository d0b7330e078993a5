/* base/clock.h — the two clocks.  Judgement takes time as an argument; only processes read it,
 * here. */
#ifndef KB_BASE_CLOCK_H
#define KB_BASE_CLOCK_H
#include "base/bytes.h"

int64_t clock_wall_s(void); /* seconds since 1970, UTC: for tokens and records */
int64_t clock_wall_us(void);
int64_t clock_mono_ms(void); /* CLOCK_MONOTONIC: for deadlines; never jumps, comparable between
				processes of one boot */
int64_t clock_mono_us(void);
bool clock_is_set(int64_t wall_s); /* false before KB_EPOCH_MIN_S: the clock was never set */

#define KB_TIME_TEXT 28
/* RFC 3339 in UTC with microseconds, "2026-11-21T17:10:11.000000Z"; `out` always terminated. */
void clock_text(int64_t wall_us, char out[static KB_TIME_TEXT]);
/* Seconds since 1970 or RFC 3339 in UTC ("2026-11-21T17:10:11Z"). */
KB_MUST_CHECK enum kb_err clock_parse(const char *text, int64_t *wall_s);
/* A duration as the configuration writes it: "60s", "5m", "8h", "1d"; seconds. */
KB_MUST_CHECK enum kb_err clock_parse_span(struct span text, int64_t *seconds);

#endif
