/* tests/security/test_storage_long.c — kill -9 a hundred times at random steps of releases and
 * rotations, and hundreds of power cuts: what the short tests of storage show once, again and
 * again, with another seed each time. */
#include "tests/fault/storage_test.h"

enum { KILLS = 100, CUTS = 300, CUTS_AT_ONCE = 20, LIMIT_MS = 140000 };

static unsigned seed;

/* A process is killed before or after a call of a release, or the ledger's of a rotation. */
static void kill_somewhere(unsigned i)
{
	unsigned process = (unsigned)rand_r(&seed) % 4;
	enum shim_what what = rand_r(&seed) % 2 == 0 ? SHIM_KILL_BEFORE : SHIM_KILL_AFTER;
	if (process < 3) {
		(void)kill_at(process, what, rand_r(&seed) % 8);
	} else {
		struct shim_rule *r =
			shim_arm(SHIM_LEDGER, SHIM_FILES, what, 0, rand_r(&seed) % 6, 1);
		signal_broker(SIGUSR1);
		assert_true(shim_has_acted(r, 10000));
		shim_disarm();
		wait_released(15000);
		GOOD(verifies());
	}
	if (i % 3 == 2)
		fresh();
}

static void test_d03_kill_a_hundred_times(void **state)
{
	(void)state;
	unsigned done = 0;
	unsigned long long from = now_ms();
	seed = (unsigned)from;
	print_message("             seed %u\n", seed);
	while (done < KILLS && now_ms() - from < LIMIT_MS)
		kill_somewhere(done++);
	print_message("             %u kills\n", done);
	assert_true(done >= KILLS / 2); /* a busy machine does fewer; none of them may do harm */
	fresh();
	GOOD(invariants_begin(&in, &good));
	GOOD(invariants_hold(&in));
}

/* All that clients got, by request id, as the load left it. */
struct ids {
	uint32_t n;
	char id[LOAD_IDS][40];
};
static struct ids got;

static void keep_ids(const struct load *l)
{
	got.n = atomic_load(&l->n_ids) < LOAD_IDS ? atomic_load(&l->n_ids) : LOAD_IDS;
	memcpy(got.id, l->id, sizeof got.id);
}

/* A copy of the ledger, cut: it verifies but for a torn end, and before that end stands the record
 * of each reply. */
static void check_cut(const char *copy)
{
	char command[512], *out = NULL;
	unsigned mine = seed;
	snprintf(command, sizeof command, "rm -rf %s && cp -a %s/state/ledger %s", copy, in.dir,
		 copy);
	assert_int_equal(run_program(NULL, (const char *const[]){"/bin/sh", "-c", command, NULL}),
			 0);
	GOOD(shim_cut(&in, copy, &seed));
	int good_or_torn = CTL(&in, &out, "ledger", "verify", "--dir", copy);
	if (good_or_torn != 0 && strstr(out, "torn end") == NULL)
		GOOD(wrong("seed %u: %.300s", mine, out));
	free(out);
	snprintf(command, sizeof command, "cat %s/ledger-*.jsonl", copy);
	assert_int_equal(run_program(&out, (const char *const[]){"/bin/sh", "-c", command, NULL}),
			 0);
	for (uint32_t i = 0; i < got.n; i++) {
		char part[64];
		snprintf(part, sizeof part, "\"request\":\"%.36s\"", got.id[i]);
		const char *at = strstr(out, part);
		if (at == NULL || strchr(at, '\n') == NULL)
			GOOD(wrong("seed %u: reply %s lost its record", mine, got.id[i]));
	}
	free(out);
}

static void test_d04_hundreds_of_power_cuts(void **state)
{
	(void)state;
	unsigned cuts = 0;
	char copy[128];
	unsigned long long from = now_ms();
	seed = (unsigned)from;
	print_message("             seed %u\n", seed);
	snprintf(copy, sizeof copy, "%s/cut", in.dir);
	for (unsigned round = 0; cuts < CUTS && now_ms() - from < LIMIT_MS; round++) {
		struct load *l = load_start(&in.at, &good.ask, 4);
		const char *why = load_waits(l, 10, 20000);
		if (why == NULL && round % 3 == 1)
			signal_broker(SIGUSR1);
		if (why == NULL &&
		    round % 3 == 2) /* in the middle of a batch: written, not synced */
			shim_arm(SHIM_LEDGER, SHIM_SYNC, SHIM_SLOW, 200, 0, -1);
		sleep_ms((unsigned)rand_r(&seed) % 60);
		shim_kill_all(&in);
		shim_disarm();
		keep_ids(l);
		for (unsigned i = 0; i < CUTS_AT_ONCE && why == NULL; i++, cuts++)
			check_cut(copy);
		if (why == NULL)
			why = shim_power_cut(&in, &seed);
		if (why == NULL)
			why = shim_start(&in);
		const char *lost = load_end(&in, l);
		GOOD(why);
		GOOD(lost);
		GOOD(verifies());
	}
	print_message("             %u cuts\n", cuts);
	assert_true(cuts >= CUTS / 2);
	GOOD(invariants_begin(&in, &good));
	GOOD(invariants_hold(&in));
}

#define T(f) cmocka_unit_test_teardown(f, after_each)
int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_d03_kill_a_hundred_times),
		T(test_d04_hundreds_of_power_cuts),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
