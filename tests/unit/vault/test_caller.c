/* tests/unit/vault/test_caller.c — who asks: what the record says of a credential, accepted or
 * not. */
#include "vault/caller.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "process/frame.h"

static struct bearer tokens[3] = {{.sha256 = {0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef, 1}},
				  {.sha256 = {0xaa}},
				  {.sha256 = {0xbb}}};
static const struct listener_config none = {.auth = AUTH_NONE}, mtls = {.auth = AUTH_MTLS},
				    bearer = {
					    .auth = AUTH_BEARER, .bearers = tokens, .n_bearers = 3};

static void check(struct frame_request rq, const struct listener_config *l, enum kb_err want,
		  const char *text, const char *name)
{
	struct caller c;

	assert_int_equal(caller_authenticate(&rq, l, &c), want);
	assert_string_equal(c.text, text);
	assert_true(span_eq_cstr(c.name, name));
}

static struct frame_request with_token(uint8_t first)
{
	return (struct frame_request){.has_authorization = true,
				      .has_bearer = true,
				      .bearer_sha256 = {first},
				      .body = span_str("{}")};
}

static void test_b29_bearer_callers(void **state)
{
	struct frame_request rq = {.body = span_str("{}")};

	(void)state;
	tokens[2].name = span_str("agent-7");
	check(rq, &bearer, KB_E_NO_CREDENTIAL, "none", "");
	rq.has_authorization = true; /* of another scheme */
	check(rq, &bearer, KB_E_CREDENTIAL, "none", "");
	check(with_token(0xbb), &bearer, KB_OK, "bearer:bb00000000000000", "agent-7");
	check(with_token(0xaa), &bearer, KB_OK, "bearer:aa00000000000000", "");
	check(with_token(0xcc), &bearer, KB_E_CREDENTIAL, "bearer:cc00000000000000", "");
	/* the start of an accepted one is not an accepted one */
	rq = with_token(1);
	memcpy(rq.bearer_sha256, tokens[0].sha256, 8);
	check(rq, &bearer, KB_E_CREDENTIAL, "bearer:0123456789abcdef", "");
}

static void test_b29_certificate_callers(void **state)
{
	struct frame_request rq = {.body = span_str("{}"),
				   .has_client_cert = true,
				   .has_certificate = true,
				   .client_sha256 = {0xfe, 0xdc, 0xba},
				   .client_name = span_str("guest 1")};

	(void)state;
	check(rq, &mtls, KB_OK, "certificate:fedcba0000000000", "guest 1");
	rq.has_client_cert = false; /* it has ended since the handshake */
	check(rq, &mtls, KB_E_CREDENTIAL, "certificate:fedcba0000000000", "guest 1");
	rq.has_certificate = false;
	check(rq, &mtls, KB_E_CREDENTIAL, "none", "");
}

/* Where nobody looks at a credential none is recorded, whatever a client shows. */
static void test_b29_nobody_is_asked(void **state)
{
	struct frame_request rq = with_token(0xbb);

	(void)state;
	rq.has_certificate = rq.has_client_cert = true;
	rq.client_name = span_str("root");
	check(rq, &none, KB_OK, "none", "");
	check((struct frame_request){.listener = 0}, &none, KB_E_NO_CREDENTIAL, "none", "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_b29_bearer_callers),
		cmocka_unit_test(test_b29_certificate_callers),
		cmocka_unit_test(test_b29_nobody_is_asked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
