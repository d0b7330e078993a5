/* policy/scalar.h — a JSON scalar as a policy compares it: one canonical text, and a number when it
 * is one.  Private to policy/.
 *
 * - true, false: that text.
 * - A number: its exact value, however it is written: 1, 1.0, 10e-1 and 1E0 are one number, whose
 *   text is "1".  Never rounded.
 * - A string: itself; it is a number too when it follows JSON's grammar of numbers.
 * - Everything else is SCALAR_NONE, which equals nothing, not even itself: null, objects, arrays,
 *   and numbers that are longer than KB_MAX_NUMBER or have an exponent of more than six digits. */
#ifndef KB_POLICY_SCALAR_H
#define KB_POLICY_SCALAR_H
#include "base/bytes.h"
#include "base/limits.h"

struct json_t;

/* SCALAR_TEXT: a string or boolean that is no number. */
enum scalar_kind { SCALAR_NONE, SCALAR_TEXT, SCALAR_NUMBER };
struct scalar {
	enum scalar_kind kind;
	struct span string;              /* of a string or boolean; borrowed */
	char digits[KB_MAX_NUMBER + 16]; /* canonical text of a number */
};

struct scalar scalar_of(const struct json_t *j); /* NULL: SCALAR_NONE */
struct span scalar_text(const struct scalar *s); /* into `s` or what it borrows */
bool scalar_equal(const struct scalar *a, const struct scalar *b);
/* −1, 0, 1 in *order; false when one of them is no number.  Exact. */
bool scalar_order(const struct scalar *a, const struct scalar *b, int *order);

/* The whole seconds and the first nine digits after the point of a number from 0 on; later digits
 * are cut.  Seconds beyond SCALAR_MAX_S become that.  False: `j` is no such number. */
#define SCALAR_MAX_S (INT64_MAX / 8)
bool scalar_seconds(const struct json_t *j, int64_t *seconds, int32_t *nanoseconds);

#endif
