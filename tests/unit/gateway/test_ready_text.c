/* tests/unit/gateway/test_ready_text.c — when /readyz is ready, and the reason when it is not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/json.h"
#include "gateway/ready_text.h"
#include "tests/unit/pages.h"

#define NOW (KB_EPOCH_MIN_S + 1000000)

static int set_up(void **state)
{
	(void)state;
	return pages_make() ? 0 : -1;
}

static int tear_down(void **state)
{
	(void)state;
	pages_free();
	return 0;
}

static struct process_health *health(unsigned i)
{
	return &page_of(i)->health;
}

/* The slot of a process of `kind` in `state`. */
static unsigned take(enum process_kind kind, enum health_state state)
{
	return page_take(kind, 1, state);
}

/* The configuration's issuers, and what the fetcher of the generation says of them. */
static struct issuer_fetch *list_issuers(uint32_t generation, unsigned n, const char *const *names)
{
	for (unsigned i = 0; i < n; i++)
		snprintf(pages.board->issuer[i].name, sizeof pages.board->issuer[i].name, "%s",
			 names[i]);
	atomic_store(&pages.board->n_issuers, n);
	return page_of(page_take(PROCESS_FETCHER, generation, HEALTH_READY))->fetch;
}

/* The vault in this slot has the issuer's set of that time, or not, because of `fault`. */
static void has_set(unsigned slot, unsigned issuer, int64_t fetched_s, enum kb_err fault)
{
	struct issuer_use *use = &page_of(slot)->use[issuer];

	atomic_store(&use->fetched_s, fetched_s);
	atomic_store(&use->fault, fault);
	atomic_store(&use->is_in_use, fault == KB_OK);
}

static bool has(const struct buf *b, const char *text)
{
	return strstr((const char *)b->p, text) != NULL;
}

static bool ready(int64_t now_s, const char *expected_part)
{
	bool is_ready;
	KB_AUTO(json) struct json_t *doc = NULL;
	struct span status;

	KB_AUTO(buf) struct buf b;
	buf_init(&b, 1 << 20);
	ready_text(&pages.all, now_s, &b, &is_ready);
	assert_int_equal(json_load_strict(buf_span(&b), 1 << 20, &doc, NULL), KB_OK);
	assert_int_equal(json_get_str(doc, "status", 32, &status), KB_OK);
	assert_true(span_eq_cstr(status, is_ready ? "ready" : "not ready"));
	buf_add(&b, "", 1);
	if (expected_part != NULL && !has(&b, expected_part))
		fail_msg("%s is not in %s", expected_part, (const char *)b.p);
	return is_ready;
}

static unsigned serve_all(void)
{
	atomic_store(&pages.board->generation, 1);
	unsigned vault = take(PROCESS_VAULT, HEALTH_READY);
	(void)take(PROCESS_LEDGER, HEALTH_BUSY);
	return vault;
}

static void test_ready_when_all_is_well(void **state)
{
	(void)state;
	unsigned vault = serve_all();
	assert_true(ready(NOW, "\"workers\":{\"serving\":1,\"configured\":1}"));
	struct issuer_fetch *is = list_issuers(1, 2, (const char *const[]){"maa", "other"});
	assert_false(
		ready(NOW, "{\"name\":\"maa\",\"ready\":false,\"reason\":\"not fetched yet\"}"));
	has_set(vault, 0, NOW - 10, KB_OK);
	assert_true(ready(NOW, "{\"name\":\"maa\",\"ready\":true,\"age\":10}"));
	has_set(vault, 0, NOW - 10, KB_E_KEYSET_STALE);
	assert_false(ready(NOW, "\"reason\":\"KEYSET_STALE\",\"age\":10}"));
	has_set(vault, 0, NOW + 9999, KB_E_KEYSET_AHEAD);
	assert_false(ready(NOW, "\"reason\":\"KEYSET_AHEAD\"}"));
	atomic_store(&is->fault, KB_E_FETCH_TLS);
	assert_false(ready(NOW, "\"reason\":\"FETCH_TLS\",\"fetch\":\"FETCH_TLS\"}"));
	has_set(vault, 1, NOW, KB_OK);
	assert_true(ready(NOW + 1, NULL)); /* one usable issuer is enough */
}

/* Health is what the workers have, not what the fetcher once had; a failed fetch is seen while the
 * keys are fresh. */
static void test_h16_ready_is_what_the_workers_have(void **state)
{
	(void)state;
	unsigned vault = serve_all(), second = take(PROCESS_VAULT, HEALTH_READY);
	struct issuer_fetch *is = list_issuers(1, 1, (const char *const[]){"maa"});
	atomic_store(&is->fetched_s, NOW - 40); /* a leftover */
	assert_false(ready(NOW, "\"reason\":\"not fetched yet\"}"));
	has_set(vault, 0, NOW - 40, KB_OK);
	assert_false(ready(NOW, "\"ready\":false,\"reason\":\"not fetched yet\"}"));
	has_set(second, 0, NOW - 30, KB_OK);
	assert_true(ready(NOW, "\"ready\":true,\"age\":40}"));
	atomic_store(&is->fault, KB_E_FETCH_STATUS);
	assert_true(ready(NOW, "\"ready\":true,\"age\":40,\"fetch\":\"FETCH_STATUS\"}"));
	/* A worker that does not serve is no matter of the issuer. */
	has_set(second, 0, 0, KB_E_ISSUER_UNAVAILABLE);
	assert_false(ready(NOW, "\"reason\":\"FETCH_STATUS\""));
	health_fail(health(second), KB_E_HSM_PIN);
	assert_true(ready(NOW, "\"ready\":true,\"age\":40"));
	/* noise */
	atomic_store(&is->fault, 0xffffffff);
	atomic_store(&page_of(vault)->use[0].fetched_s, INT64_MIN);
	assert_true(ready(NOW, "\"ready\":true,\"fetch\":\"BUG\"}"));
}

/* What was fetched for the configuration before is not shown for this one. */
static void test_not_ready_with_issuers_of_another_generation(void **state)
{
	(void)list_issuers(1, 1, (const char *const[]){"maa"});

	(void)state;
	has_set(serve_all(), 0, NOW, KB_OK);
	assert_true(ready(NOW, NULL));
	(void)page_take(PROCESS_VAULT, 2, HEALTH_READY);
	atomic_store(&pages.board->generation, 2);
	assert_false(
		ready(NOW, "[{\"name\":\"maa\",\"ready\":false,\"reason\":\"not fetched yet\"}]"));
}

static void test_not_ready_without_vault(void **state)
{
	(void)state;
	atomic_store(&pages.board->generation, 1);
	(void)take(PROCESS_LEDGER, HEALTH_READY);
	assert_false(ready(NOW, "\"hsm\":{\"ready\":false,\"reason\":\"not running\"}"));
	struct process_health *v = health(take(PROCESS_VAULT, HEALTH_STARTING));
	assert_false(ready(NOW, "\"hsm\":{\"ready\":false,\"reason\":\"starting\"}"));
	health_fail(v, KB_E_HSM_PIN);
	assert_false(ready(NOW, "\"hsm\":{\"ready\":false,\"reason\":\"HSM_PIN\"}"));
	health_set(v, HEALTH_HANDOVER);
	assert_true(ready(NOW, NULL));
	atomic_store(&pages.board->generation,
		     2); /* an older configuration's worker does not count */
	assert_false(ready(NOW, NULL));
}

static void test_not_ready_without_ledger(void **state)
{
	(void)state;
	atomic_store(&pages.board->generation, 1);
	(void)take(PROCESS_VAULT, HEALTH_READY);
	assert_false(ready(NOW, "\"ledger\":{\"ready\":false"));
	struct process_health *l = health(take(PROCESS_LEDGER, HEALTH_FAILED));
	atomic_store(&l->fault, KB_E_LEDGER);
	assert_false(ready(NOW, "\"ledger\":{\"ready\":false,\"reason\":\"LEDGER\"}"));
	health_set(l, HEALTH_READY);
	assert_true(ready(NOW, NULL));
	atomic_store(&pages.board->seat[SLOT_LEDGER].pid, 0);
	assert_false(ready(NOW, NULL));
}

static void test_f01_f04_not_ready_while_the_clock_is_wrong(void **state)
{
	(void)state;
	serve_all();
	assert_false(ready(KB_EPOCH_MIN_S - 1,
			   "\"clock\":{\"ready\":false,\"reason\":\"CLOCK_UNSET\"}"));
	atomic_store(&pages.board->clock_stepped_ms, clock_mono_ms());
	assert_false(ready(NOW, "\"clock\":{\"ready\":false,\"reason\":\"CLOCK_STEP\"}"));
	atomic_store(&pages.board->clock_stepped_ms, clock_mono_ms() - 11000);
	assert_true(ready(NOW, NULL));
}

static void test_ready_needs_space_for_its_text(void **state)
{
	bool is_ready = true;

	(void)state;
	serve_all();
	KB_AUTO(buf) struct buf b;
	buf_init(&b, 20);
	ready_text(&pages.all, NOW, &b, &is_ready);
	assert_false(is_ready);
	assert_int_equal(buf_ok(&b), KB_E_NOMEM);
}

#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_ready_when_all_is_well),
		T(test_h16_ready_is_what_the_workers_have),
		T(test_not_ready_with_issuers_of_another_generation),
		T(test_not_ready_without_vault),
		T(test_not_ready_without_ledger),
		T(test_f01_f04_not_ready_while_the_clock_is_wrong),
		T(test_ready_needs_space_for_its_text),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
