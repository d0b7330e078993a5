/* base/json.c — strict JSON.  Trusts jansson's grammar and UTF-8 checks, but for the byte NUL;
 * bounds size and depth itself, because jansson would follow 2,048 levels on the stack.  Never
 * touches a file. */
#include "base/json.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/limits.h"
#include "base/scarce.h"

/* Depth of nesting and number of values, without recursion: quotes are honoured, the rest is left
 * to the parser.  A value costs the parser far more than the two bytes that it may be long
 * (SECURITY G4). */
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
	json_error_t fault;

	*out = NULL;
	if (line != NULL)
		*line = 1;
	if (text.len == 0)
		return KB_E_JSON_SYNTAX;
	if (text.len > max_bytes)
		return KB_E_JSON_SIZE;
	if (memchr(text.p, 0, text.len) !=
	    NULL) /* jansson 2.14 passes over one that follows a number or a literal */
		return KB_E_JSON_SYNTAX;
	enum kb_err err = shape_check(text);
	if (err != KB_OK)
		return err;
	json_set_alloc_funcs(scarce_malloc, scarce_free);
	scarce_begin();
	json_t *j = json_loadb((const char *)text.p, text.len, JSON_REJECT_DUPLICATES, &fault);
	if (scarce_was_used()) {
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
	if (!json_is_string(j))
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

/* jansson's iterator takes a non-const object but only reads it. */
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
	json_set_alloc_funcs(scarce_malloc, scarce_free);
	scarce_begin();
	if (json_dump_callback(j, dump_into, b, flags | JSON_ENCODE_ANY) != 0 || scarce_was_used())
		b->failed = true;
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

/* ---- the quick way ---- */

static size_t plain_space(struct span t, size_t i)
{
	while (i < t.len && (t.p[i] == ' ' || t.p[i] == '\t' || t.p[i] == '\r' || t.p[i] == '\n'))
		i++;
	return i;
}

/* The string that begins at i; false when it has anything to decode. */
static bool plain_string(struct span t, size_t *i, struct span *out)
{
	uint8_t odd = 0;

	if (*i >= t.len || t.p[*i] != '"')
		return false;
	size_t end = span_find(t, *i + 1, '"');
	if (end == t.len)
		return false;
	*out = span_sub(t, *i + 1, end - *i - 1);
	for (size_t k = 0; k < out->len;
	     k++) /* without a branch, so that the compiler can take many bytes at once */
		odd |= (uint8_t)((out->p[k] < 0x20) | (out->p[k] >= 0x7f) | (out->p[k] == '\\'));
	*i = end + 1;
	return odd == 0;
}

size_t json_scan_plain(struct span t, struct json_pair *pairs, size_t cap)
{
	size_t n = 0;
	size_t i = plain_space(t, 0);

	if (i >= t.len || t.p[i] != '{')
		return 0;
	do {
		i = plain_space(t, i + 1);
		if (n == cap || !plain_string(t, &i, &pairs[n].name))
			return 0;
		i = plain_space(t, i);
		if (i >= t.len || t.p[i] != ':')
			return 0;
		i = plain_space(t, i + 1);
		if (!plain_string(t, &i, &pairs[n].value))
			return 0;
		for (size_t k = 0; k < n; k++)
			if (span_eq(pairs[k].name, pairs[n].name))
				return 0;
		n++;
		i = plain_space(t, i);
	} while (i < t.len && t.p[i] == ',');
	if (i >= t.len || t.p[i] != '}' || plain_space(t, i + 1) != t.len)
		return 0;
	return n;
}

/* ---- where a value stands in the text: a walk along one path, for error messages about our own
 * files ---- */

struct cursor {
	struct span t;
	size_t i;
	unsigned line;
};

static void skip_space(struct cursor *c)
{
	for (; c->i < c->t.len; c->i++) {
		uint8_t ch = c->t.p[c->i];
		if (ch == '\n')
			c->line++;
		else if (ch != ' ' && ch != '\t' && ch != '\r')
			return;
	}
}

/* The raw text between the quotes; the cursor ends after the closing one. */
static struct span skip_string(struct cursor *c)
{
	size_t from = ++c->i;

	while (c->i < c->t.len && c->t.p[c->i] != '"')
		c->i += c->t.p[c->i] == '\\' ? 2 : 1;
	struct span s = span_sub(c->t, from, c->i - from);
	c->i++;
	return s;
}

/* Past one value of any kind, without recursion. */
static void skip_value(struct cursor *c)
{
	unsigned depth = 0;

	do {
		skip_space(c);
		if (c->i >= c->t.len)
			return;
		uint8_t ch = c->t.p[c->i];
		if (ch == '"') {
			(void)skip_string(c);
			continue;
		}
		if (ch == '{' || ch == '[')
			depth++;
		else if (ch == '}' || ch == ']')
			depth--;
		else if (ch != ',' && ch != ':')
			while (c->i + 1 < c->t.len &&
			       strchr(",:]} \t\r\n", c->t.p[c->i + 1]) == NULL)
				c->i++;
		c->i++;
	} while (depth > 0);
}

/* From the '{' or '[' under the cursor to the value of member `name` or entry `index`; false when
 * it is not there. */
static bool enter(struct cursor *c, struct span name, size_t index, bool by_name)
{
	size_t n = 0;

	if (c->i >= c->t.len || c->t.p[c->i] != (by_name ? '{' : '['))
		return false;
	c->i++;
	for (;;) {
		skip_space(c);
		if (c->i >= c->t.len || c->t.p[c->i] == '}' || c->t.p[c->i] == ']')
			return false;
		if (c->t.p[c->i] == ',') {
			c->i++;
			continue;
		}
		bool hit = !by_name && n == index;
		if (by_name) {
			unsigned line = c->line;
			struct span found = skip_string(c);
			skip_space(c);
			if (c->i < c->t.len && c->t.p[c->i] == ':')
				c->i++;
			hit = span_eq(found, name);
			skip_space(c);
			if (hit)
				c->line = line; /* the member's own line reads better than its
						   value's */
		}
		if (hit)
			return true;
		skip_value(c);
		n++;
	}
}

unsigned json_line(struct span text, const char *path)
{
	struct cursor c = {text, 0, 1};

	skip_space(&c);
	while (*path != '\0') {
		if (*path == '[') {
			char *end;
			size_t index = strtoul(path + 1, &end, 10);
			if (!enter(&c, span_of(NULL, 0), index, false))
				return c.line;
			path = *end == ']' ? end + 1 : end;
		} else {
			if (*path == '.')
				path++;
			size_t len = strcspn(path, ".[");
			struct cursor before = c;
			if (!enter(&c, span_of(path, len), 0, true))
				return before.line;
			path += len;
		}
	}
	return c.line;
}

/* ---- text out ---- */

/* Length of the valid UTF-8 sequence at p, 0 when it is none (RFC 3629: no overlong form, no
 * surrogate, ≤ U+10FFFF). */
static size_t utf8_len(const uint8_t *p, size_t left)
{
	uint8_t c = p[0];
	size_t n = c < 0x80                 ? 1
		   : c >= 0xc2 && c <= 0xdf ? 2
		   : (c & 0xf0) == 0xe0     ? 3
		   : c >= 0xf0 && c <= 0xf4 ? 4
					    : 0;

	if (n == 0 || n > left)
		return 0;
	for (size_t i = 1; i < n; i++)
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	if ((c == 0xe0 && p[1] < 0xa0) || (c == 0xed && p[1] > 0x9f) ||
	    (c == 0xf0 && p[1] < 0x90) || (c == 0xf4 && p[1] > 0x8f))
		return 0;
	return n;
}

void json_add_str(struct buf *b, struct span s)
{
	buf_add(b, "\"", 1);
	size_t plain = 0; /* start of the run not yet copied */
	size_t i = 0;
	while (i < s.len) {
		uint8_t c = s.p[i];
		if (c >= 0x20 && c < 0x7f && c != '"' && c != '\\') {
			i++;
			continue;
		}
		size_t n = c >= 0x80 ? utf8_len(s.p + i, s.len - i) : 0;
		if (n > 0) {
			i += n;
			continue;
		}
		if (i > plain)
			buf_add(b, s.p + plain, i - plain);
		if (c == '"' || c == '\\')
			buf_addf(b, "\\%c", c);
		else if (c >= 0x80 ||
			 c == 0) /* \u0000 is what strict readers, ours among them, refuse */
			buf_add_str(b, "\\ufffd");
		else
			buf_addf(b, "\\u%04x", c);
		plain = ++i;
	}
	if (s.len > plain)
		buf_add(b, s.p + plain, s.len - plain);
	buf_add(b, "\"", 1);
}

void json_add_name(struct buf *b, const char *name)
{
	uint8_t last = b->len > 0 ? b->p[b->len - 1] : '{';

	if (last != '{' && last != '[' && last != ':')
		buf_add(b, ",", 1);
	json_add_str(b, span_str(name));
	buf_add(b, ":", 1);
}

void json_add_member(struct buf *b, const char *name, struct span value)
{
	json_add_name(b, name);
	json_add_str(b, value);
}

void json_add_int(struct buf *b, const char *name, int64_t value)
{
	json_add_name(b, name);
	buf_addf(b, "%lld", (long long)value);
}

void json_add_bool(struct buf *b, const char *name, bool value)
{
	json_add_name(b, name);
	buf_add_str(b, value ? "true" : "false");
}
