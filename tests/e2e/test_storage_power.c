/* tests/e2e/test_storage_power.c — what the disk holds after a torn write, after the ledger's
 * process was killed before it could reply, and after a power cut: every reply has its record, and
 * the rest does not count and is recorded. */
#include "tests/fault/storage_test.h"

static void tear(const char *text)
{
	int fd = open(newest(), O_WRONLY | O_APPEND | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

enum { STEPS = 16 }; /* calls on files until the new segment is there */
static const char torn[] = "{\"seq\":12345,\"prev\":\"0";

/* The torn end of `path` is as it was, and the segment after it accounts for it. */
static void stays_torn(const char *path)
{
	size_t len;
	char *text = slurp(path, &len);
	assert_true(len > strlen(torn) && strcmp(text + len - strlen(torn), torn) == 0);
	free(text);
}

/* The start after a torn write is killed before and after each of its calls, with the power cut
 * too: the ledger opens, the torn bytes are where they were, and one segment names them. */
static void test_d03_d12_kill_at_each_step_of_a_repair(void **state)
{
	unsigned seed = (unsigned)now_ms();

	(void)state;
	print_message("             seed %u\n", seed);
	for (unsigned how = 0; how < 3; how++) {
		for (int nth = 0; nth < STEPS; nth++) {
			char path[256];
			shim_kill_all(&in);
			snprintf(path, sizeof path, "%s", newest());
			tear(torn);
			unsigned before = ledger_count(&in, "\"torn_bytes\":");
			struct shim_rule *r =
				shim_arm(SHIM_LEDGER, SHIM_FILES,
					 how == 0 ? SHIM_KILL_BEFORE : SHIM_KILL_AFTER, 0, nth, 1);
			GOOD(shim_start_unready(&in));
			if (!shim_has_acted(r, 10000))
				GOOD(wrong("a start has %d steps only", nth));
			shim_disarm();
			if (how == 2) {
				shim_kill_all(&in);
				GOOD(shim_power_cut(&in, &seed));
				GOOD(shim_start(&in));
			}
			GOOD(broker_wait_ready(&in, READY_MS));
			released();
			GOOD(verifies());
			if (how == 2)
				continue;
			stays_torn(path);
			unsigned repairs = ledger_count(&in, "\"torn_bytes\":") - before;
			if (repairs != 1)
				GOOD(wrong("killed at step %d: %u repairs recorded", nth, repairs));
		}
	}
	GOOD(invariants_begin(&in, &good));
	GOOD(invariants_hold(&in));
}

/* ---- C8's half: the record is there, the reply was never sent ---- */

static void test_c08_ledger_dies_between_sync_and_reply(void **state)
{
	(void)state;
	unsigned before = ledger_count(&in, "\"outcome\":\"released\"");
	struct link *l = NULL;
	struct reply r = {0};
	GOOD(link_open(&in.at, &l));
	struct shim_rule *rule = shim_arm_asleep(SHIM_LEDGER, SHIM_SEND, SHIM_KILL_BEFORE, 0);
	unsigned long long from = now_ms();
	const char *why = guest_ask(l, &good.ask, &r);
	assert_true(shim_has_acted(rule, 1000));
	shim_disarm();
	assert_true(now_ms() - from < 12000);
	if (why == NULL && r.status != 503)
		GOOD(wrong("status %d without a reply from the ledger", r.status));
	reply_free(&r);
	link_close(l);
	assert_int_equal(ledger_count(&in, "\"outcome\":\"released\""), before + 1);
	/* What was synced before the process was killed is right before the line that says that it
	 * began again. */
	char *text = ledger_text(&in), *start = NULL, *at;
	for (at = text; (at = strstr(at, "\"event\":\"start\"")) != NULL; at++)
		start = at;
	assert_non_null(start);
	while (start > text && *start != '\n')
		start--;
	*start = '\0';
	at = strrchr(text, '\n');
	assert_true(at != NULL && strstr(at, "\"outcome\":\"released\"") != NULL);
	free(text);
	GOOD(invariants_hold(&in));
}

/* ---- D4: the power goes ---- */

static void test_d04_power_cut_loses_no_record_of_a_reply(void **state)
{
	(void)state;
	unsigned seed = (unsigned)now_ms();
	print_message("             seed %u\n", seed);
	for (unsigned round = 0; round < 3; round++) {
		struct load *l = load_start(&in.at, &good.ask, 4);
		const char *why = load_waits(l, 20, 10000);
		if (why != NULL) {
			(void)load_end(&in, l);
			GOOD(why);
		}
		if (round % 2 == 1)
			signal_broker(SIGUSR1);
		sleep_ms((unsigned)rand_r(&seed) % 30);
		shim_kill_all(&in);
		GOOD(shim_power_cut(&in, &seed));
		GOOD(shim_start(&in));
		GOOD(load_end(&in, l)); /* I1: for each key a client got */
		GOOD(verifies());
	}
	GOOD(invariants_begin(&in, &good));
	GOOD(invariants_hold(&in));
}

#define T(f) cmocka_unit_test_teardown(f, after_each)
int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_d03_d12_kill_at_each_step_of_a_repair),
		T(test_c08_ledger_dies_between_sync_and_reply),
		T(test_d04_power_cut_loses_no_record_of_a_reply),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
