/* tests/e2e/test_invariants.c — the detectors detect: the standing invariants hold at rest, and
 * each is seen to fail when its fault is planted. */
#include "tests/e2e/check.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include "tests/e2e/invariants.h"

static EVP_PKEY *kek;
static char *token;
static const uint8_t secret[32] = "the container's secret: 32 bytes";
static struct good good;

static int setup(void **state)
{
	static char kid[44];
	(void)state;
	signal(SIGPIPE, SIG_IGN);
	GOOD(instance_make(&in));
	char *policy = policy_container(in.issuer_url);
	GOOD(instance_import(&in, "secret", NULL, secret, sizeof secret, policy));
	free(policy);
	kek = guest_key(2048);
	GOOD(guest_attest(&in.issuer_at, evidence_container(kek, HOST_DATA), &token));
	good = (struct good){
		.ask = {.name = "secret", .token = token},
		.want = {.root = in.root,
			 .host = "localhost",
			 .base_url = in.base_url,
			 .kek = kek,
			 .kek_kid = evidence_thumbprint(kek, kid)},
		.plain = secret,
		.plain_len = sizeof secret,
	};
	GOOD(broker_start(&in));
	GOOD(invariants_begin(&in, &good));
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	EVP_PKEY_free(kek);
	free(token);
	if (in.broker > 0)
		broker_stop(&in, SIGTERM, 40000);
	instance_free(&in);
	return 0;
}

/* The check fails, and with this one. */
static void fails_with(const char *why, const char *which)
{
	assert_non_null(why);
	if (strncmp(why, which, 2) != 0)
		GOOD(wrong("%s expected, but: %s", which, why));
}

static void test_invariants_hold_at_rest(void **state)
{
	(void)state;
	GOOD(invariants_hold(&in));
}

static void test_j05_control_reply_without_record(void **state)
{
	(void)state;
	struct reply r = {.status = 200, .body = strdup("{\"value\":\"a.b.c\"}"), .len = 17};
	snprintf(
		r.head, sizeof r.head,
		"HTTP/1.1 200 OK\r\nx-ms-request-id: 00000000-0000-4000-8000-000000000000\r\n\r\n");
	fails_with(invariants_reply(&in, &r), "I1");
	free(r.body);
}

static void test_j05_control_secret_in_a_reply(void **state)
{
	(void)state;
	char *b64 = proof_b64url_text(secret, sizeof secret);
	struct reply r = {.status = 400, .body = b64, .len = strlen(b64)};
	fails_with(invariants_reply(&in, &r), "I3");
	free(b64);
}

/* The gateway holds what a client sent for as long as the connection lasts: a secret in its
 * memory that is easily planted. */
static void test_j05_control_secret_in_memory(void **state)
{
	(void)state;
	struct link *l;
	char head[256];
	if (geteuid() != 0)
		return; /* only root can look into a process: it is undumpable */
	snprintf(head, sizeof head,
		 "GET /keys/secret?api-version=7.4 HTTP/1.1\r\nHost: localhost\r\nX-Note: %.32s",
		 (const char *)secret);
	GOOD(link_open(&in.at, &l));
	GOOD(link_send(l, head, strlen(head)));
	const char *why = NULL;
	for (unsigned long long end = now_ms() + 5000; why == NULL && now_ms() < end;)
		why = invariants_hold(&in);
	link_close(l);
	fails_with(why, "I3");
}

static void test_j05_control_descriptors_grow(void **state)
{
	(void)state;
	struct link *held[8];
	for (unsigned i = 0; i < 8; i++)
		GOOD(link_open(&in.at, &held[i]));
	const char *why = invariants_hold(&in);
	for (unsigned i = 0; i < 8; i++)
		link_close(held[i]);
	fails_with(why, "I5");
}

static void append(const char *path, const char *text)
{
	FILE *f = fopen(path, "a");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

/* The last ones: they leave the instance spoiled. */
static void test_j05_control_bad_log_and_ledger(void **state)
{
	(void)state;
	char path[512], text[64];
	append(in.log, "==1==ERROR: AddressSanitizer: planted\n");
	fails_with(invariants_hold(&in), "I6");
	snprintf(text, sizeof text, "%.32s\n", (const char *)secret);
	append(in.log, text);
	fails_with(invariants_hold(&in), "I3");
	assert_int_equal(truncate(in.log, 0), 0);
	/* One changed bit. */
	snprintf(path, sizeof path, "%s/state/ledger", in.dir);
	struct dirent **names;
	int n = scandir(path, &names, NULL, alphasort);
	assert_true(n > 2);
	snprintf(path, sizeof path, "%s/state/ledger/%s", in.dir, names[n - 1]->d_name);
	while (n-- > 0)
		free(names[n]);
	free(names);
	int fd = open(path, O_RDWR | O_CLOEXEC);
	assert_int_equal(pread(fd, text, 1, 100), 1);
	text[0] ^= 1;
	assert_int_equal(pwrite(fd, text, 1, 100), 1);
	close(fd);
	fails_with(invariants_hold(&in), "I7");
}

static void test_j05_control_broker_that_does_not_serve(void **state)
{
	(void)state;
	assert_int_equal(broker_stop(&in, SIGTERM, 40000), 0);
	fails_with(invariants_hold(&in), "I4");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_invariants_hold_at_rest),
		cmocka_unit_test(test_j05_control_reply_without_record),
		cmocka_unit_test(test_j05_control_secret_in_a_reply),
		cmocka_unit_test(test_j05_control_secret_in_memory),
		cmocka_unit_test(test_j05_control_descriptors_grow),
		cmocka_unit_test(test_j05_control_bad_log_and_ledger),
		cmocka_unit_test(test_j05_control_broker_that_does_not_serve),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
