/* tests/unit/process/test_shared.c — the pages: made, mapped, handed out, and who can write which.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/pages.h"
#include "tests/unit/short_system.h"

enum { FIRST = 400, OWN = 399 };

static int set_up(void **state)
{
	(void)state;
	return pages_make() ? 0 : -1;
}

static int tear_down(void **state)
{
	(void)state;
	pages_free();
	return 0;
}

/* Descriptors as a process has them when it begins. */
static void place(unsigned slot)
{
	int own = shared_open_own(&pages, slot);

	if (dup2(own, OWN) < 0)
		KB_BUG();
	close(own);
	for (int i = 0; i < PROCESS_SLOTS; i++)
		if (dup2(pages.fd[i], FIRST + i) < 0)
			KB_BUG();
}

/* ---- a captured process ---- */

static struct shared seen;
static struct page *own;

static bool is_killed_by_writing(const void *to)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		union {
			const void *in;
			volatile char *out;
		} p = {.in = to};
		signal(SIGSEGV, SIG_DFL);
		*p.out = 1;
		_exit(0);
	}
	return waitpid(pid, &status, 0) == pid && WIFSIGNALED(status) &&
	       WTERMSIG(status) == SIGSEGV;
}

/* All that it could try with what it has. */
static int attack(void)
{
	union {
		const void *in;
		void *out;
	} board = {.in = seen.board}, other = {.in = seen.page[7]};
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);

	/* to write what it may only read */
	if (!is_killed_by_writing(seen.board) || !is_killed_by_writing(seen.page[7]) ||
	    !is_killed_by_writing(seen.ledger))
		return 1;
	if (mprotect(board.out, page, PROT_READ | PROT_WRITE) != -1 || errno != EACCES ||
	    mprotect(other.out, page, PROT_READ | PROT_WRITE) != -1 || errno != EACCES)
		return 2;
	if (madvise(board.out, page, MADV_REMOVE) == 0 ||
	    madvise(other.out, page, MADV_REMOVE) == 0)
		return 3;
	/* to reach another page from its own: nothing is behind it */
	const size_t size = (sizeof(struct page) + page - 1) / page * page;
	char *more = mremap(own, size, 2 * size, MREMAP_MAYMOVE);
	if (more != MAP_FAILED) {
		int status;
		pid_t pid = fork();
		if (pid == 0) {
			signal(SIGBUS, SIG_DFL);
			*(volatile char *)(more + size) = 1;
			_exit(0);
		}
		if (waitpid(pid, &status, 0) != pid || !WIFSIGNALED(status) ||
		    WTERMSIG(status) != SIGBUS)
			return 4;
	}
	/* to find a descriptor: none is left */
	for (int fd = OWN; fd < FIRST + PROCESS_SLOTS; fd++)
		if (fcntl(fd, F_GETFD) >= 0)
			return 5;
	return 0;
}

static void test_i12_page_is_its_owners_alone(void **state)
{
	int status;
	pid_t pid = fork();

	(void)state;
	if (pid == 0) {
		place(6);
		if (shared_attach(6, OWN, FIRST, &seen, &own) != KB_OK)
			_exit(90);
		/* As after an exec: what the supervisor has mapped is not there. */
		for (unsigned i = 0; i < PROCESS_SLOTS; i++)
			close(pages.fd[i]);
		stats_count(&own->stats, COUNT_RECORDS, 5);
		_exit(attack());
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	assert_int_equal(atomic_load(&pages.all.page[6]->stats.counter[COUNT_RECORDS]), 5);
}

/* Every byte of a page, all ones and noise: no other page and nothing that the board says of the
 * others is another. */
static void test_i12_writing_a_page_changes_no_other(void **state)
{
	static struct page before[PROCESS_SLOTS];
	static struct board board;
	const unsigned gateway = page_take(PROCESS_GATEWAY, 1, HEALTH_READY);
	uint32_t random = 1;

	(void)state;
	for (unsigned i = 0; i < 3; i++)
		(void)page_take(PROCESS_VAULT, 1, HEALTH_READY);
	(void)page_take(PROCESS_LEDGER, 0, HEALTH_READY);
	for (unsigned i = 0; i < PROCESS_SLOTS; i++)
		memcpy(&before[i], pages.all.page[i], sizeof before[i]);
	memcpy(&board, pages.all.board, sizeof board);
	for (unsigned round = 0; round < 3; round++) {
		uint8_t *bytes = (uint8_t *)page_of(gateway);
		for (size_t i = 0; i < sizeof(struct page); i++)
			bytes[i] =
				round == 0 ? 0xff : (uint8_t)((random = random * 69069 + 1) >> 24);
		for (unsigned i = 0; i < PROCESS_SLOTS; i++)
			if (i != gateway)
				assert_memory_equal(&before[i], pages.all.page[i],
						    sizeof before[i]);
		assert_memory_equal(&board, pages.all.board, sizeof board);
		assert_false(shared_is_pin_refused(&pages.all, 1)); /* it is no vault */
		assert_null(shared_fetch(&pages.all, 1));
		for (unsigned i = SLOT_LEDGER; i < SLOT_FIRST + 4; i++)
			if (i != gateway)
				assert_true(shared_is_serving(&pages.all, i));
	}
}

/* ---- making, taking, giving back ---- */

static void test_shared_pages_keep_their_size(void **state)
{
	int fd = shared_open_own(&pages, 3);

	(void)state;
	assert_int_equal(ftruncate(fd, 10), -1);
	assert_int_equal(ftruncate(fd, 1 << 20), -1);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), -1);
	close(fd);
	assert_int_equal(write(pages.fd[3], "x", 1), -1); /* for reading */
}

static void test_shared_each_call_fails_once(void **state)
{
	bool is_past = false;

	(void)state;
	/* Those of the first pages, then some of all the same ones. */
	for (unsigned n = 1; !is_past; n += n < 40 ? 1 : 37) {
		struct shared_host made;
		calls_fail(n);
		enum kb_err err = shared_create(&made, 50);
		is_past = !calls_end();
		if ((err == KB_OK) != is_past)
			fail_msg("call %u fails: %s", n, kb_err_name(err));
		shared_free(&made);
	}
}

static void test_shared_attach_each_call_fails_once(void **state)
{
	struct shared out;
	struct page *page;
	bool is_past = false;

	(void)state;
	for (unsigned n = 1; !is_past; n += n < 40 ? 1 : 37) {
		place(4);
		calls_fail(n);
		enum kb_err err = shared_attach(4, OWN, FIRST, &out, &page);
		is_past = !calls_end();
		if ((err == KB_OK) != is_past)
			fail_msg("call %u fails: %s", n, kb_err_name(err));
		assert_true((page != NULL) == is_past);
	}
}

static void test_shared_attach_checks(void **state)
{
	struct shared out;
	struct page *page;
	int small = memfd_create("small", MFD_ALLOW_SEALING);

	(void)state;
	place(4);
	assert_true(dup2(small, FIRST + 9) >= 0);
	assert_int_equal(shared_attach(4, OWN, FIRST, &out, &page), KB_E_SYS);
	assert_null(page);
	assert_null(out.board);
	place(4);
	assert_int_equal(ftruncate(small, sizeof(struct page)), 0); /* anyone could shrink it */
	assert_true(dup2(small, FIRST + 9) >= 0);
	assert_int_equal(shared_attach(4, OWN, FIRST, &out, &page), KB_E_SYS);
	place(4);
	assert_int_equal(shared_attach(PROCESS_SLOTS, OWN, FIRST, &out, &page), KB_E_SYS);
	close(small);
}

/* As many as any configuration and reload can need. */
static void test_g08_shared_has_a_slot_for_every_process(void **state)
{
	int slot = -1;

	(void)state;
	assert_int_equal(shared_take(&pages, PROCESS_LEDGER, 0), SLOT_LEDGER);
	for (unsigned g = 1; g <= PROCESS_GENERATIONS; g++) {
		for (unsigned i = 0; i < KB_MAX_GATEWAYS; i++)
			assert_true((slot = shared_take(&pages, PROCESS_GATEWAY, g)) >= SLOT_FIRST);
		for (unsigned i = 0; i < KB_MAX_WORKERS; i++)
			assert_true((slot = shared_take(&pages, PROCESS_VAULT, g)) >= SLOT_FIRST);
		assert_true((slot = shared_take(&pages, PROCESS_FETCHER, g)) >= SLOT_FIRST);
	}
	assert_int_equal(slot, PROCESS_SLOTS - 1);
	assert_int_equal(shared_take(&pages, PROCESS_VAULT, 7), -1);
	assert_int_equal(shared_take(&pages, PROCESS_LEDGER, 0), -1);
	stats_count(&page_of(20)->stats, COUNT_HSM_ERRORS, 4);
	stats_gauge(&page_of(20)->stats, COUNT_QUEUE, 4);
	page_of(20)->use[3].is_in_use = 1;
	shared_give_back(&pages, 20);
	assert_int_equal(shared_take(&pages, PROCESS_VAULT, 8), 20);
	assert_int_equal(atomic_load(&page_of(20)->stats.counter[COUNT_HSM_ERRORS]), 0);
	assert_int_equal(atomic_load(&page_of(20)->use[3].is_in_use), 0);
	assert_int_equal(atomic_load(&pages.all.board->seat[20].generation), 8);
	const struct process_stats *sums = &pages.all.board->retired[PROCESS_VAULT].stats;
	assert_int_equal(atomic_load(&sums->counter[COUNT_HSM_ERRORS]), 4);
	assert_int_equal(atomic_load(&sums->counter[COUNT_QUEUE]),
			 0); /* it ends with its process */
}

/* What was counted and fetched stays; health begins anew. */
static void test_shared_renewed_page(void **state)
{
	const unsigned fetcher = page_take(PROCESS_FETCHER, 1, HEALTH_READY),
		       vault = page_take(PROCESS_VAULT, 1, HEALTH_READY),
		       ledger = page_take(PROCESS_LEDGER, 0, HEALTH_READY);

	(void)state;
	page_of(fetcher)->fetch[5].keys = 3;
	page_of(vault)->use[5].is_in_use = 1;
	atomic_store(&page_of(vault)->health.pin_refused, 1);
	assert_true(shared_is_pin_refused(&pages.all, 1));
	assert_false(shared_is_pin_refused(&pages.all, 2));
	stats_outcome(&page_of_ledger()->outcomes, KB_OK, span_str("k"), span_str("i"));
	stats_count(&page_of(ledger)->stats, COUNT_RECORDS, 2);
	assert_int_equal(shared_renew(&pages, fetcher), KB_OK);
	assert_int_equal(shared_renew(&pages, vault), KB_OK);
	assert_int_equal(shared_renew(&pages, ledger), KB_OK);
	assert_int_equal(shared_fetch(&pages.all, 1)[5].keys, 3);
	assert_int_equal(page_of(vault)->use[5].is_in_use, 0);
	assert_false(shared_is_pin_refused(&pages.all, 1));
	assert_false(shared_is_serving(&pages.all, vault));
	unsigned n = 0;
	for (size_t i = 0; i < STATS_OUTCOMES; i++)
		n += (unsigned)atomic_load(&pages.all.ledger->outcomes.outcome[i].n);
	assert_int_equal(n, 1);
	assert_int_equal(
		atomic_load(&pages.all.board->retired[PROCESS_LEDGER].stats.counter[COUNT_RECORDS]),
		2);
	assert_int_equal(atomic_load(&page_of(ledger)->stats.counter[COUNT_RECORDS]), 0);
}

static void test_shared_slot_past_the_end_is_a_bug(void **state)
{
	static const unsigned bad[] = {PROCESS_SLOTS, SLOT_SUPERVISOR, SLOT_FIRST /* is free */};

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		int status;
		pid_t pid = fork();
		if (pid == 0) {
			close(STDERR_FILENO);
			shared_give_back(&pages, bad[i]);
			_exit(0);
		}
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFSIGNALED(status));
	}
}

#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_i12_page_is_its_owners_alone),
		T(test_i12_writing_a_page_changes_no_other),
		T(test_shared_pages_keep_their_size),
		T(test_shared_each_call_fails_once),
		T(test_shared_attach_each_call_fails_once),
		T(test_shared_attach_checks),
		T(test_g08_shared_has_a_slot_for_every_process),
		T(test_shared_renewed_page),
		T(test_shared_slot_past_the_end_is_a_bug),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
