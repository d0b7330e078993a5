/* tests/unit/keystore/test_record.c — the key record: what is accepted, what is refused and where,
 * and that what is written can be read. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/json.h"
#include "base/limits.h"
#include "keystore/record.h"

#define VERSION "0123456789abcdef0123456789abcdef"
#define OBJECT  "pkcs11:id=%01%02;type=private"
#define ONE                                                                                        \
	"\"versions\":[{\"version\":\"" VERSION "\",\"created\":1790000000,\"object\":\"" OBJECT   \
	"\"}]"
#define ATTR    "\"attributes\":{\"enabled\":true,\"exportable\":true,\"created\":1790000000}"
#define POLICY  "\"release_policy\":{\"file\":\"../policies/cvm.json\"}"
#define MINIMAL "{\"kty\":\"RSA-HSM\"," ATTR "," POLICY "," ONE "}"

static enum kb_err parse(const char *text, struct key_record **r, struct record_fault *f)
{
	return key_record_parse(span_str("disk-key"), span_str(text), r, f);
}

/* Refused with this code, at this member. */
static void refused(const char *text, enum kb_err want, const char *path)
{
	struct key_record *r;
	struct record_fault f;

	assert_int_equal(parse(text, &r, &f), want);
	assert_null(r);
	assert_string_equal(f.path, path);
	assert_true(f.text[0] != '\0');
	assert_int_equal(parse(text, &r, NULL), want);
}

static void accepted(const char *text)
{
	struct key_record *r;
	struct record_fault f;

	assert_int_equal(parse(text, &r, &f), KB_OK);
	assert_string_equal(f.text, "");
	key_record_free(r);
}

static void test_record_full(void **state)
{
	static const char full[] =
		"{\"kty\":\"EC-HSM\",\"key_ops\":[\"sign\",\"verify\",\"wrapKey\"],"
		"\"attributes\":{\"enabled\":true,\"exportable\":true,\"created\":1790000000,"
		"\"updated\":1790000001,\"nbf\":10,\"exp\":20},"
		"\"tags\":{\"team\":\"disk\",\"empty\":\"\"},"
		"\"release_policy\":{\"data\":{\"version\":\"1.0.0\",\"anyOf\":[]},\"immutable\":"
		"true,\"contentType\":\"application/json; "
		"charset=utf-8\"},"
		"\"versions\":[{\"version\":\"" VERSION "\",\"created\":1,\"object\":\"" OBJECT
		"\"},"
		"{\"version\":\"ffffffffffffffffffffffffffffffff\",\"created\":2,\"object\":"
		"\"pkcs11:object=a\","
		"\"fingerprint\":"
		"\"00ff0123456789abcdef0123456789abcdef0123456789abcdef0123456789ab\"}]}";
	struct record_fault f;

	(void)state;
	KB_AUTO(key_record) struct key_record *r = NULL;
	assert_int_equal(parse(full, &r, &f), KB_OK);
	assert_string_equal(r->name, "disk-key");
	assert_int_equal(r->kty, KB_KTY_EC);
	assert_true(r->is_hsm && r->enabled && r->exportable && r->policy_immutable);
	assert_int_equal(r->key_ops, KB_OP_SIGN | KB_OP_VERIFY | KB_OP_WRAP);
	assert_int_equal(r->n_ops, 3);
	assert_int_equal(r->op_order[2], KB_OP_WRAP);
	assert_int_equal(r->created, 1790000000);
	assert_int_equal(r->updated, 1790000001);
	assert_int_equal(r->not_before, 10);
	assert_int_equal(r->expires, 20);
	assert_int_equal(r->n_tags, 2);
	assert_string_equal(r->tags[0].name, "team");
	assert_string_equal(r->tags[0].value, "disk");
	assert_string_equal(r->tags[1].value, "");
	assert_null(r->policy_file);
	assert_true(span_eq_cstr(buf_span(&r->policy), "{\"version\":\"1.0.0\",\"anyOf\":[]}"));
	assert_int_equal(r->n_versions, 2);
	assert_false(r->versions[0].has_fingerprint);
	assert_true(r->versions[1].has_fingerprint);
	assert_int_equal(r->versions[1].fingerprint[1], 0xff);
	assert_int_equal(r->versions[1].fingerprint[31], 0xab);
	assert_string_equal(key_record_version(r, span_of(NULL, 0))->version,
			    "ffffffffffffffffffffffffffffffff"); /* the current one */
	assert_ptr_equal(key_record_version(r, span_str(VERSION)), &r->versions[0]);
	assert_null(key_record_version(r, span_str("0123456789abcdef0123456789abcdee")));
	assert_null(key_record_version(r, span_str("0123")));
}

static void test_record_kinds(void **state)
{
	static const struct {
		const char *name;
		enum kb_kty kty;
		bool is_hsm;
	} kinds[] = {{"RSA-HSM", KB_KTY_RSA, true}, {"RSA", KB_KTY_RSA, false},
		     {"EC-HSM", KB_KTY_EC, true},   {"EC", KB_KTY_EC, false},
		     {"oct-HSM", KB_KTY_OCT, true}, {"oct", KB_KTY_OCT, false}};
	char text[1024];

	(void)state;
	for (size_t i = 0; i < 6; i++) {
		KB_AUTO(key_record) struct key_record *r = NULL;
		snprintf(text, sizeof text, "{\"kty\":\"%s\"%s", kinds[i].name,
			 "," ATTR "," POLICY "," ONE "}");
		assert_int_equal(parse(text, &r, NULL), KB_OK);
		assert_int_equal(r->kty, kinds[i].kty);
		assert_int_equal(r->is_hsm, kinds[i].is_hsm);
	}
	refused("{\"kty\":\"rsa\"," ATTR "," POLICY "," ONE "}", KB_E_CONFIG, "kty");
	refused("{\"kty\":\"OKP\"," ATTR "," POLICY "," ONE "}", KB_E_CONFIG, "kty");
	refused("{\"kty\":7," ATTR "," POLICY "," ONE "}", KB_E_JSON_TYPE, "kty");
	refused("{\"kty\":\"\"," ATTR "," POLICY "," ONE "}", KB_E_JSON_LENGTH, "kty");
	refused("{" ATTR "," POLICY "," ONE "}", KB_E_JSON_MISSING, "kty");
}

static void test_record_document(void **state)
{
	(void)state;
	accepted(MINIMAL);
	refused("", KB_E_JSON_SYNTAX, "");
	refused("{", KB_E_JSON_SYNTAX, "");
	refused("[]", KB_E_JSON_TYPE, "");
	refused(MINIMAL "x", KB_E_JSON_SYNTAX, "");
	refused("{\"kty\":\"RSA\",\"kty\":\"EC\"}", KB_E_JSON_DUPLICATE, "");
	refused("{\"a\":[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]}", KB_E_JSON_DEPTH, "");
	refused("{\"kty\":\"RSA\",\"owner\":\"x\"}", KB_E_JSON_UNKNOWN, "owner");
	refused("{\"kty\":\"RSA\",\"attributes\":{\"enabled\":true,\"recoverable\":1}}",
		KB_E_JSON_UNKNOWN, "attributes.recoverable");
	refused("{\"kty\":\"RSA\"," ATTR ",\"release_policy\":{\"path\":\"x\"}}", KB_E_JSON_UNKNOWN,
		"release_policy.path");
	refused("{\"kty\":\"RSA\"," ATTR "," POLICY ",\"versions\":[{\"sealed\":\"x\"}]}",
		KB_E_JSON_UNKNOWN, "versions[0].sealed");
}

static void test_record_names(void **state)
{
	char name[KB_MAX_KEY_NAME * 10];
	struct key_record *r;
	struct record_fault f;

	(void)state;
	memset(name, 'a', sizeof name);
	assert_true(key_name_ok(span_of(name, KB_MAX_KEY_NAME)));
	assert_false(key_name_ok(span_of(name, KB_MAX_KEY_NAME + 1)));
	assert_false(key_name_ok(span_of(name, sizeof name)));
	assert_true(key_name_ok(span_str("0-9AZaz")));
	static const char *const bad[] = {"",    "a.b",  "a/b",        "..", "a_b",
					  "a b", "a%20", "k\xc3\xa4y", "a\n"};
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		assert_false(key_name_ok(span_str(bad[i])));
		assert_int_equal(key_record_parse(span_str(bad[i]), span_str(MINIMAL), &r, &f),
				 KB_E_CONFIG);
		assert_null(r);
	}
}

static void test_record_ops(void **state)
{
	(void)state;
	refused("{\"kty\":\"RSA\",\"key_ops\":{}," ATTR "," POLICY "," ONE "}", KB_E_JSON_TYPE,
		"key_ops");
	refused("{\"kty\":\"RSA\",\"key_ops\":[\"sign\",\"derive\"]," ATTR "," POLICY "," ONE "}",
		KB_E_CONFIG, "key_ops[1]");
	refused("{\"kty\":\"RSA\",\"key_ops\":[\"sign\",\"sign\"]," ATTR "," POLICY "," ONE "}",
		KB_E_CONFIG, "key_ops[1]");
	refused("{\"kty\":\"RSA\",\"key_ops\":[1]," ATTR "," POLICY "," ONE "}", KB_E_JSON_TYPE,
		"key_ops[0]");
	accepted("{\"kty\":\"RSA\",\"key_ops\":[]," ATTR "," POLICY "," ONE "}");
	accepted("{\"kty\":\"RSA\",\"key_ops\":[\"encrypt\",\"decrypt\",\"sign\",\"verify\","
		 "\"wrapKey\",\"unwrapKey\",\"export\",\"import\"]," ATTR "," POLICY "," ONE "}");
	assert_string_equal(key_op_name(KB_OP_UNWRAP), "unwrapKey");
	assert_string_equal(key_op_name(KB_OP_IMPORT), "import");
	assert_string_equal(key_op_name(0), "");
	assert_string_equal(key_op_name(3), "");
}

#define WITH_ATTR(a) "{\"kty\":\"RSA\",\"attributes\":" a "," POLICY "," ONE "}"

static void test_record_attributes(void **state)
{
	(void)state;
	refused("{\"kty\":\"RSA\"," POLICY "," ONE "}", KB_E_JSON_MISSING, "attributes");
	refused(WITH_ATTR("[]"), KB_E_JSON_TYPE, "attributes");
	refused(WITH_ATTR("{\"enabled\":true,\"created\":253402300800}"), KB_E_CONFIG,
		"attributes.created");
	refused(WITH_ATTR("{\"enabled\":true,\"created\":1,\"exp\":9223372036854775807}"),
		KB_E_CONFIG, "attributes.exp");
	refused(WITH_ATTR("{\"created\":1}"), KB_E_JSON_MISSING, "attributes.enabled");
	refused(WITH_ATTR("{\"enabled\":\"true\",\"created\":1}"), KB_E_JSON_TYPE,
		"attributes.enabled");
	refused(WITH_ATTR("{\"enabled\":true}"), KB_E_JSON_MISSING, "attributes.created");
	refused(WITH_ATTR("{\"enabled\":true,\"created\":1.5}"), KB_E_JSON_TYPE,
		"attributes.created");
	refused(WITH_ATTR("{\"enabled\":true,\"created\":-1}"), KB_E_CONFIG, "attributes.created");
	refused(WITH_ATTR("{\"enabled\":true,\"created\":1,\"exportable\":1}"), KB_E_JSON_TYPE,
		"attributes.exportable");
	refused(WITH_ATTR("{\"enabled\":true,\"created\":1,\"updated\":\"x\"}"), KB_E_JSON_TYPE,
		"attributes.updated");
	refused(WITH_ATTR("{\"enabled\":true,\"created\":1,\"nbf\":null}"), KB_E_JSON_TYPE,
		"attributes.nbf");
	refused(WITH_ATTR("{\"enabled\":true,\"created\":1,\"exp\":-5}"), KB_E_CONFIG,
		"attributes.exp");
	refused(WITH_ATTR("{\"enabled\":true,\"created\":1,\"nbf\":5,\"exp\":5}"), KB_E_CONFIG,
		"attributes.exp");
}

/* Zero is no date: it means neither "always" nor "never". */
static void test_a46_dates_of_zero(void **state)
{
	struct key_record forgotten = {.enabled = true, .exportable = true};
	struct record_fault f;
	KB_AUTO(key_record) struct key_record *r = NULL;

	(void)state;
	refused(WITH_ATTR("{\"enabled\":true,\"created\":1,\"exp\":0}"), KB_E_CONFIG,
		"attributes.exp");
	refused(WITH_ATTR("{\"enabled\":true,\"created\":1,\"nbf\":0}"), KB_E_CONFIG,
		"attributes.nbf");
	refused(WITH_ATTR("{\"enabled\":true,\"created\":1,\"exp\":-0}"), KB_E_CONFIG,
		"attributes.exp");
	refused(WITH_ATTR("{\"enabled\":true,\"created\":1,\"exp\":0.0}"), KB_E_JSON_TYPE,
		"attributes.exp");
	assert_int_equal(key_record_usable(&forgotten, 0), KB_E_KEY_EXPIRED);
	assert_int_equal(parse(MINIMAL, &r, &f), KB_OK);
	assert_true(r->expires == KEY_NEVER && r->not_before == 0);
	assert_int_equal(key_record_usable(r, INT64_MAX - 1),
			 r->exportable ? KB_OK : KB_E_KEY_NOT_EXPORTABLE);
}

static void test_record_exportable_means_policy(void **state)
{
	struct record_fault f;
	struct key_record *r;

	(void)state;
	assert_int_equal(parse("{\"kty\":\"RSA\"," ATTR "," ONE "}", &r, &f), KB_E_CONFIG);
	assert_string_equal(f.path, "attributes.exportable");
	assert_non_null(strstr(f.text, "AKV.SKR.1004"));
	assert_int_equal(
		parse(WITH_ATTR("{\"enabled\":true,\"created\":1,\"exportable\":false}"), &r, &f),
		KB_E_CONFIG);
	assert_string_equal(f.path, "release_policy");
	assert_non_null(strstr(f.text, "AKV.SKR.1005"));
	assert_int_equal(parse(WITH_ATTR("{\"enabled\":true,\"created\":1}"), &r, &f),
			 KB_E_CONFIG); /* absent means false */
	accepted("{\"kty\":\"RSA\",\"attributes\":{\"enabled\":true,\"created\":1}," ONE "}");
}

#define WITH_POLICY(p) "{\"kty\":\"RSA\"," ATTR ",\"release_policy\":" p "," ONE "}"

static void test_record_policy(void **state)
{
	(void)state;
	refused(WITH_POLICY("[]"), KB_E_JSON_TYPE, "release_policy");
	refused(WITH_POLICY("{}"), KB_E_CONFIG, "release_policy");
	refused(WITH_POLICY("{\"file\":\"a\",\"data\":\"e30\"}"), KB_E_CONFIG, "release_policy");
	refused(WITH_POLICY("{\"file\":\"\"}"), KB_E_JSON_LENGTH, "release_policy.file");
	refused(WITH_POLICY("{\"file\":{}}"), KB_E_JSON_TYPE, "release_policy.file");
	refused(WITH_POLICY("{\"file\":\"a\",\"immutable\":1}"), KB_E_JSON_TYPE,
		"release_policy.immutable");
	refused(WITH_POLICY("{\"file\":\"a\",\"contentType\":1}"), KB_E_JSON_TYPE,
		"release_policy.contentType");
	refused(WITH_POLICY("{\"data\":7}"), KB_E_JSON_TYPE, "release_policy.data");
	refused(WITH_POLICY("{\"data\":\"\"}"), KB_E_JSON_LENGTH, "release_policy.data");
	refused(WITH_POLICY("{\"data\":\"e3=0\"}"), KB_E_CONFIG, "release_policy.data");
	static const char *const forms[] = {WITH_POLICY("{\"data\":\"e30\"}"),
					    WITH_POLICY("{\"data\":\"e30=\"}"),
					    WITH_POLICY("{\"data\":{}}")};
	for (size_t i = 0; i < 3; i++) {
		KB_AUTO(key_record) struct key_record *r = NULL;
		assert_int_equal(parse(forms[i], &r, NULL), KB_OK);
		assert_true(span_eq_cstr(buf_span(&r->policy), "{}"));
	}
}

/* N, N + 1 and 10·N bytes of policy. */
static void test_record_policy_limit(void **state)
{
	static const size_t sizes[] = {KB_MAX_POLICY, KB_MAX_POLICY + 1, KB_MAX_POLICY * 10};

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		struct record_fault f;
		KB_AUTO(key_record) struct key_record *r = NULL;
		KB_AUTO(buf) struct buf b;
		buf_init(&b, KB_MAX_CONFIG);
		buf_add_str(&b, "{\"kty\":\"RSA\"," ATTR ",\"release_policy\":{\"data\":{\"x\":\"");
		uint8_t *fill = buf_reserve(&b, sizes[i] - 8);
		memset(fill, 'x', sizes[i] - 8);
		buf_add_str(&b, "\"}}," ONE "}");
		assert_int_equal(buf_ok(&b), KB_OK);
		assert_int_equal(key_record_parse(span_str("k"), buf_span(&b), &r, &f),
				 i == 0 ? KB_OK : KB_E_CONFIG);
		assert_string_equal(f.path, i == 0 ? "" : "release_policy.data");
	}
}

static void test_record_tags(void **state)
{
	static const size_t counts[] = {KB_MAX_TAGS, KB_MAX_TAGS + 1, KB_MAX_TAGS * 10};
	char value[258];

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		KB_AUTO(buf) struct buf b;
		buf_init(&b, 65536);
		buf_add_str(&b, "{\"kty\":\"RSA\"," ATTR "," POLICY "," ONE ",\"tags\":{");
		for (size_t k = 0; k < counts[i]; k++)
			buf_addf(&b, "%s\"t%zu\":\"v\"", k == 0 ? "" : ",", k);
		buf_add(&b, "}}", 3);
		if (i == 0)
			accepted((const char *)b.p);
		else
			refused((const char *)b.p, KB_E_CONFIG, "tags");
	}
	memset(value, 'v', sizeof value);
	for (size_t len = 256; len <= 257; len++) {
		KB_AUTO(buf) struct buf b;
		buf_init(&b, 65536);
		buf_add_str(&b, "{\"kty\":\"RSA\"," ATTR "," POLICY "," ONE ",\"tags\":{\"t\":\"");
		buf_add(&b, value, len);
		buf_add(&b, "\"}}", 4);
		if (len == 256)
			accepted((const char *)b.p);
		else
			refused((const char *)b.p, KB_E_JSON_LENGTH, "tags");
		buf_reset(&b);
		buf_add_str(&b, "{\"kty\":\"RSA\"," ATTR "," POLICY "," ONE ",\"tags\":{\"");
		buf_add(&b, value, len);
		buf_add(&b, "\":\"v\"}}", 8);
		if (len == 256)
			accepted((const char *)b.p);
		else
			refused((const char *)b.p, KB_E_CONFIG, "tags");
	}
	refused("{\"kty\":\"RSA\"," ATTR "," POLICY "," ONE ",\"tags\":[]}", KB_E_JSON_TYPE,
		"tags");
	refused("{\"kty\":\"RSA\"," ATTR "," POLICY "," ONE ",\"tags\":{\"t\":1}}", KB_E_JSON_TYPE,
		"tags");
}

#define WITH_VERSION(v)           "{\"kty\":\"RSA\"," ATTR "," POLICY ",\"versions\":[" v "]}"
#define V(version, created, rest) "{\"version\":" version ",\"created\":" created rest "}"

static void test_record_versions(void **state)
{
	static const size_t counts[] = {KB_MAX_VERSIONS, KB_MAX_VERSIONS + 1, KB_MAX_VERSIONS * 10};

	(void)state;
	refused("{\"kty\":\"RSA\"," ATTR "," POLICY "}", KB_E_JSON_MISSING, "versions");
	refused(WITH_VERSION(""), KB_E_CONFIG, "versions");
	refused(WITH_VERSION("1"), KB_E_JSON_TYPE, "versions[0]");
	refused(WITH_VERSION("{}"), KB_E_JSON_MISSING, "versions[0].version");
	refused(WITH_VERSION(V("\"0123\"", "1", "")), KB_E_CONFIG, "versions[0].version");
	refused(WITH_VERSION(V("\"0123456789ABCDEF0123456789ABCDEF\"", "1", "")), KB_E_CONFIG,
		"versions[0].version");
	refused(WITH_VERSION(V("\"" VERSION "0\"", "1", "")), KB_E_JSON_LENGTH,
		"versions[0].version");
	refused(WITH_VERSION("{\"version\":\"" VERSION "\",\"object\":\"" OBJECT "\"}"),
		KB_E_JSON_MISSING, "versions[0].created");
	refused(WITH_VERSION(V("\"" VERSION "\"", "-1", ",\"object\":\"" OBJECT "\"")), KB_E_CONFIG,
		"versions[0].created");
	refused(WITH_VERSION(V("\"" VERSION "\"", "1", "")), KB_E_JSON_MISSING,
		"versions[0].object");
	refused(WITH_VERSION(V("\"" VERSION "\"", "1", ",\"object\":\"key\"")), KB_E_CONFIG,
		"versions[0].object");
	refused(WITH_VERSION(
			V("\"" VERSION "\"", "1", ",\"object\":\"pkcs11:object=a?pin-value=1\"")),
		KB_E_CONFIG, "versions[0].object");
	refused(WITH_VERSION(V("\"" VERSION "\"", "1",
			       ",\"object\":\"" OBJECT "\",\"fingerprint\":\"00\"")),
		KB_E_CONFIG, "versions[0].fingerprint");
	refused(WITH_VERSION(
			V("\"" VERSION "\"", "1", ",\"object\":\"" OBJECT "\",\"fingerprint\":1")),
		KB_E_JSON_TYPE, "versions[0].fingerprint");
	refused(WITH_VERSION(V("\"" VERSION "\"", "1", ",\"object\":\"" OBJECT "\"") "," V(
			"\"" VERSION "\"", "1", ",\"object\":\"" OBJECT "\"")),
		KB_E_CONFIG, "versions[1].version");
	for (size_t i = 0; i < 3; i++) {
		KB_AUTO(buf) struct buf b;
		buf_init(&b, KB_MAX_CONFIG);
		buf_add_str(&b, "{\"kty\":\"RSA\"," ATTR "," POLICY ",\"versions\":[");
		for (size_t k = 0; k < counts[i]; k++)
			buf_addf(&b,
				 "%s{\"version\":\"%032zx\",\"created\":1,\"object\":\"pkcs11:"
				 "object=a\"}",
				 k == 0 ? "" : ",", k);
		buf_add(&b, "]}", 3);
		if (i == 0)
			accepted((const char *)b.p);
		else
			refused((const char *)b.p, KB_E_CONFIG, "versions");
	}
}

static void test_record_usable(void **state)
{
	struct key_record r = {
		.enabled = true, .exportable = true, .not_before = 100, .expires = 200};

	(void)state;
	assert_int_equal(key_record_usable(&r, 99), KB_E_KEY_NOT_YET);
	assert_int_equal(key_record_usable(&r, 100), KB_OK);
	assert_int_equal(key_record_usable(&r, 199), KB_OK);
	assert_int_equal(key_record_usable(&r, 200), KB_E_KEY_EXPIRED);
	r.exportable = false;
	assert_int_equal(key_record_usable(&r, 150), KB_E_KEY_NOT_EXPORTABLE);
	r.enabled = false;
	assert_int_equal(key_record_usable(&r, 150), KB_E_KEY_DISABLED);
	assert_null(key_record_version(&r, span_of(NULL, 0)));
	struct key_record zero = {0};
	assert_int_equal(key_record_usable(&zero, 0), KB_E_KEY_DISABLED);
}

/* What is written is read back the same: twice written, byte for byte. */
static void test_record_write_round_trip(void **state)
{
	static const char *const texts[] = {
		MINIMAL,
		"{\"kty\":\"oct-HSM\",\"attributes\":{\"enabled\":false,\"created\":0}," ONE "}",
		"{\"kty\":\"EC\",\"key_ops\":[\"verify\",\"sign\"],\"attributes\":{\"enabled\":"
		"true,\"exportable\":true,\"created\":5,\"updated\":6,"
		"\"nbf\":7,"
		"\"exp\":8},\"tags\":{\"a\\\"b\":\"c\\u00e4\\n\",\"e\":\"\"},\"release_policy\":{"
		"\"data\":\"eyJhIjoxfQo\",\"immutable\":true},"
		"\"versions\":[{\"version\":\"" VERSION "\",\"created\":1,\"object\":\"" OBJECT
		"\"},"
		"{\"version\":\"ffffffffffffffffffffffffffffffff\",\"created\":2,\"object\":"
		"\"pkcs11:object=a\","
		"\"fingerprint\":"
		"\"00ff0123456789abcdef0123456789abcdef0123456789abcdef0123456789ab\"}]}",
	};

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		struct record_fault f;
		KB_AUTO(key_record) struct key_record *r = NULL;
		KB_AUTO(key_record) struct key_record *again = NULL;
		KB_AUTO(buf) struct buf first, second;
		buf_init(&first, KB_MAX_CONFIG);
		buf_init(&second, KB_MAX_CONFIG);
		assert_int_equal(parse(texts[i], &r, &f), KB_OK);
		key_record_write(r, &first);
		assert_int_equal(buf_ok(&first), KB_OK);
		assert_int_equal(first.p[first.len - 1], '\n');
		assert_int_equal(
			key_record_parse(span_str("disk-key"), buf_span(&first), &again, &f),
			KB_OK);
		key_record_write(again, &second);
		assert_true(span_eq(buf_span(&first), buf_span(&second)));
		assert_true(span_eq(buf_span(&r->policy), buf_span(&again->policy)));
		assert_int_equal(r->n_tags, again->n_tags);
		assert_int_equal(r->key_ops, again->key_ops);
		assert_int_equal(r->n_versions, again->n_versions);
		assert_int_equal(r->expires, again->expires);
		assert_int_equal(r->policy_immutable, again->policy_immutable);
	}
}

/* A record that a later read would refuse is not written. */
static void test_record_write_refuses_what_cannot_be_read(void **state)
{
	struct key_tag twice[] = {{"a", "1"}, {"a", "2"}};
	struct key_record r = {.kty = KB_KTY_RSA, .tags = twice, .n_tags = 2};
	KB_AUTO(buf) struct buf b;
	buf_init(&b, KB_MAX_CONFIG);

	(void)state;
	key_record_write(&r, &b);
	assert_int_equal(buf_ok(&b), KB_E_NOMEM);
	assert_int_equal(b.len, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_record_full),
		cmocka_unit_test(test_record_kinds),
		cmocka_unit_test(test_record_document),
		cmocka_unit_test(test_record_names),
		cmocka_unit_test(test_record_ops),
		cmocka_unit_test(test_record_attributes),
		cmocka_unit_test(test_a46_dates_of_zero),
		cmocka_unit_test(test_record_exportable_means_policy),
		cmocka_unit_test(test_record_policy),
		cmocka_unit_test(test_record_policy_limit),
		cmocka_unit_test(test_record_tags),
		cmocka_unit_test(test_record_versions),
		cmocka_unit_test(test_record_usable),
		cmocka_unit_test(test_record_write_round_trip),
		cmocka_unit_test(test_record_write_refuses_what_cannot_be_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
