/* tests/unit/gateway/test_response.c — responses, byte for byte. */
#include "gateway/response.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/json.h"

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

static void test_error_bodies_are_key_vaults(void **state)
{
	static const struct {
		enum kb_err err;
		int status;
		const char *code;
	} want[] = {
		{KB_E_HTTP_SYNTAX, 400, "BadParameter"},
		{KB_E_HTTP_BODY_TYPE, 400, "BadParameter"},
		{KB_E_METHOD, 405, "MethodNotAllowed"},
		{KB_E_DEADLINE, 408, "RequestTimeout"},
		{KB_E_HTTP_BODY_SIZE, 413, "RequestEntityTooLarge"},
		{KB_E_HTTP_URI, 414, "BadParameter"},
		{KB_E_HTTP_HEADERS, 431, "BadParameter"},
		{KB_E_BUG, 500, "InternalServerError"},
		{KB_E_QUEUE_FULL, 503, "ServiceUnavailable"},
		{KB_E_HTTP_VERSION, 505, "BadParameter"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof want / sizeof want[0]; i++) {
		struct json_t *doc;
		const struct json_t *error;
		struct span code;
		assert_int_equal(json_load_strict(reply_error_body(want[i].err, want[i].status),
						  1024, &doc, NULL),
				 KB_OK);
		assert_int_equal(json_get_obj(doc, "error", &error), KB_OK);
		assert_int_equal(json_get_str(error, "code", 64, &code), KB_OK);
		assert_true(span_eq_cstr(code, want[i].code));
		assert_int_equal(json_get_str(error, "message", 256, &code), KB_OK);
		json_free(doc);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_b16_exact_headers),
		cmocka_unit_test(test_reply_204_has_no_body),
		cmocka_unit_test(test_error_bodies_are_key_vaults),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
