/* policy/rules_warn.c — conditions of a policy that no token can satisfy, or hardly one.  Judges
 * the path alone: such a policy is valid, and only refuses more than its author meant. */
#include <stdio.h>

#include "policy/pointer.h"
#include "policy/rules_priv.h"

struct known_name {
	const char *name, *why;
};

/* Claims whose type token.c and claims.c check: nothing is below them. */
static const struct known_name scalars[] = {
	{"iss", "can never match: `iss` is a text and has no members"},
	{"exp", "can never match: `exp` is a number and has no members"},
	{"iat", "can never match: `iat` is a number and has no members"},
	{"nbf", "can never match: `nbf` is a number and has no members"},
};

#define IN_HEADER                                                                                  \
	"hardly matches: this is a member of the token's header, and conditions read its claims"
#define ENVELOPE                                                                                   \
	"hardly matches: a path begins at the claims themselves, without a name for the token or " \
	"its payload"
static const struct known_name header[] = {
	{"alg", IN_HEADER}, {"typ", IN_HEADER},      {"kid", IN_HEADER},
	{"jku", IN_HEADER}, {"x5u", IN_HEADER},      {"x5c", IN_HEADER},
	{"x5t", IN_HEADER}, {"x5t#S256", IN_HEADER}, {"cty", IN_HEADER},
};
static const struct known_name envelope[] = {
	{"$", ENVELOPE},      {"header", ENVELOPE}, {"protected", ENVELOPE}, {"payload", ENVELOPE},
	{"claims", ENVELOPE}, {"token", ENVELOPE},  {"jwt", ENVELOPE},
};

static const char *find(struct span name, const struct known_name *list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (span_eq_cstr(name, list[i].name))
			return list[i].why;
	return NULL;
}
#define FIND(name, list) find(name, list, sizeof(list) / sizeof *(list))

static const char *path_warning(struct span path)
{
	bool is_pointer = path.len > 0 && path.p[0] == '/';
	size_t from = is_pointer ? 1 : 0;
	size_t end = span_find(path, from, is_pointer ? '/' : '.');
	struct span first = span_sub(path, from, end - from);

	if (end == path.len)
		return FIND(first, header);
	/* With dots, "exp.x" may be one name. */
	return is_pointer && FIND(first, scalars) != NULL ? FIND(first, scalars)
							  : FIND(first, envelope);
}

void rules_warn(const struct rules *r, rules_say *say, void *ctx)
{
	char text[KB_MAX_CLAIM_PATH + 200];

	for (size_t i = 0; i < r->n; i++) {
		const struct rule_node *n = &r->nodes[i];
		const char *why = n->kind == NODE_CONDITION ? path_warning(n->claim) : NULL;
		if (why == NULL)
			continue;
		(void)snprintf(text, sizeof text, "the claim path \"%.*s\" %s", (int)n->claim.len,
			       (const char *)n->claim.p, why);
		say(ctx, text);
	}
}
