/* tests/unit/gateway/test_response.c — responses, byte for byte. */
#include "gateway/response.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define ID "x-ms-request-id: 01020304-0506-0708-090a-0b0c0d0e0f10\r\n"

static void check(struct reply r, const char *want)
{
	KB_AUTO(buf) struct buf b;

	buf_init(&b, 4096);
	for (uint8_t i = 0; i < 16; i++)
		r.uuid[i] = (uint8_t)(i + 1);
	reply_write(&r, &b);
	assert_int_equal(buf_ok(&b), KB_OK);
	KB_AUTO(cstr) char *text = span_dup(buf_span(&b));
	assert_string_equal(text, want);
}

static void test_b16_exact_headers(void **state)
{
	(void)state;
	check((struct reply){.status = 200, .body = span_str("{}")},
	      "HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: "
	      "2\r\nCache-Control: no-store\r\n" ID "\r\n{}");
	check(
		(struct reply){
			.status = 401,
			.client_request_id = span_str("c"),
			.challenge = span_str(
				"Bearer authorization=\"https://a/t\", resource=\"https://r\""),
			.body = span_str("")},
		"HTTP/1.1 401 Unauthorized\r\nContent-Type: application/json; "
		"charset=utf-8\r\nContent-Length: 0\r\nCache-Control: no-store\r\n" ID
		"x-ms-client-request-id: c\r\nWWW-Authenticate: Bearer "
		"authorization=\"https://a/t\", resource=\"https://r\"\r\n\r\n");
	check((struct reply){.status = 503,
			     .retry_after_s = 1,
			     .is_closing = true,
			     .body = span_str("{}")},
	      "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json; "
	      "charset=utf-8\r\nContent-Length: 2\r\nCache-Control: "
	      "no-store\r\n" ID "Retry-After: 1\r\nConnection: close\r\n\r\n{}");
	check((struct reply){.status = 405, .body = span_str("")},
	      "HTTP/1.1 405 Method Not Allowed\r\nContent-Type: application/json; "
	      "charset=utf-8\r\nContent-Length: 0\r\nCache-Control: "
	      "no-store\r\n" ID "Allow: GET, POST, PUT, PATCH, DELETE\r\n\r\n");
}

static void test_reply_204_has_no_body(void **state)
{
	(void)state;
	check((struct reply){.status = 204, .body = span_str("ignored")},
	      "HTTP/1.1 204 No Content\r\nCache-Control: no-store\r\n" ID "\r\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_b16_exact_headers),
		cmocka_unit_test(test_reply_204_has_no_body),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
