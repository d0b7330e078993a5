/* tests/unit/process/test_chain.c — the ledger's line format: what is written reads back, and every
 * changed byte is found. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <openssl/sha.h>

#include "base/hex.h"
#include "process/chain.h"

static const char rec[] = "{\"event\":\"release\",\"key\":\"a\"}";

static struct span without_newline(const struct buf *b)
{
	return span_of(b->p, b->len - 1);
}

static void add(struct chain *c, const char *record, struct buf *out)
{
	buf_reset(out);
	assert_int_equal(chain_add(c, span_str(record), out), KB_OK);
}

static void test_chain_writes_its_format(void **state)
{
	struct chain c = {0};
	uint8_t sum[32];
	static const char head[] = "{\"seq\":1,\"prev\":"
				   "\"0000000000000000000000000000000000000000000000000000000000000"
				   "000\",\"event\":\"release\",\"key\":\"a\"";

	(void)state;
	KB_AUTO(buf) struct buf line, want;
	buf_init(&line, 4096);
	buf_init(&want, 4096);
	add(&c, rec, &line);
	SHA256((const uint8_t *)head, sizeof head - 1, sum);
	buf_add_str(&want, head);
	buf_add_str(&want, ",\"sum\":\"");
	hex_encode(&want, span_of(sum, sizeof sum));
	buf_add_str(&want, "\"}\n");
	assert_true(span_eq(buf_span(&line), buf_span(&want)));
	assert_int_equal(c.seq, 1);
	SHA256(line.p, line.len - 1, sum);
	assert_memory_equal(c.last, sum, 32);
}

static void test_chain_reads_what_it_wrote(void **state)
{
	struct chain w = {0}, r = {0};
	struct chain_line l;

	(void)state;
	KB_AUTO(buf) struct buf line;
	buf_init(&line, 4096);
	for (uint64_t i = 1; i <= 12; i++) {
		add(&w, rec, &line);
		assert_int_equal(chain_next(&r, without_newline(&line), &l), KB_OK);
		assert_int_equal(l.seq, i);
		assert_true(span_eq_cstr(l.members, "\"event\":\"release\",\"key\":\"a\""));
		assert_memory_equal(&w, &r, sizeof w);
	}
}

static void refuses(const char *record)
{
	struct chain c = {.seq = 7}, before = c;

	KB_AUTO(buf) struct buf out;
	buf_init(&out, 4096);
	buf_add_str(&out, "kept");
	assert_int_equal(chain_add(&c, span_str(record), &out), KB_E_LEDGER);
	assert_true(span_eq_cstr(buf_span(&out), "kept"));
	assert_memory_equal(&c, &before, sizeof c);
}

static void test_chain_refuses_what_is_no_record(void **state)
{
	(void)state;
	refuses("");
	refuses("{}");
	refuses("{\"a\":1");
	refuses("\"a\":1}");
	refuses("[\"a\"]");
	refuses("{\"a\":\n1}");
	refuses("{\"a\":\t1}");
	refuses("{\"a\":\"\x7f\"}");
	refuses("{\"a\":1}\n");
}

/* A record of exactly n bytes. */
static char *record_of(size_t n)
{
	char *r = malloc(n + 1);

	assert_non_null(r);
	memset(r, 'x', n);
	memcpy(r, "{\"a\":\"", 6);
	memcpy(r + n - 2, "\"}", 3);
	return r;
}

static void test_chain_record_size_limit(void **state)
{
	static const size_t size[] = {KB_MAX_RECORD, KB_MAX_RECORD + 1, 10 * KB_MAX_RECORD};

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		struct chain c = {.seq = INT64_MAX - 1}, r = c; /* the longest number, too */
		struct chain_line l;
		KB_AUTO(cstr) char *record = record_of(size[i]);
		KB_AUTO(buf) struct buf out;
		buf_init(&out, 1 << 20);
		assert_int_equal(chain_add(&c, span_of(record, size[i]), &out),
				 i == 0 ? KB_OK : KB_E_LEDGER);
		if (i == 0) {
			assert_true(out.len - 1 <= CHAIN_MAX_LINE);
			assert_int_equal(chain_next(&r, without_newline(&out), &l), KB_OK);
			assert_int_equal(l.seq, INT64_MAX);
		}
	}
}

static void test_chain_ends_at_the_last_number(void **state)
{
	struct chain c = {.seq = INT64_MAX};

	(void)state;
	KB_AUTO(buf) struct buf out;
	buf_init(&out, 4096);
	assert_int_equal(chain_add(&c, span_str(rec), &out), KB_E_LEDGER);
}

static void test_chain_full_buffer_changes_nothing(void **state)
{
	struct chain c = {0};
	size_t whole;

	(void)state;
	KB_AUTO(buf) struct buf out;
	buf_init(&out, 4096);
	add(&c, rec, &out);
	whole = out.len;
	for (size_t max = 0; max < whole; max++) {
		struct chain zero = {0}, d = {0};
		KB_AUTO(buf) struct buf small;
		buf_init(&small, max);
		assert_int_equal(chain_add(&d, span_str(rec), &small), KB_E_NOMEM);
		assert_int_equal(small.len, 0);
		assert_memory_equal(&d, &zero, sizeof d);
	}
}

static void test_d05_chain_any_flipped_bit_is_seen(void **state)
{
	struct chain c = {0};
	struct chain_line l;

	(void)state;
	KB_AUTO(buf) struct buf line;
	buf_init(&line, 4096);
	add(&c, rec, &line);
	for (size_t i = 0; i + 1 < line.len; i++)
		for (unsigned bit = 0; bit < 8; bit++) {
			line.p[i] ^= (uint8_t)(1u << bit);
			assert_int_equal(chain_parse(without_newline(&line), &l),
					 KB_E_LEDGER_CHAIN);
			line.p[i] ^= (uint8_t)(1u << bit);
		}
	assert_int_equal(chain_parse(without_newline(&line), &l), KB_OK);
}

static void test_d05_chain_any_shortened_line_is_seen(void **state)
{
	struct chain c = {0};
	struct chain_line l;

	(void)state;
	KB_AUTO(buf) struct buf line;
	buf_init(&line, 4096);
	add(&c, rec, &line);
	for (size_t n = 0; n + 1 < line.len; n++)
		assert_int_equal(chain_parse(span_of(line.p, n), &l), KB_E_LEDGER_CHAIN);
	assert_int_equal(chain_parse(buf_span(&line), &l),
			 KB_E_LEDGER_CHAIN); /* with its newline */
}

static void test_d05_chain_removed_repeated_moved_lines(void **state)
{
	struct chain w = {0}, r = {0}, after_one;
	struct chain_line l;

	(void)state;
	KB_AUTO(buf) struct buf one, two, three;
	buf_init(&one, 4096);
	buf_init(&two, 4096);
	buf_init(&three, 4096);
	add(&w, rec, &one);
	add(&w, rec, &two);
	add(&w, rec, &three);
	assert_int_equal(chain_next(&r, without_newline(&two), &l), KB_E_LEDGER_CHAIN);
	assert_int_equal(chain_next(&r, without_newline(&one), &l), KB_OK);
	after_one = r;
	assert_int_equal(chain_next(&r, without_newline(&one), &l), KB_E_LEDGER_CHAIN);
	assert_int_equal(chain_next(&r, without_newline(&three), &l), KB_E_LEDGER_CHAIN);
	assert_memory_equal(&r, &after_one, sizeof r);
	/* the right number on another chain */
	after_one.last[0] ^= 1;
	assert_int_equal(chain_next(&after_one, without_newline(&two), &l), KB_E_LEDGER_CHAIN);
}

static void test_d04_chain_lines_of_one_batch_say_so(void **state)
{
	struct chain c = {.seq = 0}, again = {.seq = 0};
	struct chain_line l;
	KB_AUTO(buf) struct buf b;

	(void)state;
	buf_init(&b, 1 << 16);
	for (unsigned i = 0; i < 3; i++) {
		size_t at = b.len;
		assert_int_equal(chain_add_batch(&c, 0, span_str("{\"a\":1}"), &b), KB_OK);
		assert_int_equal(memmem(b.p + at, b.len - at, "\"synced\":0,", 11) != NULL, i > 0);
		assert_int_equal(chain_next(&again, span_of(b.p + at, b.len - at - 1), &l), KB_OK);
		assert_int_equal(l.seq, i + 1);
		assert_int_equal(l.synced, 0);
		assert_true(span_eq_cstr(l.members, "\"a\":1"));
	}
	size_t at = b.len;
	assert_int_equal(chain_add(&c, span_str("{\"a\":1}"), &b), KB_OK);
	assert_int_equal(chain_next(&again, span_of(b.p + at, b.len - at - 1), &l), KB_OK);
	assert_int_equal(l.synced, 3);
}

static void test_chain_before_lets_a_reader_begin_in_the_middle(void **state)
{
	struct chain w = {0}, r;
	struct chain_line l;

	(void)state;
	KB_AUTO(buf) struct buf line;
	buf_init(&line, 4096);
	add(&w, rec, &line);
	add(&w, rec, &line);
	assert_int_equal(chain_before(without_newline(&line), &r), KB_OK);
	assert_int_equal(r.seq, 1);
	assert_int_equal(chain_next(&r, without_newline(&line), &l), KB_OK);
	assert_int_equal(chain_before(span_str("{}"), &r), KB_E_LEDGER_CHAIN);
	assert_int_equal(r.seq, 0);
}

/* Lines that chain_add() would not write, with a digest that fits all the same. */
static void parses(const char *body, enum kb_err want)
{
	uint8_t sum[32];
	struct chain_line l;

	KB_AUTO(buf) struct buf line;
	buf_init(&line, 65536);
	buf_add_str(&line, body);
	SHA256(line.p, line.len, sum);
	buf_add_str(&line, ",\"sum\":\"");
	hex_encode(&line, span_of(sum, sizeof sum));
	buf_add_str(&line, "\"}");
	assert_int_equal(chain_parse(buf_span(&line), &l), want);
}

#define ZEROS "0000000000000000000000000000000000000000000000000000000000000000"
static void test_chain_form_is_exact(void **state)
{
	(void)state;
	parses("{\"seq\":1,\"prev\":\"" ZEROS "\",\"a\":1", KB_OK);
	parses("{\"seq\":9223372036854775807,\"prev\":\"" ZEROS "\",\"a\":1", KB_OK);
	parses("{\"seq\":0,\"prev\":\"" ZEROS "\",\"a\":1", KB_E_LEDGER_CHAIN);
	parses("{\"seq\":01,\"prev\":\"" ZEROS "\",\"a\":1", KB_E_LEDGER_CHAIN);
	parses("{\"seq\":-1,\"prev\":\"" ZEROS "\",\"a\":1", KB_E_LEDGER_CHAIN);
	parses("{\"seq\":,\"prev\":\"" ZEROS "\",\"a\":1", KB_E_LEDGER_CHAIN);
	parses("{\"seq\":92233720368547758070,\"prev\":\"" ZEROS "\",\"a\":1", KB_E_LEDGER_CHAIN);
	parses("{\"seq\":1,\"prev\":\"" ZEROS "0\",\"a\":1", KB_E_LEDGER_CHAIN);
	parses("{\"seq\":1,\"prev\":\"A" ZEROS "\",\"a\":1", KB_E_LEDGER_CHAIN);
	parses("{\"seq\":1,\"prev\":\"" ZEROS "\",", KB_E_LEDGER_CHAIN);
	parses("{\"seq\":1,\"prev\":\"" ZEROS "\"\"a\":1", KB_E_LEDGER_CHAIN);
	parses("{\"seq\":5,\"prev\":\"" ZEROS "\",\"synced\":3,\"a\":1", KB_OK);
	parses("{\"seq\":5,\"prev\":\"" ZEROS "\",\"synced\":4,\"a\":1",
	       KB_E_LEDGER_CHAIN); /* what it is without */
	parses("{\"seq\":5,\"prev\":\"" ZEROS "\",\"synced\":x,\"a\":1", KB_E_LEDGER_CHAIN);
	parses("{\"prev\":\"" ZEROS "\",\"seq\":1,\"a\":1", KB_E_LEDGER_CHAIN);
	parses("{\"seq\":1, \"prev\":\"" ZEROS "\",\"a\":1", KB_E_LEDGER_CHAIN);
	parses("{\"seq\":1,\"prev\":\"" ZEROS "\",\"a\":\"\x1b\"", KB_E_LEDGER_CHAIN);
	KB_AUTO(cstr) char *record = record_of(KB_MAX_RECORD + 1);
	KB_AUTO(buf) struct buf body;
	buf_init(&body, 65536);
	buf_add_str(&body, "{\"seq\":1,\"prev\":\"" ZEROS "\",");
	buf_add(&body, record + 1, KB_MAX_RECORD - 1);
	buf_add(&body, "", 1);
	parses((const char *)body.p, KB_E_LEDGER_CHAIN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_chain_writes_its_format),
		cmocka_unit_test(test_chain_reads_what_it_wrote),
		cmocka_unit_test(test_chain_refuses_what_is_no_record),
		cmocka_unit_test(test_chain_record_size_limit),
		cmocka_unit_test(test_chain_ends_at_the_last_number),
		cmocka_unit_test(test_chain_full_buffer_changes_nothing),
		cmocka_unit_test(test_d05_chain_any_flipped_bit_is_seen),
		cmocka_unit_test(test_d05_chain_any_shortened_line_is_seen),
		cmocka_unit_test(test_d05_chain_removed_repeated_moved_lines),
		cmocka_unit_test(test_d04_chain_lines_of_one_batch_say_so),
		cmocka_unit_test(test_chain_before_lets_a_reader_begin_in_the_middle),
		cmocka_unit_test(test_chain_form_is_exact),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
