/* tests/unit/process/test_stats.c — shared counters, and what operators are told of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json.h"
#include "process/stats.h"
#include "tests/unit/short_system.h"

#define NOW (KB_EPOCH_MIN_S + 1000000)

static struct stats *stats;
static int fd = -1;

static int set_up(void **state)
{
	(void)state;
	return stats_create(&fd, &stats) == KB_OK ? 0 : -1;
}

static int tear_down(void **state)
{
	(void)state;
	close(fd);
	return munmap(stats, sizeof *stats);
}

static struct slot *take(enum process_kind process, enum slot_state state)
{
	int i = stats_take(stats, process, 1);

	assert_true(i >= 0);
	struct slot *s = stats_slot(stats, (unsigned)i);
	atomic_store(&s->pid, 1);
	slot_set(s, state);
	return s;
}

static void metrics(struct buf *out)
{
	buf_init(out, 4 << 20);
	stats_metrics(stats, out);
	assert_int_equal(buf_ok(out), KB_OK);
	buf_add(out, "", 1);
}

static bool has(const struct buf *b, const char *text)
{
	return strstr((const char *)b->p, text) != NULL;
}

/* ---- memory and slots ---- */

static void test_stats_is_shared(void **state)
{
	struct stats *other;

	(void)state;
	assert_int_equal(stats_attach(fd, &other), KB_OK);
	slot_count(&other->slot[3], COUNT_RECORDS, 5);
	assert_int_equal(atomic_load(&stats->slot[3].counter[COUNT_RECORDS]), 5);
	assert_int_equal(munmap(other, sizeof *other), 0);
	assert_int_equal(ftruncate(fd, 10), -1); /* nobody can shrink it under another */
}

static void test_stats_each_call_fails_once(void **state)
{
	struct stats *made, *again;
	int made_fd;
	bool is_past = false;

	(void)state;
	for (unsigned n = 1; !is_past; n++) {
		calls_fail(n);
		enum kb_err err = stats_create(&made_fd, &made);
		if (err == KB_OK && (err = stats_attach(made_fd, &again)) == KB_OK)
			munmap(again, sizeof *again);
		is_past = !calls_end();
		if ((err == KB_OK) != is_past)
			fail_msg("call %u fails: %s", n, kb_err_name(err));
		if (made_fd >= 0) {
			munmap(made, sizeof *made);
			close(made_fd);
		}
	}
}

static void test_stats_attach_checks(void **state)
{
	struct stats *other;
	int small = memfd_create("small", 0);

	(void)state;
	assert_int_equal(stats_attach(small, &other), KB_E_SYS);
	assert_null(other);
	assert_int_equal(ftruncate(small, sizeof *stats), 0);
	assert_int_equal(stats_attach(small, &other), KB_E_SYS); /* no magic */
	close(small);
	assert_int_equal(stats_attach(-1, &other), KB_E_SYS);
	int ro = open("/proc/self/exe", O_RDONLY);
	assert_int_equal(stats_attach(ro, &other), KB_E_SYS);
	close(ro);
}

static void test_stats_slots_are_taken_until_there_are_none(void **state)
{
	(void)state;
	for (int i = 0; i < STATS_SLOTS; i++)
		assert_int_equal(stats_take(stats, PROCESS_VAULT, 7), i);
	assert_int_equal(stats_take(stats, PROCESS_VAULT, 7), -1);
	slot_count(&stats->slot[9], COUNT_HSM_ERRORS, 4);
	slot_gauge(&stats->slot[9], COUNT_QUEUE, 4);
	stats_give_back(stats, 9);
	assert_int_equal(stats_take(stats, PROCESS_GATEWAY, 8), 9);
	assert_int_equal(atomic_load(&stats->slot[9].counter[COUNT_HSM_ERRORS]), 0);
	assert_int_equal(atomic_load(&stats->slot[9].generation), 8);
	assert_int_equal(atomic_load(&stats->retired[PROCESS_VAULT].counter[COUNT_HSM_ERRORS]), 4);
	assert_int_equal(atomic_load(&stats->retired[PROCESS_VAULT].counter[COUNT_QUEUE]),
			 0); /* a gauge ends with its process */
}

static void test_stats_slot_past_the_end_is_a_bug(void **state)
{
	int status;
	pid_t pid = fork();

	(void)state;
	if (pid == 0) {
		close(STDERR_FILENO);
		(void)stats_slot(stats, STATS_SLOTS);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
}

static void test_stats_states(void **state)
{
	struct slot *s = take(PROCESS_VAULT, SLOT_STARTING);

	(void)state;
	slot_busy(s, 42);
	assert_int_equal(atomic_load(&s->state), SLOT_BUSY);
	assert_int_equal(atomic_load(&s->request_id), 42);
	assert_true(clock_mono_ms() - atomic_load(&s->busy_since_ms) < 1000);
	slot_set(s, SLOT_HANDOVER);
	assert_int_equal(atomic_load(&s->request_id), 42);
	atomic_store(&s->fault, KB_E_HSM);
	slot_set(s, SLOT_FAILED);
	assert_int_equal(atomic_load(&s->request_id),
			 42); /* lost with its worker: the supervisor has to see it */
	slot_set(s, SLOT_READY);
	assert_int_equal(atomic_load(&s->request_id), 0);
	assert_int_equal(atomic_load(&s->fault), KB_OK);
}

static void test_stats_process_names(void **state)
{
	(void)state;
	assert_string_equal(process_name(PROCESS_VAULT), "vault");
	assert_string_equal(process_name(PROCESS_NONE), "none");
	assert_string_equal(process_name((enum process_kind)99), "none");
}

static void test_stats_histogram_buckets(void **state)
{
	static const struct {
		int64_t us;
		size_t bucket;
	} row[] = {{-1, 0}, {0, 0},        {32, 0},       {33, 1},        {64, 1},
		   {65, 2}, {8388608, 18}, {8388609, 19}, {INT64_MAX, 19}};

	(void)state;
	for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
		struct histogram h = {0};
		histogram_add(&h, row[i].us);
		assert_int_equal(atomic_load(&h.count[row[i].bucket]), 1);
		assert_int_equal(atomic_load(&h.n), 1);
	}
}

/* ---- issuers and outcomes ---- */

static void test_stats_issuers(void **state)
{
	struct issuer_slot *a = stats_issuer(stats, "a", "o"), *b = stats_issuer(stats, "b", "o");

	(void)state;
	assert_non_null(a);
	assert_ptr_not_equal(a, b);
	assert_ptr_equal(stats_issuer(stats, "a", "o"), a);
	atomic_store(&a->keys, 7);
	stats_keep_issuers(stats, &b, 1);
	assert_ptr_equal(stats_issuer(stats, "b", "o"), b);
	assert_ptr_equal(stats_issuer(stats, "c", "o"), a); /* its place is free again, and clean */
	assert_int_equal(atomic_load(&a->keys), 0);
}

/* A name that is another issuer's now: its figures begin anew, and the old ones are not told beside
 * them. */
static void test_stats_issuer_of_another_origin(void **state)
{
	struct issuer_slot *a = stats_issuer(stats, "maa", "a"), *b;
	KB_AUTO(buf) struct buf before, after;
	bool is_ready;

	(void)state;
	atomic_store(&a->fetched_s, NOW);
	atomic_store(&a->stale_at_s, NOW + 100);
	atomic_store(&a->attempt_s, NOW);
	atomic_store(&a->keys, 7);
	stats_keep_issuers(stats, &a, 1);
	b = stats_issuer(stats, "maa", "b");
	assert_ptr_not_equal(a, b);
	assert_ptr_equal(stats_issuer(stats, "maa", "a"), a);
	assert_true(b->fetched_s == 0 && b->stale_at_s == 0 && b->attempt_s == 0 && b->keys == 0);
	atomic_store(&b->keys, 9);
	metrics(&before); /* both are there while the new configuration is tried: the old one serves
			   */
	assert_true(has(&before, "issuer_keys{issuer=\"maa\"} 7\n") &&
		    !has(&before, "issuer_keys{issuer=\"maa\"} 9\n"));
	stats_keep_issuers(stats, &b, 1);
	metrics(&after);
	assert_true(has(&after, "issuer_keys{issuer=\"maa\"} 9\n") &&
		    !has(&after, "issuer_keys{issuer=\"maa\"} 7\n"));
	KB_AUTO(buf) struct buf json;
	buf_init(&json, 1 << 20);
	stats_ready(stats, NOW, &json, &is_ready);
	buf_add(&json, "", 1);
	assert_true(
		has(&json, "[{\"name\":\"maa\",\"ready\":false,\"reason\":\"not fetched yet\"}]"));
}

static void test_stats_issuers_are_bounded(void **state)
{
	char name[200];

	(void)state;
	memset(name, 'x', sizeof name - 1);
	name[sizeof name - 1] = '\0';
	assert_non_null(stats_issuer(stats, name, "o"));
	assert_ptr_equal(stats_issuer(stats, name, "o"), &stats->issuer[0]);
	for (int i = 1; i < STATS_ISSUERS; i++) {
		snprintf(name, sizeof name, "issuer-%d", i);
		assert_non_null(stats_issuer(stats, name, "o"));
	}
	assert_null(stats_issuer(stats, "one too many", "o"));
}

static void test_stats_issuer_half_made_is_passed_over(void **state)
{
	(void)state;
	atomic_store(&stats->issuer[0].used, 2); /* whoever claimed it died */
	assert_ptr_equal(stats_issuer(stats, "a", "o"), &stats->issuer[1]);
}

static void test_stats_outcomes(void **state)
{
	(void)state;
	for (int i = 0; i < 3; i++)
		stats_outcome(stats, KB_OK, span_str("disk"), span_str("maa"));
	stats_outcome(stats, KB_E_POLICY, span_str("disk"), span_str("maa"));
	stats_outcome(stats, KB_E_KEY_NOT_FOUND, span_of(NULL, 0), span_of(NULL, 0));
	KB_AUTO(buf) struct buf m;
	metrics(&m);
	assert_true(has(&m, "keybroker_releases_total{key=\"disk\",issuer=\"maa\"} 3\n"));
	assert_true(has(
		&m, "keybroker_refusals_total{key=\"disk\",issuer=\"maa\",code=\"POLICY\"} 1\n"));
	assert_true(has(
		&m, "keybroker_refusals_total{key=\"\",issuer=\"\",code=\"KEY_NOT_FOUND\"} 1\n"));
}

static void test_stats_too_many_outcomes_are_counted(void **state)
{
	char name[32];

	(void)state;
	for (int i = 0; i < 2 * STATS_OUTCOMES; i++) {
		snprintf(name, sizeof name, "key-%d", i);
		stats_outcome(stats, KB_OK, span_str(name), span_str("maa"));
	}
	assert_true(atomic_load(&stats->outcomes_lost) >= STATS_OUTCOMES);
}

/* ---- /metrics ---- */

static void test_stats_metrics_sum_over_processes(void **state)
{
	struct slot *a = take(PROCESS_VAULT, SLOT_READY), *b = take(PROCESS_VAULT, SLOT_FAILED),
		    *l = take(PROCESS_LEDGER, SLOT_READY);

	(void)state;
	slot_count(a, COUNT_HSM_ERRORS, 2);
	slot_count(b, COUNT_HSM_ERRORS, 3);
	slot_count(l, COUNT_HSM_ERRORS, 100); /* not a vault */
	slot_count(l, COUNT_RECORDS, 9);
	slot_count(l, COUNT_FRAMES_BAD, 1);
	slot_count(a, COUNT_FRAMES_BAD, 1);
	histogram_add(&a->hsm, 20);
	histogram_add(&b->hsm, 100);
	histogram_add(&b->hsm, 100000000);
	stats_give_back(stats, 1); /* b ends */
	atomic_fetch_add(&stats->refused[KB_E_HTTP_SYNTAX], 4);
	slot_count(&stats->retired[PROCESS_VAULT], COUNT_RESTARTS, 1);
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
static void test_stats_metrics_are_well_formed(void **state)
{
	static char names[256][64];
	size_t n = 0;

	(void)state;
	struct issuer_slot *is = stats_issuer(stats, "we\"ird\\\n", "o");
	stats_keep_issuers(stats, &is, 1);
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

static void test_stats_ledger_lag(void **state)
{
	struct slot *l = take(PROCESS_LEDGER, SLOT_READY);

	(void)state;
	slot_busy(l, 0);
	atomic_store(&l->busy_since_ms, clock_mono_ms() - 3000);
	KB_AUTO(buf) struct buf m;
	metrics(&m);
	assert_true(has(&m, "keybroker_ledger_lag_seconds 3."));
}

/* ---- /readyz ---- */

static bool ready(int64_t now_s, const char *expected_part)
{
	bool is_ready;
	KB_AUTO(json) struct json_t *doc = NULL;
	struct span status;

	KB_AUTO(buf) struct buf b;
	buf_init(&b, 1 << 20);
	stats_ready(stats, now_s, &b, &is_ready);
	assert_int_equal(json_load_strict(buf_span(&b), 1 << 20, &doc, NULL), KB_OK);
	assert_int_equal(json_get_str(doc, "status", 32, &status), KB_OK);
	assert_true(span_eq_cstr(status, is_ready ? "ready" : "not ready"));
	buf_add(&b, "", 1);
	if (expected_part != NULL && !has(&b, expected_part))
		fail_msg("%s is not in %s", expected_part, (const char *)b.p);
	return is_ready;
}

static void serve_all(void)
{
	atomic_store(&stats->generation, 1);
	take(PROCESS_VAULT, SLOT_READY);
	take(PROCESS_LEDGER, SLOT_BUSY);
}

static void test_stats_ready_when_all_is_well(void **state)
{
	(void)state;
	serve_all();
	assert_true(ready(NOW, "\"workers\":{\"serving\":1,\"configured\":1}"));
	struct issuer_slot *is = stats_issuer(stats, "maa", "o"),
			   *other = stats_issuer(stats, "other", "o");
	stats_keep_issuers(stats, (struct issuer_slot *[]){is, NULL, other}, 3);
	assert_false(
		ready(NOW, "{\"name\":\"maa\",\"ready\":false,\"reason\":\"not fetched yet\"}"));
	atomic_store(&is->fetched_s, NOW - 10);
	atomic_store(&is->stale_at_s, NOW);
	assert_true(ready(NOW, "{\"name\":\"maa\",\"ready\":true,\"age\":10}"));
	assert_false(ready(NOW + 1, "\"reason\":\"stale\""));
	atomic_store(&is->fault, KB_E_FETCH_TLS);
	assert_false(ready(NOW + 1, "\"reason\":\"FETCH_TLS\""));
	atomic_store(&other->stale_at_s, NOW + 9);
	atomic_store(&other->fetched_s, NOW);
	assert_true(ready(NOW + 1, NULL)); /* one usable issuer is enough */
}

static void test_stats_not_ready_without_vault(void **state)
{
	(void)state;
	atomic_store(&stats->generation, 1);
	take(PROCESS_LEDGER, SLOT_READY);
	assert_false(ready(NOW, "\"hsm\":{\"ready\":false,\"reason\":\"not running\"}"));
	struct slot *v = take(PROCESS_VAULT, SLOT_STARTING);
	assert_false(ready(NOW, "\"hsm\":{\"ready\":false,\"reason\":\"starting\"}"));
	atomic_store(&v->fault, KB_E_HSM_PIN);
	slot_set(v, SLOT_FAILED);
	assert_false(ready(NOW, "\"hsm\":{\"ready\":false,\"reason\":\"HSM_PIN\"}"));
	slot_set(v, SLOT_HANDOVER);
	assert_true(ready(NOW, NULL));
	atomic_store(&stats->generation, 2); /* an older configuration's worker does not count */
	assert_false(ready(NOW, NULL));
}

static void test_stats_not_ready_without_ledger(void **state)
{
	(void)state;
	atomic_store(&stats->generation, 1);
	take(PROCESS_VAULT, SLOT_READY);
	assert_false(ready(NOW, "\"ledger\":{\"ready\":false"));
	struct slot *l = take(PROCESS_LEDGER, SLOT_FAILED);
	atomic_store(&l->fault, KB_E_LEDGER);
	assert_false(ready(NOW, "\"ledger\":{\"ready\":false,\"reason\":\"LEDGER\"}"));
	slot_set(l, SLOT_READY);
	assert_true(ready(NOW, NULL));
	atomic_store(&l->pid, 0);
	assert_false(ready(NOW, NULL));
}

static void test_f01_f04_stats_not_ready_while_the_clock_is_wrong(void **state)
{
	(void)state;
	serve_all();
	assert_false(ready(KB_EPOCH_MIN_S - 1,
			   "\"clock\":{\"ready\":false,\"reason\":\"CLOCK_UNSET\"}"));
	atomic_store(&stats->clock_stepped_ms, clock_mono_ms());
	assert_false(ready(NOW, "\"clock\":{\"ready\":false,\"reason\":\"CLOCK_STEP\"}"));
	atomic_store(&stats->clock_stepped_ms, clock_mono_ms() - 11000);
	assert_true(ready(NOW, NULL));
}

static void test_stats_ready_needs_room_for_its_text(void **state)
{
	bool is_ready = true;

	(void)state;
	serve_all();
	KB_AUTO(buf) struct buf b;
	buf_init(&b, 20);
	stats_ready(stats, NOW, &b, &is_ready);
	assert_false(is_ready);
	assert_int_equal(buf_ok(&b), KB_E_NOMEM);
}

static void test_stats_forged_values_are_bounded(void **state)
{
	(void)state;
	serve_all();
	for (size_t i = 0; i < STATS_SLOTS; i++)
		memset(&stats->slot[i], 0xff, sizeof stats->slot[i]);
	memset(stats->issuer, 0x41, sizeof stats->issuer);
	memset(stats->outcome, 0x41, sizeof stats->outcome);
	for (size_t i = 0; i < STATS_ISSUERS; i++)
		atomic_store(&stats->issuer[i].used, 1);
	for (size_t i = 0; i < STATS_OUTCOMES; i++)
		atomic_store(&stats->outcome[i].used, 1);
	KB_AUTO(buf) struct buf m;
	metrics(&m);
	assert_false(ready(NOW, NULL));
	stats_give_back(stats, 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_stats_is_shared),
		T(test_stats_each_call_fails_once),
		T(test_stats_attach_checks),
		T(test_stats_slots_are_taken_until_there_are_none),
		T(test_stats_slot_past_the_end_is_a_bug),
		T(test_stats_states),
		T(test_stats_process_names),
		T(test_stats_histogram_buckets),
		T(test_stats_issuers),
		T(test_stats_issuer_of_another_origin),
		T(test_stats_issuers_are_bounded),
		T(test_stats_issuer_half_made_is_passed_over),
		T(test_stats_outcomes),
		T(test_stats_too_many_outcomes_are_counted),
		T(test_stats_metrics_sum_over_processes),
		T(test_stats_metrics_are_well_formed),
		T(test_stats_ledger_lag),
		T(test_stats_ready_when_all_is_well),
		T(test_stats_not_ready_without_vault),
		T(test_stats_not_ready_without_ledger),
		T(test_f01_f04_stats_not_ready_while_the_clock_is_wrong),
		T(test_stats_ready_needs_room_for_its_text),
		T(test_stats_forged_values_are_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
