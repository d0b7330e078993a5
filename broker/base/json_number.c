/* broker/base/json_number.c — numbers beyond 64-bit integers, kept as their text.  jansson would
 * round them, or refuse the whole document because of one.  Decides which they are.  Must never
 * change a text that is no JSON into one that is. */
#include "base/json_priv.h"

#include <jansson.h>
#include <stdio.h>

/* A string that begins with NUL holds a number.  No document has one of its own: an escaped NUL is
 * refused. */
#define MARK "\\u0000"

/* ---- is it a number? ---- */

static size_t digits_at(struct span t, size_t i)
{
	size_t from = i;

	while (i < t.len && t.p[i] >= '0' && t.p[i] <= '9')
		i++;
	return i - from;
}

bool json_is_number_text(struct span t, bool *is_integer)
{
	size_t i = t.len > 0 && t.p[0] == '-' ? 1 : 0;
	size_t n = digits_at(t, i);

	*is_integer = false;
	if (n == 0 || (n > 1 && t.p[i] == '0'))
		return false;
	i += n;
	*is_integer = i == t.len;
	if (i < t.len && t.p[i] == '.') {
		if ((n = digits_at(t, i + 1)) == 0)
			return false;
		i += 1 + n;
	}
	if (i < t.len && (t.p[i] == 'e' || t.p[i] == 'E')) {
		i++;
		if (i < t.len && (t.p[i] == '+' || t.p[i] == '-'))
			i++;
		if ((n = digits_at(t, i)) == 0)
			return false;
		i += n;
	}
	return i == t.len;
}

/* An integer's text, without leading zeros: does an int64_t hold it? */
static bool fits_int64(struct span t)
{
	static const char bounds[2][20] = {"9223372036854775807", "9223372036854775808"};
	bool is_negative = t.p[0] == '-';
	struct span digits = span_sub(t, is_negative, t.len);

	return digits.len < 19 ||
	       (digits.len == 19 && memcmp(digits.p, bounds[is_negative], 19) <= 0);
}

/* ---- before the parser ---- */

static size_t string_end(struct span t, size_t i, bool *has_nul)
{
	for (i++; i < t.len && t.p[i] != '"'; i++)
		if (t.p[i] == '\\') {
			*has_nul |= span_eq_cstr(span_sub(t, i, sizeof MARK - 1), MARK);
			i++;
		}
	return i < t.len ? i + 1 : t.len;
}

static size_t number_end(struct span t, size_t i)
{
	while (i < t.len && ((t.p[i] >= '0' && t.p[i] <= '9') || t.p[i] == '-' || t.p[i] == '+' ||
			     t.p[i] == '.' || t.p[i] == 'e' || t.p[i] == 'E'))
		i++;
	return i;
}

static bool is_kept_as_text(struct span number)
{
	bool is_integer;

	return json_is_number_text(number, &is_integer) && !(is_integer && fits_int64(number));
}

enum kb_err json_mark_numbers(struct span t, size_t max_values, struct buf *out)
{
	bool has_nul = false;
	size_t copied = 0, end;

	buf_init(out, t.len + max_values * (sizeof MARK + 1));
	for (size_t i = 0; i < t.len; i = end) {
		uint8_t c = t.p[i];
		if (c == '"') {
			end = string_end(t, i, &has_nul);
			continue;
		}
		if (c != '-' && (c < '0' || c > '9')) {
			end = i + 1;
			continue;
		}
		end = number_end(t, i);
		struct span number = span_sub(t, i, end - i);
		if (!is_kept_as_text(number))
			continue;
		buf_add_span(out, span_sub(t, copied, i - copied));
		buf_add_str(out, "\"" MARK);
		buf_add_span(out, number);
		buf_add_str(out, "\"");
		copied = end;
	}
	if (copied > 0)
		buf_add_span(out, span_sub(t, copied, t.len));
	if (has_nul) /* the parser refuses it, in the text as it came */
		buf_reset(out);
	return buf_ok(out);
}

/* ---- in what was read ---- */

bool json_is_kept_number(const struct json_t *j)
{
	return json_is_string(j) && json_string_length(j) > 0 && json_string_value(j)[0] == '\0';
}

bool json_as_number(const struct json_t *j, char storage[static JSON_INT_TEXT], struct span *out)
{
	*out = span_of(NULL, 0);
	if (json_is_integer(j)) {
		(void)snprintf(storage, JSON_INT_TEXT, "%lld", (long long)json_integer_value(j));
		*out = span_str(storage);
	} else if (json_is_kept_number(j)) {
		*out = span_of(json_string_value(j) + 1, json_string_length(j) - 1);
	}
	return out->p != NULL;
}

/* ---- after the writer ---- */

/* In JSON text a quote before an escaped NUL can only be the beginning of a string: within one, the
 * quote has a backslash before it, and then the next backslash is doubled. */
void json_unmark_numbers(struct buf *b, size_t from)
{
	struct span text = buf_span(b);
	size_t to = from;

	for (size_t i = from; i < text.len;) {
		if (!span_eq_cstr(span_sub(text, i, sizeof MARK), "\"" MARK)) {
			b->p[to++] = text.p[i++];
			continue;
		}
		i += sizeof MARK;
		size_t end = span_find(text, i, '"');
		memmove(b->p + to, text.p + i, end - i);
		to += end - i;
		i = end + 1;
	}
	b->len = to;
}
