/* tests/unit/gateway/test_metrics_text.c — the shared statistics as /metrics. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/clock.h"
#include "gateway/metrics_text.h"
#include "gateway/ready_text.h"

#define NOW (KB_EPOCH_MIN_S + 1000000)

static struct shared *shared;
static int fd = -1;

static int set_up(void **state)
{
	(void)state;
	return shared_create(&fd, &shared) == KB_OK ? 0 : -1;
}

static int tear_down(void **state)
{
	(void)state;
	close(fd);
	return munmap(shared, sizeof *shared);
}

static struct process_health *health(int i)
{
	return &shared->health.process[i];
}

static struct process_stats *stats(int i)
{
	return &shared->stats.process[i];
}

/* The index of a process of `kind` in `state`. */
static int take(enum process_kind kind, enum health_state state)
{
	int i = shared_take(shared, kind, 1);

	assert_true(i >= 0);
	atomic_store(&health(i)->pid, 1);
	health_set(health(i), state);
	return i;
}

static bool has(const struct buf *b, const char *text)
{
	return strstr((const char *)b->p, text) != NULL;
}

static void metrics(struct buf *out)
{
	buf_init(out, 4 << 20);
	metrics_text(shared, out);
	assert_int_equal(buf_ok(out), KB_OK);
	buf_add(out, "", 1);
}

static void test_metrics_outcomes(void **state)
{
	(void)state;
	for (int i = 0; i < 3; i++)
		stats_outcome(&shared->stats, KB_OK, span_str("disk"), span_str("maa"));
	stats_outcome(&shared->stats, KB_E_POLICY, span_str("disk"), span_str("maa"));
	stats_outcome(&shared->stats, KB_E_KEY_NOT_FOUND, span_of(NULL, 0), span_of(NULL, 0));
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
	struct process_stats *b = stats(take(PROCESS_VAULT, HEALTH_FAILED));
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
	shared_give_back(shared, 1); /* b ends */
	atomic_fetch_add(&shared->stats.refused[KB_E_HTTP_SYNTAX], 4);
	stats_count(&shared->stats.retired[PROCESS_VAULT], COUNT_RESTARTS, 1);
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
	struct issuer_stats *is = stats_issuer(&shared->stats, "we\"ird\\\n", "o");
	stats_keep_issuers(&shared->stats, &is, 1);
	atomic_store(&is->fetched_s, NOW);
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

/* While a new configuration is tried, both origins are there: only the one in force is shown. */
static void test_metrics_issuer_of_another_origin(void **state)
{
	struct issuer_stats *a = stats_issuer(&shared->stats, "maa", "a"), *b;
	KB_AUTO(buf) struct buf before, after;

	(void)state;
	atomic_store(&a->keys, 7);
	stats_keep_issuers(&shared->stats, &a, 1);
	b = stats_issuer(&shared->stats, "maa", "b");
	atomic_store(&b->keys, 9);
	metrics(&before);
	assert_true(has(&before, "issuer_keys{issuer=\"maa\"} 7\n") &&
		    !has(&before, "issuer_keys{issuer=\"maa\"} 9\n"));
	stats_keep_issuers(&shared->stats, &b, 1);
	metrics(&after);
	assert_true(has(&after, "issuer_keys{issuer=\"maa\"} 9\n") &&
		    !has(&after, "issuer_keys{issuer=\"maa\"} 7\n"));
}

static void test_metrics_ledger_lag(void **state)
{
	struct process_health *l = health(take(PROCESS_LEDGER, HEALTH_READY));

	(void)state;
	health_busy(l, 0);
	atomic_store(&l->busy_since_ms, clock_mono_ms() - 3000);
	KB_AUTO(buf) struct buf m;
	metrics(&m);
	assert_true(has(&m, "keybroker_ledger_lag_seconds 3."));
}

static void test_metrics_forged_values_are_bounded(void **state)
{
	bool is_ready = true;

	(void)state;
	memset(&shared->health, 0xff, sizeof shared->health);
	memset(shared->stats.process, 0xff, sizeof shared->stats.process);
	memset(shared->stats.issuer, 0x41, sizeof shared->stats.issuer);
	memset(shared->stats.outcome, 0x41, sizeof shared->stats.outcome);
	for (size_t i = 0; i < STATS_ISSUERS; i++)
		atomic_store(&shared->stats.issuer[i].used, ENTRY_USED);
	for (size_t i = 0; i < STATS_OUTCOMES; i++)
		atomic_store(&shared->stats.outcome[i].used, ENTRY_USED);
	KB_AUTO(buf) struct buf m;
	metrics(&m);
	KB_AUTO(buf) struct buf r;
	buf_init(&r, 1 << 20);
	ready_text(shared, NOW, &r, &is_ready);
	assert_int_equal(buf_ok(&r), KB_OK);
	assert_false(is_ready);
	shared_give_back(shared, 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_metrics_outcomes),        T(test_metrics_sum_over_processes),
		T(test_metrics_are_well_formed), T(test_metrics_issuer_of_another_origin),
		T(test_metrics_ledger_lag),      T(test_metrics_forged_values_are_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
