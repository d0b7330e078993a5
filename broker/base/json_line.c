/* broker/base/json_line.c — the line on which a value is, for messages about configuration
 * files. Expects text that json_load_strict() has accepted; with any other text the line may be
 * wrong, but nothing outside the text is read. */
#include <stdlib.h>

#include "base/json.h"

struct position {
	struct span t;
	size_t i;
	unsigned line;
};

static void skip_space(struct position *c)
{
	for (; c->i < c->t.len; c->i++) {
		uint8_t ch = c->t.p[c->i];
		if (ch == '\n')
			c->line++;
		else if (ch != ' ' && ch != '\t' && ch != '\r')
			return;
	}
}

/* The raw text between the quotes; the position is then after the closing one. */
static struct span skip_string(struct position *c)
{
	size_t from = ++c->i;

	while (c->i < c->t.len && c->t.p[c->i] != '"')
		c->i += c->t.p[c->i] == '\\' ? 2 : 1;
	struct span s = span_sub(c->t, from, c->i - from);
	c->i++;
	return s;
}

/* Past one value of any kind, without recursion. */
static void skip_value(struct position *c)
{
	unsigned depth = 0;

	do {
		skip_space(c);
		if (c->i >= c->t.len)
			return;
		uint8_t ch = c->t.p[c->i];
		if (ch == '"') {
			(void)skip_string(c);
			continue;
		}
		if (ch == '{' || ch == '[')
			depth++;
		else if (ch == '}' || ch == ']')
			depth--;
		else if (ch != ',' && ch != ':')
			while (c->i + 1 < c->t.len &&
			       strchr(",:]} \t\r\n", c->t.p[c->i + 1]) == NULL)
				c->i++;
		c->i++;
	} while (depth > 0);
}

/* From the '{' or '[' at the position to the value of member `name` or entry `index`; false when it
 * is not there. */
static bool enter(struct position *c, struct span name, size_t index, bool by_name)
{
	size_t n = 0;

	if (c->i >= c->t.len || c->t.p[c->i] != (by_name ? '{' : '['))
		return false;
	c->i++;
	for (;;) {
		skip_space(c);
		if (c->i >= c->t.len || c->t.p[c->i] == '}' || c->t.p[c->i] == ']')
			return false;
		if (c->t.p[c->i] == ',') {
			c->i++;
			continue;
		}
		bool hit = !by_name && n == index;
		if (by_name) {
			unsigned line = c->line;
			struct span found = skip_string(c);
			skip_space(c);
			if (c->i < c->t.len && c->t.p[c->i] == ':')
				c->i++;
			hit = span_eq(found, name);
			skip_space(c);
			if (hit) /* report the line of the name, not of its value */
				c->line = line;
		}
		if (hit)
			return true;
		skip_value(c);
		n++;
	}
}

unsigned json_line(struct span text, const char *path)
{
	struct position c = {text, 0, 1};

	skip_space(&c);
	while (*path != '\0') {
		if (*path == '[') {
			char *end;
			size_t index = strtoul(path + 1, &end, 10);
			if (!enter(&c, span_of(NULL, 0), index, false))
				return c.line;
			path = *end == ']' ? end + 1 : end;
		} else {
			if (*path == '.')
				path++;
			size_t len = strcspn(path, ".[");
			struct position before = c;
			if (!enter(&c, span_of(path, len), 0, true))
				return before.line;
			path += len;
		}
	}
	return c.line;
}
