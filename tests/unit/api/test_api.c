/* tests/unit/api/test_api.c — the tables: dialects by name, prepared bodies by code, operations by
 * method and path. */
#include "api/api.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "base/json.h"
#include "base/limits.h"

static void test_dialects_by_name(void **state)
{
	KB_AUTO(buf) struct buf names;

	(void)state;
	buf_init(&names, 256);
	assert_ptr_equal(api_find(span_str("keyvault")), &keyvault_api);
	assert_null(api_find(span_str("Keyvault")));
	assert_null(api_find(span_str("")));
	api_names(&names);
	assert_true(span_eq_cstr(buf_span(&names), "\"keyvault\""));
}

static void test_prepared_bodies_are_key_vaults(void **state)
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
		{KB_E_LEDGER, 503, "ServiceUnavailable"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof want / sizeof want[0]; i++) {
		struct json_t *doc;
		const struct json_t *error;
		struct span code;
		assert_int_equal(
			json_load_strict(api_body(&keyvault_api, want[i].err, want[i].status), 1024,
					 &doc, NULL),
			KB_OK);
		assert_int_equal(json_get_obj(doc, "error", &error), KB_OK);
		assert_int_equal(json_get_str(error, "code", 64, &code), KB_OK);
		assert_true(span_eq_cstr(code, want[i].code));
		assert_int_equal(json_get_str(error, "message", 256, &code), KB_OK);
		json_free(doc);
	}
}

/* The first row that fits is taken, by code before by status. */
static void test_prepared_bodies_by_code_and_status(void **state)
{
	static const struct api_body bodies[] = {{KB_E_LEDGER, 0, "ledger"},
						 {KB_E_DEADLINE, 503, "late"},
						 {KB_OK, 503, "busy"},
						 {KB_OK, 0, "rest"}};
	static const struct api test = {.name = "test", .bodies = bodies};

	(void)state;
	assert_true(span_eq_cstr(api_body(&test, KB_E_LEDGER, 503), "ledger"));
	assert_true(span_eq_cstr(api_body(&test, KB_E_DEADLINE, 503), "late"));
	assert_true(span_eq_cstr(api_body(&test, KB_E_DEADLINE, 408), "rest"));
	assert_true(span_eq_cstr(api_body(&test, KB_E_QUEUE_FULL, 503), "busy"));
	assert_true(span_eq_cstr(api_body(&test, KB_E_BUG, 500), "rest"));
}

static void test_record_that_cannot_be_written(void **state)
{
	(void)state;
	assert_true(span_eq_cstr(
		api_body(&keyvault_api, KB_E_LEDGER, 503),
		"{\"error\":{\"code\":\"ServiceUnavailable\",\"message\":\"The request cannot be "
		"recorded now. Nothing was released. Retry later.\"}}"));
}

static const struct operation *find(unsigned method, const char *path, enum kb_err want)
{
	struct url_text text = {.used = 0};
	struct operation_match m;
	enum kb_err err = operation_find("keyvault", method, span_str(path), &text, &m);

	if (err != want)
		fail_msg("%s: %s, expected %s", path, kb_err_name(err), kb_err_name(want));
	return m.operation;
}

static void test_operations_by_method_and_path(void **state)
{
	const struct operation *o = find(KB_METHOD_POST, "/keys/a/release", KB_OK);

	(void)state;
	assert_int_equal(o->verb, VERB_RELEASE);
	assert_int_equal(o->record, RECORD_RELEASE);
	assert_int_equal(find(KB_METHOD_GET, "/keys/a/", KB_OK)->verb, VERB_GET_KEY);
	assert_int_equal(find(KB_METHOD_GET, "/keys/release", KB_OK)->record, RECORD_NONE);
	assert_int_equal(find(KB_METHOD_GET, "/keys/a/release", KB_E_METHOD)->verb, VERB_RELEASE);
	assert_int_equal(find(KB_METHOD_NONE, "/keys/a", KB_E_METHOD)->verb, VERB_GET_KEY);
	assert_null(find(KB_METHOD_GET, "/keys/a/b", KB_E_PATH));
	assert_null(find(KB_METHOD_GET, "", KB_E_PATH));
	assert_null(find(KB_METHOD_GET, "/keys/a/////////////", KB_E_PATH));
}

static void test_operations_of_another_dialect_are_not_found(void **state)
{
	struct url_text text = {.used = 0};
	struct operation_match m;

	(void)state;
	assert_int_equal(operation_find("other", KB_METHOD_GET, span_str("/keys/a"), &text, &m),
			 KB_E_PATH);
	assert_null(m.operation);
}

/* What makes a record says the table; what no row has, or not with this method, is taken for it. */
static void test_every_path_has_a_pool_and_a_record(void **state)
{
	static const struct {
		enum kb_method method;
		const char *path;
		enum record_kind record;
	} row[] = {
		{KB_METHOD_POST, "/keys/a/release", RECORD_RELEASE},
		{KB_METHOD_POST, "/keys/a/%72elease", RECORD_RELEASE},
		{KB_METHOD_POST, "/keys/a/b/release", RECORD_RELEASE},
		{KB_METHOD_GET, "/keys/a", RECORD_NONE},
		{KB_METHOD_POST, "/keys/a/nonce", RECORD_NONE},
		{KB_METHOD_PUT, "/keys/a", RECORD_RELEASE},
		{KB_METHOD_GET, "/%", RECORD_RELEASE},
		{KB_METHOD_GET, "", RECORD_RELEASE},
	};

	(void)state;
	for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
		struct operation_way way =
			operation_way("keyvault", row[i].method, span_str(row[i].path));
		assert_int_equal(way.pool, POOL_VAULT);
		assert_int_equal(way.record, row[i].record);
	}
	assert_int_equal(operation_way("other", KB_METHOD_GET, span_str("/keys/a")).record,
			 RECORD_RELEASE);
}

static void test_url_text_is_bounded(void **state)
{
	struct url_text text = {.used = sizeof text.bytes - 2};
	struct span out;

	(void)state;
	assert_true(url_decode(&text, span_str("%41"), &out));
	assert_true(span_eq_cstr(out, "A"));
	assert_true(url_decode(&text, span_str("b"), &out));
	assert_false(url_decode(&text, span_str("c"), &out));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_dialects_by_name),
		cmocka_unit_test(test_prepared_bodies_are_key_vaults),
		cmocka_unit_test(test_prepared_bodies_by_code_and_status),
		cmocka_unit_test(test_record_that_cannot_be_written),
		cmocka_unit_test(test_operations_by_method_and_path),
		cmocka_unit_test(test_operations_of_another_dialect_are_not_found),
		cmocka_unit_test(test_every_path_has_a_pool_and_a_record),
		cmocka_unit_test(test_url_text_is_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
