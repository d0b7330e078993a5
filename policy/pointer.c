/* policy/pointer.c — walks a JSON Pointer (RFC 6901) through objects.  Trusts nothing of either: a
 * pointer that is not well formed finds nothing. */
#include "policy/pointer.h"

#include <jansson.h>

#include "base/limits.h"

/* The next name, unescaped (RFC 6901 section 4).  False: it is empty or badly escaped. */
static bool next_name(struct span *rest, char name[static KB_MAX_CLAIM_PATH], size_t *len)
{
	size_t end = span_find(*rest, 1, '/');
	struct span text = span_sub(*rest, 1, end - 1);

	*rest = span_sub(*rest, end, rest->len);
	*len = 0;
	for (size_t i = 0; i < text.len; i++) {
		uint8_t c = text.p[i];
		if (c == '~') {
			if (++i == text.len || (text.p[i] != '0' && text.p[i] != '1'))
				return false;
			c = text.p[i] == '0' ? '~' : '/';
		}
		name[(*len)++] = (char)c;
	}
	return *len > 0;
}

bool pointer_ok(struct span pointer)
{
	char name[KB_MAX_CLAIM_PATH];
	size_t len, names = 0;

	if (pointer.len == 0 || pointer.len > KB_MAX_CLAIM_PATH || pointer.p[0] != '/')
		return false;
	for (; pointer.len > 0; names++)
		if (names == KB_MAX_CLAIM_PARTS || !next_name(&pointer, name, &len))
			return false;
	return true;
}

const struct json_t *pointer_find(const struct json_t *doc, struct span pointer)
{
	char name[KB_MAX_CLAIM_PATH];
	size_t len;

	if (!pointer_ok(pointer))
		return NULL;
	while (pointer.len > 0 && doc != NULL && next_name(&pointer, name, &len))
		doc = json_object_getn(doc, name, len);
	return doc;
}
