/* broker/api/operation.c — the table of operations and its matcher.  Decides which row a request
 * belongs to; trusts nothing of the path.  Must never do more work than the table's length times
 * OPERATION_PARTS. */
#include "api/operation.h"

#include "keystore/record.h"

static const struct operation operations[] = {
	{"keyvault", VERB_GET_KEY, KB_METHOD_GET, "/keys/{key}", POOL_VAULT, RECORD_NONE},
	{"keyvault", VERB_GET_KEY, KB_METHOD_GET, "/keys/{key}/{version}", POOL_VAULT, RECORD_NONE},
	{"keyvault", VERB_NONCE, KB_METHOD_POST, "/keys/{key}/nonce", POOL_VAULT, RECORD_NONE},
	{"keyvault", VERB_RELEASE, KB_METHOD_POST, "/keys/{key}/release", POOL_VAULT,
	 RECORD_RELEASE},
	{"keyvault", VERB_RELEASE, KB_METHOD_POST, "/keys/{key}/{text}/release", POOL_VAULT,
	 RECORD_RELEASE},
};

bool operation_is_version(struct span text)
{
	if (text.len != 32)
		return false;
	for (size_t i = 0; i < text.len; i++)
		if (!((text.p[i] >= '0' && text.p[i] <= '9') ||
		      (text.p[i] >= 'a' && text.p[i] <= 'f')))
			return false;
	return true;
}

/* False when the path does not begin with a slash, has too many parts or a broken escape. */
static bool split(struct span path, struct url_text *text, struct operation_match *m)
{
	if (path.len == 0 || path.p[0] != '/')
		return false;
	for (size_t at = 1; at <= path.len;) {
		size_t end = span_find(path, at, '/');
		if (m->n == OPERATION_PARTS ||
		    !url_decode(text, span_sub(path, at, end - at), &m->part[m->n++]))
			return false;
		at = end + 1;
	}
	return true;
}

static bool part_fits(struct span pattern, struct span part)
{
	if (span_eq_cstr(pattern, "{key}"))
		return key_name_ok(part);
	if (span_eq_cstr(pattern, "{version}"))
		return part.len == 0 || operation_is_version(part);
	return span_eq_cstr(pattern, "{text}") || span_eq(pattern, part);
}

static bool path_fits(const char *pattern, const struct operation_match *m)
{
	struct span p = span_str(pattern);
	size_t i = 0;

	for (size_t at = 1; at <= p.len; i++) {
		size_t end = span_find(p, at, '/');
		if (i == m->n || !part_fits(span_sub(p, at, end - at), m->part[i]))
			return false;
		at = end + 1;
	}
	return i == m->n;
}

enum kb_err operation_find(const char *api, unsigned method, struct span path,
			   struct url_text *text, struct operation_match *out)
{
	*out = (struct operation_match){.operation = NULL};
	if (!split(path, text, out))
		return KB_E_PATH;
	for (size_t i = 0; i < sizeof operations / sizeof operations[0]; i++) {
		const struct operation *o = &operations[i];
		if (strcmp(o->api, api) != 0 || !path_fits(o->path, out))
			continue;
		if ((unsigned)o->method == method) {
			out->operation = o;
			return KB_OK;
		}
		if (out->operation == NULL)
			out->operation = o;
	}
	return out->operation == NULL ? KB_E_PATH : KB_E_METHOD;
}

struct operation_way operation_way(const char *api, unsigned method, struct span path)
{
	struct url_text text = {.used = 0};
	struct operation_match m;
	enum kb_err err = operation_find(api, method, path, &text, &m);

	return (struct operation_way){
		.pool = err == KB_OK || err == KB_E_METHOD ? m.operation->pool : POOL_VAULT,
		.record = err == KB_OK ? m.operation->record : RECORD_RELEASE,
	};
}
