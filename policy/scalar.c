/* policy/scalar.c — when a claim equals a policy's value or is less. Azure's services compare text
 * (a boolean claim satisfies "true"), so scalars are compared by canonical text, and numbers
 * exactly. Must never give two different numbers the same text, nor one number two texts. */
#include "policy/scalar.h"

#include <jansson.h>
#include <stdio.h>

#include "base/json.h"

enum { MAX_EXPONENT_DIGITS = 6, MAX_PLAIN = 40 /* characters without an exponent */ };

/* ---- decimals ---- */

/* 0.d1d2d3… × 10^point, without zeros at either end of the digits; zero has no digits. */
struct decimal {
	bool is_negative;
	size_t n;
	int32_t point;
	char digits[KB_MAX_NUMBER];
};

/* The exponent at the end of a number; false when it has too many digits. */
static bool read_exponent(struct span t, size_t i, int32_t *out)
{
	bool is_negative = i < t.len && t.p[i] == '-';

	*out = 0;
	if (i < t.len && (t.p[i] == '-' || t.p[i] == '+'))
		i++;
	while (i < t.len && t.p[i] == '0')
		i++;
	if (t.len - i > MAX_EXPONENT_DIGITS)
		return false;
	for (; i < t.len; i++)
		*out = *out * 10 + (t.p[i] - '0');
	if (is_negative)
		*out = -*out;
	return true;
}

/* `t` follows JSON's grammar and has at most KB_MAX_NUMBER digits.  False: the exponent is too long
 * to be compared. */
static bool decimal_read(struct span t, struct decimal *d)
{
	bool is_after_point = false;
	size_t i = 0;
	int32_t exponent = 0;

	*d = (struct decimal){0};
	if (t.p[0] == '-') {
		d->is_negative = true;
		i++;
	}
	for (; i < t.len && t.p[i] != 'e' && t.p[i] != 'E'; i++) {
		if (t.p[i] == '.') {
			is_after_point = true;
			continue;
		}
		if (d->n == KB_MAX_NUMBER)
			KB_BUG();
		if (d->n > 0 || t.p[i] != '0')
			d->digits[d->n++] = (char)t.p[i];
		/* a digit before the point moves it to the right, a zero in front behind it to the
		 * left */
		if (!is_after_point)
			d->point += d->n > 0;
		else if (d->n == 0)
			d->point--;
	}
	while (d->n > 0 && d->digits[d->n - 1] == '0')
		d->n--;
	if (d->n == 0) {
		*d = (struct decimal){0};
		return true;
	}
	if (i < t.len && !read_exponent(t, i + 1, &exponent))
		return false;
	d->point += exponent;
	return true;
}

/* Digits with the point in its place where that is short, else d.ddde±N. */
static void decimal_text(const struct decimal *d, char *out, size_t cap)
{
	const char *sign = d->is_negative ? "-" : "";
	int n = (int)d->n, point = d->point;

	if (n == 0)
		(void)snprintf(out, cap, "0");
	else if (point >= n && point <= MAX_PLAIN)
		(void)snprintf(out, cap, "%s%.*s%.*s", sign, n, d->digits, point - n,
			       "0000000000000000000000000000000000000000");
	else if (point > 0 && point < n)
		(void)snprintf(out, cap, "%s%.*s.%.*s", sign, point, d->digits, n - point,
			       d->digits + point);
	else if (point <= 0 && n - point <= MAX_PLAIN)
		(void)snprintf(out, cap, "%s0.%.*s%.*s", sign, -point,
			       "0000000000000000000000000000000000000000", n, d->digits);
	else
		(void)snprintf(out, cap, "%s%c%s%.*se%d", sign, d->digits[0], n > 1 ? "." : "",
			       n - 1, d->digits + 1, point - 1);
}

static int sign(bool less, bool greater)
{
	return greater ? 1 : less ? -1 : 0;
}

/* Both from zero on. */
static int order_of_size(const struct decimal *a, const struct decimal *b)
{
	if (a->n == 0 || b->n == 0)
		return sign(a->n<b->n, a->n> b->n);
	if (a->point != b->point)
		return sign(a->point<b->point, a->point> b->point);
	int c = memcmp(a->digits, b->digits, a->n < b->n ? a->n : b->n);
	return c != 0 ? sign(c<0, c> 0) : sign(a->n<b->n, a->n> b->n);
}

/* ---- scalars ---- */

static bool is_comparable(struct span text, struct decimal *d)
{
	bool is_integer;

	return text.len > 0 && text.len <= KB_MAX_NUMBER &&
	       json_is_number_text(text, &is_integer) && decimal_read(text, d);
}

static struct scalar of_number(struct span text)
{
	struct scalar s = {.kind = SCALAR_NONE};
	struct decimal d;

	if (!is_comparable(text, &d))
		return s;
	s.kind = SCALAR_NUMBER;
	decimal_text(&d, s.digits, sizeof s.digits);
	return s;
}

/* A string compares by its own text, and by order as the number that it spells. */
static struct scalar of_string(struct span text)
{
	struct decimal d;

	return (struct scalar){.kind = is_comparable(text, &d) ? SCALAR_NUMBER : SCALAR_TEXT,
			       .string = text};
}

struct scalar scalar_of(const struct json_t *j)
{
	char storage[JSON_INT_TEXT];
	struct span number;

	if (json_as_number(j, storage, &number))
		return of_number(number);
	if (json_is_string(j))
		return of_string(span_of(json_string_value(j), json_string_length(j)));
	if (json_is_boolean(j))
		return (struct scalar){.kind = SCALAR_TEXT,
				       .string = span_str(json_is_true(j) ? "true" : "false")};
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

bool scalar_order(const struct scalar *a, const struct scalar *b, int *order)
{
	struct decimal x, y;

	if (a->kind != SCALAR_NUMBER || b->kind != SCALAR_NUMBER ||
	    !decimal_read(scalar_text(a), &x) || !decimal_read(scalar_text(b), &y))
		return false;
	if (x.is_negative != y.is_negative)
		*order = x.is_negative ? -1 : 1;
	else
		*order = x.is_negative ? order_of_size(&y, &x) : order_of_size(&x, &y);
	return true;
}

/* ---- times ---- */

/* The digit whose value is 10^exponent. */
static int digit_of(const struct decimal *d, int64_t exponent)
{
	int64_t i = d->point - 1 - exponent;

	return i >= 0 && i < (int64_t)d->n ? d->digits[i] - '0' : 0;
}

bool scalar_seconds(const struct json_t *j, int64_t *seconds, int32_t *nanoseconds)
{
	char storage[JSON_INT_TEXT];
	struct decimal d;
	struct span text;

	*seconds = 0;
	*nanoseconds = 0;
	if (!json_as_number(j, storage, &text) || !is_comparable(text, &d) || d.is_negative)
		return false;
	for (int64_t e = d.point - 1; e >= 0; e--) {
		if (*seconds > SCALAR_MAX_S / 10 - 1) {
			*seconds = SCALAR_MAX_S;
			return true;
		}
		*seconds = *seconds * 10 + digit_of(&d, e);
	}
	for (int64_t e = -1; e >= -9; e--)
		*nanoseconds = *nanoseconds * 10 + digit_of(&d, e);
	return true;
}
