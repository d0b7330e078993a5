/* policy/pointer.h — a place in the claims as a JSON Pointer (RFC 6901).  Objects only: an array
 * has no stable places. */
#ifndef KB_POLICY_POINTER_H
#define KB_POLICY_POINTER_H
#include "base/bytes.h"

struct json_t;

/* "/name", "/name/name" …: at most KB_MAX_CLAIM_PATH bytes and KB_MAX_CLAIM_PARTS names, none of
 * them empty, "~" only as "~0" and "~1". */
bool pointer_ok(struct span pointer);
/* NULL when there is nothing at that place, or pointer_ok() is false. */
const struct json_t *pointer_find(const struct json_t *doc, struct span pointer);

#endif
