/* tests/unit/process/test_segment.c — reading the ledger's files: every change of a durable line is
 * found and named. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka needs the above first */
#include <cmocka.h>

#include "base/hex.h"
#include "tests/unit/segments.h"

#define GOLDEN_HEAD "fdb6a4a6839ce6b897114303d35ff651b1603ba16c42833e6190ccde25a0414d"
enum { GOLDEN_SEGMENTS = 2, GOLDEN_LINES = 94 };

static void test_segment_empty_directory_reads_as_nothing(void **state)
{
	struct segment_fault f;
	struct chain end = {.seq = 9};

	(void)state;
	assert_int_equal(segment_walk(dir, 0, NULL, NULL, &end, &f), KB_OK);
	assert_int_equal(end.seq, 0);
}

static enum kb_err say_stop(void *ctx, const struct segment_line *l)
{
	(void)ctx;
	return l->line == 2 ? KB_E_BUG : KB_OK;
}

static void test_segment_visitor_can_stop(void **state)
{
	struct segment_fault f;

	(void)state;
	make(3);
	assert_int_equal(segment_walk(dir, 0, say_stop, NULL, NULL, &f), KB_E_BUG);
}

static void test_d05_segment_good_lines_after_a_merged_pair_are_not_cut(void **state)
{
	struct segments s = start();
	struct segment_fault f;
	char record[KB_MAX_RECORD];

	(void)state;
	memset(record, 'x', sizeof record);
	memcpy(record, "{\"a\":\"", 6);
	memcpy(record + sizeof record - 3, "\"}", 3);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(append(&s, record), KB_OK);
	segment_close(&s);
	KB_AUTO(buf) struct buf whole;
	slurp(1, &whole);
	whole.p[line_at(&whole, 3) - 1] =
		' '; /* two long lines become one that is too long to be read */
	spill(1, buf_span(&whole));
	f = walk_bad(KB_E_LEDGER_CHAIN);
	assert_int_equal(f.line, 2);
	assert_false(f.is_tail);
	assert_int_equal(open_fails(&f), KB_E_LEDGER_CHAIN);
}

static void test_d05_segment_flipped_byte_is_named(void **state)
{
	struct segment_fault f;

	(void)state;
	make(3);
	KB_AUTO(buf) struct buf whole;
	slurp(1, &whole);
	for (size_t i = 0; i < whole.len; i++) {
		unsigned line = 1;
		for (size_t k = 0; k < i; k++)
			line += whole.p[k] == '\n';
		whole.p[i] ^= 1;
		spill(1, buf_span(&whole));
		f = walk_bad(KB_E_LEDGER_CHAIN);
		assert_string_equal(f.file, "ledger-00000001.jsonl");
		assert_int_equal(f.line, line);
		if (line < 3) {
			assert_false(f.is_tail);
			assert_int_equal(open_fails(&f), KB_E_LEDGER_CHAIN);
		}
		whole.p[i] ^= 1;
	}
}

static void test_d05_segment_removed_repeated_moved_lines_are_named(void **state)
{
	struct segment_fault f;

	(void)state;
	make(4);
	KB_AUTO(buf) struct buf whole, b;
	slurp(1, &whole);
	buf_init(&b, 1 << 20);
	size_t at[6];
	for (unsigned i = 0; i < 6; i++)
		at[i] = line_at(&whole, i + 1);

	/* line 3 removed: what is now line 3 does not follow */
	buf_add(&b, whole.p, at[2]);
	buf_add(&b, whole.p + at[3], whole.len - at[3]);
	spill(1, buf_span(&b));
	f = walk_bad(KB_E_LEDGER_CHAIN);
	assert_int_equal(f.line, 3);
	assert_false(f.is_tail);

	/* line 2 twice */
	buf_reset(&b);
	buf_add(&b, whole.p, at[2]);
	buf_add(&b, whole.p + at[1], whole.len - at[1]);
	spill(1, buf_span(&b));
	assert_int_equal(walk_bad(KB_E_LEDGER_CHAIN).line, 3);

	/* lines 4 and 5 change places: whole lines at the end are no torn tail */
	buf_reset(&b);
	buf_add(&b, whole.p, at[3]);
	buf_add(&b, whole.p + at[4], at[5] - at[4]);
	buf_add(&b, whole.p + at[3], at[4] - at[3]);
	spill(1, buf_span(&b));
	f = walk_bad(KB_E_LEDGER_CHAIN);
	assert_int_equal(f.line, 4);
	assert_false(f.is_tail);
	assert_int_equal(open_fails(&f), KB_E_LEDGER_CHAIN);
}

static void test_d05_segment_file_missing_or_short(void **state)
{
	struct segments s = start();
	struct segment_fault f;

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(append(&s, "{\"a\":1}"), KB_OK);
		assert_int_equal(segment_begin(&s, "size", span_of(NULL, 0)), KB_OK);
	}
	segment_close(&s);
	KB_AUTO(buf) struct buf two;
	slurp(2, &two);
	spill(2, span_of(two.p, line_at(&two, 2)));
	f = walk_bad(KB_E_LEDGER_CHAIN);
	assert_string_equal(f.file, "ledger-00000002.jsonl");
	assert_false(f.is_tail);
	assert_int_equal(unlinkat(dir, "ledger-00000002.jsonl", 0), 0);
	f = walk_bad(KB_E_LEDGER_CHAIN);
	assert_string_equal(f.file, "ledger-00000002.jsonl");
	assert_string_equal(f.text, "is missing");
	assert_int_equal(f.line, 0);
}

static void test_segment_first_line_must_be_its_own(void **state)
{
	struct segments s = start();
	struct segment_fault f;

	(void)state;
	assert_int_equal(segment_begin(&s, "size", span_of(NULL, 0)), KB_OK);
	segment_close(&s);
	/* a good line that is no segment's first */
	struct chain c = {0};
	KB_AUTO(buf) struct buf line;
	buf_init(&line, 4096);
	assert_int_equal(chain_add(&c, span_str("{\"event\":\"release\"}"), &line), KB_OK);
	spill(2, buf_span(&line));
	f = walk_bad(KB_E_LEDGER_CHAIN);
	assert_string_equal(f.file, "ledger-00000002.jsonl");
	assert_int_equal(open_fails(&f), KB_E_LEDGER_CHAIN);
	spill(2, span_of(NULL, 0));
	assert_int_equal(open_fails(&f), KB_E_LEDGER_CHAIN);
	/* the first of all must be seq 1 of nothing */
	assert_int_equal(unlinkat(dir, "ledger-00000001.jsonl", 0), 0);
	assert_int_equal(unlinkat(dir, "ledger-00000002.jsonl", 0), 0);
	buf_reset(&line);
	c.seq = 5;
	assert_int_equal(chain_add(&c,
				   span_str("{\"event\":\"segment\",\"segment\":1,\"previous_"
					    "bytes\":0,\"clock\":0,\"replay_until\":0}"),
				   &line),
			 KB_OK);
	spill(1, buf_span(&line));
	assert_int_equal(open_fails(&f), KB_E_LEDGER_CHAIN);
}

static void test_d06_segment_symlink_mode_and_links(void **state)
{
	struct segment_fault f;

	(void)state;
	make(1);
	assert_int_equal(fchmodat(dir, "ledger-00000001.jsonl", 0644, 0), 0);
	assert_int_equal(open_fails(&f), KB_E_FILE_MODE);
	assert_int_equal(fchmodat(dir, "ledger-00000001.jsonl", 0600, 0), 0);
	assert_int_equal(linkat(dir, "ledger-00000001.jsonl", dir, "elsewhere", 0), 0);
	assert_int_equal(open_fails(&f), KB_E_FILE_MODE);
	assert_int_equal(unlinkat(dir, "ledger-00000001.jsonl", 0), 0);
	assert_int_equal(symlinkat("elsewhere", dir, "ledger-00000001.jsonl"), 0);
	assert_int_equal(open_fails(&f), KB_E_FILE);
	assert_int_equal(walk_bad(KB_E_FILE).line, 0);
}

static void test_segment_no_directory(void **state)
{
	struct segments s;
	struct segment_fault f;
	int null = open("/dev/null", O_RDONLY);

	(void)state;
	assert_int_equal(segment_open(null, 0, NULL, NULL, &s, &f), KB_E_FILE);
	assert_int_equal(segment_walk(null, 0, NULL, NULL, NULL, &f), KB_E_FILE);
	close(null);
}

static void test_j06_segment_of_a_newer_format_is_refused(void **state)
{
	static const char newer[] = "{\"seq\":1,\"event\":\"segment\",\"format\":2}\n";
	struct segments s = start();
	struct segment_fault f;

	(void)state;
	segment_close(&s);
	for (unsigned i = 2; i >= 1; i--) {
		spill(i, span_str(newer));
		f = walk_bad(KB_E_LEDGER_CHAIN);
		assert_non_null(strstr(f.text, "is of format 2, and this version reads 1"));
		assert_int_equal(f.line, 1);
		assert_false(f.is_tail);
		assert_int_equal(open_fails(&f), KB_E_LEDGER_CHAIN);
		assert_non_null(strstr(f.text, "is of format 2"));
		if (i == 2)
			assert_int_equal(unlinkat(dir, "ledger-00000002.jsonl", 0), 0);
	}
}

/* Files as earlier versions wrote them stay readable: tests/vectors/ledger. */
static void test_j06_segments_of_earlier_versions_are_read(void **state)
{
	struct segment_fault f;
	struct chain end;
	struct seen seen = {0};

	(void)state;
	int vectors = open("tests/vectors/ledger", O_RDONLY | O_DIRECTORY);
	assert_true(vectors >= 0);
	assert_int_equal(segment_walk(vectors, 0, count, &seen, &end, &f), KB_OK);
	close(vectors);
	assert_int_equal(seen.first_seq, 1);
	assert_int_equal(seen.segments, GOLDEN_SEGMENTS);
	assert_int_equal(seen.n, GOLDEN_LINES);
	assert_int_equal(end.seq, GOLDEN_LINES);
	char head[65];
	*hex_put(head, span_of(end.last, sizeof end.last)) = '\0';
	assert_string_equal(head, GOLDEN_HEAD);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_segment_empty_directory_reads_as_nothing),
		T(test_segment_visitor_can_stop),
		T(test_d05_segment_good_lines_after_a_merged_pair_are_not_cut),
		T(test_d05_segment_flipped_byte_is_named),
		T(test_d05_segment_removed_repeated_moved_lines_are_named),
		T(test_d05_segment_file_missing_or_short),
		T(test_segment_first_line_must_be_its_own),
		T(test_d06_segment_symlink_mode_and_links),
		T(test_segment_no_directory),
		T(test_j06_segment_of_a_newer_format_is_refused),
		T(test_j06_segments_of_earlier_versions_are_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
