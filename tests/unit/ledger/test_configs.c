/* tests/unit/ledger/test_configs.c — an old configuration that comes back is distinguished from a
 * new one and from the one in force. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>

#include "ledger/configs.h"

static uint64_t take(struct configs *c, unsigned digest, uint64_t seq)
{
	char text[65];

	snprintf(text, sizeof text, "%064x", digest);
	memmove(text, text + 48, 17); /* only the first digits are stored */
	return configs_take(c, span_str(text), seq);
}

static void test_j07_configs_new_same_and_returned(void **state)
{
	static struct configs c;

	(void)state;
	c = (struct configs){.n = 0};
	assert_int_equal(take(&c, 1, 10), 0);
	assert_int_equal(take(&c, 1, 11), 0); /* a restart */
	assert_int_equal(take(&c, 2, 12), 0);
	assert_int_equal(take(&c, 1, 13), 11); /* back */
	assert_int_equal(take(&c, 1, 14), 11); /* still */
	assert_int_equal(take(&c, 2, 15), 12);
	assert_int_equal(take(&c, 3, 16), 0);
	assert_int_equal(c.n, 3);
}

static void test_j07_configs_as_text_and_back(void **state)
{
	static struct configs c, again;
	KB_AUTO(buf) struct buf b;

	(void)state;
	buf_init(&b, 8192);
	c = (struct configs){.n = 0};
	configs_write(&c, &b);
	configs_read(&again, buf_span(&b));
	assert_int_equal(again.n, 0);
	for (unsigned i = 1; i <= KB_LEDGER_CONFIGS; i++)
		assert_int_equal(take(&c, i, i), 0);
	assert_int_equal(take(&c, 5, UINT64_MAX), 5);
	configs_write(&c, &b);
	assert_int_equal(buf_ok(&b), KB_OK);
	configs_read(&again, buf_span(&b));
	assert_memory_equal(&c, &again, sizeof c);
	configs_read(&again, span_str("zz:1:2 0123456789abcdef:7:0 x 0123456789abcde0:8"));
	assert_int_equal(again.n, 1);
	assert_int_equal(again.seen[0].seq, 7);
}

static void test_configs_limit(void **state)
{
	static struct configs c;

	(void)state;
	c = (struct configs){.n = 0};
	for (unsigned i = 0; i < 10 * KB_LEDGER_CONFIGS; i++) {
		assert_int_equal(take(&c, i, i + 1), 0);
		assert_int_equal(c.n, i < KB_LEDGER_CONFIGS ? i + 1 : KB_LEDGER_CONFIGS);
	}
	assert_int_equal(take(&c, 9 * KB_LEDGER_CONFIGS, 9999),
			 9 * KB_LEDGER_CONFIGS + 1); /* the oldest in the list */
	assert_int_equal(take(&c, 9 * KB_LEDGER_CONFIGS - 1, 10000), 0); /* one that was replaced */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_j07_configs_new_same_and_returned),
		cmocka_unit_test(test_j07_configs_as_text_and_back),
		cmocka_unit_test(test_configs_limit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
