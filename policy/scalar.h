/* policy/scalar.h — a JSON scalar as a policy compares it: one canonical text, and a number when it
 * is one.  Private to policy/.
 *
 * - true, false: that text.
 * - An integer: decimal.
 * - A real with |x| < 2^53: the shortest decimal that reads back the same; 1.0 is "1".
 * - A string: itself; it is a number when it follows JSON's grammar of numbers.
 * - Everything else is SCALAR_NONE, which equals nothing, not even itself: null, objects, arrays,
 * and larger reals, because neighbours would have the same text. */
#ifndef KB_POLICY_SCALAR_H
#define KB_POLICY_SCALAR_H
#include "base/bytes.h"

struct json_t;

/* SCALAR_TEXT: a string or boolean that is no number. */
enum scalar_kind { SCALAR_NONE, SCALAR_TEXT, SCALAR_INT, SCALAR_REAL };
struct scalar {
	enum scalar_kind kind;
	struct span string; /* of a string or boolean; borrowed */
	int64_t integer;
	double real;
	char digits[32]; /* of a number */
};

struct scalar scalar_of(const struct json_t *j); /* NULL: SCALAR_NONE */
struct span scalar_text(const struct scalar *s); /* into `s` or what it borrows */
bool scalar_equal(const struct scalar *a, const struct scalar *b);
/* −1, 0, 1 in *order; false when one of them is no number.  Exact: integers are never compared as
 * reals. */
bool scalar_order(const struct scalar *a, const struct scalar *b, int *order);

#endif
