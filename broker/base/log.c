/* broker/base/log.c — one JSON object a line on stderr, at most KB_MAX_LOG_LINE bytes, in one
 * write.  Must never make a process of the broker wait for who reads it.  Decides which lines are
 * dropped: those of an event that comes too often, because what a client can repeat must not fill
 * the disk of the log. */
#include "base/log.h"

#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
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

/* ---- how often ---- */

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

/* ---- writing ---- */

/* How a line is written without waiting. */
static enum {
	MAY_WAIT,    /* a tool; a file */
	NONBLOCKING, /* the description has O_NONBLOCK, and is ours */
	SOCKET,
	ASKING, /* it could not be opened again: what another process writes after poll() may wait
		 */
} how = MAY_WAIT;

static uint64_t dropped; /* since the last line that was taken */
static _Atomic uint64_t *dropped_total;
static bool is_torn; /* a terminal took the beginning of the last line */

void log_never_wait(void)
{
	struct stat st;

	if (fd_stat(STDERR_FILENO, &st) != 0 || S_ISREG(st.st_mode))
		return;
	how = S_ISSOCK(st.st_mode) ? SOCKET : ASKING;
	if (how == SOCKET)
		return;
	int flags = fcntl(STDERR_FILENO, F_GETFL);
	if (flags >= 0 && (flags & O_NONBLOCK) != 0) { /* our supervisor's */
		how = NONBLOCKING;
		return;
	}
	int fd = open("/proc/self/fd/2", O_WRONLY | O_APPEND | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0)
		return;
	if (dup2(fd, STDERR_FILENO) >= 0)
		how = NONBLOCKING;
	close(fd);
}

void log_count_dropped(_Atomic uint64_t *counter)
{
	dropped_total = counter;
}

static ssize_t put(const void *p, size_t len)
{
	struct pollfd ready = {.fd = STDERR_FILENO, .events = POLLOUT};

	if (how == SOCKET)
		return send(STDERR_FILENO, p, len, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (how == ASKING && poll(&ready, 1, 0) != 1)
		return -1;
	return write(STDERR_FILENO, p, len);
}

static bool put_line(const struct buf *b)
{
	if (buf_ok(b) != KB_OK || (is_torn && put("\n", 1) != 1))
		return false;
	ssize_t n = put(b->p, b->len);
	is_torn = n > 0 && (size_t)n < b->len;
	return n == (ssize_t)b->len;
}

static void begin_line(struct buf *b, enum log_level level, const char *event)
{
	char when[KB_TIME_TEXT];

	buf_init(b, KB_MAX_LOG_LINE);
	clock_text(clock_wall_us(), when);
	buf_add_str(b, "{");
	json_add_member(b, "time", span_str(when));
	json_add_member(b, "level", span_str(level_name[level]));
	json_add_member(b, "process", span_str(log_process));
	json_add_int(b, "pid", getpid());
	json_add_member(b, "event", span_str(event));
}

static bool put_dropped(void)
{
	KB_AUTO(buf) struct buf b;

	begin_line(&b, LOG_WARN, "log.dropped");
	json_add_int(&b, "lines", (int64_t)dropped);
	buf_add_str(&b, "}\n");
	return put_line(&b);
}

void log_event(enum log_level level, const char *event, ...)
{
	va_list ap;

	if (level > log_most)
		return;
	struct budget *budget = budget_of(event);
	if (!take(budget))
		return;
	KB_AUTO(buf) struct buf b;
	begin_line(&b, level, event);
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
	if (dropped > 0 && put_dropped())
		dropped = 0;
	if (dropped == 0 && put_line(&b))
		return;
	dropped++;
	if (dropped_total != NULL)
		atomic_fetch_add_explicit(dropped_total, 1, memory_order_relaxed);
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
