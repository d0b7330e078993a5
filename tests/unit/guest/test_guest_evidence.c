/* tests/unit/guest/test_guest_evidence.c — the kernel's certificate table, the attestation
 * service's body, tokens and the wrapping key in them. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>
#include <openssl/x509.h>

#include "base/b64url.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/limits.h"
#include "guest/attest.h"
#include "guest/ephemeral.h"
#include "guest/report.h"
#include "guest/token.h"
#include "tests/unit/certs_table.h"

static const uint8_t unknown[16] = {1};

static uint8_t *der;
static int der_len;

static int setup(void **state)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *x = X509_new();

	(void)state;
	X509_gmtime_adj(X509_getm_notBefore(x), 0);
	X509_gmtime_adj(X509_getm_notAfter(x), 60);
	X509_set_pubkey(x, key);
	X509_sign(x, key, EVP_sha256());
	der_len = i2d_X509(x, &der);
	X509_free(x);
	EVP_PKEY_free(key);
	signal(SIGPIPE, SIG_IGN);
	return der_len > 0 && secret_arena_init() == KB_OK ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	OPENSSL_free(der);
	return 0;
}

static unsigned certificates_in(const struct buf *pem)
{
	unsigned n = 0;

	for (size_t i = 0; i + 10 < pem->len; i++)
		n += memcmp(pem->p + i, "-----BEGIN", 10) == 0;
	return n;
}

static void test_report_chain(void **state)
{
	uint8_t table[2048] = {0};
	KB_AUTO(buf) struct buf pem;

	(void)state;
	buf_init(&pem, KB_GUEST_CERTIFICATES);
	memcpy(table + 200, der, (size_t)der_len);
	certs_entry(table, certs_ark, true, 200, (size_t)der_len);
	certs_entry(table + CERTS_ENTRY, unknown, false, 0, 5);
	certs_entry(table + 2 * CERTS_ENTRY, certs_vcek, false, 200, (size_t)der_len);
	assert_int_equal(report_chain(span_of(table, sizeof table), &pem), KB_OK);
	assert_int_equal(certificates_in(&pem), 2);
}

static void test_report_chain_refuses(void **state)
{
	uint8_t table[2048] = {0};
	KB_AUTO(buf) struct buf pem;

	(void)state;
	buf_init(&pem, KB_GUEST_CERTIFICATES);
	memcpy(table + 200, der, (size_t)der_len);
	assert_int_equal(report_chain(span_of(table, 23), &pem), KB_E_FETCH_CONTENT); /* no end */
	certs_entry(table, certs_vcek, false, 200, 4096);
	assert_int_equal(report_chain(span_of(table, sizeof table), &pem),
			 KB_E_FETCH_CONTENT); /* beyond the end */
	certs_entry(table, certs_vcek, false, 0xffffffff, 0xffffffff);
	assert_int_equal(report_chain(span_of(table, sizeof table), &pem), KB_E_FETCH_CONTENT);
	certs_entry(table, certs_vcek, false, 100, 100);
	assert_int_equal(report_chain(span_of(table, sizeof table), &pem),
			 KB_E_FETCH_CONTENT); /* no certificate */
	assert_int_equal(pem.len, 0);
}

static void test_report_without_interface(void **state)
{
	struct report r;
	uint8_t data[REPORT_DATA] = {0};
	const char *why;

	(void)state;
	assert_int_equal(report_get("/nonexistent", data, &r, &why), KB_E_FILE);
	report_cleanup(&r);
}

static void test_attest_body(void **state)
{
	KB_AUTO(buf) struct buf body;
	KB_AUTO(json) struct json_t *doc = NULL;
	const struct json_t *runtime;
	uint8_t data[64];
	struct span text;

	(void)state;
	assert_int_equal(attest_body(span_str("report"), span_str("chain"), span_str("{}"),
				     span_str("n"), &body),
			 KB_OK);
	assert_int_equal(json_load_strict(buf_span(&body), 65536, &doc, NULL), KB_OK);
	assert_int_equal(json_get_str(doc, "report", 1024, &text), KB_OK);
	assert_true(span_eq_cstr(
		text, "eyJTbnBSZXBvcnQiOiJjbVZ3YjNKMCIsIlZjZWtDZXJ0Q2hhaW4iOiJZMmhoYVc0In0"));
	assert_int_equal(json_get_obj(doc, "runtimeData", &runtime), KB_OK);
	assert_int_equal(json_get_str(runtime, "data", 64, &text), KB_OK);
	assert_true(span_eq_cstr(text, "e30"));
	assert_int_equal(json_get_str(doc, "nonce", 64, &text), KB_OK);
	attest_report_data(span_str("abc"), data);
	assert_int_equal(data[0], 0xba); /* FIPS 180-2 appendix B.1 */
	assert_int_equal(data[31], 0xad);
	for (unsigned i = 32; i < 64; i++)
		assert_int_equal(data[i], 0);
}

static void test_attest_token(void **state)
{
	KB_AUTO(buf) struct buf token;

	(void)state;
	buf_init(&token, KB_MAX_TOKEN);
	assert_int_equal(attest_token(span_str("{\"token\":\"a.b.c\"}"), &token), KB_OK);
	assert_true(span_eq_cstr(buf_span(&token), "a.b.c"));
	assert_int_equal(attest_token(span_str("{\"token\":1}"), &token), KB_E_FETCH_CONTENT);
	assert_int_equal(attest_token(span_str("<html>"), &token), KB_E_FETCH_CONTENT);
}

static enum kb_err kid_in(const char *claims, const struct ephemeral *e, struct buf *kid)
{
	KB_AUTO(buf) struct buf token;

	buf_init(&token, 65536);
	buf_add_str(&token, "e30.");
	b64url_encode(&token, span_str(claims));
	buf_add_str(&token, ".AA");
	buf_init(kid, KB_MAX_KID);
	return token_wrapping_kid(buf_span(&token), ephemeral_n(e), ephemeral_e(e), kid);
}

static void test_token_kid(void **state)
{
	struct ephemeral *e, *other;
	KB_AUTO(buf) struct buf runtime, claims, kid, thumbprint;

	(void)state;
	assert_int_equal(ephemeral_make(&e), KB_OK);
	assert_int_equal(ephemeral_make(&other), KB_OK);
	assert_int_equal(ephemeral_runtime_data(e, NULL, NULL, &runtime), KB_OK);
	buf_init(&claims, 65536);
	buf_add_str(&claims, "{\"x-ms-runtime\":");
	buf_add_span(&claims, buf_span(&runtime));
	buf_add(&claims, "}", 2); /* the NUL makes a string of it */
	assert_int_equal(kid_in((char *)claims.p, e, &kid), KB_OK);
	buf_init(&thumbprint, 64);
	assert_int_equal(ephemeral_thumbprint(e, &thumbprint), KB_OK);
	assert_true(span_eq(buf_span(&kid), buf_span(&thumbprint)));
	buf_free(&kid);
	assert_int_equal(kid_in((char *)claims.p, other, &kid), KB_E_KEY_BINDING);
	buf_free(&kid);
	assert_int_equal(kid_in("{}", e, &kid), KB_E_KEY_BINDING);
	buf_free(&kid);
	assert_int_equal(kid_in("[", e, &kid), KB_E_TOKEN_FORMAT);
	buf_free(&kid);
	assert_int_equal(
		token_wrapping_kid(span_str("no token"), ephemeral_n(e), ephemeral_e(e), &kid),
		KB_E_TOKEN_FORMAT);
	ephemeral_free(e);
	ephemeral_free(other);
}

static void test_token_read(void **state)
{
	char path[] = "/tmp/keybroker-token-XXXXXX";
	int fd = mkstemp(path);
	KB_AUTO(buf) struct buf token = {0};

	(void)state;
	assert_int_equal(write(fd, " \n a.b.c\r\n", 10), 10);
	assert_int_equal(token_read(path, &token), KB_OK);
	assert_true(span_eq_cstr(buf_span(&token), "a.b.c"));
	buf_free(&token);
	assert_int_equal(ftruncate(fd, 2), 0);
	assert_int_equal(token_read(path, &token), KB_E_TOKEN_SIZE);
	buf_free(&token);
	assert_int_equal(ftruncate(fd, KB_MAX_TOKEN + 65), 0);
	assert_int_equal(token_read(path, &token), KB_E_TOKEN_SIZE);
	close(fd);
	unlink(path);
	buf_free(&token);
	assert_int_equal(token_read(path, &token), KB_E_FILE);
}

static void test_token_command(void **state)
{
	KB_AUTO(buf) struct buf token = {0};
	int64_t soon = clock_mono_ms() + 5000;

	(void)state;
	/* cat gives back what it was fed, more than a pipe holds. */
	static uint8_t big[150000];
	memset(big, 'x', sizeof big);
	assert_int_equal(
		token_command("cat", span_of(big, sizeof big), span_of(NULL, 0), soon, &token),
		KB_OK);
	assert_int_equal(token.len, sizeof big);
	buf_free(&token);
	assert_int_equal(token_command("false", span_str("{}"), span_of(NULL, 0), soon, &token),
			 KB_E_SYS);
	buf_free(&token);
	assert_int_equal(token_command("true", span_str("{}"), span_of(NULL, 0), soon, &token),
			 KB_E_TOKEN_SIZE);
	buf_free(&token);
	assert_int_equal(
		token_command("/nonexistent", span_str("{}"), span_of(NULL, 0), soon, &token),
		KB_E_SYS);
	buf_free(&token);
	assert_int_equal(token_command("yes", span_str("{}"), span_of(NULL, 0),
				       clock_mono_ms() + 5000, &token),
			 KB_E_SYS); /* endless: ended by its broken pipe */
	buf_free(&token);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_report_chain),
		cmocka_unit_test(test_report_chain_refuses),
		cmocka_unit_test(test_report_without_interface),
		cmocka_unit_test(test_attest_body),
		cmocka_unit_test(test_attest_token),
		cmocka_unit_test(test_token_kid),
		cmocka_unit_test(test_token_read),
		cmocka_unit_test(test_token_command),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
