/* broker/guest/console.c — writes lines to the console. Must never write a control character that a
 * server sent. */
#include "guest/console.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

void message(const char *fmt, ...)
{
	static const char prefix[] = "keybroker-guest: ";
	char line[1024];
	va_list ap;

	memcpy(line, prefix, sizeof prefix);
	va_start(ap, fmt);
	int n = vsnprintf(line + sizeof prefix - 1, sizeof line - sizeof prefix, fmt, ap);
	va_end(ap);
	if (n < 0)
		return;
	size_t len = strlen(line);
	/* Part of it may be a server's text, a file's name or an environment's: to a terminal
	 * control characters are commands, and a line break makes a line that we did not write. */
	for (size_t i = 0; i < len; i++)
		if (line[i] < 0x20 || line[i] > 0x7e)
			line[i] = '?';
	line[len++] = '\n';
	/* One write per line, so that lines of several programs on one console stay whole. A
	 * failure cannot be reported anywhere. */
	if (write(STDERR_FILENO, line, len) < 0)
		return;
}

const char *plain(struct span s)
{
	static char text[201];
	size_t n = s.len < sizeof text ? s.len : sizeof text - 1;

	for (size_t i = 0; i < n; i++)
		text[i] = s.p[i] >= 0x20 && s.p[i] < 0x7f ? (char)s.p[i] : '?';
	text[n] = '\0';
	return text;
}
