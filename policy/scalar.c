/* policy/scalar.c — when a claim equals a policy's value or is less. Azure's services compare text
 * (a boolean claim satisfies "true"), so scalars are compared by canonical text, and numbers
 * exactly. Must never give two different numbers the same text. */
#include "policy/scalar.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define EXACT_REAL 9007199254740992.0 /* 2^53: below it every integer is a double of its own */

static struct scalar of_integer(int64_t n)
{
	struct scalar s = {.kind = SCALAR_INT, .integer = n};

	(void)snprintf(s.digits, sizeof s.digits, "%lld", (long long)n);
	return s;
}

static struct scalar of_real(double x)
{
	struct scalar s = {.kind = SCALAR_REAL, .real = x};

	if (!(fabs(x) < EXACT_REAL))
		return (struct scalar){.kind = SCALAR_NONE};
	if (x == trunc(x))
		return of_integer((int64_t)x);
	for (int digits = 15; digits <= 17;
	     digits++) { /* 17 always read back the same (IEEE 754 §5.12.2) */
		(void)snprintf(s.digits, sizeof s.digits, "%.*g", digits, x);
		if (strtod(s.digits, NULL) == x)
			break;
	}
	return s;
}

static size_t digits_at(struct span t, size_t i)
{
	size_t from = i;

	while (i < t.len && t.p[i] >= '0' && t.p[i] <= '9')
		i++;
	return i - from;
}

/* Is the whole of `t` a number (RFC 8259 §6), and is it an integer?  strtod alone would take " 3",
 * "+3", "0x10", "inf". */
static bool is_number(struct span t, bool *is_integer)
{
	size_t i = t.len > 0 && t.p[0] == '-' ? 1 : 0;
	size_t n = digits_at(t, i);

	if (n == 0 || (n > 1 && t.p[i] == '0'))
		return false;
	i += n;
	*is_integer = i == t.len;
	if (i < t.len && t.p[i] == '.') {
		if ((n = digits_at(t, i + 1)) == 0)
			return false;
		i += 1 + n;
	}
	if (i < t.len && (t.p[i] == 'e' || t.p[i] == 'E')) {
		i++;
		if (i < t.len && (t.p[i] == '+' || t.p[i] == '-'))
			i++;
		if ((n = digits_at(t, i)) == 0)
			return false;
		i += n;
	}
	return i == t.len;
}

/* A string compares by its own text, and by order as the number that it spells. */
static struct scalar of_string(struct span text)
{
	struct scalar s = {.kind = SCALAR_TEXT, .string = text};
	char copy[64];
	bool is_integer;

	if (text.len >= sizeof copy || !is_number(text, &is_integer))
		return s;
	memcpy(copy, text.p, text.len);
	copy[text.len] = '\0';
	errno = 0;
	if (is_integer) {
		s.integer = strtoll(copy, NULL, 10);
		s.kind = errno == 0 ? SCALAR_INT : SCALAR_TEXT;
		return s;
	}
	struct scalar number = of_real(strtod(copy, NULL));
	s.kind = number.kind == SCALAR_NONE ? SCALAR_TEXT : number.kind;
	s.integer = number.integer;
	s.real = number.real;
	return s;
}

struct scalar scalar_of(const struct json_t *j)
{
	if (json_is_string(j))
		return of_string(span_of(json_string_value(j), json_string_length(j)));
	if (json_is_boolean(j))
		return (struct scalar){.kind = SCALAR_TEXT,
				       .string = span_str(json_is_true(j) ? "true" : "false")};
	if (json_is_integer(j))
		return of_integer(json_integer_value(j));
	if (json_is_real(j))
		return of_real(json_real_value(j));
	return (struct scalar){.kind = SCALAR_NONE};
}

struct span scalar_text(const struct scalar *s)
{
	return s->string.p != NULL ? s->string : span_str(s->digits);
}

bool scalar_equal(const struct scalar *a, const struct scalar *b)
{
	return a->kind != SCALAR_NONE && b->kind != SCALAR_NONE &&
	       span_eq(scalar_text(a), scalar_text(b));
}

static int sign(bool less, bool greater)
{
	return greater ? 1 : less ? -1 : 0;
}

bool scalar_order(const struct scalar *a, const struct scalar *b, int *order)
{
	bool numbers = (a->kind == SCALAR_INT || a->kind == SCALAR_REAL) &&
		       (b->kind == SCALAR_INT || b->kind == SCALAR_REAL);

	if (!numbers)
		return false;
	if (a->kind == SCALAR_INT && b->kind == SCALAR_INT) {
		*order = sign(a->integer<b->integer, a->integer> b->integer);
		return true;
	}
	/* At least one is a real below 2^53 and not integral: rounding a larger integer to a double
	 * cannot change the order. */
	double x = a->kind == SCALAR_INT ? (double)a->integer : a->real;
	double y = b->kind == SCALAR_INT ? (double)b->integer : b->real;
	*order = sign(x<y, x> y);
	return true;
}
