/* tests/unit/process/test_shared.c — the shared memory: made, mapped, divided. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "process/shared.h"
#include "tests/unit/short_system.h"

static struct shared *shared;
static int fd = -1;

static int set_up(void **state)
{
	(void)state;
	return shared_create(&fd, &shared) == KB_OK ? 0 : -1;
}

static int tear_down(void **state)
{
	(void)state;
	close(fd);
	return munmap(shared, sizeof *shared);
}

static void test_shared_is_mapped_by_all(void **state)
{
	struct shared *other;

	(void)state;
	assert_int_equal(shared_attach(fd, &other), KB_OK);
	stats_count(&other->stats.process[3], COUNT_RECORDS, 5);
	assert_int_equal(atomic_load(&shared->stats.process[3].counter[COUNT_RECORDS]), 5);
	assert_int_equal(munmap(other, sizeof *other), 0);
	assert_int_equal(ftruncate(fd, 10), -1); /* no process can shrink it */
}

static void test_shared_each_call_fails_once(void **state)
{
	struct shared *made, *again;
	int made_fd;
	bool is_past = false;

	(void)state;
	for (unsigned n = 1; !is_past; n++) {
		calls_fail(n);
		enum kb_err err = shared_create(&made_fd, &made);
		if (err == KB_OK && (err = shared_attach(made_fd, &again)) == KB_OK)
			munmap(again, sizeof *again);
		is_past = !calls_end();
		if ((err == KB_OK) != is_past)
			fail_msg("call %u fails: %s", n, kb_err_name(err));
		if (made_fd >= 0) {
			munmap(made, sizeof *made);
			close(made_fd);
		}
	}
}

static void test_shared_attach_checks(void **state)
{
	struct shared *other;
	int small = memfd_create("small", 0);

	(void)state;
	assert_int_equal(shared_attach(small, &other), KB_E_SYS);
	assert_null(other);
	assert_int_equal(ftruncate(small, sizeof *shared), 0);
	assert_int_equal(shared_attach(small, &other), KB_E_SYS); /* no magic */
	close(small);
	assert_int_equal(shared_attach(-1, &other), KB_E_SYS);
	int ro = open("/proc/self/exe", O_RDONLY);
	assert_int_equal(shared_attach(ro, &other), KB_E_SYS);
	close(ro);
}

static void test_shared_entries_are_taken_until_there_are_none(void **state)
{
	(void)state;
	for (int i = 0; i < PROCESS_SLOTS; i++)
		assert_int_equal(shared_take(shared, PROCESS_VAULT, 7), i);
	assert_int_equal(shared_take(shared, PROCESS_VAULT, 7), -1);
	stats_count(&shared->stats.process[9], COUNT_HSM_ERRORS, 4);
	stats_gauge(&shared->stats.process[9], COUNT_QUEUE, 4);
	shared_give_back(shared, 9);
	assert_int_equal(shared_take(shared, PROCESS_GATEWAY, 8), 9);
	assert_int_equal(atomic_load(&shared->stats.process[9].counter[COUNT_HSM_ERRORS]), 0);
	assert_int_equal(atomic_load(&shared->health.process[9].generation), 8);
	assert_int_equal(
		atomic_load(&shared->stats.retired[PROCESS_VAULT].counter[COUNT_HSM_ERRORS]), 4);
	assert_int_equal(atomic_load(&shared->stats.retired[PROCESS_VAULT].counter[COUNT_QUEUE]),
			 0); /* a gauge ends with its process */
}

static void test_shared_entry_past_the_end_is_a_bug(void **state)
{
	int status;
	pid_t pid = fork();

	(void)state;
	if (pid == 0) {
		close(STDERR_FILENO);
		shared_give_back(shared, PROCESS_SLOTS);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
}

#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_shared_is_mapped_by_all),
		T(test_shared_each_call_fails_once),
		T(test_shared_attach_checks),
		T(test_shared_entries_are_taken_until_there_are_none),
		T(test_shared_entry_past_the_end_is_a_bug),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
