/* policy/rules.c — does the evidence satisfy the release policy?  Evaluates the compiled policy
 * without recursion or allocation.  Trusts: the claims are verified.  Must never hold because
 * something is absent or of another type: a missing claim satisfies nothing but exists:false. */
#include <jansson.h>
#include <stdlib.h>

#include "base/json.h"
#include "policy/explain_priv.h"

const char *const rule_op_names[OP_COUNT] = {"equals",  "notEquals",       "less",  "lessOrEquals",
					     "greater", "greaterOrEquals", "exists"};

void rules_free(struct rules *r)
{
	if (r == NULL)
		return;
	json_free(r->doc);
	buf_free(&r->source);
	free(r->nodes);
	free(r);
}

struct span rules_source(const struct rules *r)
{
	return buf_span(&r->source);
}

void rules_digest(const struct rules *r, uint8_t out[static 32])
{
	memcpy(out, r->digest, 32);
}

static uint8_t lower(uint8_t c)
{
	return c >= 'A' && c <= 'Z' ? (uint8_t)(c + 32) : c;
}

static struct span without_slash(struct span s)
{
	return s.len > 0 && s.p[s.len - 1] == '/' ? span_sub(s, 0, s.len - 1) : s;
}

/* End of scheme and host: the first slash after "://" (RFC 3986 §6.2.2.1 makes case irrelevant up
 * to there, and nowhere else). */
static size_t host_end(struct span s)
{
	for (size_t i = 0; i + 3 <= s.len; i++)
		if (memcmp(s.p + i, "://", 3) == 0)
			return span_find(s, i + 3, '/');
	return 0;
}

static bool is_authority(struct span authority, struct span iss)
{
	struct span a = without_slash(authority), b = without_slash(iss);
	size_t insensitive = host_end(a);

	if (a.len != b.len)
		return false;
	for (size_t i = 0; i < a.len; i++)
		if (i < insensitive ? lower(a.p[i]) != lower(b.p[i]) : a.p[i] != b.p[i])
			return false;
	return true;
}

bool rules_name_authority(const struct rules *r, struct span iss)
{
	for (size_t a = 1; a < r->n; a = r->nodes[a].end)
		if (is_authority(r->nodes[a].authority, iss))
			return true;
	return false;
}

struct claim_place { /* the object and the name at the end of a path; object NULL: there is none */
	const struct json_t *object;
	struct span name;
};

static struct claim_place claim_locate(const struct json_t *claims, struct span path)
{
	const json_t *at = claims;
	size_t from = 0, dot;

	while (at != NULL && (dot = span_find(path, from, '.')) < path.len) {
		at = json_object_getn(at, (const char *)path.p + from, dot - from);
		from = dot + 1;
	}
	return (struct claim_place){at, span_sub(path, from, path.len)};
}

static const struct json_t *claim_at(struct claim_place at)
{
	return json_object_getn(at.object, (const char *)at.name.p, at.name.len);
}

const struct json_t *rules_claim(const struct json_t *claims, struct span path)
{
	return claim_at(claim_locate(claims, path));
}

static bool is_in_set(const struct claim_set *set, struct claim_place at)
{
	if (set == NULL || at.object != set->object)
		return false;
	for (size_t i = 0; i < set->n; i++)
		if (span_eq_cstr(at.name, set->names[i]))
			return true;
	return false;
}

static bool condition_holds(const struct rule_node *n, const struct json_t *actual)
{
	int order = 0;

	if (n->op == OP_EXISTS)
		return (actual != NULL) == span_eq_cstr(scalar_text(&n->value), "true");
	struct scalar claim = scalar_of(actual);
	/* absent, null, an object, an array: nothing to compare, not even as unequal. */
	if (claim.kind == SCALAR_NONE)
		return false;
	bool ordered = scalar_order(&claim, &n->value, &order);
	switch (n->op) {
	case OP_EQUALS:
		return scalar_equal(&claim, &n->value);
	case OP_NOT_EQUALS:
		return !scalar_equal(&claim, &n->value);
	case OP_LESS:
		return ordered && order < 0;
	case OP_LESS_OR_EQUALS:
		return ordered && order <= 0;
	case OP_GREATER:
		return ordered && order > 0;
	case OP_GREATER_OR_EQUALS:
		return ordered && order >= 0;
	case OP_EXISTS:
	case OP_COUNT:
		break;
	}
	KB_BUG();
}

static bool group_holds(const struct rule_node *n, unsigned held)
{
	return n->kind == NODE_ANY ? held > 0 : held == n->n_children;
}

/* `unread` may be NULL: claims whose conditions count as not holding. */
static bool evaluate(const struct rules *r, struct span iss, const struct json_t *claims,
		     const struct claim_set *unread, struct explain *ex)
{
	uint16_t held[RULES_NODES] = {0}; /* per group: children that hold */

	explain_policy(ex, r, iss, claims);
	for (size_t a = 1; a < r->n; a = r->nodes[a].end) {
		if (!is_authority(r->nodes[a].authority, iss))
			continue;
		/* Backwards through the preorder: every child is evaluated before its group, and
		 * each exactly once. */
		for (size_t i = r->nodes[a].end; i-- > a;) {
			const struct rule_node *n = &r->nodes[i];
			const struct json_t *actual = NULL;
			bool holds;
			if (n->kind == NODE_CONDITION) {
				struct claim_place at = claim_locate(claims, n->claim);
				actual = claim_at(at);
				holds = condition_holds(n, actual) && !is_in_set(unread, at);
			} else {
				holds = group_holds(n, held[i]);
			}
			held[n->parent] += holds;
			explain_node(ex, i, holds, actual);
		}
	}
	bool holds = group_holds(&r->nodes[0], held[0]);
	explain_node(ex, 0, holds, NULL);
	return holds;
}

enum kb_err rules_evaluate(const struct rules *r, struct span iss, const struct json_t *claims,
			   struct explain *ex)
{
	return evaluate(r, iss, claims, NULL, ex) ? KB_OK : KB_E_POLICY;
}

bool rules_hold_without(const struct rules *r, struct span iss, const struct json_t *claims,
			const struct claim_set *unread)
{
	return evaluate(r, iss, claims, unread, NULL);
}
