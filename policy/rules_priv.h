/* policy/rules_priv.h — the compiled policy, shared by rules_compile.c (which makes it), rules.c
 * (which evaluates it), debug.c and explain_show.c. */
#ifndef KB_POLICY_RULES_PRIV_H
#define KB_POLICY_RULES_PRIV_H
#include "base/limits.h"
#include "policy/reading.h"
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
struct rule_node {
	enum node_kind kind;
	enum rule_op op;
	uint16_t parent, end, depth, n_children;
	struct span authority; /* of a child of node 0 */
	struct span claim;
	struct scalar value;
};

#define RULES_NODES (KB_MAX_POLICY_NODES + 1)
/* A group takes two levels of JSON, so the JSON parser's limit of depth is met before this one. */
#define RULES_STACK (KB_MAX_POLICY_DEPTH + 1)
_Static_assert(KB_MAX_JSON_DEPTH / 2 < RULES_STACK, "JSON depth bounds policy depth");

struct rules {
	struct buf source;
	uint8_t digest[32];
	struct json_t *doc; /* what the spans point into */
	size_t n;
	struct rule_node *nodes;
};

#endif
