/* broker/base/json.h — strict JSON in, JSON text out (RFC 8259).  jansson parses, after size and
 * depth were checked.  Refused: duplicate members (two readers would take different ones), NUL,
 * invalid UTF-8, anything before or after the value but a byte order mark.  Numbers are exact: what
 * is no 64-bit integer is kept as its text. */
#ifndef KB_BASE_JSON_H
#define KB_BASE_JSON_H
#include "base/bytes.h"

struct json_t; /* jansson's */

/* ---- the strict reader (json.c) ---- */

/* Parse `text`, at most max_bytes long.  On KB_OK *out is the caller's: json_free().  Errors:
 * KB_E_JSON_SIZE, _DEPTH, _DUPLICATE, _SYNTAX, KB_E_ENCODING (UTF-16, UTF-32). `line` (may be NULL)
 * gets the line of the fault, counted from 1. */
KB_MUST_CHECK enum kb_err json_load_strict(struct span text, size_t max_bytes, struct json_t **out,
					   unsigned *line);
void json_free(struct json_t *j); /* NULL is fine */
static inline void json_cleanup(struct json_t **j)
{
	json_free(*j);
}

/* Members of an object.  The result is borrowed from it.  KB_E_JSON_MISSING when absent;
 * KB_E_JSON_TYPE when of another type, null too; KB_E_JSON_LENGTH when longer than max_bytes or
 * empty. */
KB_MUST_CHECK enum kb_err json_get_str(const struct json_t *obj, const char *name, size_t max_bytes,
				       struct span *out);
/* 64-bit integers only: 1e3 and 9223372036854775808 are KB_E_JSON_TYPE. */
KB_MUST_CHECK enum kb_err json_get_int(const struct json_t *obj, const char *name, int64_t *out);
KB_MUST_CHECK enum kb_err json_get_bool(const struct json_t *obj, const char *name, bool *out);
KB_MUST_CHECK enum kb_err json_get_obj(const struct json_t *obj, const char *name,
				       const struct json_t **out);
KB_MUST_CHECK enum kb_err json_get_arr(const struct json_t *obj, const char *name,
				       const struct json_t **out);

bool json_has(const struct json_t *obj, const char *name);
const struct json_t *json_member(const struct json_t *obj, const char *name); /* NULL: absent */
bool json_has_null(const struct json_t *obj, const char *name);               /* present and null */
/* KB_E_JSON_UNKNOWN when `obj` has a member that is not in the NULL-terminated list; *unknown (may
 * be NULL) borrows its name. */
KB_MUST_CHECK enum kb_err json_only(const struct json_t *obj, const char *const *known,
				    const char **unknown);

bool json_isa_obj(const struct json_t *j);
size_t json_len(const struct json_t *arr); /* entries of an array or members of an object, else 0 */
const struct json_t *json_at(const struct json_t *arr, size_t i); /* NULL past the end */
KB_MUST_CHECK enum kb_err json_as_str(const struct json_t *j, size_t max_bytes, struct span *out);
enum { JSON_INT_TEXT = 24 };
/* A number's text as it came, of any length: into `storage`, or borrowed.  False: it is none. */
bool json_as_number(const struct json_t *j, char storage[static JSON_INT_TEXT], struct span *out);
/* Is the whole text a number (RFC 8259 section 6), and one without fraction and exponent? */
bool json_is_number_text(struct span text, bool *is_integer);
/* Walk an object's members: `it` starts as NULL; false at the end.  *name and *value are
 * borrowed. */
bool json_next(const struct json_t *obj, void **it, const char **name, const struct json_t **value);
/* The value as compact JSON text, members in their order. */
void json_write(struct buf *b, const struct json_t *j);
/* The same for people: indented, with a newline at the end. */
void json_write_pretty(struct buf *b, const struct json_t *j);

/* ---- the fast scanner (json_scan.c) ---- */

struct json_pair {
	struct span name, value;
};
/* For the usual request body: one flat object whose names and values are strings of printable ASCII
 * without escapes.  jansson needs 85 µs for the 4.5 KiB of a release call, this needs 2.  Returns
 * the number of members, borrowed from `text`; 0 for anything else, for a duplicate, or for more
 * than `cap` members: then json_load_strict() must decide.  What this accepts, json_load_strict()
 * accepts and reads the same. */
size_t json_scan_plain(struct span text, struct json_pair *pairs, size_t cap);

/* ---- where a value is (json_line.c) ---- */

/* Line (from 1) of the value at `path`, or of the nearest value above it that is there.  Path:
 * "listeners[0].tls.key", "" for the root. */
unsigned json_line(struct span text, const char *path);

/* ---- the writer (json_write.c) ---- */

/* A quoted, escaped JSON string, safe for terminals (terminal.h).  Invalid UTF-8 and NUL become
 * U+FFFD, so that the text always parses. */
void json_add_str(struct buf *b, struct span s);
/* ,"name":"value" — without the comma when the buffer is empty or ends in '{', '[' or ':'. */
void json_add_member(struct buf *b, const char *name, struct span value);
void json_add_name(struct buf *b, const char *name); /* ,"name": */
/* The same, of bytes: base64url without padding, as JOSE writes numbers and digests (RFC 7515
 * section 2). */
void json_add_b64url(struct buf *b, const char *name, struct span bytes);
void json_add_int(struct buf *b, const char *name, int64_t value);
void json_add_bool(struct buf *b, const char *name, bool value);

#endif
