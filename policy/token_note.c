/* policy/token_note.c — describes a token that was refused for its form.  Decides nothing and
 * verifies nothing: what it shows is the token's own word. */
#include "policy/token_note.h"

#include "base/b64url.h"
#include "base/json.h"
#include "base/limits.h"
#include "policy/token.h"

enum { SHOWN = 200 /* bytes of the header or the claims */ };

static size_t count_parts(struct span compact)
{
	size_t n = 1;

	for (size_t at = 0; (at = span_find(compact, at, '.')) < compact.len; at++)
		n++;
	return n;
}

static struct span nth_part(struct span compact, unsigned n)
{
	size_t from = 0;

	for (; n > 0 && from < compact.len; n--)
		from = span_find(compact, from, '.') + 1;
	return span_sub(compact, from, span_find(compact, from, '.') - from);
}

static void add_part(struct buf *out, const char *name, struct span text)
{
	buf_addf(out, "; the %s: ", name);
	buf_add_span(out, span_sub(text, 0, SHOWN));
	if (text.len > SHOWN)
		buf_add_str(out, "…");
}

void token_note(struct span compact, enum kb_err err, struct buf *out)
{
	static const char *const names[] = {"header", "claims"};

	buf_addf(out, "%zu bytes in %zu parts", compact.len, count_parts(compact));
	if (err == KB_E_TOKEN_SIZE || compact.len > KB_MAX_TOKEN)
		return;
	for (unsigned i = 0; i < 2; i++) {
		KB_AUTO(buf) struct buf text;
		KB_AUTO(json) struct json_t *doc = NULL;
		unsigned line = 1;
		buf_init(&text, KB_MAX_TOKEN);
		if (b64url_decode(nth_part(compact, i), &text) != KB_OK) {
			buf_addf(out, "; the %s: no base64url", names[i]);
			return;
		}
		enum kb_err why = json_load_strict(buf_span(&text), KB_MAX_TOKEN, &doc, &line);
		add_part(out, names[i], buf_span(&text));
		if (why == KB_OK)
			continue;
		buf_addf(out, " (%s in line %u of it)", kb_err_name(why), line);
		return;
	}
}
