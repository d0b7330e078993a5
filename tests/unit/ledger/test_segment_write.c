/* tests/unit/ledger/test_segment_write.c — writing the ledger's files: what is confirmed stays,
 * what is torn stays and is recorded, everything else stops the start. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka needs the above first */
#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>

#include "tests/unit/short_system.h"
/* after short_system.h, whose parameters its variables would shadow */
#include "tests/unit/segments.h"

static void test_segment_begins_and_continues(void **state)
{
	struct stat st;

	(void)state;
	make(3);
	assert_int_equal(walk_good().n, 4);
	make(2);
	struct seen s = walk_good();
	assert_int_equal(s.n, 6);
	assert_int_equal(s.first_seq, 1);
	assert_int_equal(fstatat(dir, "ledger-00000001.jsonl", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0640);
}

static void test_segment_rotates_with_the_chain(void **state)
{
	struct segments s = start();
	struct segment_fault f;
	struct seen seen = {0};

	(void)state;
	assert_int_equal(append(&s, "{\"a\":1}"), KB_OK);
	assert_int_equal(segment_begin(&s, "size", span_of(NULL, 0)), KB_OK);
	assert_int_equal(s.number, 2);
	assert_int_equal(append(&s, "{\"a\":2}"), KB_OK);
	assert_int_equal(segment_begin(&s, "asked to", span_str("\"x\":1")), KB_OK);
	segment_close(&s);
	assert_int_equal(walk_good().n, 5);
	make(1);
	assert_int_equal(walk_good().segments, 3);
	/* from the middle on */
	assert_int_equal(segment_walk(dir, 2, count, &seen, NULL, &f), KB_OK);
	assert_int_equal(seen.first_seq, 3);
	/* the oldest may be archived */
	assert_int_equal(unlinkat(dir, "ledger-00000001.jsonl", 0), 0);
	assert_int_equal(walk_good().first_seq, 3);
}

static void test_segment_reads_back_as_far_as_needed(void **state)
{
	static const struct {
		int64_t now_s;
		uint64_t first_seq;
	} row[] = {{1000, 1}, {5000, 1}, {5001, 2}, {9000, 2}, {9001, 3}};
	struct segments s = start();
	struct segment_fault f;

	(void)state;
	s.replay_until_s = 5000;
	s.clock_s = 777;
	assert_int_equal(segment_begin(&s, "size", span_of(NULL, 0)), KB_OK);
	s.replay_until_s = 9000;
	assert_int_equal(segment_begin(&s, "size", span_of(NULL, 0)), KB_OK);
	segment_close(&s);
	for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
		struct seen seen = {0};
		assert_int_equal(segment_open(dir, row[i].now_s, count, &seen, &s, &f), KB_OK);
		assert_int_equal(seen.first_seq, row[i].first_seq);
		assert_int_equal(s.replay_until_s, 9000);
		assert_int_equal(s.clock_s, 777);
		segment_close(&s);
	}
}

static void test_d07_segment_second_writer_is_refused(void **state)
{
	struct segments s = start();
	struct segment_fault f;

	(void)state;
	assert_int_equal(open_fails(&f), KB_E_LEDGER_LOCKED);
	segment_close(&s);
	s = start();
	segment_close(&s);
}

static void forget(uint32_t number)
{
	char name[SEGMENT_NAME];

	segment_name(number, name);
	assert_int_equal(unlinkat(dir, name, 0), 0);
}

static void assert_untouched(uint32_t number, struct span want)
{
	KB_AUTO(buf) struct buf is;

	slurp(number, &is);
	assert_true(span_eq(buf_span(&is), want));
}

static void test_d03_d12_segment_any_torn_tail_stays_and_is_recorded(void **state)
{
	(void)state;
	make(3);
	KB_AUTO(buf) struct buf whole;
	slurp(1, &whole);
	size_t last = line_at(&whole, 4);
	for (size_t n = last + 1; n < whole.len; n++) {
		spill(1, span_of(whole.p, n));
		struct segment_fault f = walk_bad(KB_E_LEDGER_CHAIN);
		assert_true(f.is_tail);
		assert_int_equal(f.line, 4);
		assert_int_equal(f.offset, (int64_t)last);
		struct segments s = start();
		segment_close(&s);
		struct seen seen = walk_good();
		assert_int_equal(seen.n, 4);
		assert_int_equal(seen.repairs, 1);
		assert_untouched(1, span_of(whole.p, n));
		forget(2);
	}
}

static void test_d03_segment_garbled_tail_does_not_count(void **state)
{
	(void)state;
	make(3);
	KB_AUTO(buf) struct buf whole;
	slurp(1, &whole);
	memset(whole.p + line_at(&whole, 4), 0,
	       whole.len - line_at(&whole, 4)); /* what a power cut leaves */
	spill(1, buf_span(&whole));
	make(1);
	struct seen seen = walk_good();
	assert_int_equal(seen.n, 5);
	assert_int_equal(seen.repairs, 1);
	assert_untouched(1, buf_span(&whole));
}

/* The reader accepts the bytes that the next first line names, and no others. */
static void test_d12_segment_torn_bytes_are_those_that_were_recorded(void **state)
{
	struct segment_fault f;

	(void)state;
	make(3);
	KB_AUTO(buf) struct buf whole;
	slurp(1, &whole);
	size_t good = whole.len;
	buf_add_str(&whole, "{\"seq\":5,\"prev\":\"torn");
	spill(1, buf_span(&whole));
	make(1);
	assert_int_equal(walk_good().repairs, 1);
	for (size_t n = good; n <= whole.len + 1; n++) {
		buf_add_str(&whole, "x");
		spill(1, span_of(whole.p, n));
		whole.len--;
		if (n == whole.len)
			continue;
		f = walk_bad(KB_E_LEDGER_CHAIN);
		assert_string_equal(f.file, "ledger-00000001.jsonl");
		assert_int_equal(f.offset, (int64_t)good);
		assert_false(f.is_tail);
	}
	for (size_t i = good; i < whole.len; i++) {
		whole.p[i] ^= 1;
		spill(1, buf_span(&whole));
		(void)walk_bad(KB_E_LEDGER_CHAIN);
		whole.p[i] ^= 1;
	}
	spill(1, buf_span(&whole));
	(void)walk_good();
}

/* Nothing is named, and nothing was there when the segment was closed. */
static void test_d12_segment_bytes_added_to_a_closed_one_are_found(void **state)
{
	struct segments s = start();

	(void)state;
	assert_int_equal(segment_begin(&s, "size", span_of(NULL, 0)), KB_OK);
	segment_close(&s);
	KB_AUTO(buf) struct buf whole;
	slurp(1, &whole);
	buf_add_str(&whole, "\n");
	spill(1, buf_span(&whole));
	struct segment_fault f = walk_bad(KB_E_LEDGER_CHAIN);
	assert_string_equal(f.file, "ledger-00000001.jsonl");
	assert_non_null(strstr(f.text, "the next segment knows of none"));
}

/* Earlier versions wrote the record of the repair over the torn bytes and then cut the rest.  One
 * that died in between left whole lines of the torn batch behind the record. */
static void test_d12_segment_unfinished_repair_of_an_earlier_version_opens(void **state)
{
	struct chain c, after;
	char long_record[400];

	(void)state;
	/* longer than the record of the repair: the second line of the batch is left whole */
	memset(long_record, 'x', sizeof long_record);
	memcpy(long_record, "{\"a\":\"", 6);
	memcpy(long_record + sizeof long_record - 3, "\"}", 3);
	for (unsigned is_cut = 0; is_cut <= 1; is_cut++) {
		struct segments s = start();
		c = after = s.chain;
		segment_close(&s);
		KB_AUTO(buf) struct buf whole, batch, record;
		slurp(1, &whole);
		buf_init(&batch, 1 << 16);
		for (unsigned i = 0; i < 3; i++)
			assert_int_equal(
				chain_add_batch(&after, c.seq, span_str(long_record), &batch),
				KB_OK);
		buf_init(&record, 1024);
		buf_addf(&record,
			 "{\"event\":\"repair\",\"bytes\":%zu,\"sha256\":\"0123456789abcdef\"}",
			 batch.len);
		size_t torn_at = whole.len;
		assert_int_equal(chain_add(&c, buf_span(&record), &whole), KB_OK);
		size_t written = whole.len - torn_at;
		assert_true(written < batch.len);
		if (!is_cut)
			buf_add_span(&whole, span_sub(buf_span(&batch), written, batch.len));
		spill(1, buf_span(&whole));
		make(1);
		assert_int_equal(walk_good().n, is_cut ? 3 : 4);
		if (is_cut)
			continue;
		assert_untouched(1, buf_span(&whole));
		/* with another length it is damage, as before */
		forget(2);
		buf_add_span(&whole, buf_span(&batch));
		spill(1, buf_span(&whole));
		struct segment_fault f;
		assert_int_equal(open_fails(&f), KB_E_LEDGER_CHAIN);
		forget(1);
	}
}

/* Three lines of one sync that never ended: any of them may be on the disk and any not.  Damage to
 * what was durable before is no torn tail. */
static void test_d04_segment_garbled_batch_does_not_count_and_durable_lines_do(void **state)
{
	struct segments s;
	struct segment_fault f;

	(void)state;
	make(2); /* lines 1 to 3 */
	s = start();
	struct chain after = s.chain;
	KB_AUTO(buf) struct buf lines;
	buf_init(&lines, 1 << 16);
	for (unsigned i = 0; i < 3; i++) /* 4 to 6 */
		assert_int_equal(chain_add_batch(&after, s.chain.seq,
						 span_str("{\"event\":\"release\",\"b\":1}"),
						 &lines),
				 KB_OK);
	assert_int_equal(segment_commit(&s, buf_span(&lines), &after), KB_OK);
	segment_close(&s);
	KB_AUTO(buf) struct buf whole;
	slurp(1, &whole);
	for (unsigned line = 2; line <= 6; line++) {
		size_t at = line_at(&whole, line) + 20;
		uint8_t was = whole.p[at];
		whole.p[at] = 0;
		spill(1, buf_span(&whole));
		whole.p[at] = was;
		f = walk_bad(KB_E_LEDGER_CHAIN);
		assert_int_equal(f.line, line);
		assert_int_equal(f.is_tail, line >= 4);
		if (line < 4) {
			assert_int_equal(open_fails(&f), KB_E_LEDGER_CHAIN);
			continue;
		}
		make(1);
		struct seen seen = walk_good();
		assert_int_equal(seen.repairs, 1);
		assert_int_equal(seen.n, line + 1); /* those before, a first one, and a new one */
		forget(2);
	}
}

static void test_segment_tail_of_more_than_a_batch_is_damage(void **state)
{
	struct segment_fault f;

	(void)state;
	make(1);
	KB_AUTO(buf) struct buf whole;
	slurp(1, &whole);
	uint8_t *p = buf_reserve(&whole, 700000);
	assert_non_null(p);
	memset(p, 'x', 700000);
	spill(1, buf_span(&whole));
	assert_int_equal(open_fails(&f), KB_E_LEDGER_CHAIN);
}

/* As a full disk: no file of ours may grow past `bytes`. */
static void limit_files(rlim_t bytes)
{
	struct rlimit r;

	assert_int_equal(getrlimit(RLIMIT_FSIZE, &r), 0);
	r.rlim_cur = bytes;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &r), 0);
}

static void test_d01_segment_failed_write_is_cut_back_and_never_trusted(void **state)
{
	struct segments s = start();
	struct segment_fault f;

	(void)state;
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(append(&s, "{\"a\":1}"), KB_OK);
	struct chain good = s.chain;
	int64_t bytes = s.bytes;
	limit_files((rlim_t)bytes + 50); /* half of the line fits */
	assert_int_equal(append(&s, "{\"a\":2}"), KB_E_LEDGER);
	assert_int_equal(s.fd, -1);
	assert_memory_equal(&s.chain, &good, sizeof good);
	limit_files(RLIM_INFINITY);
	assert_int_equal(append(&s, "{\"a\":3}"), KB_E_LEDGER); /* not before a new segment */
	limit_files(10);
	assert_int_equal(segment_begin(&s, "write failed", span_of(NULL, 0)), KB_E_LEDGER);
	assert_int_equal(faccessat(dir, "ledger-00000002.jsonl", F_OK, 0), -1);
	limit_files(RLIM_INFINITY);
	assert_int_equal(segment_begin(&s, "write failed", span_str("\"lost\":2")), KB_OK);
	assert_int_equal(append(&s, "{\"a\":4}"), KB_OK);
	segment_close(&s);
	struct seen seen = walk_good();
	assert_int_equal(seen.n, 4);
	assert_int_equal(seen.segments, 2);
	s = start();
	assert_int_equal(s.chain.seq, 4);
	segment_close(&s);
	(void)f;
}

static void test_d02_segment_unconfirmed_end_of_an_older_segment_does_not_count(void **state)
{
	struct segments s = start();

	(void)state;
	assert_int_equal(append(&s, "{\"a\":1}"), KB_OK);
	/* the sync and the truncation failed: a line that looks good was left behind */
	struct chain lost = s.chain;
	KB_AUTO(buf) struct buf line;
	buf_init(&line, 4096);
	assert_int_equal(chain_add(&lost, span_str("{\"a\":\"never confirmed\"}"), &line), KB_OK);
	assert_int_equal(write(s.fd, line.p, line.len), line.len);
	assert_int_equal(segment_begin(&s, "write failed", span_of(NULL, 0)), KB_OK);
	segment_close(&s);
	assert_int_equal(walk_good().n, 3);
}

/* What a crash left after a failed sync: lines that are whole, in the page cache.  They are written
 * again before anything is built on them. */
static void test_d02_segment_tail_is_written_again_at_the_start(void **state)
{
	(void)state;
	make(3);
	KB_AUTO(buf) struct buf before;
	slurp(1, &before);
	int fd = openat(dir, "ledger-00000001.jsonl", O_RDONLY);
	struct stat was, is;
	assert_int_equal(fstat(fd, &was), 0);
	const struct timespec old[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
	assert_int_equal(futimens(fd, old), 0);
	struct segments s = start();
	segment_close(&s);
	assert_int_equal(fstat(fd, &is), 0);
	close(fd);
	assert_true(is.st_mtim.tv_sec > 1000); /* it was written */
	KB_AUTO(buf) struct buf after;
	slurp(1, &after);
	assert_true(span_eq(buf_span(&before), buf_span(&after)));
}

static void cut_before_sync(const char *name)
{
	if (strcmp(name, "fdatasync") != 0)
		return;
	calls.before = NULL;
	spill(1, span_of(NULL, 0));
}

/* Cut between the write and the sync: the reply may not leave. */
static void test_d13_segment_cut_during_a_commit(void **state)
{
	struct segments s = start();
	struct stat st;

	(void)state;
	calls.before = cut_before_sync;
	assert_int_equal(append(&s, "{\"a\":1}"), KB_E_LEDGER);
	calls.before = NULL;
	assert_int_equal(s.fd, -1);
	assert_int_equal(fstatat(dir, "ledger-00000001.jsonl", &st, 0), 0);
	assert_int_equal(st.st_size, 0); /* not made longer */
	segment_close(&s);
}

/* copytruncate, and another process that writes to our file. */
static void test_d13_segment_of_another_length_is_not_ours(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		char name[SEGMENT_NAME];
		struct segments s = start();
		segment_name(s.number, name);
		assert_int_equal(append(&s, "{\"a\":0}"), KB_OK);
		struct chain good_end = s.chain;
		int64_t bytes = s.bytes;
		KB_AUTO(buf) struct buf copy;
		slurp(s.number, &copy);
		if (i == 0)
			spill(s.number, span_of(NULL, 0));
		if (i == 1)
			spill(s.number, span_sub(buf_span(&copy), 0, copy.len - 1));
		if (i >= 2) {
			int fd = openat(dir, name, O_WRONLY | O_APPEND);
			assert_int_equal(write(fd, "x\n", 2), 2);
			close(fd);
		}
		if (i == 3) { /* at a rotation it is only said */
			assert_int_equal(segment_begin(&s, "size", span_of(NULL, 0)), KB_OK);
		} else {
			KB_AUTO(buf) struct buf found, left;
			slurp(s.number, &found);
			assert_int_equal(append(&s, "{\"a\":1}"), KB_E_LEDGER);
			assert_int_equal(s.fd, -1);
			assert_int_equal(s.bytes, bytes);
			assert_memory_equal(&s.chain, &good_end, sizeof good_end);
			slurp(s.number, &left); /* neither written to nor made longer */
			assert_true(span_eq(buf_span(&found), buf_span(&left)));
			assert_int_equal(segment_begin(&s, SEGMENT_WRITE_FAILED, span_of(NULL, 0)),
					 KB_OK);
		}
		assert_int_equal(append(&s, "{\"a\":2}"), KB_OK);
		segment_close(&s);
		if (i != 2)
			assert_string_equal(walk_bad(KB_E_LEDGER_CHAIN).file, name);
		spill(s.number - 1, buf_span(&copy)); /* the copy put back, as the log says */
		(void)walk_good();
	}
}

static void test_d06_segment_moved_removed_or_replaced_is_not_written_on(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		char name[SEGMENT_NAME];
		struct segments s = start();
		segment_name(s.number, name);
		struct chain good_end = s.chain;
		int64_t bytes = s.bytes;
		assert_int_equal(renameat(dir, name, dir, "elsewhere"), 0);
		if (i == 1)
			assert_int_equal(symlinkat("elsewhere", dir, name), 0);
		if (i == 2)
			close(openat(dir, name, O_WRONLY | O_CREAT | O_EXCL, 0640));
		assert_int_equal(append(&s, "{\"a\":1}"), KB_E_LEDGER);
		assert_int_equal(s.fd, -1);
		assert_int_equal(s.bytes, bytes);
		assert_memory_equal(&s.chain, &good_end, sizeof good_end);
		assert_int_equal(segment_begin(&s, "write failed", span_of(NULL, 0)), KB_OK);
		assert_int_equal(append(&s, "{\"a\":2}"), KB_OK);
		segment_close(&s);
		assert_int_equal(renameat(dir, "elsewhere", dir, name), 0);
		(void)walk_good();
	}
}

/* Segments archived too early: records in them may still be needed. */
static void test_d09_segment_says_what_it_has_not_read(void **state)
{
	struct segments s = start();
	struct segment_fault f;

	(void)state;
	assert_int_equal(s.unread_until_s, 0);
	s.replay_until_s = 5000;
	assert_int_equal(segment_begin(&s, "size", span_of(NULL, 0)), KB_OK);
	segment_close(&s);
	assert_int_equal(segment_open(dir, 1000, NULL, NULL, &s, &f), KB_OK);
	assert_int_equal(s.unread_until_s, 0); /* all was read */
	segment_close(&s);
	assert_int_equal(segment_open(dir, 6000, NULL, NULL, &s, &f), KB_OK);
	assert_int_equal(s.unread_until_s, 5000);
	segment_close(&s);
	assert_int_equal(unlinkat(dir, "ledger-00000001.jsonl", 0), 0);
	assert_int_equal(segment_open(dir, 1000, NULL, NULL, &s, &f), KB_OK);
	assert_int_equal(s.unread_until_s, 5000);
	segment_close(&s);
}

static void test_segment_leftover_of_a_crash_is_replaced(void **state)
{
	struct segments s = start();
	int fd = openat(dir, "ledger.new", O_CREAT | O_WRONLY, 0600);

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(write(fd, "half", 4), 4);
	close(fd);
	assert_int_equal(segment_begin(&s, "size", span_of(NULL, 0)), KB_OK);
	segment_close(&s);
	assert_int_equal(walk_good().n, 2);
}

static void test_segment_full_disk_at_the_first_start(void **state)
{
	struct segment_fault f;

	(void)state;
	signal(SIGXFSZ, SIG_IGN);
	limit_files(10);
	assert_int_equal(open_fails(&f), KB_E_LEDGER);
	limit_files(RLIM_INFINITY);
	make(1);
	/* and at a repair */
	KB_AUTO(buf) struct buf whole;
	slurp(1, &whole);
	spill(1, span_of(whole.p, whole.len - 1));
	struct segments s;
	assert_int_equal(segment_open(dir, 1000, NULL, NULL, &s, &f), KB_OK);
	assert_int_equal(s.fd, -1);
	limit_files(10);
	assert_int_equal(segment_begin(&s, SEGMENT_TORN, span_of(NULL, 0)), KB_E_LEDGER);
	segment_close(&s);
	limit_files(RLIM_INFINITY);
	make(0);
	assert_int_equal(walk_good().repairs, 1);
}

/* Each call fails once while a ledger with a torn tail is opened, a record is added and a segment
 * is begun: every confirmed line is still there, and the next start continues. */
static void test_d02_segment_each_call_fails_once(void **state)
{
	bool is_past = false;

	for (unsigned n = 1; !is_past; n++) {
		struct segments s;
		struct segment_fault f;
		unsigned confirmed = 4;

		make(3);
		KB_AUTO(buf) struct buf whole;
		slurp(1, &whole);
		buf_add_str(&whole, "{\"seq\":5,\"prev\":\"torn");
		spill(1, buf_span(&whole));
		calls_fail(n);
		if (segment_open(dir, 1000, NULL, NULL, &s, &f) == KB_OK &&
		    segment_begin(&s, SEGMENT_TORN, span_of(NULL, 0)) == KB_OK) {
			confirmed++; /* its first line */
			confirmed += append(&s, "{\"event\":\"release\",\"n\":\"then\"}") == KB_OK;
			if (segment_begin(&s, "size", span_of(NULL, 0)) == KB_OK)
				confirmed += append(&s, "{\"event\":\"release\",\"n\":\"last\"}") ==
							     KB_OK
						     ? 2
						     : 1;
		}
		segment_close(&s);
		is_past = !calls_end();
		s = start();
		assert_int_equal(append(&s, "{\"event\":\"release\",\"n\":\"again\"}"), KB_OK);
		segment_close(&s);
		struct seen seen = walk_good();
		if (seen.n < confirmed + 1)
			fail_msg("call %u fails: %u lines were confirmed, %u are there", n,
				 confirmed + 1, seen.n);
		assert_true(seen.repairs > 0 && (!is_past || n > 30));
		if (!is_past) {
			assert_int_equal(tear_down(state), 0);
			assert_int_equal(set_up(state), 0);
		}
	}
}

static void test_segment_extra_too_long(void **state)
{
	struct segments s = start();
	char extra[KB_MAX_RECORD + 1];

	(void)state;
	memset(extra, 'x', sizeof extra - 1);
	extra[sizeof extra - 1] = '\0';
	assert_int_equal(segment_begin(&s, "size", span_str(extra)), KB_E_LEDGER);
	assert_int_equal(s.number, 1);
	s.number = UINT32_MAX - 1;
	assert_int_equal(segment_begin(&s, "size", span_of(NULL, 0)), KB_E_LEDGER);
	segment_close(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_segment_begins_and_continues),
		T(test_segment_rotates_with_the_chain),
		T(test_segment_reads_back_as_far_as_needed),
		T(test_d07_segment_second_writer_is_refused),
		T(test_d03_d12_segment_any_torn_tail_stays_and_is_recorded),
		T(test_d03_segment_garbled_tail_does_not_count),
		T(test_d12_segment_torn_bytes_are_those_that_were_recorded),
		T(test_d12_segment_bytes_added_to_a_closed_one_are_found),
		T(test_d12_segment_unfinished_repair_of_an_earlier_version_opens),
		T(test_d13_segment_of_another_length_is_not_ours),
		T(test_d13_segment_cut_during_a_commit),
		T(test_d04_segment_garbled_batch_does_not_count_and_durable_lines_do),
		T(test_segment_tail_of_more_than_a_batch_is_damage),
		T(test_d01_segment_failed_write_is_cut_back_and_never_trusted),
		T(test_d02_segment_unconfirmed_end_of_an_older_segment_does_not_count),
		T(test_d02_segment_tail_is_written_again_at_the_start),
		T(test_d06_segment_moved_removed_or_replaced_is_not_written_on),
		T(test_d09_segment_says_what_it_has_not_read),
		T(test_segment_leftover_of_a_crash_is_replaced),
		T(test_segment_full_disk_at_the_first_start),
		T(test_d02_segment_each_call_fails_once),
		T(test_segment_extra_too_long),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
