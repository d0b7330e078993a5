/* tests/fuzz/fuzz_rules.c — a policy, a NUL, claims: compiled, judged and explained.  What is
 * printed as JSON must parse. */
#include <stdlib.h>

#include "base/json.h"
#include "base/limits.h"
#include "policy/debug.h"
#include "policy/explain.h"
#include "policy/rules.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define ISS "https://issuer.test"

static void must_parse(const struct buf *text)
{
	KB_AUTO(json) struct json_t *j = NULL;

	if (buf_ok(text) != KB_OK || json_load_strict(buf_span(text), text->max, &j, NULL) != KB_OK)
		abort();
}

static void explain(const struct explain *ex)
{
	KB_AUTO(buf) struct buf text;

	buf_init(&text, 8 * 1024 * 1024);
	explain_text(ex, &text);
	if (buf_ok(&text) != KB_OK)
		abort();
	buf_reset(&text);
	explain_json(ex, &text);
	must_parse(&text);
	buf_reset(&text);
	explain_failings(ex, &text);
	must_parse(&text);
	if (text.len > KB_MAX_RECORD)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct explain *ex;
	struct span input = span_of(data, size);
	size_t nul = span_find(input, 0, 0);
	KB_AUTO(rules) struct rules *r = NULL;
	KB_AUTO(json) struct json_t *claims = NULL;
	struct policy_fault fault;

	if (ex == NULL && (ex = explain_new()) == NULL)
		abort();
	explain_reset(ex);
	if (rules_compile(span_sub(input, 0, nul), &r, &fault) != KB_OK) {
		if (fault.line == 0 || fault.text[0] == '\0')
			abort();
		return 0;
	}
	if (json_load_strict(span_sub(input, nul + 1, size), KB_MAX_TOKEN, &claims, NULL) != KB_OK)
		return 0;
	enum kb_err err = rules_evaluate(r, span_str(ISS), claims, ex);
	if (err == KB_OK && !rules_name_authority(r, span_str(ISS)))
		abort();
	explain_step(ex, STEP_POLICY, err, NULL);
	char note[KB_DEBUG_NOTE];
	/* only a policy that holds comes to the floor */
	enum kb_err floor = err == KB_OK ? debug_check(r, span_str(ISS), claims, note) : KB_OK;
	if (floor != KB_OK && floor != KB_E_DEBUG_EVIDENCE)
		abort();
	if (floor != KB_OK)
		explain_step(ex, STEP_POLICY, floor, note);
	explain(ex);
	return 0;
}
