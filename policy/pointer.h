/* policy/pointer.h — a place in the claims as a JSON Pointer (RFC 6901). */
#ifndef KB_POLICY_POINTER_H
#define KB_POLICY_POINTER_H
#include "base/bytes.h"
#include "base/limits.h"

struct json_t;
struct claim_place;

/* "/name", "/name/name" …: at most KB_MAX_CLAIM_PATH bytes and KB_MAX_CLAIM_PARTS names, none of
 * them empty, "~" only as "~0" and "~1". */
bool pointer_ok(struct span pointer);

enum pointer_end {
	POINTER_FOUND,
	POINTER_ABSENT,
	POINTER_NOT_INDEX, /* a name that is no index, for the array place->object */
};
/* Walk through objects, and through arrays by index ("0", "1" …).  `name` is storage for
 * place->name.  When pointer_ok() is false: POINTER_ABSENT. */
enum pointer_end pointer_walk(const struct json_t *doc, struct span pointer,
			      char name[static KB_MAX_CLAIM_PATH], struct claim_place *place,
			      const struct json_t **value);
/* NULL when there is nothing at that place. */
const struct json_t *pointer_find(const struct json_t *doc, struct span pointer);

#endif
