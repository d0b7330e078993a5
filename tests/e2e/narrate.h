/* tests/e2e/narrate.h — how a demo prints what it does: a title, a line for every step that was
 * done and checked, and how many were wrong. */
#ifndef KB_TESTS_NARRATE_H
#define KB_TESTS_NARRATE_H
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static unsigned n_bad;

static inline const char *colour(const char *code)
{
	return isatty(1) ? code : "";
}

static inline bool step(const char *why, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
static inline bool step(const char *why, const char *fmt, ...)
{
	char text[512];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	printf("  %s%s%s %s\n", colour(why == NULL ? "\033[32m" : "\033[31m"),
	       why == NULL ? "✓" : "✗", colour("\033[0m"), text);
	if (why != NULL)
		printf("    %s\n", why);
	n_bad += why != NULL;
	return why == NULL;
}

static inline void title(const char *text)
{
	printf("\n%s%s%s\n", colour("\033[1m"), text, colour("\033[0m"));
}

static inline void show(const char *text, unsigned max_lines)
{
	for (const char *line = text; *line != '\0' && max_lines > 0; max_lines--) {
		size_t n = strcspn(line, "\n");
		printf("      %.*s%s\n", (int)(n > 150 ? 150 : n), line, n > 150 ? " …" : "");
		line += n + (line[n] == '\n');
	}
}

static inline const char *is_true(bool fact, const char *why)
{
	return fact ? NULL : why;
}

#endif
