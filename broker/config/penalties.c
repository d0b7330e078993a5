/* broker/config/penalties.c — "penalties" of keybroker.json: when a source address is blocked, and
 * which ones never are. */
#include <stdlib.h>

#include "config/document.h"

enum { LONGEST_S = 3600, MAX_NETWORK = 64 };

static bool present(const struct section *n, const char *name)
{
	return json_has(n->obj, name) && !json_has_null(n->obj, name);
}

static void add_exempt(const struct section *n, struct span text, struct penalty_config *p)
{
	if (!source_network_parse(text, &p->exempt[p->n_exempt++]))
		section_fault(n, "exempt",
			      "\"exempt\" must be an array of networks such as \"192.0.2.0/24\" or "
			      "\"2001:db8::/32\", without bits beyond the prefix");
}

static void exempt_load(const struct section *n, struct penalty_config *p)
{
	/* A proxy on this machine speaks for all its clients. */
	static const char *const usual[] = {"127.0.0.0/8", "::1"};
	const struct json_t *array = NULL;
	struct span text;

	p->exempt = calloc(KB_PENALTY_EXEMPT, sizeof *p->exempt);
	if (p->exempt == NULL) {
		section_fault(n, "", "no memory");
		return;
	}
	if (!present(n, "exempt")) {
		for (size_t i = 0; i < sizeof usual / sizeof usual[0]; i++)
			add_exempt(n, span_str(usual[i]), p);
		return;
	}
	if (json_get_arr(n->obj, "exempt", &array) != KB_OK ||
	    json_len(array) > KB_PENALTY_EXEMPT) {
		section_fault(n, "exempt", "\"exempt\" must be an array of at most %d networks",
			      KB_PENALTY_EXEMPT);
		return;
	}
	for (size_t i = 0; i < json_len(array); i++) {
		if (json_as_str(json_at(array, i), MAX_NETWORK, &text) != KB_OK)
			text = span_of(NULL, 0);
		add_exempt(n, text, p);
	}
}

void penalties_load(const struct section *root, struct config *c)
{
	static const char *const known[] = {"enabled", "failure", "threshold",
					    "longest", "exempt",  NULL};
	struct penalty_config *p = &c->penalties;
	struct section n = *root;
	bool is_on = true;

	*p = (struct penalty_config){.failure_s = KB_PENALTY_FAILURE_S,
				     .threshold_s = KB_PENALTY_THRESHOLD_S,
				     .longest_s = KB_PENALTY_LONGEST_S};
	if (present(root, "penalties")) {
		if (!section_object(root, "penalties", &n))
			return;
		(void)section_known(&n, known);
		(void)section_bool_opt(&n, "enabled", &is_on);
		(void)section_time_opt(&n, "failure", 1, LONGEST_S, &p->failure_s);
		(void)section_time_opt(&n, "threshold", 1, LONGEST_S, &p->threshold_s);
		(void)section_time_opt(&n, "longest", 1, LONGEST_S, &p->longest_s);
		if (p->longest_s < p->threshold_s)
			section_fault(&n, "longest",
				      "\"longest\" must not be less than \"threshold\" (%llds): no "
				      "source would ever be blocked",
				      (long long)p->threshold_s);
	}
	p->is_off = !is_on;
	exempt_load(&n, p);
}

void penalties_config_free(struct config *c)
{
	free(c->penalties.exempt);
}
