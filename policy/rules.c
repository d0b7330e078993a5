/* policy/rules.c — does the evidence satisfy the release policy?  Evaluates the compiled policy
 * without recursion or allocation.  Trusts: the claims are verified.  Must never hold because
 * something is absent or of another type: a missing claim satisfies nothing but exists:false, and
 * that only when reading.c has proved that it is missing. */
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

static bool is_unread(const struct claim_set *set, const struct reading *r)
{
	for (size_t i = 0; set != NULL && i < set->n; i++)
		if (reading_is_at(r, set->place[i]))
			return true;
	return false;
}

static bool condition_holds(const struct rule_node *n, const struct reading *r)
{
	int order = 0;

	/* Two values that differ, or a value that may be there unseen: nothing holds of them. */
	if (r->kind != READ_FOUND && r->kind != READ_ABSENT)
		return false;
	if (n->op == OP_EXISTS)
		return (r->kind == READ_FOUND) == span_eq_cstr(scalar_text(&n->value), "true");
	struct scalar claim = scalar_of(r->value);
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
	struct reading reading;

	explain_policy(ex, r, iss, claims);
	for (size_t a = 1; a < r->n; a = r->nodes[a].end) {
		if (!is_authority(r->nodes[a].authority, iss))
			continue;
		/* Backwards through the preorder: every child is evaluated before its group, and
		 * each exactly once. */
		for (size_t i = r->nodes[a].end; i-- > a;) {
			const struct rule_node *n = &r->nodes[i];
			const bool is_condition = n->kind == NODE_CONDITION;
			bool holds;
			if (is_condition) {
				claims_read(claims, n->claim, &reading);
				holds = condition_holds(n, &reading) &&
					!is_unread(unread, &reading);
			} else {
				holds = group_holds(n, held[i]);
			}
			held[n->parent] += holds;
			explain_node(ex, i, holds, is_condition ? &reading : NULL);
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
