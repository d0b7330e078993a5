/* policy/pointer.c — walks a JSON Pointer (RFC 6901) through objects and arrays.  Trusts nothing of
 * either: a pointer that is not well formed finds nothing. */
#include "policy/pointer.h"

#include <jansson.h>

#include "policy/reading.h"

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

/* RFC 6901 section 4: digits without leading zeros. */
static bool read_index(struct span name, size_t *index)
{
	*index = 0;
	if (name.len == 0 || name.len > 9 || (name.len > 1 && name.p[0] == '0'))
		return false;
	for (size_t i = 0; i < name.len; i++) {
		if (name.p[i] < '0' || name.p[i] > '9')
			return false;
		*index = *index * 10 + (size_t)(name.p[i] - '0');
	}
	return true;
}

enum pointer_end pointer_walk(const struct json_t *doc, struct span pointer,
			      char name[static KB_MAX_CLAIM_PATH], struct claim_place *place,
			      const struct json_t **value)
{
	size_t len, index;

	*value = NULL;
	*place = (struct claim_place){.object = doc};
	if (!pointer_ok(pointer))
		return POINTER_ABSENT;
	while (pointer.len > 0 && doc != NULL && next_name(&pointer, name, &len)) {
		*place = (struct claim_place){doc, span_of(name, len)};
		if (!json_is_array(doc)) {
			doc = json_object_getn(doc, name, len);
			continue;
		}
		if (!read_index(place->name, &index))
			return POINTER_NOT_INDEX;
		doc = json_array_get(doc, index);
	}
	*value = doc;
	return doc != NULL ? POINTER_FOUND : POINTER_ABSENT;
}

const struct json_t *pointer_find(const struct json_t *doc, struct span pointer)
{
	char name[KB_MAX_CLAIM_PATH];
	const struct json_t *value;
	struct claim_place place;

	(void)pointer_walk(doc, pointer, name, &place, &value);
	return value;
}
