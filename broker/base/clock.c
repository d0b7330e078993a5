/* broker/base/clock.c — reads the clocks; writes and reads times as text. */
#include "base/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/limits.h"

/* Our own times are int64_t.  The system's must be as wide, or they overflow in 2038. */
_Static_assert(sizeof(time_t) == 8, "2038: a 64-bit time_t is required");
_Static_assert(sizeof(((struct timespec *)0)->tv_sec) == 8,
	       "2038: clock_gettime() must count 64-bit seconds");

static int64_t now_us(clockid_t id)
{
	struct timespec t;

	if (clock_gettime(id, &t) != 0)
		KB_BUG();
	return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

int64_t clock_wall_us(void)
{
	return now_us(CLOCK_REALTIME);
}

int64_t clock_wall_s(void)
{
	return now_us(CLOCK_REALTIME) / 1000000;
}

int64_t clock_mono_us(void)
{
	return now_us(CLOCK_MONOTONIC);
}

int64_t clock_mono_ms(void)
{
	return now_us(CLOCK_MONOTONIC) / 1000;
}

bool clock_is_set(int64_t wall_s)
{
	return wall_s >= KB_EPOCH_MIN_S;
}

void clock_text(int64_t wall_us, char out[static KB_TIME_TEXT])
{
	time_t s = wall_us / 1000000;
	struct tm tm;

	if (wall_us < 0 || gmtime_r(&s, &tm) == NULL || tm.tm_year + 1900 > 9999) {
		snprintf(out, KB_TIME_TEXT, "0000-00-00T00:00:00.000000Z");
		return;
	}
	snprintf(out, KB_TIME_TEXT, "%04u-%02u-%02uT%02u:%02u:%02u.%06uZ",
		 (unsigned)(tm.tm_year + 1900) % 10000, (unsigned)(tm.tm_mon + 1) % 100,
		 (unsigned)tm.tm_mday % 100, (unsigned)tm.tm_hour % 100, (unsigned)tm.tm_min % 100,
		 (unsigned)tm.tm_sec % 100, (unsigned)(wall_us % 1000000));
}

bool clock_is_time(int64_t wall_s)
{
	return wall_s >= 0 && wall_s <= KB_TIME_MAX_S;
}

bool clock_age(int64_t then_s, int64_t now_s, int64_t *age_s)
{
	*age_s = 0;
	if (!clock_is_time(then_s) || !clock_is_time(now_s) || then_s == 0 ||
	    then_s > now_s + KB_MAX_SKEW_S)
		return false;
	if (now_s > then_s)
		*age_s = now_s - then_s;
	return true;
}

void clock_text_s(int64_t wall_s, char out[static KB_TIME_TEXT])
{
	clock_text(clock_is_time(wall_s) ? wall_s * 1000000 : -1, out);
}

enum kb_err clock_parse(const char *text, int64_t *wall_s)
{
	char *end;
	struct tm tm = {0};

	long long n = strtoll(text, &end, 10);
	if (end != text && *end == '\0') {
		*wall_s = n;
		return clock_is_time(n) ? KB_OK : KB_E_CONFIG;
	}
	end = strptime(text, "%Y-%m-%dT%H:%M:%SZ", &tm);
	if (end == NULL || *end != '\0')
		return KB_E_CONFIG;
	*wall_s = timegm(&tm);
	return clock_is_time(*wall_s) ? KB_OK : KB_E_CONFIG;
}

enum kb_err clock_parse_span(struct span t, int64_t *seconds)
{
	int64_t n = 0;

	if (t.len < 2 || t.len > 8)
		return KB_E_CONFIG;
	for (size_t i = 0; i + 1 < t.len; i++) {
		if (t.p[i] < '0' || t.p[i] > '9')
			return KB_E_CONFIG;
		n = n * 10 + (t.p[i] - '0');
	}
	switch (t.p[t.len - 1]) {
	case 's':
		break;
	case 'm':
		n *= 60;
		break;
	case 'h':
		n *= 3600;
		break;
	case 'd':
		n *= 86400;
		break;
	default:
		return KB_E_CONFIG;
	}
	*seconds = n;
	return KB_OK;
}
