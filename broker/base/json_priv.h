/* broker/base/json_priv.h — how the strict reader and the writer keep numbers; shared by json.c and
 * json_number.c. */
#ifndef KB_BASE_JSON_PRIV_H
#define KB_BASE_JSON_PRIV_H
#include "base/json.h"

/* The text with every number that is no 64-bit integer marked for json_is_kept_number(); empty when
 * there is none, or when the text has an escaped NUL.  `out` is the caller's to free in any
 * case. */
KB_MUST_CHECK enum kb_err json_mark_numbers(struct span text, size_t max_values, struct buf *out);
bool json_is_kept_number(const struct json_t *j);
/* Written text from `from` on: marked numbers become numbers again. */
void json_unmark_numbers(struct buf *b, size_t from);

#endif
