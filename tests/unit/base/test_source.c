/* tests/unit/base/test_source.c — which addresses are one source, and which network has them. */
#include "base/source.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void is_source(const char *text, const char *want)
{
	struct source_address a;
	char got[SOURCE_ADDRESS_TEXT];

	assert_true(source_address_parse(span_str(text), &a));
	source_address_text(&a, got);
	assert_string_equal(got, want);
}

static void test_source_text(void **state)
{
	struct source_address a;

	(void)state;
	is_source("192.0.2.7", "192.0.2.7");
	is_source("255.255.255.255", "255.255.255.255");
	is_source("::ffff:192.0.2.7", "192.0.2.7");
	is_source("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64");
	is_source("ffff:ffff:ffff:ffff::", "ffff:ffff:ffff:ffff::/64");
	is_source("::1", "::/64");
	assert_false(source_address_parse(span_str("local"), &a));
	assert_false(source_address_parse(span_str(""), &a));
	assert_false(source_address_parse(span_of("1.2.3.4\0", 8), &a));
	assert_false(source_address_parse(span_str("192.0.2.7/32"), &a));
	assert_false(source_address_parse(
		span_str("0000:0000:0000:0000:0000:0000:0000:0000:0000:0000"), &a));
}

static bool has(const char *network, const char *address)
{
	struct source_network n;
	struct source_address a;

	assert_true(source_network_parse(span_str(network), &n));
	assert_true(source_address_parse(span_str(address), &a));
	return source_network_has(&n, &a);
}

static void test_source_networks(void **state)
{
	struct source_network n;
	static const char *const bad[] = {"",
					  "10.0.0.0/33",
					  "10.0.0.1/8",
					  "10.0.0.0/",
					  "10.0.0.0/08",
					  "10.0.0.0/-1",
					  "10.0.0.0/8/8",
					  "2001:db8::1/64",
					  "::/129",
					  "/8",
					  "localhost",
					  "::ffff:0:0/95"};

	(void)state;
	assert_true(has("10.0.0.0/8", "10.255.1.2"));
	assert_false(has("10.0.0.0/8", "11.0.0.0"));
	assert_true(has("192.0.2.7", "192.0.2.7"));
	assert_false(has("192.0.2.7", "192.0.2.6"));
	assert_true(has("0.0.0.0/0", "192.0.2.6"));
	assert_false(has("0.0.0.0/0", "2001:db8::1"));
	assert_true(has("::/0", "2001:db8::1"));
	assert_false(has("::/0", "192.0.2.6"));
	assert_true(has("2001:db8::/32", "2001:db8:ffff::1"));
	assert_false(has("2001:db8::/32", "2001:db9::1"));
	assert_true(has("::1", "::1"));
	assert_true(has("2001:db8::1/128", "2001:db8::2")); /* a source is a /64 */
	assert_true(has("::ffff:192.0.2.0/120", "192.0.2.9"));
	assert_false(has("::ffff:192.0.2.0/120", "192.0.3.9"));
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		if (source_network_parse(span_str(bad[i]), &n))
			fail_msg("\"%s\" was taken", bad[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_source_text),
		cmocka_unit_test(test_source_networks),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
