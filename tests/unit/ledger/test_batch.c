/* tests/unit/ledger/test_batch.c — what one batch does with refusals and with tokens that come
 * again: a full memory of used tokens, a disk that is nearly full, a lost answer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/hex.h"
#include "ledger/ledger.h"

static char dir[64];
static int dir_fd = -1, shared_fd = -1, responses[2];
static struct shared *shared;
static struct process_start start;
static struct ledger ledger;
static char records[8][512];
static uint8_t response_bytes[KB_MAX_FRAME];

static void open_ledger(size_t tokens)
{
	struct segment_fault fault;

	ledger = (struct ledger){
		.start = &start,
		.self = &shared->stats.process[0],
		.segment_bytes = KB_LEDGER_SEGMENT,
		.refusals = {.most_whole = KB_REFUSAL_WHOLE, .most_bytes = KB_REFUSAL_BYTES}};
	ledger.generation[0] = (struct ledger_generation){
		.number = 1, .replies = -1, .responses = {responses[0]}, .n_gateways = 1};
	buf_init(&ledger.lines, (size_t)KB_LEDGER_BATCH * (CHAIN_MAX_LINE + 1));
	buf_init(&ledger.response, KB_MAX_FRAME);
	buf_init(&ledger.repeat, KB_MAX_RECORD);
	ledger.replay = replay_new(tokens);
	assert_non_null(ledger.replay);
	assert_int_equal(segment_open(dir_fd, clock_wall_s(), NULL, NULL, &ledger.log, &fault),
			 KB_OK);
}

static void close_ledger(void)
{
	segment_close(&ledger.log);
	replay_free(ledger.replay);
	buf_free(&ledger.lines);
	buf_free(&ledger.response);
	buf_free(&ledger.repeat);
}

static int set_up(void **state)
{
	(void)state;
	snprintf(dir, sizeof dir, "/tmp/keybroker-batch-XXXXXX");
	if (mkdtemp(dir) == NULL || shared_create(&shared_fd, &shared) != KB_OK ||
	    frame_pair(responses) != KB_OK)
		return -1;
	dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	start = (struct process_start){.process = PROCESS_LEDGER,
				       .shared = shared,
				       .stats = &shared->stats.process[0],
				       .health = &shared->health.process[0]};
	open_ledger(16);
	return 0;
}

static int tear_down(void **state)
{
	char name[SEGMENT_NAME];

	(void)state;
	close_ledger();
	for (uint32_t i = 1; i < 10; i++) {
		segment_name(i, name);
		unlinkat(dir_fd, name, 0);
	}
	close(dir_fd);
	close(responses[0]);
	close(responses[1]);
	close(shared_fd);
	munmap(shared, sizeof *shared);
	return rmdir(dir);
}

struct tally {
	const char *text;
	unsigned n;
};

static enum kb_err tally_line(void *ctx, const struct segment_line *l)
{
	struct tally *t = ctx;

	t->n += memmem(l->text.p, l->text.len, t->text, strlen(t->text)) != NULL;
	return KB_OK;
}

static unsigned count_lines(const char *text)
{
	struct tally t = {.text = text};
	struct segment_fault f;

	assert_int_equal(segment_walk(dir_fd, 0, tally_line, &t, NULL, &f), KB_OK);
	return t.n;
}

static struct frame_response next_response(void)
{
	struct pollfd p = {.fd = responses[1], .events = POLLIN};
	struct frame_response r;
	size_t len;

	assert_int_equal(poll(&p, 1, 0), 1);
	assert_int_equal(frame_recv(responses[1], response_bytes, sizeof response_bytes, &len),
			 KB_OK);
	assert_int_equal(frame_get_response(span_of(response_bytes, len), &r), KB_OK);
	return r;
}

static void put(const struct frame_reply *r)
{
	ledger.item[ledger.n++] = (struct batch_item){.reply = *r, .from = &ledger.generation[0]};
}

/* Single use, as vault/release.c sends it; `slot` is where its record is kept. */
static struct frame_reply use(unsigned slot, uint8_t token, uint16_t grace_s)
{
	KB_AUTO(buf) struct buf b;
	char when[KB_TIME_TEXT];
	struct frame_reply r = {.id = 1 + slot,
				.status = 200,
				.peer = span_str("192.0.2.7"),
				.body = span_str("{\"value\":\"key\"}"),
				.outcome = {.code = KB_OK, .is_release = true},
				.replay_from_s = INT64_MAX,
				.replay_until_s = clock_wall_s() + 1000,
				.replay_grace_s = grace_s,
				.replay_status = 403,
				.replay_body = span_str("{\"error\":1}"),
				.replay_record =
					span_str("{\"event\":\"release\",\"code\":\"REPLAY\"}")};

	memset(r.replay_key, token, sizeof r.replay_key);
	buf_init(&b, sizeof records[0]);
	clock_text(clock_wall_us(), when);
	buf_addf(&b, "{\"time\":\"%s\",\"event\":\"release\",\"code\":\"OK\",\"replay\":\"", when);
	hex_encode(&b, span_of(r.replay_key, sizeof r.replay_key));
	buf_addf(&b, "\",\"replay_until\":%lld}", (long long)r.replay_until_s);
	memcpy(records[slot], b.p, b.len);
	r.record = span_of(records[slot], b.len);
	return r;
}

static struct frame_response used(uint8_t token, uint16_t grace_s)
{
	struct frame_reply r = use(0, token, grace_s);

	put(&r);
	batch_serve(&ledger);
	return next_response();
}

static struct frame_reply refusal(enum kb_err code, const char *peer)
{
	return (struct frame_reply){.id = 9,
				    .status = 403,
				    .peer = span_str(peer),
				    .body = span_str("{\"error\":1}"),
				    .record = span_str("{\"event\":\"release\",\"code\":\"X\"}"),
				    .outcome = {.code = (uint16_t)code}};
}

static uint64_t counted(enum counter c)
{
	return atomic_load(&shared->stats.process[0].counter[c]);
}

/* ---- single use ---- */

/* Nothing was given and it heals by itself: the client is told when to try again. */
static void test_g11_full_memory_of_tokens_is_busy(void **state)
{
	(void)state;
	close_ledger();
	open_ledger(2);
	assert_int_equal(used(1, 0).status, 200);
	assert_int_equal(used(2, 0).status, 200);
	struct frame_response got = used(3, 60);
	assert_int_equal(got.status, 503);
	assert_int_equal(got.code, KB_E_REPLAY_FULL);
	assert_int_equal(got.retry_after_s, KB_REPLAY_RETRY_S);
	assert_int_equal(got.body.len, 0); /* the gateway's, in the listener's dialect */
	assert_false(got.is_release);
	assert_int_equal(used(1, 0).code, KB_E_REPLAY);
	journal_sum_refusals(&ledger);
	assert_int_equal(count_lines("\"code\":\"REPLAY_FULL\",\"peer\":\"192.0.2.7\",\"more\":1,"),
			 1);
	/* A token in it expires. */
	replay_see(ledger.replay, clock_wall_s() + 2000);
	struct frame_reply r = use(0, 3, 0);
	r.replay_until_s += 5000;
	memset(r.replay_key, 3, sizeof r.replay_key);
	assert_int_equal(replay_use(ledger.replay, r.replay_key, r.replay_until_s, 0), KB_OK);
}

static void test_g12_lost_answer_is_given_again(void **state)
{
	(void)state;
	struct frame_response first = used(1, 60), again = used(1, 60);
	assert_int_equal(first.status, 200);
	assert_int_equal(again.status, 200);
	assert_int_equal(again.code, KB_OK);
	assert_true(again.is_release);
	assert_int_equal(count_lines("\"event\":\"release\",\"code\":\"OK\""), 2);
	assert_int_equal(count_lines(",\"repeat\":true"), 1);
	assert_int_equal(counted(COUNT_REPEATS), 1);
	/* Off; and another token has nothing to do with it. */
	assert_int_equal(used(1, 0).code, KB_E_REPLAY);
	assert_int_equal(used(2, 0).status, 200);
	assert_int_equal(used(2, 0).code, KB_E_REPLAY);
}

/* Both in one batch: the second is a repeat; without the grace it is none. */
static void test_g12_two_at_once(void **state)
{
	struct frame_reply a = use(0, 1, 60), b = use(1, 1, 60), c = use(2, 2, 0), d = use(3, 2, 0);

	(void)state;
	put(&a);
	put(&b);
	put(&c);
	put(&d);
	batch_serve(&ledger);
	assert_int_equal(next_response().status, 200);
	assert_int_equal(next_response().status, 200);
	assert_int_equal(next_response().status, 200);
	assert_int_equal(next_response().code, KB_E_REPLAY);
	assert_int_equal(count_lines(",\"repeat\":true"), 1);
}

/* A first answer that was not recorded was not given: what follows it in the batch is not either,
 * and the token is unused. */
static void test_g12_batch_that_is_not_durable(void **state)
{
	struct frame_reply a = use(0, 1, 60), b = use(1, 1, 60);
	char name[SEGMENT_NAME];

	(void)state;
	segment_name(1, name);
	assert_int_equal(unlinkat(dir_fd, name, 0), 0);
	put(&a);
	put(&b);
	batch_serve(&ledger);
	assert_int_equal(next_response().code, KB_E_LEDGER);
	assert_int_equal(next_response().code, KB_E_LEDGER);
	assert_int_equal(replay_count(ledger.replay), 0);
}

/* ---- refusals ---- */

static void test_g09_refusals_are_summed_and_still_answered(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 3 * KB_REFUSAL_WHOLE; i++) {
		struct frame_reply r = refusal(KB_E_POLICY, "192.0.2.7");
		put(&r);
		batch_serve(&ledger);
		struct frame_response got = next_response();
		assert_int_equal(got.status, 403);
		assert_int_equal(got.code, KB_E_POLICY);
		assert_true(got.body.len > 0);
	}
	assert_int_equal(used(1, 0).status, 200);
	assert_int_equal(count_lines("\"code\":\"X\""), KB_REFUSAL_WHOLE);
	assert_int_equal(count_lines("\"event\":\"release\",\"code\":\"OK\""), 1);
	assert_int_equal(counted(COUNT_REFUSALS_SUMMED), 2 * KB_REFUSAL_WHOLE);
	journal_rotate(&ledger, "asked to"); /* sums are taken before it */
	assert_int_equal(count_lines("\"event\":\"refusals\",\"outcome\":\"refused\",\"code\":"
				     "\"POLICY\",\"peer\":\"192.0.2.7\",\"more\":10,"),
			 1);
	/* /metrics has all of them */
	uint64_t n = 0;
	for (size_t i = 0; i < STATS_OUTCOMES; i++)
		if (shared->stats.outcome[i].code == KB_E_POLICY)
			n += atomic_load(&shared->stats.outcome[i].n);
	assert_int_equal(n, 3 * KB_REFUSAL_WHOLE);
}

static void test_g10_low_disk_records_releases_alone(void **state)
{
	struct frame_reply r = refusal(KB_E_POLICY, "192.0.2.7");

	(void)state;
	ledger.reserve_bytes = INT64_MAX;
	put(&r);
	batch_serve(&ledger);
	assert_int_equal(next_response().status, 403);
	assert_int_equal(used(1, 0).status, 200);
	assert_int_equal(count_lines("\"code\":\"X\""), 0);
	assert_int_equal(count_lines("\"code\":\"OK\""), 1);
	assert_int_equal(counted(COUNT_LEDGER_LOW), 1);
	/* Space is there again: looked at once a second. */
	ledger.reserve_bytes = 1;
	ledger.space_at_ms = 0;
	put(&r);
	batch_serve(&ledger);
	assert_int_equal(count_lines("\"code\":\"X\""), 1);
	assert_int_equal(counted(COUNT_LEDGER_LOW), 0);
}

/* What is no refusal is never summed, whatever a vault says of it. */
static void test_g09_releases_are_never_summed(void **state)
{
	struct frame_reply r = refusal(KB_E_POLICY, "192.0.2.7");

	(void)state;
	ledger.reserve_bytes = INT64_MAX;
	r.outcome.is_release = true;
	put(&r);
	r.outcome.is_release = false;
	r.status = 200;
	put(&r);
	batch_serve(&ledger);
	assert_int_equal(count_lines("\"code\":\"X\""), 2);
}

/* A flood of 1,000 sources: bytes of the file, with the longest code and address.  A release in its
 * middle is recorded whole. */
static void test_g09_flood_of_1000_sources_in_bytes(void **state)
{
	static char record[2400];

	(void)state;
	memset(record, 'x', sizeof record);
	memcpy(record, "{\"a\":\"", 6);
	memcpy(record + sizeof record - 2, "\"}", 2);
	const int64_t before = ledger.log.bytes;
	for (unsigned i = 0; i < 30000; i++) {
		char peer[46];
		snprintf(peer, sizeof peer, "ffff:ffff:ffff:%04x::1", 0xf000 + i % 1000);
		struct frame_reply r = refusal(KB_E_JWKS_DUPLICATE, peer);
		r.record = span_of(record, sizeof record);
		r.peer = span_str(peer);
		put(&r);
		if (i == 15000) {
			struct frame_reply good = use(0, 1, 0);
			put(&good);
		}
		batch_serve(&ledger);
		assert_int_equal(next_response().code, KB_E_JWKS_DUPLICATE);
		if (i == 15000)
			assert_int_equal(next_response().status, 200);
	}
	ledger.refusals.since_ms -= KB_REFUSAL_WINDOW_S * 1000; /* a minute has passed */
	assert_true(refusals_due_ms(&ledger.refusals, clock_mono_ms()) == 0);
	journal_sum_refusals(&ledger);
	assert_int_equal(count_lines("\"code\":\"OK\""), 1);
	assert_int_equal(count_lines("\"event\":\"refusals\""), 1000);
	assert_true(ledger.log.bytes - before < 1000 * 1000);
	assert_true(refusals_due_ms(&ledger.refusals, clock_mono_ms()) < 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_g11_full_memory_of_tokens_is_busy),
		T(test_g12_lost_answer_is_given_again),
		T(test_g12_two_at_once),
		T(test_g12_batch_that_is_not_durable),
		T(test_g09_refusals_are_summed_and_still_answered),
		T(test_g10_low_disk_records_releases_alone),
		T(test_g09_releases_are_never_summed),
		T(test_g09_flood_of_1000_sources_in_bytes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
