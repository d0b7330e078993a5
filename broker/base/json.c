/* broker/base/json.c — the strict JSON reader, and access to what was read.  Trusts jansson's
 * grammar and UTF-8 checks, except for the byte NUL.  Bounds size and depth itself, because jansson
 * would recurse 2,048 levels deep. */
#include "base/json_priv.h"

#include <jansson.h>

#include "base/limits.h"
#include "base/reserve.h"
#include "base/text.h"

/* Depth of nesting and number of values, without recursion.  Strings are skipped; everything else
 * is left to the parser.  Values are counted because each costs the parser far more memory than the
 * two bytes it takes in the text. */
static enum kb_err shape_check(struct span t)
{
	unsigned depth = 0;
	size_t values = 1;
	bool in_string = false;

	for (size_t i = 0; i < t.len; i++) {
		uint8_t c = t.p[i];
		if (in_string) {
			if (c == '\\')
				i++;
			else if (c == '"')
				in_string = false;
			continue;
		}
		if (c == '"') {
			in_string = true;
		} else if (c == ',') {
			values++;
		} else if (c == '{' || c == '[') {
			values++;
			if (++depth > KB_MAX_JSON_DEPTH)
				return KB_E_JSON_DEPTH;
		} else if ((c == '}' || c == ']') && depth > 0) {
			depth--;
		}
	}
	return values <= KB_MAX_JSON_VALUES ? KB_OK : KB_E_JSON_SIZE;
}

enum kb_err json_load_strict(struct span text, size_t max_bytes, struct json_t **out,
			     unsigned *line)
{
	KB_AUTO(buf) struct buf marked = {0};
	size_t flags = JSON_REJECT_DUPLICATES;
	json_error_t fault;

	*out = NULL;
	if (line != NULL)
		*line = 1;
	if (text.len > max_bytes)
		return KB_E_JSON_SIZE;
	enum kb_err err = text_begin(&text);
	if (err != KB_OK)
		return err;
	if (text.len == 0)
		return KB_E_JSON_SYNTAX;
	/* jansson 2.14 ignores a NUL that follows a number or a literal. */
	if (memchr(text.p, 0, text.len) != NULL)
		return KB_E_JSON_SYNTAX;
	if ((err = shape_check(text)) != KB_OK ||
	    (err = json_mark_numbers(text, KB_MAX_JSON_VALUES, &marked)) != KB_OK)
		return err;
	if (marked.len > 0) {
		text = buf_span(&marked);
		flags |= JSON_ALLOW_NUL;
	}
	json_set_alloc_funcs(reserve_malloc, reserve_free);
	reserve_begin();
	json_t *j = json_loadb((const char *)text.p, text.len, flags, &fault);
	if (reserve_was_used()) {
		json_decref(j);
		return KB_E_NOMEM;
	}
	if (j == NULL) {
		if (line != NULL && fault.line > 0)
			*line = (unsigned)fault.line;
		return json_error_code(&fault) == json_error_duplicate_key ? KB_E_JSON_DUPLICATE
									   : KB_E_JSON_SYNTAX;
	}
	*out = j;
	return KB_OK;
}

void json_free(struct json_t *j)
{
	json_decref(j);
}

enum kb_err json_as_str(const struct json_t *j, size_t max_bytes, struct span *out)
{
	*out = span_of(NULL, 0);
	if (j == NULL)
		return KB_E_JSON_MISSING;
	if (!json_is_string(j) || json_is_kept_number(j))
		return KB_E_JSON_TYPE;
	size_t len = json_string_length(j);
	if (len == 0 || len > max_bytes)
		return KB_E_JSON_LENGTH;
	*out = span_of(json_string_value(j), len);
	return KB_OK;
}

enum kb_err json_get_str(const struct json_t *obj, const char *name, size_t max_bytes,
			 struct span *out)
{
	return json_as_str(json_object_get(obj, name), max_bytes, out);
}

enum kb_err json_get_int(const struct json_t *obj, const char *name, int64_t *out)
{
	const json_t *j = json_object_get(obj, name);

	*out = 0;
	if (j == NULL)
		return KB_E_JSON_MISSING;
	if (!json_is_integer(j))
		return KB_E_JSON_TYPE;
	*out = json_integer_value(j);
	return KB_OK;
}

enum kb_err json_get_bool(const struct json_t *obj, const char *name, bool *out)
{
	const json_t *j = json_object_get(obj, name);

	*out = false;
	if (j == NULL)
		return KB_E_JSON_MISSING;
	if (!json_is_boolean(j))
		return KB_E_JSON_TYPE;
	*out = json_is_true(j);
	return KB_OK;
}

enum kb_err json_get_obj(const struct json_t *obj, const char *name, const struct json_t **out)
{
	const json_t *j = json_object_get(obj, name);

	*out = NULL;
	if (j == NULL)
		return KB_E_JSON_MISSING;
	if (!json_is_object(j))
		return KB_E_JSON_TYPE;
	*out = j;
	return KB_OK;
}

enum kb_err json_get_arr(const struct json_t *obj, const char *name, const struct json_t **out)
{
	const json_t *j = json_object_get(obj, name);

	*out = NULL;
	if (j == NULL)
		return KB_E_JSON_MISSING;
	if (!json_is_array(j))
		return KB_E_JSON_TYPE;
	*out = j;
	return KB_OK;
}

const struct json_t *json_member(const struct json_t *obj, const char *name)
{
	return json_object_get(obj, name);
}

bool json_has(const struct json_t *obj, const char *name)
{
	return json_object_get(obj, name) != NULL;
}

bool json_has_null(const struct json_t *obj, const char *name)
{
	return json_is_null(json_object_get(obj, name));
}

bool json_isa_obj(const struct json_t *j)
{
	return json_is_object(j);
}

size_t json_len(const struct json_t *j)
{
	return json_is_array(j) ? json_array_size(j) : json_object_size(j);
}

const struct json_t *json_at(const struct json_t *arr, size_t i)
{
	return json_array_get(arr, i);
}

/* jansson's iterator takes a non-const object, and only reads it. */
static json_t *unconst(const struct json_t *j)
{
	union {
		const json_t *in;
		json_t *out;
	} u = {.in = j};

	return u.out;
}

bool json_next(const struct json_t *obj, void **it, const char **name, const struct json_t **value)
{
	*it = *it == NULL ? json_object_iter(unconst(obj))
			  : json_object_iter_next(unconst(obj), *it);
	if (*it == NULL)
		return false;
	*name = json_object_iter_key(*it);
	*value = json_object_iter_value(*it);
	return true;
}

enum kb_err json_only(const struct json_t *obj, const char *const *known, const char **unknown)
{
	void *it = NULL;
	const char *name;
	const struct json_t *value;

	while (json_next(obj, &it, &name, &value)) {
		const char *const *k = known;
		while (*k != NULL && strcmp(*k, name) != 0)
			k++;
		if (*k == NULL) {
			if (unknown != NULL)
				*unknown = name;
			return KB_E_JSON_UNKNOWN;
		}
	}
	return KB_OK;
}

static int dump_into(const char *text, size_t len, void *ctx)
{
	buf_add(ctx, text, len);
	return 0;
}

static void dump(struct buf *b, const struct json_t *j, size_t flags)
{
	size_t from = b->len;

	json_set_alloc_funcs(reserve_malloc, reserve_free);
	reserve_begin();
	if (json_dump_callback(j, dump_into, b, flags | JSON_ENCODE_ANY) != 0 || reserve_was_used())
		b->failed = true;
	if (!b->failed)
		json_unmark_numbers(b, from);
}

void json_write(struct buf *b, const struct json_t *j)
{
	dump(b, j, JSON_COMPACT);
}

void json_write_pretty(struct buf *b, const struct json_t *j)
{
	dump(b, j, JSON_INDENT(2));
	buf_add_str(b, "\n");
}
