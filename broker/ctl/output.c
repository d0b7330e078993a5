/* broker/ctl/output.c — data on standard output, everything about it on standard error.  Never
 * prints a PIN or key bytes. */
#include "ctl/output.h"

#include <stdarg.h>
#include <stdio.h>

static bool is_reported;

void ctl_say(const char *fmt, ...)
{
	va_list ap;

	is_reported = true;
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
}

int ctl_end(int code)
{
	return code == CTL_FAILED && !is_reported ? ctl_fail(code, "there is not enough memory")
						  : code;
}

int ctl_fail(int code, const char *fmt, ...)
{
	va_list ap;

	is_reported = true;
	fputs("keybrokerctl: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	return code;
}

int ctl_put(struct buf *out, int code)
{
	bool is_written = buf_ok(out) == KB_OK &&
			  (out->len == 0 || fwrite(out->p, 1, out->len, stdout) == out->len) &&
			  fflush(stdout) == 0;

	buf_free(out);
	return is_written ? code : ctl_fail(CTL_FAILED, "cannot write to standard output");
}

void ctl_table_init(struct ctl_table *t, unsigned columns)
{
	t->columns = columns;
	buf_init(&t->cells, CTL_MAX_OUTPUT);
}

void ctl_table_add(struct ctl_table *t, const char *cell)
{
	buf_add(&t->cells, cell, strlen(cell) + 1);
}

void ctl_table_write(struct ctl_table *t, struct buf *out)
{
	enum { MOST = 16 };
	int width[MOST] = {0};

	if (t->columns == 0 || t->columns > MOST)
		KB_BUG();
	for (unsigned pass = 0; pass < 2; pass++) {
		size_t at = 0;
		for (unsigned i = 0; at < t->cells.len; i = (i + 1) % t->columns) {
			const char *cell = (const char *)t->cells.p + at;
			int len = (int)strlen(cell);
			at += (size_t)len + 1;
			if (pass == 0 && len > width[i])
				width[i] = len;
			if (pass == 0)
				continue;
			buf_add_str(out, cell);
			if (i + 1 == t->columns)
				buf_add_str(out, "\n");
			else
				buf_addf(out, "%*s", width[i] - len + 2, "");
		}
	}
	buf_free(&t->cells);
}
