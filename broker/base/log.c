/* broker/base/log.c — one JSON object a line on stderr, at most KB_MAX_LOG_LINE bytes, in one
 * write. */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json.h"

static const char *log_process = "keybroker";
static enum log_level log_most = LOG_INFO;

static const char *const level_name[] = {
	[LOG_ERROR] = "error",
	[LOG_WARN] = "warn",
	[LOG_INFO] = "info",
	[LOG_DEBUG] = "debug",
};

void log_init(const char *process, enum log_level most)
{
	log_process = process;
	log_most = most;
}

void log_event(enum log_level level, const char *event, ...)
{
	char when[KB_TIME_TEXT];
	va_list ap;

	if (level > log_most)
		return;
	KB_AUTO(buf) struct buf b;
	buf_init(&b, KB_MAX_LOG_LINE);
	clock_text(clock_wall_us(), when);
	buf_add_str(&b, "{");
	json_add_member(&b, "time", span_str(when));
	json_add_member(&b, "level", span_str(level_name[level]));
	json_add_member(&b, "process", span_str(log_process));
	json_add_int(&b, "pid", getpid());
	json_add_member(&b, "event", span_str(event));
	va_start(ap, event);
	for (const char *name; (name = va_arg(ap, const char *)) != NULL;) {
		const char *value = va_arg(ap, const char *);
		struct span v = span_str(value == NULL ? "null" : value);
		/* Escaping makes up to six bytes of one.  Stop before a pair that may not fit, so
		 * that the line is always whole. */
		struct span cut = span_sub(v, 0, KB_MAX_LOG_VALUE);
		if (b.len + strlen(name) + cut.len * 6 + 8 > KB_MAX_LOG_LINE)
			break;
		json_add_member(&b, name, cut);
	}
	va_end(ap);
	buf_add_str(&b, "}\n");
	if (buf_ok(&b) == KB_OK) {
		ssize_t n = write(STDERR_FILENO, b.p, b.len);
		(void)n; /* a line that cannot be written is dropped */
	}
}

static char *ring_next(void)
{
	static char ring[8][KB_MAX_LOG_VALUE + 1];
	static unsigned at;

	return ring[at++ % 8];
}

const char *log_i64(int64_t n)
{
	char *text = ring_next();

	snprintf(text, 24, "%lld", (long long)n);
	return text;
}
