/* tests/unit/base/test_b64url.c — base64 in its strict and its lenient form: the vectors of RFC
 * 4648 section 10, and text that is almost base64. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/b64url.h"

typedef enum kb_err decoder(struct span, struct buf *);

static void expect(decoder *decode, const char *text, enum kb_err want, const char *plain)
{
	KB_AUTO(buf) struct buf out;

	buf_init(&out, 64);
	assert_string_equal(kb_err_name(decode(span_str(text), &out)), kb_err_name(want));
	if (want == KB_OK)
		assert_true(span_eq_cstr(buf_span(&out), plain));
}

static const struct {
	const char *plain, *url, *std;
} rfc4648[] = {
	{"", "", ""},
	{"f", "Zg", "Zg=="},
	{"fo", "Zm8", "Zm8="},
	{"foo", "Zm9v", "Zm9v"},
	{"foob", "Zm9vYg", "Zm9vYg=="},
	{"fooba", "Zm9vYmE", "Zm9vYmE="},
	{"foobar", "Zm9vYmFy", "Zm9vYmFy"},
	{"\xfb\xff\xfe", "-__-", "+//+"},
};
#define N (sizeof rfc4648 / sizeof *rfc4648)

static void test_b64url_decodes_rfc4648(void **state)
{
	(void)state;
	for (size_t i = 0; i < N; i++)
		expect(b64url_decode, rfc4648[i].url, KB_OK, rfc4648[i].plain);
}

static void test_b64_decodes_rfc4648(void **state)
{
	(void)state;
	for (size_t i = 0; i < N; i++)
		expect(b64_decode, rfc4648[i].std, KB_OK, rfc4648[i].plain);
}

static void test_b64_encodes_rfc4648(void **state)
{
	(void)state;
	for (size_t i = 0; i < N; i++) {
		KB_AUTO(buf) struct buf url, std;
		buf_init(&url, 64);
		buf_init(&std, 64);
		b64url_encode(&url, span_str(rfc4648[i].plain));
		b64_encode(&std, span_str(rfc4648[i].plain));
		assert_true(span_eq_cstr(buf_span(&url), rfc4648[i].url));
		assert_true(span_eq_cstr(buf_span(&std), rfc4648[i].std));
	}
}

static void test_b64_any_takes_every_spelling(void **state)
{
	(void)state;
	for (size_t i = 0; i < N; i++) {
		expect(b64_decode_any, rfc4648[i].url, KB_OK, rfc4648[i].plain);
		expect(b64_decode_any, rfc4648[i].std, KB_OK, rfc4648[i].plain);
	}
	expect(b64_decode_any, "-/_+", KB_OK, "\xfb\xff\xfe");
}

static void test_a28_b64url_rejects_what_is_not_canonical(void **state)
{
	static const char *const bad[] = {
		"Z",                              /* one character over */
		"Zm9vY",                          /* the same, later */
		"Zg==",                           /* padding */
		"Zm8=",       "Zm9v====",         /* too much of it */
		"+//+",                           /* the other alphabet */
		" Zg",        "Zg ",              /* white space */
		"Zm\n9v",     "Zm9v\r\n",         /* the same */
		"Zh",         "Zm9",              /* unused bits set */
		"Zm\xc3\xa9", "Zm.v",     "Zm,v", /* not of the alphabet */
	};

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		expect(b64url_decode, bad[i], KB_E_B64, NULL);
}

static void test_b64url_rejects_nul(void **state)
{
	KB_AUTO(buf) struct buf out;

	(void)state;
	buf_init(&out, 64);
	assert_int_equal(b64url_decode(span_of("Zm\0v", 4), &out), KB_E_B64);
}

static void test_b64_rejects_bad_padding(void **state)
{
	static const char *const bad[] = {"Zg",    "Zg=",  "Zg===", "=Zg=", "Z===",    "====",
					  "Zm9v=", "Zh==", "Zm9=",  "-__-", "Zg==Zg=="};

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		expect(b64_decode, bad[i], KB_E_B64, NULL);
}

static void test_b64_any_rejects_loose_bits(void **state)
{
	(void)state;
	expect(b64_decode_any, "Zh", KB_E_B64, NULL);
	expect(b64_decode_any, "Zh==", KB_E_B64, NULL);
	expect(b64_decode_any, "Zg=", KB_E_B64, NULL);
	expect(b64_decode_any, "Z", KB_E_B64, NULL);
}

static void test_b64url_respects_the_bound(void **state)
{
	KB_AUTO(buf) struct buf out;

	(void)state;
	buf_init(&out, 3);
	assert_int_equal(b64url_decode(span_str("Zm9v"), &out), KB_OK);
	buf_reset(&out);
	assert_int_equal(b64url_decode(span_str("Zm9vYg"), &out), KB_E_NOMEM);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_b64url_decodes_rfc4648),
		cmocka_unit_test(test_b64_decodes_rfc4648),
		cmocka_unit_test(test_b64_encodes_rfc4648),
		cmocka_unit_test(test_b64_any_takes_every_spelling),
		cmocka_unit_test(test_a28_b64url_rejects_what_is_not_canonical),
		cmocka_unit_test(test_b64url_rejects_nul),
		cmocka_unit_test(test_b64_rejects_bad_padding),
		cmocka_unit_test(test_b64_any_rejects_loose_bits),
		cmocka_unit_test(test_b64url_respects_the_bound),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
