/* broker/base/clock.h — the two clocks.  Only processes read them; policy/ and keystore/ get the
 * time as an argument. */
#ifndef KB_BASE_CLOCK_H
#define KB_BASE_CLOCK_H
#include "base/bytes.h"

int64_t clock_wall_s(void); /* seconds since 1970, UTC: for tokens and records */
int64_t clock_wall_us(void);
/* CLOCK_MONOTONIC, for deadlines: never jumps, comparable between processes until a reboot. */
int64_t clock_mono_ms(void);
int64_t clock_mono_us(void);
/* False before KB_EPOCH_MIN_S: the machine's clock was never set. */
bool clock_is_set(int64_t wall_s);

#define KB_TIME_TEXT 28
/* RFC 3339 in UTC with microseconds, "2026-11-21T17:10:11.000000Z"; `out` always terminated. */
void clock_text(int64_t wall_us, char out[static KB_TIME_TEXT]);
/* The same from seconds; any number may be given. */
void clock_text_s(int64_t wall_s, char out[static KB_TIME_TEXT]);
/* From 1970 to KB_TIME_MAX_S.  Ask this of every time that a file, an option or a message gives,
 * before it is computed with. */
bool clock_is_time(int64_t wall_s);
/* How long ago a stored time was.  False when it is none that may be used: not after 1970, or ahead
 * of the clock by more than KB_MAX_SKEW_S.  Such a time would never grow old.  Ask this of every
 * age that is computed from a stored time. */
KB_MUST_CHECK bool clock_age(int64_t then_s, int64_t now_s, int64_t *age_s);
/* Seconds since 1970 or RFC 3339 in UTC ("2026-11-21T17:10:11Z"); clock_is_time() holds. */
KB_MUST_CHECK enum kb_err clock_parse(const char *text, int64_t *wall_s);
/* A duration as the configuration writes it: "60s", "5m", "8h", "1d"; seconds. */
KB_MUST_CHECK enum kb_err clock_parse_span(struct span text, int64_t *seconds);

#endif
