/* tests/unit/vault/test_audit.c — the record of a release: one object, no control character, never
 * too long to be recorded, whatever a client sent. */
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/limits.h"
#include "policy/explain.h"
#include "policy/rules.h"
#include "vault/audit.h"

static const uint8_t uuid[16] = {0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde, 0xf0,
				 1,    2,    3,    4,    5,    6,    7,    8};
static const uint8_t digest[32] = {0xab};

static struct audit simple(void)
{
	return (struct audit){.time_us = INT64_C(1790000000000000),
			      .uuid = uuid,
			      .base_url = "https://b",
			      .config_digest = "0123456789abcdef0123"};
}

static json_t *line_of(const struct audit *a, struct buf *b)
{
	assert_int_equal(audit_line(a, b), KB_OK);
	assert_true(b->len <= KB_MAX_RECORD - 128);
	for (size_t i = 0; i < b->len; i++)
		assert_true(b->p[i] >= 0x20 && b->p[i] != 0x7f);
	json_t *j = json_loadb((const char *)b->p, b->len, JSON_REJECT_DUPLICATES, NULL);
	assert_non_null(j);
	return j;
}

static const char *text(const json_t *j, const char *name)
{
	return json_string_value(json_object_get(j, name));
}

static void test_d10_release_has_everything_an_audit_needs(void **state)
{
	KB_AUTO(buf) struct buf b;
	struct audit a = simple();
	json_t *claims = json_pack("{s:s,s:{s:{s:s}}}", "jti", "abc", "x-ms-runtime",
				   "vm-configuration", "vmUniqueId", "A80B7FE7");

	(void)state;
	buf_init(&b, KB_MAX_RECORD);
	a.key = span_str("disk");
	a.version = span_str("v");
	a.enc = "RSA_AES_KEY_WRAP_256";
	a.issuer = "weu";
	a.iss = span_str("https://i");
	a.kid = span_str("k1");
	a.claims = claims;
	a.token_digest = a.kek_thumbprint = a.policy_digest = a.blob_digest = a.replay_key = digest;
	a.replay_until_s = 77;
	a.kek_kid = span_str("HCLTransferKey");
	a.peer = span_str("127.0.0.1");
	a.caller = "bearer:0123456789abcdef";
	a.caller_name = span_str("agent-7");
	a.client_request_id = span_str("c");
	json_t *j = line_of(&a, &b);
	assert_string_equal(text(j, "time"), "2026-09-21T14:13:20.000000Z");
	assert_string_equal(text(j, "event"), "release");
	assert_string_equal(text(j, "outcome"), "released");
	assert_string_equal(text(j, "code"), "OK");
	assert_string_equal(text(j, "request"), "12345678-9abc-def0-0102-030405060708");
	assert_string_equal(text(j, "config"), "0123456789abcdef");
	assert_string_equal(text(j, "vm"), "A80B7FE7");
	assert_string_equal(text(j, "jti"), "abc");
	assert_int_equal(json_integer_value(json_object_get(j, "replay_until")), 77);
	static const char *const all[] = {
		"client_request", "peer",         "caller",        "caller_name",
		"listener",       "key",          "version",       "enc",
		"issuer",         "iss",          "kid",           "token_sha256",
		"wrapping_kid",   "wrapping_key", "policy_sha256", "blob_sha256",
		"replay"};
	for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
		if (text(j, all[i]) == NULL)
			fail_msg("%s is missing", all[i]);
	json_decref(j);
	json_decref(claims);
}

static void test_vm_id_of_a_guest_token(void **state)
{
	KB_AUTO(buf) struct buf b;
	struct audit a = simple();
	json_t *claims = json_pack("{s:s}", "x-ms-azurevm-vmid", "B1");

	(void)state;
	buf_init(&b, KB_MAX_RECORD);
	a.claims = claims;
	json_t *j = line_of(&a, &b);
	assert_string_equal(text(j, "vm"), "B1");
	json_decref(j);
	json_decref(claims);
}

static void test_b17_text_of_clients_is_escaped_and_cut(void **state)
{
	KB_AUTO(buf) struct buf b;
	struct audit a = simple();
	static char evil[4000];

	(void)state;
	buf_init(&b, KB_MAX_RECORD);
	memset(evil, '\n', sizeof evil);
	memcpy(evil, "\"\x1b[31m\x00", 7);
	a.code = KB_E_TOKEN_SIGNATURE;
	a.key = a.version = a.iss = a.kid = a.kek_kid = a.peer = a.caller_name =
		a.client_request_id = span_of(evil, sizeof evil);
	json_t *j = line_of(&a, &b);
	assert_string_equal(text(j, "outcome"), "refused");
	assert_string_equal(text(j, "code"), "TOKEN_SIGNATURE");
	/* 128 bytes of it; the NUL byte is among them, escaped to three bytes */
	assert_int_equal(json_string_length(json_object_get(j, "kid")), 130);
	assert_null(json_object_get(j, "failing"));
	json_decref(j);
}

static struct rules *many_conditions(size_t extra)
{
	KB_AUTO(buf) struct buf p;
	struct rules *r;

	buf_init(&p, KB_MAX_POLICY);
	buf_add_str(&p,
		    "{\"version\":\"1.0.0\",\"anyOf\":[{\"authority\":\"https://i\",\"allOf\":[");
	for (int i = 0; i < KB_MAX_FAILINGS + 2; i++) {
		/* each takes six bytes of text when it is escaped */
		buf_addf(&p, "%s{\"claim\":\"claim-%d", i == 0 ? "" : ",", i);
		for (size_t k = 0; k < extra; k++)
			buf_add_str(&p, "\\u0001");
		buf_add_str(&p, "\",\"equals\":\"1");
		for (size_t k = 0; k < extra; k++)
			buf_add_str(&p, "\\u0001");
		buf_add_str(&p, "\"}");
	}
	buf_add_str(&p, "]}]}");
	assert_int_equal(buf_ok(&p), KB_OK);
	assert_int_equal(rules_compile(buf_span(&p), &r, NULL), KB_OK);
	return r;
}

static void assert_failing(size_t extra, bool fits)
{
	KB_AUTO(buf) struct buf b;
	KB_AUTO(rules) struct rules *r = many_conditions(extra);
	KB_AUTO(explain) struct explain *ex = explain_new();
	struct audit a = simple();
	json_t *claims = json_object();

	buf_init(&b, KB_MAX_RECORD);
	assert_int_equal(rules_evaluate(r, span_str("https://i"), claims, ex), KB_E_POLICY);
	a.code = KB_E_POLICY;
	a.explain = ex;
	json_t *j = line_of(&a, &b);
	json_t *failing = json_object_get(j, "failing");
	if (fits) {
		assert_int_equal(json_array_size(failing), KB_MAX_FAILINGS);
		assert_string_equal(text(json_array_get(failing, 0), "claim"), "claim-0");
	} else {
		assert_string_equal(json_string_value(failing), "too long for a record");
	}
	json_decref(j);
	json_decref(claims);
}

static void test_failing_conditions_are_named(void **state)
{
	(void)state;
	assert_failing(0, true);
}

static void test_record_is_written_even_when_failings_do_not_fit(void **state)
{
	KB_AUTO(buf) struct buf small;
	struct audit a = simple();

	(void)state;
	assert_failing(KB_MAX_CLAIM_PATH - 16, false);
	buf_init(&small, 64);
	assert_int_equal(audit_line(&a, &small), KB_E_NOMEM);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_d10_release_has_everything_an_audit_needs),
		cmocka_unit_test(test_vm_id_of_a_guest_token),
		cmocka_unit_test(test_b17_text_of_clients_is_escaped_and_cut),
		cmocka_unit_test(test_failing_conditions_are_named),
		cmocka_unit_test(test_record_is_written_even_when_failings_do_not_fit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
