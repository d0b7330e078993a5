/* policy/explain_show.c — shows what one decision was: as text for operators, as JSON for programs,
 * as the ledger's list of failing conditions.  Decides nothing: it shows what decide.c and rules.c
 * recorded.  Values of tokens are escaped, so that a claim cannot write to an admin's terminal. */
#include <jansson.h>
#include <stdio.h>

#include "base/json.h"
#include "base/terminal.h"
#include "policy/explain_priv.h"

enum { VALUE_BYTES = 128 }; /* of a value shown; the rest is cut */
/* Authorities of other issuers that are named one by one.  Of more only the number is shown. */
enum { LISTED_OTHER = 3 };

static const char *const step_names[STEP_COUNT] = {
	"format", "issuer", "signature", "time", "audience", "nonce", "policy", "wrapping key"};

/* ---- shared by the three forms ---- */

/* The code of the decision: the first step that failed, else KB_OK when the last one was
 * reached. */
static enum kb_err verdict(const struct explain *ex)
{
	for (unsigned i = 0; i < STEP_COUNT; i++)
		if (ex->steps[i].is_judged && ex->steps[i].outcome != KB_OK)
			return ex->steps[i].outcome;
	return ex->steps[STEP_WRAPPING_KEY].is_judged ? KB_OK : KB_E_BUG;
}

static struct span cut(struct span s)
{
	return span_sub(s, 0, VALUE_BYTES);
}

/* The claim's value as text; objects and arrays by their kind alone. */
static struct span actual_text(const struct json_t *j, struct scalar *text)
{
	*text = scalar_of(j);
	if (text->kind != SCALAR_NONE)
		return cut(scalar_text(text));
	return span_str(json_is_object(j)  ? "(an object)"
			: json_is_array(j) ? "(an array)"
			: json_is_null(j)  ? "(null)"
					   : "(a number too large to compare)");
}

static const char *const reading_texts[] = {
	[READ_ABSENT] = "",
	[READ_FOUND] = "",
	[READ_DIFFERS] = "(different values at the places that this path names)",
	[READ_ARRAY] = "(an array on the way, in which names find nothing)",
	[READ_MANY] = "(too many places to search)",
};

/* ,"actual": what a condition read; nothing when the claim is absent. */
static void add_actual_member(struct buf *out, const struct explain *ex, size_t i)
{
	struct scalar text;

	if (ex->actual[i] != NULL)
		json_add_member(out, "actual", actual_text(ex->actual[i], &text));
	else if (ex->reading[i] != READ_ABSENT)
		json_add_member(out, "actual", span_str(reading_texts[ex->reading[i]]));
}

/* The failing conditions because of which the authority does not hold: none below a group that
 * holds. */
static void add_failings(struct buf *out, const struct explain *ex, size_t authority,
			 unsigned *left)
{
	const struct rule_node *nodes = ex->rules->nodes;

	for (size_t i = authority; i<nodes[authority].end && * left> 0;) {
		if (ex->outcome[i] == OUTCOME_HOLDS) {
			i = nodes[i].end;
			continue;
		}
		if (nodes[i].kind == NODE_CONDITION) {
			buf_add_str(out, out->p[out->len - 1] == '[' ? "{" : ",{");
			json_add_member(out, "claim", cut(nodes[i].claim));
			json_add_member(out, "op", span_str(rule_op_names[nodes[i].op]));
			json_add_member(out, "expected", cut(scalar_text(&nodes[i].value)));
			add_actual_member(out, ex, i);
			buf_add_str(out, "}");
			(*left)--;
		}
		i++;
	}
}

void explain_failings(const struct explain *ex, struct buf *out)
{
	unsigned left = KB_MAX_FAILINGS;

	buf_add_str(out, "[");
	if (ex->rules != NULL && ex->outcome[0] == OUTCOME_FAILS && !out->failed)
		for (size_t a = 1; a < ex->rules->n; a = ex->rules->nodes[a].end)
			if (ex->outcome[a] == OUTCOME_FAILS)
				add_failings(out, ex, a, &left);
	buf_add_str(out, "]");
}

/* ---- for programs ---- */

static const char *outcome_name(uint8_t outcome)
{
	return outcome == OUTCOME_HOLDS   ? "holds"
	       : outcome == OUTCOME_FAILS ? "fails"
					  : "not looked at";
}

static void json_node(struct buf *out, const struct explain *ex, size_t i)
{
	const struct rule_node *n = &ex->rules->nodes[i];

	buf_add_str(out, i == 0 || i == n->parent + 1u ? "{" : ",{");
	json_add_member(out, "outcome", span_str(outcome_name(ex->outcome[i])));
	if (n->authority.len > 0)
		json_add_member(out, "authority", n->authority);
	if (n->kind == NODE_CONDITION) {
		json_add_member(out, "claim", n->claim);
		json_add_member(out, "op", span_str(rule_op_names[n->op]));
		json_add_member(out, "expected", cut(scalar_text(&n->value)));
		if (ex->outcome[i] != OUTCOME_NOT_LOOKED_AT)
			add_actual_member(out, ex, i);
		buf_add_str(out, "}");
		return;
	}
	json_add_name(out, n->kind == NODE_ANY ? "anyOf" : "allOf");
	buf_add_str(out, "[");
}

void explain_json(const struct explain *ex, struct buf *out)
{
	enum kb_err code = verdict(ex);
	size_t open[RULES_STACK]; /* ends of the groups being written */
	unsigned depth = 0;

	buf_add_str(out, "{");
	json_add_member(out, "decision", span_str(code == KB_OK ? "release" : "refuse"));
	json_add_member(out, "code", span_str(kb_err_name(code)));
	if (code != KB_OK)
		json_add_member(out, "text", span_str(kb_err_text(code)));
	json_add_name(out, "steps");
	buf_add_str(out, "[");
	for (unsigned i = 0; i < STEP_COUNT; i++) {
		const struct step *s = &ex->steps[i];
		buf_add_str(out, i == 0 ? "{" : ",{");
		json_add_member(out, "step", span_str(step_names[i]));
		json_add_member(out, "outcome",
				span_str(s->is_judged ? kb_err_name(s->outcome) : "not looked at"));
		if (s->note[0] != '\0')
			json_add_member(out, "note", span_str(s->note));
		buf_add_str(out, "}");
	}
	buf_add_str(out, "]");
	if (ex->rules != NULL) {
		json_add_name(out, "policy");
		for (size_t i = 0; i < ex->rules->n; i++) {
			while (depth > 0 && open[depth - 1] == i) {
				buf_add_str(out, "]}");
				depth--;
			}
			json_node(out, ex, i);
			if (ex->rules->nodes[i].kind != NODE_CONDITION)
				open[depth++] = ex->rules->nodes[i].end;
		}
		while (depth-- > 0)
			buf_add_str(out, "]}");
	}
	buf_add_str(out, "}");
}

/* ---- for people ---- */

/* Text that is shown bare. */
static void add_plain(struct buf *out, struct span s)
{
	terminal_add(out, s, false);
}

static const char *mark(uint8_t outcome)
{
	return outcome == OUTCOME_HOLDS ? "✓ " : outcome == OUTCOME_FAILS ? "✗ " : "– ";
}

static void add_value(struct buf *out, const struct scalar *s)
{
	struct span text = scalar_text(s);
	bool is_bare =
		s->string.p == NULL || span_eq_cstr(text, "true") || span_eq_cstr(text, "false");

	if (is_bare)
		buf_add_span(out, text);
	else
		json_add_str(out, cut(text));
	if (text.len > VALUE_BYTES)
		buf_add_str(out, "…");
}

static void add_actual(struct buf *out, const struct json_t *j)
{
	struct scalar s;
	struct span text = actual_text(j, &s);

	if (s.kind == SCALAR_NONE)
		buf_add_span(out, text);
	else
		add_value(out, &s);
}

/* What the token has instead. The usual mistake is the level: a guest's token holds the
 * hardware's claims in x-ms-isolation-tee, a platform's token at the top. */
static void add_token_side(struct buf *out, const struct explain *ex, size_t i)
{
	static const char nested[] = "x-ms-isolation-tee";
	struct span path = ex->rules->nodes[i].claim;
	struct span level = span_of(nested, sizeof nested - 1);

	struct reading other;

	if (ex->actual[i] != NULL) {
		buf_add_str(out, "   the token says ");
		add_actual(out, ex->actual[i]);
		return;
	}
	if (ex->reading[i] != READ_ABSENT) {
		buf_add_str(out, "   the token says ");
		buf_add_str(out, reading_texts[ex->reading[i]]);
		return;
	}
	buf_add_str(out, "   not in the token");
	claims_read(json_object_get(ex->claims, nested), path, &other);
	if (other.value != NULL) {
		buf_add_str(out, " at this level; ");
		add_plain(out, level);
		buf_add_str(out, ".");
		add_plain(out, path);
		buf_add_str(out, " is ");
		add_actual(out, other.value);
	} else if (path.len > level.len + 1 && span_eq(span_sub(path, 0, level.len), level) &&
		   path.p[level.len] == '.') {
		struct span rest = span_sub(path, level.len + 1, path.len);
		claims_read(ex->claims, rest, &other);
		if (other.value == NULL)
			return;
		buf_add_str(out, " at this level; ");
		add_plain(out, rest);
		buf_add_str(out, " is ");
		add_actual(out, other.value);
	}
}

static void text_node(struct buf *out, const struct explain *ex, size_t i)
{
	const struct rule_node *n = &ex->rules->nodes[i];

	for (unsigned d = 0; d < n->depth; d++)
		buf_add_str(out, "    ");
	buf_add_str(out, mark(ex->outcome[i]));
	if (n->kind == NODE_CONDITION) {
		add_plain(out, n->claim);
		buf_addf(out, " %s ", rule_op_names[n->op]);
		add_value(out, &n->value);
		if (ex->outcome[i] == OUTCOME_FAILS)
			add_token_side(out, ex, i);
	} else {
		if (i == 0)
			buf_add_str(out, "policy: ");
		if (n->authority.len > 0) {
			add_plain(out, n->authority);
			buf_add_str(out, ex->outcome[i] == OUTCOME_NOT_LOOKED_AT
						 ? " is another issuer"
						 : ": ");
		}
		if (n->authority.len == 0 || ex->outcome[i] != OUTCOME_NOT_LOOKED_AT)
			buf_add_str(out, n->kind == NODE_ANY ? "any of" : "all of");
	}
	buf_add_str(out, "\n");
}

/* Authorities of other issuers from `a` on: the first that is ours, or the end. */
static size_t skip_others(const struct explain *ex, size_t a, unsigned *count)
{
	for (*count = 0; a < ex->rules->n && ex->outcome[a] == OUTCOME_NOT_LOOKED_AT;
	     a = ex->rules->nodes[a].end)
		(*count)++;
	return a;
}

/* False when no authority of the policy is the token's issuer. */
static bool text_policy(struct buf *out, const struct explain *ex)
{
	const struct rule_node *nodes = ex->rules->nodes;
	bool is_named = false;

	buf_add_str(out, "\n");
	text_node(out, ex, 0);
	for (size_t a = 1; a < ex->rules->n;) {
		unsigned others;
		size_t next = skip_others(ex, a, &others);
		if (others > LISTED_OTHER)
			buf_addf(out, "    – %u authorities are other issuers\n", others);
		for (; a < next; a = nodes[a].end)
			if (others <= LISTED_OTHER)
				text_node(out, ex, a);
		if (a == ex->rules->n)
			break;
		is_named = true;
		for (; a < nodes[next].end; a++)
			text_node(out, ex, a);
	}
	return is_named;
}

void explain_text(const struct explain *ex, struct buf *out)
{
	enum kb_err code = verdict(ex);

	for (unsigned i = 0; i < STEP_COUNT; i++) {
		const struct step *s = &ex->steps[i];
		uint8_t outcome = !s->is_judged         ? OUTCOME_NOT_LOOKED_AT
				  : s->outcome == KB_OK ? OUTCOME_HOLDS
							: OUTCOME_FAILS;
		buf_add_str(out, mark(outcome));
		if (s->note[0] != '\0') {
			buf_addf(out, "%-14s", step_names[i]);
			add_plain(out, span_str(s->note));
		} else {
			buf_add_str(out, step_names[i]);
		}
		buf_add_str(out, "\n");
	}
	bool is_named = ex->rules == NULL || text_policy(out, ex);
	if (code == KB_OK) {
		buf_add_str(out, "\nRELEASE\n");
		return;
	}
	buf_addf(out, "\nREFUSE %s", kb_err_name(code));
	if (!is_named) {
		buf_add_str(out, ": the policy has no authority ");
		add_plain(out, ex->iss);
		buf_add_str(out, ", which issued this token");
	} else {
		buf_addf(out, ": %s", kb_err_text(code));
	}
	buf_add_str(out, "\n");
}
