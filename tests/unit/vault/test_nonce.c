/* tests/unit/vault/test_nonce.c — our nonces are bound to a key's name and to ten minutes, and are
 * not stored. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/limits.h"
#include "base/secret.h"
#include "vault/nonce.h"

#define NOW INT64_C(1800000000000000)

static struct secret *mac_key, *other_key;

static int make_keys(void **state)
{
	(void)state;
	if (secret_arena_init() != KB_OK || secret_random(32, &mac_key) != KB_OK ||
	    secret_random(32, &other_key) != KB_OK)
		return -1;
	return 0;
}

static int free_keys(void **state)
{
	(void)state;
	secret_free(mac_key);
	secret_free(other_key);
	return 0;
}

static struct span make(struct buf *b)
{
	buf_init(b, 256);
	assert_int_equal(nonce_make(mac_key, span_str("Disk-1"), NOW, b), KB_OK);
	return buf_span(b);
}

static void test_nonce_holds_for_its_key_and_time(void **state)
{
	KB_AUTO(buf) struct buf b;
	struct span n = make(&b);

	(void)state;
	assert_int_equal(nonce_check(mac_key, span_str("disk-1"), NOW, n), KB_OK);
	assert_int_equal(
		nonce_check(mac_key, span_str("DISK-1"), NOW + KB_NONCE_S * INT64_C(1000000), n),
		KB_OK);
	assert_int_equal(
		nonce_check(mac_key, span_str("disk-1"), NOW - KB_MAX_SKEW_S * INT64_C(1000000), n),
		KB_OK);
}

static void test_a18_nonce_of_another_key_or_time_is_refused(void **state)
{
	KB_AUTO(buf) struct buf b;
	struct span n = make(&b);

	(void)state;
	assert_int_equal(nonce_check(mac_key, span_str("disk-2"), NOW, n), KB_E_NONCE);
	assert_int_equal(nonce_check(mac_key, span_str("disk-1"),
				     NOW + KB_NONCE_S * INT64_C(1000000) + 1, n),
			 KB_E_NONCE);
	assert_int_equal(nonce_check(mac_key, span_str("disk-1"),
				     NOW - KB_MAX_SKEW_S * INT64_C(1000000) - 1, n),
			 KB_E_NONCE);
	assert_int_equal(nonce_check(other_key, span_str("disk-1"), NOW, n), KB_E_NONCE);
}

static void test_a18_nonce_not_ours_is_refused(void **state)
{
	KB_AUTO(buf) struct buf b;
	struct span n = make(&b);

	(void)state;
	assert_int_equal(nonce_check(mac_key, span_str("disk-1"), NOW, span_of(NULL, 0)),
			 KB_E_NONCE);
	assert_int_equal(nonce_check(mac_key, span_str("disk-1"), NOW, span_str("ADE0101")),
			 KB_E_NONCE);
	assert_int_equal(nonce_check(mac_key, span_str("disk-1"), NOW, span_sub(n, 0, n.len - 1)),
			 KB_E_NONCE);
	for (size_t i = 0; i < n.len; i++) {
		uint8_t was = b.p[i];
		b.p[i] = was == 'A' ? 'B' : 'A';
		assert_int_equal(nonce_check(mac_key, span_str("disk-1"), NOW, n), KB_E_NONCE);
		b.p[i] = was;
	}
	buf_add_str(&b, "A");
	assert_int_equal(nonce_check(mac_key, span_str("disk-1"), NOW, buf_span(&b)), KB_E_NONCE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nonce_holds_for_its_key_and_time),
		cmocka_unit_test(test_a18_nonce_of_another_key_or_time_is_refused),
		cmocka_unit_test(test_a18_nonce_not_ours_is_refused),
	};

	return cmocka_run_group_tests(tests, make_keys, free_keys);
}
