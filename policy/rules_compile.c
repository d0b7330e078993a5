/* policy/rules_compile.c — compiles a release policy in Azure's grammar into a flat array in
 * preorder, which rules.c evaluates.  Trusts nothing of the text.  Must never compile what it does
 * not know: an unknown member, operator or type is a fault with its line. */
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/digest.h"
#include "base/json.h"
#include "policy/rules_priv.h"

struct open_group { /* a group whose entries are being read */
	const struct json_t *entries;
	const char *member; /* "anyOf" or "allOf" */
	size_t next;
	uint16_t node;
};

struct compiler {
	struct rules *rules;
	struct policy_fault *fault;
	struct span source;
	unsigned depth;
	struct open_group stack[RULES_STACK];
};

/* Fill the fault: the sentence, and the line of the entry being read (`member` of it, or the entry
 * itself when NULL). */
__attribute__((format(printf, 4, 5))) static enum kb_err fail(struct compiler *c, enum kb_err err,
							      const char *member, const char *fmt,
							      ...)
{
	char path[RULES_STACK * 16 + KB_MAX_CLAIM_PATH];
	va_list ap;
	int at = 0;

	if (c->fault == NULL)
		return err;
	va_start(ap, fmt);
	(void)vsnprintf(c->fault->text, sizeof c->fault->text, fmt, ap);
	va_end(ap);
	path[0] = '\0';
	for (unsigned i = 0; i < c->depth; i++)
		at += snprintf(path + at, sizeof path - (size_t)at, "%s%s[%zu]", i > 0 ? "." : "",
			       c->stack[i].member, c->stack[i].next - 1);
	if (member != NULL && strlen(member) <= KB_MAX_CLAIM_PATH)
		(void)snprintf(path + at, sizeof path - (size_t)at, "%s%s", at > 0 ? "." : "",
			       member);
	c->fault->line = json_line(c->source, path);
	return err;
}

/* NULL when the policy is too large. */
static struct rule_node *node_add(struct compiler *c, enum node_kind kind)
{
	struct rules *r = c->rules;

	if (r->n == RULES_NODES)
		return NULL;
	struct rule_node *n = &r->nodes[r->n];
	*n = (struct rule_node){
		.kind = kind, .end = (uint16_t)(r->n + 1), .depth = (uint16_t)c->depth};
	if (c->depth > 0) {
		n->parent = c->stack[c->depth - 1].node;
		r->nodes[n->parent].n_children++;
	}
	r->n++;
	return n;
}

static enum kb_err too_large(struct compiler *c)
{
	return fail(c, KB_E_POLICY_LIMIT, NULL, "more than %d authorities, conditions and groups",
		    KB_MAX_POLICY_NODES);
}

/* Open the object's one group member: a node for it, and a level of the stack to read its entries.
 * `authority` is empty but for a child of node 0. */
static enum kb_err group_open(struct compiler *c, const struct json_t *obj, struct span authority)
{
	const char *member = json_has(obj, "anyOf") ? "anyOf" : "allOf";
	const struct json_t *entries = NULL;

	if (json_has(obj, "anyOf") && json_has(obj, "allOf"))
		return fail(c, KB_E_POLICY_FORMAT, "allOf",
			    "both anyOf and allOf: an object has exactly one of them");
	if (json_get_arr(obj, member, &entries) != KB_OK)
		return fail(c, KB_E_POLICY_FORMAT, member,
			    "anyOf or allOf is missing or is no array");
	if (json_len(entries) == 0)
		return fail(c, KB_E_POLICY_FORMAT, member,
			    "%s is empty: it needs at least one entry", member);
	if (c->depth == RULES_STACK)
		KB_BUG(); /* see rules_priv.h */
	struct rule_node *n = node_add(c, member[1] == 'n' ? NODE_ANY : NODE_ALL);
	if (n == NULL)
		return too_large(c);
	n->authority = authority;
	c->stack[c->depth++] =
		(struct open_group){entries, member, 0, (uint16_t)(n - c->rules->nodes)};
	return KB_OK;
}

static enum kb_err only_members(struct compiler *c, const struct json_t *obj,
				const char *const *known, const char *what)
{
	const char *unknown = NULL;

	if (json_only(obj, known, &unknown) == KB_OK)
		return KB_OK;
	return fail(c, KB_E_POLICY_FORMAT, unknown, "unknown member \"%.64s\": %s", unknown, what);
}

static enum kb_err read_authority(struct compiler *c, const struct json_t *entry)
{
	static const char *const known[] = {"authority", "anyOf", "allOf", NULL};
	struct span iss;

	enum kb_err err = only_members(
		c, entry, known, "an authority has \"authority\" and one of \"anyOf\", \"allOf\"");
	if (err != KB_OK)
		return err;
	err = json_get_str(entry, "authority", KB_MAX_ISS, &iss);
	if (err == KB_E_JSON_LENGTH && json_string_length(json_object_get(entry, "authority")) > 0)
		return fail(c, KB_E_POLICY_LIMIT, "authority",
			    "\"authority\" is longer than %d bytes", KB_MAX_ISS);
	if (err != KB_OK)
		return fail(c, KB_E_POLICY_FORMAT, "authority",
			    "\"authority\" must be the issuer's URL: the `iss` of its tokens");
	return group_open(c, entry, iss);
}

static enum kb_err read_claim_path(struct compiler *c, const struct json_t *entry,
				   struct span *path)
{
	enum kb_err err = json_get_str(entry, "claim", SIZE_MAX, path);
	if (err != KB_OK)
		return fail(c, KB_E_POLICY_FORMAT, "claim",
			    "\"claim\" must be a claim's name, names joined by dots, or a JSON "
			    "Pointer");
	const char *wrong = claim_path_fault(*path, &err);
	return wrong == NULL ? KB_OK : fail(c, err, "claim", "%s", wrong);
}

static enum rule_op op_from_name(struct span name)
{
	unsigned op = 0;

	while (op < OP_COUNT && !span_eq_cstr(name, rule_op_names[op]))
		op++;
	return (enum rule_op)op;
}

/* {"claim":c, OP:v}, or as older policies have it {"claim":c, "condition":OP, "value":v}.  *member
 * names v. */
static enum kb_err read_operator(struct compiler *c, const struct json_t *entry, enum rule_op *op,
				 const char **member)
{
	static const char *const legacy[] = {"claim", "condition", "value", NULL};
	struct span name;
	void *it = NULL;
	const char *key;
	const struct json_t *value;

	*op = OP_COUNT;
	if (json_has(entry, "condition")) {
		enum kb_err err = only_members(
			c, entry, legacy,
			"a condition of this form has \"claim\", \"condition\" and \"value\"");
		if (err != KB_OK)
			return err;
		if (json_get_str(entry, "condition", KB_MAX_CLAIM_PATH, &name) != KB_OK ||
		    (*op = op_from_name(name)) == OP_COUNT)
			return fail(c, KB_E_POLICY_FORMAT, "condition",
				    "unknown operator in \"condition\"");
		*member = "value";
		if (!json_has(entry, "value"))
			return fail(c, KB_E_POLICY_FORMAT, "condition", "\"value\" is missing");
		return KB_OK;
	}
	while (json_next(entry, &it, &key, &value)) {
		if (strcmp(key, "claim") == 0)
			continue;
		if (*op != OP_COUNT)
			return fail(c, KB_E_POLICY_FORMAT, key,
				    "more than one operator: a condition is one claim, one "
				    "operator and its value");
		if ((*op = op_from_name(span_str(key))) == OP_COUNT)
			return fail(c, KB_E_POLICY_FORMAT, key,
				    "unknown operator \"%.32s\": use equals, notEquals, less, "
				    "lessOrEquals, greater, greaterOrEquals or exists",
				    key);
		*member = key;
	}
	if (*op == OP_COUNT)
		return fail(c, KB_E_POLICY_FORMAT, "claim", "the condition has no operator");
	return KB_OK;
}

static enum kb_err read_condition(struct compiler *c, const struct json_t *entry)
{
	const char *member = NULL;
	struct span path;
	enum rule_op op;
	int order;

	enum kb_err err = read_claim_path(c, entry, &path);
	if (err != KB_OK || (err = read_operator(c, entry, &op, &member)) != KB_OK)
		return err;
	const struct json_t *json = json_object_get(entry, member);
	struct scalar value = scalar_of(json);
	if (value.kind == SCALAR_NONE)
		return fail(c, KB_E_POLICY_FORMAT, member,
			    "the value must be a string, true, false or a number of at most %d "
			    "characters, with an exponent of at most six digits",
			    KB_MAX_NUMBER);
	if (scalar_text(&value).len > KB_MAX_POLICY_VALUE)
		return fail(c, KB_E_POLICY_LIMIT, member, "the value is longer than %d bytes",
			    KB_MAX_POLICY_VALUE);
	if (op == OP_EXISTS && !span_eq_cstr(scalar_text(&value), "true") &&
	    !span_eq_cstr(scalar_text(&value), "false"))
		return fail(c, KB_E_POLICY_FORMAT, member, "\"exists\" takes true or false");
	if (op >= OP_LESS && op <= OP_GREATER_OR_EQUALS && !scalar_order(&value, &value, &order))
		return fail(c, KB_E_POLICY_FORMAT, member,
			    "\"%s\" compares numbers, and its value is none", rule_op_names[op]);
	struct rule_node *n = node_add(c, NODE_CONDITION);
	if (n == NULL)
		return too_large(c);
	n->op = op;
	n->claim = path;
	n->value = value;
	return KB_OK;
}

static enum kb_err read_entry(struct compiler *c, const struct json_t *entry)
{
	static const char *const group[] = {"anyOf", "allOf", NULL};

	if (!json_isa_obj(entry))
		return fail(c, KB_E_POLICY_FORMAT, NULL, "an entry of %s must be an object",
			    c->stack[c->depth - 1].member);
	if (c->depth == 1)
		return read_authority(c, entry);
	if (json_has(entry, "claim"))
		return read_condition(c, entry);
	enum kb_err err = only_members(
		c, entry, group,
		"an entry is a condition with \"claim\", or one of \"anyOf\", \"allOf\"");
	return err != KB_OK ? err : group_open(c, entry, span_of(NULL, 0));
}

static enum kb_err compile(struct compiler *c)
{
	static const char *const known[] = {"version", "anyOf", "allOf", NULL};
	const struct json_t *doc = c->rules->doc;
	struct span version;

	if (!json_isa_obj(doc))
		return fail(c, KB_E_POLICY_FORMAT, NULL, "a policy is a JSON object");
	enum kb_err err = only_members(c, doc, known,
				       "a policy has \"version\" and one of \"anyOf\", \"allOf\"");
	if (err != KB_OK)
		return err;
	if (json_get_str(doc, "version", KB_MAX_CLAIM_PATH, &version) != KB_OK)
		return fail(c, KB_E_POLICY_FORMAT, "version",
			    "\"version\" is missing or no string: write \"1.0.0\"");
	if ((err = group_open(c, doc, span_of(NULL, 0))) != KB_OK)
		return err;
	while (c->depth > 0) {
		struct open_group *top = &c->stack[c->depth - 1];
		const struct json_t *entry = json_at(top->entries, top->next);
		if (entry == NULL) {
			c->rules->nodes[top->node].end = (uint16_t)c->rules->n;
			c->depth--;
			continue;
		}
		top->next++;
		if ((err = read_entry(c, entry)) != KB_OK)
			return err;
	}
	return KB_OK;
}

static const char *json_fault(enum kb_err err)
{
	return err == KB_E_JSON_DEPTH       ? "nested too deep: at most 16 levels of { and ["
	       : err == KB_E_JSON_SIZE      ? "the policy is larger than 64 KiB"
	       : err == KB_E_JSON_DUPLICATE ? "a member occurs twice in one object"
	       : err == KB_E_ENCODING       ? "UTF-16 or UTF-32 text: save it as UTF-8"
					    : "this is not JSON";
}

enum kb_err rules_compile(struct span source, struct rules **out, struct policy_fault *fault)
{
	enum kb_err err = KB_E_BUG;
	struct compiler c = {.fault = fault, .source = source};
	struct rules *r = calloc(1, sizeof *r);
	unsigned line = 0;

	*out = NULL;
	if (fault != NULL)
		*fault = (struct policy_fault){.line = 1};
	if (r == NULL || (r->nodes = calloc(RULES_NODES, sizeof *r->nodes)) == NULL) {
		err = KB_E_NOMEM;
		goto out;
	}
	if ((err = json_load_strict(source, KB_MAX_POLICY, &r->doc, &line)) != KB_OK) {
		if (fault != NULL) {
			fault->line = line;
			(void)snprintf(fault->text, sizeof fault->text, "%s", json_fault(err));
		}
		goto out;
	}
	buf_init(&r->source, KB_MAX_POLICY);
	buf_add_span(&r->source, source);
	if ((err = buf_ok(&r->source)) != KB_OK)
		goto out;
	digest_sha256(source, r->digest);
	c.rules = r;
	if ((err = compile(&c)) != KB_OK)
		goto out;
	struct rule_node *exact = realloc(
		r->nodes,
		r->n * sizeof *r->nodes); /* brokers hold many policies, and few are large */
	if (exact != NULL)
		r->nodes = exact;
	*out = r;
	r = NULL;
	err = KB_OK;
out:
	rules_free(r);
	return err;
}
