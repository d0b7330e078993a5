/* broker/base/json_scan.c — the fast scanner for flat JSON objects of plain strings.  Decides only
 * what is simple enough to be read without a parser; whatever is not goes to json_load_strict(). */
#include "base/json.h"

static size_t skip_space(struct span t, size_t i)
{
	while (i < t.len && (t.p[i] == ' ' || t.p[i] == '\t' || t.p[i] == '\r' || t.p[i] == '\n'))
		i++;
	return i;
}

/* The string that begins at *i; false when there is none, or something in it must be decoded. */
static bool read_string(struct span t, size_t *i, struct span *out)
{
	uint8_t odd = 0;

	if (*i >= t.len || t.p[*i] != '"')
		return false;
	size_t end = span_find(t, *i + 1, '"');
	if (end == t.len)
		return false;
	*out = span_sub(t, *i + 1, end - *i - 1);
	/* Without a branch, so that the compiler can use vector instructions. */
	for (size_t k = 0; k < out->len; k++)
		odd |= (uint8_t)((out->p[k] < 0x20) | (out->p[k] >= 0x7f) | (out->p[k] == '\\'));
	*i = end + 1;
	return odd == 0;
}

size_t json_scan_plain(struct span t, struct json_pair *pairs, size_t cap)
{
	size_t n = 0;
	size_t i = skip_space(t, 0);

	if (i >= t.len || t.p[i] != '{')
		return 0;
	do {
		i = skip_space(t, i + 1);
		if (n == cap || !read_string(t, &i, &pairs[n].name))
			return 0;
		i = skip_space(t, i);
		if (i >= t.len || t.p[i] != ':')
			return 0;
		i = skip_space(t, i + 1);
		if (!read_string(t, &i, &pairs[n].value))
			return 0;
		for (size_t k = 0; k < n; k++)
			if (span_eq(pairs[k].name, pairs[n].name))
				return 0;
		n++;
		i = skip_space(t, i);
	} while (i < t.len && t.p[i] == ',');
	if (i >= t.len || t.p[i] != '}' || skip_space(t, i + 1) != t.len)
		return 0;
	return n;
}
