/* policy/reading.h — what a path of a policy finds in the claims.  A path that begins with "/" is a
 * JSON Pointer (RFC 6901) and names one place.  Any other is names joined by dots: since a name may
 * have dots itself, it is read in every way it can be read.  Private to policy/. */
#ifndef KB_POLICY_READING_H
#define KB_POLICY_READING_H
#include "base/bytes.h"
#include "base/limits.h"

struct json_t;

enum reading_kind {
	READ_ABSENT,  /* proved: no reading of the path finds anything */
	READ_FOUND,   /* one value, maybe at several places */
	READ_DIFFERS, /* places with different values */
	READ_ARRAY,   /* the path leads into an array with objects: names say nothing of those */
	READ_MANY,    /* more objects or places than the limits allow */
};

struct claim_place { /* a member by object and name, or an array's entry by its index; borrowed */
	const struct json_t *object;
	struct span name;
};

struct reading {
	enum reading_kind kind;
	const struct json_t *value; /* of READ_FOUND, else NULL */
	size_t n;                   /* of place and at; also when the values differ */
	struct claim_place place[KB_MAX_CLAIM_PLACES];
	const struct json_t *at[KB_MAX_CLAIM_PLACES];
	char name[KB_MAX_CLAIM_PATH]; /* of a pointer's place */
};

/* `out` must not be copied: places may point into it.  `from` may be NULL: READ_ABSENT. */
void claims_read(const struct json_t *from, struct span path, struct reading *out);
bool reading_is_at(const struct reading *r, struct claim_place place);

/* What is wrong with a path: NULL, or a sentence.  *err is KB_E_POLICY_FORMAT or
 * KB_E_POLICY_LIMIT. */
const char *claim_path_fault(struct span path, enum kb_err *err);

#endif
