/* tests/unit/ledger/test_replay.c — a token is used once; the table refuses what it cannot
 * store. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "ledger/replay.h"

static void key_of(uint32_t n, uint8_t key[static 32])
{
	memset(key, 0, 32);
	memcpy(key, &n, sizeof n);
}

static enum kb_err use(struct replay *r, uint32_t n, int64_t until_s)
{
	uint8_t key[32];

	key_of(n, key);
	return replay_use(r, key, until_s, 5000);
}

static void test_a17_replay_second_use_is_denied(void **state)
{
	(void)state;
	KB_AUTO(replay) struct replay *r = replay_new(16);
	assert_non_null(r);
	assert_int_equal(use(r, 1, 100), KB_OK);
	assert_int_equal(use(r, 1, 100), KB_E_REPLAY);
	assert_int_equal(use(r, 1, 200), KB_E_REPLAY);
	assert_int_equal(use(r, 2, 100), KB_OK);
	assert_int_equal(replay_count(r), 2);
}

static void test_replay_distinguishes_keys_of_one_bucket(void **state)
{
	uint8_t a[32] = {0}, b[32] = {0};

	(void)state;
	a[31] = 1;
	KB_AUTO(replay) struct replay *r = replay_new(4);
	assert_int_equal(replay_use(r, a, 10, 5000), KB_OK);
	assert_int_equal(replay_use(r, b, 10, 5000), KB_OK);
	assert_int_equal(replay_use(r, a, 10, 5000), KB_E_REPLAY);
	replay_forget(r, a);
	assert_int_equal(replay_use(r, b, 10, 5000), KB_E_REPLAY);
	assert_int_equal(replay_use(r, a, 10, 5000), KB_OK);
}

static void test_replay_a_use_that_did_not_happen_is_forgotten(void **state)
{
	uint8_t key[32];

	(void)state;
	KB_AUTO(replay) struct replay *r = replay_new(4);
	key_of(1, key);
	assert_int_equal(replay_use(r, key, 10, 5000), KB_OK);
	replay_forget(r, key);
	replay_forget(r, key); /* not there: no effect */
	assert_int_equal(replay_count(r), 0);
	assert_int_equal(replay_use(r, key, 10, 5000), KB_OK);
}

static void test_f02_replay_clock_set_back_forgets_nothing(void **state)
{
	(void)state;
	KB_AUTO(replay) struct replay *r = replay_new(1);
	replay_see(r, 1000);
	assert_int_equal(use(r, 1, 1100), KB_OK);
	replay_see(r, 2000);                      /* the entry expires … */
	assert_int_equal(use(r, 2, 2100), KB_OK); /* … and is replaced */
	/* The clock goes back: the dropped entry stays refused, and all that expire no later. */
	replay_see(r, 500);
	assert_int_equal(use(r, 1, 1100), KB_E_REPLAY);
	assert_int_equal(use(r, 3, 1050), KB_E_REPLAY);
	assert_int_equal(use(r, 2, 2100), KB_E_REPLAY);
}

/* A wrong time far ahead must not cause refusals until that time. */
static void test_f01_replay_clock_set_forth_and_back_denies_no_longer_than_needed(void **state)
{
	(void)state;
	KB_AUTO(replay) struct replay *r = replay_new(4);
	replay_see(r, 1000);
	assert_int_equal(use(r, 1, 1100), KB_OK);
	replay_see(r, 4291747200); /* 2106 */
	assert_int_equal(use(r, 1, 1100), KB_E_REPLAY);
	assert_int_equal(use(r, 2, 1090), KB_E_REPLAY);
	replay_see(r, 1000);
	assert_int_equal(use(r, 1, 1100), KB_E_REPLAY);
	assert_int_equal(use(r, 2, 1090), KB_E_REPLAY);
	assert_int_equal(use(r, 3, 1101), KB_OK);
}

static void test_d09_replay_what_is_not_known_is_denied(void **state)
{
	(void)state;
	KB_AUTO(replay) struct replay *r = replay_new(4);
	replay_see(r, 1000);
	replay_assume(r, 1500);
	replay_assume(r, 1400);
	assert_int_equal(use(r, 1, 1500), KB_E_REPLAY);
	assert_int_equal(use(r, 1, 1501), KB_OK);
}

static void test_d09_replay_full_table_denies(void **state)
{
	(void)state;
	KB_AUTO(replay) struct replay *r = replay_new(8);
	replay_see(r, 10);
	for (uint32_t i = 0; i < 8; i++)
		assert_int_equal(use(r, i, 100), KB_OK);
	assert_int_equal(use(r, 8, 100), KB_E_REPLAY_FULL);
	assert_int_equal(use(r, 3, 100), KB_E_REPLAY);
	replay_see(r, 101);
	assert_int_equal(use(r, 8, 200), KB_OK);
	assert_int_equal(replay_count(r), 1);
}

static void test_replay_edge_of_its_time(void **state)
{
	(void)state;
	KB_AUTO(replay) struct replay *r = replay_new(1);
	replay_see(r, 100);
	assert_int_equal(use(r, 1, 99), KB_E_REPLAY);
	assert_int_equal(use(r, 1, 100), KB_OK);
	assert_int_equal(use(r, 2, 100), KB_E_REPLAY_FULL); /* at 100 it has not expired yet */
}

static void test_replay_entries_are_used_again(void **state)
{
	(void)state;
	KB_AUTO(replay) struct replay *r = replay_new(64);
	for (uint32_t round = 1; round <= 50; round++) {
		replay_see(r, round * 10);
		for (uint32_t i = 0; i < 64; i++)
			assert_int_equal(use(r, round * 64 + i, round * 10 + 5), KB_OK);
		assert_int_equal(use(r, 1, round * 10 + 5), KB_E_REPLAY_FULL);
	}
	assert_int_equal(replay_count(r), 64);
}

/* The grace runs from the first use, by the clock that cannot be set; it ends with the token. */
static void test_g12_replay_grace(void **state)
{
	uint8_t key[32], other[32];

	(void)state;
	KB_AUTO(replay) struct replay *r = replay_new(4);
	key_of(1, key);
	key_of(2, other);
	replay_see(r, 10);
	assert_false(replay_is_repeat(r, key, 60, 5000));
	assert_int_equal(replay_use(r, key, 100, 5000), KB_OK);
	assert_true(replay_is_repeat(r, key, 60, 5000));
	assert_true(replay_is_repeat(r, key, 60, 64999));
	assert_false(replay_is_repeat(r, key, 60, 65000));
	assert_false(replay_is_repeat(r, key, 60, 4999));
	assert_false(replay_is_repeat(r, key, 0, 5000));
	assert_false(replay_is_repeat(r, other, 60, 5000));
	/* A repeat begins no new time. */
	assert_int_equal(replay_use(r, key, 100, 60000), KB_E_REPLAY);
	assert_false(replay_is_repeat(r, key, 60, 65000));
	replay_see(r, 101);
	assert_false(replay_is_repeat(r, key, 60, 5000));
	replay_see(r, 10);
	assert_int_equal(replay_use(r, other, 100, REPLAY_UNKNOWN), KB_OK);
	assert_false(replay_is_repeat(r, other, 600, 5000));
	replay_forget(r, key);
	assert_false(replay_is_repeat(r, key, 60, 5000));
}

static void test_replay_no_table_of_nothing(void **state)
{
	(void)state;
	assert_null(replay_new(0));
	assert_null(replay_new((size_t)UINT32_MAX));
	replay_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a17_replay_second_use_is_denied),
		cmocka_unit_test(test_replay_distinguishes_keys_of_one_bucket),
		cmocka_unit_test(test_replay_a_use_that_did_not_happen_is_forgotten),
		cmocka_unit_test(test_f02_replay_clock_set_back_forgets_nothing),
		cmocka_unit_test(
			test_f01_replay_clock_set_forth_and_back_denies_no_longer_than_needed),
		cmocka_unit_test(test_d09_replay_what_is_not_known_is_denied),
		cmocka_unit_test(test_d09_replay_full_table_denies),
		cmocka_unit_test(test_replay_edge_of_its_time),
		cmocka_unit_test(test_replay_entries_are_used_again),
		cmocka_unit_test(test_g12_replay_grace),
		cmocka_unit_test(test_replay_no_table_of_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
