/* tests/coverage/gate.c — how many of the places where an error is made were reached by a test?
 * Reads what llvm-cov exports on standard input.
 *
 *   gate SOURCE PREFIX=PERCENT…
 *
 * A place is a KB_E_… that is returned, set, chosen or handed on (not one that is compared with),
 * or a `goto`: the way out after a failed check.  The first value of a pessimistic `err = KB_E_BUG`
 * is none.  Counts are those of the innermost region at that very word, so the two sides of `good ?
 * KB_OK : KB_E_X` count apart.  Prints what was not reached, then a line per prefix; exit 1 below a
 * gate. */
#include <ctype.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_SOURCE = 512 * 1024, MAX_GATES = 8 };

struct gate {
	const char *prefix;
	double percent;
	unsigned places, reached;
};
static struct gate gates[MAX_GATES];
static size_t n_gates;
static char text[MAX_SOURCE + 1];

static void die(const char *what)
{
	fprintf(stderr, "coverage gate: %s\n", what);
	exit(2);
}

/* Comments and strings become blanks: what they say is no code. */
static void blank(void)
{
	for (char *p = text; *p != '\0'; p++) {
		char quote = *p;
		if (p[0] == '/' && p[1] == '*') {
			while (*p != '\0' && !(p[0] == '*' && p[1] == '/'))
				if (*p++ != '\n')
					p[-1] = ' ';
			if (*p != '\0')
				p[0] = ' ', p[1] = ' ';
		} else if (quote == '"' || quote == '\'') {
			for (p++; *p != '\0' && *p != quote; p++) {
				if (*p == '\\')
					*p++ = ' ';
				*p = ' ';
			}
		}
	}
}

static bool is_word(char c)
{
	return isalnum((unsigned char)c) || c == '_';
}

static const char *before(const char *p)
{
	while (p > text && isspace((unsigned char)p[-1]))
		p--;
	return p;
}

static bool ends_with(const char *end, const char *word)
{
	size_t n = strlen(word);

	return end - text >= (long)n && memcmp(end - n, word, n) == 0;
}

/* Is the word at `p` a place where an error is made? */
static bool is_place(const char *p)
{
	if (p > text && is_word(p[-1]))
		return false;
	if (strncmp(p, "goto", 4) == 0)
		return !is_word(p[4]);
	if (strncmp(p, "KB_E_", 5) != 0)
		return false;
	const char *from = before(p), *to = p;
	while (is_word(*to))
		to++;
	bool is_bug = to - p == 8 && memcmp(p, "KB_E_BUG", 8) == 0;
	while (isspace((unsigned char)*to))
		to++;
	if (ends_with(from, "==") || ends_with(from, "!=") || ends_with(from, "case") ||
	    (is_bug && ends_with(from, "=")))
		return false;
	return strncmp(to, "==", 2) != 0 && strncmp(to, "!=", 2) != 0;
}

/* The count of the innermost region at line:column, −1 where there is no code.  A segment: [line,
 * column, count, has count, …]. */
static long long count_at(const json_t *segments, long line, long column)
{
	long long count = -1;
	const json_t *s;
	size_t i;

	json_array_foreach(segments, i, s)
	{
		long l = (long)json_integer_value(json_array_get(s, 0)),
		     c = (long)json_integer_value(json_array_get(s, 1));
		if (l > line || (l == line && c > column))
			break;
		count = json_is_true(json_array_get(s, 3))
				? json_integer_value(json_array_get(s, 2))
				: -1;
	}
	return count;
}

static void judge_file(struct gate *g, const char *path, const char *shown, const json_t *segments)
{
	FILE *f = fopen(path, "rb");
	long line = 1, column = 1;

	if (f == NULL)
		die(path);
	text[fread(text, 1, MAX_SOURCE, f)] = '\0';
	fclose(f);
	char *whole = strdup(text);
	if (whole == NULL)
		die("memory");
	blank();
	for (const char *p = text; *p != '\0'; column++, p++) {
		if (*p == '\n') {
			line++;
			column = 0;
			continue;
		}
		long long count = is_place(p) ? count_at(segments, line, column) : -1;
		if (count < 0)
			continue;
		g->places++;
		g->reached += count > 0;
		if (count == 0) {
			const char *begin = whole + (p - text) - (column - 1),
				   *end = strchr(begin, '\n');
			while (isspace((unsigned char)*begin))
				begin++;
			printf("%s:%ld: not reached: %.*s\n", shown, line, (int)(end - begin),
			       begin);
		}
	}
	free(whole);
}

int main(int argc, char **argv)
{
	json_error_t error;
	const json_t *file;
	size_t i;
	bool good = true;

	if (argc < 3)
		die("usage: gate SOURCE PREFIX=PERCENT…");
	for (int a = 2; a < argc && n_gates < MAX_GATES; a++) {
		char *equals = strchr(argv[a], '=');
		if (equals == NULL)
			die(argv[a]);
		*equals = '\0';
		gates[n_gates++] =
			(struct gate){.prefix = argv[a], .percent = strtod(equals + 1, NULL)};
	}
	json_t *doc = json_loadf(stdin, 0, &error);
	if (doc == NULL)
		die(error.text);
	json_array_foreach(
		json_object_get(json_array_get(json_object_get(doc, "data"), 0), "files"), i, file)
	{
		const char *path = json_string_value(json_object_get(file, "filename")),
			   *shown = path;
		char real[4096];
		if (strncmp(shown, argv[1], strlen(argv[1])) == 0)
			shown += strlen(argv[1]) + 1;
		shown += strncmp(shown, "./", 2) == 0 ? 2 : 0;
		size_t len = strlen(shown);
		if (len < 2 || strcmp(shown + len - 2, ".c") != 0)
			continue;
		snprintf(real, sizeof real, "%s/%s", argv[1], shown);
		for (size_t g = 0; g < n_gates; g++)
			if (strncmp(shown, gates[g].prefix, strlen(gates[g].prefix)) == 0)
				judge_file(&gates[g], real, shown,
					   json_object_get(file, "segments"));
	}
	json_decref(doc);
	for (size_t g = 0; g < n_gates; g++) {
		double percent =
			gates[g].places > 0 ? 100.0 * gates[g].reached / gates[g].places : 0;
		bool is_reached = percent >= gates[g].percent;
		printf("coverage: %s %u of %u error places reached: %.1f %% (gate %.0f %%)%s\n",
		       gates[g].prefix, gates[g].reached, gates[g].places, percent,
		       gates[g].percent, is_reached ? "" : ": BELOW");
		good = good && is_reached;
	}
	return good ? 0 : 1;
}
