/* tests/unit/process/test_health.c — the states of a process, and the names of its kinds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "process/health.h"

static void test_health_states(void **state)
{
	struct process_health h = {.state = HEALTH_STARTING};

	(void)state;
	assert_false(health_is_serving(&h));
	health_busy(&h, 3, 42);
	assert_int_equal(atomic_load(&h.gateway), 3);
	assert_int_equal(atomic_load(&h.state), HEALTH_BUSY);
	assert_int_equal(atomic_load(&h.request_id), 42);
	assert_true(clock_mono_ms() - atomic_load(&h.busy_since_ms) < 1000);
	assert_true(health_is_serving(&h));
	health_set(&h, HEALTH_HANDOVER);
	assert_int_equal(atomic_load(&h.request_id), 42);
	assert_true(health_is_serving(&h));
	health_fail(&h, KB_E_HSM);
	assert_int_equal(atomic_load(&h.state), HEALTH_FAILED);
	assert_int_equal(atomic_load(&h.fault), KB_E_HSM);
	/* lost with its worker: the supervisor has to see it */
	assert_int_equal(atomic_load(&h.request_id), 42);
	assert_false(health_is_serving(&h));
	health_set(&h, HEALTH_READY);
	assert_int_equal(atomic_load(&h.request_id), 0);
	assert_int_equal(atomic_load(&h.fault), KB_OK);
	assert_true(health_is_serving(&h));
}

/* What a captured process may have written. */
static void test_i13_health_values_that_cannot_be(void **state)
{
	static const int64_t begun[] = {-1, INT64_MIN, INT64_MAX, 1000 + 1001};
	/* a slow call counts as begun later */
	const int64_t slow_ms = KB_HSM_GENERATE_MS - KB_HSM_CALL_MS;
	struct process_health h;

	(void)state;
	memset(&h, 0xff, sizeof h);
	assert_false(health_is_serving(&h));
	assert_int_equal(health_fault(&h), KB_E_BUG);
	for (size_t i = 0; i < sizeof begun / sizeof begun[0]; i++) {
		h = (struct process_health){.state = HEALTH_BUSY, .busy_since_ms = begun[i]};
		assert_true(health_hung_ms(&h, 1000) == INT64_MAX);
		h = (struct process_health){.state = HEALTH_READY, .call_since_ms = begun[i]};
		if (begun[i] == 1000 + 1001)
			h.call_since_ms += slow_ms;
		assert_true(health_hung_ms(&h, 1000) == INT64_MAX);
	}
	h = (struct process_health){.state = HEALTH_READY, .call_since_ms = 1000 + 1000 + slow_ms};
	assert_int_equal(health_hung_ms(&h, 1000), 0);
	/* Its clock was read after ours. */
	h = (struct process_health){.state = HEALTH_BUSY, .busy_since_ms = 2000};
	assert_int_equal(health_hung_ms(&h, 1000), 0);
	assert_int_equal(health_hung_ms(&h, 2700), 700);
	h = (struct process_health){.state = HEALTH_STATES, .busy_since_ms = 1};
	assert_int_equal(health_hung_ms(&h, 1000), 0);
}

static void test_process_names(void **state)
{
	(void)state;
	assert_string_equal(process_name(PROCESS_VAULT), "vault");
	assert_string_equal(process_name(PROCESS_NONE), "none");
	assert_string_equal(process_name((enum process_kind)99), "none");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_health_states),
		cmocka_unit_test(test_i13_health_values_that_cannot_be),
		cmocka_unit_test(test_process_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
