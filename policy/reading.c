/* policy/reading.c — finds the claim that a path names.  A policy may ask that a claim is absent,
 * so a look-up must not miss one: what cannot be read for certain is neither there nor absent.
 * Must never take one of two values that differ. */
#include "policy/reading.h"

#include <jansson.h>

#include "policy/pointer.h"
#include "policy/scalar.h"

#define TEXT_OF(n)  #n
#define LIMIT_OF(n) TEXT_OF(n)

static bool is_pointer(struct span path)
{
	return path.len > 0 && path.p[0] == '/';
}

const char *claim_path_fault(struct span path, enum kb_err *err)
{
	size_t parts = 0;

	*err = KB_E_POLICY_LIMIT;
	if (path.len > KB_MAX_CLAIM_PATH)
		return "the claim path is longer than " LIMIT_OF(KB_MAX_CLAIM_PATH) " bytes";
	for (size_t from = 0; from <= path.len; parts++)
		from = span_find(path, from, is_pointer(path) ? '/' : '.') + 1;
	if (parts - is_pointer(path) > KB_MAX_CLAIM_PARTS)
		return "the claim path has more than " LIMIT_OF(KB_MAX_CLAIM_PARTS) " names";
	*err = KB_E_POLICY_FORMAT;
	if (is_pointer(path))
		return pointer_ok(path) ? NULL
					: "the JSON Pointer has an empty name, or a \"~\" that is "
					  "neither \"~0\" nor \"~1\"";
	for (size_t from = 0; from <= path.len;) {
		size_t dot = span_find(path, from, '.');
		if (dot == from)
			return "a name in the claim path is empty";
		from = dot + 1;
	}
	return NULL;
}

/* ---- arrays ---- */

/* Without recursion: the strict reader bounds the depth. */
static bool has_object(const struct json_t *array)
{
	struct {
		const struct json_t *array;
		size_t next;
	} open[KB_MAX_JSON_DEPTH + 1] = {{array, 0}};
	size_t depth = 1;

	while (depth > 0) {
		const struct json_t *entry =
			json_array_get(open[depth - 1].array, open[depth - 1].next++);
		if (entry == NULL)
			depth--;
		else if (json_is_object(entry) ||
			 (json_is_array(entry) && depth == KB_MAX_JSON_DEPTH))
			return true;
		else if (json_is_array(entry)) {
			open[depth].array = entry;
			open[depth++].next = 0;
		}
	}
	return false;
}

/* ---- places ---- */

static bool agree(const struct json_t *a, const struct json_t *b)
{
	struct scalar x = scalar_of(a), y = scalar_of(b);

	return scalar_equal(&x, &y) || json_equal(a, b);
}

static void add_place(struct reading *r, struct claim_place place, const struct json_t *value)
{
	if (r->n == KB_MAX_CLAIM_PLACES) {
		r->kind = READ_MANY;
		return;
	}
	r->place[r->n] = place;
	r->at[r->n++] = value;
}

static void conclude(struct reading *r)
{
	if (r->kind != READ_ABSENT || r->n == 0)
		return;
	r->kind = READ_FOUND;
	for (size_t i = 1; i < r->n; i++)
		if (!agree(r->at[0], r->at[i]))
			r->kind = READ_DIFFERS;
	if (r->kind == READ_FOUND)
		r->value = r->at[0];
}

bool reading_is_at(const struct reading *r, struct claim_place place)
{
	for (size_t i = 0; i < r->n; i++)
		if (r->place[i].object == place.object && span_eq(r->place[i].name, place.name))
			return true;
	return false;
}

/* ---- the two forms ---- */

static void read_pointer(const struct json_t *from, struct span path, struct reading *r)
{
	struct claim_place place;
	const struct json_t *value = NULL;

	switch (pointer_walk(from, path, r->name, &place, &value)) {
	case POINTER_FOUND:
		add_place(r, place, value);
		return;
	case POINTER_ABSENT:
		return;
	case POINTER_NOT_INDEX:
		if (has_object(place.object))
			r->kind = READ_ARRAY;
		return;
	}
	KB_BUG();
}

struct open_object { /* and where in the path its names begin */
	const struct json_t *json;
	size_t from;
};

/* Each object is reached by one text, so no object is searched twice. */
static void read_names(const struct json_t *from, struct span path, struct reading *r)
{
	struct open_object open[KB_MAX_CLAIM_OBJECTS] = {{from, 0}};
	size_t n = 1;

	for (size_t i = 0; i < n; i++) {
		struct open_object at = open[i];
		if (json_is_array(at.json) && has_object(at.json))
			r->kind = READ_ARRAY;
		for (size_t end = at.from; json_is_object(at.json) && end < path.len; end++) {
			end = span_find(path, end, '.');
			struct span name = span_sub(path, at.from, end - at.from);
			const struct json_t *value =
				json_object_getn(at.json, (const char *)name.p, name.len);
			if (value == NULL)
				continue;
			if (end == path.len)
				add_place(r, (struct claim_place){at.json, name}, value);
			else if (n == KB_MAX_CLAIM_OBJECTS)
				r->kind = READ_MANY;
			else if (json_is_object(value) || json_is_array(value))
				open[n++] = (struct open_object){value, end + 1};
		}
	}
}

void claims_read(const struct json_t *from, struct span path, struct reading *out)
{
	out->kind = READ_ABSENT;
	out->value = NULL;
	out->n = 0;
	if (is_pointer(path))
		read_pointer(from, path, out);
	else
		read_names(from, path, out);
	conclude(out);
}
