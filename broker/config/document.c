/* broker/config/document.c — reads the members of configuration documents and collects faults.
 * Decides what a well-formed member is; trusts base/json.  Does not stop at the first fault: an
 * operator wants to see all of them. */
#include "config/document.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"

static void fault_text(struct loader *l, const char *path, unsigned line, const char *text)
{
	struct config_faults *f = l->faults;
	char *line_text = NULL;

	if (l->n_faults++ >= KB_MAX_FAULTS)
		return;
	if (f->text == NULL && (f->text = calloc(KB_MAX_FAULTS + 1, sizeof(char *))) == NULL)
		return;
	if (asprintf(&line_text, "%s:%u: %s", path, line, text) < 0)
		return;
	f->text[f->n++] = line_text;
}

void fault_add(struct loader *l, const char *path, unsigned line, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	fault_text(l, path, line, text);
}

static void section_text(const struct section *n, const char *name, const char *fmt, va_list ap,
			 const char *instead)
{
	char at[256], text[512], all[800];

	vsnprintf(text, sizeof text, fmt, ap);
	snprintf(all, sizeof all, "%s%s%s%s", n->at, n->at[0] != '\0' ? ": " : "", text, instead);
	snprintf(at, sizeof at, "%s%s%s", n->at, n->at[0] != '\0' && name[0] != '\0' ? "." : "",
		 name);
	fault_text(n->doc->l, n->doc->path, json_line(n->doc->text, at), all);
}

void section_fault(const struct section *n, const char *name, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	section_text(n, name, fmt, ap, "");
	va_end(ap);
}

static const struct json_t *member(const struct section *n, const char *name)
{
	void *it = NULL;
	const char *found;
	const struct json_t *value;

	while (n->obj != NULL && json_next(n->obj, &it, &found, &value))
		if (strcmp(found, name) == 0)
			return value;
	return NULL;
}

static bool is_secretive(const char *text)
{
	return strcasestr(text, "pin") != NULL || strcasestr(text, "password") != NULL ||
	       strcasestr(text, "secret") != NULL;
}

/* At most `most` bytes, and no half character. */
static size_t cut(struct span text, size_t most)
{
	size_t n = text.len < most ? text.len : most;

	while (n > 0 && n < text.len && (text.p[n] & 0xc0) == 0x80)
		n--;
	return n;
}

void section_wrong(const struct section *n, const char *name, const char *fmt, ...)
{
	enum { SHOWN = 100 }; /* bytes of a value */
	char instead[SHOWN + 40];
	const struct json_t *value = member(n, name);
	KB_AUTO(buf) struct buf b;
	va_list ap;

	buf_init(&b, KB_MAX_CONFIG);
	if (value != NULL)
		json_write(&b, value);
	buf_add(&b, "", 1);
	if (value == NULL)
		snprintf(instead, sizeof instead, "; it is missing");
	else if (buf_ok(&b) != KB_OK || is_secretive((const char *)b.p) || is_secretive(name))
		snprintf(instead, sizeof instead, "; what is there is not shown");
	else
		snprintf(instead, sizeof instead, "; it is %.*s%s", (int)cut(buf_span(&b), SHOWN),
			 (const char *)b.p, b.len > SHOWN + 1 ? "…" : "");
	va_start(ap, fmt);
	section_text(n, name, fmt, ap, instead);
	va_end(ap);
}

void config_faults_free(struct config_faults *f)
{
	for (size_t i = 0; i < f->n; i++)
		free(f->text[i]);
	free(f->text);
	*f = (struct config_faults){0};
}

/* ---- paths ---- */

char *path_dir(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash == NULL ? strdup(".")
			     : strndup(path, slash == path ? 1 : (size_t)(slash - path));
}

char *path_join(const char *dir, const char *rel)
{
	char *joined = NULL;

	if (asprintf(&joined, "%s/%s/", rel[0] == '/' ? "" : dir, rel) < 0)
		return NULL;

	/* Length of the normalised part, without a last slash.  It never exceeds what was read. */
	size_t len = 0;
	for (char *part = joined, *end; (end = strchr(part, '/')) != NULL; part = end + 1) {
		size_t n = (size_t)(end - part);
		if (n == 0 || (n == 1 && part[0] == '.'))
			continue;
		if (n == 2 && part[0] == '.' && part[1] == '.') {
			while (len > 0 && joined[--len] != '/')
				;
			continue;
		}
		joined[len++] = '/';
		memmove(joined + len, part, n);
		len += n;
	}
	if (len == 0)
		joined[len++] = '/';
	joined[len] = '\0';
	return joined;
}

/* ---- documents ---- */

static const char *json_fault(enum kb_err err)
{
	if (err == KB_E_JSON_DUPLICATE)
		return "the same member occurs twice";
	if (err == KB_E_JSON_DEPTH)
		return "nested too deeply";
	if (err == KB_E_ENCODING)
		return "UTF-16 or UTF-32 text: save it as UTF-8";
	return "not valid JSON";
}

bool doc_open(struct loader *l, const char *path, unsigned parts, struct doc *d)
{
	const char *why;
	unsigned line;
	enum kb_err err;

	*d = (struct doc){.l = l, .path = strdup(path), .dir = path_dir(path)};
	if (d->path == NULL || d->dir == NULL) {
		fault_add(l, path, 1, "no memory");
		return false;
	}
	if (snapshot_read(l->src, path, KB_MAX_CONFIG, false, parts, &d->text, &why) != KB_OK) {
		fault_add(l, path, 1, "%s", why);
		return false;
	}
	if ((err = json_load_strict(d->text, KB_MAX_CONFIG, &d->json, &line)) != KB_OK) {
		fault_add(l, path, line, "%s", json_fault(err));
		return false;
	}
	if (!json_isa_obj(d->json)) {
		fault_add(l, path, 1, "must be a JSON object");
		return false;
	}
	return true;
}

void doc_close(struct doc *d)
{
	json_free(d->json);
	free(d->path);
	free(d->dir);
	*d = (struct doc){0};
}

struct section doc_root(const struct doc *d)
{
	return (struct section){.doc = d, .obj = d->json};
}

/* ---- members ---- */

static bool is_absent(const struct section *n, const char *name)
{
	return !json_has(n->obj, name) || json_has_null(n->obj, name);
}

bool section_known(const struct section *n, const char *const *known)
{
	void *it = NULL;
	const char *name;
	const struct json_t *value;
	bool ok = true;

	while (json_next(n->obj, &it, &name, &value)) {
		const char *const *k = known;
		while (*k != NULL && strcmp(*k, name) != 0)
			k++;
		if (*k != NULL)
			continue;
		ok = false;
		if (is_secretive(name))
			section_fault(
				n, name,
				"unknown member \"%s\": do not write a secret here; name a file "
				"instead (pin_file)",
				name);
		else
			section_fault(n, name, "unknown member \"%s\"", name);
	}
	return ok;
}

bool section_object(const struct section *n, const char *name, struct section *out)
{
	*out = (struct section){.doc = n->doc};
	if (json_get_obj(n->obj, name, &out->obj) != KB_OK) {
		section_wrong(n, name, "\"%s\" must be an object", name);
		return false;
	}
	snprintf(out->at, sizeof out->at, "%.60s%s%.30s", n->at, n->at[0] == '\0' ? "" : ".", name);
	return true;
}

bool section_entry(const struct section *n, const char *name, size_t i, struct section *out)
{
	const struct json_t *array;

	*out = (struct section){.doc = n->doc};
	snprintf(out->at, sizeof out->at, "%.40s%s%.20s[%zu]", n->at, n->at[0] == '\0' ? "" : ".",
		 name, i);
	if (json_get_arr(n->obj, name, &array) == KB_OK)
		out->obj = json_at(array, i);
	if (out->obj == NULL || !json_isa_obj(out->obj)) {
		section_fault(out, "", "must be an object");
		return false;
	}
	return true;
}

bool section_str(const struct section *n, const char *name, size_t max_bytes, char **out)
{
	struct span s;

	if (json_get_str(n->obj, name, max_bytes, &s) != KB_OK) {
		section_wrong(n, name, "\"%s\" must be a string of 1 to %zu bytes", name,
			      max_bytes);
		return false;
	}
	for (size_t i = 0; i < s.len; i++)
		if (s.p[i] < 0x20 || s.p[i] == 0x7f) {
			section_fault(n, name, "\"%s\" contains a control character", name);
			return false;
		}
	char *copy = span_dup(s);
	if (copy == NULL) {
		section_fault(n, name, "no memory");
		return false;
	}
	free(*out);
	*out = copy;
	return true;
}

bool section_str_opt(const struct section *n, const char *name, size_t max_bytes, char **out)
{
	return is_absent(n, name) || section_str(n, name, max_bytes, out);
}

bool section_bool_opt(const struct section *n, const char *name, bool *out)
{
	bool value;

	if (is_absent(n, name))
		return true;
	if (json_get_bool(n->obj, name, &value) != KB_OK) {
		section_wrong(n, name, "\"%s\" must be true or false", name);
		return false;
	}
	*out = value;
	return true;
}

bool section_int_opt(const struct section *n, const char *name, int64_t min, int64_t max,
		     int64_t *out)
{
	int64_t value;

	if (is_absent(n, name))
		return true;
	if (json_get_int(n->obj, name, &value) != KB_OK || value < min || value > max) {
		section_wrong(n, name, "\"%s\" must be a whole number from %lld to %lld", name,
			      (long long)min, (long long)max);
		return false;
	}
	*out = value;
	return true;
}

bool section_time_opt(const struct section *n, const char *name, int64_t min_s, int64_t max_s,
		      int64_t *out_s)
{
	struct span text;
	int64_t value;

	if (is_absent(n, name))
		return true;
	if (json_get_str(n->obj, name, 16, &text) != KB_OK ||
	    clock_parse_span(text, &value) != KB_OK) {
		section_wrong(n, name,
			      "\"%s\" must be a duration such as \"60s\", \"5m\", \"8h\" or \"1d\"",
			      name);
		return false;
	}
	if (value < min_s || value > max_s) {
		section_wrong(n, name, "\"%s\" must be from %llds to %llds", name, (long long)min_s,
			      (long long)max_s);
		return false;
	}
	*out_s = value;
	return true;
}

bool section_path(const struct section *n, const char *name, char **out)
{
	KB_AUTO(cstr) char *rel = NULL;

	if (!section_str(n, name, 4095, &rel))
		return false;
	free(*out);
	*out = path_join(n->doc->dir, rel);
	if (*out == NULL)
		section_fault(n, name, "no memory");
	return *out != NULL;
}

bool section_file(const struct section *n, const char *name, size_t max_bytes, bool is_private,
		  unsigned parts, struct span *out)
{
	const char *why;
	KB_AUTO(cstr) char *path = NULL;

	if (!section_path(n, name, &path))
		return false;
	if ((n->doc->l->parts & parts) == 0)
		return true;
	if (snapshot_read(n->doc->l->src, path, max_bytes, is_private, parts, out, &why) == KB_OK)
		return true;
	section_fault(n, name, "%s %s", path, why);
	return false;
}
