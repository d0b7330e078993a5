/* broker/base/log.c — one JSON object a line on stderr, at most KB_MAX_LOG_LINE bytes, in one
 * write. Decides which lines are dropped: those of an event that comes too often, because what a
 * client can repeat must not fill the disk of the log. */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/limits.h"

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

/* Lines of one event: KB_LOG_BURST at once, then one in KB_LOG_EVERY_MS. */
struct budget {
	const char *event;
	int64_t used_until_ms; /* each line takes KB_LOG_EVERY_MS of it */
	int64_t dropped;
};

/* The event's; when there are too many events, the rest share the last one. */
static struct budget *budget_of(const char *event)
{
	static struct budget budgets[KB_LOG_EVENTS];
	size_t i = 0;

	while (i < KB_LOG_EVENTS - 1 && budgets[i].event != NULL &&
	       strcmp(budgets[i].event, event) != 0)
		i++;
	if (budgets[i].event == NULL)
		budgets[i].event = event;
	return &budgets[i];
}

static bool take(struct budget *b)
{
	const int64_t now_ms = clock_mono_ms();

	if (b->used_until_ms < now_ms)
		b->used_until_ms = now_ms;
	if (b->used_until_ms - now_ms > (KB_LOG_BURST - 1) * (int64_t)KB_LOG_EVERY_MS) {
		b->dropped++;
		return false;
	}
	b->used_until_ms += KB_LOG_EVERY_MS;
	return true;
}

void log_event(enum log_level level, const char *event, ...)
{
	char when[KB_TIME_TEXT];
	va_list ap;

	if (level > log_most)
		return;
	struct budget *budget = budget_of(event);
	if (!take(budget))
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
	if (budget->dropped > 0) /* lines of this event since the last one */
		json_add_int(&b, "dropped", budget->dropped);
	budget->dropped = 0;
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
