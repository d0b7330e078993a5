/* policy/rules_priv.h — the compiled policy, shared by rules.c, which judges it, and explain.c,
 * which shows it. */
#ifndef KB_POLICY_RULES_PRIV_H
#define KB_POLICY_RULES_PRIV_H
#include "base/limits.h"
#include "policy/rules.h"
#include "policy/scalar.h"

enum node_kind { NODE_ANY = 1, NODE_ALL, NODE_CONDITION };
enum rule_op {
	OP_EQUALS,
	OP_NOT_EQUALS,
	OP_LESS,
	OP_LESS_OR_EQUALS,
	OP_GREATER,
	OP_GREATER_OR_EQUALS,
	OP_EXISTS,
	OP_COUNT
};
extern const char *const rule_op_names[OP_COUNT];

/* The tree in preorder: node 0 is the policy's own group, its children are authorities, a node's
 * subtree is [i, end). */
struct node {
	enum node_kind kind;
	enum rule_op op;
	uint16_t parent, end, depth, n_children;
	struct span authority; /* of a child of node 0 */
	struct span claim;
	struct scalar value;
};

#define RULES_NODES (KB_MAX_POLICY_NODES + 1)
/* Groups nest two JSON levels at a time, so the parser's own limit is met first: the stacks here
 * need no check of their own. */
#define RULES_STACK (KB_MAX_POLICY_DEPTH + 1)
_Static_assert(KB_MAX_JSON_DEPTH / 2 < RULES_STACK, "JSON depth bounds policy depth");

struct rules {
	struct buf source;
	uint8_t digest[32];
	struct json_t *doc; /* what the spans point into */
	size_t n;
	struct node *nodes;
};

/* The claim a path names: objects are walked, nothing else.  NULL when there is none. */
const struct json_t *rules_claim(const struct json_t *claims, struct span path);

/* ---- what the evaluator tells explain.c ---- */

enum outcome { OUTCOME_NOT_LOOKED_AT, OUTCOME_HOLDS, OUTCOME_FAILS };
void explain_policy(struct explain *ex, const struct rules *r, struct span iss,
		    const struct json_t *claims);
void explain_node(struct explain *ex, size_t node, bool holds, const struct json_t *actual);

#endif
