/* broker/ctl/output.c — data on standard output, everything about it on standard error.  Never
 * prints a PIN or key bytes. */
#include "ctl/output.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/terminal.h"

static bool is_reported;

/* What a stranger may have written is in these lines: names, claims, parts of files. */
static void say(const char *before, const char *fmt, va_list ap)
{
	KB_AUTO(buf) struct buf line;
	KB_AUTO(cstr) char *text = NULL;

	is_reported = true;
	buf_init(&line, CTL_MAX_OUTPUT);
	buf_add_str(&line, before);
	if (vasprintf(&text, fmt, ap) < 0)
		text = NULL;
	else
		terminal_add(&line, span_str(text), true);
	buf_add_str(&line, "\n");
	if (buf_ok(&line) == KB_OK)
		(void)(fwrite(line.p, 1, line.len, stderr) == line.len);
}

void ctl_say(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say("", fmt, ap);
	va_end(ap);
}

int ctl_end(int code)
{
	return code == CTL_FAILED && !is_reported ? ctl_fail(code, "there is not enough memory")
						  : code;
}

int ctl_fail(int code, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say("keybrokerctl: ", fmt, ap);
	va_end(ap);
	return code;
}

int ctl_put(struct buf *out, int code)
{
	struct buf safe;

	buf_init(&safe, 2 * (size_t)CTL_MAX_OUTPUT);
	terminal_add(&safe, buf_span(out), true); /* in JSON it is the same value */
	bool is_written = buf_ok(out) == KB_OK && buf_ok(&safe) == KB_OK &&
			  (safe.len == 0 || fwrite(safe.p, 1, safe.len, stdout) == safe.len) &&
			  fflush(stdout) == 0;

	buf_free(&safe);
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
