/* broker/ctl/output.h — what a command prints: data to standard output, everything about it to
 * standard error. */
#ifndef KB_CTL_OUTPUT_H
#define KB_CTL_OUTPUT_H
#include "base/bytes.h"
#include "ctl/ctl.h"

enum { CTL_MAX_OUTPUT = 256 * 1024 * 1024 };

/* A line on standard error. */
void ctl_say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* "keybrokerctl: …" on standard error; returns `code`. */
int ctl_fail(int code, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Returns `code`.  A failure about which nothing was printed is reported here, so that no command
 * ends without a message. */
int ctl_end(int code);
/* `out` to standard output, and free it.  Returns `code`, or CTL_FAILED when it cannot be
 * written. */
int ctl_put(struct buf *out, int code);

struct ctl_table { /* rows of cells; a column is as wide as its widest cell */
	unsigned columns;
	struct buf cells; /* NUL-terminated, one after the other */
};
void ctl_table_init(struct ctl_table *t, unsigned columns);
void ctl_table_add(struct ctl_table *t, const char *cell);
void ctl_table_write(struct ctl_table *t, struct buf *out); /* frees it */

#endif
