/* tests/security/test_attacks_long.c — every single bit of a valid token flipped, each asked for
 * real: none is released, none is left unanswered, and the ledger has each of them by a code of its
 * own. */
#include "tests/e2e/check.h"
#include "tests/e2e/invariants.h"

static EVP_PKEY *kek;
static const uint8_t secret[32] = "long: thirty-two secret bytes...";
static struct good good;

static int setup(void **state)
{
	(void)state;
	static char kid[44];
	char *token;
	signal(SIGPIPE, SIG_IGN);
	GOOD(instance_make(&in));
	char *policy = policy_container(in.issuer_url);
	GOOD(instance_import(&in, "key", NULL, secret, sizeof secret, policy));
	free(policy);
	kek = guest_key(2048);
	GOOD(guest_attest(&in.issuer_at, evidence_container(kek, HOST_DATA), &token));
	good = (struct good){.ask = {.name = "key", .token = token},
			     .want = {.root = in.root,
				      .host = "localhost",
				      .base_url = in.base_url,
				      .kek = kek,
				      .kek_kid = evidence_thumbprint(kek, kid)},
			     .plain = secret,
			     .plain_len = sizeof secret};
	GOOD(broker_start(&in));
	GOOD(invariants_begin(&in, &good));
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	if (in.broker > 0)
		assert_int_equal(broker_stop(&in, SIGTERM, 40000), 0);
	GOOD(broker_log_clean(&in));
	free((char *)(uintptr_t)good.ask.token);
	EVP_PKEY_free(kek);
	instance_free(&in);
	return 0;
}

/* A few requests at once on one connection: the answers come in order. */
static void test_a32_every_bit_of_a_token(void **state)
{
	(void)state;
	enum { AT_ONCE = 16 };
	size_t len = strlen(good.ask.token), bits = len * 8;
	unsigned denied = 0, malformed = 0;
	unsigned records = ledger_count(&in, "\"outcome\":\"refused\"");
	char *request = malloc(len + 512);
	struct link *l = NULL;
	for (size_t bit = 0; bit < bits;) {
		unsigned n = bits - bit < AT_ONCE ? (unsigned)(bits - bit) : AT_ONCE;
		if (l == NULL)
			GOOD(link_open(&in.at, &l));
		for (unsigned k = 0; k < n; k++) {
			int head = sprintf(request,
					   "POST /keys/key/release?api-version=7.4 "
					   "HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer x\r\n"
					   "Content-Type: application/json\r\nContent-Length: "
					   "%zu\r\n\r\n{\"target\":\"",
					   len + 13);
			memcpy(request + head, good.ask.token, len);
			request[(size_t)head + (bit + k) / 8] ^= (char)(1 << (bit + k) % 8);
			memcpy(request + (size_t)head + len, "\"}", 2);
			GOOD(link_send(l, request, (size_t)head + len + 2));
		}
		for (unsigned k = 0; k < n; k++, bit++) {
			struct reply r;
			GOOD(link_receive(l, &r));
			denied += r.status == 403;
			malformed += r.status == 400; /* the body is no JSON any more */
			/* A fetch of unknown keys may be under way: its answer is "not yet". */
			if (r.status != 403 && r.status != 400 &&
			    (r.status != 503 || strstr(r.body, "\"value\"") != NULL))
				GOOD(wrong("bit %zu: status %d %.200s", bit, r.status, r.body));
			reply_free(&r);
		}
	}
	link_close(l);
	free(request);
	if (denied < bits * 3 / 4 || denied + malformed < bits * 98 / 100)
		GOOD(wrong("%u denied, %u malformed of %zu bits", denied, malformed, bits));
	assert_true(ledger_count(&in, "\"outcome\":\"refused\"") - records >= denied);
	GOOD(invariants_hold(&in));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a32_every_bit_of_a_token),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
