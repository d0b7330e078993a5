/* tests/mutation/mutate.c — one wrong change at a time to a C file, for tests/mutation/run: the
 * mistakes that a tired programmer makes with a check.  It decides nothing.  Kinds of change:
 * - ignore: if (c) …; the condition is computed, and then taken as false
 * - invert: the condition is negated
 * - drop: a && b, a || b; one term is computed and has no effect
 * - bound: < and <=, > and >= are exchanged
 * - equal: == and != are exchanged
 * - choose: c ? a : b always takes the same side
 * - forgive: an error code that is returned or set becomes KB_OK
 * - flip: true and false that are returned are exchanged
 * - forget: x |= y; y has no effect, or only the last one has
 *
 * mutate list FILE: "number TAB line TAB kind TAB the statement as it will be", see list().
 * mutate apply FILE NUMBER: the whole file with that change, 0: as it is. */
#include <ctype.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_SOURCE = 256 * 1024, MAX_TOKENS = 65536, MAX_MUTANTS = 4096 };

struct token {
	size_t at, len;
	int depth; /* of parentheses and brackets */
};
struct mutant {
	const char *kind;
	size_t from, to; /* what is replaced */
	char *with;
};

static char text[MAX_SOURCE + 1];
static size_t text_len;
static struct token tok[MAX_TOKENS];
static size_t n_tok;
static struct mutant mutant[MAX_MUTANTS];
static size_t n_mutant;

static void die(const char *what)
{
	fprintf(stderr, "mutate: %s\n", what);
	exit(2);
}

/* ---- tokens ---- */

static size_t skip_quoted(size_t i)
{
	char quote = text[i++];

	while (i < text_len && text[i] != quote)
		i += text[i] == '\\' ? 2 : 1;
	return i + 1;
}

static size_t skip_line(size_t i)
{
	while (i < text_len && (text[i] != '\n' || text[i - 1] == '\\'))
		i++;
	return i;
}

static size_t token_len(size_t i)
{
	static const char *const three[] = {"<<=", ">>=", "..."};
	static const char *const two[] = {
		"&&", "||", "==", "!=", "<=", ">=", "<<", ">>", "->", "++",
		"--", "+=", "-=", "*=", "/=", "%=", "&=", "|=", "^="};
	size_t n = 0;

	if (text[i] == '"' || text[i] == '\'')
		return skip_quoted(i) - i;
	while (isalnum((unsigned char)text[i + n]) || text[i + n] == '_')
		n++;
	if (n > 0)
		return n;
	for (size_t k = 0; k < sizeof three / sizeof *three; k++)
		if (strncmp(text + i, three[k], 3) == 0)
			return 3;
	for (size_t k = 0; k < sizeof two / sizeof *two; k++)
		if (strncmp(text + i, two[k], 2) == 0)
			return 2;
	return 1;
}

static void tokenize(void)
{
	int depth = 0;

	for (size_t i = 0; i < text_len;) {
		if (text[i] == '\n' && text[i + 1] == '#') {
			i = skip_line(i + 1);
		} else if (isspace((unsigned char)text[i])) {
			i++;
		} else if (text[i] == '/' && text[i + 1] == '*') {
			const char *end = strstr(text + i + 2, "*/");
			i = end == NULL ? text_len : (size_t)(end + 2 - text);
		} else if (text[i] == '/' && text[i + 1] == '/') {
			i = skip_line(i);
		} else {
			if (n_tok == MAX_TOKENS)
				die("too many tokens");
			depth -= text[i] == ')' || text[i] == ']';
			tok[n_tok] = (struct token){i, token_len(i), depth};
			depth += text[i] == '(' || text[i] == '[';
			i += tok[n_tok++].len;
		}
	}
}

static bool is(size_t t, const char *what)
{
	return t < n_tok && tok[t].len == strlen(what) &&
	       memcmp(text + tok[t].at, what, tok[t].len) == 0;
}

static bool is_one_of(size_t t, const char *const *list)
{
	for (; *list != NULL; list++)
		if (is(t, *list))
			return true;
	return false;
}

static bool starts(size_t t, const char *with)
{
	return t < n_tok && tok[t].len >= strlen(with) &&
	       memcmp(text + tok[t].at, with, strlen(with)) == 0;
}

static size_t closing(size_t open)
{
	size_t t = open + 1;

	while (t < n_tok && tok[t].depth > tok[open].depth)
		t++;
	return t;
}

/* ---- mutants ---- */

/* Tokens [a, b) become `fmt`, whose one %s (if any) is their own text. */
__attribute__((format(printf, 4, 5))) static void add(const char *kind, size_t a, size_t b,
						      const char *fmt, ...)
{
	va_list ap;

	if (n_mutant == MAX_MUTANTS)
		die("too many mutants");
	struct mutant *m = &mutant[n_mutant++];
	*m = (struct mutant){kind, tok[a].at, tok[b - 1].at + tok[b - 1].len, NULL};
	va_start(ap, fmt);
	if (vasprintf(&m->with, fmt, ap) < 0)
		die("memory");
	va_end(ap);
}

/* Tokens [a, b) as an expression that is computed, and then `value` counts instead. */
static void add_fixed(const char *kind, size_t a, size_t b, int value)
{
	size_t from = tok[a].at, to = tok[b - 1].at + tok[b - 1].len;

	add(kind, a, b, "((%.*s), %d)", (int)(to - from), text + from, value);
}

static const char *const edges[] = {
	"(", "[", "{", "}", ",", ";", "=", "|=", "&=", "+=", "-=", "?", ":", "return", "||", NULL};

/* Where the operand that ends before token `op` begins, and where the one that begins behind it
 * ends.  && binds stronger than ||. */
static size_t left_of(size_t op, bool stop_at_and)
{
	size_t t = op;

	while (t > 0) {
		size_t p = t - 1;
		if (tok[p].depth < tok[op].depth)
			break;
		/* of a group to the left: the depth before it is opened */
		if (tok[p].depth == tok[op].depth && (is(p, "(") || is(p, "["))) {
			t = p;
			continue;
		}
		if (tok[p].depth == tok[op].depth &&
		    (is_one_of(p, edges) || (stop_at_and && is(p, "&&"))))
			break;
		t = p;
	}
	return t;
}

static size_t right_of(size_t op, bool stop_at_and)
{
	size_t t = op + 1;

	while (t < n_tok && tok[t].depth >= tok[op].depth) {
		if (tok[t].depth == tok[op].depth && !is(t, "(") && !is(t, "[") &&
		    (is_one_of(t, edges) || (stop_at_and && is(t, "&&"))))
			break;
		t++;
	}
	return t;
}

static void mutate_logic(size_t op)
{
	bool is_and = is(op, "&&");
	size_t a = left_of(op, is_and), b = right_of(op, is_and);

	if (a < op &&
	    !(a > 0 && tok[a - 1].depth == tok[op].depth && is(a - 1, is_and ? "&&" : "||")))
		add_fixed("drop", a, op, is_and);
	if (b > op + 1)
		add_fixed("drop", op + 1, b, is_and);
}

static void mutate_condition(size_t open)
{
	size_t end = closing(open);
	size_t from = tok[open].at + 1, to = tok[end].at;

	add_fixed("ignore", open + 1, end, 0);
	add("invert", open + 1, end, "!(%.*s)", (int)(to - from), text + from);
}

/* Is the comparison at `op` a term of a condition?  Then "invert" turns it round where it stands
 * alone, and "drop" takes it out of a chain. */
static bool is_term(size_t op)
{
	size_t a = left_of(op, true), b = right_of(op, true);

	return is(b, "&&") || is(b, "||") || (a > 0 && (is(a - 1, "&&") || is(a - 1, "||"))) ||
	       (a >= 2 && is(a - 1, "(") && is(a - 2, "if") && is(b, ")"));
}

static void mutate_comparison(size_t op)
{
	static const char *const pairs[][2] = {{"<", "<="}, {"<=", "<"}, {">", ">="}, {">=", ">"}};

	for (size_t i = 0; i < 4; i++)
		if (is(op, pairs[i][0]))
			add("bound", op, op + 1, "%s", pairs[i][1]);
	if ((is(op, "==") || is(op, "!=")) && !is_term(op))
		add("equal", op, op + 1, "%s", is(op, "==") ? "!=" : "==");
}

static void mutate_accumulation(size_t op)
{
	size_t b = right_of(op, false);

	while (b < n_tok && !is(b, ";"))
		b++;
	add_fixed("forget", op + 1, b, 0);
	add("forget", op, op + 1, "=");
}

static void mutate_token(size_t t)
{
	if ((is(t, "if") || is(t, "while")) && is(t + 1, "("))
		mutate_condition(t + 1);
	else if (is(t, "&&") || is(t, "||"))
		mutate_logic(t);
	else if (is(t, "<") || is(t, "<=") || is(t, ">") || is(t, ">=") || is(t, "==") ||
		 is(t, "!="))
		mutate_comparison(t);
	else if (is(t, "?")) {
		size_t a = left_of(t, false);
		while (a > 0 && tok[a - 1].depth == tok[t].depth &&
		       (is(a - 1, "||") || is(a - 1, "&&")))
			a = left_of(a - 1, false);
		add_fixed("choose", a, t, 1);
		add_fixed("choose", a, t, 0);
	} else if (is(t, "return") && starts(t + 1, "KB_E_") && is(t + 2, ";"))
		add("forgive", t + 1, t + 2, "KB_OK");
	else if (is(t, "return") && (is(t + 1, "true") || is(t + 1, "false")))
		add("flip", t + 1, t + 2, "%s", is(t + 1, "true") ? "false" : "true");
	else if (is(t, "=") && starts(t + 1, "KB_E_") && is(t + 2, ";") && !is(t + 1, "KB_E_BUG"))
		add("forgive", t + 1, t + 2, "KB_OK");
	else if (is(t, "|="))
		mutate_accumulation(t);
}

/* ---- out ---- */

static char last; /* what was printed last of a statement */

/* A blank that line breaks and comments come to; none inside of brackets, where a break may stand
 * as well. */
static void put_blank(char next)
{
	if (last != '\0' && strchr("([", last) == NULL && strchr(")],;", next) == NULL)
		putchar(' ');
}

/* Text of the program in one line, without comments, whatever its line breaks are. */
static void put(const char *p, size_t len)
{
	bool was_space = false;

	for (size_t i = 0; i < len; i++) {
		if (isspace((unsigned char)p[i])) {
			was_space = true;
		} else if (i + 1 < len && p[i] == '/' && p[i + 1] == '*') {
			const char *end = strstr(p + i + 2, "*/");
			i = end == NULL ? len : (size_t)(end + 1 - p);
			was_space = true;
		} else {
			if (was_space)
				put_blank(p[i]);
			was_space = false;
			putchar(last = p[i]);
		}
	}
	if (was_space)
		last = last == '\0' ? last : ' ';
}

/* Ends of statements are ; { and } outside of parentheses. */
static bool is_edge(size_t t)
{
	return tok[t].depth == 0 && (is(t, ";") || is(t, "{") || is(t, "}"));
}

/* A mutant is named by its statement, with the change between « and »: neither a line number nor a
 * line break is part of it. */
static void list(void)
{
	for (size_t i = 0; i < n_mutant; i++) {
		const struct mutant *m = &mutant[i];
		size_t line = 1, a = 0, b;

		for (size_t k = 0; k < m->from; k++)
			line += text[k] == '\n';
		for (size_t t = 0; t < n_tok && tok[t].at < m->from; t++)
			if (is_edge(t))
				a = t + 1;
		for (b = a; b < n_tok && (tok[b].at < m->to || !is_edge(b)); b++)
			continue;
		size_t end = b < n_tok ? tok[b].at + tok[b].len : text_len;
		printf("%zu\t%zu\t%s\t", i + 1, line, m->kind);
		last = '\0';
		put(text + tok[a].at, m->from - tok[a].at);
		printf("%s«", last == ' ' ? " " : "");
		last = '\0';
		put(m->with, strlen(m->with));
		printf("»");
		put(text + m->to, end - m->to);
		putchar('\n');
	}
}

static void apply(size_t which)
{
	if (which > n_mutant)
		die("no such mutant");
	if (which == 0) { /* as it is */
		fwrite(text, 1, text_len, stdout);
		return;
	}
	const struct mutant *m = &mutant[which - 1];
	fwrite(text, 1, m->from, stdout);
	fputs(m->with, stdout);
	fwrite(text + m->to, 1, text_len - m->to, stdout);
}

int main(int argc, char **argv)
{
	if (argc < 3)
		die("usage: mutate list FILE | mutate apply FILE NUMBER");
	FILE *f = fopen(argv[2], "rb");
	if (f == NULL)
		die(argv[2]);
	text_len = fread(text, 1, MAX_SOURCE, f);
	fclose(f);
	tokenize();
	for (size_t t = 0; t < n_tok; t++)
		mutate_token(t);
	if (strcmp(argv[1], "list") == 0)
		list();
	else
		apply(argc > 3 ? strtoul(argv[3], NULL, 10) : 0);
	for (size_t i = 0; i < n_mutant; i++)
		free(mutant[i].with);
	return fflush(stdout) == 0 ? 0 : 2;
}
