/* tests/unit/gateway/test_metrics_text.c — the shared statistics as /metrics. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>

#include "base/clock.h"
#include "gateway/metrics_text.h"
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

static struct process_stats *stats(unsigned i)
{
	return &page_of(i)->stats;
}

/* The slot of a process of `kind` in `state`. */
static unsigned take(enum process_kind kind, enum health_state state)
{
	return page_take(kind, 1, state);
}

static struct issuer_fetch *list_issuer(const char *name)
{
	snprintf(pages.board->issuer[0].name, sizeof pages.board->issuer[0].name, "%s", name);
	atomic_store(&pages.board->n_issuers, 1);
	atomic_store(&pages.board->generation, 1);
	return page_of(take(PROCESS_FETCHER, HEALTH_READY))->fetch;
}

static bool has(const struct buf *b, const char *text)
{
	return strstr((const char *)b->p, text) != NULL;
}

static void metrics(struct buf *out)
{
	buf_init(out, 4 << 20);
	metrics_text(&pages.all, out);
	assert_int_equal(buf_ok(out), KB_OK);
	buf_add(out, "", 1);
}

static void test_metrics_outcomes(void **state)
{
	(void)state;
	for (int i = 0; i < 3; i++)
		stats_outcome(&page_of_ledger()->outcomes, KB_OK, span_str("disk"),
			      span_str("maa"));
	stats_outcome(&page_of_ledger()->outcomes, KB_E_POLICY, span_str("disk"), span_str("maa"));
	stats_outcome(&page_of_ledger()->outcomes, KB_E_KEY_NOT_FOUND, span_of(NULL, 0),
		      span_of(NULL, 0));
	KB_AUTO(buf) struct buf m;
	metrics(&m);
	assert_true(has(&m, "keybroker_releases_total{key=\"disk\",issuer=\"maa\"} 3\n"));
	assert_true(has(
		&m, "keybroker_refusals_total{key=\"disk\",issuer=\"maa\",code=\"POLICY\"} 1\n"));
	assert_true(has(
		&m, "keybroker_refusals_total{key=\"\",issuer=\"\",code=\"KEY_NOT_FOUND\"} 1\n"));
}

static void test_metrics_sum_over_processes(void **state)
{
	struct process_stats *a = stats(take(PROCESS_VAULT, HEALTH_READY));
	unsigned ending = take(PROCESS_VAULT, HEALTH_FAILED);
	struct process_stats *b = stats(ending);
	unsigned gateway = take(PROCESS_GATEWAY, HEALTH_READY);
	struct process_stats *l = stats(take(PROCESS_LEDGER, HEALTH_READY));

	(void)state;
	stats_count(a, COUNT_HSM_ERRORS, 2);
	stats_count(b, COUNT_HSM_ERRORS, 3);
	stats_count(l, COUNT_HSM_ERRORS, 100); /* not a vault */
	stats_count(l, COUNT_RECORDS, 9);
	stats_count(l, COUNT_FRAMES_BAD, 1);
	stats_count(a, COUNT_FRAMES_BAD, 1);
	histogram_add(&a->hsm, 20);
	histogram_add(&b->hsm, 100);
	histogram_add(&b->hsm, 100000000);
	shared_give_back(&pages, ending);
	atomic_fetch_add(&page_of(gateway)->refused[KB_E_HTTP_SYNTAX], 3);
	assert_int_equal(shared_renew(&pages, gateway), KB_OK); /* it is started again */
	atomic_fetch_add(&page_of(gateway)->refused[KB_E_HTTP_SYNTAX], 1);
	stats_count(&pages.board->retired[PROCESS_VAULT].stats, COUNT_RESTARTS, 1);
	KB_AUTO(buf) struct buf m;
	metrics(&m);
	assert_true(has(&m, "keybroker_hsm_errors_total 5\n"));
	assert_true(has(&m, "keybroker_ledger_records_total 9\n"));
	assert_true(has(&m, "keybroker_frames_bad_total 2\n"));
	assert_true(has(&m, "keybroker_hsm_seconds_bucket{le=\"0.000032\"} 1\n"));
	assert_true(has(&m, "keybroker_hsm_seconds_bucket{le=\"0.000128\"} 2\n"));
	assert_true(has(&m, "keybroker_hsm_seconds_bucket{le=\"8.388608\"} 2\n"));
	assert_true(has(&m, "keybroker_hsm_seconds_bucket{le=\"+Inf\"} 3\n"));
	assert_true(has(&m, "keybroker_hsm_seconds_sum 100.000120\n"));
	assert_true(has(&m, "keybroker_hsm_seconds_count 3\n"));
	assert_true(has(&m, "keybroker_process_up{process=\"vault\"} 1\n"));
	assert_true(has(&m, "keybroker_process_restarts_total{process=\"vault\"} 1\n"));
	assert_true(has(&m, "keybroker_refused_before_request_total{code=\"HTTP_SYNTAX\"} 4\n"));
	assert_true(has(&m, "keybroker_ledger_lag_seconds 0.000\n"));
	assert_true(has(&m, "keybroker_build_info{version=\""));
}

/* Each metric: HELP, TYPE, then its samples; nothing twice. */
static void test_metrics_are_well_formed(void **state)
{
	static char names[256][64];
	size_t n = 0;

	(void)state;
	atomic_store(&list_issuer("we\"ird\\\n")->fetched_s, NOW);
	KB_AUTO(buf) struct buf m;
	metrics(&m);
	assert_true(has(&m, "keybroker_issuer_keys{issuer=\"we\\\"ird\\\\?\"} 0\n"));
	char *save = NULL;
	for (char *line = strtok_r((char *)m.p, "\n", &save); line != NULL;
	     line = strtok_r(NULL, "\n", &save)) {
		if (strncmp(line, "# TYPE ", 7) == 0) {
			assert_true(n < 256);
			assert_int_equal(sscanf(line + 7, "%63s", names[n]), 1);
			for (size_t i = 0; i < n; i++)
				assert_string_not_equal(names[i], names[n]);
			n++;
		} else if (line[0] != '#') {
			assert_true(n > 0);
			assert_int_equal(strncmp(line, names[n - 1], strlen(names[n - 1])), 0);
			assert_non_null(strrchr(line, ' '));
		}
	}
	assert_true(n > 30);
}

/* While a new configuration is tried, only the processes of the one in force are shown. */
static void test_metrics_issuers_of_another_generation(void **state)
{
	KB_AUTO(buf) struct buf before, after;

	(void)state;
	struct issuer_fetch *fetch = list_issuer("maa");
	atomic_store(&fetch->keys, 8); /* of the fetcher: no matter */
	atomic_store(&fetch->fault, KB_E_FETCH_TLS);
	for (uint32_t generation = 1; generation <= 2; generation++) {
		struct issuer_use *use =
			page_of(page_take(PROCESS_VAULT, generation, HEALTH_READY))->use;
		atomic_store(&use->keys, generation == 1 ? 7 : 9);
		atomic_store(&use->is_in_use, generation == 1);
		atomic_store(&use->fetched_s, clock_wall_s() + 60);
	}
	metrics(&before);
	assert_true(has(&before, "issuer_keys_age_seconds{issuer=\"maa\"} 0\n"));
	assert_true(has(&before, "issuer_ready{issuer=\"maa\"} 1\n"));
	assert_true(has(&before, "issuer_fetch_failed{issuer=\"maa\"} 1\n"));
	assert_true(has(&before, "issuer_keys{issuer=\"maa\"} 7\n") &&
		    !has(&before, "issuer_keys{issuer=\"maa\"} 9\n"));
	atomic_store(&pages.board->generation, 2);
	metrics(&after);
	assert_true(has(&after, "issuer_keys{issuer=\"maa\"} 9\n") &&
		    !has(&after, "issuer_keys{issuer=\"maa\"} 7\n"));
	assert_true(has(&after, "issuer_ready{issuer=\"maa\"} 0\n"));
	assert_true(has(&after, "issuer_fetch_failed{issuer=\"maa\"} 0\n"));
}

static void test_metrics_ledger_lag(void **state)
{
	struct process_health *l = &page_of(take(PROCESS_LEDGER, HEALTH_READY))->health;

	(void)state;
	health_busy(l, 0, 0);
	atomic_store(&l->busy_since_ms, clock_mono_ms() - 3000);
	KB_AUTO(buf) struct buf m;
	metrics(&m);
	assert_true(has(&m, "keybroker_ledger_lag_seconds 3."));
}

static void test_metrics_forged_values_are_bounded(void **state)
{
	bool is_ready = true;

	(void)state;
	for (enum process_kind kind = PROCESS_GATEWAY; kind < PROCESS_COUNT; kind++) {
		unsigned i = take(kind, HEALTH_READY);
		memset(page_of(i), 0xff,
		       i == SLOT_LEDGER ? sizeof(struct ledger_page) : sizeof(struct page));
	}
	struct outcomes *all = &page_of_ledger()->outcomes;
	memset(all, 0x41, sizeof *all);
	for (size_t i = 0; i < STATS_OUTCOMES; i++)
		atomic_store(&all->outcome[i].used, ENTRY_USED);
	atomic_store(&pages.board->generation, 1);
	atomic_store(&pages.board->n_issuers, KB_MAX_ISSUERS);
	KB_AUTO(buf) struct buf m;
	metrics(&m);
	KB_AUTO(buf) struct buf r;
	buf_init(&r, 1 << 20);
	ready_text(&pages.all, NOW, &r, &is_ready);
	assert_int_equal(buf_ok(&r), KB_OK);
	assert_false(is_ready);
	/* What is left of them in the sums is nothing. */
	shared_give_back(&pages, SLOT_FIRST);
	assert_int_equal(
		atomic_load(&pages.board->retired[PROCESS_GATEWAY].stats.counter[COUNT_REQUESTS]),
		0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_metrics_outcomes),        T(test_metrics_sum_over_processes),
		T(test_metrics_are_well_formed), T(test_metrics_issuers_of_another_generation),
		T(test_metrics_ledger_lag),      T(test_metrics_forged_values_are_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
