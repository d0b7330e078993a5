/* broker/supervisor/report.c — writes what keybrokerctl waits for.  Decides nothing: a report that
 * cannot be written is logged, and the tool says that it does not know. */
#include "supervisor/report.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "base/log.h"

enum { REPORT_BYTES = 4096 };

static bool last_failed;

void report_write(int fd, const struct reload_report *r)
{
	static struct reload_report last;
	static uint32_t serial;
	KB_AUTO(buf) struct buf out = {0};

	if (serial != 0 && memcmp(&last, r, sizeof last) == 0)
		return;
	last = *r;
	serial++;
	buf_init(&out, REPORT_BYTES);
	buf_add_str(&out, "{");
	json_add_int(&out, "pid", getpid());
	/* A reader that meets a write sees two serials. */
	json_add_int(&out, "serial", serial);
	json_add_int(&out, "generation", r->generation);
	json_add_int(&out, "begun", r->begun);
	json_add_int(&out, "taken", r->taken);
	json_add_int(&out, "refused", r->refused);
	json_add_member(&out, "why", span_str(r->why));
	json_add_name(&out, "ending");
	buf_add_str(&out, "[");
	for (size_t i = 0; i < r->n_ending; i++) {
		buf_add_str(&out, i == 0 ? "{" : ",{");
		json_add_int(&out, "generation", (int64_t)r->ending[i].generation);
		json_add_int(&out, "connections", (int64_t)r->ending[i].connections);
		buf_add_str(&out, "}");
	}
	buf_add_str(&out, "]");
	json_add_int(&out, "end", serial);
	buf_add_str(&out, "}");
	while (buf_ok(&out) == KB_OK && out.len < REPORT_BYTES - 1)
		buf_add_str(&out, " ");
	buf_add_str(&out, "\n");
	const bool failed =
		buf_ok(&out) != KB_OK || pwrite(fd, out.p, out.len, 0) != (ssize_t)out.len;
	if (failed && !last_failed)
		log_event(LOG_ERROR, "report.failed", "why", strerror(errno), NULL);
	last_failed = failed;
}
