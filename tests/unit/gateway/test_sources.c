/* tests/unit/gateway/test_sources.c — limits in all and per source. */
#include "gateway/sources.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/un.h>

#include <cmocka.h>

static union {
	struct sockaddr any;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
	struct sockaddr_un un;
} at;

static const struct sockaddr *v4(const char *text)
{
	memset(&at, 0, sizeof at);
	at.in.sin_family = AF_INET;
	at.in.sin_port = 1234;
	assert_int_equal(inet_pton(AF_INET, text, &at.in.sin_addr), 1);
	return &at.any;
}

static const struct sockaddr *v6(const char *text)
{
	memset(&at, 0, sizeof at);
	at.in6.sin6_family = AF_INET6;
	assert_int_equal(inet_pton(AF_INET6, text, &at.in6.sin6_addr), 1);
	return &at.any;
}

static const struct sockaddr *local(void)
{
	memset(&at, 0, sizeof at);
	at.un.sun_family = AF_UNIX;
	return &at.any;
}

static struct source *enter(struct sources *p, const struct sockaddr *addr)
{
	struct source *source;

	assert_int_equal(sources_enter(p, addr, &source), KB_OK);
	assert_non_null(source);
	return source;
}

static void refused(struct sources *p, const struct sockaddr *addr)
{
	struct source *source;

	assert_int_equal(sources_enter(p, addr, &source), KB_E_CONN_LIMIT);
	assert_null(source);
}

static void test_b11_cap_of_one_source(void **state)
{
	struct sources *p = sources_new(100, 2, 0, 0);

	(void)state;
	assert_non_null(p);
	struct source *one = enter(p, v4("192.0.2.1"));
	assert_ptr_equal(enter(p, v4("192.0.2.1")), one);
	refused(p, v4("192.0.2.1"));
	refused(p, v6("::ffff:192.0.2.1")); /* the same client through a dual-stack socket */
	struct source *other = enter(p, v4("192.0.2.2"));
	assert_ptr_not_equal(other, one);
	sources_leave(p, one);
	assert_ptr_equal(enter(p, v4("192.0.2.1")), one);
	sources_free(p);
}

static void test_b11_an_ipv6_source_is_a_64(void **state)
{
	struct sources *p = sources_new(100, 2, 0, 0);

	(void)state;
	assert_non_null(p);
	struct source *one = enter(p, v6("2001:db8:1:2::1"));
	assert_ptr_equal(enter(p, v6("2001:db8:1:2:ffff::9")), one);
	refused(p, v6("2001:db8:1:2::3"));
	(void)enter(p, v6("2001:db8:1:3::1"));
	sources_free(p);
}

/* ::/64 as a number is what an IPv4 address could be: they are not confused. */
static void test_peers_families_differ(void **state)
{
	struct sources *p = sources_new(100, 1, 0, 0);

	(void)state;
	assert_non_null(p);
	struct source *six = enter(p, v6("0:0:c000:201::1"));
	assert_ptr_not_equal(enter(p, v4("192.0.2.1")), six);
	struct source *no_ip = enter(p, local());
	assert_ptr_not_equal(no_ip, six);
	refused(p, local());
	sources_free(p);
}

static void test_b10_cap_in_all(void **state)
{
	struct sources *p = sources_new(1000, 1, 0, 0);
	static struct source *source[1000];

	(void)state;
	assert_non_null(p);
	for (unsigned i = 0; i < 1000; i++) {
		memset(&at, 0, sizeof at);
		at.in.sin_family = AF_INET;
		at.in.sin_addr.s_addr = htonl(0x0a000000 + i * 7);
		source[i] = enter(p, &at.any);
	}
	refused(p, v4("192.0.2.1"));
	sources_leave(p, source[500]);
	source[500] = enter(p, v4("192.0.2.1"));
	refused(p, v4("192.0.2.2"));
	for (unsigned i = 0; i < 1000; i++) /* in another order */
		sources_leave(p, source[(i * 7) % 1000]);
	(void)enter(p, v4("192.0.2.2"));
	sources_free(p);
	sources_free(NULL);
}

static void test_b06_bodies_are_bounded(void **state)
{
	struct sources *p = sources_new(10, 10, 100, 60);

	(void)state;
	assert_non_null(p);
	struct source *one = enter(p, v4("192.0.2.1"));
	struct source *two = enter(p, v4("192.0.2.2"));
	assert_int_equal(sources_reserve(p, one, 60), KB_OK);
	assert_int_equal(sources_reserve(p, one, 1), KB_E_QUEUE_FULL);
	assert_int_equal(sources_reserve(p, one, 0), KB_OK);
	assert_int_equal(sources_reserve(p, two, 41), KB_E_QUEUE_FULL);
	assert_int_equal(sources_reserve(p, two, 40), KB_OK);
	sources_release(p, one, 60);
	assert_int_equal(sources_reserve(p, two, 20), KB_OK);
	assert_int_equal(sources_reserve(p, two, SIZE_MAX), KB_E_QUEUE_FULL);
	sources_free(p);
}

static void test_peers_text(void **state)
{
	char text[SOURCE_TEXT];

	(void)state;
	sources_text(v4("192.0.2.1"), text);
	assert_string_equal(text, "192.0.2.1");
	sources_text(v6("2001:db8::1"), text);
	assert_string_equal(text, "2001:db8::1");
	sources_text(v6("::ffff:192.0.2.1"), text);
	assert_string_equal(text, "192.0.2.1");
	sources_text(local(), text);
	assert_string_equal(text, "local");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_b11_cap_of_one_source),
		cmocka_unit_test(test_b11_an_ipv6_source_is_a_64),
		cmocka_unit_test(test_peers_families_differ),
		cmocka_unit_test(test_b10_cap_in_all),
		cmocka_unit_test(test_b06_bodies_are_bounded),
		cmocka_unit_test(test_peers_text),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
