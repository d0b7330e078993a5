/* tests/unit/vault/test_issuers.c — the key sets of a vault: whose age permits their use, and when
 * a kid that is not in them is refused for good. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
/* cmocka needs the above first */
#include <cmocka.h>

#include "base/log.h"
#include "policy/jwks.h"
#include "process/process.h"
#include "tests/unit/pages.h"
#include "vault/issuers.h"

#define NOW      (KB_EPOCH_MIN_S + 10000000)
#define INTERVAL 30

static char dir[40];
static struct issuer_config config;
static struct process_start start[2];
static struct vault_issuer issuer[2]; /* of two workers */
static struct issuer_fetch *fetch;
static int asked; /* the fetcher's end */

/* P-256's generator: a key that parses. */
static const char keys[] = "{\"keys\":[{\"kty\":\"EC\",\"kid\":\"k1\",\"crv\":\"P-256\",\"x\":"
			   "\"axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpY\",\"y\":"
			   "\"T-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU\"}]}";

static void put_set(int64_t fetched_s)
{
	struct keyset_origin o;

	config_origin(&config, &o);
	assert_int_equal(keyset_write(dir, "a", &o, fetched_s, fetched_s + 3600, span_str(keys)),
			 KB_OK);
	atomic_store(&fetch[0].attempt_s, fetched_s);
}

static unsigned times_asked(void)
{
	uint32_t index;
	unsigned n = 0;

	while (recv(asked, &index, sizeof index, MSG_DONTWAIT) == sizeof index)
		n++;
	return n;
}

static int setup(void **state)
{
	int pair[2];

	(void)state;
	log_init("test", LOG_ERROR);
	snprintf(dir, sizeof dir, "/tmp/kb-issuers-XXXXXX");
	assert_non_null(mkdtemp(dir));
	assert_true(pages_make());
	config = (struct issuer_config){.rules = {.name = (char *)(uintptr_t) "a",
						  .issuer = (char *)(uintptr_t) "https://a.test"},
					.source = KEYS_DISCOVERY,
					.max_stale_s = 1000,
					.min_interval_s = INTERVAL};
	fetch = page_of(page_take(PROCESS_FETCHER, 1, HEALTH_READY))->fetch;
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
	asked = fcntl(pair[0], F_DUPFD_CLOEXEC, 60);
	close(pair[0]);
	assert_int_equal(dup2(pair[1], FD_VAULT_FETCHER), FD_VAULT_FETCHER);
	if (pair[1] != FD_VAULT_FETCHER)
		close(pair[1]);
	for (unsigned i = 0; i < 2; i++) {
		unsigned slot = page_take(PROCESS_VAULT, 1, HEALTH_READY);
		start[i] = (struct process_start){.process = PROCESS_VAULT,
						  .generation = 1,
						  .shared = &pages.all,
						  .page = page_of(slot)};
		assert_int_equal(vault_issuer_open(&issuer[i], &config, 0, &start[i], dir), KB_OK);
	}
	return 0;
}

static int teardown(void **state)
{
	char command[80];

	(void)state;
	for (unsigned i = 0; i < 2; i++)
		jwks_free(issuer[i].keys);
	close(asked);
	close(FD_VAULT_FETCHER);
	pages_free();
	snprintf(command, sizeof command, "rm -rf %s", dir);
	return system(command);
}

static bool has_keys(unsigned worker, int64_t now_s)
{
	return vault_issuer_keys(&issuer[worker], dir, now_s) != NULL;
}

static bool may_change(unsigned worker, const char *kid, int64_t now_s, unsigned retry_s)
{
	uint16_t said = 0;

	assert_true(has_keys(worker, now_s));
	bool may = vault_issuer_may_change(&issuer[worker], span_str(kid), now_s, &said);
	if (may)
		assert_int_equal(said, retry_s);
	return may;
}

/* A set of a time that is to come is none, now and for ever; one that the worker has is none when
 * the clock goes back behind it. */
static void test_h15_set_from_the_future(void **state)
{
	const struct issuer_use *use = start[0].page->use;

	(void)state;
	put_set(NOW + KB_MAX_SKEW_S + 1);
	assert_false(has_keys(0, NOW));
	assert_int_equal(use->fault, KB_E_KEYSET_AHEAD);
	assert_int_equal(use->is_in_use, 0);
	put_set(NOW + 366 * 86400);
	assert_false(has_keys(0, NOW));
	put_set(NOW);
	assert_true(has_keys(0, NOW));
	assert_true(use->is_in_use && use->fault == KB_OK && use->keys == 1 &&
		    use->fetched_s == NOW);
	assert_true(has_keys(0, NOW + 1000));
	assert_false(has_keys(0, NOW + 1001));
	assert_int_equal(use->fault, KB_E_KEYSET_STALE);
	assert_false(has_keys(0, NOW - KB_MAX_SKEW_S - 1));
	assert_int_equal(use->fault, KB_E_KEYSET_AHEAD);
}

/* Not yet, with what is left of the interval; after the next fetch a final no, whichever worker is
 * asked. */
static void test_h18_unknown_kid_is_final_after_one_fetch(void **state)
{
	(void)state;
	put_set(NOW);
	assert_true(may_change(0, "new", NOW + 4, INTERVAL - 4));
	assert_int_equal(times_asked(), 1);
	assert_true(may_change(0, "new", NOW + 5, INTERVAL - 5));
	assert_int_equal(times_asked(), 0); /* once for each set */
	assert_true(may_change(1, "new", NOW + INTERVAL - 1, 1));
	/* Due: the fetch is under way. */
	assert_true(may_change(0, "new", NOW + INTERVAL, 1));
	atomic_store(&fetch[0].attempt_s, NOW + INTERVAL);
	assert_true(may_change(1, "new", NOW + INTERVAL, 1));
	/* A kid that is asked for only now is not known to that fetch. */
	assert_true(may_change(1, "late", NOW + INTERVAL, 1));
	put_set(NOW + INTERVAL + 1);
	assert_false(may_change(1, "new", NOW + INTERVAL + 2, 0));
	assert_false(may_change(0, "new", NOW + INTERVAL + 2, 0));
	assert_true(may_change(0, "late", NOW + INTERVAL + 2, INTERVAL - 1));
	assert_true(may_change(0, "other", NOW + INTERVAL + 3, INTERVAL - 2));
	/* Later it is asked for again. */
	(void)times_asked();
	assert_true(may_change(0, "new", NOW + 2 * INTERVAL + 1, 1));
}

/* While the issuer cannot be asked, nothing is final. */
static void test_h18_a_failed_fetch_makes_nothing_final(void **state)
{
	(void)state;
	put_set(NOW);
	assert_true(may_change(0, "new", NOW + 1, INTERVAL - 1));
	atomic_store(&fetch[0].attempt_s, NOW + INTERVAL);
	for (int64_t t = NOW + INTERVAL; t < NOW + 10 * INTERVAL; t += 7)
		assert_true(may_change(0, "new", t, 1));
}

/* However many kids strangers make up: the fetcher is asked once for each set, and once in each
 * interval while that has no effect. */
static void test_h18_many_kids_ask_once(void **state)
{
	char kid[16];

	(void)state;
	put_set(NOW);
	for (unsigned i = 0; i < 1000; i++) {
		snprintf(kid, sizeof kid, "k%u", i);
		assert_true(may_change(0, kid, NOW + 2, INTERVAL - 2));
	}
	assert_int_equal(times_asked(), 1);
	assert_true(may_change(0, "k1", NOW + INTERVAL, 1));
	assert_int_equal(times_asked(), 1);
}

static void test_h18_pinned_keys_are_final(void **state)
{
	uint16_t retry_s;

	(void)state;
	config.source = KEYS_JWKS_FILE;
	config.jwks_file = span_str(keys);
	jwks_free(issuer[0].keys);
	assert_int_equal(vault_issuer_open(&issuer[0], &config, 0, &start[0], dir), KB_OK);
	assert_true(has_keys(0, NOW));
	assert_int_equal(start[0].page->use[0].is_in_use, 1);
	assert_false(vault_issuer_may_change(&issuer[0], span_str("new"), NOW, &retry_s));
	assert_int_equal(times_asked(), 0);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_h15_set_from_the_future),
		T(test_h18_unknown_kid_is_final_after_one_fetch),
		T(test_h18_a_failed_fetch_makes_nothing_final),
		T(test_h18_many_kids_ask_once),
		T(test_h18_pinned_keys_are_final),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
